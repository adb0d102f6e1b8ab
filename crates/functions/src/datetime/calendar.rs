//! Moving on the calendar: `date_add`, `add_months`, `months_between`, `last_day`, `next_day`, `date_trunc`, `trunc`.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, SECONDS_PER_DAY, Zone, days_from_civil, days_in_month, weekday,
};

use super::n_user;
use crate::arithmetic::zip;
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::{data, overflow};
use crate::interval_math::{add_months, zone_of};
use crate::rows::{boolean, number, number_rows, text};
use crate::types::UTC;

const DATE_AND_INT: &[Arg] = &[Arg::Date, Arg::Int];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("date_add", DATE_AND_INT, Returns::Date, |call| add_days(call, i32::checked_add)).alias(&["dateadd"]),
    FunctionDef::new("date_sub", DATE_AND_INT, Returns::Date, |call| add_days(call, i32::checked_sub)),
    FunctionDef::new("datediff", &[Arg::Date, Arg::Date], Returns::Int, |call| {
        let (a, b) = (call.primitive::<Date32Type>(0)?, call.primitive::<Date32Type>(1)?);
        Ok(Arc::new(zip::<_, _, Int32Type>(&a, &b, |a, b| a.checked_sub(b).map(Some).ok_or_else(|| overflow("datediff")))?))
    })
    .alias(&["date_diff"]),
    FunctionDef::new("add_months", DATE_AND_INT, Returns::Date, |call| {
        let (dates, months) = (call.primitive::<Date32Type>(0)?, call.primitive::<Int32Type>(1)?);
        Ok(Arc::new(zip::<_, _, Date32Type>(&dates, &months, |days, months| {
            let sum = add_months(days.into(), months.into()).and_then(|days| i32::try_from(days).ok());
            sum.map(Some).ok_or_else(|| data("DATETIME_OVERFLOW", "add_months: the date is out of range"))
        })?))
    }),
    FunctionDef::new("months_between", &[Arg::Timestamp, Arg::Timestamp, Arg::Boolean], Returns::Double, months_between).min(2).zoned(),
    FunctionDef::new("last_day", &[Arg::Date], Returns::Date, |call| {
        let dates = call.primitive::<Date32Type>(0)?;
        let result: PrimitiveArray<Date32Type> = dates.unary(|days| {
            let civil = Civil::from_days(days.into());
            days.saturating_add((days_in_month(civil.year, civil.month) - civil.day) as i32)
        });
        Ok(Arc::new(result))
    }),
    FunctionDef::new("next_day", &[Arg::Date, Arg::String], Returns::Date, next_day),
    FunctionDef::new("date_trunc", &[Arg::String, Arg::Timestamp], Returns::Timestamp, date_trunc).zoned(),
    FunctionDef::new("trunc", &[Arg::Date, Arg::String], Returns::Date, |call| {
        let (dates, units) = (call.primitive::<Date32Type>(0)?, call.strings(1)?);
        Ok(Arc::new(number_rows::<Date32Type>(call.n_rows(), |row| {
            let (Some(days), Some(unit)) = (number(&dates, row), text(&units, row)) else { return Ok(None) };
            let unit = Unit::parse(unit).filter(|unit| *unit >= Unit::Week);
            Ok(unit.and_then(|unit| i32::try_from(unit.start(days.into())).ok()))
        })?))
    }),
];

fn add_days(call: &Call<'_>, add: fn(i32, i32) -> Option<i32>) -> Result<ArrayRef> {
    let (dates, days) = (call.primitive::<Date32Type>(0)?, call.primitive::<Int32Type>(1)?);
    Ok(Arc::new(zip::<_, _, Date32Type>(&dates, &days, |date, days| add(date, days).map(Some).ok_or_else(|| overflow("date_add")))?))
}

/// What a time is cut to, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MICROSECOND" => Self::Microsecond,
            "MILLISECOND" => Self::Millisecond,
            "SECOND" => Self::Second,
            "MINUTE" => Self::Minute,
            "HOUR" => Self::Hour,
            "DAY" | "DD" => Self::Day,
            "WEEK" => Self::Week,
            "MON" | "MONTH" | "MM" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" | "YYYY" | "YY" => Self::Year,
            _ => return None,
        })
    }

    /// The first day of the unit that a day is in.
    fn start(self, days: i64) -> i64 {
        if self <= Self::Day {
            return days;
        }
        if self == Self::Week {
            return days - i64::from(weekday(days)) + 1;
        }
        let civil = Civil::from_days(days);
        let month = match self {
            Self::Year => 1,
            Self::Quarter => (civil.month - 1) / 3 * 3 + 1,
            _ => civil.month,
        };
        days_from_civil(civil.year, month, 1).unwrap_or(days)
    }

    fn truncate(self, us: i64, zone: Zone) -> Option<i64> {
        let step = match self {
            Self::Microsecond => return Some(us),
            Self::Millisecond => 1000,
            Self::Second => MICROS_PER_SECOND,
            Self::Minute => 60 * MICROS_PER_SECOND,
            Self::Hour => 3600 * MICROS_PER_SECOND,
            _ => {
                let days = self.start(zone.to_local(us).div_euclid(MICROS_PER_DAY));
                return zone.to_utc(days.checked_mul(MICROS_PER_DAY)?);
            }
        };
        // The rest is taken off the instant, so that a time in an overlap keeps its offset.
        us.checked_sub(zone.to_local(us).rem_euclid(step))
    }
}

