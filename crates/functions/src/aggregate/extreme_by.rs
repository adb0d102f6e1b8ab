//! `max_by` and `min_by`: the value of the row with the largest or smallest order; of equals the last row wins.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, new_empty_array, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::sliding::Sliding;
use crate::collections::{comparable, normalized};
use crate::error::internal;

/// `max_by(value, order)` and `min_by`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExtremeBy {
    max: bool,
    signature: Signature,
}

impl ExtremeBy {
    pub(super) fn new(max: bool) -> Self {
        Self { max, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn best(&self, args: &AccumulatorArgs<'_>) -> Result<Best> {
        let type_at = |idx: usize| args.expr_fields.get(idx).map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Best { max: self.max, value: ScalarValue::try_from(&type_at(0))?, order: ScalarValue::try_from(&type_at(1))? })
    }
}

impl AggregateUDFImpl for ExtremeBy {
    fn name(&self) -> &str {
        if self.max { "spark_max_by" } else { "spark_min_by" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(self.best(&args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let empty = self.best(&args)?;
        Ok(Box::new(Sliding::new(move || Ok(Box::new(empty.clone())))))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(BestOfGroups::new(self.best(&args)?)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let type_at = |idx: usize| args.input_fields.get(idx).map_or(DataType::Null, |field| field.data_type().clone());
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "value"), type_at(0), true)),
            Arc::new(Field::new(format_state_name(args.name, "order"), type_at(1), true)),
        ])
    }
}

/// The best row seen: its value, and what it was ordered by.
#[derive(Debug, Clone)]
struct Best {
    max: bool,
    value: ScalarValue,
    order: ScalarValue,
}

impl Best {
    /// Of equals the last wins: the old one stays only where it is strictly better.
    fn stays<T: Ord>(&self, old: &T, new: &T) -> bool {
        if self.max { old > new } else { old < new }
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values, orders] = values else { return Err(internal("max_by takes two arguments")) };
        let current = self.order.to_array()?;
        let [known, rows] = comparable([&current, orders])?;
        let nulls = orders.logical_nulls();
        let mut best: Option<usize> = None;
        for row in 0..orders.len() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let stays = match best {
                Some(best) => self.stays(&rows.row(best), &rows.row(row)),
                None => !self.order.is_null() && self.stays(&known.row(0), &rows.row(row)),
            };
            if !stays {
                best = Some(row);
            }
        }
        if let Some(row) = best {
            self.value = ScalarValue::try_from_array(values, row)?;
            self.order = ScalarValue::try_from_array(orders, row)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.order.clone()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size() + self.order.size()
    }
}

/// The best row of each group. Orders are kept in row format, in which all types compare alike.
struct BestOfGroups {
    empty: Best,
    converter: RowConverter,
    /// What a group's best row is ordered by; none before the first row.
    orders: Vec<Option<OwnedRow>>,
    values: Vec<ScalarValue>,
}

impl std::fmt::Debug for BestOfGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BestOfGroups").field("n_groups", &self.values.len()).finish_non_exhaustive()
    }
}

impl BestOfGroups {
    fn new(empty: Best) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(empty.order.data_type())])?;
        Ok(Self { empty, converter, orders: Vec::new(), values: Vec::new() })
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, n_groups: usize) -> Result<()> {
        let [values, orders] = args else { return Err(internal("max_by takes two arguments")) };
        self.orders.resize(n_groups, None);
        self.values.resize(n_groups, self.empty.value.clone());
        let rows = self.converter.convert_columns(&[normalized(orders)])?;
        let nulls = orders.logical_nulls();
        // The rows that win in this batch: a value is copied once per group and batch.
        let mut winners: HashMap<usize, usize> = HashMap::new();
        for (row, group) in groups.iter().enumerate() {
            let kept = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if !kept || nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let new = rows.row(row);
            let stays = match (winners.get(group), self.orders.get(*group)) {
                (Some(winner), _) => self.empty.stays(&rows.row(*winner), &new),
                (None, Some(Some(old))) => self.empty.stays(&old.row(), &new),
                (None, Some(None)) => false,
                (None, None) => return Err(internal("a group index out of range")),
            };
            if !stays {
                winners.insert(*group, row);
            }
        }
        for (group, row) in winners {
            if let (Some(order), Some(value)) = (self.orders.get_mut(group), self.values.get_mut(group)) {
                *order = Some(rows.row(row).owned());
                *value = ScalarValue::try_from_array(values, row)?;
            }
        }
        Ok(())
    }

    fn value_column(&self, values: Vec<ScalarValue>) -> Result<ArrayRef> {
        if values.is_empty() { Ok(new_empty_array(&self.empty.value.data_type())) } else { ScalarValue::iter_to_array(values) }
    }
}

impl GroupsAccumulator for BestOfGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.update(values, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        emit_to.take_needed(&mut self.orders);
        let values = emit_to.take_needed(&mut self.values);
        self.value_column(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let orders = emit_to.take_needed(&mut self.orders);
        let values = emit_to.take_needed(&mut self.values);
        let unknown = self.converter.convert_columns(&[new_null_array(&self.empty.order.data_type(), 1)])?;
        let rows = orders.iter().map(|order| order.as_ref().map_or_else(|| unknown.row(0), OwnedRow::row));
        let orders = self.converter.convert_rows(rows)?.into_iter().next().ok_or_else(|| internal("a row without a column"))?;
        Ok(vec![self.value_column(values)?, orders])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let [values, orders] = values else { return Err(internal("max_by takes two arguments")) };
        // A row that is filtered out has no order, and never wins.
        let orders = match opt_filter {
            Some(filter) => arrow::compute::nullif(orders, &arrow::compute::not(&arrow::compute::prep_null_mask_filter(filter))?)?,
            None => Arc::clone(orders),
        };
        Ok(vec![Arc::clone(values), orders])
    }

    fn size(&self) -> usize {
        self.values.iter().map(ScalarValue::size).sum::<usize>() + self.orders.capacity() * size_of::<Option<OwnedRow>>()
    }
}
