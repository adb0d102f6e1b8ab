//! Tests of `noop`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::{ConnectorRegistry, Result, Sink};
use millstream_testkit::sink_contract::{SinkHarness, check_sink};

use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request};

struct Noop(ConnectorRegistry);

#[async_trait]
impl SinkHarness for Noop {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        sink(&self.0, sink_request("noop", &[], id_name_schema())).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.0
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn keeps_rows(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    check_sink(&Noop(registry().0)).await.unwrap();
}
