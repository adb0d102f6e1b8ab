//! Text to time and back: `to_timestamp`, `to_date`, `date_format`, `unix_timestamp`, `from_unixtime`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{MICROS_PER_DAY, MICROS_PER_SECOND, Zone};
use millstream_formats::pattern::DateTimePattern;

use super::n_user;
use crate::cast::{CastMode, CastOptions, cast_array};
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::{data, external};
use crate::interval_math::zone_of;
use crate::rows::{Memo, number, text, text_rows};
use crate::types::{timestamp, timestamp_ntz};

const VALUE_AND_PATTERN: &[Arg] = &[Arg::Any, Arg::String];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("to_timestamp", VALUE_AND_PATTERN, Returns::Timestamp, |call| to_timestamp(call, CastMode::Ansi, true))
        .min(1)
        .zoned()
        .alias(&["to_timestamp_ltz"]),
    FunctionDef::new("try_to_timestamp", VALUE_AND_PATTERN, Returns::Timestamp, |call| to_timestamp(call, CastMode::Try, true))
        .min(1)
        .zoned(),
    FunctionDef::new("to_timestamp_ntz", VALUE_AND_PATTERN, Returns::TimestampNtz, |call| to_timestamp(call, CastMode::Ansi, false))
        .min(1)
        .zoned(),
    FunctionDef::new("to_date", VALUE_AND_PATTERN, Returns::Date, |call| to_date(call, CastMode::Ansi)).min(1).zoned(),
    FunctionDef::new("try_to_date", VALUE_AND_PATTERN, Returns::Date, |call| to_date(call, CastMode::Try)).min(1).zoned(),
    FunctionDef::new("unix_timestamp", VALUE_AND_PATTERN, Returns::Long, unix_timestamp).min(1).zoned().alias(&["to_unix_timestamp"]),
    FunctionDef::new("date_format", &[Arg::Timestamp, Arg::String], Returns::String, |call| {
        let (values, patterns, zone) = (call.primitive::<TimestampMicrosecondType>(0)?, call.strings(1)?, zone_of(call)?);
        print(call, &patterns, zone, |row| number(&values, row))
    })
    .zoned(),
    FunctionDef::new("from_unixtime", &[Arg::Long, Arg::String], Returns::String, |call| {
        let (values, zone) = (call.primitive::<Int64Type>(0)?, zone_of(call)?);
        let patterns = if n_user(call) > 1 {
            call.strings(1)?
        } else {
            StringArray::from_iter_values(std::iter::repeat_n("yyyy-MM-dd HH:mm:ss", call.n_rows()))
        };
        print(call, &patterns, zone, |row| number(&values, row).map(|seconds| seconds.wrapping_mul(MICROS_PER_SECOND)))
    })
    .min(1)
    .zoned(),
];

fn print(call: &Call<'_>, patterns: &StringArray, zone: Zone, value: impl Fn(usize) -> Option<i64>) -> Result<ArrayRef> {
    let mut memo = Memo::new();
    text_rows(call.n_rows(), |row, out| {
        let (Some(us), Some(pattern)) = (value(row), text(patterns, row)) else { return Ok(false) };
        let pattern = memo.get(pattern, |pattern| DateTimePattern::for_format(pattern).map_err(external))?;
        pattern.format_timestamp(out, us, zone).map_err(external)?;
        Ok(true)
    })
}

fn cannot_parse(value: &str, pattern: &str) -> datafusion::common::DataFusionError {
    data(
        "CANNOT_PARSE_TIMESTAMP",
        format!("the text '{value}' does not have the pattern '{pattern}'; use try_to_timestamp to get NULL instead"),
    )
}

/// Reads strings by a pattern into microseconds, local when `zone` is `None`.
fn parse_all(
    call: &Call<'_>,
    values: &StringArray,
    zone: Option<Zone>,
    mode: CastMode,
) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let patterns = call.strings(1)?;
    let mut memo = Memo::new();
    let mut builder = PrimitiveArray::<TimestampMicrosecondType>::builder(values.len());
    for row in 0..call.n_rows() {
        let (Some(value), Some(source)) = (text(values, row), text(&patterns, row)) else {
            builder.append_null();
            continue;
        };
        let pattern = memo.get(source, |pattern| DateTimePattern::for_parse(pattern).map_err(external))?;
        let parsed = match zone {
            Some(zone) => pattern.parse_timestamp(value, zone),
            None => pattern.parse_timestamp_ntz(value, true),
        };
        match parsed {
            Some(us) => builder.append_value(us),
            None if mode == CastMode::Ansi => return Err(cannot_parse(value, source)),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

fn is_text(array: &dyn Array) -> bool {
    matches!(array.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn to_timestamp(call: &Call<'_>, mode: CastMode, zoned: bool) -> Result<ArrayRef> {
    let zone = zone_of(call)?;
    let array = call.array(0)?;
    let wanted = if zoned { timestamp() } else { timestamp_ntz() };
    if n_user(call) > 1 && is_text(&array) {
        let parsed = parse_all(call, &call.strings(0)?, zoned.then_some(zone), mode)?;
        return Ok(Arc::new(parsed.with_data_type(wanted)));
    }
    cast_array(&array, &wanted, &CastOptions::new(mode, zone))
}

fn to_date(call: &Call<'_>, mode: CastMode) -> Result<ArrayRef> {
    let zone = zone_of(call)?;
    let array = call.array(0)?;
    if n_user(call) > 1 && is_text(&array) {
        // Through a timestamp, as in Spark: a pattern may carry a zone.
        let parsed = parse_all(call, &call.strings(0)?, Some(zone), mode)?;
        let days: PrimitiveArray<Date32Type> = parsed.unary(|us| zone.to_local(us).div_euclid(MICROS_PER_DAY) as i32);
        return Ok(Arc::new(days));
    }
    cast_array(&array, &DataType::Date32, &CastOptions::new(mode, zone))
}

fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let zone = zone_of(call)?;
    let array = call.array(0)?;
    let us = if is_text(&array) {
        if n_user(call) > 1 {
            parse_all(call, &call.strings(0)?, Some(zone), CastMode::Ansi)?
        } else {
            let cast = cast_array(&array, &timestamp(), &CastOptions::new(CastMode::Ansi, zone))?;
            cast.as_primitive().clone()
        }
    } else {
        let cast = cast_array(&array, &timestamp(), &CastOptions::new(CastMode::Ansi, zone))?;
        cast.as_primitive().clone()
    };
    let seconds: PrimitiveArray<Int64Type> = us.unary(|us| us.div_euclid(MICROS_PER_SECOND));
    Ok(Arc::new(seconds))
}
