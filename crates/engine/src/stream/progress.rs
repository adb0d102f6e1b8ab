//! What a micro-batch did: Spark's `StreamingQueryProgress`, field for field, and what Spark does not count.
//!
//! The JSON has Spark's names and order (`id`, `runId`, `name`, `timestamp`, `batchId`, ...). Ours in addition, per
//! source: `metrics.numRowsDropped` and `metrics.numRowsDeadLettered`, shown only when the number is not zero.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

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
    pub input_rows_per_second: f64,
    /// Rows per second of the batch's duration.
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase, under Spark's names.
    pub duration_ms: BTreeMap<&'static str, u64>,
    /// Event-time statistics; empty without a watermark.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_time: BTreeMap<&'static str, String>,
    /// One entry per stateful operator.
    pub state_operators: Vec<Value>,
    /// One entry per source.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
}

/// The progress of one source in one micro-batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SourceProgress {
    /// What it is, such as `FileSource[file:/data/in]`.
    pub description: String,
    /// Where the batch began.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// The newest known position.
    pub latest_offset: Value,
    /// Rows read from this source.
    pub num_input_rows: u64,
    /// Rows per second since the last trigger.
    pub input_rows_per_second: f64,
    /// Rows per second of the batch's duration.
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

/// Rows per second, 0 for no time (Spark leaves the field out; JSON has no infinity).
pub fn rate(n_rows: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { n_rows as f64 / seconds } else { 0.0 }
}

/// `2026-11-21T09:00:00.123Z`.
pub fn iso_timestamp(proc_us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(proc_us) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => proc_us.to_string(),
    }
}
