//! Where rows are: stable slots over a log of chunks.
//!
//! ```text
//!  append ─► chunk ─► its tier, by size ─► 8 of a tier are merged into one of the next ─► ... ─► full: left alone
//!                     half its rows dead: rewritten without them;  all dead: dropped
//! ```
//! So a row is copied once per tier, a million one-row calls leave a few dozen chunks, and memory stays below about
//! twice that of the live rows. One step merges at most [`FULL_BYTES`] * [`MERGED_AT_ONCE`] bytes.

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use millstream_core::{Error, Result};

use super::arrow_error;
use super::chunk::{Chunk, ChunkRows, RowSlots, merge};
use super::slot::Slot;

/// So many chunks of a tier become one.
const MERGED_AT_ONCE: usize = 8;

/// Chunks of so many bytes are not merged for being small.
const FULL_BYTES: usize = 1 << 20;

/// Chunks below it are in the lowest tier; each further tier holds chunks [`MERGED_AT_ONCE`] times as large.
const LOWEST_TIER_BYTES: usize = 2 << 10;

/// The rows of one table.
#[derive(Debug, Default)]
pub struct RowLog {
    chunks: Vec<Option<LoggedChunk>>,
    free_chunks: Vec<usize>,
    /// By slot.
    locations: Vec<Location>,
    first_free_slot: Option<Slot>,
    /// The chunks that are not full, by tier.
    tiers: Vec<Vec<usize>>,
    /// Chunks that have become sparse.
    sparse: Vec<usize>,
    n_live: usize,
    bytes: usize,
}

#[derive(Debug)]
struct LoggedChunk {
    chunk: Chunk,
    slots: RowSlots,
    bytes: usize,
    tier: Option<usize>,
    is_queued: bool,
}

/// Where the row of a slot is; 8 bytes, as there is one per row.
#[derive(Debug, Clone, Copy)]
enum Location {
    At(RowAt),
    Free { next: Option<Slot> },
}

/// A row of a chunk. The number of a chunk is kept plus one, in a type without zero, so that [`Location`] has 8 bytes.
#[derive(Debug, Clone, Copy)]
struct RowAt {
    chunk: Slot,
    row: u32,
}

const _: () = assert!(size_of::<Location>() == 8);

/// The place of a chunk in a list, and a row of it.
type PlaceAndRow = (usize, usize);

/// A chunk that rows are being given slots in.
#[derive(Debug, Clone, Copy)]
pub struct OpenChunk(usize);

impl RowLog {
    pub fn n_live(&self) -> usize {
        self.n_live
    }

    pub fn memory_bytes(&self) -> usize {
        let tiers: usize = self.tiers.iter().map(|tier| tier.capacity() * size_of::<usize>()).sum();
        self.bytes
            + self.locations.capacity() * size_of::<Location>()
            + self.chunks.capacity() * size_of::<Option<LoggedChunk>>()
            + (self.free_chunks.capacity() + self.sparse.capacity()) * size_of::<usize>()
            + tiers
    }

    /// Takes rows in. They are live but have no slots: the caller gives one to each with [`RowLog::place`], or drops it
    /// with [`RowLog::skip`], in order, and then calls [`RowLog::tidy`].
    pub fn open(&mut self, rows: ChunkRows) -> OpenChunk {
        let n_rows = rows.n_rows();
        let id = self.add(Chunk::new(rows), Vec::with_capacity(n_rows));
        OpenChunk(id)
    }

    /// Makes the next row of `open` that of `slot`, or of a new slot. Its row before that is dead.
    pub fn place(&mut self, open: OpenChunk, slot: Option<Slot>) -> Result<Slot> {
        let slot = match slot {
            Some(slot) => {
                self.kill(slot);
                slot
            }
            None => {
                self.n_live += 1;
                self.new_slot()?
            }
        };
        let at = RowAt { chunk: Slot::new(open.0).ok_or_else(too_many)?, row: self.push_slot(open, Some(slot))? };
        *self.locations.get_mut(slot.idx()).ok_or_else(|| unknown(slot))? = Location::At(at);
        Ok(slot)
    }

    /// Leaves out the next row of `open`.
    pub fn skip(&mut self, open: OpenChunk) -> Result<()> {
        let row = self.push_slot(open, None)?;
        self.kill_at(open.0, row as usize);
        Ok(())
    }

