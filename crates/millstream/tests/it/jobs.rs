//! Job files and streams over files, as a user runs them.

use std::path::Path;

use millstream::job::RunOptions;
use millstream::{BatchId, DataFrame, EngineConfig, Job, Session, Trigger};

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
    job.run(RunOptions { trigger: Some(Trigger::AvailableNow), ..RunOptions::default() }).await?.wait().await?;
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
async fn what_a_job_cannot_hold_is_refused_with_its_place() {
    let table = "CREATE TABLE trail (a INT) USING json OPTIONS (path '/tmp');\n";
    let cases = [
        // What, where, and what to do.
        (
            "CREATE FLOW f AS INSERT INTO t BY NAME SELECT * FROM STREAM trail",
            "CREATE FLOW ('f') is not supported yet",
            "line 2, column 1",
            "AS of CREATE STREAMING TABLE",
        ),
        ("CREATE STREAMING TABLE t", "dataset 't' without AS: CREATE FLOW is not supported yet", "line 2, column 1", ""),
        (
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM trial",
            "the table or view 'trial' cannot be found",
            "line 2, column 50",
            "did you mean 'trail'",
        ),
        ("CREATE STREAMING TABLE t AS\nSELECT b FROM STREAM trail", "column 'b' cannot be found", "line 3, column 8", "a"),
        ("CREATE STREAMING TABLE t AS SELECT a FROM trail", "streaming table 't' reads no stream", "line 2, column 1", "FROM STREAM t"),
        (
            "CREATE MATERIALIZED VIEW t AS SELECT a FROM STREAM trail",
            "materialized view 't' reads a stream",
            "line 2, column 1",
            "without STREAM",
        ),
        (
            "CREATE MATERIALIZED VIEW t USING kafka OPTIONS (kafka.bootstrap.servers 'none:1', topic 't') AS SELECT 'a' AS value",
            "materialized view 't' cannot be of format kafka",
            "line 2, column 1",
            "CREATE STREAMING TABLE t USING kafka",
        ),
        ("CREATE STREAMING TABLE Trail AS SELECT a FROM STREAM trail", "'Trail' is declared twice", "line 2, column 1", ""),
        (
            "CREATE STREAMING TABLE t AS SELECT a FROM STREAM trail;\nCREATE MATERIALIZED VIEW T AS SELECT 1 AS a",
            "'T' is declared twice",
            "line 3, column 1",
            "",
        ),
        (
            "CREATE STREAMING TABLE t AS SELECT a FROM STREAM u;\nCREATE STREAMING TABLE u AS SELECT a FROM STREAM t",
            "the datasets read each other in a circle: t reads u reads t",
            "line 2, column 1",
            "",
        ),
        ("SELECT a FROM trail", "a job file holds SET, CREATE TABLE, views and datasets only", "line 2, column 1", "millstream sql"),
    ];
    for (statement, what, place, hint) in cases {
        let error = run(&format!("{table}{statement};")).await.unwrap_err();
        let told = format!("{error} {}", error.hint_text().unwrap_or_default());
        for part in [what, place, hint] {
            assert!(told.contains(part), "{statement}: '{part}' is not in: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_dataset_are_options_or_properties_and_settings_come_first_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"at\":\"2024-01-01T00:30:00Z\"}\n");
    let job = "CREATE STREAMING TABLE a USING json PARTITIONED BY (hour) TBLPROPERTIES ('path' = '$dir/a', 'checkpointLocation' = '$dir/ck-a', 'compression' = 'none')
                 AS SELECT CAST(at AS STRING) AS at, hour(at) AS hour FROM STREAM(input);
               CREATE STREAMING TABLE b USING json LOCATION '$dir/b' OPTIONS (checkpointLocation '$dir/ck-b', compression 'gzip', queryName 'renamed')
                 AS SELECT CAST(at AS STRING) AS at FROM STREAM read_files('$dir/in', format => 'json', schema => 'at TIMESTAMP');
               CREATE TABLE input (at TIMESTAMP) USING json OPTIONS (path '$dir/in');
               SET spark.sql.session.timeZone = Asia/Tokyo;";
    let session = run(&job.replace("$dir", &dir.path().display().to_string())).await.unwrap();
    // Nine hours further.
    let a = std::fs::read_dir(dir.path().join("a/hour=9")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(a.path()).unwrap(), "{\"at\":\"2024-01-01 09:30:00\"}\n");
    let names: Vec<String> =
        std::fs::read_dir(dir.path().join("b")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.ends_with(".json.gz")), "{names:?}");
    assert_eq!(sorted(&session, "SELECT at, hour FROM a").await, ["2024-01-01 09:30:00|9"]);
    assert_eq!(sorted(&session, "SELECT * FROM b").await, ["2024-01-01 09:30:00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_writes_are_refused_before_they_start() {
    let session = Session::new().unwrap();
    session.memory_stream("numbers", millstream::parse_schema("v BIGINT").unwrap()).unwrap();
    let frame = session.read_stream().format("memory").option("stream", "numbers").load().await.unwrap();
    let error = frame.write_stream().format("noop").output_mode("complete").start().await.unwrap_err();
    assert_eq!(error.error_class(), Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION"), "{error}");
    let error = frame.write_stream().format("json").option("path", "out").option("checkpointLocation", "ck").output_mode("update");
    let error = error.start().await.unwrap_err();
    assert_eq!(error.error_class(), Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE"), "{error}");
    // The checkpoint of a sink without a place of its own may be on a store.
    let query = frame.write_stream().foreach_batch(|_, _| async { Ok(()) }).option("aws_region", "x").start().await.unwrap();
    query.stop().await;
    let error = frame.write_stream().format("noop").output_mode("sometimes").start().await.unwrap_err();
    assert_eq!(error.message(), "output mode 'sometimes' is not one of append, update, complete");
    for (option, near) in [("chekpointLocation", "checkpointLocation"), ("maxBytesPerBach", "maxBytesPerBatch"), ("tabel", "table")] {
        let error = frame.write_stream().format("memory").query_name("out").option(option, "1").start().await.unwrap_err();
        assert_eq!(error.message(), format!("unknown option '{option}' of the memory sink"));
        assert_eq!(error.hint_text(), Some(format!("did you mean '{near}'?").as_str()));
    }
    let writer = frame.write_stream().foreach_batch(|_, _| async { Ok(()) });
    let error = writer.option("stopTimeuot", "1s").start().await.unwrap_err();
    assert_eq!(error.message(), "unknown option 'stopTimeuot' of the foreach_batch sink");
    let error = frame.write_stream().format("parquet").start_path("x").await.unwrap_err();
    assert_eq!(error.message(), "option 'checkpointLocation' is missing");
    let error = frame.write().format("noop").save().await.unwrap_err();
    assert!(error.to_string().contains("write_stream"), "{error} {:?}", error.hint_text());
    let error = session.range(0, 1, 1).write_stream().format("noop").start().await.unwrap_err();
    assert_eq!(error.error_class(), Some("WRITE_STREAM_NOT_ALLOWED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_query_explains_what_its_batches_run() {
    let session = Session::new().unwrap();
    session.memory_stream("numbers", millstream::parse_schema("v BIGINT").unwrap()).unwrap();
    let frame = session.read_stream().format("memory").option("stream", "numbers").load().await.unwrap();
    let frame = frame.filter(millstream::functions::expr("v > 41").unwrap());
    let query = frame.write_stream().format("memory").query_name("out").start().await.unwrap();
    for part in ["SinkExec", "FilterExec: ", "> 41", "SourceExec"] {
        assert!(query.explain().contains(part), "{part}: {}", query.explain());
    }
    assert_eq!((query.name(), query.is_active(), query.exception().is_none()), (Some("out"), true, true));
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_on_a_stream_is_refused_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"n\":1}\n");
    let source = format!("STREAM read_files('{}/in', format => 'json', schema => 'n BIGINT')", dir.path().display());
    let session = Session::new().unwrap();
    for (sql, word) in [
        (format!("SELECT count(*) FROM {source}"), "aggregat"),
        (format!("SELECT DISTINCT n FROM {source}"), "aggregat"),
        (format!("SELECT n, count(*) FROM {source} GROUP BY n ORDER BY n"), "sort"),
        (format!("SELECT n FROM {source} LIMIT 1 OFFSET 1"), "offset"),
        (format!("SELECT n, row_number() OVER (ORDER BY n) FROM {source}"), "window function"),
    ] {
        let frame = match session.sql(&sql).await {
            Ok(frame) => frame,
            Err(error) => {
                assert!(error.to_string().to_lowercase().contains(word), "{sql}: {error}");
                continue;
            }
        };
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
    // A batch each: what a join makes of one must not be there in the next.
    (1..=3).for_each(|k| write(dir.path(), &format!("in/{k}.json"), &format!("{{\"k\":{k}}}\n")));
    write(dir.path(), "names/n.json", "{\"k\":1,\"name\":\"one\"}\n{\"k\":2,\"name\":\"two\"}\n");
    for parallelism in 1..=3 {
        joined_with_a_static_table(dir.path(), parallelism).await;
    }
}

async fn joined_with_a_static_table(dir: &Path, parallelism: usize) {
    let session = Session::builder().engine(EngineConfig { parallelism, ..EngineConfig::default() }).build().unwrap();
    let path = dir.display();
    let events = format!("CREATE TABLE events (k BIGINT) USING json OPTIONS (path '{path}/in', maxFilesPerTrigger '1')");
    session.sql(&events).await.unwrap();
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
        assert_eq!(sorted(&session, &format!("SELECT * FROM {table}")).await, want, "{join}, {parallelism} tasks");
    }
    let frame = session.sql("SELECT e.k FROM STREAM events e FULL JOIN names ON e.k = names.k").await.unwrap();
    assert!(frame.write_stream().format("noop").start().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_table_joins_a_stream_when_the_stream_is_the_preserved_side() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"k\":1}\n{\"k\":3}\n");
    write(dir.path(), "names/n.json", "{\"k\":1,\"name\":\"one\"}\n{\"k\":2,\"name\":\"two\"}\n");
    let session = Session::new().unwrap();
    let path = dir.path().display();
    session.sql(&format!("CREATE TABLE events (k BIGINT) USING json OPTIONS (path '{path}/in')")).await.unwrap();
    session.sql(&format!("CREATE TABLE names (k BIGINT, name STRING) USING json OPTIONS (path '{path}/names')")).await.unwrap();
    for (join, want) in [("JOIN", vec!["1|one"]), ("RIGHT JOIN", vec!["1|one", "3|NULL"])] {
        let sql = format!("SELECT e.k, n.name FROM names n {join} STREAM events e ON e.k = n.k");
        let table = format!("mirror_{}", join.replace(' ', "_").to_lowercase());
        let writer = session.sql(&sql).await.unwrap().write_stream().format("memory").query_name(&table).trigger(Trigger::AvailableNow);
        writer.start().await.unwrap().await_termination(None).await.unwrap();
        assert_eq!(sorted(&session, &format!("SELECT * FROM {table}")).await, want, "{join}");
    }
    for (left, join, right) in [
        ("names", "LEFT JOIN", "STREAM events"),
        ("names", "FULL JOIN", "STREAM events"),
        ("names", "LEFT SEMI JOIN", "STREAM events"),
        ("names", "LEFT ANTI JOIN", "STREAM events"),
        ("STREAM events", "RIGHT JOIN", "names"),
    ] {
        let frame = session.sql(&format!("SELECT l.k FROM {left} AS l {join} {right} AS r ON l.k = r.k")).await.unwrap();
        let error = frame.write_stream().format("noop").start().await.unwrap_err();
        let (error, kind) = (error.to_string().to_lowercase(), join.to_lowercase().replace(" join", ""));
        assert!(error.contains("join") && error.contains(kind.split(' ').next_back().unwrap()), "{left} {join} {right}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_go_below_the_folder_of_the_setting_and_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.json", "{\"n\":1}\n");
    let root = dir.path().join("checkpoints");
    let mut rows = Vec::new();
    for _ in 0..2 {
        let session = Session::new().unwrap();
        session.set("spark.sql.streaming.checkpointLocation", &root.display().to_string()).unwrap();
        let frame = session.read_stream().schema("n BIGINT").json(dir.path().join("in")).await.unwrap();
        let query = frame.write_stream().format("noop").query_name("named").trigger(Trigger::AvailableNow).start().await.unwrap();
        query.await_termination(None).await.unwrap();
        rows.push(query.last_progress().unwrap().num_input_rows);
    }
    assert!(root.join("named/metadata.json").exists());
    assert_eq!(rows, [1, 0], "the second run goes on behind the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_query_does_not_grow_with_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new().unwrap();
    session.set("spark.sql.streaming.minBatchesToRetain", "5").unwrap();
    let frame = session.read_stream().format("rate-micro-batch").option("rowsPerBatch", "1").load().await.unwrap();
    let records = async |n_runs: usize| {
        for _ in 0..n_runs {
            let writer = frame.write_stream().format("noop").checkpoint(dir.path().join("checkpoint")).trigger(Trigger::AvailableNow);
            writer.start().await.unwrap().await_termination(None).await.unwrap();
        }
        let path = dir.path().join("checkpoint").display().to_string();
        let shown = millstream::checkpoint::show(&path, millstream::checkpoint::ShowFormat::Json).await.unwrap();
        let prepared = shown.iter().filter(|line| line.contains("\"kind\":\"prepared\"")).count();
        (prepared, shown.last().cloned().unwrap())
    };
    // Each run is a batch, and a segment of the log.
    let (early, _) = records(20).await;
    let (late, last) = records(30).await;
    assert!(early >= 5 && late >= 5 && late <= early, "{early} batches are kept after 20, {late} after 50");
    assert!(last.contains("\"committed\":49"), "{last}");
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

/// Nobody waits for ever for a query whose task is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_function_that_panics_fails_the_query() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), "{\"id\":1}\n").unwrap();
    let session = Session::new().unwrap();
    let frame = session.read_stream().schema("id BIGINT").json(dir.path()).await.unwrap();
    let broken = |_: DataFrame, _: BatchId| async { panic!("boom") };
    let query = frame.write_stream().foreach_batch(broken).trigger(Trigger::AvailableNow).start().await.unwrap();
    let error = query.await_termination(None).await.unwrap_err();
    assert!(error.to_string().contains("the query panicked: boom"), "{error}");
    assert!(!query.is_active());
}
