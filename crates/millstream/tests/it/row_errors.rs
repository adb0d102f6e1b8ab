//! `rowErrors 'deadLetter'`: rows on which an expression fails are set aside, the others go on, each exactly once.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::job::RunOptions;
use millstream::{Error, ErrorKind, Job, SaveMode, Session, StreamingQuery, Trigger};

use crate::stream_script::Armed;

fn write(dir: &Path, name: &str, lines: impl IntoIterator<Item = String>) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, lines.into_iter().map(|line| line + "\n").collect::<String>()).unwrap();
}

async fn rows(session: &Session, sql: &str) -> Vec<String> {
    let mut rows: Vec<String> = session.sql(sql).await.unwrap().text_rows().await.unwrap().iter().map(|row| row.join("|")).collect();
    rows.sort();
    rows
}

/// A session with a table `input (id INT, text STRING)` of JSON files, whose dead letters go to `dead`.
async fn session(dir: &Path, crash: Option<Arc<Armed>>) -> Session {
    let builder = Session::builder();
    let session = match crash {
        Some(crash) => builder.crash_points(crash as Arc<dyn CrashPoints>).build().unwrap(),
        None => builder.build().unwrap(),
    };
    let create = format!(
        "CREATE TABLE input (id INT, text STRING) USING json
         OPTIONS (path '{0}/in', deadLetterPath '{0}/dead', maxFilesPerTrigger '1')",
        dir.display()
    );
    session.sql(&create).await.unwrap();
    session
}

async fn try_stream(session: &Session, dir: &Path, sql: &str) -> Result<StreamingQuery, Error> {
    let frame = session.sql(sql).await?;
    let writer = frame.write_stream().format("parquet").option("rowErrors", "deadLetter").trigger(Trigger::AvailableNow);
    let query = writer.checkpoint(dir.join("checkpoint")).start_path(dir.join("out")).await?;
    query.await_termination(None).await?;
    Ok(query)
}

async fn out(session: &Session, dir: &Path) -> Vec<String> {
    rows(session, &format!("SELECT * FROM parquet.`{}/out`", dir.display())).await
}

