//! The checkpoint of a query: its identity and the log of what was decided, durable and in order.
//!
//! ```text
//!  <checkpoint>/metadata.json          which query, which format; written once
//!               LOCK                   held by the running process (local disks)
//!               log/...                start, positions, intent, proposed, prepared, fact records
//!               sources/<name>/...     snapshots of what sources remember, write-ahead logs of push sources
//!               state/...              what batches changed in the state of operators, snapshots of it
//!
//!  open ─► (compare the job) ─► start ─► decide_proposed? ─► append(positions)? ─► append(intent)? ─► append(proposed)? ─► append(prepared) ─► ... ─► append(fact) ─► close
//! ```
//! `append` returns when the record is durable; a failed append poisons the checkpoint, because nobody knows then
//! whether the record is there: only the next recovery does. Nothing here runs a batch or commits a sink.
//! The format and the protocol: `docs/design/0001-checkpoint-log-and-commit-protocol.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millstream_core::{BatchId, Clock, Error, IdSource, QueryId, Result, RunEpoch, SourceRange, SourceStart};
use tokio::task::JoinSet;

use crate::fs::blocking;
use crate::location::Location;
use crate::store::{RecoveredState, StateKeeping, StateLog, StateLogParts};

mod chain;
mod inspect;
mod local;
mod metadata;
mod object;
mod open;
mod order;
mod record;
mod remove;
mod snapshot;

pub use inspect::{Report, Shown, read_state, show, verify};
pub use metadata::{FORMAT_VERSION, Metadata};
pub use record::{IdleSource, NodeWatermark, RECORD_VERSION, Record, RecordKind, RecordedWatermarks, SourceEntry};
pub use remove::remove;
pub use snapshot::source_location;

use chain::Chain;
use local::LocalLog;
pub(crate) use object::get as get_object;
use object::{Appended, ObjectLog};
pub(crate) use open::HeldLock;
use open::Opened;
use order::LogOrder;

/// How many batches are kept in the log at least, unless the query says otherwise (Spark's `minBatchesToRetain`).
pub const MIN_BATCHES_TO_RETAIN: u64 = 100;

/// A start on an object store gives way to at most so many records that an older run still writes.
const START_TRIES: usize = 10_000;

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
    /// The intent behind the last prepared record: run this batch again, exactly so. Or a proposal: first ask the sink.
    pub last_intent: Option<Record>,
    /// The highest batch that all sinks have committed.
    pub committed: Option<BatchId>,
    /// What each source needs to go on, by name.
    pub sources: BTreeMap<String, RecoveredSource>,
    /// What the log says about the state of operators.
    pub state: RecoveredState,
    /// Torn tails that were cut, for a log line: usual after a crash.
    pub torn: Vec<String>,
}

/// What a source needs to go on (see [`millstream_core::SourceStart::Resume`]).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveredSource {
    /// Its last snapshot, and the last batch in it.
    pub snapshot: Option<(BatchId, Bytes)>,
    /// The ranges decided since, oldest first. Without a snapshot: those that the log still has.
    pub ranges: Vec<(BatchId, SourceRange)>,
    /// Where it stands if neither tells: it has not given anything yet, the record of what it gave is gone, or it was set to
    /// another position since.
    pub stands: Option<IdleSource>,
}

impl RecoveredSource {
    /// A batch that read from it, if there was one.
    pub fn batch_before(&self) -> Option<BatchId> {
        let of_snapshot = self.snapshot.as_ref().map(|(batch, _)| *batch);
        let of_ranges = || self.ranges.first().map(|(batch, _)| *batch);
        of_snapshot.or_else(of_ranges).or_else(|| self.stands.as_ref()?.batch)
    }

    /// How the source begins its run.
    pub fn start(&self) -> SourceStart {
        match &self.stands {
            Some(stands) if self.snapshot.is_none() => SourceStart::At(stands.end.clone()),
            _ => SourceStart::Resume { snapshot: self.snapshot.as_ref().map(|(_, bytes)| bytes.clone()), ranges: self.ranges.clone() },
        }
    }
}

