//! Casts to and from dates and timestamps.
//!
//! A TIMESTAMP is seconds when seen as a number; a DATE and a TIMESTAMP_NTZ meet it in the session time zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{MICROS_PER_DAY, MICROS_PER_SECOND, parse_date, parse_timestamp, parse_timestamp_ntz};

use super::numeric::{between as between_numbers, try_map};
use super::{CastMode, CastOptions, cast_overflow, invalid_input, mismatch};
use crate::decimal::{pow10, rescale};
use crate::error::{data, decimal_overflow};
use crate::types::{UTC, timestamp};

type Timestamps = PrimitiveArray<TimestampMicrosecondType>;

/// Casts text to DATE, TIMESTAMP and TIMESTAMP_NTZ.
pub(super) fn from_text(array: &StringArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    match to {
        DataType::Date32 => {
            let mut builder = PrimitiveArray::<Date32Type>::builder(array.len());
            for text in array {
                match text {
                    Some(text) => builder.append_option(match parse_date(text).or_else(|| special_days(text)) {
                        Some(days) => Some(days),
                        None => options.fault(|| invalid_input(text, "STRING", to))?,
                    }),
                    None => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Timestamp(_, zone) => {
            let mut builder = Timestamps::builder(array.len());
            for text in array {
                let Some(text) = text else {
                    builder.append_null();
                    continue;
                };
                let parsed = match zone {
                    Some(_) => parse_timestamp(text, options.zone),
                    None => parse_timestamp_ntz(text, true),
                };
                // The epoch has one meaning as an instant and one as a local time.
                let parsed = parsed.or_else(|| special_days(text).map(|_| 0));
                builder.append_option(match parsed {
                    Some(us) => Some(us),
                    None => options.fault(|| invalid_input(text, "STRING", to))?,
                });
            }
            Ok(Arc::new(builder.finish().with_timezone_opt(zone.clone())))
        }
        _ => Err(mismatch(array.data_type(), to)),
    }
}

/// `epoch`, the one special word that does not depend on the clock (`today` and its like are the analyzer's).
fn special_days(text: &str) -> Option<i32> {
    super::numeric::trim(text).eq_ignore_ascii_case("epoch").then_some(0)
}

/// Casts between dates, timestamps and numbers.
pub(super) fn between(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    use DataType as D;
    let zone = options.zone;
    let out_of_range = || data("DATETIME_OVERFLOW", "the timestamp is out of range");
    Ok(match (array.data_type(), to) {
        (D::Timestamp(_, Some(_)), D::Date32) => Arc::new(days(array, |us| zone.to_local(us))),
        (D::Timestamp(_, None), D::Date32) => Arc::new(days(array, |us| us)),
        (D::Date32, D::Timestamp(_, Some(_))) => {
            let result: Timestamps = try_map(array.as_primitive::<Date32Type>(), |days| {
                let local = i64::from(days).checked_mul(MICROS_PER_DAY);
                match local.and_then(|local| zone.to_utc(local)) {
                    Some(us) => Ok(Some(us)),
                    None => options.fault(out_of_range),
                }
            })?;
            Arc::new(result.with_timezone(UTC))
        }
        (D::Date32, D::Timestamp(_, None)) => {
            let result: Timestamps =
                try_map(array.as_primitive::<Date32Type>(), |days| match i64::from(days).checked_mul(MICROS_PER_DAY) {
                    Some(us) => Ok(Some(us)),
                    None => options.fault(out_of_range),
                })?;
            Arc::new(result)
        }
        (D::Timestamp(_, Some(_)), D::Timestamp(_, None)) => {
            let result: Timestamps = array.as_primitive::<TimestampMicrosecondType>().unary(|us| zone.to_local(us));
            Arc::new(result)
        }
        (D::Timestamp(_, None), D::Timestamp(_, Some(_))) => {
            let result: Timestamps = try_map(array.as_primitive::<TimestampMicrosecondType>(), |us| match zone.to_utc(us) {
                Some(us) => Ok(Some(us)),
                None => options.fault(out_of_range),
            })?;
            Arc::new(result.with_timezone(UTC))
        }
        (D::Timestamp(_, Some(_)), _) => timestamp_to_number(array.as_primitive(), to, options)?,
        (_, D::Timestamp(_, Some(_))) => number_to_timestamp(array, options)?,
        (from, _) => return Err(mismatch(from, to)),
    })
}

fn days(array: &ArrayRef, local: impl Fn(i64) -> i64) -> PrimitiveArray<Date32Type> {
    array.as_primitive::<TimestampMicrosecondType>().unary(|us| local(us).div_euclid(MICROS_PER_DAY) as i32)
}

fn timestamp_to_number(array: &Timestamps, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    match to {
        DataType::Float32 | DataType::Float64 => {
            let seconds: ArrayRef = Arc::new(array.unary::<_, Float64Type>(|us| us as f64 / MICROS_PER_SECOND as f64));
            super::cast_array(&seconds, to, options)
        }
        DataType::Decimal128(precision, scale) => {
            let result = try_map::<_, Decimal128Type>(array, |us| match rescale(us.into(), 6, *scale, *precision) {
                Some(value) => Ok(Some(value)),
                None => options.fault(|| decimal_overflow(&us.to_string(), *precision, *scale)),
            })?;
            Ok(Arc::new(result.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let seconds: ArrayRef = Arc::new(array.unary::<_, Int64Type>(|us| us.div_euclid(MICROS_PER_SECOND)));
            if to == &DataType::Int64 { Ok(seconds) } else { between_numbers(&seconds, to, options) }
        }
        _ => Err(mismatch(array.data_type(), to)),
    }
}

fn number_to_timestamp(array: &ArrayRef, options: &CastOptions) -> Result<ArrayRef> {
    let from = array.data_type();
    let result: Timestamps = match from {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let seconds = arrow::compute::cast(array, &DataType::Int64)?;
            // Java's TimeUnit saturates, and so does Spark.
            seconds.as_primitive::<Int64Type>().unary(|seconds| seconds.saturating_mul(MICROS_PER_SECOND))
        }
        DataType::Float32 | DataType::Float64 => {
            let seconds = arrow::compute::cast(array, &DataType::Float64)?;
            try_map(seconds.as_primitive::<Float64Type>(), |seconds| {
                if !seconds.is_finite() {
                    return options.fault(|| {
                        let mut text = String::new();
                        crate::text::write_double(&mut text, seconds);
                        invalid_input(&text, "DOUBLE", &timestamp())
                    });
                }
                let us = seconds * MICROS_PER_SECOND as f64;
                let in_range = us.floor() <= i64::MAX as f64 && us.ceil() >= i64::MIN as f64;
                if in_range || options.mode == CastMode::Legacy {
                    Ok(Some(us as i64))
                } else {
                    options.fault(|| cast_overflow(seconds, from, &timestamp()))
                }
            })?
        }
        DataType::Decimal128(_, scale) => {
            let values: &Decimal128Array = array.as_primitive();
            let scale = *scale;
            try_map(values, |value| {
                // Digits past microseconds are cut off, not rounded.
                let us = if scale > 6 {
                    pow10(u32::from(scale.unsigned_abs()) - 6).map(|divisor| value / divisor)
                } else {
                    u32::try_from(6 - i32::from(scale)).ok().and_then(pow10).and_then(|factor| value.checked_mul(factor))
                };
                match us.and_then(|us| i64::try_from(us).ok()) {
                    Some(us) => Ok(Some(us)),
                    None => options.fault(|| cast_overflow(value, from, &timestamp())),
                }
            })?
        }
        _ => return Err(mismatch(from, &timestamp())),
    };
    Ok(Arc::new(result.with_timezone(UTC)))
}
