//! Row-wise operators as steps that are evaluated on a batch: projections and filters.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use millstream_core::{Error, Result};

use crate::error::from_datafusion;

/// What a row-wise operator does with a batch.
#[derive(Debug)]
pub(super) enum RowStep {
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Filter { predicate: Arc<dyn PhysicalExpr>, columns: Option<Vec<usize>> },
}

/// The step of an operator, if it is row-wise.
pub(super) fn step_of(plan: &Arc<dyn ExecutionPlan>) -> Option<RowStep> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter().map(|projected| Arc::clone(&projected.expr)).collect();
        return Some(RowStep::Project { exprs, schema: plan.schema() });
    }
    let filter = plan.downcast_ref::<FilterExec>()?;
    // With a limit on its rows it looks beyond the row.
    plan.fetch().is_none().then(|| RowStep::Filter {
        predicate: Arc::clone(filter.predicate()),
        columns: filter.projection().as_ref().map(|columns| columns.to_vec()),
    })
}

/// The steps of the top `depth` operators, the lowest first.
pub(super) fn steps_of(plan: &Arc<dyn ExecutionPlan>, depth: usize) -> Result<Vec<RowStep>> {
    let mut steps = Vec::with_capacity(depth);
    for above in 0..depth {
        let operator = below(plan, above)?;
        steps.push(step_of(operator).ok_or_else(|| Error::internal(format!("'{}' is not row-wise", operator.name())))?);
    }
    steps.reverse();
    Ok(steps)
}

/// The operator `depth` levels down a chain of operators with one child.
pub(super) fn below(plan: &Arc<dyn ExecutionPlan>, depth: usize) -> Result<&Arc<dyn ExecutionPlan>> {
    let mut at = plan;
    for _ in 0..depth {
        let children = at.children();
        let [child] = children.as_slice() else {
            return Err(Error::internal(format!("'{}' has {} children", at.name(), children.len())));
        };
        at = child;
    }
    Ok(at)
}

/// Does all steps.
pub(super) fn apply(steps: &[RowStep], rows: RecordBatch) -> Result<RecordBatch> {
    steps.iter().try_fold(rows, |rows, step| step.apply(&rows))
}

impl RowStep {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Project { exprs, schema } => {
                let values = exprs.iter().map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()));
                let values = values.collect::<datafusion::error::Result<Vec<_>>>().map_err(from_datafusion)?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                Ok(RecordBatch::try_new_with_options(Arc::clone(schema), values, &options)?)
            }
            Self::Filter { predicate, columns } => {
                let keep = predicate.evaluate(rows).and_then(|keep| keep.into_array(rows.num_rows())).map_err(from_datafusion)?;
                let keep = keep.as_boolean_opt().ok_or_else(|| Error::internal("a filter that is not BOOLEAN"))?;
                let kept = filter_record_batch(rows, keep)?;
                Ok(match columns {
                    Some(columns) => kept.project(columns)?,
                    None => kept,
                })
            }
        }
    }

    /// Whether it can fail on a row.
    pub(super) fn is_fallible(&self) -> bool {
        match self {
            Self::Project { exprs, .. } => exprs.iter().any(is_fallible),
            Self::Filter { predicate, .. } => is_fallible(predicate),
        }
    }
}

/// Whether an expression can fail on a row: all but columns, literals, null tests, comparisons and logic of such.
pub fn is_fallible(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let is_plain =
        expr.is::<Column>() || expr.is::<Literal>() || expr.is::<IsNullExpr>() || expr.is::<IsNotNullExpr>() || expr.is::<NotExpr>();
    let is_comparison = expr.downcast_ref::<BinaryExpr>().is_some_and(|binary| {
        use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
        matches!(binary.op(), Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or)
    });
    !(is_plain || is_comparison) || expr.children().into_iter().any(is_fallible)
}
