//! [`CsvDecoder`]: CSV lines, or records that may hold line ends with `multiLine`.

use arrow::datatypes::Schema;

use millstream_core::{Error, Result};

use super::convert::{bad_value, check_flat, push_value};
use super::options::CsvReadOptions;
use super::split::{Splitter, Value};
use super::walk::RecordWalk;
use crate::decoder::{BatchSink, DecodeSettings};
use crate::input::{CutOptions, InputCutter, Piece};
use crate::lines::LineEnd;
use crate::record_decoder::{RecordDecoder, Records};
use crate::rows::{Raw, Rows, Verdict};

/// CSV bytes to record batches.
pub type CsvDecoder = RecordDecoder<CsvRecords>;

/// The records of CSV inputs.
#[derive(Debug)]
pub struct CsvRecords {
    walk: RecordWalk,
    maker: RowMaker,
}

/// Makes rows of records that are cut.
#[derive(Debug)]
struct RowMaker {
    options: CsvReadOptions,
    rows: Rows,
    /// The columns of the files, and which child of the rows each fills.
    columns: Vec<(String, Option<usize>)>,
    header_seen: bool,
}

impl CsvDecoder {
    /// A decoder for files whose columns are `schema` in order. With a projection the batches have only those columns.
    pub fn new(schema: &Schema, projection: Option<&[usize]>, options: CsvReadOptions, settings: DecodeSettings) -> Result<Self> {
        schema.fields().iter().try_for_each(|field| check_flat(field))?;
        let wanted = match projection {
            Some(projection) => schema.project(projection)?,
            None => schema.clone(),
        };
        let rows = Rows::new(&wanted, &options.corrupt_record_column, options.mode, settings)?;
        let columns = schema
            .fields()
            .iter()
            .filter(|field| *field.name() != options.corrupt_record_column)
            .map(|field| (field.name().clone(), rows.root.fields.iter().position(|read| read.name() == field.name())))
            .collect();
        let line_end = LineEnd::new(options.line_separator.as_deref());
        let cutter = InputCutter::new(CutOptions {
            line_end: line_end.clone(),
            multi_line: options.multi_line,
            record_bytes_max: options.record_bytes_max,
        });
        let walk = RecordWalk::new(&options, line_end);
        Ok(Self::of(cutter, CsvRecords { walk, maker: RowMaker { options, rows, columns, header_seen: false } }))
    }
}

impl Records for CsvRecords {
    fn begin(&mut self, origin: &str) {
        self.walk.begin(origin);
        self.maker.header_seen = false;
    }

    fn take(&mut self, piece: Piece<'_>, sink: &mut BatchSink<'_>) -> Result<usize> {
        let maker = &mut self.maker;
        self.walk.each(piece, |splitter, raw, line| {
            maker.record(splitter, raw, line)?;
            maker.rows.give_full(sink)
        })
    }

    fn rows(&self) -> &Rows {
        &self.maker.rows
    }

    fn rows_mut(&mut self) -> &mut Rows {
        &mut self.maker.rows
    }
}

impl RowMaker {
    /// The record that the splitter has just cut from `raw`.
    fn record(&mut self, splitter: &Splitter, raw: &[u8], line: u64) -> Result<()> {
        if self.options.header && !self.header_seen {
            self.header_seen = true;
            return self.check_header(splitter, raw);
        }
        let mut bad: Option<String> = None;
        let wants_reasons = self.rows.wants_reasons();
        let mut partial = splitter.len() != self.columns.len();
        if partial && wants_reasons {
            bad = Some(format!("{} values where {} are wanted", splitter.len(), self.columns.len()));
        }
        for (value, (name, target)) in splitter.values(raw).zip(&self.columns) {
            let Some(column) = target.and_then(|target| self.rows.root.children.get_mut(target)) else { continue };
            if !push_value(column, value, &self.options) {
                column.push_null();
                partial = true;
                if wants_reasons && bad.is_none() {
                    bad = Some(bad_value(value, name));
                }
            }
        }
        self.rows.root.close(true);
        let raw = Raw { bytes: without_line_end(raw), line };
        let verdict = if partial { Verdict::Partial(bad.as_deref().unwrap_or_default()) } else { Verdict::Good };
        self.rows.close(verdict, raw)
    }

    /// With `enforceSchema=false` the names of the header must be those of the schema, in any case.
    fn check_header(&self, splitter: &Splitter, raw: &[u8]) -> Result<()> {
        if self.options.enforce_schema {
            return Ok(());
        }
        let names: Vec<String> = splitter
            .values(raw)
            .map(|value| match value {
                Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            })
            .collect();
        let same = names.len() == self.columns.len()
            && names.iter().zip(&self.columns).all(|(name, (column, _))| name.to_lowercase() == column.to_lowercase());
        if same {
            return Ok(());
        }
        let wanted: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        Err(Error::data(format!(
            "the csv header does not conform to the schema: header {}, schema {}",
            names.join(", "),
            wanted.join(", ")
        ))
        .hint("correct the schema, or set the option 'enforceSchema' to true")
        .context(self.rows.origin().to_owned()))
    }
}

fn without_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}
