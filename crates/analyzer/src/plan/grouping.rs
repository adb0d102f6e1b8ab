//! `GROUP BY`: its keys, grouping sets, and what expressions over groups become.
//!
//! Expressions of a grouped select list are resolved over the input first; then every subtree that equals a key
//! becomes the key's column. What still names a column of the input is neither grouped nor aggregated: an error.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::functions::core::expr_fn::least;
use datafusion::logical_expr::expr_fn::bitwise_and;
use datafusion::logical_expr::{Aggregate, Expr as DfExpr, Filter, GroupingSet, LogicalPlan, cast, lit};
use millstream_core::TimeWindows;
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Grouping};

use super::groups_with_state::named_columns;
use super::projection;
use super::session::with_joined_sessions;
use super::sort::position;
use crate::error::{AnalysisError, Result};
use crate::expr::{Collect, Collected, ExprCx, GroupingKeys, Item, Typed};
use crate::registry::{field, kernel_call};
use crate::resolver::Resolver;
use crate::scope::{Visibility, column, plan_name};
use crate::streaming::{NamedColumn, StatefulAggregateNode, TimeWindowKey, WholeWindows};
use crate::types::arrow_type;
use crate::walk::contains_aggregate;

/// Most grouping sets of one query.
const SETS_MAX: usize = 4096;

/// A resolved `GROUP BY`.
#[derive(Default)]
pub(crate) struct Grouped {
    pub(super) keys: Vec<Key>,
    /// The sets, as indices into `keys`; none for a plain `GROUP BY`, and for the empty set alone.
    sets: Option<Vec<Vec<usize>>>,
    /// The column of the sets' id.
    pub(super) sets_id: Option<u64>,
    /// The key that is the session of rows.
    pub(super) session: Option<usize>,
    /// The input's columns.
    input: HashSet<String>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: u64,
    expr: DfExpr,
    /// What the user calls it.
    name: String,
}

/// What an aggregation of a stream knows beside its keys and calls. Keys are meant by their numbers.
pub(crate) struct OnStream {
    key_names: Vec<String>,
    key_meanings: Vec<String>,
    /// The key by which groups become final, if one of them decides.
    event_time: Option<usize>,
    pub(super) session: Option<usize>,
    /// Those that carry the event time, but for the session.
    pub(super) carriers: Vec<usize>,
    /// Of the carriers those that are windows: a group of several becomes final at the earliest of their ends.
    pub(super) windows: Vec<usize>,
    /// The columns of the relation.
    relation: Vec<NamedColumn>,
    /// For each window that overlaps others: whether it is the latest that holds the row.
    pub(super) is_latest: Vec<DfExpr>,
    sliced: Option<SlicedKey>,
}

/// By which columns of its input, or of its result, the aggregation of a stream goes with time.
#[derive(Default)]
pub(super) struct Timing {
    pub(super) event_time: Option<Column>,
    pub(super) session: Option<Column>,
    pub(super) once_per_row: Option<Column>,
}

/// The key that is a window of time, if the aggregation can keep slices of windows.
struct SlicedKey {
    idx: usize,
    /// The type of the window, a struct.
    data_type: ArrowType,
    time: DfExpr,
    windows: TimeWindows,
    whole: WholeWindows,
}

impl OnStream {
    /// Whether a row of several windows comes in once, and not once for each.
    pub(crate) fn takes_whole_rows(&self) -> bool {
        self.sliced.as_ref().is_some_and(SlicedKey::overlaps)
    }

    /// Whether it is the session that says when a group is final.
    pub(super) fn is_final_by_session(&self) -> bool {
        self.session.is_some() && self.event_time == self.session
    }

    /// Which sets there are is part of what the aggregation means.
    pub(super) fn of_sets(mut self, sets: &[Vec<usize>]) -> Self {
        self.key_meanings.push(format!("sets {sets:?}"));
        self
    }
}

