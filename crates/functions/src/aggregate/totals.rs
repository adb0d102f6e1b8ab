//! `sum` and `avg`: one 128-bit sum and a count per group, for integers, decimals and intervals.
//!
//! The wide sum makes the result independent of the order of rows and of how partial sums are merged; overflow is
//! decided at the end. Doubles are DataFusion's own sums.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Field, FieldRef, Int64Type, IntervalUnit, IntervalYearMonthType,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::distinct::{self, DistinctAccumulator};
use crate::decimal::{adjusted, div_half_up, fits, pow10};
use crate::error::{internal, overflow};

/// Which of the four it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Sum,
    TrySum,
    Avg,
    TryAvg,
}

impl Kind {
    fn is_avg(self) -> bool {
        matches!(self, Self::Avg | Self::TryAvg)
    }

    fn is_lenient(self) -> bool {
        matches!(self, Self::TrySum | Self::TryAvg)
    }
}

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Total {
    kind: Kind,
    signature: Signature,
}

impl Total {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// DataFusion's function for doubles.
    fn floating(&self) -> Arc<datafusion::logical_expr::AggregateUDF> {
        if self.kind.is_avg() { avg_udaf() } else { sum_udaf() }
    }

    fn totals(&self, from: &DataType, to: &DataType) -> Totals {
        Totals { kind: self.kind, from: from.clone(), to: to.clone(), sums: Vec::new(), counts: Vec::new() }
    }
}

fn input_type(args: &AccumulatorArgs<'_>) -> DataType {
    args.expr_fields.first().map_or(DataType::Null, |field| field.data_type().clone())
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Sum => "spark_sum",
            Kind::TrySum => "spark_try_sum",
            Kind::Avg => "spark_avg",
            Kind::TryAvg => "spark_try_avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let data_type = arg_types.first().cloned().unwrap_or(DataType::Null);
        Ok(match data_type {
            DataType::Decimal128(precision, scale) => {
                let (precision, scale) = if self.kind.is_avg() {
                    adjusted(i32::from(precision) + 4, i32::from(scale) + 4)
                } else {
                    ((precision + 10).min(38), scale)
                };
                DataType::Decimal128(precision, scale)
            }
            DataType::Int64 if self.kind.is_avg() => DataType::Float64,
            DataType::Int64 | DataType::Float64 | DataType::Duration(_) | DataType::Interval(IntervalUnit::YearMonth) => data_type,
            other => return Err(internal(format!("{} of {other}", self.name()))),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let from = input_type(&args);
        if args.is_distinct {
            let inner = AccumulatorArgs { is_distinct: false, ..args };
            return Ok(Box::new(DistinctAccumulator::new(&from, self.accumulator(inner)?)?));
        }
        if from == DataType::Float64 {
            return self.floating().accumulator(args);
        }
        Ok(Box::new(Single(self.totals(&from, args.return_type()))))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let from = args.input_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &from));
        }
        if from == DataType::Float64 {
            return self.floating().state_fields(args);
        }
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "sum"), sum_type(&from), true)),
            Arc::new(Field::new(format_state_name(args.name, "count"), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let from = input_type(&args);
        if from == DataType::Float64 {
            return self.floating().create_groups_accumulator(args);
        }
        Ok(Box::new(self.totals(&from, args.return_type())))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !args.is_distinct && input_type(&args) == DataType::Float64 {
            return self.floating().create_sliding_accumulator(args);
        }
        self.accumulator(args)
    }
}

fn sum_type(from: &DataType) -> DataType {
    match from {
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
        _ => DataType::Decimal128(38, 0),
    }
}

/// A count that says that the sum overflowed 128 bits (in a `try_` function).
const OVERFLOWED: i64 = -1;

