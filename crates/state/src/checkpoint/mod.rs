//! The checkpoint of a query: its identity and the log of what was decided, durable and in order.
//!
//! ```text
//!  <checkpoint>/metadata.json          which query, which format; written once
//!               LOCK                   held by the running process (local disks)
//!               log/...                start, intent, prepared, fact records
//!               sources/<name>/...     snapshots of what sources remember, write-ahead logs of push sources
//!
//!  open ─► (compare the job) ─► start ─► append(intent)? ─► append(prepared) ─► ... ─► append(fact) ─► close
//! ```
//! `append` returns when the record is durable; a failed append poisons the checkpoint, because nobody knows then
//! whether the record is there: only the next recovery does. Nothing here runs a batch or commits a sink.
//! The format and the protocol: `docs/design/0001-checkpoint-log-and-commit-protocol.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, Clock, Error, IdSource, QueryId, Result, RunEpoch, SourceRange};

use crate::fs::{FileSystem, LockGuard, blocking};
use crate::location::Location;

mod chain;
mod local;
mod metadata;
mod order;
mod record;

pub use metadata::{FORMAT_VERSION, Metadata};
pub use record::{RECORD_VERSION, Record, RecordKind, SourceEntry};

use chain::{Chain, damaged, stitch};
use local::{LocalLog, LocalScan};
use metadata::METADATA_NAME;
use order::LogOrder;

/// How many batches are kept in the log at least, unless the query says otherwise (Spark's `minBatchesToRetain`).
pub const MIN_BATCHES_TO_RETAIN: u64 = 100;

/// A segment of a local log is closed when it has reached so many bytes.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

const LOCK_NAME: &str = "LOCK";

/// What a checkpoint says at the start of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovered {
    /// The query: made now if the checkpoint is new.
    pub query_id: QueryId,
    /// Whether no run has ever begun here.
    pub is_new: bool,
    /// The number of this run.
    pub epoch: RunEpoch,
    /// The start record of the last run, with the job as it was then.
    pub last_start: Option<Record>,
    /// The last batch that is decided.
    pub last_prepared: Option<Record>,
    /// The decided batches that are not known to be committed, oldest first: roll forward with these.
    pub uncommitted: Vec<Record>,
    /// The intent behind the last prepared record: run this batch again, exactly so.
    pub last_intent: Option<Record>,
    /// The highest batch that all sinks have committed.
    pub committed: Option<BatchId>,
    /// What each source needs to go on, by name.
    pub sources: BTreeMap<String, RecoveredSource>,
    /// Torn tails that were cut, for a log line: usual after a crash.
    pub torn: Vec<String>,
}

/// What a source needs to go on (see [`millstream_core::SourceStart::Resume`]).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveredSource {
    /// Its last snapshot, and the last batch in it.
    pub snapshot: Option<(BatchId, Bytes)>,
    /// The ranges decided since (without a snapshot: all that the log still has), oldest first.
    pub ranges: Vec<(BatchId, SourceRange)>,
    /// Its watermark after the last decided batch: event time, milliseconds.
    pub watermark_ms: Option<i64>,
}

/// An open checkpoint: the only writer of its log.
#[derive(Debug)]
pub struct Checkpoint {
    location: Location,
    query_id: QueryId,
    epoch: RunEpoch,
    is_started: bool,
    order: LogOrder,
    /// The floor that the next record will carry.
    floor_seq: u64,
    /// Taken while an append is under way; `None` otherwise means that an append failed or was cancelled.
    log: Option<LocalLog>,
    poison: Option<Error>,
    /// Shared with what runs in the background, so that the next run cannot begin before that has ended.
    lock: Option<Arc<LockGuard>>,
}

impl Checkpoint {
    /// Opens or creates a checkpoint and reads it. On a local disk this takes the lock for as long as the checkpoint
    /// lives. Writes no record: the caller compares the job first, then calls [`Checkpoint::start`].
    pub async fn open(location: Location, ids: &dyn IdSource, clock: &dyn Clock) -> Result<(Self, Recovered)> {
        let fresh = Metadata::new(QueryId(ids.new_uuid()), clock.now_proc_us());
        match &location {
            Location::Local { fs, path } => {
                let (fs, path, place) = (Arc::clone(fs), path.clone(), location.to_string());
                let context = format!("opening checkpoint '{place}'");
                let at = location.clone();
                blocking(move || open_local(at, &fs, &path, &place, &fresh)).await.map_err(|error| error.context(context))
            }
            Location::Object { .. } => Err(Error::unsupported(format!("checkpoints on object stores are not supported yet: '{location}'"))),
        }
    }

    /// Begins the run with a start record ([`Record::start`]). From here on older runs are fenced. Hands back what the
    /// checkpoint says now: on an object store an older run may have written until this very moment.
    pub async fn start(&mut self, record: Record, recovered: Recovered) -> Result<Recovered> {
        if self.is_started || record.kind != RecordKind::Start {
            return Err(Error::internal("a run begins with one start record"));
        }
        self.write(record).await?;
        self.is_started = true;
        Ok(recovered)
    }

