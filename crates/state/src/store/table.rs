//! A table with one row per key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, BooleanBufferBuilder, Int64Array, UInt32Array, new_empty_array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use millstream_core::{Error, Result};

use super::arrow_error;
use super::changes::Changes;
use super::chunk::{ChunkRows, has_fixed_width};
use super::delta::TableDelta;
use super::expiry::ExpiryIndex;
use super::frozen::{FrozenTable, live_rows};
use super::index::{KEYS_AT_ONCE, KeyIndex};
use super::key::{HashedKey, HashedKeys, KeyCodec};
use super::key_group::hash_key;
use super::multi_table::NUMBER_BYTES;
use super::row_log::{ColdChunks, RowLog};
use super::schema::{StoreRows, StoreSchema, empty};
use super::slot::Slot;
use super::spill::{ColdRows, KeyHash, Member, ReadColumns, SpillStats, SpilledRow, StateMemory, Wanted};

/// Rows that leave a table come in batches of so many.
const ROWS_PER_BATCH: usize = 8192;

/// A call's rows are kept in chunks of so many at most, so that none of them is costly to rewrite.
const ROWS_PER_CHUNK: usize = 1 << 16;

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

    fn upsert_hashed(&mut self, keys: &HashedKeys, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        if self.are_of_fixed_width(values) && self.are_known(keys) {
            let known = self.lookup_hashed(keys)?;
            return self.put(keys, &known, expiry, values);
        }
        let known = self.known(keys)?;
        self.take_in(Origin::Caller, keys, expiry, values, known.as_known(), Self::placing)?;
        Ok(())
    }

    /// Sets rows whose slots are known, as far as they are there. Values are written over where they are, if they can be.
    fn put(&mut self, keys: &HashedKeys, known: &[Option<Slot>], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        self.check_rows(keys, expiry, values)?;
        if !(self.are_of_fixed_width(values) && self.log.overwrite(known, expiry, values)?) {
            self.take_in(Origin::Caller, keys, expiry, values, Known::Slots(known), |table, key, known| {
                table.placing(key, known.filter(|slot| table.log.is_live(*slot)))
            })?;
            return Ok(());
        }
        known.iter().flatten().for_each(|slot| self.changes.upsert(*slot, false));
        let new: Vec<u32> = (0..).zip(known).filter(|(_, slot)| slot.is_none()).map(|(row, _)| row).collect();
        if new.len() == keys.len() {
            self.take_in(Origin::Caller, keys, expiry, values, Known::Ask, Self::placing)?;
        } else if !new.is_empty() {
            let new = UInt32Array::from(new);
            let column = |column: &dyn Array| take(column, &new, None).map_err(arrow_error);
            let values = values.iter().map(|values| column(values.as_ref())).collect::<Result<Vec<_>>>()?;
            let expiry = expiry.map(|expiry| Ok::<_, Error>(Int64Array::from(column(expiry)?.to_data()))).transpose()?;
            self.take_in(Origin::Caller, &keys.taken(&new)?, expiry.as_ref(), &values, Known::Ask, Self::placing)?;
        }
        Ok(())
    }

    /// Whether values can be written over where they are.
    fn are_of_fixed_width(&self, values: &[ArrayRef]) -> bool {
        self.has_fixed_width && values.iter().all(|column| column.null_count() == 0)
    }

    /// Whether keys of a call are mostly there, going by the first of them.
    fn are_known(&mut self, keys: &HashedKeys) -> bool {
        self.see_to_index();
        let mut found = Vec::with_capacity(KEYS_AT_ONCE);
        let n_asked = keys.len().min(KEYS_AT_ONCE);
        self.index.find_some(&self.log, keys, 0, n_asked, &mut found);
        found.iter().flatten().count() * 2 > n_asked
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

    /// Takes rows in that are not there: those of a snapshot, which has each key once. They are no changes. The index is made when
    /// the first key is looked for: all at once it is made much faster than row by row.
    pub(super) fn fill(&mut self, keys: &HashedKeys, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        if self.log.n_live() == 0 && self.indexing == Indexing::Done {
            self.indexing = Indexing::Due;
        }
        let place = match self.indexing {
            Indexing::Done => Placing::New,
            Indexing::Due | Indexing::Never => Placing::Unindexed,
        };
        self.take_in(Origin::Disk, keys, expiry, values, Known::Slots(&[]), |_, _, _| place)?;
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

    /// Where a row goes; `known` is what was found of its key before.
    fn placing(&self, key: HashedKey<'_>, known: Option<Slot>) -> Placing {
        // An earlier row of the call may have brought it.
        known.or_else(|| self.index.find(&self.log, key)).map_or(Placing::New, Placing::Over)
    }

    /// What has to be known of keys before rows of theirs are placed: rows on disk come in first.
    fn known(&mut self, keys: &HashedKeys) -> Result<Found> {
        self.see_to_index();
        Ok(if self.is_limited() { Found::All(self.lookup_hashed(keys)?) } else { Found::AsTheyCome })
    }

    /// Brings rows in from disk, and says their slots.
    pub(super) fn bring_in<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>, wanted: Wanted) -> Result<Vec<Slot>> {
        if self.cold.n_live() == 0 {
            return Ok(Vec::new());
        }
        let hash = self.cold.key_hash();
        let mut keys: Vec<(u64, &[u8])> = match wanted {
            Wanted::Row => keys.map(|key| (hash.of(key), key)).collect(),
            Wanted::List => keys.map(|key| (hash_key(key), key)).collect(),
        };
        keys.sort_unstable();
        keys.dedup();
        let Some(rows) = self.cold.take_out(&keys, wanted)? else { return Ok(Vec::new()) };
        let place = if self.indexing == Indexing::Done { Placing::New } else { Placing::Unindexed };
        self.take_in(Origin::Disk, &HashedKeys::new(rows.keys), Some(&rows.expiry), &rows.values, Known::Slots(&[]), |_, _, _| place)
    }

    /// Rows on disk that expire at or before `t` are gone: what they were.
    pub(super) fn expire_spilled(&mut self, t: i64) -> Result<Vec<StoreRows>> {
        let (mut batches, codec) = (Vec::new(), Arc::clone(&self.codec));
        let mut take = |rows: ReadColumns| {
            batches.push(rows.typed(&codec)?);
            Ok(())
        };
        let n_expired = self.cold.expire(t, Some(&mut take))?;
        if n_expired > 0 {
            self.changes.expire_unchanged(t);
        }
        Ok(batches)
    }

    /// As [`KeyedTable::expire_spilled`], for who needs only their number.
    pub(super) fn discard_spilled(&mut self, t: i64) -> Result<usize> {
        let n_expired = self.cold.expire(t, None)?;
        if n_expired > 0 {
            self.changes.expire_unchanged(t);
        }
        Ok(n_expired)
    }

    fn make_room(&mut self) -> Result<()> {
        let cold = self.coldest(0);
        self.send_out(cold)
    }

    /// The rows that should leave memory, where the budget asks for it; `more_bytes` is what their owner takes beside them.
    pub(super) fn coldest(&mut self, more_bytes: usize) -> ColdChunks {
        let own_bytes = self.memory_bytes() + more_bytes;
        let charged = self.log.charged_bytes() + self.cold.memory_bytes() - self.cold.uncharged_bytes();
        let excess = self.member.excess(own_bytes, own_bytes.saturating_sub(charged));
        self.log.coldest(excess)
    }

    /// Sends rows to disk. They must not have changed since the last delta.
    pub(super) fn send_out(&mut self, cold: ColdChunks) -> Result<()> {
        let ColdChunks { slots, chunks } = cold;
        if slots.is_empty() {
            return self.log.compact(&chunks);
        }
        self.note_numbers(&slots)?;
        let (hash, codec, log) = (self.cold.key_hash(), Arc::clone(self.cold.codec()), &self.log);
        let mut rows = Vec::with_capacity(slots.len());
        for slot in slots {
            rows.push((hash.of(log.live_key(slot)?), slot));
        }
        rows.sort_unstable_by(|(a, slot_a), (b, slot_b)| a.cmp(b).then_with(|| log.key(*slot_a).cmp(&log.key(*slot_b))));
        let row_bytes = log.charged_bytes() / log.n_live().max(1);
        self.cold.add(rows.len(), row_bytes, |writer| {
            rows.chunks(ROWS_PER_BATCH).try_for_each(|rows| {
                let slots: Vec<Slot> = rows.iter().map(|(_, slot)| *slot).collect();
                let values = codec.encode(&log.gather_values(&slots)?)?;
                rows.iter().zip(log.keys_of(&slots)?).enumerate().try_for_each(|(at, ((hash, slot), key))| {
                    let values = values.as_ref().map(|values| values.row(at));
                    let values = values.as_ref().map_or(&[][..], |row| row.as_ref());
                    writer.push(*hash, SpilledRow { key, expiry: log.expiry(*slot), values })
                })
            })
        })?;
        for (_, slot) in &rows {
            self.forget(*slot);
        }
        drop(rows);
        self.index.shrink(&self.log);
        self.log.compact(&chunks)
    }

    /// A multi table that takes the rows over must know the highest number.
    fn note_numbers(&mut self, slots: &[Slot]) -> Result<()> {
        if self.is_numbered() {
            // Numbers are ordered as their bytes are.
            let highest = slots.iter().filter_map(|slot| self.log.key(*slot)).max_by_key(|key| key.last_chunk::<NUMBER_BYTES>());
            let numbers = self.codec.decode(highest)?.pop();
            let number = numbers.as_ref().and_then(|numbers| numbers.as_primitive_opt::<Int64Type>()?.iter().next().flatten());
            self.next_number = self.next_number.max(number.map_or(0, |number| number.saturating_add(1)));
        }
        Ok(())
    }

    /// Takes rows into the log; `decide` says for each where it goes, by its key and what is known of it. Says the slots they have
    /// got, without those that were skipped.
    fn take_in(
        &mut self,
        origin: Origin,
        keys: &HashedKeys,
        expiry: Option<&Int64Array>,
        values: &[ArrayRef],
        known: Known<'_>,
        mut decide: impl FnMut(&Self, HashedKey<'_>, Option<Slot>) -> Placing,
    ) -> Result<Vec<Slot>> {
        self.check_rows(keys, expiry, values)?;
        let mut slots = Vec::with_capacity(keys.len());
        let mut found = Vec::with_capacity(KEYS_AT_ONCE);
        for from in (0..keys.len()).step_by(ROWS_PER_CHUNK) {
            let to = keys.len().min(from + ROWS_PER_CHUNK);
            let slice = |column: &ArrayRef| column.slice(from, to - from);
            let values: Vec<ArrayRef> = values.iter().map(slice).collect();
            let chunk_expiry = expiry.map(|expiry| expiry.slice(from, to - from));
            let open = self.log.open(ChunkRows::new(keys.bytes().slice(from, to - from), chunk_expiry, &values)?);
            for first in (from..to).step_by(KEYS_AT_ONCE) {
                let last = to.min(first + KEYS_AT_ONCE);
                found.clear();
                match known {
                    Known::Ask => self.index.find_some(&self.log, keys, first, last, &mut found),
                    Known::Slots(slots) => found.extend_from_slice(slots.get(first..last).unwrap_or_default()),
                }
                found.resize(last - first, None);
                for ((row, key), known) in (first..last).zip(keys.among(first, last)).zip(&found) {
                    let placing = decide(self, key, *known);
                    let slot = match placing {
                        Placing::Skip => {
                            self.log.skip(open)?;
                            continue;
                        }
                        Placing::Over(slot) => self.log.place(open, Some(slot))?,
                        Placing::New => {
                            self.index.reserve_one(&self.log);
                            let slot = self.log.place(open, None)?;
                            self.index.insert(&self.log, key.hash, slot);
                            slot
                        }
                        Placing::Unindexed => self.log.place(open, None)?,
                    };
                    slots.push(slot);
                    if origin == Origin::Caller {
                        self.changes.upsert(slot, matches!(placing, Placing::New | Placing::Unindexed));
                    }
                    if let Some(expiry) = expiry.filter(|expiry| expiry.is_valid(row)) {
                        let log = &self.log;
                        self.expiries.insert(slot, expiry.value(row), |slot| log.expiry(slot));
                    }
                }
            }
            self.log.tidy()?;
        }
        Ok(slots)
    }

    fn check_rows(&self, keys: &HashedKeys, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        self.schema.check_values(values, keys.len())?;
        match expiry.filter(|expiry| expiry.len() != keys.len()) {
            Some(expiry) => Err(Error::internal(format!("{} keys came with {} expiries", keys.len(), expiry.len()))),
            None => Ok(()),
        }
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

/// What is known of the keys of rows that come in.
#[derive(Debug, Clone, Copy)]
enum Known<'a> {
    /// The slots of the first keys; nothing of the others.
    Slots(&'a [Option<Slot>]),
    /// To be looked for, some at once, when their rows are placed: then the memory is still at hand.
    Ask,
}

/// The slots of keys, or that they need not be looked for in advance.
enum Found {
    All(Vec<Option<Slot>>),
    AsTheyCome,
}

impl Found {
    fn as_known(&self) -> Known<'_> {
        match self {
            Self::All(slots) => Known::Slots(slots),
            Self::AsTheyCome => Known::Ask,
        }
    }
}

/// Where a row that comes in goes.
#[derive(Debug, Clone, Copy)]
enum Placing {
    /// In the place of the row of this slot.
    Over(Slot),
    /// In a new one; its key is not there yet.
    New,
    /// In a new one, which the index does not know.
    Unindexed,
    /// Nowhere.
    Skip,
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// They are changes.
    Caller,
    /// They were part of the table before.
    Disk,
}
