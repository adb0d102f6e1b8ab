//! [`CsvDecoder`]: CSV lines, or records that may hold line ends with `multiLine`.

use arrow::datatypes::{Schema, SchemaRef};

use millstream_core::{Error, RejectedRecord, Result};

use super::convert::{bad_value, check_flat, push_value};
use super::options::CsvReadOptions;
use super::split::{Splitter, Value};
use crate::decoder::{BatchSink, Counts, DecodeSettings, Decoder};
use crate::lines::{BOM, LineCutter, LineEnd, LineWalk, check_record_bytes};
use crate::rows::{Raw, Rows, Verdict};

/// CSV bytes to record batches.
#[derive(Debug)]
pub struct CsvDecoder {
    lines: LineCutter,
    /// With `multiLine`, what is not decoded yet.
    tail: Vec<u8>,
    records: Records,
}

#[derive(Debug)]
struct Records {
    options: CsvReadOptions,
    splitter: Splitter,
    rows: Rows,
    walk: LineWalk,
    /// The columns of the files, and which child of the rows each fills.
    columns: Vec<(String, Option<usize>)>,
    header_seen: bool,
    at_start: bool,
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
        Ok(Self {
            lines: LineCutter::new(line_end.clone(), options.record_bytes_max),
            tail: Vec::new(),
            records: Records {
                splitter: Splitter::new(&options),
                options,
                rows,
                walk: LineWalk::new(line_end),
                columns,
                header_seen: false,
                at_start: true,
            },
        })
    }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        self.records.rows.schema()
    }

    fn begin(&mut self, origin: &str) {
        self.lines.begin();
        self.tail.clear();
        self.records.walk.line = 0;
        self.records.header_seen = false;
        self.records.at_start = true;
        self.records.rows.begin(origin);
    }

    fn push(&mut self, bytes: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        let records = &mut self.records;
        if !records.options.multi_line {
            return self.lines.push(bytes, &mut |region| records.region(region, sink));
        }
        self.tail.extend_from_slice(bytes);
        let consumed = records.multi_line(&self.tail, false, sink)?;
        self.tail.drain(..consumed);
        check_record_bytes(self.tail.len(), records.options.record_bytes_max)
    }

    fn end(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        let records = &mut self.records;
        if records.options.multi_line {
            let tail = std::mem::take(&mut self.tail);
            records.multi_line(&tail, true, sink)?;
            return Ok(());
        }
        let last = self.lines.end();
        records.region(&last, sink)
    }

    fn flush(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        self.records.rows.give(sink)
    }

    fn counts(&self) -> Counts {
        self.records.rows.counts()
    }

    fn take_rejected(&mut self) -> Vec<RejectedRecord> {
        self.records.rows.take_rejected()
    }
}

impl Records {
    /// Whole lines.
    fn region(&mut self, region: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        let mut at = 0;
        while let Some((_, line)) = self.walk.next(region, &mut at) {
            let first = line.first().copied();
            if line.iter().all(|byte| *byte <= b' ') || (first.is_some() && first == self.options.comment) {
                continue;
            }
            self.splitter.cut(line).map_err(|error| error.context(format!("{}, line {}", self.rows.origin(), self.walk.line)))?;
            self.record(line)?;
            self.rows.give_full(sink)?;
        }
        Ok(())
    }

    /// Whole records; gives how many bytes they were. At the end of the input the last one is whole.
    fn multi_line(&mut self, input: &[u8], end: bool, sink: &mut BatchSink<'_>) -> Result<usize> {
        let mut at = 0;
        if self.at_start {
            if input.len() < BOM.len() && !end {
                return Ok(0);
            }
            if input.starts_with(BOM) {
                at = BOM.len();
            }
            self.at_start = false;
        }
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            // Blank lines and comments end at the next line end even if they hold quotes.
            let (line, length) = self.walk.end.first_line(rest);
            let first = line.first().copied();
            let skipped = line.is_empty() || (first.is_some() && first == self.options.comment);
            let whole = length > line.len();
            if skipped {
                if !whole && !end {
                    break;
                }
                self.walk.line += 1;
                at += length;
                continue;
            }
            let cut =
                self.splitter.cut(rest).map_err(|error| error.context(format!("{}, line {}", self.rows.origin(), self.walk.line + 1)))?;
            if cut.open && !end {
                break;
            }
            let record = rest.get(..cut.consumed).unwrap_or_default();
            self.walk.line += 1;
            self.record(record)?;
            self.walk.line += memchr::memchr_iter(b'\n', record.strip_suffix(b"\n").unwrap_or(record)).count() as u64;
            self.rows.give_full(sink)?;
            at += cut.consumed;
        }
        Ok(at)
    }

    /// The record that the splitter has just cut from `raw`.
    fn record(&mut self, raw: &[u8]) -> Result<()> {
        if self.options.header && !self.header_seen {
            self.header_seen = true;
            return self.check_header(raw);
        }
        let mut bad: Option<String> = None;
        let wants_reasons = self.rows.wants_reasons();
        let mut partial = self.splitter.len() != self.columns.len();
        if partial && wants_reasons {
            bad = Some(format!("{} values where {} are wanted", self.splitter.len(), self.columns.len()));
        }
        for (value, (name, target)) in self.splitter.values(raw).zip(&self.columns) {
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
        let raw = Raw { bytes: without_line_end(raw), line: self.walk.line };
        let verdict = if partial { Verdict::Partial(bad.as_deref().unwrap_or_default()) } else { Verdict::Good };
        self.rows.close(verdict, raw)
    }

    /// With `enforceSchema=false` the names of the header must be those of the schema, in any case.
    fn check_header(&self, raw: &[u8]) -> Result<()> {
        if self.options.enforce_schema {
            return Ok(());
        }
        let names: Vec<String> = self
            .splitter
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
