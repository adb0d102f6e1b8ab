//! `cargo xtask kill`: the real binary, killed at random moments, must still give the table of the batch.
//!
//! A run draws a job and its inputs from the seed, starts `millstream run JOB.sql --trigger available-now`, kills it
//! with SIGKILL again and again while new files arrive, lets it end, and compares: the stream's output and the batch's
//! output with what DuckDB makes of the inputs. Meanwhile a foreign reader polls the output and must never see a
//! duplicate or a torn file. Seed and run number repeat a run's draws (not the microsecond of a kill: that is the
//! machine's), and a failed run's folder is kept, with the job as it was run.

mod feeder;
mod inputs;
pub mod jobs;
mod looker;
pub mod process;
pub mod reader;
pub mod rng;
mod socket;
#[cfg(test)]
mod tests;
mod topics;
// Shared by its text: this crate depends on no other of the workspace, so that it builds in seconds.
#[path = "../../../crates/testkit/src/wal_decoder.rs"]
mod wal;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::jobs::{EXAMPLE, Ending, JOBS, Job, KAFKA_JOBS, Output, Program};
use self::looker::Looker;
use self::process::{End, Moment};
use self::reader::Reader;
use self::rng::Rng;
use self::topics::Topics;
use crate::run::{Outcome, cargo, status, target_dir};
use crate::services::{BUCKET, Kafka, S3};
use crate::tools;

/// No run needs more processes than this; one that does makes no progress.
const PROCESSES_MAX: u32 = 60;

/// The file of a job as it was before it was changed.
const BEFORE: &str = "job-before.sql";

/// In one of so many runs a Millstream reader looks on.
const LOOK_ONE_IN: u64 = 3;

/// In one of so many runs on Kafka the broker restarts.
const BROKER_RESTARTS_ONE_IN: u64 = 4;

/// Where the jobs of a campaign read and write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Local,
    S3,
    Kafka,
}

impl Store {
    const ALL: [Self; 3] = [Self::Local, Self::S3, Self::Kafka];

    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Kafka => "kafka",
        }
    }

    /// The jobs that can run there.
    fn jobs(self) -> Vec<Kind> {
        let files = |jobs: &'static [Job]| jobs.iter().map(Kind::Files);
        match self {
            Self::Local => files(JOBS).chain([Kind::Socket]).collect(),
            Self::S3 => JOBS.iter().filter(|job| matches!(job.program, Program::Sql(_))).map(Kind::Files).collect(),
            Self::Kafka => files(KAFKA_JOBS).collect(),
        }
    }
}

/// What a user asked for.
pub struct Wish {
    pub runs: u64,
    pub seed: u64,
    /// The first run.
    pub from: u64,
    pub results: PathBuf,
    pub store: Store,
    /// Only this job.
    pub job: Option<String>,
    /// A `millstream` that is built already; else the dev build is made.
    pub bin: Option<PathBuf>,
}

impl Wish {
    /// So many runs, with the standard seed.
    pub fn of(runs: u64, store: Store) -> Self {
        let results = target_dir().join("kill").join("results.jsonl");
        Self { runs, seed: 1, from: 0, results, store, job: None, bin: None }
    }
}

