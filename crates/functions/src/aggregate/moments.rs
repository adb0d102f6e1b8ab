//! Variances, covariances, correlation, regression, skewness and kurtosis: updated row by row and merged with the
//! formulas of Spark's `CentralMomentAgg`, `Covariance` and `PearsonCorrelation`, so that the last digits agree.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::arguments::column_at;
use super::by_group::{ByGroup, Rows, over_all, over_frames, over_groups};
use super::distinct::{self, DistinctAccumulator};
use crate::error::{internal, unsupported};

/// What is asked of the moments. The first group takes one column, the second `(y, x)` or `(a, b)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    Skewness,
    Kurtosis,
    CovarPop,
    CovarSamp,
    Corr,
    RegrCount,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
    RegrSlope,
    RegrIntercept,
    RegrR2,
}

impl Moment {
    /// Spark's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::VarPop => "var_pop",
            Self::VarSamp => "var_samp",
            Self::StddevPop => "stddev_pop",
            Self::StddevSamp => "stddev_samp",
            Self::Skewness => "skewness",
            Self::Kurtosis => "kurtosis",
            Self::CovarPop => "covar_pop",
            Self::CovarSamp => "covar_samp",
            Self::Corr => "corr",
            Self::RegrCount => "regr_count",
            Self::RegrAvgX => "regr_avgx",
            Self::RegrAvgY => "regr_avgy",
            Self::RegrSxx => "regr_sxx",
            Self::RegrSyy => "regr_syy",
            Self::RegrSxy => "regr_sxy",
            Self::RegrSlope => "regr_slope",
            Self::RegrIntercept => "regr_intercept",
            Self::RegrR2 => "regr_r2",
        }
    }

    /// All of them.
    pub(super) const ALL: [Self; 18] = [
        Self::VarPop,
        Self::VarSamp,
        Self::StddevPop,
        Self::StddevSamp,
        Self::Skewness,
        Self::Kurtosis,
        Self::CovarPop,
        Self::CovarSamp,
        Self::Corr,
        Self::RegrCount,
        Self::RegrAvgX,
        Self::RegrAvgY,
        Self::RegrSxx,
        Self::RegrSyy,
        Self::RegrSxy,
        Self::RegrSlope,
        Self::RegrIntercept,
        Self::RegrR2,
    ];

    /// The moment of a Spark name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = match name {
            "variance" => "var_samp",
            "stddev" | "std" => "stddev_samp",
            other => other,
        };
        Self::ALL.into_iter().find(|moment| moment.name() == name)
    }

    pub(super) fn is_pair(self) -> bool {
        !matches!(self, Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp | Self::Skewness | Self::Kurtosis)
    }

    fn finish(self, m: &Sums) -> Option<f64> {
        let n = m.n;
        if n == 0.0 {
            return None;
        }
        match self {
            Self::VarPop => Some(m.m2 / n),
            Self::VarSamp => (n > 1.0).then(|| m.m2 / (n - 1.0)),
            Self::StddevPop => Some((m.m2 / n).sqrt()),
            Self::StddevSamp => (n > 1.0).then(|| (m.m2 / (n - 1.0)).sqrt()),
            Self::Skewness => (m.m2 != 0.0).then(|| n.sqrt() * m.m3 / (m.m2 * m.m2 * m.m2).sqrt()),
            Self::Kurtosis => (m.m2 != 0.0).then(|| n * m.m4 / (m.m2 * m.m2) - 3.0),
            Self::CovarPop => Some(m.c / n),
            Self::CovarSamp => (n > 1.0).then(|| m.c / (n - 1.0)),
            Self::Corr => (n > 1.0).then(|| m.c / (m.m2 * m.y2).sqrt()),
            Self::RegrCount => Some(n),
            // The first column is y, the second x.
            Self::RegrAvgX => Some(m.y_mean),
            Self::RegrAvgY => Some(m.mean),
            Self::RegrSxx => Some(m.y2),
            Self::RegrSyy => Some(m.m2),
            Self::RegrSxy => Some(m.c),
            Self::RegrSlope => (m.y2 != 0.0).then(|| (m.c / n) / (m.y2 / n)),
            Self::RegrIntercept => (m.y2 != 0.0).then(|| m.mean - (m.c / n) / (m.y2 / n) * m.y_mean),
            Self::RegrR2 if m.y2 == 0.0 => None,
            Self::RegrR2 if m.m2 == 0.0 => Some(1.0),
            Self::RegrR2 => {
                let corr = m.c / (m.m2 * m.y2).sqrt();
                Some(corr * corr)
            }
        }
    }
}

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Moments {
    moment: Moment,
    name: String,
    signature: Signature,
}

impl Moments {
    pub(super) fn new(moment: Moment) -> Self {
        let name = format!("spark_{}", moment.name());
        Self { moment, name, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Moments {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.moment == Moment::RegrCount { DataType::Int64 } else { DataType::Float64 })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct && self.moment.is_pair() {
            return Err(unsupported(format!("{}(DISTINCT ..)", self.moment.name())));
        }
        let inner = over_all(SumsByGroup::new(self.moment));
        if args.is_distinct {
            return Ok(Box::new(DistinctAccumulator::new(&DataType::Float64, inner)?));
        }
        Ok(inner)
    }

    fn create_sliding_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(over_frames(SumsByGroup::new(self.moment)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &DataType::Float64));
        }
        Ok(Sums::PARTS
            .into_iter()
            .map(|part| Arc::new(Field::new(format_state_name(args.name, part), DataType::Float64, true)) as FieldRef)
            .collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(over_groups(SumsByGroup::new(self.moment)))
    }
}

