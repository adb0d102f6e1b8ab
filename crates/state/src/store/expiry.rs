//! Which rows expire next: buckets of slots, each for a span of time, small enough to be looked through in one call.
//!
//! ```text
//!  start:   MIN       12:00:03    12:00:05    12:04:00          a bucket spans the time up to the start of the next one
//!           [s9 s2]   [s4 s7 ..]  [s1 ..]     [s5 s6 ..]
//!            due at 12:00:04: whole buckets, and a part of the one that this moment lies in, which is cut finer first
//! ```
//! No span of time suits both seconds and years, so rows make the buckets: one that is full is cut in the middle of its rows, or,
//! as rows mostly come in the order of time, left as it is while a new one begins. So no call touches more than what it expires and
//! a few buckets, however many rows there are, and an entry is looked at a few times in its life.
//! Entries are hints: a row's own expiry decides, when its entry comes up. A slot whose expiry rises keeps its entry
//! where it is; one whose expiry falls gets a second one, and the first is then not its own any more.

use std::collections::BTreeMap;

use super::row_log::reserve_some;
use super::slot::Slot;

/// A bucket of so many entries is full.
const FULL: usize = 2048;

/// One that rows go on to fall into, as they are not in the order of time, is cut at so many.
const CUT_AT: usize = 2 * FULL;

/// A bucket that is due in part is cut into such of so many entries, so that what is left of it is not looked through by many calls.
const FINE: usize = 128;

/// The name of a bucket.
type BucketId = u16;

/// A slot without an entry.
const NONE: BucketId = u16::MAX;

/// An index from expiries to slots.
#[derive(Debug)]
pub struct ExpiryIndex {
    /// All rows that expire at or before it were given out.
    now: i64,
    /// By the moment where their time begins.
    buckets: BTreeMap<i64, Bucket>,
    /// By bucket: where its time begins.
    starts: Vec<i64>,
    free: Vec<BucketId>,
    /// The earliest bucket that has an entry of the slot. Empty in a table without expiries.
    bucket_of: Vec<BucketId>,
    /// Capacity of the buckets together.
    n_reserved: usize,
    /// The time of the bucket that the last entry went to, end included: rows of a call often go to the same one.
    last: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Bucket {
    id: BucketId,
    slots: Vec<Slot>,
    /// No entry had a later expiry when it was put in.
    latest: i64,
}

impl Default for ExpiryIndex {
    fn default() -> Self {
        let (buckets, starts, free, bucket_of) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self { now: i64::MIN, buckets, starts, free, bucket_of, n_reserved: 0, last: None }
    }
}

impl ExpiryIndex {
    pub fn memory_bytes(&self) -> usize {
        let buckets = self.buckets.len() * (size_of::<Bucket>() + 2 * size_of::<i64>());
        let ids = self.starts.capacity() * size_of::<i64>() + (self.free.capacity() + self.bucket_of.capacity()) * size_of::<BucketId>();
        self.n_reserved * size_of::<Slot>() + buckets + ids
    }

    /// `slot` now expires at `expiry`; `expiry_of` says when a live row expires, this one included.
    pub fn insert(&mut self, slot: Slot, expiry: i64, expiry_of: impl Fn(Slot) -> Option<i64>) {
        if let Some(start) = self.push(slot, expiry) {
            self.cut(start, FULL / 2, expiry_of);
        }
    }

    /// A moment before which no row expires, but for those that are due already; `None` if none ever does. It becomes exact as
    /// time comes near.
    pub fn none_before(&self) -> Option<i64> {
        self.buckets.iter().find(|(_, bucket)| !bucket.slots.is_empty()).map(|(start, _)| *start)
    }

    /// The slots whose rows expire at or before `t`; `expiry_of` says when a live row expires. Their entries are gone: the
    /// caller removes the rows.
    pub fn take_expired(&mut self, t: i64, expiry_of: impl Fn(Slot) -> Option<i64>) -> Vec<Slot> {
        self.now = self.now.max(t);
        let (mut expired, mut later) = (Vec::new(), Vec::new());
        while let Some((start, n_slots)) = self.buckets.first_key_value().map(|(start, bucket)| (*start, bucket.slots.len())) {
            if start > t {
                break;
            }
            let end = self.end_of(start);
            // A bucket of one moment cannot be cut.
            if end > t && n_slots > FINE && self.cut(start, FINE, &expiry_of) {
                continue;
            }
            let Some(bucket) = self.remove(start) else { break };
            let mut left_from = None;
            for slot in bucket.slots {
                if !self.take_entry(slot, bucket.id) {
                    continue;
                }
                match expiry_of(slot) {
                    Some(expiry) if expiry <= t => expired.push(slot),
                    Some(expiry) => {
                        later.push((expiry, slot));
                        if expiry <= end && left_from.is_none_or(|from| expiry < from) {
                            left_from = Some(expiry);
                        }
                    }
                    None => {}
                }
            }
            // What is left of this bucket begins with its first row.
            if let Some(from) = left_from {
                self.add(from, Vec::new());
            }
        }
        for (expiry, slot) in later {
            self.insert(slot, expiry, &expiry_of);
        }
        expired
    }

