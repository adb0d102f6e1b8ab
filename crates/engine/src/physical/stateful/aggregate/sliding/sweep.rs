//! The values of all keys in one window after the other, each slice merged a fixed number of times however long windows are.
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
//! it is computed, and no inverse is needed, with which sums of doubles would drift. Values are computed for keys whose front or
//! back has changed; the others have the value of the window before.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, interleave, take};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_core::{Error, Result, TimeWindows};
use millstream_state::store::KeyedTable;

use super::super::merge::Accumulators;
use super::slices::Slices;

/// Repairs leave rows behind that nobody refers to. With so many times the chunks of one pass all is computed again.
const REPAIR_CHUNKS: usize = 4;

/// All aggregates of the operator.
pub type Aggregates = Arc<[Arc<AggregateFunctionExpr>]>;

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

/// One window of a sweep. See the module's documentation.
pub struct Sweep {
    windows: TimeWindows,
    aggregates: Aggregates,
    /// The window.
    start: i64,
    /// The block boundary in it.
    boundary: i64,
    /// By key.
    fronts: Vec<Option<At>>,
    backs: Vec<Option<At>>,
    /// The keys that have a front or a back, in no order, and where each key is among them.
    present: Vec<u32>,
    places: Vec<u32>,
    /// The slices in the front, by start.
    in_front: BTreeMap<i64, FrontSlice>,
    chunks: Vec<Option<Vec<ArrayRef>>>,
    free: Vec<u32>,
    /// Chunks of slices that have left: results that were not fetched yet may refer to them.
    left: Vec<u32>,
    n_chunks_computed: usize,
    n_chunks_repaired: usize,
    values: Values,
}

/// The values that were fetched: a key whose front and back stay as they are has the same value in the next window.
#[derive(Default)]
struct Values {
    /// By key: the row of its value; [`NO_VALUE`] if it has changed, or was not asked for.
    rows: Vec<u32>,
    /// By aggregate.
    columns: Vec<ArrayRef>,
    n_rows: usize,
}

/// See [`Values`].
const NO_VALUE: u32 = u32::MAX;

/// Rows that nobody refers to are given up when they are more than the others and so many.
const DEAD_VALUES_MIN: usize = 8192;

/// Which keys are swept.
pub type Swept<'a> = Option<&'a [bool]>;

/// Values to be fetched: keys of windows.
#[derive(Default)]
pub struct Found {
    pub keys: Vec<u32>,
    /// The start of each window.
    pub windows: Vec<i64>,
    /// Where the values are, or will be: see [`Values`].
    rows: Vec<u32>,
    /// Of the values that are to be computed.
    fronts: Vec<Option<At>>,
    backs: Vec<Option<At>>,
}

impl Sweep {
    /// Before the first window.
    pub fn new(windows: TimeWindows, aggregates: Aggregates) -> Self {
        Self {
            windows,
            aggregates,
            start: i64::MIN,
            boundary: i64::MIN,
            fronts: Vec::new(),
            backs: Vec::new(),
            present: Vec::new(),
            places: Vec::new(),
            in_front: BTreeMap::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            n_chunks_computed: 0,
            n_chunks_repaired: 0,
            values: Values::default(),
        }
    }

    /// Whether a slice is in the present window.
    pub fn holds(&self, slice: i64) -> bool {
        self.start > i64::MIN && self.start <= slice && slice < self.windows.end(self.start)
    }

