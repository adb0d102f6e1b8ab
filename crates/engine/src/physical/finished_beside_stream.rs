//! A table that one query reads both as a stream and as finished data (`FROM STREAM t JOIN t`): two leaves with one name. The
//! finished one gets a name of its own, by which its splits are found, its range is recorded and its rows are counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use millstream_core::Result;

use super::SourceExec;
use super::source_exec::source_execs;
use crate::error::from_datafusion;

/// What a finished table is called in a query whose streams have these names.
pub fn finished_name(name: &str, streams: &BTreeSet<String>) -> String {
    if streams.contains(name) { format!("{name} (finished)") } else { name.to_owned() }
}

/// The plan with these names.
pub fn with_finished_names(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let sources = source_execs(&plan);
    let (streams, finished): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.is_streaming());
    let streams: BTreeSet<String> = streams.into_iter().map(|source| source.source_name().to_owned()).collect();
    if !finished.iter().any(|source| streams.contains(source.source_name())) {
        return Ok(plan);
    }
    rename(&plan, &streams)
}

fn rename(plan: &Arc<dyn ExecutionPlan>, streams: &BTreeSet<String>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        let is_finished = !source.is_streaming();
        return Ok(match is_finished {
            true => Arc::new(source.renamed(finished_name(source.source_name(), streams))),
            false => Arc::clone(plan),
        });
    }
    let children = plan.children().into_iter().map(|child| rename(child, streams)).collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(Arc::clone(plan), children).map_err(from_datafusion)
}
