//! Joins of two streams against those of batches: whatever the cut of both inputs into batches, the order within the
//! watermarks' delays, restarts and the parallelism of each life, all kinds of joins give the rows of the batch.
//!
//! Seeds are printed when a case fails; `MILLSTREAM_TEST_JOIN_CASES` asks for more.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{BatchId, Session, Trigger};
use millstream_testkit::Rng;

/// Rows are at most so much behind the newest one of their stream; watermarks are as much behind and more: none is late.
const DISORDER_MS: u64 = 9_000;

const SIDES: [(&str, &str); 2] = [("l", "lt TIMESTAMP, lk STRING, lv INT"), ("r", "rt TIMESTAMP, rk STRING, rv INT")];

/// Rows of one batch as texts, by its id.
type Batches = Arc<Mutex<BTreeMap<BatchId, Vec<Vec<String>>>>>;

struct Case {
    seed: u64,
    rng: Rng,
    dir: tempfile::TempDir,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut case = Self { seed, rng: Rng::new(seed), dir: tempfile::tempdir().unwrap() };
        for (side, _) in SIDES {
            case.write_side(side);
        }
        case
    }

    /// Rows as JSON, in files of random length. Times are whole half seconds, so that many rows are just within the range.
    fn write_side(&mut self, side: &str) {
        let dir = self.dir.path().join("in").join(side);
        std::fs::create_dir_all(&dir).unwrap();
        let (mut newest_ms, mut file, mut n_files) = (20_000_u64, String::new(), 0);
        let n_rows = 20 + self.rng.below(60);
        for row in 0..n_rows {
            newest_ms += self.rng.below(8) * 500;
            let at_ms = newest_ms - self.rng.below(DISORDER_MS / 500) * 500;
            let key = match self.rng.below(4) {
                0 => "null".to_owned(),
                key => format!("\"k{key}\""),
            };
            let value = if self.rng.one_in(7) { "null".to_owned() } else { self.rng.below(30).to_string() };
            let at = match self.rng.one_in(20) {
                true => "null".to_owned(),
                false => format!("\"2026-01-01T00:{:02}:{:02}.{:03}Z\"", at_ms / 60_000, at_ms / 1000 % 60, at_ms % 1000),
            };
            file += &format!("{{\"{side}t\":{at},\"{side}k\":{key},\"{side}v\":{value}}}\n");
            if row + 1 == n_rows || self.rng.one_in(9) {
                std::fs::write(dir.join(format!("{n_files:03}.json")), std::mem::take(&mut file)).unwrap();
                n_files += 1;
            }
        }
    }

    /// The query over these relations: every kind of join by turns, of rows and below an aggregation.
    fn sql(&self, left: &str, right: &str) -> String {
        let kinds = ["INNER", "LEFT", "RIGHT", "FULL", "LEFT SEMI", "LEFT ANTI"];
        let kind = kinds[usize::try_from(self.seed).unwrap() % kinds.len()];
        let of_left_only = kind.contains("SEMI") || kind.contains("ANTI");
        let on = match self.seed / 6 % 3 {
            0 => "lk = rk AND rt BETWEEN lt - INTERVAL 3 SECONDS AND lt + INTERVAL 5 SECONDS",
            1 => "lk <=> rk AND rt > lt - INTERVAL 3 SECONDS AND rt < lt + INTERVAL 5 SECONDS AND lv < rv",
            _ => "lk = rk AND lt = rt AND lv > 3 AND rv > 3",
        };
        let joined = format!("{left} {kind} JOIN {right} ON {on}");
        match (self.seed / 18 % 2, of_left_only) {
            (0, true) => format!("SELECT lt, lk, lv FROM {joined}"),
            (0, false) => format!("SELECT lt, lk, lv, rt, rk, rv FROM {joined}"),
            (_, true) => format!("SELECT window.start AS s, count(*) AS n, sum(lv) AS v FROM {joined} GROUP BY window(lt, '4 seconds')"),
            (_, false) => {
                format!(
                    "SELECT window.start AS s, count(*) AS n, sum(rv) AS v, count(rk) AS m FROM {joined} GROUP BY window(lt, '4 seconds')"
                )
            }
        }
    }

    async fn expected(&self, sql: &str) -> Vec<Vec<String>> {
        let session = session(2, &self.dir.path().join("in"), "").await;
        sorted(session.sql(sql).await.unwrap().text_rows().await.unwrap())
    }

    /// The rows of the batches of a stream that is stopped after some files of either side and goes on with another parallelism.
    async fn streamed(&mut self, sql: &str, mode: &str, options: &[(&str, &str)]) -> Vec<Vec<Vec<String>>> {
        let batches: Batches = Arc::default();
        let (arrived, checkpoint) = (self.dir.path().join(format!("arrived-{mode}")), self.dir.path().join(format!("checkpoint-{mode}")));
        let mut files = Vec::new();
        for (side, _) in SIDES {
            std::fs::create_dir_all(arrived.join(side)).unwrap();
            let mut of_side: Vec<_> =
                std::fs::read_dir(self.dir.path().join("in").join(side)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            of_side.sort();
            files.extend(of_side.into_iter().enumerate().map(|(n, file)| (n, side, file)));
        }
        // Each side's files in their order, the sides by turns or one far behind the other.
        let ahead = self.rng.index(4);
        files.sort_by_key(|(n, side, _)| (if *side == "l" { *n + ahead } else { *n }, *side));
        while !files.is_empty() {
            for (_, side, file) in files.drain(..1 + self.rng.index(files.len())) {
                std::fs::copy(self.dir.path().join("in").join(side).join(&file), arrived.join(side).join(&file)).unwrap();
            }
            let session = session(1 + self.rng.index(4), &arrived, &format!(", maxFilesPerTrigger '{}'", 1 + self.rng.below(3))).await;
            let frame = session.sql(sql).await.unwrap();
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
            let query = writer.checkpoint(&checkpoint).start().await.unwrap();
            query.await_termination(None).await.unwrap();
            for operator in query.recent_progress().iter().flat_map(|progress| &progress.state_operators) {
                assert_eq!(operator.num_rows_dropped_by_watermark, 0, "seed {}: rows were late", self.seed);
            }
        }
        let batches = batches.lock().unwrap();
        batches.values().cloned().collect()
    }
}

