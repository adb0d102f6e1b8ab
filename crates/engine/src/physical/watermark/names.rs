//! The names of watermark nodes: `ts@orders` is the event time `ts` of what the source `orders` gives.
//!
//! Made before the optimiser, from what the user wrote. Nodes that would be called alike (a stream joined with itself) are
//! told apart by their place among each other.

use std::collections::BTreeMap;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::nodes::EventTimeWatermarkNode;
use millstream_core::Result;

use crate::error::from_datafusion;
use crate::physical::source_table::{as_source_table, source_tables};

/// Gives every watermark node of a plan its name.
pub fn name_watermarks(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let (mut n_alike, mut n_nodes) = (BTreeMap::<String, u32>::new(), 0);
    let named = plan.clone().transform_down(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(watermark) = extension.node.as_any().downcast_ref::<EventTimeWatermarkNode>() else { return Ok(Transformed::no(node)) };
        let name = name_of(watermark).map_err(crate::error::to_datafusion)?;
        let n_before = n_alike.entry(name.clone()).or_default();
        *n_before += 1;
        let name = if *n_before == 1 { name } else { format!("{name}/{n_before}") };
        n_nodes += 1;
        let named = watermark.clone().called(name, n_nodes - 1);
        let sets_rows_aside = sets_rows_aside(watermark).map_err(crate::error::to_datafusion)?;
        Ok(Transformed::yes(if sets_rows_aside { named.setting_rows_aside() } else { named }.into_plan()))
    });
    named.data().map_err(from_datafusion)
}

/// Whether rows from the future go to a table, which has them whole.
fn sets_rows_aside(node: &EventTimeWatermarkNode) -> Result<bool> {
    let providers = source_tables(node.input())?;
    let tables = providers.iter().map(as_source_table).collect::<Result<Vec<_>>>()?;
    let streams = || tables.iter().filter(|table| table.is_streaming());
    Ok(streams().any(|table| table.max_future_skew().is_some()) && streams().any(|table| !table.dead_letter_sinks().is_empty()))
}

fn name_of(node: &EventTimeWatermarkNode) -> Result<String> {
    let mut sources = Vec::new();
    for provider in source_tables(node.input())? {
        let table = as_source_table(&provider)?;
        if table.is_streaming() {
            sources.push(table.name().to_owned());
        }
    }
    sources.sort();
    Ok(format!("{}@{}", node.written_name(), sources.join("+")))
}
