//! A table with one row per key.
//!
//! ```text
//!  table.rs      what an operator asks of it: look up, set, remove, expire, scan, take what changed
//!  incoming.rs   how rows come in: over what is there, or anew
//!  spilled.rs    the rows on disk: how they get there, come back and expire
//! ```

mod incoming;
mod spilled;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Int64Array, new_empty_array};
use millstream_core::{Error, Result};

use self::incoming::{Known, Origin, Placing};
use super::changes::Changes;
use super::chunk::has_fixed_width;
use super::delta::TableDelta;
use super::expiry::ExpiryIndex;
use super::frozen::{FrozenTable, live_rows};
use super::index::KeyIndex;
use super::key::{HashedKeys, KeyCodec};
use super::key_group::hash_key;
use super::multi_table::NUMBER_BYTES;
use super::row_log::RowLog;
use super::schema::{StoreRows, StoreSchema, empty};
use super::slot::Slot;
use super::spill::{ColdRows, KeyHash, Member, SpillStats, StateMemory, Wanted};

/// Rows that leave a table come in batches of so many.
const ROWS_PER_BATCH: usize = 8192;

/// The live rows of one store of one operator in one task: one row per key.
///
/// Keys are equal as in grouping: a null equals a null, -0.0 equals 0.0, and all NaNs are one. A row whose expiry has
/// passed stays until [`KeyedTable::expire`] is called.
#[derive(Debug)]
pub struct KeyedTable {
    schema: Arc<StoreSchema>,
    codec: Arc<KeyCodec>,
    index: KeyIndex,
    indexing: Indexing,
    /// All values have.
    has_fixed_width: bool,
    log: RowLog,
    expiries: ExpiryIndex,
    changes: Changes,
    cold: ColdRows,
    member: Member,
    /// In a table of numbered rows: the number behind the highest one that went to disk.
    next_number: i64,
    /// See [`KeyedTable::count_beside`].
    beside_bytes: usize,
}

impl KeyedTable {
    /// An empty table that keeps all its rows in memory.
    pub fn new(schema: StoreSchema) -> Result<Self> {
        Self::within(schema, &StateMemory::unlimited())
    }

    /// An empty table that shares a memory budget.
    pub fn within(schema: StoreSchema, memory: &StateMemory) -> Result<Self> {
        Self::found_by(schema, memory, KeyHash { n_unhashed: 0 })
    }

    /// The rows of a [`KeyedMultiTable`](super::KeyedMultiTable): on disk they are found by their keys without the number.
    pub(super) fn numbered(row_schema: StoreSchema, memory: &StateMemory) -> Result<Self> {
        Self::found_by(row_schema, memory, KeyHash { n_unhashed: NUMBER_BYTES })
    }

    fn found_by(schema: StoreSchema, memory: &StateMemory, hash: KeyHash) -> Result<Self> {
        Ok(Self {
            codec: Arc::new(KeyCodec::new(schema.keys())?),
            index: KeyIndex::default(),
            indexing: Indexing::Done,
            has_fixed_width: schema.values().iter().all(|field| has_fixed_width(field.data_type())),
            log: RowLog::new(memory),
            expiries: ExpiryIndex::default(),
            changes: Changes::default(),
            cold: ColdRows::new(memory, schema.values(), hash)?,
            member: memory.join(),
            next_number: 0,
            beside_bytes: 0,
            schema: Arc::new(schema),
        })
    }

    /// Its columns.
    pub fn schema(&self) -> &StoreSchema {
        &self.schema
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.log.n_live() + self.cold.n_live()
    }

    /// What the table takes of memory, rows and indexes, as allocated, and what is kept beside it.
    pub fn memory_bytes(&self) -> usize {
        let hot = self.index.memory_bytes() + self.log.memory_bytes() + self.expiries.memory_bytes() + self.changes.memory_bytes();
        hot + self.cold.memory_bytes() + self.beside_bytes
    }

    /// What the table's owner now keeps in memory beside it, made from its rows: that counts as the table's own, so rows go to
    /// disk for it.
    pub fn count_beside(&mut self, bytes: usize) {
        self.beside_bytes = bytes;
    }

    /// What of the table is on disk; `None` if it has all the memory that it wants.
    pub fn spilled(&self) -> Option<SpillStats> {
        self.is_limited().then(|| self.cold.stats())
    }

