//! Spark's text of any value: `[1, null]`, `{k -> v}`, `{1, x}`, `2020-01-02 03:04:05.12`.
//!
//! A cast to STRING and a table for people differ in two things only, which [`ValueStyle`] says.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimestampMicrosecondType,
};
use millstream_core::{Error, Result};

use crate::datetime::{
    IntervalRange, Zone, calendar_interval_text, push_date, push_day_time_interval, push_timestamp, push_timestamp_ntz,
    push_year_month_interval,
};
use crate::number::{push_double, push_float, push_plain_decimal};

/// How values are written.
#[derive(Debug, Clone, Copy)]
pub struct ValueStyle {
    zone: Zone,
    /// The range of a column of intervals; those inside other values show all their fields.
    range: Option<IntervalRange>,
    null: &'static str,
    is_binary_hex: bool,
}

impl ValueStyle {
    /// As `CAST(value AS STRING)`: nested nulls are `null`, bytes are taken for UTF-8.
    pub fn cast(zone: Zone) -> Self {
        Self { zone, range: None, null: "null", is_binary_hex: false }
    }

    /// As `show()`: nulls are `NULL`, bytes are `[01 FF]`.
    pub fn show(zone: Zone) -> Self {
        Self { zone, range: None, null: "NULL", is_binary_hex: true }
    }

    /// For a column of intervals of this range.
    pub fn with_range(self, range: Option<IntervalRange>) -> Self {
        Self { range, ..self }
    }
}

/// Appends the value of a row, or the style's word for null.
pub fn push_value(out: &mut String, array: &dyn Array, row: usize, style: &ValueStyle) -> Result<()> {
    if array.data_type() == &DataType::Null || array.is_null(row) {
        out.push_str(style.null);
        return Ok(());
    }
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => push_display(out, array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => push_display(out, array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => push_display(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => push_display(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => push_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => push_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => push_plain_decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Binary => push_binary(out, array.as_binary::<i32>().value(row), style),
        DataType::BinaryView => push_binary(out, array.as_binary_view().value(row), style),
        DataType::LargeBinary => push_binary(out, array.as_binary::<i64>().value(row), style),
        DataType::Date32 => push_date(out, array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(_, zone) => {
            let us = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| unexpected(array))?.value(row);
            match zone {
                Some(_) => push_timestamp(out, us, style.zone),
                None => push_timestamp_ntz(out, us),
            }
        }
        DataType::Duration(_) => {
            let us = array.as_primitive_opt::<DurationMicrosecondType>().ok_or_else(|| unexpected(array))?.value(row);
            push_day_time_interval(out, us, style.range);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            push_year_month_interval(out, array.as_primitive::<IntervalYearMonthType>().value(row), style.range);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.push_str(&calendar_interval_text(value.months, value.days, value.nanoseconds / 1000));
        }
        DataType::List(_) => push_list(out, &array.as_list::<i32>().value(row), style)?,
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for idx in 0..entries.len() {
                if idx > 0 {
                    out.push_str(", ");
                }
                push_value(out, keys, idx, style)?;
                out.push_str(" -> ");
                push_value(out, values, idx, style)?;
            }
            out.push('}');
        }
        DataType::Struct(_) => {
            out.push('{');
            for (idx, column) in array.as_struct().columns().iter().enumerate() {
                if idx > 0 {
                    out.push_str(", ");
                }
                push_value(out, column, row, style)?;
            }
            out.push('}');
        }
        _ => return Err(unexpected(array)),
    }
    Ok(())
}

fn push_list(out: &mut String, values: &ArrayRef, style: &ValueStyle) -> Result<()> {
    out.push('[');
    for idx in 0..values.len() {
        if idx > 0 {
            out.push_str(", ");
        }
        push_value(out, values, idx, style)?;
    }
    out.push(']');
    Ok(())
}

fn push_binary(out: &mut String, bytes: &[u8], style: &ValueStyle) {
    if !style.is_binary_hex {
        // What is not UTF-8 becomes the replacement character, since an Arrow string must be valid.
        out.push_str(&String::from_utf8_lossy(bytes));
        return;
    }
    out.push('[');
    for (idx, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if idx > 0 { " " } else { "" });
    }
    out.push(']');
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

fn unexpected(array: &dyn Array) -> Error {
    Error::internal(format!("no text form for {}", array.data_type()))
}
