//! What restarts, crashes and failing functions leave of a group's state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use millstream::crash::{CRASH, CrashPoint};
use millstream::{Error, ErrorKind, GroupState, GroupStateTimeout, Result, ScalarValue, Session, Trigger};

use super::bench::{Bench, spec, totals, totals_of};

/// Batches of forty keys, one of them null, in time; some keys fall silent for long.
fn batches() -> Vec<Vec<(Option<String>, i64, i64)>> {
    let mut seed = 7_u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    (0..8)
        .map(|batch| {
            (0..30)
                .map(|_| {
                    let key = random(40);
                    let key = (key > 0).then(|| format!("k{key}"));
                    (key, batch * 12 + random(12) as i64, random(100) as i64)
                })
                .collect()
        })
        .collect()
}

async fn life(parallelisms: &[usize]) -> Vec<Vec<String>> {
    let bench = Bench::new();
    for (rows, parallelism) in batches().iter().zip(parallelisms.iter().cycle()) {
        let rows: Vec<_> = rows.iter().map(|(k, second, v)| (k.as_deref(), *second, *v)).collect();
        bench.feed(&rows);
        let session = bench.session(*parallelism);
        bench.run(&totals_of(&bench.events(&session).await, GroupStateTimeout::EventTime)).await.unwrap();
    }
    bench.out().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parallelism_of_a_restart_changes_no_row() {
    let one = life(&[1]).await;
    assert!(one.iter().filter(|row| row[3] == "over").count() > 30, "{one:?}");
    assert!(one.iter().any(|row| row[0] == "NULL"));
    assert_eq!(life(&[3, 1, 8, 2]).await, one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_not_decided_is_called_for_again_and_one_that_was_is_not() {
    for (crash, n_calls) in [
        (CrashPoint::AfterRun, 2),
        (CrashPoint::AfterPrepare, 2),
        (CrashPoint::AfterState, 2),
        (CrashPoint::AfterPrepared, 1),
        (CrashPoint::AfterCommit, 1),
    ] {
        let bench = Bench::new();
        let called = Arc::new(AtomicU32::new(0));
        let frame = async || {
            let called = Arc::clone(&called);
            let function = move |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| {
                called.fetch_add(1, Ordering::Relaxed);
                Ok(vec![totals(key, rows, state, GroupStateTimeout::None)?])
            };
            let session = bench.session(2);
            bench.events(&session).await.group_by(["k"]).flat_map_groups_with_state(spec(GroupStateTimeout::None), function)
        };
        bench.feed(&[(Some("a"), 1, 1)]);
        bench.run(&frame().await).await.unwrap();
        bench.feed(&[(Some("a"), 2, 10)]);
        called.store(0, Ordering::Relaxed);
        *bench.armed.0.lock().unwrap() = Some((crash, 1));
        let error = bench.run(&frame().await).await.unwrap_err();
        assert_eq!(error.error_class(), Some(CRASH), "{crash}");
        bench.run(&frame().await).await.unwrap();
        assert_eq!(called.load(Ordering::Relaxed), n_calls, "{crash}");
        bench.feed(&[(Some("a"), 3, 100)]);
        bench.run(&frame().await).await.unwrap();
        let rows = bench.out().await;
        let totals: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(totals, ["1", "11", "111"], "{crash}");
    }
}

fn fails_on(number: i64, how: fn() -> Error) -> impl Fn(&[ScalarValue], &[RecordBatch], &mut GroupState) -> Result<Vec<RecordBatch>> {
    move |key, rows, state| {
        if rows.iter().any(|rows| rows["v"].as_primitive::<Int64Type>().values().contains(&number)) {
            return Err(how());
        }
        Ok(vec![totals(key, rows, state, GroupStateTimeout::None)?])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_fails_or_panics_fails_the_query_by_name_and_nothing_of_the_batch_is_kept() {
    for (how, kind, text) in [
        ((|| Error::data("thirteen")) as fn() -> Error, ErrorKind::Data, "failed: thirteen"),
        (|| panic!("oh no"), ErrorKind::Internal, "panicked: oh no"),
    ] {
        let bench = Bench::new();
        let run = async |number: i64| {
            let session = bench.session(2);
            let grouped = bench.events(&session).await.group_by(["k"]);
            bench.run(&grouped.flat_map_groups_with_state(spec(GroupStateTimeout::None), fails_on(number, how))).await
        };
        bench.feed(&[(Some("a"), 1, 1), (Some("b"), 1, 2)]);
        run(13).await.unwrap();
        bench.feed(&[(Some("a"), 2, 10), (Some("b"), 2, 13)]);
        let error = run(13).await.unwrap_err();
        assert_eq!((error.kind(), error.error_class()), (kind, Some("FLATMAPGROUPSWITHSTATE_USER_FUNCTION_ERROR")));
        let wanted = format!("the function 'totals' of operator 'groups-with-state-k' {text}");
        assert!(error.to_string().contains(&wanted), "{error}");
        run(-1).await.unwrap();
        let rows = bench.out().await;
        let totals: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].as_str(), row[2].as_str())).collect();
        assert_eq!(totals, [("a", "1"), ("a", "11"), ("b", "2"), ("b", "15")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_another_timeout_is_refused() {
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 1, 1)]);
    let session = bench.session(2);
    bench.run(&totals_of(&bench.events(&session).await, GroupStateTimeout::None)).await.unwrap();
    let error = bench.run(&totals_of(&bench.events(&session).await, GroupStateTimeout::EventTime)).await.unwrap_err();
    assert!(error.to_string().contains("the stateful operator 'groups-with-state-k': it was"), "{error}");
    assert!(error.to_string().contains("EventTimeTimeout"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_ends_all_groups_that_wait_for_event_time() {
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 1, 1), (None, 500, 2)]);
    let session = bench.session(2);
    let frame = totals_of(&bench.events(&session).await, GroupStateTimeout::EventTime);
    let writer = frame.write_stream().format("parquet").trigger(millstream::Trigger::AvailableNow).option("flush", true);
    let query = writer.checkpoint(bench.path().join("checkpoint")).start_path(bench.path().join("out")).await.unwrap();
    query.await_termination(None).await.unwrap();
    let rows = bench.out().await;
    let why: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].as_str(), row[3].as_str())).collect();
    assert_eq!(why, [("NULL", "over"), ("NULL", "rows"), ("a", "over"), ("a", "rows")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_are_dropped_counted_and_kept_where_timeouts_go_by_event_time_and_only_there() {
    for (timeout, n_late, totals) in [(GroupStateTimeout::EventTime, 1, &["1", "4"][..]), (GroupStateTimeout::None, 0, &["1", "8", "11"])] {
        let bench = Bench::new();
        let mut n_dropped = 0;
        // The watermark is 90 s behind the first file.
        for rows in [&[(Some("a"), 100, 1)][..], &[(Some("a"), 50, 7), (Some("b"), 95, 2)], &[(Some("a"), 105, 3)]] {
            bench.feed(rows);
            let session = bench.session(2);
            let frame = totals_of(&bench.events(&session).await, timeout);
            let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow);
            let writer = writer.option("lateRowsPath", bench.path().join("late").display());
            let query = writer.checkpoint(bench.path().join("checkpoint")).start_path(bench.path().join("out")).await.unwrap();
            query.await_termination(None).await.unwrap();
            let operators = query.recent_progress().into_iter().flat_map(|progress| progress.state_operators);
            n_dropped += operators.map(|operator| operator.num_rows_dropped_by_watermark).sum::<u64>();
        }
        assert_eq!(n_dropped, n_late, "{timeout:?}");
        let of_a: Vec<String> = bench.out().await.into_iter().filter(|row| row[0] == "a").map(|row| row[2].clone()).collect();
        assert_eq!(of_a, totals, "{timeout:?}");
        let late = Session::new().unwrap().read().schema("row STRING").parquet(bench.path().join("late")).await;
        let late = match late {
            Ok(late) => late.text_rows().await.unwrap(),
            Err(_) => Vec::new(),
        };
        assert_eq!(late.len() as u64, n_late, "{timeout:?}");
        assert!(late.iter().all(|row| row[0].contains("\"v\":7")), "{late:?}");
    }
}
