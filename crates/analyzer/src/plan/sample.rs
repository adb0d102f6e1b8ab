//! `TABLESAMPLE`: each row by its own chance (`PERCENT`, `BUCKET`), or the first rows (`ROWS`).
//!
//! A seed makes the choice repeatable for the same rows in the same order; which rows it is are others than Spark's.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr as DfExpr, Filter, LogicalPlan, Operator, binary_expr, cast, lit};
use millstream_sql::Span;
use millstream_sql::ir::{Plan, SampleSize};

use super::projection;
use super::window_plan;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::scope::{Rel, column, plan_name};

impl Resolver<'_> {
    /// `TABLESAMPLE`
    pub(crate) fn sample(&mut self, input: &Plan, size: &SampleSize, seed: Option<i64>, span: Span) -> Result<Rel> {
        let rel = self.plan(input)?;
        match size {
            SampleSize::Rows(rows) => self.limit(rel, None, Some(rows), span),
            SampleSize::Fraction { with_replacement: true, .. } => Err(AnalysisError::unsupported("a sample with replacement", span)),
            SampleSize::Fraction { lower, upper, .. } => self.fraction(rel, *lower, *upper, seed, span),
            _ => Err(AnalysisError::unsupported("a sample of this kind", span)),
        }
    }

    fn fraction(&mut self, rel: Rel, lower: f64, upper: f64, seed: Option<i64>, span: Span) -> Result<Rel> {
        let draw = self.next_id();
        let mut plan = rel.plan;
        let chance = match seed {
            None => datafusion::functions::math::random().call(vec![]),
            Some(_) if rel.is_streaming => {
                return Err(AnalysisError::unsupported("TABLESAMPLE ... REPEATABLE over a stream", span));
            }
            Some(seed) => {
                let number = self.next_id();
                let call = datafusion::logical_expr::expr::WindowFunction::new(
                    datafusion::functions_window::row_number::row_number_udwf(),
                    vec![],
                );
                plan = window_plan(DfExpr::WindowFunction(Box::new(call)), number, plan)?;
                let number = cast(column(number), arrow::datatypes::DataType::Int64);
                let hash = self.kernel("xxhash64", vec![number, lit(seed)], span)?;
                // The hash without its sign, as a part of the largest.
                let positive = binary_expr(hash, Operator::BitwiseAnd, lit(i64::MAX));
                binary_expr(cast(positive, arrow::datatypes::DataType::Float64), Operator::Divide, lit(2_f64.powi(63)))
            }
        };
        // A column of its own: as part of the condition it would be drawn twice.
        let mut exprs: Vec<DfExpr> = rel.attrs.iter().map(crate::scope::Attribute::column).collect();
        exprs.push(chance.alias(plan_name(draw)));
        let plan = projection(exprs, plan)?;
        let bound = |value: f64| DfExpr::Literal(ScalarValue::Float64(Some(value)), None);
        let chosen = column(draw).gt_eq(bound(lower)).and(column(draw).lt(bound(upper)));
        let plan = LogicalPlan::Filter(Filter::try_new(chosen, Arc::new(plan))?);
        let plan = projection(rel.attrs.iter().map(crate::scope::Attribute::column).collect(), plan)?;
        Ok(Rel { plan, ..rel })
    }
}
