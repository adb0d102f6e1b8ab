//! Casts to STRING, of every type: `[1, null]`, `{k -> v}`, `{1, x}`, `2020-01-02 03:04:05.12`.
//!
//! One writer per type, chosen once per column; rows are appended to one buffer.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray, StringBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::Result;
use millstream_formats::datetime::{push_date, push_timestamp, push_timestamp_ntz};

use super::{CastOptions, interval};
use crate::error::internal;
use crate::rows::text_rows;
use crate::text::{write_decimal, write_double, write_float};

/// Casts any column to STRING.
pub(super) fn to_text(array: &ArrayRef, options: &CastOptions) -> Result<ArrayRef> {
    macro_rules! column {
        ($type:ty, $write:expr) => {{
            let values = array.as_primitive::<$type>();
            return text_rows(values.len(), |row, out| {
                if values.is_null(row) {
                    return Ok(false);
                }
                $write(out, values.value(row));
                Ok(true)
            });
        }};
    }
    match array.data_type() {
        // Arrow writes these as Spark does, and fast.
        DataType::Boolean => return Ok(arrow::compute::cast(array, &DataType::Utf8)?),
        data_type if data_type.is_integer() => return Ok(arrow::compute::cast(array, &DataType::Utf8)?),
        DataType::Float64 => column!(Float64Type, write_double),
        DataType::Date32 => column!(Date32Type, push_date),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            column!(TimestampMicrosecondType, |out: &mut String, us| push_timestamp(out, us, options.zone))
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            column!(Decimal128Type, |out: &mut String, value| write_decimal(out, value, scale))
        }
        _ => {}
    }
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        write_value(&mut text, array, row, options)?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// Appends the text of a value that is not NULL.
pub(crate) fn write_value(out: &mut String, array: &dyn Array, row: usize, options: &CastOptions) -> Result<()> {
    match array.data_type() {
        DataType::Null => out.push_str("null"),
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => write_display(out, array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => write_display(out, array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write_display(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write_display(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => write_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => write_decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Binary => out.push_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row))),
        DataType::Date32 => push_date(out, array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(_, zone) => {
            let us = array
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| internal("expected a timestamp in microseconds"))?
                .value(row);
            match zone {
                Some(_) => push_timestamp(out, us, options.zone),
                None => push_timestamp_ntz(out, us),
            }
        }
        DataType::Duration(_) => {
            let us = array
                .as_primitive_opt::<DurationMicrosecondType>()
                .ok_or_else(|| internal("expected an interval in microseconds"))?
                .value(row);
            interval::write_day_time(out, us, options.from_range);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            interval::write_year_month(out, array.as_primitive::<IntervalYearMonthType>().value(row), options.from_range);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            interval::write_calendar(out, value.months, value.days, value.nanoseconds / 1000);
        }
        DataType::List(_) => write_list(out, &array.as_list::<i32>().value(row), options)?,
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for idx in 0..entries.len() {
                if idx > 0 {
                    out.push_str(", ");
                }
                write_value(out, keys, idx, options)?;
                out.push_str(" -> ");
                write_nullable(out, values, idx, options)?;
            }
            out.push('}');
        }
        DataType::Struct(_) => {
            out.push('{');
            for (idx, column) in array.as_struct().columns().iter().enumerate() {
                if idx > 0 {
                    out.push_str(", ");
                }
                write_nullable(out, column, row, options)?;
            }
            out.push('}');
        }
        other => return Err(internal(format!("no text form for {other}"))),
    }
    Ok(())
}

fn write_list(out: &mut String, values: &ArrayRef, options: &CastOptions) -> Result<()> {
    out.push('[');
    for idx in 0..values.len() {
        if idx > 0 {
            out.push_str(", ");
        }
        write_nullable(out, values, idx, options)?;
    }
    out.push(']');
    Ok(())
}

fn write_nullable(out: &mut String, array: &ArrayRef, row: usize, options: &CastOptions) -> Result<()> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str("null");
        Ok(())
    } else {
        write_value(out, array, row, options)
    }
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

/// Bytes that are not UTF-8 become the replacement character, since an Arrow string must be valid.
pub(super) fn binary_to_text(array: &BinaryArray) -> Result<ArrayRef> {
    let text: StringArray = array.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect();
    Ok(Arc::new(text))
}
