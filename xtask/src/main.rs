//! `cargo xtask`: the checks, tests, benchmarks and the kill campaign of the repository, as commands.
//!
//! One program instead of a pile of scripts, so that a developer's machine and CI run the same thing. It starts
//! other programs (cargo, go, python, the `millstream` binary) and judges what they did; it links none of the
//! engine's crates, because a check that needs DataFusion built before it can say "not formatted" is not used.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a command line tool of the repository: real time is what it measures")]

mod bench;
mod check;
mod fuzz;
mod kill;
mod run;
mod services;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check                fmt, tidy, clippy, docs, cargo-deny
  tidy                 the house rules alone
  test [--full]        set up what the tests need, run all tests, then the short campaigns
  test [-- ARGS]       ... with ARGS for `cargo test` (-p millstream-sql, a name), and without the campaigns
  with s3|kafka|python.. -- COMMAND
                       COMMAND, while servers run that it finds in MILLSTREAM_TEST_*; python: one with clients of other makes
  bench NAME [--peer spark|flink].. [--rows N] [--files N] [--seed S] [--reps N] [--kills N] [--bin PATH]
                       what a record costs (CPU-seconds, memory), beside Spark or Flink on the same input; `bench` tells the names
  kill [--runs N] [--seed S] [--from RUN] [--results FILE] [--store local|s3|kafka] [--job NAME] [--bin PATH]
                       the kill campaign: SIGKILL at random moments, the output must equal the batch's
  fuzz-queries [--n N] [--seed S] [--from QUERY] [--bin PATH]
                       random stateful queries: the stream must be the batch, and the batch what DuckDB says
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "check" => check::run(rest),
        "tidy" => tidy::run(),
        "bench" => bench::run(rest),
        "kill" => kill::run(rest),
        "fuzz-queries" => fuzz::run(rest),
        "test" => test::run(rest),
        "with" => services::run_with(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("unknown command {command:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {command}: {message}");
            ExitCode::FAILURE
        }
    }
}
