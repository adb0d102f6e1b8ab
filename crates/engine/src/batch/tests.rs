//! What tasks report adds up.

use millstream_core::{BatchId, QueryId, RunEpoch};

use super::*;

fn scope() -> BatchScope {
    BatchScope::new(
        BatchFacts {
            query_id: QueryId(uuid::Uuid::nil()),
            epoch: RunEpoch(1),
            batch_id: BatchId(0),
            attempt: 0,
            clock_us: 0,
            watermarks: BatchWatermarks::EPOCH,
        },
        Arc::default(),
        Arc::new(millstream_core::SystemClock::default()),
    )
}

#[test]
fn event_times_of_tasks_become_those_of_the_node() {
    let scope = scope();
    for event_ms in [-3, 10, 0] {
        scope.saw_event_times("ts@a", EventTimeStats::of(event_ms));
    }
    scope.saw_event_times("ts@b", EventTimeStats::of(7));
    let seen = scope.take_report().event_times;
    assert_eq!(seen["ts@a"], EventTimeStats { max_event_ms: 10, min_event_ms: -3, sum_event_ms: 7, n_rows: 3 });
    assert_eq!((seen["ts@a"].avg_event_ms(), seen["ts@b"].avg_event_ms()), (2, 7));
}

#[test]
fn reports_of_tasks_become_that_of_the_operator_whoever_is_first() {
    let scope = scope();
    let task = |n: u64| StateOperatorReport {
        n_rows_total: n,
        n_rows_updated: n,
        n_rows_removed: n,
        n_rows_dropped_by_watermark: n,
        memory_bytes: n,
        updates_ms: n,
        removals_ms: n,
        commit_ms: n,
        n_partitions: 1,
        n_stores: 2,
        custom: BTreeMap::from([("hits".to_owned(), 5)]),
        ..StateOperatorReport::of("agg", "stateStoreSave")
    };
    scope.count_late_rows("agg", 4);
    scope.report_state(task(1));
    scope.report_state(task(10));
    let reports = scope.take_report().state_operators;
    let want = StateOperatorReport {
        n_rows_dropped_by_watermark: 15,
        n_partitions: 2,
        n_stores: 4,
        custom: BTreeMap::from([("hits".to_owned(), 10)]),
        ..task(11)
    };
    assert_eq!(reports["agg"], want);
}

#[test]
fn the_end_and_the_beginning_of_time_stay_so_in_microseconds() {
    let flushed = BatchWatermarks { late_ms: 5, current_ms: END_OF_TIME_MS };
    assert_eq!((flushed.late_us(), flushed.current_us()), (5000, i64::MAX));
    assert_eq!(BatchWatermarks::NONE.late_us(), i64::MIN);
}
