//! What counts as event time.

use arrow::array::{ArrayRef, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::Field;

use super::*;

fn micros(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

#[test]
fn event_times_are_whole_milliseconds_rounded_down_before_the_epoch_too() {
    let seen = event_time_stats(&micros(vec![Some(1_999), Some(-1), None, Some(3_000)])).unwrap();
    assert_eq!(seen, Some(EventTimeStats { max_event_ms: 3, min_event_ms: -1, sum_event_ms: 3, n_rows: 3 }));
}

#[test]
fn rows_without_event_time_have_no_part() {
    assert_eq!(event_time_stats(&micros(vec![None, None])).unwrap(), None);
    assert_eq!(event_time_stats(&micros(vec![])).unwrap(), None);
}

#[test]
fn the_end_of_a_window_is_its_event_time() {
    let (start, end) = (micros(vec![Some(0), Some(0), Some(0)]), micros(vec![Some(5_000), Some(9_000), None]));
    let field = |name| Arc::new(Field::new(name, start.data_type().clone(), true));
    let fields = vec![field("start"), field("end")];
    let windows = StructArray::new(fields.into(), vec![start.clone(), end], Some(vec![true, false, true].into()));
    let windows: ArrayRef = Arc::new(windows);
    assert_eq!(event_time_stats(&windows).unwrap(), Some(EventTimeStats::of(5)));
}
