//! [`JsonEncoder`]: rows to JSON lines, and values to JSON texts (`to_json`), as Spark's `JacksonGenerator` writes them.

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Schema};
use base64::Engine as _;

use millstream_core::{Error, OptionSpec, Options, Result};

use crate::datetime::Zone;
use crate::encoder::{Encoder, TimeTexts, Typed, push_int, write_line_separator};
use crate::read_options::check_encoding;

/// Options of JSON writers and of `to_json`, for checking names.
pub const JSON_WRITE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("dateFormat", "datetime pattern of dates (yyyy-MM-dd)"),
    OptionSpec::new("timestampFormat", "datetime pattern of timestamps (yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX])"),
    OptionSpec::new("timestampNTZFormat", "datetime pattern of timestamps without time zone (yyyy-MM-dd'T'HH:mm:ss[.SSS])"),
    OptionSpec::new("timeZone", "zone of timestamps (the session's)"),
    OptionSpec::new("ignoreNullFields", "leave out fields that are null (true)"),
    OptionSpec::new("writeNonAsciiCharacterAsCodePoint", "write characters beyond ASCII as escapes (false)"),
    OptionSpec::new("lineSep", "what follows a record (\\n)"),
    OptionSpec::new("encoding", "UTF-8"),
    OptionSpec::new("charset", "UTF-8"),
    OptionSpec::new("pretty", "false"),
];

/// How JSON is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JsonWriteOptions {
    times: TimeTexts,
    /// Fields that are null are left out.
    pub ignore_null_fields: bool,
    /// Characters beyond ASCII are written as escapes.
    pub ascii_only: bool,
    /// What follows a record.
    pub line_separator: Vec<u8>,
}

impl JsonWriteOptions {
    /// Reads the options; names it does not know are left to the caller's [`Options::check`].
    pub fn new(options: &Options, session_zone: Zone) -> Result<Self> {
        check_encoding(options)?;
        if options.get_bool("pretty")? == Some(true) {
            return Err(Error::unsupported("option 'pretty' is 'true': only one record a line is supported"));
        }
        Ok(Self {
            times: TimeTexts::new(options, session_zone)?,
            ignore_null_fields: options.get_bool("ignoreNullFields")?.unwrap_or(true),
            ascii_only: options.get_bool("writeNonAsciiCharacterAsCodePoint")?.unwrap_or(false),
            line_separator: write_line_separator(options)?,
        })
    }
}

/// Record batches to JSON lines.
#[derive(Debug)]
pub struct JsonEncoder {
    options: JsonWriteOptions,
    scratch: String,
}

impl JsonEncoder {
    /// An encoder for batches of `schema`; the error names a column whose type cannot be written.
    pub fn new(schema: &Schema, options: JsonWriteOptions) -> Result<Self> {
        for field in schema.fields() {
            Typed::new(&arrow::array::new_empty_array(field.data_type()), field.name())?;
        }
        Ok(Self { options, scratch: String::new() })
    }

    /// An encoder that is used only for [`Self::encode_column`].
    pub fn for_columns(options: JsonWriteOptions) -> Self {
        Self { options, scratch: String::new() }
    }

    /// Every struct, list or map of an array as one JSON text; null stays null.
    pub fn encode_column(&mut self, values: &ArrayRef) -> Result<StringArray> {
        if !matches!(values.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) {
            return Err(Error::invalid(format!("to_json takes a struct, array or map, not {}", values.data_type())));
        }
        let typed = Typed::new(values, "value")?;
        let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 32);
        let mut out = Vec::new();
        for row in 0..values.len() {
            if typed.is_null(row) {
                builder.append_null();
                continue;
            }
            out.clear();
            Writer { options: &self.options, scratch: &mut self.scratch, out: &mut out }.value(&typed, row)?;
            builder.append_value(std::str::from_utf8(&out).map_err(|_| Error::internal("to_json made invalid UTF-8"))?);
        }
        Ok(builder.finish())
    }
}

impl Encoder for JsonEncoder {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let mut name = String::new();
                push_quoted(&mut name, field.name(), self.options.ascii_only);
                Ok((name, Typed::new(column, field.name())?))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut writer = Writer { options: &self.options, scratch: &mut self.scratch, out };
        for row in 0..batch.num_rows() {
            writer.out.push(b'{');
            let mut first = true;
            for (name, column) in &columns {
                writer.member(name, column, row, &mut first)?;
            }
            writer.out.push(b'}');
            writer.out.extend_from_slice(&self.options.line_separator);
        }
        Ok(())
    }
}

