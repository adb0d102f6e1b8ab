//! Walks over unresolved expressions and plans: what they contain, which relations they name.

use millstream_core::stack::with_room;
use millstream_sql::ir::{Expr, FrameBound, Grouping, Ident, JoinCondition, Plan, Read, ReadSource, UnresolvedFunction, WindowSpec};

use crate::catalog::{Catalog, UserFunction};

/// A relation that a plan reads by name, or a data source.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationRef {
    /// The read as written: name, options, place.
    pub read: Read,
}

impl RelationRef {
    /// The table's name; none for data sources and table functions.
    pub fn name(&self) -> Option<&[String]> {
        match &self.read.source {
            ReadSource::Table(name) => Some(&name.parts),
            _ => None,
        }
    }
}

/// All relations that `plan` reads, subqueries included, names of its own `WITH` excluded, in the written order.
pub fn referenced_relations(plan: &Plan) -> Vec<RelationRef> {
    let mut out = vec![];
    collect_relations(plan, &mut vec![], &mut out);
    out
}

fn collect_relations(plan: &Plan, ctes: &mut Vec<String>, out: &mut Vec<RelationRef>) {
    with_room(|| collect_relations_here(plan, ctes, out));
}

fn collect_relations_here(plan: &Plan, ctes: &mut Vec<String>, out: &mut Vec<RelationRef>) {
    if let Plan::With { ctes: named, recursive, input, .. } = plan {
        let n_outer = ctes.len();
        for cte in named {
            if *recursive {
                ctes.push(cte.name.name.to_lowercase());
            }
            collect_relations(&cte.plan, ctes, out);
            ctes.push(cte.name.name.to_lowercase());
        }
        collect_relations(input, ctes, out);
        ctes.truncate(n_outer);
        return;
    }
    if let Plan::Read(read) = plan {
        let is_cte = matches!(&read.source, ReadSource::Table(name)
            if matches!(name.parts.as_slice(), [one] if ctes.contains(&one.to_lowercase())));
        let is_builtin = matches!(&read.source, ReadSource::Function { name, .. }
            if matches!(name.to_string().to_lowercase().as_str(), "range") || crate::registry::is_generator(&name.to_string().to_lowercase()));
        if !is_cte && !is_builtin {
            out.push(RelationRef { read: read.clone() });
        }
    }
    for expr in plan_exprs(plan) {
        visit(expr, &mut |node| {
            if let Expr::ScalarSubquery { plan, .. } | Expr::Exists { plan, .. } | Expr::InSubquery { plan, .. } = node {
                collect_relations(plan, ctes, out);
            }
        });
    }
    for input in plan_inputs(plan) {
        collect_relations(input, ctes, out);
    }
}

/// Whether a column or field of this name (in any case) is named anywhere in `plan`, subqueries included, views not.
pub(crate) fn names_column(plan: &Plan, name: &str) -> bool {
    let mut found = false;
    for expr in plan_exprs(plan) {
        visit(expr, &mut |node| {
            found |= match node {
                Expr::UnresolvedAttribute { parts, .. } | Expr::UnresolvedStar { target: Some(parts), .. } => {
                    parts.iter().any(|part| part.eq_ignore_ascii_case(name))
                }
                Expr::ScalarSubquery { plan, .. } | Expr::Exists { plan, .. } | Expr::InSubquery { plan, .. } => names_column(plan, name),
                _ => false,
            };
        });
    }
    found || plan_inputs(plan).into_iter().any(|input| names_column(input, name))
}

/// The relations right below a relation.
fn plan_inputs(plan: &Plan) -> Vec<&Plan> {
    match plan {
        Plan::Join { left, right, .. } | Plan::SetOp { left, right, .. } => vec![left, right],
        Plan::UnionAll { inputs, .. } => inputs.iter().collect(),
        Plan::GroupsWithState { input, initial_state, .. } => std::iter::once(input.as_ref()).chain(initial_state.as_deref()).collect(),
        Plan::With { ctes, input, .. } => ctes.iter().map(|cte| &cte.plan).chain([input.as_ref()]).collect(),
        Plan::SubqueryAlias { input, .. }
        | Plan::Project { input, .. }
        | Plan::Filter { input, .. }
        | Plan::Aggregate { input, .. }
        | Plan::Having { input, .. }
        | Plan::Qualify { input, .. }
        | Plan::Sort { input, .. }
        | Plan::Repartition { input, .. }
        | Plan::Limit { input, .. }
        | Plan::Offset { input, .. }
        | Plan::Deduplicate { input, .. }
        | Plan::WithColumns { input, .. }
        | Plan::WithColumnsRenamed { input, .. }
        | Plan::Drop { input, .. }
        | Plan::ToDF { input, .. }
        | Plan::WithWatermark { input, .. }
        | Plan::Generate { input, .. }
        | Plan::Hint { input, .. }
        | Plan::Sample { input, .. }
        | Plan::NamedStream { input, .. }
        | Plan::WindowDefinitions { input, .. }
        | Plan::Pivot { input, .. }
        | Plan::Unpivot { input, .. } => vec![input],
        _ => vec![],
    }
}

