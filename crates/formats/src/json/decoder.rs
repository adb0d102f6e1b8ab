//! [`JsonDecoder`]: JSON lines, or one JSON value per input with `multiLine`.

use arrow::datatypes::{Schema, SchemaRef};

use millstream_core::{RejectedRecord, Result};

use super::convert::{Converter, Fate, Place};
use super::options::JsonReadOptions;
use super::scan::{Malformed, Scanner, Token};
use crate::column::Structs;
use crate::decoder::{BatchSink, Counts, DecodeSettings, Decoder};
use crate::lines::{BOM, LineCutter, LineEnd, LineWalk, check_record_bytes};
use crate::rows::{Raw, Rows, Verdict};

/// JSON bytes to record batches.
#[derive(Debug)]
pub struct JsonDecoder {
    lines: LineCutter,
    /// With `multiLine`, the input so far.
    whole: Option<Vec<u8>>,
    record_bytes_max: usize,
    records: Records,
}

/// Everything but the cutting of lines.
#[derive(Debug)]
struct Records {
    options: JsonReadOptions,
    converter: Converter,
    rows: Rows,
    walk: LineWalk,
}

impl JsonDecoder {
    /// A decoder for `schema`; the error names a column whose type cannot be read from JSON.
    pub fn new(schema: &Schema, options: JsonReadOptions, settings: DecodeSettings) -> Result<Self> {
        let line_end = LineEnd::new(options.line_separator.as_deref());
        Ok(Self {
            lines: LineCutter::new(line_end.clone(), options.record_bytes_max),
            whole: options.multi_line.then(Vec::new),
            record_bytes_max: options.record_bytes_max,
            records: Records {
                rows: Rows::new(schema, &options.corrupt_record_column, options.mode, settings)?,
                converter: Converter::new(options.clone()),
                options,
                walk: LineWalk::new(line_end),
            },
        })
    }

    /// One record that is not a line of a file, such as the value of a message; `position` names it when it is bad.
    pub fn push_record(&mut self, record: &[u8], position: u64, sink: &mut BatchSink<'_>) -> Result<()> {
        check_record_bytes(record.len(), self.record_bytes_max)?;
        self.records.walk.line = position;
        let mut scan = Scanner::new(self.records.options.dialect);
        self.records.record(&mut scan, record, std::str::from_utf8(record).ok())?;
        self.records.rows.give_full(sink)
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        self.records.rows.schema()
    }

    fn begin(&mut self, origin: &str) {
        self.lines.begin();
        if let Some(whole) = &mut self.whole {
            whole.clear();
        }
        self.records.walk.line = 0;
        self.records.rows.begin(origin);
    }

    fn push(&mut self, bytes: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(bytes);
            return check_record_bytes(whole.len(), self.record_bytes_max);
        }
        let records = &mut self.records;
        self.lines.push(bytes, &mut |region| records.region(region, sink))
    }

    fn end(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        if let Some(whole) = &mut self.whole {
            let whole = std::mem::take(whole);
            self.records.walk.line = 1;
            let record = whole.strip_prefix(BOM).unwrap_or(&whole);
            let mut scan = Scanner::new(self.records.options.dialect);
            self.records.record(&mut scan, record, std::str::from_utf8(record).ok())?;
            return self.records.rows.give_full(sink);
        }
        let last = self.lines.end();
        if last.is_empty() {
            return Ok(());
        }
        self.records.region(&last, sink)
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
        // Checked at once where possible, line by line only if there is something to find.
        let text = std::str::from_utf8(region).ok();
        let mut scan = Scanner::new(self.options.dialect);
        let mut at = 0;
        while let Some((start, line)) = self.walk.next(region, &mut at) {
            let line_text = match text {
                Some(text) => text.get(start..start + line.len()),
                None => std::str::from_utf8(line).ok(),
            };
            self.record(&mut scan, line, line_text)?;
            self.rows.give_full(sink)?;
        }
        Ok(())
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
