//! Aggregates that keep something small per group: told once, used for many groups, for one, and for window frames.
//!
//! ```text
//!   ByGroup        what is kept, and how rows and states come to it
//!     ManyGroups   GROUP BY: DataFusion's GroupsAccumulator, groups side by side in columns
//!     OneGroup     no GROUP BY, or DISTINCT: DataFusion's Accumulator, the same with a single group
//!     Sliding      window frames: one group, made anew where rows cannot be taken out
//! ```
//! A state that is merged into an empty aggregate gives what its rows would have given. Partial sums of a plan rest on it,
//! and so do groups that outlive a batch.

use std::fmt;

use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::sliding::Sliding;
use crate::error::internal;

/// What an aggregate keeps of its groups, which are numbered from 0.
pub(super) trait ByGroup: fmt::Debug + Send + Sync + Sized + 'static {
    /// Whether rows can be taken out again ([`Self::retract`]).
    const CAN_RETRACT: bool = false;

    /// The same aggregate without groups.
    fn empty(&self) -> Self;

    /// Makes room for groups up to `n_groups`; new ones have seen no rows.
    fn resize(&mut self, n_groups: usize);

    /// Adds rows of the arguments.
    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()>;

    /// Adds rows of states.
    fn merge(&mut self, states: &[ArrayRef], rows: Rows<'_>) -> Result<()>;

    /// Takes out rows of the arguments that were added before.
    fn retract(&mut self, _args: &[ArrayRef], _rows: Rows<'_>) -> Result<()> {
        Err(internal("an aggregate that gives no rows back was asked to"))
    }

    /// Takes groups away; those behind them move up.
    fn take(&mut self, emit_to: EmitTo) -> Self;

    /// The result of each group.
    fn results(&self) -> Result<ArrayRef>;

    /// The state of each group, as columns.
    fn states(&self) -> Result<Vec<ArrayRef>>;

    /// Each row as the state of a group of its own.
    fn rows_as_states(&self, args: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = self.empty();
        rows.resize(args.first().map_or(0, |column| column.len()));
        rows.update(args, Rows { groups: Groups::Own, filter })?;
        rows.states()
    }

    /// The memory of its groups.
    fn size(&self) -> usize;
}

/// Which rows count, and for which group.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    groups: Groups<'a>,
    filter: Option<&'a BooleanArray>,
}

#[derive(Clone, Copy)]
enum Groups<'a> {
    Indices(&'a [usize]),
    One,
    Own,
}

impl Rows<'_> {
    /// All rows, for group 0.
    const ONE: Self = Self { groups: Groups::One, filter: None };

    /// The group of a row; none if the row is left out.
    pub(super) fn group_of(self, row: usize) -> Option<usize> {
        if self.filter.is_some_and(|filter| !(filter.is_valid(row) && filter.value(row))) {
            return None;
        }
        match self.groups {
            Groups::Indices(indices) => indices.get(row).copied(),
            Groups::One => Some(0),
            Groups::Own => Some(row),
        }
    }
}

/// The aggregate for GROUP BY.
pub(super) fn over_groups(state: impl ByGroup) -> Box<dyn GroupsAccumulator> {
    Box::new(ManyGroups(state))
}

/// The aggregate over all rows.
pub(super) fn over_all(state: impl ByGroup) -> Box<dyn Accumulator> {
    Box::new(OneGroup(state))
}

/// The aggregate over window frames that leave rows behind.
pub(super) fn over_frames<S: ByGroup>(state: S) -> Box<dyn Accumulator> {
    if S::CAN_RETRACT { over_all(state) } else { Box::new(Sliding::new(move || Ok(over_all(state.empty())))) }
}

#[derive(Debug)]
struct ManyGroups<S>(S);

impl<S: ByGroup> GroupsAccumulator for ManyGroups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.resize(total_num_groups);
        self.0.update(values, Rows { groups: Groups::Indices(group_indices), filter: opt_filter })
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.0.resize(total_num_groups);
        self.0.merge(values, Rows { groups: Groups::Indices(group_indices), filter: None })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.0.take(emit_to).results()
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.take(emit_to).states()
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.0.rows_as_states(values, opt_filter)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

#[derive(Debug)]
struct OneGroup<S>(S);

impl<S: ByGroup> Accumulator for OneGroup<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.update(values, Rows::ONE)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.merge(states, Rows::ONE)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.retract(values, Rows::ONE)
    }

    fn supports_retract_batch(&self) -> bool {
        S::CAN_RETRACT
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.resize(1);
        ScalarValue::try_from_array(&self.0.results()?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.resize(1);
        self.0.states()?.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}