async fn session(parallelism: usize, path: &Path, more: &str) -> Session {
    let session = super::spilling::builder(parallelism).build().unwrap();
    for (side, columns) in SIDES {
        let path = path.join(side);
        session.sql(&format!("CREATE TABLE {side} ({columns}) USING json OPTIONS (path '{}'{more})", path.display())).await.unwrap();
    }
    session
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

fn n_cases(or_else: u64) -> u64 {
    std::env::var("MILLSTREAM_TEST_JOIN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(or_else)
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_streams_are_the_joined_batch() {
    let watermark = |side: &str| format!("STREAM {side} WATERMARK {side}t DELAY OF INTERVAL 10 SECONDS AS {side}");
    for seed in 0..n_cases(36) {
        let mut case = Case::new(seed);
        let sql = case.sql(&watermark("l"), &watermark("r"));
        let batches = case.streamed(&sql, "append", &[("flush", "true")]).await;
        let expected = case.sql("l", "r");
        assert_eq!(sorted(batches.into_iter().flatten().collect()), case.expected(&expected).await, "seed {seed}: {expected}");
    }
}

/// Joins whose rows are taken back, for they give unmatched rows at once or join what is updated; some below an aggregation.
const CHANGING: [&str; 15] = [
    "SELECT lk, lv, rk, rv FROM {l} LEFT JOIN {r} ON lk = rk AND lv < rv",
    "SELECT lk, lv, rk, rv FROM {l} RIGHT JOIN {r} ON lk <=> rk AND lv < rv",
    "SELECT lk, lv, rk, rv FROM {l} FULL JOIN {r} ON lk = rk AND lv > 10 AND lt < rt",
    "SELECT lk, lv FROM {l} LEFT SEMI JOIN {r} ON lk = rk AND lv < rv",
    "SELECT lk, lv FROM {l} LEFT ANTI JOIN {r} ON lk = rk AND lv < rv",
    "SELECT a.lk, n, m FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) a JOIN (SELECT rk, sum(rv) AS m FROM {r} GROUP BY rk) b ON lk = rk",
    "SELECT n, rk, rv FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) FULL JOIN {r} ON lk = rk AND n > rv",
    "SELECT lk, n, rk, m FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) FULL JOIN (SELECT rk, sum(rv) AS m FROM {r} GROUP BY rk) ON lk <=> rk AND n > 1 AND n < m",
    "SELECT lk, n FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) LEFT ANTI JOIN (SELECT rk, sum(rv) AS m FROM {r} GROUP BY rk) ON lk = rk AND n < m",
    "SELECT lk, n FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) LEFT SEMI JOIN {r} ON n = rv",
    "SELECT lk, count(rk) AS n, sum(rv) AS v FROM {l} LEFT JOIN {r} ON lk = rk AND lv < rv GROUP BY lk",
    "SELECT count(*) AS n FROM {l} LEFT ANTI JOIN {r} ON lk = rk AND lv < rv",
    "SELECT n, count(*) AS m, sum(rv) AS v FROM (SELECT lk, count(*) AS n FROM {l} GROUP BY lk) FULL JOIN {r} ON lk = rk GROUP BY n",
    // A row that is alone for a moment comes and goes within the batch that brings its partner.
    "SELECT lk FROM drop_duplicates((SELECT lk, rk FROM {l} LEFT JOIN {r} ON lk = rk), 'lk')",
    "SELECT coalesce(lk, rk) AS k, count(*) AS n FROM {l} FULL JOIN {r} ON lk = rk GROUP BY coalesce(lk, rk)",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_changes_of_joined_streams_fold_to_the_joined_batch() {
    for seed in 0..n_cases(30) {
        let mut case = Case::new(seed);
        let sql = CHANGING[usize::try_from(seed).unwrap() % CHANGING.len()];
        let over = |l: &str, r: &str| sql.replace("{l}", l).replace("{r}", r);
        let streams = over("STREAM l", "STREAM r");
        let expected = case.expected(&over("l", "r")).await;
        let mut result: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for (batch, rows) in case.streamed(&streams, "update", &[("changes", "true")]).await.into_iter().enumerate() {
            for row in rows {
                let (word, row) = row.split_first().unwrap();
                let sign = if ["insert", "update_postimage"].contains(&word.as_str()) { 1 } else { -1 };
                *result.entry(row.to_vec()).or_default() += sign;
            }
            assert!(result.values().all(|n| *n >= 0), "seed {seed}, batch {batch}: {sql}: {result:?}");
        }
        let got = result.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, usize::try_from(n).unwrap())).collect();
        assert_eq!(sorted(got), expected, "seed {seed}: {sql}");
        let aggregates_last = sql.rfind("GROUP BY") > sql.rfind(" ON ") || sql.starts_with("SELECT count(*)");
        // In complete mode a join may stand above aggregations of both sides, too.
        let joins_whole_results = sql.matches("GROUP BY").count() == 2 && sql.contains("GROUP BY rk)");
        if aggregates_last || joins_whole_results {
            let batches = case.streamed(&streams, "complete", &[]).await;
            assert_eq!(sorted(batches.last().cloned().unwrap_or_default()), expected, "seed {seed} in complete mode: {sql}");
        }
    }
}