/// Parses the arguments and runs the campaign.
pub fn run(args: &[String]) -> Outcome {
    let mut wish = Wish::of(25, Store::Local);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{arg} {value}: {e}"));
        match arg.as_str() {
            "--runs" => wish.runs = number()?,
            "--seed" => wish.seed = number()?,
            "--from" => wish.from = number()?,
            "--results" => wish.results = std::env::current_dir().unwrap_or_default().join(value),
            "--store" => match Store::ALL.into_iter().find(|store| store.name() == value) {
                Some(store) => wish.store = store,
                None => return Err(format!("unknown store {value:?}; there are local, s3 and kafka")),
            },
            "--job" => wish.job = Some(value.clone()),
            "--bin" => wish.bin = Some(std::env::current_dir().unwrap_or_default().join(value)),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    campaign(&wish)
}

/// Builds the command, with the features that the tests were built with: an example brings those of the tests in.
pub fn debug_build() -> Result<PathBuf, String> {
    status(cargo().args(["build", "--locked", "--workspace", "--bin", "millstream", "--example", EXAMPLE]))?;
    Ok(target_dir().join("debug").join("millstream"))
}

/// Runs the campaign: every run is done, and every divergence told.
pub fn campaign(wish: &Wish) -> Outcome {
    let all = wish.store.jobs();
    let names = all.iter().map(Kind::name).collect::<Vec<_>>().join(", ");
    let jobs: Vec<Kind> = all.into_iter().filter(|j| wish.job.as_ref().is_none_or(|n| n == j.name())).collect();
    if jobs.is_empty() {
        return Err(format!("no such job on {}; there are {names}", wish.store.name()));
    }
    let bin = match &wish.bin {
        Some(bin) => bin.clone(),
        None => debug_build()?,
    };
    let python = tools::python()?;
    let s3 = (wish.store == Store::S3).then(S3::start).transpose()?;
    let kafka = (wish.store == Store::Kafka).then(Kafka::start).transpose()?;
    let reader = Reader::start(&python, s3.as_ref(), kafka.as_ref())?;
    let mut campaign = Campaign { bin, s3, kafka, reader, typical: Duration::from_millis(800) };

    let start = Instant::now();
    let mut failed = Vec::new();
    let (mut n_kills, mut n_broker_restarts) = (0, 0);
    for number in wish.from..wish.from + wish.runs {
        let mut rng = Rng::new(wish.seed, number);
        let Some(job) = jobs.get(usize::try_from(number).unwrap_or(0) % jobs.len()) else { continue };
        let elsewhere = if wish.store == Store::Local { String::new() } else { format!("-{}", wish.store.name()) };
        let folder = target_dir().join("kill").join(format!("seed{}-run{number}{elsewhere}", wish.seed));
        drop(fs::remove_dir_all(&folder));
        let began = Instant::now();
        let mut facts = Facts::default();
        fs::create_dir_all(folder.join("in")).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let outcome = match job {
            Kind::Files(job) => campaign.files(job, &folder, &mut rng, &mut facts),
            Kind::Socket => socket::run(&mut campaign, &folder, &mut rng, &mut facts),
        };
        n_kills += facts.kills;
        n_broker_restarts += facts.broker_restarts;
        let mut line = json!({
            "seed": wish.seed, "run": number, "job": job.name(), "store": wish.store.name(),
            "kills": facts.kills, "broker_restarts": facts.broker_restarts, "processes": facts.processes, "files": facts.files, "rows": facts.rows, "polls": facts.polls, "looks": facts.looks,
            "reordered": facts.reordered,
            "ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "outcome": "equal",
        });
        match outcome {
            Ok(()) => drop(fs::remove_dir_all(&folder)),
            Err(message) => {
                println!("run {number} (seed {}, {}) FAILED: {message}\n  kept: {}", wish.seed, job.name(), folder.display());
                if let Some(line) = line.as_object_mut() {
                    line.insert("outcome".to_owned(), json!("failed"));
                    line.insert("message".to_owned(), json!(message));
                }
                failed.push(number);
            }
        }
        append(&wish.results, &line)?;
    }
    println!(
        "kill campaign on {}: {} runs (seed {}, from {}), {n_kills} kills{}, {} divergences, {:.0} s; {}",
        wish.store.name(),
        wish.runs,
        wish.seed,
        wish.from,
        if wish.store == Store::Kafka { format!(" and {n_broker_restarts} restarts of the broker") } else { String::new() },
        failed.len(),
        start.elapsed().as_secs_f64(),
        wish.results.display()
    );
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("diverged or failed: runs {failed:?}; repeat one with --seed {} --from RUN --runs 1", wish.seed))
    }
}

/// What a run runs.
enum Kind {
    Files(&'static Job),
    Socket,
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Files(job) => job.name,
            Self::Socket => "socket",
        }
    }
}

/// What a run did, for the results file.
#[derive(Default)]
struct Facts {
    kills: u64,
    broker_restarts: u64,
    processes: u32,
    files: u64,
    rows: u64,
    polls: u64,
    looks: u64,
    /// Files that a batch that ran again wrote in another order.
    reordered: u64,
}

/// What all runs share.
struct Campaign {
    bin: PathBuf,
    s3: Option<S3>,
    kafka: Option<Kafka>,
    reader: Reader,
    /// How long a process lives that nobody kills.
    typical: Duration,
}

