//! Reading state back: the newest snapshot at or before the wanted batch, then the deltas behind it.
//!
//! Rows are dealt out to tasks by their keys, so the parallelism may be another one than when they were written. A snapshot
//! that is damaged is passed over for the one before; a delta that is damaged or missing is an error, as nothing can
//! stand for it. Never gives a table that lacks a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Fields;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
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
use crate::store::key::HashedKeys;
use crate::store::key_group::{KeyHasher, partitions_of};
use crate::store::multi_table::KeyedMultiTable;
use crate::store::schema::{StoreRows, StoreSchema};
use crate::store::table::KeyedTable;
use crate::store::{StateMemory, StoreId, arrow_error};

/// Deltas read at a time.
const READS_AT_ONCE: usize = 8;

/// Parts of a snapshot that are dealt out to tasks at a time, while others are applied.
const DEALT_AT_ONCE: usize = 4;

/// Parts of so many rows are applied to the tables of several tasks at a time.
const ROWS_WORTH_THREADS: usize = 4096;

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
            let operator = &id.operator;
            let others = self.runs.iter().filter(|(epoch, _)| !spec.history.owns(*epoch));
            let batch = others.map(|(_, last)| *last).max().unwrap_or(version);
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
                return loaded(targets, Some(name.batch), damaged).await;
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
        return loaded(targets, None, damaged).await;
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

async fn loaded(mut targets: Targets, snapshot: Option<BatchId>, damaged: Vec<(String, String)>) -> Result<LoadedState> {
    blocking(move || {
        // Those of several rows per key get an index of another kind.
        let indexed = targets.tables.iter_mut().filter(|(id, _)| !targets.dealer.is_multi(id));
        let mut indexed: Vec<&mut KeyedTable> = indexed.flat_map(|(_, tables)| tables).collect();
        let n_rows = indexed.iter().map(|table| table.n_rows()).sum();
        side_by_side(&mut indexed, n_rows, |table| {
            table.see_to_index();
            Ok(())
        })?;
        Ok(LoadedState { tables: targets.tables, snapshot, damaged })
    })
    .await
}

async fn read_snapshot(dir: &Location, query_id: QueryId, name: SnapshotName, len: u64, mut targets: Targets) -> Result<Targets> {
    let reader = SnapshotReader::open(dir, query_id, name, len).await?;
    let parts = stream::try_unfold(reader, |mut reader| async { Ok(reader.next_payload().await?.map(|part| (part, reader))) });
    let dealer = Arc::clone(&targets.dealer);
    // Parts are read and dealt out while others are applied.
    let deal = |payload: Bytes| {
        let dealer = Arc::clone(&dealer);
        blocking(move || dealer.deal(name.epoch, part::decode(&payload).map_err(Error::data)?))
    };
    let mut dealt = std::pin::pin!(parts.map_ok(deal).try_buffered(DEALT_AT_ONCE));
    while let Some(part) = dealt.try_next().await? {
        targets = targets.apply(PartOf::Snapshot, part.into_iter().collect()).await?;
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
        Ok(epoch) => targets.dealer.owns(epoch),
        Err(_) => true,
    };
    let wanted = state.deltas.iter().filter(|delta| Some(delta.batch) > after && Some(delta.batch) <= up_to && is_owned(delta));
    // Collected: a stream over the borrowing iterator would make the future of a start `Send` for one lifetime only.
    let reads: Vec<_> = wanted.cloned().map(|delta| dealt_delta(dir.clone(), delta, Arc::clone(&targets.dealer))).collect();
    let mut read = stream::iter(reads).buffered(READS_AT_ONCE);
    while let Some(parts) = read.try_next().await? {
        targets = targets.apply(PartOf::Delta, parts).await?;
    }
    Ok(targets)
}