impl Resolver<'_> {
    /// Resolves `GROUP BY` before the list, so that `grouping()` in it finds the keys.
    pub(crate) fn grouping(&mut self, cx: &mut ExprCx, grouping: &Grouping, items: &[Item<'_>], span: Span) -> Result<Grouped> {
        let mut keys: Vec<Key> = vec![];
        let mut sets = self.sets(cx, grouping, items, &mut keys, span)?;
        let is_plain = matches!(grouping, Grouping::Plain(_) | Grouping::All(_));
        if sets.len() > SETS_MAX {
            return Err(AnalysisError::invalid("GROUPING_SIZE_LIMIT_EXCEEDED", format!("more than {SETS_MAX} grouping sets"), span));
        }
        for set in &mut sets {
            let mut seen = HashSet::new();
            set.retain(|idx| seen.insert(*idx));
        }
        let mut out = Grouped { keys, ..Grouped::default() };
        out.input = cx.scope.iter().map(crate::scope::Attribute::plan_name).collect();
        if !is_plain {
            let id = self.next_id();
            out.sets_id = Some(id);
            // The empty set alone groups by nothing: it has its row without any input. One beside others has not, as in Spark.
            let is_total = out.keys.is_empty() && sets.len() == 1;
            out.keys = in_order_of_sets(out.keys, &mut sets);
            cx.grouping = Some(GroupingKeys { keys: out.keys.iter().map(|key| key.expr.clone()).collect(), id });
            out.sets = (!is_total).then_some(sets);
        }
        let is_session = |key: &Key| cx.time_windows.iter().any(|window| window.is_session() && window.typed.expr == key.expr);
        out.session = out.keys.iter().position(is_session);
        Ok(out)
    }

    fn sets(
        &mut self,
        cx: &mut ExprCx,
        grouping: &Grouping,
        items: &[Item<'_>],
        keys: &mut Vec<Key>,
        span: Span,
    ) -> Result<Vec<Vec<usize>>> {
        let mut of = |resolver: &mut Self, exprs: &[Expr]| -> Result<Vec<usize>> {
            exprs.iter().map(|expr| resolver.key(cx, expr, items, keys)).collect()
        };
        Ok(match grouping {
            Grouping::Plain(exprs) => vec![of(self, exprs)?],
            Grouping::Rollup(groups) => {
                let groups = groups.iter().map(|group| of(self, group)).collect::<Result<Vec<_>>>()?;
                (0..=groups.len()).rev().map(|n| groups.iter().take(n).flatten().copied().collect()).collect()
            }
            Grouping::Cube(groups) => {
                let groups = groups.iter().map(|group| of(self, group)).collect::<Result<Vec<_>>>()?;
                let n_sets = 1_usize.checked_shl(u32::try_from(groups.len()).unwrap_or(u32::MAX)).filter(|n| *n <= SETS_MAX);
                let Some(n_sets) = n_sets else {
                    return Err(AnalysisError::invalid(
                        "GROUPING_SIZE_LIMIT_EXCEEDED",
                        format!("more than {SETS_MAX} grouping sets"),
                        span,
                    ));
                };
                (0..n_sets)
                    .rev()
                    .map(|mask| {
                        let is_in = |idx: usize| mask >> (groups.len() - 1 - idx) & 1 == 1;
                        groups.iter().enumerate().filter(|(idx, _)| is_in(*idx)).flat_map(|(_, group)| group.clone()).collect()
                    })
                    .collect()
            }
            Grouping::Sets { keys: front, sets } => {
                of(self, front)?;
                sets.iter().map(|set| of(self, set)).collect::<Result<Vec<_>>>()?
            }
            Grouping::All(_) => {
                let mut all = vec![];
                for item in items {
                    match item {
                        Item::Column(typed) => all.push(add_key(self, keys, typed)),
                        Item::Expr(expr) if contains_aggregate(expr, self.catalog()) => {}
                        Item::Expr(expr) => all.push(self.key(cx, bare(expr), &[], keys)?),
                    }
                }
                vec![all]
            }
            Grouping::Several(parts) => {
                let mut product: Vec<Vec<usize>> = vec![vec![]];
                for part in parts {
                    let sets = self.sets(cx, part, items, keys, span)?;
                    if product.len().saturating_mul(sets.len()) > SETS_MAX {
                        return Err(AnalysisError::invalid(
                            "GROUPING_SIZE_LIMIT_EXCEEDED",
                            format!("more than {SETS_MAX} grouping sets"),
                            span,
                        ));
                    }
                    product =
                        product.iter().flat_map(|left| sets.iter().map(move |right| left.iter().chain(right).copied().collect())).collect();
                }
                product
            }
            _ => return Err(AnalysisError::unsupported("this form of GROUP BY", span)),
        })
    }

    /// One key: an expression over the input, a position or an alias of the list.
    fn key(&mut self, cx: &mut ExprCx, expr: &Expr, items: &[Item<'_>], keys: &mut Vec<Key>) -> Result<usize> {
        let span = expr.span();
        if let Some(n) = position(expr)
            && !items.is_empty()
        {
            let item = usize::try_from(n - 1).ok().and_then(|idx| items.get(idx));
            return match item {
                None => Err(AnalysisError::invalid(
                    "GROUP_BY_POS_OUT_OF_RANGE",
                    format!("GROUP BY position {n} is not in the list of {} columns", items.len()),
                    span,
                )),
                Some(Item::Column(typed)) => Ok(add_key(self, keys, typed)),
                Some(Item::Expr(expr)) if contains_aggregate(expr, self.catalog()) => {
                    Err(AnalysisError::invalid("GROUP_BY_POS_AGGREGATE", format!("GROUP BY position {n} is an aggregate"), span))
                }
                Some(Item::Expr(expr)) => self.key(cx, bare(expr), &[], keys),
            };
        }
        let aggregates = std::mem::replace(&mut cx.aggregates, Collect::Refused("GROUP BY"));
        let windows = std::mem::replace(&mut cx.windows, Collect::Refused("GROUP BY"));
        let typed = self.expr(cx, expr);
        cx.facts.are_of_keys();
        cx.aggregates = aggregates;
        cx.windows = windows;
        let typed = match typed {
            Err(error) if error.class().is_some_and(|class| class.starts_with("UNRESOLVED_COLUMN")) => {
                return match self.alias_in_list(expr, items) {
                    Some(aliased) if contains_aggregate(aliased, self.catalog()) => {
                        Err(AnalysisError::invalid("GROUP_BY_AGGREGATE", "a key of GROUP BY cannot be an aggregate", span))
                    }
                    Some(aliased) => self.key(cx, aliased, &[], keys),
                    None => Err(error),
                };
            }
            other => other?,
        };
        if !crate::coerce::is_orderable(&typed.data_type) {
            return Err(AnalysisError::invalid(
                "GROUP_EXPRESSION_TYPE_IS_NOT_ORDERABLE",
                format!("'{}' of type {} cannot be grouped", typed.name, typed.data_type.sql()),
                span,
            ));
        }
        Ok(add_key(self, keys, &typed))
    }

    fn alias_in_list<'e>(&self, expr: &Expr, items: &[Item<'e>]) -> Option<&'e Expr> {
        let Expr::UnresolvedAttribute { parts, .. } = expr else { return None };
        let [wanted] = parts.as_slice() else { return None };
        let case = self.name_case();
        items.iter().find_map(|item| match item {
            Item::Expr(Expr::Alias { expr, names, .. }) if names.iter().any(|name| case.same(&name.name, wanted)) => Some(expr.as_ref()),
            _ => None,
        })
    }
}

