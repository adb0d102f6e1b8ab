//! Changes between stateful operators: what Spark refuses is proved against the batch query.
//!
//! Random chains of aggregations (some of windows, with a watermark that forgets them) and deduplications over random rows in random
//! files run with restarts at other parallelisms.
//! After every batch the changes so far, folded, must be the batch query's answer over the files so far; what complete mode
//! gives must be that answer; and what update mode gives new of a key must be that key's row of it.
//! `MILLSTREAM_TEST_CHANGES_CASES=n` asks for more cases, `MILLSTREAM_TEST_CHANGES_FROM=seed` for others.

mod chain;
mod duplicates;
mod shown;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use millstream::{BatchId, Clock, DataFrame, Error, Result, Session};
use millstream_testkit::gold::rows_of;
use millstream_testkit::{ManualClock, Rng, put_file};
use serde_json::Value;

use self::chain::Chain;

/// Chains that every test run tries.
const CASES: u64 = 20;

type Rows = Vec<Vec<Value>>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn folded_changes_and_complete_mode_are_the_batch_query() {
    let from = number("MILLSTREAM_TEST_CHANGES_FROM").unwrap_or(0);
    let n_cases = number("MILLSTREAM_TEST_CHANGES_CASES").unwrap_or(CASES);
    let (mut n_deletes, mut n_updates, mut n_plain, mut n_forgotten) = (0, 0, 0, 0);
    for seed in from..from + n_cases {
        let seen = case(seed).await.unwrap_or_else(|error| panic!("MILLSTREAM_TEST_CHANGES_FROM={seed}: {error}"));
        n_deletes += seen.n_deletes;
        n_updates += seen.n_updates;
        n_plain += u64::from(seen.is_plain);
        n_forgotten += seen.n_forgotten;
    }
    println!("{n_cases} chains: {n_updates} updates, {n_deletes} deletes, {n_forgotten} forgotten; {n_plain} also without changes");
    if n_cases >= CASES {
        assert!(n_deletes > 0 && n_updates > 0 && n_plain > 0, "nothing was changed");
        assert!(n_forgotten > 0, "nothing was forgotten");
    }
}

#[derive(Default)]
struct Seen {
    n_deletes: u64,
    n_updates: u64,
    is_plain: bool,
    /// Groups that a watermark had forgotten.
    n_forgotten: u64,
}

async fn case(seed: u64) -> Result<Seen, String> {
    let mut rng = Rng::new(seed);
    let chain = Chain::random(&mut rng);
    let files = files(&mut rng);
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let told = |what: &str, error: String| format!("{what}: {error}\n{}", chain.text());

    let changes = Run { chain: &chain, files: &files, mode: "update", shows_changes: true, n_forgotten: Arc::default() };
    let n_forgotten = Arc::clone(&changes.n_forgotten);
    let changes = changes.live(&dir.path().join("changes"), &mut rng).await.map_err(|error| told("changes", error.to_string()))?;
    seen.n_forgotten = n_forgotten.load(Ordering::Relaxed);
    let mut result: BTreeMap<String, i64> = BTreeMap::new();
    for (n_files, rows) in changes.iter().enumerate() {
        fold(&mut result, rows, &mut seen).map_err(|error| told(&format!("batch {n_files}"), error))?;
        let want = answer(&chain, &files[..=n_files], dir.path()).await.map_err(|error| told("batch query", error.to_string()))?;
        let got: Vec<String> = result.iter().flat_map(|(row, n)| std::iter::repeat_n(row.clone(), *n as usize)).collect();
        if got != want {
            return Err(told(&format!("changes folded up to batch {n_files}"), format!("\n got {got:#?}\nwant {want:#?}\nlast {rows:#?}")));
        }
    }

    let complete = Run { chain: &chain, files: &files, mode: "complete", shows_changes: false, n_forgotten: Arc::default() };
    let complete = complete.live(&dir.path().join("complete"), &mut rng).await.map_err(|error| told("complete", error.to_string()))?;
    for (n_files, rows) in complete.iter().enumerate() {
        let want = answer(&chain, &files[..=n_files], dir.path()).await.map_err(|error| told("batch query", error.to_string()))?;
        let got = texts(rows);
        if got != want {
            return Err(told(&format!("complete mode in batch {n_files}"), format!("\n got {got:#?}\nwant {want:#?}")));
        }
    }

    // Where no row can be deleted update mode needs no changes: the last row of each key is the result.
    let update = Run { chain: &chain, files: &files, mode: "update", shows_changes: false, n_forgotten: Arc::default() };
    match update.live(&dir.path().join("update"), &mut rng).await {
        Err(error) if error.error_class() == Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION") => {}
        Err(error) => return Err(told("update", error.to_string())),
        Ok(batches) => {
            seen.is_plain = true;
            let mut last: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for row in batches.into_iter().flatten() {
                last.insert(Value::from(row[..chain.n_keys()].to_vec()).to_string(), row);
            }
            let got = texts(&last.into_values().collect());
            let want = answer(&chain, &files, dir.path()).await.map_err(|error| told("batch query", error.to_string()))?;
            if chain.has_key() && got != want {
                return Err(told("the last update of each key", format!("\n got {got:#?}\nwant {want:#?}")));
            }
        }
    }
    Ok(seen)
}

