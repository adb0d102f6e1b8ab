//! Job files and streams over files, as a user runs them.

use std::path::Path;

use millstream::job::RunOptions;
use millstream::{Job, Session, Trigger};

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    std::fs::write(dir.join(name), text).unwrap();
}

async fn sorted(session: &Session, sql: &str) -> Vec<String> {
    let mut rows: Vec<String> = session.sql(sql).await.unwrap().text_rows().await.unwrap().iter().map(|row| row.join("|")).collect();
    rows.sort();
    rows
}

/// Runs a job with available-now in a session of its own.
async fn run(text: &str) -> millstream::Result<Session> {
    let session = Session::new()?;
    let job = Job::parse(&session, text).await?;
    job.run(RunOptions { trigger: Some(Trigger::AvailableNow) }).await?.wait().await?;
    Ok(session)
}

fn chained(dir: &Path) -> String {
    let dir = dir.display();
    // The view of the end stands first: order does not matter.
    format!(
        "CREATE MATERIALIZED VIEW total USING parquet LOCATION '{dir}/total' AS SELECT sum(n) AS total FROM doubled;
         CREATE STREAMING TABLE doubled USING parquet LOCATION '{dir}/doubled'
           OPTIONS (checkpointLocation '{dir}/ck2') AS SELECT id, n * 2 AS n FROM STREAM raw;
         CREATE STREAMING TABLE raw USING parquet LOCATION '{dir}/raw'
           OPTIONS (checkpointLocation '{dir}/ck1') AS SELECT id, n FROM STREAM input;
         CREATE TABLE input (id STRING, n BIGINT) USING json OPTIONS (path '{dir}/in', maxFilesPerTrigger '1');"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn chained_datasets_run_in_order_and_go_on_with_new_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":2}\n");
    write(dir.path(), "in/b.json", "{\"id\":\"c\",\"n\":3}\n");
    let session = run(&chained(dir.path())).await.unwrap();
    assert_eq!(sorted(&session, "SELECT * FROM doubled").await, ["a|2", "b|4", "c|6"]);
    assert_eq!(sorted(&session, "SELECT * FROM total").await, ["12"]);

    write(dir.path(), "in/c.json", "{\"id\":\"d\",\"n\":4}\n");
    let session = run(&chained(dir.path())).await.unwrap();
    assert_eq!(sorted(&session, "SELECT * FROM doubled").await, ["a|2", "b|4", "c|6", "d|8"]);
    assert_eq!(sorted(&session, "SELECT * FROM total").await, ["20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_rows_keeps_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new().unwrap();
    let empty = session.sql("SELECT id, 'x' AS name FROM range(10) WHERE id > 100").await.unwrap();
    empty.write().parquet(dir.path().join("parquet")).await.unwrap();
    let read = session.read().parquet(dir.path().join("parquet")).await.unwrap();
    assert_eq!(read.schema().await.unwrap().fields().len(), 2);
    assert_eq!(read.count().await.unwrap(), 0);
    empty.write().option("header", "true").csv(dir.path().join("csv")).await.unwrap();
    let read = session.read().option("header", "true").csv(dir.path().join("csv")).await.unwrap();
    assert_eq!(read.schema().await.unwrap().fields().len(), 2);
    // A materialized view without rows, and what reads it.
    write(dir.path(), "in/a.json", "{\"id\":1}\n");
    let path = dir.path().display();
    let session = run(&format!(
        "CREATE TABLE input (id BIGINT) USING json OPTIONS (path '{path}/in');
         CREATE MATERIALIZED VIEW few USING parquet LOCATION '{path}/few' AS SELECT id FROM input WHERE id > 1;
         CREATE MATERIALIZED VIEW n USING parquet LOCATION '{path}/n' AS SELECT count(*) AS n FROM few;"
    ))
    .await
    .unwrap();
    assert_eq!(sorted(&session, "SELECT * FROM n").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_datasets_is_named() {
    let error =
        run("CREATE STREAMING TABLE a AS SELECT * FROM STREAM b; CREATE STREAMING TABLE b AS SELECT * FROM STREAM a;").await.unwrap_err();
    assert!(error.message().contains("circle") && error.message().contains("a reads b reads a"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_table_is_an_error_with_its_place() {
    let error =
        run("CREATE TABLE trail (a INT) USING json OPTIONS (path '/tmp');\nCREATE STREAMING TABLE a AS SELECT * FROM STREAM trial;")
            .await
            .unwrap_err();
    assert_eq!(error.error_class(), Some("TABLE_OR_VIEW_NOT_FOUND"));
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_on_a_stream_is_refused_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"n\":1}\n");
    let source = format!("STREAM read_files('{}/in', format => 'json', schema => 'n BIGINT')", dir.path().display());
    let session = Session::new().unwrap();
    for (sql, word) in [
        (format!("SELECT count(*) FROM {source}"), "aggregat"),
        (format!("SELECT DISTINCT n FROM {source}"), "distinct"),
        (format!("SELECT n FROM {source} ORDER BY n"), "sort"),
        (format!("SELECT n FROM {source} LIMIT 1"), "limit"),
    ] {
        let frame = session.sql(&sql).await.unwrap();
        let error = frame.write_stream().format("noop").start().await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains(word), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_go_to_the_dead_letters_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"n\":1}\nnot json\n{\"n\":2}\n");
    let session = Session::new().unwrap();
    let frame = session
        .read_stream()
        .schema("n BIGINT")
        .option("deadLetterPath", dir.path().join("dead").display())
        .json(dir.path().join("in"))
        .await
        .unwrap();
    let query = frame
        .write_stream()
        .format("parquet")
        .trigger(Trigger::AvailableNow)
        .checkpoint(dir.path().join("ck"))
        .start_path(dir.path().join("out"))
        .await
        .unwrap();
    query.await_termination(None).await.unwrap();
    let source = &query.last_progress().unwrap().sources[0];
    assert_eq!(source.num_input_rows, 3);
    assert_eq!(source.metrics.get("numRowsDeadLettered").map(String::as_str), Some("1"));
    let out = dir.path().join("out");
    assert_eq!(sorted(&session, &format!("SELECT n FROM parquet.`{}`", out.display())).await, ["1", "2"]);
    let dead = dir.path().join("dead");
    let sql = format!("SELECT CAST(raw AS STRING), position, batch_id FROM parquet.`{}`", dead.display());
    assert_eq!(sorted(&session, &sql).await, ["not json|2|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_joins_a_static_table() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"k\":1}\n{\"k\":2}\n{\"k\":3}\n");
    write(dir.path(), "names/n.json", "{\"k\":1,\"name\":\"one\"}\n{\"k\":2,\"name\":\"two\"}\n");
    let session = Session::new().unwrap();
    let path = dir.path().display();
    session.sql(&format!("CREATE TABLE events (k BIGINT) USING json OPTIONS (path '{path}/in')")).await.unwrap();
    session.sql(&format!("CREATE TABLE names (k BIGINT, name STRING) USING json OPTIONS (path '{path}/names')")).await.unwrap();
    for (join, want) in [
        ("JOIN", vec!["1|one", "2|two"]),
        ("LEFT JOIN", vec!["1|one", "2|two", "3|NULL"]),
        ("LEFT SEMI JOIN", vec!["1|x", "2|x"]),
        ("LEFT ANTI JOIN", vec!["3|x"]),
    ] {
        let name = if join.contains("SEMI") || join.contains("ANTI") { "'x'" } else { "names.name" };
        let table = format!("out_{}", join.replace(' ', "_").to_lowercase());
        let frame = session.sql(&format!("SELECT e.k, {name} AS name FROM STREAM events e {join} names ON e.k = names.k")).await.unwrap();
        let query = frame.write_stream().format("memory").query_name(&table).trigger(Trigger::AvailableNow).start().await.unwrap();
        query.await_termination(None).await.unwrap();
        assert_eq!(sorted(&session, &format!("SELECT * FROM {table}")).await, want, "{join}");
    }
    let frame = session.sql("SELECT e.k FROM STREAM events e FULL JOIN names ON e.k = names.k").await.unwrap();
    assert!(frame.write_stream().format("noop").start().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_keeps_the_time_zone_under_which_it_was_made() {
    // As in Spark, which keeps a view's settings with it; what is done with its columns follows the session.
    let session = millstream::Session::new().unwrap();
    session.sql("SET spark.sql.session.timeZone = Europe/Berlin").await.unwrap();
    let view =
        "CREATE TEMPORARY VIEW v AS SELECT CAST('2024-01-01 00:00:00' AS TIMESTAMP) AS ts, hour(TIMESTAMP'2024-01-01 12:00:00Z') AS h";
    session.sql(view).await.unwrap();
    session.sql("SET spark.sql.session.timeZone = UTC").await.unwrap();
    let batches = session.sql("SELECT h, CAST(ts AS STRING) AS s, hour(ts) AS inside FROM v").await.unwrap().collect().await.unwrap();
    let rows = millstream_testkit::gold::rows_of(&batches).unwrap();
    assert_eq!(rows, [[serde_json::json!("13"), serde_json::json!("2023-12-31 23:00:00"), serde_json::json!("23")]]);
}
