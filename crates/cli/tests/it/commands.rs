//! What each command prints and how it ends: exit code 0 ended well, 1 a query failed, 2 wrong usage; errors say what, where
//! and what to do.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::command::{millstream, text, write};

const JOB: &str = "CREATE TABLE numbers (n BIGINT) USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE copy USING parquet LOCATION 'out' OPTIONS (checkpointLocation 'checkpoint')
  AS SELECT n, n * 2 AS twice FROM STREAM numbers;
CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS total FROM copy;
";

/// A folder with the job and two files of input.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("job.sql"), JOB);
    write(&dir.path().join("in/a.json"), "{\"n\":1}\n");
    write(&dir.path().join("in/b.json"), "{\"n\":2}\n");
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    millstream().current_dir(dir).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(!text(output).contains("panicked"), "{}", text(output));
}

#[test]
fn a_run_tells_its_summary_and_appends_its_progress() {
    let dir = folder();
    let args = ["run", "job.sql", "--trigger", "available-now", "--verbose", "--progress-file", "progress.jsonl"];
    let output = run(dir.path(), &args);
    ends(&output, 0);
    assert_eq!(stdout(&output), "", "standard output is the console sink's");
    let told: Vec<&str> = stderr(&output).lines().collect();
    assert!(told[0].starts_with("copy: batch 0 read 1 rows, wrote 1, "), "{told:?}");
    assert!(told[1].starts_with("copy: batch 1 read 1 rows, wrote 1, "), "{told:?}");
    assert_eq!(told[2..], ["copy: ended, 2 batches, 2 rows in, 2 rows out", "total: ended, 1 row"]);

    write(&dir.path().join("in/c.json"), "{\"n\":3}\n");
    ends(&run(dir.path(), &args), 0);
    let progress = std::fs::read_to_string(dir.path().join("progress.jsonl")).unwrap();
    let progress: Vec<Value> = progress.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let batches: Vec<(u64, u64, &str)> = progress
        .iter()
        .map(|of| (of["batchId"].as_u64().unwrap(), of["numInputRows"].as_u64().unwrap(), of["name"].as_str().unwrap()))
        .collect();
    assert_eq!(batches, [(0, 1, "copy"), (1, 1, "copy"), (2, 1, "copy")]);
    assert_eq!(progress[0]["id"], progress[2]["id"]);
    assert_ne!(progress[0]["runId"], progress[2]["runId"]);
    // A view without LOCATION is in the warehouse folder, below the working directory.
    let total = run(dir.path(), &["sql", "--format", "json", "SELECT * FROM parquet.`millstream-warehouse/total`"]);
    assert_eq!(stdout(&total), "{\"total\":6}\n");
}

#[test]
fn tables_without_a_place_go_to_the_warehouse() {
    let dir = folder();
    let job = "CREATE TABLE numbers (n BIGINT) USING json OPTIONS (path 'in');
               CREATE STREAMING TABLE Copy AS SELECT n FROM STREAM numbers;";
    write(&dir.path().join("short.sql"), job);
    let set = format!("spark.sql.warehouse.dir={}/house", dir.path().display());
    for expected in ["copy: ended, 1 batch, 2 rows in, 2 rows out", "copy: ended, 0 batches, 0 rows in, 0 rows out"] {
        let output = run(dir.path(), &["run", "short.sql", "--trigger", "available-now", "--set", &set]);
        ends(&output, 0);
        assert_eq!(stderr(&output).trim().to_lowercase(), expected, "its checkpoint is there, too");
    }
    let rows = run(dir.path(), &["sql", "--format", "csv", "SELECT n FROM parquet.`house/copy` ORDER BY n"]);
    assert_eq!(stdout(&rows), "n\n1\n2\n");
    assert!(!dir.path().join("millstream-warehouse").exists());
}

