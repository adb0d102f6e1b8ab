//! Dates, timestamps and intervals made of numbers, and numbers of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalYearMonthType, TimestampMicrosecondType,
};
use datafusion::common::Result;
use millstream_formats::datetime::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, days_from_civil};

use super::n_user;
use crate::cast::{CastMode, CastOptions, cast_array};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, external, overflow};
use crate::interval_math::zone_of;
use crate::rows::{number, number_rows, text};
use crate::types::{UTC, calendar_interval, day_time_interval, timestamp, year_month_interval};

const SIX: &[Arg] = &[Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Decimal(16, 6), Arg::String];
const SIX_LOCAL: &[Arg] = &[Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Decimal(16, 6)];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("make_date", &[Arg::Int, Arg::Int, Arg::Int], Returns::Date, |call| {
        let [years, months, days] = ints(call)?;
        Ok(Arc::new(number_rows::<Date32Type>(call.n_rows(), |row| {
            let (Some(year), Some(month), Some(day)) = (number(&years, row), number(&months, row), number(&days, row)) else {
                return Ok(None);
            };
            let days = small(month)
                .zip(small(day))
                .and_then(|(month, day)| days_from_civil(year.into(), month, day))
                .and_then(|days| i32::try_from(days).ok());
            days.map(Some).ok_or_else(|| out_of_bounds(format!("there is no date {year}-{month}-{day}")))
        })?))
    }),
    FunctionDef::new("make_timestamp", SIX, Returns::Timestamp, |call| make_timestamp(call, true, false))
        .min(6)
        .zoned()
        .alias(&["make_timestamp_ltz"]),
    FunctionDef::new("try_make_timestamp", SIX, Returns::Timestamp, |call| make_timestamp(call, true, true))
        .min(6)
        .zoned()
        .alias(&["try_make_timestamp_ltz"]),
    FunctionDef::new("try_make_timestamp_ntz", SIX_LOCAL, Returns::TimestampNtz, |call| make_timestamp(call, false, true)),
    FunctionDef::new("make_timestamp_ntz", SIX_LOCAL, Returns::TimestampNtz, |call| make_timestamp(call, false, false)),
    FunctionDef::new(
        "make_interval",
        &[Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Decimal(18, 6)],
        Returns::Rule(|_: &Types<'_>| Ok(calendar_interval())),
        |call| make_interval(call, false),
    )
    .min(0),
    FunctionDef::new(
        "try_make_interval",
        &[Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Int, Arg::Decimal(18, 6)],
        Returns::Rule(|_: &Types<'_>| Ok(calendar_interval())),
        |call| make_interval(call, true),
    )
    .min(0),
    FunctionDef::new(
        "make_dt_interval",
        &[Arg::Int, Arg::Int, Arg::Int, Arg::Decimal(18, 6)],
        Returns::Rule(|_: &Types<'_>| Ok(day_time_interval())),
        |call| {
            let units = [MICROS_PER_DAY, 3600 * MICROS_PER_SECOND, 60 * MICROS_PER_SECOND];
            let ints = (0..call.len().min(3)).map(|idx| call.primitive::<Int32Type>(idx)).collect::<Result<Vec<_>>>()?;
            let seconds = if call.len() > 3 { Some(seconds(call, 3)?) } else { None };
            Ok(Arc::new(number_rows::<DurationMicrosecondType>(call.n_rows(), |row| {
                let mut total = 0i64;
                for (values, unit) in ints.iter().zip(units) {
                    let Some(value) = number(values, row) else { return Ok(None) };
                    let us = i64::from(value).checked_mul(unit).and_then(|us| total.checked_add(us));
                    total = us.ok_or_else(|| overflow("make_dt_interval"))?;
                }
                if let Some(seconds) = &seconds {
                    let Some(us) = number(seconds, row) else { return Ok(None) };
                    let us = i64::try_from(us).ok().and_then(|us| total.checked_add(us));
                    total = us.ok_or_else(|| overflow("make_dt_interval"))?;
                }
                Ok(Some(total))
            })?))
        },
    )
    .min(0),
    FunctionDef::new("make_ym_interval", &[Arg::Int, Arg::Int], Returns::Rule(|_: &Types<'_>| Ok(year_month_interval())), |call| {
        let parts = (0..call.len()).map(|idx| call.primitive::<Int32Type>(idx)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(number_rows::<IntervalYearMonthType>(call.n_rows(), |row| {
            let mut total = 0i32;
            for (values, unit) in parts.iter().zip([12, 1]) {
                let Some(value) = number(values, row) else { return Ok(None) };
                let months = value.checked_mul(unit).and_then(|months| total.checked_add(months));
                total = months.ok_or_else(|| overflow("make_ym_interval"))?;
            }
            Ok(Some(total))
        })?))
    })
    .min(0),
    FunctionDef::new("timestamp_seconds", &[Arg::Numeric], Returns::Timestamp, |call| {
        let array = call.array(0)?;
        if array.data_type().is_integer() {
            return scaled(call, MICROS_PER_SECOND, "timestamp_seconds");
        }
        cast_array(&array, &timestamp(), &CastOptions::new(CastMode::Ansi, Zone::UTC))
    }),
    FunctionDef::new("timestamp_millis", &[Arg::Integral], Returns::Timestamp, |call| scaled(call, 1000, "timestamp_millis")),
    FunctionDef::new("timestamp_micros", &[Arg::Integral], Returns::Timestamp, |call| scaled(call, 1, "timestamp_micros")),
    FunctionDef::new("unix_seconds", &[Arg::Timestamp], Returns::Long, |call| unix(call, MICROS_PER_SECOND)),
    FunctionDef::new("unix_millis", &[Arg::Timestamp], Returns::Long, |call| unix(call, 1000)),
    FunctionDef::new("unix_micros", &[Arg::Timestamp], Returns::Long, |call| unix(call, 1)),
    FunctionDef::new("unix_date", &[Arg::Date], Returns::Int, |call| {
        let result: PrimitiveArray<Int32Type> = call.primitive::<Date32Type>(0)?.unary(|days| days);
        Ok(Arc::new(result))
    }),
    FunctionDef::new("date_from_unix_date", &[Arg::Int], Returns::Date, |call| {
        let result: PrimitiveArray<Date32Type> = call.primitive::<Int32Type>(0)?.unary(|days| days);
        Ok(Arc::new(result))
    }),
];

fn ints<const N: usize>(call: &Call<'_>) -> Result<[PrimitiveArray<Int32Type>; N]> {
    let values = (0..N).map(|idx| call.primitive::<Int32Type>(idx)).collect::<Result<Vec<_>>>()?;
    values.try_into().map_err(|_| crate::error::internal("a wrong number of arguments"))
}

/// Seconds as microseconds.
fn seconds(call: &Call<'_>, idx: usize) -> Result<PrimitiveArray<Decimal128Type>> {
    let array = call.array(idx)?;
    let wanted = DataType::Decimal128(38, 6);
    let cast = cast_array(&array, &wanted, &CastOptions::new(CastMode::Ansi, Zone::UTC))?;
    Ok(cast.as_primitive::<Decimal128Type>().clone())
}

fn small(value: i32) -> Option<u32> {
    u32::try_from(value).ok()
}

fn out_of_bounds(message: String) -> datafusion::common::DataFusionError {
    data("DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION", message)
}

fn make_timestamp(call: &Call<'_>, zoned: bool, lenient: bool) -> Result<ArrayRef> {
    let [years, months, days, hours, minutes] = ints(call)?;
    let seconds = seconds(call, 5)?;
    let session = if zoned { zone_of(call)? } else { Zone::UTC };
    let zones = if zoned && n_user(call) > 6 { Some(call.strings(6)?) } else { None };
    let mut builder = PrimitiveArray::<TimestampMicrosecondType>::builder(call.n_rows());
    for row in 0..call.n_rows() {
        let part = |values: &PrimitiveArray<Int32Type>| number(values, row);
        let (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second_us)) =
            (part(&years), part(&months), part(&days), part(&hours), part(&minutes), number(&seconds, row))
        else {
            builder.append_null();
            continue;
        };
        let zone = match &zones {
            None => session,
            Some(zones) => match text(zones, row) {
                Some(name) => Zone::parse(name).map_err(external)?,
                None => {
                    builder.append_null();
                    continue;
                }
            },
        };
        let fields = || {
            // 60 seconds, without a fraction, are the next minute.
            let (second_us, carry) = if second_us == 60_000_000 { (0, 60 * MICROS_PER_SECOND) } else { (second_us, 0) };
            let second_us = u32::try_from(second_us).ok()?;
            let civil = Civil {
                year: year.into(),
                month: small(month)?,
                day: small(day)?,
                hour: small(hour)?,
                minute: small(minute)?,
                second: second_us / 1_000_000,
                micro: second_us % 1_000_000,
            };
            zone.to_utc(civil.to_local_micros()?.checked_add(carry)?)
        };
        match fields() {
            Some(us) => builder.append_value(us),
            None if lenient => builder.append_null(),
            None => {
                return Err(out_of_bounds(format!("there is no time {year}-{month}-{day} {hour}:{minute}:{}", second_us as f64 / 1e6)));
            }
        }
    }
    let result = builder.finish();
    Ok(if zoned { Arc::new(result.with_timezone(UTC)) } else { Arc::new(result) })
}

fn make_interval(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let parts = (0..call.len().min(6)).map(|idx| call.primitive::<Int32Type>(idx)).collect::<Result<Vec<_>>>()?;
    let seconds = if call.len() > 6 { Some(seconds(call, 6)?) } else { None };
    Ok(Arc::new(number_rows::<IntervalMonthDayNanoType>(call.n_rows(), |row| {
        let mut values = [0i64; 6];
        for (value, column) in values.iter_mut().zip(&parts) {
            let Some(part) = number(column, row) else { return Ok(None) };
            *value = part.into();
        }
        let second_us = match &seconds {
            Some(seconds) => match number(seconds, row) {
                Some(us) => i64::try_from(us).ok(),
                None => return Ok(None),
            },
            None => Some(0),
        };
        let [years, months, weeks, days, hours, minutes] = values;
        let us = (hours * 3600 + minutes * 60).checked_mul(MICROS_PER_SECOND).zip(second_us).and_then(|(a, b)| a.checked_add(b));
        let nanos = us.and_then(|us| us.checked_mul(1000));
        match (i32::try_from(years * 12 + months), i32::try_from(weeks * 7 + days), nanos) {
            (Ok(months), Ok(days), Some(nanos)) => Ok(Some(IntervalMonthDayNano::new(months, days, nanos))),
            _ if lenient => Ok(None),
            _ => Err(overflow("make_interval")),
        }
    })?))
}

fn scaled(call: &Call<'_>, unit: i64, name: &str) -> Result<ArrayRef> {
    let values = call.primitive::<Int64Type>(0)?;
    let result = number_rows::<TimestampMicrosecondType>(call.n_rows(), |row| match number(&values, row) {
        Some(value) => value.checked_mul(unit).map(Some).ok_or_else(|| overflow(name)),
        None => Ok(None),
    })?;
    Ok(Arc::new(result.with_timezone(UTC)))
}

fn unix(call: &Call<'_>, unit: i64) -> Result<ArrayRef> {
    let result: PrimitiveArray<Int64Type> = call.primitive::<TimestampMicrosecondType>(0)?.unary(|us| us.div_euclid(unit));
    Ok(Arc::new(result))
}
