//! `ORDER BY`: its keys over the columns of a list, positions and `ALL`, and a sort above anything.

use std::sync::Arc;

use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan, Sort as DfSort, SortExpr};
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Literal, NullOrdering, Plan, SortDirection, SortOrder};

use super::select_block::take_apart;
use super::select_list::Out;
use super::{projection, with_batch_time};
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, column};
use crate::stream_check;

/// Keys above a select block.
#[derive(Clone, Copy)]
pub(crate) struct Order<'p> {
    pub(super) keys: &'p [SortOrder],
    pub(super) span: Span,
}

impl Resolver<'_> {
    /// `ORDER BY` above anything.
    pub(crate) fn sort(&mut self, input: &Plan, order: &[SortOrder], _is_global: bool, span: Span) -> Result<Rel> {
        let order = Order { keys: order, span };
        if take_apart(input).is_some() {
            return self.select(input, Some(order));
        }
        let rel = self.plan(input)?;
        stream_check::sort(&rel, span)?;
        let outs: Vec<Out> = rel.visible().map(Out::kept).collect();
        let mut cx = ExprCx::new(&rel.attrs, "ORDER BY");
        let keys = self.sort_keys(&mut cx, order.keys, &outs)?;
        let plan = with_batch_time(rel.plan, &cx)?;
        let plan = LogicalPlan::Sort(DfSort { expr: keys, input: Arc::new(plan), fetch: None });
        let plan = if cx.adds_columns() { projection(rel.attrs.iter().map(Attribute::column).collect(), plan)? } else { plan };
        Ok(Rel { plan, ..rel })
    }

    /// The keys of a sort, over what lies below it and over the list `outs`.
    pub(super) fn sort_keys(&mut self, cx: &mut ExprCx, keys: &[SortOrder], outs: &[Out]) -> Result<Vec<SortExpr>> {
        let mut out = vec![];
        for key in keys {
            let ascending = key.direction == SortDirection::Ascending;
            let nulls_first = key.nulls == NullOrdering::First;
            let mut push = |expr: DfExpr| out.push(SortExpr::new(expr, ascending, nulls_first));
            if is_all(&key.expr, cx, self) {
                outs.iter().for_each(|out| push(column(out.attr.id)));
                continue;
            }
            let typed = match position(&key.expr) {
                Some(position) => ordinal(outs, position, key.expr.span())?,
                None => self.expr(cx, &key.expr)?,
            };
            if !crate::coerce::is_orderable(&typed.data_type) {
                return Err(AnalysisError::invalid(
                    "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
                    format!("'{}' of type {} cannot be sorted", typed.name, typed.data_type.sql()),
                    key.expr.span(),
                ));
            }
            // A key that is a column of the list is that column.
            let same = outs.iter().find(|out| out.typed.expr == typed.expr && out.typed.data_type == typed.data_type);
            push(same.map_or(typed.expr, |out| column(out.attr.id)));
        }
        Ok(out)
    }
}

/// The number of a position: `ORDER BY 2`.
pub(crate) fn position(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal { value: Literal::Int(n), .. } => Some(i64::from(*n)),
        _ => None,
    }
}

fn ordinal(outs: &[Out], position: i64, span: Span) -> Result<Typed> {
    let found = usize::try_from(position - 1).ok().and_then(|idx| outs.get(idx));
    match found {
        Some(out) => Ok(Typed { expr: column(out.attr.id), ..out.typed.clone() }),
        None => Err(AnalysisError::invalid(
            "ORDER_BY_POS_OUT_OF_RANGE",
            format!("ORDER BY position {position} is not in the list of {} columns", outs.len()),
            span,
        )
        .hint("positions count the columns of the list from 1")),
    }
}

/// `ORDER BY ALL`, unless a column is called so.
fn is_all(expr: &Expr, cx: &ExprCx, resolver: &Resolver<'_>) -> bool {
    let Expr::UnresolvedAttribute { parts, .. } = expr else { return false };
    let [name] = parts.as_slice() else { return false };
    let case = resolver.name_case();
    name.eq_ignore_ascii_case("all") && !cx.scope.iter().chain(&cx.outputs).any(|attr| case.same(&attr.name, name))
}
