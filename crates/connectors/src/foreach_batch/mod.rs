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
use millstream_core::{BatchId, Connector, Delivery, Error, Result, Sink, TaskOutput, WriterFactory, WriterSpec};

use crate::in_process::{InProcessSink, RowTaker};
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

/// A sink that gives batches of rows of `schema` to `function`.
pub fn foreach_batch_sink(function: ForeachBatch, schema: SchemaRef, time_zone: &str) -> impl Sink + 'static {
    InProcessSink::new(BatchByBatch(function), schema, time_zone)
}

struct BatchByBatch(ForeachBatch);

impl fmt::Debug for BatchByBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchByBatch")
    }
}

#[async_trait]
impl RowTaker for BatchByBatch {
    fn format(&self) -> &'static str {
        "foreach_batch"
    }

    fn description(&self) -> String {
        "ForeachBatchSink".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::IdempotentByBatch
    }

    async fn take(&self, batch: BatchId, _schema: &SchemaRef, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let rows = wire::rows_of(outputs)?;
        (self.0)(rows, batch).await.map_err(|error: Error| error.context(format!("in foreach_batch of batch {batch}")))?;
        Ok(serde_json::Value::Null)
    }
}

#[cfg(test)]
mod tests;