struct Writer<'a> {
    options: &'a JsonWriteOptions,
    scratch: &'a mut String,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// `name` is quoted already.
    #[inline]
    fn member(&mut self, name: &str, column: &Typed, row: usize, first: &mut bool) -> Result<()> {
        if self.options.ignore_null_fields && column.is_null(row) {
            return Ok(());
        }
        if !std::mem::take(first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
        self.value(column, row)
    }

    fn value(&mut self, column: &Typed, row: usize) -> Result<()> {
        if column.is_null(row) {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        self.scratch.clear();
        match column {
            Typed::Str(array) => {
                push_quoted(self.scratch, array.value(row), self.options.ascii_only);
                self.out.extend_from_slice(self.scratch.as_bytes());
            }
            Typed::Binary(array) => {
                base64::engine::general_purpose::STANDARD.encode_string(array.value(row), self.scratch);
                self.quoted();
            }
            Typed::Struct(_, children) => {
                self.out.push(b'{');
                let mut first = true;
                for (name, child) in children {
                    if self.options.ascii_only && !name.is_ascii() {
                        let mut ascii = String::new();
                        name.chars().for_each(|c| if c.is_ascii() { ascii.push(c) } else { push_escape(&mut ascii, c) });
                        self.member(&ascii, child, row, &mut first)?;
                    } else {
                        self.member(name, child, row, &mut first)?;
                    }
                }
                self.out.push(b'}');
            }
            Typed::List(array, child) => {
                self.out.push(b'[');
                for (i, element) in range(array.value_offsets(), row).enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.value(child, element)?;
                }
                self.out.push(b']');
            }
            Typed::Map(array, keys, values) => {
                self.out.push(b'{');
                for (i, entry) in range(array.value_offsets(), row).enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.key(keys, entry)?;
                    self.out.push(b':');
                    self.value(values, entry)?;
                }
                self.out.push(b'}');
            }
            Typed::Float32(array) if !array.value(row).is_finite() => {
                column.push_scalar(self.scratch, row, &self.options.times)?;
                self.quoted();
            }
            Typed::Float64(array) if !array.value(row).is_finite() => {
                column.push_scalar(self.scratch, row, &self.options.times)?;
                self.quoted();
            }
            Typed::Date(_) | Typed::Timestamp(_) | Typed::TimestampNtz(_) => {
                column.push_scalar(self.scratch, row, &self.options.times)?;
                // A pattern may hold anything, quotes too.
                let text = std::mem::take(self.scratch);
                push_quoted(self.scratch, &text, self.options.ascii_only);
                self.out.extend_from_slice(self.scratch.as_bytes());
            }
            other => {
                other.push_scalar(self.scratch, row, &self.options.times)?;
                self.out.extend_from_slice(self.scratch.as_bytes());
            }
        }
        Ok(())
    }

    /// Keys are Spark's internal values as text: dates are days, timestamps microseconds.
    fn key(&mut self, keys: &Typed, row: usize) -> Result<()> {
        if let Typed::Str(array) = keys {
            self.scratch.clear();
            push_quoted(self.scratch, array.value(row), self.options.ascii_only);
            self.out.extend_from_slice(self.scratch.as_bytes());
            return Ok(());
        }
        let mut text = String::new();
        match keys {
            Typed::Date(array) => push_int(&mut text, i64::from(array.value(row))),
            Typed::Timestamp(array) | Typed::TimestampNtz(array) => push_int(&mut text, array.value(row)),
            other => {
                if !other.push_scalar(&mut text, row, &self.options.times)? {
                    return Err(Error::unsupported("a map whose keys are binary, structs, arrays or maps cannot be written as json"));
                }
            }
        }
        self.scratch.clear();
        push_quoted(self.scratch, &text, self.options.ascii_only);
        self.out.extend_from_slice(self.scratch.as_bytes());
        Ok(())
    }

    /// What is in the scratch, between quotes; it needs no escapes.
    fn quoted(&mut self) {
        self.out.push(b'"');
        self.out.extend_from_slice(self.scratch.as_bytes());
        self.out.push(b'"');
    }
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets.get(i).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

/// Appends a JSON string with Jackson's escapes.
pub(crate) fn push_quoted(out: &mut String, text: &str, ascii_only: bool) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && !(ascii_only && byte >= 0x80) {
            continue;
        }
        if at < plain_from {
            // Within a character that was escaped as a whole.
            continue;
        }
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        let c = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
        push_escape(out, c);
        plain_from = at + c.len_utf8();
    }
    out.push_str(text.get(plain_from..).unwrap_or_default());
    out.push('"');
}

fn push_escape(out: &mut String, c: char) {
    use std::fmt::Write;
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04X}");
            }
        }
    }
}
