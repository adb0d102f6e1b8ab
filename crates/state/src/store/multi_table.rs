//! A table with any number of rows per key: what a join or a list keeps.
//!
//! ```text
//!  heads: key ─► its first row's slot      links: slot ─► next and previous row of the same key, in a circle
//!  rows:  a table with one row per (key, number); a row's number is higher than those of the key's older rows
//! ```
//! The rows are those of a [`KeyedTable`], so deltas, snapshots and expiry are its own, and a row that changes keeps its
//! name. Only the lists are made here, and made again after a recovery: in the order of the numbers, so they are as before.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use hashbrown::HashTable;
use millstream_core::{Error, Result};

use super::delta::TableDelta;
use super::frozen::FrozenTable;
use super::key::KeyCodec;
use super::key_group::hash_key;
use super::row_log::reserve_some;
use super::schema::{StoreRows, StoreSchema};
use super::slot::Slot;
use super::spill::{SpillStats, StateMemory, Wanted};
use super::table::{KeyedTable, no_column};

/// The name of the column behind the keys that tells the rows of a key apart.
pub const ROW_NUMBER: &str = "row_number";

/// What the number takes in row format: a byte for "not null" and eight.
pub(super) const NUMBER_BYTES: usize = 9;

/// The live rows of one store of one operator in one task: any number of rows per key, in the order they came in.
#[derive(Debug)]
pub struct KeyedMultiTable {
    schema: Arc<StoreSchema>,
    codec: KeyCodec,
    rows: KeyedTable,
    heads: HashTable<Slot>,
    /// By slot.
    links: Vec<Links>,
    next_number: i64,
}

#[derive(Debug, Clone, Copy)]
struct Links {
    next: Slot,
    previous: Slot,
}

/// A lookup of many keys that gives its pairs piece by piece, as hot keys have many.
#[derive(Debug)]
pub struct Matches {
    heads: Vec<Option<Slot>>,
    probe_row: usize,
    next: Option<Slot>,
}

/// Rows of a table with the rows of the lookup that they match.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// The row of the lookup.
    pub probe_rows: Vec<u32>,
    /// The row of the table.
    pub slots: Vec<Slot>,
}

impl KeyedMultiTable {
    /// An empty table with these columns that keeps all its rows in memory.
    pub fn new(schema: StoreSchema) -> Result<Self> {
        Self::within(schema, &StateMemory::unlimited())
    }

    /// An empty table that shares a memory budget.
    pub fn within(schema: StoreSchema, memory: &StateMemory) -> Result<Self> {
        let rows = Self::rows_within(&schema, memory)?;
        Self::recover(schema, rows)
    }

    /// A table for the rows of one with these columns, to be filled with deltas.
    pub fn rows_within(schema: &StoreSchema, memory: &StateMemory) -> Result<KeyedTable> {
        KeyedTable::numbered(Self::row_schema(schema)?, memory)
    }

    /// The columns of the rows as they are stored: with a number behind the keys.
    pub fn row_schema(schema: &StoreSchema) -> Result<StoreSchema> {
        let number = Arc::new(Field::new(ROW_NUMBER, DataType::Int64, false));
        let keys: Vec<_> = schema.keys().iter().cloned().chain([number]).collect();
        StoreSchema::new(keys, schema.values().clone())
    }

    /// A table of stored rows; with a memory budget they were filled into one of [`KeyedMultiTable::rows_within`].
    pub fn recover(schema: StoreSchema, rows: KeyedTable) -> Result<Self> {
        if *rows.schema() != Self::row_schema(&schema)? {
            return Err(Error::internal("a store was recovered with the rows of another one"));
        }
        if rows.is_limited() && !rows.is_numbered() {
            return Err(Error::internal("the rows of a store were spilled by keys that it does not look for"));
        }
        let codec = KeyCodec::new(schema.keys())?;
        let next_number = rows.next_number();
        let mut table = Self { schema: Arc::new(schema), codec, rows, heads: HashTable::new(), links: Vec::new(), next_number };
        let mut slots: Vec<(i64, Slot)> = Vec::with_capacity(table.rows.n_rows());
        let found: Vec<Slot> = table.rows.slots().collect();
        if let Some(numbers) = table.rows.gather_keys(&found)?.last() {
            slots.extend(numbers.as_primitive::<Int64Type>().values().iter().copied().zip(found));
        }
        slots.sort_unstable();
        table.next_number = next_number.max(slots.last().map_or(0, |(number, _)| number + 1));
        for (_, slot) in slots {
            table.link(slot)?;
        }
        table.rows.drop_index();
        Ok(table)
    }