impl Grouped {
    /// What the aggregation of a stream must know: the names of its keys, and which one is the event time.
    pub(crate) fn on_stream(&self, cx: &ExprCx) -> OnStream {
        let window = |key: &Key| cx.time_windows.iter().find(|window| window.typed.expr == key.expr);
        let carries_time = |idx: &usize| self.keys.get(*idx).is_some_and(|key| cx.event_time_delay(&key.expr).is_some());
        let is_window = |idx: &usize| self.keys.get(*idx).is_some_and(|key| window(key).is_some());
        let carriers: Vec<usize> = (0..self.keys.len()).filter(|idx| carries_time(idx) && self.session != Some(*idx)).collect();
        let event_time = self.session.filter(carries_time).or_else(|| carriers.first().copied());
        // By slices of windows that overlap a group is final with its window, and by nothing else.
        let is_final_by = |idx: usize| event_time.is_none_or(|key| key == idx);
        let sliced = self.sliced(cx).filter(|sliced| !sliced.overlaps() || is_final_by(sliced.idx));
        let sliding = self.keys.iter().filter_map(|key| window(key)?.sliding.as_ref());
        let is_timed = (0..self.keys.len()).any(|idx| is_window(&idx) && carries_time(&idx));
        let expanded = sliding.filter(|_| is_timed && sliced.is_none());
        let meaning = |key: &Key| window(key).map_or_else(|| key.name.clone(), |window| window.meaning.clone());
        OnStream {
            is_latest: expanded.map(|sliding| column(sliding.is_latest.0)).collect(),
            sliced,
            key_meanings: self.keys.iter().map(meaning).collect(),
            key_names: self.keys.iter().map(|key| key.name.clone()).collect(),
            event_time,
            session: self.session,
            windows: carriers.iter().copied().filter(is_window).collect(),
            carriers,
            relation: named_columns(cx.scope.iter().filter(|attr| attr.visibility == Visibility::Shown)),
        }
    }

