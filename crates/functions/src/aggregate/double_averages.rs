//! Averages of doubles by group: DataFusion's, for which a state of no rows is no average.
//!
//! A state that was made of no rows has the count 0, as that of an aggregation without keys over an empty batch. DataFusion takes it for
//! a value and divides by it; nothing is to come of it, as of rows that are null.

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::nullif;
use arrow::datatypes::UInt64Type;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::arguments::column_at;
use crate::error::internal;

/// See the module's documentation.
pub(super) struct DoubleAverages(pub(super) Box<dyn GroupsAccumulator>);

impl GroupsAccumulator for DoubleAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.0.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let counts = column_at(values, 0)?;
        let counts = counts.as_primitive_opt::<UInt64Type>().ok_or_else(|| internal("an unexpected state of avg"))?;
        if !counts.values().contains(&0) {
            return self.0.merge_batch(values, group_indices, total_num_groups);
        }
        let is_empty = eq(counts, &UInt64Array::new_scalar(0))?;
        let values = values.iter().map(|column| nullif(column, &is_empty)).collect::<std::result::Result<Vec<_>, _>>()?;
        self.0.merge_batch(&values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.0.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
