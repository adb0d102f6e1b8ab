//! A join of a stream with finished data keeps the finished side: it is made a hash table once per batch, for all tasks, and
//! the stream's rows go past it.
//!
//! DataFusion decides this by sizes, which neither a stream nor its splits know when a query is planned. Left alone it would send both
//! sides to tasks by the hash of the key, and keep a whole batch of the stream in memory.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

use super::source_exec::source_execs;

/// See the module's documentation. Stands before DataFusion's own choice, which leaves a decided join as it is.
#[derive(Debug)]
pub struct FinishedBuildSide;

impl PhysicalOptimizerRule for FinishedBuildSide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(with_finished_build_side).map(|changed| changed.data)
    }

    fn name(&self) -> &'static str {
        "finished_build_side"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn with_finished_build_side(plan: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| !join.null_aware) else { return Ok(Transformed::no(plan)) };
    // Tasks know of their own rows only, so none may give rows of the finished side for not having met any.
    let probes_left =
        matches!(join.join_type(), JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark);
    let probes_right =
        matches!(join.join_type(), JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark);
    match (is_streaming(join.left()), is_streaming(join.right())) {
        (true, false) if probes_left => join.swap_inputs(PartitionMode::CollectLeft).map(Transformed::yes),
        (false, true) if probes_right => {
            let join = join.builder().with_partition_mode(PartitionMode::CollectLeft).build()?;
            Ok(Transformed::yes(Arc::new(join)))
        }
        _ => Ok(Transformed::no(plan)),
    }
}

fn is_streaming(plan: &Arc<dyn ExecutionPlan>) -> bool {
    source_execs(plan).iter().any(|source| source.is_streaming())
}
