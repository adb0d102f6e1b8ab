//! Properties of stateful queries over random input: what comes late, what is counted, what is remembered, what is updated.
//!
//! Every case draws rows, cuts, restarts and parallelism from its seed, which a failure names. That a stream is its batch
//! whatever the query is the business of `verify` and of the campaign of random queries (`cargo xtask fuzz-queries`).

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{DataFrame, EngineConfig, Session, StreamingQueryProgress, Trigger};
use millstream_testkit::Rng;
use serde_json::Value;

const SEEDS: u64 = 12;
const WINDOW_S: i64 = 10;
const DELAY_S: i64 = 20;

/// A row: its number, its event time in seconds of a day, its key.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: i64,
    ts: Option<i64>,
    k: i64,
}

impl Row {
    fn json(&self) -> String {
        let ts = self.ts.map(|s| format!("\"ts\":\"2024-01-01T{:02}:{:02}:{:02}Z\",", s / 3600, s / 60 % 60, s % 60));
        format!("{{{}\"id\":{},\"k\":{}}}\n", ts.unwrap_or_default(), self.id, self.k)
    }

    fn window(&self) -> Option<i64> {
        self.ts.map(|s| s / WINDOW_S * WINDOW_S)
    }
}

/// Rows whose time goes on, out of order by less than `disorder_s`, but for one in `late_one_in` that is further behind.
fn rows(rng: &mut Rng, disorder_s: u64, late_one_in: u64) -> Vec<Row> {
    let n_rows = 20 + rng.below(150);
    let below = |rng: &mut Rng, n: u64| i64::try_from(rng.below(n)).unwrap();
    (0..i64::try_from(n_rows).unwrap())
        .map(|id| {
            let back = if rng.one_in(late_one_in) { below(rng, 300) } else { below(rng, disorder_s) };
            let ts = (!rng.one_in(20)).then(|| 3600 + id * 2 - back);
            Row { id, ts, k: below(rng, 4) }
        })
        .collect()
}

/// What a stream did.
#[derive(Default)]
struct Stream {
    /// The rows of each batch, by its id.
    batches: BTreeMap<u64, Vec<Vec<i64>>>,
    progress: Vec<StreamingQueryProgress>,
    /// The ids of the rows that came too late.
    late: Vec<i64>,
}

/// `[window, key, n, sum of ids]`
const COLUMNS: &str =
    "unix_timestamp(window.start) - unix_timestamp(TIMESTAMP '2024-01-01 00:00:00') AS s, k, count(*) AS n, sum(id) AS ids";

fn query(read: &str) -> String {
    format!("SELECT {COLUMNS} FROM {read} GROUP BY window(ts, '{WINDOW_S} seconds'), k")
}

async fn define(session: &Session, dir: &Path) {
    let input = dir.join("in");
    let create = format!(
        "CREATE TABLE events (id BIGINT, ts TIMESTAMP, k BIGINT) USING json OPTIONS (path '{}', maxFilesPerTrigger '1', pathMustExist 'false')",
        input.display()
    );
    session.sql(&create).await.unwrap();
}

async fn numbers(frame: &DataFrame) -> Vec<Vec<i64>> {
    let rows = frame.text_rows().await.unwrap();
    rows.iter().map(|row| row.iter().map(|cell| cell.parse().unwrap()).collect()).collect()
}

/// Runs the query of windows.
async fn stream(dir: &Path, rows: &[Row], mode: &str, rng: &mut Rng) -> Stream {
    streamed(dir, rows, &query(&format!("STREAM events WATERMARK ts DELAY OF INTERVAL {DELAY_S} SECONDS")), mode, rng).await
}