    /// The row of each key, if there is one. The slots are good until the next delta is taken, or their rows are removed.
    pub fn lookup(&mut self, keys: &[ArrayRef]) -> Result<Vec<Option<Slot>>> {
        let keys = self.codec.hashed(keys)?;
        self.lookup_hashed(&keys)
    }

    /// As [`KeyedTable::lookup`], for who has keys as bytes.
    pub fn lookup_hashed(&mut self, keys: &HashedKeys) -> Result<Vec<Option<Slot>>> {
        self.see_to_index();
        let mut found = self.index.find_all(&self.log, keys);
        if !self.is_limited() {
            return Ok(found);
        }
        found.iter().flatten().for_each(|slot| self.log.touch(*slot));
        let unknown = || keys.bytes().iter().flatten().zip(&found).filter(|(_, slot)| slot.is_none()).map(|(key, _)| key);
        if !self.bring_in(unknown(), Wanted::Row)?.is_empty() {
            for (key, slot) in keys.among(0, keys.len()).zip(&mut found).filter(|(_, slot)| slot.is_none()) {
                *slot = self.index.find(&self.log, key);
            }
        }
        Ok(found)
    }

    /// The value columns of the rows of `slots`.
    pub fn gather(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() { Ok(empty(self.schema.values())) } else { self.log.gather_values(slots) }
    }

    /// One value column of the rows of `slots`.
    pub fn gather_column(&self, slots: &[Slot], column: usize) -> Result<ArrayRef> {
        let field = self.schema.values().get(column).ok_or_else(|| no_column(column))?;
        if slots.is_empty() { Ok(new_empty_array(field.data_type())) } else { self.log.gather_column(slots, column) }
    }

    /// The key columns of the rows of `slots`.
    pub fn gather_keys(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.codec.decode(self.log.keys_of(slots)?)
    }

    /// When each of the rows of `slots` expires; null means never.
    pub fn gather_expiry(&self, slots: &[Slot]) -> Int64Array {
        slots.iter().map(|slot| self.log.expiry(*slot)).collect()
    }

    /// Sets the rows of `keys`, whether they are there or not. A row expires at its `expiry` (milliseconds of whichever
    /// time the store lives by), one without never does. Of equal keys in one call the last counts.
    pub fn upsert(&mut self, keys: &[ArrayRef], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        let keys = self.codec.hashed(keys)?;
        self.upsert_hashed(&keys, expiry, values)
    }

    /// As [`KeyedTable::upsert`], for who has looked the keys up: `keys` are those of `rows`, and `known` their slots, which must
    /// still be good. Only keys without one are looked for.
    pub fn upsert_known(&mut self, keys: &HashedKeys, known: &[Option<Slot>], rows: &StoreRows) -> Result<()> {
        let is_first = !self.changes.has_upserts();
        self.put(keys, known, rows.expiry.as_ref(), &rows.values)?;
        if is_first && rows.n_rows == keys.len() && !self.codec.normalises() {
            let expiry = rows.expiry.clone().filter(|expiry| expiry.null_count() < expiry.len());
            self.changes.are_all_of(StoreRows { expiry, ..rows.clone() });
        }
        Ok(())
    }

