//! Accumulators between partial groups and rows of the state.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::Fields;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_core::{Error, Result, TimeWindows};
use millstream_state::store::{HashedKeys, KeyNumbers, KeyedTable, Slot, StoreRows};

use super::GroupColumns;
use crate::error::from_datafusion;
use crate::physical::event_time::{event_times_us, expiry_ms};
use crate::physical::stateful::tables::{store_keys, store_schema};
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
    /// The groups that the batch touches.
    touched: KeyNumbers,
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
        let touched = KeyNumbers::new(store_schema(groups.keys.clone(), Fields::empty())?.keys())?;
        let accumulators = Accumulators::new(&groups.aggregates)?;
        let (n_keys, slots, groups_of_rows) = (groups.keys.len(), Vec::new(), Vec::new());
        Ok(Self { n_keys, touched, slots, groups_of_rows, accumulators, expiry })
    }

    /// Adds partial groups. What the state has of a group comes before what the batch has of it.
    pub fn add(&mut self, state: &mut KeyedTable, partial: &RecordBatch) -> Result<()> {
        let (keys, states) =
            partial.columns().split_at_checked(self.n_keys).ok_or_else(|| Error::internal("partial groups without all keys"))?;
        let n_before = self.slots.len();
        self.touched.number(&store_keys(keys.to_vec(), partial.num_rows()), &mut self.groups_of_rows)?;
        let n_groups = self.touched.n_keys();
        if n_groups > n_before && state.n_rows() > 0 {
            self.slots.extend(state.lookup_hashed(&self.touched.keys_from(n_before)?)?);
        } else {
            self.slots.resize(n_groups, None);
        }
        let new_groups = self.slots.iter().enumerate().skip(n_before);
        let (mut groups, slots): (Vec<usize>, Vec<Slot>) = new_groups.filter_map(|(group, slot)| Some((group, (*slot)?))).unzip();
        if slots.is_empty() {
            return self.accumulators.merge(states, &self.groups_of_rows, n_groups);
        }
        // In one call: accumulators take it that every new group has a row in the call in which it comes up, and call a
        // value seen where they have no nulls.
        groups.extend(&self.groups_of_rows);
        let known = state.gather(&slots)?;
        let both = known.iter().zip(states).map(|(known, new)| Ok(concat(&[known, new])?)).collect::<Result<Vec<_>>>()?;
        self.accumulators.merge(&both, &groups, n_groups)
    }

    /// By group: its row of the state, if the state had one when it came up. Good until the state's next delta is taken, or the row
    /// is removed.
    pub fn slots(&self) -> &[Option<Slot>] {
        &self.slots
    }

    /// The touched groups as they are now: rows of the state, and their keys as the state finds them.
    pub fn finish(&mut self) -> Result<(StoreRows, HashedKeys)> {
        let (hashed, keys) = self.touched.take()?;
        let expiry = self.expiry.as_ref().map(|expiry| expiry.of(&keys)).transpose()?;
        Ok((StoreRows { n_rows: self.slots.len(), keys, expiry, values: self.accumulators.states()? }, hashed))
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
