//! `millstream verify`: a job that is right, one that is not, and one that cannot be compared; exit codes 0, 1, 3 and 2.

use std::path::Path;
use std::process::Output;

use super::command::{millstream, text, write};

const EVENTS: &str = "CREATE TABLE events (ts TIMESTAMP, page STRING, n DOUBLE) USING json OPTIONS (path '/nowhere');\n";

/// A folder with a job of that query and two sample files, in which times go back by up to 20 seconds.
fn folder(options: &str, query: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let create = format!("CREATE STREAMING TABLE result USING parquet LOCATION 'out' OPTIONS (checkpointLocation 'checkpoint'{options})");
    write(&dir.path().join("job.sql"), format!("{EVENTS}{create}\n  AS {query};\n"));
    for file in 0..2 {
        let rows = (0..30).map(|row| {
            let second = file * 30 + row - (row % 3) * 10 + 20;
            format!("{{\"ts\":\"2024-01-01T00:{:02}:{:02}Z\",\"page\":\"p{}\",\"n\":0.{row}}}\n", second / 60, second % 60, row % 4)
        });
        write(&dir.path().join(format!("sample/{file}.json")), rows.collect::<String>());
    }
    dir
}

fn verify(dir: &Path, args: &[&str]) -> Output {
    millstream().current_dir(dir).args(["verify", "job.sql", "--input", "sample"]).args(args).output().unwrap()
}

const WINDOWS: &str = "SELECT window.start AS start, page, count(*) AS n, sum(n) AS total \
    FROM STREAM events WATERMARK ts DELAY OF INTERVAL 30 SECONDS GROUP BY window(ts, '10 seconds'), page";

#[test]
fn a_stream_that_is_its_batch_is_equal_and_nothing_of_the_job_is_touched() {
    let dir = folder("", WINDOWS);
    let output = verify(dir.path(), &["--runs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).starts_with("result: equal, 30 rows (2 streams, "), "{}", text(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "only the job and its sample are there");
}

#[test]
fn a_stream_that_is_not_its_batch_differs_in_rows_that_are_shown() {
    let dir = folder("", "SELECT page, rand() AS chance FROM STREAM events");
    let output = verify(dir.path(), &["--keep", "kept", "--seed", "7"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(said.starts_with("result: DIFFERENT in stream 1 (--seed 7), where the batch has 60 rows\n"), "{said}");
    assert!(said.contains("only in the stream: 60 rows, of which the first\n    page=\"p0\" chance=0."), "{said}");
    assert!(said.contains("only in the batch: 60 rows"), "{said}");
    assert!(dir.path().join("kept/result/run1/checkpoint").is_dir());
    assert!(dir.path().join("kept/result/batch").is_dir());
}

#[test]
fn what_hangs_on_the_cuts_is_not_comparable_unless_it_says_that_it_does_not() {
    const LIMIT: &str = "SELECT page FROM STREAM events LIMIT 100";
    let dir = folder("", LIMIT);
    let output = verify(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).starts_with("result: not comparable: LIMIT on a stream hangs on how its input is cut"), "{}", text(&output));
    // A limit that is never reached.
    let dir = folder(", independentOfCuts 'true'", LIMIT);
    let output = verify(dir.path(), &["--runs", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn wrong_usage_is_told() {
    let dir = folder("", WINDOWS);
    std::fs::create_dir(dir.path().join("kept")).unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let output = verify(dir.path(), &["--keep", "kept"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--keep 'kept': it is there already"), "{}", text(&output));
    let output = millstream().current_dir(dir.path()).args(["verify", "job.sql", "--input", "empty"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("has no folder 'events', and no files"), "{}", text(&output));
}
