//! A canary in every option that holds a secret: it may be in the job file and nowhere else, whatever is logged, printed,
//! stored or refused.

use std::path::Path;

use millstream_testkit::kafka::TestKafka;

use super::command::{millstream, text, write};

const CANARY: &str = "canary-5up3rs3cr3t";

/// Options of sources and sinks of files that take credentials.
fn options() -> String {
    let names = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "fs.s3a.access.key",
        "fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.session.token",
        "google_service_account_key",
        "azure_storage_account_key",
        "azure_storage_sas_key",
    ];
    names.iter().enumerate().map(|(nth, name)| format!("'{name}' '{CANARY}{nth}'")).collect::<Vec<_>>().join(", ")
}

/// Every byte that the run left, but the job itself.
fn scan(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scan(&path);
        } else if path.extension().is_none_or(|extension| extension != "sql") {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!found, "the secret is in {}", path.display());
        }
    }
}

fn run(args: &[&str]) -> (bool, String) {
    let output = millstream().args(args).output().unwrap();
    let text = text(&output);
    assert!(!text.contains(CANARY), "the secret was printed by {args:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    (output.status.success(), text)
}

#[test]
fn secrets_are_in_no_log_error_progress_checkpoint_or_plan() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let (d, options) = (dir.display(), options());
    write(&dir.join("in/a.json"), "{\"id\":1}\nnot json\n");
    let table = format!("CREATE TABLE input (id BIGINT) USING json OPTIONS (path '{d}/in', deadLetterPath '{d}/dead', {options});");
    let stream = format!(
        "SET spark.hadoop.fs.s3a.secret.key = {CANARY};
         {table}
         CREATE STREAMING TABLE copy USING parquet LOCATION '{d}/out' OPTIONS (checkpointLocation '{d}/checkpoint', {options})
           AS SELECT id, _metadata.file_name FROM STREAM input;"
    );
    let job = dir.join("job.sql");
    write(&job, &stream);
    let (job, progress, checkpoint) = (job.to_str().unwrap(), format!("{d}/progress.jsonl"), format!("{d}/checkpoint"));
    let (passed, logged) = run(&[
        "run",
        job,
        "--trigger",
        "available-now",
        "--log-level",
        "trace",
        "--verbose",
        "--progress-file",
        &progress,
        "--set",
        &format!("spark.hadoop.fs.s3a.access.key={CANARY}"),
    ]);
    assert!(passed, "{logged}");
    assert!(logged.contains("TRACE") || logged.contains("DEBUG"), "there was nothing to look at: {logged}");
    assert!(run(&["check", job, "--log-level", "trace"]).0);
    assert!(run(&["checkpoint", "show", &checkpoint, "--json"]).0);
    let explain = format!("{table} EXPLAIN EXTENDED SELECT * FROM input WHERE id > 0");
    let (passed, plan) = run(&["sql", &explain, "--log-level", "trace"]);
    assert!(passed && plan.contains("Physical Plan"), "{plan}");
    assert!(run(&["sql", &format!("SET spark.hadoop.fs.s3a.secret.key = {CANARY}; SET")]).0);
    assert!(run(&["sql", &format!("SET spark.hadoop.fs.s3a.secret.key = {CANARY}; SET spark.hadoop.fs.s3a.secret.key")]).0);
    scan(dir);
}

#[test]
fn secrets_are_in_no_message_of_what_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let d = dir.display();
    write(&dir.join("in/a.json"), "{\"id\":1}\n");
    for sql in [
        // An option that does not exist, one of the wrong format, a place that cannot be, a query that is wrong.
        format!("CREATE TABLE t (id INT) USING json OPTIONS (path '{d}/in', 'pasword' '{CANARY}'); SELECT * FROM t"),
        format!("CREATE TABLE t (id INT) USING rate OPTIONS ('aws_secret_access_key' '{CANARY}'); SELECT * FROM t"),
        format!("CREATE TABLE t (id INT) USING json OPTIONS (path 's3://', 'aws_secret_access_key' '{CANARY}'); SELECT * FROM t"),
        format!("CREATE TABLE t (id INT) USING json OPTIONS (path '{d}/in', 'aws_secret_access_key' '{CANARY}'); SELECT nope FROM t"),
        // The line that the message shows holds the secret.
        format!("CREATE TABLE t (id INT) USING json OPTIONS (path '{d}/in', aws_secret_access_key '{CANARY}' oops)"),
        format!("CREATE TABLE t (id INT) USING json OPTIONS (path '{d}/in', 'aws_secret_access_key' = \"{CANARY}\", oops oops)"),
        format!("CREATE TABLE t (id INT) USING jsom OPTIONS (path '{d}/in', password '{CANARY}'); SELECT * FROM t"),
        format!("SELECT * FROM read_files('{d}/in', format => 'json', schema => 'id INT', fs_s3a_secret => '{CANARY}')"),
    ] {
        let (passed, printed) = run(&["sql", &sql, "--log-level", "trace"]);
        assert!(!passed, "{sql}: {printed}");
        let job = dir.join("job.sql");
        write(&job, &sql);
        let (passed, printed) = run(&["check", job.to_str().unwrap()]);
        assert!(!passed, "{sql}: {printed}");
    }
    scan(dir);
}

/// Clients of Kafka log what they are made of if they are told to.
#[test]
fn secrets_of_kafka_are_in_no_log_error_progress_or_checkpoint() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let d = dir.display();
    let names = ["kafka.sasl.password", "kafka.ssl.key.password", "kafka.ssl.keystore.password", "kafka.ssl.key.pem"];
    let mut secrets: String = names.iter().map(|name| format!("'{name}' '{CANARY}', ")).collect();
    secrets.push_str("'kafka.sasl.username' 'u', 'kafka.debug' 'all'");
    let job = |servers: &str, from: &str, to: &str, name: &str| {
        let text = format!(
            "CREATE TABLE src USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest', {secrets});
             CREATE STREAMING TABLE result USING kafka
               OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', checkpointLocation '{d}/{name}', transactionTimeout '2s', {secrets})
               AS SELECT value FROM STREAM src;"
        );
        write(&dir.join("job.sql"), text);
        let (job, progress) = (format!("{d}/job.sql"), format!("{d}/progress.jsonl"));
        let more = ["--trigger", "available-now", "--log-level", "trace", "--verbose", "--progress-file", &progress];
        let mut args = vec!["run", job.as_str()];
        args.extend(more);
        run(&args)
    };
    // Nobody listens there.
    let (passed, said) = job("127.0.0.1:1", "t", "t", "refused");
    assert!(!passed && said.contains("127.0.0.1:1"), "{said}");
    if let Some(kafka) = TestKafka::from_env() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let create = |name: &str| runtime.block_on(kafka.create_topic(name, 1)).unwrap();
        let (from, to) = (create("secret-from"), create("secret-to"));
        runtime.block_on(kafka.produce_values(&from, 0, ["a"])).unwrap();
        let (passed, said) = job(kafka.bootstrap_servers(), &from, &to, "checkpoint");
        assert!(passed && said.contains("librdkafka"), "{said}");
        assert_eq!(kafka.consume_committed(&to).unwrap().len(), 1);
        assert!(run(&["checkpoint", "show", &format!("{d}/checkpoint"), "--json"]).0);
    }
    scan(dir);
}
