//! `noop`: writes nothing; for measuring what is before the sink. Never keeps a row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::connector::SinkRequest;
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, Connector, Delivery, Result, Sink, TaskId, TaskOutput, TaskWriter, WriterFactory, WriterSpec};

use crate::in_process::{InProcessSink, RowTaker};

/// See the [module](self).
#[derive(Debug)]
pub struct NoopConnector;

#[async_trait]
impl Connector for NoopConnector {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["noop"]
    }

    fn takes_changes(&self) -> bool {
        true
    }

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        // As in Spark, any option is accepted: a job keeps its own when its sink is swapped for this one.
        Ok(Arc::new(InProcessSink::new(Nothing, request.schema, request.time_zone)))
    }

    fn writer(&self, _spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(NoopWriters))
    }
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl RowTaker for Nothing {
    fn format(&self) -> &'static str {
        "noop"
    }

    fn description(&self) -> String {
        "NoopSink".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    async fn take(&self, _batch: BatchId, _schema: &SchemaRef, _outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }
}

#[derive(Debug)]
struct NoopWriters;

#[async_trait]
impl WriterFactory for NoopWriters {
    async fn open(&self, attempt: WriteAttempt) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(NoopWriter { task_id: attempt.task_id, n_rows: 0 }))
    }
}

struct NoopWriter {
    task_id: TaskId,
    n_rows: u64,
}

#[async_trait]
impl TaskWriter for NoopWriter {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.n_rows += rows.num_rows() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<TaskOutput> {
        Ok(TaskOutput { task_id: self.task_id, n_rows: self.n_rows, payload: Bytes::new() })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