/// The running sums of one group: of the first column alone, and with the second.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
    y_mean: f64,
    y2: f64,
    c: f64,
}

impl Sums {
    const PARTS: [&'static str; 8] = ["n", "mean", "m2", "m3", "m4", "y_mean", "y2", "c"];

    fn parts(&self) -> [f64; 8] {
        [self.n, self.mean, self.m2, self.m3, self.m4, self.y_mean, self.y2, self.c]
    }

    fn from_parts([n, mean, m2, m3, m4, y_mean, y2, c]: [f64; 8]) -> Self {
        Self { n, mean, m2, m3, m4, y_mean, y2, c }
    }

    fn update(&mut self, x: f64) {
        let n = self.n + 1.0;
        let delta = x - self.mean;
        let delta_n = delta / n;
        let m2 = self.m2 + delta * (delta - delta_n);
        let (delta2, delta_n2) = (delta * delta, delta_n * delta_n);
        let m3 = self.m3 - 3.0 * delta_n * m2 + delta * (delta2 - delta_n2);
        let m4 = self.m4 - 4.0 * delta_n * m3 - 6.0 * delta_n2 * m2 + delta * (delta * delta2 - delta_n * delta_n2);
        (self.n, self.mean, self.m2, self.m3, self.m4) = (n, self.mean + delta_n, m2, m3, m4);
    }

    fn update_pair(&mut self, x: f64, y: f64) {
        let n = self.n + 1.0;
        let (dx, dy) = (x - self.mean, y - self.y_mean);
        let (mean, y_mean) = (self.mean + dx / n, self.y_mean + dy / n);
        self.c += dx * (y - y_mean);
        self.m2 += dx * (x - mean);
        self.y2 += dy * (y - y_mean);
        (self.n, self.mean, self.y_mean) = (n, mean, y_mean);
    }

    fn merge(&mut self, other: &Self) {
        if other.n == 0.0 {
            return;
        }
        if self.n == 0.0 {
            *self = *other;
            return;
        }
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        let delta = other.mean - self.mean;
        let delta_n = delta / n;
        let y_delta = other.y_mean - self.y_mean;
        let y_delta_n = y_delta / n;
        self.c += other.c + delta * y_delta_n * n1 * n2;
        self.y2 += other.y2 + y_delta * y_delta_n * n1 * n2;
        self.m4 += other.m4
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * delta_n * (n1 * other.m3 - n2 * self.m3);
        self.m3 += other.m3 + delta_n * delta_n * delta * n1 * n2 * (n1 - n2) + 3.0 * delta_n * (n1 * other.m2 - n2 * self.m2);
        self.m2 += other.m2 + delta * delta_n * n1 * n2;
        self.mean += delta_n * n2;
        self.y_mean += y_delta_n * n2;
        self.n = n;
    }
}

#[derive(Debug)]
struct SumsByGroup {
    moment: Moment,
    groups: Vec<Sums>,
}

impl SumsByGroup {
    fn new(moment: Moment) -> Self {
        Self { moment, groups: Vec::new() }
    }
}

fn doubles(columns: &[ArrayRef], idx: usize) -> Result<Float64Array> {
    Ok(arrow::compute::cast(column_at(columns, idx)?, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

impl ByGroup for SumsByGroup {
    fn empty(&self) -> Self {
        Self::new(self.moment)
    }

    fn resize(&mut self, n_groups: usize) {
        self.groups.resize(n_groups, Sums::default());
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let x = doubles(args, 0)?;
        let y = if self.moment.is_pair() { Some(doubles(args, 1)?) } else { None };
        for row in (0..x.len()).filter(|row| x.is_valid(*row)) {
            let Some(group) = rows.group_of(row) else { continue };
            let group = self.groups.get_mut(group).ok_or_else(|| internal("a group index out of range"))?;
            match &y {
                Some(y) if y.is_valid(row) => group.update_pair(x.value(row), y.value(row)),
                Some(_) => {}
                None => group.update(x.value(row)),
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let columns = (0..Sums::PARTS.len()).map(|idx| doubles(states, idx)).collect::<Result<Vec<_>>>()?;
        let n_rows = columns.first().map_or(0, Array::len);
        for row in 0..n_rows {
            let Some(group) = rows.group_of(row) else { continue };
            let mut parts = [0.0; 8];
            for (part, column) in parts.iter_mut().zip(&columns) {
                *part = if column.is_valid(row) { column.value(row) } else { 0.0 };
            }
            let group = self.groups.get_mut(group).ok_or_else(|| internal("a group index out of range"))?;
            group.merge(&Sums::from_parts(parts));
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Self {
        Self { moment: self.moment, groups: emit_to.take_needed(&mut self.groups) }
    }

    fn results(&self) -> Result<ArrayRef> {
        if self.moment == Moment::RegrCount {
            return Ok(Arc::new(Int64Array::from_iter_values(self.groups.iter().map(|sums| sums.n as i64))));
        }
        Ok(Arc::new(Float64Array::from_iter(self.groups.iter().map(|sums| self.moment.finish(sums)))))
    }

    fn states(&self) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Vec<f64>> = vec![Vec::with_capacity(self.groups.len()); Sums::PARTS.len()];
        for sums in &self.groups {
            for (column, part) in columns.iter_mut().zip(sums.parts()) {
                column.push(part);
            }
        }
        Ok(columns.into_iter().map(|column| Arc::new(Float64Array::from(column)) as ArrayRef).collect())
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Sums>()
    }
}
