//! Overlapping windows of streams kept as slices, against the same query with a row for each window.
//!
//! A query that aggregates the window itself cannot be kept as slices, so the two queries here differ by such a column and by
//! nothing else. Both run over the same files in the same batches with the same restarts, in every mode, with rows that are
//! late for some of their windows or for all: each batch must give the same rows and count the same late rows. Seeds are printed
//! when a case fails; `MILLSTREAM_TEST_WINDOW_CASES` asks for more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millstream::{BatchId, Session, Trigger};
use millstream_testkit::Rng;

/// Rows of one batch as texts, by its id.
type Batches = BTreeMap<BatchId, Vec<Vec<String>>>;

/// What a life of a stream gave.
#[derive(Debug, PartialEq)]
struct Given {
    batches: Batches,
    n_late: u64,
}

/// Length, slide and offset: that divide one another and that do not, from one slice in a window to many.
const WINDOWS: &[&str] = &[
    "'10 seconds', '5 seconds'",
    "'10 seconds', '3 seconds'",
    "'10 seconds', '7 seconds', '2 seconds'",
    "'30 seconds', '1 second'",
    "'8 seconds', '8 seconds'",
    "'9 seconds', '2500 milliseconds', '-1 second'",
];

/// What a query computes: aggregates that can be taken out of a window again, others, and both in turn.
const CALLS: &[&str] = &[
    "count(*) AS n, sum(v) AS total, min(v) AS least, max(ts) AS latest, avg(v) AS mean, sum(d) AS weight, \
     avg(d) AS mean_weight, count(DISTINCT v % 5) AS kinds, count(*) FILTER (WHERE v > 10) AS some, \
     array_join(sort_array(collect_list(v)), ',') AS every",
    "count(*) AS n, count(v) AS of_v, sum(v) AS total, avg(v) AS mean, sum(p) AS price, avg(p) AS mean_price, try_sum(big) AS huge, \
     avg(big) AS mean_huge, try_sum(wide) AS wide, count(p) FILTER (WHERE v < 0) AS some, sum(v) FILTER (WHERE v > 10) AS of_some",
    "max(p) AS dearest, sum(p) AS price, sum(d) AS weight, count(v) AS of_v, min(v) AS least, try_avg(wide) AS wide, try_sum(big) AS huge",
];

struct Case {
    seed: u64,
    dir: tempfile::TempDir,
}

