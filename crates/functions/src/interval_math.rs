//! Dates, timestamps and intervals in arithmetic: `date + interval`, `timestamp - timestamp`, `interval * 2`.
//!
//! Adding months keeps the day, or takes the month's last; adding days to a TIMESTAMP is done on the local calendar
//! of the session time zone, as is the difference of two timestamps. A day-time interval counts as its whole days
//! plus the rest, so 24 hours and one day are the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, TimestampMicrosecondType,
};
use datafusion::common::Result;
use millstream_formats::datetime::{Civil, MICROS_PER_DAY, Zone, days_from_civil, days_in_month};

use crate::arithmetic::zip;
use crate::decimal::{div_half_up, pow10};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, external, internal};

/// Arithmetic that involves dates, timestamps or intervals.
pub const FUNCTIONS: &[FunctionDef] = &[
    // A DATE stays a DATE: the interval must be of whole days. For others cast it to TIMESTAMP first.
    FunctionDef::new("add_interval", &[Arg::Any, Arg::Interval], Returns::Same(0), |call| add_interval(call, 1))
        .zoned()
        .alias(&["date_add_interval", "timestamp_add_interval"]),
    FunctionDef::new("subtract_interval", &[Arg::Any, Arg::Interval], Returns::Same(0), |call| add_interval(call, -1))
        .zoned()
        .alias(&["date_sub_interval", "timestamp_sub_interval"]),
    FunctionDef::new("subtract_timestamps", &[Arg::AnyTimestamp, Arg::AnyTimestamp], Returns::Rule(day_time), |call| {
        let zone = zone_of(call)?;
        let zoned = |idx| Ok::<_, datafusion::common::DataFusionError>(matches!(call.data_type(idx)?, DataType::Timestamp(_, Some(_))));
        let (a_zoned, b_zoned) = (zoned(0)?, zoned(1)?);
        let local = |us, zoned: bool| if zoned { zone.to_local(us) } else { us };
        let a = call.primitive::<TimestampMicrosecondType>(0)?;
        let b = call.primitive::<TimestampMicrosecondType>(1)?;
        let result = zip::<_, _, DurationMicrosecondType>(&a, &b, |a, b| {
            local(a, a_zoned).checked_sub(local(b, b_zoned)).map(Some).ok_or_else(|| crate::error::overflow("subtraction"))
        })?;
        Ok(Arc::new(result))
    })
    .zoned(),
    FunctionDef::new("subtract_dates", &[Arg::Date, Arg::Date], Returns::Rule(day_time), |call| {
        let (a, b) = (call.primitive::<Date32Type>(0)?, call.primitive::<Date32Type>(1)?);
        let result = zip::<_, _, DurationMicrosecondType>(&a, &b, |a, b| {
            (i64::from(a) - i64::from(b)).checked_mul(MICROS_PER_DAY).map(Some).ok_or_else(|| crate::error::overflow("subtraction"))
        })?;
        Ok(Arc::new(result))
    }),
    FunctionDef::new("multiply_interval", &[Arg::Interval, Arg::Numeric], Returns::Same(0), |call| scale_interval(call, false, false)),
    FunctionDef::new("divide_interval", &[Arg::Interval, Arg::Numeric], Returns::Same(0), |call| scale_interval(call, true, false)),
    FunctionDef::new("try_multiply_interval", &[Arg::Interval, Arg::Numeric], Returns::Same(0), |call| scale_interval(call, false, true)),
    FunctionDef::new("try_divide_interval", &[Arg::Interval, Arg::Numeric], Returns::Same(0), |call| scale_interval(call, true, true)),
];

fn day_time(_: &Types<'_>) -> Result<DataType> {
    Ok(crate::types::day_time_interval())
}

/// The time zone in the last argument.
pub(crate) fn zone_of(call: &Call<'_>) -> Result<Zone> {
    Zone::parse(call.last_text()?).map_err(external)
}

/// Months, days and microseconds of any interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) months: i64,
    pub(crate) days: i64,
    pub(crate) us: i64,
}

impl Parts {
    fn signed(self, sign: i64) -> Self {
        Self { months: self.months * sign, days: self.days * sign, us: self.us.saturating_mul(sign) }
    }
}