    /// Forgets the row of a slot; the slot is free then.
    pub fn remove(&mut self, slot: Slot) {
        self.kill(slot);
        if let Some(location) = self.locations.get_mut(slot.idx()) {
            *location = Location::Free { next: self.first_free_slot.replace(slot) };
            self.n_live -= 1;
        }
    }

    pub fn is_live(&self, slot: Slot) -> bool {
        matches!(self.locations.get(slot.idx()), Some(Location::At(_)))
    }

    /// The key of a live row.
    pub fn key(&self, slot: Slot) -> Option<&[u8]> {
        let (logged, row) = self.find(slot)?;
        let keys = &logged.chunk.rows.keys;
        (row < keys.len()).then(|| keys.value(row))
    }

    /// When a live row expires.
    pub fn expiry(&self, slot: Slot) -> Option<i64> {
        let (logged, row) = self.find(slot)?;
        let expiry = logged.chunk.rows.expiry.as_ref()?;
        (row < expiry.len() && expiry.is_valid(row)).then(|| expiry.value(row))
    }

    /// The value columns of the rows of `slots`, of which there is at least one.
    pub fn gather_values(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let (chunks, rows) = self.rows_of(slots)?;
        let n_columns = chunks.first().map_or(0, |chunk| chunk.rows.values.len());
        (0..n_columns).map(|column| gathered(&chunks, &rows, column)).collect()
    }

    /// One value column of the rows of `slots`, of which there is at least one.
    pub fn gather_column(&self, slots: &[Slot], column: usize) -> Result<ArrayRef> {
        let (chunks, rows) = self.rows_of(slots)?;
        gathered(&chunks, &rows, column)
    }

    /// The keys of the rows of `slots`; a row that is not live is an error.
    pub fn keys_of<'a>(&'a self, slots: &'a [Slot]) -> Result<Vec<&'a [u8]>> {
        slots.iter().map(|slot| self.key(*slot).ok_or_else(|| unknown(*slot))).collect()
    }

