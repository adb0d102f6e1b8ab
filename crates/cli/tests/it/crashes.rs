//! `MILLSTREAM_CRASH_AT`: the process aborts at every named point, and the next start loses and doubles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millstream::crash::CrashPoint;
use serde_json::Value;

use crate::process::{COPY, Process, add_file, ids, local_table, was_aborted, write_job};

const N_FILES: u64 = 3;

fn run(dir: &Path, crash_at: Option<&str>) -> (std::process::ExitStatus, String, String) {
    let env = crash_at.map(|point| ("MILLSTREAM_CRASH_AT", point));
    Process::run(dir, "job.sql", &["--trigger", "available-now"], env.as_slice()).end()
}

/// Runs until it aborts at `crash_at`.
fn crash(dir: &Path, crash_at: &str) -> String {
    let (status, printed, said) = run(dir, Some(crash_at));
    assert!(was_aborted(status), "{crash_at}: {status}: {said}");
    printed
}

#[test]
fn after_a_crash_at_any_point_the_table_is_the_batchs() {
    for point in CrashPoint::ALL {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        (0..N_FILES).for_each(|n| add_file(dir, n));
        match point {
            // A sink of files needs no intent; see the console below.
            CrashPoint::AfterIntent => continue,
            // Nor does it decide by its own commit.
            CrashPoint::AfterProposed | CrashPoint::AfterDecision => continue,
            // There must be something to roll forward.
            CrashPoint::AfterRollForward => {
                write_job(dir, "job.sql", COPY, 1, "out", "");
                crash(dir, "after-prepared:2");
                crash(dir, "after-roll-forward");
            }
            // There must be state that changes.
            CrashPoint::AfterState => {
                write_job(dir, "job.sql", &format!("{COPY} LIMIT 1000"), 1, "out", "");
                crash(dir, "after-state:2");
            }
            // Passed once in a run, and twice by two.
            CrashPoint::AfterStart | CrashPoint::AfterPositions | CrashPoint::AfterFact => {
                write_job(dir, "job.sql", COPY, 1, "out", "");
                crash(dir, point.name());
            }
            point => {
                write_job(dir, "job.sql", COPY, 1, "out", "");
                crash(dir, &format!("{point}:2"));
            }
        }
        let before = local_table(dir);
        assert!(before.windows(2).all(|pair| pair[0] < pair[1]) && before.len().is_multiple_of(10), "{point}: {before:?}");
        let (status, _, said) = run(dir, None);
        assert!(status.success(), "{point}: {said}");
        assert_eq!(local_table(dir), ids(N_FILES * 10), "{point}");
    }
}

#[test]
fn a_batch_whose_intent_was_recorded_comes_again_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    (0..N_FILES).for_each(|n| add_file(dir, n));
    let job = "CREATE TABLE input (id BIGINT, part STRING) USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
               CREATE STREAMING TABLE result USING console OPTIONS (format 'json', checkpointLocation 'checkpoint')
                 AS SELECT id, current_timestamp() AS at FROM STREAM input;";
    std::fs::write(dir.join("job.sql"), job).unwrap();
    let first = crash(dir, "after-intent:2");
    // The rows of batch 1 were shown when this one ends; its next start must show them again, with the same clock.
    let second = crash(dir, "after-prepare");
    // Another file does not slip into the batch that is run again.
    add_file(dir, N_FILES);
    let (status, third, said) = run(dir, None);
    assert!(status.success(), "{said}");

    let mut shown: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let lines = [first, second, third].concat();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for line in lines.filter(|line| line["end"].is_null()) {
        shown.entry(line["batchId"].as_u64().unwrap()).or_default().insert(line["row"].to_string());
    }
    assert_eq!(shown.iter().map(|(batch, rows)| (*batch, rows.len())).collect::<Vec<_>>(), [(0, 10), (1, 10), (2, 10), (3, 10)]);
}
