//! State that survives: what batches changed, snapshots of all of it, and the way back.
//!
//! ```text
//!  batch N:   tables ─► take_delta ─► StateLog::write ─► DeltaRef ─► prepared record N          one write, one sync
//!  sometimes: tables ─► freeze ─────► StateLog::snapshot  (N is decided; in the background)      ─► two newest stay
//!  start:     newest whole snapshot ─► deltas behind it ─► tables, for any parallelism
//! ```
//! A delta counts when a prepared record refers to it; a snapshot is written only of a decided batch and replaces nothing
//! until it is durable. Made by [`crate::Checkpoint::open_state`], so that it shares the checkpoint's lock, and the
//! checkpoint keeps the records that state still needs. Runs no operator and decides no batch.
//! The format: `docs/design/0003-state-store.md`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef};
use millstream_core::{BatchId, Error, QueryId, Result, RunEpoch};
use tokio::task::JoinSet;

use super::StoreId;
use super::delta::TableDelta;
use super::frozen::FrozenTable;
use super::schema::StoreRows;
use super::spill::StateMemory;
use crate::checkpoint::HeldLock;
use crate::fs::blocking;
use crate::location::Location;

mod deltas;
mod files;
mod kept;
mod layout;
mod load;
mod operator;
mod part;
mod scan;
mod snapshot;
mod verify;

pub use deltas::DeltaRef;
pub use kept::KeptVersions;
pub use layout::{EarlierLayout, Role, StoreHistory, goes_on_as, widens};
pub use load::{KeptDelta, LoadedState, RecoveredState, StoreSpec, Tasks, load};
pub use operator::{OPERATOR_VERSION, OPERATOR_VERSION_WITH_PAST, OperatorState, StoreDescription, StoreKind, ValuesOf};
pub use scan::{ScannedRows, StoreScan};
pub(crate) use verify::verify;

use deltas::{DeltaWriter, ObjectWriter, SegmentWriter};
use files::{STATE_DIR, SnapshotName, StateFile};

/// No snapshot is written for less than so many bytes of deltas.
const SNAPSHOT_BYTES_MIN: u64 = 1 << 20;

/// A delta counts for so many bytes at least, as a recovery pays for each of them.
const DELTA_BYTES_MIN: u64 = 16 << 10;

/// What a batch counts for whose record has to be kept, though it may have changed nothing.
const BATCH_BYTES: u64 = 4 << 10;

/// Rows of several tasks are put together until a part has so many.
const ROWS_PER_PART: usize = 64 << 10;

/// And about so many bytes: a frame holds 4 GiB, an array of texts 2 GiB.
const BYTES_PER_PART: usize = 64 << 20;

/// The durable state of one run of a query.
#[derive(Debug)]
pub struct StateLog {
    checkpoint: Location,
    dir: Location,
    query_id: QueryId,
    epoch: RunEpoch,
    recovered: RecoveredState,
    keeping: Arc<StateKeeping>,
    /// Taken while a write is under way; `None` otherwise means that a write failed or was cancelled.
    writer: Option<DeltaWriter>,
    background: JoinSet<()>,
    lock: Option<Arc<HeldLock>>,
}

/// What a checkpoint and its state log tell each other, and what is on disk.
#[derive(Debug, Default)]
pub(crate) struct StateKeeping(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    is_open: bool,
    /// The last decided batch.
    decided: Option<BatchId>,
    /// Durable and not known to be damaged, oldest first.
    snapshots: Vec<SnapshotName>,
    is_being_written: bool,
    snapshot_bytes: u64,
    /// What deltas and records since the last snapshot count for, and how much of it a snapshot is being, or could not be, written for.
    delta_bytes: u64,
    tried_bytes: u64,
    /// The files of deltas with the last batch in each, oldest first; the last may still be written to.
    delta_files: VecDeque<(String, BatchId)>,
    /// Damaged snapshots: removed when a new one is durable.
    damaged: Vec<String>,
}

