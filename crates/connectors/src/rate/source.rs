//! The driver's half: time to ranges of values.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{Admission, BatchId, Clock, Error, Options, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use serde::{Deserialize, Serialize};

use super::{RateOptions, RateSplit};
use crate::wire;

/// The position: seconds since the query's first start. The start rides along, so that a restart keeps it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct RatePosition {
    seconds: u64,
    start_ms: i64,
}

/// A timestamp and a value.
const ROW_BYTES: u64 = 16;

#[derive(Debug)]
pub(super) struct RateSource {
    options: RateOptions,
    clock: Arc<dyn Clock>,
    time_zone: String,
    end: Option<u64>,
    start_ms: i64,
}

impl RateSource {
    pub(super) fn new(options: RateOptions, request: &SourceRequest) -> Self {
        let clock = Arc::clone(&request.clock);
        let start_ms = clock.now_proc_ms();
        Self { options, clock, time_zone: request.time_zone.clone(), end: None, start_ms }
    }

    fn now_s(&self) -> u64 {
        // A clock that jumped back gives no rows until it has caught up: positions never go back.
        u64::try_from((self.clock.now_proc_ms() - self.start_ms).div_euclid(1000)).unwrap_or(0)
    }

    /// The last second up to `now` by which no more than `rows_max` rows have come since `start`, but at least the first
    /// that has a row.
    fn last_second_within(&self, start: u64, now: u64, rows_max: u64) -> Result<u64> {
        let before = self.options.rows_at(start)?;
        let is_within = |second: u64| self.options.rows_at(second).map(|rows| rows <= before.saturating_add(rows_max.max(1)));
        let (mut within, mut beyond) = (start, now.saturating_add(1));
        while beyond - within > 1 {
            let middle = within + (beyond - within) / 2;
            if is_within(middle)? { within = middle } else { beyond = middle }
        }
        Ok(if self.options.rows_at(within)? > before { within } else { beyond })
    }
}

#[async_trait]
impl Source for RateSource {
    fn description(&self) -> String {
        // Without a closing bracket, as Spark's.
        format!(
            "RateStreamV2[rowsPerSecond={}, rampUpTimeSeconds={}, numPartitions={}",
            self.options.rows_per_second,
            self.options.ramp_up_s,
            self.options.num_partitions.map_or("default".to_owned(), |n| n.to_string())
        )
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "rate" })
    }

    fn schema(&self) -> SchemaRef {
        super::schema()
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "rate".to_owned(),
            format: "rate".to_owned(),
            options: Options::new(),
            schema: self.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: super::reader::BATCH_ROWS,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        match start.position() {
            None => {
                self.start_ms = self.clock.now_proc_ms();
                Ok(Position(wire::to_value(&RatePosition { seconds: 0, start_ms: self.start_ms })?))
            }
            Some(position) => {
                let at: RatePosition = wire::from_value(&position.0, "rate position")?;
                self.start_ms = at.start_ms;
                Ok(position.clone())
            }
        }
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        let start: RatePosition = wire::from_value(&from.0, "rate position")?;
        let now = self.now_s();
        let now = self.end.map_or(now, |end| end.min(now));
        if now <= start.seconds || self.options.rows_at(now)? == self.options.rows_at(start.seconds)? {
            return Ok(None);
        }
        let seconds = match admission.bytes_max {
            Some(bytes_max) => self.last_second_within(start.seconds, now, bytes_max / ROW_BYTES)?,
            None => now,
        };
        let end = Position(wire::to_value(&RatePosition { seconds, ..start })?);
        // The rate may be changed at a restart; a decided range keeps the values it was decided with.
        let values = (self.options.rows_at(start.seconds)?, self.options.rows_at(seconds)?);
        let detail = serde_json::json!({ "values": [values.0, values.1] });
        Ok(Some(SourceRange { start: from.clone(), end, detail }))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        #[derive(Deserialize)]
        struct Detail {
            values: (u64, u64),
        }
        let start: RatePosition = wire::from_value(&range.start.0, "rate position")?;
        let end: RatePosition = wire::from_value(&range.end.0, "rate position")?;
        let Detail { values: (first, past) } = wire::from_value(&range.detail, "rate range")?;
        if past < first || end.seconds < start.seconds {
            return Err(Error::data(format!("rate range {first}..{past} goes backwards")));
        }
        let step = self.options.num_partitions.unwrap_or(n_tasks as u64).max(1);
        let us_per_value = (end.seconds - start.seconds) as f64 * 1e6 / (past - first).max(1) as f64;
        let base_us = start.start_ms * 1000 + i64::try_from(start.seconds).unwrap_or(i64::MAX / 1_000_000) * 1_000_000;
        (0..step.min((past - first).max(1)))
            .map(|offset| {
                let split = RateSplit { base_us, us_per_value, range_first: first, first: first + offset, past, step };
                wire::split(&split, (past - first) / step * 16)
            })
            .collect()
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        self.end = Some(self.now_s());
        Ok(())
    }

    fn metrics(&self) -> SourceMetrics {
        let mut metrics = SourceMetrics::default();
        let now = RatePosition { seconds: self.now_s(), start_ms: self.start_ms };
        metrics.latest = wire::to_value(&now).ok().map(Position);
        metrics
    }
}
