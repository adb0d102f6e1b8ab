//! Aggregates that are not Spark's, on streams: a user's, DataFusion's approximate ones, and those that hang on the order of rows.
//!
//! A user's aggregate has no way back; so over changes it is computed anew from the rows of a group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::scalar::ScalarValue;
use millstream::{BatchId, Session, Trigger};
use millstream_engine::EngineConfig;

/// The sum of squares, with how many numbers it is of: two columns of state.
#[derive(Debug, Default)]
struct SumOfSquares {
    total: i64,
    n: i64,
}

impl Accumulator for SumOfSquares {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            self.total += value * value;
            self.n += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Int64((self.n > 0).then_some(self.total)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.total)), ScalarValue::Int64(Some(self.n))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let sum = |column: &ArrayRef| column.as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        self.total += sum(&states[0]);
        self.n += sum(&states[1]);
        Ok(())
    }
}

fn sum_of_squares() -> AggregateUDF {
    let state = Arc::new(vec![DataType::Int64, DataType::Int64]);
    let make =
        Arc::new(
            |_: datafusion::logical_expr::function::AccumulatorArgs<'_>| Ok(Box::new(SumOfSquares::default()) as Box<dyn Accumulator>),
        );
    create_udaf("sum_of_squares", vec![DataType::Int64], Arc::new(DataType::Int64), Volatility::Immutable, make, state)
}

/// A session in which `e` is the folder of events.
async fn session(parallelism: usize, input: &Path) -> Session {
    let session = Session::builder().engine(EngineConfig { parallelism, ..EngineConfig::default() }).build().unwrap();
    session.register_udaf("sum_of_squares", sum_of_squares());
    session.set("spark.sql.session.timeZone", "UTC").unwrap();
    let table = format!(
        "CREATE TABLE e (ts TIMESTAMP, k STRING, v BIGINT) USING json OPTIONS (path '{}', maxFilesPerTrigger '1')",
        input.display()
    );
    session.sql(&table).await.unwrap();
    session
}

/// A file of 40 events, a second apart; of their times some go back a little.
fn arrive(input: &Path, file: i64) {
    std::fs::create_dir_all(input).unwrap();
    let row = |row: i64| {
        let second = file * 40 + row - row % 3;
        let value = if row % 9 == 4 { "null".to_owned() } else { (row * 7 % 11 - 3).to_string() };
        format!("{{\"ts\":\"2026-01-01T00:{:02}:{:02}Z\",\"k\":\"k{}\",\"v\":{value}}}\n", second / 60, second % 60, row % 4)
    };
    std::fs::write(input.join(format!("{file:03}.json")), (0..40).map(row).collect::<String>()).unwrap();
}

type Batches = BTreeMap<BatchId, Vec<Vec<String>>>;

/// What the batches of a stream over three files gave, which had a start for each entry of `lives`: how many files had arrived by
/// then, and the parallelism.
async fn given(dir: &Path, sql: &str, mode: &str, changes: bool, lives: &[(i64, usize)]) -> Batches {
    let batches = Arc::new(Mutex::new(Batches::new()));
    let input = dir.join("in");
    let mut n_arrived = 0;
    for (number, (n_files, parallelism)) in lives.iter().enumerate() {
        (n_arrived..*n_files).for_each(|file| arrive(&input, file));
        n_arrived = *n_files;
        let took = Arc::clone(&batches);
        let keep = move |frame: millstream::DataFrame, batch: BatchId| {
            let took = Arc::clone(&took);
            async move {
                let rows = frame.text_rows().await?;
                took.lock().unwrap().insert(batch, rows);
                Ok(())
            }
        };
        let frame = session(*parallelism, &input).await.sql(sql).await.unwrap();
        let writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).checkpoint(dir.join("checkpoint"));
        let writer = writer.option("flush", number + 1 == lives.len()).option("changes", changes);
        writer.foreach_batch(keep).start().await.unwrap().await_termination(None).await.unwrap();
    }
    let batches = batches.lock().unwrap();
    batches.clone()
}