/// What a state log is made from.
#[derive(Debug)]
pub(crate) struct StateLogParts {
    pub checkpoint: Location,
    pub query_id: QueryId,
    pub epoch: RunEpoch,
    pub segment_bytes: u64,
    pub recovered: RecoveredState,
    pub keeping: Arc<StateKeeping>,
    pub lock: Option<Arc<HeldLock>>,
}

impl StateLog {
    /// Looks at what is there, and removes in the background what no record needs: of abandoned attempts and older runs.
    pub(crate) async fn open(parts: StateLogParts) -> Result<Self> {
        let StateLogParts { checkpoint, query_id, epoch, segment_bytes, recovered, keeping, lock } = parts;
        let dir = checkpoint.join(STATE_DIR);
        let writer = match dir.clone() {
            Location::Local { fs, path } => {
                let (held, made) = (Arc::clone(&fs), path.clone());
                blocking(move || Ok(held.create_dir_all(&made)?)).await?;
                DeltaWriter::Local(SegmentWriter::new(fs, path, epoch, segment_bytes))
            }
            Location::Object { store, prefix, .. } => DeltaWriter::Object(ObjectWriter::new(store, prefix, epoch)),
        };
        if let Location::Local { fs, path } = dir.clone() {
            // A killed run may have renamed a snapshot into place without syncing the folder.
            blocking(move || Ok(fs.sync_dir(&path)?)).await?;
        }
        let mut log = Self { checkpoint, dir, query_id, epoch, recovered, keeping, writer: Some(writer), background: JoinSet::new(), lock };
        let unneeded = log.take_stock().await?;
        log.remove(unneeded);
        Ok(log)
    }

    /// Loads the state after the last decided batch into tables that share `memory`.
    pub async fn recover(&self, stores: &[StoreSpec], tasks: Tasks, memory: &StateMemory) -> Result<LoadedState> {
        let loaded = load(&self.checkpoint, self.query_id, &self.recovered, self.recovered.last_batch, stores, tasks, memory).await;
        let loaded = loaded.map_err(|error| error.context(format!("reading the state of checkpoint '{}'", self.checkpoint)))?;
        let mut kept = self.keeping.lock();
        for (file, _) in &loaded.damaged {
            let name = file.rsplit('/').next().unwrap_or_default();
            kept.snapshots.retain(|snapshot| StateFile::Snapshot(*snapshot).name() != name);
            kept.damaged.push(name.to_owned());
        }
        kept.delta_bytes = weight(&self.recovered, loaded.snapshot);
        Ok(loaded)
    }

    /// Makes the changes of a batch durable, those of all operators and tasks together. What it gives belongs in the
    /// batch's prepared record; `None` if nothing has changed. The deltas of one store come from tasks with different
    /// keys that have all expired up to the same moment. After an error, or when the future was dropped, every later call fails.
    pub async fn write(&mut self, batch: BatchId, deltas: Vec<(StoreId, TableDelta)>) -> Result<Option<DeltaRef>> {
        let mut by_store: BTreeMap<StoreId, Vec<TableDelta>> = BTreeMap::new();
        for (id, delta) in deltas.into_iter().filter(|(_, delta)| !delta.is_empty()) {
            by_store.entry(id).or_default().push(delta);
        }
        if by_store.is_empty() {
            return Ok(None);
        }
        let Some(writer) = self.writer.take() else {
            return Err(Error::cancelled("the state log is closed to writing: a write failed or was cancelled before its answer"));
        };
        let parts = move || -> Result<Vec<(StoreId, TableDelta)>> {
            let mut parts = Vec::new();
            for (id, deltas) in by_store {
                let merged = merged(deltas).map_err(|error| error.context(format!("writing the state of {id}")))?;
                parts.extend(merged.into_iter().map(|delta| (id.clone(), delta)));
            }
            Ok(parts)
        };
        let (writer, written) = match writer {
            DeltaWriter::Local(mut segments) => {
                let lock = self.lock.clone();
                blocking(move || {
                    let reference = segments.append(&parts()?)?;
                    drop(lock);
                    Ok((DeltaWriter::Local(segments), reference))
                })
                .await
            }
            DeltaWriter::Object(mut objects) => {
                let object = blocking(move || deltas::object_of(&parts()?)).await?;
                objects.put(batch, object).await.map(|reference| (DeltaWriter::Object(objects), reference))
            }
        }
        .map_err(|error| error.context(format!("writing the state changes of batch {batch} of checkpoint '{}'", self.checkpoint)))?;
        self.writer = Some(writer);
        self.keeping.lock().wrote(&written, batch);
        Ok(Some(written))
    }

