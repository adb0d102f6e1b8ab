//! The driver's half: every plan is the next `rowsPerBatch` values.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Admission, BatchId, Error, Options, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use serde::{Deserialize, Serialize};

use super::OPTIONS;
use crate::rate::{self, RateSplit};
use crate::wire;

/// The position, named as in Spark's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RowsPosition {
    /// Rows given so far.
    offset: u64,
    /// The timestamp of the next batch, ms.
    timestamp: i64,
}

#[derive(Debug)]
pub(super) struct RateMicroBatchSource {
    rows_per_batch: u64,
    num_partitions: Option<u64>,
    start_ms: i64,
    advance_ms: i64,
    time_zone: String,
    /// Available-now takes exactly one more batch, as Spark does: there is no other notion of "what exists".
    end: Option<RowsPosition>,
    is_end_fixed: bool,
}

impl RateMicroBatchSource {
    pub(super) fn new(request: &SourceRequest) -> Result<Self> {
        let options = &request.options;
        options.check("rate-micro-batch source", &OPTIONS)?;
        options.require("rowsPerBatch")?;
        let signed = |name: &str, default: i64| -> Result<i64> {
            let value = options.get_u64(name)?;
            value.map_or(Ok(default), |value| {
                i64::try_from(value).map_err(|_| Error::invalid(format!("option '{name}' is {value}: too large")))
            })
        };
        let rows_per_batch = options.get_u64("rowsPerBatch")?.unwrap_or(0);
        if rows_per_batch == 0 {
            return Err(Error::invalid("option 'rowsPerBatch' is 0: expected a positive number"));
        }
        let num_partitions = options.get_u64("numPartitions")?;
        if num_partitions == Some(0) {
            return Err(Error::invalid("option 'numPartitions' is 0: expected a positive number"));
        }
        Ok(Self {
            rows_per_batch,
            num_partitions,
            start_ms: signed("startTimestamp", 0)?,
            advance_ms: signed("advanceMillisPerBatch", 1000)?,
            time_zone: request.time_zone.clone(),
            end: None,
            is_end_fixed: false,
        })
    }
}

#[async_trait]
impl Source for RateMicroBatchSource {
    fn description(&self) -> String {
        format!(
            "RatePerMicroBatchStream[rowsPerBatch={}, numPartitions={}, startTimestamp={}, advanceMsPerBatch={}]",
            self.rows_per_batch,
            self.num_partitions.map_or("default".to_owned(), |n| n.to_string()),
            self.start_ms,
            self.advance_ms
        )
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "rate-micro-batch" })
    }

    fn schema(&self) -> SchemaRef {
        rate::schema()
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "rate-micro-batch".to_owned(),
            format: "rate-micro-batch".to_owned(),
            options: Options::new(),
            schema: self.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        match start.position() {
            Some(position) => Ok(position.clone()),
            None => Ok(Position(wire::to_value(&RowsPosition { offset: 0, timestamp: self.start_ms })?)),
        }
    }

    async fn plan(&mut self, from: &Position, _admission: &Admission) -> Result<Option<SourceRange>> {
        let start: RowsPosition = wire::from_value(&from.0, "rate-micro-batch position")?;
        let overflow = || Error::invalid(format!("rate-micro-batch overflows after {} rows", start.offset));
        let next = RowsPosition {
            offset: start.offset.checked_add(self.rows_per_batch).filter(|n| *n <= i64::MAX as u64).ok_or_else(overflow)?,
            timestamp: start.timestamp.checked_add(self.advance_ms).ok_or_else(overflow)?,
        };
        if self.is_end_fixed {
            let end = *self.end.get_or_insert(next);
            if start.offset >= end.offset {
                return Ok(None);
            }
        }
        let end = Position(wire::to_value(&next)?);
        Ok(Some(SourceRange { start: from.clone(), end, detail: serde_json::Value::Null }))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let start: RowsPosition = wire::from_value(&range.start.0, "rate-micro-batch position")?;
        let end: RowsPosition = wire::from_value(&range.end.0, "rate-micro-batch position")?;
        let step = self.num_partitions.unwrap_or(n_tasks as u64).max(1);
        let n_rows = end.offset.saturating_sub(start.offset);
        let base_us = start.timestamp.saturating_mul(1000);
        (0..step.min(n_rows.max(1)))
            .map(|nth| {
                let (first, past) = (start.offset + nth, end.offset);
                let split = RateSplit { base_us, us_per_value: 0.0, range_first: start.offset, first, past, step };
                wire::split(&split, n_rows / step * 16)
            })
            .collect()
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        self.is_end_fixed = true;
        Ok(())
    }
}
