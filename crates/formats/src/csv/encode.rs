//! [`CsvEncoder`]: rows to CSV lines, and structs to CSV texts (`to_csv`), quoted as Spark's writer (univocity) quotes.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Schema};

use millstream_core::{Error, OptionSpec, Options, Result};

use super::convert::check_flat;
use super::options::{byte, separator};
use crate::datetime::Zone;
use crate::encoder::{Encoder, TimeTexts, Typed, write_line_separator};
use crate::read_options::check_encoding;

/// Options of CSV writers and of `to_csv`, for checking names.
pub const CSV_WRITE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("sep", "separator of values, one or more characters (,)"),
    OptionSpec::new("delimiter", "the same as sep"),
    OptionSpec::new("quote", "character around values that need it (\")"),
    OptionSpec::new("quoteAll", "quote every value (false)"),
    OptionSpec::new("escapeQuotes", "quote values that hold a quote (true)"),
    OptionSpec::new("escape", "character before a quote within quotes (\\)"),
    OptionSpec::new("charToEscapeQuoteEscaping", "character before an escape within quotes (the escape, if it is not the quote)"),
    OptionSpec::new("comment", "quote first values that begin with this character (none)"),
    OptionSpec::new("header", "write the names of the columns first (false)"),
    OptionSpec::new("nullValue", "text of null (empty)"),
    OptionSpec::new("emptyValue", "text of an empty string (\"\")"),
    OptionSpec::new("ignoreLeadingWhiteSpace", "cut blanks before values (true)"),
    OptionSpec::new("ignoreTrailingWhiteSpace", "cut blanks behind values (true)"),
    OptionSpec::new("dateFormat", "datetime pattern of dates (yyyy-MM-dd)"),
    OptionSpec::new("timestampFormat", "datetime pattern of timestamps (yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX])"),
    OptionSpec::new("timestampNTZFormat", "datetime pattern of timestamps without time zone (yyyy-MM-dd'T'HH:mm:ss[.SSS])"),
    OptionSpec::new("timeZone", "zone of timestamps (the session's)"),
    OptionSpec::new("lineSep", "what follows a record (\\n)"),
    OptionSpec::new("encoding", "UTF-8"),
    OptionSpec::new("charset", "UTF-8"),
];

/// How CSV is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CsvWriteOptions {
    times: TimeTexts,
    separator: Vec<u8>,
    quote: u8,
    quote_all: bool,
    escape_quotes: bool,
    escape: Option<u8>,
    escape_escape: Option<u8>,
    comment: Option<u8>,
    header: bool,
    null_value: String,
    empty_value: String,
    trim_left: bool,
    trim_right: bool,
    line_separator: Vec<u8>,
}

impl CsvWriteOptions {
    /// Reads the options; names it does not know are left to the caller's [`Options::check`].
    pub fn new(options: &Options, session_zone: Zone) -> Result<Self> {
        check_encoding(options)?;
        let flag = |name: &str, default: bool| Ok::<_, Error>(options.get_bool(name)?.unwrap_or(default));
        // Spark writes NUL as the quote when there is none.
        let quote = byte(options, "quote", Some(b'"'))?.unwrap_or(0);
        let escape = byte(options, "escape", Some(b'\\'))?;
        Ok(Self {
            times: TimeTexts::new(options, session_zone)?,
            separator: separator(options)?,
            quote,
            quote_all: flag("quoteAll", false)?,
            escape_quotes: flag("escapeQuotes", true)?,
            escape,
            escape_escape: byte(options, "charToEscapeQuoteEscaping", escape.filter(|escape| *escape != quote))?,
            comment: byte(options, "comment", None)?,
            header: flag("header", false)?,
            null_value: options.get("nullValue").unwrap_or("").to_owned(),
            empty_value: options.get("emptyValue").unwrap_or("\"\"").to_owned(),
            trim_left: flag("ignoreLeadingWhiteSpace", true)?,
            trim_right: flag("ignoreTrailingWhiteSpace", true)?,
            line_separator: write_line_separator(options)?,
        })
    }
}

/// Record batches to CSV lines.
#[derive(Debug)]
pub struct CsvEncoder {
    options: CsvWriteOptions,
    names: Vec<String>,
    scratch: String,
}

