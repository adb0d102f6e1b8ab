//! How splits, and rows handed to the driver, travel as bytes.
//!
//! Splits are small JSON values. Rows of in-process sinks (console, memory, foreach) are Arrow IPC streams, so that a
//! task may run in another process. This module never touches a file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::sink::WriteAttempt;
use millstream_core::{Error, Result, Split, TaskOutput, TaskWriter, WriterFactory};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A split whose payload is `value` as JSON.
pub fn split<T: Serialize>(value: &T, bytes_estimate: u64) -> Result<Split> {
    Ok(Split { payload: Bytes::from(to_json(value)?), bytes_estimate })
}

/// The payload of a split made by [`split`].
pub fn split_payload<T: DeserializeOwned>(split: &Split) -> Result<T> {
    serde_json::from_slice(&split.payload).map_err(|error| Error::internal(format!("split payload cannot be decoded: {error}")))
}

/// `value` as JSON bytes.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("value cannot be encoded as json: {error}")))
}

/// `value` as a JSON value.
pub fn to_value<T: Serialize>(value: &T) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| Error::internal(format!("value cannot be encoded as json: {error}")))
}

/// A value from JSON that a record holds; `what` is for the message.
pub fn from_value<T: DeserializeOwned>(value: &serde_json::Value, what: &str) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::data(format!("{what} cannot be decoded: {error}")))
}

/// Rows as an Arrow IPC stream; no rows, no bytes.
pub fn rows_to_bytes(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Bytes> {
    if rows.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(Bytes::new());
    }
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in rows {
        writer.write(batch)?;
    }
    Ok(Bytes::from(writer.into_inner()?))
}

/// The rows of [`rows_to_bytes`].
pub fn rows_from_bytes(bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(std::io::Cursor::new(bytes.as_ref()), None)?;
    reader.map(|batch| batch.map_err(Error::from)).collect()
}

/// The rows of all tasks of a batch, in the order of tasks.
pub fn rows_of(mut outputs: Vec<TaskOutput>) -> Result<Vec<RecordBatch>> {
    outputs.sort_by_key(|output| output.task_id);
    let mut rows = Vec::new();
    for output in &outputs {
        rows.extend(rows_from_bytes(&output.payload)?);
    }
    Ok(rows)
}

/// Makes writers that hand their rows to the driver.
#[derive(Debug)]
pub struct RowsToDriver {
    schema: SchemaRef,
    n_rows_max: Option<usize>,
}

impl RowsToDriver {
    /// For rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, n_rows_max: None }
    }

    /// The first rows of each task are enough: the others are only counted.
    #[must_use]
    pub fn first(self, n_rows: usize) -> Self {
        Self { n_rows_max: Some(n_rows), ..self }
    }
}

#[async_trait]
impl WriterFactory for RowsToDriver {
    async fn open(&self, attempt: WriteAttempt) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(RowsWriter {
            schema: Arc::clone(&self.schema),
            attempt,
            rows: Vec::new(),
            n_rows: 0,
            n_rows_wanted: self.n_rows_max.unwrap_or(usize::MAX),
        }))
    }
}

struct RowsWriter {
    schema: SchemaRef,
    attempt: WriteAttempt,
    rows: Vec<RecordBatch>,
    n_rows: u64,
    /// How many more are kept.
    n_rows_wanted: usize,
}

#[async_trait]
impl TaskWriter for RowsWriter {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.n_rows += rows.num_rows() as u64;
        let kept = rows.slice(0, rows.num_rows().min(self.n_rows_wanted));
        if kept.num_rows() > 0 {
            self.n_rows_wanted -= kept.num_rows();
            self.rows.push(kept);
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<TaskOutput> {
        let payload = rows_to_bytes(&self.schema, &self.rows)?;
        Ok(TaskOutput { task_id: self.attempt.task_id, n_rows: self.n_rows, payload })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
