//! Triggers, batches, progress, listeners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::logical_expr::{col, lit};
use millstream_core::ErrorKind;
use millstream_engine::{QueryEvent, StreamingQueryListener, Trigger};

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
    assert_eq!(query.recent_progress().len(), 5);
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