async fn dead(session: &Session, dir: &Path, columns: &str) -> Vec<String> {
    rows(session, &format!("SELECT {columns} FROM parquet.`{}/dead`", dir.display())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_bad_rows_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let line = |i: i32| match i {
        7 => r#"{"id":7,"text":"x"}"#.to_owned(),
        8 => r#"{"id":8,"text":null}"#.to_owned(),
        500 => r#"{"id":500,"text":"0"}"#.to_owned(),
        900 => "{\"id\":900,".to_owned(),
        _ => format!("{{\"id\":{i},\"text\":\"{i}\"}}"),
    };
    write(dir, "in/a.json", (1..=1000).map(line));
    write(dir, "in/b.json", (1001..=1010).map(line));
    let session = session(dir, None).await;
    let query = try_stream(&session, dir, "SELECT id, 1000 DIV CAST(text AS INT) AS n FROM STREAM input").await.unwrap();

    let got = out(&session, dir).await;
    assert_eq!(got.len(), 1007);
    assert!(got.contains(&"8|NULL".to_owned()) && got.contains(&"1000|1".to_owned()));
    let mut dead = dead(&session, dir, "CAST(raw AS STRING), error, source, origin, position, batch_id").await;
    assert_eq!(dead.len(), 3, "{dead:#?}");
    assert!(dead.remove(2).starts_with("{\"id\":900,|"), "the record that is no JSON");
    let origin = format!("FileStreamSource[file:{}/in]", dir.display());
    assert!(dead[0].starts_with(r#"{"id":500,"text":"0"}|[DIVIDE_BY_ZERO] "#), "{}", dead[0]);
    assert!(dead[1].starts_with(r#"{"id":7,"text":"x"}|[CAST_INVALID_INPUT] "#), "{}", dead[1]);
    for row in &dead {
        assert!(row.ends_with(&format!("|input|{origin}|NULL|0")), "{row}");
    }

    // What went in came out, or was set aside, in every batch.
    let progress = query.recent_progress();
    assert_eq!(progress.len(), 2);
    for progress in &progress {
        let count = |metrics: &std::collections::BTreeMap<String, String>| {
            metrics.get("numRowsDeadLettered").map_or(0, |count| count.parse::<u64>().unwrap())
        };
        let n_dead = count(&progress.sources[0].metrics) + count(&progress.sink.metrics);
        assert_eq!(progress.num_input_rows, progress.sink.num_output_rows as u64 + n_dead, "{}", progress.json());
    }
    assert_eq!(progress[0].sink.metrics["numRowsDeadLettered"], "2");
    assert!(progress[1].sink.metrics.is_empty());
    assert!(query.explain().contains("RowGuardExec"), "{}", query.explain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_element_does_not_take_its_array_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in/a.json", [r#"{"id":1,"text":"1,2,x,4"}"#.to_owned(), r#"{"id":2,"text":"y"}"#.to_owned()]);
    let session = session(dir, None).await;
    let sql = "SELECT id, CAST(part AS INT) AS n FROM (SELECT id, explode(split(text, ',')) AS part FROM STREAM input)";
    try_stream(&session, dir, sql).await.unwrap();
    assert_eq!(out(&session, dir).await, ["1|1", "1|2", "1|4"]);
    assert_eq!(
        dead(&session, dir, "CAST(raw AS STRING)").await,
        [r#"{"id":1,"spark_split(text, ,, -1)":"x"}"#, r#"{"id":2,"spark_split(text, ,, -1)":"y"}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_below_and_above_a_join_and_a_union_are_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in/a.json", ["1", "2", "x", "4"].iter().enumerate().map(|(i, text)| format!("{{\"id\":{i},\"text\":\"{text}\"}}")));
    let session = session(dir, None).await;
    write(dir, "names/a.json", (1..=4).map(|n| format!("{{\"n\":{n},\"name\":\"{}\"}}", n - 2)));
    session.sql(&format!("CREATE TABLE names (n INT, name STRING) USING json OPTIONS (path '{}/names')", dir.display())).await.unwrap();
    // Below the join the text is no number, above it 2 has the name 0.
    let sql = "SELECT s.id, 10 DIV CAST(n.name AS INT) AS x FROM (SELECT id, CAST(text AS INT) AS n FROM STREAM input) s JOIN names n ON s.n = n.n
               UNION ALL SELECT id, CAST(concat(text, '0') AS INT) FROM STREAM input";
    try_stream(&session, dir, sql).await.unwrap();
    assert_eq!(out(&session, dir).await, ["0|-10", "0|10", "1|20", "3|40", "3|5"]);
    let mut dead = dead(&session, dir, "CAST(raw AS STRING)").await;
    dead.retain(|row| row.contains("\"x\""));
    assert_eq!(dead.len(), 2, "once in each branch: {dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_doubles_and_loses_no_dead_letter() {
    for point in CrashPoint::ALL {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for file in 0..3 {
            let lines = (0..4).map(|i| format!("{{\"id\":{},\"text\":\"{}\"}}", file * 4 + i, if i == 2 { "x" } else { "1" }));
            write(dir, &format!("in/{file}.json"), lines);
        }
        let armed = Arc::new(Armed::default());
        let session = session(dir, Some(Arc::clone(&armed))).await;
        let sql = "SELECT id, CAST(text AS INT) AS n FROM STREAM input";
        for n in [2, 1] {
            *armed.0.lock().unwrap() = Some((point, n));
            if let Err(error) = try_stream(&session, dir, sql).await {
                assert_eq!(error.error_class(), Some(CRASH), "{point}: {error:?}");
            }
        }
        *armed.0.lock().unwrap() = None;
        try_stream(&session, dir, sql).await.unwrap();
        assert_eq!(out(&session, dir).await.len(), 9, "{point}");
        assert_eq!(dead(&session, dir, "get_json_object(CAST(raw AS STRING), '$.id')").await, ["10", "2", "6"], "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_functions_are_guarded_but_not_their_defects() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in/a.json", (0..5).map(|i| format!("{{\"id\":{i},\"text\":\"{i}\"}}")));
    let session = session(dir, None).await;
    let picky = |name: &str, error: fn() -> DataFusionError| {
        let fails_on_3 = move |args: &[ColumnarValue]| {
            let array = args[0].to_array(1)?;
            let ids: &arrow::array::Int32Array = array.as_any().downcast_ref().unwrap();
            if ids.iter().any(|id| id == Some(3)) { Err(error()) } else { Ok(args[0].clone()) }
        };
        create_udf(name, vec![DataType::Int32], DataType::Int32, Volatility::Immutable, Arc::new(fails_on_3))
    };
    session.register_udf("picky", picky("picky", || DataFusionError::Execution("three is bad".to_owned())));
    session.register_udf("broken", picky("broken", || DataFusionError::Internal("a defect".to_owned())));
    let error = try_stream(&session, dir, "SELECT broken(id) AS id FROM STREAM input").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    std::fs::remove_dir_all(dir.join("checkpoint")).unwrap();
    try_stream(&session, dir, "SELECT picky(id) AS id FROM STREAM input").await.unwrap();
    assert_eq!(out(&session, dir).await, ["0", "1", "2", "4"]);
    let dead = dead(&session, dir, "CAST(raw AS STRING), error").await;
    assert!(dead.len() == 1 && dead[0].starts_with(r#"{"id":3}|"#) && dead[0].contains("three is bad"), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_guarded_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in/a.json", ["{\"id\":1,\"text\":\"1\"}".to_owned()]);
    let session = session(dir, None).await;
    let plain = format!("CREATE TABLE plain (id INT, text STRING) USING json OPTIONS (path '{}/in')", dir.display());
    session.sql(&plain).await.unwrap();
    let error = try_stream(&session, dir, "SELECT CAST(text AS INT) AS n FROM STREAM plain").await.unwrap_err();
    assert!(error.message().contains("source 'plain' has no dead-letter table"), "{error}");
    assert!(error.hint_text().unwrap().contains("deadLetterPath"));

    let write = session.sql("SELECT id, sum(CAST(text AS INT)) AS n FROM input GROUP BY id").await.unwrap().write();
    let error = write.option("rowErrors", "deadLetter").parquet(dir.join("sums")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("'AggregateExec'"), "{error}");

    let computing = "SELECT a.id FROM STREAM input a JOIN STREAM input b ON a.id = b.id AND a.id + 1 > b.id";
    let error = try_stream(&session, dir, computing).await.unwrap_err();
    assert!(error.message().contains("a condition that computes in 'StreamJoinExec'"), "{error}");
    try_stream(&session, dir, "SELECT a.id FROM STREAM input a JOIN STREAM input b ON a.id = b.id AND a.text <= b.text").await.unwrap();
    assert_eq!(out(&session, dir).await, ["1"]);

    let frame = session.sql("SELECT id FROM STREAM input").await.unwrap();
    let error = frame.write_stream().format("noop").option("rowErrors", "skip").start().await.unwrap_err();
    assert!(error.message().contains("rowErrors 'skip' is not one of fail, deadLetter"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_write_sets_rows_aside_too_and_by_default_fails() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in/a.json", ["1", "x", "3"].iter().map(|text| format!("{{\"id\":1,\"text\":\"{text}\"}}")));
    let session = session(dir, None).await;
    let frame = session.sql("SELECT CAST(text AS INT) AS n FROM input").await.unwrap();
    let error = frame.write().parquet(dir.join("out")).await.unwrap_err();
    assert_eq!(error.error_class(), Some("CAST_INVALID_INPUT"));
    // As in Spark the failed write has left its folder.
    let writer = frame.write().mode(SaveMode::Overwrite).option("rowErrors", "deadLetter");
    assert_eq!(writer.parquet(dir.join("out")).await.unwrap(), 2);
    assert_eq!(out(&session, dir).await, ["1", "3"]);
    assert_eq!(dead(&session, dir, "CAST(raw AS STRING)").await, [r#"{"text":"x"}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_sets_rows_aside_by_an_option_of_its_datasets() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    write(dir.path(), "in/a.json", ["1", "x", "0"].iter().map(|text| format!("{{\"id\":1,\"text\":\"{text}\"}}")));
    let job = |view: &str| {
        format!(
            "CREATE TABLE input (id INT, text STRING) USING json OPTIONS (path '{at}/in', deadLetterPath '{at}/dead');
             CREATE STREAMING TABLE numbers USING parquet LOCATION '{at}/out'
               OPTIONS (checkpointLocation '{at}/checkpoint', rowErrors 'deadLetter') AS SELECT CAST(text AS INT) AS n FROM STREAM input;
             CREATE MATERIALIZED VIEW view USING parquet LOCATION '{at}/view' OPTIONS (rowErrors 'deadLetter') AS {view};"
        )
    };
    // What cannot be guarded is told before anything runs.
    let session = Session::new().unwrap();
    let sum = Job::parse(&session, &job("SELECT sum(id) AS n FROM input")).await.unwrap();
    let error = sum.check(&RunOptions::default()).await.unwrap_err();
    assert!(error.message().contains("'AggregateExec'") && error.to_string().contains("dataset 'view'"), "{error}");

    let session = Session::new().unwrap();
    let job = Job::parse(&session, &job("SELECT 10 DIV id AS n FROM input WHERE text = '1'")).await.unwrap();
    job.check(&RunOptions::default()).await.unwrap();
    job.run(RunOptions { trigger: Some(Trigger::AvailableNow), ..RunOptions::default() }).await.unwrap().wait().await.unwrap();
    assert_eq!(out(&session, dir.path()).await, ["0", "1"]);
    assert_eq!(dead(&session, dir.path(), "CAST(raw AS STRING)").await, [r#"{"text":"x"}"#]);
    assert_eq!(rows(&session, &format!("SELECT n FROM parquet.`{at}/view`")).await, ["10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_without_files_have_dead_letters_too() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let session = Session::new().unwrap();
    let rate =
        session.read_stream().format("rate-micro-batch").option("rowsPerBatch", 10).option("deadLetterPath", dir.join("dead").display());
    let frame = rate.load().await.unwrap().select_expr(["10 DIV (value - 3) AS n"]).unwrap();
    let writer = frame.write_stream().format("parquet").option("rowErrors", "deadLetter").trigger(Trigger::Once);
    let query = writer.checkpoint(dir.join("checkpoint")).start_path(dir.join("out")).await.unwrap();
    query.await_termination(None).await.unwrap();
    assert_eq!(out(&session, dir).await.len(), 9);
    assert_eq!(dead(&session, dir, "get_json_object(CAST(raw AS STRING), '$.value'), source").await, ["3|rate-micro-batch"]);
}
