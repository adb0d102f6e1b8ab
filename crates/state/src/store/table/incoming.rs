//! How rows come into a table: over what is there, or anew.

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use millstream_core::{Error, Result};

use super::{Indexing, KeyedTable};
use crate::store::arrow_error;
use crate::store::chunk::ChunkRows;
use crate::store::index::KEYS_AT_ONCE;
use crate::store::key::{HashedKey, HashedKeys};
use crate::store::slot::Slot;

/// A call's rows are kept in chunks of so many at most, so that none of them is costly to rewrite.
const ROWS_PER_CHUNK: usize = 1 << 16;

impl KeyedTable {
    pub(super) fn upsert_hashed(&mut self, keys: &HashedKeys, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
        if self.are_of_fixed_width(values) && self.are_known(keys) {
            let known = self.lookup_hashed(keys)?;
            return self.put(keys, &known, expiry, values);
        }
        let known = self.known(keys)?;
        self.take_in(Origin::Caller, keys, expiry, values, known.as_known(), Self::placing)?;
        Ok(())
    }

    /// Sets rows whose slots are known, as far as they are there. Values are written over where they are, if they can be.
    pub(super) fn put(
        &mut self,
        keys: &HashedKeys,
        known: &[Option<Slot>],
        expiry: Option<&Int64Array>,
        values: &[ArrayRef],
    ) -> Result<()> {
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

    /// Takes rows in that are not there: those of a snapshot, which has each key once. They are no changes. The index is made when
    /// the first key is looked for: all at once it is made much faster than row by row.
    pub(in crate::store) fn fill(&mut self, keys: &HashedKeys, expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<()> {
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

    /// Where a row goes; `known` is what was found of its key before.
    pub(super) fn placing(&self, key: HashedKey<'_>, known: Option<Slot>) -> Placing {
        // An earlier row of the call may have brought it.
        known.or_else(|| self.index.find(&self.log, key)).map_or(Placing::New, Placing::Over)
    }

    /// What has to be known of keys before rows of theirs are placed: rows on disk come in first.
    pub(super) fn known(&mut self, keys: &HashedKeys) -> Result<Found> {
        self.see_to_index();
        Ok(if self.is_limited() { Found::All(self.lookup_hashed(keys)?) } else { Found::AsTheyCome })
    }

    /// Takes rows into the log; `decide` says for each where it goes, by its key and what is known of it. Says the slots they have
    /// got, without those that were skipped.
    pub(super) fn take_in(
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
}

/// What is known of the keys of rows that come in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// The slots of the first keys; nothing of the others.
    Slots(&'a [Option<Slot>]),
    /// To be looked for, some at once, when their rows are placed: then the memory is still at hand.
    Ask,
}

/// The slots of keys, or that they need not be looked for in advance.
pub(super) enum Found {
    All(Vec<Option<Slot>>),
    AsTheyCome,
}

impl Found {
    pub(super) fn as_known(&self) -> Known<'_> {
        match self {
            Self::All(slots) => Known::Slots(slots),
            Self::AsTheyCome => Known::Ask,
        }
    }
}

/// Where a row that comes in goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placing {
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
pub(super) enum Origin {
    /// They are changes.
    Caller,
    /// They were part of the table before.
    Disk,
}
