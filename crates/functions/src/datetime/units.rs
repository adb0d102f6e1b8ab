//! Steps by unit and time zones: `timestampadd`, `timestampdiff`, `time_bucket`, `from_utc_timestamp`, ...

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, PrimitiveArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_core::{TimeSlice, TimeWindows};
use millstream_formats::datetime::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone};

use super::fields::local_micros;
use super::n_user;
use crate::arithmetic::zip;
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, external, internal, invalid};
use crate::interval_math::{Parts, add_to_timestamp, interval_parts, zone_of};
use crate::rows::{Memo, number, number_rows, text};
use crate::types::{UTC, array_of, struct_of};

/// A kernel of ours: by it streams group by windows of time.
const WINDOW_SLICE: &str = "window_slice";

/// A kernel of ours: the windows that hold a time, where each is needed by itself.
pub const WINDOWS_OF: &str = "windows_of";

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("timestampadd", &[Arg::LiteralString, Arg::Long, Arg::AnyTimestamp], Returns::Same(2), timestampadd).zoned(),
    FunctionDef::new("timestampdiff", &[Arg::LiteralString, Arg::AnyTimestamp, Arg::AnyTimestamp], Returns::Long, timestampdiff).zoned(),
    // The start of the slice of a time, for windows of this length, slide and offset in microseconds.
    FunctionDef::new(WINDOW_SLICE, &[Arg::AnyTimestamp, Arg::Long, Arg::Long, Arg::Long], Returns::Same(0), window_slice),
    // The windows that hold a time, the last one first; windows of this length, slide and offset in microseconds.
    FunctionDef::new(WINDOWS_OF, &[Arg::AnyTimestamp, Arg::Long, Arg::Long, Arg::Long], Returns::Rule(windows_type), windows_of),
    FunctionDef::new("time_bucket", &[Arg::Interval, Arg::AnyTimestamp, Arg::AnyTimestamp], Returns::Same(1), time_bucket).min(2).zoned(),
    FunctionDef::new("from_utc_timestamp", &[Arg::Timestamp, Arg::String], Returns::Timestamp, |call| {
        shift(call, |us, zone| Some(zone.to_local(us)))
    }),
    FunctionDef::new("to_utc_timestamp", &[Arg::Timestamp, Arg::String], Returns::Timestamp, |call| {
        shift(call, |us, zone| zone.to_utc(us))
    }),
    FunctionDef::new("convert_timezone", &[Arg::String, Arg::String, Arg::TimestampNtz], Returns::TimestampNtz, |call| {
        let (from, to, values) = (call.strings(0)?, call.strings(1)?, call.primitive::<TimestampMicrosecondType>(2)?);
        let (mut from_memo, mut to_memo) = (Memo::new(), Memo::new());
        Ok(Arc::new(number_rows::<TimestampMicrosecondType>(call.n_rows(), |row| {
            let (Some(from), Some(to), Some(us)) = (text(&from, row), text(&to, row), number(&values, row)) else {
                return Ok(None);
            };
            let from = *from_memo.get(from, |name| Zone::parse(name).map_err(external))?;
            let to = *to_memo.get(to, |name| Zone::parse(name).map_err(external))?;
            from.to_utc(us).map(|us| Some(to.to_local(us))).ok_or_else(out_of_range)
        })?))
    }),
];

fn out_of_range() -> datafusion::common::DataFusionError {
    data("DATETIME_OVERFLOW", "the timestamp is out of range")
}

fn windows_in(call: &Call<'_>) -> Result<TimeWindows> {
    let windows = match (call.int(1), call.int(2), call.int(3)) {
        (Some(length), Some(slide), Some(offset)) => TimeWindows::new(length, slide, offset),
        _ => None,
    };
    windows.ok_or_else(|| internal("a function of windows without windows"))
}

fn windows_type(types: &Types<'_>) -> Result<DataType> {
    Ok(array_of(struct_of(["start", "end"].map(|name| (name.to_owned(), types.at(0))))))
}

