//! A job that runs: every dataset in a task of its own, started when its upstreams allow.
//!
//! A dataset starts when those of its upstreams that end by themselves have ended. Endless streaming tables start together;
//! a materialized view of what is endless is computed every `refreshInterval`, and what reads it waits for the first time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_core::{Error, Result};
use millstream_engine::{QueryDefinition, StreamingQuery, TableGate, TableGates, Trigger};
use millstream_sql::ir::DatasetKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Dataset;
use crate::session::Session;
use crate::writer::{ALLOW_STATE_DROP, DataFrameWriter, DataStreamWriter, SaveMode};

/// The option of a materialized view that this module takes; all others go to the format.
const REFRESH_INTERVAL: &str = "refreshInterval";

/// How a job is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The trigger of all streaming tables, in place of their own.
    pub trigger: Option<Trigger>,
    /// Stateful operators that may begin afresh if they cannot go on: `operator`, or `dataset:operator` if there are several
    /// streaming tables.
    pub allow_state_drop: Vec<String>,
}

impl RunOptions {
    /// The operators of a dataset that may begin afresh.
    fn may_drop(&self, dataset: &str) -> Vec<&str> {
        let names = self.allow_state_drop.iter().filter_map(|name| match name.split_once(':') {
            Some((wanted, operator)) => (wanted == dataset).then_some(operator),
            None => Some(name.as_str()),
        });
        names.collect()
    }

    /// Refuses names that do not say of which dataset they are, or name none.
    pub(super) fn check_state_drop(&self, streaming_tables: &[&str]) -> Result<()> {
        for name in &self.allow_state_drop {
            let error = match name.split_once(':') {
                Some((dataset, _)) if streaming_tables.contains(&dataset) => continue,
                Some((dataset, _)) => format!("'{name}' names a streaming table '{dataset}' that the job does not have"),
                None if streaming_tables.len() == 1 => continue,
                None => format!("'{name}' does not say of which streaming table it is: write TABLE:{name}"),
            };
            return Err(Error::invalid(error).hint(format!("the streaming tables are '{}'", streaming_tables.join("', '"))));
        }
        Ok(())
    }
}

/// Where a dataset is in its life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DatasetState {
    /// It waits for its upstreams.
    Waiting,
    /// Its query runs.
    Running,
    /// It is done.
    Ended,
    /// It failed.
    Failed(Error),
}

/// A dataset of a running job.
#[derive(Debug, Clone)]
pub struct DatasetStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: DatasetState,
    /// The query of a streaming table, once started.
    pub query: Option<StreamingQuery>,
    /// Rows written, of a materialized view.
    pub n_rows: Option<u64>,
}

/// A job that runs.
#[derive(Debug)]
pub struct JobRun {
    stop: CancellationToken,
    statuses: Arc<Mutex<Vec<DatasetStatus>>>,
    tasks: JoinSet<Result<()>>,
}

