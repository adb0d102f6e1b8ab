//! The event time of rows, from the column that carries it: a timestamp, or a window of time, which counts by its end.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields, TimeUnit, TimestampMicrosecondType};
use millstream_core::{Error, Result};

/// Event times in microseconds; null where a row has none.
pub fn event_times_us(column: &ArrayRef) -> Result<Int64Array> {
    let (times, windows) = match column.as_struct_opt() {
        None => (column, None),
        Some(windows) => {
            let end = windows.column_by_name("end").ok_or_else(|| Error::internal("an event time that is a struct without an end"))?;
            (end, windows.nulls())
        }
    };
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| Error::internal(format!("an event time of type {}", column.data_type())))?;
    Ok(Int64Array::new(times.values().clone(), NullBuffer::union(times.nulls(), windows)))
}

/// Which of these keys carries the event time, if one does.
pub fn event_time_among(keys: &Fields, event_time: Option<&str>) -> Result<Option<usize>> {
    let position = |name: &str| {
        let position = keys.iter().position(|key| key.name() == name);
        position.ok_or_else(|| Error::internal(format!("the event time {name} is not among the keys")))
    };
    event_time.map(position).transpose()
}

/// Whether a column of this type can carry event times.
pub fn carries_event_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.find("end").is_some_and(|(_, end)| carries_event_times(end.data_type())),
        other => matches!(other, DataType::Timestamp(TimeUnit::Microsecond, _)),
    }
}

/// When rows expire, milliseconds: what has its event time at or before a watermark is final, and watermarks are whole
/// milliseconds.
pub fn expiry_ms(event_times_us: &Int64Array, delay_us: i64) -> Int64Array {
    event_times_us.unary(|us| {
        let us = us.saturating_add(delay_us);
        us.div_euclid(1000) + i64::from(us.rem_euclid(1000) > 0)
    })
}
