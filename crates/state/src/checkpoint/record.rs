//! Records: what the log of a checkpoint says, as maps by name.
//!
//! Names are the user's, else the table's, else derived from structure; never a bare ordinal. Fields that a reader
//! does not know are kept in `extra` and change nothing; what old readers must not misread gets a new `v`.
//! Records never hold secrets: options enter them redacted.

use std::collections::BTreeMap;
use std::fmt;

use millstream_core::{BatchId, Position, RunEpoch, RunId, SourceRange};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{DeltaRef, OperatorState};

/// The version of the record format that this build writes, and the newest it reads.
pub const RECORD_VERSION: u32 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordKind {
    /// A run begins: everything that older runs write from here on is void.
    Start,
    /// Where sources stand from here on, without a batch that read up to there: where they begin, or where they were set.
    Positions,
    /// A batch of a sink whose effects show before its commit is going to run with these ranges, clock and settings.
    Intent,
    /// All that a prepared record says, before a sink that decides was asked to commit: whether it counts, the sink knows.
    Proposed,
    /// The batch is decided: recovery rolls forward from here and never runs it again.
    Prepared,
    /// Nothing but [`Record::committed`]; written at a clean stop, as no later record will carry it.
    Fact,
}

/// What a batch reads of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// The range.
    pub range: SourceRange,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl SourceEntry {
    /// A range.
    pub fn new(range: SourceRange) -> Self {
        Self { range, extra: BTreeMap::new() }
    }
}

/// Where a source stands that gave nothing to a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdleSource {
    /// The last batch that read from it; none if it has not given anything yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Where that ended, where it begins, or where it was set since.
    pub end: Position,
}

/// The event times of a batch, milliseconds: what it judged by, and what the next one will.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordedWatermarks {
    /// Rows at or below it were late: the watermark in force in the batch before.
    pub late_ms: i64,
    /// The watermark in force in the batch; `i64::MAX` in the flush at the end of bounded input.
    pub current_ms: i64,
    /// The watermark after the batch (prepared records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
    /// The query's watermark nodes after the batch, by name (prepared records).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NodeWatermark>,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// What one watermark node has seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeWatermark {
    /// The greatest event time minus the delay; none if no row had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
    /// Its sources have been silent for their idle timeout, so it holds nobody back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_idle: bool,
}

/// One entry of the log. `v`, `epoch`, `seq`, `start_seq`, `floor_seq` and `idle` are set by the checkpoint when it is appended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format.
    pub v: u32,
    /// What it says.
    pub kind: RecordKind,
    /// The run that wrote it.
    pub epoch: RunEpoch,
    /// Its number in the log: 0, 1, 2, ... without gaps.
    pub seq: u64,
    /// The number of its run's start record.
    pub start_seq: u64,
    /// Records below this number are not needed any more and may be gone (but for the last start record).
    pub floor_seq: u64,
    /// The run (start records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The batch (intent, proposed and prepared records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The fact: the highest batch that all sinks have committed. Rides in every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<BatchId>,
    /// The batch's clock (`current_timestamp()`); for other records when they were made. Processing time, microseconds.
    pub clock_us: i64,
    /// What the batch reads, by source name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceEntry>,
    /// Where the other sources stand, by name (prepared records): the records that read from them may be gone by then. In a
    /// record of positions, where those that it names stand now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub idle: BTreeMap<String, IdleSource>,
    /// Event time (intent and prepared records of queries with watermarks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermarks: Option<RecordedWatermarks>,
    /// What each sink must know to commit, by sink name (prepared records).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, Value>,
    /// The state version after the batch, by operator id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<String, u64>,
    /// What the batch changed in the state of operators (prepared records); `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_delta: Option<DeltaRef>,
    /// The stateful operators of the job, by id (start records).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, OperatorState>,
    /// The settings that change results.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The job, for comparison at the next start (start records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Value>,
    /// Fields of newer versions, and small additions of the engine.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Record {
    /// The first record of a run.
    pub fn start(run_id: RunId, clock_us: i64, job: Value) -> Self {
        Self { run_id: Some(run_id), job: Some(job), ..Self::empty(RecordKind::Start, clock_us) }
    }

    /// Where sources stand, by name. Their last batch is entered by the checkpoint.
    pub fn positions(positions: impl IntoIterator<Item = (String, Position)>, clock_us: i64) -> Self {
        let idle = positions.into_iter().map(|(name, end)| (name, IdleSource { batch: None, end })).collect();
        Self { idle, ..Self::empty(RecordKind::Positions, clock_us) }
    }

    /// A batch that is going to run.
    pub fn intent(batch: BatchId, clock_us: i64) -> Self {
        Self { batch: Some(batch), ..Self::empty(RecordKind::Intent, clock_us) }
    }

    /// A batch that is decided.
    pub fn prepared(batch: BatchId, clock_us: i64) -> Self {
        Self { batch: Some(batch), ..Self::empty(RecordKind::Prepared, clock_us) }
    }

    /// The prepared record of a batch whose intent or proposal is in the log: same ranges, clock and settings.
    pub fn prepared_from(intent: &Self) -> Self {
        Self { kind: RecordKind::Prepared, ..intent.clone() }
    }

    /// What is proposed before it is prepared.
    pub fn proposed_from(prepared: &Self) -> Self {
        Self { kind: RecordKind::Proposed, ..prepared.clone() }
    }

    /// All batches up to this one are committed.
    pub fn fact(committed: BatchId, clock_us: i64) -> Self {
        Self { committed: Some(committed), ..Self::empty(RecordKind::Fact, clock_us) }
    }

    fn empty(kind: RecordKind, clock_us: i64) -> Self {
        Self {
            v: RECORD_VERSION,
            kind,
            epoch: RunEpoch(0),
            seq: 0,
            start_seq: 0,
            floor_seq: 0,
            run_id: None,
            batch: None,
            committed: None,
            clock_us,
            sources: BTreeMap::new(),
            idle: BTreeMap::new(),
            watermarks: None,
            sinks: BTreeMap::new(),
            state: BTreeMap::new(),
            state_delta: None,
            operators: BTreeMap::new(),
            settings: BTreeMap::new(),
            job: None,
            extra: BTreeMap::new(),
        }
    }

    /// Whether both read the same ranges under the same clock, settings and watermarks. (The watermarks after the batch are
    /// results and may differ.)
    pub fn same_input(&self, other: &Self) -> bool {
        let judged_by = |record: &Self| record.watermarks.as_ref().map(|marks| (marks.late_ms, marks.current_ms));
        self.clock_us == other.clock_us
            && judged_by(self) == judged_by(other)
            && self.settings == other.settings
            && self.sources.len() == other.sources.len()
            && self.sources.iter().all(|(name, entry)| other.sources.get(name).is_some_and(|theirs| theirs.range == entry.range))
    }
}

/// The payload of a frame as a record; says why not.
pub fn decode(payload: &[u8]) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(payload).map_err(|error| match version_of(payload) {
        Some(v) if v > u64::from(RECORD_VERSION) => newer(v),
        _ => format!("it is not a record: {error}"),
    })?;
    if record.v > RECORD_VERSION {
        return Err(newer(record.v.into()));
    }
    Ok(record)
}

fn version_of(payload: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(payload).ok()?.get("v")?.as_u64()
}

fn newer(v: u64) -> String {
    format!("its format version is {v} and this build reads up to {RECORD_VERSION}: use a newer build")
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Positions => "positions",
            Self::Intent => "intent",
            Self::Proposed => "proposed",
            Self::Prepared => "prepared",
            Self::Fact => "fact",
        })
    }
}
