//! Subqueries in expressions, correlated or not. DataFusion decorrelates them.

use std::sync::Arc;

use datafusion::common::Spans;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Case, Expr as DfExpr, Filter, LogicalPlan, Operator, Subquery, lit};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Plan};

use super::{ExprCx, Place, Typed};
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
        let name_of = |column: &DfExpr| match column {
            DfExpr::OuterReferenceColumn(_, column) => cx.scope.iter().find(|attr| attr.plan_name() == column.name),
            _ => None,
        };
        let outer = rel.plan.all_out_ref_exprs();
        let names: Vec<&str> = outer.iter().filter_map(name_of).map(|attr| attr.name.as_str()).collect();
        let shown = format!("scalarsubquery({})", names.join(", "));
        if !outer.is_empty() && filters_by_outer_alone(&rel.plan) {
            return Err(AnalysisError::unsupported("a condition on outer columns alone in a correlated scalar subquery", span)
                .hint("write CASE WHEN condition THEN (SELECT ...) END"));
        }
        if gives_one_row(&rel.plan) {
            return Ok(Typed::new(DfExpr::ScalarSubquery(subquery_of(rel)?), attr.data_type, true, shown));
        }
        if !outer.is_empty() && limits_rows(&rel.plan) {
            return Err(AnalysisError::unsupported("LIMIT in a correlated scalar subquery", span)
                .hint("aggregate in it instead, such as with max() or max_by()"));
        }
        let expr = self.checked_row(rel, &attr, span)?;
        Ok(Typed::new(expr, attr.data_type, true, shown))
    }

    /// The value of a subquery that has at most one row, and an error where it has more: whether it has, only the rows
    /// around it tell, so the subquery gives its first value and a count.
    fn checked_row(&mut self, rel: Rel, attr: &Attribute, span: Span) -> Result<DfExpr> {
        let (value, count, both) = (self.next_id(), self.next_id(), self.next_id());
        let first = datafusion::functions_aggregate::first_last::first_value_udaf().call(vec![attr.column()]);
        let n_rows = datafusion::functions_aggregate::count::count_udaf().call(vec![lit(1_i64)]);
        let calls = vec![first.alias(crate::scope::plan_name(value)), n_rows.alias(crate::scope::plan_name(count))];
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rel.plan), vec![], calls)?);
        let text = |text: &str| lit(text);
        let args = vec![text("n"), crate::scope::column(count), text("value"), crate::scope::column(value)];
        let row = self.kernel("named_struct", args, span)?.alias(crate::scope::plan_name(both));
        let plan = projection(vec![row], plan)?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        let subquery = DfExpr::ScalarSubquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() });
        Ok(crate::registry::single_row::call(subquery))
    }

    /// `EXISTS (SELECT ...)`
    pub(crate) fn exists_subquery(&mut self, cx: &mut ExprCx, plan: &Plan, span: Span) -> Result<Typed> {
        let rel = self.subquery(cx, plan, span)?;
        if cx.place == Place::Value {
            // DataFusion plans EXISTS in filters only; a count says the same anywhere.
            let count = self.count_of(rel)?;
            return Ok(Typed::new(count.gt(lit(0_i64)), DataType::Boolean, false, "exists()"));
        }
        let expr = DfExpr::Exists(Exists { subquery: subquery_of(rel)?, negated: false });
        Ok(Typed::new(expr, DataType::Boolean, false, "exists()"))
    }

    /// `a IN (SELECT ...)`
    pub(crate) fn in_subquery(&mut self, cx: &mut ExprCx, values: &[Expr], plan: &Plan, span: Span) -> Result<Typed> {
        let [value] = values else {
            return self.row_in_subquery(cx, values, plan, span);
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
            rel.attrs = vec![Attribute { id, origin: None, data_type: common, ..attr }];
        }
        // As a join it is true or false: below NOT, for one, a row would pass for which it is unknown.
        if cx.place != Place::Conjunct {
            let expr = self.in_as_counts(cx, value, rel)?;
            return Ok(Typed::new(expr, DataType::Boolean, nullable, name));
        }
        let expr = DfExpr::InSubquery(InSubquery::new(Box::new(value.expr), subquery_of(rel)?, false));
        Ok(Typed::new(expr, DataType::Boolean, nullable, name))
    }

    /// `(a, b) IN (SELECT ...)` as a condition: there is a row that equals in every column.
    fn row_in_subquery(&mut self, cx: &mut ExprCx, values: &[Expr], plan: &Plan, span: Span) -> Result<Typed> {
        if cx.place == Place::Value {
            return Err(AnalysisError::unsupported("IN (SELECT ...) with several columns in a select list", span)
                .hint("write EXISTS with a condition per column"));
        }
        let values = self.exprs(cx, values)?;
        let rel = self.subquery(cx, plan, span)?;
        let columns: Vec<Attribute> = rel.visible().cloned().collect();
        if columns.len() != values.len() {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH",
                format!("{} columns are compared with {} of the subquery", values.len(), columns.len()),
                span,
            ));
        }
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        let name = format!("({} IN (listquery()))", names.join(", "));
        let mut plan = rel.plan.clone();
        for (value, column) in values.into_iter().zip(columns) {
            let mut value = value;
            value.expr = as_outer(value.expr, cx)?;
            let equal = self.compare("==", Typed::attribute(&column), value, span)?;
            plan = LogicalPlan::Filter(Filter::try_new(equal.expr, Arc::new(plan))?);
        }
        let expr = DfExpr::Exists(Exists { subquery: subquery_of(Rel { plan, ..rel })?, negated: false });
        Ok(Typed::new(expr, DataType::Boolean, true, name))
    }

    /// The number of rows of a subquery, as a scalar subquery.
    fn count_of(&mut self, rel: Rel) -> Result<DfExpr> {
        let id = self.next_id();
        let count = datafusion::functions_aggregate::count::count_udaf().call(vec![lit(1_i64)]).alias(crate::scope::plan_name(id));
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rel.plan), vec![], vec![count])?);
        let outer_ref_columns = plan.all_out_ref_exprs();
        let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
        let count = DfExpr::ScalarSubquery(subquery);
        // A decorrelated count of no rows may come back as NULL.
        let case =
            Case::new(None, vec![(Box::new(DfExpr::IsNotNull(Box::new(count.clone()))), Box::new(count))], Some(Box::new(lit(0_i64))));
        Ok(DfExpr::Case(case))
    }

    /// `a IN (subquery)` outside of a condition, with its three values: found, not found, unknown.
    fn in_as_counts(&mut self, cx: &ExprCx, value: Typed, rel: Rel) -> Result<DfExpr> {
        let attr = single_column(&rel, "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH", Span::NONE)?;
        let filtered = |condition: DfExpr| -> Result<Rel> {
            let plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(rel.plan.clone()))?);
            Ok(Rel { plan, ..rel.clone() })
        };
        let equal = datafusion::logical_expr::binary_expr(attr.column(), Operator::Eq, as_outer(value.expr.clone(), cx)?);
        let found = self.count_of(filtered(equal)?)?;
        let nulls = self.count_of(filtered(DfExpr::IsNull(Box::new(attr.column())))?)?;
        let all = self.count_of(rel.clone())?;
        let unknown = DfExpr::IsNull(Box::new(value.expr)).or(nulls.gt(lit(0_i64)));
        let null = DfExpr::Literal(datafusion::common::ScalarValue::Boolean(None), None);
        let branches = vec![
            (Box::new(found.gt(lit(0_i64))), Box::new(lit(true))),
            (Box::new(all.eq(lit(0_i64))), Box::new(lit(false))),
            (Box::new(unknown), Box::new(null)),
        ];
        Ok(DfExpr::Case(Case::new(None, branches, Some(Box::new(lit(false))))))
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