#[test]
fn logs_are_text_or_json_and_tell_what_a_sink_guarantees() {
    let sinks = [
        ("parquet", ", path 'out-parquet'", "exactly once (transactional)"),
        ("memory", "", "exactly once (transactional)"),
        ("console", "", "at least once"),
        ("noop", "", ""),
    ];
    for (format, options, delivery) in sinks {
        let dir = folder();
        let job = format!(
            "CREATE TABLE numbers (n BIGINT) USING json OPTIONS (path 'in');
             CREATE STREAMING TABLE copy USING {format} OPTIONS (checkpointLocation 'checkpoint'{options}) AS SELECT n FROM STREAM numbers;"
        );
        write(&dir.path().join("sink.sql"), job);
        let args = ["run", "sink.sql", "--trigger", "once", "--log-level", "info", "--log-format", "json"];
        let output = run(dir.path(), &args);
        ends(&output, 0);
        let lines: Vec<Value> = stderr(&output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let started = lines.iter().find(|line| line["fields"]["message"] == "query started").unwrap_or_else(|| panic!("{}", text(&output)));
        assert_eq!((&started["level"], &started["fields"]["name"]), (&Value::from("INFO"), &Value::from("copy")));
        let told = started["fields"]["delivery"].as_str().unwrap();
        assert!(told.starts_with(delivery) && !told.is_empty(), "{format}: {told}");
    }
    let dir = folder();
    let output = run(dir.path(), &["run", "job.sql", "--trigger", "once", "--log-level", "info"]);
    let line = stderr(&output).lines().find(|line| line.contains("query started")).unwrap();
    assert!(line.contains(" INFO ") && line.contains("delivery=exactly once (transactional)"), "{line}");
    ends(&run(dir.path(), &["run", "job.sql", "--log-level", "ever=loud=er"]), 2);
}

#[test]
fn a_check_prints_the_plan_touches_nothing_and_refuses_what_a_run_would() {
    let dir = folder();
    let output = run(dir.path(), &["check", "job.sql", "--trigger", "available-now"]);
    ends(&output, 0);
    let lines: Vec<&str> = stdout(&output).lines().filter(|line| !line.starts_with("  | ")).collect();
    let expected = [
        "streaming table copy",
        "  n bigint",
        "  twice bigint",
        "materialized view total",
        "  reads copy",
        "  total bigint",
        "job.sql: ok",
    ];
    assert_eq!(lines, expected);
    assert!(stdout(&output).contains("  |   TableScan: numbers"), "{}", text(&output));

    let output = run(dir.path(), &["check", "job.sql"]);
    ends(&output, 2);
    let told = "error: materialized view 'total' reads a streaming table that never ends\n  \
                what to do: give it OPTIONS (refreshInterval '1 minute'), or run with --trigger available-now\n";
    assert_eq!(stderr(&output), told);
    for (change, told) in [
        (("LOCATION 'out' OPTIONS (", "LOCATION 'out' OPTIONS (compresion 'none', "), "unknown option 'compresion' of the parquet sink"),
        (("VIEW total AS", "VIEW total OPTIONS (compresion 'none') AS"), "unknown option 'compresion' of the parquet sink"),
        (("FROM STREAM numbers", "FROM STREAM numbers ORDER BY n"), "sort"),
    ] {
        write(&dir.path().join("changed.sql"), JOB.replace(change.0, change.1));
        let output = run(dir.path(), &["check", "changed.sql", "--trigger", "available-now"]);
        ends(&output, 2);
        assert!(stderr(&output).to_lowercase().contains(told), "{}", text(&output));
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["changed.sql", "in", "job.sql"]);
}

#[test]
fn queries_print_tables_json_and_csv() {
    let dir = folder();
    let query = "SELECT n, CAST(NULL AS STRING) AS s FROM json.`in` ORDER BY n";
    let table = run(dir.path(), &["sql", query]);
    ends(&table, 0);
    assert_eq!(stdout(&table), "+---+----+\n|n  |s   |\n+---+----+\n|1  |NULL|\n|2  |NULL|\n+---+----+\n");
    write(&dir.path().join("query.sql"), format!("SET spark.sql.session.timeZone = UTC;\n{query};\n"));
    assert_eq!(stdout(&run(dir.path(), &["sql", "-f", "query.sql", "--format", "json"])), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(stdout(&run(dir.path(), &["sql", query, "--format", "csv"])), "n,s\n1,\n2,\n");
    let zone = ["sql", "--format", "csv", "--set", "spark.sql.session.timeZone=Asia/Tokyo", "SELECT current_timezone() AS z"];
    assert_eq!(stdout(&run(dir.path(), &zone)), "z\nAsia/Tokyo\n");
}

#[test]
fn wrong_usage_is_2_and_a_failed_query_1_with_what_where_and_what_to_do() {
    let dir = folder();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["nonsense"], 2, "error: unrecognized subcommand 'nonsense'"),
        (&["run", "nojob.sql"], 2, "error: job file 'nojob.sql' cannot be read"),
        (&["run", "job.sql", "--trigger", "sometimes"], 2, "error: trigger 'sometimes' is not"),
        (&["run", "job.sql", "--set", "key"], 2, "error: --set 'key' is not KEY=VALUE"),
        (&["sql"], 2, "error: the following required arguments were not provided"),
        (
            &["sql", "SELECT * FROM nowhere"],
            2,
            "error: [TABLE_OR_VIEW_NOT_FOUND] the table or view 'nowhere' cannot be found at line 1, column 15",
        ),
        (&["sql", "SELECT 1/0"], 1, "error: [DIVIDE_BY_ZERO]"),
        (&["checkpoint", "verify", "in"], 2, "is no checkpoint: it has no 'metadata.json'"),
        (&["checkpoint", "show", "in"], 2, "is no checkpoint: it has no 'metadata.json'"),
    ];
    for (args, code, told) in cases {
        let output = run(dir.path(), args);
        ends(&output, code);
        assert!(stderr(&output).contains(told), "{args:?}: {}", text(&output));
        assert_eq!(stdout(&output), "");
    }
    for args in [&["--help"][..], &["run", "--help"], &["sql", "--help"], &["--version"]] {
        ends(&run(dir.path(), args), 0);
    }
    assert!(stdout(&run(dir.path(), &["--help"])).contains("Examples:\n  millstream run examples/cloudtrail/job.sql\n"));

    write(&dir.path().join("strict.sql"), JOB.replace("path 'in'", "path 'in', mode 'FAILFAST'"));
    write(&dir.path().join("in/c.json"), "{\"n\":3}\n{\"n\":\"x\"}\n");
    let output = run(dir.path(), &["run", "strict.sql", "--trigger", "available-now"]);
    ends(&output, 1);
    let lines: Vec<&str> = stderr(&output).lines().collect();
    let error = lines.iter().position(|line| line.starts_with("error: ")).unwrap();
    assert!(lines[error + 1].starts_with("  where: dataset 'copy', batch 2, "), "{lines:?}");
    assert!(lines[error + 1].contains("c.json, line 2"), "{lines:?}");
    assert!(lines[error + 2].starts_with("  what to do: set the option 'mode' to PERMISSIVE"), "{lines:?}");
    // The batches before it are committed and counted, also the one whose commit was under way.
    assert_eq!(lines[error - 2..error], ["copy: failed, 2 batches, 2 rows in, 2 rows out", "total: did not start"]);
    let rows = run(dir.path(), &["sql", "--format", "csv", "SELECT n FROM parquet.`out` ORDER BY n"]);
    assert_eq!(stdout(&rows), "n\n1\n2\n");
}

