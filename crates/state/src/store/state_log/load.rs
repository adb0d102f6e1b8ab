//! Reading state back: the newest snapshot at or before the wanted batch, then the deltas behind it.
//!
//! Rows are dealt out to tasks by their keys, so the parallelism may be another one than when they were written. A snapshot
//! that is damaged is passed over for the one before; a delta that is damaged or missing is an error, as nothing can
//! stand for it. Never gives a table that lacks a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Fields;
use futures::{StreamExt, TryStreamExt};
use millstream_core::{BatchId, Error, ErrorKind, QueryId, Result, RunEpoch};

use super::deltas::{DeltaRef, parts};
use super::files::{self, STATE_DIR, SnapshotName, StateFile};
use super::kept::KeptVersions;
use super::layout::StoreHistory;
use super::operator::{OperatorState, StoreKind};
use super::part;
use super::scan::written_by;
use super::snapshot::SnapshotReader;
use crate::fs::blocking;
use crate::location::Location;
use crate::store::delta::TableDelta;
use crate::store::key_group::KeyHasher;
use crate::store::multi_table::KeyedMultiTable;
use crate::store::schema::{StoreRows, StoreSchema};
use crate::store::table::KeyedTable;
use crate::store::{StateMemory, StoreId, arrow_error};

/// Deltas read at a time.
const READS_AT_ONCE: usize = 8;

/// Parts of so many rows are applied to the tables of several tasks at a time.
const ROWS_WORTH_THREADS: usize = 4096;

/// An index for so many rows takes some 100 MB: beyond it, it grows as rows come.
const ROWS_EXPECTED_MAX: usize = 16 << 20;

/// What the log of a checkpoint says about its state.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveredState {
    /// The stateful operators, by id, as the last run described them.
    pub operators: BTreeMap<String, OperatorState>,
    /// The runs whose batches are kept, oldest first, each with the last of its batches.
    pub runs: Vec<(RunEpoch, BatchId)>,
    /// The first batch whose prepared record is kept, and the run that decided it.
    pub first_batch: Option<BatchId>,
    /// See `first_batch`.
    pub first_epoch: Option<RunEpoch>,
    /// The last decided batch.
    pub last_batch: Option<BatchId>,
    /// The deltas of the batches between, oldest first. Batches that changed nothing have none.
    pub deltas: Vec<KeptDelta>,
}

/// A delta that a prepared record refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDelta {
    /// The batch.
    pub batch: BatchId,
    /// Where it is.
    pub reference: DeltaRef,
    /// The ids of the operators that it changes, for messages.
    pub operators: Vec<String>,
}

/// A store to load.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSpec {
    /// Which one.
    pub id: StoreId,
    /// One row per key or several.
    pub kind: StoreKind,
    /// Its columns, without row numbers.
    pub schema: StoreSchema,
    /// What older runs wrote.
    pub history: StoreHistory,
}

/// Who keeps the state: as many tables per store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks {
    /// The number of key groups of the checkpoint.
    pub n_key_groups: u32,
    /// The number of tasks.
    pub parallelism: u32,
}

impl RecoveredState {
    /// A store as it was after a batch, and the number of key groups. Its columns are those of now, whatever they were then.
    pub(super) fn store_at(&self, version: BatchId, id: &StoreId) -> Result<(StoreSpec, u32)> {
        let operator = self.operators.get(&id.operator);
        let found = operator.and_then(|operator| Some((operator.spec_of(&id.operator, &id.store)?, operator.n_key_groups)));
        let (spec, n_key_groups) = found.ok_or_else(|| Error::invalid(format!("the query has no {id}")))?;
        let run = self.runs.iter().find(|(_, last)| version <= *last).map(|(epoch, _)| *epoch);
        if run.is_some_and(|run| !spec.history.owns(run)) {
            let (batch, operator) = (version, &id.operator);
            return Err(Error::invalid(format!(
                "operator '{operator}' began afresh behind batch {batch}: what it remembered then was let go"
            ))
            .hint("read a later batch"));
        }
        Ok((spec, n_key_groups))
    }
}

/// State as it was after a batch.
#[derive(Debug)]
pub struct LoadedState {
    /// The table of each task, by store. Those of a store with several rows per key become a [`KeyedMultiTable`] by
    /// [`KeyedMultiTable::recover`].
    pub tables: BTreeMap<StoreId, Vec<KeyedTable>>,
    /// The batch of the snapshot it began with.
    pub snapshot: Option<BatchId>,
    /// Snapshots that are damaged: file and what is wrong.
    pub damaged: Vec<(String, String)>,
}

