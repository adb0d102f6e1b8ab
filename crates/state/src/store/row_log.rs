//! Where rows are: stable slots over a log of chunks.
//!
//! ```text
//!  append ─► chunk ─► its tier, by size ─► 8 of a tier are merged into one of the next ─► ... ─► full: left alone
//!                     half its rows dead: rewritten without them;  all dead: dropped
//!  values of fixed width are written over where their row is: then no row dies
//! ```
//! So a row is copied once per tier, a million one-row calls leave a few dozen chunks, and memory stays below about
//! twice that of the live rows. One step merges at most [`FULL_BYTES`] * [`MERGED_AT_ONCE`] bytes.
//!
//! Beyond the memory budget the oldest chunks give up their rows ([`RowLog::coldest`]), but for those that were asked for
//! since they were last looked at: they go to a new chunk, and so to the end of the queue.

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::compute::interleave;
use millstream_core::{Error, Result};

use super::arrow_error;
use super::chunk::{Chunk, ChunkRows, NewValue, RowSlots, merge, overwrite};
use super::slot::Slot;
use super::spill::StateMemory;

/// So many chunks of a tier become one.
const MERGED_AT_ONCE: usize = 8;

/// Chunks of so many bytes are not merged for being small.
const FULL_BYTES: usize = 1 << 20;

/// Chunks below it are in the lowest tier; each further tier holds chunks [`MERGED_AT_ONCE`] times as large.
const LOWEST_TIER_BYTES: usize = 2 << 10;

/// The rows of one table.
#[derive(Debug)]
pub struct RowLog {
    memory: StateMemory,
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
    /// What of them is charged chunk by chunk.
    row_bytes: usize,
    n_born: u64,
    /// By slot: the row was asked for since its chunk was last looked at. Only with a memory budget.
    touched: Vec<u64>,
}

#[derive(Debug)]
struct LoggedChunk {
    chunk: Chunk,
    slots: RowSlots,
    bytes: usize,
    row_bytes: usize,
    /// Chunks with lower numbers have older rows.
    born: u64,
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

/// Rows that should leave memory.
#[derive(Debug)]
pub struct ColdChunks {
    pub slots: Vec<Slot>,
    /// Where they are: numbers of chunks.
    pub chunks: Vec<usize>,
}

/// A chunk that rows are being given slots in.
#[derive(Debug, Clone, Copy)]
pub struct OpenChunk(usize);

impl RowLog {
    pub fn new(memory: &StateMemory) -> Self {
        Self {
            memory: memory.clone(),
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            locations: Vec::new(),
            first_free_slot: None,
            tiers: Vec::new(),
            sparse: Vec::new(),
            n_live: 0,
            bytes: 0,
            row_bytes: 0,
            n_born: 0,
            touched: Vec::new(),
        }
    }

    pub fn n_live(&self) -> usize {
        self.n_live
    }

    pub fn memory_bytes(&self) -> usize {
        let tiers: usize = self.tiers.iter().map(|tier| tier.capacity() * size_of::<usize>()).sum();
        self.bytes
            + self.locations.capacity() * size_of::<Location>()
            + self.chunks.capacity() * size_of::<Option<LoggedChunk>>()
            + (self.free_chunks.capacity() + self.sparse.capacity() + self.touched.capacity()) * size_of::<usize>()
            + tiers
    }

    /// What of it chunks are charged for themselves.
    pub fn charged_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Takes rows in. They are live but have no slots: the caller gives one to each with [`RowLog::place`], or drops it
    /// with [`RowLog::skip`], in order, and then calls [`RowLog::tidy`].
    pub fn open(&mut self, rows: ChunkRows) -> OpenChunk {
        let n_rows = rows.n_rows();
        let born = self.next_born();
        let id = self.add(rows, Vec::with_capacity(n_rows), born);
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
        // It is in the newest chunk: no need to remember that it was asked for.
        self.untouch(slot);
        let at = RowAt { chunk: Slot::new(open.0).ok_or_else(too_many)?, row: self.push_slot(open, Some(slot))? };
        *self.locations.get_mut(slot.idx()).ok_or_else(|| unknown(slot))? = Location::At(at);
        Ok(slot)
    }

