//! What sinks are given, and what is refused before a query starts.

use std::path::Path;

use millstream::{Clock, Error, Result, Session, StreamingQuery};
use millstream_testkit::{ManualClock, put_file};
use std::sync::Arc;

const BY_COUNT: &str = "SELECT n, count(*) AS keys FROM (SELECT k, count(*) AS n FROM STREAM e GROUP BY k) GROUP BY n";

fn put(dir: &Path, number: usize, keys: &str) {
    let rows: String = keys.chars().map(|key| format!("{{\"k\":\"{key}\"}}\n")).collect();
    put_file(dir.join("in").join(format!("{number}.json")), rows).unwrap();
}

async fn session(dir: &Path) -> Session {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let clock = Arc::new(ManualClock::new(1_800_000_000_000)) as Arc<dyn Clock>;
    let session = Session::builder().clock(clock).build().unwrap();
    session.read_stream().schema("k STRING").json(dir.join("in")).await.unwrap().create_or_replace_temp_view("e");
    session
}

async fn start(session: &Session, sql: &str, format: &str, options: &[(&str, &str)]) -> Result<StreamingQuery> {
    let mut writer = session.sql(sql).await?.write_stream().format(format).query_name("t");
    for (name, value) in options {
        writer = writer.option(name, value);
    }
    writer.start().await
}

async fn table(session: &Session) -> Vec<String> {
    let rows = session.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap();
    let values =
        |row: &String| row.split(", ").filter_map(|cell| cell.split_once('=')).map(|(_, value)| value).collect::<Vec<_>>().join("|");
    millstream_testkit::rows::row_texts(&rows).unwrap().iter().map(values).collect()
}

/// The memory table after each file.
async fn tables(sql: &str, options: &[(&str, &str)], files: &[&str]) -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let query = start(&session, sql, "memory", options).await.unwrap();
    let mut tables: Vec<Vec<String>> = Vec::new();
    let mut n_before = 0;
    for (number, keys) in files.iter().enumerate() {
        put(dir.path(), number, keys);
        query.process_all_available().await.unwrap();
        let all = table(&session).await;
        let mut new = all[n_before..].to_vec();
        n_before = all.len();
        new.sort_unstable();
        tables.push(new);
    }
    query.stop().await;
    tables
}

