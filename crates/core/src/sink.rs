//! Sinks: tasks write and stage ([`TaskWriter`]), the driver commits ([`Sink`]).
//!
//! ```text
//!  task   WriterFactory::open ─► TaskWriter::write ... finish ─► TaskOutput ─┐
//!  driver                                       Sink::prepare(outputs) ─► prepared value
//!                                               PREPARED record durable      (the decision)
//!                                               Sink::commit(batch, prepared) (idempotent, in order of batches)
//!                                               Sink::abandon(...)            (recorded attempts that lost)
//! ```
//! A sink whose staged output does not survive the process, such as an open transaction that nobody can resume, cannot be
//! rolled forward: there the sink's own commit is the decision ([`Sink::decides`]), and the record follows it.
//!
//! ```text
//!  driver   Sink::prepare ─► PROPOSED record durable ─► Sink::commit (the decision) ─► PREPARED record durable
//!  restart  Sink::start ─► Sink::recover(last decided, proposed) ─► Committed: PREPARED is written now; RunAgain: same input
//! ```
//! Before `commit` nothing a task or `prepare` does may be visible to readers, unless the sink says
//! [`Delivery::AtLeastOnce`] or [`Sink::needs_intent`]; then the batch's intent is durable before the first task runs.

use std::fmt;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;

use crate::connector::WriterSpec;
use crate::error::{Error, Result};
use crate::ids::{BatchId, QueryId, RunEpoch, TaskId};

/// What a sink promises; logged at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Output appears whole at commit, exactly once.
    Transactional,
    /// A batch that is written again replaces itself: exactly once per batch id, as far as the sink's user keeps to it.
    IdempotentByBatch,
    /// After a crash rows of the last batch may appear again.
    AtLeastOnce,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transactional => "exactly once (transactional)",
            Self::IdempotentByBatch => "exactly once if writes are idempotent by batch id",
            Self::AtLeastOnce => "at least once",
        })
    }
}

/// Who writes: handed to a sink at the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkContext {
    /// The query.
    pub query_id: QueryId,
    /// The run's fencing number.
    pub epoch: RunEpoch,
}

/// Which piece of which attempt a task writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteAttempt {
    /// The query.
    pub query_id: QueryId,
    /// The run's fencing number.
    pub epoch: RunEpoch,
    /// The micro-batch.
    pub batch_id: BatchId,
    /// Counts the tries of this batch within the run, from 0.
    pub attempt: u32,
    /// The task.
    pub task_id: TaskId,
}

/// What a task tells the driver: the sink's own description of what it staged (or the rows themselves).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput {
    /// The task.
    pub task_id: TaskId,
    /// Rows written.
    pub n_rows: u64,
    /// Meaningful to the sink only.
    pub payload: Bytes,
}

/// A batch that a record of the log tells of, with what [`Sink::prepare`] said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedBatch<'a> {
    /// The batch.
    pub batch: BatchId,
    /// The sink's own words; `None` if the record has none of this sink.
    pub prepared: Option<&'a serde_json::Value>,
}

/// What became of a batch that was proposed to a sink that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is visible, whole: it is decided, and is not run again.
    Committed,
    /// Nothing of it is or ever will be visible: it is run again with the same ranges, clock and settings.
    RunAgain,
}

/// The driver's half of a sink. `commit` of batch N may run while tasks write batch N+1.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// What progress shows, such as `FileSink[file:/data/out]`. No secrets.
    fn description(&self) -> String;

    /// What a restart compares: kind and place, no secrets.
    fn identity(&self) -> serde_json::Value;

    /// What it promises.
    fn delivery(&self) -> Delivery;

    /// Whether effects show before `commit` (foreach, console, ...): then the intent is durable before the run, and a
    /// replay has the same id, ranges, clock and settings.
    fn needs_intent(&self) -> bool {
        false
    }

    /// Whether its commit is what decides a batch: what it stages is lost with the process, so no record can promise that the
    /// batch will be committed. The batch is then proposed before `commit` and prepared after it, and the next batch runs
    /// when both are done. A query has one such sink at most; the others commit after it.
    fn decides(&self) -> bool {
        false
    }

    /// Within which time its batches should end unless the query says otherwise: what is open for long may be ended by others.
    fn batch_duration_target(&self) -> Option<Duration> {
        None
    }

    /// Asked of a sink that [decides](Self::decides) at every start, after [`Sink::start`] and before anything runs: what
    /// became of the `proposed` batch behind the last `decided` one. Makes sure first that no older run can still commit.
    /// Fails if the sink lacks what was decided, or has more than what was proposed: then it is not the one that belongs
    /// to this checkpoint. Without a proposed batch the answer says nothing.
    async fn recover(&self, decided: Option<RecordedBatch<'_>>, proposed: Option<RecordedBatch<'_>>) -> Result<Outcome> {
        let _ = (decided, proposed);
        Err(Error::internal(format!("{} decides nothing", self.description())))
    }

    /// How tasks write to it.
    fn writer(&self) -> WriterSpec;

    /// Begins a run: fences older runs and removes leftovers of attempts of this query which no record decided.
    /// `decided` is the highest batch with a prepared record. Never touches what is not this query's.
    async fn start(&self, ctx: &SinkContext, decided: Option<BatchId>) -> Result<()>;

    /// All tasks of a batch have finished: makes what they staged durable and says what `commit` must know. The value
    /// goes into the prepared record. Sinks with `needs_intent` may act here.
    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<serde_json::Value>;

    /// Makes the batch visible. Idempotent: called again after a crash with the value from the record. A sink that
    /// [decides](Self::decides) is called again behind the prepared record, and has nothing to do then.
    async fn commit(&self, batch: BatchId, prepared: &serde_json::Value) -> Result<()>;

    /// The attempt lost or failed: removes what its tasks staged, as far as possible.
    async fn abandon(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<()> {
        let _ = (batch, outputs);
        Ok(())
    }

    /// Ends the run.
    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

/// The task's half of a sink: makes writers. Made from a [`WriterSpec`] wherever the task runs.
#[async_trait]
pub trait WriterFactory: Send + Sync + fmt::Debug {
    /// A writer for one task of one attempt. Nothing is created before the first row.
    async fn open(&self, attempt: WriteAttempt) -> Result<Box<dyn TaskWriter>>;

    /// Whether a task opens its writer even if it has no rows (a table without rows still has columns).
    fn opens_without_rows(&self, task_id: TaskId) -> bool {
        let _ = task_id;
        false
    }
}

/// Writes the rows of one task.
#[async_trait]
pub trait TaskWriter: Send {
    /// Writes rows.
    async fn write(&mut self, rows: RecordBatch) -> Result<()>;

    /// No more rows: stage what is left, durable (synced), and describe it.
    async fn finish(self: Box<Self>) -> Result<TaskOutput>;

    /// Give up: remove what was staged.
    async fn abort(self: Box<Self>) -> Result<()>;
}