    /// Appends a record; it is durable when this returns. The checkpoint numbers it and fills in what is committed if
    /// the record says less. After an error, or when the future was dropped, every later call fails.
    pub async fn append(&mut self, record: Record) -> Result<()> {
        if !self.is_started || record.kind == RecordKind::Start {
            return Err(Error::internal(format!("a {} record is not what comes next: call start first, once", record.kind)));
        }
        self.write(record).await
    }

    /// The query.
    pub fn query_id(&self) -> QueryId {
        self.query_id
    }

    /// The number of this run.
    pub fn epoch(&self) -> RunEpoch {
        self.epoch
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The highest batch with a prepared record.
    pub fn prepared(&self) -> Option<BatchId> {
        self.order.prepared
    }

    /// The highest batch that a durable record says to be committed by all sinks.
    pub fn committed(&self) -> Option<BatchId> {
        self.order.committed
    }

    /// Ends the run: waits for what runs in the background and gives up the lock.
    pub async fn close(self) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, mut record: Record) -> Result<()> {
        record.epoch = self.epoch;
        record.seq = self.order.next_seq;
        record.start_seq = if record.kind == RecordKind::Start { record.seq } else { self.order.start_seq };
        record.floor_seq = self.floor_seq;
        record.committed = record.committed.max(self.order.committed);
        if let Some(poison) = &self.poison {
            return Err(poison.clone().context("the checkpoint failed before"));
        }
        self.order.check(&record).map_err(|why| Error::internal(format!("the checkpoint refuses a record out of order: {why}")))?;
        let Some(mut log) = self.log.take() else {
            return Err(Error::cancelled("the checkpoint is closed to writing: an append was cancelled before its answer"));
        };
        let appended = blocking(move || {
            let result = log.append(&record);
            Ok((log, record, result))
        });
        let (log, record, result) = appended.await?;
        match result {
            Ok(()) => {
                self.order.apply(&record);
                self.log = Some(log);
                Ok(())
            }
            Err(error) => {
                let error = error.context(format!("writing {} record {} of checkpoint '{}'", record.kind, record.seq, self.location));
                self.poison = Some(error.clone());
                Err(error)
            }
        }
    }
}

fn open_local(
    location: Location,
    fs: &Arc<dyn FileSystem>,
    root: &std::path::Path,
    place: &str,
    fresh: &Metadata,
) -> Result<(Checkpoint, Recovered)> {
    fs.create_dir_all(&root.join(local::LOG_DIR))?;
    let lock = Arc::new(fs.lock(&root.join(LOCK_NAME))?);
    let metadata_path = root.join(METADATA_NAME);
    let (metadata, is_fresh) = if fs.exists(&metadata_path)? {
        let metadata =
            Metadata::decode(&fs.read(&metadata_path)?).map_err(|why| damaged(place, &format!("file '{METADATA_NAME}': {why}")))?;
        // A killed run may have renamed it without syncing the folder.
        fs.sync_dir(root)?;
        (metadata, false)
    } else {
        (fresh.clone(), true)
    };
    let scan = local::scan(fs.as_ref(), root, metadata.query_id, true)?;
    if is_fresh {
        if !scan.segments.is_empty() {
            return Err(damaged(place, &format!("there is a log but no '{METADATA_NAME}'")));
        }
        fs.replace_synced(&metadata_path, &metadata.encode())?;
    }
    let LocalScan { units, segments, epoch_max, torn, .. } = scan;
    let chain = stitch(place, units)?;
    let epoch = RunEpoch(epoch_max.map_or(0, |last| last.0 + 1));
    let log = LocalLog::new(Arc::clone(fs), root, metadata.query_id, epoch, SEGMENT_BYTES_MAX, segments);
    let recovered = recover(&metadata, epoch, &chain, torn);
    let checkpoint = Checkpoint {
        location,
        query_id: metadata.query_id,
        epoch,
        is_started: false,
        floor_seq: chain.floor_seq(),
        order: chain.order,
        log: Some(log),
        poison: None,
        lock: Some(lock),
    };
    Ok((checkpoint, recovered))
}

fn recover(metadata: &Metadata, epoch: RunEpoch, chain: &Chain, torn: Vec<String>) -> Recovered {
    let committed = chain.order.committed;
    let prepared = || chain.records.iter().filter(|record| record.kind == RecordKind::Prepared);
    let mut sources: BTreeMap<String, RecoveredSource> = BTreeMap::new();
    for record in prepared() {
        for (name, entry) in &record.sources {
            let source = sources.entry(name.clone()).or_default();
            source.watermark_ms = entry.watermark_ms.or(source.watermark_ms);
            source.ranges.extend(record.batch.map(|batch| (batch, entry.range.clone())));
        }
    }
    Recovered {
        query_id: metadata.query_id,
        is_new: chain.last_start().is_none(),
        epoch,
        last_start: chain.last_start().cloned(),
        last_prepared: prepared().next_back().cloned(),
        uncommitted: prepared().filter(|record| record.batch > committed).cloned().collect(),
        last_intent: chain.order.intent.clone(),
        committed,
        sources,
        torn,
    }
}

#[cfg(test)]
mod tests;