    /// Puts an entry in, if the slot has none that comes up as early: where the bucket begins that should be cut now.
    fn push(&mut self, slot: Slot, expiry: i64) -> Option<i64> {
        while self.bucket_of.len() <= slot.idx() {
            reserve_some(&mut self.bucket_of);
            self.bucket_of.push(NONE);
        }
        let start = self.bucket_for(expiry)?;
        let bucket = self.buckets.get_mut(&start)?;
        let current = self.bucket_of.get_mut(slot.idx())?;
        if *current != NONE && self.starts.get(usize::from(*current)).is_some_and(|earlier| *earlier <= start) {
            return None;
        }
        *current = bucket.id;
        let before = bucket.slots.capacity();
        reserve_some(&mut bucket.slots);
        bucket.slots.push(slot);
        bucket.latest = bucket.latest.max(expiry);
        self.n_reserved += bucket.slots.capacity() - before;
        // Where no bucket can be added it would be looked through again with each row.
        let n_slots = bucket.slots.len();
        (n_slots >= CUT_AT && n_slots.is_power_of_two()).then_some(start)
    }

    /// The bucket for an expiry, made if need be.
    fn bucket_for(&mut self, expiry: i64) -> Option<i64> {
        if let Some((start, _)) = self.last.filter(|(start, end)| (*start..=*end).contains(&expiry)) {
            let is_full = |bucket: &Bucket| bucket.slots.len() >= FULL && expiry > bucket.latest;
            if self.buckets.get(&start).is_some_and(|bucket| !is_full(bucket)) {
                return Some(start);
            }
        }
        let found = self.buckets.range(..=expiry).next_back().map(|(start, bucket)| (*start, bucket));
        let start = match found {
            // Later than all that is there: that stays together.
            Some((_, bucket)) if bucket.slots.len() >= FULL && expiry > bucket.latest && self.can_add() => {
                self.add(expiry, Vec::new())?;
                expiry
            }
            Some((start, _)) => start,
            None => {
                let start = if expiry > self.now { self.now.saturating_add(1) } else { i64::MIN };
                self.add(start, Vec::new())?;
                start
            }
        };
        self.last = Some((start, self.end_of(start)));
        Some(start)
    }

    /// The last moment of a bucket.
    fn end_of(&self, start: i64) -> i64 {
        let next = self.buckets.range(start..).nth(1);
        next.map_or(i64::MAX, |(next, _)| next.saturating_sub(1))
    }

    /// Whether an entry of a bucket is its slot's own; it is not any more then.
    fn take_entry(&mut self, slot: Slot, bucket: BucketId) -> bool {
        match self.bucket_of.get_mut(slot.idx()) {
            // Otherwise the slot has an earlier entry, or had this one already.
            Some(current) if *current == bucket => {
                *current = NONE;
                true
            }
            _ => false,
        }
    }

    /// Cuts a bucket into such of about `n_each` entries; says whether there is more than one now. Entries that are not
    /// their slots' own are gone then.
    fn cut(&mut self, start: i64, n_each: usize, expiry_of: impl Fn(Slot) -> Option<i64>) -> bool {
        let end = self.end_of(start);
        let Some(bucket) = self.remove(start) else { return false };
        let mut entries: Vec<(i64, Slot)> = Vec::with_capacity(bucket.slots.len());
        for slot in bucket.slots {
            if self.take_entry(slot, bucket.id)
                && let Some(expiry) = expiry_of(slot)
            {
                entries.push((expiry, slot));
            }
        }
        entries.sort_unstable();
        // Rows whose expiry has risen beyond the time of the bucket.
        let (mut rest, risen) = entries.split_at(entries.partition_point(|(expiry, _)| *expiry <= end));
        let (mut start, mut n_buckets) = (start, 0);
        loop {
            let at_least = n_each.min(rest.len());
            // Rows of one moment stay together.
            let n = match rest.get(at_least.wrapping_sub(1)) {
                Some((last, _)) if self.can_add() => rest.partition_point(|(expiry, _)| expiry <= last),
                _ => rest.len(),
            };
            let (now, others) = rest.split_at(n);
            let Some(id) = self.add(start, now.iter().map(|(_, slot)| *slot).collect()) else { break };
            n_buckets += 1;
            if let (Some(bucket), Some((latest, _))) = (self.buckets.get_mut(&start), now.last()) {
                bucket.latest = *latest;
            }
            for (_, slot) in now {
                self.bucket_of.get_mut(slot.idx()).into_iter().for_each(|current| *current = id);
            }
            match others.first() {
                Some((next, _)) => (rest, start) = (others, *next),
                None => break,
            }
        }
        for (expiry, slot) in risen {
            self.push(*slot, *expiry);
        }
        n_buckets > 1
    }

    fn can_add(&self) -> bool {
        !self.free.is_empty() || self.starts.len() < usize::from(NONE)
    }

    fn add(&mut self, start: i64, slots: Vec<Slot>) -> Option<BucketId> {
        self.last = None;
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.starts.push(start);
                BucketId::try_from(self.starts.len() - 1).ok().filter(|id| *id != NONE)?
            }
        };
        *self.starts.get_mut(usize::from(id))? = start;
        self.n_reserved += slots.capacity();
        self.buckets.insert(start, Bucket { id, slots, latest: start });
        Some(id)
    }

    fn remove(&mut self, start: i64) -> Option<Bucket> {
        self.last = None;
        let bucket = self.buckets.remove(&start)?;
        self.n_reserved -= bucket.slots.capacity();
        self.free.push(bucket.id);
        Some(bucket)
    }
}

#[cfg(test)]
mod tests;