fn windows_of(call: &Call<'_>) -> Result<ArrayRef> {
    let windows = windows_in(call)?;
    let times = call.primitive::<TimestampMicrosecondType>(0)?;
    let (mut starts, mut lengths) = (Vec::new(), Vec::with_capacity(times.len()));
    for time in &times {
        let n_before = starts.len();
        starts.extend(time.into_iter().flat_map(|time| windows.starts(time)));
        lengths.push(starts.len() - n_before);
    }
    // Offsets of a list are 32 bits.
    i32::try_from(starts.len()).map_err(|_| data("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION", "too many windows of the rows of a chunk"))?;
    let starts = PrimitiveArray::<TimestampMicrosecondType>::from(starts);
    let ends: PrimitiveArray<TimestampMicrosecondType> = starts.unary(|start| windows.end(start));
    let DataType::List(field) = call.return_type() else { return Err(internal("expected an array type")) };
    let DataType::Struct(fields) = field.data_type() else { return Err(internal("expected a struct type")) };
    let columns = [starts, ends].map(|column| Arc::new(column.with_data_type(times.data_type().clone())) as ArrayRef);
    let structs = StructArray::try_new(fields.clone(), columns.to_vec(), None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), Arc::new(structs), times.nulls().cloned())?))
}

fn window_slice(call: &Call<'_>) -> Result<ArrayRef> {
    let windows = windows_in(call)?;
    let times = call.primitive::<TimestampMicrosecondType>(0)?;
    // Times come mostly in order: the next one is in the same slice, and needs no division.
    let mut slice = TimeSlice { start_us: 0, end_us: 0 };
    let starts = times.values().iter().map(|time| {
        if *time < slice.start_us || *time >= slice.end_us {
            slice = windows.slice(*time);
        }
        slice.start_us
    });
    let starts: Vec<i64> = starts.collect();
    let starts = PrimitiveArray::<TimestampMicrosecondType>::new(starts.into(), times.nulls().cloned());
    Ok(Arc::new(starts.with_data_type(times.data_type().clone())))
}

fn shift(call: &Call<'_>, convert: impl Fn(i64, Zone) -> Option<i64>) -> Result<ArrayRef> {
    let (values, zones) = (call.primitive::<TimestampMicrosecondType>(0)?, call.strings(1)?);
    let mut memo = Memo::new();
    let result = number_rows::<TimestampMicrosecondType>(call.n_rows(), |row| {
        let (Some(us), Some(zone)) = (number(&values, row), text(&zones, row)) else { return Ok(None) };
        let zone = *memo.get(zone, |name| Zone::parse(name).map_err(external))?;
        convert(us, zone).map(Some).ok_or_else(out_of_range)
    })?;
    Ok(Arc::new(result.with_timezone(UTC)))
}

