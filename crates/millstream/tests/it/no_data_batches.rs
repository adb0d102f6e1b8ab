//! Batches without data under other triggers and sinks than the scripts of `tests/stream` have: an interval, files.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::{Clock, DataFrame, QueryEvent, Session, StreamingQuery, StreamingQueryListener, Trigger};
use millstream_testkit::ManualClock;

const HUNG_AFTER: Duration = Duration::from_secs(60);

/// Ten-second windows over JSON files.
async fn windows(session: &Session, dir: &Path) -> DataFrame {
    let frame = session.read_stream().schema("ts TIMESTAMP").json(dir.join("in")).await.unwrap();
    frame.create_or_replace_temp_view("events");
    let query = "SELECT date_format(window.start, 'mm:ss') AS at, count(*) AS n \
                 FROM STREAM events WATERMARK ts DELAY OF INTERVAL 0 SECONDS GROUP BY window(ts, '10 seconds')";
    session.sql(query).await.unwrap()
}

fn add(dir: &Path, file: &str, seconds: &[u32]) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let text: String = seconds.iter().map(|s| format!("{{\"ts\":\"2024-01-01T00:00:{s:02}Z\"}}\n")).collect();
    std::fs::write(dir.join("unfinished"), text).unwrap();
    std::fs::rename(dir.join("unfinished"), dir.join("in").join(file)).unwrap();
}

/// The ids of the batches that listeners were told of.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl StreamingQueryListener for Told {
    fn on_event(&self, event: &QueryEvent) {
        if let QueryEvent::Progress(progress) = event {
            self.0.lock().unwrap().push(progress.batch_id);
        }
    }
}

/// Waits until the query has done so many batches.
async fn batches(query: &StreamingQuery, n: usize) {
    let done = async {
        while query.recent_progress().len() < n {
            assert!(query.is_active(), "{:?}", query.exception());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(HUNG_AFTER, done).await.expect("it hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_interval_a_batch_without_data_waits_for_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
    let told = Arc::new(Told::default());
    session.streams().add_listener(Arc::clone(&told) as Arc<dyn StreamingQueryListener>);
    add(dir, "a.json", &[5, 25]);
    let interval = Duration::from_secs(60);
    let writer = windows(&session, dir).await.write_stream().format("memory").query_name("out");
    let query = writer.trigger(Trigger::ProcessingTime(interval)).checkpoint(dir.join("checkpoint")).start().await.unwrap();
    batches(&query, 1).await;
    assert_eq!(session.table("out").count().await.unwrap(), 0);
    // The watermark has moved, and the first window is final; the batch that gives it comes at the next turn, not at once.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(query.recent_progress().len(), 1);
    clock.advance(interval);
    batches(&query, 2).await;
    let last = query.last_progress().unwrap();
    assert_eq!((last.batch_id, last.num_input_rows), (1, 0), "{}", last.json());
    assert_eq!(session.table("out").text_rows().await.unwrap(), [["00:00", "1"]]);
    // It has moved no further: no more batches without data. A trigger that finds nothing to do is no event of progress.
    clock.advance(interval * 3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    session.streams().flush_listeners().await;
    assert_eq!(*told.0.lock().unwrap(), [0, 1]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn into_files_a_batch_without_data_commits_what_became_final_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let session = Session::new().unwrap();
    let life = async || {
        let writer = windows(&session, dir).await.write_stream().format("parquet").trigger(Trigger::AvailableNow);
        let query = writer.checkpoint(dir.join("checkpoint")).start_path(dir.join("out")).await.unwrap();
        query.await_termination(None).await.unwrap();
        query.recent_progress().iter().map(|progress| (progress.batch_id, progress.num_input_rows)).collect::<Vec<_>>()
    };
    let out = async || {
        let frame = session.read().schema("at STRING, n BIGINT").parquet(dir.join("out")).await.unwrap();
        let mut rows = frame.text_rows().await.unwrap();
        rows.sort();
        rows
    };
    add(dir, "a.json", &[5, 25]);
    assert_eq!(life().await, [(0, 2), (1, 0)]);
    assert_eq!(out().await, [["00:00", "1"]]);
    // Nothing new, nothing to do: the progress of a trigger without a batch.
    assert_eq!(life().await, [(2, 0)]);
    let n_files = std::fs::read_dir(dir.join("out")).unwrap().count();
    add(dir, "b.json", &[45]);
    assert_eq!(life().await, [(2, 1), (3, 0)]);
    assert_eq!(std::fs::read_dir(dir.join("out")).unwrap().count(), n_files + 1, "the batch of b.json has no rows to write");
    assert_eq!(out().await, [["00:00", "1"], ["00:20", "1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_waits_for_a_silent_source_until_its_idle_timeout_and_no_longer() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
    let schema = millstream::parse_schema("ts TIMESTAMP").unwrap();
    let mut frames = Vec::new();
    for name in ["talks", "is_silent"] {
        let stream = session.memory_stream(name, Arc::clone(&schema)).unwrap();
        let seconds: &[i64] = if name == "talks" { &[5, 25] } else { &[5] };
        let rows = arrow::array::TimestampMicrosecondArray::from_iter_values(seconds.iter().map(|s| s * 1_000_000));
        let rows = arrow::compute::cast(&rows, schema.field(0).data_type()).unwrap();
        stream.add(arrow::array::RecordBatch::try_new(Arc::clone(&schema), vec![rows]).unwrap()).unwrap();
        let reader = session.read_stream().format("memory").option("stream", name);
        let reader = if name == "is_silent" { reader.option("idleTimeout", "5 seconds") } else { reader };
        frames.push(reader.load().await.unwrap().with_watermark("ts", "0 seconds").unwrap());
    }
    let both = frames.remove(0).union(&frames.remove(0));
    let counts = both.group_by([millstream::functions::expr("window(ts, '10 seconds')").unwrap()]).count();
    let query = counts.write_stream().format("memory").query_name("out").start().await.unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(session.table("out").count().await.unwrap(), 0);
    // Both sources tell of data, and neither does: the loop wakes for the timeout alone. (After 10 s it would for something else.)
    clock.advance(Duration::from_millis(4_900));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(session.table("out").count().await.unwrap(), 0);
    clock.advance(Duration::from_millis(600));
    let is_out = async {
        while session.table("out").count().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(HUNG_AFTER, is_out).await.expect("it hangs");
    query.stop().await;
}
