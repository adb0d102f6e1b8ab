//! Tests of `memory`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::{Admission, ConnectorRegistry, Result, Sink, Source, SourceStart};
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use millstream_testkit::source_contract::{SourceHarness, check_source};

use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request, source, source_request};
use crate::{InProcess, MemoryStream};

struct Memory {
    registry: ConnectorRegistry,
    in_process: InProcess,
    stream: MemoryStream,
}

impl Memory {
    fn new() -> Self {
        let (registry, in_process) = registry();
        let stream = in_process.memory.stream("s", id_name_schema()).unwrap();
        Self { registry, in_process, stream }
    }
}

#[async_trait]
impl SourceHarness for Memory {
    async fn source(&self) -> Result<Box<dyn Source>> {
        source(&self.registry, source_request("memory", &[("stream", "s"), ("maxChunksPerTrigger", "2")], None)).await
    }

    async fn add_data(&self, step: usize) -> Result<()> {
        for chunk in 0..=step {
            self.stream.add(id_name_rows(step * 100 + chunk * 10, 7))?;
        }
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }
}

#[async_trait]
impl SinkHarness for Memory {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        sink(&self.registry, sink_request("memory", &[], id_name_schema())).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.in_process.memory.table("q").map(|(_, rows)| rows).unwrap_or_default())
    }
}

#[tokio::test]
async fn source_keeps_the_contract() {
    check_source(&Memory::new()).await.unwrap();
}

#[tokio::test]
async fn sink_keeps_the_contract() {
    check_sink(&Memory::new()).await.unwrap();
}

#[tokio::test]
async fn added_rows_wake_everybody_who_reads_the_stream() {
    let memory = Memory::new();
    let sources = [memory.source().await.unwrap(), memory.source().await.unwrap()];
    drop(memory.source().await.unwrap());
    for _ in 0..2 {
        memory.stream.add(id_name_rows(0, 1)).unwrap();
        for source in &sources {
            // A permit is kept for who comes late.
            let wakeup = source.wakeup().unwrap();
            tokio::time::timeout(Duration::from_secs(20), wakeup.notified()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_byte_limit_takes_at_least_one_chunk() {
    let memory = Memory::new();
    memory.add_data(3).await.unwrap();
    let mut source = memory.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::bytes(Some(1))).await.unwrap().unwrap();
    assert_eq!(range.end.0, serde_json::json!(1));
    let range = source.plan(&start, &Admission::ALL).await.unwrap().unwrap();
    assert_eq!(range.end.0, serde_json::json!(4));
}

#[tokio::test]
async fn another_query_of_the_same_name_starts_an_empty_table() {
    use millstream_core::{BatchId, QueryId, RunEpoch, SinkContext};
    let memory = Memory::new();
    check_sink(&memory).await.unwrap();
    assert!(!memory.visible().await.unwrap().is_empty());
    let sink = memory.sink().await.unwrap();
    let ctx = SinkContext { query_id: QueryId(uuid::Uuid::from_u128(7)), epoch: RunEpoch(1) };
    sink.start(&ctx, None::<BatchId>).await.unwrap();
    assert!(memory.visible().await.unwrap().is_empty());
}

#[tokio::test]
async fn unknown_streams_and_wrong_rows_are_refused() {
    let memory = Memory::new();
    let error = source(&memory.registry, source_request("memory", &[("stream", "t")], None)).await.unwrap_err();
    assert_eq!(error.message(), "there is no memory stream 't' in this session");
    let wrong = id_name_rows(0, 1).project(&[0]).unwrap();
    assert!(memory.stream.add(wrong).is_err());
}
