//! Values to columns with the rules of Spark's `UnivocityParser`.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field};

use millstream_core::{Error, Result};

use super::options::CsvReadOptions;
use super::split::Value;
use crate::column::Column;
use crate::datetime;
use crate::number::{parse_decimal, parse_java_double};

/// CSV holds no nested values: refused by name.
pub(super) fn check_flat(field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {
            Err(Error::invalid(format!("csv does not support the column '{}' of type {}", field.name(), field.data_type()))
                .code("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE"))
        }
        _ => Ok(()),
    }
}

/// Pushes one value; `false` if it does not fit, then nothing was pushed.
#[inline]
pub(super) fn push_value(column: &mut Column, value: Value<'_>, options: &CsvReadOptions) -> bool {
    let bytes = match value {
        Value::Nothing => {
            column.push_null();
            return true;
        }
        Value::QuotedEmpty => options.empty_value.as_bytes(),
        Value::Text(bytes) => bytes,
    };
    if bytes == options.null_value.as_bytes() {
        column.push_null();
        return true;
    }
    match column {
        Column::Str(column) => match std::str::from_utf8(bytes) {
            Ok(_) => column.push(bytes),
            Err(_) => column.push(String::from_utf8_lossy(bytes).as_bytes()),
        },
        Column::Binary(column) => column.push(bytes),
        other => {
            let text = match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(bytes),
            };
            return push_text(other, &text, options).is_some();
        }
    }
    true
}

fn push_text(column: &mut Column, text: &str, options: &CsvReadOptions) -> Option<()> {
    match column {
        Column::Int8(column) => column.push(text.parse().ok()?),
        Column::Int16(column) => column.push(text.parse().ok()?),
        Column::Int32(column) => column.push(text.parse().ok()?),
        Column::Int64(column) => column.push(text.parse().ok()?),
        Column::Float32(column) => column.push(float(text, options)? as f32),
        Column::Float64(column) => column.push(float(text, options)?),
        Column::Bool(column) => {
            let value = text.eq_ignore_ascii_case("true");
            if !value && !text.eq_ignore_ascii_case("false") {
                return None;
            }
            column.push(Some(value));
        }
        Column::Decimal(column, precision, scale) => {
            let value = if text.contains(',') {
                parse_decimal(&text.replace(',', ""), *precision, *scale)
            } else {
                parse_decimal(text, *precision, *scale)
            };
            column.push(value?);
        }
        Column::Date(column) => column.push(match &options.date_format {
            Some(pattern) => pattern.parse_date(text)?,
            None => datetime::parse_date(text)?,
        }),
        Column::Timestamp(column, Some(_)) => column.push(match &options.timestamp_format {
            Some(pattern) => pattern.parse_timestamp(text, options.zone)?,
            None => datetime::parse_timestamp_at(text, options.zone, options.now_us)?,
        }),
        Column::Timestamp(column, None) => column.push(match &options.timestamp_ntz_format {
            Some(pattern) => pattern.parse_timestamp_ntz(text, false)?,
            None => datetime::parse_timestamp_ntz(text, false)?,
        }),
        Column::Null(_) => column.push_null(),
        Column::Str(_) | Column::Binary(_) | Column::Struct(_) | Column::List(_) | Column::Map(_) => return None,
    }
    Some(())
}

fn float(text: &str, options: &CsvReadOptions) -> Option<f64> {
    if text == options.nan_value {
        Some(f64::NAN)
    } else if text == options.negative_inf {
        Some(f64::NEG_INFINITY)
    } else if text == options.positive_inf {
        Some(f64::INFINITY)
    } else {
        parse_java_double(text)
    }
}

/// Why a value does not fit.
pub(super) fn bad_value(value: Value<'_>, field: &str) -> String {
    let text = match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes)).into_owned(),
        _ => String::new(),
    };
    format!("the value \"{text}\" does not fit the type of column '{field}'")
}
