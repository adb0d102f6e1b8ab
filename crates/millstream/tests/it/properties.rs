//! Properties of stateful queries over random input: what comes late, what is counted, what is remembered, what is updated.
//!
//! A case is rows, and the lives of the query that read them: cuts, restarts, parallelism. One that fails is made as small as it can be,
//! and told with the seed that it was drawn from. The cases are the same each time; `PROPTEST_RNG_SEED=N` draws others, `PROPTEST_CASES=N`
//! more. That a stream is its batch whatever the query is the business of `verify` and of the campaign of random queries
//! (`cargo xtask fuzz-queries`).

mod state;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{DataFrame, EngineConfig, Session, StreamingQueryProgress, Trigger};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::Value;

/// Cases of a property, unless the environment says how many.
const CASES: u32 = 12;
/// Each is a few queries: a smaller failure is looked for this often.
const SHRINKS_MAX: u32 = 100;
const SEED: u64 = 1;
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

/// Rows whose time goes on, out of order by less than `disorder_s`, but for one in `late_one_in` that is further behind (0: none).
fn rows(disorder_s: i64, late_one_in: u32) -> impl Strategy<Value = Vec<Row>> {
    let in_order = 0..disorder_s;
    let back = match late_one_in {
        0 => in_order.boxed(),
        n => prop_oneof![n - 1 => in_order, 1 => 0..300_i64].boxed(),
    };
    let one = (option::weighted(0.95, back), 0..4_i64);
    vec(one, 0..170).prop_map(|drawn| {
        let row = |(id, (back, k)): (i64, (Option<i64>, i64))| Row { id, ts: back.map(|back| 3600 + id * 2 - back), k };
        (0..).zip(drawn).map(row).collect()
    })
}

/// One life of a query: it finds these many rows in each of its new files.
#[derive(Debug, Clone)]
struct Life {
    parallelism: usize,
    files: Vec<usize>,
}

/// Lives, one after the other; what they leave of the rows a last one reads.
fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (1..=4_usize, vec(1..=40_usize, 0..=4)).prop_map(|(parallelism, files)| Life { parallelism, files });
    vec(life, 0..6)
}

