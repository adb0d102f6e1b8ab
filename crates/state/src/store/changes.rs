//! What has changed since the last delta: slots with new rows, keys that were removed, and how far time has expired rows.
//!
//! A row that only expired is not named: the delta says "expired up to t" once, and who applies it expires the same rows,
//! as their expiries are those of the delta before. Only a row whose expiry changed since then must be named.

use arrow::array::{Array, BinaryArray, BinaryBuilder};

use super::row_log::reserve_some;
use super::schema::StoreRows;
use super::slot::Slot;

/// The slot is in the list of changed ones.
const LISTED: u8 = 1;

/// Its key was not there when the last delta was taken.
const IS_NEW: u8 = 2;

/// The changes of one table.
#[derive(Debug, Default)]
pub struct Changes {
    upserted: Vec<Slot>,
    /// By slot.
    marks: Vec<u8>,
    removed: BinaryBuilder,
    expired_to: Option<i64>,
    /// What the rows of the changed slots are, all of them, where one call has brought them: so they need not be gathered.
    rows: Option<StoreRows>,
}

/// The changes, as they leave.
#[derive(Debug)]
pub struct TakenChanges {
    /// In the order in which they were first changed; some are not live any more.
    pub upserted: Vec<Slot>,
    pub removed: BinaryArray,
    pub expired_to: Option<i64>,
    /// The rows of `upserted`, if they are at hand, in any order.
    pub rows: Option<StoreRows>,
}

impl Changes {
    pub fn memory_bytes(&self) -> usize {
        let removed = self.removed.values_slice().len() + size_of_val(self.removed.offsets_slice());
        self.upserted.capacity() * size_of::<Slot>() + self.marks.capacity() + removed
    }

    /// Whether rows are new or have changed.
    pub fn has_upserts(&self) -> bool {
        !self.upserted.is_empty()
    }

    /// The rows that are new or have changed are those, which a call has brought: each once, or they are not kept.
    pub fn are_all_of(&mut self, rows: StoreRows) {
        self.rows = (self.upserted.len() == rows.n_rows).then_some(rows);
    }

    /// The row of `slot` is new or has changed.
    pub fn upsert(&mut self, slot: Slot, is_new: bool) {
        if self.rows.is_some() {
            self.rows = None;
        }
        while self.marks.len() <= slot.idx() {
            reserve_some(&mut self.marks);
            self.marks.push(0);
        }
        if let Some(marks) = self.marks.get_mut(slot.idx()) {
            if *marks & LISTED == 0 {
                self.upserted.push(slot);
            }
            *marks |= if is_new { LISTED | IS_NEW } else { LISTED };
        }
    }

    /// The row of `slot` is removed.
    pub fn remove(&mut self, slot: Slot, key: &[u8]) {
        if self.marks_of(slot) & IS_NEW == 0 {
            self.removed.append_value(key);
        }
        self.forget_new(slot);
    }

    /// The row of `slot` is removed, as it expires at or before `t`.
    pub fn expire(&mut self, slot: Slot, key: &[u8], t: i64) {
        match self.marks_of(slot) {
            0 => self.expire_unchanged(t),
            // Who applies the delta may have it with a later expiry.
            LISTED => self.removed.append_value(key),
            _ => {}
        }
        self.forget_new(slot);
    }

    /// Rows that have not changed since the last delta expire at or before `t`.
    pub fn expire_unchanged(&mut self, t: i64) {
        self.expired_to = self.expired_to.max(Some(t));
    }

    /// Hands the changes out and begins again; `None` if there are none.
    pub fn take(&mut self) -> Option<TakenChanges> {
        let upserted = std::mem::take(&mut self.upserted);
        for slot in &upserted {
            if let Some(marks) = self.marks.get_mut(slot.idx()) {
                *marks = 0;
            }
        }
        let (removed, expired_to) = (std::mem::take(&mut self.removed).finish(), self.expired_to.take());
        let taken = TakenChanges { upserted, removed, expired_to, rows: self.rows.take() };
        let is_empty = taken.upserted.is_empty() && taken.removed.is_empty() && taken.expired_to.is_none();
        (!is_empty).then_some(taken)
    }

    fn marks_of(&self, slot: Slot) -> u8 {
        self.marks.get(slot.idx()).copied().unwrap_or(0)
    }

    fn forget_new(&mut self, slot: Slot) {
        if self.rows.is_some() && self.marks_of(slot) & LISTED != 0 {
            self.rows = None;
        }
        if let Some(marks) = self.marks.get_mut(slot.idx()) {
            *marks &= !IS_NEW;
        }
    }
}