impl CsvEncoder {
    /// An encoder for batches of `schema`; the error names a column whose type cannot be written.
    pub fn new(schema: &Schema, options: CsvWriteOptions) -> Result<Self> {
        for field in schema.fields() {
            check_flat(field)?;
            Typed::new(&arrow::array::new_empty_array(field.data_type()), field.name())?;
        }
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self { options, names, scratch: String::new() })
    }

    /// An encoder that is used only for [`Self::encode_column`].
    pub fn for_columns(options: CsvWriteOptions) -> Self {
        Self { options, names: Vec::new(), scratch: String::new() }
    }

    /// Every struct of an array as one CSV text without line end; null stays null.
    pub fn encode_column(&mut self, values: &ArrayRef) -> Result<StringArray> {
        let DataType::Struct(fields) = values.data_type() else {
            return Err(Error::invalid(format!("to_csv takes a struct, not {}", values.data_type())));
        };
        fields.iter().try_for_each(|field| check_flat(field))?;
        let structs = values.as_struct();
        let columns =
            fields.iter().zip(structs.columns()).map(|(field, column)| Typed::new(column, field.name())).collect::<Result<Vec<_>>>()?;
        let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 32);
        let mut out = Vec::new();
        for row in 0..values.len() {
            if structs.is_null(row) {
                builder.append_null();
                continue;
            }
            out.clear();
            self.row(&columns, row, &mut out)?;
            builder.append_value(std::str::from_utf8(&out).map_err(|_| Error::internal("to_csv made invalid UTF-8"))?);
        }
        Ok(builder.finish())
    }

    fn row(&mut self, columns: &[Typed], row: usize, out: &mut Vec<u8>) -> Result<()> {
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(&self.options.separator);
            }
            if column.is_null(row) {
                self.options.push_null(out);
                continue;
            }
            if let Typed::Str(array) = column {
                self.options.push_text(out, array.value(row), i == 0);
                continue;
            }
            self.scratch.clear();
            match column {
                Typed::Binary(array) => push_hex(&mut self.scratch, array.value(row)),
                other => {
                    other.push_scalar(&mut self.scratch, row, &self.options.times)?;
                }
            }
            self.options.push_text(out, &self.scratch, i == 0);
        }
        Ok(())
    }
}

impl Encoder for CsvEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.options.header && !self.names.is_empty() {
            for (i, name) in self.names.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(&self.options.separator);
                }
                self.options.push_text(out, name, i == 0);
            }
            out.extend_from_slice(&self.options.line_separator);
        }
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = self.names.iter().zip(batch.columns()).map(|(name, column)| Typed::new(column, name)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let start = out.len();
            self.row(&columns, row, out)?;
            // As univocity, which skips empty lines: a single null that is written as nothing is no line.
            if out.len() > start {
                out.extend_from_slice(&self.options.line_separator);
            }
        }
        Ok(())
    }
}

impl CsvWriteOptions {
    fn push_null(&self, out: &mut Vec<u8>) {
        if self.quote_all {
            out.push(self.quote);
            out.extend_from_slice(self.null_value.as_bytes());
            out.push(self.quote);
        } else {
            out.extend_from_slice(self.null_value.as_bytes());
        }
    }

    fn push_text(&self, out: &mut Vec<u8>, text: &str, first: bool) {
        let mut text = text;
        if self.trim_left {
            text = text.trim_start_matches(|c| c <= ' ');
        }
        if self.trim_right {
            text = text.trim_end_matches(|c| c <= ' ');
        }
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            out.extend_from_slice(self.empty_value.as_bytes());
            return;
        }
        if !self.quote_all && !self.needs_quotes(bytes, first) {
            out.extend_from_slice(bytes);
            return;
        }
        out.push(self.quote);
        for byte in bytes {
            if *byte == self.quote {
                out.extend(self.escape);
            } else if Some(*byte) == self.escape {
                out.extend(self.escape_escape);
            }
            out.push(*byte);
        }
        out.push(self.quote);
    }

    fn needs_quotes(&self, bytes: &[u8], first: bool) -> bool {
        let has_break = match self.separator.as_slice() {
            [separator] => memchr::memchr3(*separator, b'\n', b'\r', bytes).is_some(),
            separator => memchr::memchr2(b'\n', b'\r', bytes).is_some() || memchr::memmem::find(bytes, separator).is_some(),
        };
        let begins = bytes.first().copied();
        has_break
            || begins == Some(self.quote)
            || (self.escape_quotes && memchr::memchr(self.quote, bytes).is_some())
            || (first && begins == self.comment)
    }
}

/// `[01 FF]`, as Spark shows binary values.
fn push_hex(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    out.push('[');
    for (i, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if i > 0 { " " } else { "" });
    }
    out.push(']');
}