/// How a checkpoint is kept; the defaults suit all but tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// A segment of a local log is closed when it has reached so many bytes.
    pub segment_bytes: u64,
    /// The same for a local file of state changes.
    pub state_segment_bytes: u64,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { segment_bytes: 1 << 20, state_segment_bytes: 16 << 20 }
    }
}

/// How much of the log is kept (see [`Checkpoint::retain`]).
#[derive(Debug, Clone, Copy)]
pub struct Retention<'a> {
    /// At least so many of the last batches ([`MIN_BATCHES_TO_RETAIN`]).
    pub n_batches_min: u64,
    /// Everything from this batch on, if something else needs it.
    pub keep_from: Option<BatchId>,
    /// The names of the sources that remember more than a position ([`millstream_core::Source::snapshot`] gives bytes):
    /// all batches since their last snapshot are kept. Sources that have given a snapshot need not be named.
    pub remembering: &'a [&'a str],
}

/// An open checkpoint: the only writer of its log.
#[derive(Debug)]
pub struct Checkpoint {
    location: Location,
    options: CheckpointOptions,
    metadata: Metadata,
    epoch: RunEpoch,
    order: LogOrder,
    /// What was read, until the run has begun.
    opening: Option<Opening>,
    /// The same, until it is known what became of the batch that the last run proposed.
    proposal: Option<Opening>,
    /// The floor that the next record will carry.
    floor_seq: u64,
    /// Taken while an append is under way; `None` otherwise means that an append failed or was cancelled.
    writer: Option<LogWriter>,
    poison: Option<Error>,
    /// The sources that remember more than a position.
    snapshots: Arc<Mutex<BTreeMap<String, SnapshotState>>>,
    /// Which records the state of operators needs.
    state: Arc<StateKeeping>,
    /// One removal at a time: what it does not take, a later one does.
    is_removing: Arc<AtomicBool>,
    background: JoinSet<()>,
    /// Shared with what runs in the background, so that the next run cannot begin before that has ended.
    lock: Option<Arc<HeldLock>>,
}

/// The snapshots of one source.
#[derive(Debug, Default)]
struct SnapshotState {
    durable: Option<BatchId>,
    is_being_written: bool,
    /// The newest one that came while another was being written.
    waiting: Option<(BatchId, Bytes)>,
}

#[derive(Debug)]
struct Opening {
    chain: Chain,
    torn: Vec<String>,
    snapshots: BTreeMap<String, (BatchId, Bytes)>,
}

#[derive(Debug)]
enum LogWriter {
    Local(LocalLog),
    Object(ObjectLog),
}

impl Checkpoint {
    /// Opens or creates a checkpoint and reads it. On a local disk this takes the lock for as long as the checkpoint
    /// lives. Writes no record: the caller compares the job first, then calls [`Checkpoint::start`].
    pub async fn open(location: Location, ids: &dyn IdSource, clock: &dyn Clock) -> Result<(Self, Recovered)> {
        Self::open_with(location, ids, clock, CheckpointOptions::default()).await
    }

    /// As [`Checkpoint::open`], with options.
    pub async fn open_with(
        location: Location,
        ids: &dyn IdSource,
        clock: &dyn Clock,
        options: CheckpointOptions,
    ) -> Result<(Self, Recovered)> {
        let fresh = Metadata::new(QueryId(ids.new_uuid()), clock.now_proc_us());
        Self::open_as(location.clone(), fresh, options).await.map_err(|error| error.context(format!("opening checkpoint '{location}'")))
    }