/// Says whether a property holds for all cases of a strategy.
fn holds<T: Debug>(cases: impl Strategy<Value = T>, property: impl AsyncFn(T)) {
    let of_env = ProptestConfig::default();
    let config = ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { of_env.cases } else { CASES },
        rng_seed: match of_env.rng_seed {
            RngSeed::Random => RngSeed::Fixed(SEED),
            fixed => fixed,
        },
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..of_env
    };
    let (seed, runtime) = (config.rng_seed, tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    let found = TestRunner::new(config).run(&cases, |case| {
        runtime.block_on(property(case));
        Ok(())
    });
    if let Err(failure) = found {
        panic!("{failure}\ndrawn from {seed:?}: PROPTEST_RNG_SEED draws it again");
    }
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
async fn stream(dir: &Path, rows: &[Row], mode: &str, lives: &[Life]) -> Stream {
    streamed(dir, rows, &query(&format!("STREAM events WATERMARK ts DELAY OF INTERVAL {DELAY_S} SECONDS")), mode, lives).await
}

/// Runs a query of whole numbers over the rows in these lives and a last one, and flushes at the end.
async fn streamed(dir: &Path, rows: &[Row], sql: &str, mode: &str, lives: &[Life]) -> Stream {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let given: Arc<Mutex<BTreeMap<u64, Vec<Vec<i64>>>>> = Arc::default();
    let mut out = Stream::default();
    let (mut from, mut n_files) = (0, 0);
    let last = Life { parallelism: 2, files: vec![rows.len()] };
    for (n_life, life) in lives.iter().chain([&last]).enumerate() {
        for n_rows in &life.files {
            let to = rows.len().min(from + n_rows);
            if from < to {
                let text: String = rows[from..to].iter().map(Row::json).collect();
                std::fs::write(dir.join(format!("in/{n_files:04}.json")), text).unwrap();
                (from, n_files) = (to, n_files + 1);
            }
        }
        let is_last = n_life == lives.len();
        let engine = EngineConfig { parallelism: life.parallelism, ..EngineConfig::default() };
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
        // A life without new rows tells that it is idle.
        out.progress.extend(query.recent_progress().into_iter().filter(|progress| !progress.state_operators.is_empty()));
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

#[test]
fn with_late_rows_the_stream_is_the_batch_over_the_others_and_every_row_is_counted_once() {
    let n_late = Cell::new(0);
    holds((rows(15, 3), lives()), async |(rows, lives)| {
        let dir = tempfile::tempdir().unwrap();
        let stream = stream(dir.path(), &rows, "append", &lives).await;
        let late: BTreeSet<i64> = stream.late.iter().copied().collect();
        assert_eq!(late.len(), stream.late.len(), "a late row is there twice");
        n_late.set(n_late.get() + late.len());

        let got = sorted(stream.batches.values().flatten().cloned().collect());
        let want = batch(rows.iter().filter(|row| !late.contains(&row.id))).await;
        assert_eq!(got, want);

        // Rows in = rows without a window, counted, late.
        let counted: i64 = got.iter().map(|row| row[2]).sum();
        let without_window = rows.iter().filter(|row| row.ts.is_none()).count();
        assert_eq!(rows.len(), usize::try_from(counted).unwrap() + late.len() + without_window);
        let told: u64 =
            stream.progress.iter().flat_map(|progress| &progress.state_operators).map(|op| op.num_rows_dropped_by_watermark).sum();
        assert_eq!(told, late.len() as u64);
        let n_in: u64 = stream.progress.iter().map(|progress| progress.num_input_rows).sum();
        assert_eq!(n_in, rows.len() as u64);
    });
    assert!(n_late.get() > 20, "{n_late:?}");
}

#[test]
fn the_last_update_of_each_group_is_the_complete_result_whatever_the_cuts() {
    holds((rows(DELAY_S, 0), lives(), lives()), async |(rows, lives, others)| {
        let want = batch(rows.iter()).await;
        let (update, complete) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let updates = stream(update.path(), &rows, "update", &lives).await;
        assert_eq!(updates.late, Vec::<i64>::new());
        assert_eq!(last_of_each(&updates.batches), want);
        // A group is told again only when it has changed.
        let told: BTreeSet<&Vec<i64>> = updates.batches.values().flatten().collect();
        assert_eq!(told.len(), updates.batches.values().flatten().count());
        let whole = stream(complete.path(), &rows, "complete", &others).await;
        assert_eq!(sorted(whole.batches.into_values().next_back().unwrap_or_default()), want);
    });
}

#[test]
fn the_state_holds_the_groups_that_are_not_final_and_nothing_else() {
    holds((rows(15, 8), lives()), async |(rows, lives)| {
        let dir = tempfile::tempdir().unwrap();
        let stream = stream(dir.path(), &rows, "append", &lives).await;
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
            assert_eq!(n_state, open.len() as u64, "batch {}", progress.batch_id);
        }
        assert_eq!(n_seen, rows.len());
        if let Some(last) = stream.progress.last() {
            assert_eq!(last.event_time.get("watermark").map(String::as_str), Some("infinity"));
            assert_eq!(last.state_operators[0].num_rows_total, 0);
        }
    });
}

/// Aggregates that can take rows out again do so; beside one that cannot, they are computed anew from the rows of a group.
#[test]
fn what_takes_rows_out_again_is_what_is_computed_anew() {
    let calls =
        "n % 3 AS r, count(*) AS keys, sum(n) AS total, sum(k) AS of_keys, CAST(avg(CAST(n AS DECIMAL(10, 2))) * 1000 AS BIGINT) AS mean";
    let from = "FROM (SELECT id % 17 AS g, k, count(*) AS n FROM STREAM events GROUP BY id % 17, k) GROUP BY n % 3";
    let n_groups = Cell::new(0);
    holds((rows(15, 5), lives()), async |(rows, lives)| {
        let mut results = Vec::new();
        for (more, keeps_rows) in [("", false), (", max(n) AS forced", true)] {
            let dir = tempfile::tempdir().unwrap();
            let sql = format!("SELECT {calls}{more} {from}");
            let stream = streamed(dir.path(), &rows, &sql, "complete", &lives).await;
            let checkpoint = dir.path().join("checkpoint").display().to_string();
            let metadata = Session::new().unwrap().read().format("state-metadata").load_path(&checkpoint).await.unwrap();
            let stores = metadata.select(["stateStoreName"]).text_rows().await.unwrap();
            assert_eq!(stores.iter().any(|store| store[0] == "inputs"), keeps_rows, "{stores:?}");
            let mut batches = stream.batches;
            for rows in batches.values_mut() {
                rows.iter_mut().for_each(|row| row.truncate(5));
                rows.sort_unstable();
                n_groups.set(n_groups.get() + rows.len());
            }
            results.push(batches);
        }
        assert_eq!(results[0], results[1]);
    });
    assert!(n_groups.get() > 100, "{n_groups:?}");
}
