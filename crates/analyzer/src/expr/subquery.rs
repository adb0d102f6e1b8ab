//! Subqueries in expressions, correlated or not. DataFusion decorrelates them.

use std::sync::Arc;

use datafusion::common::Spans;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr as DfExpr, Subquery};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Plan};

use super::{ExprCx, Typed};
use crate::coerce::common_type;
use crate::error::{AnalysisError, Result};
use crate::plan::projection;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel};
use crate::stream_check;

impl Resolver<'_> {
    /// `(SELECT ...)` as a value.
    pub(crate) fn scalar_subquery(&mut self, cx: &mut ExprCx, plan: &Plan, span: Span) -> Result<Typed> {
        let rel = self.subquery(cx, plan, span)?;
        let attr = single_column(&rel, "SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN", span)?;
        let expr = DfExpr::ScalarSubquery(subquery_of(rel)?);
        Ok(Typed::new(expr, attr.data_type, true, "scalarsubquery()"))
    }

    /// `EXISTS (SELECT ...)`
    pub(crate) fn exists_subquery(&mut self, cx: &mut ExprCx, plan: &Plan, span: Span) -> Result<Typed> {
        let rel = self.subquery(cx, plan, span)?;
        let expr = DfExpr::Exists(Exists { subquery: subquery_of(rel)?, negated: false });
        Ok(Typed::new(expr, DataType::Boolean, false, "exists()"))
    }

    /// `a IN (SELECT ...)`
    pub(crate) fn in_subquery(&mut self, cx: &mut ExprCx, values: &[Expr], plan: &Plan, span: Span) -> Result<Typed> {
        let [value] = values else {
            return Err(AnalysisError::unsupported("IN (SELECT ...) with several columns on the left", span)
                .hint("write EXISTS with a condition per column"));
        };
        let value = self.expr(cx, value)?;
        let mut rel = self.subquery(cx, plan, span)?;
        let attr = single_column(&rel, "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH", span)?;
        let Some(common) = common_type(&value.data_type, &attr.data_type) else {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.IN_SUBQUERY_DATA_TYPE_MISMATCH",
                format!("'{}' is of type {}, the subquery gives {}", value.name, value.data_type.sql(), attr.data_type.sql()),
                span,
            ));
        };
        let name = format!("({} IN (listquery()))", value.name);
        let nullable = value.nullable || attr.nullable;
        let value = self.cast_with(value, &common, "ansi", span)?;
        let item = self.cast_with(Typed::attribute(&attr), &common, "ansi", span)?;
        if item.expr != attr.column() {
            let id = self.next_id();
            let expr = item.expr.alias(crate::scope::plan_name(id));
            rel.plan = projection(vec![expr], rel.plan)?;
            rel.attrs = vec![Attribute { id, data_type: common, ..attr }];
        }
        let expr = DfExpr::InSubquery(InSubquery::new(Box::new(value.expr), subquery_of(rel)?, false));
        Ok(Typed::new(expr, DataType::Boolean, nullable, name))
    }

    fn subquery(&mut self, cx: &ExprCx, plan: &Plan, span: Span) -> Result<Rel> {
        self.outer.push(cx.scope.clone());
        let rel = self.plan(plan);
        self.outer.pop();
        let rel = rel?;
        stream_check::subquery(&rel, span)?;
        Ok(rel)
    }
}

fn subquery_of(rel: Rel) -> Result<Subquery> {
    let visible: Vec<DfExpr> = rel.visible().map(Attribute::column).collect();
    let plan = if visible.len() == rel.plan.schema().fields().len() { rel.plan } else { projection(visible, rel.plan)? };
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() })
}

fn single_column(rel: &Rel, class: &'static str, span: Span) -> Result<Attribute> {
    let visible: Vec<&Attribute> = rel.visible().collect();
    match visible.as_slice() {
        [attr] => Ok((*attr).clone()),
        many => Err(AnalysisError::invalid(class, format!("the subquery must give one column, not {}", many.len()), span)),
    }
}
