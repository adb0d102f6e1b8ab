//! Accumulators between partial groups and rows of the state.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::compute::{concat, take};
use arrow::datatypes::Schema;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use millstream_core::{Error, Result, TimeWindows};
use millstream_state::store::{KeyedTable, Slot, StoreRows};

use super::GroupColumns;
use crate::error::from_datafusion;
use crate::physical::event_time::{event_times_us, expiry_ms};
use crate::physical::stateful::tables::store_keys;
use crate::physical::stateful::window_key::latest_ends_us;

/// The accumulators of one batch, one per aggregate.
pub struct Accumulators {
    /// With the number of its state columns.
    accumulators: Vec<(Box<dyn GroupsAccumulator>, usize)>,
}

impl Accumulators {
    pub fn new(aggregates: &[Arc<AggregateFunctionExpr>]) -> Result<Self> {
        let one = |aggregate: &Arc<AggregateFunctionExpr>| {
            Ok((groups_accumulator(aggregate)?, aggregate.state_fields().map_err(from_datafusion)?.len()))
        };
        Ok(Self { accumulators: aggregates.iter().map(one).collect::<Result<_>>()? })
    }

    /// Adds state columns, row by row to its group. Every group has a row in the call in which it comes up.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[usize], n_groups: usize) -> Result<()> {
        let mut rest = states;
        for (accumulator, n_columns) in &mut self.accumulators {
            let (mine, others) =
                rest.split_at_checked(*n_columns).ok_or_else(|| Error::internal("partial groups without all state columns"))?;
            accumulator.merge_batch(mine, groups, n_groups).map_err(from_datafusion)?;
            rest = others;
        }
        Ok(())
    }

    /// The state columns of all groups.
    pub fn states(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for (accumulator, _) in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All).map_err(from_datafusion)?);
        }
        Ok(columns)
    }

    pub fn values(&mut self) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter_mut().map(|(accumulator, _)| accumulator.evaluate(EmitTo::All).map_err(from_datafusion)).collect()
    }
}

pub(in crate::physical::stateful) fn groups_accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return aggregate.create_groups_accumulator().map_err(from_datafusion);
    }
    let aggregate = Arc::clone(aggregate);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}

/// Merges the partial groups of a batch with the state's.
pub struct GroupMerge {
    n_keys: usize,
    /// The groups that the batch touches; none for an aggregation without keys, which has one group.
    touched: Option<Box<dyn GroupValues>>,
    n_groups: usize,
    /// By group: its row of the state, if the state had one when it came up.
    slots: Vec<Option<Slot>>,
    groups_of_rows: Vec<usize>,
    accumulators: Accumulators,
    expiry: Option<GroupExpiry>,
}

/// When groups expire: by which key, and its windows if the key is the start of a slice of them.
pub struct GroupExpiry {
    pub key: usize,
    pub windows: Option<TimeWindows>,
}

impl GroupExpiry {
    fn of(&self, keys: &[ArrayRef]) -> Result<Int64Array> {
        let times = keys.get(self.key).ok_or_else(|| Error::internal("groups without their event time"))?;
        let event_times_us = match self.windows {
            Some(windows) => latest_ends_us(windows, times)?,
            None => event_times_us(times)?,
        };
        Ok(expiry_ms(&event_times_us, 0))
    }
}

impl GroupMerge {
    pub fn new(groups: &GroupColumns, expiry: Option<GroupExpiry>) -> Result<Self> {
        let n_keys = groups.keys.len();
        let touched = match n_keys {
            0 => None,
            _ => Some(new_group_values(Arc::new(Schema::new(groups.keys.clone())), &GroupOrdering::None).map_err(from_datafusion)?),
        };
        let accumulators = Accumulators::new(&groups.aggregates)?;
        Ok(Self { n_keys, touched, n_groups: 0, slots: Vec::new(), groups_of_rows: Vec::new(), accumulators, expiry })
    }

