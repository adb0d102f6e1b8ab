//! Operators that remember between batches.
//!
//! What the loop must know of them without knowing what they compute: which ones a plan has, and whether they can do
//! something when only the watermark moves.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

/// What the loop asks of a stateful operator.
pub trait StatefulOperator {
    /// Its stable id, by which reports and checkpoints name it.
    fn operator_id(&self) -> &str;

    /// Whether a later watermark alone can make it give rows or forget some.
    fn uses_event_time(&self) -> bool;
}

/// The operator as a stateful one, if it is one of ours: one line per kind.
fn as_stateful(_plan: &dyn ExecutionPlan) -> Option<&dyn StatefulOperator> {
    None
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

/// Whether a batch without data is worth running when the watermark has moved.
pub fn uses_event_time(plan: &Arc<dyn ExecutionPlan>) -> bool {
    stateful_operators(plan).iter().any(|operator| operator.uses_event_time())
}
