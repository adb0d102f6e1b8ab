//! What a micro-batch did: Spark's `StreamingQueryProgress`, field for field, and what Spark does not count.
//!
//! The JSON has Spark's names and order (`id`, `runId`, `name`, `timestamp`, `batchId`, ...). Ours in addition, per
//! source: `metrics.numRowsDropped` and `metrics.numRowsDeadLettered` (records), and for the sink
//! `metrics.numRowsDeadLettered` (rows on which an expression failed) and `metrics.numRowsFromTheFuture` (`maxFutureSkew`),
//! shown only when the number is not zero. Rates have one decimal; one that is no number (rows in no time) is left out.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::batch::{END_OF_TIME_MS, StateOperatorReport};

/// The progress of one micro-batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StreamingQueryProgress {
    /// The query.
    pub id: String,
    /// The run.
    pub run_id: String,
    /// The query's name.
    pub name: Option<String>,
    /// When the trigger began, ISO 8601 in UTC with milliseconds.
    pub timestamp: String,
    /// The batch.
    pub batch_id: u64,
    /// Milliseconds from the trigger's begin to the batch's commit.
    pub batch_duration: u64,
    /// Rows read from all sources.
    pub num_input_rows: u64,
    /// Rows per second since the last trigger.
    #[serde(serialize_with = "one_decimal", skip_serializing_if = "is_not_finite")]
    pub input_rows_per_second: f64,
    /// Rows per second of the batch's duration.
    #[serde(serialize_with = "one_decimal", skip_serializing_if = "is_not_finite")]
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase, under Spark's names.
    pub duration_ms: BTreeMap<&'static str, u64>,
    /// Event-time statistics; empty without a watermark.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_time: BTreeMap<&'static str, String>,
    /// One entry per stateful operator, from the plan's root down.
    pub state_operators: Vec<StateOperatorProgress>,
    /// One entry per source.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
}

/// The progress of one stateful operator in one micro-batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StateOperatorProgress {
    /// Its kind, such as `stateStoreSave` or `dedupe`.
    pub operator_name: String,
    /// Rows in the state after the batch.
    pub num_rows_total: u64,
    /// Rows of the state that the batch put in or changed.
    pub num_rows_updated: u64,
    /// Milliseconds in which they were, of all tasks together.
    pub all_updates_time_ms: u64,
    /// Rows of the state that the batch removed.
    pub num_rows_removed: u64,
    /// Milliseconds in which they were, of all tasks together.
    pub all_removals_time_ms: u64,
    /// Milliseconds in which the changes were made durable, of all tasks together.
    pub commit_time_ms: u64,
    /// Bytes of memory that the state takes.
    pub memory_used_bytes: u64,
    /// Input rows that came too late. (Spark counts groups where it aggregates before it looks; we count rows.)
    pub num_rows_dropped_by_watermark: u64,
    /// Tasks.
    pub num_shuffle_partitions: u64,
    /// State stores that the tasks opened.
    pub num_state_store_instances: u64,
    /// Counters of this kind of operator.
    pub custom_metrics: BTreeMap<String, i64>,
}

impl From<&StateOperatorReport> for StateOperatorProgress {
    fn from(report: &StateOperatorReport) -> Self {
        Self {
            operator_name: report.name.clone(),
            num_rows_total: report.n_rows_total,
            num_rows_updated: report.n_rows_updated,
            all_updates_time_ms: report.updates_ms,
            num_rows_removed: report.n_rows_removed,
            all_removals_time_ms: report.removals_ms,
            commit_time_ms: report.commit_ms,
            memory_used_bytes: report.memory_bytes,
            num_rows_dropped_by_watermark: report.n_rows_dropped_by_watermark,
            num_shuffle_partitions: report.n_partitions,
            num_state_store_instances: report.n_stores,
            custom_metrics: report.custom.clone(),
        }
    }
}

/// The progress of one source in one micro-batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SourceProgress {
    /// What it is, such as `FileSource[file:/data/in]`.
    pub description: String,
    /// Where the batch began; null if it was the source's first.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// The newest position that the source knows of; null for sources that do not say.
    pub latest_offset: Value,
    /// Rows read from this source.
    pub num_input_rows: u64,
    /// Rows per second since the last trigger.
    #[serde(serialize_with = "one_decimal", skip_serializing_if = "is_not_finite")]
    pub input_rows_per_second: f64,
    /// Rows per second of the batch's duration.
    #[serde(serialize_with = "one_decimal", skip_serializing_if = "is_not_finite")]
    pub processed_rows_per_second: f64,
    /// The source's own counters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// The progress of the sink.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SinkProgress {
    /// What it is, such as `FileSink[file:/data/out]`.
    pub description: String,
    /// Rows written. (Spark says -1 for files; we know.)
    pub num_output_rows: i64,
    /// Rows that were set aside, when not zero: `numRowsDeadLettered`, because an expression failed on them, and
    /// `numRowsFromTheFuture`, because they are ahead of the clock by more than `maxFutureSkew`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

impl StreamingQueryProgress {
    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    /// Indented JSON, as Spark's `prettyJson`.
    pub fn pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

/// What a query does now: Spark's `StreamingQueryStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StreamingQueryStatus {
    /// In words.
    pub message: String,
    /// Whether there is new data to process.
    pub is_data_available: bool,
    /// Whether a trigger is active (a batch is being planned or run).
    pub is_trigger_active: bool,
}

impl Default for StreamingQueryStatus {
    fn default() -> Self {
        Self { message: "Initializing sources".to_owned(), is_data_available: false, is_trigger_active: false }
    }
}

/// Rows per second: 0 for endless time, no finite number for no time.
pub(crate) fn rate(n_rows: u64, seconds: f64) -> f64 {
    n_rows as f64 / seconds
}

/// Half up, as Spark prints rates.
fn one_decimal<S: Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((rate * 10.0).round() / 10.0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_not_finite(rate: &f64) -> bool {
    !rate.is_finite()
}

/// An event time in the same form; the end of time, behind which a flush moves the watermark, as `infinity`.
pub fn event_timestamp(event_ms: i64) -> String {
    if event_ms == END_OF_TIME_MS { "infinity".to_owned() } else { iso_timestamp(event_ms.saturating_mul(1000)) }
}

/// `2026-11-21T09:00:00.123Z`.
pub fn iso_timestamp(proc_us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(proc_us) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => proc_us.to_string(),
    }
}