/// Runs a query of whole numbers over the rows in pieces and lives that `rng` draws, and flushes at the end.
async fn streamed(dir: &Path, rows: &[Row], sql: &str, mode: &str, rng: &mut Rng) -> Stream {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let given: Arc<Mutex<BTreeMap<u64, Vec<Vec<i64>>>>> = Arc::default();
    let mut out = Stream::default();
    let (mut from, mut n_files) = (0, 0);
    while from <= rows.len() {
        for _ in 0..=rng.below(4) {
            let to = rows.len().min(from + 1 + rng.index(40));
            if from < to {
                let text: String = rows[from..to].iter().map(Row::json).collect();
                std::fs::write(dir.join(format!("in/{n_files:04}.json")), text).unwrap();
                (from, n_files) = (to, n_files + 1);
            }
        }
        let is_last = from == rows.len();
        let engine = EngineConfig { parallelism: 1 + rng.index(4), ..EngineConfig::default() };
        let session = Session::builder().engine(engine).build().unwrap();
        define(&session, dir).await;
        let frame = session.sql(sql).await.unwrap();
        let keep = Arc::clone(&given);
        let writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).checkpoint(dir.join("checkpoint"));
        let writer = writer.option("lateRowsPath", dir.join("late").display()).option("flush", is_last);
        let writer = writer.foreach_batch(move |frame, batch| {
            let keep = Arc::clone(&keep);
            async move {
                let rows = numbers(&frame).await;
                keep.lock().unwrap().insert(batch.0, rows);
                Ok(())
            }
        });
        let query = writer.start().await.unwrap();
        query.await_termination(None).await.unwrap();
        out.progress.extend(query.recent_progress());
        if is_last {
            break;
        }
    }
    out.batches = given.lock().unwrap().clone();
    out.late = late_ids(dir).await;
    out
}

/// The ids in the table of late rows.
async fn late_ids(dir: &Path) -> Vec<i64> {
    let session = Session::new().unwrap();
    let read = session.read().schema("row STRING").parquet(dir.join("late")).await;
    let Ok(frame) = read else { return Vec::new() };
    let rows = frame.text_rows().await.unwrap();
    let id = |row: &Value| row.get("id").or(row.get("rid")).and_then(Value::as_i64).unwrap();
    rows.iter().map(|row| id(&serde_json::from_str(&row[0]).unwrap())).collect()
}

/// The batch over some of the rows.
async fn batch(rows: impl Iterator<Item = &Row>) -> Vec<Vec<i64>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/all.json"), rows.map(Row::json).collect::<String>()).unwrap();
    let session = Session::new().unwrap();
    define(&session, dir.path()).await;
    sorted(numbers(&session.sql(&query("events")).await.unwrap()).await)
}

fn sorted(mut rows: Vec<Vec<i64>>) -> Vec<Vec<i64>> {
    rows.sort();
    rows
}

/// The last row of each window and key.
fn last_of_each(batches: &BTreeMap<u64, Vec<Vec<i64>>>) -> Vec<Vec<i64>> {
    let last: BTreeMap<_, _> = batches.values().flatten().map(|row| (row[..2].to_vec(), row.clone())).collect();
    last.into_values().collect()
}

