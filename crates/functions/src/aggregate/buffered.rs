//! Aggregates that need all values of a group: percentiles, the median, the mode, and, with DISTINCT, the different values.
//!
//! `percentile_approx` is exact here: it gives the value at the nearest rank, which Spark's sketch approximates. Ties
//! of `mode` are broken by the smallest value, where Spark leaves them open, or by the largest one. Memory grows with the group.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt32Array, new_empty_array};
use arrow::datatypes::{DataType, DurationMicrosecondType, Field, FieldRef, Float64Type, IntervalUnit, IntervalYearMonthType};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::{column_at, type_at};
use super::distinct::{self, DistinctAccumulator};
use super::sliding::Sliding;
use crate::collections::comparable;
use crate::error::{internal, invalid};
use crate::types::array_of;

/// What is made of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Finish {
    Percentile,
    Median,
    NearestRank,
    Mode,
    ModeLargest,
    /// The values as a list, in the order in which they came.
    List,
}

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Buffered {
    finish: Finish,
    signature: Signature,
}

impl Buffered {
    pub(super) fn new(finish: Finish) -> Self {
        Self { finish, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn values(&self, args: &AccumulatorArgs<'_>) -> Result<Values> {
        let data_type = type_at(args.expr_fields, 0);
        let fractions = match (self.finish, args.exprs.get(1)) {
            (Finish::Percentile | Finish::NearestRank, Some(expr)) => fractions(expr)?,
            _ => vec![0.5],
        };
        Ok(Values { finish: self.finish, data_type, to: args.return_type().clone(), fractions, chunks: Vec::new() })
    }
}

impl AggregateUDFImpl for Buffered {
    fn name(&self) -> &str {
        match self.finish {
            Finish::Percentile => "spark_percentile",
            Finish::Median => "spark_median",
            Finish::NearestRank => "spark_percentile_approx",
            Finish::Mode => "spark_mode",
            Finish::ModeLargest => "spark_mode_largest",
            Finish::List => "spark_list",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let value = match self.finish {
            Finish::List => return Ok(array_of(type_at_or_null(arg_types))),
            Finish::Percentile | Finish::Median => match arg_types.first() {
                Some(interval @ (DataType::Duration(_) | DataType::Interval(_))) => interval.clone(),
                _ => DataType::Float64,
            },
            Finish::NearestRank | Finish::Mode | Finish::ModeLargest => type_at_or_null(arg_types),
        };
        let many = matches!(self.finish, Finish::Percentile | Finish::NearestRank) && matches!(arg_types.get(1), Some(DataType::List(_)));
        Ok(if many { array_of(value) } else { value })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let inner = self.values(&args)?;
        if args.is_distinct {
            return Ok(Box::new(DistinctAccumulator::new(&inner.data_type.clone(), Box::new(inner))?));
        }
        Ok(Box::new(inner))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let (empty, is_distinct) = (self.values(&args)?, args.is_distinct);
        Ok(Box::new(Sliding::new(move || -> Result<Box<dyn Accumulator>> {
            let values = Box::new(empty.clone());
            Ok(if is_distinct { Box::new(DistinctAccumulator::new(&empty.data_type, values)?) } else { values })
        })))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let data_type = type_at(args.input_fields, 0);
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &data_type));
        }
        let list = DataType::List(Arc::new(Field::new_list_field(data_type, true)));
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), list, true))])
    }
}

fn type_at_or_null(types: &[DataType]) -> DataType {
    types.first().cloned().unwrap_or(DataType::Null)
}