    /// Adds partial groups. What the state has of a group comes before what the batch has of it.
    pub fn add(&mut self, state: &mut KeyedTable, partial: &RecordBatch) -> Result<()> {
        let (keys, states) =
            partial.columns().split_at_checked(self.n_keys).ok_or_else(|| Error::internal("partial groups without all keys"))?;
        let n_before = self.n_groups;
        match &mut self.touched {
            Some(touched) => {
                touched.intern(keys, &mut self.groups_of_rows).map_err(from_datafusion)?;
                self.n_groups = touched.len();
            }
            None => {
                self.groups_of_rows.clear();
                self.groups_of_rows.resize(partial.num_rows(), 0);
                self.n_groups = self.n_groups.max(usize::from(partial.num_rows() > 0));
            }
        }
        self.slots.resize(self.n_groups, None);
        let (mut groups, slots) = self.found_in_state(state, keys, n_before, partial.num_rows())?;
        if slots.is_empty() {
            return self.accumulators.merge(states, &self.groups_of_rows, self.n_groups);
        }
        for (group, slot) in groups.iter().zip(&slots) {
            self.slots.get_mut(*group).into_iter().for_each(|known| *known = Some(*slot));
        }
        // In one call: accumulators take it that every new group has a row in the call in which it comes up, and call a
        // value seen where they have no nulls.
        groups.extend(&self.groups_of_rows);
        let known = state.gather(&slots)?;
        let both = known.iter().zip(states).map(|(known, new)| Ok(concat(&[known, new])?)).collect::<Result<Vec<_>>>()?;
        self.accumulators.merge(&both, &groups, self.n_groups)
    }

    /// The state's rows of the groups that came up for the first time, `n_before` and later: groups and rows.
    fn found_in_state(&self, state: &mut KeyedTable, keys: &[ArrayRef], n_before: usize, n_rows: usize) -> Result<(Vec<usize>, Vec<Slot>)> {
        if self.n_groups == n_before || state.n_rows() == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        // The first row of each new group stands for it.
        let mut next = n_before;
        let mut first_rows = Vec::with_capacity(self.n_groups - n_before);
        for (row, group) in (0_u32..).zip(&self.groups_of_rows) {
            if *group == next {
                first_rows.push(row);
                next += 1;
            }
        }
        let keys: Vec<ArrayRef> = if first_rows.len() == n_rows {
            keys.to_vec()
        } else {
            let rows = UInt32Array::from(first_rows);
            keys.iter().map(|key| Ok(take(key, &rows, None)?)).collect::<Result<Vec<_>>>()?
        };
        let found = state.lookup(&store_keys(keys, self.n_groups - n_before))?;
        Ok((n_before..).zip(found).filter_map(|(group, slot)| Some((group, slot?))).unzip())
    }

    /// By group: its row of the state, if the state had one when it came up. Good until the state's next delta is taken, or the row
    /// is removed.
    pub fn slots(&self) -> &[Option<Slot>] {
        &self.slots
    }

    /// The touched groups as they are now: rows of the state.
    pub fn finish(&mut self) -> Result<StoreRows> {
        let keys = match &mut self.touched {
            Some(touched) => touched.emit(EmitTo::All).map_err(from_datafusion)?,
            None => Vec::new(),
        };
        let expiry = self.expiry.as_ref().map(|expiry| expiry.of(&keys)).transpose()?;
        let values = self.accumulators.states()?;
        Ok(StoreRows { n_rows: self.n_groups, keys: store_keys(keys, self.n_groups), expiry, values })
    }
}

/// Makes output rows of rows of the state.
pub struct Evaluator {
    groups: GroupColumns,
}

impl Evaluator {
    pub fn new(groups: GroupColumns) -> Self {
        Self { groups }
    }

    /// The keys and the values of the aggregates.
    pub fn rows(&self, groups: StoreRows) -> Result<RecordBatch> {
        let StoreRows { n_rows, keys, values: states, .. } = groups;
        let mut columns: Vec<ArrayRef> = keys.into_iter().take(self.groups.keys.len()).collect();
        if let Some((idx, window)) = &self.groups.window
            && let Some(starts) = columns.get_mut(*idx)
        {
            *starts = window.structs(starts)?;
        }
        if n_rows > 0 {
            let mut accumulators = Accumulators::new(&self.groups.aggregates)?;
            accumulators.merge(&states, &(0..n_rows).collect::<Vec<_>>(), n_rows)?;
            columns.extend(accumulators.values()?);
            columns.truncate(self.groups.output.fields().len());
        } else {
            columns.extend(self.groups.shown_aggregates().map(|aggregate| new_empty_array(aggregate.field().data_type())));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.groups.output), columns, &options)?)
    }
}
