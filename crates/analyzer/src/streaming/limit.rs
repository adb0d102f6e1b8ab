//! `LIMIT` on a stream: the first rows of all batches, or of the whole result in complete mode.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

/// Lets the first `n` rows of a stream pass, counted over all its batches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct StreamLimitNode {
    input: LogicalPlan,
    n_rows: u64,
    operator: String,
}

impl StreamLimitNode {
    /// The first `n_rows` rows.
    pub fn new(input: LogicalPlan, n_rows: u64) -> Self {
        Self { input, n_rows, operator: String::new() }
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// How many rows pass.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The operator's name in checkpoints and progress.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    pub(super) fn fitted(&self, operator: String, input: LogicalPlan) -> Self {
        Self { operator, input, ..self.clone() }
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for StreamLimitNode {
    fn name(&self) -> &str {
        "StreamLimit"
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

    // Predicates stay above (the default): a row that is dropped later has been counted.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamLimit: {} {}", self.operator, self.n_rows)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { input, ..self.clone() }),
            Err(inputs) => plan_err!("StreamLimit takes one input, not {}", inputs.len()),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
