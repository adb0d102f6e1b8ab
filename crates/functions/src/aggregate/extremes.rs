//! `max` and `min` of floats, where NaN is the largest value.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::arguments::{column_at, type_at};
use super::by_group::{ByGroup, Rows, over_all, over_frames, over_groups};
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
        match type_at(args.expr_fields, 0) {
            DataType::Float64 => Ok(over_all(Floats::<Float64Type>::new(self.max))),
            DataType::Float32 => Ok(over_all(Floats::<Float32Type>::new(self.max))),
            _ => self.inner().accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = Field::new(format_state_name(args.name, "value"), type_at(args.input_fields, 0), true);
        Ok(vec![Arc::new(field)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match type_at(args.expr_fields, 0) {
            DataType::Float64 | DataType::Float32 => true,
            _ => self.inner().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match type_at(args.expr_fields, 0) {
            DataType::Float64 => Ok(over_groups(Floats::<Float64Type>::new(self.max))),
            DataType::Float32 => Ok(over_groups(Floats::<Float32Type>::new(self.max))),
            _ => self.inner().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match type_at(args.expr_fields, 0) {
            DataType::Float64 => Ok(over_frames(Floats::<Float64Type>::new(self.max))),
            DataType::Float32 => Ok(over_frames(Floats::<Float32Type>::new(self.max))),
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

impl<T: ArrowPrimitiveType> Floats<T> {
    fn new(max: bool) -> Self {
        Self { max, best: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType + std::fmt::Debug> ByGroup for Floats<T>
where
    T::Native: Rank,
{
    fn empty(&self) -> Self {
        Self::new(self.max)
    }

    fn resize(&mut self, n_groups: usize) {
        self.best.resize(n_groups, None);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let values = column_at(args, 0)?.as_primitive_opt::<T>();
        let values = values.ok_or_else(|| internal("an unexpected type in an extreme"))?;
        for (row, value) in values.iter().enumerate() {
            let (Some(value), Some(group)) = (value, rows.group_of(row)) else { continue };
            let best = self.best.get_mut(group).ok_or_else(|| internal("a group index out of range"))?;
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

    fn merge(&mut self, states: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        self.update(states, rows)
    }

    fn take(&mut self, emit_to: EmitTo) -> Self {
        Self { max: self.max, best: emit_to.take_needed(&mut self.best) }
    }

    fn results(&self) -> Result<ArrayRef> {
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(self.best.iter().copied())))
    }

    fn states(&self) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.results()?])
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}
