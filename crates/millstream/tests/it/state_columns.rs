//! Which column of state is which when what stands below an operator changes: it is known by what it is computed from, and not by
//! its place in the plan.
//!
//! A first run, another declaration of the tables or another subquery, a second run: either the changes of both, folded, are the batch
//! query's rows, or the second start is refused before a row is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{BatchId, DataFrame, Error, Result, Session, StateFate, Trigger};

const T: [&str; 2] = [
    "{\"k\":\"a\",\"v\":1,\"x\":100,\"ts\":\"2024-01-01T00:00:01Z\"}\n{\"k\":\"b\",\"v\":2,\"x\":200,\"ts\":\"2024-01-01T00:00:02Z\"}\n",
    "{\"y\":9,\"k\":\"a\",\"v\":3,\"x\":300,\"ts\":\"2024-01-01T00:00:03Z\"}\n",
];
/// What joins a row of before.
const U: [&str; 2] = [
    "{\"k\":\"a\",\"v\":10,\"x\":1000,\"ts\":\"2024-01-01T00:00:01Z\"}\n",
    "{\"k\":\"b\",\"v\":20,\"x\":2000,\"ts\":\"2024-01-01T00:00:02Z\"}\n",
];
const VX: &str = "k STRING, v INT, x INT, ts TIMESTAMP";

const JOIN: &str = "SELECT l.k, l.v, l.x, r.v AS rv, r.x AS rx FROM STREAM t AS l LEFT JOIN STREAM u AS r ON l.k = r.k";
const SEMI_JOIN: &str = "SELECT l.k, l.v, l.x FROM STREAM t AS l LEFT SEMI JOIN STREAM u AS r ON l.k = r.k AND r.v > l.v AND r.x > l.x";
const SESSIONS: &str = "SELECT k, max(v) AS m, sum(x) AS s FROM STREAM t GROUP BY k, session_window(ts, '1 hour')";
const RECOMPUTED: &str =
    "SELECT n, max(m) AS m, min(s) AS s FROM (SELECT k, count(*) AS n, max(v) AS m, max(x) AS s FROM STREAM t GROUP BY k) GROUP BY n";
const SUMS: &str =
    "SELECT n, sum(m) AS m, sum(s) AS s FROM (SELECT k, count(*) AS n, sum(v) AS m, sum(x) AS s FROM STREAM t GROUP BY k) GROUP BY n";
const DEDUPLICATED: &str =
    "SELECT k, n, m, s FROM drop_duplicates((SELECT k, count(*) AS n, sum(v) AS m, sum(x) AS s FROM STREAM t GROUP BY k), 'n')";
const SESSIONS_OF_CHANGES: &str = "SELECT n, max(s) AS s, sum(m) AS m FROM (SELECT k, max(ts) AS at, count(*) AS n, max(v) AS m, max(x) AS s FROM STREAM t GROUP BY k) \
     GROUP BY n, session_window(at, '1 hour')";
const OVER_CHANGES: &str =
    "SELECT l.k, l.m, l.s, r.x FROM (SELECT k, sum(v) AS m, sum(x) AS s FROM STREAM t GROUP BY k) AS l JOIN STREAM u AS r ON l.k = r.k";
const FACTS: &str = "SELECT k, max(v) AS m, max(size(filter(array(v, x), q -> q > 1))) AS n, max(current_timestamp() IS NULL) AS o FROM STREAM t GROUP BY k";
const ALL: [&str; 9] = [FACTS, JOIN, SEMI_JOIN, SESSIONS, RECOMPUTED, SUMS, DEDUPLICATED, SESSIONS_OF_CHANGES, OVER_CHANGES];

fn put(dir: &Path, n_files: usize) {
    for (table, files) in [("t", T), ("u", U)] {
        let input = dir.join(table);
        std::fs::create_dir_all(&input).unwrap();
        for (number, text) in files.iter().take(n_files).enumerate() {
            std::fs::write(input.join(format!("{number}.json")), text).unwrap();
        }
    }
}

async fn session(dir: &Path, columns: &str) -> Session {
    let session = Session::new().unwrap();
    for table in ["t", "u"] {
        let path = dir.join(table);
        session.sql(&format!("CREATE TABLE {table} ({columns}) USING json OPTIONS (path '{}')", path.display())).await.unwrap();
    }
    session
}

type Folded = Arc<Mutex<BTreeMap<Vec<String>, i64>>>;

