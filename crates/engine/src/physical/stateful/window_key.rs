//! A window of time among the keys: rows, exchange and state have the start of its slice, what is given has the window.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, PrimitiveArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, TimestampMicrosecondType};
use millstream_core::{Error, Result, TimeWindows};
use serde::{Deserialize, Serialize};

/// The key, by its names below and above the aggregation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowKey {
    /// The column of slice starts.
    pub slice: String,
    /// The column of windows, structs of start and end.
    pub window: String,
    /// Which windows there are.
    pub windows: TimeWindows,
}

impl WindowKey {
    /// The column of windows, for starts of this type.
    pub fn field(&self, starts: &DataType) -> Field {
        Field::new(&self.window, DataType::Struct(bounds(starts)), false)
    }

    /// The windows that begin at `starts`.
    pub fn structs(&self, starts: &ArrayRef) -> Result<ArrayRef> {
        let times = as_times(starts)?;
        let ends: PrimitiveArray<TimestampMicrosecondType> = times.unary(|start| self.windows.end(start));
        let ends: ArrayRef = Arc::new(ends.with_data_type(starts.data_type().clone()));
        Ok(Arc::new(StructArray::try_new(bounds(starts.data_type()), vec![Arc::clone(starts), ends], None)?))
    }
}

impl fmt::Display for WindowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: i64| format!("{} s", us as f64 / 1e6);
        write!(f, "window={} by {}", seconds(self.windows.length_us()), seconds(self.windows.slide_us()))
    }
}

/// The ends of the last windows that hold slices, by their starts: microseconds.
pub fn latest_ends_us(windows: TimeWindows, slices: &ArrayRef) -> Result<Int64Array> {
    Ok(as_times(slices)?.unary(|start| windows.latest_end(start)))
}

/// The ends of the first windows that hold slices, by their starts: microseconds.
pub fn earliest_ends_us(windows: TimeWindows, slices: &ArrayRef) -> Result<Int64Array> {
    Ok(as_times(slices)?.unary(|start| windows.end(windows.earliest_start(start))))
}

/// Starts of slices, or of windows.
pub fn as_times(starts: &ArrayRef) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
    starts.as_primitive_opt().ok_or_else(|| Error::internal(format!("a window whose start is of type {}", starts.data_type())))
}

fn bounds(data_type: &DataType) -> Fields {
    ["start", "end"].map(|name| Field::new(name, data_type.clone(), true)).to_vec().into()
}
