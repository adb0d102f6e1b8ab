//! The sink: rows come to the driver with the tasks' messages, wait, and enter the table at commit.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::{BatchId, Delivery, Result, SinkContext, TaskOutput};

use super::store::MemoryStore;
use crate::in_process::RowTaker;
use crate::wire;

#[derive(Debug)]
pub(super) struct MemoryTable {
    pub(super) store: Arc<MemoryStore>,
    pub(super) name: String,
    /// A batch brings the whole table, so it replaces the ones before.
    pub(super) is_complete: bool,
}

#[async_trait]
impl RowTaker for MemoryTable {
    fn format(&self) -> &'static str {
        "memory"
    }

    fn description(&self) -> String {
        "MemorySink".to_owned()
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "memory", "table": self.name })
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    async fn open(&self, ctx: &SinkContext, schema: &SchemaRef) -> Result<()> {
        self.store.open_table(&self.name, Arc::clone(schema), ctx.query_id);
        Ok(())
    }

    async fn take(&self, batch: BatchId, _schema: &SchemaRef, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let n_rows: u64 = outputs.iter().map(|output| output.n_rows).sum();
        self.store.stage(&self.name, batch, wire::rows_of(outputs)?);
        Ok(serde_json::json!({ "rows": n_rows }))
    }

    async fn commit(&self, batch: BatchId, prepared: &serde_json::Value) -> Result<()> {
        let is_empty = prepared.get("rows").and_then(serde_json::Value::as_u64) == Some(0);
        if !self.store.commit(&self.name, batch, self.is_complete) && !is_empty {
            tracing::warn!(table = self.name, %batch, "rows of a memory table went with the process that computed them");
        }
        Ok(())
    }

    async fn abandon(&self, batch: BatchId) -> Result<()> {
        self.store.abandon(&self.name, batch);
        Ok(())
    }
}
