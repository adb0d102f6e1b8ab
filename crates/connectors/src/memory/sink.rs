//! The sink: rows come to the driver with the tasks' messages, wait, and enter the table at commit.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::{BatchId, Delivery, Options, Result, Sink, SinkContext, TaskOutput, WriterSpec};

use super::store::MemoryStore;
use crate::wire;

#[derive(Debug)]
pub(super) struct MemorySink {
    store: Arc<MemoryStore>,
    table: String,
    schema: SchemaRef,
    time_zone: String,
}

impl MemorySink {
    pub(super) fn new(store: Arc<MemoryStore>, table: &str, request: &SinkRequest) -> Self {
        let (schema, time_zone) = (Arc::clone(&request.schema), request.time_zone.clone());
        Self { store, table: table.to_owned(), schema, time_zone }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn description(&self) -> String {
        "MemorySink".to_owned()
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "memory", "table": self.table })
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: "memory".to_owned(),
            format: "memory".to_owned(),
            options: Options::new(),
            schema: Arc::clone(&self.schema),
            partition_by: Vec::new(),
            time_zone: self.time_zone.clone(),
        }
    }

    async fn start(&self, ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        self.store.open_table(&self.table, Arc::clone(&self.schema), ctx.query_id);
        Ok(())
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let n_rows: u64 = outputs.iter().map(|output| output.n_rows).sum();
        self.store.stage(&self.table, batch, wire::rows_of(outputs)?);
        Ok(serde_json::json!({ "rows": n_rows }))
    }

    async fn commit(&self, batch: BatchId, prepared: &serde_json::Value) -> Result<()> {
        let is_empty = prepared.get("rows").and_then(serde_json::Value::as_u64) == Some(0);
        if !self.store.commit(&self.table, batch) && !is_empty {
            tracing::warn!(table = self.table, %batch, "rows of a memory table went with the process that computed them");
        }
        Ok(())
    }

    async fn abandon(&self, batch: BatchId, _outputs: Vec<TaskOutput>) -> Result<()> {
        self.store.abandon(&self.table, batch);
        Ok(())
    }
}
