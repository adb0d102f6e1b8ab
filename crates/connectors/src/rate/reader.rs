//! The task's half: a split is an arithmetic row; used by `rate` and `rate-micro-batch`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use millstream_core::{Error, ReaderSpec, Result, RowPlaces, Split, SplitChunk, SplitReader, SplitStream};
use serde::{Deserialize, Serialize};

use crate::wire;

/// Rows per Arrow batch unless the spec says otherwise.
pub(crate) const BATCH_ROWS: usize = 8192;

/// The values `first, first + step, ...` below `past`; value v has the timestamp
/// `base_us + (v - range_first) * us_per_value`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RateSplit {
    pub base_us: i64,
    pub us_per_value: f64,
    pub range_first: u64,
    pub first: u64,
    pub past: u64,
    pub step: u64,
}

#[derive(Debug)]
pub(crate) struct RateReader {
    schema: SchemaRef,
    batch_rows: usize,
}

impl RateReader {
    pub(crate) fn new(spec: &ReaderSpec) -> Result<Self> {
        Ok(Self { schema: spec.projected_schema()?, batch_rows: spec.batch_rows.max(1) })
    }
}

#[async_trait]
impl SplitReader for RateReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let split: RateSplit = wire::split_payload(split)?;
        let schema = Arc::clone(&self.schema);
        let batch_rows = self.batch_rows as u64;
        let n_values = split.past.saturating_sub(split.first).div_ceil(split.step.max(1));
        let chunks = (0..n_values.div_ceil(batch_rows))
            .map(move |chunk| chunk_of(&schema, &split, chunk * batch_rows, ((chunk + 1) * batch_rows).min(n_values)));
        Ok(futures::stream::iter(chunks).boxed())
    }
}

fn chunk_of(schema: &SchemaRef, split: &RateSplit, from: u64, to: u64) -> Result<SplitChunk> {
    let values = || (from..to).map(|idx| split.first + idx * split.step);
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "timestamp" => Ok(Arc::new(
                TimestampMicrosecondArray::from_iter_values(values().map(|value| {
                    // Whole milliseconds, as Spark rounds them.
                    let ms = ((value - split.range_first) as f64 * split.us_per_value / 1000.0).round() as i64;
                    split.base_us + ms * 1000
                }))
                .with_timezone("UTC"),
            ) as ArrayRef),
            "value" => Ok(Arc::new(Int64Array::from_iter_values(values().map(|value| value as i64))) as ArrayRef),
            other => Err(Error::internal(format!("rate has no column '{other}'"))),
        })
        .collect::<Result<_>>()?;
    let n_rows = to - from;
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows as usize));
    let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    Ok(SplitChunk::of(rows, RowPlaces::Numbered { first: split.first + from * split.step, step: split.step }))
}
