//! From keys to the slots of their rows.
//!
//! In a large table each step of a search waits for memory. So keys are looked for many at once, which wait together; and a table
//! that is made anew takes its rows in the order of their places in it, not in that of the keys, which is none there.

use hashbrown::HashTable;

use super::key::{HashedKey, HashedKeys};
use super::key_group::hash_key;
use super::row_log::RowLog;
use super::slot::Slot;

/// So many keys are looked for at once.
pub const KEYS_AT_ONCE: usize = 64;

/// So many rows are put in the order of their places at once.
const ROWS_AT_ONCE: usize = 1 << 18;

/// The table is filled in so many stretches, each of which should fit into a cache.
const STRETCH_BITS: u32 = 10;

/// Where the keys of slots are.
pub trait Keys {
    /// The key of a slot, if it has one.
    fn key(&self, slot: Slot) -> Option<&[u8]>;

    /// How many there are.
    fn n_keys(&self) -> usize;

    /// The hashes of all keys, with their slots.
    fn hashes(&self) -> impl Iterator<Item = (u64, Slot)>;
}

impl Keys for RowLog {
    fn key(&self, slot: Slot) -> Option<&[u8]> {
        self.key(slot)
    }

    fn n_keys(&self) -> usize {
        self.n_live()
    }

    fn hashes(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.live_slots().map(|(slot, key)| (hash_key(key), slot))
    }
}

/// A hash table of slots; their keys are somewhere else.
#[derive(Debug, Default)]
pub struct KeyIndex {
    slots: HashTable<Slot>,
}

impl KeyIndex {
    /// Of all keys that there are.
    pub fn of(keys: &impl Keys) -> Self {
        Self { slots: with_room(keys, keys.n_keys()) }
    }

    pub fn memory_bytes(&self) -> usize {
        self.slots.allocation_size()
    }

    pub fn find(&self, at: &impl Keys, key: HashedKey<'_>) -> Option<Slot> {
        self.slots.find(key.hash, |slot| at.key(*slot) == Some(key.bytes)).copied()
    }

    /// The slots of [`KEYS_AT_ONCE`] keys at most, from the first to the one before the last.
    pub fn find_some(&self, at: &impl Keys, keys: &HashedKeys, first: usize, last: usize, found: &mut Vec<Option<Slot>>) {
        let mut candidates = [None; KEYS_AT_ONCE];
        for (candidate, key) in candidates.iter_mut().zip(keys.among(first, last)) {
            // The first one whose hash is like that of the key, which nearly always is the one.
            *candidate = self.slots.find(key.hash, |_| true).copied();
        }
        let mut their_keys = [None; KEYS_AT_ONCE];
        for (its_key, slot) in their_keys.iter_mut().zip(&candidates) {
            *its_key = slot.and_then(|slot| at.key(slot));
        }
        let outcomes = keys.among(first, last).zip(&candidates).zip(&their_keys);
        found.extend(outcomes.map(|((key, slot), its_key)| match slot {
            Some(_) if *its_key == Some(key.bytes) => *slot,
            Some(_) => self.find(at, key),
            None => None,
        }));
    }

    /// The slots of all keys.
    pub fn find_all(&self, at: &impl Keys, keys: &HashedKeys) -> Vec<Option<Slot>> {
        let mut found = Vec::with_capacity(keys.len());
        for first in (0..keys.len()).step_by(KEYS_AT_ONCE) {
            self.find_some(at, keys, first, keys.len().min(first + KEYS_AT_ONCE), &mut found);
        }
        found
    }

    /// Makes room for one more row. Called before the row has its slot.
    pub fn reserve_one(&mut self, at: &impl Keys) {
        if self.slots.len() == self.slots.capacity() {
            self.slots = with_room(at, (self.slots.len() * 2).max(8));
        }
    }

    /// `slot` has a key with this hash, which is not there yet.
    pub fn insert(&mut self, at: &impl Keys, hash: u64, slot: Slot) {
        self.slots.insert_unique(hash, slot, |slot| at.key(*slot).map_or(0, hash_key));
    }

    pub fn remove(&mut self, hash: u64, slot: Slot) {
        if let Ok(entry) = self.slots.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    /// Gives back what a much larger table needed.
    pub fn shrink(&mut self, at: &impl Keys) {
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 8 {
            self.slots.shrink_to(self.slots.len() * 2, |slot| at.key(*slot).map_or(0, hash_key));
        }
    }
}

/// A table of all keys with room for `n_rows`.
fn with_room(at: &impl Keys, n_rows: usize) -> HashTable<Slot> {
    let mut table = HashTable::with_capacity(n_rows);
    // It takes the lowest bits for the place, and is full before all places are taken.
    let place_bits = table.capacity().next_power_of_two().trailing_zeros();
    let mut rows = at.hashes();
    loop {
        let some: Vec<(u64, Slot)> = rows.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return table;
        }
        for (hash, slot) in by_place(some, place_bits) {
            table.insert_unique(hash, slot, |slot| at.key(*slot).map_or(0, hash_key));
        }
    }
}

/// Rows in the order of the stretches of a table that they go to.
fn by_place(rows: Vec<(u64, Slot)>, place_bits: u32) -> Vec<(u64, Slot)> {
    let Some(shift) = place_bits.checked_sub(STRETCH_BITS) else { return rows };
    let stretch = |hash: u64| usize::try_from(hash >> shift).unwrap_or(usize::MAX) & ((1 << STRETCH_BITS) - 1);
    let mut next = vec![0_usize; 1 << STRETCH_BITS];
    for (hash, _) in &rows {
        next.get_mut(stretch(*hash)).into_iter().for_each(|n| *n += 1);
    }
    let mut n_before = 0;
    for n in &mut next {
        n_before += std::mem::replace(n, n_before);
    }
    let mut ordered = rows.clone();
    for row in rows {
        if let Some(at) = next.get_mut(stretch(row.0)) {
            ordered.get_mut(*at).into_iter().for_each(|place| *place = row);
            *at += 1;
        }
    }
    ordered
}
