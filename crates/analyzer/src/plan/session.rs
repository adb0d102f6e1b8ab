//! `GROUP BY session_window(time, gap)`: rows, each with the session that it would be alone. Over a stream the aggregation, which
//! has state, joins them. Over finished data window functions do, below the aggregation:
//!
//! ```text
//! rows with own sessions ─ is a new one: start > greatest end before ─ number = running count of new ones
//!                        ─ session = (least start, greatest end) of the number ─ Aggregate by session and the other keys
//! ```
//! All of it apart for each combination of the other keys, as in Spark.

use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::functions_aggregate::{min_max, sum};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    AggregateUDF, Case, Expr as DfExpr, Filter, LogicalPlan, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};
use millstream_sql::ir::{Expr, Grouping, UnresolvedFunction};

use super::sort::position;
use super::{projection, window_plan, with_batch_time, with_replaced};
use crate::error::Result;
use crate::expr::{ExprCx, SessionBounds, TimeWindow, Typed};
use crate::registry::{bounds, field};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, column, plan_name};
use crate::walk::visit;

/// The name of the function and of its column.
const SESSION: &str = "session_window";

impl Resolver<'_> {
    /// The rows with their own sessions, when `grouping` asks for some; `cx` knows the sessions' column then.
    pub(super) fn with_sessions(&mut self, cx: &mut ExprCx, rel: Rel, grouping: &Grouping, list: &[Expr]) -> Result<Rel> {
        let Some(call) = session_call(grouping, list) else { return Ok(rel) };
        let mut below = ExprCx::new(&cx.scope, "GROUP BY").with_event_times(&rel.watermarks);
        let bounds = self.session_bounds(&mut below, call)?;
        let plan = of_some_length(with_batch_time(rel.plan, &below)?, &bounds)?;
        let session = self.next_id();
        if let Some(delay) = below.event_time_delay(&bounds.start.expr) {
            cx.event_times.push((column(session), delay));
        }
        with_session(cx, Rel { plan, ..rel }, session, bounds.session()?, bounds.meaning)
    }
}

/// The rows with the sessions that they are in among the rows of equal keys, in the place of their own.
pub(super) fn with_joined_sessions(resolver: &Resolver<'_>, input: LogicalPlan, session: u64, keys: Vec<DfExpr>) -> Result<LogicalPlan> {
    let [start, end, greatest, number, least, last] = std::array::from_fn(|_| resolver.next_id());
    let columns: Vec<Column> = input.schema().columns();
    let mut exprs: Vec<DfExpr> = columns.iter().cloned().map(DfExpr::Column).collect();
    exprs.extend([(start, "start"), (end, "end")].map(|(id, bound)| field(column(session), bound).alias(plan_name(id))));
    let mut plan = projection(exprs, input)?;

    let unbounded = || WindowFrameBound::Preceding(ScalarValue::UInt64(None));
    let before = WindowFrame::new_bounds(WindowFrameUnits::Rows, unbounded(), WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))));
    let so_far = WindowFrame::new_bounds(WindowFrameUnits::Rows, unbounded(), WindowFrameBound::CurrentRow);
    let in_order = || vec![SortExpr::new(column(start), true, true), SortExpr::new(column(end), true, true)];
    plan = window_plan(over(min_max::max_udaf(), column(end), keys.clone(), in_order(), before), greatest, plan)?;
    // A row exactly at the end still belongs to the session, as in Spark.
    let begins = DfExpr::IsNull(Box::new(column(greatest))).or(column(start).gt(column(greatest)));
    let begins = DfExpr::Case(Case::new(None, vec![(Box::new(begins), Box::new(lit(1_i64)))], Some(Box::new(lit(0_i64)))));
    plan = window_plan(over(sum::sum_udaf(), begins, keys.clone(), in_order(), so_far), number, plan)?;
    let of_session: Vec<DfExpr> = keys.into_iter().chain([column(number)]).collect();
    let all = || WindowFrame::new(None);
    plan = window_plan(over(min_max::min_udaf(), column(start), of_session.clone(), vec![], all()), least, plan)?;
    plan = window_plan(over(min_max::max_udaf(), column(end), of_session, vec![], all()), last, plan)?;
    with_replaced(plan, columns, session, &bounds(column(least), column(last))?)
}

