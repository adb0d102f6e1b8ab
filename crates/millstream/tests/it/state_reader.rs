//! State is data: `read().format("state")`, `state-metadata`, `read_state(...)`, while the query runs and after.

use std::path::Path;

use millstream::{DataFrame, Error, Session, Trigger};

const BY_PAGE: &str =
    "SELECT window, page, count(*) AS n, avg(ms) AS mean FROM STREAM clicks WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e
  GROUP BY window(ts, '1 minute'), page";

fn feed(dir: &Path, name: &str, lines: &[&str]) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    std::fs::write(dir.join("in").join(name), format!("{}\n", lines.join("\n"))).unwrap();
}

async fn session(dir: &Path) -> Session {
    let session = Session::new().unwrap();
    let table = format!(
        "CREATE TABLE clicks (ts TIMESTAMP, page STRING, ms INT) USING json OPTIONS (path '{}', maxFilesPerTrigger '1')",
        dir.join("in").display()
    );
    session.sql(&table).await.unwrap();
    session
}

/// Runs a query of SQL over what is there.
async fn run(session: &Session, query: &str, mode: &str, checkpoint: &Path) {
    let frame = session.sql(query).await.unwrap();
    let writer = frame.write_stream().format("noop").output_mode(mode).trigger(Trigger::AvailableNow).checkpoint(checkpoint);
    writer.start().await.unwrap().await_termination(None).await.unwrap();
}

async fn rows(frame: &DataFrame) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = frame.text_rows().await.unwrap().into_iter().map(|row| row.into_iter().collect()).collect();
    rows.sort();
    rows
}

