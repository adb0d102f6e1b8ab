//! Operators that take changes of each other begin afresh together: alone is refused before anything runs. Rows that stay are
//! given to whoever is there.
//!
//! Each case runs a query, changes it, lets operators go, and runs on with restarts. What the changed query gives then, folded,
//! must be the batch query's answer over the files that came since.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream::{Clock, Result, Session, StateComparison, StateFate, Trigger};
use millstream_testkit::{ManualClock, put_file};

/// Second, key, value.
type File = &'static [(u32, &'static str, i64)];

const BEFORE: File = &[(1, "a", 1), (2, "a", 2), (3, "b", 3)];
const SINCE: [File; 3] = [
    &[(4, "a", 7), (5, "c", 1), (6, "c", 2), (7, "d", 2)],
    // Rows of before the last restart are taken back.
    &[(8, "a", 8), (9, "d", 1), (18, "b", 8)],
    &[(28, "c", 3), (28, "d", 9), (38, "a", 1)],
];

struct Chain {
    mode: &'static str,
    /// `{e}` is the input.
    then: &'static str,
    now: &'static str,
    /// What may not begin afresh alone, and who is drawn in.
    not_alone: &'static [(&'static str, &'static [&'static str])],
    /// All that begin afresh together.
    together: &'static str,
    /// Who of them is gone then.
    then_only: &'static [&'static str],
}

async fn session(dir: &Path, is_live: bool) -> Session {
    let clock = Arc::new(ManualClock::new(1_800_000_000_000)) as Arc<dyn Clock>;
    let session = crate::spilling::builder(2).clock(clock).build().unwrap();
    session.set("spark.sql.session.timeZone", "UTC").unwrap();
    let columns = "ts TIMESTAMP, k STRING, v BIGINT";
    let table = match is_live {
        true => session.read_stream().schema(columns).json(dir.join("in")).await.unwrap(),
        false => session.read().schema(columns).json(dir.join("since")).await.unwrap(),
    };
    table.create_or_replace_temp_view("e");
    session
}

fn put(dir: &Path, number: usize, rows: File, folders: &[&str]) {
    let line = |(second, k, v): &(u32, &str, i64)| format!("{{\"ts\":\"2026-01-01T00:00:{second:02}Z\",\"k\":\"{k}\",\"v\":{v}}}\n");
    for folder in folders {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
        put_file(dir.join(folder).join(format!("{number}.json")), rows.iter().map(line).collect::<String>()).unwrap();
    }
}

fn live(sql: &str) -> String {
    sql.replace("{e}", "STREAM e WATERMARK ts DELAY OF INTERVAL 0 SECONDS")
}

/// The rows of one life of the query.
async fn run(dir: &Path, mode: &str, sql: &str, dropped: &str) -> Result<Vec<Vec<String>>> {
    let session = session(dir, true).await;
    let writer = session.sql(&live(sql)).await?.write_stream().format("memory").query_name("t").output_mode(mode);
    let writer = writer.option("changes", (mode == "update").to_string()).option("allowStateDrop", dropped);
    let query = writer.trigger(Trigger::AvailableNow).checkpoint(dir.join("checkpoint")).start().await?;
    query.await_termination(None).await?;
    session.sql("SELECT * FROM t").await?.text_rows().await
}

async fn compared(dir: &Path, mode: &str, sql: &str, dropped: &str) -> StateComparison {
    let session = session(dir, true).await;
    let writer = session.sql(&live(sql)).await.unwrap().write_stream().format("memory").query_name("t").output_mode(mode);
    let writer = writer.option("changes", (mode == "update").to_string()).option("allowStateDrop", dropped);
    writer.checkpoint(dir.join("checkpoint")).compare_with(&dir.join("checkpoint").display().to_string()).await.unwrap()
}

/// What is there after more rows, by the words of changes where there are some.
fn fold(mode: &str, result: &mut BTreeMap<Vec<String>, i64>, rows: Vec<Vec<String>>) {
    if mode == "complete" {
        result.clear();
    }
    for mut row in rows {
        let sign = match mode {
            "update" => match row.remove(0).as_str() {
                "insert" | "update_postimage" => 1,
                _ => -1,
            },
            _ => 1,
        };
        *result.entry(row).or_default() += sign;
    }
    result.retain(|_, n| *n != 0);
}

