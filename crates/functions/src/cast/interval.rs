//! Casts of intervals: text in Spark's ANSI form, numbers by the smallest field of the range.
//!
//! The range (`DAY TO HOUR`) is not in the Arrow type; without one the full range is meant.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use datafusion::common::Result;
use millstream_formats::datetime::{IntervalField as F, IntervalRange, MICROS_PER_DAY, MICROS_PER_SECOND};

use super::numeric::{parse_integer, trim, try_map};
use super::{CastOptions, cast_array, cast_overflow, mismatch};
use crate::error::data;
use crate::types::type_name;

const HOUR: i64 = 3600 * MICROS_PER_SECOND;
const MINUTE: i64 = 60 * MICROS_PER_SECOND;

/// Casts text to intervals: `1 02:03:04`, `INTERVAL '1-2' YEAR TO MONTH`, `1 day 2 hours`.
pub(super) fn from_text(array: &StringArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    match to {
        DataType::Duration(_) => {
            let range = options.to_range.unwrap_or((F::Day, F::Second));
            parse_all::<DurationMicrosecondType>(array, to, options, |text| parse_day_time(text, range))
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let range = options.to_range.unwrap_or((F::Year, F::Month));
            parse_all::<IntervalYearMonthType>(array, to, options, |text| parse_year_month(text, range))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => parse_all::<IntervalMonthDayNanoType>(array, to, options, |text| {
            let (months, days, us) = parse_calendar(text)?;
            Some(arrow::datatypes::IntervalMonthDayNano::new(months, days, us.checked_mul(1000)?))
        }),
        _ => Err(mismatch(array.data_type(), to)),
    }
}

fn parse_all<T: arrow::array::ArrowPrimitiveType>(
    array: &StringArray,
    to: &DataType,
    options: &CastOptions,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let mut builder = PrimitiveArray::<T>::builder(array.len());
    for text in array {
        match text {
            Some(text) => builder.append_option(match parse(text) {
                Some(value) => Some(value),
                None => options.fault(|| {
                    data(
                        "INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING",
                        format!("the text '{text}' is not of the type \"{}\"", type_name(to).to_uppercase()),
                    )
                })?,
            }),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Takes `INTERVAL [sign] '...' FIELDS` apart; a bare text is its own body. The result is the sign and the body.
fn body(text: &str) -> Option<(i64, &str)> {
    let text = trim(text);
    let is_full = text.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("interval"));
    let (mut sign, mut body) = (1, text);
    if is_full {
        let rest = text.get(8..)?.trim_start();
        let quoted = rest.strip_prefix('-').inspect(|_| sign = -1).or_else(|| rest.strip_prefix('+')).unwrap_or(rest);
        body = quoted.strip_prefix('\'')?.split('\'').next()?;
    }
    if let Some(rest) = body.strip_prefix('-') {
        sign = -sign;
        body = rest;
    } else if let Some(rest) = body.strip_prefix('+') {
        body = rest;
    }
    Some((sign, body))
}

fn unsigned(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| parse_integer(text, false)).flatten()
}

fn parse_year_month(text: &str, range: IntervalRange) -> Option<i32> {
    let (sign, body) = body(text)?;
    let months = match range {
        (F::Year, F::Year) => unsigned(body)?.checked_mul(12)?,
        (F::Month, F::Month) => unsigned(body)?,
        _ => {
            let (years, months) = body.split_once('-')?;
            let months = unsigned(months).filter(|months| *months < 12)?;
            unsigned(years)?.checked_mul(12)?.checked_add(months)?
        }
    };
    i32::try_from(sign * months).ok()
}

fn parse_day_time(text: &str, (from, to): IntervalRange) -> Option<i64> {
    let (sign, body) = body(text)?;
    let mut total = 0i64;
    let mut rest = body;
    let fields = [(F::Day, MICROS_PER_DAY), (F::Hour, HOUR), (F::Minute, MINUTE), (F::Second, MICROS_PER_SECOND)];
    let mut wanted = fields.iter().filter(|(field, _)| *field >= from && *field <= to).peekable();
    let mut first = true;
    while let Some((field, unit)) = wanted.next() {
        let part = match wanted.peek() {
            Some(_) => {
                let (part, after) = rest.split_once(if *field == F::Day { ' ' } else { ':' })?;
                rest = after;
                part
            }
            None => rest,
        };
        let (whole, fraction) = match part.split_once('.') {
            Some((whole, fraction)) if *field == F::Second => (whole, fraction),
            Some(_) => return None,
            None => (part, ""),
        };
        let value = unsigned(whole)?;
        let limit = if *field == F::Hour { 24 } else { 60 };
        if !first && value >= limit {
            return None;
        }
        total = total.checked_add(value.checked_mul(*unit)?)?.checked_add(fraction_micros(fraction)?)?;
        first = false;
    }
    Some(sign * total)
}

fn fraction_micros(fraction: &str) -> Option<i64> {
    let mut us = 0;
    let mut unit = 100_000;
    for byte in fraction.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        us += i64::from(byte - b'0') * unit;
        unit /= 10;
    }
    Some(us)
}

/// `[interval] 1 year 2 days -3.5 seconds ...`: months, days and microseconds.
pub(crate) fn parse_calendar(text: &str) -> Option<(i32, i32, i64)> {
    let text = trim(text).to_ascii_lowercase();
    let text = text.strip_prefix("interval").unwrap_or(&text);
    let mut words = text.split_ascii_whitespace();
    let (mut months, mut days, mut us) = (0i64, 0i64, 0i64);
    let mut any = false;
    while let Some(word) = words.next() {
        // A sign may stand alone.
        let number = match word {
            "-" | "+" => format!("{word}{}", words.next()?),
            _ => word.to_string(),
        };
        let unit = words.next()?;
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let negative = number.starts_with('-');
        let digits = number.strip_prefix(['-', '+']).unwrap_or(&number);
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if unit == "second" => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        let whole = if whole.is_empty() && !fraction.is_empty() { 0 } else { unsigned(whole)? };
        let value = if negative { -whole } else { whole };
        match unit {
            "year" => months = months.checked_add(value.checked_mul(12)?)?,
            "month" => months = months.checked_add(value)?,
            "week" => days = days.checked_add(value.checked_mul(7)?)?,
            "day" => days = days.checked_add(value)?,
            "hour" => us = us.checked_add(value.checked_mul(HOUR)?)?,
            "minute" => us = us.checked_add(value.checked_mul(MINUTE)?)?,
            "second" => {
                let fraction = fraction_micros(fraction)?;
                us = us.checked_add(value.checked_mul(MICROS_PER_SECOND)?)?.checked_add(if negative { -fraction } else { fraction })?;
            }
            "millisecond" => us = us.checked_add(value.checked_mul(1000)?)?,
            "microsecond" => us = us.checked_add(value)?,
            _ => return None,
        }
        any = true;
    }
    if !any {
        return None;
    }
    Some((i32::try_from(months).ok()?, i32::try_from(days).ok()?, us))
}

/// Casts between intervals and numbers, and between ranges.
pub(super) fn between(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    use DataType as D;
    match (array.data_type(), to) {
        (D::Duration(_), D::Duration(_)) => {
            // A narrower range cuts the smaller fields off; seconds keep their fraction.
            let unit = match options.to_range {
                None | Some((_, F::Second)) => return Ok(Arc::clone(array)),
                range => unit_of(range),
            };
            let result: PrimitiveArray<DurationMicrosecondType> =
                array.as_primitive::<DurationMicrosecondType>().unary(|us| us - us % unit);
            Ok(Arc::new(result))
        }
        (D::Interval(IntervalUnit::YearMonth), D::Interval(IntervalUnit::YearMonth)) => {
            let unit = i32::from(matches!(options.to_range, Some((_, F::Year)))) * 11 + 1;
            let result: PrimitiveArray<IntervalYearMonthType> =
                array.as_primitive::<IntervalYearMonthType>().unary(|months| months - months % unit);
            Ok(Arc::new(result))
        }
        (D::Interval(_), D::Interval(_)) if array.data_type() == to => Ok(Arc::clone(array)),
        (D::Duration(_), _) => {
            let unit = unit_of(options.from_range);
            let us = array.as_primitive::<DurationMicrosecondType>();
            if let D::Decimal128(..) = to {
                // Seconds keep their fraction in a decimal.
                let scaled = us.unary::<_, Decimal128Type>(|us| i128::from(us) * 1_000_000 / i128::from(unit));
                let scaled: ArrayRef = Arc::new(scaled.with_precision_and_scale(38, 6)?);
                return cast_array(&scaled, to, options);
            }
            let whole: ArrayRef = Arc::new(us.unary::<_, Int64Type>(|us| us / unit));
            cast_array(&whole, to, options)
        }
        (D::Interval(IntervalUnit::YearMonth), _) => {
            let unit = i64::from(matches!(options.from_range, Some((_, F::Year)))) * 11 + 1;
            let months = array.as_primitive::<IntervalYearMonthType>();
            let whole: ArrayRef = Arc::new(months.unary::<_, Int64Type>(|months| i64::from(months) / unit));
            cast_array(&whole, to, options)
        }
        (from, D::Duration(_)) => {
            let unit = unit_of(options.to_range);
            let millionths = cast_array(array, &D::Decimal128(38, 6), options)?;
            let result: PrimitiveArray<DurationMicrosecondType> = try_map(millionths.as_primitive::<Decimal128Type>(), |value| {
                let us = value.checked_mul(i128::from(unit)).map(|us| us / 1_000_000);
                match us.and_then(|us| i64::try_from(us).ok()) {
                    Some(us) => Ok(Some(us)),
                    None => options.fault(|| cast_overflow(value / 1_000_000, from, to)),
                }
            })?;
            Ok(Arc::new(result))
        }
        (from, D::Interval(IntervalUnit::YearMonth)) => {
            let unit = i64::from(matches!(options.to_range, Some((_, F::Year)))) * 11 + 1;
            let whole = cast_array(array, &D::Int64, options)?;
            let result: PrimitiveArray<IntervalYearMonthType> = try_map(whole.as_primitive::<Int64Type>(), |value| {
                match value.checked_mul(unit).and_then(|months| i32::try_from(months).ok()) {
                    Some(months) => Ok(Some(months)),
                    None => options.fault(|| cast_overflow(value, from, to)),
                }
            })?;
            Ok(Arc::new(result))
        }
        (from, _) => Err(mismatch(from, to)),
    }
}

fn unit_of(range: Option<IntervalRange>) -> i64 {
    match range {
        Some((_, F::Day)) => MICROS_PER_DAY,
        Some((_, F::Hour)) => HOUR,
        Some((_, F::Minute)) => MINUTE,
        _ => MICROS_PER_SECOND,
    }
}
