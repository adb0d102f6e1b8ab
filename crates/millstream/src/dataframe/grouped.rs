//! Grouped rows, waiting for their aggregates.

use std::sync::Arc;

use millstream_analyzer::AGGREGATE_NUMERIC;
use millstream_sql::ir::{Expr, Grouping};

use super::DataFrame;
use crate::column::{Column, call, lit};
use crate::functions;

/// Grouped rows, waiting for their aggregates.
#[derive(Debug, Clone)]
pub struct GroupedData {
    pub(super) frame: DataFrame,
    pub(super) keys: Vec<Expr>,
}

impl GroupedData {
    pub(super) fn new(frame: DataFrame, keys: Vec<Expr>) -> Self {
        Self { frame, keys }
    }

    /// One row per group: the keys, then the aggregates.
    #[must_use]
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        let list = self.keys.iter().cloned().chain(aggregates.into_iter().map(|column| column.0)).collect();
        let plan = (*self.frame.plan).clone().aggregate(Grouping::Plain(self.keys.clone()), list);
        DataFrame { plan: Arc::new(plan), ..self.frame.clone() }
    }

    /// The number of rows per group, as column `count`.
    #[must_use]
    pub fn count(&self) -> DataFrame {
        self.agg([functions::count(1).alias("count")])
    }

    /// The sums of the columns; of all numeric ones when none is named.
    #[must_use]
    pub fn sum(&self, columns: &[&str]) -> DataFrame {
        self.numeric("sum", columns)
    }

    /// The means of the columns; of all numeric ones when none is named.
    #[must_use]
    pub fn avg(&self, columns: &[&str]) -> DataFrame {
        self.numeric("avg", columns)
    }

    /// The least values of the columns; of all numeric ones when none is named.
    #[must_use]
    pub fn min(&self, columns: &[&str]) -> DataFrame {
        self.numeric("min", columns)
    }

    /// The greatest values of the columns; of all numeric ones when none is named.
    #[must_use]
    pub fn max(&self, columns: &[&str]) -> DataFrame {
        self.numeric("max", columns)
    }

    fn numeric(&self, function: &str, columns: &[&str]) -> DataFrame {
        let args = std::iter::once(&function).chain(columns).map(|text| lit(*text));
        self.agg([call(AGGREGATE_NUMERIC, args)])
    }
}
