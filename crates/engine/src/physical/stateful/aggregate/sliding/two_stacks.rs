//! The states of a window that have no inverse, by key: each slice is merged a fixed number of times however long windows are.
//!
//! ```text
//!  blocks of slices, one window long         m                 m'
//!  ..│.....................................│s s s s s s s s s│...
//!                     window [a, b)  └──────┬──┘
//!                                    front  │ back             value = front merged with back
//! ```
//! `m` is the block boundary in the window. The front of a key is the merge of its slices from `a` to `m`, the back that of its
//! slices from `m` to `b`. Fronts are computed for all slices of a block at once, from its end to its beginning, when a window
//! first begins in the block; after that a slice that leaves the window only takes its keys to their next front. A slice
//! that comes in is merged into the backs of its keys. These are the two stacks of sliding aggregation, for all keys at once
//! and turned at moments that do not hang on when batches came: so a value is the same merge in the same order (by time), whenever
//! it is computed. Nothing is taken out of a merge, so what rounding does to sums of doubles does not pile up.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use millstream_core::{Error, Result, TimeWindows};

use super::super::merge::Accumulators;
use super::sweep::Aggregates;

/// Repairs leave rows behind that nobody refers to. With so many times the chunks of one pass all is computed again.
const REPAIR_CHUNKS: usize = 4;

/// A row of merged states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    chunk: u32,
    row: u32,
}

/// What a slice holds while it is in the front.
#[derive(Default)]
struct FrontSlice {
    /// By entry of the slice: where its key's front is when the slice has left; none for an entry that is not swept.
    after: Vec<Option<Option<At>>>,
    chunks: Vec<u32>,
}

/// The fronts and backs of one window. See the module's documentation.
pub struct TwoStacks {
    aggregates: Aggregates,
    /// By key.
    fronts: Vec<Option<At>>,
    backs: Vec<Option<At>>,
    /// The slices in the front, by start.
    in_front: BTreeMap<i64, FrontSlice>,
    chunks: Vec<Option<Vec<ArrayRef>>>,
    free: Vec<u32>,
    /// Chunks of slices that have left: what was found and not merged yet may refer to them.
    left: Vec<u32>,
    n_chunks_computed: usize,
    n_chunks_repaired: usize,
}

/// Fronts and backs that are to be merged to values.
#[derive(Default)]
pub struct Stacked {
    fronts: Vec<Option<At>>,
    backs: Vec<Option<At>>,
}

impl TwoStacks {
    /// Of no slices.
    pub fn new(aggregates: Aggregates) -> Self {
        Self {
            aggregates,
            fronts: Vec::new(),
            backs: Vec::new(),
            in_front: BTreeMap::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            n_chunks_computed: 0,
            n_chunks_repaired: 0,
        }
    }

    /// The same aggregates of no slices.
    pub fn cleared(&self) -> Self {
        Self::new(Aggregates::clone(&self.aggregates))
    }

    /// Whether there are no aggregates.
    pub fn is_unused(&self) -> bool {
        self.aggregates.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().flatten().flatten().map(|column| column.get_buffer_memory_size()).sum();
        let entries: usize = self.in_front.values().map(|slice| slice.after.capacity() * size_of::<Option<Option<At>>>()).sum();
        chunks + entries + (self.fronts.capacity() + self.backs.capacity()) * size_of::<Option<At>>()
    }

    /// A slice goes before those in the front: the states `own` of its `keys`, which are some of the keys of `all` its entries.
    pub fn put_in_front(&mut self, slice: i64, all: &[u32], is_among: impl Fn(u32) -> bool, keys: &[u32], own: &[ArrayRef]) -> Result<()> {
        let after: Vec<Option<At>> = keys.iter().map(|key| of_key(&self.fronts, *key)).collect();
        // The slice is earlier than what comes after it.
        let chunk = self.merged_chunk(own, &after, keys.len(), true)?;
        let in_front = self.in_front.entry(slice).or_default();
        in_front.chunks.push(chunk);
        in_front.after.resize(all.len(), None);
        let entries = in_front.after.iter_mut().zip(all).filter(|(_, key)| is_among(**key)).map(|(entry, _)| entry);
        entries.zip(after).for_each(|(entry, after)| *entry = Some(after));
        self.make_room(keys);
        for (row, key) in (0_u32..).zip(keys) {
            set(&mut self.fronts, *key, Some(At { chunk, row }));
        }
        Ok(())
    }

