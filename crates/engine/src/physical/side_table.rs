//! A table beside the main sink: rows that are no result, written by the task that met them.
//!
//! What a task wrote is reported with its commit message, prepared and committed with the batch, so a row is there exactly
//! once, like those of the main output. Nothing is opened before the first row.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use millstream_core::{ConnectorRegistry, Error, Result, Sink, TaskId, TaskWriter, WriterFactory, WriterSpec};

use crate::batch::BatchScope;

/// Numbers of tasks that one operator may use in a side table.
const TASKS_PER_OPERATOR: u32 = 1 << 16;

/// The highest number of an operator that writes to a side table.
pub(super) const LAST_WRITER: u32 = u32::MAX / TASKS_PER_OPERATOR;

/// A side table.
#[derive(Debug, Clone)]
pub struct SideTable {
    /// The side sink's name in the checkpoint.
    pub sink: String,
    /// How to make its writers elsewhere.
    pub spec: WriterSpec,
    /// Its writers.
    pub writers: Arc<dyn WriterFactory>,
}

impl SideTable {
    /// The table that `sink` commits, under its name in the checkpoint.
    pub fn of(name: impl Into<String>, sink: &Arc<dyn Sink>, registry: &ConnectorRegistry) -> Result<Self> {
        let spec = sink.writer();
        let writers = registry.writer(&spec)?;
        Ok(Self { sink: name.into(), spec, writers })
    }
}

/// One partition's rows of one operator.
pub(super) struct SideWriter {
    target: SideTable,
    scope: Arc<BatchScope>,
    task_id: TaskId,
    writer: Option<Box<dyn TaskWriter>>,
}

impl SideWriter {
    /// `writer_no` tells apart the operators that write to one table.
    pub(super) fn new(target: SideTable, scope: Arc<BatchScope>, writer_no: u32, partition: usize) -> Result<Self> {
        let within = u32::try_from(partition).ok().filter(|within| *within < TASKS_PER_OPERATOR);
        let task_id = within.and_then(|within| writer_no.checked_mul(TASKS_PER_OPERATOR)?.checked_add(within));
        let task_id = task_id.ok_or_else(|| Error::internal(format!("task {partition} of writer {writer_no} has no number")))?;
        Ok(Self { target, scope, task_id: TaskId(task_id), writer: None })
    }

    /// The run.
    pub(super) fn scope(&self) -> &BatchScope {
        &self.scope
    }

    /// The table's columns.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.target.spec.schema)
    }

    /// Stages rows.
    pub(super) async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let facts = self.scope.facts;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(self.target.writers.open(facts.write_attempt(self.task_id)).await?),
        };
        writer.write(rows).await
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
            tracing::warn!(sink = self.target.sink, %error, "could not remove what a failed task had staged");
        }
    }
}
