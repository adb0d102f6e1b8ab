//! `cargo xtask test`: sets up what the tests need, runs them all, then the campaigns.
//!
//! Tests find their servers and the foreign readers' Python in `MILLSTREAM_TEST_*` variables. The last lines
//! printed repeat cargo's own `test result:` lines, because the campaigns print after them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::run::{Outcome, Steps, cargo, shown};
use crate::services::{Kafka, S3};
use crate::{fuzz, kill, tools};

/// Runs on local files, on S3 and on Kafka.
const CAMPAIGNS: (u64, u64, u64) = (25, 20, 20);
const CAMPAIGNS_FULL: (u64, u64, u64) = (500, 100, 300);
/// Random queries.
const QUERIES: u64 = 50;
const QUERIES_FULL: u64 = 2000;
/// Cases of whole jobs under power loss.
const POWER_LOSS_JOBS_FULL: &str = "2000";

/// Runs the tests. `args`: `--full`, or `--` and arguments for `cargo test`.
pub fn run(args: &[String]) -> Outcome {
    let (ours, theirs) = match args.iter().position(|a| a == "--") {
        Some(at) => (args.get(..at).unwrap_or_default(), args.get(at + 1..)),
        None => (args, None),
    };
    if let Some(arg) = ours.iter().find(|a| *a != "--full") {
        return Err(format!("unknown argument {arg:?}"));
    }
    let mut steps = Steps::default();
    let python = steps.step("python with the foreign readers", tools::python);
    let s3 = steps.step("S3 server", S3::start);
    let kafka = match tools::kafka_lacks() {
        None => steps.step("Kafka broker", Kafka::start),
        Some(lacks) => {
            steps.skip("tests on Kafka", &lacks);
            None
        }
    };

    let mut command = cargo();
    command.args(["test", "--locked", "--no-fail-fast"]);
    match theirs {
        Some(theirs) => command.args(theirs),
        None => command.arg("--workspace"),
    };
    if !ours.is_empty() {
        command.env("MILLSTREAM_TEST_POWER_LOSS_JOBS", POWER_LOSS_JOBS_FULL).env("MILLSTREAM_TEST_FULL", "1");
    }
    if let Some(python) = &python {
        command.env("MILLSTREAM_TEST_PYTHON", python);
    }
    if let Some(s3) = &s3 {
        command.envs(s3.env());
    }
    if let Some(kafka) = &kafka {
        command.envs(kafka.env());
    }
    let mut results = Vec::new();
    steps.step("cargo test", || tests(&mut command, &mut results));

    if theirs.is_none() {
        let queries = if ours.is_empty() { QUERIES } else { QUERIES_FULL };
        steps.step("random queries", || fuzz::campaign(&fuzz::Wish::of(queries)));
        let (local, on_s3, on_kafka) = if ours.is_empty() { CAMPAIGNS } else { CAMPAIGNS_FULL };
        steps.step("kill campaign", || kill::campaign(&kill::Wish::of(local, kill::Store::Local)));
        steps.step("kill campaign on S3", || kill::campaign(&kill::Wish::of(on_s3, kill::Store::S3)));
        if kafka.is_some() {
            steps.step("kill campaign on Kafka", || kill::campaign(&kill::Wish::of(on_kafka, kill::Store::Kafka)));
        }
    }

    let outcome = steps.finish();
    for line in &results {
        println!("{line}");
    }
    outcome
}

/// Runs `cargo test`, passing its output on and keeping the lines that count.
fn tests(command: &mut Command, results: &mut Vec<String>) -> Outcome {
    let shown = shown(command);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("cannot start {shown}: {e}"))?;
    let stdout = child.stdout.take().ok_or("cargo test has no stdout")?;
    let mut ours = std::io::stdout();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|e| format!("cannot read what {shown} prints: {e}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        // A reader that went away (`| head`) is no reason to stop the tests.
        drop(writeln!(ours, "{line}"));
        if line.starts_with("test result:") || (line.starts_with("test ") && line.ends_with("FAILED")) {
            results.push(line);
        }
    }
    let status = child.wait().map_err(|e| format!("cannot wait for {shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} ended with {status}")) }
}
