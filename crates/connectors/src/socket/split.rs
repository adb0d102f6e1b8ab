//! What a task is given to read: rows that came from memory, or a range of the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millstream_core::{Error, Result, Split};
use millstream_state::wal::WalPosition;
use serde::{Deserialize, Serialize};

use super::receiver::Row;

/// What a split says: a line of JSON, behind it (for rows from memory) an Arrow IPC stream.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SocketSplit {
    Rows { first: u64 },
    Log { dir: String, from: WalPosition, to: WalPosition },
}

impl SocketSplit {
    /// A split that carries its rows.
    pub(super) fn with_rows(mut head: Vec<u8>, ipc: &Bytes) -> Result<Split> {
        let bytes_estimate = ipc.len() as u64;
        head.push(b'\n');
        head.extend_from_slice(ipc);
        Ok(Split { payload: Bytes::from(head), bytes_estimate })
    }

    /// What it says, and the bytes behind it.
    pub(super) fn parse(split: &Split) -> Result<(Self, Bytes)> {
        let end = memchr::memchr(b'\n', &split.payload).unwrap_or(split.payload.len());
        let head = split.payload.slice(..end);
        let parsed = serde_json::from_slice(&head).map_err(|error| Error::internal(format!("split cannot be decoded: {error}")))?;
        Ok((parsed, split.payload.slice((end + 1).min(split.payload.len())..)))
    }
}

/// Rows as a batch of the source's schema.
pub(super) fn to_batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "timestamp" => {
                let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.received_us));
                Arc::new(times.with_timezone("UTC")) as ArrayRef
            }
            _ => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| String::from_utf8_lossy(&row.bytes)))) as ArrayRef,
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
