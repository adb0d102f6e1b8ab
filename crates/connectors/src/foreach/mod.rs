//! `foreach`: a user's writer is opened per partition of each micro-batch, given its rows, and closed.
//!
//! As in Spark: `open(partition, batch)` may answer that the partition is already written (then no row is processed),
//! and `close` is called in every case, with the error if there was one. Runs after the batch's intent is durable and
//! before its prepared record, so after a crash the last batch may be given again, with the same id.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::{
    BatchId, Connector, Delivery, Error, Options, Result, Sink, SinkContext, TaskId, TaskOutput, WriterFactory, WriterSpec,
};

use crate::wire::{self, RowsToDriver};

/// A user's writer of rows, for one partition of one micro-batch.
#[async_trait]
pub trait RowWriter: Send {
    /// Begins; `false` means that this partition of this batch is already written, and its rows are passed over.
    async fn open(&mut self, partition: TaskId, batch: BatchId) -> Result<bool>;

    /// One row: row `row_idx` of `rows`.
    async fn process(&mut self, rows: &RecordBatch, row_idx: usize) -> Result<()>;

    /// Ends, with the error that ended it.
    async fn close(&mut self, error: Option<&Error>) -> Result<()>;
}

/// Makes a [`RowWriter`] per partition; any function that does is one.
pub trait RowWriterFactory: Send + Sync {
    /// A new writer.
    fn new_writer(&self) -> Box<dyn RowWriter>;
}

impl<F: Fn() -> Box<dyn RowWriter> + Send + Sync> RowWriterFactory for F {
    fn new_writer(&self) -> Box<dyn RowWriter> {
        self()
    }
}

/// The writers' half; the sink itself is made from a function, not from options.
#[derive(Debug)]
pub struct ForeachConnector;

impl Connector for ForeachConnector {
    fn name(&self) -> &'static str {
        "foreach"
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(RowsToDriver::new(Arc::clone(&spec.schema))))
    }
}

/// See the [module](self).
pub struct ForeachSink {
    factory: Arc<dyn RowWriterFactory>,
    schema: SchemaRef,
    time_zone: String,
}

impl ForeachSink {
    /// Gives rows of `schema` to writers made by `factory`.
    pub fn new(factory: Arc<dyn RowWriterFactory>, schema: SchemaRef, time_zone: impl Into<String>) -> Self {
        Self { factory, schema, time_zone: time_zone.into() }
    }

    async fn write_partition(&self, batch: BatchId, output: &TaskOutput) -> Result<()> {
        let rows = wire::rows_from_bytes(&output.payload)?;
        let mut writer = self.factory.new_writer();
        let written = process_all(writer.as_mut(), batch, output.task_id, &rows).await;
        let closed = writer.close(written.as_ref().err()).await;
        written.and(closed)
    }
}

async fn process_all(writer: &mut dyn RowWriter, batch: BatchId, task: TaskId, rows: &[RecordBatch]) -> Result<()> {
    if !writer.open(task, batch).await? {
        return Ok(());
    }
    for rows in rows {
        for row_idx in 0..rows.num_rows() {
            writer.process(rows, row_idx).await?;
        }
    }
    Ok(())
}

impl fmt::Debug for ForeachSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeachSink").finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for ForeachSink {
    fn description(&self) -> String {
        "ForeachSink".to_owned()
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "foreach" })
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn needs_intent(&self) -> bool {
        true
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: "foreach".to_owned(),
            format: "foreach".to_owned(),
            options: Options::new(),
            schema: Arc::clone(&self.schema),
            partition_by: Vec::new(),
            time_zone: self.time_zone.clone(),
        }
    }

    async fn start(&self, _ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, batch: BatchId, mut outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        outputs.sort_by_key(|output| output.task_id);
        for output in &outputs {
            self.write_partition(batch, output)
                .await
                .map_err(|error| error.context(format!("in foreach, batch {batch}, partition {}", output.task_id)))?;
        }
        Ok(serde_json::Value::Null)
    }

    async fn commit(&self, _batch: BatchId, _prepared: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
