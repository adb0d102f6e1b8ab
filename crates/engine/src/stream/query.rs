//! The handle of a running query, and what it shares with its loop.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_core::{Clock, Error, QueryId, Result, RunId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::listener::{ListenerBus, QueryEvent};
use super::progress::{StreamingQueryProgress, StreamingQueryStatus};

/// How many progress records a query keeps (Spark's `spark.sql.streaming.numRecentProgressUpdates`).
const RECENT_PROGRESS_MAX: usize = 100;

/// How a run ended.
#[derive(Debug, Clone)]
pub enum QueryEnd {
    /// It is still running.
    Running,
    /// It was stopped, or its bounded input ended.
    Ended,
    /// It failed.
    Failed(Error),
}

/// What the loop and the handles share.
#[derive(Debug)]
pub struct QueryShared {
    pub(crate) id: QueryId,
    pub(crate) run_id: RunId,
    pub(crate) name: Option<String>,
    pub(crate) plan_text: Mutex<String>,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_timeout: Duration,
    pub(crate) wake: Notify,
    pub(crate) drain: watch::Sender<u64>,
    pub(crate) drained: watch::Sender<u64>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) listeners: ListenerBus,
    status: Mutex<StreamingQueryStatus>,
    recent: Mutex<VecDeque<StreamingQueryProgress>>,
    end: watch::Sender<QueryEnd>,
}

impl QueryShared {
    pub(crate) fn new(
        id: QueryId,
        run_id: RunId,
        name: Option<String>,
        stop_timeout: Duration,
        clock: Arc<dyn Clock>,
        listeners: ListenerBus,
    ) -> Self {
        Self {
            id,
            run_id,
            name,
            plan_text: Mutex::default(),
            stop: CancellationToken::new(),
            stop_timeout,
            wake: Notify::new(),
            drain: watch::Sender::new(0),
            drained: watch::Sender::new(0),
            clock,
            listeners,
            status: Mutex::default(),
            recent: Mutex::default(),
            end: watch::Sender::new(QueryEnd::Running),
        }
    }

    pub(crate) fn set_status(&self, message: &str, is_data_available: bool, is_trigger_active: bool) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.message != message {
            status.message.clear();
            status.message.push_str(message);
        }
        status.is_data_available = is_data_available;
        status.is_trigger_active = is_trigger_active;
    }

    /// Tells listeners of a batch, and remembers it.
    pub(crate) fn publish(&self, progress: StreamingQueryProgress) {
        self.listeners.send(QueryEvent::Progress(Box::new(progress.clone())));
        self.remember(progress);
    }

    /// Remembers a progress among the recent ones.
    pub(crate) fn remember(&self, progress: StreamingQueryProgress) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_PROGRESS_MAX {
            recent.pop_front();
        }
        recent.push_back(progress);
    }

    pub(crate) fn finish(&self, end: QueryEnd) {
        let exception = match &end {
            QueryEnd::Failed(error) => Some(error.clone()),
            _ => None,
        };
        let message = exception.as_ref().map_or_else(|| "Stopped".to_owned(), |error| format!("Terminated with exception: {error}"));
        self.set_status(&message, false, false);
        // Listeners first, as in Spark: who waits for the end finds the event already sent.
        self.listeners.send(QueryEvent::Terminated { id: self.id, run_id: self.run_id, exception });
        self.end.send_replace(end);
    }
}

/// A running (or ended) streaming query: Spark's `StreamingQuery`. Cheap to clone; dropping it does not stop the query.
#[derive(Clone)]
pub struct StreamingQuery {
    pub(crate) shared: Arc<QueryShared>,
}

impl fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQuery").field("id", &self.id()).field("name", &self.name()).field("status", &self.status()).finish()
    }
}

impl StreamingQuery {
    /// The identity of the query, the same after every restart from its checkpoint.
    pub fn id(&self) -> QueryId {
        self.shared.id
    }

    /// The identity of this run.
    pub fn run_id(&self) -> RunId {
        self.shared.run_id
    }

    /// The query's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// Whether it is running.
    pub fn is_active(&self) -> bool {
        matches!(*self.shared.end.borrow(), QueryEnd::Running)
    }

    /// What it is doing.
    pub fn status(&self) -> StreamingQueryStatus {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The error that ended it, if one did.
    pub fn exception(&self) -> Option<Error> {
        match &*self.shared.end.borrow() {
            QueryEnd::Failed(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// The progress of the last batch; of an idle query, as it stands (no rows, the next batch's id).
    pub fn last_progress(&self) -> Option<StreamingQueryProgress> {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    /// The last 100 progress records, oldest first: one per batch, and one per 10 s without data
    /// (`spark.sql.streaming.noDataProgressEventInterval`).
    pub fn recent_progress(&self) -> Vec<StreamingQueryProgress> {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The physical plan that every batch runs.
    pub fn explain(&self) -> String {
        self.shared.plan_text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all data that is available now has been processed and committed. For tests: with data that never
    /// stops arriving it may wait forever. Fails if the query fails.
    pub async fn process_all_available(&self) -> Result<()> {
        let mut drained = self.shared.drained.subscribe();
        let mut ticket = 0;
        self.shared.drain.send_modify(|wanted| {
            *wanted += 1;
            ticket = *wanted;
        });
        self.shared.wake.notify_one();
        let mut end = self.shared.end.subscribe();
        tokio::select! {
            reached = drained.wait_for(|done| *done >= ticket) => reached.map(|_| ()).map_err(|_| Error::internal("the query's loop is gone")),
            ended = end.wait_for(|end| !matches!(end, QueryEnd::Running)) => match &*ended.map_err(|_| Error::internal("the query's loop is gone"))? {
                QueryEnd::Failed(error) => Err(error.clone()),
                _ => Ok(()),
            },
        }
    }

    /// Waits until the query ends. Returns whether it did within `timeout` (`None` = for ever); fails if the query failed.
    pub async fn await_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        let mut end = self.shared.end.subscribe();
        let ended = end.wait_for(|end| !matches!(end, QueryEnd::Running));
        let ended = match timeout {
            None => ended.await,
            Some(timeout) => tokio::select! {
                ended = ended => ended,
                () = self.shared.clock.sleep(timeout) => return Ok(false),
            },
        };
        match &*ended.map_err(|_| Error::internal("the query's loop is gone"))? {
            QueryEnd::Failed(error) => Err(error.clone()),
            _ => Ok(true),
        }
    }

    /// Stops the query: the batch that is running is finished, or cancelled after `stopTimeout` (its input is taken again
    /// by the next start). Returns when the query has ended; its failure, if any, stays in [`Self::exception`].
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.wake.notify_one();
        let mut end = self.shared.end.subscribe();
        let _ = end.wait_for(|end| !matches!(end, QueryEnd::Running)).await;
    }
}
