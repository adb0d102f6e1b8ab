//! The task's half: the rows of a store, key and value as structs, only the columns that are asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StructArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use millstream_core::{BatchId, Error, ReaderSpec, Result, RowPlaces, Split, SplitChunk, SplitReader, SplitStream};
use millstream_state::store::{ScannedRows, StoreId, StoreScan, shown_column};
use millstream_state::{FileSystem, Location};
use serde::{Deserialize, Serialize};

use super::options::path_of;
use crate::file::adapt;
use crate::wire;

/// A store after a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateSplit {
    pub(super) version: BatchId,
    pub(super) operator: String,
    pub(super) store: String,
}

#[derive(Debug)]
pub(super) struct StateReader {
    location: Location,
    schema: SchemaRef,
    batch_rows: usize,
}

impl StateReader {
    pub(super) fn new(fs: &Arc<dyn FileSystem>, spec: &ReaderSpec) -> Result<Self> {
        let location = Location::parse_on(Arc::clone(fs), path_of(&spec.options)?, &spec.options)?;
        Ok(Self { location, schema: spec.projected_schema()?, batch_rows: spec.batch_rows.max(1) })
    }
}

#[async_trait]
impl SplitReader for StateReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let StateSplit { version, operator, store } = wire::split_payload(split)?;
        let scan = StoreScan::open(&self.location, version, &StoreId { operator, store }).await?;
        let (schema, batch_rows) = (Arc::clone(&self.schema), self.batch_rows);
        let pieces = futures::stream::try_unfold((scan, schema), async |(mut scan, schema)| {
            let Some(found) = scan.next().await? else { return Ok::<_, Error>(None) };
            let rows = rows_of(&scan, found, &schema)?;
            Ok(Some((rows, (scan, schema))))
        });
        let chunks = pieces.flat_map(move |rows| {
            let chunks: Vec<Result<SplitChunk>> = match rows {
                Ok(rows) => (0..rows.num_rows())
                    .step_by(batch_rows)
                    .map(|from| {
                        let rows = rows.slice(from, batch_rows.min(rows.num_rows() - from));
                        Ok(SplitChunk::of(rows, RowPlaces::Untold))
                    })
                    .collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(chunks)
        });
        Ok(chunks.boxed())
    }
}

fn rows_of(scan: &StoreScan, found: ScannedRows, schema: &SchemaRef) -> Result<RecordBatch> {
    let n_rows = found.rows.n_rows;
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        match (field.name().as_str(), field.data_type()) {
            ("key", to) => as_struct("key", scan.schema().keys(), &found.rows.keys, to, n_rows),
            ("value", to) => as_struct("value", scan.schema().values(), &found.rows.values, to, n_rows),
            ("partition_id", _) => Ok(Arc::new(found.key_groups.clone())),
            ("expiry", _) => Ok(expiry_of(found.rows.expiry.as_ref(), n_rows)),
            (other, _) => Err(Error::internal(format!("the state has no column '{other}'"))),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Columns as one struct, in the types that Spark has.
fn as_struct(name: &str, fields: &arrow::datatypes::Fields, columns: &[ArrayRef], to: &DataType, n_rows: usize) -> Result<ArrayRef> {
    let DataType::Struct(wanted) = to else { return Err(Error::internal(format!("column '{name}' of state is no struct"))) };
    if wanted.len() != columns.len() {
        return Err(Error::unavailable("the state has other columns than when the query was planned: read again"));
    }
    let columns = fields
        .iter()
        .zip(columns)
        .zip(wanted)
        .map(|((field, column), wanted)| adapt(&shown_column(field, column)?, wanted.data_type(), &format!("{name}.{}", field.name())));
    Ok(Arc::new(StructArray::try_new_with_length(wanted.clone(), columns.collect::<Result<_>>()?, None, n_rows)?))
}

/// Milliseconds as a timestamp; what is beyond the last timestamp there is shows as that one.
fn expiry_of(expiry: Option<&Int64Array>, n_rows: usize) -> ArrayRef {
    let data_type = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    match expiry {
        None => new_null_array(&data_type, n_rows),
        Some(expiry) => {
            let micros: TimestampMicrosecondArray = expiry.iter().map(|at| at.map(|ms| ms.saturating_mul(1000))).collect();
            Arc::new(micros.with_timezone("UTC"))
        }
    }
}
