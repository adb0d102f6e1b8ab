//! Queries over Kafka that go on: how soon a record is through, and what many quiet topics cost.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::super::table::Table;
use super::super::{Wish, at_most, example, last_json, median, millstream, number, workdir};
use super::{client, write_job};
use crate::run::{Outcome, root, shown, status};
use crate::services::Kafka;
use crate::tools;

pub const NAMES: [&str; 2] = ["kafka-latency", "kafka-topics"];

const RATE: u64 = 10_000;
const SECONDS: &str = "20";
/// By delivery guarantee: the most milliseconds of the median and the 99th percentile.
const GUARANTEES: [(&str, f64, f64); 2] = [("exactly-once", 35.0, 100.0), ("at-least-once", 10.0, 40.0)];

const N_TOPICS: u64 = 500;
const WATCHED: Duration = Duration::from_secs(30);
const CORE_PERCENT: f64 = 10.0;

/// Runs one of [`NAMES`].
pub fn run(wish: &Wish) -> Outcome {
    if !wish.peers.is_empty() {
        return Err(format!("{} has no peer", wish.name));
    }
    let (python, program, broker) = (tools::python()?, millstream(wish)?, Kafka::start()?);
    if wish.name == "kafka-latency" { latency(wish, &python, &program, &broker) } else { topics(wish, &python, &program, &broker) }
}

/// A query that runs until this is dropped.
struct Running(Child);

impl Running {
    fn start(program: &Path, folder: &Path) -> Outcome<Self> {
        let log = std::fs::File::create(folder.join("log")).map_err(|e| format!("cannot create a log in {}: {e}", folder.display()))?;
        let mut run = Command::new(program);
        run.args(["run", "job.sql"]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Self(run.spawn().map_err(|e| format!("cannot start {}: {e}", shown(&run)))?))
    }

    /// User and system time so far, in seconds.
    fn cpu_s(&self) -> Outcome<f64> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.0.id()));
        let mut total_ns = 0.0;
        for task in std::fs::read_dir(&tasks).map_err(|e| format!("the query has ended: {e}"))? {
            let stat = task.map_err(|e| e.to_string())?.path().join("schedstat");
            // A thread may end meanwhile.
            let said = std::fs::read_to_string(stat).unwrap_or_default();
            total_ns += said.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        }
        Ok(total_ns / 1e9)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// From the moment a record was due to that its committed copy is read, beside what the broker and the client take alone.
fn latency(wish: &Wish, python: &Path, program: &Path, broker: &Kafka) -> Outcome {
    let measuring = example(wish, "kafka_latency")?;
    let mut table = Table::new(&["delivery", "p50 ms", "p99 ms", "max ms"]);
    let mut reached = Vec::new();
    let mut run_of = |name: &str, from: &str, to: &str| -> Outcome<[f64; 3]> {
        let said = last_json(Command::new(&measuring).args([&broker.bootstrap_servers(), from, to, &RATE.to_string(), SECONDS]))?;
        let figures = ["p50_ms", "p99_ms", "max_ms"].map(|key| number(&said, key));
        table.row(&[vec![name.to_owned()], figures.map(|ms| format!("{ms:.2}")).to_vec()].concat());
        Ok(figures)
    };
    status(client(python, broker, "make").args(["probe", super::PARTITIONS]))?;
    run_of("broker and client alone", "probe", "probe")?;
    for (guarantee, p50_ms, p99_ms) in GUARANTEES {
        let mut figures = Vec::new();
        for rep in 0..wish.reps {
            let (from, to) = (format!("from-{guarantee}-{rep}"), format!("to-{guarantee}-{rep}"));
            for topic in [&from, &to] {
                status(client(python, broker, "make").args([topic, super::PARTITIONS]))?;
            }
            let folder = workdir("kafka-latency", None)?;
            let bootstrap = broker.bootstrap_servers();
            let words = [("@BOOTSTRAP@", bootstrap.as_str()), ("@FROM@", &from), ("@TO@", &to), ("@DELIVERY@", guarantee)];
            write_job("kafka-latency", &folder, &words)?;
            let _query = Running::start(program, &folder)?;
            figures.push(run_of(guarantee, &from, &to).map_err(|e| format!("{e}; the query's log is in {}", folder.display()))?);
        }
        let p50 = median(figures.iter().map(|[p50, _, _]| *p50));
        let p99 = median(figures.iter().map(|[_, p99, _]| *p99));
        reached.push((guarantee, p50, p50_ms, p99, p99_ms));
    }
    println!("\nkafka-latency ({RATE} records a second, {SECONDS} s)\n\n{table}");
    for (guarantee, p50, p50_at_most, p99, p99_at_most) in reached {
        at_most(&format!("{guarantee}: ms of the median"), p50, p50_at_most);
        at_most(&format!("{guarantee}: ms of the 99th percentile"), p99, p99_at_most);
    }
    Ok(())
}

/// The share of a core that counting a record a second from each of many topics' partitions takes.
fn topics(wish: &Wish, python: &Path, program: &Path, broker: &Kafka) -> Outcome {
    let n_topics = wish.rows.unwrap_or(N_TOPICS).to_string();
    let seconds = (WATCHED + Duration::from_secs(40)).as_secs().to_string();
    let mut trickle = client(python, broker, "trickle");
    trickle.args(["customer-", &n_topics, &seconds]).stdout(Stdio::piped());
    let mut filler = Running(trickle.spawn().map_err(|e| format!("cannot start {}: {e}", shown(&trickle)))?);
    let mut first = String::new();
    let out = filler.0.stdout.take().ok_or("the filler has no output")?;
    BufReader::new(out).read_line(&mut first).map_err(|e| e.to_string())?;
    if first.trim() != "ready" {
        return Err(format!("{} made no topics", root().join("benches/kafka.py").display()));
    }
    let folder = workdir("kafka-topics", None)?;
    write_job("kafka-topics", &folder, &[("@BOOTSTRAP@", &broker.bootstrap_servers())])?;
    let query = Running::start(program, &folder)?;
    // Its start, and the first look at the topics, are not what is asked for.
    thread::sleep(Duration::from_secs(10));
    let (cpu_s, start) = (query.cpu_s()?, Instant::now());
    thread::sleep(WATCHED);
    let percent = (query.cpu_s()? - cpu_s) / start.elapsed().as_secs_f64() * 100.0;
    at_most(&format!("percent of a core for {n_topics} topics of two partitions, a record a second each"), percent, CORE_PERCENT);
    Ok(())
}
