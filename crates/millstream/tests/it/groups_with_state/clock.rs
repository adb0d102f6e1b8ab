//! Timeouts by the clock of the batches.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, StringArray};
use millstream::{Clock, DataFrame, GroupState, GroupStateTimeout, ScalarValue, Session, StreamingQuery, Trigger};
use millstream_testkit::{ManualClock, put_file};
use serde_json::Value;

use super::bench::{row, sorted, spec};

struct Live {
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    state_limit: Option<&'static str>,
}

/// All state in memory, and none of it between batches.
const STATE_LIMITS: [Option<&str>; 2] = [None, Some("1")];

impl Live {
    fn new() -> Self {
        Self::within(None)
    }

    fn within(state_limit: Option<&'static str>) -> Self {
        let live = Self { state_limit, clock: Arc::new(ManualClock::new(1_000_000)), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(live.dir.path().join("in")).unwrap();
        live
    }

    fn session(&self) -> Session {
        let builder = Session::builder().clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        self.state_limit.into_iter().fold(builder, |builder, limit| builder.config("state.memoryLimit", limit)).build().unwrap()
    }

    fn feed(&self, file: &str, key: &str) {
        put_file(self.dir.path().join(format!("in/{file}.json")), format!("{{\"k\":\"{key}\"}}\n")).unwrap();
    }

    /// Tells of each batch of a group, and when it is silent for 5 seconds.
    async fn start(&self, session: &Session) -> StreamingQuery {
        self.start_with(session, Trigger::AsSoonAsPossible, Duration::from_secs(5)).await
    }

    async fn start_with(&self, session: &Session, trigger: Trigger, silence: Duration) -> StreamingQuery {
        let events = session.read_stream().schema("k STRING").json(self.dir.path().join("in")).await.unwrap();
        let function = move |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| {
            let n = state.value::<i64>("n")?.unwrap_or(0) + rows.len() as i64;
            let now = state.current_processing_time_ms();
            if state.has_timed_out() {
                state.remove();
                return Ok(vec![row(key, n, now, "over")?]);
            }
            state.update([n.into(), now.into()])?;
            state.set_timeout_duration(silence)?;
            Ok(vec![row(key, n, now, "rows")?])
        };
        let frame = events.group_by(["k"]).flat_map_groups_with_state(spec(GroupStateTimeout::ProcessingTime), function);
        let writer = frame.write_stream().format("parquet").trigger(trigger).option("commitInterval", "0 seconds");
        writer.checkpoint(self.dir.path().join("checkpoint")).start_path(self.dir.path().join("out")).await.unwrap()
    }

    async fn out(&self) -> Vec<String> {
        let rows = sorted(Session::new().unwrap().read().parquet(self.dir.path().join("out")).await.unwrap()).await;
        rows.iter().map(|row| row.join(" ")).collect()
    }
}

/// Idle triggers have progress, too.
fn n_batches(query: &StreamingQuery) -> u64 {
    let progress: Vec<Value> = query.recent_progress().iter().map(|progress| serde_json::from_str(&progress.json()).unwrap()).collect();
    let batches = progress.iter().filter(|progress| !progress["durationMs"]["addBatch"].is_null());
    batches.filter_map(|progress| progress["batchId"].as_u64()).max().unwrap() + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_times_out_when_the_clock_is_beyond_its_deadline_in_a_batch_without_data() {
    for state_limit in STATE_LIMITS {
        let live = Live::within(state_limit);
        let session = live.session();
        live.feed("1", "a");
        let query = live.start(&session).await;
        query.process_all_available().await.unwrap();
        live.clock.advance(Duration::from_secs(3));
        live.feed("2", "b");
        query.process_all_available().await.unwrap();
        assert_eq!(n_batches(&query), 2);
        // At the deadline it has not passed, as in Spark.
        live.clock.advance(Duration::from_secs(2));
        query.process_all_available().await.unwrap();
        assert_eq!(n_batches(&query), 2);
        live.clock.advance(Duration::from_millis(1));
        query.process_all_available().await.unwrap();
        assert_eq!(n_batches(&query), 3);
        assert_eq!(live.out().await, ["a 1 1000000 rows", "a 1 1005001 over", "b 1 1003000 rows"]);
        query.stop().await;

        // The deadline of b has passed while nothing ran.
        live.clock.advance(Duration::from_secs(60));
        let session = live.session();
        let query = live.start(&session).await;
        query.process_all_available().await.unwrap();
        query.process_all_available().await.unwrap();
        assert_eq!(n_batches(&query), 4);
        query.stop().await;
        assert_eq!(live.out().await, ["a 1 1000000 rows", "a 1 1005001 over", "b 1 1003000 rows", "b 1 1065001 over"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_wakes_by_itself_when_a_group_is_due() {
    for state_limit in STATE_LIMITS {
        let live = Live::within(state_limit);
        let session = live.session();
        live.feed("1", "a");
        let query = live.start(&session).await;
        query.process_all_available().await.unwrap();
        let listener = tokio::spawn({
            let clock = Arc::clone(&live.clock);
            async move {
                loop {
                    clock.advance(Duration::from_millis(100));
                    tokio::task::yield_now().await;
                }
            }
        });
        while n_batches(&query) < 2 {
            tokio::task::yield_now().await;
        }
        listener.abort();
        query.stop().await;
        let out = live.out().await;
        assert!(out.len() == 2 && out[1].ends_with("over"), "{out:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_without_data_can_be_forbidden() {
    let live = Live::new();
    let session = live.session();
    session.set("spark.sql.streaming.noDataMicroBatches.enabled", "false").unwrap();
    live.feed("1", "a");
    let query = live.start(&session).await;
    query.process_all_available().await.unwrap();
    live.clock.advance(Duration::from_secs(60));
    query.process_all_available().await.unwrap();
    assert_eq!(n_batches(&query), 1);
    // A batch with data does it.
    live.feed("2", "b");
    query.process_all_available().await.unwrap();
    query.stop().await;
    assert_eq!(live.out().await, ["a 1 1000000 rows", "a 1 1060000 over", "b 1 1060000 rows"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_input_ends_without_waiting_for_the_clock() {
    let live = Live::new();
    live.feed("1", "a");
    for trigger in [Trigger::AvailableNow, Trigger::Once] {
        live.clock.advance(Duration::from_secs(1));
        let query = live.start_with(&live.session(), trigger, Duration::from_millis(1)).await;
        query.await_termination(None).await.unwrap();
        assert_eq!(live.out().await, ["a 1 1001000 rows"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_may_be_kept_beyond_its_timeout() {
    let clock = Arc::new(ManualClock::new(0));
    let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
    let stream = session.memory_stream("events", millstream::parse_schema("k STRING").unwrap()).unwrap();
    let add = |key: &str| {
        let keys = Arc::new(StringArray::from(vec![key]));
        stream.add(RecordBatch::try_new(stream.schema(), vec![keys]).unwrap()).unwrap();
    };
    let events: DataFrame = session.read_stream().format("memory").option("stream", "events").load().await.unwrap();
    // Neither updates nor removes when its time is over: the state stays, the timeout does not.
    let function = |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| {
        let n = state.value::<i64>("n")?.unwrap_or(0);
        if state.has_timed_out() {
            return Ok(vec![row(key, n, 0, "over")?]);
        }
        state.update([(n + rows.len() as i64).into(), ScalarValue::Null])?;
        if n == 0 {
            state.set_timeout_duration(Duration::from_secs(1))?;
        }
        Ok(vec![row(key, n + 1, 0, "rows")?])
    };
    let frame = events.group_by(["k"]).flat_map_groups_with_state(spec(GroupStateTimeout::ProcessingTime), function);
    let query = frame.write_stream().format("memory").query_name("out").start().await.unwrap();
    add("a");
    query.process_all_available().await.unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(2));
        query.process_all_available().await.unwrap();
    }
    add("a");
    query.process_all_available().await.unwrap();
    clock.advance(Duration::from_secs(2));
    query.process_all_available().await.unwrap();
    assert_eq!(n_batches(&query), 3);
    query.stop().await;
    let numbers: Vec<Vec<String>> = session.sql("SELECT n, why FROM out").await.unwrap().text_rows().await.unwrap();
    assert_eq!(numbers, [["1", "rows"], ["1", "over"], ["2", "rows"]]);
}
