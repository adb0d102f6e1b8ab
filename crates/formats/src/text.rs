//! Text: one string column `value`, a row per line, or per input with `wholetext`.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use millstream_core::{Error, OptionSpec, Options, ParseMode, RejectedRecord, Result};

use crate::column::Column;
use crate::decoder::{BatchSink, Counts, DecodeSettings, Decoder};
use crate::encoder::{Encoder, Typed, write_line_separator};
use crate::lines::{LineCutter, LineEnd, LineWalk, check_record_bytes};
use crate::read_options::{check_encoding, line_separator, record_bytes_max};
use crate::rows::{Raw, Rows, Verdict};

/// Options of text readers, for checking names.
pub const TEXT_READ_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("wholetext", "one row is a whole file (false)"),
    OptionSpec::new("lineSep", "what separates rows (any line end)"),
    OptionSpec::new("encoding", "UTF-8"),
    OptionSpec::new("charset", "UTF-8"),
    OptionSpec::new("maxRecordBytes", "the longest row in bytes (512m)"),
];

/// The schema of text files: one string column `value`.
pub fn text_schema() -> SchemaRef {
    Schema::new(vec![Field::new("value", DataType::Utf8, true)]).into()
}

/// How text is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TextReadOptions {
    /// One row is a whole input.
    pub whole_text: bool,
    /// What separates rows, else any line end.
    pub line_separator: Option<Vec<u8>>,
    /// The longest row.
    pub record_bytes_max: usize,
}

impl TextReadOptions {
    /// Reads the options; names it does not know are left to the caller's [`Options::check`].
    pub fn new(options: &Options) -> Result<Self> {
        check_encoding(options)?;
        Ok(Self {
            whole_text: options.get_bool("wholetext")?.unwrap_or(false),
            line_separator: line_separator(options)?,
            record_bytes_max: record_bytes_max(options)?,
        })
    }
}

/// Text bytes to record batches. Every line is a good record; invalid UTF-8 is replaced by U+FFFD.
#[derive(Debug)]
pub struct TextDecoder {
    lines: LineCutter,
    whole: Option<Vec<u8>>,
    record_bytes_max: usize,
    records: Records,
}

#[derive(Debug)]
struct Records {
    rows: Rows,
    walk: LineWalk,
}

impl TextDecoder {
    /// A decoder for `schema`: one string column of any name, or none when only the number of rows counts.
    pub fn new(schema: &Schema, options: &TextReadOptions, settings: DecodeSettings) -> Result<Self> {
        let fields: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
        if !matches!(fields.as_slice(), [] | [DataType::Utf8]) {
            return Err(Error::invalid("the text format has one column of type STRING")
                .code("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE")
                .hint("leave the schema out: the column is 'value'"));
        }
        let line_end = LineEnd::new(options.line_separator.as_deref());
        Ok(Self {
            lines: LineCutter::new(line_end.clone(), options.record_bytes_max),
            whole: options.whole_text.then(Vec::new),
            record_bytes_max: options.record_bytes_max,
            // No column of bad records: no name is that long.
            records: Records { rows: Rows::new(schema, "", ParseMode::Permissive, settings)?, walk: LineWalk::new(line_end) },
        })
    }
}

impl Decoder for TextDecoder {
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
            // An empty input is a row too.
            let whole = std::mem::take(whole);
            self.records.walk.line = 1;
            self.records.record(&whole)?;
            return self.records.rows.give_full(sink);
        }
        let last = self.lines.end();
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
    fn region(&mut self, region: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        let mut at = 0;
        while let Some((_, line)) = self.walk.next(region, &mut at) {
            self.record(line)?;
            self.rows.give_full(sink)?;
        }
        Ok(())
    }

    fn record(&mut self, line: &[u8]) -> Result<()> {
        if let Some(Column::Str(column)) = self.rows.root.children.first_mut() {
            match String::from_utf8_lossy(line) {
                Cow::Borrowed(text) => column.push(text.as_bytes()),
                Cow::Owned(text) => column.push(text.as_bytes()),
            }
        }
        self.rows.root.close(true);
        self.rows.close(Verdict::Good, Raw { bytes: line, line: self.walk.line })
    }
}

/// Options of text writers, for checking names.
pub const TEXT_WRITE_OPTIONS: &[OptionSpec] =
    &[OptionSpec::new("lineSep", "what follows a row (\\n)"), OptionSpec::new("encoding", "UTF-8"), OptionSpec::new("charset", "UTF-8")];

/// One string column to lines; null is an empty line.
#[derive(Debug)]
pub struct TextEncoder {
    line_separator: Vec<u8>,
}

impl TextEncoder {
    /// An encoder for batches of one string column.
    pub fn new(schema: &Schema, options: &Options) -> Result<Self> {
        check_encoding(options)?;
        let field = match schema.fields().as_ref() {
            [field] => field,
            fields => return Err(Error::invalid(format!("text files hold exactly one column, this table has {}", fields.len()))),
        };
        if !matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) {
            return Err(Error::invalid(format!(
                "the text format does not support the column '{}' of type {}",
                field.name(),
                field.data_type()
            ))
            .code("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE")
            .hint("cast it to STRING"));
        }
        Ok(Self { line_separator: write_line_separator(options)? })
    }
}

impl Encoder for TextEncoder {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let column = batch.columns().first().ok_or_else(|| Error::internal("a text batch without a column"))?;
        let Typed::Str(column) = Typed::new(column, "value")? else {
            return Err(Error::internal("a text batch whose column is no string"));
        };
        for value in column.iter() {
            out.extend_from_slice(value.unwrap_or_default().as_bytes());
            out.extend_from_slice(&self.line_separator);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
