//! When batches begin. The clock is moved by hand and each batch tells when it began, so nothing here depends on the machine.

use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::{ForeachBatch, foreach_batch_sink};
use millstream_core::{Clock, Options, Sink};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_testkit::ManualClock;

use crate::harness::{Harness, rows};

async fn until(mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("it hangs");
}

/// When each batch with rows began: second and millisecond of its minute.
fn begun(query: &StreamingQuery) -> Vec<String> {
    let with_rows = query.recent_progress().into_iter().filter(|progress| progress.num_input_rows > 0);
    with_rows.map(|progress| progress.timestamp.get(17..23).unwrap().to_owned()).collect()
}

async fn waits_behind(query: &StreamingQuery, n_batches: usize) {
    until(|| begun(query).len() == n_batches && query.status().message == "Waiting for next trigger").await;
    // It says so just before it sleeps.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_is_aligned_and_a_late_batch_starts_the_next_at_once() {
    // 00:03.500 after a full minute.
    let clock = Arc::new(ManualClock::new(1_699_999_980_000 + 3_500));
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    // There is always a next batch of this source; the third one takes 25 seconds.
    let plan = t.scan("ticks", "rate-micro-batch", Options::new().with("rowsPerBatch", "1")).await.build().unwrap();
    let schema = Arc::clone(plan.schema().inner());
    let slow = Arc::clone(&clock);
    let function: ForeachBatch = Arc::new(move |_, batch| {
        if batch.0 == 2 {
            slow.advance(Duration::from_secs(25));
        }
        Box::pin(std::future::ready(Ok(())))
    });
    let sink: Arc<dyn Sink> = Arc::new(foreach_batch_sink(function, schema, "UTC"));
    let query = t.start(t.definition(plan, sink, Trigger::ProcessingTime(Duration::from_secs(10)))).await;
    waits_behind(&query, 1).await;
    clock.advance(Duration::from_millis(6_500));
    waits_behind(&query, 2).await;
    clock.advance(Duration::from_secs(10));
    // The late one and its successor.
    waits_behind(&query, 4).await;
    clock.advance(Duration::from_secs(5));
    waits_behind(&query, 5).await;
    query.stop().await;
    assert_eq!(begun(&query), ["03.500", "10.000", "20.000", "45.000", "50.000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_interval_puts_the_next_batch_off_under_the_default_trigger() {
    let clock = Arc::new(ManualClock::new(1_699_999_980_000));
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let stream = t.stream("numbers");
    let plan = t.plan(&stream, None).await;
    let mut definition = t.definition(plan, t.sink("memory", "out").await, Trigger::AsSoonAsPossible);
    definition.commit_interval = Duration::from_secs(2);
    let query = t.start(definition).await;
    stream.add(rows([1])).unwrap();
    // What is there is committed before the pause.
    until(|| t.table("out") == [1]).await;
    stream.add(rows([2])).unwrap();
    stream.add(rows([3])).unwrap();
    // Long enough for a batch that nothing holds back.
    tokio::time::sleep(Duration::from_millis(100)).await;
    clock.advance(Duration::from_millis(2_000));
    until(|| t.table("out").len() == 3).await;
    query.stop().await;
    assert_eq!(begun(&query), ["00.000", "02.000"], "two chunks came within the interval and made one batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_interval_has_no_effect_on_available_now() {
    let t = Harness::with_clock(Arc::new(ManualClock::new(0)) as Arc<dyn Clock>);
    let stream = t.stream("numbers");
    (0..3).for_each(|n| stream.add(rows([n])).unwrap());
    let options = Options::new().with("stream", "numbers").with("maxChunksPerTrigger", "1");
    let plan = t.scan("numbers", "memory", options).await.build().unwrap();
    let mut definition = t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow);
    definition.commit_interval = Duration::from_secs(3600);
    let query = t.start(definition).await;
    // The clock stands still.
    tokio::time::timeout(Duration::from_secs(60), query.await_termination(None)).await.unwrap().unwrap();
    assert_eq!(begun(&query).len(), 3);
    assert_eq!(t.table("out"), [0, 1, 2]);
}