/// The parts of one delta, dealt out.
async fn dealt_delta(dir: Location, delta: KeptDelta, dealer: Arc<Dealer>) -> Result<Vec<Dealt>> {
    let (written_by, parts) = written_delta(dir, delta).await?;
    blocking(move || parts.into_iter().filter_map(|part| dealer.deal(written_by, part).transpose()).collect()).await
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
    let reference = delta.reference.clone();
    let decoded = blocking(move || Ok(parts(&reference, &bytes).and_then(|parts| parts.iter().map(|part| part::decode(part)).collect())));
    decoded.await?.map_err(|why: String| named(&why))
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

/// The tables that are being filled: those of each store's tasks.
struct Targets {
    dealer: Arc<Dealer>,
    tables: BTreeMap<StoreId, Vec<KeyedTable>>,
}

/// Who gets which row.
struct Dealer {
    stores: BTreeMap<StoreId, DealtStore>,
    tasks: Tasks,
}

struct DealtStore {
    /// By the whole keys.
    keys: KeyHasher,
    /// By the keys without row numbers and slices, where there are any: all rows of a key are in one table.
    tasks: Option<(KeyHasher, usize)>,
    kind: StoreKind,
    row_schema: Arc<StoreSchema>,
    history: StoreHistory,
}

/// A part of a delta or snapshot, dealt out.
struct Dealt {
    id: StoreId,
    n_rows: usize,
    /// By task.
    hands: Vec<Hand>,
}

/// What one task gets.
struct Hand {
    expired_to: Option<i64>,
    removed: HashedKeys,
    keys: HashedKeys,
    expiry: Option<Int64Array>,
    values: Vec<ArrayRef>,
}

impl Targets {
    fn new(stores: &[StoreSpec], tasks: Tasks, memory: &StateMemory) -> Result<Self> {
        let (mut dealt, mut tables) = (BTreeMap::new(), BTreeMap::new());
        for StoreSpec { id, kind, schema, history } in stores {
            let (row_schema, table): (_, &dyn Fn() -> Result<KeyedTable>) = match kind {
                StoreKind::Single | StoreKind::Sliced => (schema.clone(), &|| KeyedTable::within(schema.clone(), memory)),
                StoreKind::Multi => (KeyedMultiTable::row_schema(schema)?, &|| KeyedMultiTable::rows_within(schema, memory)),
            };
            tables.insert(id.clone(), (0..tasks.parallelism).map(|_| table()).collect::<Result<_>>()?);
            let hashed = hashed_keys(*kind, schema);
            let store = DealtStore {
                keys: KeyHasher::new(row_schema.keys())?,
                tasks: (hashed != *row_schema.keys()).then(|| Ok::<_, Error>((KeyHasher::new(&hashed)?, hashed.len()))).transpose()?,
                kind: *kind,
                row_schema: Arc::new(row_schema),
                history: history.clone(),
            };
            dealt.insert(id.clone(), store);
        }
        Ok(Self { dealer: Arc::new(Dealer { stores: dealt, tasks }), tables })
    }

    /// Away from the async threads, as this is work.
    async fn apply(mut self, of: PartOf, parts: Vec<Dealt>) -> Result<Self> {
        blocking(move || {
            for Dealt { id, n_rows, hands } in parts {
                let tables = self.tables.get_mut(&id).ok_or_else(|| Error::internal(format!("{id} has no tables")))?;
                let mut dealt: Vec<(&mut KeyedTable, Hand)> = tables.iter_mut().zip(hands).collect();
                let applied = side_by_side(&mut dealt, n_rows, |(table, hand)| {
                    let Hand { expired_to, removed, keys, expiry, values } = hand;
                    match of {
                        PartOf::Snapshot => table.fill(keys, expiry.as_ref(), values),
                        PartOf::Delta => table.apply_hashed(*expired_to, removed, keys, expiry.as_ref(), values),
                    }
                });
                applied.map_err(|error| error.context(format!("loading the state of {id}")))?;
            }
            Ok(self)
        })
        .await
    }
}

impl Dealer {
    /// Whether a store of now began before that run ended.
    fn owns(&self, written_by: RunEpoch) -> bool {
        self.stores.values().any(|store| store.history.owns(written_by))
    }

    fn is_multi(&self, id: &StoreId) -> bool {
        self.stores.get(id).is_some_and(|store| store.kind == StoreKind::Multi)
    }

    /// The rows of each task; none of a store that nobody asks for, which is left alone.
    fn deal(&self, written_by: RunEpoch, (id, delta): (StoreId, TableDelta)) -> Result<Option<Dealt>> {
        let Some(store) = self.stores.get(&id).filter(|store| store.history.owns(written_by)) else { return Ok(None) };
        let delta = store.history.in_todays_columns(written_by, delta, &store.row_schema, store.kind);
        let hands = delta.and_then(|delta| Ok((delta.upserted.n_rows, store.hands(delta, self.tasks)?)));
        let (n_rows, hands) = hands.map_err(|error| error.context(format!("loading the state of {id}")))?;
        Ok(Some(Dealt { id, n_rows, hands }))
    }
}

impl DealtStore {
    fn hands(&self, delta: TableDelta, tasks: Tasks) -> Result<Vec<Hand>> {
        let StoreRows { keys: typed, expiry, values, .. } = delta.upserted;
        let (keys, removed) = (self.keys.hashed(&typed)?, self.keys.hashed(&delta.removed)?);
        if tasks.parallelism == 1 {
            return Ok(vec![Hand { expired_to: delta.expired_to, removed, keys, expiry, values }]);
        }
        let rows = self.rows_by_task(&typed, &keys, tasks)?;
        let removed_rows = self.rows_by_task(&delta.removed, &removed, tasks)?;
        let hand = |(rows, removed_rows): (UInt32Array, UInt32Array)| {
            let column = |column: &ArrayRef| take(column, &rows, None).map_err(arrow_error);
            let expiry = expiry.as_ref().map(|expiry| take(expiry, &rows, None).map_err(arrow_error)).transpose()?;
            Ok(Hand {
                expired_to: delta.expired_to,
                removed: removed.taken(&removed_rows)?,
                keys: keys.taken(&rows)?,
                expiry: expiry.map(|expiry| Int64Array::from(expiry.to_data())),
                values: values.iter().map(column).collect::<Result<_>>()?,
            })
        };
        rows.into_iter().zip(removed_rows).map(hand).collect()
    }

    fn rows_by_task(&self, typed: &[ArrayRef], keys: &HashedKeys, tasks: Tasks) -> Result<Vec<UInt32Array>> {
        let partitions = match &self.tasks {
            Some((hasher, n_hashed)) => {
                let hashed = typed.get(..*n_hashed).ok_or_else(|| Error::internal("a store has fewer keys than it is hashed by"))?;
                hasher.partitions(hashed, tasks.n_key_groups, tasks.parallelism)?
            }
            None => partitions_of(keys.hashes(), tasks.n_key_groups, tasks.parallelism),
        };
        let mut rows = vec![Vec::with_capacity(keys.len() / tasks.parallelism.max(1) as usize + 1); tasks.parallelism as usize];
        for (row, task) in (0_u32..).zip(partitions) {
            rows.get_mut(task as usize).ok_or_else(|| Error::internal("a key belongs to no task"))?.push(row);
        }
        Ok(rows.into_iter().map(UInt32Array::from).collect())
    }
}

/// Does the work of each task; where there is much of it on all cores, as recovery waits for nothing else.
fn side_by_side<T: Send>(all: &mut [T], n_rows: usize, work: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    let n_threads = match n_rows {
        ROWS_WORTH_THREADS.. => std::thread::available_parallelism().map_or(1, usize::from).min(all.len()),
        _ => 1,
    };
    if n_threads <= 1 {
        return all.iter_mut().try_for_each(work);
    }
    let (n_each, work) = (all.len().div_ceil(n_threads), &work);
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.chunks_mut(n_each).map(|some| scope.spawn(move || some.iter_mut().try_for_each(work))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a thread that loads state panicked"))))
    })
}
