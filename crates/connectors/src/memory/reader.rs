//! The task's half: the chunks of a split, in order.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use millstream_core::{Error, ReaderSpec, Result, RowPlaces, Split, SplitChunk, SplitReader, SplitStream};
use serde::{Deserialize, Serialize};

use super::store::MemoryStream;
use crate::wire;

/// The chunks `first..past`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MemorySplit {
    pub(super) first: u64,
    pub(super) past: u64,
}

#[derive(Debug)]
pub(super) struct MemoryReader {
    stream: MemoryStream,
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
}

impl MemoryReader {
    pub(super) fn new(stream: MemoryStream, spec: &ReaderSpec) -> Result<Self> {
        Ok(Self { stream, schema: spec.projected_schema()?, projection: spec.projection.clone() })
    }
}

#[async_trait]
impl SplitReader for MemoryReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let split: MemorySplit = wire::split_payload(split)?;
        let chunks = self.stream.chunks(split.first, split.past);
        if chunks.len() as u64 != split.past.saturating_sub(split.first) {
            return Err(Error::data(format!(
                "memory stream '{}' has no chunks {}..{}: it is not the stream that was read before",
                self.stream.name(),
                split.first,
                split.past
            )));
        }
        let projection = self.projection.clone();
        let chunks = (split.first..).zip(chunks).map(move |(block, chunk)| {
            let rows = match &projection {
                Some(indices) => chunk.project(indices)?,
                None => chunk,
            };
            Ok(SplitChunk::of(rows, RowPlaces::InBlock { block, first: 0 }))
        });
        Ok(futures::stream::iter(chunks).boxed())
    }
}