/// Sums and counts by group.
#[derive(Debug)]
struct Totals {
    kind: Kind,
    from: DataType,
    to: DataType,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl Totals {
    fn resize(&mut self, n_groups: usize) {
        self.sums.resize(n_groups, 0);
        self.counts.resize(n_groups, 0);
    }

    fn add(&mut self, group: usize, value: i128, count: i64) -> Result<()> {
        let (Some(sum), Some(total)) = (self.sums.get_mut(group), self.counts.get_mut(group)) else {
            return Err(internal("a group index out of range"));
        };
        if *total == OVERFLOWED {
            return Ok(());
        }
        match sum.checked_add(value) {
            _ if count == OVERFLOWED => *total = OVERFLOWED,
            Some(result) => {
                *sum = result;
                *total += count;
            }
            None if self.kind.is_lenient() => *total = OVERFLOWED,
            None => return Err(overflow("sum")),
        }
        Ok(())
    }

    /// Adds each valid row to its group, with a sign.
    fn update(&mut self, array: &ArrayRef, groups: Groups<'_>, filter: Option<&BooleanArray>, sign: i64) -> Result<()> {
        macro_rules! rows {
            ($type:ty) => {{
                let values = array.as_primitive_opt::<$type>().ok_or_else(|| internal("an unexpected type in sum"))?;
                for row in 0..values.len() {
                    let kept = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                    if kept && values.is_valid(row) {
                        self.add(groups.at(row), i128::from(values.value(row)) * i128::from(sign), sign)?;
                    }
                }
            }};
        }
        match array.data_type() {
            DataType::Int64 => rows!(Int64Type),
            DataType::Duration(_) => rows!(DurationMicrosecondType),
            DataType::Interval(IntervalUnit::YearMonth) => rows!(IntervalYearMonthType),
            DataType::Decimal128(..) => rows!(Decimal128Type),
            DataType::Null => {}
            other => return Err(internal(format!("sum of {other}"))),
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: Groups<'_>) -> Result<()> {
        let [sums, counts] = states else { return Err(internal("sum has two state columns")) };
        let (sums, counts) = (sums.as_primitive::<Decimal128Type>(), counts.as_primitive::<Int64Type>());
        for row in 0..sums.len() {
            if counts.is_valid(row) && counts.value(row) != 0 {
                let sum = if sums.is_valid(row) { sums.value(row) } else { 0 };
                self.add(groups.at(row), sum, counts.value(row))?;
            }
        }
        Ok(())
    }

    fn finish(&self, sums: &[i128], counts: &[i64]) -> Result<ArrayRef> {
        let results = sums.iter().zip(counts).map(|(sum, count)| self.finish_one(*sum, *count));
        let results = results.collect::<Result<Vec<Option<i128>>>>()?;
        let longs = || results.iter().map(|value| value.map(|value| value as i64));
        Ok(match &self.to {
            DataType::Int64 => Arc::new(Int64Array::from_iter(longs())),
            DataType::Duration(_) => Arc::new(PrimitiveArray::<DurationMicrosecondType>::from_iter(longs())),
            DataType::Interval(_) => {
                Arc::new(PrimitiveArray::<IntervalYearMonthType>::from_iter(results.iter().map(|value| value.map(|value| value as i32))))
            }
            DataType::Decimal128(precision, scale) => {
                Arc::new(Decimal128Array::from(results).with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Float64 => Arc::new(arrow::array::Float64Array::from_iter(
                sums.iter().zip(counts).map(|(sum, count)| (*count > 0).then(|| *sum as f64 / *count as f64)),
            )),
            other => return Err(internal(format!("sum to {other}"))),
        })
    }

    fn finish_one(&self, sum: i128, count: i64) -> Result<Option<i128>> {
        if count == 0 || count == OVERFLOWED || self.to == DataType::Float64 {
            return Ok(None);
        }
        let value = if self.kind.is_avg() { self.average(sum, count) } else { Some(sum) };
        let in_range = value.filter(|value| match &self.to {
            DataType::Decimal128(precision, _) => fits(*value, *precision),
            DataType::Interval(_) => i32::try_from(*value).is_ok(),
            _ => i64::try_from(*value).is_ok(),
        });
        match (in_range, &self.to) {
            (Some(value), _) => Ok(Some(value)),
            (None, _) if self.kind.is_lenient() => Ok(None),
            // Spark's sum of decimals overflows as integers do.
            (None, DataType::Int64 | DataType::Decimal128(..)) => Err(overflow("sum")),
            (None, _) => Err(crate::error::data("INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION", "sum of intervals overflow")),
        }
    }

    fn average(&self, sum: i128, count: i64) -> Option<i128> {
        let (from, to) = match (&self.from, &self.to) {
            (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => (*from, *to),
            _ => return Some(div_half_up(sum, count.into())),
        };
        let up = u32::try_from(i32::from(to) - i32::from(from)).ok().and_then(pow10)?;
        Some(match sum.checked_mul(up) {
            Some(scaled) => div_half_up(scaled, count.into()),
            None => {
                // Whole part and rest apart, so that nothing is lost to the width.
                let (quotient, rest) = (sum / i128::from(count), sum % i128::from(count));
                quotient.checked_mul(up)?.checked_add(div_half_up(rest.checked_mul(up)?, count.into()))?
            }
        })
    }

    fn states(&self, sums: Vec<i128>, counts: Vec<i64>) -> Result<Vec<ArrayRef>> {
        let sums = Decimal128Array::from(sums).with_data_type(sum_type(&self.from));
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from(counts))])
    }
}

/// Where each row goes.
#[derive(Clone, Copy)]
enum Groups<'a> {
    Indices(&'a [usize]),
    One,
    Own,
}

impl Groups<'_> {
    fn at(&self, row: usize) -> usize {
        match self {
            Self::Indices(indices) => indices.get(row).copied().unwrap_or(usize::MAX),
            Self::One => 0,
            Self::Own => row,
        }
    }
}

fn only(values: &[ArrayRef]) -> Result<&ArrayRef> {
    values.first().ok_or_else(|| internal("an aggregate without an argument"))
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        self.update(only(values)?, Groups::Indices(group_indices), opt_filter, 1)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        self.finish(&sums, &counts)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        self.states(sums, counts)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.resize(total_num_groups);
        self.merge(values, Groups::Indices(group_indices))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let array = only(values)?;
        let mut rows = Self { kind: self.kind, from: self.from.clone(), to: self.to.clone(), sums: Vec::new(), counts: Vec::new() };
        rows.resize(array.len());
        rows.update(array, Groups::Own, opt_filter, 1)?;
        let (sums, counts) = (std::mem::take(&mut rows.sums), std::mem::take(&mut rows.counts));
        rows.states(sums, counts)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// The totals of one group.
#[derive(Debug)]
struct Single(Totals);

impl Single {
    fn current(&self) -> (i128, i64) {
        (self.0.sums.first().copied().unwrap_or(0), self.0.counts.first().copied().unwrap_or(0))
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.update(only(values)?, Groups::One, None, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.update(only(values)?, Groups::One, None, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        // Once a lenient sum has overflowed there is no way back.
        !self.0.kind.is_lenient()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (sum, count) = self.current();
        ScalarValue::try_from_array(&self.0.finish(&[sum], &[count])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (sum, count) = self.current();
        self.0.states(vec![sum], vec![count])?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.merge(states, Groups::One)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + GroupsAccumulator::size(&self.0)
    }
}
