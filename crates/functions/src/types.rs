//! Spark's type names and the Arrow types that carry them.
//!
//! A type travels into a kernel as a literal in Spark's catalog form (`struct<a:int,b:array<string>>`), because
//! functions must survive serialisation by name. Reads both the catalog form and `STRUCT<a: INT>`; never reads
//! table definitions (that is the parser's work).

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use millstream_formats::datetime::{IntervalField, IntervalRange};

use crate::error::{internal, invalid};

/// The time zone name that `TIMESTAMP` carries in Arrow.
pub const UTC: &str = "UTC";

/// Arrow's form of `TIMESTAMP`.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Arrow's form of `TIMESTAMP_NTZ`.
pub fn timestamp_ntz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Arrow's form of `INTERVAL DAY TO SECOND`.
pub fn day_time_interval() -> DataType {
    DataType::Duration(TimeUnit::Microsecond)
}

/// Arrow's form of `INTERVAL YEAR TO MONTH`.
pub fn year_month_interval() -> DataType {
    DataType::Interval(IntervalUnit::YearMonth)
}

/// Arrow's form of Spark's calendar interval.
pub fn calendar_interval() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

/// `ARRAY<element>`.
pub fn array_of(element: DataType) -> DataType {
    DataType::List(element_field(element))
}

/// The field of an array's elements.
pub fn element_field(element: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", element, true))
}

/// `MAP<key, value>`.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(map_fields(key, value)), false)), false)
}

/// The fields of a map's entries.
pub fn map_fields(key: DataType, value: DataType) -> Fields {
    Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)])
}

/// `STRUCT<...>` with nullable fields.
pub fn struct_of<N: Into<String>>(fields: impl IntoIterator<Item = (N, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect())
}

/// The element type of an array type.
pub(crate) fn element_of(data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::List(field) => Ok(field.data_type().clone()),
        DataType::Null => Ok(DataType::Null),
        other => Err(internal(format!("expected an array, got {other}"))),
    }
}

/// The key and value types of a map type.
pub(crate) fn key_value_of(data_type: &DataType) -> Result<(DataType, DataType)> {
    if let DataType::Map(entries, _) = data_type
        && let DataType::Struct(fields) = entries.data_type()
        && let [key, value] = fields.as_ref()
    {
        return Ok((key.data_type().clone(), value.data_type().clone()));
    }
    Err(internal(format!("expected a map, got {data_type}")))
}

/// The name Spark gives to a type in `typeof` and schemas: `int`, `array<struct<a:int>>`.
/// Ranges of intervals (`interval hour to minute`) are not in the Arrow type: they print as the full range.
pub fn type_name(data_type: &DataType) -> String {
    let mut text = String::new();
    write_name(&mut text, data_type);
    text
}

fn write_name(out: &mut String, data_type: &DataType) {
    let name = match data_type {
        DataType::Null => "void",
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        DataType::Date32 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => "timestamp_ntz",
        DataType::Duration(_) => "interval day to second",
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month",
        DataType::Interval(_) => "interval",
        DataType::Decimal128(precision, scale) => {
            let _ = write!(out, "decimal({precision},{scale})");
            return;
        }
        DataType::List(element) => {
            out.push_str("array<");
            write_name(out, element.data_type());
            out.push('>');
            return;
        }
        DataType::Map(entries, _) => {
            out.push_str("map<");
            if let DataType::Struct(fields) = entries.data_type() {
                for (idx, field) in fields.iter().enumerate() {
                    if idx > 0 {
                        out.push(',');
                    }
                    write_name(out, field.data_type());
                }
            }
            out.push('>');
            return;
        }
        DataType::Struct(fields) => {
            out.push_str("struct<");
            for (idx, field) in fields.iter().enumerate() {
                if idx > 0 {
                    out.push(',');
                }
                write_identifier(out, field.name());
                out.push(':');
                write_name(out, field.data_type());
            }
            out.push('>');
            return;
        }
        other => {
            let _ = write!(out, "{other}");
            return;
        }
    };
    out.push_str(name);
}

/// Spark's SQL form of a type: `STRUCT<a: BIGINT, b: ARRAY<STRING>>`.
pub(crate) fn write_sql_name(out: &mut String, data_type: &DataType) {
    match data_type {
        DataType::List(element) => {
            out.push_str("ARRAY<");
            write_sql_name(out, element.data_type());
            out.push('>');
        }
        DataType::Map(..) => {
            if let Ok((key, value)) = key_value_of(data_type) {
                out.push_str("MAP<");
                write_sql_name(out, &key);
                out.push_str(", ");
                write_sql_name(out, &value);
                out.push('>');
            }
        }
        DataType::Struct(fields) => {
            out.push_str("STRUCT<");
            for (idx, field) in fields.iter().enumerate() {
                if idx > 0 {
                    out.push_str(", ");
                }
                let name = field.name();
                let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !name.starts_with(|c: char| c.is_ascii_digit())
                    && !name.is_empty();
                if plain {
                    out.push_str(name);
                } else {
                    out.push_str(&format!("`{}`", name.replace('`', "``")));
                }
                out.push_str(": ");
                write_sql_name(out, field.data_type());
            }
            out.push('>');
        }
        other => out.push_str(&type_name(other).to_uppercase()),
    }
}

/// Quotes a name only when reading it back would need the quotes.
fn write_identifier(out: &mut String, name: &str) {
    if name.contains(['`', ',', ':', '<', '>', '(', ')', ' ']) || name.is_empty() {
        out.push('`');
        out.push_str(&name.replace('`', "``"));
        out.push('`');
    } else {
        out.push_str(name);
    }
}

