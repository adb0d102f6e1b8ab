//! Finished tables that must stay as they are for the life of a query.
//!
//! Rows that may be taken back (`docs/design/0005-changes.md`) are joined with a table twice: when they are added, and when
//! they are taken out. If the table was another one by then, the operator above would take out a row that it never got. So
//! such a table may not be looked at again by interval, and a restart must find it as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use millstream_analyzer::streaming::change_column;
use millstream_core::{Error, Result, SourceRange};
use millstream_state::checkpoint::Record;

use crate::physical::source_exec::source_execs;

/// The names of the finished tables that stand beside changes.
pub(super) fn lasting_tables(plan: &Arc<dyn ExecutionPlan>) -> BTreeSet<String> {
    let mut lasting = BTreeSet::new();
    let mut walk = vec![plan];
    while let Some(node) = walk.pop() {
        let takes_changes = change_column(&node.schema()).is_some();
        for child in node.children() {
            let sources = source_execs(child);
            let is_finished = !sources.is_empty() && sources.iter().all(|source| !source.is_streaming());
            match takes_changes && is_finished {
                true => lasting.extend(sources.into_iter().map(|source| source.source_name().to_owned())),
                false => walk.push(child),
            }
        }
    }
    lasting
}

/// Refuses a table that is to be looked at again.
pub(super) fn refuse_refresh(table: &str) -> Error {
    Error::unsupported(format!("'refreshInterval' on table '{table}', which is joined with rows that may be taken back"))
        .hint("join it above the last aggregation, or leave out refreshInterval: a row must be taken out as it was added")
}

/// Refuses a table that is not what the last batch of the checkpoint joined with.
pub(super) fn check_unchanged(table: &str, now: Option<&SourceRange>, last: Option<&Record>) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    if last.sources.get(table).map(|entry| &entry.range) == now {
        return Ok(());
    }
    Err(Error::invalid(format!("table '{table}' is not as it was, and rows that were joined with it may be taken back"))
        .hint("bring it back to what it was, join it above the last aggregation, or start with a new checkpointLocation"))
}
