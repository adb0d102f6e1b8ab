//! `max` and `min` of floats, where NaN is the largest value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::sliding::Sliding;
use crate::error::internal;

/// `max` or `min`; other types than floats are DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    max: bool,
    signature: Signature,
}

impl Extreme {
    pub(super) fn new(max: bool) -> Self {
        Self { max, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn inner(&self) -> Arc<datafusion::logical_expr::AggregateUDF> {
        if self.max { max_udaf() } else { min_udaf() }
    }
}

fn first_type(fields: &[FieldRef]) -> DataType {
    fields.first().map_or(DataType::Null, |field| field.data_type().clone())
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        if self.max { "spark_max" } else { "spark_min" }
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
        match first_type(args.expr_fields) {
            DataType::Float64 => Ok(Box::new(Single(Floats::<Float64Type>::new(self.max)))),
            DataType::Float32 => Ok(Box::new(Single(Floats::<Float32Type>::new(self.max)))),
            _ => self.inner().accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = Field::new(format_state_name(args.name, "value"), first_type(args.input_fields), true);
        Ok(vec![Arc::new(field)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match first_type(args.expr_fields) {
            DataType::Float64 | DataType::Float32 => true,
            _ => self.inner().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match first_type(args.expr_fields) {
            DataType::Float64 => Ok(Box::new(Floats::<Float64Type>::new(self.max))),
            DataType::Float32 => Ok(Box::new(Floats::<Float32Type>::new(self.max))),
            _ => self.inner().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let max = self.max;
        match first_type(args.expr_fields) {
            DataType::Float64 => Ok(Box::new(Sliding::new(move || Ok(Box::new(Single(Floats::<Float64Type>::new(max))))))),
            DataType::Float32 => Ok(Box::new(Sliding::new(move || Ok(Box::new(Single(Floats::<Float32Type>::new(max))))))),
            _ => self.inner().create_sliding_accumulator(args),
        }
    }
}

/// The extreme of each group.
#[derive(Debug)]
struct Floats<T: ArrowPrimitiveType> {
    max: bool,
    best: Vec<Option<T::Native>>,
}

trait Rank: Copy {
    fn rank(self, other: Self) -> std::cmp::Ordering;
}

impl Rank for f64 {
    fn rank(self, other: Self) -> std::cmp::Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl Rank for f32 {
    fn rank(self, other: Self) -> std::cmp::Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl<T: ArrowPrimitiveType> Floats<T>
where
    T::Native: Rank,
{
    fn new(max: bool) -> Self {
        Self { max, best: Vec::new() }
    }

    fn update(&mut self, values: &[ArrayRef], groups: Option<&[usize]>, filter: Option<&BooleanArray>, n_groups: usize) -> Result<()> {
        self.best.resize(n_groups, None);
        let values = values.first().and_then(|values| values.as_primitive_opt::<T>());
        let values = values.ok_or_else(|| internal("an unexpected type in an extreme"))?;
        for (row, value) in values.iter().enumerate() {
            let kept = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            let (Some(value), true) = (value, kept) else { continue };
            let group = groups.map_or(Some(0), |groups| groups.get(row).copied());
            let Some(best) = group.and_then(|group| self.best.get_mut(group)) else { continue };
            let better = best.is_none_or(|best| {
                let order = value.rank(best);
                if self.max { order.is_gt() } else { order.is_lt() }
            });
            if better {
                *best = Some(value);
            }
        }
        Ok(())
    }
}

impl<T: ArrowPrimitiveType + Send + Sync + std::fmt::Debug> GroupsAccumulator for Floats<T>
where
    T::Native: Rank,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.update(values, Some(group_indices), opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(emit_to.take_needed(&mut self.best))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update(values, Some(group_indices), None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values.first().and_then(|values| values.as_primitive_opt::<T>());
        let values = values.ok_or_else(|| internal("an unexpected type in an extreme"))?;
        let kept = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let state = values.iter().enumerate().map(|(row, value)| value.filter(|_| kept(row)));
        Ok(vec![Arc::new(PrimitiveArray::<T>::from_iter(state))])
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}

/// The extreme of one group.
#[derive(Debug)]
struct Single<T: ArrowPrimitiveType>(Floats<T>);

impl<T: ArrowPrimitiveType + Send + Sync + std::fmt::Debug> Accumulator for Single<T>
where
    T::Native: Rank,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update(values, None, None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let best = self.0.best.first().copied().flatten();
        ScalarValue::try_from_array(&PrimitiveArray::<T>::from_iter([best]), 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}
