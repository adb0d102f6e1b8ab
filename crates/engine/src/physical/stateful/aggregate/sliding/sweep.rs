//! The values of all keys in one window after the other: what of slices enters a window and leaves it, and what was changed there.
//!
//! ```text
//!              leaves ◄─┐                       ┌─◄ enters         slices of the state's table
//!                    [  s s s s s s s s s s s s s  )               the window, which moves on
//!                       └────────── │ ──────────┘
//!    Totals    (inverse.rs)     aggregates whose states can be taken out again
//!    TwoStacks (two_stacks.rs)  the others
//!                                   │
//!    Values    (values.rs)      of keys that have changed since the window before
//! ```
//! The sweep rests on this: the table has a slice's states as they entered until the slice has left. Who changes states in
//! the window says so ([`Sweep::repair`]), and who evicts slices says so before ([`Sweep::forget`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::FieldRef;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_core::{Error, Result, TimeWindows};
use millstream_state::store::KeyedTable;

use super::super::merge::Accumulators;
use super::inverse::Totals;
use super::present::Present;
use super::slices::Slices;
use super::two_stacks::{Stacked, TwoStacks, block_boundary};
use super::values::Values;
use crate::error::from_datafusion;
use crate::physical::stateful::changed::can_subtract;

/// Aggregates of the operator.
pub type Aggregates = Arc<[Arc<AggregateFunctionExpr>]>;

/// Which keys are swept.
pub type Swept<'a> = Option<&'a [bool]>;

/// One window of a sweep. See the module's documentation.
pub struct Sweep {
    windows: TimeWindows,
    split: Split,
    /// The window; none before the first.
    start: Option<i64>,
    present: Present,
    totals: Totals,
    stacks: TwoStacks,
    /// By slice in the front of the stacks: what is to be taken out of the totals when it leaves, for all of its swept keys. The
    /// front has read it, so it is not read again. None of a slice that was repaired.
    leaving: BTreeMap<i64, Vec<ArrayRef>>,
    values: Values,
}

/// Which aggregates can be taken out again, and which cannot.
struct Split {
    inverse: Part,
    stacked: Part,
    /// By aggregate: where its values are among those of `inverse` and of `stacked` behind them.
    places: Vec<usize>,
}

/// Some of the aggregates.
#[derive(Default)]
struct Part {
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Their columns of the state.
    columns: Vec<usize>,
    states: Vec<FieldRef>,
}

/// Values to be fetched: keys of windows.
#[derive(Default)]
pub struct Found {
    pub keys: Vec<u32>,
    /// The start of each window.
    pub windows: Vec<i64>,
    /// Where the values are, or will be: see [`Values`].
    rows: Vec<u32>,
    n_computed: usize,
    /// What the values are that are to be computed: totals by column, window by window, and what the stacks have.
    totals: Vec<Vec<ArrayRef>>,
    stacked: Stacked,
}

/// The end of the window at which a slice comes in.
#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

impl Sweep {
    /// Before the first window.
    pub fn new(windows: TimeWindows, aggregates: &Aggregates) -> Result<Self> {
        let split = Split::of(aggregates)?;
        let totals = Totals::new(split.inverse.states.iter().map(|field| field.data_type()))?;
        let stacks = TwoStacks::new(split.stacked.aggregates.as_slice().into());
        Ok(Self {
            windows,
            split,
            start: None,
            present: Present::default(),
            totals,
            stacks,
            leaving: BTreeMap::new(),
            values: Values::default(),
        })
    }

    /// Whether a slice is in the present window.
    pub fn holds(&self, slice: i64) -> bool {
        self.start.is_some_and(|start| start <= slice && slice < self.windows.end(start))
    }

    pub fn memory_bytes(&self) -> usize {
        let leaving: usize = self.leaving.values().flatten().map(|column| column.get_buffer_memory_size()).sum();
        let states = self.totals.memory_bytes() + self.stacks.memory_bytes() + leaving;
        self.present.memory_bytes() + states + self.values.memory_bytes()
    }

    /// Goes on to the window that begins at `start`, or back to it. Fetch what was found before, unless it says it keeps it.
    pub fn move_to(&mut self, slices: &Slices, table: &mut KeyedTable, start: i64, swept: Swept) -> Result<()> {
        let Some(old_start) = self.start.filter(|old_start| !self.is_new_from(slices, *old_start, start)) else {
            return self.begin(slices, table, start, swept);
        };
        self.start = Some(start);
        for slice in slices.starts(old_start..start) {
            self.leave(slices, table, slice, swept)?;
        }
        for slice in slices.starts(self.windows.end(old_start)..self.windows.end(start)) {
            self.enter(slices, table, slice, swept, Side::Back)?;
        }
        Ok(())
    }