async fn sql(session: &Session, query: &str) -> Vec<Vec<String>> {
    rows(&session.sql(query).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_rows_with_names_and_types_of_sparks() {
    let dir = tempfile::tempdir().unwrap();
    feed(
        dir.path(),
        "a.json",
        &[
            r#"{"ts":"2024-01-01 00:00:01","page":"a","ms":10}"#,
            r#"{"ts":"2024-01-01 00:00:02","page":"a","ms":20}"#,
            r#"{"ts":"2024-01-01 00:00:03","page":null,"ms":5}"#,
        ],
    );
    feed(dir.path(), "b.json", &[r#"{"ts":"2024-01-01 00:01:30","page":"b","ms":7}"#]);
    let session = session(dir.path()).await;
    let checkpoint = dir.path().join("checkpoint");
    run(&session, BY_PAGE, "update", &checkpoint).await;

    let state = session.read().format("state").load_path(&checkpoint).await.unwrap();
    let columns: Vec<String> = state
        .schema()
        .await
        .unwrap()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), millstream::type_name(field.data_type())))
        .collect();
    assert_eq!(
        columns,
        [
            "key struct<window:struct<start:timestamp,end:timestamp>,page:string>",
            "value struct<count(1):bigint,avg(ms)[count]:decimal(20,0),avg(ms)[sum]:double>",
            "partition_id int",
            "expiry timestamp",
        ]
    );
    let place = checkpoint.display();
    let after = |version: u64| {
        format!(
            "SELECT key.window.start, key.page, value.`count(1)`, value.`avg(ms)[sum]`, expiry, partition_id BETWEEN 0 AND 255
             FROM read_state('{place}', operator => 'aggregate-window-page', version => {version})"
        )
    };
    let a = ["2024-01-01 00:00:00", "a", "2", "30.0", "2024-01-01 00:01:00", "true"];
    let null = ["2024-01-01 00:00:00", "NULL", "1", "5.0", "2024-01-01 00:01:00", "true"];
    let b = ["2024-01-01 00:01:00", "b", "1", "7.0", "2024-01-01 00:02:00", "true"];
    assert_eq!(sql(&session, &after(0)).await, [null, a]);
    // The next batch has the new group, and the one without data behind it has let the final ones go.
    assert_eq!(sql(&session, &after(1)).await, [null, a, b]);
    assert_eq!(sql(&session, &after(2)).await, [b]);
    let by_number = format!("SELECT key.page FROM read_state('{place}', operator => 0, batchId => 1) WHERE value.`count(1)` > 1");
    assert_eq!(sql(&session, &by_number).await, [["a"]]);
    // As a table that two queries of one statement read at different versions.
    let gone = format!(
        "SELECT old.key.page FROM read_state('{place}', version => 1) old LEFT ANTI JOIN read_state('{place}') now ON old.key <=> now.key"
    );
    assert_eq!(sql(&session, &gone).await, [["NULL"], ["a"]]);

    let listed = sql(&session, &format!("SELECT * EXCEPT (operatorProperties) FROM read_state_metadata('{place}')")).await;
    assert_eq!(
        listed,
        [[
            "0",
            "aggregate-window-page",
            "default",
            "256",
            "0",
            "2",
            "aggregate",
            "one",
            "window: struct<start:timestamp,end:timestamp>, page: string",
            "count(1): bigint, avg(ms)[count]: decimal(20,0), avg(ms)[sum]: double"
        ]]
    );
    let metadata = session.read().format("state-metadata").load_path(&checkpoint).await.unwrap();
    assert_eq!(rows(&metadata).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_numbered_from_the_sources_up_and_read_while_the_query_runs() {
    let dir = tempfile::tempdir().unwrap();
    feed(
        dir.path(),
        "a.json",
        &[r#"{"ts":"2024-01-01 00:00:01","page":"a","ms":10}"#, r#"{"ts":"2024-01-01 00:00:01","page":"a","ms":10}"#],
    );
    let session = session(dir.path()).await;
    let checkpoint = dir.path().join("checkpoint");
    let frame = session.read_stream().table("clicks").drop_duplicates(["page", "ms"]).group_by(["page"]).count();
    let writer = frame.write_stream().format("noop").output_mode("complete").checkpoint(&checkpoint);
    let query = writer.start().await.unwrap();
    query.process_all_available().await.unwrap();
    let place = checkpoint.display();
    let names = sql(&session, &format!("SELECT operatorId, operatorName FROM read_state_metadata('{place}')")).await;
    assert_eq!(names, [["0", "deduplicate-page-ms"], ["1", "aggregate-page"]]);
    let keys = format!("SELECT key.page, key.ms, expiry FROM read_state('{place}', operator => 0)");
    let counts = format!("SELECT key.page, value.`count(1)` FROM read_state('{place}', operatorId => 1)");
    assert_eq!(sql(&session, &keys).await, [["a", "10", "NULL"]]);
    // An operator that keeps nothing but keys has a value without fields.
    let whole = sql(&session, &format!("SELECT * EXCEPT (partition_id) FROM read_state('{place}', operator => 0)")).await;
    assert_eq!(whole, [["{a, 10}", "{}", "NULL"]]);
    assert_eq!(sql(&session, &counts).await, [["a", "1"]]);
    feed(dir.path(), "b.json", &[r#"{"ts":"2024-01-01 00:00:02","page":"a","ms":11}"#]);
    query.process_all_available().await.unwrap();
    assert_eq!(sql(&session, &counts).await, [["a", "2"]]);
    query.stop().await;
    assert_eq!(sql(&session, &keys).await, [["a", "10", "NULL"], ["a", "11", "NULL"]]);

    let refused = |query: String| {
        let session = session.clone();
        async move { session.sql(&query).await.unwrap().collect().await.unwrap_err() }
    };
    let error: Error = refused(format!("SELECT * FROM read_state('{place}')")).await;
    assert_eq!(error.message(), "the query has several stateful operators: say which one to read");
    assert_eq!(error.hint_text(), Some("it has 0 'deduplicate-page-ms', 1 'aggregate-page'"));
    let error = refused(format!("SELECT * FROM read_state('{place}', operator => 2)")).await;
    assert_eq!(error.message(), "the query has no stateful operator 2");
    let error = refused(format!("SELECT * FROM read_state('{place}', operator => 0, version => 9)")).await;
    assert_eq!(error.message(), "the state after batch 9 is not there yet: that after batches 0 to 1 is");
    let error = refused(format!("SELECT * FROM STREAM read_state('{place}', operator => 0)")).await;
    assert!(error.message().contains("cannot be read as a stream"), "{error}");
}

/// The bytes of one file of the state are changed: the read names it, before a row of it is given.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    feed(dir.path(), "a.json", &[r#"{"ts":"2024-01-01 00:00:01","page":"a","ms":10}"#]);
    let session = session(dir.path()).await;
    let checkpoint = dir.path().join("checkpoint");
    run(&session, BY_PAGE, "update", &checkpoint).await;
    let file = std::fs::read_dir(checkpoint.join("state")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = session.read().format("state").load_path(&checkpoint).await.unwrap().collect().await.unwrap_err();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(error.message().contains(name) && error.message().contains("batch 0"), "{error}");
}