    /// Its columns, without the number.
    pub fn schema(&self) -> &StoreSchema {
        &self.schema
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    /// What the table takes of memory, rows and indexes, as allocated.
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.list_bytes()
    }

    /// What of the table is on disk; `None` if it has all the memory that it wants.
    pub fn spilled(&self) -> Option<SpillStats> {
        self.rows.spilled()
    }

    /// Adds rows behind those that their keys have. A row expires at its `expiry`, one without never does.
    pub fn append(&mut self, keys: &[ArrayRef], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        let n_rows = keys.first().map_or(0, |column| column.len());
        let end = i64::try_from(n_rows).ok().and_then(|n| self.next_number.checked_add(n));
        let end = end.ok_or_else(|| Error::exhausted("a store has numbered all rows that it can"))?;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(self.next_number..end));
        let keys: Vec<ArrayRef> = keys.iter().cloned().chain([numbers]).collect();
        let slots = self.rows.append(&keys, expiry, values)?;
        self.next_number = end;
        slots.into_iter().try_for_each(|slot| self.link(slot))
    }

    /// Keys as the table compares them: two are equal if their bytes are.
    pub fn encode(&self, keys: &[ArrayRef]) -> Result<BinaryArray> {
        self.codec.encode(keys)
    }

    /// The oldest row of each key, if there is one.
    pub fn lookup_first(&mut self, keys: &[ArrayRef]) -> Result<Vec<Option<Slot>>> {
        let keys = self.codec.encode(keys)?;
        if self.rows.is_limited() {
            self.bring_in(&keys)?;
        }
        Ok(keys.iter().flatten().map(|key| self.head(key)).collect())
    }

    /// Begins a lookup of all rows of all keys; [`KeyedMultiTable::next_pairs`] gives them. Good until rows are added or removed.
    pub fn lookup_all(&mut self, keys: &[ArrayRef]) -> Result<Matches> {
        let heads = self.lookup_first(keys)?;
        Ok(Matches { next: heads.first().copied().flatten(), heads, probe_row: 0 })
    }

    /// The next pairs of a lookup, `n_max` at most, ordered by the row of the lookup, then by age; `None` at the end.
    pub fn next_pairs(&self, matches: &mut Matches, n_max: usize) -> Option<Pairs> {
        let mut pairs = Pairs::default();
        while pairs.slots.len() < n_max {
            let Some(slot) = matches.next else {
                matches.probe_row += 1;
                match matches.heads.get(matches.probe_row) {
                    Some(head) => matches.next = *head,
                    None => break,
                }
                continue;
            };
            pairs.probe_rows.push(u32::try_from(matches.probe_row).unwrap_or(u32::MAX));
            pairs.slots.push(slot);
            let next = self.links.get(slot.idx()).map(|links| links.next);
            let head = matches.heads.get(matches.probe_row).copied().flatten();
            matches.next = next.filter(|next| Some(*next) != head);
        }
        (!pairs.slots.is_empty()).then_some(pairs)
    }

    /// The value columns of the rows of `slots`.
    pub fn gather(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.rows.gather(slots)
    }

    /// One value column of the rows of `slots`.
    pub fn gather_column(&self, slots: &[Slot], column: usize) -> Result<ArrayRef> {
        self.rows.gather_column(slots, column)
    }

    /// The key columns of the rows of `slots`.
    pub fn gather_keys(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let mut keys = self.rows.gather_keys(slots)?;
        keys.truncate(self.schema.keys().len());
        Ok(keys)
    }

    /// When each of the rows of `slots` expires; null means never.
    pub fn gather_expiry(&self, slots: &[Slot]) -> Int64Array {
        self.rows.gather_expiry(slots)
    }

    /// Gives the rows of `slots` another value in one column. Expiry and place stay. The whole row is written again.
    pub fn set_value(&mut self, slots: &[Slot], column: usize, value: ArrayRef) -> Result<()> {
        let mut values = self.rows.gather(slots)?;
        *values.get_mut(column).ok_or_else(|| no_column(column))? = value;
        let expiry = self.rows.gather_expiry(slots);
        self.replace(slots, Some(&expiry), &values)
    }

    /// Gives the rows of `slots` other values and expiries. Keys and places stay.
    pub fn replace(&mut self, slots: &[Slot], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        let keys: BinaryArray = self.rows.row_keys(slots)?.into_iter().map(Some).collect();
        self.rows.replace(slots, keys, expiry, values)
    }

    /// Removes all rows of `keys`.
    pub fn remove(&mut self, keys: &[ArrayRef]) -> Result<()> {
        let mut matches = self.lookup_all(keys)?;
        let pairs = self.next_pairs(&mut matches, usize::MAX).unwrap_or_default();
        self.remove_slots(&pairs.slots)
    }

    /// Removes rows. One that is named twice is removed once.
    pub fn remove_slots(&mut self, slots: &[Slot]) -> Result<()> {
        slots.iter().for_each(|slot| self.unlink(*slot));
        self.rows.remove_slots(slots)
    }

    /// Removes the rows that expire at or before `t`, and hands them out, in time proportional to their number.
    pub fn expire(&mut self, t: i64) -> Result<Vec<StoreRows>> {
        let slots = self.rows.expired_slots(t);
        let mut batches = self.rows.batches_of(&slots)?;
        self.remove_expired(&slots, t)?;
        batches.extend(self.rows.expire_spilled(t)?);
        batches.iter_mut().for_each(|rows| rows.keys.truncate(self.schema.keys().len()));
        Ok(batches)
    }

    /// As [`KeyedMultiTable::expire`], for who needs only their number.
    pub fn discard_expired(&mut self, t: i64) -> Result<usize> {
        let slots = self.rows.expired_slots(t);
        self.remove_expired(&slots, t)?;
        Ok(slots.len() + self.rows.discard_spilled(t)?)
    }

    /// All rows with their numbers ([`KeyedMultiTable::row_schema`]), in batches of no particular size and order.
    pub fn scan(&self) -> impl Iterator<Item = Result<StoreRows>> {
        self.rows.scan()
    }

    /// What has changed since the last call; `None` if nothing has. Rows have their numbers. Beyond the memory budget rows
    /// go to disk now, and slots are not good any more.
    pub fn take_delta(&mut self) -> Result<Option<TableDelta>> {
        let delta = self.rows.take_changes()?;
        let cold = self.rows.coldest(self.list_bytes());
        cold.slots.iter().for_each(|slot| self.unlink(*slot));
        self.rows.send_out(cold)?;
        Ok(delta)
    }

    /// The rows as they are now, with their numbers, to be read while the table changes.
    pub fn freeze(&self) -> FrozenTable {
        self.rows.freeze()
    }

    fn list_bytes(&self) -> usize {
        self.heads.allocation_size() + self.links.capacity() * size_of::<Links>()
    }

    /// Brings in the rows of keys that are on disk: lists are whole when they are looked at. A list that only grows is not.
    fn bring_in(&mut self, keys: &BinaryArray) -> Result<()> {
        for key in keys.iter().flatten() {
            // All rows of the list are asked for.
            let head = self.head(key);
            let mut next = head;
            while let Some(slot) = next {
                self.rows.touch(slot);
                next = self.links.get(slot.idx()).map(|links| links.next).filter(|next| Some(*next) != head);
            }
        }
        let mut slots = self.rows.bring_in(keys.iter().flatten(), Wanted::List)?;
        // In the order of the numbers within each key.
        slots.sort_unstable_by(|a, b| self.rows.row_key(*a).cmp(&self.rows.row_key(*b)));
        let mut rest = slots.as_slice();
        while let Some(key) = rest.first().and_then(|slot| list_key(&self.rows, *slot)) {
            let n = rest.iter().take_while(|slot| list_key(&self.rows, **slot) == Some(key)).count();
            let head = self.head(key);
            let (of_key, others) = rest.split_at(n);
            self.link_all(of_key, head)?;
            rest = others;
        }
        Ok(())
    }

    /// Links rows of one key, in order, into the list that it has in memory: on disk were any of its rows.
    fn link_all(&mut self, slots: &[Slot], head: Option<Slot>) -> Result<()> {
        let Some(head) = head else { return slots.iter().try_for_each(|slot| self.link(*slot)) };
        let (mut all, mut next) = (slots.to_vec(), Some(head));
        while let Some(slot) = next {
            all.push(slot);
            next = self.links.get(slot.idx()).map(|links| links.next).filter(|next| *next != head);
        }
        all.iter().skip(slots.len()).for_each(|slot| self.unlink(*slot));
        all.sort_unstable_by(|a, b| self.rows.row_key(*a).cmp(&self.rows.row_key(*b)));
        all.into_iter().try_for_each(|slot| self.link(slot))
    }

    fn remove_expired(&mut self, slots: &[Slot], t: i64) -> Result<()> {
        slots.iter().for_each(|slot| self.unlink(*slot));
        self.rows.remove_expired(slots, t)
    }

    fn head(&self, key: &[u8]) -> Option<Slot> {
        self.heads.find(hash_key(key), |slot| list_key(&self.rows, *slot) == Some(key)).copied()
    }

    /// Puts a row at the end of its key's list.
    fn link(&mut self, slot: Slot) -> Result<()> {
        let key = list_key(&self.rows, slot).ok_or_else(|| Error::internal(format!("{slot:?} of a store is not live")))?;
        let hash = hash_key(key);
        let head = self.heads.find(hash, |other| list_key(&self.rows, *other) == Some(key)).copied();
        while self.links.len() <= slot.idx() {
            reserve_some(&mut self.links);
            self.links.push(Links { next: slot, previous: slot });
        }
        match head {
            None => {
                let rows = &self.rows;
                self.heads.insert_unique(hash, slot, |slot| list_key(rows, *slot).map_or(0, hash_key));
                self.set_links(slot, slot, slot);
            }
            Some(head) => {
                let last = self.links.get(head.idx()).map_or(head, |links| links.previous);
                self.set_links(slot, head, last);
                self.links.get_mut(last.idx()).into_iter().for_each(|links| links.next = slot);
                self.links.get_mut(head.idx()).into_iter().for_each(|links| links.previous = slot);
            }
        }
        Ok(())
    }

    /// Takes a row out of its key's list; it is still there otherwise.
    fn unlink(&mut self, slot: Slot) {
        let (Some(key), Some(Links { next, previous })) = (list_key(&self.rows, slot), self.links.get(slot.idx()).copied()) else { return };
        if let Ok(mut entry) = self.heads.find_entry(hash_key(key), |head| *head == slot) {
            if next == slot {
                entry.remove();
            } else {
                *entry.get_mut() = next;
            }
        }
        self.links.get_mut(previous.idx()).into_iter().for_each(|links| links.next = next);
        self.links.get_mut(next.idx()).into_iter().for_each(|links| links.previous = previous);
        self.set_links(slot, slot, slot);
    }

    fn set_links(&mut self, slot: Slot, next: Slot, previous: Slot) {
        if let Some(links) = self.links.get_mut(slot.idx()) {
            *links = Links { next, previous };
        }
    }
}

/// The key of a row without its number.
fn list_key(rows: &KeyedTable, slot: Slot) -> Option<&[u8]> {
    let key = rows.row_key(slot)?;
    key.get(..key.len().checked_sub(NUMBER_BYTES)?)
}