/// The rows with their session as one more column, which is a window of time from here on.
fn with_session(cx: &mut ExprCx, rel: Rel, session: u64, mut session_struct: Typed, meaning: String) -> Result<Rel> {
    let mut exprs: Vec<DfExpr> = rel.attrs.iter().map(Attribute::column).collect();
    exprs.push(session_struct.expr.alias(plan_name(session)));
    session_struct.expr = column(session);
    let time = column(session);
    cx.time_windows.push(TimeWindow { typed: session_struct, time, sliding: None, windows: None, meaning });
    Ok(Rel { plan: projection(exprs, rel.plan)?, ..rel })
}

/// Times and gaps that are null, or no length, make no session.
fn of_some_length(plan: LogicalPlan, bounds: &SessionBounds) -> Result<LogicalPlan> {
    let (start, end) = (bounds.start.expr.clone(), bounds.end.expr.clone());
    Ok(LogicalPlan::Filter(Filter::try_new(end.gt(start), Arc::new(plan))?))
}

fn over(function: Arc<AggregateUDF>, arg: DfExpr, partition_by: Vec<DfExpr>, order_by: Vec<SortExpr>, frame: WindowFrame) -> DfExpr {
    let mut call = WindowFunction::new(WindowFunctionDefinition::AggregateUDF(function), vec![arg]);
    call.params.partition_by = partition_by;
    call.params.order_by = order_by;
    call.params.window_frame = frame;
    DfExpr::WindowFunction(Box::new(call))
}

/// The call that `GROUP BY` means, by itself, by position or by alias.
fn session_call<'e>(grouping: &'e Grouping, list: &'e [Expr]) -> Option<&'e UnresolvedFunction> {
    let call_in = |expr: &'e Expr| {
        let mut found = None;
        visit(expr, &mut |node| {
            if let Expr::UnresolvedFunction(call) = node
                && call.name.eq_ignore_ascii_case(SESSION)
            {
                found = Some(call);
            }
        });
        found
    };
    keys_of(grouping, list).into_iter().find_map(call_in)
}

/// All keys, of all sets.
fn keys_of<'e>(grouping: &'e Grouping, list: &'e [Expr]) -> Vec<&'e Expr> {
    let named = |keys: &'e [Expr]| keys.iter().map(|key| in_list(key, list));
    match grouping {
        Grouping::Plain(keys) => named(keys).collect(),
        Grouping::Rollup(sets) | Grouping::Cube(sets) => sets.iter().flat_map(|set| named(set)).collect(),
        Grouping::Sets { keys, sets } => named(keys).chain(sets.iter().flat_map(|set| named(set))).collect(),
        Grouping::All(_) => list.iter().map(bare).collect(),
        Grouping::Several(parts) => parts.iter().flat_map(|part| keys_of(part, list)).collect(),
        _ => vec![],
    }
}

/// What a key means: an entry of the list, by position or by alias, or itself.
fn in_list<'e>(key: &'e Expr, list: &'e [Expr]) -> &'e Expr {
    if let Some(entry) = position(key).and_then(|n| usize::try_from(n - 1).ok()).and_then(|idx| list.get(idx)) {
        return bare(entry);
    }
    let Expr::UnresolvedAttribute { parts, .. } = key else { return key };
    let [wanted] = parts.as_slice() else { return key };
    let aliased = list.iter().find_map(|entry| match entry {
        Expr::Alias { expr, names, .. } if names.iter().any(|name| name.name.eq_ignore_ascii_case(wanted)) => Some(expr.as_ref()),
        _ => None,
    });
    aliased.filter(|expr| is_session(expr)).unwrap_or(key)
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias { expr, .. } => expr,
        other => other,
    }
}

fn is_session(expr: &Expr) -> bool {
    matches!(expr, Expr::UnresolvedFunction(call) if call.name.eq_ignore_ascii_case(SESSION))
}
