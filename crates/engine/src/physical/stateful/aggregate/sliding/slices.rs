//! Which keys have rows in which slice: an index of the state, made again from it after a restart.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, Fields, TimestampMicrosecondType};
use millstream_core::{Error, Result, TimeWindows};
use millstream_state::store::{KeyedTable, Slot};

use super::keys::KeyNumbers;
use crate::physical::stateful::window_key::as_times;

/// Keys are numbered anew when so many have no slice any more, and they are most.
const DEAD_KEYS_MIN: usize = 1024;

/// The slices of one task.
pub struct Slices {
    pub windows: TimeWindows,
    pub keys: KeyNumbers,
    /// The type of starts.
    start_type: DataType,
    /// The keys of each slice, by its start.
    by_start: BTreeMap<i64, Vec<u32>>,
    /// How many slices each key has.
    n_slices: Vec<u32>,
    n_dead: usize,
}

impl Slices {
    /// Those of a table, whose last key column is the start of the slice.
    pub fn of(table: &KeyedTable, windows: TimeWindows, keys: Fields, start_type: DataType) -> Result<Self> {
        let (by_start, n_slices) = (BTreeMap::new(), Vec::new());
        let keys = KeyNumbers::new(keys)?;
        let mut slices = Self { windows, keys, start_type, by_start, n_slices, n_dead: 0 };
        for rows in table.scan() {
            let rows = rows?;
            slices.add(&rows.keys, &vec![true; rows.n_rows])?;
        }
        Ok(slices)
    }

    pub fn memory_bytes(&self) -> usize {
        let entries: usize = self.by_start.values().map(|keys| keys.capacity() * size_of::<u32>() + 48).sum();
        self.keys.memory_bytes() + entries + self.n_slices.capacity() * size_of::<u32>()
    }

    /// Rows of the table: keys and starts. Those that are new there come in here. Says the key's number and the start of each.
    pub fn add(&mut self, rows: &[ArrayRef], is_new: &[bool]) -> Result<Vec<(u32, i64)>> {
        let (starts, keys) = rows.split_last().ok_or_else(|| Error::internal("slices without a start"))?;
        let n_known = self.n_slices.len();
        let numbers = self.keys.of(keys)?;
        self.n_slices.resize(self.keys.n_keys(), 0);
        let pairs: Vec<(u32, i64)> = numbers.into_iter().zip(as_times(starts)?.values().iter().copied()).collect();
        for ((key, start), is_new) in pairs.iter().zip(is_new) {
            if *is_new {
                self.by_start.entry(*start).or_default().push(*key);
                if let Some(n) = self.n_slices.get_mut(*key as usize) {
                    self.n_dead -= usize::from(*n == 0 && (*key as usize) < n_known);
                    *n += 1;
                }
            }
        }
        Ok(pairs)
    }

    /// The starts of the slices in a range of times.
    pub fn starts(&self, range: Range<i64>) -> impl DoubleEndedIterator<Item = i64> {
        let range = if range.start < range.end { range } else { range.start..range.start };
        self.by_start.range(range).map(|(start, _)| *start)
    }

    /// The first slice that starts at `from` or later.
    pub fn next_start(&self, from: i64) -> Option<i64> {
        self.by_start.range(from..).next().map(|(start, _)| *start)
    }

    /// The keys with rows in a slice.
    pub fn keys_in(&self, start: i64) -> &[u32] {
        self.by_start.get(&start).map_or(&[], Vec::as_slice)
    }

    /// The rows of keys in a slice.
    pub fn slots(&self, table: &mut KeyedTable, start: i64, keys: &[u32]) -> Result<Vec<Slot>> {
        let starts = PrimitiveArray::<TimestampMicrosecondType>::from_value(start, keys.len());
        let mut columns = self.keys.columns(keys)?;
        columns.push(Arc::new(starts.with_data_type(self.start_type.clone())));
        let slots: Option<Vec<_>> = table.lookup(&columns)?.into_iter().collect();
        slots.ok_or_else(|| Error::internal("a slice of a window that is not in the state"))
    }

    /// The slices whose last windows have ended at `watermark_us`: the first ones.
    pub fn expired(&self, watermark_us: i64) -> impl Iterator<Item = i64> {
        self.by_start.keys().copied().take_while(move |start| self.windows.latest_end(*start) <= watermark_us)
    }

    /// Forgets a slice.
    pub fn remove(&mut self, start: i64) {
        for key in self.by_start.remove(&start).unwrap_or_default() {
            if let Some(n) = self.n_slices.get_mut(key as usize) {
                *n -= 1;
                self.n_dead += usize::from(*n == 0);
            }
        }
    }

    /// Gives up the numbers of keys without slices when they are most; then all keys have other numbers, and it says so.
    pub fn tidy(&mut self) -> Result<bool> {
        if self.n_dead < DEAD_KEYS_MIN || self.n_dead * 2 < self.keys.n_keys() {
            return Ok(false);
        }
        let live: Vec<u32> = (0_u32..).zip(&self.n_slices).filter(|(_, n)| **n > 0).map(|(key, _)| key).collect();
        let mut renamed = vec![u32::MAX; self.n_slices.len()];
        for (new, old) in (0_u32..).zip(&live) {
            renamed.get_mut(*old as usize).into_iter().for_each(|renamed| *renamed = new);
        }
        self.keys.keep(&live)?;
        for key in self.by_start.values_mut().flatten() {
            *key = renamed.get(*key as usize).copied().unwrap_or(u32::MAX);
        }
        self.n_slices.retain(|n| *n > 0);
        self.n_dead = 0;
        Ok(true)
    }
}