    async fn open_as(location: Location, fresh: Metadata, options: CheckpointOptions) -> Result<(Self, Recovered)> {
        let Opened { metadata, epoch, chain, torn, writer, lock } = open::open(&location, fresh, options).await?;
        let snapshots = snapshot::read_all(&location, true).await?;
        let recovered = open::recover(&location.to_string(), &metadata, epoch, &chain, &torn, &snapshots)?;
        let durable = snapshots.iter().map(|(name, (batch, _))| {
            let state = SnapshotState { durable: Some(*batch), ..SnapshotState::default() };
            (name.clone(), state)
        });
        let checkpoint = Self {
            location,
            options,
            metadata,
            epoch,
            order: chain.order.clone(),
            floor_seq: chain.floor_seq(),
            writer: Some(writer),
            poison: None,
            snapshots: Arc::new(Mutex::new(durable.collect())),
            state: Arc::default(),
            is_removing: Arc::default(),
            opening: Some(Opening { chain, torn, snapshots }),
            proposal: None,
            background: JoinSet::new(),
            lock,
        };
        Ok((checkpoint, recovered))
    }

    /// Begins the run with a start record ([`Record::start`]). From here on older runs are fenced. Hands back what the
    /// checkpoint says now: on an object store an older run may have written until this very moment, so what `open`
    /// said is good for comparing the job only.
    pub async fn start(&mut self, record: Record, opened: Recovered) -> Result<Recovered> {
        let (Some(mut opening), RecordKind::Start) = (self.opening.take(), record.kind) else {
            return Err(Error::internal("a run begins with one start record"));
        };
        let mut is_changed = false;
        for _ in 0..START_TRIES {
            match self.write(record.clone()).await? {
                Appended::Done => {
                    let recovered = if is_changed { self.recovered(&opening)? } else { opened };
                    let is_proposed = recovered.last_intent.as_ref().is_some_and(|last| last.kind == RecordKind::Proposed);
                    self.proposal = is_proposed.then_some(opening);
                    return Ok(recovered);
                }
                Appended::Older(theirs) => {
                    let damaged = |why: String| chain::damaged(&self.location.to_string(), &why);
                    self.order.check(&theirs).map_err(damaged)?;
                    self.order.apply(&theirs);
                    self.floor_seq = self.floor_seq.max(theirs.floor_seq);
                    opening.chain.order = self.order.clone();
                    opening.chain.records.push(*theirs);
                    is_changed = true;
                }
            }
        }
        Err(Error::unavailable(format!("an older run writes faster than this one can take over checkpoint '{}'", self.location)))
    }

    /// The sink has committed the batch that the last record proposes: writes its prepared record. Hands back what the
    /// checkpoint says now. Comes before any other record of the run.
    pub async fn decide_proposed(&mut self) -> Result<Recovered> {
        let (Some(mut proposal), Some(proposed)) = (self.proposal.take(), self.order.intent.clone()) else {
            return Err(Error::internal("no batch is proposed that a sink could have committed"));
        };
        let mut prepared = Record::prepared_from(&proposed);
        self.number(&mut prepared);
        self.append(prepared.clone()).await?;
        proposal.chain.order = self.order.clone();
        proposal.chain.records.push(prepared);
        self.recovered(&proposal)
    }

    fn recovered(&self, opening: &Opening) -> Result<Recovered> {
        let Opening { chain, torn, snapshots } = opening;
        open::recover(&self.location.to_string(), &self.metadata, self.epoch, chain, torn, snapshots)
    }

    /// Appends a record; it is durable when this returns. The checkpoint numbers it, and fills in what is committed if
    /// the record says less. After an error, or when the future was dropped, every later call fails.
    pub async fn append(&mut self, record: Record) -> Result<()> {
        if self.opening.is_some() || record.kind == RecordKind::Start {
            return Err(Error::internal(format!("a {} record is not what comes next: call start first, once", record.kind)));
        }
        self.proposal = None;
        match self.write(record).await? {
            Appended::Done => Ok(()),
            Appended::Older(_) => Err(Error::internal("an append ended like a start")),
        }
    }

    /// An error if a newer run has begun. A run that has slept learns it from its next record, which is refused; what shuts others out
    /// without a record asks first.
    pub async fn ensure_newest(&self) -> Result<()> {
        match &self.writer {
            Some(LogWriter::Object(log)) => log.ensure_newest(self.order.next_seq).await,
            Some(LogWriter::Local(log)) => log.ensure_newest(),
            None => Ok(()),
        }
        .map_err(|error| error.context(format!("looking at checkpoint '{}'", self.location)))
    }