/// A type as written, with the interval range that its Arrow type cannot carry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WrittenType {
    pub(crate) data_type: DataType,
    pub(crate) range: Option<IntervalRange>,
}

/// The Arrow type of a Spark type name: `decimal(10,2)`, `array<struct<a:int>>`, `interval day to second`.
pub fn parse_type(text: &str) -> Result<DataType> {
    Ok(parse_written(text)?.data_type)
}

pub(crate) fn parse_written(text: &str) -> Result<WrittenType> {
    let mut parser = Parser { text, rest: text };
    let written = parser.written(0)?;
    parser.skip_space();
    if parser.rest.is_empty() { Ok(written) } else { Err(parser.error()) }
}

/// Deeper types than this are refused instead of exhausting the stack.
const DEPTH_MAX: usize = 200;

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn error(&self) -> datafusion::common::DataFusionError {
        invalid("PARSE_SYNTAX_ERROR", format!("cannot read the type \"{}\" at \"{}\"", self.text, self.rest))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.eat(c) { Ok(()) } else { Err(self.error()) }
    }

    fn word(&mut self) -> String {
        self.skip_space();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_ascii_lowercase()
    }

    fn peek_word(&mut self) -> String {
        let rest = self.rest;
        let word = self.word();
        self.rest = rest;
        word
    }

    /// A field name, as written: bare up to the next `:` or space, or in backticks.
    fn identifier(&mut self) -> Result<String> {
        self.skip_space();
        if let Some(mut rest) = self.rest.strip_prefix('`') {
            let mut name = String::new();
            loop {
                let Some(end) = rest.find('`') else { return Err(self.error()) };
                let (part, after) = rest.split_at(end);
                name.push_str(part);
                rest = after.get(1..).unwrap_or("");
                if let Some(more) = rest.strip_prefix('`') {
                    name.push('`');
                    rest = more;
                } else {
                    self.rest = rest;
                    return Ok(name);
                }
            }
        }
        let end = self.rest.find([':', ' ', ',', '>', '<']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() { Err(self.error()) } else { Ok(name.to_string()) }
    }

    fn number(&mut self) -> Result<i64> {
        self.skip_space();
        let negative = self.eat('-');
        let word = self.word();
        let value: i64 = word.parse().map_err(|_| self.error())?;
        Ok(if negative { -value } else { value })
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        Ok(self.written(depth)?.data_type)
    }

    fn written(&mut self, depth: usize) -> Result<WrittenType> {
        if depth > DEPTH_MAX {
            return Err(invalid("PARSE_SYNTAX_ERROR", "the type is nested too deep"));
        }
        let start = self.rest;
        let data_type = match self.word().as_str() {
            "void" | "null" => DataType::Null,
            "boolean" | "bool" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "string" => DataType::Utf8,
            "char" | "character" | "varchar" => {
                if self.eat('(') {
                    self.number()?;
                    self.expect(')')?;
                }
                DataType::Utf8
            }
            "binary" => DataType::Binary,
            "date" => DataType::Date32,
            "timestamp" | "timestamp_ltz" => timestamp(),
            "timestamp_ntz" => timestamp_ntz(),
            "decimal" | "dec" | "numeric" => self.decimal()?,
            "interval" => return self.interval(),
            "array" => {
                self.expect('<')?;
                let element = self.data_type(depth + 1)?;
                self.expect('>')?;
                array_of(element)
            }
            "map" => {
                self.expect('<')?;
                let key = self.data_type(depth + 1)?;
                self.expect(',')?;
                let value = self.data_type(depth + 1)?;
                self.expect('>')?;
                map_of(key, value)
            }
            "struct" => self.struct_type(depth)?,
            _ => {
                self.rest = start;
                return Err(self.error());
            }
        };
        Ok(WrittenType { data_type, range: None })
    }

    fn decimal(&mut self) -> Result<DataType> {
        let (mut precision, mut scale) = (10, 0);
        if self.eat('(') {
            precision = self.number()?;
            if self.eat(',') {
                scale = self.number()?;
            }
            self.expect(')')?;
        }
        if precision > 38 {
            return Err(invalid(
                "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
                format!("decimal precision {precision} exceeds the limit of 38"),
            ));
        }
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(precision), Ok(scale)) if scale <= precision as i8 => Ok(DataType::Decimal128(precision, scale)),
            _ => Err(self.error()),
        }
    }

    fn interval(&mut self) -> Result<WrittenType> {
        let Some(from) = IntervalField::parse(&self.peek_word()) else {
            return Ok(WrittenType { data_type: calendar_interval(), range: None });
        };
        self.word();
        let mut to = from;
        if self.peek_word() == "to" {
            self.word();
            to = IntervalField::parse(&self.word()).ok_or_else(|| self.error())?;
        }
        let data_type = match (from, to) {
            (IntervalField::Year | IntervalField::Month, IntervalField::Year | IntervalField::Month) => year_month_interval(),
            (from, to) if from >= IntervalField::Day && to >= from => day_time_interval(),
            _ => return Err(self.error()),
        };
        Ok(WrittenType { data_type, range: Some((from, to)) })
    }

    fn struct_type(&mut self, depth: usize) -> Result<DataType> {
        self.expect('<')?;
        let mut fields = Vec::new();
        if self.eat('>') {
            return Ok(DataType::Struct(Fields::empty()));
        }
        loop {
            let name = self.identifier()?;
            self.eat(':');
            let data_type = self.data_type(depth + 1)?;
            // Nullability is not enforced on read, as in Spark.
            if self.peek_word() == "not" {
                self.word();
                self.word();
            }
            fields.push((name, data_type));
            if self.eat('>') {
                return Ok(struct_of(fields));
            }
            self.expect(',')?;
        }
    }
}

#[cfg(test)]
mod tests;
