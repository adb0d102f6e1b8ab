//! Operators that remember between batches.
//!
//! ```text
//!   StatefulAggregateExec   merges a batch's partial groups with the state; gives groups by the output mode
//!     KeyExchangeExec       rows to the task that keeps their key (more than one task)
//!       AggregateExec       DataFusion's, partial: a batch becomes one row per group
//!         LateRowsExec      drops and counts what is behind the watermark
//!   SlidingAggregateExec    the same for windows that overlap, by key and slice of windows
//!
//!   SessionAggregateExec    the same for sessions, which grow and join
//!   RecomputeAggregateExec  computes the groups that changes touch anew from all of their rows
//!   DeduplicateExec         gives the first row of each key     (KeyExchangeExec, LateRowsExec below)
//!   StreamJoinExec          gives the pairs of two streams      (KeyExchangeExec, LateRowsExec below each side)
//!   StreamLimitExec         gives the first rows of all batches (KeyExchangeExec below)
//!   GroupsWithStateExec     calls a user's function for each group (KeyExchangeExec, LateRowsExec below)
//! ```
//!   DeduplicateChangesExec  the same of changes: gives the next row when the first is taken out
//!   SinkChangesExec         what a sink is given of changes
//! Their state is in [`QueryState`]: typed rows by key, one table per task. A task changes its own table while it runs;
//! the loop makes the changes of a batch durable before the batch is decided.

mod aggregate;
mod changed;
mod deduplicate;
mod deduplicate_changes;
mod described;
mod exchange;
mod groups_with_state;
mod join;
mod late_rows;
mod limit;
mod plan;
mod recompute;
mod session;
mod sink_changes;
mod tables;
mod window_key;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use millstream_analyzer::streaming::change_column;
use millstream_core::Result;
use millstream_state::store::{StoreDescription, StoreId, ValuesOf};
use serde_json::Value;

pub use aggregate::sliding::{SlidingAggregateExec, SlidingAggregateSpec};
pub use aggregate::{AggregateSpec, StatefulAggregateExec};
pub use deduplicate::{DeduplicateExec, DeduplicateSpec};
pub use deduplicate_changes::DeduplicateChangesExec;
pub use described::described;
pub use exchange::KeyExchangeExec;
pub use groups_with_state::{GroupsWithStateExec, function_with_state, plan_groups_with_state};
pub use join::{JoinSpec, KeySpec, SideSpec, StreamJoinExec};
pub use late_rows::{LateRowsExec, keep_late_rows};
pub use limit::StreamLimitExec;
pub use plan::{plan_join, plan_stateful};
pub use recompute::RecomputeAggregateExec;
pub use session::{SessionAggregateExec, SessionChangesExec, SessionChangesSpec, SessionSpec};
pub use sink_changes::SinkChangesExec;
pub use tables::{MAIN_STORE, QueryState, StateUsage};
pub use window_key::WindowKey;
pub(crate) use wire::{JoinWire, StatefulWire};

/// What the loop asks of a stateful operator.
pub trait StatefulOperator {
    /// Its stable id, by which reports and checkpoints name it.
    fn operator_id(&self) -> &str;

    /// What checkpoints call its kind. (Progress has Spark's names.)
    fn kind(&self) -> &'static str;

    /// Whether a batch without data runs for it when the watermark has moved. As in Spark that is said of a kind of operator
    /// in a mode, also where it has no event time among its keys.
    fn uses_event_time(&self) -> bool;

    /// Whether rows of its first store expire by the clock: then a batch without data runs for it when one is due.
    fn times_out_by_clock(&self) -> bool {
        false
    }

    /// What else a restart must find unchanged, beside kind, keys and types: such as the aggregate functions.
    fn detail(&self) -> Value {
        Value::Null
    }

    /// What the value columns of its stores belong to, by store, where they do not each stand for themselves: so a changed query
    /// finds its own again. Columns are named as in the plan.
    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        Ok(BTreeMap::new())
    }

    /// Its stores. Columns are named as in the plan; a checkpoint gives them the user's names.
    fn stores(&self) -> Result<Vec<StoreDescription>>;
}

/// The operator as a stateful one, if it is one of ours: one line per kind.
fn as_stateful(plan: &dyn ExecutionPlan) -> Option<&dyn StatefulOperator> {
    as_a::<StatefulAggregateExec>(plan)
        .or_else(|| as_a::<SlidingAggregateExec>(plan))
        .or_else(|| as_a::<SessionAggregateExec>(plan))
        .or_else(|| as_a::<SessionChangesExec>(plan))
        .or_else(|| as_a::<RecomputeAggregateExec>(plan))
        .or_else(|| as_a::<DeduplicateExec>(plan))
        .or_else(|| as_a::<DeduplicateChangesExec>(plan))
        .or_else(|| as_a::<StreamLimitExec>(plan))
        .or_else(|| as_a::<StreamJoinExec>(plan))
        .or_else(|| as_a::<GroupsWithStateExec<1>>(plan))
        .or_else(|| as_a::<GroupsWithStateExec<2>>(plan))
}

