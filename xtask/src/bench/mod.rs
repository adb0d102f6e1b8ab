//! `cargo xtask bench NAME`: what a record costs us, and what it costs Spark, or Flink, on the same input.
//!
//! CPU-seconds of the whole process tree are the measure, not wall time: benchmarks run on shared machines. A run
//! on a hundred rows is subtracted ("net"), because a JVM's start would flatter us. Figures count only when both
//! engines gave the same table, so the outputs are compared row by row by a third party (DuckDB).

mod eviction;
mod files;
mod floor;
mod idle_queries;
mod kafka;
mod keys;
mod latency;
mod lives;
mod progress;
mod recovery;
mod runs;
mod spill;
mod table;
#[cfg(test)]
mod tests;
mod window_length;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{Outcome, cargo, root, shown, status, target_dir};
use crate::tools;

const PYSPARK: &[&str] = &["pyspark==4.3.0"];

/// What a user asked for.
struct Wish {
    name: String,
    /// Who runs the same beside us.
    peers: Vec<Peer>,
    rows: Option<u64>,
    files: Option<u64>,
    seed: u64,
    reps: usize,
    /// Also run the job as a batch, and as a stream that is killed so often, and compare.
    kills: Option<u64>,
    /// A `millstream` that is built already; else the release build is made.
    bin: Option<PathBuf>,
}

impl Wish {
    fn has(&self, peer: Peer) -> bool {
        self.peers.contains(&peer)
    }

    /// How many files, and how many rows in all of them: as many in each.
    fn files_and_rows(&self, files: u64, rows: u64) -> (u64, u64) {
        let n_files = self.files.unwrap_or(files);
        (n_files, self.rows.unwrap_or(rows) / n_files.max(1) * n_files)
    }
}

/// Benchmarks that compare us with ourselves.
const OF_OURSELVES: [&str; 7] = ["keys", "eviction", "recovery", "latency", "idle-queries", "window-length", "spill"];

#[derive(Clone, Copy, PartialEq)]
enum Peer {
    Spark,
    Flink,
}

/// What `benches/measure.py` says about one process tree.
#[derive(Clone, Copy)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    peak_rss_mb: f64,
    foreign_cpu_s: f64,
    /// Seconds to the first file of the pattern that was watched.
    first_s: Option<f64>,
}

/// Runs one benchmark.
pub fn run(args: &[String]) -> Outcome {
    let wish = parse(args)?;
    if wish.has(Peer::Flink) && !kafka::with_flink().any(|name| name == wish.name) {
        return Err(format!("{} has no peer flink; {} have", wish.name, kafka::with_flink().collect::<Vec<_>>().join(", ")));
    }
    if OF_OURSELVES.contains(&wish.name.as_str()) && (!wish.peers.is_empty() || wish.kills.is_some()) {
        return Err(format!("{} compares us with ourselves: it has no peer and no kills", wish.name));
    }
    match wish.name.as_str() {
        "empty-batch" => floor::run(&wish),
        "keys" => keys::run(&wish),
        "eviction" => eviction::run(&wish),
        "recovery" => recovery::run(&wish),
        "latency" => latency::run(&wish),
        "idle-queries" => idle_queries::run(&wish),
        "window-length" => window_length::run(&wish),
        "spill" => spill::run(&wish),
        name if kafka::names().any(|known| known == name) => kafka::run(&wish),
        name if files::names().any(|known| known == name) => files::run(&wish),
        other => Err(format!("unknown benchmark {other:?}; there are {}", names())),
    }
}