    /// Writes values over those of the rows of slots, where they are; others are left alone. Values are of fixed width and not null.
    /// Does nothing, and says so, if a row is not live, has a null, or expires at another time than the new one.
    pub fn overwrite(&mut self, slots: &[Option<Slot>], expiry: Option<&Int64Array>, values: &[ArrayRef]) -> Result<bool> {
        let mut place_of = vec![usize::MAX; self.chunks.len()];
        let (mut ids, mut news) = (Vec::new(), Vec::with_capacity(slots.len()));
        for (from, slot) in slots.iter().enumerate().filter_map(|(from, slot)| Some((from, (*slot)?))) {
            let Some(Location::At(at)) = self.locations.get(slot.idx()).copied() else { return Ok(false) };
            let (id, row) = (at.chunk.idx(), at.row as usize);
            let Some((logged, place)) = self.chunks.get(id).and_then(Option::as_ref).zip(place_of.get_mut(id)) else { return Ok(false) };
            if *place == usize::MAX {
                if !logged.chunk.can_be_overwritten() {
                    return Ok(false);
                }
                *place = ids.len();
                ids.push(id);
            }
            let before = logged.chunk.rows.expiry.as_ref().and_then(|expiry| expiry.is_valid(row).then(|| expiry.value(row)));
            if before != expiry.and_then(|expiry| expiry.is_valid(from).then(|| expiry.value(from))) {
                return Ok(false);
            }
            news.push(NewValue { place: *place, row, from });
        }
        let mut by_place: Vec<(usize, &mut Chunk)> = Vec::with_capacity(ids.len());
        for (logged, place) in self.chunks.iter_mut().zip(&place_of) {
            by_place.extend(logged.as_mut().filter(|_| *place != usize::MAX).map(|logged| (*place, &mut logged.chunk)));
        }
        by_place.sort_unstable_by_key(|(place, _)| *place);
        let mut chunks: Vec<&mut Chunk> = by_place.into_iter().map(|(_, chunk)| chunk).collect();
        overwrite(&mut chunks, &self.memory, &news, values)?;
        Ok(true)
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
        slots.iter().map(|slot| self.live_key(*slot)).collect()
    }

