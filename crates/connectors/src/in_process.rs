//! The driver's half of sinks that live in this process: rows come with the tasks' messages and go to a [`RowTaker`].
//!
//! A taker whose effects show at once acts in [`RowTaker::take`], after the batch's intent is durable and before its
//! prepared record: after a crash it is given the same batch again. One that promises more keeps the rows until
//! [`RowTaker::commit`].

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::{BatchId, Delivery, Options, Result, Sink, SinkContext, TaskOutput, WriterSpec};
use serde_json::Value;

/// What becomes of the rows of a batch.
#[async_trait]
pub(crate) trait RowTaker: Send + Sync + fmt::Debug {
    /// Connector and format.
    fn format(&self) -> &'static str;

    /// What progress shows.
    fn description(&self) -> String;

    /// What it promises. Less than [`Delivery::Transactional`] means that effects show in `take`.
    fn delivery(&self) -> Delivery;

    /// What a restart compares.
    fn identity(&self) -> Value {
        serde_json::json!({ "format": self.format() })
    }

    /// What its tasks' writers must know.
    fn writer_options(&self) -> Options {
        Options::new()
    }

    /// Begins a run.
    async fn open(&self, ctx: &SinkContext, schema: &SchemaRef) -> Result<()> {
        let _ = (ctx, schema);
        Ok(())
    }

    /// The rows of all tasks; the answer goes into the prepared record.
    async fn take(&self, batch: BatchId, schema: &SchemaRef, outputs: Vec<TaskOutput>) -> Result<Value>;

    /// The batch is decided; called again after a crash.
    async fn commit(&self, batch: BatchId, prepared: &Value) -> Result<()> {
        let _ = (batch, prepared);
        Ok(())
    }

    /// The attempt lost.
    async fn abandon(&self, batch: BatchId) -> Result<()> {
        let _ = batch;
        Ok(())
    }
}

/// A sink over a [`RowTaker`].
#[derive(Debug)]
pub(crate) struct InProcessSink<T> {
    taker: T,
    schema: SchemaRef,
    time_zone: String,
}

impl<T: RowTaker> InProcessSink<T> {
    /// For rows of `schema`.
    pub(crate) fn new(taker: T, schema: SchemaRef, time_zone: impl Into<String>) -> Self {
        Self { taker, schema, time_zone: time_zone.into() }
    }
}

#[async_trait]
impl<T: RowTaker> Sink for InProcessSink<T> {
    fn description(&self) -> String {
        self.taker.description()
    }

    fn identity(&self) -> Value {
        self.taker.identity()
    }

    fn delivery(&self) -> Delivery {
        self.taker.delivery()
    }

    fn needs_intent(&self) -> bool {
        self.taker.delivery() != Delivery::Transactional
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: self.taker.format().to_owned(),
            format: self.taker.format().to_owned(),
            options: self.taker.writer_options(),
            schema: Arc::clone(&self.schema),
            partition_by: Vec::new(),
            time_zone: self.time_zone.clone(),
        }
    }

    async fn start(&self, ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        self.taker.open(ctx, &self.schema).await
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<Value> {
        self.taker.take(batch, &self.schema, outputs).await
    }

    async fn commit(&self, batch: BatchId, prepared: &Value) -> Result<()> {
        self.taker.commit(batch, prepared).await
    }

    async fn abandon(&self, batch: BatchId, _outputs: Vec<TaskOutput>) -> Result<()> {
        self.taker.abandon(batch).await
    }
}
