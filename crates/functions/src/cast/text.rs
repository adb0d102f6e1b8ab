//! Casts to STRING, of every type.
//!
//! The common types have a loop of their own; the others are written value by value ([`push_value`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{push_date, push_timestamp};
use millstream_formats::value_text::{ValueStyle, push_value};

use super::CastOptions;
use crate::error::external;
use crate::rows::text_rows;
use crate::text::{write_decimal, write_double};

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
    let style = ValueStyle::cast(options.zone).with_range(options.from_range);
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        push_value(&mut text, array, row, &style).map_err(external)?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// Bytes that are not UTF-8 become the replacement character, since an Arrow string must be valid. Where all are, they are not copied.
pub(super) fn binary_to_text(array: &BinaryArray) -> Result<ArrayRef> {
    if let Ok(text) = StringArray::try_from_binary(array.clone()) {
        return Ok(Arc::new(text));
    }
    let text: StringArray = array.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect();
    Ok(Arc::new(text))
}