    /// Whether the key is the session of rows, or made of it.
    pub(super) fn is_of_session(&self, key: usize) -> bool {
        let Some(session) = self.session.and_then(|session| self.keys.get(session)) else { return false };
        let key = self.keys.get(key);
        key.is_some_and(|key| key.expr.exists(|node| Ok(*node == session.expr)).unwrap_or(true))
    }

    /// The key that is a window of time, unless something else asks for the windows of a row: another key, an aggregate, other
    /// windows, or grouping sets (one without the window counts a row once for each of them).
    fn sliced(&self, cx: &ExprCx) -> Option<SlicedKey> {
        let [window] = cx.time_windows.as_slice() else { return None };
        let idx = self.keys.iter().position(|key| key.expr == window.typed.expr)?;
        let windows = window.windows.filter(|_| self.sets.is_none())?;
        if let Some(sliding) = &window.sliding {
            let others = self.keys.iter().enumerate().filter(|(other, _)| *other != idx).map(|(_, key)| &key.expr);
            let mut exprs = others.chain(cx.aggregates.items().iter().map(|call| &call.expr));
            let single = column(sliding.id);
            if exprs.any(|expr| expr.exists(|node| Ok(*node == single)).unwrap_or(true)) {
                return None;
            }
        }
        let data_type = arrow_type(&window.typed.data_type).ok()?;
        let whole = match &window.sliding {
            Some(sliding) => WholeWindows::Each(Box::new(sliding.clone())),
            None => WholeWindows::One(window.typed.expr.clone()),
        };
        Some(SlicedKey { idx, data_type, time: window.time.clone(), windows, whole })
    }