    pub fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().flatten().flatten().map(|column| column.get_buffer_memory_size()).sum();
        let entries: usize = self.in_front.values().map(|slice| slice.after.capacity() * size_of::<Option<Option<At>>>()).sum();
        let by_key = self.fronts.capacity() * 2 * size_of::<Option<At>>() + (self.places.capacity() + self.present.capacity()) * 4;
        let values: usize = self.values.columns.iter().map(|column| column.get_buffer_memory_size()).sum();
        chunks + entries + by_key + values + self.values.rows.capacity() * 4
    }

    /// Goes on to the window that begins at `start`, or back to it. Fetch what was found before, unless it says it keeps it.
    pub fn move_to(&mut self, slices: &Slices, table: &mut KeyedTable, start: i64, swept: Swept) -> Result<()> {
        let (old_start, old_end) = (self.start, self.windows.end(self.start));
        if start < old_start || block_boundary(self.windows, start) != self.boundary {
            return self.compute(slices, table, start, swept);
        }
        self.start = start;
        for slice in slices.starts(old_start..start) {
            self.leave(slices, slice);
        }
        for slice in slices.starts(old_end..self.windows.end(start)) {
            self.enter(slices, table, slice, swept)?;
        }
        Ok(())
    }

    /// Whether moving there keeps what was found and not fetched.
    pub fn keeps_found(&self, start: i64) -> bool {
        start >= self.start && block_boundary(self.windows, start) == self.boundary
    }

    /// Slices of these keys that are in the window have changed.
    pub fn repair(&mut self, slices: &Slices, table: &mut KeyedTable, changed: &[bool]) -> Result<()> {
        if self.n_chunks_repaired > REPAIR_CHUNKS * (self.n_chunks_computed + 16) {
            return self.compute(slices, table, self.start, None);
        }
        let n_before = self.n_chunks_computed;
        for key in (0_u32..).zip(changed).filter(|(_, changed)| **changed).map(|(key, _)| key) {
            self.set_front(key, None);
            self.set_back(key, None);
        }
        self.fill(slices, table, Some(changed))?;
        self.n_chunks_repaired += self.n_chunks_computed - n_before;
        self.n_chunks_computed = n_before;
        Ok(())
    }

    /// A slice that is in the window is forgotten: no later window has it.
    pub fn forget(&mut self, slices: &Slices, slice: i64) {
        if self.holds(slice) {
            self.leave(slices, slice);
        }
    }

    /// Adds the keys of the window, those that are wanted, to what is to be fetched.
    pub fn find(&mut self, found: &mut Found, is_wanted: impl Fn(u32) -> bool) -> Result<()> {
        let Self { present, fronts, backs, values, .. } = self;
        values.rows.resize(fronts.len(), NO_VALUE);
        let n_before = found.keys.len();
        for key in present.iter().copied().filter(|key| is_wanted(*key)) {
            let row = values.rows.get_mut(key as usize).ok_or_else(no_chunk)?;
            if *row == NO_VALUE {
                *row = u32::try_from(values.n_rows + found.fronts.len()).ok().filter(|row| *row < NO_VALUE).ok_or_else(too_many_values)?;
                found.fronts.push(of_key(fronts, key));
                found.backs.push(of_key(backs, key));
            }
            found.keys.push(key);
            found.rows.push(*row);
        }
        found.windows.resize(found.windows.len() + found.keys.len() - n_before, self.start);
        Ok(())
    }

    /// The values of the aggregates for what was found, by aggregate.
    pub fn fetch(&mut self, found: &Found) -> Result<Vec<ArrayRef>> {
        let n_computed = found.fronts.len();
        let merged = self.merge(&[], found.fronts.iter().zip(0..).chain(found.backs.iter().zip(0..)), n_computed)?;
        for chunk in std::mem::take(&mut self.left) {
            self.drop_chunk(chunk);
        }
        if let Some(mut accumulators) = merged.accumulators {
            self.values.add(accumulators.values()?)?;
        }
        self.values.n_rows += n_computed;
        let rows = UInt32Array::from(found.rows.clone());
        let fetched = self.values.columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<_>>()?;
        if self.values.n_rows > 2 * self.present.len() + DEAD_VALUES_MIN {
            self.values.compact(&self.present)?;
        }
        Ok(fetched)
    }

    /// All that is known of the window at `start`, anew.
    fn compute(&mut self, slices: &Slices, table: &mut KeyedTable, start: i64, swept: Swept) -> Result<()> {
        let (windows, aggregates) = (self.windows, Arc::clone(&self.aggregates));
        *self = Self { start, boundary: block_boundary(windows, start), ..Self::new(windows, aggregates) };
        self.fill(slices, table, swept)
    }

    /// Fronts and backs of keys that have none.
    fn fill(&mut self, slices: &Slices, table: &mut KeyedTable, swept: Swept) -> Result<()> {
        let (start, boundary, end) = (self.start, self.boundary, self.windows.end(self.start));
        for slice in slices.starts(start..boundary.min(end)).rev() {
            self.put_in_front(slices, table, slice, swept)?;
        }
        for slice in slices.starts(boundary.max(start)..end) {
            self.enter(slices, table, slice, swept)?;
        }
        Ok(())
    }

    fn put_in_front(&mut self, slices: &Slices, table: &mut KeyedTable, slice: i64, swept: Swept) -> Result<()> {
        let Some((entries, keys)) = entries_of(slices, slice, swept) else { return Ok(()) };
        let own = slices.states(table, slice, &keys)?;
        let after: Vec<Option<At>> = keys.iter().map(|key| of_key(&self.fronts, *key)).collect();
        // The slice is earlier than what comes after it.
        let chunk = self.merged_chunk(&own, &after, keys.len(), true)?;
        let in_front = self.in_front.entry(slice).or_default();
        in_front.chunks.push(chunk);
        in_front.after.resize(slices.keys_in(slice).len(), None);
        for (entry, after) in entries.into_iter().zip(after) {
            in_front.after.get_mut(entry).into_iter().for_each(|entry| *entry = Some(after));
        }
        for (row, key) in (0_u32..).zip(keys) {
            self.set_front(key, Some(At { chunk, row }));
        }
        Ok(())
    }

    fn enter(&mut self, slices: &Slices, table: &mut KeyedTable, slice: i64, swept: Swept) -> Result<()> {
        let Some((_, keys)) = entries_of(slices, slice, swept) else { return Ok(()) };
        let own = slices.states(table, slice, &keys)?;
        let before: Vec<Option<At>> = keys.iter().map(|key| of_key(&self.backs, *key)).collect();
        let chunk = self.merged_chunk(&own, &before, keys.len(), false)?;
        for (row, key) in (0_u32..).zip(keys) {
            self.set_back(key, Some(At { chunk, row }));
        }
        Ok(())
    }

    fn leave(&mut self, slices: &Slices, slice: i64) {
        let Some(in_front) = self.in_front.remove(&slice) else { return };
        for (key, after) in slices.keys_in(slice).iter().zip(in_front.after) {
            if let Some(after) = after {
                self.set_front(*key, after);
            }
        }
        self.left.extend(in_front.chunks);
    }

    fn set_front(&mut self, key: u32, at: Option<At>) {
        self.make_room(key);
        self.fronts.get_mut(key as usize).into_iter().for_each(|front| *front = at);
        self.values.forget(key);
        self.note_presence(key);
    }

    fn set_back(&mut self, key: u32, at: Option<At>) {
        self.make_room(key);
        self.backs.get_mut(key as usize).into_iter().for_each(|back| *back = at);
        self.values.forget(key);
        self.note_presence(key);
    }

    fn make_room(&mut self, key: u32) {
        let n_keys = key as usize + 1;
        if self.fronts.len() < n_keys {
            self.fronts.resize(n_keys, None);
            self.backs.resize(n_keys, None);
            self.places.resize(n_keys, u32::MAX);
        }
    }

    /// Takes a key in among those of the window, or out.
    fn note_presence(&mut self, key: u32) {
        let is_present = of_key(&self.fronts, key).or(of_key(&self.backs, key)).is_some();
        let Some(place) = self.places.get_mut(key as usize) else { return };
        if is_present && *place == u32::MAX {
            *place = u32::try_from(self.present.len()).unwrap_or(u32::MAX);
            self.present.push(key);
        } else if !is_present && *place != u32::MAX {
            let gone = std::mem::replace(place, u32::MAX);
            self.present.swap_remove(gone as usize);
            if let Some(moved) = self.present.get(gone as usize)
                && let Some(place) = self.places.get_mut(*moved as usize)
            {
                *place = gone;
            }
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
            merged.accumulators.map_or_else(|| Ok(Vec::new()), |mut accumulators| accumulators.states())?
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

    /// Merges rows, in their order, each into its group; all `n_groups` have one.
    fn merge<'a>(&self, own: &[ArrayRef], rows: impl Iterator<Item = (&'a Option<At>, usize)>, n_groups: usize) -> Result<Merged> {
        if self.aggregates.is_empty() || n_groups == 0 {
            return Ok(Merged { accumulators: None });
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
        Ok(Merged { accumulators: Some(accumulators) })
    }
}

