//! `sequence`: integers, dates and timestamps from start to stop.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{MICROS_PER_DAY, Zone};

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal};
use crate::interval_math::{Parts, add_to_timestamp, interval_parts, zone_of};
use crate::rows::number;
use crate::types::array_of;

pub(super) const FUNCTIONS: &[FunctionDef] = &[FunctionDef::new(
    "sequence",
    &[Arg::Common, Arg::Common, Arg::Any],
    Returns::Rule(|types: &Types<'_>| Ok(array_of(types.at(0)))),
    sequence,
)
.min(2)
.zoned()];

/// A sequence longer than this is a mistake, and would not fit memory.
const LENGTH_MAX: i64 = 100_000_000;

fn illegal(start: i64, stop: i64, step: &str) -> datafusion::common::DataFusionError {
    data("IllegalArgumentException", format!("sequence: no step of {step} leads from {start} to {stop}"))
}

fn sequence(call: &Call<'_>) -> Result<ArrayRef> {
    let data_type = call.data_type(0)?;
    let DataType::List(field) = call.return_type() else { return Err(internal("expected an array type")) };
    let mut offsets = vec![0i32];
    let mut valid = Vec::with_capacity(call.n_rows());
    let mut values: Vec<i64> = Vec::new();
    let has_step = call.len() > 3;
    let temporal = !data_type.is_integer();
    let zone = match data_type {
        DataType::Timestamp(_, Some(_)) => zone_of(call)?,
        _ => Zone::UTC,
    };
    let as_long = |idx: usize| -> Result<PrimitiveArray<Int64Type>> {
        Ok(match data_type {
            DataType::Date32 => call.primitive::<Date32Type>(idx)?.unary(|days| i64::from(days).saturating_mul(MICROS_PER_DAY)),
            DataType::Timestamp(..) => call.primitive::<TimestampMicrosecondType>(idx)?.unary(|us| us),
            _ => call.primitive::<Int64Type>(idx)?,
        })
    };
    let (starts, stops) = (as_long(0)?, as_long(1)?);
    let steps = if has_step && !temporal { Some(call.primitive::<Int64Type>(2)?) } else { None };
    let intervals = if has_step && temporal { Some(interval_parts(&call.array(2)?)?) } else { None };
    for row in 0..call.n_rows() {
        let (Some(start), Some(stop)) = (number(&starts, row), number(&stops, row)) else {
            end_row(&mut offsets, &mut valid, values.len(), false)?;
            continue;
        };
        let is_valid = if temporal {
            let default = Parts { months: 0, days: if start <= stop { 1 } else { -1 }, us: 0 };
            let step = match &intervals {
                Some(intervals) => intervals.get(row).copied().flatten(),
                None => Some(default),
            };
            match step {
                Some(step) => {
                    temporal_row(&mut values, start, stop, step, zone)?;
                    true
                }
                None => false,
            }
        } else {
            let step = match &steps {
                Some(steps) => number(steps, row),
                None => Some(if start <= stop { 1 } else { -1 }),
            };
            match step {
                Some(step) => {
                    integer_row(&mut values, start, stop, step)?;
                    true
                }
                None => false,
            }
        };
        end_row(&mut offsets, &mut valid, values.len(), is_valid)?;
    }
    let values = PrimitiveArray::<Int64Type>::from(values);
    let elements: ArrayRef = match field.data_type() {
        DataType::Date32 => {
            let days: PrimitiveArray<Date32Type> = values.unary(|us| us.div_euclid(MICROS_PER_DAY) as i32);
            Arc::new(days)
        }
        timestamp @ DataType::Timestamp(..) => {
            let us: PrimitiveArray<TimestampMicrosecondType> = values.unary(|us| us);
            Arc::new(us.with_data_type(timestamp.clone()))
        }
        other => arrow::compute::cast(&values, other)?,
    };
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::new(offsets.into()), elements, Some(valid.into()))?))
}

fn end_row(offsets: &mut Vec<i32>, valid: &mut Vec<bool>, total: usize, is_valid: bool) -> Result<()> {
    offsets.push(i32::try_from(total).map_err(|_| super::too_many())?);
    valid.push(is_valid);
    Ok(())
}

fn check_length(length: i64) -> Result<()> {
    if length > LENGTH_MAX {
        return Err(data(
            "COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER",
            format!("sequence: {length} elements are more than the limit of {LENGTH_MAX}"),
        ));
    }
    Ok(())
}

fn integer_row(values: &mut Vec<i64>, start: i64, stop: i64, step: i64) -> Result<()> {
    let forward = step > 0 && start <= stop;
    let backward = step < 0 && start >= stop;
    let single = step == 0 && start == stop;
    if !(forward || backward || single) {
        return Err(illegal(start, stop, &step.to_string()));
    }
    let length = if step == 0 { 0 } else { (i128::from(stop) - i128::from(start)) / i128::from(step) };
    let length = i64::try_from(length).unwrap_or(i64::MAX).saturating_add(1);
    check_length(length)?;
    values.extend((0..length).map(|idx| start.wrapping_add(idx.wrapping_mul(step))));
    Ok(())
}

fn temporal_row(values: &mut Vec<i64>, start: i64, stop: i64, step: Parts, zone: Zone) -> Result<()> {
    let days = i128::from(step.months) * 28 + i128::from(step.days);
    let direction = days * i128::from(MICROS_PER_DAY) + i128::from(step.us);
    let shown = format!("{} months {} days {} microseconds", step.months, step.days, step.us);
    if (direction > 0 && start > stop) || (direction < 0 && start < stop) || (direction == 0 && start != stop) {
        return Err(illegal(start, stop, &shown));
    }
    if direction == 0 {
        values.push(start);
        return Ok(());
    }
    let length = (i128::from(stop) - i128::from(start)).unsigned_abs() / direction.unsigned_abs();
    check_length(i64::try_from(length).unwrap_or(i64::MAX))?;
    let mut idx = 0i64;
    loop {
        // Each from the start, so that the last days of months do not drift.
        let parts = Parts { months: step.months.saturating_mul(idx), days: step.days.saturating_mul(idx), us: step.us.saturating_mul(idx) };
        let Some(next) = add_to_timestamp(start, parts, zone) else { return Ok(()) };
        if (direction > 0 && next > stop) || (direction < 0 && next < stop) {
            return Ok(());
        }
        values.push(next);
        idx += 1;
    }
}
