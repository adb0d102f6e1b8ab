//! Options of every streaming write: how much a batch takes (`maxBytesPerBatch`), how long a stop waits (`stopTimeout`).

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema};
use millstream::{BatchId, Clock, DataFrame, Session, StreamingQuery, Trigger};
use millstream_testkit::ManualClock;

/// Nothing here takes longer, unless it hangs.
const HUNG_AFTER: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HUNG_AFTER, work).await.expect("it hangs")
}

/// Rows of each batch.
async fn batches_of(frame: &DataFrame, trigger: Trigger, options: &[(&str, &str)]) -> Vec<u64> {
    let mut writer = frame.write_stream().format("noop").trigger(trigger);
    for (name, value) in options {
        writer = writer.option(name, value);
    }
    let query = writer.start().await.unwrap();
    in_time(query.await_termination(None)).await.unwrap();
    query.recent_progress().iter().map(|progress| progress.num_input_rows).collect()
}

async fn files(session: &Session, dir: &Path, options: &[(&str, &str)]) -> DataFrame {
    let mut reader = session.read_stream().schema("n BIGINT");
    for (name, value) in options {
        reader = reader.option(name, value);
    }
    reader.json(dir).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_files_up_to_its_limit_of_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..6 {
        // Ten bytes each.
        std::fs::write(dir.path().join(format!("{n}.json")), format!("{{\"n\": {n} }}\n")).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(format!("{n}.json"))).unwrap().len(), 10);
    }
    let session = Session::new().unwrap();
    let all = files(&session, dir.path(), &[]).await;
    assert_eq!(batches_of(&all, Trigger::AvailableNow, &[]).await, [6]);
    assert_eq!(batches_of(&all, Trigger::AvailableNow, &[("maxBytesPerBatch", "20")]).await, [2, 2, 2]);
    assert_eq!(batches_of(&all, Trigger::AvailableNow, &[("maxBytesPerBatch", "49")]).await, [4, 2]);
    // One file at least.
    assert_eq!(batches_of(&all, Trigger::AvailableNow, &[("maxBytesPerBatch", "1b")]).await, [1; 6]);
    assert_eq!(batches_of(&all, Trigger::Once, &[("maxBytesPerBatch", "1b")]).await, [6]);
    // The lower of this and the source's own limit.
    let two = files(&session, dir.path(), &[("maxFilesPerTrigger", "2")]).await;
    assert_eq!(batches_of(&two, Trigger::AvailableNow, &[("maxBytesPerBatch", "49")]).await, [2, 2, 2]);
    assert_eq!(batches_of(&two, Trigger::AvailableNow, &[("maxBytesPerBatch", "10")]).await, [1; 6]);
    // An endless query, too.
    let query = all.write_stream().format("noop").option("maxBytesPerBatch", "30").start().await.unwrap();
    in_time(query.process_all_available()).await.unwrap();
    query.stop().await;
    let rows: Vec<u64> = query.recent_progress().iter().map(|progress| progress.num_input_rows).filter(|n| *n > 0).collect();
    assert_eq!(rows, [3, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_limit_a_batch_takes_four_gib() {
    // Chunks that count for 3 GiB each: many columns over the same 128 MiB, which nobody ever touches.
    const N_COLUMNS: usize = 24;
    let schema = Arc::new(Schema::new((0..N_COLUMNS).map(|n| Field::new(format!("c{n}"), DataType::Utf8, true)).collect::<Vec<_>>()));
    let shared = Buffer::from(arrow::buffer::MutableBuffer::from_len_zeroed(128 << 20));
    let session = Session::new().unwrap();
    let stream = session.memory_stream("large", Arc::clone(&schema)).unwrap();
    for _ in 0..3 {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 1]));
        let column: ArrayRef = Arc::new(StringArray::new(offsets, shared.clone(), None));
        let chunk = RecordBatch::try_new(Arc::clone(&schema), vec![column; N_COLUMNS]).unwrap();
        assert!((3 << 30..4 << 30).contains(&chunk.get_array_memory_size()));
        stream.add(chunk).unwrap();
    }
    let frame = session.read_stream().format("memory").option("stream", "large").load().await.unwrap();
    assert_eq!(batches_of(&frame, Trigger::AvailableNow, &[]).await, [1, 1, 1]);
    assert_eq!(batches_of(&frame, Trigger::AvailableNow, &[("maxBytesPerBatch", "7g")]).await, [2, 1]);
    assert_eq!(batches_of(&frame, Trigger::Once, &[]).await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new().unwrap();
    let frame = files(&session, dir.path(), &[]).await;
    for (name, value, message) in [
        ("maxBytesPerBatch", "lots", "option 'maxBytesPerBatch' is 'lots': expected a number of bytes such as 1048576, 128m or 4g"),
        ("maxBytesPerBatch", "-1", "option 'maxBytesPerBatch' is '-1': expected a number of bytes such as 1048576, 128m or 4g"),
        ("maxBytesPerBatch", "0", "option 'maxBytesPerBatch' is 0: expected a positive number"),
        ("targetBatchDuration", "0s", "option 'targetBatchDuration' is 0: expected a positive length of time"),
        ("stopTimeout", "soon", "option 'stopTimeout' is 'soon': expected a length of time such as 500 ms, 10s or 5 minutes"),
        ("stopTimeout", "-1s", "option 'stopTimeout' is '-1s': expected a length of time such as 500 ms, 10s or 5 minutes"),
    ] {
        let error = frame.write_stream().format("noop").option(name, value).start().await.unwrap_err();
        assert_eq!(error.message(), message);
    }
    let error = session.set("spark.sql.streaming.stopTimeout", "soon").unwrap_err();
    assert_eq!(error.message(), "'soon' is not a length of time");
}

