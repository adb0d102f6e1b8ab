//! `foreach_batch`: a user's function is given the rows of each micro-batch and its id.
//!
//! The function runs in `prepare`, after the batch's intent is durable and before its prepared record: a crash in between
//! gives it the same batch id and the same input again, so a function that replaces its output by batch id writes each
//! row exactly once. After the prepared record it is not called again.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::BoxFuture;
use millstream_core::{BatchId, Connector, Delivery, Error, Options, Result, Sink, SinkContext, TaskOutput, WriterFactory, WriterSpec};

use crate::wire::{self, RowsToDriver};

/// The user's function: the rows of a micro-batch, and its id.
pub type ForeachBatch = Arc<dyn Fn(Vec<RecordBatch>, BatchId) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The writers' half; the sink itself is made from a function, not from options.
#[derive(Debug)]
pub struct ForeachBatchConnector;

impl Connector for ForeachBatchConnector {
    fn name(&self) -> &'static str {
        "foreach_batch"
    }

    fn formats(&self) -> &'static [&'static str] {
        &[]
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(RowsToDriver::new(Arc::clone(&spec.schema))))
    }
}

/// See the [module](self).
pub struct ForeachBatchSink {
    function: ForeachBatch,
    schema: SchemaRef,
    time_zone: String,
}

impl ForeachBatchSink {
    /// Gives batches of rows of `schema` to `function`.
    pub fn new(function: ForeachBatch, schema: SchemaRef, time_zone: impl Into<String>) -> Self {
        Self { function, schema, time_zone: time_zone.into() }
    }
}

impl fmt::Debug for ForeachBatchSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeachBatchSink").finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for ForeachBatchSink {
    fn description(&self) -> String {
        "ForeachBatchSink".to_owned()
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "foreach_batch" })
    }

    fn delivery(&self) -> Delivery {
        Delivery::IdempotentByBatch
    }

    fn needs_intent(&self) -> bool {
        true
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: "foreach_batch".to_owned(),
            format: "foreach_batch".to_owned(),
            options: Options::new(),
            schema: Arc::clone(&self.schema),
            partition_by: Vec::new(),
            time_zone: self.time_zone.clone(),
        }
    }

    async fn start(&self, _ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let rows = wire::rows_of(outputs)?;
        (self.function)(rows, batch).await.map_err(|error: Error| error.context(format!("in foreach_batch of batch {batch}")))?;
        Ok(serde_json::Value::Null)
    }

    async fn commit(&self, _batch: BatchId, _prepared: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