async fn refusal(sql: &str, format: &str, options: &[(&str, &str)]) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    match start(&session, sql, format, options).await {
        Err(error) => error,
        Ok(_) => panic!("{sql} {options:?} was not refused"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_have_sparks_words_and_are_paired_by_key() {
    let got = tables(BY_COUNT, &[("outputMode", "update"), ("changes", "true")], &["aab", "b", "b"]).await;
    let want: [&[&str]; 3] = [
        &["insert|1|1", "insert|2|1"],
        &["delete|1|1", "update_postimage|2|2", "update_preimage|2|1"],
        &["insert|3|1", "update_postimage|2|1", "update_preimage|2|2"],
    ];
    assert_eq!(got, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_a_key_are_inserts_and_deletes_and_equal_ones_cancel() {
    let values = format!("SELECT keys FROM ({BY_COUNT})");
    let got = tables(&values, &[("outputMode", "update"), ("changes", "true")], &["aab", "b", "b"]).await;
    let want: [&[&str]; 3] = [&["insert|1", "insert|1"], &["delete|1", "delete|1", "insert|2"], &["delete|2", "insert|1", "insert|1"]];
    assert_eq!(got, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_key_pairs_what_no_known_key_does() {
    let sql = "SELECT upper(k) AS u, n FROM (SELECT k, count(*) AS n FROM STREAM e GROUP BY k)";
    let without = tables(sql, &[("outputMode", "update"), ("changes", "true")], &["a", "a"]).await;
    assert_eq!(without[1], ["delete|A|1", "insert|A|2"]);
    let with = tables(sql, &[("outputMode", "update"), ("changes", "true"), ("upsertKey", "U")], &["a", "a"]).await;
    assert_eq!(with[1], ["update_postimage|A|2", "update_preimage|A|1"]);
    let error = refusal(sql, "memory", &[("outputMode", "update"), ("changes", "true"), ("upsertKey", "k")]).await;
    assert!(error.message().contains("'k', which is not a column"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_key_is_refused_where_no_row_is_taken_back() {
    let counts = "SELECT k, count(*) AS n FROM STREAM e GROUP BY k";
    for (sql, mode, changes) in [
        ("SELECT k FROM STREAM e", "append", "false"),
        ("SELECT k FROM STREAM e", "append", "true"),
        ("SELECT k FROM STREAM e", "update", "true"),
        (counts, "update", "false"),
        (counts, "complete", "false"),
    ] {
        let error = refusal(sql, "memory", &[("outputMode", mode), ("changes", changes), ("upsertKey", "k")]).await;
        let wanted = format!("option 'upsertKey' does not apply: in {mode} mode this query gives rows and takes none back");
        assert_eq!(error.message(), wanted, "{sql} {changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn append_mode_shows_inserts() {
    assert_eq!(tables("SELECT k FROM STREAM e", &[("changes", "true")], &["a", "b"]).await, [["insert|a"], ["insert|b"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_aggregation_in_update_mode_gives_new_rows_only_as_in_spark() {
    let sql = "SELECT k, count(*) AS n FROM STREAM e GROUP BY k";
    assert_eq!(tables(sql, &[("outputMode", "update")], &["ab", "a"]).await, [vec!["a|1", "b|1"], vec!["a|2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_the_sink_cannot_take_are_refused_before_start() {
    let error = refusal(BY_COUNT, "memory", &[("outputMode", "update")]).await;
    assert!(error.message().contains("rows may be deleted"), "{error}");
    assert!(error.hint_text().unwrap().contains("changes 'true'"), "{error}");
    // A group that rows cannot leave is never deleted.
    let stays = "SELECT upper(k) AS u, max(n) AS n FROM (SELECT k, count(*) AS n FROM STREAM e GROUP BY k) GROUP BY upper(k)";
    assert_eq!(tables(stays, &[("outputMode", "update")], &["aA", "A", "a"]).await, [vec!["A|1"], vec!["A|2"], vec![]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_right_on_changes_is_refused_by_name() {
    let counts = "SELECT k, count(*) AS n FROM STREAM e GROUP BY k";
    let cases = [
        (format!("SELECT n, count(*) FROM (SELECT n, rand() AS r FROM ({counts})) WHERE r < 2 GROUP BY n"), "a random number"),
        (format!("SELECT t, count(*) FROM (SELECT n, current_timestamp() AS t FROM ({counts})) GROUP BY t"), "the current time"),
        (format!("SELECT n, count(*) FROM (SELECT * FROM ({counts}) LIMIT 3) GROUP BY n"), "LIMIT"),
        (format!("SELECT n, count(*) FROM (SELECT * FROM ({counts}) ORDER BY n) GROUP BY n"), "sorting"),
    ];
    for (sql, name) in cases {
        let error = refusal(&sql, "memory", &[("outputMode", "complete")]).await;
        assert!(error.message().starts_with(name), "{sql}: {error}");
        assert!(error.hint_text().is_some(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_and_modes_that_have_no_changes_say_so() {
    let counts = "SELECT k, count(*) AS n FROM STREAM e GROUP BY k";
    let error = refusal(counts, "memory", &[("outputMode", "complete"), ("changes", "true")]).await;
    assert!(error.message().contains("complete mode"), "{error}");
    let error =
        refusal("SELECT k FROM STREAM e", "parquet", &[("changes", "true"), ("path", "/nowhere"), ("checkpointLocation", "/nowhere")])
            .await;
    assert!(error.message().contains("'changes' with the parquet sink"), "{error}");
    let error = refusal("SELECT k AS _change_type FROM STREAM e", "memory", &[("changes", "true")]).await;
    assert!(error.message().contains("_change_type"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_tell_rows_apart_fails_the_batch_that_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let query = start(&session, BY_COUNT, "memory", &[("outputMode", "update"), ("changes", "true"), ("upsertKey", "keys")]).await.unwrap();
    put(dir.path(), 0, "aabbc");
    query.process_all_available().await.unwrap();
    let mut rows = table(&session).await;
    rows.sort();
    assert_eq!(rows, ["insert|1|1", "insert|2|2"]);
    // One key has three rows, one two, one has one.
    put(dir.path(), 1, "a");
    let error = query.process_all_available().await.unwrap_err();
    assert!(error.message().contains("option 'upsertKey' (keys) does not tell rows apart: two rows have keys = 1"), "{error}");
}
