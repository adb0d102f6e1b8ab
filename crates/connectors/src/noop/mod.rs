//! `noop`: writes nothing; for measuring what is before the sink. Never keeps a row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::connector::SinkRequest;
use millstream_core::sink::WriteAttempt;
use millstream_core::{
    BatchId, Connector, Delivery, Options, Result, Sink, SinkContext, TaskId, TaskOutput, TaskWriter, WriterFactory, WriterSpec,
};

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

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        // As in Spark, any option is accepted: a job keeps its own when its sink is swapped for this one.
        Ok(Arc::new(NoopSink { schema: request.schema, time_zone: request.time_zone }))
    }

    fn writer(&self, _spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(NoopWriters))
    }
}

#[derive(Debug)]
struct NoopSink {
    schema: SchemaRef,
    time_zone: String,
}

#[async_trait]
impl Sink for NoopSink {
    fn description(&self) -> String {
        "NoopSink".to_owned()
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "noop" })
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: "noop".to_owned(),
            format: "noop".to_owned(),
            options: Options::new(),
            schema: Arc::clone(&self.schema),
            partition_by: Vec::new(),
            time_zone: self.time_zone.clone(),
        }
    }

    async fn start(&self, _ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, _batch: BatchId, _outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }

    async fn commit(&self, _batch: BatchId, _prepared: &serde_json::Value) -> Result<()> {
        Ok(())
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
