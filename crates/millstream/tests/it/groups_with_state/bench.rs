//! A query over JSON files that ends when all of them are read, in a session of its own each time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{max, sum};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use millstream::crash::CrashPoints;
use millstream::{DataFrame, Error, GroupState, GroupStateTimeout, GroupsWithState, Result, ScalarValue, Session, Trigger, parse_schema};

use millstream_testkit::put_file;

use crate::stream_script::Armed;

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub armed: Arc<Armed>,
    n_files: AtomicUsize,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir, armed: Arc::default(), n_files: AtomicUsize::new(0) }
    }

    /// A file of rows (key, second, number).
    pub fn feed(&self, rows: &[(Option<&str>, i64, i64)]) {
        let number = self.n_files.fetch_add(1, Ordering::Relaxed);
        let line = |(k, second, v): &(Option<&str>, i64, i64)| {
            let k = k.map_or_else(|| "null".to_owned(), |k| format!("\"{k}\""));
            format!("{{\"k\":{k},\"ts\":\"{}\",\"v\":{v}}}\n", time(*second))
        };
        let text: String = rows.iter().map(line).collect();
        put_file(self.dir.path().join(format!("in/{number:04}.json")), text).unwrap();
    }

    pub fn session(&self, parallelism: usize) -> Session {
        crate::spilling::builder(parallelism).crash_points(Arc::clone(&self.armed) as Arc<dyn CrashPoints>).build().unwrap()
    }

    /// The rows, with a watermark of 10 seconds; a file makes a batch.
    pub async fn events(&self, session: &Session) -> DataFrame {
        let reader = session.read_stream().schema("k STRING, ts TIMESTAMP, v BIGINT").option("maxFilesPerTrigger", 1);
        reader.json(self.dir.path().join("in")).await.unwrap().with_watermark("ts", "10 seconds").unwrap()
    }

    /// Runs over all there is into the table `out`.
    pub async fn run(&self, frame: &DataFrame) -> Result<()> {
        let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow);
        let query = writer.checkpoint(self.dir.path().join("checkpoint")).start_path(self.dir.path().join("out")).await?;
        query.await_termination(None).await.map(|_| ())
    }

    /// What `out` holds, sorted.
    pub async fn out(&self) -> Vec<Vec<String>> {
        sorted(Session::new().unwrap().read().parquet(self.dir.path().join("out")).await.unwrap()).await
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

pub async fn sorted(frame: DataFrame) -> Vec<Vec<String>> {
    let mut rows = frame.text_rows().await.unwrap();
    rows.sort();
    rows
}

/// A second of the first hour of 2026.
pub fn time(second: i64) -> String {
    format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
}

pub fn spec(timeout: GroupStateTimeout) -> GroupsWithState {
    GroupsWithState::new("totals", output(), parse_schema("n BIGINT, total BIGINT").unwrap()).timeout(timeout)
}

pub fn output() -> SchemaRef {
    parse_schema("k STRING, n BIGINT, total BIGINT, why STRING").unwrap()
}

/// Counts and sums the rows of a key. With timeouts by event time it says goodbye 10 s behind the newest row.
pub fn totals(key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState, timeout: GroupStateTimeout) -> Result<RecordBatch> {
    let (mut n, mut total) = (state.value::<i64>("n")?.unwrap_or(0), state.value::<i64>("total")?.unwrap_or(0));
    if state.has_timed_out() {
        state.remove();
        return row(key, n, total, "over");
    }
    for rows in rows {
        n += rows.num_rows() as i64;
        total += sum(rows["v"].as_primitive::<Int64Type>()).unwrap_or(0);
    }
    state.update([n.into(), total.into()])?;
    if timeout == GroupStateTimeout::EventTime {
        let newest = rows.iter().filter_map(|rows| max(rows["ts"].as_primitive::<TimestampMicrosecondType>())).max();
        let newest = newest.ok_or_else(|| Error::invalid("no rows"))?;
        state.set_timeout_timestamp((newest / 1000 + 10_000).max(state.current_watermark_ms()? + 1))?;
    }
    row(key, n, total, "rows")
}

pub fn row(key: &[ScalarValue], n: i64, total: i64, why: &str) -> Result<RecordBatch> {
    let key = key.first().map_or_else(|| Arc::new(StringArray::from(vec![None::<&str>])) as _, |key| key.to_array().unwrap());
    let columns: Vec<Arc<dyn Array>> =
        vec![key, Arc::new(Int64Array::from(vec![n])), Arc::new(Int64Array::from(vec![total])), Arc::new(StringArray::from(vec![why]))];
    Ok(RecordBatch::try_new(output(), columns)?)
}

/// [`totals`] of the events by their key.
pub fn totals_of(events: &DataFrame, timeout: GroupStateTimeout) -> DataFrame {
    let function = move |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| Ok(vec![totals(key, rows, state, timeout)?]);
    events.group_by(["k"]).flat_map_groups_with_state(spec(timeout), function)
}