    /// Whether the deltas since the last snapshot outweigh it, so that another one is due: snapshots at most double what is
    /// written, and what a recovery reads, and the log keeps, stays in proportion to the state.
    pub fn wants_snapshot(&self) -> bool {
        self.keeping.lock().wants_snapshot()
    }

    /// Whether one is being written.
    pub fn is_writing_snapshot(&self) -> bool {
        self.keeping.lock().is_being_written
    }

    /// Writes a snapshot in the background: `tables` as they were frozen after `batch`, which must be decided, all tasks of
    /// all stores. A failure is logged; the deltas then stay.
    pub fn snapshot(&mut self, batch: BatchId, tables: Vec<(StoreId, FrozenTable)>) -> Result<()> {
        {
            let mut kept = self.keeping.lock();
            if kept.decided.is_none_or(|decided| batch > decided) {
                return Err(Error::internal(format!("a snapshot of the state after batch {batch}, which is not decided")));
            }
            if kept.is_being_written || kept.snapshots.last().is_some_and(|last| last.batch >= batch) {
                return Ok(());
            }
            kept.is_being_written = true;
            kept.tried_bytes = kept.delta_bytes;
        }
        let name = SnapshotName { batch, epoch: self.epoch };
        let (checkpoint, dir, query_id) = (self.checkpoint.clone(), self.dir.clone(), self.query_id);
        let (keeping, lock) = (Arc::clone(&self.keeping), self.lock.clone());
        self.spawn(async move {
            let written = snapshot::write(&dir, query_id, name, tables).await;
            let unneeded = match written {
                Ok(len) => keeping.lock().has_snapshot(name, len),
                Err(error) => {
                    tracing::warn!(%checkpoint, batch = batch.0, %error, "a snapshot of state was not written; the deltas stay");
                    keeping.lock().is_being_written = false;
                    Vec::new()
                }
            };
            log_removal(files::remove(&dir, &unneeded).await);
            drop(lock);
        });
        Ok(())
    }

    /// Waits for what runs in the background.
    pub async fn close(mut self) {
        while self.background.join_next().await.is_some() {}
    }

    /// Learns what the folder holds, and says what of it nobody needs.
    async fn take_stock(&mut self) -> Result<Vec<String>> {
        let mut snapshots = load::list_snapshots(&self.dir).await?;
        if let Some((ahead, _)) = snapshots.last().filter(|(name, _)| Some(name.batch) > self.recovered.last_batch) {
            let (file, place) = (StateFile::Snapshot(*ahead).name(), &self.checkpoint);
            let end = self.recovered.last_batch.map_or("is empty".to_owned(), |last| format!("ends with batch {last}"));
            return Err(Error::data(format!(
                "checkpoint '{place}' is damaged: '{STATE_DIR}/{file}' is the state after batch {} and the log {end}: records are lost",
                ahead.batch
            )));
        }
        let newest = snapshots.split_off(snapshots.len().saturating_sub(2));
        let names: Vec<SnapshotName> = newest.iter().map(|(name, _)| *name).collect();
        let needed_after = if let [older, _] = names.as_slice() { Some(older.batch) } else { None };
        let mut last_batches: BTreeMap<&str, BatchId> = BTreeMap::new();
        for delta in self.recovered.deltas.iter().filter(|delta| Some(delta.batch) > needed_after) {
            last_batches.insert(&delta.reference.file, delta.batch);
        }
        let mut delta_files: Vec<(String, BatchId)> = last_batches.iter().map(|(file, batch)| ((*file).to_owned(), *batch)).collect();
        delta_files.sort_by_key(|(_, batch)| *batch);
        let is_unneeded = |name: &str| match StateFile::parse(name) {
            Some(StateFile::Segment { .. } | StateFile::Delta { .. }) => !last_batches.contains_key(name),
            Some(StateFile::Snapshot(snapshot)) => !names.contains(&snapshot),
            Some(StateFile::Unfinished) => true,
            None => false,
        };
        let unneeded = files::list(&self.dir).await?.into_iter().map(|(name, _)| name).filter(|name| is_unneeded(name)).collect();
        let mut kept = self.keeping.lock();
        *kept = Kept {
            is_open: true,
            decided: self.recovered.last_batch,
            delta_bytes: weight(&self.recovered, names.last().map(|name| name.batch)),
            snapshot_bytes: newest.last().map_or(0, |(_, len)| *len),
            snapshots: names,
            delta_files: delta_files.into(),
            ..Kept::default()
        };
        Ok(unneeded)
    }

