//! Spark's rules of `GroupState` (GroupStateSuite).

use arrow::datatypes::{DataType, Field};

use super::*;

const TIMES: GroupTimes = GroupTimes { watermark_event_ms: Some(1000), earliest_event_ms: Some(1000), now_proc_ms: 5000 };

fn state(timeout: GroupStateTimeout, times: GroupTimes) -> GroupState {
    let columns = Fields::from(vec![Field::new("n", DataType::Int64, true), Field::new("what", DataType::Utf8, true)]);
    GroupState::new(&columns, None, timeout, times, false)
}

#[test]
fn a_state_is_updated_removed_and_updated_again() {
    let mut state = state(GroupStateTimeout::None, TIMES);
    assert!(!state.exists() && state.get().is_none());
    state.update([1_i64.into(), ScalarValue::Null]).unwrap();
    assert_eq!((state.value::<i64>("n").unwrap(), state.text("what").unwrap()), (Some(1), None));
    assert!(state.value::<bool>("n").is_err() && state.text("n").is_err());
    state.remove();
    assert!(!state.exists());
    assert_eq!(state.value::<i64>("n").unwrap(), None);
    state.update([2_i64.into(), "x".into()]).unwrap();
    assert_eq!(state.text("what").unwrap(), Some("x"));
    let outcome = state.into_outcome();
    assert_eq!(outcome, GroupOutcome { value: Some(vec![2_i64.into(), "x".into()]), deadline_ms: None, is_touched: true });
}

#[test]
fn what_does_not_fit_the_declared_columns_is_refused() {
    let mut state = state(GroupStateTimeout::None, TIMES);
    let message = |error: Error| error.message().to_owned();
    assert_eq!(message(state.update([1_i64.into()]).unwrap_err()), "the state has 2 columns (n, what) and was updated with 1 values");
    let error = message(state.update([1_i32.into(), ScalarValue::Null]).unwrap_err());
    assert_eq!(error, "state column 'n' is Int64 and was updated with a value of type Int32");
    assert!(!state.exists());
    assert_eq!(message(state.value::<i64>("m").unwrap_err()), "the state has no column 'm', only n, what");
}

#[test]
fn timeouts_need_their_configuration_and_a_moment_to_come() {
    let mut none = state(GroupStateTimeout::None, TIMES);
    assert_eq!(none.set_timeout_duration(Duration::from_secs(1)).unwrap_err().error_class(), Some("_LEGACY_ERROR_TEMP_2203"));
    assert_eq!(none.set_timeout_timestamp(2000).unwrap_err().error_class(), Some("_LEGACY_ERROR_TEMP_2205"));

    let mut by_clock = state(GroupStateTimeout::ProcessingTime, TIMES);
    assert!(by_clock.set_timeout_duration(Duration::from_micros(999)).is_err());
    by_clock.set_timeout_duration(Duration::from_secs(1)).unwrap();
    assert!(by_clock.set_timeout_timestamp(2000).is_err());
    assert_eq!(by_clock.into_outcome().deadline_ms, Some(6000));

    let mut by_event = state(GroupStateTimeout::EventTime, TIMES);
    assert!(by_event.set_timeout_duration(Duration::from_secs(1)).is_err());
    assert!(by_event.set_timeout_timestamp(999).is_err() && by_event.set_timeout_timestamp(0).is_err());
    by_event.set_timeout_timestamp(1000).unwrap();
    by_event.remove();
    assert_eq!(by_event.into_outcome(), GroupOutcome { value: None, deadline_ms: Some(1000), is_touched: true });
}

#[test]
fn the_watermark_is_there_if_the_input_has_one() {
    let finished = GroupTimes { watermark_event_ms: Some(-1), earliest_event_ms: None, now_proc_ms: 5000 };
    let mut state_of_finished = state(GroupStateTimeout::EventTime, finished);
    assert_eq!((state_of_finished.current_watermark_ms().unwrap(), state_of_finished.current_processing_time_ms()), (-1, 5000));
    state_of_finished.set_timeout_timestamp(1).unwrap();
    let without = GroupTimes { watermark_event_ms: None, ..TIMES };
    let error = state(GroupStateTimeout::None, without).current_watermark_ms().unwrap_err();
    assert_eq!(error.error_class(), Some("_LEGACY_ERROR_TEMP_2204"));
}