impl Campaign {
    /// One run over files, from empty folder to verdict.
    fn files(&mut self, job: &Job, folder: &Path, rng: &mut Rng, facts: &mut Facts) -> Outcome {
        let cwd = folder.to_string_lossy().into_owned();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The job writes relative paths, as a user would; the reader, elsewhere, needs them whole.
        let (root, seen_root) = match self.s3 {
            Some(_) => (format!("s3://{BUCKET}/{name}/"), format!("s3://{BUCKET}/{name}/")),
            None => (String::new(), format!("{cwd}/")),
        };
        let mut topics = match &self.kafka {
            Some(kafka) => Some(Topics::make(&mut self.reader, kafka.bootstrap_servers(), &name, job)?),
            None => None,
        };
        let placed = |sql: String| topics.as_ref().map_or(sql.clone(), |topics| topics.placed(&sql));
        for ending in [Ending::Pause, Ending::Flush] {
            if let Some(sql) = job.stream_sql(&root, ending) {
                write(&folder.join(ending.job_file()), &placed(sql))?;
            }
        }
        let batch = job.batch_sql("batch/").map(placed);
        let place_of = |output: &Output| match output.is_topic() {
            true => format!("{name}-"),
            false => seen_root.clone(),
        };
        if let Some(sql) = job.sql_before(&root) {
            write(&folder.join(BEFORE), &sql)?;
        }

        let places: Vec<Value> = job.outputs.iter().map(|o| o.place(&place_of(o))).collect();
        self.reader.ask(&json!({"do": "watch", "outputs": places}))?;
        // Each look is a process: in some runs it is there, in the others it does not disturb the timing.
        let output = rng.pick(job.outputs).filter(|_| rng.one_in(LOOK_ONE_IN));
        let looker = match output {
            // A table of groups has no rows of single input files, nor is a batch from a topic one file.
            Some(output) if self.s3.is_none() && topics.is_none() && !job.is_stateful() => {
                Some(Looker::start(Command::new(&self.bin), folder, output.folder, output.format, job.replaces_files())?)
            }
            _ => None,
        };
        let killed = self.kills(job, folder, topics.as_mut(), rng, facts);
        let looks = looker.map(Looker::stop);
        let watched = self.reader.ask(&json!({"do": "unwatch"}));
        killed?;
        let watched = watched.map_err(|e| format!("the foreign reader saw it: {e}"))?;
        if let (Some(output), Some(looks)) = (output, looks) {
            let looks = looks?;
            facts.looks = looks.len() as u64;
            self.reader.ask(&output.whole(job.input, &looks, &cwd)).map_err(|e| format!("a Millstream reader saw a torn batch: {e}"))?;
        }
        let watched = |fact: &str| watched.get(fact).and_then(Value::as_u64).unwrap_or(0);
        (facts.polls, facts.reordered) = (watched("polls"), watched("reordered"));

        for output in job.outputs {
            let answer = self
                .reader
                .ask(&output.comparison(job.input, &place_of(output), &cwd))
                .map_err(|e| format!("stream against inputs: {e}"))?;
            facts.rows += answer.get("rows").and_then(Value::as_u64).unwrap_or(0);
        }
        if let Some(batch) = batch {
            self.batch(job, folder, &batch)?;
        }
        topics.map_or(Ok(()), |topics| topics.forget(&mut self.reader))
    }

    /// The same job as a batch.
    fn batch(&mut self, job: &Job, folder: &Path, sql: &str) -> Outcome {
        let cwd = folder.to_string_lossy().into_owned();
        write(&folder.join("batch.sql"), sql)?;
        let progress = folder.join("progress-batch");
        process::run(&mut self.millstream("batch.sql", &progress, &[]), folder, &progress, &Moment::Never)
            .map_err(|e| format!("batch: {e}"))?;
        for output in job.outputs {
            self.reader
                .ask(&output.comparison(job.input, &format!("{cwd}/batch/"), &cwd))
                .map_err(|e| format!("batch against inputs: {e}"))?;
        }
        Ok(())
    }