    fn remove(&mut self, names: Vec<String>) {
        if !names.is_empty() {
            let (dir, lock) = (self.dir.clone(), self.lock.clone());
            self.spawn(async move {
                log_removal(files::remove(&dir, &names).await);
                drop(lock);
            });
        }
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.background.try_join_next().is_some() {}
        self.background.spawn(work);
    }
}

/// What runs in the background goes on to its end, and holds the checkpoint's lock until then.
impl Drop for StateLog {
    fn drop(&mut self) {
        self.background.detach_all();
    }
}

impl StateKeeping {
    /// A prepared record is durable.
    pub(crate) fn decided(&self, batch: BatchId) {
        let mut kept = self.lock();
        kept.decided = Some(batch);
        kept.delta_bytes += BATCH_BYTES;
    }

    /// The first batch whose record state still needs: if the newest snapshot turns out to be damaged, the one before is
    /// read, and all deltas behind it.
    pub(crate) fn keep_from(&self) -> Option<BatchId> {
        let kept = self.lock();
        kept.is_open.then(|| if let [older, _] = kept.snapshots.as_slice() { older.batch.next() } else { BatchId(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn wrote(&mut self, reference: &DeltaRef, batch: BatchId) {
        self.delta_bytes += reference.length.max(DELTA_BYTES_MIN);
        match self.delta_files.back_mut() {
            Some((file, last)) if *file == reference.file => *last = batch,
            _ => self.delta_files.push_back((reference.file.clone(), batch)),
        }
    }

    fn wants_snapshot(&self) -> bool {
        !self.is_being_written && self.delta_bytes - self.tried_bytes.min(self.delta_bytes) >= self.snapshot_bytes.max(SNAPSHOT_BYTES_MIN)
    }

    /// Takes a durable snapshot in, and says which files nobody needs any more.
    fn has_snapshot(&mut self, name: SnapshotName, len: u64) -> Vec<String> {
        self.is_being_written = false;
        self.snapshot_bytes = len;
        self.delta_bytes -= self.tried_bytes.min(self.delta_bytes);
        self.tried_bytes = 0;
        self.snapshots.push(name);
        let mut unneeded = std::mem::take(&mut self.damaged);
        let n_old = self.snapshots.len().saturating_sub(2);
        unneeded.extend(self.snapshots.drain(..n_old).map(|old| StateFile::Snapshot(old).name()));
        if let [older, _] = self.snapshots.as_slice() {
            while self.delta_files.len() > 1 && self.delta_files.front().is_some_and(|(_, last)| *last <= older.batch) {
                unneeded.extend(self.delta_files.pop_front().map(|(file, _)| file));
            }
        }
        unneeded
    }
}

/// What the deltas and records behind a batch count for.
fn weight(state: &RecoveredState, after: Option<BatchId>) -> u64 {
    let behind = state.deltas.iter().filter(|delta| Some(delta.batch) > after);
    let deltas: u64 = behind.map(|delta| delta.reference.length.max(DELTA_BYTES_MIN)).sum();
    let number = |batch: Option<BatchId>| batch.map_or(0, |batch| batch.0 + 1);
    deltas + number(state.last_batch).saturating_sub(number(after)).saturating_mul(BATCH_BYTES)
}

/// The deltas of several tasks as few.
fn merged(deltas: Vec<TableDelta>) -> Result<Vec<TableDelta>> {
    let mut moments = deltas.iter().filter_map(|delta| delta.expired_to);
    let mut expired_to = moments.next();
    if moments.any(|moment| Some(moment) != expired_to) {
        return Err(Error::internal("tasks of one store have expired up to different moments in one batch"));
    }
    let (mut all, mut waiting, mut n_waiting, mut bytes_waiting) = (Vec::new(), Vec::new(), 0, 0);
    for piece in deltas.into_iter().flat_map(pieces) {
        let (n_rows, bytes) = size_of(&piece);
        if n_waiting + n_rows > ROWS_PER_PART || bytes_waiting + bytes > BYTES_PER_PART {
            all.extend(joined(std::mem::take(&mut waiting), &mut expired_to)?);
            (n_waiting, bytes_waiting) = (0, 0);
        }
        n_waiting += n_rows;
        bytes_waiting += bytes;
        waiting.push(piece);
    }
    all.extend(joined(waiting, &mut expired_to)?);
    Ok(all)
}

/// A delta in pieces that fit into a part each, in the order in which they apply: who was removed first.
fn pieces(delta: TableDelta) -> Vec<TableDelta> {
    let (n_rows, bytes) = size_of(&delta);
    if n_rows <= ROWS_PER_PART && bytes <= BYTES_PER_PART {
        return vec![delta];
    }
    // By the size of rows on average: a row is never cut, and no array is so large that a piece of it fits into no frame.
    let n_max = (BYTES_PER_PART / bytes.div_ceil(n_rows.max(1)).max(1)).clamp(1, ROWS_PER_PART);
    let columns = |columns: &[ArrayRef], start, n| columns.iter().map(|column| column.slice(start, n)).collect::<Vec<_>>();
    let TableDelta { schema, expired_to, n_removed, removed, upserted } = delta;
    let starts = |n_rows: usize| (0..n_rows).step_by(n_max).map(move |start| (start, n_max.min(n_rows - start)));
    let rows_of = |start, n| StoreRows {
        n_rows: n,
        keys: columns(&upserted.keys, start, n),
        expiry: upserted.expiry.as_ref().map(|expiry| expiry.slice(start, n)),
        values: columns(&upserted.values, start, n),
    };
    let piece =
        |removed: Vec<ArrayRef>, n_removed, upserted| TableDelta { schema: Arc::clone(&schema), expired_to, n_removed, removed, upserted };
    let of_removed = starts(n_removed).map(|(start, n)| piece(columns(&removed, start, n), n, rows_of(0, 0)));
    let of_upserted = starts(upserted.n_rows).map(|(start, n)| piece(columns(&removed, 0, 0), 0, rows_of(start, n)));
    of_removed.chain(of_upserted).collect()
}

/// Rows and about how many bytes.
fn size_of(delta: &TableDelta) -> (usize, usize) {
    let StoreRows { n_rows, keys, expiry, values } = &delta.upserted;
    let bytes_of = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    let bytes: usize = keys.iter().chain(values).chain(&delta.removed).map(bytes_of).sum();
    (n_rows + delta.n_removed, bytes + expiry.as_ref().map_or(0, |expiry| size_of_val(expiry.values().as_ref())))
}

fn joined(deltas: Vec<TableDelta>, expired_to: &mut Option<i64>) -> Result<Option<TableDelta>> {
    let Some(schema) = deltas.first().map(|delta| Arc::clone(&delta.schema)) else { return Ok(None) };
    let (mut removed, mut upserted) = (Vec::new(), Vec::new());
    for delta in deltas {
        removed.push(StoreRows { n_rows: delta.n_removed, keys: delta.removed, expiry: None, values: Vec::new() });
        upserted.push(delta.upserted);
    }
    let removed = snapshot::concat_rows(&removed)?;
    let upserted = snapshot::concat_rows(&upserted)?;
    Ok(Some(TableDelta { schema, expired_to: expired_to.take(), n_removed: removed.n_rows, removed: removed.keys, upserted }))
}

fn log_removal(removed: Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "old files of state were not removed; the next start tries again");
    }
}

#[cfg(test)]
mod tests;
