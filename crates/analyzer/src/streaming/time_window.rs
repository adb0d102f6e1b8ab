//! The window of time among the keys of an aggregation.
//!
//! Rows are grouped by the start of their slice ([`TimeWindows`]), a plain time: quick to group by, and one group for a row,
//! however many windows hold it. The aggregation knows which slices make a window, and gives the window as a struct.
//!
//! An aggregation that takes or gives changes groups by whole windows: which one that is, is known when the query starts.

use std::cmp::Ordering;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use millstream_core::TimeWindows;

use crate::error::Result;
use crate::expr::Sliding;
use crate::plan::projection;
use crate::scope::plan_name;

/// A key that is a window of time. See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct TimeWindowKey {
    slice: Column,
    window: Window,
    windows: TimeWindows,
    whole: WholeWindows,
}

/// How a row gets its windows themselves, under the name of the result's column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum WholeWindows {
    /// It has one.
    One(Expr),
    /// It becomes a row for each.
    Each(Box<Sliding>),
}

impl PartialOrd for WholeWindows {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

/// A column of structs of start and end, ordered by name so that plans can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Window(FieldRef);

impl PartialOrd for Window {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl TimeWindowKey {
    /// The key `slice` of the aggregation is the start of the slice; `window` is what stands for it in the result.
    pub(crate) fn new(slice: Column, window: Field, windows: TimeWindows, whole: WholeWindows) -> Self {
        Self { slice, window: Window(window.into()), windows, whole }
    }

    /// The key by which rows are grouped.
    pub fn slice(&self) -> &Column {
        &self.slice
    }

    /// The column of the result.
    pub fn window(&self) -> &FieldRef {
        &self.window.0
    }

    /// Which windows there are.
    pub fn windows(&self) -> TimeWindows {
        self.windows
    }

    /// Rows with their windows as a column, and the column by which late rows are counted, if a row becomes several and
    /// `counts_late`.
    pub(super) fn expanded(&self, input: LogicalPlan, counts_late: bool) -> Result<(LogicalPlan, Option<Column>)> {
        match &self.whole {
            WholeWindows::One(window) => {
                let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
                exprs.push(window.clone().alias(self.window().name()));
                Ok((projection(exprs, input)?, None))
            }
            WholeWindows::Each(sliding) => {
                let is_latest = counts_late.then(|| Column::new_unqualified(plan_name(sliding.is_latest.0)));
                Ok((sliding.expanded(input, counts_late)?, is_latest))
            }
        }
    }
}
