//! A job that runs: every dataset in a task of its own, started when its upstreams allow.
//!
//! With a bounded trigger a dataset starts when its upstreams have ended. Endless streaming tables start together; a
//! materialized view is then computed every `refreshInterval`.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_core::options::parse_duration;
use millstream_core::{Error, Result};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_sql::ir::DatasetKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Dataset, RUN_OPTIONS};
use crate::session::Session;
use crate::writer::{DataStreamWriter, SaveMode};

/// How a job is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The trigger of all streaming tables, in place of their own.
    pub trigger: Option<Trigger>,
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
            if !RUN_OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                writer = writer.option(name, value);
            }
        }
        if let Some(trigger) = run.trigger {
            writer = writer.trigger(trigger);
        }
        Ok(writer)
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
    /// True for upstreams that end by themselves: only those are waited for.
    upstream: Vec<(bool, watch::Receiver<bool>)>,
    ended: watch::Sender<bool>,
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
    let mut bounded = Vec::new();
    for dataset in datasets {
        let is_bounded = match dataset.kind {
            DatasetKind::StreamingTable => dataset.trigger(&options)?.is_bounded(),
            DatasetKind::MaterializedView => true,
        };
        bounded.push(is_bounded);
    }
    refuse_views_of_endless_streams(datasets, &bounded)?;
    let ends: Vec<_> = datasets.iter().map(|_| watch::Sender::new(false)).collect();
    let mut tasks = JoinSet::new();
    for (position, (dataset, ended)) in datasets.iter().zip(&ends).enumerate() {
        let upstream = dataset
            .upstream
            .iter()
            .filter_map(|at| Some((bounded.get(*at).copied().unwrap_or(false), ends.get(*at)?.subscribe())))
            .collect();
        let task = DatasetTask {
            session: session.clone(),
            dataset: dataset.clone(),
            position,
            options: options.clone(),
            upstream,
            ended: ended.clone(),
            stop: stop.clone(),
            statuses: Arc::clone(&statuses),
        };
        tasks.spawn(task.run());
    }
    Ok(JobRun { stop, statuses, tasks })
}

/// In an endless run a materialized view needs to know how often it is computed again.
fn refuse_views_of_endless_streams(datasets: &[Dataset], bounded: &[bool]) -> Result<()> {
    for dataset in datasets {
        let reads_endless = dataset.upstream.iter().any(|at| !bounded.get(*at).copied().unwrap_or(true));
        if matches!(dataset.kind, DatasetKind::MaterializedView) && reads_endless && dataset.options.get("refreshInterval").is_none() {
            return Err(Error::invalid(format!("materialized view '{}' reads a streaming table that never ends", dataset.name))
                .hint("give it OPTIONS (refreshInterval '1 minute'), or run with --trigger available-now"));
        }
    }
    Ok(())
}

impl DatasetTask {
    async fn run(mut self) -> Result<()> {
        let result = self.run_inner().await.map_err(|error| error.context(format!("dataset '{}'", self.dataset.name)));
        self.set(|status| {
            status.state = match &result {
                Ok(()) => DatasetState::Ended,
                Err(error) => DatasetState::Failed(error.clone()),
            }
        });
        if result.is_ok() {
            self.ended.send_replace(true);
        }
        result
    }

    async fn run_inner(&mut self) -> Result<()> {
        for (is_bounded, upstream) in &mut self.upstream {
            if *is_bounded {
                tokio::select! {
                    // An upstream that failed never sends: the job's stop ends the wait.
                    ended = upstream.wait_for(|ended| *ended) => if ended.is_err() { return Ok(()) },
                    () = self.stop.cancelled() => return Ok(()),
                }
            }
        }
        if self.stop.is_cancelled() {
            return Ok(());
        }
        match self.dataset.kind {
            DatasetKind::StreamingTable => self.run_stream().await,
            DatasetKind::MaterializedView => self.run_view().await,
        }
    }

    async fn run_stream(&self) -> Result<()> {
        let query = self.dataset.stream_writer(&self.options)?.start().await?;
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
        let interval = match self.dataset.options.get("refreshInterval") {
            None => None,
            Some(text) => {
                Some(parse_duration(text).ok_or_else(|| Error::invalid(format!("refreshInterval '{text}' is not a length of time")))?)
            }
        };
        let reads_endless = self.upstream.iter().any(|(is_bounded, _)| !is_bounded);
        self.set(|status| status.state = DatasetState::Running);
        loop {
            let n_rows = self.compute_view().await?;
            self.set(|status| status.n_rows = Some(n_rows));
            let Some(interval) = interval.filter(|_| reads_endless) else { return Ok(()) };
            tokio::select! {
                () = self.session.engine().clock().sleep(interval) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn compute_view(&self) -> Result<u64> {
        let dataset = &self.dataset;
        let mut writer = dataset.frame.write().format(&dataset.format).mode(SaveMode::Overwrite).partition_by(dataset.partition_by.clone());
        for (name, value) in dataset.options.iter() {
            if !RUN_OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                writer = writer.option(name, value);
            }
        }
        writer.save().await
    }

    fn set(&self, change: impl FnOnce(&mut DatasetStatus)) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = statuses.get_mut(self.position) {
            change(status);
        }
    }
}
