//! Deep and long queries on the stack that tokio's workers and the test runner's threads have: an answer or an error,
//! never a crash. The whole way is walked, from the text to the rows, and everything is dropped on that stack too.

use millstream::Session;

const STACK_BYTES: usize = 2 << 20;

/// The rows of a query on small stacks, or the error.
fn answer(sql: String) -> Result<Vec<String>, String> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(rows(&sql)).map_err(|error| error.to_string())
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap()
}

async fn rows(sql: &str) -> millstream::Result<Vec<String>> {
    let session = Session::new()?;
    session.sql("CREATE TEMPORARY VIEW t AS SELECT * FROM VALUES (1, 'a'), (2, 'b') AS t(v, s)").await?;
    let batches = session.sql(sql).await?.collect().await?;
    let rows = millstream_testkit::gold::rows_of(&batches).unwrap();
    let text = |cell: &serde_json::Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    Ok(rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect())
}

fn repeated(n: usize, item: impl Fn(usize) -> String, between: &str) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(between)
}

fn gives(sql: String, expected: &[&str]) {
    let shown: String = sql.chars().take(100).collect();
    assert_eq!(answer(sql).as_deref(), Ok(expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice()), "{shown}");
}

#[test]
fn thousands_of_conditions() {
    let where_ = |conditions: String| format!("SELECT v FROM t WHERE {conditions}");
    gives(where_(repeated(10_000, |n| format!("v = {n}"), " OR ")), &["1", "2"]);
    gives(where_(repeated(5_000, |n| format!("v <> {}", n + 2), " AND ")), &["1"]);
    gives(format!("SELECT v FROM t WHERE s LIKE ANY ({})", repeated(5_000, |n| format!("'b{n}%'"), ", ")), &[]);
}

#[test]
fn thousands_of_conditions_that_can_fail() {
    // 10 / (v - 1) fails for the first row, which the first condition decides.
    let conditions =
        |first: &str, op: &str, than: &str| format!("{first}{}", repeated(1_000, |n| format!("{op} 10 / (v - 1) {than} {n}"), " "));
    gives(format!("SELECT v FROM t WHERE {}", conditions("v = 1 ", "OR", "<")), &["1", "2"]);
    gives(format!("SELECT v FROM t WHERE {}", conditions("v <> 1 ", "AND", ">=")), &[]);
    gives(format!("SELECT v FROM t WHERE {}", conditions("v <> 1 ", "AND", "<> -")), &["2"]);
}

#[test]
fn thousands_of_elements() {
    gives(format!("SELECT v FROM t WHERE v IN ({})", repeated(5_000, |n| (n + 2).to_string(), ", ")), &["2"]);
    gives(format!("SELECT v FROM t WHERE s NOT IN ({})", repeated(5_000, |n| format!("'a{n}'"), ", ")), &["1", "2"]);
}

#[test]
fn thousands_of_terms() {
    gives(format!("SELECT {} AS x FROM t", repeated(3_000, |_| "v".to_owned(), " + ")), &["3000", "6000"]);
    gives(format!("SELECT length({}) AS x FROM t", repeated(3_000, |_| "s".to_owned(), " || ")), &["3000", "3000"]);
    gives(format!("SELECT {} AS x FROM t WHERE v = 1", repeated(1_000, |_| "v".to_owned(), " * ")), &["1"]);
    gives(format!("SELECT {} AS x FROM t WHERE v = 1", repeated(1_000, |_| "0.5".to_owned(), " + ")), &["500.0"]);
}

#[test]
fn thousands_of_unions() {
    gives(format!("SELECT count(*), sum(v) FROM ({})", repeated(2_000, |n| format!("SELECT {n} AS v"), " UNION ALL ")), &["2000|1999000"]);
}

#[test]
fn deep_expressions() {
    let deep = |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    gives(format!("SELECT {} FROM t", deep("(", "v", ")", 200)), &["1", "2"]);
    gives(format!("SELECT {} AS x FROM t", deep("abs(", "v", ")", 200)), &["1", "2"]);
    gives(format!("SELECT {} AS x FROM t", deep("replace(", "s", ", 'x', 'y')", 200)), &["a", "b"]);
    gives(format!("SELECT {} AS x FROM t", deep("CASE WHEN v > 0 THEN ", "v", " END", 200)), &["1", "2"]);
    gives(format!("SELECT v{} AS x FROM t", " - 1".repeat(200)), &["-199", "-198"]);
    gives(format!("SELECT {}v AS x FROM t", "NOT ".repeat(200).replace("NOT NOT", "- -").replace("NOT", "-")), &["1", "2"]);
}

#[test]
fn deep_queries() {
    let n = 100;
    gives(format!("{}SELECT v FROM t{}", "SELECT * FROM (".repeat(n), ")".repeat(n)), &["1", "2"]);
    gives(format!("{}SELECT v FROM t{}", "SELECT v + 1 AS v FROM (".repeat(n), " LIMIT 5)".repeat(n)), &["101", "102"]);
    gives(format!("SELECT {}1{} AS x", "(SELECT max(v) FROM t WHERE v > ".repeat(10), ")".repeat(10)), &["null"]);
    let ctes = repeated(200, |n| format!("c{} AS (SELECT v + 1 AS v FROM c{n})", n + 1), ", ");
    gives(format!("WITH c0 AS (SELECT v FROM t), {ctes} SELECT v FROM c200"), &["201", "202"]);
}

#[test]
fn too_deep_is_an_error() {
    for (sql, message) in [
        (format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)), "nested more than 250 levels"),
        (format!("SELECT v{} FROM t", " - 1".repeat(100_000)), "more than 250 operations"),
        (format!("{}SELECT 1{}", "SELECT * FROM (".repeat(1_000), ")".repeat(1_000)), "nested more than 250 levels"),
        (format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(10_000)), "more than 250 operations"),
    ] {
        let error = answer(sql).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}