impl Values {
    fn forget(&mut self, key: u32) {
        self.rows.get_mut(key as usize).into_iter().for_each(|row| *row = NO_VALUE);
    }

    fn add(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        if self.n_rows == 0 {
            self.columns = columns;
            return Ok(());
        }
        let both = self.columns.iter().zip(columns);
        self.columns = both.map(|(known, new)| Ok(concat(&[known, &new])?)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Keeps the values of these keys alone, where they have some.
    fn compact(&mut self, keys: &[u32]) -> Result<()> {
        let mut kept = Vec::new();
        for key in keys {
            if let Some(row) = self.rows.get_mut(*key as usize).filter(|row| **row != NO_VALUE) {
                let new = u32::try_from(kept.len()).map_err(|_| too_many_values())?;
                kept.push(std::mem::replace(row, new));
            }
        }
        self.n_rows = kept.len();
        let kept = UInt32Array::from(kept);
        self.columns = self.columns.iter().map(|column| Ok(take(column, &kept, None)?)).collect::<Result<_>>()?;
        Ok(())
    }
}

/// None where there is nothing to compute.
struct Merged {
    accumulators: Option<Accumulators>,
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

/// The entries of a slice that are swept, and their keys; none if there is none.
fn entries_of(slices: &Slices, slice: i64, swept: Swept) -> Option<(Vec<usize>, Vec<u32>)> {
    let keys = slices.keys_in(slice);
    let is_swept = |key: u32| swept.is_none_or(|swept| swept.get(key as usize).copied().unwrap_or(false));
    let (entries, keys): (Vec<_>, Vec<_>) = keys.iter().copied().enumerate().filter(|(_, key)| is_swept(*key)).unzip();
    (!keys.is_empty()).then_some((entries, keys))
}

/// The boundary of blocks in a window: its start, or the only one inside. Blocks are as long as a window, rounded up to whole slides,
/// so that they begin where windows do.
fn block_boundary(windows: TimeWindows, start: i64) -> i64 {
    let slide = windows.slide_us();
    let n_slides = windows.length_us() / slide + i64::from(windows.length_us() % slide > 0);
    let block = slide.saturating_mul(n_slides);
    let rest = start.saturating_sub(windows.offset_us()).rem_euclid(block);
    if rest == 0 { start } else { start.saturating_sub(rest).saturating_add(block) }
}

fn too_many_values() -> Error {
    Error::exhausted("one task gives windows with more than 4294967294 rows").hint("run the query with a higher parallelism")
}

fn no_chunk() -> Error {
    Error::internal("a window refers to states that are gone")
}
