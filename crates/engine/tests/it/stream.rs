//! Triggers, batches, progress, listeners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::logical_expr::{col, lit};
use millstream_core::{Clock, ErrorKind};
use millstream_engine::stream::definition::CheckpointLife;
use millstream_engine::{QueryEvent, StreamingQueryListener, Trigger};
use millstream_testkit::ManualClock;
use serde_json::Value;

use crate::harness::{Harness, rows};

#[tokio::test(flavor = "multi_thread")]
async fn available_now_takes_what_is_there_and_ends() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    stream.add(rows(0..10)).unwrap();
    stream.add(rows(10..20)).unwrap();
    let plan = t.plan(&stream, Some(col("v").gt_eq(lit(5i64)))).await;
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow)).await;
    assert!(query.await_termination(None).await.unwrap());
    let mut got = t.table("out");
    got.sort();
    assert_eq!(got, (5..20).collect::<Vec<_>>());
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.batch_id, progress.num_input_rows, progress.sink.num_output_rows), (0, 20, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_rows_are_committed_and_a_restart_goes_on_behind_them() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan.clone(), t.sink("memory", "out").await, Trigger::AsSoonAsPossible)).await;
    for batch in 0..5 {
        stream.add(rows([batch])).unwrap();
        query.process_all_available().await.unwrap();
    }
    assert_eq!(t.table("out"), [0, 1, 2, 3, 4]);
    let with_rows = query.recent_progress().iter().filter(|progress| progress.num_input_rows > 0).count();
    assert_eq!(with_rows, 5);
    let id = query.id();
    query.stop().await;
    assert!(!query.is_active() && query.exception().is_none());

    stream.add(rows([5])).unwrap();
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow)).await;
    query.await_termination(None).await.unwrap();
    assert_eq!(query.id(), id);
    assert_eq!(t.table("out"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(query.last_progress().unwrap().batch_id, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_takes_everything_in_one_batch() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    for n in 0..7 {
        stream.add(rows([n])).unwrap();
    }
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::Once)).await;
    query.await_termination(None).await.unwrap();
    assert_eq!(query.recent_progress().len(), 1);
    assert_eq!(t.table("out").len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_fails_stops_the_query_and_names_the_batch() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    stream.add(rows([1, 0])).unwrap();
    let plan = t.plan(&stream, Some((lit(10i64) / col("v")).gt(lit(1i64)))).await;
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow)).await;
    let error = query.await_termination(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().starts_with("batch 0"), "{error}");
    assert!(t.table("out").is_empty());
    assert!(query.exception().is_some());
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl StreamingQueryListener for Log {
    fn on_event(&self, event: &QueryEvent) {
        let word = match event {
            QueryEvent::Started { .. } => "started".to_owned(),
            QueryEvent::Progress(progress) => format!("progress {}", progress.batch_id),
            QueryEvent::Terminated { exception, .. } => format!("terminated {}", exception.is_some()),
            QueryEvent::Idle { timestamp, .. } => format!("idle {timestamp}"),
            _ => "other".to_owned(),
        };
        self.0.lock().unwrap().push(word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_of_start_progress_and_end_in_order() {
    let t = Harness::new();
    let log = Arc::new(Log::default());
    t.manager.add_listener(Arc::clone(&log) as Arc<dyn StreamingQueryListener>);
    let stream = t.stream("numbers");
    stream.add(rows([1])).unwrap();
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan, t.sink("noop", "out").await, Trigger::AvailableNow)).await;
    query.await_termination(None).await.unwrap();
    t.manager.flush_listeners().await;
    assert_eq!(*log.0.lock().unwrap(), ["started", "progress 0", "terminated false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_query_tells_so_once_per_interval() {
    let clock = Arc::new(ManualClock::new(0));
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let log = Arc::new(Log::default());
    t.manager.add_listener(Arc::clone(&log) as Arc<dyn StreamingQueryListener>);
    let stream = t.stream("numbers");
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan, t.sink("noop", "out").await, Trigger::AsSoonAsPossible)).await;
    let looked = async || query.process_all_available().await.unwrap();

    // The first trigger finds nothing: the progress shows the query as it stands, nobody is told.
    looked().await;
    let idle = query.last_progress().unwrap();
    assert_eq!((idle.batch_id, idle.num_input_rows, idle.sink.num_output_rows, query.recent_progress().len()), (0, 0, 0, 1));
    assert_eq!((&idle.sources[0].start_offset, &idle.sources[0].end_offset), (&Value::Null, &Value::Null));
    clock.advance(Duration::from_millis(9_999));
    looked().await;
    assert_eq!(query.recent_progress().len(), 1);
    clock.advance(Duration::from_millis(1));
    looked().await;
    assert_eq!(query.recent_progress().len(), 2);

    // Data puts it off; then it comes again and again.
    clock.advance(Duration::from_secs(9));
    stream.add(rows([1])).unwrap();
    looked().await;
    clock.advance(Duration::from_secs(9));
    looked().await;
    for _ in 0..2 {
        clock.advance(Duration::from_secs(10));
        looked().await;
        looked().await;
    }
    let idle = query.last_progress().unwrap();
    assert_eq!((idle.batch_id, idle.num_input_rows), (1, 0));
    assert_eq!(idle.sources[0].start_offset, idle.sources[0].end_offset);
    assert!(!idle.sources[0].end_offset.is_null());
    query.stop().await;
    t.manager.flush_listeners().await;
    let told = log.0.lock().unwrap().clone();
    let idle = |at: &str| format!("idle 1970-01-01T00:00:{at}Z");
    assert_eq!(told, ["started", &idle("10.000"), "progress 0", &idle("38.000"), &idle("48.000"), "terminated false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_run_over_nothing_has_a_progress() {
    let t = Harness::new();
    let plan = t.plan(&t.stream("numbers"), None).await;
    let query = t.start(t.definition(plan, t.sink("noop", "out").await, Trigger::AvailableNow)).await;
    query.await_termination(None).await.unwrap();
    assert_eq!(query.recent_progress().iter().map(|progress| progress.num_input_rows).collect::<Vec<_>>(), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_checkpoint_goes_with_its_run_but_for_failures() {
    for (row, even_if_failed, is_removed) in [(1, false, true), (0, false, false), (0, true, true)] {
        let t = Harness::new();
        let stream = t.stream("numbers");
        stream.add(rows([row])).unwrap();
        let plan = t.plan(&stream, Some((lit(10i64) / col("v")).gt(lit(1i64)))).await;
        let mut definition = t.definition(plan, t.sink("noop", "out").await, Trigger::AvailableNow);
        definition.checkpoint_life = CheckpointLife::Temporary { even_if_failed };
        let folder = definition.checkpoint.as_local().unwrap().to_owned();
        let query = t.start(definition).await;
        assert_eq!(query.await_termination(None).await.is_err(), row == 0);
        assert_eq!(folder.exists(), !is_removed, "{row}, {even_if_failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_checkpoint_stays() {
    let t = Harness::new();
    let plan = t.plan(&t.stream("numbers"), None).await;
    let definition = t.definition(plan, t.sink("noop", "out").await, Trigger::AvailableNow);
    let folder = definition.checkpoint.as_local().unwrap().to_owned();
    t.start(definition).await.await_termination(None).await.unwrap();
    assert!(folder.join("metadata.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_query_on_one_checkpoint_is_refused() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan.clone(), t.sink("noop", "out").await, Trigger::AsSoonAsPossible)).await;
    let error = t.manager.start(t.definition(plan, t.sink("noop", "out").await, Trigger::AsSoonAsPossible)).await.unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn await_termination_gives_up_after_its_timeout() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    let plan = t.plan(&stream, None).await;
    let query = t.start(t.definition(plan, t.sink("noop", "out").await, Trigger::AsSoonAsPossible)).await;
    assert!(!query.await_termination(Some(Duration::from_millis(20))).await.unwrap());
    assert!(query.is_active());
    query.stop().await;
    assert!(query.await_termination(None).await.unwrap());
}
