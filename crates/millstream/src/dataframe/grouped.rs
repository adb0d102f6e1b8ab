//! Grouped rows, waiting for their aggregates.

use std::sync::Arc;

use millstream_sql::ir::{Expr, Grouping};

use super::DataFrame;
use crate::column::Column;
use crate::functions;

/// Grouped rows, waiting for their aggregates.
#[derive(Debug, Clone)]
pub struct GroupedData {
    frame: DataFrame,
    keys: Vec<Expr>,
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

    /// The sums of the columns.
    #[must_use]
    pub fn sum(&self, columns: &[&str]) -> DataFrame {
        self.agg(columns.iter().map(|name| functions::sum(*name)))
    }

    /// The means of the columns.
    #[must_use]
    pub fn avg(&self, columns: &[&str]) -> DataFrame {
        self.agg(columns.iter().map(|name| functions::avg(*name)))
    }

    /// The least values of the columns.
    #[must_use]
    pub fn min(&self, columns: &[&str]) -> DataFrame {
        self.agg(columns.iter().map(|name| functions::min(*name)))
    }

    /// The greatest values of the columns.
    #[must_use]
    pub fn max(&self, columns: &[&str]) -> DataFrame {
        self.agg(columns.iter().map(|name| functions::max(*name)))
    }
}