impl JobRun {
    /// The datasets and where they are, in the file's order.
    pub fn statuses(&self) -> Vec<DatasetStatus> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks every query to end after its batch.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the job when cancelled.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until every dataset has ended. When one fails the others are stopped, and its error is given.
    pub async fn wait(&mut self) -> Result<()> {
        let mut first_error = None;
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(|error| Error::internal(format!("a dataset's task died: {error}"))).flatten();
            if let Err(error) = ended {
                self.stop.cancel();
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Dataset {
    /// The stream writer of a streaming table.
    pub(super) fn stream_writer(&self, run: &RunOptions) -> Result<DataStreamWriter> {
        let mut writer = self.frame.write_stream().format(&self.format).partition_by(self.partition_by.clone());
        for (name, value) in self.options.iter() {
            writer = writer.option(name, value);
        }
        if let Some(trigger) = run.trigger {
            writer = writer.trigger(trigger);
        }
        let may_drop = run.may_drop(&self.name);
        if !may_drop.is_empty() {
            writer = writer.option(ALLOW_STATE_DROP, may_drop.join(","));
        }
        Ok(writer)
    }

    /// The writer of a materialized view.
    pub(super) fn view_writer(&self) -> DataFrameWriter {
        let mut writer = self.frame.write().format(&self.format).mode(SaveMode::Overwrite).partition_by(self.partition_by.clone());
        for (name, value) in self.options.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(REFRESH_INTERVAL)) {
            writer = writer.option(name, value);
        }
        writer
    }

    /// The option of a materialized view that says how often an endless run computes it.
    fn refresh_interval(&self) -> Result<Option<Duration>> {
        let interval = self.options.get_duration(REFRESH_INTERVAL).map_err(|error| error.context(format!("dataset '{}'", self.name)))?;
        match interval {
            Some(Duration::ZERO) => Err(Error::invalid(format!("option '{REFRESH_INTERVAL}' is 0: expected a length of time above 0"))
                .context(format!("dataset '{}'", self.name))),
            interval => Ok(interval),
        }
    }

    fn trigger(&self, run: &RunOptions) -> Result<Trigger> {
        match (run.trigger, self.options.get("trigger")) {
            (Some(trigger), _) => Ok(trigger),
            (None, Some(text)) => text.parse(),
            (None, None) => Ok(Trigger::default()),
        }
    }
}

/// One dataset's task and what it waits for.
struct DatasetTask {
    session: Session,
    dataset: Dataset,
    position: usize,
    options: RunOptions,
    /// Of a materialized view of what is endless: how often it is computed.
    refresh_interval: Option<Duration>,
    /// Those that are waited for: all but endless streaming tables.
    upstream: Vec<watch::Receiver<bool>>,
    /// The views that it reads stay as they are while it does; it replaces its own table when nobody reads it.
    gates: TableGates,
    /// Whether what reads this dataset may start.
    is_ready: watch::Sender<bool>,
    stop: CancellationToken,
    statuses: Arc<Mutex<Vec<DatasetStatus>>>,
}

pub(super) async fn start(session: &Session, datasets: &[Dataset], options: RunOptions) -> Result<JobRun> {
    let stop = CancellationToken::new();
    let statuses = datasets
        .iter()
        .map(|dataset| DatasetStatus { name: dataset.name.clone(), state: DatasetState::Waiting, query: None, n_rows: None })
        .collect();
    let statuses = Arc::new(Mutex::new(statuses));
    let (bounded, refresh_intervals) = course(datasets, &options)?;
    let readiness: Vec<_> = datasets.iter().map(|_| watch::Sender::new(false)).collect();
    let is_waited_for = |at: usize| {
        let is_view = datasets.get(at).is_some_and(|dataset| dataset.kind == DatasetKind::MaterializedView);
        is_view || bounded.get(at).copied().unwrap_or(false)
    };
    // Of the datasets that are computed again.
    let gates: Vec<Option<TableGate>> = refresh_intervals.iter().map(|interval| interval.map(|_| TableGate::default())).collect();
    let mut tasks = JoinSet::new();
    for (position, ((dataset, is_ready), refresh_interval)) in datasets.iter().zip(&readiness).zip(refresh_intervals).enumerate() {
        let mut upstream = dataset.upstream.clone();
        upstream.sort_unstable();
        let gates = TableGates {
            reads: upstream.iter().filter_map(|at| gates.get(*at).cloned().flatten()).collect(),
            replaces: gates.get(position).cloned().flatten(),
        };
        let waited_for = dataset.upstream.iter().filter(|at| is_waited_for(**at));
        let task = DatasetTask {
            session: session.clone(),
            dataset: dataset.clone(),
            position,
            options: options.clone(),
            refresh_interval,
            upstream: waited_for.filter_map(|at| Some(readiness.get(*at)?.subscribe())).collect(),
            gates,
            is_ready: is_ready.clone(),
            stop: stop.clone(),
            statuses: Arc::clone(&statuses),
        };
        tasks.spawn(task.run());
    }
    Ok(JobRun { stop, statuses, tasks })
}

/// Which datasets end by themselves, and how often each is computed again, if it is. What cannot run so is refused.
pub(super) fn course(datasets: &[Dataset], options: &RunOptions) -> Result<(Vec<bool>, Vec<Option<Duration>>)> {
    let bounded = which_end(datasets, options)?;
    let refresh_intervals = refresh_intervals(datasets, &bounded)?;
    Ok((bounded, refresh_intervals))
}

/// Which datasets end by themselves: streaming tables by their trigger, materialized views when all that they read do.
fn which_end(datasets: &[Dataset], options: &RunOptions) -> Result<Vec<bool>> {
    let mut bounded = Vec::new();
    for dataset in datasets {
        bounded.push(match dataset.kind {
            DatasetKind::StreamingTable => dataset.trigger(options)?.is_bounded(),
            DatasetKind::MaterializedView => true,
        });
    }
    // Views may read views that come later in the file: the news travels until nothing changes.
    loop {
        let endless_view = datasets.iter().enumerate().position(|(at, dataset)| {
            dataset.kind == DatasetKind::MaterializedView
                && bounded.get(at) == Some(&true)
                && dataset.upstream.iter().any(|upstream| bounded.get(*upstream) == Some(&false))
        });
        match endless_view.and_then(|at| bounded.get_mut(at)) {
            Some(is_bounded) => *is_bounded = false,
            None => return Ok(bounded),
        }
    }
}

/// How often each dataset is computed again: a materialized view of what is endless must say so.
fn refresh_intervals(datasets: &[Dataset], bounded: &[bool]) -> Result<Vec<Option<Duration>>> {
    let interval_of = |(dataset, is_bounded): (&Dataset, &bool)| {
        if dataset.kind != DatasetKind::MaterializedView {
            return Ok(None);
        }
        match (dataset.refresh_interval()?, is_bounded) {
            (None, false) => Err(Error::invalid(format!("materialized view '{}' reads a streaming table that never ends", dataset.name))
                .hint("give it OPTIONS (refreshInterval '1 minute'), or run with --trigger available-now")),
            (interval, is_bounded) => Ok(interval.filter(|_| !is_bounded)),
        }
    };
    datasets.iter().zip(bounded).map(interval_of).collect()
}

impl DatasetTask {
    async fn run(mut self) -> Result<()> {
        let result = self.run_inner().await.map_err(|error| error.context(format!("dataset '{}'", self.dataset.name)));
        self.set(|status| match &result {
            // The job was stopped before its turn came.
            Ok(()) if matches!(status.state, DatasetState::Waiting) => {}
            Ok(()) => status.state = DatasetState::Ended,
            Err(error) => status.state = DatasetState::Failed(error.clone()),
        });
        result
    }

    async fn run_inner(&mut self) -> Result<()> {
        for upstream in &mut self.upstream {
            tokio::select! {
                // An upstream that failed or never ran drops its sender, which ends the wait.
                is_ready = upstream.wait_for(|is_ready| *is_ready) => if is_ready.is_err() { return Ok(()) },
                () = self.stop.cancelled() => return Ok(()),
            }
        }
        if self.stop.is_cancelled() {
            return Ok(());
        }
        match self.dataset.kind {
            DatasetKind::StreamingTable => {
                self.run_stream().await?;
                self.is_ready.send_replace(true);
                Ok(())
            }
            DatasetKind::MaterializedView => self.run_view().await,
        }
    }

    async fn run_stream(&self) -> Result<()> {
        let definition = self.dataset.stream_writer(&self.options)?.definition().await?;
        let query = self.session.streams().start(QueryDefinition { gates: self.gates.clone(), ..definition }).await?;
        self.set(|status| {
            status.state = DatasetState::Running;
            status.query = Some(query.clone());
        });
        tokio::select! {
            ended = query.await_termination(None) => ended.map(|_| ()),
            () = self.stop.cancelled() => {
                query.stop().await;
                query.exception().map_or(Ok(()), Err)
            }
        }
    }

    async fn run_view(&self) -> Result<()> {
        self.set(|status| status.state = DatasetState::Running);
        loop {
            let n_rows = self.dataset.view_writer().prepare().await?.run(&self.gates).await?;
            self.set(|status| status.n_rows = Some(n_rows));
            self.is_ready.send_replace(true);
            let Some(interval) = self.refresh_interval else { return Ok(()) };
            tokio::select! {
                () = self.session.engine().clock().sleep(interval) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn set(&self, change: impl FnOnce(&mut DatasetStatus)) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = statuses.get_mut(self.position) {
            change(status);
        }
    }
}
