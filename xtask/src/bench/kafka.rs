//! The benchmarks over Kafka: a topic of JSON values on a broker of our own, read from its beginning to its end.
//!
//! The broker's work is not counted. Topics are filled by a client that is not ours (`benches/kafka.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::runs::Runs;
use super::table::{Table, grouped};
use super::{Wish, data, link_all, measure, millstream, target, verdict, work_folder, workdir};
use crate::run::{Outcome, root, stdout};
use crate::services::Kafka;
use crate::tools;

const PARTITIONS: &str = "4";
const FILES: u64 = 20;
const ROWS: u64 = 10_000_000;
const START_UP_ROWS: u64 = 100;
/// What `benches/gen.py` makes: the events in one folder, the campaigns in another.
const KIND: &str = "ysb-json";

/// By name: what must be reached, in records per CPU-second.
const JOBS: [(&str, f64); 2] = [("kafka-read", 1_500_000.0), ("kafka-ysb", 600_000.0)];

/// The names of the benchmarks.
pub fn names() -> impl Iterator<Item = &'static str> {
    JOBS.iter().map(|(name, _)| *name)
}

/// Fills the topics, runs, checks, prints.
pub fn run(wish: &Wish) -> Outcome {
    if wish.spark || wish.kills.is_some() {
        return Err(format!("{} has no peer and no kills yet", wish.name));
    }
    let (name, wanted) = JOBS.iter().find(|(name, _)| *name == wish.name).ok_or("no such job")?;
    let n_files = wish.files.unwrap_or(FILES);
    let n_rows = wish.rows.unwrap_or(ROWS) / n_files.max(1) * n_files;
    let python = tools::python()?;
    let full = data(&python, KIND, wish.seed, n_files, n_rows)?;
    let tiny = data(&python, KIND, wish.seed, 1, START_UP_ROWS)?;
    let program = millstream(wish)?;
    let broker = Kafka::start()?;
    for (topic, data) in [("full", &full), ("tiny", &tiny)] {
        let mut load = Command::new(&python);
        load.arg(root().join("benches/kafka.py")).args([&broker.bootstrap_servers(), topic, PARTITIONS]);
        println!("{topic}: {} records loaded", stdout(load.arg(data.join("events")))?.trim());
    }
    let mut runs = Runs::of("millstream");
    for rep in 1..=wish.reps {
        let one = |topic: &str, data: &Path| {
            let folder = job_folder(name, topic, data, &broker)?;
            measure(&python, &folder, None, &program, &["run", "job.sql"])
        };
        let start_up = one("tiny", &tiny)?;
        runs.add(rep, wish.reps, start_up, one("full", &full)?);
    }
    print(name, n_rows, *wanted, &runs, wish);
    println!("check: {}", check(name, &python, &full, n_rows)?);
    Ok(())
}

/// A fresh folder with the job and the campaigns in it; only those of the data, which come through the broker.
fn job_folder(name: &str, topic: &str, data: &Path, broker: &Kafka) -> Outcome<PathBuf> {
    let folder = workdir(&format!("{name}-{topic}"), None)?;
    link_all(&data.join("campaigns"), &folder.join("data").join("campaigns"))?;
    let job = root().join("benches/jobs").join(format!("{name}.sql"));
    let text = fs::read_to_string(&job).map_err(|e| format!("cannot read {}: {e}", job.display()))?;
    let text = text.replace("@BOOTSTRAP@", &broker.bootstrap_servers()).replace("@TOPIC@", topic);
    let job = folder.join("job.sql");
    fs::write(&job, text).map_err(|e| format!("cannot write {}: {e}", job.display()))?;
    Ok(folder)
}

fn print(name: &str, n_rows: u64, wanted: f64, runs: &Runs, wish: &Wish) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let mut table = Table::new(&["bench", "records", "CPU-s", "start-up CPU-s", "records/CPU-s net", "peak RSS MB", "wall s"]);
    table.row(&[
        name.to_owned(),
        grouped(rows),
        format!("{:.2}", runs.cpu_s()),
        format!("{:.2}", runs.start_up_cpu_s()),
        grouped(rows / runs.net_cpu_s()),
        format!("{:.0}", runs.peak_rss_mb()),
        format!("{:.1}", runs.wall_s()),
    ]);
    println!("\n{name} (seed {}, median of {} runs)\n\n{table}", wish.seed, wish.reps);
    target("records per CPU-second, net", rows / runs.net_cpu_s(), wanted);
}

/// Whether the last run gave what is right.
fn check(name: &str, python: &Path, full: &Path, n_rows: u64) -> Outcome<String> {
    let folder = work_folder(&format!("{name}-full"));
    if name == "kafka-ysb" {
        let mut windows = Command::new(python);
        return verdict(windows.arg(root().join("benches/windows.py")).arg(KIND).arg(full).arg(folder.join("out")));
    }
    // What the console showed last.
    let log = folder.join("log");
    let text = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    let mut counts = text.lines().filter_map(|line| line.trim_matches(['|', ' ']).parse::<u64>().ok());
    match counts.next_back() {
        Some(n) if n == n_rows => Ok(format!("{n} records counted")),
        other => Err(format!("{other:?} records were counted, not {n_rows}: {}", log.display())),
    }
}
