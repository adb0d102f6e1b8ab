//! Where bad records and rows go: a side sink of the same batch, written by the task that met them.
//!
//! What a task wrote is reported with its commit message, prepared and committed with the batch, so a dead letter is
//! there exactly once, like the rows of the main output. Nothing is opened before the first dead letter.

use std::sync::Arc;

use millstream_core::{Error, RejectedRecord, Result, TaskId, TaskWriter, WriterFactory, WriterSpec};

use crate::batch::BatchScope;

/// Numbers of tasks that one operator may use in a dead-letter table.
const TASKS_PER_OPERATOR: u32 = 1 << 16;

/// The highest number of an operator that writes to a dead-letter table. The source is 0, row guards count up from 1,
/// guards from the future down from here.
pub(super) const LAST_WRITER: u32 = u32::MAX / TASKS_PER_OPERATOR;

/// A dead-letter table.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// The side sink's name in the checkpoint.
    pub sink: String,
    /// How to make its writers elsewhere.
    pub spec: WriterSpec,
    /// Its writers.
    pub writers: Arc<dyn WriterFactory>,
}

/// One partition's dead letters of one operator.
pub(super) struct DeadLetterWriter {
    target: DeadLetters,
    scope: Arc<BatchScope>,
    task_id: TaskId,
    writer: Option<Box<dyn TaskWriter>>,
}

impl DeadLetterWriter {
    /// `writer_no` tells apart the operators that write to one table: 0 is the source.
    pub(super) fn new(target: DeadLetters, scope: Arc<BatchScope>, writer_no: u32, partition: usize) -> Result<Self> {
        let within = u32::try_from(partition).ok().filter(|within| *within < TASKS_PER_OPERATOR);
        let task_id = within.and_then(|within| writer_no.checked_mul(TASKS_PER_OPERATOR)?.checked_add(within));
        let task_id = task_id.ok_or_else(|| Error::internal(format!("task {partition} of writer {writer_no} has no number")))?;
        Ok(Self { target, scope, task_id: TaskId(task_id), writer: None })
    }

    /// Stages records that came from `source`.
    pub(super) async fn write(&mut self, records: &[RejectedRecord], source: &str) -> Result<()> {
        let facts = self.scope.facts;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(self.target.writers.open(facts.write_attempt(self.task_id)).await?),
        };
        writer.write(RejectedRecord::to_batch(records, source, facts.batch_id)?).await
    }

    /// The task has ended well: reports what was staged.
    pub(super) async fn finish(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.scope.side_output(&self.target.sink, writer.finish().await?);
        }
        Ok(())
    }

    /// The task has failed: removes what was staged, as far as it goes.
    pub(super) async fn abort(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.abort().await
        {
            tracing::warn!(sink = self.target.sink, %error, "could not remove staged dead letters");
        }
    }
}
