//! Session windows of streams against those of batches: whatever the cut of the input into batches, the order within the
//! watermark's delay, restarts and the parallelism of each life, the sessions are those that a batch finds.
//!
//! Batches find them by window functions, streams by joining pieces with their state: two ways to one answer. Seeds are
//! printed when a case fails; `MILLSTREAM_TEST_SESSION_CASES` asks for more.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{BatchId, Session, StreamingQuery, Trigger};
use millstream_testkit::Rng;

/// Rows of one batch as texts, by its id.
type Batches = Arc<Mutex<BTreeMap<BatchId, Vec<Vec<String>>>>>;

struct Case {
    seed: u64,
    query: Query,
    rng: Rng,
    dir: tempfile::TempDir,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    /// Sessions of rows.
    Sessions,
    /// Sessions of windows of rows, whose values change, so that windows go from one session to another.
    OfWindows,
}

const COLUMNS: &str = "ts TIMESTAMP, k STRING, v INT";

/// Rows are at most so much behind the newest one before them, and watermarks are that much behind: none is late.
const DISORDER_MS: u64 = 9_000;

impl Case {
    fn new(seed: u64, query: Query) -> Self {
        Self { seed, query, rng: Rng::new(seed), dir: tempfile::tempdir().unwrap() }
    }

    fn input(&self) -> std::path::PathBuf {
        self.dir.path().join("in")
    }

    /// Rows as JSON, in files of random length. Times are whole half seconds, so that many sessions touch.
    fn write_input(&mut self) {
        std::fs::create_dir_all(self.input()).unwrap();
        let (mut newest_ms, mut file, mut n_files) = (20_000_u64, String::new(), 0);
        let n_rows = 20 + self.rng.below(40);
        for row in 0..n_rows {
            newest_ms += self.rng.below(6) * 500;
            let at_ms = newest_ms - self.rng.below(DISORDER_MS / 500) * 500;
            let key = match self.rng.below(4) {
                0 => "null".to_owned(),
                key => format!("\"k{key}\""),
            };
            let value = if self.rng.one_in(7) { "null".to_owned() } else { self.rng.below(30).to_string() };
            let at = format!("2026-01-01T00:{:02}:{:02}.{:03}Z", at_ms / 60_000, at_ms / 1000 % 60, at_ms % 1000);
            file += &format!("{{\"ts\":\"{at}\",\"k\":{key},\"v\":{value}}}\n");
            if row + 1 == n_rows || self.rng.one_in(2) {
                std::fs::write(self.input().join(format!("{n_files:03}.json")), std::mem::take(&mut file)).unwrap();
                n_files += 1;
            }
        }
    }

    /// The query over `from`: with or without another key, with one gap or one per row.
    fn sql(&self, from: &str) -> String {
        if self.query == Query::OfWindows {
            let inner = format!("SELECT window AS w, k, count(*) AS n, max(v) AS top FROM {from} GROUP BY window(ts, '1 second'), k");
            let calls = "count(*) AS windows, sum(n) AS n, max(top) AS top, count(DISTINCT k) AS keys";
            let gap = "CASE WHEN top > 20 THEN '4 seconds' ELSE '1500 milliseconds' END";
            let keys = format!("session_window(w, {gap}), n % 2");
            return format!(
                "SELECT session_window.start AS s, session_window.end AS e, n % 2 AS odd, {calls} FROM ({inner}) GROUP BY {keys}"
            );
        }
        let key = if self.seed.is_multiple_of(3) { ("", "") } else { ("k, ", ", k") };
        let gap = match self.seed % 2 {
            0 => "'2 seconds'",
            _ => {
                "CASE WHEN v IS NULL THEN '1 second' WHEN v < 3 THEN '0 seconds' WHEN v < 20 THEN '1500 milliseconds' ELSE '6 seconds' END"
            }
        };
        let calls = "count(*) AS n, sum(v) AS total, min(v) AS least, max(ts) AS latest, avg(v) AS mean, count(DISTINCT v % 5) AS kinds, \
                     count(*) FILTER (WHERE v > 10) AS some, array_join(sort_array(collect_list(v)), ',') AS every";
        let keys = format!("session_window(ts, {gap}){}", key.1);
        format!(
            "SELECT session_window.start AS s, session_window.end AS e, {}{calls} FROM {from} GROUP BY {keys} HAVING count(*) <> 3",
            key.0
        )
    }

