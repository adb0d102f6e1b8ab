//! Sources: the driver's half ([`Source`], cuts ranges) and the task's half ([`SplitReader`], reads them).
//!
//! ```text
//!  driver                                              task
//!  Source::start(resume)  ── position ─┐
//!  Source::plan(from, admission) ──► SourceRange ──► prepared record (checkpoint)
//!  Source::splits(range, n) ───────► [Split] ──────► SplitReader::read(split) ──► rows
//!  Source::commit(range)  ◄── the batch is committed
//! ```
//! The same four calls carry a batch read (`plan` without a limit, once) and a stream (`plan` per micro-batch), so both
//! read with the same code. [`SplitReader::read`] is deterministic: the same split gives the same rows, in the same order.
//! A `Source` is owned by one task of the driver; a `SplitReader` is shared, and can be made again elsewhere from its
//! [`ReaderSpec`].

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::connector::ReaderSpec;
use crate::error::Result;
use crate::ids::BatchId;
use crate::reject::RejectedRecord;

/// A place in a source, as JSON. Only its source reads it; progress has it as `startOffset` and `endOffset` ([`Source::shown`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

/// The part of a source that one micro-batch reads. Durable in the prepared record; `detail` is what `splits` and a
/// restart need (a file source: the files), nothing that can be derived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRange {
    /// Where the batch begins.
    pub start: Position,
    /// Where it ends, and the next batch begins.
    pub end: Position,
    /// What else the source must know to read the range again.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// Where a source begins a run.
#[derive(Debug, Clone)]
pub enum SourceStart {
    /// The query's first start (and every batch read): the source's options decide.
    Fresh,
    /// A restart of which no kept range tells: at the position that an earlier start gave and that no batch has left, or
    /// that was set since the last batch.
    At(Position),
    /// A restart: the last snapshot of the source's own memory (see [`Source::snapshot`]) and every range decided since
    /// it, in order. The source continues where the last range ends.
    Resume {
        /// The bytes of [`Source::snapshot`], if one was taken.
        snapshot: Option<Bytes>,
        /// The ranges of the batches after the snapshot, oldest first.
        ranges: Vec<(BatchId, SourceRange)>,
    },
}

impl SourceStart {
    /// Where the source goes on, if it begins anew in nothing.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Fresh => None,
            Self::At(position) => Some(position),
            Self::Resume { ranges, .. } => ranges.last().map(|(_, range)| &range.end),
        }
    }
}

/// How much a batch may take, beside the source's own options (such as `maxFilesPerTrigger`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// At most so many bytes of input (at least one unit, such as a file, is always taken).
    pub bytes_max: Option<u64>,
    /// At most about so many records, of sources that know beforehand how many a range has ([`Source::n_records`]).
    pub records_max: Option<u64>,
    /// Take all there is, whatever the source's own limit options say (trigger `once`, and batch reads).
    pub ignore_limits: bool,
}

impl Admission {
    /// Everything there is.
    pub const ALL: Self = Self { bytes_max: None, records_max: None, ignore_limits: true };

    /// At most `bytes_max` bytes and the source's own limits.
    pub fn bytes(bytes_max: Option<u64>) -> Self {
        Self { bytes_max, records_max: None, ignore_limits: false }
    }

    /// The same, and at most about `records_max` records.
    #[must_use]
    pub fn records(self, records_max: u64) -> Self {
        Self { records_max: Some(records_max), ..self }
    }
}

/// A piece of a range that one task reads: a small serialisable description, meaningful to its connector's reader only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What to read, encoded by the connector.
    pub payload: Bytes,
    /// About how many bytes of input it is (for balancing tasks).
    pub bytes_estimate: u64,
}

/// Counters of a source for progress (Spark's `sources[].metrics`), and what it lags behind.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SourceMetrics {
    /// The newest position known to exist, if the source knows one (`latestOffset` in progress).
    pub latest: Option<Position>,
    /// Named values, shown as text.
    pub values: Vec<(String, String)>,
}

/// The driver's half of a source: decides what each micro-batch reads. Owned and called by one task.
#[async_trait]
pub trait Source: Send + fmt::Debug {
    /// What progress and EXPLAIN show, such as `FileSource[file:/data/in]`. No secrets.
    fn description(&self) -> String;

    /// What a restart compares: the same source has the same identity, whatever its limits (kind, place; no secrets).
    /// Under the key `reads` it may say what else the checkpoint is to know of it; that is not compared.
    fn identity(&self) -> serde_json::Value;

    /// The columns it gives, before any projection.
    fn schema(&self) -> SchemaRef;

    /// How tasks read its splits.
    fn reader(&self) -> ReaderSpec;

    /// Begins a run; called once, first. Returns where the next batch begins.
    async fn start(&mut self, start: SourceStart) -> Result<Position>;

    /// Cuts the next range beginning at `from`, or `None` when there is nothing new. The range is not promised to be
    /// run: until [`Source::commit`], `plan` may be called again with the same `from` and may answer differently.
    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>>;