    /// The aggregation over `input`.
    pub(crate) fn plan(
        &self,
        resolver: &mut Resolver<'_>,
        input: LogicalPlan,
        aggregates: &[Collected],
        on_stream: Option<OnStream>,
    ) -> Result<LogicalPlan> {
        if let Some(session) = self.session.filter(|_| on_stream.is_some())
            && (0..self.keys.len()).any(|key| key != session && self.is_of_session(key))
        {
            let what = "a key that is made of the session, beside it, on a stream";
            return Err(AnalysisError::unsupported(what, Span::NONE).hint("leave it out: the session says it"));
        }
        if let Some(sets) = self.sets.as_ref().filter(|_| on_stream.is_some() || self.session.is_some()) {
            return self.plan_of_sets(resolver, input, aggregates, on_stream, sets);
        }
        let mut keys = self.keys.clone();
        let on_stream = on_stream.map(|on_stream| on_stream.with_first_end(&mut keys, resolver));
        let sliced = on_stream.as_ref().and_then(|on_stream| on_stream.sliced.as_ref());
        let window = sliced.map(|sliced| sliced.put_among(&mut keys, resolver.next_id())).transpose()?;
        let mut input = input;
        if let Some(session) = self.session.and_then(|session| keys.get(session)).filter(|_| on_stream.is_none()) {
            // What is made of a session is known when the sessions are.
            let others: Vec<&Key> = keys.iter().enumerate().filter(|(idx, _)| !self.is_of_session(*idx)).map(|(_, key)| key).collect();
            let columns = others.iter().map(|key| column(key.id)).collect();
            input = with_computed(input, others.into_iter())?;
            input = with_joined_sessions(resolver, input, session.id, columns)?;
            input = with_computed(input, keys.iter().enumerate().filter(|(idx, _)| self.is_of_session(*idx)).map(|(_, key)| key))?;
        } else {
            input = with_computed(input, keys.iter())?;
        }
        let (input, once_per_row) = with_once_per_row(input, on_stream.as_ref(), resolver)?;
        let mut calls: Vec<DfExpr> = aggregates.iter().map(|call| call.expr.clone().alias(plan_name(call.id))).collect();
        if calls.is_empty() && self.keys.is_empty() {
            calls.push(datafusion::functions_aggregate::count::count_udaf().call(vec![lit(1)]).alias(plan_name(resolver.next_id())));
        }
        let plan_column = |key: usize| keys.get(key).map(|key| Column::new_unqualified(plan_name(key.id)));
        // A window is called by its own name in the result, not by that of its slice.
        let given_column =
            |key: usize| self.keys.get(key).map(|key| Column::new_unqualified(plan_name(key.id))).or_else(|| plan_column(key));
        let timing = on_stream.as_ref().map_or_else(Timing::default, |on_stream| Timing {
            event_time: on_stream.event_time.and_then(given_column),
            session: on_stream.session.and_then(given_column),
            once_per_row,
        });
        let keys: Vec<DfExpr> = keys.iter().map(|key| column(key.id)).collect();
        let Some(sets) = &self.sets else {
            let plan = aggregation(Aggregate::try_new(Arc::new(input), keys, calls)?, aggregates, on_stream, timing, window)?;
            let Some(id) = self.sets_id else { return Ok(plan) };
            let columns = plan.schema().columns().into_iter().map(DfExpr::Column);
            return projection(columns.chain([lit(0_i64).alias(plan_name(id))]).collect(), plan);
        };
        let n_keys = keys.len();
        let sets: Vec<Vec<DfExpr>> = sets.iter().map(|set| set.iter().filter_map(|idx| keys.get(*idx).cloned()).collect()).collect();
        let has_total = sets.iter().any(Vec::is_empty);
        let grouping = vec![DfExpr::GroupingSet(GroupingSet::GroupingSets(sets))];
        let n_rows = resolver.next_id();
        if has_total {
            calls.push(datafusion::functions_aggregate::count::count_udaf().call(vec![lit(1)]).alias(plan_name(n_rows)));
        }
        let mut plan = aggregation(Aggregate::try_new(Arc::new(input), grouping, calls)?, aggregates, None, timing, None)?;
        if has_total {
            // The total of no rows is none, as in Spark: a set is a key, too.
            plan = LogicalPlan::Filter(Filter::try_new(column(n_rows).gt(lit(0_i64)), Arc::new(plan))?);
        }
        let Some(id) = self.sets_id else { return Ok(plan) };
        let left_out = u32::try_from(n_keys).ok().and_then(|n| 1_i64.checked_shl(n)).unwrap_or(0).wrapping_sub(1);
        let mut exprs: Vec<DfExpr> = vec![];
        for plan_column in plan.schema().columns() {
            let name = plan_column.name.clone();
            let expr = DfExpr::Column(plan_column);
            exprs.push(match name == Aggregate::INTERNAL_GROUPING_ID {
                // Above the bits of keys is the number of equal sets before.
                true => bitwise_and(cast(expr, arrow::datatypes::DataType::Int64), lit(left_out)).alias(plan_name(id)),
                false => expr,
            });
        }
        projection(exprs, plan)
    }