fn parse(args: &[String]) -> Outcome<Wish> {
    let mut wish = Wish { name: String::new(), peers: Vec::new(), rows: None, files: None, seed: 42, reps: 3, kills: None, bin: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if !arg.starts_with("--") && wish.name.is_empty() {
            wish.name.clone_from(arg);
            continue;
        }
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{arg} {value}: {e}"));
        match arg.as_str() {
            "--peer" => wish.peers.push(match value.as_str() {
                "spark" => Peer::Spark,
                "flink" => Peer::Flink,
                _ => return Err(format!("unknown peer {value:?}; there are spark and flink")),
            }),
            "--rows" => wish.rows = Some(number()?),
            "--files" => wish.files = Some(number()?),
            "--seed" => wish.seed = number()?,
            "--reps" => wish.reps = usize::try_from(number()?.max(1)).unwrap_or(1),
            "--kills" => wish.kills = Some(number()?),
            "--bin" => wish.bin = Some(root().join(value)),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    if wish.name.is_empty() { Err(format!("which one? {}", names())) } else { Ok(wish) }
}

fn names() -> String {
    files::names().chain(kafka::names()).chain(["empty-batch"]).chain(OF_OURSELVES).collect::<Vec<_>>().join(", ")
}

/// The release build of the command, with the feature set of the workspace.
fn millstream(wish: &Wish) -> Outcome<PathBuf> {
    if let Some(bin) = &wish.bin {
        return Ok(bin.clone());
    }
    // All at once: an example brings the features of dev-dependencies, and two feature sets are two builds of DataFusion.
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--workspace", "--bin", "millstream"]);
    status(build.args(EXAMPLES.iter().flat_map(|example| ["--example", example])))?;
    Ok(target_dir().join("release").join("millstream"))
}

/// Programs that measure from inside what no meter sees from outside.
const EXAMPLES: [&str; 5] = ["empty_batch", "store_bench", "latency", "idle_queries", "kafka_latency"];

/// An example, built beside the command.
fn example(wish: &Wish, name: &str) -> Outcome<PathBuf> {
    Ok(millstream(wish)?.with_file_name("examples").join(name))
}

/// A Python with PySpark (and so all of Spark); needs Java on the machine.
fn spark_python() -> Outcome<PathBuf> {
    tools::venv("venv-spark", PYSPARK)
}

/// Data of that kind and size, generated unless it is there.
fn data(python: &Path, kind: &str, seed: u64, n_files: u64, n_rows: u64) -> Outcome<PathBuf> {
    let folder = target_dir().join("bench-data").join(format!("{kind}-seed{seed}-files{n_files}-rows{n_rows}"));
    if folder.exists() {
        return Ok(folder);
    }
    println!("generating {n_rows} rows of {kind} in {n_files} files");
    // Under another name first: an interrupted run must not leave half of it to the next.
    let unfinished = folder.with_extension("unfinished");
    drop(fs::remove_dir_all(&unfinished));
    let mut generator = Command::new(python);
    generator.arg(root().join("benches/gen.py")).arg(&unfinished).arg(kind);
    generator.args(["--seed", &seed.to_string(), "--files", &n_files.to_string(), "--rows", &n_rows.to_string()]);
    status(&mut generator)?;
    fs::rename(&unfinished, &folder).map_err(|e| format!("cannot rename {}: {e}", unfinished.display()))?;
    Ok(folder)
}

/// Where [`workdir`] makes the directory of a name.
fn work_folder(name: &str) -> PathBuf {
    target_dir().join("bench-work").join(name)
}

/// A fresh working directory; `data`, if any, appears in it as `data` (hard links: modification times count), and in memory.
fn workdir(name: &str, data: Option<&Path>) -> Outcome<PathBuf> {
    let folder = work_folder(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(folder.join("data")).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    if let Some(data) = data {
        link_all(data, &folder.join("data"))?;
        read_all(data)?;
    }
    Ok(folder)
}

/// Reads all files in a folder and its folders. A run that finds them in the page cache costs the same each time; one that does
/// not pays for the disk, on a virtual machine with more CPU than the work itself takes.
fn read_all(folder: &Path) -> Outcome {
    let unreadable = |path: &Path, error: io::Error| format!("cannot read {}: {error}", path.display());
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
        let path = entry.map_err(|e| unreadable(folder, e))?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else {
            let mut file = fs::File::open(&path).map_err(|e| unreadable(&path, e))?;
            io::copy(&mut file, &mut io::sink()).map_err(|e| unreadable(&path, e))?;
        }
    }
    Ok(())
}

/// Hard links of all files in a folder and its folders.
fn link_all(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to).map_err(|e| format!("cannot create {}: {e}", to.display()))?;
    for entry in fs::read_dir(from).map_err(|e| format!("cannot list {}: {e}", from.display()))? {
        let entry = entry.map_err(|e| format!("cannot list {}: {e}", from.display()))?;
        let link = to.join(entry.file_name());
        if entry.path().is_dir() {
            link_all(&entry.path(), &link)?;
        } else {
            fs::hard_link(entry.path(), &link).map_err(|e| format!("cannot link {}: {e}", link.display()))?;
        }
    }
    Ok(())
}

/// Runs a command in `workdir` under the meter; a run that fails is an error.
fn measure(python: &Path, workdir: &Path, until: Option<&str>, program: &Path, args: &[&str]) -> Outcome<Cost> {
    let mut meter = Command::new(python);
    meter.current_dir(workdir).arg(root().join("benches/measure.py")).args(until.map(|u| format!("--until={u}")));
    meter.arg("--").arg(program).args(args);
    let log = fs::File::create(workdir.join("log")).map_err(|e| format!("cannot create a log in {}: {e}", workdir.display()))?;
    let output = meter.stderr(log).stdin(Stdio::null()).output().map_err(|e| format!("cannot start {}: {e}", shown(&meter)))?;
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("{} said nothing: {e}", shown(&meter)))?;
    if said.get("rc").and_then(Value::as_i64) != Some(0) {
        let log = fs::read_to_string(workdir.join("log")).unwrap_or_default();
        let from = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
        return Err(format!("{} failed in {}: {said}\n{}", program.display(), workdir.display(), log.get(from..).unwrap_or_default()));
    }
    let number = |key: &str| said.get(key).and_then(Value::as_f64);
    Ok(Cost {
        wall_s: number("wall_s").unwrap_or(f64::NAN),
        cpu_s: number("cpu_s").unwrap_or(f64::NAN),
        peak_rss_mb: number("peak_rss_mb").unwrap_or(f64::NAN),
        foreign_cpu_s: number("foreign_cpu_s").unwrap_or(f64::NAN),
        first_s: number("first_s"),
    })
}

