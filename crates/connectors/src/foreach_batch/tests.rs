//! Tests of `foreach_batch`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::FutureExt;
use millstream_core::{BatchId, ConnectorRegistry, Error, Result, Sink};
use millstream_testkit::sink_contract::{SinkHarness, check_sink};

use super::{ForeachBatch, foreach_batch_sink};
use crate::harness::{id_name_rows, id_name_schema, registry};

struct ReplacesByBatch {
    registry: ConnectorRegistry,
    output: Arc<Mutex<BTreeMap<BatchId, Vec<RecordBatch>>>>,
}

#[async_trait]
impl SinkHarness for ReplacesByBatch {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let output = Arc::clone(&self.output);
        let function: ForeachBatch = Arc::new(move |rows, batch| {
            output.lock().unwrap().insert(batch, rows);
            async { Ok(()) }.boxed()
        });
        Ok(Arc::new(foreach_batch_sink(function, id_name_schema(), "UTC")))
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.output.lock().unwrap().values().flatten().cloned().collect())
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    check_sink(&ReplacesByBatch { registry: registry().0, output: Arc::default() }).await.unwrap();
}

#[tokio::test]
async fn an_error_names_the_batch() {
    let function: ForeachBatch = Arc::new(|_, _| async { Err(Error::unavailable("the database is away")) }.boxed());
    let sink = foreach_batch_sink(function, id_name_schema(), "UTC");
    let error = sink.prepare(BatchId(4), Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "in foreach_batch of batch 4: the database is away");
}
