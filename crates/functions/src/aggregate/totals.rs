//! `sum` and `avg`: one wide sum and a count per group, for integers, decimals and intervals.
//!
//! The sum is wider than any number of rows can fill (128 bits for integers and intervals, 256 for decimals), so it
//! never overflows itself: the result depends neither on the order of rows nor on how partial sums are merged, rows
//! can be taken out again (sliding window frames, retractions), and overflow is decided once, at the end. Doubles are
//! DataFusion's own sums, but in sliding frames, where they are added up anew ([`super::sliding`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType, Field, FieldRef, Float64Type,
    Int64Type, IntervalUnit, IntervalYearMonthType, i256,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::arguments::{column_at, type_at};
use super::by_group::{ByGroup, Rows, over_all, over_groups};
use super::distinct::{self, DistinctAccumulator};
use super::double_averages::DoubleAverages;
use super::sliding::Sliding;
use crate::decimal::{adjusted, fits};
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

    fn totals<T: DecimalType>(&self, from: &DataType, to: &DataType) -> Totals<T> {
        Totals { kind: self.kind, from: from.clone(), to: to.clone(), sums: Vec::new(), counts: Vec::new() }
    }
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
        let from = type_at(args.expr_fields, 0);
        if args.is_distinct {
            let inner = AccumulatorArgs { is_distinct: false, ..args };
            return Ok(Box::new(DistinctAccumulator::new(&from, self.accumulator(inner)?)?));
        }
        if from == DataType::Float64 {
            return self.floating().accumulator(args);
        }
        Ok(match from {
            DataType::Decimal128(..) => over_all(self.totals::<Decimal256Type>(&from, args.return_type())),
            _ => over_all(self.totals::<Decimal128Type>(&from, args.return_type())),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let from = type_at(args.input_fields, 0);
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
        let from = type_at(args.expr_fields, 0);
        if from == DataType::Float64 {
            let groups = self.floating().create_groups_accumulator(args)?;
            return Ok(if self.kind.is_avg() { Box::new(DoubleAverages(groups)) } else { groups });
        }
        Ok(match from {
            DataType::Decimal128(..) => over_groups(self.totals::<Decimal256Type>(&from, args.return_type())),
            _ => over_groups(self.totals::<Decimal128Type>(&from, args.return_type())),
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let kind = self.kind;
        if type_at(args.expr_fields, 0) == DataType::Float64 && !args.is_distinct {
            return Ok(Box::new(Sliding::new(move || Ok(Box::new(Doubles { kind, sum: 0.0, count: 0 })))));
        }
        self.accumulator(args)
    }
}

fn sum_type(from: &DataType) -> DataType {
    match from {
        DataType::Decimal128(_, scale) => DataType::Decimal256(76, *scale),
        _ => DataType::Decimal128(38, 0),
    }
}

/// The number that a sum is kept in.
trait Wide: ArrowNativeTypeOp {
    fn widen(value: i128) -> Self;
    fn narrow(self) -> Option<i128>;
}

impl Wide for i128 {
    fn widen(value: i128) -> Self {
        value
    }

    fn narrow(self) -> Option<i128> {
        Some(self)
    }
}

impl Wide for i256 {
    fn widen(value: i128) -> Self {
        i256::from_i128(value)
    }

    fn narrow(self) -> Option<i128> {
        self.to_i128()
    }
}

/// Whether rows come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Insert,
    Retract,
}

/// Sums and counts by group.
#[derive(Debug)]
struct Totals<T: DecimalType> {
    kind: Kind,
    from: DataType,
    to: DataType,
    sums: Vec<T::Native>,
    counts: Vec<i64>,
}

impl<T: DecimalType> Totals<T>
where
    T::Native: Wide,
{
    fn with(&self, sums: Vec<T::Native>, counts: Vec<i64>) -> Self {
        Self { kind: self.kind, from: self.from.clone(), to: self.to.clone(), sums, counts }
    }

    fn slot(&mut self, group: usize) -> Result<(&mut T::Native, &mut i64)> {
        match (self.sums.get_mut(group), self.counts.get_mut(group)) {
            (Some(sum), Some(count)) => Ok((sum, count)),
            _ => Err(internal("a group index out of range")),
        }
    }

    /// Adds each valid row to its group, or takes it out.
    fn change(&mut self, array: &ArrayRef, rows: Rows<'_>, change: Change) -> Result<()> {
        macro_rules! rows {
            ($type:ty) => {{
                let values = array.as_primitive_opt::<$type>().ok_or_else(|| internal("an unexpected type in sum"))?;
                for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
                    let Some(group) = rows.group_of(row) else { continue };
                    let value = T::Native::widen(i128::from(values.value(row)));
                    let (sum, count) = self.slot(group)?;
                    match change {
                        Change::Insert => (*sum, *count) = (sum.add_wrapping(value), *count + 1),
                        Change::Retract => (*sum, *count) = (sum.sub_wrapping(value), *count - 1),
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

    fn finish_one(&self, sum: T::Native, count: i64) -> Result<Option<i128>> {
        if count == 0 {
            return Ok(None);
        }
        let value = if self.kind.is_avg() { self.average(sum, count) } else { sum.narrow() };
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

    /// The sum by the count in the result's scale, rounded half away from zero.
    fn average(&self, sum: T::Native, count: i64) -> Option<i128> {
        let up = match (&self.from, &self.to) {
            (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => u32::try_from(i32::from(*to) - i32::from(*from)).ok()?,
            _ => 0,
        };
        let count = T::Native::widen(count.into());
        let scaled = sum.mul_checked(T::Native::widen(10).pow_checked(up).ok()?).ok()?;
        let (quotient, rest) = (scaled.div_checked(count).ok()?, scaled.mod_checked(count).ok()?);
        let rest = if rest.is_lt(T::Native::ZERO) { rest.neg_wrapping() } else { rest };
        let quotient = match (rest.add_wrapping(rest).is_ge(count), scaled.is_lt(T::Native::ZERO)) {
            (false, _) => quotient,
            (true, false) => quotient.add_wrapping(T::Native::ONE),
            (true, true) => quotient.sub_wrapping(T::Native::ONE),
        };
        quotient.narrow()
    }
}

impl<T: DecimalType + std::fmt::Debug> ByGroup for Totals<T>
where
    T::Native: Wide,
{
    const CAN_RETRACT: bool = true;

    fn empty(&self) -> Self {
        self.with(Vec::new(), Vec::new())
    }

    fn resize(&mut self, n_groups: usize) {
        self.sums.resize(n_groups, T::Native::ZERO);
        self.counts.resize(n_groups, 0);
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        self.change(column_at(args, 0)?, rows, Change::Insert)
    }

    fn retract(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        self.change(column_at(args, 0)?, rows, Change::Retract)
    }

    fn merge(&mut self, states: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let (sums, counts) = (column_at(states, 0)?.as_primitive_opt::<T>(), column_at(states, 1)?.as_primitive_opt::<Int64Type>());
        let (Some(sums), Some(counts)) = (sums, counts) else { return Err(internal("an unexpected state of sum")) };
        for row in (0..sums.len()).filter(|row| sums.is_valid(*row) && counts.is_valid(*row)) {
            let Some(group) = rows.group_of(row) else { continue };
            let (sum, count) = self.slot(group)?;
            (*sum, *count) = (sum.add_wrapping(sums.value(row)), *count + counts.value(row));
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Self {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        self.with(sums, counts)
    }

    fn results(&self) -> Result<ArrayRef> {
        if self.to == DataType::Float64 {
            let averages = self.sums.iter().zip(&self.counts).map(|(sum, count)| match sum.narrow() {
                Some(sum) if *count > 0 => Some(sum as f64 / *count as f64),
                _ => None,
            });
            return Ok(Arc::new(Float64Array::from_iter(averages)));
        }
        let results = self.sums.iter().zip(&self.counts).map(|(sum, count)| self.finish_one(*sum, *count));
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
            other => return Err(internal(format!("sum to {other}"))),
        })
    }

    fn states(&self) -> Result<Vec<ArrayRef>> {
        let sums = PrimitiveArray::<T>::from_iter_values(self.sums.iter().copied()).with_data_type(sum_type(&self.from));
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from(self.counts.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// The sum of a frame's doubles. It cannot give rows back: what a NaN or a large number did to it stays.
#[derive(Debug)]
struct Doubles {
    kind: Kind,
    sum: f64,
    count: i64,
}

impl Accumulator for Doubles {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column_at(values, 0)?.as_primitive_opt::<Float64Type>().ok_or_else(|| internal("an unexpected type in sum"))?;
        for value in values.iter().flatten() {
            self.sum += value;
            self.count += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.kind.is_avg() { self.sum / self.count as f64 } else { self.sum };
        Ok(ScalarValue::Float64((self.count > 0).then_some(value)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(internal("a window frame has no partial sums"))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(internal("a window frame has no partial sums"))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}
