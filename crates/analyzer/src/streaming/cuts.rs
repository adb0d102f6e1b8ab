//! Which queries give a result that hangs on how their input was cut into batches, however right they are.
//!
//! All others must give the rows of the batch query whatever the cut, which `millstream verify` checks.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use millstream_core::Result;
use millstream_core::stack::with_room_for_query;

use super::carried::internal;
use super::changes::CHANGE;
use super::join::resolve_joins;
use super::output_mode::{node_of, visit};
use super::{DeduplicateNode, GroupsWithStateNode, Kept, StreamLimitNode};

/// What of a query makes the rows of its result hang on the cut of the input, in words that begin a sentence. `asked` is the
/// resolved query, `plan` what [`super::for_output_mode`] makes of it.
pub fn hangs_on_cuts(asked: &LogicalPlan, plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    visit(plan, &mut |node| {
        if found.is_none() {
            found = what_hangs(node);
        }
        Ok(())
    })?;
    if found.is_none() && with_room_for_query(|| uses_first_rows(&resolve_joins(asked)?))? {
        found = Some("which row drop_duplicates over some of the columns keeps");
    }
    Ok(found.map(str::to_owned))
}

fn what_hangs(node: &LogicalPlan) -> Option<&'static str> {
    if node_of::<DeduplicateNode>(node).is_some_and(|node| matches!(node.kept(), Kept::WithinWatermark { .. })) {
        return Some("dropping duplicates within the watermark");
    }
    if node_of::<StreamLimitNode>(node).is_some() {
        return Some("LIMIT on a stream");
    }
    if node_of::<GroupsWithStateNode>(node).is_some() {
        // Who knows what the function makes of the rows of one call.
        return Some("a function with state");
    }
    None
}

/// Whether the result has to do with columns of rows without duplicates that are no keys: what stands in them is of the row that
/// came first.
fn uses_first_rows(asked: &LogicalPlan) -> Result<bool> {
    if !asked.exists(|node| Ok(node_of::<DeduplicateNode>(node).is_some())).map_err(internal)? {
        return Ok(false);
    }
    let shown = asked.clone().transform_up(with_projection_below).map_err(internal)?.data;
    let rules = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
    let pruned = rules.optimize(shown, &OptimizerContext::new(), |_, _| {}).map_err(internal)?;
    let uses_others = |node: &DeduplicateNode| {
        let columns = node.input().schema().columns();
        columns.into_iter().any(|column| column.name != CHANGE && !node.keys().contains(&Expr::Column(column)))
    };
    pruned.exists(|node| Ok(node_of::<DeduplicateNode>(node).is_some_and(uses_others))).map_err(internal)
}

/// Duplicates are removed of nothing but the keys and what is asked for above, once DataFusion's rule has been here.
fn with_projection_below(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let Some(deduplicate) = node_of::<DeduplicateNode>(&node) else { return Ok(Transformed::no(node)) };
    let input = Arc::new(deduplicate.input().clone());
    let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
    let keys = deduplicate.keys().iter().filter_map(|key| key.try_as_col().cloned()).collect();
    let input = LogicalPlan::Projection(Projection::try_new(columns, input)?);
    // Without its event time, which the operator needs and the result need not.
    Ok(Transformed::yes(DeduplicateNode::new(input, keys, vec![], None, deduplicate.kept()).into_plan()))
}
