//! `skewness` and `kurtosis`: central moments, updated and merged as Spark's `CentralMomentAgg`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::distinct::{self, DistinctAccumulator};
use crate::error::internal;

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    Skewness,
    Kurtosis,
}

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Moments {
    moment: Moment,
    signature: Signature,
}

impl Moments {
    pub(super) fn new(moment: Moment) -> Self {
        Self { moment, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Moments {
    fn name(&self) -> &str {
        match self.moment {
            Moment::Skewness => "spark_skewness",
            Moment::Kurtosis => "spark_kurtosis",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let inner = Box::new(Central { moment: self.moment, n: 0.0, mean: 0.0, m2: 0.0, m3: 0.0, m4: 0.0 });
        if args.is_distinct {
            return Ok(Box::new(DistinctAccumulator::new(&DataType::Float64, inner)?));
        }
        Ok(inner)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &DataType::Float64));
        }
        Ok(["n", "mean", "m2", "m3", "m4"]
            .into_iter()
            .map(|part| Arc::new(Field::new(format_state_name(args.name, part), DataType::Float64, true)) as FieldRef)
            .collect())
    }
}

#[derive(Debug, Clone, Copy)]
struct Central {
    moment: Moment,
    n: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Central {
    fn merge(&mut self, other: &Self) {
        if other.n == 0.0 {
            return;
        }
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        let delta = other.mean - self.mean;
        let delta_n = delta / n;
        let m2 = self.m2 + other.m2 + delta * delta_n * n1 * n2;
        let m3 = self.m3
            + other.m3
            + delta_n * delta_n * delta * n1 * n2 * (n1 - n2)
            + 3.0 * delta_n * (n1 * other.m2 - n2 * self.m2);
        self.m4 = self.m4
            + other.m4
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * delta_n * (n1 * other.m3 - n2 * self.m3);
        (self.n, self.mean, self.m2, self.m3) = (n, self.mean + delta_n * n2, m2, m3);
    }
}

impl Accumulator for Central {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let array = values.first().ok_or_else(|| internal("an aggregate without an argument"))?;
        let array = arrow::compute::cast(array, &DataType::Float64)?;
        for value in array.as_primitive::<Float64Type>().iter().flatten() {
            self.merge(&Self { n: 1.0, mean: value, m2: 0.0, m3: 0.0, m4: 0.0, ..*self });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.n == 0.0 || self.m2 == 0.0 {
            None
        } else {
            Some(match self.moment {
                Moment::Skewness => self.n.sqrt() * self.m3 / (self.m2 * self.m2 * self.m2).sqrt(),
                Moment::Kurtosis => self.n * self.m4 / (self.m2 * self.m2) - 3.0,
            })
        };
        Ok(ScalarValue::Float64(value))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok([self.n, self.mean, self.m2, self.m3, self.m4].map(|value| ScalarValue::Float64(Some(value))).to_vec())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [n, mean, m2, m3, m4] = states else { return Err(internal("moments have five state columns")) };
        let at = |array: &ArrayRef, row: usize| array.as_primitive::<Float64Type>().value(row);
        for row in 0..n.len() {
            if n.is_valid(row) {
                let (n, mean, m2, m3, m4) = (at(n, row), at(mean, row), at(m2, row), at(m3, row), at(m4, row));
                self.merge(&Self { n, mean, m2, m3, m4, ..*self });
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}