impl Case {
    /// Files of rows, most in order, some far behind: the watermark is 5 seconds behind the newest row.
    fn new(seed: u64) -> Self {
        let case = Self { seed, dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(case.input()).unwrap();
        let mut rng = Rng::new(seed);
        let (mut newest_ms, mut file, mut n_files) = (100_000_u64, String::new(), 0);
        let n_rows = 20 + rng.below(120);
        for row in 0..n_rows {
            newest_ms += if rng.one_in(20) { 45_000 } else { rng.below(8) * 250 };
            let behind = if rng.one_in(4) { rng.below(40_000 / 250) * 250 } else { rng.below(8) * 250 };
            let at_ms = newest_ms - behind;
            let key = match rng.below(5) {
                0 => "null".to_owned(),
                key => format!("\"k{key}\""),
            };
            let value = if rng.one_in(7) { "null".to_owned() } else { (rng.below(40) as i64 - 10).to_string() };
            let weight = rng.below(1000) as f64 / 8.0;
            let price = if rng.one_in(5) { "null".to_owned() } else { format!("{}.{:02}", rng.below(20) as i64 - 10, rng.below(100)) };
            // Some sums of these are beyond their type, and those of the next window are not.
            let big = [i64::MAX, i64::MIN, 1, -1][rng.index(4)];
            let wide = ["9", "-9", "1", ""][rng.index(4)].to_owned() + &"9".repeat(37);
            let at = format!("2026-01-01T00:{:02}:{:02}.{:03}Z", at_ms / 60_000, at_ms / 1000 % 60, at_ms % 1000);
            writeln!(file, "{{\"ts\":\"{at}\",\"k\":{key},\"v\":{value},\"d\":{weight},\"p\":{price},\"big\":{big},\"wide\":{wide}}}")
                .unwrap();
            if row + 1 == n_rows || rng.one_in(9) {
                std::fs::write(case.input().join(format!("{n_files:03}.json")), std::mem::take(&mut file)).unwrap();
                n_files += 1;
            }
        }
        case
    }

    fn input(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn sql(&self, more: &str) -> String {
        let window = WINDOWS[self.seed as usize % WINDOWS.len()];
        let (key, and_key) = if self.seed.is_multiple_of(4) { ("", "") } else { ("k, ", ", k") };
        let calls = CALLS[(self.seed as usize + self.seed as usize / WINDOWS.len()) % CALLS.len()];
        let more = more.replace("$window", &format!("window(ts, {window})"));
        format!(
            "SELECT {key}window.start AS s, window.end AS e, {calls}{more} FROM STREAM e WATERMARK ts DELAY OF INTERVAL 5 SECONDS AS e \
             GROUP BY window(ts, {window}){and_key}"
        )
    }

    /// The rows of all batches of a stream that is stopped after some of them and goes on with another parallelism.
    async fn given(&self, mode: &str, name: &str, more: &str) -> Given {
        let mut rng = Rng::new(self.seed + 1000);
        let batches = Arc::new(Mutex::new(Batches::new()));
        let files = std::fs::read_dir(self.input()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.collect();
        files.sort();
        let arrived = self.dir.path().join(format!("arrived-{mode}-{name}"));
        std::fs::create_dir_all(&arrived).unwrap();
        let mut n_late = 0;
        while !files.is_empty() {
            for file in files.drain(..1 + rng.index(files.len())) {
                std::fs::copy(self.input().join(&file), arrived.join(&file)).unwrap();
            }
            let session = session(1 + rng.index(4), &arrived).await;
            let frame = session.sql(&self.sql(more)).await.unwrap();
            let took = Arc::clone(&batches);
            let mut writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).foreach_batch(move |frame, batch| {
                let took = Arc::clone(&took);
                async move {
                    let rows = frame.text_rows().await?;
                    took.lock().unwrap().insert(batch, rows);
                    Ok(())
                }
            });
            if files.is_empty() && mode == "append" {
                writer = writer.option("flush", "true");
            }
            let checkpoint = self.dir.path().join(format!("checkpoint-{mode}-{name}"));
            let query = writer.checkpoint(checkpoint).start().await.unwrap();
            query.await_termination(None).await.unwrap();
            let progress = query.recent_progress();
            n_late += progress.iter().flat_map(|of| &of.state_operators).map(|of| of.num_rows_dropped_by_watermark).sum::<u64>();
        }
        let mut batches = batches.lock().unwrap().clone();
        batches.values_mut().for_each(|rows| rows.sort());
        Given { batches, n_late }
    }
}

async fn session(parallelism: usize, path: &Path) -> Session {
    let session = crate::spilling::builder(parallelism).build().unwrap();
    let table = "ts TIMESTAMP, k STRING, v INT, d DOUBLE, p DECIMAL(10, 2), big BIGINT, wide DECIMAL(38, 0)";
    let create = format!("CREATE TABLE e ({table}) USING json OPTIONS (path '{}', maxFilesPerTrigger '1')", path.display());
    session.sql(&create).await.unwrap();
    session
}

fn seeds() -> std::ops::Range<u64> {
    let n = std::env::var("MILLSTREAM_TEST_WINDOW_CASES").ok().and_then(|n| n.parse().ok());
    0..n.unwrap_or(6)
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_slices_are_those_of_expanded_rows_in_every_batch() {
    let mut n_late = 0;
    for seed in seeds() {
        let case = Case::new(seed);
        for mode in ["append", "update", "complete"] {
            let sliced = case.given(mode, "sliced", "").await;
            let mut expanded = case.given(mode, "expanded", ", max($window.start) AS forced").await;
            expanded.batches.values_mut().flatten().for_each(|row| row.truncate(row.len() - 1));
            expanded.batches.values_mut().for_each(|rows| rows.sort());
            assert!(expanded.batches.values().any(|rows| !rows.is_empty()), "seed {seed} gives nothing");
            for (batch, rows) in &expanded.batches {
                assert_eq!(sliced.batches.get(batch), Some(rows), "seed {seed}, {mode} mode, batch {batch:?}: {}", case.sql(""));
            }
            assert_eq!(sliced, expanded, "seed {seed}, {mode} mode");
            n_late += sliced.n_late;
        }
    }
    assert!(n_late > 0, "no row was late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_overflows_where_that_of_a_windows_rows_does() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |name: &str, rows: &[(u32, i64)]| {
        let input = dir.path().join(name);
        std::fs::create_dir_all(&input).unwrap();
        let row = |(second, big): &(u32, i64)| format!("{{\"ts\":\"2026-01-01T00:00:{second:02}Z\",\"k\":\"a\",\"big\":{big}}}\n");
        std::fs::write(input.join("a.json"), rows.iter().map(row).collect::<String>()).unwrap();
        input
    };
    let run = async |input: &Path, more: &str| {
        let sql = format!(
            "SELECT window.start AS s, sum(big) AS total, count(*) AS n {more} FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 SECOND AS e \
             GROUP BY window(ts, '4 seconds', '1 second'), k"
        );
        let writer = session(1, input).await.sql(&sql).await.unwrap().write_stream().format("noop").output_mode("append");
        let checkpoint = input.join(format!("_checkpoint-{}", more.is_empty()));
        let query = writer.trigger(Trigger::AvailableNow).option("flush", "true").checkpoint(checkpoint).start().await.unwrap();
        let ended = query.await_termination(None).await;
        ended.map(|_| query.recent_progress().iter().map(|progress| progress.sink.num_output_rows).sum::<i64>())
    };
    let forced = ", max(window(ts, '4 seconds', '1 second').start) AS forced";
    // What leaves one window and what enters the next would be too much together.
    let fits = rows("fits", &[(1, i64::MAX), (3, -1), (5, i64::MAX), (6, -i64::MAX), (10, i64::MIN)]);
    for more in ["", forced] {
        assert_eq!(run(&fits, more).await.unwrap(), 13);
    }
    let too_much = rows("too-much", &[(1, i64::MAX), (5, i64::MAX - 1), (8, 1), (8, 1)]);
    let failures = [run(&too_much, "").await.unwrap_err().to_string(), run(&too_much, forced).await.unwrap_err().to_string()];
    for failure in failures {
        assert!(failure.contains("ARITHMETIC_OVERFLOW"), "{failure}");
    }
}

/// Queries in which rows are taken back above or below windows, or at the sink: kept window by window.
const WITH_CHANGES: &[&str] = &[
    "SELECT k, sum(n) AS total, max(n) AS most, count(*) AS windows FROM \
     (SELECT window, k, count(*) AS n FROM $e GROUP BY window(ts, $window), k) GROUP BY k",
    "SELECT window.start AS s, window.end AS e, count(*) AS n, max(v) AS v FROM \
     (SELECT k, max(ts) AS latest, max(v) AS v FROM $e GROUP BY k) GROUP BY window(latest, $window)",
    "SELECT window.start AS s, k, count(*) AS n FROM $e GROUP BY k, window(ts, $window)",
];

#[tokio::test(flavor = "multi_thread")]
async fn windows_whose_rows_are_taken_back_are_those_of_the_batch_query() {
    for seed in seeds() {
        let case = Case::new(seed);
        let window = WINDOWS[seed as usize % WINDOWS.len()];
        for (number, sql) in WITH_CHANGES.iter().enumerate() {
            let sql = sql.replace("$window", window);
            let session = session(1 + number, &case.input()).await;
            let answer = session.sql(&sql.replace("$e", "e")).await.unwrap();
            let (types, mut answer) = (answer.schema().await.unwrap(), answer.text_rows().await.unwrap());
            answer.sort();
            assert!(!answer.is_empty(), "seed {seed} gives nothing");
            for mode in ["complete", "update"] {
                let place = format!("{sql}, seed {seed}, {mode} mode");
                let frame = session.sql(&sql.replace("$e", "STREAM e")).await.unwrap();
                assert_eq!(frame.schema().await.unwrap(), types, "{place}");
                let result = Arc::new(Mutex::new(Vec::new()));
                let seen = Arc::clone(&result);
                let is_update = mode == "update";
                let writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).foreach_batch(move |frame, _| {
                    let seen = Arc::clone(&seen);
                    async move {
                        let rows = frame.text_rows().await?;
                        let mut result = seen.lock().unwrap();
                        if is_update {
                            fold(&mut result, rows)
                        } else {
                            *result = rows
                        }
                        Ok(())
                    }
                });
                let writer = if is_update { writer.option("changes", "true") } else { writer };
                let checkpoint = case.dir.path().join(format!("changes-{mode}-{number}"));
                let query = writer.checkpoint(checkpoint).start().await.unwrap();
                query.await_termination(None).await.unwrap();
                let mut result = result.lock().unwrap().clone();
                result.sort();
                assert_eq!(result, answer, "{place}");
            }
        }
    }
}

/// Adds a batch's changes, whose first column is what they are, to a result.
fn fold(result: &mut Vec<Vec<String>>, rows: Vec<Vec<String>>) {
    for mut row in rows {
        let change = row.remove(0);
        match change.as_str() {
            "insert" | "update_postimage" => result.push(row),
            _ => {
                let at = result.iter().position(|known| *known == row);
                result.remove(at.unwrap_or_else(|| panic!("{row:?} was taken out and never added")));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_slices_is_read_with_their_starts_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir_all(&input).unwrap();
    let row = |second: u32, key: &str| format!("{{\"ts\":\"2026-01-01T00:00:{second:02}Z\",\"k\":\"{key}\",\"v\":1}}\n");
    std::fs::write(input.join("a.json"), row(1, "a") + &row(2, "a") + &row(7, "b")).unwrap();
    let session = session(2, &input).await;
    let checkpoint = dir.path().join("checkpoint");
    let sql = "SELECT window, k, count(*) AS n FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 MINUTE AS e \
               GROUP BY window(ts, '10 seconds', '4 seconds'), k";
    let writer = session.sql(sql).await.unwrap().write_stream().format("noop").output_mode("update");
    let query = writer.trigger(Trigger::AvailableNow).checkpoint(&checkpoint).start().await.unwrap();
    query.await_termination(None).await.unwrap();
    let state = format!(
        "SELECT key.k, key.slice.start, key.slice.end, value.`count(1)`, expiry FROM read_state('{}') ORDER BY ALL",
        checkpoint.display()
    );
    let state = session.sql(&state).await.unwrap().text_rows().await.unwrap();
    let expected = [
        ["a", "2026-01-01 00:00:00", "2026-01-01 00:00:02", "1", "2026-01-01 00:00:10"],
        ["a", "2026-01-01 00:00:02", "2026-01-01 00:00:04", "1", "2026-01-01 00:00:10"],
        ["b", "2026-01-01 00:00:06", "2026-01-01 00:00:08", "1", "2026-01-01 00:00:14"],
    ];
    assert_eq!(state, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_may_be_in_thousands_of_windows_kept_as_slices_or_one_by_one_and_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    std::fs::create_dir_all(&input).unwrap();
    let rows: String = (0..10).map(|row| format!("{{\"ts\":\"2026-01-01T00:00:0{row}Z\",\"k\":\"a\",\"v\":1}}\n")).collect();
    std::fs::write(input.join("a.json"), rows).unwrap();
    let session = session(2, &input).await;
    let sql = "SELECT k, count(*) AS n FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 MINUTE AS e GROUP BY window(ts, '2000 seconds', '1 second'), k";
    let run = async |changes: &str| {
        let writer = session.sql(sql).await.unwrap().write_stream().format("noop").output_mode("update").option("changes", changes);
        let query = writer.trigger(Trigger::AvailableNow).checkpoint(dir.path().join(changes)).start().await.unwrap();
        query.await_termination(None).await.unwrap();
        query.recent_progress().iter().map(|progress| progress.sink.num_output_rows).sum::<i64>()
    };
    assert_eq!((run("false").await, run("true").await), (2009, 2009));
    let path = input.display();
    let batch = format!(
        "SELECT count(*), sum(n), max(n) FROM (SELECT count(*) AS n FROM read_files('{path}', format => 'json', schema => 'ts TIMESTAMP, k STRING')
         GROUP BY window(ts, '2000 seconds', '1 second'), k)"
    );
    let frame = session.sql(&batch).await.unwrap();
    // Rows become many a few at a time: 8192 * 16 / 2000.
    let plan = frame.explain_string().await.unwrap();
    assert!(plan.contains("SmallChunksExec: rows=65"), "{plan}");
    assert_eq!(frame.text_rows().await.unwrap(), [["2009", "20000", "10"]]);
}