fn date_trunc(call: &Call<'_>) -> Result<ArrayRef> {
    let (units, values, zone) = (call.strings(0)?, call.primitive::<TimestampMicrosecondType>(1)?, zone_of(call)?);
    let mut last: Option<(&str, Option<Unit>)> = None;
    let mut builder = PrimitiveArray::<TimestampMicrosecondType>::builder(values.len());
    for row in 0..call.n_rows() {
        let (Some(us), Some(name)) = (number(&values, row), text(&units, row)) else {
            builder.append_null();
            continue;
        };
        let unit = match last {
            Some((known, unit)) if known == name => unit,
            _ => Unit::parse(name),
        };
        last = Some((name, unit));
        match unit {
            None => builder.append_null(),
            Some(unit) => builder.append_value(
                unit.truncate(us, zone).ok_or_else(|| data("DATETIME_OVERFLOW", "date_trunc: the timestamp is out of range"))?,
            ),
        }
    }
    Ok(Arc::new(builder.finish().with_timezone(UTC)))
}

/// Whole months, plus the rest as a part of 31 days; equal days of the month and two last days count as whole.
fn months_between(call: &Call<'_>) -> Result<ArrayRef> {
    let zone = zone_of(call)?;
    let (a, b) = (call.primitive::<TimestampMicrosecondType>(0)?, call.primitive::<TimestampMicrosecondType>(1)?);
    let round = if n_user(call) > 2 { Some(call.booleans(2)?) } else { None };
    Ok(Arc::new(number_rows::<Float64Type>(call.n_rows(), |row| {
        let round = match &round {
            Some(round) => boolean(round, row),
            None => Some(true),
        };
        let (Some(a), Some(b), Some(round)) = (number(&a, row), number(&b, row), round) else { return Ok(None) };
        let (a, b) = (zone.to_local(a), zone.to_local(b));
        let (ca, cb) = (Civil::from_local_micros(a), Civil::from_local_micros(b));
        let months = ((ca.year - cb.year) * 12 + i64::from(ca.month) - i64::from(cb.month)) as f64;
        let is_last = |civil: &Civil| civil.day == days_in_month(civil.year, civil.month);
        if ca.day == cb.day || (is_last(&ca) && is_last(&cb)) {
            return Ok(Some(months));
        }
        let in_day = |us: i64| us.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND;
        let seconds = (i64::from(ca.day) - i64::from(cb.day)) * SECONDS_PER_DAY + in_day(a) - in_day(b);
        let result = months + seconds as f64 / (31 * SECONDS_PER_DAY) as f64;
        Ok(Some(if round { (result * 1e8).round() / 1e8 } else { result }))
    })?))
}

fn next_day(call: &Call<'_>) -> Result<ArrayRef> {
    let (dates, names) = (call.primitive::<Date32Type>(0)?, call.strings(1)?);
    Ok(Arc::new(number_rows::<Date32Type>(call.n_rows(), |row| {
        let (Some(days), Some(name)) = (number(&dates, row), text(&names, row)) else { return Ok(None) };
        let wanted = match name.trim().to_ascii_uppercase().as_str() {
            "MO" | "MON" | "MONDAY" => 1,
            "TU" | "TUE" | "TUESDAY" => 2,
            "WE" | "WED" | "WEDNESDAY" => 3,
            "TH" | "THU" | "THURSDAY" => 4,
            "FR" | "FRI" | "FRIDAY" => 5,
            "SA" | "SAT" | "SATURDAY" => 6,
            "SU" | "SUN" | "SUNDAY" => 7,
            _ => return Err(data("ILLEGAL_DAY_OF_WEEK", format!("next_day: '{name}' is no day of the week"))),
        };
        let today = weekday(days.into()) as i32;
        Ok(Some(days.saturating_add((wanted - today + 6).rem_euclid(7) + 1)))
    })?))
}