/// A query whose function for each batch never returns as long as it is stuck.
struct Stuck {
    session: Session,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    given: Arc<Mutex<Vec<Given>>>,
}

/// What the function was given.
type Given = (BatchId, Vec<String>);

impl Stuck {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("in/1.json"), "{\"n\":1}\n{\"n\":2}\n").unwrap();
        Self { session, clock, dir, given: Arc::default() }
    }

    async fn start(&self, is_stuck: bool, options: &[(&str, &str)], trigger: Trigger) -> StreamingQuery {
        let frame = files(&self.session, &self.dir.path().join("in"), &[]).await;
        let given = Arc::clone(&self.given);
        let mut writer = frame.write_stream().trigger(trigger).checkpoint(self.dir.path().join("checkpoint"));
        for (name, value) in options {
            writer = writer.option(name, value);
        }
        let function = move |frame: DataFrame, batch| {
            let given = Arc::clone(&given);
            async move {
                let rows = frame.text_rows().await?.into_iter().flatten().collect();
                given.lock().unwrap().push((batch, rows));
                if is_stuck { std::future::pending().await } else { Ok(()) }
            }
        };
        writer.foreach_batch(function).start().await.unwrap()
    }

    async fn n_given(&self, n: usize) {
        in_time(async {
            while self.given.lock().unwrap().len() < n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Stops a query that is stuck, moving the clock by milliseconds; gives how many it took, or `None` for more than `at_most`.
    async fn stop(&self, query: &StreamingQuery, at_most: u64) -> Option<u64> {
        let stopping = tokio::spawn({
            let query = query.clone();
            async move { query.stop().await }
        });
        for passed_ms in 0..=at_most {
            // Long enough for a stop that is due.
            for _ in 0..20 {
                if stopping.is_finished() {
                    return Some(passed_ms);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.clock.advance(Duration::from_millis(1));
        }
        stopping.abort();
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_batch_is_cancelled_after_stop_timeout_and_comes_again() {
    let stuck = Stuck::new();
    // The option counts above the setting.
    stuck.session.set("spark.sql.streaming.stopTimeout", "1h").unwrap();
    let query = stuck.start(true, &[("stopTimeout", "20ms")], Trigger::AsSoonAsPossible).await;
    stuck.n_given(1).await;
    let passed_ms = stuck.stop(&query, 200).await.expect("the batch was not cancelled");
    assert!(passed_ms >= 20, "it had {passed_ms} ms to finish");
    assert!(!query.is_active() && query.exception().is_none(), "a stop is no failure: {:?}", query.exception());
    assert!(query.recent_progress().iter().all(|progress| progress.num_input_rows == 0));
    // The setting alone.
    stuck.session.set("spark.sql.streaming.stopTimeout", "30").unwrap();
    let query = stuck.start(true, &[], Trigger::AsSoonAsPossible).await;
    stuck.n_given(2).await;
    let passed_ms = stuck.stop(&query, 200).await.expect("the batch was not cancelled");
    assert!(passed_ms >= 30, "it had {passed_ms} ms to finish");

    let query = stuck.start(false, &[], Trigger::AvailableNow).await;
    in_time(query.await_termination(None)).await.unwrap();
    let rows = vec!["1".to_owned(), "2".to_owned()];
    let given = stuck.given.lock().unwrap().clone();
    assert_eq!(given, [(BatchId(0), rows.clone()), (BatchId(0), rows.clone()), (BatchId(0), rows)]);
    assert_eq!(query.last_progress().unwrap().num_input_rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_is_no_limit_as_in_spark() {
    let stuck = Stuck::new();
    let query = stuck.start(true, &[("stopTimeout", "0")], Trigger::AsSoonAsPossible).await;
    stuck.n_given(1).await;
    stuck.clock.advance(Duration::from_secs(86_400));
    assert_eq!(stuck.stop(&query, 3).await, None);
    assert!(query.is_active());
}

/// Answers every request of an object store with "forbidden", and gives the heads of all of them.
async fn forbidding_store() -> (String, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 64 << 10];
            let n = stream.read(&mut head).await.unwrap_or(0);
            seen.lock().unwrap().push(String::from_utf8_lossy(&head[..n]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    (endpoint, heads)
}

/// The requests that a query made below a folder of the store, none of them without its key.
fn signed(heads: &Arc<Mutex<Vec<String>>>, folder: &str) -> usize {
    let heads = heads.lock().unwrap();
    let below: Vec<&String> = heads.iter().filter(|head| head.lines().next().is_some_and(|line| line.contains(folder))).collect();
    assert!(below.iter().all(|head| head.contains("Credential=the-writers-key/")), "{below:?}");
    below.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_and_dead_letters_go_to_a_store_with_the_credentials_of_what_they_stand_beside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/a.json"), "{\"at\":\"2026-01-01T00:00:00Z\"}\n").unwrap();
    let (endpoint, heads) = forbidding_store().await;
    let store = [
        ("aws_access_key_id", "the-writers-key"),
        ("aws_secret_access_key", "secret"),
        ("aws_region", "eu-central-1"),
        ("aws_endpoint", endpoint.as_str()),
        ("allow_http", "true"),
    ];
    let session = Session::new().unwrap();
    let started = |late: Option<&'static str>, letters: Option<&'static str>, format: &'static str| {
        let (session, dir) = (session.clone(), dir.path().to_owned());
        async move {
            let mut reader = session.read_stream().schema("at TIMESTAMP");
            if let Some(path) = letters {
                reader = store.iter().fold(reader, |reader, (name, value)| reader.option(name, value)).option("deadLetterPath", path);
            }
            let rows = reader.json(dir.join("in")).await?.with_watermark("at", "1 second")?.drop_duplicates(["at"]);
            let mut writer = rows.write_stream().format(format).trigger(Trigger::AvailableNow).query_name("late");
            writer = writer.checkpoint(dir.join(format!("checkpoint-{format}")));
            if let Some(path) = late {
                writer = store.iter().fold(writer, |writer, (name, value)| writer.option(name, value)).option("lateRowsPath", path);
            }
            writer.start().await?.await_termination(None).await
        }
    };
    // The sink is none of files: its options are those of its store all the same.
    for format in ["console", "noop", "memory"] {
        let n_before = signed(&heads, "late");
        let error = in_time(started(Some("s3://bucket/late"), None, format)).await.unwrap_err();
        assert!(signed(&heads, "late") > n_before, "{format}: {error:?}");
    }
    std::fs::remove_dir_all(dir.path().join("checkpoint-noop")).unwrap();
    in_time(started(None, Some("s3://bucket/letters"), "noop")).await.unwrap_err();
    assert!(signed(&heads, "letters") > 0, "{heads:?}");
}
