//! The `millstream` command: arguments and start only; everything else is in the libraries.
//!
//! Exit code 0: ended well; 1: a query failed, or a stream is not its batch; 2: wrong usage; 3: `verify` could not compare.
#![forbid(unsafe_code)]

mod args;
mod check;
mod checkpoint;
mod crash;
mod kafka;
mod live;
mod logging;
mod print;
mod run;
mod sql;
mod state;
mod totals;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use args::{Command, Options};
use clap::Parser;
use millstream::{Error, ErrorKind};
use print::line;

/// Batches come and go beside state that stays: this one keeps less of what is free than the system's.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long threads that still work are waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = logging::start(&options.log) {
        return fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::from(error).context("starting the runtime")),
    };
    let ended = runtime.block_on(async {
        match options.command {
            Command::Run(args) => run::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Sql(args) => sql::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Check(args) => check::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Verify(args) => verify::run(args).await,
            Command::Checkpoint(args) => checkpoint::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Kafka(args) => kafka::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::State(args) => state::run(args).await.map(|()| ExitCode::SUCCESS),
        }
    });
    let code = ended.unwrap_or_else(|error| fail(&error));
    // All that had to end has ended; a library's call that never returns must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    code
}

/// One line what, one line where, one line what to do.
fn fail(error: &Error) -> ExitCode {
    let class = error.error_class().map(|class| format!("[{class}] ")).unwrap_or_default();
    line(&format!("error: {class}{}", error.message()));
    if !error.contexts().is_empty() {
        let place: Vec<&str> = error.contexts().iter().rev().map(String::as_str).collect();
        line(&format!("  where: {}", place.join(", ")));
    }
    if let Some(hint) = error.hint_text() {
        line(&format!("  what to do: {hint}"));
    }
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported if error.contexts().iter().all(|context| !context.starts_with("batch ")) => {
            ExitCode::from(2)
        }
        _ => ExitCode::from(1),
    }
}
