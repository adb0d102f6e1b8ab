//! Folders without permission and full disks, as the system itself reports them: the message names the place, and when the
//! cause is gone the same job goes on with every row once.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::command::{millstream, text, write};

const N_FILES: usize = 10;
const ROWS_PER_FILE: usize = 1000;

/// `in`, `out` and `checkpoint` below a folder, and the job between them.
struct Job(tempfile::TempDir);

impl Job {
    fn new() -> Self {
        let job = Self(tempfile::tempdir().unwrap());
        for file in 0..N_FILES {
            let row = |row: usize| format!("{{\"id\":{},\"pad\":\"{}\"}}\n", file * ROWS_PER_FILE + row, "x".repeat(100));
            write(&job.path(&format!("in/{file}.json")), (0..ROWS_PER_FILE).map(row).collect::<String>());
        }
        let dir = job.0.path().display();
        let text = format!(
            "CREATE TABLE input (id BIGINT, pad STRING) USING json OPTIONS (path '{dir}/in', maxFilesPerTrigger '2', ignoreCorruptFiles 'true');
             CREATE STREAMING TABLE copy USING json LOCATION '{dir}/out' OPTIONS (checkpointLocation '{dir}/checkpoint') AS SELECT * FROM STREAM input;"
        );
        write(&job.path("job.sql"), text);
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn args(&self) -> [String; 4] {
        ["run", &self.path("job.sql").to_string_lossy(), "--trigger", "available-now"].map(str::to_owned)
    }

    fn run(&self) -> Output {
        millstream().args(self.args()).output().unwrap()
    }

    /// Rows and different rows of the output.
    fn counts(&self) -> (usize, usize) {
        let sql = format!("SELECT count(*) AS n, count(DISTINCT id) AS d FROM json.`{}`", self.path("out").display());
        let output = millstream().args(["sql", "--format", "csv", &sql]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let numbers = String::from_utf8(output.stdout).unwrap();
        let (n, d) = numbers.lines().last().unwrap().split_once(',').unwrap();
        (n.parse().unwrap(), d.parse().unwrap())
    }

    fn check_goes_on(&self) {
        let output = self.run();
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(self.counts(), (N_FILES * ROWS_PER_FILE, N_FILES * ROWS_PER_FILE));
    }
}

/// The command without the right to pass over permissions: root has it, others never.
fn unprivileged(dir: &Path) -> Command {
    if std::fs::metadata(dir).unwrap().uid() != 0 {
        return millstream();
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search").arg(env!("CARGO_BIN_EXE_millstream"));
    command
}

fn check_denied(job: &Job, path: &Path, mode: u32) {
    let before = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let output = unprivileged(job.0.path()).args(job.args()).output();
    std::fs::set_permissions(path, before).unwrap();
    let output = output.unwrap();
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(path.to_str().unwrap()) && text.contains("Permission denied"), "{}: {text}", path.display());
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn an_input_folder_without_permission() {
    let job = Job::new();
    check_denied(&job, &job.path("in"), 0o000);
    job.check_goes_on();
}

#[test]
fn a_partition_folder_without_permission() {
    let job = Job::new();
    write(&job.path("in/k=1/a.json"), "{\"id\":1}\n");
    check_denied(&job, &job.path("in/k=1"), 0o000);
}

#[test]
fn an_input_file_without_permission_is_no_corrupt_file() {
    let job = Job::new();
    check_denied(&job, &job.path("in/3.json"), 0o000);
    job.check_goes_on();
}

#[test]
fn an_output_folder_and_a_checkpoint_without_permission() {
    for name in ["out", "checkpoint"] {
        let job = Job::new();
        std::fs::create_dir(job.path(name)).unwrap();
        check_denied(&job, &job.path(name), 0o555);
        job.check_goes_on();
    }
}

fn check_full(output: &Output, place: &Path, why: &str) {
    let text = text(output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(place.to_str().unwrap()) && text.contains(why), "{}: {text}", place.display());
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_disk_that_takes_no_more_bytes() {
    // As far as the process can tell its files may not grow; nobody needs rights for that.
    let job = Job::new();
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_millstream")]).args(job.args()).output().unwrap();
    check_full(&output, &job.path("out"), "File too large");
    job.check_goes_on();
}

#[test]
fn a_full_disk() {
    // A small disk of its own, seen by this process alone.
    for (folder, size) in [("out", "300k"), ("checkpoint", "8k")] {
        let job = Job::new();
        std::fs::create_dir(job.path(folder)).unwrap();
        let mount = format!("mount -t tmpfs -o size={size} tmpfs '{}'", job.path(folder).display());
        let script = format!("{mount} || exit 77; exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_millstream")]);
        let output = command.args(job.args()).output().unwrap();
        let may_not_mount = output.status.code() == Some(77) || text(&output).starts_with("unshare:");
        if may_not_mount {
            // Kernels may forbid it; the test above is the same path through the program.
            eprintln!("no disk of its own here: {}", text(&output));
            continue;
        }
        check_full(&output, &job.path(folder), "No space left on device");
        assert!(text(&output).contains("free space"), "{}", text(&output));
        // The small disk went with its process: nothing of it is left, so the job begins again.
        std::fs::remove_dir_all(job.path("out")).unwrap_or_default();
        std::fs::remove_dir_all(job.path("checkpoint")).unwrap_or_default();
        job.check_goes_on();
    }
}
