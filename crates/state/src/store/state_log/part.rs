//! Rows of one store as the payload of a frame: a piece of a delta or of a snapshot.
//!
//! ```text
//!  | len u32 | header: JSON {v, operator, store, n_keys, ...} | Arrow IPC stream: upserted rows | Arrow IPC stream: removed keys |
//!              columns: keys.., [expiry], values..                                               columns: keys..
//! ```
//! A part carries its own schema, so a store can be read as a table by who knows nothing of its operator. A stream without
//! rows is left out.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow_ipc::MetadataVersion;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::store::delta::TableDelta;
use crate::store::schema::{StoreRows, StoreSchema, empty};
use crate::store::{StoreId, arrow_error};

/// The version of the format that this build writes, and the newest it reads.
const PART_VERSION: u32 = 1;

/// A frame holds no more.
const UPSERTED_BYTES_MAX: usize = u32::MAX as usize;

/// The name of the column between keys and values. Its place tells what it is: a column of a user may have the same name.
const EXPIRY: &str = "expiry";

#[derive(Debug, Serialize, Deserialize)]
struct PartHeader {
    v: u32,
    operator: String,
    store: String,
    /// How many of the first columns are keys.
    n_keys: usize,
    /// Whether the column behind them is the expiry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_expiry: bool,
    /// Rows that expire at or before this are gone, before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expired_to: Option<i64>,
    /// The bytes of the first stream.
    upserted_bytes: usize,
}

/// Appends a delta as a payload.
pub fn encode(id: &StoreId, delta: &TableDelta, payload: &mut Vec<u8>) -> Result<()> {
    let StoreRows { n_rows, keys, expiry, values } = &delta.upserted;
    let mut fields: Vec<FieldRef> = delta.schema.keys().iter().cloned().collect();
    let mut columns = keys.clone();
    if let Some(expiry) = expiry {
        fields.push(Arc::new(Field::new(EXPIRY, DataType::Int64, true)));
        columns.push(Arc::new(expiry.clone()));
    }
    fields.extend(delta.schema.values().iter().cloned());
    columns.extend(values.iter().cloned());
    let header = |upserted_bytes: usize| -> Result<Vec<u8>> {
        let header = PartHeader {
            v: PART_VERSION,
            operator: id.operator.clone(),
            store: id.store.clone(),
            n_keys: delta.schema.keys().len(),
            has_expiry: expiry.is_some(),
            expired_to: delta.expired_to,
            upserted_bytes,
        };
        serde_json::to_vec(&header).map_err(|error| Error::internal(error.to_string()))
    };
    // How many bytes the rows take is known when they are there: the header is as long as it can become, and ends in spaces.
    let header_bytes = header(UPSERTED_BYTES_MAX)?.len();
    payload.extend_from_slice(&u32::try_from(header_bytes).unwrap_or(u32::MAX).to_le_bytes());
    let header_at = payload.len();
    payload.resize(header_at + header_bytes, b' ');
    let rows_at = payload.len();
    encode_stream(fields, columns, *n_rows, WithoutRows::KeepSchema, payload)?;
    let header = header(payload.len() - rows_at)?;
    payload.iter_mut().skip(header_at).zip(header).for_each(|(byte, of_header)| *byte = of_header);
    let key_fields = delta.schema.keys().iter().cloned().collect();
    encode_stream(key_fields, delta.removed.clone(), delta.n_removed, WithoutRows::Nothing, payload)
}

/// Whose rows a payload has; says why that cannot be read.
pub fn id_of(payload: &[u8]) -> Result<StoreId, String> {
    let (header, _) = split(payload)?;
    Ok(StoreId { operator: header.operator, store: header.store })
}

fn split(payload: &[u8]) -> Result<(PartHeader, &[u8]), String> {
    let (len, rest) = payload.split_first_chunk::<4>().ok_or("it has no header")?;
    let len = u32::from_le_bytes(*len) as usize;
    let header = rest.get(..len).ok_or("its header is cut")?;
    let header: PartHeader = serde_json::from_slice(header).map_err(|error| format!("its header is not one: {error}"))?;
    if header.v > PART_VERSION {
        return Err(format!("its format version is {} and this build reads up to {PART_VERSION}: use a newer build", header.v));
    }
    Ok((header, rest.get(len..).unwrap_or_default()))
}