    /// The columns of the input that keys and these calls use.
    pub(crate) fn used_columns(&self, calls: &[Collected]) -> HashSet<String> {
        let exprs = self.keys.iter().map(|key| &key.expr).chain(calls.iter().map(|call| &call.expr));
        exprs.flat_map(|expr| expr.column_refs()).map(|column| column.name.clone()).collect()
    }

    /// Names of columns but for those of keys.
    pub(crate) fn without_keys(&self, names: HashSet<String>) -> HashSet<String> {
        let keys: HashSet<String> = self.keys.iter().map(|key| plan_name(key.id)).collect();
        names.into_iter().filter(|name| !keys.contains(name)).collect()
    }

    /// Whether an expression over the groups has a key that a grouping set leaves out, and which is null there.
    pub(crate) fn may_be_left_out(&self, expr: &DfExpr) -> bool {
        let Some(sets) = &self.sets else { return false };
        let used = expr.column_refs();
        let is_used = |key: &Key| used.iter().any(|column| column.name == plan_name(key.id));
        let mut keys = self.keys.iter().enumerate().filter(|(_, key)| is_used(key));
        keys.any(|(idx, _)| !sets.iter().all(|set| set.contains(&idx)))
    }

    /// An expression over the input as one over the groups.
    pub(crate) fn over_groups(&self, expr: DfExpr, name: &str, span: Span) -> Result<DfExpr> {
        let out = expr.transform_down(|node| match self.keys.iter().find(|key| key.expr == node) {
            Some(key) => Ok(Transformed::new(column(key.id), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(node)),
        })?;
        let is_key = |name: &str| self.keys.iter().any(|key| plan_name(key.id) == name);
        for used in out.data.column_refs() {
            if self.input.contains(&used.name) && !is_key(&used.name) {
                let class = if self.keys.is_empty() { "MISSING_GROUP_BY" } else { "MISSING_AGGREGATION" };
                return Err(AnalysisError::invalid(class, format!("'{name}' is neither in GROUP BY nor in an aggregate function"), span)
                    .hint("add it to GROUP BY, or use any_value() if any of the group's values will do"));
            }
        }
        Ok(out.data)
    }
}

impl OnStream {
    /// A group of several windows has as one more key the moment when it becomes final, which its windows decide.
    fn with_first_end(self, keys: &mut Vec<Key>, resolver: &Resolver<'_>) -> Self {
        if self.session.is_some() || self.windows.len() < 2 {
            return self;
        }
        let ends = self.windows.iter().filter_map(|idx| keys.get(*idx)).map(|key| field(key.expr.clone(), "end")).collect();
        keys.push(Key { id: resolver.next_id(), expr: least(ends), name: String::new() });
        Self { event_time: Some(keys.len() - 1), ..self }
    }
}

/// The input with these keys, where they are no columns of it, computed below the aggregation: so that they have a plan name.
pub(super) fn with_computed<'k>(input: LogicalPlan, keys: impl Iterator<Item = &'k Key>) -> Result<LogicalPlan> {
    let mut computed = keys.filter(|key| key.expr != column(key.id)).map(|key| key.expr.clone().alias(plan_name(key.id))).peekable();
    if computed.peek().is_none() {
        return Ok(input);
    }
    let columns = input.schema().columns().into_iter().map(DfExpr::Column);
    projection(columns.chain(computed).collect(), input)
}