    /// The key of a row; that it is not live is an error.
    pub fn live_key(&self, slot: Slot) -> Result<&[u8]> {
        self.key(slot).ok_or_else(|| unknown(slot))
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

    /// The row of a slot was asked for.
    pub fn touch(&mut self, slot: Slot) {
        let word = slot.idx() / 64;
        if self.touched.len() <= word {
            self.touched.resize(self.locations.len().div_ceil(64).max(word + 1), 0);
        }
        self.touched.get_mut(word).into_iter().for_each(|bits| *bits |= 1 << (slot.idx() % 64));
    }

    /// Forgets that the row of a slot was asked for; says whether it was.
    fn untouch(&mut self, slot: Slot) -> bool {
        let Some(bits) = self.touched.get_mut(slot.idx() / 64) else { return false };
        let before = *bits;
        *bits &= !(1 << (slot.idx() % 64));
        before != *bits
    }

    /// Looks at the oldest chunks until `bytes` of rows are found that nobody has asked for since: the rows. When they are gone
    /// [`RowLog::compact`] takes what is left of their chunks.
    pub fn coldest(&mut self, bytes: usize) -> ColdChunks {
        if bytes == 0 {
            return ColdChunks { slots: Vec::new(), chunks: Vec::new() };
        }
        let mut ids: Vec<(u64, usize)> =
            self.chunks.iter().enumerate().filter_map(|(id, logged)| Some((logged.as_ref()?.born, id))).collect();
        ids.sort_unstable();
        let mut cold = ColdChunks { slots: Vec::new(), chunks: Vec::new() };
        let mut n_found = 0;
        // The second time around nobody was asked for.
        for (_, id) in ids.iter().chain(&ids) {
            if n_found >= bytes {
                break;
            }
            if cold.chunks.contains(id) {
                continue;
            }
            let Some(logged) = self.chunks.get(*id).and_then(Option::as_ref) else { continue };
            let (n_live, n_bytes) = (logged.chunk.n_live(), logged.bytes);
            let slots: Vec<Slot> = logged.chunk.live_rows().filter_map(|row| logged.slots.get(row).copied().flatten()).collect();
            let n_before = cold.slots.len();
            for slot in slots {
                if !self.untouch(slot) {
                    cold.slots.push(slot);
                }
            }
            let n_cold = cold.slots.len() - n_before;
            // What dead rows take comes back as well.
            n_found += n_bytes / n_live.max(1) * n_cold;
            if n_cold > 0 || n_live == 0 {
                cold.chunks.push(*id);
            } else {
                let born = self.next_born();
                self.chunks.get_mut(*id).and_then(Option::as_mut).into_iter().for_each(|logged| logged.born = born);
            }
        }
        cold
    }

    /// What is left of chunks that gave up rows goes to new ones.
    pub fn compact(&mut self, chunks: &[usize]) -> Result<()> {
        for ids in chunks.chunks(MERGED_AT_ONCE) {
            let born = self.next_born();
            self.rewrite_as(ids, born)?;
        }
        self.tidy()
    }

    fn next_born(&mut self) -> u64 {
        self.n_born += 1;
        self.n_born
    }

    /// Replaces chunks by one with their live rows, as old as the youngest of them.
    fn rewrite(&mut self, ids: &[usize]) -> Result<()> {
        let born = ids.iter().filter_map(|id| Some(self.chunks.get(*id)?.as_ref()?.born)).max();
        self.rewrite_as(ids, born.unwrap_or(0))
    }

    fn rewrite_as(&mut self, ids: &[usize], born: u64) -> Result<()> {
        let old: Vec<&LoggedChunk> =
            ids.iter().filter_map(|id| self.chunks.get(*id)?.as_ref()).filter(|old| old.chunk.n_live() > 0).collect();
        let merged = if old.is_empty() { None } else { Some(merge(old.iter().map(|old| &old.chunk))?) };
        let mut slots = RowSlots::with_capacity(old.iter().map(|old| old.chunk.n_live()).sum());
        slots.extend(old.iter().flat_map(|old| old.chunk.live_rows().map(|row| old.slots.get(row).copied().flatten())));
        for id in ids {
            self.drop_chunk(*id);
        }
        if let Some(rows) = merged {
            let id = self.add(rows, slots, born);
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

    fn add(&mut self, rows: ChunkRows, slots: RowSlots, born: u64) -> usize {
        let (chunk, slot_bytes) = (Chunk::new(rows.charged(&self.memory)), slots.capacity() * size_of::<Option<Slot>>());
        let row_bytes = chunk.rows.bytes();
        let bytes = row_bytes + chunk.live_bytes() + slot_bytes;
        let tier = (bytes < FULL_BYTES).then(|| {
            let tiers = std::iter::successors(Some(LOWEST_TIER_BYTES), |limit| limit.checked_mul(MERGED_AT_ONCE));
            tiers.take_while(|limit| bytes >= *limit).count()
        });
        self.bytes += bytes;
        self.row_bytes += row_bytes;
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
            *place = Some(LoggedChunk { chunk, slots, bytes, row_bytes, born, tier, is_queued: false });
        }
        id
    }

    fn drop_chunk(&mut self, id: usize) {
        let Some(dropped) = self.chunks.get_mut(id).and_then(Option::take) else { return };
        self.bytes -= dropped.bytes;
        self.row_bytes -= dropped.row_bytes;
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