/// The last line of a command's output, which is JSON.
fn last_json(command: &mut Command) -> Outcome<Value> {
    let said = crate::run::stdout(command)?;
    let line = said.lines().rev().find(|l| l.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).map_err(|e| format!("{} printed no line of JSON: {e}", shown(command)))
}

fn number(said: &Value, key: &str) -> f64 {
    said.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// A figure beside what it must reach.
fn target(what: &str, value: f64, at_least: f64) {
    let verdict = if value >= at_least { "reached" } else { "MISSED" };
    println!("{what}: {}, at least {}: {verdict}", table::grouped(value), table::grouped(at_least));
}

/// A figure beside what it must not pass.
fn at_most(what: &str, value: f64, limit: f64) {
    println!("{what}: {value:.2}, at most {limit}: {}", if value <= limit { "reached" } else { "MISSED" });
}

/// What a program of DuckDB's says of rows; an error if they are not right.
fn verdict(compare: &mut Command) -> Outcome<String> {
    let verdict = compare.output().map_err(|e| format!("cannot start {}: {e}", shown(compare)))?;
    let said = String::from_utf8_lossy(&verdict.stdout).trim().to_owned();
    let error = || format!("the rows are not right: {said} {}", String::from_utf8_lossy(&verdict.stderr));
    if verdict.status.success() { Ok(said) } else { Err(error()) }
}

/// The middle value (the lower of two).
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}