/// Seconds of the day, from a watermark in progress.
fn watermark_s(progress: &StreamingQueryProgress) -> Option<i64> {
    let text = progress.event_time.get("watermark")?;
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok());
    if !text.starts_with("2024") {
        return None;
    }
    Some(number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_late_rows_the_stream_is_the_batch_over_the_others_and_every_row_is_counted_once() {
    let mut n_late = 0;
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(&mut rng, 15, 6);
        let stream = stream(dir.path(), &rows, "append", &mut rng).await;
        let late: BTreeSet<i64> = stream.late.iter().copied().collect();
        assert_eq!(late.len(), stream.late.len(), "seed {seed}: a late row is there twice");
        n_late += late.len();

        let got = sorted(stream.batches.values().flatten().cloned().collect());
        let want = batch(rows.iter().filter(|row| !late.contains(&row.id))).await;
        assert_eq!(got, want, "seed {seed}");

        // Rows in = rows without a window, counted, late.
        let counted: i64 = got.iter().map(|row| row[2]).sum();
        let without_window = rows.iter().filter(|row| row.ts.is_none()).count();
        assert_eq!(rows.len(), usize::try_from(counted).unwrap() + late.len() + without_window, "seed {seed}");
        let told: u64 =
            stream.progress.iter().flat_map(|progress| &progress.state_operators).map(|op| op.num_rows_dropped_by_watermark).sum();
        assert_eq!(told, late.len() as u64, "seed {seed}");
        let n_in: u64 = stream.progress.iter().map(|progress| progress.num_input_rows).sum();
        assert_eq!(n_in, rows.len() as u64, "seed {seed}");
    }
    assert!(n_late > 50, "{n_late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_update_of_each_group_is_the_complete_result_whatever_the_cuts() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(1000 + seed);
        let rows = rows(&mut rng, DELAY_S.unsigned_abs(), u64::MAX);
        let want = batch(rows.iter()).await;
        let (update, complete) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let updates = stream(update.path(), &rows, "update", &mut rng).await;
        assert_eq!(updates.late, Vec::<i64>::new(), "seed {seed}");
        assert_eq!(last_of_each(&updates.batches), want, "seed {seed}");
        // A group is told again only when it has changed.
        let told: BTreeSet<&Vec<i64>> = updates.batches.values().flatten().collect();
        assert_eq!(told.len(), updates.batches.values().flatten().count(), "seed {seed}");
        let whole = stream(complete.path(), &rows, "complete", &mut rng).await;
        assert_eq!(sorted(whole.batches.into_values().next_back().unwrap_or_default()), want, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_holds_the_groups_that_are_not_final_and_nothing_else() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(2000 + seed);
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(&mut rng, 15, 8);
        let stream = stream(dir.path(), &rows, "append", &mut rng).await;
        let late: BTreeSet<i64> = stream.late.iter().copied().collect();
        let mut n_seen = 0;
        for progress in &stream.progress {
            // Batches take the rows in their order.
            n_seen += usize::try_from(progress.num_input_rows).unwrap();
            let n_state = progress.state_operators[0].num_rows_total;
            let Some(watermark) = watermark_s(progress) else { continue };
            let seen = rows[..n_seen].iter().filter(|row| !late.contains(&row.id));
            let open: BTreeSet<(i64, i64)> =
                seen.filter_map(|row| Some((row.window()?, row.k))).filter(|(window, _)| window + WINDOW_S > watermark).collect();
            assert_eq!(n_state, open.len() as u64, "seed {seed}, batch {}", progress.batch_id);
        }
        assert_eq!(n_seen, rows.len(), "seed {seed}");
        let last = stream.progress.last().unwrap();
        assert_eq!(last.event_time.get("watermark").map(String::as_str), Some("infinity"), "seed {seed}");
        assert_eq!(last.state_operators[0].num_rows_total, 0, "seed {seed}");
    }
}

/// Aggregates that can take rows out again do so; beside one that cannot, they are computed anew from the rows of a group.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_rows_out_again_is_what_is_computed_anew() {
    let calls =
        "n % 3 AS r, count(*) AS keys, sum(n) AS total, sum(k) AS of_keys, CAST(avg(CAST(n AS DECIMAL(10, 2))) * 1000 AS BIGINT) AS mean";
    let from = "FROM (SELECT id % 17 AS g, k, count(*) AS n FROM STREAM events GROUP BY id % 17, k) GROUP BY n % 3";
    for seed in 0..SEEDS {
        let rows = rows(&mut Rng::new(seed), 15, 5);
        let mut results = Vec::new();
        for (more, keeps_rows) in [("", false), (", max(n) AS forced", true)] {
            let dir = tempfile::tempdir().unwrap();
            let sql = format!("SELECT {calls}{more} {from}");
            let stream = streamed(dir.path(), &rows, &sql, "complete", &mut Rng::new(seed + 100)).await;
            let checkpoint = dir.path().join("checkpoint").display().to_string();
            let metadata = Session::new().unwrap().read().format("state-metadata").load_path(&checkpoint).await.unwrap();
            let stores = metadata.select(["stateStoreName"]).text_rows().await.unwrap();
            assert_eq!(stores.iter().any(|store| store[0] == "inputs"), keeps_rows, "{stores:?}");
            let mut batches = stream.batches;
            for rows in batches.values_mut() {
                rows.iter_mut().for_each(|row| row.truncate(5));
                rows.sort_unstable();
            }
            assert!(batches.values().any(|rows| rows.len() > 1), "seed {seed}");
            results.push(batches);
        }
        assert_eq!(results[0], results[1], "seed {seed}");
    }
}