/// The batch query over the files that came since the change.
async fn answer(dir: &Path, sql: &str) -> BTreeMap<Vec<String>, i64> {
    let rows = session(dir, false).await.sql(&sql.replace("{e}", "e")).await.unwrap().text_rows().await.unwrap();
    let mut answer = BTreeMap::new();
    rows.into_iter().for_each(|row| *answer.entry(row).or_default() += 1);
    answer
}

impl Chain {
    async fn check(&self) {
        let Self { mode, then, now, not_alone, together, then_only } = self;
        let told = format!("{now} in {mode} mode");
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        put(dir, 0, BEFORE, &["in"]);
        run(dir, mode, then, "").await.unwrap_or_else(|error| panic!("{told}: {error:?}"));
        put(dir, 1, SINCE[0], &["in", "since"]);
        assert!(run(dir, mode, now, "").await.is_err(), "{told}");
        for (dropped, drawn_in) in *not_alone {
            let comparison = compared(dir, mode, now, dropped).await;
            assert!(comparison.is_refused(), "{told}, {dropped}: {comparison:?}");
            let names: Vec<&str> = comparison.must_begin_afresh.iter().map(String::as_str).collect();
            assert_eq!(names.join(","), *together, "{told}, {dropped}");
            for change in &comparison.changes {
                let is_drawn_in = change.reasons.iter().any(|why| why.ends_with("they begin afresh together or not at all"));
                let is_refused_for_it = is_drawn_in && change.fate == StateFate::Refused;
                assert_eq!(drawn_in.contains(&change.operator.as_str()), is_refused_for_it, "{told}, {dropped}: {change}");
            }
            let error = run(dir, mode, now, dropped).await.unwrap_err();
            let refused = comparison.changes.iter().filter(|change| change.fate == StateFate::Refused);
            for change in refused {
                let of_change = format!("'{}': {}", change.operator, change.reasons.join(", "));
                assert!(error.message().contains(&of_change), "{told}, {dropped}: {error}");
            }
            assert!(error.hint_text().unwrap().contains(&format!("(allowStateDrop '{together}')")), "{told}, {dropped}: {error:?}");
        }
        let comparison = compared(dir, mode, now, together).await;
        assert!(!comparison.is_refused(), "{told}: {comparison:?}");
        let begin_afresh = |fate: StateFate| matches!(fate, StateFate::Dropped | StateFate::New);
        let begin: Vec<&str> =
            comparison.changes.iter().filter(|change| begin_afresh(change.fate)).map(|change| change.operator.as_str()).collect();
        assert_eq!(begin.join(","), *together, "{told}");
        let still_there: Vec<&str> = together.split(',').filter(|name| !then_only.contains(name)).collect();
        let still_there = still_there.join(",");
        let mut result = BTreeMap::new();
        for (number, dropped) in [(1, *together), (2, ""), (3, &still_there)] {
            put(dir, number, SINCE[number - 1], &["in", "since"]);
            let rows = run(dir, mode, now, dropped).await.unwrap_or_else(|error| panic!("{told}, life {number}: {error:?}"));
            fold(mode, &mut result, rows);
            assert_eq!(result, answer(dir, now).await, "{told}, life {number}");
        }
        // What the option may drop goes on all the same.
        let comparison = compared(dir, mode, now, &still_there).await;
        assert!(comparison.changes.iter().all(|change| change.fate == StateFate::Kept), "{told}: {comparison:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregations_of_aggregations() {
    for mode in ["update", "complete"] {
        // The upper one cannot go on; one that is added up, one that is computed anew.
        let sums = Chain {
            mode,
            then: "SELECT n, count(*) AS c FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) GROUP BY n",
            now: "SELECT n, count(*) AS c, sum(n) AS s FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) GROUP BY n",
            not_alone: &[("aggregate-n", &["aggregate-k"]), ("aggregate-k", &[])],
            together: "aggregate-k,aggregate-n",
            then_only: &[],
        };
        sums.check().await;
        let greatest =
            Chain { now: "SELECT n, count(*) AS c, max(k) AS s FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) GROUP BY n", ..sums };
        greatest.check().await;
        let lower = Chain {
            mode,
            then: "SELECT c, count(*) AS keys FROM (SELECT k, count(*) AS n, max(v) AS c FROM {e} GROUP BY k) GROUP BY c",
            now: "SELECT c, count(*) AS keys FROM (SELECT k, count(v) AS n, max(v) AS c FROM {e} GROUP BY k) GROUP BY c",
            not_alone: &[("aggregate-k", &["aggregate-c"]), ("aggregate-c", &[])],
            together: "aggregate-c,aggregate-k",
            then_only: &[],
        };
        lower.check().await;
        // The lower one is another one: the upper one has rows of the one that is gone.
        let other = Chain {
            mode,
            then: "SELECT c, count(*) AS keys FROM (SELECT k, max(v) AS c FROM {e} GROUP BY k) GROUP BY c",
            now: "SELECT c, count(*) AS keys FROM (SELECT k, v % 2 AS odd, max(v) AS c FROM {e} GROUP BY k, v % 2) GROUP BY c",
            not_alone: &[("aggregate-k,aggregate-k-_v___2_", &[])],
            together: "aggregate-c,aggregate-k,aggregate-k-_v___2_",
            then_only: &["aggregate-k"],
        };
        other.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregation_on_top_that_is_new() {
    for mode in ["update", "complete"] {
        let chain = Chain {
            mode,
            then: "SELECT k, count(*) AS n FROM {e} GROUP BY k",
            now: "SELECT n, count(*) AS c FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) GROUP BY n",
            not_alone: &[],
            together: "aggregate-k,aggregate-n",
            then_only: &[],
        };
        chain.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_of_rows_that_change() {
    let greatest = Chain {
        mode: "update",
        then: "SELECT m FROM drop_duplicates((SELECT k, max(v) AS m FROM {e} GROUP BY k), 'm')",
        now: "SELECT m FROM drop_duplicates((SELECT k, max(v) AS m, min(v) AS least FROM {e} GROUP BY k), 'm')",
        not_alone: &[("aggregate-k", &["deduplicate-m"]), ("deduplicate-m", &[])],
        together: "aggregate-k,deduplicate-m",
        then_only: &[],
    };
    greatest.check().await;
    // All three of a chain, though the middle one is between them.
    for mode in ["update", "complete"] {
        let three = Chain {
            mode,
            then: "SELECT count(*) AS n FROM drop_duplicates((SELECT k, max(v) AS m FROM {e} GROUP BY k), 'm')",
            now: "SELECT count(*) AS n, sum(m) AS s FROM drop_duplicates((SELECT k, max(v) AS m FROM {e} GROUP BY k), 'm')",
            not_alone: &[
                ("aggregate", &["aggregate-k", "deduplicate-m"]),
                ("aggregate,deduplicate-m", &["aggregate-k"]),
                ("aggregate-k,deduplicate-m", &[]),
            ],
            together: "aggregate,aggregate-k,deduplicate-m",
            then_only: &[],
        };
        three.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_of_aggregations() {
    let side = Chain {
        mode: "update",
        then: "SELECT a.k, n, m FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) a \
               JOIN (SELECT k, max(v) AS m FROM {e} GROUP BY k) b ON a.k = b.k",
        now: "SELECT a.k, n, m FROM (SELECT k, count(*) AS n FROM {e} GROUP BY k) a \
              JOIN (SELECT k, max(v) AS m, min(v) AS least FROM {e} GROUP BY k) b ON a.k = b.k",
        not_alone: &[("aggregate-k-2", &["aggregate-k", "join-k"]), ("aggregate-k-2,join-k", &["aggregate-k"]), ("join-k", &[])],
        together: "aggregate-k,aggregate-k-2,join-k",
        then_only: &[],
    };
    side.check().await;
    // In complete mode both sides are given whole, so one may begin afresh alone.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, 0, BEFORE, &["in"]);
    run(dir, "complete", side.then, "").await.unwrap();
    put(dir, 1, SINCE[0], &["in"]);
    let other = side.now.replace("max(v) AS m, min(v) AS least", "min(v) AS m");
    let mut rows = run(dir, "complete", &other, "aggregate-k-2").await.unwrap();
    rows.sort();
    assert_eq!(rows, [["a", "3", "7"], ["c", "2", "1"], ["d", "1", "2"]]);

    // An outer join takes back rows without a partner, also where its sides give rows that stay.
    for mode in ["update", "complete"] {
        let outer = Chain {
            mode,
            then: "SELECT w, count(*) AS n FROM (SELECT a.k AS k, b.v AS w FROM {e} a LEFT JOIN {e} b ON a.k = b.k AND a.v < b.v) GROUP BY w",
            now: "SELECT w, count(*) AS n, max(k) AS k FROM (SELECT a.k AS k, b.v AS w FROM {e} a LEFT JOIN {e} b ON a.k = b.k AND a.v < b.v) \
                  GROUP BY w",
            not_alone: &[("aggregate-w", &["join-k"])],
            together: "aggregate-w,join-k",
            then_only: &[],
        };
        outer.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_rows_that_change() {
    for mode in ["update", "complete"] {
        let sessions = Chain {
            mode,
            then: "SELECT CAST(session_window.start AS STRING) AS s, count(*) AS n, min(k) AS k \
                   FROM (SELECT k, max(ts) AS t FROM {e} GROUP BY k) GROUP BY session_window(t, '3 seconds')",
            now: "SELECT CAST(session_window.start AS STRING) AS s, count(*) AS n, max(k) AS k \
                  FROM (SELECT k, max(ts) AS t FROM {e} GROUP BY k) GROUP BY session_window(t, '3 seconds')",
            not_alone: &[("aggregate-session_window", &["aggregate-k", "aggregate-session_window.rows"])],
            together: "aggregate-k,aggregate-session_window,aggregate-session_window.rows",
            then_only: &[],
        };
        sessions.check().await;
    }
}

/// Rows that stay are not taken back: each operator begins afresh by itself, and has not seen what went by.
#[tokio::test(flavor = "multi_thread")]
async fn in_append_mode_each_begins_afresh_by_itself() {
    let chain = |lower: &str, upper: &str| {
        format!(
            "SELECT CAST(window.start AS STRING) AS w, {upper} FROM \
             (SELECT window_time(window) AS t, {lower} AS x FROM {{e}} GROUP BY window(ts, '10 seconds'), k) GROUP BY window(t, '20 seconds')"
        )
    };
    let (then, upper, lower) = (chain("sum(v)", "sum(x)"), chain("sum(v)", "sum(x), max(x)"), chain("max(v) AS y, sum(v)", "sum(x)"));
    let files: [File; 3] = [
        &[(1, "a", 1), (2, "a", 2), (3, "b", 3), (11, "a", 10)],
        // The window of ten seconds that ends at 10 was given: its rows are late, whoever begins afresh.
        &[(4, "a", 100), (12, "a", 20), (13, "a", 30), (25, "b", 5)],
        &[(58, "z", 0)],
    ];
    let live = async |now: &str, dropped: &str| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        put(dir, 0, files[0], &["in"]);
        let mut rows = run(dir, "append", &then, "").await.unwrap();
        put(dir, 1, files[1], &["in"]);
        if !dropped.is_empty() {
            run(dir, "append", now, "").await.unwrap_err();
        }
        rows.extend(run(dir, "append", now, dropped).await.unwrap());
        put(dir, 2, files[2], &["in"]);
        rows.extend(run(dir, "append", now, dropped).await.unwrap());
        rows
    };
    let (first, second) = ("2026-01-01 00:00:00", "2026-01-01 00:00:20");
    assert_eq!(live(&then, "").await, [[first, "66"], [second, "5"]]);
    // The upper one lacks the window that was given to the one before it: 6 of a and b. The lower one has all of its rows.
    assert_eq!(live(&upper, "aggregate-window").await, [[first, "60", "60"], [second, "5", "5"]]);
    // The lower one lacks 10, which its second window had already. The upper one goes on with the 6 that it was given.
    assert_eq!(live(&lower, "aggregate-window-k").await, [[first, "56"], [second, "5"]]);
}
