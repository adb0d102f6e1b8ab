//! `millstream run`: runs a job, shows how it goes, stops it on signals.

use std::io::IsTerminal;
use std::sync::Arc;

use millstream::job::RunOptions;
use millstream::{EngineConfig, Error, Job, JobRun, Result, Session, StreamingQueryListener, Trigger};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::RunArgs;
use crate::print::line;
use crate::totals::Totals;
use crate::{crash, live};

pub async fn run(args: RunArgs) -> Result<()> {
    let trigger = args.trigger.as_deref().map(str::parse::<Trigger>).transpose()?;
    let mut engine = EngineConfig::default();
    engine.parallelism = args.parallelism.unwrap_or(engine.parallelism);
    let session = Session::builder().engine(engine).crash_points(crash::from_environment()?).build()?;
    let settings = parse_settings(&args.settings)?;
    let job = Job::open_with(&session, &args.job, &settings).await?;
    if job.dataset_names().is_empty() {
        return Err(Error::invalid(format!("'{}' declares no dataset", args.job.display()))
            .hint("write CREATE STREAMING TABLE or CREATE MATERIALIZED VIEW, or use `millstream sql`"));
    }
    let totals = Arc::new(Totals::new(args.progress_file.as_deref(), args.verbose)?);
    session.streams().add_listener(Arc::clone(&totals) as Arc<dyn StreamingQueryListener>);
    let mut running = job.run(RunOptions { trigger, allow_state_drop: args.allow_state_drop }).await?;
    stop_on_signals(&running)?;

    let is_terminal = std::io::stderr().is_terminal();
    let ended = if is_terminal { live::watch(&mut running, &totals).await } else { running.wait().await };
    session.streams().flush_listeners().await;
    live::summary(&running.statuses(), &totals);
    totals.failure().map_or(ended, Err)
}

/// `--set key=value` pairs.
pub fn parse_settings(pairs: &[String]) -> Result<Vec<(String, String)>> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
            None => Err(Error::invalid(format!("--set '{pair}' is not KEY=VALUE"))),
        })
        .collect()
}

/// The first SIGINT or SIGTERM stops after the batch, the second at once.
fn stop_on_signals(running: &JobRun) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = running.stop_token();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                #[expect(clippy::exit, reason = "a second signal asks for the end at once; every durable step survives it")]
                std::process::exit(1);
            }
            line("stopping after the running batch; once more to stop at once");
            stop.cancel();
        }
    });
    Ok(())
}