/// Runs over what is there; gives what becomes of each operator's state.
async fn run(dir: &Path, columns: &str, query: &str, folded: &Folded) -> Result<Vec<(StateFate, String)>> {
    let session = session(dir, columns).await;
    let checkpoint = dir.join("checkpoint");
    let mut fates = Vec::new();
    let into = Arc::clone(folded);
    let keep = move |frame: DataFrame, _: BatchId| {
        let into = Arc::clone(&into);
        async move {
            for mut row in frame.text_rows().await? {
                let kind = row.remove(0);
                let sign = if kind == "insert" || kind == "update_postimage" { 1 } else { -1 };
                *into.lock().unwrap().entry(row).or_default() += sign;
            }
            Ok(())
        }
    };
    let writer = || async { Ok::<_, Error>(session.sql(query).await?.write_stream().output_mode("update").option("changes", "true")) };
    if checkpoint.exists() {
        let place = checkpoint.display().to_string();
        let comparison = writer().await?.format("noop").checkpoint(&checkpoint).compare_with(&place).await?;
        fates = comparison.changes.iter().map(|change| (change.fate, change.reasons.join("; "))).collect();
    }
    let started = writer().await?.foreach_batch(keep).trigger(Trigger::AvailableNow).checkpoint(&checkpoint).start().await?;
    started.await_termination(None).await?;
    Ok(fates)
}

async fn answer(dir: &Path, columns: &str, query: &str) -> Vec<Vec<String>> {
    let rows = session(dir, columns).await.sql(&query.replace("STREAM ", "")).await.unwrap();
    let mut rows = rows.text_rows().await.unwrap();
    rows.sort();
    rows
}