    /// The sessions that a batch finds.
    async fn expected(&self) -> Vec<Vec<String>> {
        let session = session(2, &self.input(), "").await;
        sorted(session.sql(&self.sql("e")).await.unwrap().text_rows().await.unwrap())
    }

    /// The rows of all batches of a stream that is stopped after some of them and goes on with another parallelism.
    async fn streamed(&mut self, mode: &str, options: &[(&str, &str)]) -> Vec<Vec<Vec<String>>> {
        let batches = Batches::default();
        let files: Vec<_> = std::fs::read_dir(self.input()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort();
        let arrived = self.dir.path().join(format!("arrived-{mode}"));
        std::fs::create_dir_all(&arrived).unwrap();
        while !files.is_empty() {
            for file in files.drain(..1 + self.rng.index(files.len())) {
                std::fs::copy(self.input().join(&file), arrived.join(&file)).unwrap();
            }
            let session = session(1 + self.rng.index(4), &arrived, &format!(", maxFilesPerTrigger '{}'", 1 + self.rng.below(2))).await;
            let from = "STREAM e WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e";
            let frame = session.sql(&self.sql(from)).await.unwrap();
            let took = Arc::clone(&batches);
            let mut writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).foreach_batch(move |frame, batch| {
                let took = Arc::clone(&took);
                async move {
                    let rows = frame.text_rows().await?;
                    took.lock().unwrap().insert(batch, rows);
                    Ok(())
                }
            });
            for (key, value) in options.iter().filter(|(key, _)| *key != "flush" || files.is_empty()) {
                writer = writer.option(key, *value);
            }
            let query: StreamingQuery = writer.checkpoint(self.dir.path().join(format!("checkpoint-{mode}"))).start().await.unwrap();
            query.await_termination(None).await.unwrap();
            let late: u64 = query
                .recent_progress()
                .iter()
                .flat_map(|progress| &progress.state_operators)
                .map(|op| op.num_rows_dropped_by_watermark)
                .sum();
            assert_eq!(late, 0, "seed {}: rows were late", self.seed);
        }
        let batches = batches.lock().unwrap();
        batches.values().cloned().collect()
    }
}

async fn session(parallelism: usize, path: &Path, more: &str) -> Session {
    let session = super::spilling::builder(parallelism).build().unwrap();
    session.sql(&format!("CREATE TABLE e ({COLUMNS}) USING json OPTIONS (path '{}'{more})", path.display())).await.unwrap();
    session
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

fn seeds() -> std::ops::Range<u64> {
    let n = std::env::var("MILLSTREAM_TEST_SESSION_CASES").ok().and_then(|n| n.parse().ok());
    0..n.unwrap_or(8)
}

#[tokio::test(flavor = "multi_thread")]
async fn appended_sessions_are_those_of_the_batch() {
    for seed in seeds() {
        let mut case = Case::new(seed, Query::Sessions);
        case.write_input();
        let batches = case.streamed("append", &[("flush", "true")]).await;
        let got = sorted(batches.into_iter().flatten().collect());
        assert_eq!(got, case.expected().await, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_complete_result_is_that_of_the_batch() {
    for seed in seeds() {
        let mut case = Case::new(seed, Query::Sessions);
        case.write_input();
        let batches = case.streamed("complete", &[]).await;
        assert_eq!(sorted(batches.last().cloned().unwrap_or_default()), case.expected().await, "seed {seed}");
    }
}

/// What is there after the changes of all batches.
fn folded(batches: Vec<Vec<Vec<String>>>, seed: u64) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for change in batches.into_iter().flatten() {
        let (kind, row) = change.split_first().unwrap();
        match kind.as_str() {
            "insert" | "update_postimage" => rows.push(row.to_vec()),
            "delete" | "update_preimage" => {
                let at = rows.iter().position(|known| known == row);
                rows.remove(at.unwrap_or_else(|| panic!("seed {seed}: {row:?} is taken back and was not there")));
            }
            other => panic!("seed {seed}: {other}"),
        }
    }
    sorted(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_sessions_add_up_to_the_batch() {
    for seed in seeds() {
        let mut case = Case::new(seed, Query::Sessions);
        case.write_input();
        let batches = case.streamed("update", &[("changes", "true")]).await;
        assert_eq!(folded(batches, seed), case.expected().await, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_changes_add_up_to_the_batch() {
    for seed in seeds() {
        let mut case = Case::new(seed, Query::OfWindows);
        case.write_input();
        let batches = case.streamed("update", &[("changes", "true")]).await;
        assert_eq!(folded(batches, seed), case.expected().await, "seed {seed}");
    }
}