/// Loads the state after `version`, which must be a batch that is still kept; `None` stands for before the first batch.
/// What does not fit `memory` is spilled while it is loaded.
pub async fn load(
    checkpoint: &Location,
    query_id: QueryId,
    state: &RecoveredState,
    version: Option<BatchId>,
    stores: &[StoreSpec],
    tasks: Tasks,
    memory: &StateMemory,
) -> Result<LoadedState> {
    let dir = checkpoint.join(STATE_DIR);
    let mut snapshots = list_snapshots(&dir).await?;
    if let (Some(version), Some(kept)) = (version, KeptVersions::among(state, &snapshots)) {
        kept.check(version)?;
    }
    snapshots.retain(|(name, _)| Some(name.batch) <= version);
    let mut damaged = Vec::new();
    while let Some((name, len)) = snapshots.pop() {
        if !is_followed(state, Some(name.batch), version) {
            break;
        }
        match read_snapshot(&dir, query_id, name, len, Targets::new(stores, tasks, memory)?).await {
            Ok(targets) => {
                let targets = apply_deltas(&dir, state, Some(name.batch), version, targets).await?;
                return Ok(loaded(targets, Some(name.batch), damaged));
            }
            Err(error) if error.kind() == ErrorKind::Data => {
                let file = format!("{STATE_DIR}/{}", StateFile::Snapshot(name).name());
                tracing::warn!(checkpoint = %checkpoint, file, %error, "a snapshot of state is damaged; the one before is used");
                damaged.push((file, error.message().to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    // Before the first batch there was no state: a snapshot that need not be written.
    let never_had_any = state.operators.is_empty() && state.deltas.is_empty() && damaged.is_empty();
    let is_whole = is_followed(state, None, version) || begin_empty(state, stores);
    if (damaged.len() < 2 && is_whole) || never_had_any {
        let targets = apply_deltas(&dir, state, None, version, Targets::new(stores, tasks, memory)?).await?;
        return Ok(loaded(targets, None, damaged));
    }
    Err(no_snapshot_is_whole(state, version, &damaged))
}

/// Why there is nothing to begin with.
pub fn no_snapshot_is_whole(state: &RecoveredState, version: Option<BatchId>, damaged: &[(String, String)]) -> Error {
    let batch = version.map_or_else(String::new, |batch| format!(" after batch {batch}"));
    match damaged.iter().map(|(file, why)| format!("'{file}': {why}")).reduce(|all, one| format!("{all}; {one}")) {
        Some(damaged) => damage(format!("the state{batch} cannot be read, as no snapshot is whole: {damaged}")),
        None if version == state.last_batch => damage(format!("the state{batch} cannot be read, as its snapshots are missing")),
        None => Error::invalid(format!("the state{batch} is not kept any more")),
    }
}

/// The snapshots of a checkpoint with their lengths, oldest first.
pub async fn list_snapshots(dir: &Location) -> Result<Vec<(SnapshotName, u64)>> {
    let mut snapshots: Vec<_> = files::list(dir)
        .await?
        .into_iter()
        .filter_map(|(name, len)| match StateFile::parse(&name)? {
            StateFile::Snapshot(snapshot) => Some((snapshot, len)),
            _ => None,
        })
        .collect();
    snapshots.sort_unstable();
    Ok(snapshots)
}

/// Whether all that was ever written of these stores is in records that are kept: they began behind the first of them.
pub fn begin_empty(state: &RecoveredState, stores: &[StoreSpec]) -> bool {
    let begins_behind = |since: RunEpoch| state.first_epoch.is_none_or(|first| since > first);
    !stores.is_empty() && stores.iter().all(|store| store.history.since.is_some_and(begins_behind))
}

/// Whether the records of all batches behind `snapshot` up to `version` are kept.
pub fn is_followed(state: &RecoveredState, snapshot: Option<BatchId>, version: Option<BatchId>) -> bool {
    let next = snapshot.map_or(BatchId(0), BatchId::next);
    version.is_none_or(|version| next > version) || state.first_batch.is_some_and(|first| first <= next)
}

fn loaded(targets: Targets, snapshot: Option<BatchId>, damaged: Vec<(String, String)>) -> LoadedState {
    let tables = targets.by_store.into_iter().map(|(id, target)| (id, target.tables)).collect();
    LoadedState { tables, snapshot, damaged }
}

async fn read_snapshot(dir: &Location, query_id: QueryId, name: SnapshotName, len: u64, mut targets: Targets) -> Result<Targets> {
    let mut reader = SnapshotReader::open(dir, query_id, name, len).await?;
    let mut next = reader.next().await?;
    while let Some(part) = next {
        if targets.are_empty() {
            targets.expect(&part, len);
        }
        // The next part is read while this one is applied.
        let (applied, read) = tokio::join!(targets.apply(PartOf::Snapshot, name.epoch, vec![part]), reader.next());
        (targets, next) = (applied?, read?);
    }
    Ok(targets)
}

async fn apply_deltas(
    dir: &Location,
    state: &RecoveredState,
    after: Option<BatchId>,
    up_to: Option<BatchId>,
    mut targets: Targets,
) -> Result<Targets> {
    // What no store of now owns need not be there any more.
    let is_owned = |delta: &KeptDelta| match written_by(delta) {
        Ok(epoch) => targets.by_store.values().any(|target| target.history.owns(epoch)),
        Err(_) => true,
    };
    let wanted = state.deltas.iter().filter(|delta| Some(delta.batch) > after && Some(delta.batch) <= up_to && is_owned(delta));
    // Collected: a stream over the borrowing iterator would make the future of a start `Send` for one lifetime only.
    let reads: Vec<_> = wanted.cloned().map(|delta| written_delta(dir.clone(), delta)).collect();
    let mut read = futures::stream::iter(reads).buffered(READS_AT_ONCE);
    while let Some((written_by, parts)) = read.try_next().await? {
        targets = targets.apply(PartOf::Delta, written_by, parts).await?;
    }
    Ok(targets)
}

/// The parts of one delta, and which run wrote it.
async fn written_delta(dir: Location, delta: KeptDelta) -> Result<(RunEpoch, Vec<(StoreId, TableDelta)>)> {
    let parts = read_delta(dir, delta.clone()).await?;
    Ok((written_by(&delta)?, parts))
}

/// The parts of one delta; whatever is wrong with it is named with its file, batch and operators.
pub async fn read_delta(dir: Location, delta: KeptDelta) -> Result<Vec<(StoreId, TableDelta)>> {
    let DeltaRef { file, offset, length, .. } = &delta.reference;
    let named = |why: &str| {
        let (batch, operators) = (delta.batch, delta.operators.join("', '"));
        damage(format!(
            "file '{STATE_DIR}/{file}', bytes {offset} to {}: the state changes of batch {batch} by operator '{operators}': {why}",
            offset + length
        ))
    };
    if StateFile::parse(file).is_none() {
        return Err(named("this is no name of a file of state"));
    }
    let bytes = files::read(&dir.join(file), *offset, *length).await?.ok_or_else(|| named("the file is missing or too short"))?;
    let parts = parts(&delta.reference, &bytes).map_err(|why| named(&why))?;
    parts.iter().map(|part| part::decode(part)).collect::<Result<_, String>>().map_err(|why| named(&why))
}

fn damage(what: String) -> Error {
    Error::data(what).hint("nothing was changed; restore the folder from a copy, or start with a new checkpoint")
}

/// The keys whose hash says which task keeps a row.
pub fn hashed_keys(kind: StoreKind, schema: &StoreSchema) -> Fields {
    let n_hashed = schema.keys().len() - usize::from(kind == StoreKind::Sliced);
    schema.keys().iter().take(n_hashed).cloned().collect()
}

/// What the rows that are read are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartOf {
    /// Each key is in it once.
    Snapshot,
    /// They may be there already.
    Delta,
}

/// The tables that are being filled.
struct Targets {
    by_store: BTreeMap<StoreId, Target>,
    tasks: Tasks,
}

struct Target {
    /// By the keys without row numbers and slices: all rows of a key are in one table.
    hasher: KeyHasher,
    n_hashed: usize,
    kind: StoreKind,
    row_schema: Arc<StoreSchema>,
    history: StoreHistory,
    tables: Vec<KeyedTable>,
}

impl Targets {
    fn new(stores: &[StoreSpec], tasks: Tasks, memory: &StateMemory) -> Result<Self> {
        let mut by_store = BTreeMap::new();
        for StoreSpec { id, kind, schema, history } in stores {
            let (row_schema, table): (_, &dyn Fn() -> Result<KeyedTable>) = match kind {
                StoreKind::Single | StoreKind::Sliced => (schema.clone(), &|| KeyedTable::within(schema.clone(), memory)),
                StoreKind::Multi => (KeyedMultiTable::row_schema(schema)?, &|| KeyedMultiTable::rows_within(schema, memory)),
            };
            let tables = (0..tasks.parallelism).map(|_| table()).collect::<Result<_>>()?;
            let hashed = hashed_keys(*kind, schema);
            let target = Target {
                hasher: KeyHasher::new(&hashed)?,
                n_hashed: hashed.len(),
                kind: *kind,
                row_schema: Arc::new(row_schema),
                history: history.clone(),
                tables,
            };
            by_store.insert(id.clone(), target);
        }
        Ok(Self { by_store, tasks })
    }

    fn are_empty(&self) -> bool {
        self.by_store.values().flat_map(|target| &target.tables).all(|table| table.n_rows() == 0)
    }

    /// The first part of a snapshot of `len` bytes: if the rest is like it, so many rows will come.
    fn expect(&mut self, (id, first): &(StoreId, TableDelta), len: u64) {
        let StoreRows { n_rows, keys, expiry, values } = &first.upserted;
        let bytes = |column: &dyn Array| column.to_data().get_slice_memory_size().unwrap_or(0);
        let columns = keys.iter().chain(values).map(|column| bytes(column.as_ref()));
        let first_bytes = columns.chain(expiry.as_ref().map(|expiry| bytes(expiry))).sum::<usize>();
        // A store with small parts, or a first part unlike the others, must not take memory that nobody needs.
        if let Some(target) = self.by_store.get_mut(id).filter(|_| *n_rows >= ROWS_WORTH_THREADS) {
            let n_parts = usize::try_from(len).unwrap_or(usize::MAX) / first_bytes.max(1);
            let n_rows = n_rows.saturating_mul(n_parts) / target.tables.len().max(1);
            target.tables.iter_mut().for_each(|table| table.expect(n_rows.min(ROWS_EXPECTED_MAX)));
        }
    }

    /// Away from the async threads, as this is work.
    async fn apply(mut self, of: PartOf, written_by: RunEpoch, parts: Vec<(StoreId, TableDelta)>) -> Result<Self> {
        blocking(move || {
            for (id, delta) in parts {
                // A store that nobody asks for is left alone.
                if let Some(target) = self.by_store.get_mut(&id).filter(|target| target.history.owns(written_by)) {
                    let applied = target.history.in_todays_columns(written_by, delta, &target.row_schema, target.kind);
                    let applied = applied.and_then(|delta| target.apply(of, &delta, self.tasks));
                    applied.map_err(|error| error.context(format!("loading the state of {id}")))?;
                }
            }
            Ok(self)
        })
        .await
    }
}

impl Target {
    fn apply(&mut self, of: PartOf, delta: &TableDelta, tasks: Tasks) -> Result<()> {
        let enter = |table: &mut KeyedTable, delta: &TableDelta| match of {
            PartOf::Snapshot => table.fill(&delta.upserted),
            PartOf::Delta => table.apply(delta),
        };
        if let [table] = self.tables.as_mut_slice() {
            return enter(table, delta);
        }
        let rows = self.deal(&delta.upserted.keys, tasks)?;
        let removed = self.deal(&delta.removed, tasks)?;
        let mut dealt: Vec<_> = self.tables.iter_mut().zip(rows).zip(removed).collect();
        // A large part is work for all cores: recovery waits for nothing else.
        let n_threads = if delta.upserted.n_rows < ROWS_WORTH_THREADS {
            1
        } else {
            std::thread::available_parallelism().map_or(1, usize::from).min(dealt.len())
        };
        let apply = |dealt: &mut [((&mut KeyedTable, UInt32Array), UInt32Array)]| {
            dealt.iter_mut().try_for_each(|((table, rows), removed)| enter(table, &only(delta, rows, removed)?))
        };
        if n_threads == 1 {
            return apply(&mut dealt);
        }
        let n_each = dealt.len().div_ceil(n_threads);
        std::thread::scope(|scope| {
            let threads: Vec<_> = dealt.chunks_mut(n_each).map(|dealt| scope.spawn(|| apply(dealt))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a thread that loads state panicked"))))
        })
    }

    /// The rows of each task.
    fn deal(&self, keys: &[ArrayRef], tasks: Tasks) -> Result<Vec<UInt32Array>> {
        let hashed = keys.get(..self.n_hashed).ok_or_else(|| Error::internal("a store has fewer keys than it is hashed by"))?;
        let mut rows = vec![Vec::new(); self.tables.len()];
        for (row, task) in (0_u32..).zip(self.hasher.partitions(hashed, tasks.n_key_groups, tasks.parallelism)?) {
            rows.get_mut(task as usize).ok_or_else(|| Error::internal("a key belongs to no task"))?.push(row);
        }
        Ok(rows.into_iter().map(UInt32Array::from).collect())
    }
}

/// The part of a delta that belongs to one task.
fn only(delta: &TableDelta, rows: &UInt32Array, removed: &UInt32Array) -> Result<TableDelta> {
    let StoreRows { keys, expiry, values, .. } = &delta.upserted;
    let expiry = match expiry {
        Some(expiry) => Some(Int64Array::from(take(expiry, rows, None).map_err(arrow_error)?.to_data())),
        None => None,
    };
    Ok(TableDelta {
        schema: Arc::clone(&delta.schema),
        expired_to: delta.expired_to,
        n_removed: removed.len(),
        removed: taken(&delta.removed, removed)?,
        upserted: StoreRows { n_rows: rows.len(), keys: taken(keys, rows)?, expiry, values: taken(values, rows)? },
    })
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| take(column, rows, None).map_err(arrow_error)).collect()
}
