//! What the columns of a plan are called in a dead letter: as the source calls them, or as they were computed.
//!
//! Inside a plan columns have names of the analyzer's, which say nothing to a user. Names are followed down to where a
//! column comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;

use crate::physical::RowGuardExec;

/// A name per column, no two alike.
pub(in crate::physical) fn column_names(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let mut known = BTreeSet::new();
    let distinct = |(idx, name): (usize, String)| if known.insert(name.clone()) { name } else { format!("{name}#{idx}") };
    names(plan).into_iter().enumerate().map(distinct).collect()
}

fn names(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = names(projection.input());
        return projection.expr().iter().map(|projected| name_of(&projected.expr, &below)).collect();
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return pick(names(filter.input()), filter.projection().as_deref());
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let (left, right) = (names(join.left()), names(join.right()));
        let joined = match join.join_type() {
            JoinType::LeftSemi | JoinType::LeftAnti => left,
            JoinType::RightSemi | JoinType::RightAnti => right,
            _ => left.into_iter().chain(right).collect(),
        };
        let picked = pick(joined, join.projection.as_deref());
        return if picked.len() == plan.schema().fields().len() { picked } else { own(plan) };
    }
    match plan.children().as_slice() {
        // Elements are called as their array; a struct's fields keep their own names.
        [input] if plan.is::<UnnestExec>() => {
            let (schema, below) = (input.schema(), names(input));
            let name = |name: String| schema.index_of(&name).ok().and_then(|idx| below.get(idx).cloned()).unwrap_or(name);
            own(plan).into_iter().map(name).collect()
        }
        [first, ..] if plan.is::<UnionExec>() || plan.is::<RowGuardExec>() || first.schema() == plan.schema() => names(first),
        _ => own(plan),
    }
}

fn own(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    plan.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn pick(names: Vec<String>, columns: Option<&[usize]>) -> Vec<String> {
    match columns {
        None => names,
        Some(columns) => columns.iter().filter_map(|idx| names.get(*idx).cloned()).collect(),
    }
}

/// A column's name, or the expression with the names of its columns.
fn name_of(expr: &Arc<dyn PhysicalExpr>, below: &[String]) -> String {
    let column_name = |column: &Column| below.get(column.index()).cloned().unwrap_or_else(|| column.name().to_owned());
    if let Some(column) = expr.downcast_ref::<Column>() {
        return column_name(column);
    }
    let mut text = expr.to_string();
    let mut waiting = vec![expr];
    while let Some(part) = waiting.pop() {
        if let Some(column) = part.downcast_ref::<Column>() {
            text = text.replace(&column.to_string(), &column_name(column));
        }
        waiting.extend(part.children());
    }
    text
}
