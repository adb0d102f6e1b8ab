//! The task's half: rows from the log, or rows that came with the split.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use millstream_core::{ReaderSpec, Result, RowPlaces, Split, SplitChunk, SplitReader, SplitStream};
use millstream_state::FileSystem;
use millstream_state::fs::blocking;
use millstream_state::wal::{WalPosition, WalRows, read_range};

use super::receiver::Row;
use super::split::{SocketSplit, to_batch};
use crate::wire;

#[derive(Debug)]
pub(super) struct SocketReader {
    fs: Arc<dyn FileSystem>,
    whole: SchemaRef,
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
    batch_rows: usize,
}

impl SocketReader {
    pub(super) fn new(fs: Arc<dyn FileSystem>, spec: &ReaderSpec) -> Result<Self> {
        Ok(Self {
            fs,
            whole: Arc::clone(&spec.schema),
            schema: spec.projected_schema()?,
            projection: spec.projection.clone(),
            batch_rows: spec.batch_rows.max(1),
        })
    }
}

#[async_trait]
impl SplitReader for SocketReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let (head, ipc) = SocketSplit::parse(split)?;
        match head {
            SocketSplit::Rows { mut first } => {
                let projection = self.projection.clone();
                let chunks = wire::rows_from_bytes(&ipc)?.into_iter().map(move |rows| {
                    let places = RowPlaces::Numbered { first, step: 1 };
                    first += rows.num_rows() as u64;
                    chunk(rows, projection.as_deref(), places)
                });
                Ok(futures::stream::iter(chunks).boxed())
            }
            SocketSplit::Log { dir, from, to } => {
                let rows = read_range(Arc::clone(&self.fs), &PathBuf::from(dir), from, to)?;
                let (schema, projection, batch_rows) = (Arc::clone(&self.whole), self.projection.clone(), self.batch_rows);
                let stream = futures::stream::unfold(Some(rows), move |rows| {
                    let (schema, projection) = (Arc::clone(&schema), projection.clone());
                    async move {
                        // Ended with an error before.
                        let rows: WalRows = rows?;
                        match blocking(move || next_rows(rows, batch_rows)).await {
                            Ok((_, batch, _)) if batch.is_empty() => None,
                            Ok((at, batch, rows)) => {
                                let places = RowPlaces::InBlock { block: at.segment, first: at.row };
                                let chunk = to_batch(&schema, &batch).and_then(|rows| chunk(rows, projection.as_deref(), places));
                                Some((chunk, Some(rows)))
                            }
                            Err(error) => Some((Err(error), None)),
                        }
                    }
                });
                Ok(stream.boxed())
            }
        }
    }
}

/// The next rows of one segment, and where they begin.
fn next_rows(mut rows: WalRows, n: usize) -> Result<(WalPosition, Vec<Row>, WalRows)> {
    let mut batch = Vec::new();
    let mut at = WalPosition::default();
    while batch.len() < n && (batch.is_empty() || rows.stays_in_segment()) {
        let Some(row) = rows.next().transpose()? else { break };
        if batch.is_empty() {
            at = WalPosition { row: rows.position().row - 1, ..rows.position() };
        }
        batch.push(Row { received_us: row.received_us, bytes: row.bytes.to_vec() });
    }
    Ok((at, batch, rows))
}

fn chunk(rows: RecordBatch, projection: Option<&[usize]>, places: RowPlaces) -> Result<SplitChunk> {
    let rows = match projection {
        Some(projection) => rows.project(projection)?,
        None => rows,
    };
    Ok(SplitChunk::of(rows, places))
}