/// Adds a batch's changes to the result.
fn fold(result: &mut BTreeMap<String, i64>, rows: &Rows, seen: &mut Seen) -> Result<(), String> {
    let mut of_batch: BTreeMap<String, i64> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let (word, row) = row.split_first().unwrap();
        let text = Value::from(row.to_vec()).to_string();
        let sign = match word.as_str().unwrap() {
            "insert" => 1,
            "delete" => {
                seen.n_deletes += 1;
                -1
            }
            "update_preimage" => {
                seen.n_updates += 1;
                let next = rows.get(at + 1).and_then(|row| row[0].as_str());
                if next != Some("update_postimage") {
                    return Err(format!("a row before an update and none after it: {rows:#?}"));
                }
                -1
            }
            "update_postimage" => 1,
            other => return Err(format!("a change called {other}")),
        };
        let before = of_batch.insert(text.clone(), sign);
        if before.is_some_and(|before| before != sign) {
            return Err(format!("{text} comes and goes within a batch"));
        }
        let n = result.entry(text.clone()).or_default();
        *n += sign;
    }
    if let Some((row, _)) = result.iter().find(|(_, n)| **n < 0) {
        return Err(format!("{row} was taken out and never added"));
    }
    result.retain(|_, n| *n > 0);
    Ok(())
}

fn texts(rows: &Rows) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
    texts.sort_unstable();
    texts
}

/// The batch query over some of the files.
async fn answer(chain: &Chain, files: &[String], dir: &Path) -> Result<Vec<String>> {
    let input = dir.join(format!("batch-{}", files.len()));
    std::fs::create_dir_all(&input).unwrap();
    for (number, text) in files.iter().enumerate() {
        std::fs::write(input.join(format!("{number:02}.json")), text).unwrap();
    }
    let session = Session::new()?;
    session.read().schema(chain::COLUMNS).json(&input).await?.create_or_replace_temp_view("e");
    let rows = rows_of(&chain.frame(&session, "e").await?.collect().await?).map_err(Error::internal)?;
    Ok(texts(&rows))
}

/// Random rows in two to six files.
fn files(rng: &mut Rng) -> Vec<String> {
    let n_files = 2 + rng.below(5);
    let mut n_rows = 0;
    let mut row = |rng: &mut Rng| {
        n_rows += 1;
        chain::random_row(rng, n_rows)
    };
    (0..n_files).map(|_| (0..rng.below(12)).map(|_| row(rng)).collect()).collect()
}

/// One query over the files, a batch for each.
struct Run<'a> {
    chain: &'a Chain,
    files: &'a [String],
    mode: &'a str,
    shows_changes: bool,
    n_forgotten: Arc<AtomicU64>,
}

impl Run<'_> {
    /// The rows of each batch. Now and then the query is stopped and goes on in a new session with more or fewer tasks.
    async fn live(&self, dir: &Path, rng: &mut Rng) -> Result<Vec<Rows>> {
        let input = dir.join("in");
        std::fs::create_dir_all(&input).unwrap();
        let seen: Arc<Mutex<BTreeMap<u64, Rows>>> = Arc::default();
        let mut query = None;
        for (number, text) in self.files.iter().enumerate() {
            put_file(input.join(format!("{number:02}.json")), text).unwrap();
            let running = match query.take() {
                Some(query) => query,
                None => self.start(dir, &seen, 1 + rng.index(3)).await?,
            };
            running.process_all_available().await?;
            let operators = running.last_progress().into_iter().flat_map(|progress| progress.state_operators);
            self.n_forgotten.fetch_add(operators.map(|operator| operator.num_rows_removed).sum(), Ordering::Relaxed);
            match rng.one_in(2) {
                true => running.stop().await,
                false => query = Some(running),
            }
        }
        if let Some(query) = query {
            query.stop().await;
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), self.files.len(), "a batch for each file");
        Ok(seen.into_values().collect())
    }

    async fn start(&self, dir: &Path, seen: &Arc<Mutex<BTreeMap<u64, Rows>>>, parallelism: usize) -> Result<millstream::StreamingQuery> {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000)) as Arc<dyn Clock>;
        let session = crate::spilling::builder(parallelism).clock(clock).build()?;
        session.read_stream().schema(chain::COLUMNS).json(dir.join("in")).await?.create_or_replace_temp_view("e");
        // A batch for each file.
        session.set("spark.sql.streaming.noDataMicroBatches.enabled", "false")?;
        let watermark = if self.chain.has_windows() { " WATERMARK ts DELAY OF INTERVAL 60 SECONDS" } else { "" };
        let frame = self.chain.frame(&session, &format!("STREAM e{watermark}")).await?;
        let seen = Arc::clone(seen);
        let keep = move |batch: DataFrame, id: BatchId| {
            let seen = Arc::clone(&seen);
            async move {
                let rows = rows_of(&batch.collect().await?).map_err(Error::internal)?;
                seen.lock().unwrap().insert(id.0, rows);
                Ok(())
            }
        };
        let writer = frame.write_stream().output_mode(self.mode).option("changes", self.shows_changes.to_string());
        writer.foreach_batch(keep).checkpoint(dir.join("checkpoint")).start().await
    }
}