/// Reads a column of intervals of any kind.
pub(crate) fn interval_parts(array: &ArrayRef) -> Result<Vec<Option<Parts>>> {
    Ok(match array.data_type() {
        DataType::Duration(_) => array
            .as_primitive_opt::<DurationMicrosecondType>()
            .ok_or_else(|| internal("expected an interval in microseconds"))?
            .iter()
            .map(|us| us.map(|us| Parts { months: 0, days: us / MICROS_PER_DAY, us: us % MICROS_PER_DAY }))
            .collect(),
        DataType::Interval(IntervalUnit::YearMonth) => array
            .as_primitive::<IntervalYearMonthType>()
            .iter()
            .map(|months| months.map(|months| Parts { months: months.into(), days: 0, us: 0 }))
            .collect(),
        DataType::Interval(IntervalUnit::MonthDayNano) => array
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .map(|value| value.map(|value| Parts { months: value.months.into(), days: value.days.into(), us: value.nanoseconds / 1000 }))
            .collect(),
        other => return Err(internal(format!("expected an interval, got {other}"))),
    })
}

/// Adds months to a date: the same day of the month, or its last day.
pub(crate) fn add_months(days: i64, months: i64) -> Option<i64> {
    let civil = Civil::from_days(days);
    let total = civil.year.checked_mul(12)?.checked_add(i64::from(civil.month) - 1)?.checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    days_from_civil(year, month, civil.day.min(days_in_month(year, month)))
}

/// Adds an interval to a local time; the time of day is kept across months and days.
pub(crate) fn add_local(local_us: i64, months: i64, days: i64) -> Option<i64> {
    let day = local_us.div_euclid(MICROS_PER_DAY);
    let in_day = local_us.rem_euclid(MICROS_PER_DAY);
    let day = add_months(day, months)?.checked_add(days)?;
    day.checked_mul(MICROS_PER_DAY)?.checked_add(in_day)
}

/// Adds an interval to an instant, on the calendar of `zone`.
pub(crate) fn add_to_timestamp(us: i64, parts: Parts, zone: Zone) -> Option<i64> {
    let us = if parts.months == 0 && parts.days == 0 { us } else { zone.to_utc(add_local(zone.to_local(us), parts.months, parts.days)?)? };
    us.checked_add(parts.us)
}

fn timestamp_overflow() -> datafusion::common::DataFusionError {
    data("DATETIME_OVERFLOW", "the sum of a timestamp and an interval is out of range")
}

fn add_interval(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    if call.data_type(0)? == DataType::Date32 { date_add(call, sign) } else { timestamp_add(call, sign) }
}

fn timestamp_add(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let zone = match call.data_type(0)? {
        DataType::Timestamp(_, Some(_)) => zone_of(call)?,
        _ => Zone::UTC,
    };
    let timestamps = call.primitive::<TimestampMicrosecondType>(0)?;
    let mut builder = PrimitiveArray::<TimestampMicrosecondType>::builder(timestamps.len());
    for (us, parts) in timestamps.iter().zip(interval_parts(&call.array(1)?)?) {
        match (us, parts) {
            (Some(us), Some(parts)) => builder.append_value(add_to_timestamp(us, parts.signed(sign), zone).ok_or_else(timestamp_overflow)?),
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish().with_data_type(call.data_type(0)?)))
}

fn date_add(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let dates = call.primitive::<Date32Type>(0)?;
    let mut builder = PrimitiveArray::<Date32Type>::builder(dates.len());
    for (day, parts) in dates.iter().zip(interval_parts(&call.array(1)?)?) {
        let (Some(day), Some(parts)) = (day, parts) else {
            builder.append_null();
            continue;
        };
        let parts = parts.signed(sign);
        if parts.us != 0 {
            return Err(data("INVALID_PARAMETER_VALUE.INTERVAL", "only whole days can be added to a date; cast it to timestamp first"));
        }
        let sum = add_months(day.into(), parts.months).and_then(|day| day.checked_add(parts.days)).and_then(|day| i32::try_from(day).ok());
        builder.append_value(sum.ok_or_else(|| data("DATETIME_OVERFLOW", "the date is out of range"))?);
    }
    Ok(Arc::new(builder.finish()))
}