    /// A slice comes in behind all others.
    pub fn enter(&mut self, keys: &[u32], own: &[ArrayRef]) -> Result<()> {
        let before: Vec<Option<At>> = keys.iter().map(|key| of_key(&self.backs, *key)).collect();
        let chunk = self.merged_chunk(own, &before, keys.len(), false)?;
        self.make_room(keys);
        for (row, key) in (0_u32..).zip(keys) {
            set(&mut self.backs, *key, Some(At { chunk, row }));
        }
        Ok(())
    }

    /// The first slice in the front leaves: the keys of all its entries.
    pub fn leave(&mut self, slice: i64, keys: &[u32]) {
        let Some(in_front) = self.in_front.remove(&slice) else { return };
        for (key, after) in keys.iter().zip(in_front.after) {
            if let Some(after) = after {
                set(&mut self.fronts, *key, after);
            }
        }
        self.left.extend(in_front.chunks);
    }

    /// As if the key had no slice in the window. Its slices are to come in anew.
    pub fn forget(&mut self, key: u32) {
        set(&mut self.fronts, key, None);
        set(&mut self.backs, key, None);
    }

    /// How often the states of a slice were merged, repairs aside.
    pub fn n_chunks_computed(&self) -> usize {
        self.n_chunks_computed
    }

    /// What was computed since there were `n_before` was a repair.
    pub fn note_repair(&mut self, n_before: usize) {
        self.n_chunks_repaired += self.n_chunks_computed - n_before;
        self.n_chunks_computed = n_before;
    }

    /// Whether repairs have left too much behind.
    pub fn is_worn(&self) -> bool {
        self.n_chunks_repaired > REPAIR_CHUNKS * (self.n_chunks_computed + 16)
    }

    /// Adds what the values of keys are merged of. It is good until a window of another block is moved to.
    pub fn find(&self, keys: &[u32], found: &mut Stacked) {
        found.fronts.extend(keys.iter().map(|key| of_key(&self.fronts, *key)));
        found.backs.extend(keys.iter().map(|key| of_key(&self.backs, *key)));
    }

    /// The values of the aggregates for all that was found, by aggregate. Then slices that have left are given up.
    pub fn values(&mut self, found: &Stacked) -> Result<Vec<ArrayRef>> {
        let merged = self.merge(&[], found.fronts.iter().zip(0..).chain(found.backs.iter().zip(0..)), found.fronts.len())?;
        for chunk in std::mem::take(&mut self.left) {
            self.drop_chunk(chunk);
        }
        merged.map_or_else(|| Ok(Vec::new()), |mut accumulators| accumulators.values())
    }

    fn make_room(&mut self, keys: &[u32]) {
        let n_keys = keys.iter().max().map_or(0, |key| *key as usize + 1);
        if self.fronts.len() < n_keys {
            self.fronts.resize(n_keys, None);
            self.backs.resize(n_keys, None);
        }
    }

    /// A chunk of the states of a slice, each merged with what its key has beside it.
    fn merged_chunk(&mut self, own: &[ArrayRef], beside: &[Option<At>], n_rows: usize, own_first: bool) -> Result<u32> {
        let columns = if beside.iter().all(Option::is_none) {
            own.to_vec()
        } else {
            let own_rows: Vec<Option<At>> = (0..n_rows).map(|row| at_own(row).map(Some)).collect::<Result<_>>()?;
            let merged = if own_first {
                self.merge(own, own_rows.iter().zip(0..).chain(beside.iter().zip(0..)), n_rows)?
            } else {
                self.merge(own, beside.iter().zip(0..).chain(own_rows.iter().zip(0..)), n_rows)?
            };
            merged.map_or_else(|| Ok(Vec::new()), |mut accumulators| accumulators.states())?
        };
        self.n_chunks_computed += 1;
        let chunk = match self.free.pop() {
            Some(chunk) => chunk,
            None => {
                self.chunks.push(None);
                u32::try_from(self.chunks.len() - 1).map_err(|_| Error::exhausted("a window of more than 4294967295 slices"))?
            }
        };
        self.chunks.get_mut(chunk as usize).into_iter().for_each(|place| *place = Some(columns.clone()));
        Ok(chunk)
    }