/// A payload as a delta; says why not.
pub fn decode(payload: &[u8]) -> Result<(StoreId, TableDelta), String> {
    let (header, streams) = split(payload)?;
    let (upserted, removed) = streams.split_at_checked(header.upserted_bytes).ok_or("its rows are cut")?;
    let upserted = decode_stream(upserted)?.ok_or("it has no schema")?;
    let n_rows = upserted.num_rows();
    let (mut fields, mut columns) = (upserted.schema().fields().to_vec(), upserted.columns().to_vec());
    if fields.len() < header.n_keys + usize::from(header.has_expiry) {
        return Err("it has fewer columns than keys".to_owned());
    }
    let (mut value_fields, mut values) = (fields.split_off(header.n_keys), columns.split_off(header.n_keys));
    let expiry = if header.has_expiry {
        value_fields.remove(0);
        let expiry: ArrayRef = values.remove(0);
        Some(expiry.as_primitive_opt::<Int64Type>().ok_or("its expiry is not a number")?.clone())
    } else {
        None
    };
    let schema = StoreSchema::new(fields, value_fields).map_err(|error| error.to_string())?;
    let removed = decode_stream(removed)?;
    let (n_removed, removed) = match removed {
        Some(removed) => (removed.num_rows(), removed.columns().to_vec()),
        None => (0, empty(schema.keys())),
    };
    let expiry: Option<Int64Array> = expiry.filter(|expiry| expiry.null_count() < n_rows);
    let upserted = StoreRows { n_rows, keys: columns, expiry, values };
    let delta = TableDelta { schema: Arc::new(schema), expired_to: header.expired_to, n_removed, removed, upserted };
    Ok((StoreId { operator: header.operator, store: header.store }, delta))
}

/// What is written of a batch without rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WithoutRows {
    KeepSchema,
    Nothing,
}

fn encode_stream(fields: Vec<FieldRef>, columns: Vec<ArrayRef>, n_rows: usize, without_rows: WithoutRows, out: &mut Vec<u8>) -> Result<()> {
    if n_rows == 0 && without_rows == WithoutRows::Nothing {
        return Ok(());
    }
    let schema = Arc::new(Schema::new(fields));
    // Buffers aligned to 64 bytes, the default, would make a small delta much larger than what changed.
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).map_err(arrow_error)?;
    let mut writer = StreamWriter::try_new_with_options(out, &schema, options).map_err(arrow_error)?;
    if n_rows > 0 {
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch = RecordBatch::try_new_with_options(SchemaRef::clone(&schema), columns, &options).map_err(arrow_error)?;
        writer.write(&batch).map_err(arrow_error)?;
    }
    writer.finish().map_err(arrow_error)
}

fn decode_stream(bytes: &[u8]) -> Result<Option<RecordBatch>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let not_rows = |error: arrow::error::ArrowError| format!("its rows cannot be read: {error}");
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(not_rows)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(not_rows)?;
    concat_batches(&schema, &batches).map(Some).map_err(not_rows)
}

/// The columns of a schema as bytes, for descriptions of stores.
pub fn encode_schema(schema: &StoreSchema) -> Result<Vec<u8>> {
    let fields = schema.keys().iter().chain(schema.values()).cloned().collect();
    let mut bytes = Vec::new();
    encode_stream(fields, Vec::new(), 0, WithoutRows::KeepSchema, &mut bytes)?;
    Ok(bytes)
}

/// What [`encode_schema`] wrote; the first `n_keys` columns are keys.
pub fn decode_schema(bytes: &[u8], n_keys: usize) -> Result<StoreSchema, String> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| error.to_string())?;
    let mut keys = reader.schema().fields().to_vec();
    if keys.len() < n_keys {
        return Err(format!("{} columns cannot have {n_keys} keys", keys.len()));
    }
    let values = keys.split_off(n_keys);
    StoreSchema::new(keys, values).map_err(|error| error.to_string())
}