/// Whether the plan is an aggregation without groups, perhaps under projections.
fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Limit(limit) => gives_one_row(&limit.input),
        _ => false,
    }
}

/// Whether a number of rows is cut off, which DataFusion cannot do for each row of the query around.
fn limits_rows(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_)))).unwrap_or(true)
}

/// Whether a condition names columns of the query around and none of its own, which DataFusion cannot make a join of.
fn filters_by_outer_alone(plan: &LogicalPlan) -> bool {
    let is_outer_alone = |part: &DfExpr| part.contains_outer() && part.column_refs().is_empty();
    let found = plan.exists(|node| match node {
        LogicalPlan::Filter(filter) => Ok(split_conjunction(&filter.predicate).into_iter().any(is_outer_alone)),
        _ => Ok(false),
    });
    found.unwrap_or(true)
}

/// The outer query's columns as a subquery sees them.
fn as_outer(expr: DfExpr, cx: &ExprCx) -> Result<DfExpr> {
    let out = expr.transform(|node| match &node {
        DfExpr::Column(column) => match cx.scope.iter().find(|attr| attr.plan_name() == column.name) {
            Some(attr) => {
                let arrow = crate::types::arrow_type(&attr.data_type)
                    .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error.into_core(None))))?;
                let field = arrow::datatypes::Field::new(&column.name, arrow, attr.nullable);
                Ok(Transformed::yes(DfExpr::OuterReferenceColumn(Arc::new(field), column.clone())))
            }
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(out.data)
}

fn single_column(rel: &Rel, class: &'static str, span: Span) -> Result<Attribute> {
    let visible: Vec<&Attribute> = rel.visible().collect();
    match visible.as_slice() {
        [attr] => Ok((*attr).clone()),
        many => Err(AnalysisError::invalid(class, format!("the subquery must give one column, not {}", many.len()), span)),
    }
}