/// Two runs, the second with another declaration and query: fates of the second, once its rows are known to be right.
async fn changed(then: (&str, &str), now: (&str, &str)) -> Result<Vec<(StateFate, String)>> {
    let dir = tempfile::tempdir().unwrap();
    let folded = Folded::default();
    put(dir.path(), 1);
    run(dir.path(), then.0, then.1, &folded).await.unwrap();
    put(dir.path(), 2);
    let fates = run(dir.path(), now.0, now.1, &folded).await?;
    let folded = folded.lock().unwrap().clone();
    assert!(folded.values().all(|n| *n >= 0), "{now:?}: {fates:?} {folded:?}");
    let rows: Vec<Vec<String>> = folded.iter().flat_map(|(row, n)| vec![row.clone(); usize::try_from(*n).unwrap()]).collect();
    assert_eq!(rows, answer(dir.path(), now.0, now.1).await, "{now:?}: {fates:?}");
    Ok(fates)
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_the_source_may_stand_elsewhere() {
    for query in ALL {
        for columns in ["k STRING, x INT, v INT, ts TIMESTAMP", "y INT, k STRING, v INT, x INT, ts TIMESTAMP"] {
            let fates = changed((VX, query), (columns, query)).await.unwrap_or_else(|error| panic!("{query} {columns}: {error}"));
            assert!(fates.iter().all(|(fate, _)| matches!(fate, StateFate::Kept | StateFate::Migrated)), "{query}: {fates:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_columns_may_change_places_and_names() {
    let over = |columns: &str, query: &str| {
        let table = format!("(SELECT {columns} FROM STREAM t)");
        query.replace("STREAM t AS l", &format!("{table} AS l")).replace("STREAM t GROUP", &format!("{table} GROUP"))
    };
    for query in ALL {
        let then = over("k, v + 1 AS v, x * 2 AS x, ts", query);
        let now = over("k, x * 2 AS x, v + 1 AS v, ts", query);
        let fates = changed((VX, &then), (VX, &now)).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(fates.iter().all(|(fate, _)| matches!(fate, StateFate::Kept | StateFate::Migrated)), "{query}: {fates:?}");
    }
}

/// The same names for other columns: of rows that are kept whole each column goes by its new name.
#[tokio::test(flavor = "multi_thread")]
async fn names_may_change_places() {
    let join = |columns: &str| {
        format!("SELECT l.k, l.v, l.x, r.x AS rx FROM (SELECT {columns} FROM STREAM t) AS l JOIN STREAM u AS r ON l.k = r.k")
    };
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), 1);
    run(dir.path(), VX, &join("k, v + 1 AS v, x * 2 AS x"), &Folded::default()).await.unwrap();
    put(dir.path(), 2);
    let folded = Folded::default();
    run(dir.path(), VX, &join("k, v + 1 AS x, x * 2 AS v"), &folded).await.unwrap();
    let rows: Vec<Vec<String>> = folded.lock().unwrap().keys().cloned().collect();
    assert_eq!(rows, [["a", "600", "4", "1000"], ["b", "400", "3", "2000"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_otherwise_is_refused_before_a_row_is_read() {
    let join = |key: &str, v: &str| {
        format!(
            "SELECT l.k, l.v, r.x FROM (SELECT {key} AS k, {v} AS v FROM STREAM t) AS l JOIN (SELECT {key} AS k, x FROM STREAM u) AS r ON l.k = r.k"
        )
    };
    let sums = |v: &str| format!("SELECT k, sum(v) AS s FROM (SELECT k, {v} AS v FROM STREAM t) GROUP BY k");
    let distinct = |k: &str| format!("SELECT k FROM drop_duplicates((SELECT {k} AS k FROM STREAM t), 'k')");
    for (then, now, words) in [
        (join("upper(k)", "v"), join("lower(k)", "v"), "key k was"),
        (join("k", "v + 1"), join("k", "v + 2"), "v was computed from"),
        (sums("v + 1"), sums("v + 2"), "sum(v) was computed from"),
        (sums("v"), sums("x"), "sum(v) was computed from"),
        (SESSIONS.to_owned(), SESSIONS.replace("STREAM t", "(SELECT k, x AS v, v AS x, ts FROM STREAM t)"), "max(v) was computed from"),
        (RECOMPUTED.to_owned(), RECOMPUTED.replace("max(v) AS m", "min(v) AS m"), "m was computed from"),
        (SUMS.to_owned(), SUMS.replace(") GROUP BY n", ") WHERE n > 1 GROUP BY n"), "come by way of (WHERE count(1) > 1)"),
        (SUMS.to_owned(), SUMS.replace("count(*) AS n", "count(*) * 10 AS n"), "key n was"),
        (RECOMPUTED.to_owned(), RECOMPUTED.replace("FROM STREAM t GROUP BY k", "FROM STREAM t GROUP BY k HAVING sum(v) > 1"), "is new"),
        (
            RECOMPUTED.to_owned(),
            RECOMPUTED.replace("FROM STREAM t GROUP BY k", "FROM STREAM t GROUP BY k HAVING max(v) > 1"),
            "come by way of",
        ),
        (distinct("upper(k)"), distinct("lower(k)"), "key k was"),
    ] {
        let error = changed((VX, &then), (VX, &now)).await.unwrap_err();
        assert!(error.message().contains(words) && !error.message().contains('#'), "{now}: {error}");
    }
}

/// What does not make another value of it is no change: a wider type, more fields of what is parsed, the order of what is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_value_goes_on() {
    let parsed = |fields: &str, filter: &str| {
        format!(
            "SELECT k, count(e.v) AS n FROM (SELECT k, from_json(concat('{{\"v\":', v, '}}'), '{fields}') AS e FROM STREAM t){filter} GROUP BY k"
        )
    };
    let wide = "k STRING, v BIGINT, x BIGINT, ts TIMESTAMP";
    let sums = "SELECT k, sum(w) AS s FROM (SELECT k, v + x AS w FROM STREAM t WHERE v > 0) GROUP BY k";
    let unfiltered = "SELECT k, sum(w) AS s FROM (SELECT k, v + x AS w FROM STREAM t) GROUP BY k";
    for (then, now) in [
        ((VX, parsed("v INT", "")), (VX, parsed("v INT, z STRING", " WHERE e.z IS NULL"))),
        // What nobody uses of a text is not parsed, and changes go by all the same.
        ((VX, parsed("v INT, y INT", "")), (VX, parsed("y INT, v INT, z STRING", ""))),
        ((VX, sums.to_owned()), (wide, unfiltered.to_owned())),
        ((VX, JOIN.to_owned()), (wide, JOIN.to_owned())),
    ] {
        let fates = changed((then.0, &then.1), (now.0, &now.1)).await.unwrap_or_else(|error| panic!("{now:?}: {error}"));
        assert!(fates.iter().all(|(fate, _)| matches!(fate, StateFate::Kept | StateFate::Migrated)), "{now:?} {fates:?}");
    }
}

/// Rows that are kept have none of a column that their source gets later. One that it had was not kept, and is not null.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_source_did_not_have_is_null_in_rows_that_are_kept() {
    let (narrow, wide) = ("k STRING, v INT", "k STRING, v INT, y INT");
    let join = "SELECT l.k, l.v, r.v AS rv FROM STREAM t AS l JOIN STREAM u AS r ON l.k = r.k";
    let with_y = "SELECT l.k, l.v, l.y, r.v AS rv FROM STREAM t AS l JOIN STREAM u AS r ON l.k = r.k";
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), 1);
    run(dir.path(), narrow, join, &Folded::default()).await.unwrap();
    put(dir.path(), 2);
    let folded = Folded::default();
    let fates = run(dir.path(), wide, with_y, &folded).await.unwrap();
    assert_eq!(fates, [(StateFate::Migrated, "y is new in its source, and null in the rows that are kept".to_owned())]);
    let rows: Vec<Vec<String>> = folded.lock().unwrap().keys().cloned().collect();
    assert_eq!(rows, [["a", "3", "9", "10"], ["b", "2", "NULL", "20"]]);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), 1);
    run(dir.path(), wide, join, &Folded::default()).await.unwrap();
    let error = run(dir.path(), wide, with_y, &Folded::default()).await.unwrap_err();
    assert!(error.message().contains("y is new: it would be of the rows to come only"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_shown_by_the_users_names() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), 1);
    run(dir.path(), VX, JOIN, &Folded::default()).await.unwrap();
    let shown = format!("SELECT key.k, value.v, value.x FROM read_state('{}', store => 'left')", dir.path().join("checkpoint").display());
    let mut rows = session(dir.path(), VX).await.sql(&shown).await.unwrap().text_rows().await.unwrap();
    rows.sort();
    assert_eq!(rows, [["a", "1", "100"], ["b", "2", "200"]]);
}
