//! The list of a `SELECT`: its stars, generators and aliases, and the projections that compute its columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan, Sort as DfSort, SortExpr};
use millstream_sql::ir::Expr;

use super::select_block::Block;
use super::{attribute_of, projection};
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Item, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility};
use crate::walk::{contains_aggregate, generator_of};

/// One column of the list.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) attr: Attribute,
    pub(super) typed: Typed,
    /// A column of the input that keeps its id.
    is_kept: bool,
}

impl Out {
    /// A column of the input as it is.
    pub(super) fn kept(attr: &Attribute) -> Self {
        Self { attr: attr.clone(), typed: Typed::attribute(attr), is_kept: true }
    }
}

impl Resolver<'_> {
    /// The list with stars expanded and its generator, if any, applied to the input.
    pub(super) fn list_items<'p>(&mut self, rel: Rel, block: &Block<'p>) -> Result<(Rel, Vec<Attribute>, Vec<Item<'p>>)> {
        let scope = rel.attrs.clone();
        let mut rel = rel;
        let mut items = vec![];
        for expr in block.exprs {
            let Some((call, names)) = generator_of(expr) else {
                items.extend(self.expand_items(&scope, std::slice::from_ref(expr))?);
                continue;
            };
            if block.grouping.is_some() || block.exprs.iter().any(|expr| contains_aggregate(expr, self.catalog())) {
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

    /// The columns of the list.
    pub(super) fn outs(&mut self, cx: &mut ExprCx, items: Vec<Item<'_>>) -> Result<Vec<Out>> {
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
    pub(super) fn keep_no_ids(&self, outs: &mut [Out]) {
        for out in outs {
            if out.is_kept {
                out.attr.id = self.next_id();
                out.is_kept = false;
            }
        }
    }
}

/// The projections that compute the list, level by level of lateral aliases, then the sort.
pub(super) fn list_plan(plan: LogicalPlan, outs: &[Out], metadata: &[Attribute], keys: Vec<SortExpr>) -> Result<LogicalPlan> {
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