    /// All chunks.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().flatten().map(|logged| &logged.chunk)
    }

    /// All live rows that have a slot, chunk by chunk, with their keys.
    pub fn live_slots(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        self.chunks.iter().flatten().flat_map(|logged| {
            let slot = |row: usize| Some(((*logged.slots.get(row)?)?, logged.chunk.rows.keys.value(row)));
            logged.chunk.live_rows().filter_map(slot)
        })
    }

    /// Merges and drops what is due; called when a call has made its changes.
    pub fn tidy(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.sparse) {
            self.rewrite(&[id])?;
        }
        while let Some(tier) = self.tiers.iter().position(|tier| tier.len() >= MERGED_AT_ONCE) {
            let ids = self.tiers.get(tier).cloned().unwrap_or_default();
            self.rewrite(&ids)?;
        }
        Ok(())
    }

    /// Replaces chunks by one with their live rows.
    fn rewrite(&mut self, ids: &[usize]) -> Result<()> {
        let old: Vec<&LoggedChunk> =
            ids.iter().filter_map(|id| self.chunks.get(*id)?.as_ref()).filter(|old| old.chunk.n_live() > 0).collect();
        let merged = if old.is_empty() { None } else { Some(merge(old.iter().map(|old| &old.chunk))?) };
        let mut slots = RowSlots::with_capacity(old.iter().map(|old| old.chunk.n_live()).sum());
        slots.extend(old.iter().flat_map(|old| old.chunk.live_rows().map(|row| old.slots.get(row).copied().flatten())));
        for id in ids {
            self.drop_chunk(*id);
        }
        if let Some(rows) = merged {
            let id = self.add(Chunk::new(rows), slots);
            let chunk = Slot::new(id).ok_or_else(too_many)?;
            let slots = self.chunks.get(id).and_then(Option::as_ref).map_or(&[][..], |logged| &logged.slots);
            for (row, slot) in (0_u32..).zip(slots) {
                if let Some(location) = slot.and_then(|slot| self.locations.get_mut(slot.idx())) {
                    *location = Location::At(RowAt { chunk, row });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, chunk: Chunk, slots: RowSlots) -> usize {
        let slot_bytes = slots.capacity() * size_of::<Option<Slot>>();
        let bytes = chunk.rows.bytes() + chunk.live_bytes() + slot_bytes;
        let tier = (bytes < FULL_BYTES).then(|| {
            let tiers = std::iter::successors(Some(LOWEST_TIER_BYTES), |limit| limit.checked_mul(MERGED_AT_ONCE));
            tiers.take_while(|limit| bytes >= *limit).count()
        });
        self.bytes += bytes;
        let id = self.free_chunks.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            self.chunks.len() - 1
        });
        if let Some(tier) = tier {
            while self.tiers.len() <= tier {
                self.tiers.push(Vec::new());
            }
            self.tiers.get_mut(tier).into_iter().for_each(|ids| ids.push(id));
        }
        if let Some(place) = self.chunks.get_mut(id) {
            *place = Some(LoggedChunk { chunk, slots, bytes, tier, is_queued: false });
        }
        id
    }

    fn drop_chunk(&mut self, id: usize) {
        let Some(dropped) = self.chunks.get_mut(id).and_then(Option::take) else { return };
        self.bytes -= dropped.bytes;
        if let Some(ids) = dropped.tier.and_then(|tier| self.tiers.get_mut(tier)) {
            ids.retain(|other| *other != id);
        }
        self.free_chunks.push(id);
    }

    fn kill(&mut self, slot: Slot) {
        if let Some(Location::At(at)) = self.locations.get(slot.idx()).copied() {
            self.kill_at(at.chunk.idx(), at.row as usize);
        }
    }

    fn kill_at(&mut self, id: usize, row: usize) {
        let Some(logged) = self.chunks.get_mut(id).and_then(Option::as_mut) else { return };
        logged.chunk.kill(row);
        if logged.chunk.is_sparse() && !logged.is_queued {
            logged.is_queued = true;
            self.sparse.push(id);
        }
    }

    fn push_slot(&mut self, open: OpenChunk, slot: Option<Slot>) -> Result<u32> {
        let slots = self.chunks.get_mut(open.0).and_then(Option::as_mut).map(|logged| &mut logged.slots);
        let slots = slots.ok_or_else(|| Error::internal("a row of a store was placed in a chunk that is gone"))?;
        slots.push(slot);
        u32::try_from(slots.len() - 1).map_err(|_| too_many())
    }

    fn new_slot(&mut self) -> Result<Slot> {
        if let Some(slot) = self.first_free_slot {
            let location = self.locations.get(slot.idx()).copied();
            self.first_free_slot = match location {
                Some(Location::Free { next }) => next,
                _ => return Err(unknown(slot)),
            };
            return Ok(slot);
        }
        reserve_some(&mut self.locations);
        self.locations.push(Location::Free { next: None });
        Slot::new(self.locations.len() - 1).ok_or_else(too_many)
    }

    fn find(&self, slot: Slot) -> Option<(&LoggedChunk, usize)> {
        match self.locations.get(slot.idx())? {
            Location::At(at) => Some((self.chunks.get(at.chunk.idx())?.as_ref()?, at.row as usize)),
            Location::Free { .. } => None,
        }
    }

    /// The chunks that hold the rows of `slots`, and the rows as (place in those chunks, row).
    fn rows_of(&self, slots: &[Slot]) -> Result<(Vec<&Chunk>, Vec<PlaceAndRow>)> {
        let mut place_of = vec![usize::MAX; self.chunks.len()];
        let (mut chunks, mut rows) = (Vec::new(), Vec::with_capacity(slots.len()));
        for slot in slots {
            let Some(Location::At(at)) = self.locations.get(slot.idx()) else { return Err(unknown(*slot)) };
            let id = at.chunk.idx();
            let place = place_of.get_mut(id).ok_or_else(|| unknown(*slot))?;
            if *place == usize::MAX {
                *place = chunks.len();
                chunks.push(&self.chunks.get(id).and_then(Option::as_ref).ok_or_else(|| unknown(*slot))?.chunk);
            }
            rows.push((*place, at.row as usize));
        }
        Ok((chunks, rows))
    }
}

fn gathered(chunks: &[&Chunk], rows: &[PlaceAndRow], column: usize) -> Result<ArrayRef> {
    let columns: Vec<&dyn Array> = chunks.iter().filter_map(|chunk| Some(chunk.rows.values.get(column)?.as_ref())).collect();
    interleave(&columns, rows).map_err(arrow_error)
}

/// Grows a vector with one element per row by a quarter: doubling would leave up to half of it unused.
pub fn reserve_some<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact((vec.len() / 4).max(8));
    }
}

fn unknown(slot: Slot) -> Error {
    Error::internal(format!("{slot:?} of a store is not live"))
}

fn too_many() -> Error {
    Error::exhausted("one task's part of a store is over the limit of 4294967294 rows").hint("run the query with a higher parallelism")
}
