//! `verify` as the library offers it: chained tables, tables beside each other, late rows, and programs that are wrong.

use std::path::Path;

use millstream::verify::{DatasetReport, Verdict, VerifyOptions, verify_text};
use millstream::{Error, Result};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Verifies a job over `sample/`.
async fn verify(dir: &Path, job: &str) -> Result<Vec<DatasetReport>> {
    let folder = dir.join(format!("kept-{}", std::fs::read_dir(dir).unwrap().count()));
    let options = VerifyOptions { input: dir.join("sample"), seed: 5, runs: 3, settings: Vec::new(), folder };
    verify_text(job, &options).await
}

/// Rows of events, one a second.
fn events(seconds: impl IntoIterator<Item = i64>) -> String {
    seconds.into_iter().map(|s| format!("{{\"ts\":\"2024-01-01T00:{:02}:{:02}Z\",\"k\":{}}}\n", s / 60, s % 60, s % 5)).collect()
}

#[track_caller]
fn all_equal(reports: &[DatasetReport], names: &[&str]) {
    assert_eq!(reports.iter().map(|report| report.name.as_str()).collect::<Vec<_>>(), names);
    for report in reports {
        assert!(matches!(report.verdict, Verdict::Equal), "{report:?}");
        assert!(report.n_runs == 3 && report.n_lives >= 6 && report.n_rows > 0, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_table_of_a_chain_is_verified_over_what_the_batch_makes_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/events/a.json"), &events(0..100));
    write(&dir.path().join("sample/names/a.json"), "{\"k\":1,\"name\":\"one\"}\n{\"k\":2,\"name\":\"two\"}\n");
    let job = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json OPTIONS (path 'x', cleanSource 'delete');
        CREATE TABLE names (k INT, name STRING) USING json OPTIONS (path 'y');
        CREATE VIEW recent AS SELECT * FROM STREAM events WHERE k > 0;
        CREATE STREAMING TABLE named AS SELECT ts, name FROM STREAM recent JOIN names USING (k);
        CREATE STREAMING TABLE counts OPTIONS (outputMode 'complete') AS SELECT name, count(*) AS n FROM STREAM named GROUP BY name;
        CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM named;
        CREATE STREAMING TABLE minutes AS SELECT window.end AS at, count(*) AS n
          FROM STREAM named WATERMARK ts DELAY OF INTERVAL 2 MINUTES GROUP BY window(ts, '1 minute');";
    all_equal(&verify(dir.path(), job).await.unwrap(), &["named", "counts", "minutes"]);
    assert!(dir.path().join("sample/events/a.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_on_chance_or_on_the_clock_differs() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events(0..20));
    for wrong in ["k, rand() AS r", "k, current_timestamp() AS now", "k, uuid() AS id"] {
        let job =
            format!("CREATE TABLE events (ts TIMESTAMP, k INT) USING json; CREATE STREAMING TABLE t AS SELECT {wrong} FROM STREAM events;");
        let reports = verify(dir.path(), &job).await.unwrap();
        let Verdict::Different { run: 1, difference } = &reports[0].verdict else { panic!("{reports:?}") };
        assert_eq!((difference.n_only_in_stream, difference.n_only_in_batch), (20, 20), "{wrong}");
        assert_eq!(difference.only_in_stream[0].len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_changes_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/events/a.json"), &events((0..60).map(|row| row * 7 % 60)));
    write(&dir.path().join("sample/others/a.json"), &events((0..30).map(|row| row * 2)));
    let table = |name: &str, query: &str| format!("CREATE STREAMING TABLE {name} OPTIONS (outputMode 'update') AS {query};");
    let changes = |name: &str, query: &str| table(name, query).replace("'update'", "'update', changes 'true'");
    let counts = "SELECT k, count(*) AS n FROM STREAM events GROUP BY k";
    let windows = "SELECT window.start AS at, k, count(*) AS n FROM STREAM events WATERMARK ts DELAY OF INTERVAL 60 SECONDS
        GROUP BY window(ts, '20 seconds', '10 seconds'), k";
    let sessions = "SELECT session_window.start AS at, count(*) AS n FROM STREAM events WATERMARK ts DELAY OF INTERVAL 60 SECONDS
        GROUP BY session_window(ts, '1 second')";
    let join = "SELECT l.ts, r.k FROM (SELECT * FROM STREAM events WHERE k > 0) AS l LEFT JOIN STREAM others AS r ON l.ts = r.ts";
    let job = [
        "CREATE TABLE events (ts TIMESTAMP, k INT) USING json; CREATE TABLE others (ts TIMESTAMP, k INT) USING json;".to_owned(),
        table("counts", counts),
        table("windows", windows),
        table("having", &format!("{counts} HAVING sum(k) < 20")),
        table("total", "SELECT count(*) AS n, max(ts) AS newest FROM STREAM events"),
        table("sets", "SELECT k, count(*) AS n FROM STREAM events GROUP BY ROLLUP (k) HAVING count(*) > 0"),
        table("filtered", "SELECT k, ts FROM STREAM events WHERE k > 1"),
        changes("sessions", sessions),
        changes("left_join", join),
        changes("by_count", &format!("SELECT n, count(*) AS keys FROM ({counts}) GROUP BY n")),
    ];
    let names = ["counts", "windows", "having", "total", "sets", "filtered", "sessions", "left_join", "by_count"];
    all_equal(&verify(dir.path(), &job.concat()).await.unwrap(), &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_a_set_leaves_out_is_null() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events(0..60));
    let sets = "SELECT window, k, count(*) AS n FROM STREAM events WATERMARK ts DELAY OF INTERVAL 60 SECONDS
        GROUP BY ROLLUP (window(ts, '20 seconds'), k)";
    let job = format!(
        "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;
         CREATE STREAMING TABLE complete OPTIONS (outputMode 'complete') AS {sets};
         CREATE STREAMING TABLE sessions OPTIONS (outputMode 'complete') AS {};",
        sets.replace("window(ts, '20 seconds')", "session_window(ts, '1 second')").replace("SELECT window", "SELECT session_window")
    );
    all_equal(&verify(dir.path(), &job).await.unwrap(), &["complete", "sessions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_are_left_out_of_a_stream_that_others_are_compared_with_too() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events((100..160).chain(0..20)));
    let job = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;
        CREATE STREAMING TABLE first OPTIONS (independentOfCuts 'true') AS SELECT *
          FROM drop_duplicates_within_watermark(STREAM events WATERMARK ts DELAY OF INTERVAL 1 SECOND, 'ts', 'k');";
    let reports = verify(dir.path(), job).await.unwrap();
    all_equal(&reports, &["first"]);
    assert!(reports[0].n_late > 0, "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn which_row_is_kept_of_equal_keys_is_not_comparable_unless_only_the_keys_are_used() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/events/a.json"), &events(0..40));
    write(&dir.path().join("sample/others/a.json"), &events(0..20));
    let late = "STREAM events WATERMARK ts DELAY OF INTERVAL 60 SECONDS";
    let by_key = "drop_duplicates(STREAM events, 'k')";
    let table = |name: &str, query: &str| format!("CREATE STREAMING TABLE {name} AS {query};");
    let update = |name: &str, query: &str| format!("CREATE STREAMING TABLE {name} OPTIONS (outputMode 'update') AS {query};");
    let complete = |name: &str, query: &str| update(name, query).replace("'update'", "'complete'");
    let tables = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json; CREATE TABLE others (ts TIMESTAMP, k INT) USING json;".to_owned();
    let with_first = [
        table("rows", &format!("SELECT * FROM {by_key}")),
        table("filtered", &format!("SELECT k FROM {by_key} WHERE ts > TIMESTAMP '2024-01-01 00:00:02'")),
        table("joined", &format!("SELECT o.k FROM {by_key} AS e JOIN STREAM others AS o ON e.ts = o.ts")),
        table("late", &format!("SELECT k, ts FROM drop_duplicates((SELECT *, ts AS at FROM {late}), 'ts') ")),
        update("newest", &format!("SELECT k, max(ts) AS ts FROM {by_key} GROUP BY k")),
        complete("whole", "SELECT * FROM drop_duplicates((SELECT k, count(*) AS n FROM STREAM events GROUP BY k), 'n')"),
    ];
    let reports = verify(dir.path(), &(tables.clone() + &with_first.concat())).await.unwrap();
    assert_eq!(reports.len(), with_first.len());
    for report in &reports {
        let Verdict::NotComparable(why) = &report.verdict else { panic!("{report:?}") };
        assert!(why.starts_with("which row drop_duplicates over some of the columns keeps hangs on"), "{why}");
    }
    let of_keys = [
        table("keys", &format!("SELECT k FROM {by_key}")),
        table("doubled", &format!("SELECT d * 2 AS d FROM (SELECT k AS d, ts FROM {by_key} WHERE k > 0)")),
        table("filtered", "SELECT k FROM drop_duplicates((SELECT * FROM STREAM events WHERE ts > TIMESTAMP '2024-01-01 00:00:02'), 'k')"),
        table("watermark", &format!("SELECT k FROM drop_duplicates({late}, 'k')")),
        table("joined", &format!("SELECT e.k, o.ts FROM {by_key} AS e JOIN STREAM others AS o ON e.k = o.k")),
        update("counts", &format!("SELECT k % 2 AS odd, count(*) AS n FROM {by_key} GROUP BY k % 2")),
        complete("whole", "SELECT n FROM drop_duplicates((SELECT k, count(*) AS n FROM STREAM events GROUP BY k), 'n')"),
        table("all", "SELECT * FROM drop_duplicates(STREAM events, 'k', 'ts')"),
    ];
    let names = ["keys", "doubled", "filtered", "watermark", "joined", "counts", "whole", "all"];
    all_equal(&verify(dir.path(), &(tables + &of_keys.concat())).await.unwrap(), &names);
    // One row of each key, which is the first however they come.
    let same = "CREATE TABLE others (ts TIMESTAMP, k INT) USING json; CREATE STREAMING TABLE declared OPTIONS (independentOfCuts 'true')
        AS SELECT * FROM drop_duplicates(STREAM others, 'ts');";
    all_equal(&verify(dir.path(), same).await.unwrap(), &["declared"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_are_not_the_batch_differ() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events(0..20));
    // The clock of a batch goes on with the batches, and one row per key is left of it.
    let job = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;
        CREATE STREAMING TABLE t OPTIONS (outputMode 'update') AS SELECT k, max(current_timestamp()) AS n FROM STREAM events GROUP BY k;";
    let reports = verify(dir.path(), job).await.unwrap();
    let Verdict::Different { run: 1, difference } = &reports[0].verdict else { panic!("{reports:?}") };
    assert_eq!((difference.n_only_in_stream, difference.n_only_in_batch, difference.n_taken_back), (5, 5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_not_start_is_refused_here_too() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events(0..20));
    let job = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;
        CREATE STREAMING TABLE t OPTIONS (outputMode 'update') AS
        SELECT n, count(*) AS keys FROM (SELECT k, count(*) AS n FROM STREAM events GROUP BY k) GROUP BY n;";
    let refused = verify(dir.path(), job).await.unwrap_err();
    assert!(refused.message().contains("rows may be deleted"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_verified_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("sample/a.json"), &events(0..20));
    let refused = async |job: &str| verify(dir.path(), job).await.unwrap_err();
    let of_path = refused("CREATE STREAMING TABLE t AS SELECT k FROM STREAM read_files('x', format => 'json', schema => 'k INT');").await;
    assert!(of_path.message().contains("a stream that is not a table of the job"), "{of_path:?}");
    let batch = refused("CREATE TABLE e (k INT) USING json; CREATE MATERIALIZED VIEW t AS SELECT k FROM e;").await;
    assert!(batch.message().contains("declares no streaming table"), "{batch:?}");
    let both: Error = refused(
        "CREATE TABLE e (k INT) USING json;
         CREATE STREAMING TABLE t AS SELECT a.k FROM STREAM e AS a JOIN e AS b ON a.k = b.k;",
    )
    .await;
    assert!(both.message().contains("reads 'e' both as a stream and as finished data"), "{both:?}");
    let options =
        VerifyOptions { input: dir.path().join("sample"), seed: 5, runs: 0, settings: Vec::new(), folder: dir.path().join("kept") };
    let nothing = verify_text("CREATE TABLE e (k INT) USING json; CREATE STREAMING TABLE t AS SELECT k FROM STREAM e;", &options).await;
    assert!(nothing.unwrap_err().message().contains("0 streams to compare with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_late_rows_is_the_batch_over_the_others() {
    let dir = tempfile::tempdir().unwrap();
    // Every fourth row comes a minute late.
    let seconds = (0..200).map(|row| if row % 4 == 3 { row + 20 } else { row + 80 });
    write(&dir.path().join("sample/events/a.json"), &events(seconds));
    write(&dir.path().join("sample/names/a.json"), "{\"k\":1,\"name\":\"one\"}\n{\"k\":2,\"name\":\"two\"}\n");
    let job = "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;
        CREATE TABLE names (k INT, name STRING) USING json;
        CREATE STREAMING TABLE counts AS SELECT window.start AS at, k, count(*) AS n
          FROM STREAM events WATERMARK ts DELAY OF INTERVAL 5 SECONDS WHERE k < 4 GROUP BY window(ts, '10 seconds'), k;
        CREATE STREAMING TABLE named AS SELECT window.start AS at, name, sum(k) AS k
          FROM (SELECT * FROM STREAM events WATERMARK ts DELAY OF INTERVAL 5 SECONDS) AS e JOIN names USING (k)
          GROUP BY window(ts, '10 seconds'), name;";
    let reports = verify(dir.path(), job).await.unwrap();
    all_equal(&reports, &["counts", "named"]);
    assert!(reports.iter().all(|report| report.n_late > 0), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_late_for_some_of_their_windows_are_in_neither_stream_nor_batch() {
    let dir = tempfile::tempdir().unwrap();
    // Every fifth row comes 30 seconds late: its windows of a minute have ended in part.
    let seconds = (0..200).map(|row| if row % 5 == 4 { row + 50 } else { row + 80 });
    write(&dir.path().join("sample/a.json"), &events(seconds));
    let of = |name: &str, options: &str, group: &str| {
        format!(
            "CREATE STREAMING TABLE {name} {options} AS SELECT k, count(*) AS n, sum(k) AS s
             FROM STREAM events WATERMARK ts DELAY OF INTERVAL 2 SECONDS GROUP BY {group}, k;"
        )
    };
    let job = [
        "CREATE TABLE events (ts TIMESTAMP, k INT) USING json;".to_owned(),
        of("slices", "", "window(ts, '1 minute', '10 seconds')"),
        of("updates", "OPTIONS (outputMode 'update', changes 'true')", "window(ts, '1 minute', '10 seconds')"),
        of("several", "", "window(ts, '1 minute', '20 seconds'), window(ts, '1 minute', '30 seconds')"),
    ];
    let reports = verify(dir.path(), &job.concat()).await.unwrap();
    all_equal(&reports, &["slices", "updates", "several"]);
    assert!(reports.iter().all(|report| report.n_partly_late > 0), "{reports:?}");
}