/// The table that the batches make; of its columns the first `n_keys` tell rows apart.
fn folded(batches: Batches, mode: &str, changes: bool, n_keys: usize) -> Vec<Vec<String>> {
    let mut table: Vec<Vec<String>> = Vec::new();
    for rows in batches.into_values() {
        if mode == "complete" {
            table.clear();
        }
        for mut row in rows {
            if changes {
                let what = row.remove(0);
                if matches!(what.as_str(), "delete" | "update_preimage") {
                    let at = table.iter().position(|other| *other == row).expect("a row that was given is taken back");
                    table.remove(at);
                    continue;
                }
            } else if mode == "update" {
                table.retain(|other| other[..n_keys] != row[..n_keys]);
            }
            table.push(row);
        }
    }
    table.sort();
    table
}

async fn batch(dir: &Path, sql: &str) -> Vec<Vec<String>> {
    let sql = sql.replace("STREAM ", "").replace(" WATERMARK ts DELAY OF INTERVAL 1 MINUTE", "");
    let mut rows = session(2, &dir.join("in")).await.sql(&sql).await.unwrap().text_rows().await.unwrap();
    rows.sort();
    rows
}

const LIVES: &[(i64, usize)] = &[(1, 2), (2, 1), (3, 3)];

#[tokio::test(flavor = "multi_thread")]
async fn a_users_aggregate_on_a_stream_is_that_of_the_batch() {
    let stream = "FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 MINUTE";
    let by_key = format!(
        "SELECT k, sum_of_squares(v) AS s, sum_of_squares(DISTINCT v) AS d, sum_of_squares(v) FILTER (WHERE v > 2) AS f {stream} GROUP BY k"
    );
    let tumbling = format!("SELECT window.start AS at, k, sum_of_squares(v) AS s {stream} GROUP BY window(ts, '20 seconds'), k");
    let sliding = tumbling.replace("'20 seconds'", "'30 seconds', '10 seconds'");
    let sessions =
        tumbling.replace("window(ts, '20 seconds')", "session_window(ts, '2 seconds')").replace("window.start", "session_window.start");
    // Over changes: the counts of keys change from batch to batch.
    let over_changes =
        "SELECT n % 2 AS odd, sum_of_squares(n) AS s FROM (SELECT k, v, count(*) AS n FROM STREAM e GROUP BY k, v) GROUP BY n % 2";
    let all = format!("SELECT k, sum_of_squares(v) AS s {stream} GROUP BY ALL");
    for (sql, n_keys, runs) in [
        (by_key.as_str(), 1, &[("update", false), ("update", true), ("complete", false)][..]),
        (&all, 1, &[("update", false)]),
        (&tumbling, 2, &[("append", false), ("update", false), ("update", true), ("complete", false)]),
        (&sliding, 2, &[("append", false), ("update", false), ("update", true), ("complete", false)]),
        (&sessions, 2, &[("append", false), ("update", true), ("complete", false)]),
        (over_changes, 1, &[("update", true), ("complete", false)]),
    ] {
        for (mode, changes) in runs {
            let dir = tempfile::tempdir().unwrap();
            let stream = folded(given(dir.path(), sql, mode, *changes, LIVES).await, mode, *changes, n_keys);
            assert_eq!(stream, batch(dir.path(), sql).await, "{mode}, changes {changes}: {sql}");
            assert!(!stream.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_that_only_datafusion_has_work_on_streams() {
    let calls = "approx_distinct(v) AS distinct, approx_median(v) AS median, approx_percentile_cont(v, 0.25) AS low, \
                 approx_percentile_cont(0.25) WITHIN GROUP (ORDER BY v DESC) AS high, \
                 approx_percentile_cont_with_weight(v, 1, 0.5) AS weighted, round(var_population(v), 9) AS spread, \
                 nth_value(ts, 1) WITHIN GROUP (ORDER BY ts) AS first, nth_value(ts, -1) WITHIN GROUP (ORDER BY ts) AS last";
    let stream = "FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 MINUTE";
    let by_key = format!("SELECT k, {calls} {stream} GROUP BY k");
    let sliding = format!("SELECT window.start AS at, k, {calls} {stream} GROUP BY window(ts, '30 seconds', '10 seconds'), k");
    for (sql, n_keys, mode, changes) in [
        (&by_key, 1, "update", false),
        (&by_key, 1, "update", true),
        (&by_key, 1, "complete", false),
        (&sliding, 2, "append", false),
        (&sliding, 2, "update", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let stream = folded(given(dir.path(), sql, mode, changes, LIVES).await, mode, changes, n_keys);
        // So few values that the sketches hold them all.
        assert_eq!(stream, batch(dir.path(), sql).await, "{mode}, changes {changes}: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_on_the_order_of_rows_is_the_same_in_each_run_and_after_a_restart() {
    let calls = "first(v) AS first, last(v) AS last, any_value(v) AS any, collect_list(v) AS list, collect_set(v) AS set, string_agg(k, ',') AS text, \
                 string_agg(DISTINCT v, ',') AS texts, sum(DISTINCT v / 7) AS different, \
                 max_by(v, v % 3) AS best, min_by(v, v % 3) AS worst, mode(v) AS mode, nth_value(v, 3) AS third, percentile_approx(v, 0.3) AS p, \
                 approx_median(v * 1.1) AS median, approx_percentile_cont(v * 1.1, 0.7, 10) AS sketch, approx_distinct(v) AS distinct, \
                 avg(v / 7) AS mean, sum(v / 7) AS total, stddev(v) AS spread";
    let stream = "FROM STREAM e WATERMARK ts DELAY OF INTERVAL 1 MINUTE";
    let by_key = format!("SELECT k, {calls} {stream} GROUP BY k");
    let sliding = format!("SELECT window.start AS at, {calls} {stream} GROUP BY window(ts, '30 seconds', '10 seconds')");
    let sessions = format!("SELECT session_window.start AS at, {calls} {stream} GROUP BY session_window(ts, '2 seconds')");
    for (sql, mode) in [(&by_key, "update"), (&by_key, "complete"), (&sliding, "append"), (&sliding, "complete"), (&sessions, "append")] {
        let mut runs = Vec::new();
        // A file is a batch, whenever the query is started.
        for lives in [&[(3, 3)][..], &[(3, 3)], &[(1, 3), (2, 3), (3, 3)]] {
            let dir = tempfile::tempdir().unwrap();
            let batches = given(dir.path(), sql, mode, false, lives).await;
            // In which order tasks give their rows is left open; what stands in the rows is not.
            let rows: Vec<_> = batches
                .into_values()
                .map(|mut rows| {
                    rows.sort();
                    rows
                })
                .filter(|rows| !rows.is_empty())
                .collect();
            assert!(!rows.is_empty(), "{mode}: {sql}");
            runs.push(rows);
        }
        assert_eq!(runs[0], runs[1], "two runs, {mode}: {sql}");
        if mode != "append" {
            // A restart before more input arrives gives a batch of its own only where the watermark has moved.
            runs.iter_mut().for_each(|rows| rows.dedup());
        }
        assert_eq!(runs[0], runs[2], "with restarts, {mode}: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_aggregate_does_not_take_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    arrive(&dir.path().join("in"), 0);
    let session = session(1, &dir.path().join("in")).await;
    for (sql, class, message) in [
        ("SELECT approx_percentile_cont(v, 1.5) FROM e", "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", "not between 0.0 and 1.0"),
        ("SELECT approx_percentile_cont(v) FROM e", "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "approx_percentile_cont()"),
        ("SELECT nth_value(v, 0) FROM e", "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", "counts from 1"),
        ("SELECT sum_of_squares(sum_of_squares(v)) FROM e", "NESTED_AGGREGATE_FUNCTION", "sum_of_squares()"),
    ] {
        let error = session.sql(sql).await.unwrap().text_rows().await.unwrap_err();
        assert_eq!(error.error_class(), Some(class), "{sql}: {error}");
        assert!(error.message().contains(message), "{sql}: {error}");
    }
    let window = "SELECT nth_value(v, 2) OVER (PARTITION BY k ORDER BY ts, v) AS n, k FROM e ORDER BY k, n LIMIT 1";
    assert_eq!(session.sql(window).await.unwrap().text_rows().await.unwrap().len(), 1);
}

/// Keeps the check of the list honest: every aggregate of DataFusion's is known here by its name and other names.
#[tokio::test]
async fn every_aggregate_of_datafusion_is_known() {
    let session = Session::new().unwrap();
    for function in datafusion::functions_aggregate::all_default_aggregate_functions() {
        let names = std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned());
        for name in names.filter(|name| !matches!(name.as_str(), "grouping" | "count")) {
            let error = session.sql(&format!("SELECT {name}() FROM range(3)")).await.unwrap().text_rows().await.unwrap_err();
            assert_eq!(error.error_class(), Some("WRONG_NUM_ARGS.WITHOUT_SUGGESTION"), "{name}: {error}");
        }
    }
}
