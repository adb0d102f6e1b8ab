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

use super::arguments::{column_at, type_at};
use super::by_group::{ByGroup, Rows, over_all, over_frames, over_groups};
use crate::collections::normalized;
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
        Best::new(self.max, ScalarValue::try_from(&type_at(args.expr_fields, 0))?, type_at(args.expr_fields, 1))
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
        Ok(over_all(self.best(&args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(over_frames(self.best(&args)?))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(over_groups(self.best(&args)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "value"), type_at(args.input_fields, 0), true)),
            Arc::new(Field::new(format_state_name(args.name, "order"), type_at(args.input_fields, 1), true)),
        ])
    }
}

/// The best row of each group. Orders are kept in row format, in which all types compare alike.
#[derive(Debug)]
struct Best {
    max: bool,
    /// The value of a group without rows: a null of the values' type.
    no_value: ScalarValue,
    order_type: DataType,
    converter: Arc<RowConverter>,
    /// What a group's best row is ordered by; none before the first row.
    orders: Vec<Option<OwnedRow>>,
    values: Vec<ScalarValue>,
}

impl Best {
    fn new(max: bool, no_value: ScalarValue, order_type: DataType) -> Result<Self> {
        let converter = Arc::new(RowConverter::new(vec![SortField::new(order_type.clone())])?);
        Ok(Self { max, no_value, order_type, converter, orders: Vec::new(), values: Vec::new() })
    }

    fn with(&self, orders: Vec<Option<OwnedRow>>, values: Vec<ScalarValue>) -> Self {
        let (no_value, order_type, converter) = (self.no_value.clone(), self.order_type.clone(), Arc::clone(&self.converter));
        Self { max: self.max, no_value, order_type, converter, orders, values }
    }

    /// Of equals the last wins: the old one stays only where it is strictly better.
    fn stays<T: Ord>(&self, old: &T, new: &T) -> bool {
        if self.max { old > new } else { old < new }
    }
}

impl ByGroup for Best {
    fn empty(&self) -> Self {
        self.with(Vec::new(), Vec::new())
    }

    fn resize(&mut self, n_groups: usize) {
        self.orders.resize(n_groups, None);
        self.values.resize(n_groups, self.no_value.clone());
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let (values, orders) = (column_at(args, 0)?, column_at(args, 1)?);
        let order_rows = self.converter.convert_columns(&[normalized(orders)])?;
        let nulls = orders.logical_nulls();
        // The rows that win in this batch: a value is copied once per group and batch.
        let mut winners: HashMap<usize, usize> = HashMap::new();
        for row in 0..orders.len() {
            let Some(group) = rows.group_of(row) else { continue };
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let new = order_rows.row(row);
            let stays = match (winners.get(&group), self.orders.get(group)) {
                (Some(winner), _) => self.stays(&order_rows.row(*winner), &new),
                (None, Some(Some(old))) => self.stays(&old.row(), &new),
                (None, Some(None)) => false,
                (None, None) => return Err(internal("a group index out of range")),
            };
            if !stays {
                winners.insert(group, row);
            }
        }
        for (group, row) in winners {
            if let (Some(order), Some(value)) = (self.orders.get_mut(group), self.values.get_mut(group)) {
                *order = Some(order_rows.row(row).owned());
                *value = ScalarValue::try_from_array(values, row)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        self.update(states, rows)
    }

    fn take(&mut self, emit_to: EmitTo) -> Self {
        let (orders, values) = (emit_to.take_needed(&mut self.orders), emit_to.take_needed(&mut self.values));
        self.with(orders, values)
    }

    fn results(&self) -> Result<ArrayRef> {
        if self.values.is_empty() {
            return Ok(new_empty_array(&self.no_value.data_type()));
        }
        ScalarValue::iter_to_array(self.values.iter().cloned())
    }

    fn states(&self) -> Result<Vec<ArrayRef>> {
        let unknown = self.converter.convert_columns(&[new_null_array(&self.order_type, 1)])?;
        let rows = self.orders.iter().map(|order| order.as_ref().map_or_else(|| unknown.row(0), OwnedRow::row));
        let orders = self.converter.convert_rows(rows)?.into_iter().next().ok_or_else(|| internal("a row without a column"))?;
        Ok(vec![self.results()?, orders])
    }

    fn rows_as_states(&self, args: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let (values, orders) = (column_at(args, 0)?, column_at(args, 1)?);
        // A row that is filtered out has no order, and never wins.
        let orders = match filter {
            Some(filter) => arrow::compute::nullif(orders, &arrow::compute::not(&arrow::compute::prep_null_mask_filter(filter))?)?,
            None => Arc::clone(orders),
        };
        Ok(vec![Arc::clone(values), orders])
    }

    fn size(&self) -> usize {
        self.values.iter().map(ScalarValue::size).sum::<usize>() + self.orders.capacity() * size_of::<Option<OwnedRow>>()
    }
}