    fn drop_chunk(&mut self, chunk: u32) {
        if self.chunks.get_mut(chunk as usize).and_then(Option::take).is_some() {
            self.free.push(chunk);
        }
    }

    /// Merges rows, in their order, each into its group; all `n_groups` have one. None where there is nothing to compute.
    fn merge<'a>(
        &self,
        own: &[ArrayRef],
        rows: impl Iterator<Item = (&'a Option<At>, usize)>,
        n_groups: usize,
    ) -> Result<Option<Accumulators>> {
        if self.aggregates.is_empty() || n_groups == 0 {
            return Ok(None);
        }
        let mut sources: Vec<&[ArrayRef]> = vec![own];
        let mut source_of = vec![usize::MAX; self.chunks.len()];
        let (mut places, mut groups) = (Vec::with_capacity(2 * n_groups), Vec::with_capacity(2 * n_groups));
        for (at, group) in rows {
            let Some(At { chunk, row }) = at else { continue };
            let source = if *chunk == OWN {
                0
            } else {
                let source = source_of.get_mut(*chunk as usize).ok_or_else(no_chunk)?;
                if *source == usize::MAX {
                    *source = sources.len();
                    sources.push(self.chunks.get(*chunk as usize).and_then(Option::as_deref).ok_or_else(no_chunk)?);
                }
                *source
            };
            places.push((source, *row as usize));
            groups.push(group);
        }
        if own.is_empty() {
            // Nothing refers to it, and it has no columns.
            sources.remove(0);
            places.iter_mut().for_each(|(source, _)| *source -= 1);
        }
        let n_columns = sources.first().map_or(0, |columns| columns.len());
        let column = |idx: usize| {
            let columns: Vec<&dyn Array> = sources.iter().filter_map(|columns| Some(columns.get(idx)?.as_ref())).collect();
            Ok(interleave(&columns, &places)?)
        };
        let states = (0..n_columns).map(column).collect::<Result<Vec<_>>>()?;
        let mut accumulators = Accumulators::new(&self.aggregates)?;
        accumulators.merge(&states, &groups, n_groups)?;
        Ok(Some(accumulators))
    }
}

/// The boundary of blocks in a window: its start, or the only one inside. Blocks are as long as a window, rounded up to whole slides,
/// so that they begin where windows do.
pub fn block_boundary(windows: TimeWindows, start: i64) -> i64 {
    let slide = windows.slide_us();
    let n_slides = windows.length_us() / slide + i64::from(windows.length_us() % slide > 0);
    let block = slide.saturating_mul(n_slides);
    let rest = start.saturating_sub(windows.offset_us()).rem_euclid(block);
    if rest == 0 { start } else { start.saturating_sub(rest).saturating_add(block) }
}

/// Stands for the columns that are merged with others.
const OWN: u32 = u32::MAX;

fn at_own(row: usize) -> Result<At> {
    let row = u32::try_from(row).map_err(|_| Error::exhausted("a slice of a window has more than 4294967295 keys"))?;
    Ok(At { chunk: OWN, row })
}

fn of_key(all: &[Option<At>], key: u32) -> Option<At> {
    all.get(key as usize).copied().flatten()
}

fn set(all: &mut [Option<At>], key: u32, at: Option<At>) {
    all.get_mut(key as usize).into_iter().for_each(|place| *place = at);
}

fn no_chunk() -> Error {
    Error::internal("a window refers to states that are gone")
}
