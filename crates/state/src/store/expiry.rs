//! Which rows expire next: a radix heap, in steps of 256.
//!
//! ```text
//!  now  = .. 12 | 34 | 56         an expiry is kept under (level, digit): the highest byte in which it differs from now,
//!  (12|34|60) level 0, digit 60   and that byte. A lower level is earlier than a higher one, a lower digit than a higher
//!  (12|40|..) level 1, digit 40
//! ```
//! When time passes, whole buckets fall due, and one bucket is spread over lower levels: an entry moves at most eight
//! times in its life. Entries are hints: a row's own expiry decides, when its entry comes up. A slot whose expiry rises keeps its
//! entry where it is; one whose expiry falls gets a second one, and the first is then not its own any more.

use std::collections::BTreeMap;

use super::row_log::reserve_some;
use super::slot::Slot;

/// Level and digit; smaller is earlier.
type Bucket = u16;

/// Expiries that are due already.
const DUE: Bucket = 0;

/// A slot without an entry; later than all buckets.
const NONE: Bucket = u16::MAX;

/// An index from expiries to slots. Time never goes back.
#[derive(Debug)]
pub struct ExpiryIndex {
    now: i64,
    buckets: BTreeMap<Bucket, Vec<Slot>>,
    /// The earliest bucket that has an entry of the slot. Empty in a table without expiries.
    bucket_of: Vec<Bucket>,
    /// Capacity of the buckets together.
    n_reserved: usize,
}

impl Default for ExpiryIndex {
    fn default() -> Self {
        Self { now: i64::MIN, buckets: BTreeMap::new(), bucket_of: Vec::new(), n_reserved: 0 }
    }
}

impl ExpiryIndex {
    pub fn memory_bytes(&self) -> usize {
        // A node of the map holds about eight buckets.
        let buckets = self.buckets.len() * (size_of::<Vec<Slot>>() + 16);
        self.n_reserved * size_of::<Slot>() + self.bucket_of.capacity() * size_of::<Bucket>() + buckets
    }

    /// `slot` now expires at `expiry`.
    pub fn insert(&mut self, slot: Slot, expiry: i64) {
        let bucket = bucket(self.now, expiry);
        while self.bucket_of.len() <= slot.idx() {
            reserve_some(&mut self.bucket_of);
            self.bucket_of.push(NONE);
        }
        if let Some(current) = self.bucket_of.get_mut(slot.idx()).filter(|current| bucket < **current) {
            *current = bucket;
            let slots = self.buckets.entry(bucket).or_default();
            let before = slots.capacity();
            slots.push(slot);
            self.n_reserved += slots.capacity() - before;
        }
    }

    /// A moment before which no row expires, but for those that are due already; `None` if none ever does. It is that of the
    /// first bucket, so it becomes exact as time comes near.
    pub fn none_before(&self) -> Option<i64> {
        let (first, _) = self.buckets.first_key_value()?;
        Some(start_of(self.now, *first))
    }

    /// The slots whose rows expire at or before `t`; `expiry_of` says when a live row expires. Their entries are gone: the
    /// caller removes the rows.
    pub fn take_expired(&mut self, t: i64, expiry_of: impl Fn(Slot) -> Option<i64>) -> Vec<Slot> {
        let mut expired = Vec::new();
        // Everything in a bucket before that of t is due; that bucket itself holds both, unless it is of single moments.
        let end = bucket(self.now, t);
        let later = match end.checked_add(1) {
            Some(first_later) => self.buckets.split_off(&first_later),
            None => BTreeMap::new(),
        };
        let reached = std::mem::replace(&mut self.buckets, later);
        self.now = self.now.max(t);
        for (bucket, slots) in reached {
            self.n_reserved -= slots.capacity();
            for slot in slots {
                // Otherwise the slot has an earlier entry, or had this one already.
                let Some(current) = self.bucket_of.get_mut(slot.idx()).filter(|current| **current == bucket) else { continue };
                *current = NONE;
                match expiry_of(slot) {
                    Some(expiry) if expiry <= t => expired.push(slot),
                    Some(expiry) => self.insert(slot, expiry),
                    None => {}
                }
            }
        }
        expired
    }
}

/// Where `expiry` is kept when it is `now`.
fn bucket(now: i64, expiry: i64) -> Bucket {
    if expiry <= now {
        return DUE;
    }
    // With the sign bit turned around the order of the bytes is that of the numbers.
    let (now, expiry) = (now as u64 ^ 1 << 63, expiry as u64 ^ 1 << 63);
    let level = (63 - (now ^ expiry).leading_zeros()) / 8;
    let digit = expiry >> (8 * level) & 0xff;
    (level as Bucket) << 8 | digit as Bucket
}

/// The earliest expiry that is kept in `bucket` when it is `now`.
fn start_of(now: i64, bucket: Bucket) -> i64 {
    if bucket == DUE {
        return now;
    }
    let (level, digit) = (u32::from(bucket >> 8), u64::from(bucket & 0xff));
    let above = u64::MAX.checked_shl(8 * (level + 1)).unwrap_or(0);
    let start = (now as u64 ^ 1 << 63) & above | digit << (8 * level);
    (start ^ 1 << 63) as i64
}