/// The literal second argument: one fraction or several.
fn fractions(expr: &Arc<dyn PhysicalExpr>) -> Result<Vec<f64>> {
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let row =
        arrow::array::RecordBatch::try_new_with_options(schema, vec![], &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)))?;
    let value = expr
        .evaluate(&row)
        .and_then(|value| value.into_array(1))
        .map_err(|_| invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the percentage must be a literal"))?;
    let value = match value.as_list_opt::<i32>() {
        Some(list) => list.value(0),
        None => value,
    };
    let value = arrow::compute::cast(&value, &DataType::Float64)?;
    let fractions: Vec<f64> = value.as_primitive::<Float64Type>().iter().flatten().collect();
    match fractions.iter().find(|fraction| !(0.0..=1.0).contains(*fraction)) {
        Some(bad) => Err(invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", format!("the percentage {bad} is not between 0.0 and 1.0"))),
        None => Ok(fractions),
    }
}

/// All values of one group.
#[derive(Debug, Clone)]
struct Values {
    finish: Finish,
    data_type: DataType,
    to: DataType,
    fractions: Vec<f64>,
    chunks: Vec<ArrayRef>,
}

impl Values {
    fn all(&self) -> Result<ArrayRef> {
        if self.chunks.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let chunks: Vec<&dyn Array> = self.chunks.iter().map(AsRef::as_ref).collect();
        Ok(arrow::compute::concat(&chunks)?)
    }

    fn push(&mut self, array: &ArrayRef) -> Result<()> {
        let array =
            if array.null_count() > 0 { arrow::compute::filter(array, &arrow::compute::is_not_null(array)?)? } else { Arc::clone(array) };
        if !array.is_empty() {
            self.chunks.push(array);
        }
        Ok(())
    }

    /// One result per fraction, as a scalar or a list.
    fn wrap(&self, results: ArrayRef) -> Result<ScalarValue> {
        if let DataType::List(field) = &self.to {
            let builder = SingleRowListArrayBuilder::new(results).with_field(field);
            return Ok(builder.build_list_scalar());
        }
        ScalarValue::try_from_array(&results, 0)
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.push(column_at(values, 0)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.all()?;
        if values.is_empty() {
            return ScalarValue::try_from(&self.to);
        }
        if self.finish == Finish::List {
            return self.wrap(values);
        }
        if matches!(self.finish, Finish::Mode | Finish::ModeLargest) {
            return ScalarValue::try_from_array(&values, most_frequent(&values, self.finish)?);
        }
        let sorted = arrow::compute::sort(&crate::collections::normalized(&values), None)?;
        let last = sorted.len() - 1;
        if self.finish == Finish::NearestRank {
            let ranks: UInt32Array = self
                .fractions
                .iter()
                .map(|fraction| ((fraction * sorted.len() as f64).ceil() as usize).saturating_sub(1).min(last) as u32)
                .collect::<Vec<_>>()
                .into();
            return self.wrap(arrow::compute::take(&sorted, &ranks, None)?);
        }
        let sorted = as_doubles(&sorted)?;
        let sorted = sorted.as_primitive::<Float64Type>().values();
        let at = |idx: usize| sorted.get(idx).copied().unwrap_or(f64::NAN);
        let results = self.fractions.iter().map(|fraction| {
            let position = fraction * last as f64;
            let (low, high) = (position.floor(), position.ceil());
            let (low_value, high_value) = (at(low as usize), at(high as usize));
            if low == high || low_value == high_value { low_value } else { (high - position) * low_value + (position - low) * high_value }
        });
        let results = Float64Array::from_iter_values(results);
        // Intervals are cut to whole months or microseconds.
        self.wrap(match self.data_type {
            DataType::Duration(_) => Arc::new(results.unary::<_, DurationMicrosecondType>(|value| value as i64)),
            DataType::Interval(_) => Arc::new(results.unary::<_, IntervalYearMonthType>(|value| value as i32)),
            _ => Arc::new(results),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().and_then(|lists| lists.as_list_opt::<i32>());
        for list in lists.ok_or_else(|| internal("the state of a buffered aggregate is a list"))?.iter().flatten() {
            self.push(&list)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.chunks.iter().map(|chunk| chunk.get_array_memory_size()).sum::<usize>()
    }
}

fn as_doubles(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Duration(_) => Arc::new(values.as_primitive::<DurationMicrosecondType>().unary::<_, Float64Type>(|us| us as f64)),
        DataType::Interval(IntervalUnit::YearMonth) => {
            Arc::new(values.as_primitive::<IntervalYearMonthType>().unary::<_, Float64Type>(f64::from))
        }
        _ => arrow::compute::cast(values, &DataType::Float64)?,
    })
}

fn most_frequent(values: &ArrayRef, finish: Finish) -> Result<usize> {
    let [rows] = comparable([values])?;
    let mut counts: HashMap<arrow::row::Row<'_>, (usize, usize)> = HashMap::new();
    for idx in 0..values.len() {
        counts.entry(rows.row(idx)).or_insert((0, idx)).0 += 1;
    }
    let best = counts.iter().max_by(|(row_a, (a, _)), (row_b, (b, _))| {
        let ties = if finish == Finish::ModeLargest { row_a.cmp(row_b) } else { row_b.cmp(row_a) };
        a.cmp(b).then(ties)
    });
    Ok(best.map_or(0, |(_, (_, idx))| *idx))
}
