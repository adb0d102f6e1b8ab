//! The memory leaf of split rows below every source operator, and how it is refilled for a batch.
//!
//! The leaf is a stock DataFusion memory source, so any runner can serialise and slice it; a custom leaf would be run
//! in full by every task of a Ballista stage. Refilling keeps the leaf's plan properties, so the operators above are
//! re-made without computing theirs: no planning.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use millstream_core::{Error, Result, Split};

use super::SourceExec;
use crate::error::{from_datafusion, to_datafusion};

static SPLIT_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("split", DataType::Binary, false)])));

/// The splits of a batch by source name.
pub type SplitsBySource = BTreeMap<String, Vec<Split>>;

/// The leaf: `n_partitions` partitions that hold `splits`, balanced by size, each partition's in order.
pub fn split_leaf(splits: &[Split], n_partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let mut partitions: Vec<(u64, Vec<&[u8]>)> = vec![(0, Vec::new()); n_partitions.max(1)];
    for split in splits {
        let lightest = partitions.iter_mut().min_by_key(|(bytes, _)| *bytes);
        let (bytes, rows) = lightest.ok_or_else(|| Error::internal("a source without partitions"))?;
        *bytes += split.bytes_estimate.max(1);
        rows.push(&split.payload);
    }
    let batches = partitions
        .into_iter()
        .map(|(_, rows)| {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let column = BinaryArray::from_iter_values(rows);
            Ok(vec![RecordBatch::try_new(Arc::clone(&SPLIT_SCHEMA), vec![Arc::new(column)])?])
        })
        .collect::<Result<Vec<_>>>()?;
    let leaf = MemorySourceConfig::try_new_exec(&batches, Arc::clone(&SPLIT_SCHEMA), None).map_err(from_datafusion)?;
    Ok(leaf)
}

/// The splits in a batch of the leaf.
pub fn splits_of(batch: &RecordBatch) -> Result<Vec<Split>> {
    let column = batch.columns().first().and_then(|column| column.as_any().downcast_ref::<BinaryArray>());
    let column = column.ok_or_else(|| Error::internal("a split leaf without its column"))?;
    Ok((0..column.len()).map(|row| Split { payload: Bytes::copy_from_slice(column.value(row)), bytes_estimate: 0 }).collect())
}

/// The same plan with the leaf of every source in `splits` refilled. A source that is not named keeps what it has.
pub fn fill_splits(plan: &Arc<dyn ExecutionPlan>, splits: &SplitsBySource) -> Result<Arc<dyn ExecutionPlan>> {
    fill(plan, splits).map_err(from_datafusion)
}

fn fill(plan: &Arc<dyn ExecutionPlan>, splits: &SplitsBySource) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        return Ok(match splits.get(source.source_name()) {
            Some(splits) => Arc::new(source.with_splits(splits).map_err(to_datafusion)?),
            None => Arc::clone(plan),
        });
    }
    let children = plan.children();
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    let children = children.into_iter().map(|child| fill(child, splits)).collect::<datafusion::error::Result<Vec<_>>>()?;
    // Operators with run-time state (joins, repartitions) must start afresh in every batch, also those whose children
    // did not change.
    if children.iter().zip(plan.children()).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Arc::clone(plan).reset_state();
    }
    let filled = replace_children_if_necessary(Arc::clone(plan), children)?;
    // Some share with their clones what the last batch made of them: a sort that keeps the first rows, how many of its tasks
    // have ended; a hash join, the rows of its left side; who computes scalar subqueries, their values.
    let shares = filled.is::<SortExec>() || filled.is::<HashJoinExec>() || filled.is::<ScalarSubqueryExec>();
    if shares { filled.reset_state() } else { Ok(filled) }
}