    /// Keeps what a source remembers up to and with `batch`, which must be decided. Written in the background; a failure
    /// is logged, and the log then keeps the ranges that the snapshot would have replaced.
    pub fn put_source_snapshot(&mut self, source: &str, batch: BatchId, bytes: Bytes) -> Result<()> {
        let decided = self.order.intent.as_ref().and_then(|intent| intent.batch).max(self.order.prepared);
        if decided.is_none_or(|decided| batch > decided) {
            return Err(Error::internal(format!("source '{source}' has a snapshot of batch {batch}, which is not decided")));
        }
        if let Some((first, _)) = self.order.batches.front().filter(|(first, _)| *first > batch.next()) {
            return Err(Error::internal(format!("source '{source}' has a snapshot of batch {batch} and the log begins with {first}")));
        }
        {
            let mut snapshots = lock(&self.snapshots);
            let state = snapshots.entry(source.to_owned()).or_default();
            if state.is_being_written {
                state.waiting = Some((batch, bytes));
                return Ok(());
            }
            state.is_being_written = true;
        }
        let (location, source) = (self.location.clone(), source.to_owned());
        let (snapshots, lock_guard) = (Arc::clone(&self.snapshots), self.lock.clone());
        self.spawn(async move {
            let mut next = Some((batch, bytes));
            while let Some((batch, bytes)) = next {
                let written = snapshot::write(&location, &source, batch, &bytes).await;
                if let Err(error) = &written {
                    tracing::warn!(checkpoint = %location, source, batch = batch.0, %error, "the snapshot of a source was not written");
                }
                let mut snapshots = lock(&snapshots);
                let state = snapshots.entry(source.clone()).or_default();
                if written.is_ok() {
                    state.durable = state.durable.max(Some(batch));
                }
                next = state.waiting.take();
                state.is_being_written = next.is_some();
            }
            drop(lock_guard);
        });
        Ok(())
    }

    /// Opens the state of the query's operators for this run; `recovered` is what [`Checkpoint::start`] gave. From here on
    /// the log keeps the records that refer to state that is still needed.
    pub async fn open_state(&self, recovered: &Recovered) -> Result<StateLog> {
        if self.opening.is_some() {
            return Err(Error::internal("state is opened after the run has begun"));
        }
        let opened = StateLog::open(StateLogParts {
            checkpoint: self.location.clone(),
            query_id: self.metadata.query_id,
            epoch: self.epoch,
            segment_bytes: self.options.state_segment_bytes,
            recovered: recovered.state.clone(),
            keeping: Arc::clone(&self.state),
            lock: self.lock.clone(),
        });
        opened.await.map_err(|error| error.context(format!("opening the state of checkpoint '{}'", self.location)))
    }

    /// Decides what is not needed any more. The next record says so, and then the files go, in the background.
    pub fn retain(&mut self, retention: &Retention<'_>) {
        let Some(prepared) = self.order.prepared else { return };
        let mut keep_from = BatchId((prepared.0 + 1).saturating_sub(retention.n_batches_min.max(1)));
        keep_from = keep_from.min(self.order.committed.map_or(BatchId(0), BatchId::next));
        keep_from = retention.keep_from.map_or(keep_from, |needed| keep_from.min(needed));
        keep_from = self.state.keep_from().map_or(keep_from, |needed| keep_from.min(needed));
        {
            let snapshots = lock(&self.snapshots);
            let without = retention.remembering.iter().filter(|source| !snapshots.contains_key(**source)).map(|_| None);
            for durable in snapshots.values().map(|state| state.durable).chain(without) {
                keep_from = keep_from.min(durable.map_or(BatchId(0), BatchId::next));
            }
        }
        while self.order.batches.front().is_some_and(|(batch, _)| *batch < keep_from) {
            self.order.batches.pop_front();
        }
        if let Some((_, seq)) = self.order.batches.front() {
            self.floor_seq = self.floor_seq.max(*seq);
        }
    }