/// Negates a calendar interval field by field.
pub(crate) fn negate_calendar(array: &ArrayRef) -> Result<ArrayRef> {
    let values = array.as_primitive::<IntervalMonthDayNanoType>();
    let result = values.try_unary::<_, IntervalMonthDayNanoType, datafusion::common::DataFusionError>(|value| {
        match (value.months.checked_neg(), value.days.checked_neg(), value.nanoseconds.checked_neg()) {
            (Some(months), Some(days), Some(nanos)) => Ok(IntervalMonthDayNano::new(months, days, nanos)),
            _ => Err(crate::error::overflow("unary minus")),
        }
    })?;
    Ok(Arc::new(result))
}

/// A factor: a whole number with a scale, or a double.
enum Factor {
    Exact(i128, u32),
    Double(f64),
}

fn factors(array: &ArrayRef) -> Result<Vec<Option<Factor>>> {
    Ok(match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let scale = u32::from(scale.unsigned_abs());
            array.as_primitive::<Decimal128Type>().iter().map(|value| value.map(|value| Factor::Exact(value, scale))).collect()
        }
        data_type if data_type.is_integer() => arrow::compute::cast(array, &DataType::Int64)?
            .as_primitive::<arrow::datatypes::Int64Type>()
            .iter()
            .map(|value| value.map(|value| Factor::Exact(value.into(), 0)))
            .collect(),
        _ => arrow::compute::cast(array, &DataType::Float64)?
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map(Factor::Double))
            .collect(),
    })
}

fn scaled(value: i64, factor: &Factor, divide: bool) -> Option<i64> {
    match factor {
        Factor::Exact(number, scale) => {
            let unit = pow10(*scale)?;
            let (numerator, denominator) =
                if divide { (i128::from(value).checked_mul(unit)?, *number) } else { (i128::from(value).checked_mul(*number)?, unit) };
            let (numerator, denominator) =
                if denominator < 0 { (numerator.checked_neg()?, denominator.checked_neg()?) } else { (numerator, denominator) };
            i64::try_from(div_half_up(numerator, denominator)).ok()
        }
        Factor::Double(number) => {
            let result = if divide { value as f64 / number } else { value as f64 * number };
            // Half away from zero, as RoundingMode.HALF_UP.
            let result = result.round();
            (result.is_finite() && result.abs() < 9.3e18).then_some(result as i64)
        }
    }
}

fn scale_interval(call: &Call<'_>, divide: bool, lenient: bool) -> Result<ArrayRef> {
    let intervals = call.array(0)?;
    let factors = factors(&call.array(1)?)?;
    let apply = |value: Option<i64>, factor: &Option<Factor>| -> Result<Option<i64>> {
        let (Some(value), Some(factor)) = (value, factor) else { return Ok(None) };
        let zero = match factor {
            Factor::Exact(number, _) => *number == 0,
            Factor::Double(number) => *number == 0.0,
        };
        if divide && zero {
            return if lenient {
                Ok(None)
            } else {
                Err(data("INTERVAL_DIVIDED_BY_ZERO", "division of an interval by zero; use try_divide to get NULL instead"))
            };
        }
        match scaled(value, factor, divide) {
            Some(value) => Ok(Some(value)),
            None if lenient => Ok(None),
            None => Err(data("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", "the interval is out of range")),
        }
    };
    match intervals.data_type() {
        DataType::Duration(_) => {
            let mut builder = PrimitiveArray::<DurationMicrosecondType>::builder(intervals.len());
            for (us, factor) in intervals.as_primitive::<DurationMicrosecondType>().iter().zip(&factors) {
                builder.append_option(apply(us, factor)?);
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let mut builder = PrimitiveArray::<IntervalYearMonthType>::builder(intervals.len());
            for (months, factor) in intervals.as_primitive::<IntervalYearMonthType>().iter().zip(&factors) {
                let months = apply(months.map(i64::from), factor)?;
                builder.append_option(match months.map(i32::try_from) {
                    Some(Err(_)) if !lenient => {
                        return Err(data("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", "the interval is out of range"));
                    }
                    Some(months) => months.ok(),
                    None => None,
                });
            }
            Ok(Arc::new(builder.finish()))
        }
        other => Err(internal(format!("no multiple of {other}"))),
    }
}
