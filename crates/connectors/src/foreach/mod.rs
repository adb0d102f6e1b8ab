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
use millstream_core::{BatchId, Connector, Delivery, Error, Result, Sink, TaskId, TaskOutput, WriterFactory, WriterSpec};

use crate::in_process::{InProcessSink, RowTaker};
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

/// A sink that gives rows of `schema` to writers made by `factory`.
pub fn foreach_sink(factory: Arc<dyn RowWriterFactory>, schema: SchemaRef, time_zone: &str) -> impl Sink + 'static {
    InProcessSink::new(RowByRow(factory), schema, time_zone)
}

struct RowByRow(Arc<dyn RowWriterFactory>);

impl RowByRow {
    async fn write_partition(&self, batch: BatchId, output: &TaskOutput) -> Result<()> {
        let rows = wire::rows_from_bytes(&output.payload)?;
        let mut writer = self.0.new_writer();
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

impl fmt::Debug for RowByRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowByRow")
    }
}

#[async_trait]
impl RowTaker for RowByRow {
    fn format(&self) -> &'static str {
        "foreach"
    }

    fn description(&self) -> String {
        "ForeachSink".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    async fn take(&self, batch: BatchId, _schema: &SchemaRef, mut outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        outputs.sort_by_key(|output| output.task_id);
        for output in &outputs {
            self.write_partition(batch, output)
                .await
                .map_err(|error| error.context(format!("in foreach, batch {batch}, partition {}", output.task_id)))?;
        }
        Ok(serde_json::Value::Null)
    }
}

#[cfg(test)]
mod tests;
