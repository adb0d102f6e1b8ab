//! `recovery`: from `kill -9` to the first new batch that readers see, with so much state.
//!
//! A deduplication keeps every id. When its state is as large as wanted the process is killed, at a drawn moment within a batch,
//! and started again at once. The clock runs until the first file of a batch that the new process ran itself: a batch that the
//! old one had decided and the new one only makes visible does not count. In the end all ids must be there, each once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::progress::{lines, state_bytes};
use super::table::Table;
use super::{Wish, at_most, data, median, millstream, workdir};
use crate::kill::rng::Rng;
use crate::run::{Outcome, root, stdout};
use crate::tools;

/// Megabytes of state, and the seconds in which it must be back.
const SIZES: [(u64, f64); 2] = [(100, 1.5), (1000, 5.0)];
const N_FILES: u64 = 100;
const N_ROWS: u64 = 10_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A run that takes longer hangs.
const HUNG_AFTER: Duration = Duration::from_secs(300);

/// One kill and what came after it.
struct Life {
    state_mb: f64,
    checkpoint_mb: f64,
    first_commit_s: f64,
}

/// Kills, starts again, measures, compares.
pub fn run(wish: &Wish) -> Outcome {
    let python = tools::python()?;
    let (n_files, n_rows) = (wish.files.unwrap_or(N_FILES), wish.rows.unwrap_or(N_ROWS));
    let ids = data(&python, "ids", wish.seed, n_files, n_rows)?;
    let program = millstream(wish)?;
    let mut table = Table::new(&["state MB", "checkpoint MB", "start to first new batch s"]);
    let mut found = Vec::new();
    for (state_mb, at_most_s) in SIZES {
        let lives = (0..wish.reps as u64).map(|rep| one_life(&python, &program, &ids, state_mb, Rng::new(wish.seed, rep)));
        let lives: Vec<Life> = lives.collect::<Outcome<_>>()?;
        let of = |figure: fn(&Life) -> f64| median(lives.iter().map(figure));
        let first_s = of(|life| life.first_commit_s);
        table.row(&[format!("{:.0}", of(|life| life.state_mb)), format!("{:.0}", of(|life| life.checkpoint_mb)), format!("{first_s:.2}")]);
        found.push((state_mb, first_s, at_most_s));
    }
    println!("\nrecovery (kill -9 within a batch of {} rows; median of {} kills)\n\n{table}", n_rows / n_files.max(1), wish.reps);
    for (state_mb, first_s, at_most_s) in found {
        at_most(&format!("s from the start of the new process to its first batch, {state_mb} MB of state"), first_s, at_most_s);
    }
    Ok(())
}

fn one_life(python: &Path, program: &Path, ids: &Path, state_mb: u64, mut rng: Rng) -> Outcome<Life> {
    let folder = workdir("recovery", Some(ids))?;
    let mut first = start(program, &folder, "first.jsonl")?;
    let bytes = wait(&mut first, || Ok(state_bytes(&folder.join("first.jsonl")).filter(|bytes| *bytes >= state_mb as f64 * 1e6)))?;
    std::thread::sleep(Duration::from_millis(rng.range(0, 150)));
    first.kill().and_then(|()| first.wait()).map_err(|e| format!("cannot kill the process: {e}"))?;
    let checkpoint_mb = size_mb(&folder.join("checkpoint"));

    let began = Instant::now();
    let mut second = start(program, &folder, "second.jsonl")?;
    let before = batches(&folder.join("out"));
    let mut seen: BTreeMap<u64, f64> = BTreeMap::new();
    // The progress, which says which batch was the first of its own, comes some time after the files of that batch.
    let own = wait(&mut second, || {
        let now_s = began.elapsed().as_secs_f64();
        for batch in batches(&folder.join("out")).into_iter().filter(|batch| !before.contains(batch)) {
            seen.entry(batch).or_insert(now_s);
        }
        Ok(lines(&folder.join("second.jsonl")).first().and_then(|line| line.get("batchId").and_then(Value::as_u64)))
    })?;
    let first_commit_s = *seen.get(&own).ok_or_else(|| format!("batch {own} left no file"))?;
    let status = wait(&mut second, || Ok(None::<()>)).err();
    if let Some(message) = status.filter(|message| message != ENDED) {
        return Err(message);
    }
    let mut compare = Command::new(python);
    let said = stdout(compare.arg(root().join("benches/answers.py")).arg("recovery").arg(ids).arg(folder.join("out")))?;
    println!("{state_mb} MB: {first_commit_s:.2} s to batch {own}; all ids: {}", said.trim());
    Ok(Life { state_mb: bytes / 1e6, checkpoint_mb, first_commit_s })
}

fn start(program: &Path, folder: &Path, progress: &str) -> Outcome<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).map_err(|e| format!("cannot create a log: {e}"))?;
    let log_too = log.try_clone().map_err(|e| format!("cannot open the log: {e}"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(root().join("benches/jobs/recovery.sql")).args(["--progress-file", progress]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).spawn().map_err(|e| format!("cannot start {}: {e}", program.display()))
}

/// What [`wait`] says of a process that has ended well.
const ENDED: &str = "the process ended before it was time";

/// Looks until there is something to see.
fn wait<T>(child: &mut Child, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let began = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if let Some(status) = child.try_wait().map_err(|e| format!("cannot wait for the process: {e}"))? {
            return Err(if status.success() { ENDED.to_owned() } else { format!("the process ended with {status}; see log") });
        }
        if began.elapsed() > HUNG_AFTER {
            child.kill().map_err(|e| format!("cannot kill the process: {e}"))?;
            return Err(format!("the process hung for {} s", HUNG_AFTER.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The batches that have visible files: `part-<task>-<query>-<batch>-<seq>.<suffix>`.
fn batches(out: &Path) -> Vec<u64> {
    let names = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let batch = |name: String| {
        let stem = name.strip_suffix(".parquet").and_then(|name| name.split('.').next())?;
        stem.rsplit('-').nth(1)?.parse().ok()
    };
    names.filter_map(batch).collect()
}

fn size_mb(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_mb(&entry.path()),
        Ok(meta) => meta.len() as f64 / 1e6,
        Err(_) => 0.0,
    });
    size.sum()
}