/// The expressions of a relation that may hold subqueries.
fn plan_exprs(plan: &Plan) -> Vec<&Expr> {
    match plan {
        Plan::Values { rows, .. } => rows.iter().flatten().collect(),
        Plan::Project { exprs, .. } => exprs.iter().collect(),
        Plan::Filter { condition, .. } | Plan::Having { condition, .. } | Plan::Qualify { condition, .. } => vec![condition],
        Plan::Aggregate { grouping, aggregates, .. } => grouping_exprs(grouping).into_iter().chain(aggregates).collect(),
        Plan::Join { condition: JoinCondition::On(condition), .. } => vec![condition],
        Plan::Sort { order, .. } => order.iter().map(|key| &key.expr).collect(),
        Plan::Generate { generator, .. } => vec![generator],
        Plan::GroupsWithState { keys, .. } => keys.iter().collect(),
        Plan::WithColumns { columns, .. } => columns.iter().map(|(_, expr)| expr).collect(),
        Plan::WithWatermark { event_time, .. } => vec![event_time],
        Plan::WindowDefinitions { definitions, .. } => definitions.iter().flat_map(|(_, spec)| window_exprs(spec)).collect(),
        _ => vec![],
    }
}

fn grouping_exprs(grouping: &Grouping) -> Vec<&Expr> {
    match grouping {
        Grouping::Plain(exprs) => exprs.iter().collect(),
        Grouping::Rollup(sets) | Grouping::Cube(sets) => sets.iter().flatten().collect(),
        Grouping::Sets { keys, sets } => keys.iter().chain(sets.iter().flatten()).collect(),
        Grouping::Several(groupings) => groupings.iter().flat_map(grouping_exprs).collect(),
        _ => vec![],
    }
}

fn window_exprs(spec: &WindowSpec) -> Vec<&Expr> {
    let mut out: Vec<&Expr> = spec.partition_by.iter().chain(spec.order_by.iter().map(|key| &key.expr)).collect();
    if let Some(frame) = &spec.frame {
        for bound in [&frame.start, &frame.end] {
            if let FrameBound::Preceding(n) | FrameBound::Following(n) = bound {
                out.push(n);
            }
        }
    }
    out
}

/// Calls `f` for `expr` and everything in it, but not for what is inside subqueries.
pub(crate) fn visit<'e>(expr: &'e Expr, f: &mut dyn FnMut(&'e Expr)) {
    with_room(|| {
        f(expr);
        for child in children(expr) {
            visit(child, f);
        }
    });
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnresolvedFunction(call) => {
            let mut out: Vec<&Expr> = call.args.iter().collect();
            out.extend(call.filter.as_deref());
            out.extend(call.within_group.iter().map(|key| &key.expr));
            out
        }
        Expr::Alias { expr, .. } | Expr::Cast { expr, .. } => vec![expr],
        Expr::UnresolvedExtractValue { child, extraction, .. } => vec![child, extraction],
        Expr::UpdateFields { child, value, .. } => std::iter::once(child.as_ref()).chain(value.as_deref()).collect(),
        Expr::Lambda { body, .. } => vec![body],
        Expr::Window { function, spec, .. } => {
            let mut out = vec![function.as_ref()];
            out.extend(window_exprs(spec));
            out
        }
        Expr::SortOrder(order) => vec![&order.expr],
        Expr::InSubquery { values, .. } => values.iter().collect(),
        Expr::NamedArgument { value, .. } => vec![value],
        _ => vec![],
    }
}

/// Whether an aggregate is called outside of `OVER`: one of Spark's, of DataFusion's or of the user's.
pub(crate) fn contains_aggregate(expr: &Expr, catalog: &dyn Catalog) -> bool {
    let contains = |expr: &Expr| contains_aggregate(expr, catalog);
    with_room(|| match expr {
        Expr::Window { function, spec, .. } => {
            // The windowed call itself is no aggregation, but its arguments may hold one.
            let args = match function.as_ref() {
                Expr::UnresolvedFunction(call) => call.args.iter().any(contains),
                _ => false,
            };
            args || spec.partition_by.iter().any(contains) || spec.order_by.iter().any(|key| contains(&key.expr))
        }
        Expr::UnresolvedFunction(call) if is_aggregate(&call.name.to_lowercase(), catalog) => true,
        other => children(other).into_iter().any(contains),
    })
}

/// A user's function comes before Spark's of the same name.
fn is_aggregate(name: &str, catalog: &dyn Catalog) -> bool {
    match catalog.function(name) {
        Some(function) => matches!(function, UserFunction::Aggregate(_)),
        None => crate::registry::is_aggregate(name),
    }
}

/// The generator that an entry of a select list is, with the names given to its columns.
pub(crate) fn generator_of(expr: &Expr) -> Option<(&UnresolvedFunction, &[Ident])> {
    match expr {
        Expr::Alias { expr, names, .. } => match expr.as_ref() {
            Expr::UnresolvedFunction(call) if crate::registry::is_generator(&call.name.to_lowercase()) => Some((call, names)),
            _ => None,
        },
        Expr::UnresolvedFunction(call) if crate::registry::is_generator(&call.name.to_lowercase()) => Some((call, &[])),
        _ => None,
    }
}
