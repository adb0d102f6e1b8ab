//! State beyond its memory as the system sees it: the folder of a process goes with it, that of a killed one with the
//! next start, and a full disk is named.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::{millstream, text, write};
use super::process::{Process, wait_until};

const N_FILES: usize = 8;
const ROWS_PER_FILE: usize = 2_000;
/// Each id comes up in two files.
const N_IDS: usize = N_FILES * ROWS_PER_FILE / 2;

/// Counts per id, of which few fit the memory.
struct Job(tempfile::TempDir);

impl Job {
    fn new() -> Self {
        let job = Self(tempfile::tempdir().unwrap());
        for file in 0..N_FILES {
            let row = |row: usize| format!("{{\"id\":{},\"ts\":\"2024-01-01T00:00:00Z\"}}\n", (file * ROWS_PER_FILE + row) % N_IDS);
            write(&job.path(&format!("in/{file}.json")), (0..ROWS_PER_FILE).map(row).collect::<String>());
        }
        let dir = job.0.path().display();
        for (name, options) in [("endless.sql", ""), ("flush.sql", ", flush 'true'")] {
            let text = format!(
                "SET state.memoryLimit = 30k;
                 SET state.spillDir = {dir}/spill;
                 CREATE TABLE input (id BIGINT, ts TIMESTAMP) USING json OPTIONS (path '{dir}/in', maxFilesPerTrigger '1');
                 CREATE STREAMING TABLE counts USING json LOCATION '{dir}/out' OPTIONS (checkpointLocation '{dir}/checkpoint'{options})
                   AS SELECT id, count(*) AS n FROM STREAM input WATERMARK ts DELAY OF INTERVAL 1 HOUR GROUP BY id, window(ts, '1 day');"
            );
            write(&job.path(name), text);
        }
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn flush(&self) -> [String; 4] {
        ["run", &self.path("flush.sql").to_string_lossy(), "--trigger", "available-now"].map(str::to_owned)
    }

    fn check_goes_on(&self) {
        let output = millstream().args(self.flush()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let sql = format!("SELECT count(*) AS ids, min(n) AS least, max(n) AS most FROM json.`{}`", self.path("out").display());
        let output = millstream().args(["sql", "--format", "csv", &sql]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answer.lines().last(), Some(format!("{N_IDS},2,2").as_str()));
        assert!(entries(&self.path("spill")).is_empty());
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether a process has rows below `dir`.
fn has_spilled(dir: &Path) -> bool {
    let files = entries(dir).into_iter().flat_map(|folder| entries(&folder));
    files.into_iter().any(|file| file.extension().is_some_and(|extension| extension == "run"))
}

#[test]
fn what_a_killed_process_spilled_is_removed_by_the_next() {
    let job = Job::new();
    let process = Process::run(job.0.path(), "endless.sql", &[], &[]);
    wait_until(|| has_spilled(&job.path("spill")), || process.said());
    process.signal("KILL");
    process.end();
    assert!(has_spilled(&job.path("spill")), "nobody could remove it");
    job.check_goes_on();
}

#[test]
fn a_process_that_is_stopped_leaves_nothing() {
    let job = Job::new();
    let process = Process::run(job.0.path(), "endless.sql", &[], &[]);
    wait_until(|| has_spilled(&job.path("spill")), || process.said());
    process.signal("TERM");
    let (status, _, said) = process.end();
    assert!(status.success(), "{said}");
    assert!(entries(&job.path("spill")).is_empty());
    job.check_goes_on();
}

#[test]
fn a_full_disk_is_named_with_what_to_do() {
    // A small disk of its own, seen by this process alone.
    let job = Job::new();
    std::fs::create_dir(job.path("spill")).unwrap();
    let mount = format!("mount -t tmpfs -o size=40k tmpfs '{}'", job.path("spill").display());
    let script = format!("{mount} || exit 77; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_millstream")]);
    let output = command.args(job.flush()).output().unwrap();
    let may_not_mount = output.status.code() == Some(77) || text(&output).starts_with("unshare:");
    if may_not_mount {
        eprintln!("no disk of its own here: {}", text(&output));
        return;
    }
    let said = text(&output);
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    assert!(said.contains(job.path("spill").to_str().unwrap()) && said.contains("No space left on device"), "{said}");
    assert!(said.contains("state.memoryLimit"), "{said}");
    job.check_goes_on();
}
