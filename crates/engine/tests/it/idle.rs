//! What a query does that has nothing to do: it sleeps until something is due. The clock is moved by hand and counts who sleeps,
//! so nothing here depends on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::{Clock, Options};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_state::checkpoint::{RecordKind, show};
use millstream_testkit::ManualClock;

use crate::harness::{Harness, rows};

/// Counts how often somebody went to sleep: an idle loop does once per look.
#[derive(Debug)]
struct CountingClock {
    clock: ManualClock,
    n_sleeps: AtomicU64,
}

impl CountingClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { clock: ManualClock::new(1_700_000_000_000), n_sleeps: AtomicU64::new(0) })
    }

    fn n_sleeps(&self) -> u64 {
        self.n_sleeps.load(Ordering::SeqCst)
    }

    /// Moves on step by step until something has happened.
    async fn pass_until(&self, step: Duration, mut has_happened: impl FnMut() -> bool) {
        until(|| {
            self.clock.advance(step);
            has_happened()
        })
        .await;
    }

    /// Moves on, and waits until who sleeps has woken and sleeps again.
    async fn pass_a_look(&self, time: Duration) {
        let before = self.n_sleeps();
        self.clock.advance(time);
        until(|| self.n_sleeps() > before).await;
    }
}

#[async_trait]
impl Clock for CountingClock {
    fn now_proc_us(&self) -> i64 {
        self.clock.now_proc_us()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        let mut sleep = self.clock.sleep(duration);
        // Counted when its end is fixed: who then moves the clock moves it towards that.
        if futures::poll!(&mut sleep).is_pending() {
            self.n_sleeps.fetch_add(1, Ordering::SeqCst);
            sleep.await;
        }
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("it hangs");
}

fn n_idle(query: &StreamingQuery) -> usize {
    query.recent_progress().iter().filter(|progress| progress.num_input_rows == 0).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_source_tells_of_data_wakes_only_for_what_is_due() {
    let clock = CountingClock::new();
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let stream = t.stream("numbers");
    stream.add(rows([1])).unwrap();
    let query = t.start(t.definition(t.plan(&stream, None).await, t.sink("memory", "out").await, Trigger::AsSoonAsPossible)).await;
    query.process_all_available().await.unwrap();

    // The last fact is written a second after the batch, or half a second later. (The loop may not sleep yet when the clock moves.)
    let is_written = async {
        loop {
            clock.clock.advance(Duration::from_millis(100));
            let record = show(&t.checkpoint()).await.unwrap().records.pop().unwrap();
            if record.kind == RecordKind::Fact {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let record = tokio::time::timeout(Duration::from_secs(60), is_written).await.expect("it hangs");
    assert_eq!(record.committed.map(|batch| batch.0), Some(0));

    // Then idleness is told once in ten seconds, and nothing else wakes the query.
    let (sleeps_before, idle_before) = (clock.n_sleeps(), n_idle(&query));
    clock.pass_until(Duration::from_millis(100), || n_idle(&query) == idle_before + 3).await;
    let n_looks = clock.n_sleeps() - sleeps_before;
    assert!(n_looks <= 4, "{n_looks} looks");

    // Data does.
    clock.clock.advance(Duration::from_secs(3));
    stream.add(rows([2])).unwrap();
    until(|| t.table("out") == [1, 2]).await;
    // Its rate is not that of three seconds in which nobody looked.
    query.process_all_available().await.unwrap();
    let with_rows = query.recent_progress().into_iter().rfind(|progress| progress.num_input_rows > 0).unwrap();
    assert_eq!(with_rows.input_rows_per_second, 2.0);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_must_be_asked_is_asked_again_and_again_and_finds_what_comes() {
    let clock = CountingClock::new();
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let dir = t.dir.path().join("in");
    std::fs::create_dir(&dir).unwrap();
    let options = Options::new().with("path", dir.to_string_lossy()).with("wholetext", "true");
    let plan = t.scan("files", "text", options).await.build().unwrap();
    let schema = Arc::clone(plan.schema().inner());
    let sink = t.sink_of("memory", "out", schema).await;
    let query = t.start(t.definition(plan, sink, Trigger::AsSoonAsPossible)).await;
    query.process_all_available().await.unwrap();
    // More and more seldom, in the end twice a second and no more often.
    for _ in 0..20 {
        clock.pass_a_look(Duration::from_millis(500)).await;
    }
    let before = clock.n_sleeps();
    clock.clock.advance(Duration::from_millis(499));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(clock.n_sleeps(), before);
    clock.pass_a_look(Duration::from_millis(1)).await;

    std::fs::write(dir.join("a.txt"), "hello").unwrap();
    clock.clock.advance(Duration::from_millis(500));
    until(|| t.in_process.memory.table("out").is_some_and(|(_, rows)| rows.iter().map(|rows| rows.num_rows()).sum::<usize>() == 1)).await;
    query.stop().await;
}
