//! The benchmarks over Kafka: topics on a broker of our own, whose work is not counted.
//!
//! Here is what reads or writes to the end of its input; [`live`] measures queries that go on. Topics are filled and read by a client
//! that is not ours (`benches/kafka.py`), and latency is measured by `crates/testkit/examples/kafka_latency.rs`, which takes little itself.

mod flink;
mod live;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::flink::Flink;
use super::runs::{self, Runs};
use super::{Cost, Peer, Wish, data, link_all, measure, millstream, read_all, spark_python, target, verdict, workdir};
use crate::run::{Outcome, root, status, stdout};
use crate::services::Kafka;
use crate::tools;

const PARTITIONS: &str = "4";
const FILES: u64 = 20;
const START_UP_ROWS: u64 = 100;
/// What `benches/gen.py` makes: the events in one folder, the campaigns in another.
const KIND: &str = "ysb-json";

/// One job in `benches/jobs`, and what it has to reach.
struct Job {
    name: &'static str,
    n_rows: u64,
    rows_per_cpu_s: f64,
    times_spark: f64,
    /// `None`: Flink has no such job.
    times_flink: Option<f64>,
    from: From,
    to: To,
}

#[derive(PartialEq)]
enum From {
    Topic,
    Files,
}

#[derive(PartialEq)]
enum To {
    /// The console shows how many records were counted.
    Console,
    /// Windows, in Parquet files.
    Files,
    /// Windows, in a topic.
    Topic,
    /// The values as they came, in a topic.
    SameInTopic,
}

const YSB: Job = Job {
    name: "kafka-ysb",
    n_rows: 4_000_000,
    rows_per_cpu_s: 600_000.0,
    times_spark: 5.0,
    times_flink: Some(2.0),
    from: From::Topic,
    to: To::Files,
};

const JOBS: &[Job] = &[
    Job { name: "kafka-read", n_rows: 10_000_000, rows_per_cpu_s: 1_500_000.0, times_flink: None, to: To::Console, ..YSB },
    YSB,
    Job { name: "kafka-ysb-kafka", to: To::Topic, ..YSB },
    Job {
        name: "kafka-write",
        n_rows: 5_000_000,
        rows_per_cpu_s: 1_000_000.0,
        times_spark: 4.0,
        times_flink: None,
        from: From::Files,
        to: To::SameInTopic,
    },
];

/// The names of the benchmarks.
pub fn names() -> impl Iterator<Item = &'static str> {
    JOBS.iter().map(|job| job.name).chain(live::NAMES)
}

/// Those that Flink runs, too.
pub fn with_flink() -> impl Iterator<Item = &'static str> {
    JOBS.iter().filter(|job| job.times_flink.is_some()).map(|job| job.name)
}

/// Fills the topics, runs, checks, prints.
pub fn run(wish: &Wish) -> Outcome {
    if wish.kills.is_some() {
        return Err(format!("{} has no kills: cargo xtask kill --store kafka", wish.name));
    }
    let Some(job) = JOBS.iter().find(|job| job.name == wish.name) else { return live::run(wish) };
    let (n_files, n_rows) = wish.files_and_rows(FILES, job.n_rows);
    let python = tools::python()?;
    let mut bench = Bench {
        job,
        full: data(&python, KIND, wish.seed, n_files, n_rows)?,
        tiny: data(&python, KIND, wish.seed, 1, START_UP_ROWS)?,
        broker: Kafka::start()?,
        python,
        n_topics: 0,
    };
    bench.load()?;
    let mut engines = vec![Engine::Millstream { program: millstream(wish)? }];
    if wish.has(Peer::Spark) {
        engines.push(Engine::Spark { python: spark_python()?, jars: tools::spark_kafka()? });
    }
    if wish.has(Peer::Flink) {
        engines.push(Engine::Flink(Flink::install()?));
    }
    let mut all = Vec::new();
    for engine in &engines {
        let ran = bench.runs(engine, wish.reps)?;
        println!("check: {}", bench.check(&ran, n_rows)?);
        all.push(ran.runs);
    }
    print(job, n_rows, &engines, &all, wish);
    Ok(())
}

/// Who runs a job.
enum Engine {
    Millstream { program: PathBuf },
    Spark { python: PathBuf, jars: PathBuf },
    Flink(Flink),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Self::Millstream { .. } => "millstream",
            Self::Spark { .. } => "spark",
            Self::Flink(_) => "flink",
        }
    }

    /// What a reader of the output may rely on.
    fn delivery(&self, to: &To) -> &'static str {
        match (self, to) {
            (_, To::Console) => "counts only",
            (Self::Spark { .. }, To::Topic | To::SameInTopic) => "at-least-once, without transactions",
            (Self::Millstream { .. }, To::Topic | To::SameInTopic) => "exactly-once, a batch is one transaction",
            (Self::Flink(_), To::Topic | To::SameInTopic) => "exactly-once, a transaction of each writer per checkpoint, every second",
            (Self::Flink(_), To::Files) => "exactly-once, files become visible with a checkpoint, every second",
            (_, To::Files) => "exactly-once, files become visible with their batch",
        }
    }
}

/// What an engine's runs cost, and where its last one left its results.
struct Ran {
    runs: Runs,
    folder: PathBuf,
    topic: String,
}

struct Bench {
    job: &'static Job,
    full: PathBuf,
    tiny: PathBuf,
    broker: Kafka,
    python: PathBuf,
    /// Of results, so far: each run writes to a topic of its own.
    n_topics: u32,
}

impl Bench {
    /// The client that is not ours, doing that.
    fn client(&self, what: &str) -> Command {
        client(&self.python, &self.broker, what)
    }