/// A row of windows that overlap comes in once for each, or for each combination: it is one late row, when those are late
/// that become final last. The column that says so, if there is one.
fn with_once_per_row(input: LogicalPlan, on_stream: Option<&OnStream>, resolver: &Resolver<'_>) -> Result<(LogicalPlan, Option<Column>)> {
    let latest = on_stream.map(|on_stream| on_stream.is_latest.as_slice()).unwrap_or_default();
    match latest {
        [DfExpr::Column(only)] => Ok((input, Some(only.clone()))),
        _ => match latest.iter().cloned().reduce(DfExpr::and) {
            None => Ok((input, None)),
            Some(all) => {
                let name = plan_name(resolver.next_id());
                let mut exprs: Vec<DfExpr> = input.schema().columns().into_iter().map(DfExpr::Column).collect();
                exprs.push(all.alias(&name));
                Ok((projection(exprs, input)?, Some(Column::new_unqualified(name))))
            }
        },
    }
}

pub(super) fn aggregation(
    aggregate: Aggregate,
    calls: &[Collected],
    on_stream: Option<OnStream>,
    timing: Timing,
    window: Option<TimeWindowKey>,
) -> Result<LogicalPlan> {
    let Some(OnStream { key_names, key_meanings, relation, .. }) = on_stream else {
        return Ok(LogicalPlan::Aggregate(aggregate));
    };
    // The texts of Spark's column names: they change when what is computed changes.
    let calls = calls.iter().map(|call| call.typed.name.clone());
    let meaning = key_meanings.into_iter().chain(calls).collect();
    let node = StatefulAggregateNode::new(aggregate, key_names, timing.event_time)
        .with_meaning(meaning)
        .of_relation(relation)
        .joining_sessions(timing.session)
        .counting_late_rows_by(timing.once_per_row);
    Ok(match window {
        Some(window) => node.with_window(window)?.into_plan(),
        None => node.into_plan(),
    })
}

impl SlicedKey {
    fn overlaps(&self) -> bool {
        matches!(self.whole, WholeWindows::Each(_))
    }

    /// Has the start of the slice stand for the window among the keys.
    fn put_among(&self, keys: &mut [Key], id: u64) -> Result<TimeWindowKey> {
        let micros = [self.windows.length_us(), self.windows.slide_us(), self.windows.offset_us()].map(lit);
        let expr = kernel_call("window_slice", std::iter::once(self.time.clone()).chain(micros).collect())?;
        let key = keys.get_mut(self.idx).ok_or_else(|| AnalysisError::internal("a window among the keys that is not there"))?;
        let window = Field::new(plan_name(key.id), self.data_type.clone(), false);
        *key = Key { id, expr, name: key.name.clone() };
        Ok(TimeWindowKey::new(Column::new_unqualified(plan_name(id)), window, self.windows, self.whole.clone()))
    }
}

fn add_key(resolver: &Resolver<'_>, keys: &mut Vec<Key>, typed: &Typed) -> usize {
    let expr = typed.expr.clone();
    if let Some(idx) = keys.iter().position(|key| key.expr == expr) {
        return idx;
    }
    let id = match &expr {
        // A plain column keeps its name: the aggregation gives it on.
        DfExpr::Column(column) => column.name.strip_prefix('#').and_then(|id| id.parse().ok()),
        _ => None,
    };
    keys.push(Key { id: id.unwrap_or_else(|| resolver.next_id()), expr, name: typed.column_name() });
    keys.len() - 1
}

/// DataFusion numbers the keys by their first appearance in the sets; so do we.
fn in_order_of_sets(keys: Vec<Key>, sets: &mut [Vec<usize>]) -> Vec<Key> {
    let mut order: Vec<usize> = vec![];
    // Sets keep the keys' own order inside, so that the first (widest) one gives it.
    for set in sets.iter_mut() {
        set.sort_unstable();
    }
    for idx in sets.iter().flatten() {
        if !order.contains(idx) {
            order.push(*idx);
        }
    }
    for set in sets.iter_mut() {
        for idx in set.iter_mut() {
            *idx = order.iter().position(|known| known == idx).unwrap_or(*idx);
        }
    }
    order.into_iter().filter_map(|idx| keys.get(idx).cloned()).collect()
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias { expr, .. } => expr,
        other => other,
    }
}
