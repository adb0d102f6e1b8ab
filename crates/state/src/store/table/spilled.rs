//! The rows of a table that are on disk: how they get there, come back and expire.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream_core::Result;

use super::incoming::{Known, Origin, Placing};
use super::{Indexing, KeyedTable, ROWS_PER_BATCH};
use crate::store::key::HashedKeys;
use crate::store::key_group::hash_key;
use crate::store::multi_table::NUMBER_BYTES;
use crate::store::row_log::ColdChunks;
use crate::store::schema::StoreRows;
use crate::store::slot::Slot;
use crate::store::spill::{ReadColumns, SpilledRow, Wanted};

impl KeyedTable {
    /// Brings rows in from disk, and says their slots.
    pub(in crate::store) fn bring_in<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>, wanted: Wanted) -> Result<Vec<Slot>> {
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
    pub(in crate::store) fn expire_spilled(&mut self, t: i64) -> Result<Vec<StoreRows>> {
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
    pub(in crate::store) fn discard_spilled(&mut self, t: i64) -> Result<usize> {
        let n_expired = self.cold.expire(t, None)?;
        if n_expired > 0 {
            self.changes.expire_unchanged(t);
        }
        Ok(n_expired)
    }

    pub(super) fn make_room(&mut self) -> Result<()> {
        let cold = self.coldest(0);
        self.send_out(cold)
    }

    /// The rows that should leave memory, where the budget asks for it; `more_bytes` is what their owner takes beside them.
    pub(in crate::store) fn coldest(&mut self, more_bytes: usize) -> ColdChunks {
        let own_bytes = self.memory_bytes() + more_bytes;
        let charged = self.log.charged_bytes() + self.cold.memory_bytes() - self.cold.uncharged_bytes();
        let excess = self.member.excess(own_bytes, own_bytes.saturating_sub(charged));
        self.log.coldest(excess)
    }

    /// Sends rows to disk. They must not have changed since the last delta.
    pub(in crate::store) fn send_out(&mut self, cold: ColdChunks) -> Result<()> {
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
}