    /// Whether moving there keeps what was found and not fetched. Totals were copied.
    pub fn keeps_found(&self, slices: &Slices, start: i64) -> bool {
        self.stacks.is_unused() || self.start.is_some_and(|old_start| !self.is_new_from(slices, old_start, start))
    }

    /// Slices of these keys that are in the window have changed.
    pub fn repair(&mut self, slices: &Slices, table: &mut KeyedTable, changed: &[bool]) -> Result<()> {
        let Some(start) = self.start else { return Ok(()) };
        if self.stacks.is_worn() {
            return self.begin(slices, table, start, None);
        }
        let n_before = self.stacks.n_chunks_computed();
        for key in (0_u32..).zip(changed).filter(|(_, changed)| **changed).map(|(key, _)| key) {
            self.present.forget(key);
            self.totals.forget(key);
            self.stacks.forget(key);
            self.values.forget(key);
        }
        self.fill(slices, table, start, Some(changed))?;
        self.leaving.retain(|slice, _| !slices.keys_in(*slice).iter().any(|key| is_swept(*key, Some(changed))));
        self.stacks.note_repair(n_before);
        Ok(())
    }

    /// Slices are forgotten, the first ones of all that there are: no later window has them. The table has them still.
    pub fn forget(&mut self, slices: &Slices, table: &mut KeyedTable, gone: &[i64]) -> Result<()> {
        let Some(start) = self.start else { return Ok(()) };
        let gone: Vec<i64> = gone.iter().copied().filter(|slice| self.holds(*slice)).collect();
        let stay = gone.last().map_or(start, |last| last.saturating_add(1));
        if self.is_less_anew(slices, start, stay) {
            self.clear();
            return Ok(());
        }
        gone.into_iter().try_for_each(|slice| self.leave(slices, table, slice, None))
    }

    /// Adds the keys of the window, those that are wanted, to what is to be fetched.
    pub fn find(&mut self, found: &mut Found, is_wanted: impl Fn(u32) -> bool) -> Result<()> {
        let Some(start) = self.start else { return Ok(()) };
        let mut changed = Vec::new();
        for key in self.present.keys().iter().copied().filter(|key| is_wanted(*key)) {
            let (row, is_there) = self.values.row_of(key, found.n_computed + changed.len())?;
            if !is_there {
                changed.push(key);
            }
            found.keys.push(key);
            found.rows.push(row);
        }
        found.windows.resize(found.keys.len(), start);
        if !changed.is_empty() {
            found.n_computed += changed.len();
            found.totals.resize_with(self.split.inverse.columns.len(), Vec::new);
            found.totals.iter_mut().zip(self.totals.of(&changed)).for_each(|(column, totals)| column.push(totals));
            self.stacks.find(&changed, &mut found.stacked);
        }
        Ok(())
    }

    /// The values of the aggregates for what was found, by aggregate.
    pub fn fetch(&mut self, found: &Found) -> Result<Vec<ArrayRef>> {
        let mut computed = self.split.inverse.values(&found.totals, found.n_computed)?;
        computed.extend(self.stacks.values(&found.stacked)?);
        let computed = self.split.places.iter().filter_map(|place| computed.get(*place).cloned()).collect();
        self.values.add(found.n_computed, computed)?;
        let fetched = self.values.take(found.rows.clone())?;
        self.values.tidy(self.present.keys())?;
        Ok(fetched)
    }

    /// All that is known of the window at `start`, anew.
    fn begin(&mut self, slices: &Slices, table: &mut KeyedTable, start: i64, swept: Swept) -> Result<()> {
        self.clear();
        self.start = Some(start);
        self.fill(slices, table, start, swept)
    }

    fn clear(&mut self) {
        for key in self.present.take() {
            self.totals.forget(key);
            self.values.forget(key);
        }
        self.stacks = self.stacks.cleared();
        self.leaving.clear();
        self.start = None;
    }

    /// Takes in the slices of the window for keys of which none is in it.
    fn fill(&mut self, slices: &Slices, table: &mut KeyedTable, start: i64, swept: Swept) -> Result<()> {
        let (boundary, end) = (self.boundary(start), self.windows.end(start));
        for slice in slices.starts(start..boundary.min(end)).rev() {
            self.enter(slices, table, slice, swept, Side::Front)?;
        }
        for slice in slices.starts(boundary.max(start)..end) {
            self.enter(slices, table, slice, swept, Side::Back)?;
        }
        Ok(())
    }

    /// Where the stacks of a window meet. All of it is behind, if there are none.
    fn boundary(&self, start: i64) -> i64 {
        if self.stacks.is_unused() { i64::MIN } else { block_boundary(self.windows, start) }
    }

