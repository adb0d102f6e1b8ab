//! SIGINT and SIGTERM: the running batch is finished, or cancelled after `stopTimeout`; a second signal ends the process.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::{COPY, Process, add_file, ids, local_table, wait_until, write_file, write_job};

/// Rows are read some thousands at a time: so many have moments between in which the batch can be cancelled.
const N_FILES: u64 = 16;
const ROWS_PER_FILE: u64 = 10_000;
const N_ROWS: u64 = N_FILES * ROWS_PER_FILE;

/// The rows of [`COPY`], but each takes a while: a batch of all files runs for a minute or so.
const SLOW_COPY: &str =
    "SELECT id, CASE WHEN md5(repeat('x', 6000 + CAST(id % 7 AS INT))) = 'never' THEN '' ELSE part END AS part FROM STREAM input";

/// Starts the slow job and waits until its first batch has staged rows.
fn start_slow(dir: &Path, stop_timeout: &str) -> Process {
    (0..N_FILES).for_each(|n| write_file(dir, n, n * ROWS_PER_FILE..(n + 1) * ROWS_PER_FILE));
    let options = format!(", checkpointLocation 'checkpoint', stopTimeout '{stop_timeout}'");
    write_job(dir, "slow.sql", SLOW_COPY, N_FILES, "out", &options);
    write_job(dir, "job.sql", COPY, N_FILES, "out", &options);
    let process = Process::run(dir, "slow.sql", &[], &[]);
    wait_until(|| has_files(&dir.join("out")), || process.said());
    process
}

fn has_files(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().is_file() || has_files(&entry.path()))
}

/// The next start takes the input again: with the quick form of the query, which is an allowed change.
fn restart_is_exact(dir: &Path) {
    let (status, _, said) = Process::run(dir, "job.sql", &["--trigger", "available-now"], &[]).end();
    assert!(status.success(), "{said}");
    assert_eq!(local_table(dir), ids(N_ROWS));
}

#[test]
fn a_batch_that_outlasts_stop_timeout_is_cancelled_and_its_input_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let process = start_slow(dir.path(), "1s");
    process.signal("TERM");
    let signalled = Instant::now();
    let (status, _, said) = process.end();
    let took = signalled.elapsed();
    assert!(took >= Duration::from_secs(1), "it had a second to finish");
    assert!(status.success(), "{said}");
    assert!(said.contains("stopping after the running batch"), "{said}");
    // It was not finished, as it would have been within a minute or so.
    assert!(said.contains("result: ended, 0 batches, 0 rows in, 0 rows out"), "{said}");
    assert!(local_table(dir.path()).is_empty());
    restart_is_exact(dir.path());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = start_slow(dir.path(), "1h");
    process.signal("INT");
    process.wait_for("stopping after the running batch");
    process.signal("INT");
    let (status, _, said) = process.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(local_table(dir.path()).is_empty());
    restart_is_exact(dir.path());
}

#[test]
fn an_idle_query_stops_at_once_with_everything_committed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    (0..3).for_each(|n| add_file(dir, n));
    write_job(dir, "job.sql", COPY, 1, "out", ", checkpointLocation 'checkpoint', stopTimeout '1h'");
    let process = Process::run(dir, "job.sql", &[], &[]);
    wait_until(|| local_table(dir).len() == 30, || format!("{:?}", local_table(dir)));
    process.signal("TERM");
    let (status, _, said) = process.end();
    assert!(status.success(), "{said}");
    assert!(said.contains("result: ended, 3 batches, 30 rows in, 30 rows out"), "{said}");
    assert_eq!(local_table(dir), ids(30));
}

/// `millstream run job.sql 2>&1 | head -3`: what nobody reads any more ends the query, and the process.
#[test]
fn a_reader_that_leaves_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let sql = "CREATE TABLE input USING rate OPTIONS (rowsPerSecond '100');\n\
               CREATE STREAMING TABLE shown USING console OPTIONS (checkpointLocation 'checkpoint') AS SELECT * FROM STREAM input;\n";
    std::fs::write(dir.path().join("job.sql"), sql).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.current_dir(dir.path()).args(["run", "job.sql"]).stdin(std::process::Stdio::null());
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // The pipe's other ends are the process's alone.
    drop(command);
    std::io::Read::read_exact(&mut reader, &mut [0; 10]).unwrap();
    drop(reader);
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that still runs is killed, and has no code.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
}