#[test]
fn a_checkpoint_is_shown_and_verified() {
    let dir = folder();
    ends(&run(dir.path(), &["run", "job.sql", "--trigger", "available-now"]), 0);
    let shown = run(dir.path(), &["checkpoint", "show", "checkpoint"]);
    ends(&shown, 0);
    for told in ["  prepared  epoch 0  batch 0  ", "  prepared  epoch 0  batch 1  committed 0  ", "  fact  epoch 0  committed 1  "] {
        assert!(stdout(&shown).contains(told), "{}", text(&shown));
    }
    let json = run(dir.path(), &["checkpoint", "show", "checkpoint", "--json"]);
    let kinds: Vec<Value> = stdout(&json).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, ["start", "prepared", "prepared", "fact"]);
    let verified = run(dir.path(), &["checkpoint", "verify", "checkpoint"]);
    ends(&verified, 0);
    assert!(stdout(&verified).ends_with("3 records, batches 0 to 1, committed 1\nok\n"), "{}", text(&verified));

    // A damaged one is no wrong usage: it is found, and the place is named.
    let segment = std::fs::read_dir(dir.path().join("checkpoint/log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = run(dir.path(), &["checkpoint", "verify", "checkpoint"]);
    ends(&damaged, 1);
    assert!(stderr(&damaged).contains(".seg"), "{}", text(&damaged));
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let dir = folder();
    ends(&run(dir.path(), &["run", "job.sql", "--trigger", "available-now"]), 0);
    for args in [&["checkpoint", "show", "checkpoint"][..], &["check", "job.sql", "--trigger", "once"], &["sql", "SELECT 1"]] {
        // Neither stream has a reader when it writes.
        let mut child = millstream().current_dir(dir.path()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
    let mut child = millstream().args(["sql", "SELECT 1/0"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1), "an error that nobody hears");
}