fn as_a<T: StatefulOperator + ExecutionPlan>(plan: &dyn ExecutionPlan) -> Option<&dyn StatefulOperator> {
    plan.downcast_ref::<T>().map(|exec| exec as &dyn StatefulOperator)
}

/// How far the event times of these plans' rows may be behind the watermark: the joins on a way down add up, and of several
/// ways the longest counts.
pub(crate) fn watermark_lag_ms(plans: &[Arc<dyn ExecutionPlan>]) -> i64 {
    let mut walk: Vec<(&Arc<dyn ExecutionPlan>, i64)> = plans.iter().map(|plan| (plan, 0)).collect();
    let mut longest_ms = 0;
    while let Some((plan, above_ms)) = walk.pop() {
        let lag_ms = above_ms.saturating_add(plan.downcast_ref::<StreamJoinExec>().map_or(0, StreamJoinExec::lag_ms));
        longest_ms = longest_ms.max(lag_ms);
        walk.extend(plan.children().into_iter().map(|child| (child, lag_ms)));
    }
    longest_ms
}

/// All stateful operators of a plan, from its root down.
pub fn stateful_operators(plan: &Arc<dyn ExecutionPlan>) -> Vec<&dyn StatefulOperator> {
    let mut found = Vec::new();
    let mut walk = vec![plan];
    while let Some(node) = walk.pop() {
        found.extend(as_stateful(node.as_ref()));
        walk.extend(node.children().into_iter().rev());
    }
    found
}

/// All stateful operators of a plan, from its sources up: in this order they are numbered, so that one on top renumbers none.
pub fn stateful_operators_upwards(plan: &Arc<dyn ExecutionPlan>) -> Vec<&dyn StatefulOperator> {
    let mut found = Vec::new();
    let mut walk = vec![(plan, false)];
    while let Some((node, has_been_entered)) = walk.pop() {
        if has_been_entered {
            found.extend(as_stateful(node.as_ref()));
        } else {
            walk.push((node, true));
            walk.extend(node.children().into_iter().rev().map(|child| (child, false)));
        }
    }
    found
}

/// For each stateful operator those below it whose changes it takes, by their names: the ones that it is given rows of with
/// nothing but stateless operators between, if these rows may be taken back.
pub fn changes_taken(plan: &Arc<dyn ExecutionPlan>) -> BTreeMap<String, BTreeSet<String>> {
    let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut walk: Vec<(_, Option<&str>)> = vec![(plan, None)];
    while let Some((node, above)) = walk.pop() {
        let here = as_stateful(node.as_ref()).map(StatefulOperator::operator_id);
        if let Some(name) = here {
            taken.entry(name.to_owned()).or_default();
            if let Some(above) = above.filter(|_| change_column(&node.schema()).is_some()) {
                taken.entry(above.to_owned()).or_default().insert(name.to_owned());
            }
        }
        let above = here.or(above);
        walk.extend(node.children().into_iter().map(|child| (child, above)));
    }
    taken
}

/// Whether a batch without data is worth running because it is `now_proc_ms`: something in [`stores_by_clock`] has timed out.
pub fn has_timed_out(by_clock: &[StoreId], state: &QueryState, now_proc_ms: i64) -> Result<bool> {
    for store in by_clock {
        for mut table in state.tables_of(store) {
            if table.has_expired(now_proc_ms.saturating_sub(1))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// When [`has_timed_out`] is worth asking again; `None` if nothing times out by the clock.
pub fn next_timeout_proc_ms(by_clock: &[StoreId], state: &QueryState) -> Option<i64> {
    let tables = by_clock.iter().flat_map(|store| state.tables_of(store));
    tables.filter_map(|table| table.none_expires_before()).map(|proc_ms| proc_ms.saturating_add(1)).min()
}

/// The stores whose rows expire by the clock.
pub fn stores_by_clock(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<StoreId>> {
    let by_clock = stateful_operators(plan).into_iter().filter(|operator| operator.times_out_by_clock());
    let store = |operator: &dyn StatefulOperator| {
        let store = operator.stores()?.into_iter().next().map(|store| store.name);
        Ok(StoreId { operator: operator.operator_id().to_owned(), store: store.unwrap_or_default() })
    };
    by_clock.map(store).collect()
}
