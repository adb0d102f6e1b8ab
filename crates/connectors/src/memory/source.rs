//! The driver's half: positions count chunks.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{Admission, BatchId, Options, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use tokio::sync::Notify;

use super::reader::MemorySplit;
use super::store::MemoryStream;
use crate::wire;

#[derive(Debug)]
pub(super) struct MemorySource {
    stream: MemoryStream,
    wakeup: Arc<Notify>,
    max_chunks: Option<u64>,
    time_zone: String,
    end: Option<u64>,
}

impl MemorySource {
    pub(super) fn new(stream: MemoryStream, request: &SourceRequest) -> Result<Self> {
        let max_chunks = request.options.get_u64("maxChunksPerTrigger")?.map(|n| n.max(1));
        Ok(Self { wakeup: stream.new_wakeup(), stream, max_chunks, time_zone: request.time_zone.clone(), end: None })
    }
}

#[async_trait]
impl Source for MemorySource {
    fn description(&self) -> String {
        format!("MemoryStream[{}]", self.stream.name())
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "memory", "stream": self.stream.name() })
    }

    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "memory".to_owned(),
            format: "memory".to_owned(),
            options: Options::new().with("stream", self.stream.name()),
            schema: self.stream.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        Ok(start.position().cloned().unwrap_or_else(|| Position(serde_json::json!(0))))
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        let first: u64 = wire::from_value(&from.0, "memory position")?;
        let mut past = self.stream.n_chunks();
        if let Some(end) = self.end {
            past = past.min(end);
        }
        if !admission.ignore_limits {
            if let Some(max_chunks) = self.max_chunks {
                past = past.min(first.saturating_add(max_chunks));
            }
            if let Some(bytes_max) = admission.bytes_max {
                let mut bytes = 0;
                let chunks = self.stream.chunks(first, past);
                let fits = chunks.iter().take_while(|chunk| {
                    bytes += chunk.get_array_memory_size() as u64;
                    bytes <= bytes_max
                });
                past = past.min(first + (fits.count() as u64).max(1));
            }
        }
        if past <= first {
            return Ok(None);
        }
        let end = Position(serde_json::json!(past));
        Ok(Some(SourceRange { start: from.clone(), end, detail: serde_json::Value::Null }))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let first: u64 = wire::from_value(&range.start.0, "memory position")?;
        let past: u64 = wire::from_value(&range.end.0, "memory position")?;
        let per_split = past.saturating_sub(first).div_ceil(n_tasks.max(1) as u64).max(1);
        let mut splits = Vec::new();
        let mut at = first;
        while at < past {
            let next = (at + per_split).min(past);
            let bytes = self.stream.chunks(at, next).iter().map(|chunk| chunk.get_array_memory_size() as u64).sum();
            splits.push(wire::split(&MemorySplit { first: at, past: next }, bytes)?);
            at = next;
        }
        Ok(splits)
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        self.end = Some(self.stream.n_chunks());
        Ok(())
    }

    fn metrics(&self) -> SourceMetrics {
        let mut metrics = SourceMetrics::default();
        metrics.latest = Some(Position(serde_json::json!(self.stream.n_chunks())));
        metrics
    }

    fn wakeup(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.wakeup))
    }
}
