//! Which output modes serve a function with state, and what may stand above and below it.
//!
//! Spark's rules (UnsupportedOperationChecker), with two refusals less: a function may stand above an aggregation in append
//! mode, and a stateful operator above a function with event-time timeouts, as rows that would be late for it are refused
//! when they are given.

use datafusion::logical_expr::LogicalPlan;
use millstream_core::{Error, OutputMode, Result};

use super::groups_with_state::GroupsWithStateNode;
use super::output_mode::node_of;
use super::state_function::GroupRows;
use super::{DeduplicateNode, GroupStateTimeout, StatefulAggregateNode, StreamJoinNode, StreamLimitNode};

/// Refuses what `mode` does not allow of the functions with state in `plan`.
pub(super) fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let has_aggregation = contains(plan, &is_aggregation);
    let mut n_functions = 0;
    let mut walk = vec![(plan, false)];
    while let Some((node, is_below_stateful)) = walk.pop() {
        if let Some(function) = node_of::<GroupsWithStateNode>(node).filter(|function| function.is_streaming()) {
            n_functions += 1;
            check_one(function, mode, has_aggregation)?;
            if function.function().mode == OutputMode::Update && (is_below_stateful || n_functions > 1) {
                return Err(refused(function, "in update mode below an operator that remembers")
                    .hint("its rows replace each other there; use append mode, or write them to a table and read that"));
            }
        }
        let remembers = is_below_stateful || is_stateful(node);
        walk.extend(node.inputs().into_iter().map(|input| (input, remembers)));
    }
    Ok(())
}

fn check_one(node: &GroupsWithStateNode, mode: OutputMode, has_aggregation: bool) -> Result<()> {
    let function = node.function();
    if function.timeout == GroupStateTimeout::EventTime && node.event_time().is_none() {
        return Err(Error::unsupported(format!(
            "a timeout by event time in {} '{}' on a stream without watermark",
            function.operation(),
            function.name
        ))
        .code("_LEGACY_ERROR_TEMP_3102")
        .hint("name the event time first: with_watermark(column, delay)"));
    }
    if function.rows == GroupRows::One {
        if has_aggregation {
            return Err(refused(node, "with an aggregation"));
        }
        if mode != OutputMode::Update {
            return Err(refused(node, &format!("in output mode {mode}")).hint("use update mode, or flat_map_groups_with_state"));
        }
    } else if !has_aggregation {
        if function.mode != mode {
            return Err(refused(node, &format!("in {} mode under output mode {mode}", function.mode))
                .hint("declare the function in the mode of the query"));
        }
    } else if function.mode == OutputMode::Update {
        return Err(refused(node, "in update mode with an aggregation").hint("declare the function in append mode"));
    } else if mode != OutputMode::Append && contains(&node.input().plan, &is_aggregation) {
        return Err(refused(node, &format!("above an aggregation in output mode {mode}"))
            .hint("use append mode: then the function gets groups that are final"));
    }
    Ok(())
}

fn refused(node: &GroupsWithStateNode, what: &str) -> Error {
    let function = node.function();
    Error::unsupported(format!("{} '{}' {what} on a stream", function.operation(), function.name)).code("_LEGACY_ERROR_TEMP_3102")
}

fn contains(plan: &LogicalPlan, is_wanted: &dyn Fn(&LogicalPlan) -> bool) -> bool {
    is_wanted(plan) || plan.inputs().into_iter().any(|input| contains(input, is_wanted))
}

fn is_aggregation(plan: &LogicalPlan) -> bool {
    node_of::<StatefulAggregateNode>(plan).is_some()
}

fn is_stateful(plan: &LogicalPlan) -> bool {
    is_aggregation(plan)
        || node_of::<DeduplicateNode>(plan).is_some()
        || node_of::<StreamJoinNode>(plan).is_some()
        || node_of::<StreamLimitNode>(plan).is_some()
        || node_of::<GroupsWithStateNode>(plan).is_some_and(GroupsWithStateNode::is_streaming)
}