    /// Whether the window at `start` is computed anew from that at `old_start`.
    fn is_new_from(&self, slices: &Slices, old_start: i64, start: i64) -> bool {
        start < old_start || self.boundary(start) != self.boundary(old_start) || self.is_less_anew(slices, old_start, start)
    }

    /// Whether it is less work to add the slices that stay, those from `stay` on, than to take those out that leave.
    fn is_less_anew(&self, slices: &Slices, old_start: i64, stay: i64) -> bool {
        let mut staying = slices.starts(stay..self.windows.end(old_start));
        self.totals.are_kept() && slices.starts(old_start..stay).any(|_| staying.next().is_none())
    }

    fn enter(&mut self, slices: &Slices, table: &mut KeyedTable, slice: i64, swept: Swept, side: Side) -> Result<()> {
        let keys = swept_keys(slices, slice, swept);
        if keys.is_empty() {
            return Ok(());
        }
        let slots = slices.slots(table, slice, &keys)?;
        let states = table.gather(&slots)?;
        let added = self.split.inverse.of(&states)?;
        self.totals.add(&keys, &added)?;
        if !self.stacks.is_unused() {
            let own = self.split.stacked.of(&states)?;
            match side {
                Side::Front => {
                    self.stacks.put_in_front(slice, slices.keys_in(slice), |key| is_swept(key, swept), &keys, &own)?;
                    if self.totals.are_kept() {
                        self.leaving.insert(slice, added);
                    }
                }
                Side::Back => self.stacks.enter(&keys, &own)?,
            }
        }
        for key in keys {
            self.present.enter(key);
            self.values.forget(key);
        }
        Ok(())
    }

    fn leave(&mut self, slices: &Slices, table: &mut KeyedTable, slice: i64, swept: Swept) -> Result<()> {
        let keys = swept_keys(slices, slice, swept);
        if keys.is_empty() {
            return Ok(());
        }
        if self.totals.are_kept() {
            let states = match self.leaving.remove(&slice) {
                Some(states) => states,
                None => {
                    let slots = slices.slots(table, slice, &keys)?;
                    self.split.inverse.of(&table.gather(&slots)?)?
                }
            };
            self.totals.subtract(&keys, &states)?;
        }
        self.stacks.leave(slice, slices.keys_in(slice));
        for key in keys {
            if self.present.leave(key) {
                self.totals.check_gone(key)?;
            }
            self.values.forget(key);
        }
        Ok(())
    }
}

impl Split {
    fn of(aggregates: &Aggregates) -> Result<Self> {
        let (mut inverse, mut stacked) = (Part::default(), Part::default());
        let mut places = Vec::new();
        let mut n_columns = 0;
        for aggregate in aggregates.iter() {
            let has_inverse = can_subtract(aggregate)?;
            let part = if has_inverse { &mut inverse } else { &mut stacked };
            places.push((has_inverse, part.aggregates.len()));
            part.aggregates.push(Arc::clone(aggregate));
            for state in aggregate.state_fields().map_err(from_datafusion)? {
                part.columns.push(n_columns);
                part.states.push(state);
                n_columns += 1;
            }
        }
        let n_inverse = inverse.aggregates.len();
        let place = |(has_inverse, place)| if has_inverse { place } else { n_inverse + place };
        Ok(Self { inverse, stacked, places: places.into_iter().map(place).collect() })
    }
}

impl Part {
    /// Their columns of states.
    fn of(&self, states: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let column = |column: &usize| states.get(*column).map(Arc::clone);
        let columns: Option<_> = self.columns.iter().map(column).collect();
        columns.ok_or_else(|| Error::internal("slices of windows without all state columns"))
    }

    /// The values of groups whose states are in pieces, by column.
    fn values(&self, states: &[Vec<ArrayRef>], n_groups: usize) -> Result<Vec<ArrayRef>> {
        if self.aggregates.is_empty() || n_groups == 0 {
            return Ok(Vec::new());
        }
        let whole = |pieces: &Vec<ArrayRef>| Ok(concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?);
        let states = states.iter().map(whole).collect::<Result<Vec<_>>>()?;
        let mut accumulators = Accumulators::new(&self.aggregates)?;
        accumulators.merge(&states, &(0..n_groups).collect::<Vec<_>>(), n_groups)?;
        accumulators.values()
    }
}

/// The keys of a slice that are swept.
fn swept_keys(slices: &Slices, slice: i64, swept: Swept) -> Vec<u32> {
    let keys = slices.keys_in(slice).iter().copied();
    if swept.is_none() { keys.collect() } else { keys.filter(|key| is_swept(*key, swept)).collect() }
}

fn is_swept(key: u32, swept: Swept) -> bool {
    swept.is_none_or(|swept| swept.get(key as usize).copied().unwrap_or(false))
}

#[cfg(test)]
mod tests;
