//! Text: one string column `value`, a row per line, or per input with `wholetext`.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use millstream_core::{Error, OptionSpec, Options, ParseMode, Result};

use crate::column::Column;
use crate::decoder::{BatchSink, DecodeSettings};
use crate::encoder::{Encoder, Typed, write_line_separator};
use crate::input::{CutOptions, InputCutter, Piece};
use crate::lines::{LineEnd, LineWalk};
use crate::read_options::{check_encoding, line_separator, record_bytes_max};
use crate::record_decoder::{RecordDecoder, Records};
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
pub type TextDecoder = RecordDecoder<TextRecords>;

/// The records of text inputs.
#[derive(Debug)]
pub struct TextRecords {
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
        let cutter = InputCutter::new(CutOptions {
            line_end: line_end.clone(),
            multi_line: options.whole_text,
            record_bytes_max: options.record_bytes_max,
        });
        // No column of bad records: no name is that long.
        let rows = Rows::new(schema, "", ParseMode::Permissive, settings)?;
        Ok(Self::of(cutter, TextRecords { rows, walk: LineWalk::new(line_end) }))
    }
}

impl Records for TextRecords {
    fn begin(&mut self, _origin: &str) {
        self.walk.line = 0;
    }

    fn take(&mut self, piece: Piece<'_>, sink: &mut BatchSink<'_>) -> Result<usize> {
        match piece {
            Piece::Lines(lines) => {
                let mut at = 0;
                while let Some((_, line)) = self.walk.next(lines, &mut at) {
                    self.record(line)?;
                    self.rows.give_full(sink)?;
                }
                Ok(at)
            }
            Piece::Open { is_end: false, .. } => Ok(0),
            // An empty input is a row too.
            Piece::Open { input, is_end: true } => {
                self.walk.line = 1;
                self.record(input)?;
                self.rows.give_full(sink)?;
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

impl TextRecords {
    fn record(&mut self, line: &[u8]) -> Result<()> {
        if let Some(Column::Str(column)) = self.rows.root.children.first_mut() {
            // The check alone takes a fraction of what mending does.
            match std::str::from_utf8(line) {
                Ok(_) => column.push(line),
                Err(_) => column.push(String::from_utf8_lossy(line).as_bytes()),
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
