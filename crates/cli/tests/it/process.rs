//! A running `millstream`, and the job that every test here runs: files of ids in, one Parquet table out.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use millstream::Session;

/// Whatever takes longer hangs. Far more than anything here needs, also on a busy machine.
const HUNG_AFTER: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process, killed when dropped.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    /// `millstream run JOB`, in the folder `dir`.
    pub fn run(dir: &Path, job: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.current_dir(dir).arg("run").arg(job).args(["--log-level", "info"]).args(args).envs(env.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&stderr));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until it has said `text`.
    pub fn wait_for(&self, text: &str) {
        wait_until(|| self.said().contains(text), || format!("'{text}' was not said: {}", self.said()));
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has stopped itself at `point` (`MILLSTREAM_PAUSE_AT`): T in /proc/PID/stat, behind the name in brackets.
    pub fn wait_until_stopped(&self, point: &str) {
        let stat = Path::new("/proc").join(self.pid().to_string()).join("stat");
        let is_stopped = || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, behind)| behind.trim_start().starts_with('T'))
        };
        wait_until(is_stopped, || format!("{point}: it does not stop there: {}", self.said()));
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end: how it ended, what it wrote to standard output, and what it said.
    pub fn end(mut self) -> (ExitStatus, String, String) {
        let mut stdout = self.child.stdout.take().unwrap();
        let printed = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
        let mut ended = None;
        wait_until(
            || {
                ended = self.child.try_wait().unwrap();
                ended.is_some()
            },
            || format!("the process does not end: {}", self.stderr.lock().unwrap()),
        );
        let printed = printed.join().unwrap();
        // Its last words are read by another thread; the pipe has ended with the process.
        std::thread::sleep(Duration::from_millis(50));
        (ended.unwrap(), printed, self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_until(mut is_so: impl FnMut() -> bool, otherwise: impl FnOnce() -> String) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HUNG_AFTER, "{}", otherwise());
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a process ended by `abort`.
pub fn was_aborted(status: ExitStatus) -> bool {
    const SIGABRT: i32 = 6;
    status.signal() == Some(SIGABRT)
}

/// A file of ten rows: file `n` holds the ids from `10 n`.
pub fn add_file(dir: &Path, n: u64) {
    write_file(dir, n, n * 10..n * 10 + 10);
}

/// A file of rows with these ids, complete when it appears.
pub fn write_file(dir: &Path, n: u64, ids: Range<u64>) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let rows: String = ids.map(|id| format!("{{\"id\":{id},\"part\":\"p{}\"}}\n", id % 3)).collect();
    std::fs::write(dir.join("in").join(format!(".{n}")), rows).unwrap();
    std::fs::rename(dir.join("in").join(format!(".{n}")), dir.join("in").join(format!("{n}.json"))).unwrap();
}

/// What the table must hold in the end.
pub fn ids(n_rows: u64) -> Vec<i64> {
    (0..i64::try_from(n_rows).unwrap()).collect()
}

/// Writes the job: so many files per batch, into a partitioned table at `out`, with options of the streaming table.
pub fn write_job(dir: &Path, name: &str, query: &str, files_per_batch: u64, out: &str, options: &str) {
    let text = format!(
        "CREATE TABLE input (id BIGINT, part STRING) USING json OPTIONS (path 'in', maxFilesPerTrigger '{files_per_batch}');
         CREATE STREAMING TABLE result USING parquet PARTITIONED BY (part) LOCATION '{out}'
           OPTIONS (commitInterval '0s'{options}) AS {query};"
    );
    std::fs::write(dir.join(name), text).unwrap();
}

/// The query that copies.
pub const COPY: &str = "SELECT id, part FROM STREAM input";

/// The ids in a table, in order; every row as often as it is there.
pub fn table(path: &str, options: &[(&str, String)]) -> Vec<i64> {
    numbers(path, "id", options)
}

/// The values of a column of type BIGINT in a table, in order.
pub fn numbers(path: &str, column: &str, options: &[(&str, String)]) -> Vec<i64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut reader = Session::new().unwrap().read();
        for (name, value) in options {
            reader = reader.option(name, value);
        }
        let batches = match reader.parquet(path).await {
            Ok(frame) => frame.select_expr([column]).unwrap().collect().await.unwrap(),
            // Nothing is committed yet.
            Err(error) => {
                assert!(error.to_string().contains(path), "{error:?}");
                Vec::new()
            }
        };
        let values = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut numbers: Vec<i64> = batches.iter().flat_map(values).collect();
        numbers.sort();
        numbers
    })
}

pub fn local_table(dir: &Path) -> Vec<i64> {
    table(&dir.join("out").display().to_string(), &[])
}
