//! What happens to a record that cannot be read, and the record of it.
//!
//! Conservation law: for every split, `records in = rows out + dropped + dead-lettered`. A reader counts records
//! where it cuts the bytes, not where it builds rows, so that the law can be checked.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::ids::BatchId;

/// Spark's parse modes (`mode` option of json and csv readers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParseMode {
    /// A bad field is null and the rest of the row is kept; the raw text goes to the corrupt-record column, if the schema has it.
    #[default]
    Permissive,
    /// A bad record is dropped and counted.
    DropMalformed,
    /// The first bad record fails the query.
    FailFast,
}

impl std::str::FromStr for ParseMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "PERMISSIVE" => Ok(Self::Permissive),
            "DROPMALFORMED" => Ok(Self::DropMalformed),
            "FAILFAST" => Ok(Self::FailFast),
            _ => Err(Error::invalid(format!("parse mode '{text}' is not one of PERMISSIVE, DROPMALFORMED, FAILFAST"))),
        }
    }
}

/// A record that was set aside: a row of the dead-letter table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The record's bytes as read (after decompression), cut at a megabyte.
    pub raw: Vec<u8>,
    /// Why it was rejected.
    pub error: String,
    /// The file, topic-partition or address it came from.
    pub origin: String,
    /// The line in the file (from 1), or the offset in the partition.
    pub position: Option<i64>,
}

impl RejectedRecord {
    /// The most bytes of a record that are kept.
    pub const RAW_BYTES_MAX: usize = 1 << 20;

    /// A rejected record; `raw` is cut at [`Self::RAW_BYTES_MAX`].
    pub fn new(raw: &[u8], error: impl Into<String>, origin: impl Into<String>, position: Option<i64>) -> Self {
        let kept = raw.get(..Self::RAW_BYTES_MAX).unwrap_or(raw);
        Self { raw: kept.to_vec(), error: error.into(), origin: origin.into(), position }
    }

    /// The schema of a dead-letter table: raw, error, source, origin, position, batch_id.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("raw", DataType::Binary, false),
            Field::new("error", DataType::Utf8, false),
            Field::new("source", DataType::Utf8, false),
            Field::new("origin", DataType::Utf8, false),
            Field::new("position", DataType::Int64, true),
            Field::new("batch_id", DataType::Int64, false),
        ]))
    }

    /// The schema with the columns of a source's records behind the others, which may all be null.
    pub fn schema_with<'a>(record: impl IntoIterator<Item = &'a FieldRef>) -> SchemaRef {
        let record = record.into_iter().map(|field| Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
        Arc::new(Schema::new(Self::schema().fields().iter().cloned().chain(record).collect::<Vec<_>>()))
    }

    /// Rejected records as a batch of [`Self::schema`].
    pub fn to_batch(records: &[Self], source: &str, batch_id: BatchId) -> Result<RecordBatch> {
        let mut raw = BinaryBuilder::new();
        let mut error = StringBuilder::new();
        let mut origin = StringBuilder::new();
        let mut position = Int64Builder::new();
        for record in records {
            raw.append_value(&record.raw);
            error.append_value(&record.error);
            origin.append_value(&record.origin);
            position.append_option(record.position);
        }
        let sources: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![source; records.len()]));
        let batch_id = i64::try_from(batch_id.0).map_err(|_| Error::internal("batch id over 2^63"))?;
        let batches: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![batch_id; records.len()]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(raw.finish()),
            Arc::new(error.finish()),
            sources,
            Arc::new(origin.finish()),
            Arc::new(position.finish()),
            batches,
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns)?)
    }
}