    /// Adds the rows of those `keys` that are not there, and leaves the others as they are, expiry included. Says which
    /// were added; of equal keys in one call it is the first.
    pub fn insert_new(&mut self, keys: &[ArrayRef], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<BooleanArray> {
        let keys = self.codec.hashed(keys)?;
        let known = self.known(&keys)?;
        let mut is_new = BooleanBufferBuilder::new(keys.len());
        self.take_in(Origin::Caller, &keys, expiry, values, known.as_known(), |table, key, known| {
            let placing = table.placing(key, known);
            is_new.append(matches!(placing, Placing::New));
            if let Placing::Over(_) = placing { Placing::Skip } else { placing }
        })?;
        Ok(BooleanArray::new(is_new.finish(), None))
    }

    /// Adds rows that only their slots name, in a table that is not indexed.
    pub(super) fn append(&mut self, keys: &[ArrayRef], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<Vec<Slot>> {
        let keys = self.codec.hashed(keys)?;
        self.take_in(Origin::Caller, &keys, expiry, values, Known::Slots(&[]), |_, _, _| Placing::Unindexed)
    }

    /// Gives the rows of `slots`, whose keys these are, other values.
    pub(super) fn replace(&mut self, slots: &[Slot], keys: BinaryArray, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        let known: Vec<Option<Slot>> = slots.iter().copied().map(Some).collect();
        if known.len() != keys.len() {
            return Err(Error::internal(format!("{} rows of a store were to get those of {} keys", known.len(), keys.len())));
        }
        self.put(&HashedKeys::new(keys), &known, expiry, values)
    }

    /// Removes the rows of those `keys` that are there.
    pub fn remove(&mut self, keys: &[ArrayRef]) -> Result<()> {
        let slots: Vec<Slot> = self.lookup(keys)?.into_iter().flatten().collect();
        self.remove_slots(&slots)
    }

    /// Removes rows. One that is named twice is removed once.
    pub fn remove_slots(&mut self, slots: &[Slot]) -> Result<()> {
        self.remove_each(slots, |changes, slot, key| changes.remove(slot, key))
    }

    /// Removes the rows that expire at or before `t`, and hands them out, in time proportional to their number.
    pub fn expire(&mut self, t: i64) -> Result<Vec<StoreRows>> {
        let slots = self.expired_slots(t);
        let mut batches = self.batches_of(&slots)?;
        self.remove_expired(&slots, t)?;
        batches.extend(self.expire_spilled(t)?);
        Ok(batches)
    }

    /// As [`KeyedTable::expire`], for who needs only their number.
    pub fn discard_expired(&mut self, t: i64) -> Result<usize> {
        let slots = self.expired_slots(t);
        self.remove_expired(&slots, t)?;
        Ok(slots.len() + self.discard_spilled(t)?)
    }

    /// Whether a row expires at or before `t`. Nothing is removed.
    pub fn has_expired(&mut self, t: i64) -> Result<bool> {
        let slots = self.expired_slots(t);
        let log = &self.log;
        for slot in &slots {
            if let Some(expiry) = log.expiry(*slot) {
                self.expiries.insert(*slot, expiry, |slot| log.expiry(slot));
            }
        }
        Ok(!slots.is_empty() || self.cold.has_expired(t)?)
    }

    /// When it is worth asking [`Self::has_expired`] again: no row expires before that, but for those that have; `None` if
    /// none ever does. The nearer it is, the more exact.
    pub fn none_expires_before(&self) -> Option<i64> {
        self.expiries.none_before().into_iter().chain(self.cold.none_expires_before()).min()
    }

    /// All rows, in batches of no particular size and order.
    pub fn scan(&self) -> impl Iterator<Item = Result<StoreRows>> {
        let chunks = self.log.chunks().filter(|chunk| chunk.n_live() > 0).map(|chunk| live_rows(chunk, &self.codec));
        chunks.chain(self.cold.freeze().flat_map(|run| run.into_rows(Arc::clone(&self.codec))))
    }

    /// What has changed since the last call; `None` if nothing has. Beyond the memory budget rows go to disk now, and
    /// slots are not good any more.
    pub fn take_delta(&mut self) -> Result<Option<TableDelta>> {
        let delta = self.take_changes()?;
        self.make_room()?;
        Ok(delta)
    }

    pub(super) fn take_changes(&mut self) -> Result<Option<TableDelta>> {
        let Some(mut taken) = self.changes.take() else { return Ok(None) };
        taken.upserted.retain(|slot| self.log.is_live(*slot));
        let delta = TableDelta {
            schema: Arc::clone(&self.schema),
            expired_to: taken.expired_to,
            n_removed: taken.removed.len(),
            removed: self.codec.decode(taken.removed.iter().flatten())?,
            upserted: match taken.rows {
                Some(rows) => rows,
                None => self.rows_of(&taken.upserted)?,
            },
        };
        Ok((!delta.is_empty()).then_some(delta))
    }

    /// Makes the changes of a delta that was taken from a table with the same rows. They are no changes of this one.
    pub fn apply(&mut self, delta: &TableDelta) -> Result<()> {
        let StoreRows { keys, expiry, values, .. } = &delta.upserted;
        let keys = self.codec.hashed(keys)?;
        let removed = self.codec.hashed(&delta.removed)?;
        self.apply_hashed(delta.expired_to, &removed, &keys, expiry.as_ref(), values)
    }

    /// As [`KeyedTable::apply`].
    pub(super) fn apply_hashed(
        &mut self,
        expired_to: Option<i64>,
        removed: &HashedKeys,
        keys: &HashedKeys,
        expiry: Option<&Int64Array>,
        values: &[ArrayRef],
    ) -> Result<()> {
        if let Some(t) = expired_to {
            self.discard_expired(t)?;
        }
        if removed.len() > 0 {
            let slots: Vec<Slot> = self.lookup_hashed(removed)?.into_iter().flatten().collect();
            self.remove_slots(&slots)?;
        }
        if keys.len() > 0 {
            self.upsert_hashed(keys, expiry, values)?;
        }
        self.changes.take();
        self.make_room()
    }

    /// Makes the index, if it has not been made since rows were filled in.
    pub(super) fn see_to_index(&mut self) {
        if self.indexing == Indexing::Due {
            (self.index, self.indexing) = (KeyIndex::of(&self.log), Indexing::Done);
        }
    }

    /// The rows as they are now, to be read while the table changes. Costs next to nothing.
    pub fn freeze(&self) -> FrozenTable {
        let chunks = self.log.chunks().filter(|chunk| chunk.n_live() > 0).cloned().collect();
        FrozenTable { schema: Arc::clone(&self.schema), codec: Arc::clone(&self.codec), chunks, cold: self.cold.freeze().collect() }
    }

    /// From here on rows are reached by their slots alone: who has lists of them needs no index by the whole keys.
    pub(super) fn drop_index(&mut self) {
        (self.index, self.indexing) = (KeyIndex::default(), Indexing::Never);
    }

    /// Whether rows on disk are found by their keys without the number.
    pub(super) fn is_numbered(&self) -> bool {
        self.cold.key_hash().n_unhashed > 0
    }

    /// The number behind all those of rows on disk.
    pub(super) fn next_number(&self) -> i64 {
        self.next_number
    }

    pub(super) fn is_limited(&self) -> bool {
        self.member.memory().is_limited()
    }

    /// The row of a slot was asked for.
    pub(super) fn touch(&mut self, slot: Slot) {
        self.log.touch(slot);
    }

    /// The slots of the rows in memory.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.log.live_slots().map(|(slot, _)| slot)
    }

    pub(super) fn row_key(&self, slot: Slot) -> Option<&[u8]> {
        self.log.key(slot)
    }

    pub(super) fn row_keys<'a>(&'a self, slots: &'a [Slot]) -> Result<Vec<&'a [u8]>> {
        self.log.keys_of(slots)
    }

    pub(super) fn batches_of(&self, slots: &[Slot]) -> Result<Vec<StoreRows>> {
        slots.chunks(ROWS_PER_BATCH).map(|slots| self.rows_of(slots)).collect()
    }

    fn rows_of(&self, slots: &[Slot]) -> Result<StoreRows> {
        Ok(StoreRows { n_rows: slots.len(), keys: self.gather_keys(slots)?, expiry: self.expiry_of(slots), values: self.gather(slots)? })
    }

    /// When the rows of `slots` expire, if any of them does. Asks no row where none of the table can.
    fn expiry_of(&self, slots: &[Slot]) -> Option<Int64Array> {
        let any_expires = self.log.chunks().any(|chunk| chunk.rows.expiry.is_some());
        any_expires.then(|| self.gather_expiry(slots)).filter(|expiry| expiry.null_count() < expiry.len())
    }

    pub(super) fn expired_slots(&mut self, t: i64) -> Vec<Slot> {
        let log = &self.log;
        self.expiries.take_expired(t, |slot| log.expiry(slot))
    }

    pub(super) fn remove_expired(&mut self, slots: &[Slot], t: i64) -> Result<()> {
        self.remove_each(slots, |changes, slot, key| changes.expire(slot, key, t))
    }

    fn remove_each(&mut self, slots: &[Slot], note: impl Fn(&mut Changes, Slot, &[u8])) -> Result<()> {
        for slot in slots {
            let Some(key) = self.log.key(*slot) else { continue };
            note(&mut self.changes, *slot, key);
            self.forget(*slot);
        }
        self.index.shrink(&self.log);
        self.log.tidy()
    }

    /// The row of a slot is not in memory any more.
    fn forget(&mut self, slot: Slot) {
        if self.indexing == Indexing::Done
            && let Some(key) = self.log.key(slot)
        {
            self.index.remove(hash_key(key), slot);
        }
        self.log.remove(slot);
    }
}

pub(super) fn no_column(column: usize) -> Error {
    Error::internal(format!("a store has no value column {column}"))
}

/// Whether rows are found by their whole keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexing {
    Done,
    /// Rows have been filled in, and nobody has looked for one yet.
    Due,
    /// Who has lists of the rows finds them.
    Never,
}