/// A unit is so many months, days or microseconds.
#[derive(Debug, Clone, Copy)]
enum Step {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn step(call: &Call<'_>) -> Result<Step> {
    let name = call.required_text(0)?;
    Ok(match name.to_ascii_uppercase().as_str() {
        "YEAR" => Step::Months(12),
        "QUARTER" => Step::Months(3),
        "MONTH" => Step::Months(1),
        "WEEK" => Step::Days(7),
        "DAY" | "DAYOFYEAR" => Step::Days(1),
        "HOUR" => Step::Micros(3600 * MICROS_PER_SECOND),
        "MINUTE" => Step::Micros(60 * MICROS_PER_SECOND),
        "SECOND" => Step::Micros(MICROS_PER_SECOND),
        "MILLISECOND" => Step::Micros(1000),
        "MICROSECOND" => Step::Micros(1),
        _ => return Err(invalid("INVALID_PARAMETER_VALUE.DATETIME_UNIT", format!("'{name}' is no unit of time"))),
    })
}

fn timestampadd(call: &Call<'_>) -> Result<ArrayRef> {
    let step = step(call)?;
    let zone = match call.data_type(2)? {
        DataType::Timestamp(_, Some(_)) => zone_of(call)?,
        _ => Zone::UTC,
    };
    let (counts, values) = (call.primitive::<Int64Type>(1)?, call.primitive::<TimestampMicrosecondType>(2)?);
    let result = zip::<_, _, TimestampMicrosecondType>(&counts, &values, |count, us| {
        let sum = match step {
            Step::Months(unit) => count.checked_mul(unit).map(|months| Parts { months, days: 0, us: 0 }),
            Step::Days(unit) => count.checked_mul(unit).map(|days| Parts { months: 0, days, us: 0 }),
            Step::Micros(unit) => count.checked_mul(unit).map(|us| Parts { months: 0, days: 0, us }),
        };
        sum.and_then(|parts| add_to_timestamp(us, parts, zone)).map(Some).ok_or_else(out_of_range)
    })?;
    Ok(Arc::new(result.with_data_type(call.data_type(2)?)))
}

/// Whole units from the first to the second, on the local calendar.
fn timestampdiff(call: &Call<'_>) -> Result<ArrayRef> {
    let step = step(call)?;
    let zone = zone_of(call)?;
    let (start, end) = (local_micros(&call.array(1)?, zone)?, local_micros(&call.array(2)?, zone)?);
    Ok(Arc::new(zip::<_, _, Int64Type>(&start, &end, |start, end| {
        let us = end.checked_sub(start).ok_or_else(out_of_range)?;
        Ok(Some(match step {
            Step::Micros(unit) => us / unit,
            Step::Days(unit) => us / (unit * MICROS_PER_DAY),
            Step::Months(unit) => whole_months(start, end) / unit,
        }))
    })?))
}

fn whole_months(start: i64, end: i64) -> i64 {
    let (a, b) = (Civil::from_local_micros(start), Civil::from_local_micros(end));
    let months = (b.year - a.year) * 12 + i64::from(b.month) - i64::from(a.month);
    let in_month = |civil: &Civil, us: i64| i64::from(civil.day) * MICROS_PER_DAY + us.rem_euclid(MICROS_PER_DAY);
    let (a, b) = (in_month(&a, start), in_month(&b, end));
    if months > 0 && b < a {
        months - 1
    } else if months < 0 && b > a {
        months + 1
    } else {
        months
    }
}

/// The start of the bucket that a time is in; buckets are counted from the origin, 1970-01-01 if not given.
fn time_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    let widths = interval_parts(&call.array(0)?)?;
    let zone = match call.data_type(1)? {
        DataType::Timestamp(_, Some(_)) => zone_of(call)?,
        _ => Zone::UTC,
    };
    let values = call.primitive::<TimestampMicrosecondType>(1)?;
    let origins = if n_user(call) > 2 { Some(call.primitive::<TimestampMicrosecondType>(2)?) } else { None };
    let mut builder = PrimitiveArray::<TimestampMicrosecondType>::builder(values.len());
    for (row, width) in widths.into_iter().enumerate() {
        let origin = match &origins {
            Some(origins) => number(origins, row),
            None => Some(0),
        };
        let (Some(width), Some(us), Some(origin)) = (width, number(&values, row), origin) else {
            builder.append_null();
            continue;
        };
        let bucket = if width.months != 0 {
            let months = whole_months_floor(zone.to_local(origin), zone.to_local(us), width.months);
            months.and_then(|months| add_to_timestamp(origin, Parts { months, days: 0, us: 0 }, zone))
        } else {
            let step = width.days.checked_mul(MICROS_PER_DAY).and_then(|days| days.checked_add(width.us));
            step.filter(|step| *step > 0).and_then(|step| us.checked_sub(origin).and_then(|since| us.checked_sub(since.rem_euclid(step))))
        };
        builder
            .append_value(bucket.ok_or_else(|| {
                data("INVALID_PARAMETER_VALUE.INTERVAL", "time_bucket: the width must be positive and the time in range")
            })?);
    }
    Ok(Arc::new(builder.finish().with_data_type(call.data_type(1)?)))
}

fn whole_months_floor(origin: i64, local: i64, width: i64) -> Option<i64> {
    if width <= 0 {
        return None;
    }
    let mut months = whole_months(origin, local);
    if local < origin {
        months -= 1;
    }
    Some(months.div_euclid(width) * width)
}
