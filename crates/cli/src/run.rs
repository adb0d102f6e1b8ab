//! `millstream run`: runs a job, shows how it goes, stops it on signals.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream::job::{DatasetState, DatasetStatus, RunOptions};
use millstream::{Error, Job, JobRun, QueryEvent, Result, Session, StreamingQueryListener, StreamingQueryProgress, Trigger};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::RunArgs;
use crate::crash;

/// How often the live view is drawn.
const REDRAW: Duration = Duration::from_millis(200);

pub async fn run(args: RunArgs) -> Result<()> {
    let trigger = args.trigger.as_deref().map(str::parse::<Trigger>).transpose()?;
    let session = Session::builder().crash_points(crash::from_environment()?).build()?;
    let settings = parse_settings(&args.settings)?;
    let job = Job::open_with(&session, &args.job, &settings).await?;
    if job.dataset_names().is_empty() {
        return Err(Error::invalid(format!("'{}' declares no dataset", args.job.display()))
            .hint("write CREATE STREAMING TABLE or CREATE MATERIALIZED VIEW, or use `millstream sql`"));
    }
    let totals = Arc::new(Totals::new(args.progress_file.as_deref(), args.verbose)?);
    session.streams().add_listener(Arc::clone(&totals) as Arc<dyn StreamingQueryListener>);
    let mut running = job.run(RunOptions { trigger }).await?;
    stop_on_signals(&running)?;

    let is_terminal = std::io::stderr().is_terminal();
    let ended = if is_terminal { watch(&mut running, &totals).await } else { running.wait().await };
    session.streams().flush_listeners().await;
    summary(&running.statuses(), &totals);
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

/// What every query did so far; also writes the progress file.
struct Totals {
    by_query: Mutex<BTreeMap<String, Total>>,
    file: Option<Mutex<File>>,
    failure: Mutex<Option<Error>>,
    verbose: bool,
}

#[derive(Debug, Clone, Default)]
struct Total {
    n_batches: u64,
    n_rows_in: u64,
    n_rows_out: u64,
    last: Option<StreamingQueryProgress>,
}

impl Totals {
    fn new(file: Option<&Path>, verbose: bool) -> Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| Error::from(error).context(format!("opening progress file '{}'", path.display())))
        };
        let file = file.map(open).transpose()?.map(Mutex::new);
        Ok(Self { by_query: Mutex::default(), file, failure: Mutex::default(), verbose })
    }

    fn of(&self, name: &str) -> Total {
        self.by_query.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StreamingQueryListener for Totals {
    fn on_event(&self, event: &QueryEvent) {
        let QueryEvent::Progress(progress) = event else { return };
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(file, "{}", progress.json()) {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Error::from(error).context("writing the progress file"));
            }
        }
        let name = progress.name.clone().unwrap_or_else(|| progress.id.clone());
        if self.verbose {
            line(&format!(
                "{name}: batch {} read {} rows, wrote {}, {} ms",
                progress.batch_id, progress.num_input_rows, progress.sink.num_output_rows, progress.batch_duration
            ));
        }
        let mut by_query = self.by_query.lock().unwrap_or_else(PoisonError::into_inner);
        let total = by_query.entry(name).or_default();
        total.n_batches += 1;
        total.n_rows_in += progress.num_input_rows;
        total.n_rows_out += u64::try_from(progress.sink.num_output_rows).unwrap_or(0);
        total.last = Some((**progress).clone());
    }
}

/// A live line per dataset, redrawn in place.
async fn watch(running: &mut JobRun, totals: &Totals) -> Result<()> {
    let mut n_drawn = 0;
    loop {
        let ended = tokio::time::timeout(REDRAW, running.wait()).await;
        let lines: Vec<String> = running.statuses().iter().map(|status| live_line(status, totals)).collect();
        draw(&lines, &mut n_drawn);
        if let Ok(ended) = ended {
            return ended;
        }
    }
}

#[expect(clippy::print_stderr, reason = "the live view is the terminal's")]
fn draw(lines: &[String], n_drawn: &mut usize) {
    if *n_drawn > 0 {
        eprint!("\x1b[{n_drawn}A");
    }
    for line in lines {
        eprintln!("\x1b[2K{line}");
    }
    *n_drawn = lines.len();
}

fn live_line(status: &DatasetStatus, totals: &Totals) -> String {
    let total = totals.of(&status.name);
    let state = match &status.state {
        DatasetState::Waiting => "waiting".to_owned(),
        DatasetState::Ended => "ended".to_owned(),
        DatasetState::Failed(_) => "failed".to_owned(),
        _ => status.query.as_ref().map_or_else(|| "running".to_owned(), |query| query.status().message),
    };
    match (&total.last, status.n_rows) {
        (Some(last), _) => {
            let lag = last
                .sources
                .iter()
                .flat_map(|source| source.metrics.iter().map(|(name, value)| format!(", {name} {value}")))
                .collect::<String>();
            format!(
                "{}: batch {}, {} rows in, {} rows out, {:.0} rows/s{lag} ({state})",
                status.name, last.batch_id, total.n_rows_in, total.n_rows_out, last.processed_rows_per_second
            )
        }
        (None, Some(n_rows)) => format!("{}: {n_rows} rows ({state})", status.name),
        (None, None) => format!("{}: {state}", status.name),
    }
}

fn summary(statuses: &[DatasetStatus], totals: &Totals) {
    for status in statuses {
        let total = totals.of(&status.name);
        let state = match &status.state {
            DatasetState::Waiting => "did not start",
            DatasetState::Running => "stopped",
            DatasetState::Failed(_) => "failed",
            _ => "ended",
        };
        match status.n_rows {
            Some(n_rows) => line(&format!("{}: {state}, {n_rows} rows", status.name)),
            None => line(&format!(
                "{}: {state}, {} batches, {} rows in, {} rows out",
                status.name, total.n_batches, total.n_rows_in, total.n_rows_out
            )),
        }
    }
}

#[expect(clippy::print_stderr, reason = "what a job does is told on the terminal; standard output is the console sink's")]
fn line(text: &str) {
    eprintln!("{text}");
}
