//! Rows of one side looking for those of the other: the pairs that match, piece by piece.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedMultiTable, Matches, Slot};

use super::layout::SideLayout;
use crate::error::from_datafusion;

/// How many pairs are made at a time: a hot key has many.
const PAIRS_PER_PIECE: usize = 8192;

/// The rows of one batch of a side, while they look for matches.
pub(super) struct Probe {
    /// Which side they are of.
    pub(super) side: usize,
    pub(super) rows: RecordBatch,
    keys: Vec<ArrayRef>,
    matches: Matches,
    /// By row.
    pub(super) has_matched: Vec<bool>,
    /// Rows of the other side that are to leave their table.
    pub(super) gone: HashSet<Slot>,
}

/// Pairs that match.
pub(super) struct Pairs {
    /// The columns of left, then of right.
    pub(super) rows: RecordBatch,
    /// By pair, the row that looked for it.
    pub(super) probe_rows: UInt32Array,
    /// By pair, the row of the other table.
    pub(super) slots: Vec<Slot>,
    /// By pair, whether that row is marked as one that has matched; none without marks.
    pub(super) flags: Option<BooleanArray>,
}

impl Probe {
    pub(super) fn new(side: usize, rows: RecordBatch, keys: Vec<ArrayRef>, other: &mut KeyedMultiTable) -> Result<Self> {
        let matches = other.lookup_all(&keys)?;
        Ok(Self { side, has_matched: vec![false; rows.num_rows()], rows, keys, matches, gone: HashSet::new() })
    }

    /// The next pairs, those without a match left out; `None` at the end.
    pub(super) fn next(
        &mut self,
        other: &KeyedMultiTable,
        other_layout: &SideLayout,
        schema: &SchemaRef,
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Option<Pairs>> {
        let Some(found) = other.next_pairs(&mut self.matches, PAIRS_PER_PIECE) else { return Ok(None) };
        let taken = UInt32Array::from(found.probe_rows);
        let own = take_arrays(self.rows.columns(), &taken, None)?;
        // Equal keys are the same in both tables.
        let keys = take_arrays(&self.keys, &taken, None)?;
        let mut values = other.gather(&found.slots)?;
        let others = other_layout.columns(&keys, &values, taken.len())?;
        let columns = if self.side == 0 { own.into_iter().chain(others).collect() } else { others.into_iter().chain(own).collect() };
        let flag = if other_layout.has_flag() { values.pop().map(|flag| flag.as_boolean().clone()) } else { None };
        let mut pairs =
            Pairs { rows: RecordBatch::try_new(Arc::clone(schema), columns)?, probe_rows: taken, slots: found.slots, flags: flag };
        if let Some(filter) = filter {
            let is_match =
                filter.evaluate(&pairs.rows).and_then(|value| value.into_array(pairs.rows.num_rows())).map_err(from_datafusion)?;
            let is_match = is_match.as_boolean_opt().ok_or_else(|| Error::internal("a join's condition that is no boolean"))?;
            let is_match = if is_match.null_count() > 0 { prep_null_mask_filter(is_match) } else { is_match.clone() };
            if is_match.true_count() < is_match.len() {
                pairs.rows = filter_record_batch(&pairs.rows, &is_match)?;
                pairs.slots = pairs.slots.iter().zip(is_match.values()).filter_map(|(slot, is_match)| is_match.then_some(*slot)).collect();
                pairs.flags =
                    pairs.flags.map(|flags| arrow::compute::filter(&flags, &is_match)).transpose()?.map(|flags| flags.as_boolean().clone());
                pairs.probe_rows = pairs
                    .probe_rows
                    .values()
                    .iter()
                    .zip(is_match.values())
                    .filter_map(|(row, is_match)| is_match.then_some(*row))
                    .collect();
            }
        }
        for row in pairs.probe_rows.values() {
            self.has_matched.get_mut(*row as usize).into_iter().for_each(|has_matched| *has_matched = true);
        }
        Ok(Some(pairs))
    }
}