    /// A position as progress shows it: without what only the source needs.
    fn shown(&self, position: &Position) -> serde_json::Value {
        position.0.clone()
    }

    /// The splits of a range, at most about `n_tasks` pieces of useful size; also of a range from the checkpoint.
    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>>;

    /// About how many records a range has, counted as [`Admission::records_max`] is; `None` of sources that do not heed that.
    fn n_records(&self, range: &SourceRange) -> Option<u64> {
        let _ = range;
        None
    }

    /// Whether a range still is as it was planned, as far as that can be told at little cost; a source that cannot tell says yes.
    async fn is_unchanged(&mut self, range: &SourceRange) -> Result<bool> {
        let _ = range;
        Ok(true)
    }

    /// Told when a range is decided (its record is durable): from now on it will not be planned again.
    async fn decided(&mut self, batch: BatchId, range: &SourceRange) -> Result<()>;

    /// Told, with [`Source::decided`], what the tasks of the batch found missing, for its metrics.
    fn missed(&mut self, batch: BatchId, missed: &[serde_json::Value]) -> Result<()> {
        let _ = (batch, missed);
        Ok(())
    }

    /// Told when the batch is committed everywhere: trim logs, archive files, publish offsets. Best effort:
    /// called at least once for most ranges, but not for all after a crash.
    async fn commit(&mut self, batch: BatchId, range: &SourceRange) -> Result<()> {
        let _ = (batch, range);
        Ok(())
    }

    /// Fixes the end at what exists now: from here on `plan` takes nothing newer and ends with `None` (available-now).
    async fn fix_end(&mut self) -> Result<()>;

    /// The source's own memory up to the last [`Source::decided`] range (a file source: the set of seen files), so that
    /// older ranges need not be kept; `None` when positions alone are enough.
    fn snapshot(&self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// About how many entries of ranges since the last snapshot make a new one worth its bytes (0 = never needed).
    fn snapshot_due(&self) -> bool {
        false
    }

    /// Told whenever [`Source::plan`] would give something that it did not give before: data (sockets, memory), or an error.
    /// Nobody asks such a source meanwhile. `None` for sources that must be asked.
    fn wakeup(&self) -> Option<Arc<Notify>> {
        None
    }

    /// May be told when there could be something new. Unlike [`Source::wakeup`] it promises nothing: the source is asked now and
    /// then all the same, and may have nothing when it is asked for this.
    fn nudge(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Counters for progress.
    fn metrics(&self) -> SourceMetrics {
        SourceMetrics::default()
    }

    /// Ends the run: close connections, join tasks.
    async fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Where the rows of a chunk stand in their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowPlaces {
    /// It is not known, or the reader tells it in a column when it is asked to (`_metadata` of files).
    #[default]
    Untold,
    /// In a block of the source (a piece of its log, what came at once): the first is its row `first`, counted from 0.
    InBlock {
        /// The block.
        block: u64,
        /// The first row.
        first: u64,
    },
    /// The source numbers its rows: `first`, `first + step`, and so on.
    Numbered {
        /// The first row.
        first: u64,
        /// From one row to the next.
        step: u64,
    },
}

/// What one poll of a split gives.
#[derive(Debug, Clone)]
pub struct SplitChunk {
    /// The rows, in the reader's (projected) schema. May be empty.
    pub rows: RecordBatch,
    /// How many records were read to make them: `rows.num_rows() + dropped + rejected.len()`.
    pub n_records: u64,
    /// Records dropped by the parse mode.
    pub n_dropped: u64,
    /// Records for the dead-letter table.
    pub rejected: Vec<RejectedRecord>,
    /// Where the rows stand in the source.
    pub places: RowPlaces,
    /// What was to be read and is gone, where the options let the query go on; the source is told of it ([`Source::missed`]).
    pub missed: Vec<serde_json::Value>,
}

impl SplitChunk {
    /// Rows that are all that was read.
    pub fn of(rows: RecordBatch, places: RowPlaces) -> Self {
        Self { n_records: rows.num_rows() as u64, rows, n_dropped: 0, rejected: Vec::new(), places, missed: Vec::new() }
    }
}

/// The rows of a split.
pub type SplitStream = BoxStream<'static, Result<SplitChunk>>;

/// The task's half of a source: reads splits. Shared by all tasks of a process.
#[async_trait]
pub trait SplitReader: Send + Sync + fmt::Debug {
    /// The columns it gives: the spec's schema after its projection.
    fn schema(&self) -> SchemaRef;

    /// Reads a split. Deterministic: the same split gives the same rows in the same order.
    async fn read(&self, split: &Split) -> Result<SplitStream>;

    /// Whether [`SplitReader::read_packed`] may give packed columns.
    fn packs(&self) -> bool {
        false
    }

    /// The same rows for who drops some of them at once: a string column may come packed, as a dictionary of its strings
    /// (`Dictionary(Int32, Utf8)`), where the format has it so. Strings that are dropped are then never made.
    async fn read_packed(&self, split: &Split) -> Result<SplitStream> {
        self.read(split).await
    }
}
