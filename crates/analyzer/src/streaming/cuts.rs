//! Which queries give a result that hangs on how their input was cut into batches, however right they are.
//!
//! All others must give the rows of the batch query whatever the cut, which `millstream verify` checks.

use datafusion::logical_expr::LogicalPlan;
use millstream_core::Result;

use super::output_mode::{node_of, visit};
use super::{DeduplicateNode, GroupsWithStateNode, Kept, StreamLimitNode};

/// What of a plan makes the rows of its result hang on the cut of the input, in words that begin a sentence.
pub fn hangs_on_cuts(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    visit(plan, &mut |node| {
        if found.is_none() {
            found = what_hangs(node);
        }
        Ok(())
    })?;
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