    /// Starts, kills, adds files, starts again; returns when a process with all the input has ended by itself.
    fn kills(&mut self, job: &Job, folder: &Path, mut topics: Option<&mut Topics>, rng: &mut Rng, facts: &mut Facts) -> Outcome {
        let n_files = rng.range(4, 30);
        let mut kills_left = rng.range(2, 12);
        // A flush closes the checkpoint to more input.
        let flush_kills = if job.is_stateful() { rng.range(0, kills_left.min(3)) } else { 0 };
        // From here on the changed query runs; it does not go back.
        let old_kills = if job.before.is_some() { rng.range(flush_kills, kills_left + 1) } else { kills_left };
        // In which life the broker restarts.
        let broker_restarts_in = (topics.is_some() && rng.one_in(BROKER_RESTARTS_ONE_IN)).then(|| rng.range(1, kills_left + 1));
        let mut added = 0;
        facts.files = n_files;
        let progress = folder.join("progress");
        while facts.processes < PROCESSES_MAX {
            let ending = if job.is_stateful() && kills_left <= flush_kills { Ending::Flush } else { Ending::Pause };
            let more = if kills_left <= flush_kills { n_files } else { rng.range(0, n_files - added + 1) };
            for _ in 0..more.min(n_files - added) {
                let file = add_file(job, folder, added, rng)?;
                if let Some(topics) = &mut topics {
                    topics.feed(&mut self.reader, &file, rng)?;
                }
                added += 1;
            }
            let moment = if kills_left == 0 { Moment::Never } else { Moment::draw(rng, self.typical, job.crash_points()) };
            let parallelism = if job.is_stateful() { Some(rng.range(1, 6)) } else { None };
            facts.processes += 1;
            let is_old = job.before.is_some() && ending == Ending::Pause && kills_left > old_kills;
            let file = if is_old { BEFORE } else { ending.job_file() };
            let mut program = self.program(job, file, &progress, ending, parallelism);
            let end = match &mut self.kafka {
                Some(kafka) if broker_restarts_in == Some(u64::from(facts.processes)) => {
                    facts.broker_restarts += 1;
                    let after = Duration::from_micros(rng.range(0, 1_500_000));
                    topics::while_broker_restarts(kafka, after, || process::run_to_any_end(&mut program, folder, &progress, &moment))?
                }
                _ => Ok(process::run(&mut program, folder, &progress, &moment)?),
            };
            match end {
                // It stopped with the cause, as it may while the broker is away.
                Err(_) => kills_left = kills_left.saturating_sub(1),
                Ok(End::Killed) => {
                    facts.kills += 1;
                    kills_left -= 1;
                }
                Ok(End::Done(took)) => {
                    self.typical = (self.typical * 3 + took) / 4;
                    if kills_left == 0 {
                        return Ok(());
                    }
                    // It was faster than the kill; that one is spent, or nothing would be left to kill.
                    kills_left -= 1;
                }
            }
        }
        Err(format!("no end after {PROCESSES_MAX} processes"))
    }

    /// The program of a job: the command, or the example beside it. A life of a stateful job may have a parallelism of its own.
    fn program(&self, job: &Job, file: &str, progress: &Path, ending: Ending, parallelism: Option<u64>) -> Command {
        let mut command = match job.program {
            Program::Sql(_) => self.millstream(file, progress, &["--trigger", "available-now"]),
            Program::Example(name) => {
                let mut command = Command::new(self.bin.with_file_name("examples").join(EXAMPLE));
                command.arg(name).args((ending == Ending::Flush).then_some("--flush"));
                command
            }
        };
        command.args(parallelism.into_iter().flat_map(|n| ["--parallelism".to_owned(), n.to_string()]));
        command
    }

    /// The command under test.
    fn millstream(&self, sql: &str, progress: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.args(["run", sql]).arg("--progress-file").arg(progress).args(args);
        if let Some(s3) = &self.s3 {
            command.envs(s3.aws_env());
        }
        command
    }
}

impl Ending {
    /// The file of a job whose lives end so.
    fn job_file(self) -> &'static str {
        match self {
            Self::Pause => "job.sql",
            Self::Flush => "job-flush.sql",
        }
    }
}

/// Writes one more input file: elsewhere first, then renamed, as producers should. Gives its path.
fn add_file(job: &Job, folder: &Path, idx: u64, rng: &mut Rng) -> Outcome<PathBuf> {
    let (name, text) = inputs::file(job.input, idx, rng);
    let unfinished = folder.join("unfinished");
    write(&unfinished, &text)?;
    let file = folder.join("in").join(&name);
    fs::rename(&unfinished, &file).map_err(|e| format!("cannot rename {name}: {e}"))?;
    Ok(file)
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Appends one line to the results file.
fn append(results: &Path, line: &Value) -> Outcome {
    let cannot = |e| format!("cannot append to {}: {e}", results.display());
    if let Some(folder) = results.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).open(results).map_err(cannot)?;
    writeln!(file, "{line}").map_err(cannot)
}