    /// The query.
    pub fn query_id(&self) -> QueryId {
        self.metadata.query_id
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
    pub async fn close(mut self) {
        while self.background.join_next().await.is_some() {}
    }

    /// Fills in what the checkpoint knows.
    fn number(&self, record: &mut Record) {
        record.epoch = self.epoch;
        record.seq = self.order.next_seq;
        record.start_seq = if record.kind == RecordKind::Start { record.seq } else { self.order.start_seq };
        record.floor_seq = self.floor_seq;
        record.committed = record.committed.max(self.order.committed);
        match record.kind {
            RecordKind::Prepared => record.idle = self.order.idle_beside(record),
            RecordKind::Positions => {
                for (name, place) in &mut record.idle {
                    place.batch = self.order.last_batch_of(name);
                }
            }
            _ => {}
        }
    }

    async fn write(&mut self, mut record: Record) -> Result<Appended> {
        self.number(&mut record);
        if let Some(poison) = &self.poison {
            return Err(poison.clone().context("the checkpoint failed before"));
        }
        self.order.check(&record).map_err(|why| Error::internal(format!("the checkpoint refuses a record out of order: {why}")))?;
        let Some(writer) = self.writer.take() else {
            return Err(Error::cancelled("the checkpoint is closed to writing: an append was cancelled before its answer"));
        };
        let (writer, record, result) = match writer {
            LogWriter::Local(mut log) => {
                blocking(move || {
                    let result = log.append(&record);
                    Ok((LogWriter::Local(log), record, result.map(|()| Appended::Done)))
                })
                .await?
            }
            LogWriter::Object(mut log) => {
                let result = log.append(&record).await;
                (LogWriter::Object(log), record, result)
            }
        };
        match result {
            Ok(appended) => {
                self.writer = Some(writer);
                if matches!(appended, Appended::Done) {
                    self.order.apply(&record);
                    if let (RecordKind::Prepared, Some(batch)) = (record.kind, record.batch) {
                        self.state.decided(batch);
                    }
                    self.remove_unneeded(&record);
                }
                Ok(appended)
            }
            Err(error) => {
                let error = error.context(format!("writing {} record {} of checkpoint '{}'", record.kind, record.seq, self.location));
                self.poison = Some(error.clone());
                Err(error)
            }
        }
    }

    /// `record` is durable and says what is not needed any more. What cannot be removed is found again at the next start.
    fn remove_unneeded(&mut self, record: &Record) {
        if self.is_removing.load(Ordering::Acquire) {
            return;
        }
        let (lock_guard, is_removing) = (self.lock.clone(), Arc::clone(&self.is_removing));
        match (&mut self.writer, &self.location) {
            (Some(LogWriter::Local(log)), Location::Local { fs, .. }) => {
                let (fs, paths) = (Arc::clone(fs), log.take_unneeded(record.floor_seq, record.start_seq));
                if !paths.is_empty() {
                    is_removing.store(true, Ordering::Release);
                    self.spawn(async move {
                        log_removal(blocking(move || Ok(paths.iter().try_for_each(|path| fs.remove(path))?)).await);
                        is_removing.store(false, Ordering::Release);
                        drop(lock_guard);
                    });
                }
            }
            (Some(LogWriter::Object(log)), Location::Object { store, .. }) => {
                let (store, keys) = (Arc::clone(store), log.take_unneeded(record.floor_seq, record.start_seq));
                if !keys.is_empty() {
                    is_removing.store(true, Ordering::Release);
                    self.spawn(async move {
                        log_removal(object::remove(&store, &keys).await);
                        is_removing.store(false, Ordering::Release);
                    });
                }
            }
            _ => {}
        }
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        // Ended tasks are let go here, so that the set stays as small as what is under way.
        while self.background.try_join_next().is_some() {}
        self.background.spawn(work);
    }
}

/// What runs in the background goes on to its end, and holds the lock until then.
impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.background.detach_all();
        if let (Some(lock), Some(root)) = (&self.lock, self.location.as_local()) {
            open::remember_dropped(root, lock);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_removal(removed: Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "old records of a checkpoint were not removed; the next start tries again");
    }
}

#[cfg(test)]
mod tests;
