//! One side of a join of two streams, as the resolver leaves it: its rows, and what only the resolver knows of them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use std::collections::HashSet;

use crate::streaming::groups_with_state::NamedColumn;

/// Passes its rows through and tells which of its columns carry event times. Gone before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JoinSideNode {
    input: LogicalPlan,
    event_times: Vec<Column>,
    /// Columns and what the user calls them.
    names: Vec<(String, String)>,
    relation: Vec<NamedColumn>,
}

impl JoinSideNode {
    /// A side of a join; `names` are pairs of a column and what the user calls it.
    pub(crate) fn new(input: LogicalPlan, event_times: Vec<Column>, names: Vec<(String, String)>) -> Self {
        Self { input, event_times, names, relation: Vec::new() }
    }

    /// The columns of the rows that `*` gives, by the user's names.
    #[must_use]
    pub(crate) fn of_relation(self, relation: Vec<NamedColumn>) -> Self {
        Self { relation, ..self }
    }

    pub(super) fn relation(&self) -> &[NamedColumn] {
        &self.relation
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    pub(super) fn event_times(&self) -> &[Column] {
        &self.event_times
    }

    pub(super) fn names(&self) -> &[(String, String)] {
        &self.names
    }

    /// The node as a plan.
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for JoinSideNode {
    fn name(&self) -> &str {
        "JoinSide"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinSide")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { input, ..self.clone() }),
            Err(inputs) => plan_err!("JoinSide takes one input, not {}", inputs.len()),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

impl PartialOrd for JoinSideNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}