    /// Fills the topics that the job reads.
    fn load(&self) -> Outcome {
        if self.job.from == From::Topic {
            for (topic, data) in [("full", &self.full), ("tiny", &self.tiny)] {
                let loaded = stdout(self.client("load").args([topic, PARTITIONS]).arg(data.join("events")))?;
                println!("{topic}: {} records loaded", loaded.trim());
            }
        }
        Ok(())
    }

    /// All runs of one engine: start-up and full interleaved, so that a noisy minute hits both.
    fn runs(&mut self, engine: &Engine, n_reps: usize) -> Outcome<Ran> {
        let mut ran = Ran { runs: Runs::of(engine.name()), folder: PathBuf::new(), topic: String::new() };
        for rep in 1..=n_reps {
            let (start_up, _, _) = self.one(engine, "tiny")?;
            let full;
            (full, ran.folder, ran.topic) = self.one(engine, "full")?;
            ran.runs.add(rep, n_reps, start_up, full);
        }
        Ok(ran)
    }

    /// One run over `full` or `tiny`: what it cost, and where its results are.
    fn one(&mut self, engine: &Engine, size: &str) -> Outcome<(Cost, PathBuf, String)> {
        let folder = workdir(&format!("{}-{}-{size}", self.job.name, engine.name()), None)?;
        let data = if size == "full" { &self.full } else { &self.tiny };
        // What comes through the broker is not in files, and the other way round.
        match self.job.from {
            From::Topic => link_all(&data.join("campaigns"), &folder.join("data").join("campaigns"))?,
            From::Files => {
                link_all(&data.join("events"), &folder.join("data"))?;
                read_all(&folder.join("data"))?;
            }
        }
        self.n_topics += 1;
        let to = format!("{}-{size}-{}", engine.name(), self.n_topics);
        if matches!(self.job.to, To::Topic | To::SameInTopic) {
            status(self.client("make").args([&to, PARTITIONS]))?;
        }
        let bootstrap = self.broker.bootstrap_servers();
        let cost = match engine {
            Engine::Millstream { program } => {
                write_job(self.job.name, &folder, &[("@BOOTSTRAP@", &bootstrap), ("@FROM@", size), ("@TO@", &to)])?;
                measure(&self.python, &folder, None, program, &["run", "job.sql"])?
            }
            Engine::Spark { python, jars } => {
                let (script, jars) = (root().join("benches/spark_kafka_job.py"), jars.to_string_lossy());
                measure(&self.python, &folder, None, python, &[&script.to_string_lossy(), self.job.name, &jars, &bootstrap, size, &to])?
            }
            Engine::Flink(flink) => {
                let args = flink.args(&[self.job.name, &bootstrap, size, &to]);
                measure(&self.python, &folder, None, Path::new("java"), &args.iter().map(String::as_str).collect::<Vec<_>>())?
            }
        };
        Ok((cost, folder, to))
    }

    /// Whether the last run gave what is right.
    fn check(&self, ran: &Ran, n_rows: u64) -> Outcome<String> {
        let mut windows = Command::new(&self.python);
        windows.arg(root().join("benches/windows.py")).arg(KIND).arg(&self.full);
        match self.job.to {
            To::Console => counted(&ran.folder.join("log"), n_rows),
            To::Files => verdict(windows.arg(ran.folder.join("out"))),
            To::Topic => {
                let dumped = ran.folder.join("dump.json");
                status(self.client("dump").arg(&ran.topic).arg(&dumped))?;
                verdict(windows.arg(dumped))
            }
            To::SameInTopic => verdict(self.client("equal").arg(&ran.topic).arg(self.full.join("events"))),
        }
    }
}

/// `benches/kafka.py` doing that on the broker.
fn client(python: &Path, broker: &Kafka, what: &str) -> Command {
    let mut client = Command::new(python);
    client.arg(root().join("benches/kafka.py")).args([what, &broker.bootstrap_servers()]);
    client
}

/// The job of that name as `job.sql` in a folder, with these words put in.
fn write_job(name: &str, folder: &Path, words: &[(&str, &str)]) -> Outcome {
    let job = root().join("benches/jobs").join(format!("{name}.sql"));
    let text = fs::read_to_string(&job).map_err(|e| format!("cannot read {}: {e}", job.display()))?;
    let text = words.iter().fold(text, |text, (word, by)| text.replace(word, by));
    let job = folder.join("job.sql");
    fs::write(&job, text).map_err(|e| format!("cannot write {}: {e}", job.display()))
}

/// What the console showed last.
fn counted(log: &Path, n_rows: u64) -> Outcome<String> {
    let text = fs::read_to_string(log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    let mut counts = text.lines().filter_map(|line| line.trim_matches(['|', ' ']).parse::<u64>().ok());
    match counts.next_back() {
        Some(n) if n == n_rows => Ok(format!("{n} records counted")),
        other => Err(format!("{other:?} records were counted, not {n_rows}: {}", log.display())),
    }
}

/// The first engine is ours.
fn print(job: &Job, n_rows: u64, engines: &[Engine], all: &[Runs], wish: &Wish) {
    let [ours, peers @ ..] = all else { return };
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    println!("\n{} (seed {}, median of {} runs)\n\n{}", job.name, wish.seed, wish.reps, runs::table(rows, all));
    for engine in engines {
        println!("{}: {}", engine.name(), engine.delivery(&job.to));
    }
    target("records per CPU-second, net", rows / ours.net_cpu_s(), job.rows_per_cpu_s);
    for theirs in peers {
        let at_least = if theirs.name == "flink" { job.times_flink.unwrap_or(f64::NAN) } else { job.times_spark };
        target(&format!("records per CPU-second, net, against {}", theirs.name), theirs.net_cpu_s() / ours.net_cpu_s(), at_least);
    }
}
