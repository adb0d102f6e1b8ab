//! Which queries each output mode can serve, and stateful nodes fitted to the mode.
//!
//! The rules and their words are Spark's (UnsupportedOperationChecker, the table of output modes in the Structured
//! Streaming guide). A mode is known when a query starts, so these errors name the operation and no place in the text.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Extension, Limit, LogicalPlan, lit};
use millstream_core::stack::with_room_for_query;
use millstream_core::{Error, OutputMode, Result};

use super::join::{check_join, resolve_joins};
use super::{DeduplicateNode, GroupsWithStateNode, StatefulAggregateNode, StreamJoinNode, StreamLimitNode, state_function_rules};

/// The plan of a streaming query as it runs in `mode`: its stateful operators are named and fitted. Refuses what the mode
/// does not allow.
pub fn for_output_mode(plan: &LogicalPlan, mode: OutputMode) -> Result<LogicalPlan> {
    with_room_for_query(|| {
        let plan = resolve_joins(plan)?;
        check(&plan, mode)?;
        fit(plan, mode)
    })
}

fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let n_aggregations = aggregations_in_a_row(plan);
    if mode == OutputMode::Complete && n_aggregations == 0 {
        return Err(not_in(mode, "no streaming aggregations")
            .hint("use append, or aggregate: complete mode gives the whole result after each batch"));
    }
    if mode != OutputMode::Append && n_aggregations > 1 {
        return Err(Error::unsupported(format!("aggregating what a stream has aggregated, in {mode} mode"))
            .hint("use append mode with a watermark, or write the inner result to a streaming table and aggregate that"));
    }
    state_function_rules::check(plan, mode)?;
    visit(plan, &mut |node| {
        if let Some(aggregate) = node_of::<StatefulAggregateNode>(node)
            && mode == OutputMode::Append
            && aggregate.event_time().is_none()
        {
            return Err(not_in(mode, "streaming aggregations without watermark")
                .hint("group by an event time with a watermark (or a window of it), or use update or complete mode"));
        }
        if let Some(aggregate) = node_of::<StatefulAggregateNode>(node)
            && mode == OutputMode::Update
            && aggregate.session().is_some()
        {
            return Err(not_in(mode, "session windows").hint("use append or complete mode"));
        }
        if let Some(join) = node_of::<StreamJoinNode>(node) {
            check_join(join, mode)?;
        }
        if node_of::<StreamLimitNode>(node).is_some() && mode == OutputMode::Update {
            return Err(
                Error::unsupported("LIMIT on a stream in update mode").hint("use append mode, or complete mode after an aggregation")
            );
        }
        if matches!(node, LogicalPlan::Sort(_)) && mode != OutputMode::Complete && aggregations_in_a_row(node) > 0 {
            return Err(Error::unsupported(format!("sorting a stream in {mode} mode"))
                .hint("only the whole result can be sorted: use complete mode"));
        }
        Ok(())
    })
}

fn not_in(mode: OutputMode, operation: &str) -> Error {
    Error::unsupported(format!("output mode {mode} is not supported for {operation} on a stream"))
        .code("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION")
}

/// Nodes get their names from the input up, so that what is put on top of a query does not rename what is below.
fn fit(plan: LogicalPlan, mode: OutputMode) -> Result<LogicalPlan> {
    let mut names = Names::default();
    let fitted = plan.transform_up(|node| {
        if let Some(aggregate) = node_of::<StatefulAggregateNode>(&node) {
            let name = names.unique("aggregate", aggregate.key_names());
            return Ok(Transformed::yes(aggregate.fitted(name, mode).into_plan()));
        }
        if let Some(deduplicate) = node_of::<DeduplicateNode>(&node) {
            let name = names.unique("deduplicate", deduplicate.key_names());
            return Ok(Transformed::yes(deduplicate.named(name).into_plan()));
        }
        if let Some(join) = node_of::<StreamJoinNode>(&node) {
            let name = names.unique("join", join.key_names());
            return Ok(Transformed::yes(join.named(name).into_plan()));
        }
        if let Some(groups) = node_of::<GroupsWithStateNode>(&node).filter(|groups| groups.is_streaming()) {
            let name = names.unique("groups-with-state", &groups.key_names());
            return Ok(Transformed::yes(groups.named(name).into_plan()));
        }
        if let Some(limit) = node_of::<StreamLimitNode>(&node) {
            if mode == OutputMode::Append || aggregations_in_a_row(limit.input()) == 0 {
                return Ok(Transformed::yes(limit.named(names.unique("limit", &[])).into_plan()));
            }
            // Of the whole result, anew in each batch.
            let fetch = Some(Box::new(lit(i64::try_from(limit.n_rows()).unwrap_or(i64::MAX))));
            let input = Arc::new(limit.input().clone());
            return Ok(Transformed::yes(LogicalPlan::Limit(Limit { skip: None, fetch, input })));
        }
        Ok(Transformed::no(node))
    });
    fitted.map(|out| out.data).map_err(|error| Error::internal(error.to_string()))
}

/// The most stateful aggregations on a way from the sink to a source.
fn aggregations_in_a_row(plan: &LogicalPlan) -> usize {
    let below = plan.inputs().into_iter().map(aggregations_in_a_row).max().unwrap_or(0);
    below + usize::from(node_of::<StatefulAggregateNode>(plan).is_some())
}

pub(super) fn visit(plan: &LogicalPlan, look: &mut dyn FnMut(&LogicalPlan) -> Result<()>) -> Result<()> {
    let mut seen = Ok(());
    let walked = plan.apply(|node| {
        seen = look(node);
        Ok(if seen.is_err() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    seen?;
    walked.map(|_| ()).map_err(|error| Error::internal(error.to_string()))
}

pub(crate) fn node_of<N: 'static>(plan: &LogicalPlan) -> Option<&N> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref::<N>(),
        _ => None,
    }
}

/// Names of operators: from what they do and by which keys; the second of the same name is `...-2`.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn unique(&mut self, kind: &str, keys: &[String]) -> String {
        let mut base = kind.to_owned();
        for key in keys {
            base.push('-');
            base.extend(key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }));
        }
        let mut name = base.clone();
        for n in 2_u32.. {
            if self.0.insert(name.clone()) {
                break;
            }
            name = format!("{base}-{n}");
        }
        name
    }
}

#[cfg(test)]
mod tests;
