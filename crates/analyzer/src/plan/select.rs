//! `SELECT`, with all that hangs on its list: aggregation, `HAVING`, window functions, `QUALIFY`, `ORDER BY`.
//!
//! They are one function because they share one scope: `ORDER BY` and `HAVING` may name columns of the list and of
//! the input, aggregates are computed once wherever they are written. The plan grows bottom up:
//!
//! ```text
//! input ─ generator ─ batch time ─ [keys] ─ Aggregate ─ Filter (HAVING) ─ Window ─ Filter (QUALIFY) ─ Projection(s) ─ Sort ─ Projection
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr as DfExpr, Filter, LogicalPlan, SortExpr};
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Grouping, Plan};

use super::grouping::Grouped;
use super::select_block::{Block, take_apart};
use super::select_list::{Out, list_plan};
use super::sort::Order;
use super::{window_plan, with_batch_time, with_batch_time_and_whole_rows, with_facts};
use crate::error::{AnalysisError, Result};
use crate::expr::{Collect, Collected, ExprCx, Item, Typed, UsedFacts};
use crate::resolver::Resolver;
use crate::scope::{Attribute, AttributeWatermark, Rel, plan_name};
use crate::stream_check;

impl Resolver<'_> {
    /// A select block, with the sort above it if there is one.
    pub(crate) fn select(&mut self, plan: &Plan, order: Option<Order<'_>>) -> Result<Rel> {
        let Some(block) = take_apart(plan) else {
            return self.filter_above(plan);
        };
        for windows in &block.windows {
            if let Plan::WindowDefinitions { definitions, .. } = windows {
                self.windows.push(definitions.clone());
            }
        }
        let out = self.select_block(&block, order);
        let n_left = self.windows.len().saturating_sub(block.windows.len());
        self.windows.truncate(n_left);
        out
    }

    /// `HAVING` or `QUALIFY` above something that is no select block: a plain filter.
    fn filter_above(&mut self, plan: &Plan) -> Result<Rel> {
        match plan {
            Plan::Having { input, condition, span } => {
                let rel = self.plan(input)?;
                self.filter(rel, condition, "HAVING", *span)
            }
            Plan::Qualify { input, condition, span } => {
                let rel = self.plan(input)?;
                self.filter(rel, condition, "QUALIFY", *span)
            }
            other => Err(AnalysisError::internal("a select block of another kind").at(other.span())),
        }
    }

    fn select_block(&mut self, block: &Block<'_>, order: Option<Order<'_>>) -> Result<Rel> {
        let rel = self.plan(block.input)?;
        let (rel, scope, items) = self.list_items(rel, block)?;
        self.select_items(rel, scope, items, block, order)
    }

    /// `SELECT exprs ... GROUP BY grouping` over a relation.
    pub(crate) fn aggregate_over(&mut self, rel: Rel, grouping: &Grouping, exprs: &[Expr], span: Span) -> Result<Rel> {
        let block = Block { exprs, grouping: Some(grouping), ..Block::of_list(span) };
        let (rel, scope, items) = self.list_items(rel, &block)?;
        self.select_items(rel, scope, items, &block, None)
    }

    /// The block over its input and its list, whose stars and generators are resolved. `scope`: what expressions may name.
    pub(super) fn select_items(
        &mut self,
        rel: Rel,
        scope: Vec<Attribute>,
        items: Vec<Item<'_>>,
        block: &Block<'_>,
        order: Option<Order<'_>>,
    ) -> Result<Rel> {
        let mut cx = ExprCx::new(&scope, "SELECT").with_event_times(&rel.watermarks);
        cx.aggregates = Collect::Allowed(vec![]);
        cx.windows = Collect::Allowed(vec![]);

        let rel = match block.grouping {
            Some(grouping) => self.with_sessions(&mut cx, rel, grouping, block.exprs)?,
            None => rel,
        };
        let mut grouped = match block.grouping {
            Some(grouping) => {
                cx.takes_several_windows = true;
                let grouped = self.grouping(&mut cx, grouping, &items, block.span)?;
                cx.takes_several_windows = false;
                Some(grouped)
            }
            None => None,
        };
        let mut outs = self.outs(&mut cx, items)?;
        if grouped.is_none() && (!cx.aggregates.items().is_empty() || !block.having.is_empty()) {
            grouped = Some(Grouped::default());
        }
        if grouped.is_some() {
            self.keep_no_ids(&mut outs);
        }
        // HAVING stands below the windows.
        cx.outputs = below_windows(&outs, cx.windows.items()).map(|out| out.attr.clone()).collect();
        cx.outputs_first = true;
        let windows = std::mem::replace(&mut cx.windows, Collect::Refused("HAVING"));
        let having = block.having.iter().map(|expr| self.condition(&mut cx, expr, "HAVING")).collect::<Result<Vec<_>>>()?;
        cx.windows = windows;
        cx.outputs = outs.iter().map(|out| out.attr.clone()).collect();
        let qualify = block.qualify.iter().map(|expr| self.condition(&mut cx, expr, "QUALIFY")).collect::<Result<Vec<_>>>()?;
        let keys = match order {
            Some(order) => self.sort_keys(&mut cx, order.keys, &outs)?,
            None => vec![],
        };

        let watermarks = outs
            .iter()
            .filter_map(|out| Some(AttributeWatermark { id: out.attr.id, delay: cx.event_time_delay(&out.typed.expr)? }))
            .collect();
        let Rel { plan, is_streaming, .. } = rel.clone();
        let on_stream = grouped.as_ref().filter(|_| is_streaming).map(|grouped| grouped.on_stream(&cx));
        let mut above = Above { having, qualify, keys, windows: cx.windows.items().to_vec() };
        let mut facts_above = UsedFacts::default();
        let n_outs = outs.len();
        if let Some(grouped) = &grouped {
            // Without stars there is one column for each entry of the list, which the error then points at.
            let place = |idx: usize| match block.exprs.get(idx) {
                Some(expr) if block.exprs.len() == n_outs => expr.span(),
                _ => block.span,
            };
            for (idx, out) in outs.iter_mut().enumerate() {
                out.typed.expr = grouped.over_groups(out.typed.expr.clone(), &out.typed.name, place(idx))?;
                if grouped.may_be_left_out(&out.typed.expr) {
                    (out.typed.nullable, out.attr.nullable) = (true, true);
                }
            }
            above.put_over_groups(grouped, block.span)?;
            let used: HashSet<String> = outs.iter().flat_map(|out| names_in(&out.typed.expr)).chain(above.names()).collect();
            facts_above = cx.facts.among(&grouped.without_keys(used));
            cx.facts = cx.facts.among(&grouped.used_columns(cx.aggregates.items()));
        }
        let mut plan = match &on_stream {
            Some(on_stream) if on_stream.takes_whole_rows() => with_batch_time_and_whole_rows(plan, &cx)?,
            _ => with_batch_time(plan, &cx)?,
        };
        if let Some(grouped) = &grouped {
            plan = with_facts(grouped.plan(self, plan, cx.aggregates.items(), on_stream)?, &facts_above)?;
        }
        let inline: HashMap<String, DfExpr> = outs.iter().map(|out| (out.attr.plan_name(), out.typed.expr.clone())).collect();
        let Above { having, qualify, keys, windows } = above;
        for condition in having {
            plan = LogicalPlan::Filter(Filter::try_new(inlined(condition.expr, &inline)?, Arc::new(plan))?);
        }
        if !windows.is_empty() {
            stream_check::window_function(&rel, block.span)?;
            for window in windows {
                plan = window_plan(inlined(window.expr, &inline)?, window.id, plan)?;
            }
        }
        for condition in qualify {
            plan = LogicalPlan::Filter(Filter::try_new(inlined(condition.expr, &inline)?, Arc::new(plan))?);
        }
        if order.is_some() && grouped.is_none() {
            stream_check::sort(&rel, order.map_or(Span::NONE, |order| order.span))?;
        }
        // What a source hides can still be named above the list, though never above an aggregation.
        let is_shown = |attr: &Attribute| outs.iter().any(|out| out.attr.id == attr.id);
        let metadata: Vec<Attribute> = match grouped {
            Some(_) => vec![],
            None => rel.metadata().filter(|attr| !is_shown(attr)).cloned().collect(),
        };
        let plan = list_plan(plan, &outs, &metadata, keys)?;
        let attrs: Vec<Attribute> = outs.into_iter().map(|out| out.attr).chain(metadata).collect();
        Ok(Rel { plan, attrs, is_streaming, watermarks })
    }
}

