//! [`JsonDecoder`]: JSON lines, or one JSON value per input with `multiLine`.

use arrow::datatypes::Schema;

use millstream_core::Result;

use super::convert::{Converter, Fate, Place};
use super::options::JsonReadOptions;
use super::scan::{Malformed, Scanner, Token};
use crate::column::Structs;
use crate::decoder::{BatchSink, DecodeSettings};
use crate::input::{CutOptions, InputCutter, Piece};
use crate::lines::{BOM, LineEnd, LineWalk, check_record_bytes};
use crate::record_decoder::{RecordDecoder, Records};
use crate::rows::{Raw, Rows, Verdict};

/// JSON bytes to record batches.
pub type JsonDecoder = RecordDecoder<JsonRecords>;

/// The records of JSON inputs.
#[derive(Debug)]
pub struct JsonRecords {
    options: JsonReadOptions,
    converter: Converter,
    rows: Rows,
    walk: LineWalk,
}

impl JsonDecoder {
    /// A decoder for `schema`; the error names a column whose type cannot be read from JSON.
    pub fn new(schema: &Schema, options: JsonReadOptions, settings: DecodeSettings) -> Result<Self> {
        let line_end = LineEnd::new(options.line_separator.as_deref());
        let cutter = InputCutter::new(CutOptions {
            line_end: line_end.clone(),
            multi_line: options.multi_line,
            record_bytes_max: options.record_bytes_max,
        });
        let records = JsonRecords {
            rows: Rows::new(schema, &options.corrupt_record_column, options.mode, settings)?,
            converter: Converter::new(options.clone()),
            options,
            walk: LineWalk::new(line_end),
        };
        Ok(Self::of(cutter, records))
    }

    /// One record that is not a line of a file, such as the value of a message; `position` names it when it is bad.
    pub fn push_record(&mut self, record: &[u8], position: u64, sink: &mut BatchSink<'_>) -> Result<()> {
        check_record_bytes(record.len(), self.records.options.record_bytes_max)?;
        self.records.alone(record, position, sink)
    }
}

impl Records for JsonRecords {
    fn begin(&mut self, _origin: &str) {
        self.walk.line = 0;
    }

    fn take(&mut self, piece: Piece<'_>, sink: &mut BatchSink<'_>) -> Result<usize> {
        match piece {
            Piece::Lines(lines) => self.lines(lines, sink).map(|()| lines.len()),
            Piece::Open { is_end: false, .. } => Ok(0),
            Piece::Open { input, is_end: true } => {
                self.alone(input.strip_prefix(BOM).unwrap_or(input), 1, sink)?;
                Ok(input.len())
            }
        }
    }

    fn rows(&self) -> &Rows {
        &self.rows
    }

    fn rows_mut(&mut self) -> &mut Rows {
        &mut self.rows
    }
}

impl JsonRecords {
    fn lines(&mut self, lines: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        // Checked at once where possible, line by line only if there is something to find.
        let text = std::str::from_utf8(lines).ok();
        let mut scan = Scanner::new(self.options.dialect);
        let mut at = 0;
        while let Some((start, line)) = self.walk.next(lines, &mut at) {
            let line_text = match text {
                Some(text) => text.get(start..start + line.len()),
                None => std::str::from_utf8(line).ok(),
            };
            self.record(&mut scan, line, line_text)?;
            self.rows.give_full(sink)?;
        }
        Ok(())
    }

    /// A record that is not a line among others.
    fn alone(&mut self, record: &[u8], line: u64, sink: &mut BatchSink<'_>) -> Result<()> {
        self.walk.line = line;
        let mut scan = Scanner::new(self.options.dialect);
        self.record(&mut scan, record, std::str::from_utf8(record).ok())?;
        self.rows.give_full(sink)
    }

    /// One record; a blank one is none.
    fn record<'a>(&mut self, scan: &mut Scanner<'a>, bytes: &'a [u8], text: Option<&'a str>) -> Result<()> {
        let raw = Raw { bytes, line: self.walk.line };
        let Some(text) = text else {
            return self.rows.close(Verdict::Malformed("invalid UTF-8"), raw);
        };
        scan.reset(text);
        match root(&mut self.converter, scan, &mut self.rows.root) {
            Ok(Fate::Good) => self.rows.close(Verdict::Good, raw),
            Ok(Fate::Partial | Fate::Failed) => {
                let reason = self.converter.bad_field.take().unwrap_or_default();
                self.rows.close(Verdict::Partial(&reason), raw)
            }
            Err(_) if scan.is_blank() => Ok(()),
            Err(malformed) => {
                self.converter.bad_field = None;
                let reason =
                    if self.rows.wants_reasons() { format!("{} at byte {}", malformed.why, malformed.at + 1) } else { String::new() };
                self.rows.close(Verdict::Malformed(&reason), raw)
            }
        }
    }
}

/// An object, or an array of objects: each a row. What follows the value is not looked at, as in Spark.
#[inline]
fn root(converter: &mut Converter, scan: &mut Scanner<'_>, columns: &mut Structs) -> Result<Fate, Malformed> {
    match scan.token()? {
        Token::Object => converter.object(scan, columns, Place::Root),
        Token::Array => {
            let mut fate = Fate::Good;
            let mut first = true;
            while scan.next_element(first)? {
                first = false;
                if scan.token()? != Token::Object {
                    return Err(Malformed::new("an element of the outer array is not an object", scan.pos()));
                }
                if converter.object(scan, columns, Place::Inner)? != Fate::Good {
                    fate = Fate::Partial;
                }
            }
            Ok(fate)
        }
        _ => Err(Malformed::new("the record is neither an object nor an array of objects", 0)),
    }
}
