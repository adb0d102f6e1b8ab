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

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr as DfExpr, Filter, LogicalPlan, Sort as DfSort, Window};
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Grouping, Ident, Literal, NullOrdering, Plan, SortDirection, SortOrder};

use super::{attribute_of, projection, with_batch_time};
use crate::aggregate::Grouped;
use crate::error::{AnalysisError, Result};
use crate::expr::{Collect, ExprCx, Item, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, column, plan_name};
use crate::stream_check;
use crate::walk::{contains_aggregate, generator_of};

/// A select block taken apart.
struct Block<'p> {
    input: &'p Plan,
    exprs: &'p [Expr],
    grouping: Option<&'p Grouping>,
    having: Vec<&'p Expr>,
    qualify: Vec<&'p Expr>,
    windows: Vec<&'p Plan>,
    span: Span,
}

/// Keys above a select block.
#[derive(Clone, Copy)]
pub(crate) struct Order<'p> {
    keys: &'p [SortOrder],
    span: Span,
}

/// One column of the list.
#[derive(Clone, Debug)]
struct Out {
    attr: Attribute,
    typed: Typed,
    /// A column of the input that keeps its id.
    is_kept: bool,
}

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
        let grouping = Some(grouping);
        let block = Block { input: &Plan::OneRow, exprs, grouping, having: vec![], qualify: vec![], windows: vec![], span };
        let (rel, scope, items) = self.list_items(rel, &block)?;
        self.select_items(rel, scope, items, &block, None)
    }

    /// `withColumns`: a list of the input's columns, some of them replaced, and new ones behind.
    pub(crate) fn select_with(&mut self, rel: Rel, columns: &[(String, Expr)], span: Span) -> Result<Rel> {
        let case = self.name_case();
        let scope: Vec<Attribute> = rel.visible().cloned().collect();
        let mut rel = rel;
        let mut computed: Vec<(&str, Item<'_>)> = vec![];
        let aliased: Vec<Expr> = columns.iter().map(|(name, expr)| expr.clone().alias(name.clone())).collect();
        for ((name, expr), aliased) in columns.iter().zip(&aliased) {
            if computed.iter().any(|(known, _)| case.same(known, name)) {
                return Err(AnalysisError::invalid("COLUMN_ALREADY_EXISTS", format!("the column '{name}' is given twice"), span));
            }
            let item = match generator_of(expr) {
                None => Item::Expr(aliased),
                Some((call, _)) => {
                    let (generated, made) = self.generate(rel, call, false, &[Ident::new(name.clone())], call.span)?;
                    rel = generated;
                    rel.attrs.extend(made.iter().cloned());
                    match made.as_slice() {
                        [attr] => Item::Column(Box::new(Typed::attribute(attr))),
                        _ => return Err(AnalysisError::internal("a generator of several columns under one name")),
                    }
                }
            };
            computed.push((name, item));
        }
        let mut items = vec![];
        for attr in &scope {
            // A name that stands for several columns replaces all of them.
            match computed.iter().find(|(name, _)| case.same(name, &attr.name)) {
                None => items.push(Item::Column(Box::new(Typed::attribute(attr)))),
                Some((_, Item::Expr(expr))) => items.push(Item::Expr(expr)),
                Some((_, Item::Column(typed))) => items.push(Item::Column(typed.clone())),
            }
        }
        items.extend(computed.into_iter().filter(|(name, _)| !scope.iter().any(|attr| case.same(name, &attr.name))).map(|(_, item)| item));
        let block = Block { input: &Plan::OneRow, exprs: &[], grouping: None, having: vec![], qualify: vec![], windows: vec![], span };
        self.select_items(rel, scope, items, &block, None)
    }

    fn select_items(
        &mut self,
        rel: Rel,
        scope: Vec<Attribute>,
        items: Vec<Item<'_>>,
        block: &Block<'_>,
        order: Option<Order<'_>>,
    ) -> Result<Rel> {
        let mut cx = ExprCx::new(&scope, "SELECT");
        cx.aggregates = Collect::Allowed(vec![]);
        cx.windows = Collect::Allowed(vec![]);

        let rel = match block.grouping {
            Some(grouping) => self.with_sessions(&mut cx, rel, grouping, block.exprs, block.span)?,
            None => rel,
        };
        let mut grouped = match block.grouping {
            Some(grouping) => Some(self.grouping(&mut cx, grouping, &items, block.span)?),
            None => None,
        };
        let mut outs = self.outs(&mut cx, items)?;
        if grouped.is_none() && (!cx.aggregates.items().is_empty() || !block.having.is_empty()) {
            grouped = Some(Grouped::default());
        }
        if grouped.is_some() {
            self.keep_no_ids(&mut outs);
        }
        cx.outputs = outs.iter().map(|out| out.attr.clone()).collect();
        cx.outputs_first = true;
        let having = block.having.iter().map(|expr| self.condition(&mut cx, expr, "HAVING")).collect::<Result<Vec<_>>>()?;
        let qualify = block.qualify.iter().map(|expr| self.condition(&mut cx, expr, "QUALIFY")).collect::<Result<Vec<_>>>()?;
        let mut keys = match order {
            Some(order) => self.sort_keys(&mut cx, order.keys, &outs)?,
            None => vec![],
        };

        let Rel { plan, is_streaming, watermarks, .. } = rel.clone();
        let mut plan = with_batch_time(plan, &cx)?;
        let mut inline: HashMap<String, DfExpr> = HashMap::new();
        let n_outs = outs.len();
        if let Some(grouped) = &grouped {
            stream_check::aggregation(&rel, block.span)?;
            plan = grouped.plan(self, plan, cx.aggregates.items())?;
            // Without stars there is one column for each entry of the list, which the error then points at.
            let place = |idx: usize| match block.exprs.get(idx) {
                Some(expr) if block.exprs.len() == n_outs => expr.span(),
                _ => block.span,
            };
            for (idx, out) in outs.iter_mut().enumerate() {
                out.typed.expr = grouped.over_groups(out.typed.expr.clone(), &out.typed.name, place(idx))?;
            }
            for key in &mut keys {
                key.expr = grouped.over_groups(key.expr.clone(), "ORDER BY", block.span)?;
            }
        }
        for out in &outs {
            inline.insert(out.attr.plan_name(), out.typed.expr.clone());
        }
        let below = |condition: Typed, clause: &str| -> Result<DfExpr> {
            let expr = match &grouped {
                Some(grouped) => grouped.over_groups(condition.expr, clause, block.span)?,
                None => condition.expr,
            };
            inlined(expr, &inline)
        };
        for condition in having {
            plan = LogicalPlan::Filter(Filter::try_new(below(condition, "HAVING")?, Arc::new(plan))?);
        }
        let windows = cx.windows.items().to_vec();
        if !windows.is_empty() {
            stream_check::window_function(&rel, block.span)?;
            for window in windows {
                let expr = match &grouped {
                    Some(grouped) => grouped.over_groups(window.expr, "OVER", block.span)?,
                    None => window.expr,
                };
                plan = window_plan(inlined(expr, &inline)?, window.id, plan)?;
            }
        }
        for condition in qualify {
            plan = LogicalPlan::Filter(Filter::try_new(below(condition, "QUALIFY")?, Arc::new(plan))?);
        }
        if order.is_some() {
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
        let watermarks = watermarks.into_iter().filter(|mark| attrs.iter().any(|attr| attr.id == mark.id)).collect();
        Ok(Rel { plan, attrs, is_streaming, watermarks })
    }

    /// The list with stars expanded and its generator, if any, applied to the input.
    fn list_items<'p>(&mut self, rel: Rel, block: &Block<'p>) -> Result<(Rel, Vec<Attribute>, Vec<Item<'p>>)> {
        let scope = rel.attrs.clone();
        let mut rel = rel;
        let mut items = vec![];
        for expr in block.exprs {
            let Some((call, names)) = generator_of(expr) else {
                items.extend(self.expand_items(&scope, std::slice::from_ref(expr))?);
                continue;
            };
            if block.grouping.is_some() || block.exprs.iter().any(contains_aggregate) {
                return Err(AnalysisError::unsupported("a generator beside aggregates", call.span)
                    .hint("aggregate in a subquery and use the generator around it"));
            }
            let (generated, columns) = self.generate(rel, call, false, names, call.span)?;
            rel = generated;
            // A second generator must carry the first one's columns along.
            rel.attrs.extend(columns.iter().cloned());
            items.extend(columns.iter().map(|attr| Item::Column(Box::new(Typed::attribute(attr)))));
        }
        Ok((rel, scope, items))
    }

    fn outs(&mut self, cx: &mut ExprCx, items: Vec<Item<'_>>) -> Result<Vec<Out>> {
        let mut outs: Vec<Out> = vec![];
        let mut used: HashSet<u64> = HashSet::new();
        for item in items {
            let (typed, alias) = match item {
                Item::Column(typed) => (*typed, None),
                Item::Expr(Expr::Alias { expr, names, metadata, span }) => {
                    let [name] = names.as_slice() else {
                        return Err(AnalysisError::invalid(
                            "MULTI_ALIAS_WITHOUT_GENERATOR",
                            "only a generator gives several columns to name",
                            *span,
                        ));
                    };
                    let mut typed = self.expr(cx, expr)?;
                    if metadata.is_some() {
                        typed.metadata.clone_from(metadata);
                    }
                    (typed, Some(name.name.clone()))
                }
                Item::Expr(expr) => (self.expr(cx, expr)?, None),
            };
            let out = self.out(cx, typed, alias.as_deref(), &mut used);
            if alias.is_some() {
                cx.outputs.push(out.attr.clone());
            }
            outs.push(out);
        }
        Ok(outs)
    }

    fn out(&self, cx: &ExprCx, typed: Typed, alias: Option<&str>, used: &mut HashSet<u64>) -> Out {
        let source = match &typed.expr {
            DfExpr::Column(column) => cx.scope.iter().find(|attr| attr.plan_name() == column.name),
            _ => None,
        };
        let name = alias.map_or_else(|| typed.column_name(), str::to_owned);
        if let (Some(source), None) = (source, alias)
            && used.insert(source.id)
        {
            return Out { attr: Attribute { visibility: Visibility::Shown, name, ..source.clone() }, typed, is_kept: true };
        }
        let mut attr = attribute_of(self.next_id(), &name, &typed);
        if let (Some(source), None) = (source, alias) {
            attr.qualifiers.clone_from(&source.qualifiers);
            attr.origin = Some(source.origin.unwrap_or(source.id));
        }
        Out { attr, typed, is_kept: false }
    }

    /// Above an aggregation no column keeps its id: the id is the group's.
    fn keep_no_ids(&self, outs: &mut [Out]) {
        for out in outs {
            if out.is_kept {
                out.attr.id = self.next_id();
                out.is_kept = false;
            }
        }
    }

    /// `ORDER BY` above anything.
    pub(crate) fn sort(&mut self, input: &Plan, order: &[SortOrder], _is_global: bool, span: Span) -> Result<Rel> {
        let order = Order { keys: order, span };
        if take_apart(input).is_some() {
            return self.select(input, Some(order));
        }
        let rel = self.plan(input)?;
        stream_check::sort(&rel, span)?;
        let outs: Vec<Out> = rel.visible().map(|attr| Out { attr: attr.clone(), typed: Typed::attribute(attr), is_kept: true }).collect();
        let mut cx = ExprCx::new(&rel.attrs, "ORDER BY");
        let keys = self.sort_keys(&mut cx, order.keys, &outs)?;
        let plan = with_batch_time(rel.plan, &cx)?;
        let plan = LogicalPlan::Sort(DfSort { expr: keys, input: Arc::new(plan), fetch: None });
        let plan = if cx.adds_columns() { projection(rel.attrs.iter().map(Attribute::column).collect(), plan)? } else { plan };
        Ok(Rel { plan, ..rel })
    }

    fn sort_keys(&mut self, cx: &mut ExprCx, keys: &[SortOrder], outs: &[Out]) -> Result<Vec<datafusion::logical_expr::SortExpr>> {
        let mut out = vec![];
        for key in keys {
            let ascending = key.direction == SortDirection::Ascending;
            let nulls_first = key.nulls == NullOrdering::First;
            let mut push = |expr: DfExpr| out.push(datafusion::logical_expr::SortExpr::new(expr, ascending, nulls_first));
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

fn take_apart(plan: &Plan) -> Option<Block<'_>> {
    let (mut having, mut qualify, mut windows) = (vec![], vec![], vec![]);
    let mut at = plan;
    loop {
        match at {
            Plan::Having { input, condition, .. } => {
                having.push(condition);
                at = input;
            }
            Plan::Qualify { input, condition, .. } => {
                qualify.push(condition);
                at = input;
            }
            Plan::WindowDefinitions { input, .. } => {
                windows.push(at);
                at = input;
            }
            Plan::Project { input, exprs, span } => {
                return Some(Block { input, exprs, grouping: None, having, qualify, windows, span: *span });
            }
            Plan::Aggregate { input, grouping, aggregates, span } => {
                return Some(Block { input, exprs: aggregates, grouping: Some(grouping), having, qualify, windows, span: *span });
            }
            _ => return None,
        }
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

pub(crate) fn window_plan(expr: DfExpr, id: u64, input: LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<DfExpr> = input.schema().columns().into_iter().map(DfExpr::Column).collect();
    let name = expr.schema_name().to_string();
    let plan = LogicalPlan::Window(Window::try_new(vec![expr], Arc::new(input))?);
    let computed = plan.schema().columns().pop().unwrap_or_else(|| Column::new_unqualified(name));
    exprs.push(DfExpr::Column(computed).alias(plan_name(id)));
    projection(exprs, plan)
}

/// The projections that compute the list, level by level of lateral aliases, then the sort.
fn list_plan(
    plan: LogicalPlan,
    outs: &[Out],
    metadata: &[Attribute],
    keys: Vec<datafusion::logical_expr::SortExpr>,
) -> Result<LogicalPlan> {
    let levels = levels(outs);
    let top = levels.iter().copied().max().unwrap_or(0);
    let mut plan = plan;
    for level in 0..top {
        let mut exprs: Vec<DfExpr> = plan.schema().columns().into_iter().map(DfExpr::Column).collect();
        for (out, at) in outs.iter().zip(&levels) {
            if *at == level && !out.is_kept {
                exprs.push(out.typed.expr.clone().alias(out.attr.plan_name()));
            }
        }
        plan = projection(exprs, plan)?;
    }
    let mut exprs: Vec<DfExpr> = vec![];
    for (out, at) in outs.iter().zip(&levels) {
        exprs.push(match out.is_kept || *at < top {
            true => out.attr.column(),
            false => out.typed.expr.clone().alias(out.attr.plan_name()),
        });
    }
    exprs.extend(metadata.iter().map(Attribute::column));
    if keys.is_empty() {
        return projection(exprs, plan);
    }
    let kept = || outs.iter().map(|out| &out.attr).chain(metadata);
    let shown: HashSet<String> = kept().map(Attribute::plan_name).collect();
    let mut hidden: Vec<Column> = keys.iter().flat_map(|key| key.expr.column_refs().into_iter().cloned().collect::<Vec<_>>()).collect();
    hidden.retain(|column| !shown.contains(&column.name));
    hidden.sort();
    hidden.dedup();
    let has_hidden = !hidden.is_empty();
    exprs.extend(hidden.into_iter().map(DfExpr::Column));
    let plan = projection(exprs, plan)?;
    let plan = LogicalPlan::Sort(DfSort { expr: keys, input: Arc::new(plan), fetch: None });
    if has_hidden { projection(kept().map(Attribute::column).collect(), plan) } else { Ok(plan) }
}

/// How many projections must lie below the one that computes each column.
fn levels(outs: &[Out]) -> Vec<usize> {
    let mut of: HashMap<String, usize> = HashMap::new();
    let mut levels = vec![];
    for out in outs {
        let mut level = 0;
        // The closure never fails, so neither does the walk.
        let _ = out.typed.expr.apply(|node| {
            if let DfExpr::Column(column) = node
                && let Some(below) = of.get(&column.name)
            {
                level = level.max(below + 1);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if !out.is_kept {
            of.insert(out.attr.plan_name(), level);
        } else {
            level = 0;
        }
        levels.push(level);
    }
    levels
}

/// Names given to a generator's columns.
pub(crate) fn names_or<'n>(given: &'n [Ident], own: &'n [String]) -> Vec<String> {
    if given.is_empty() { own.to_vec() } else { given.iter().map(|name| name.name.clone()).collect() }
}