/// What stands above the aggregation, but for the list.
struct Above {
    having: Vec<Typed>,
    qualify: Vec<Typed>,
    keys: Vec<SortExpr>,
    windows: Vec<Collected>,
}

impl Above {
    fn exprs(&mut self) -> impl Iterator<Item = (&mut DfExpr, &'static str)> {
        let having = self.having.iter_mut().map(|condition| (&mut condition.expr, "HAVING"));
        let qualify = self.qualify.iter_mut().map(|condition| (&mut condition.expr, "QUALIFY"));
        let keys = self.keys.iter_mut().map(|key| (&mut key.expr, "ORDER BY"));
        let windows = self.windows.iter_mut().map(|window| (&mut window.expr, "OVER"));
        keys.chain(having).chain(windows).chain(qualify)
    }

    fn put_over_groups(&mut self, grouped: &Grouped, span: Span) -> Result<()> {
        for (expr, clause) in self.exprs() {
            *expr = grouped.over_groups(std::mem::take(expr), clause, span)?;
        }
        Ok(())
    }

    /// The columns that are used.
    fn names(&mut self) -> Vec<String> {
        self.exprs().flat_map(|(expr, _)| names_in(expr)).collect()
    }
}

/// The columns of the list that have nothing to do with windows.
fn below_windows<'o>(outs: &'o [Out], windows: &[Collected]) -> impl Iterator<Item = &'o Out> {
    let mut of_windows: HashSet<String> = windows.iter().map(|window| plan_name(window.id)).collect();
    outs.iter().filter(move |out| {
        let is_of_windows = names_in(&out.typed.expr).iter().any(|name| of_windows.contains(name));
        if is_of_windows {
            of_windows.insert(out.attr.plan_name());
        }
        !is_of_windows
    })
}

fn names_in(expr: &DfExpr) -> Vec<String> {
    expr.column_refs().into_iter().map(|column| column.name.clone()).collect()
}

/// Columns of the list replaced by what they are computed from.
fn inlined(expr: DfExpr, outs: &HashMap<String, DfExpr>) -> Result<DfExpr> {
    let out = expr.transform_down(|node| match &node {
        DfExpr::Column(column) if column.relation.is_none() => match outs.get(&column.name) {
            // A kept column stands for itself.
            Some(DfExpr::Column(same)) if same == column => Ok(Transformed::no(node)),
            Some(expr) => Ok(Transformed::yes(expr.clone())),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(out.data)
}
