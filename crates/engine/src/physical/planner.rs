//! From a logical plan to the physical plan that every batch runs: made once, at start.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DfResult;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, TableSource, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::col as physical_column;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use millstream_analyzer::nodes::EventTimeWatermarkNode;
use millstream_analyzer::row_facts::RowFactNode;
use millstream_analyzer::streaming::{GroupsWithStateNode, JoinSideNode, StreamJoinNode};
use millstream_analyzer::{ComputedOnceNode, compute_once, prune_nested_fields};
use millstream_core::Result;
use millstream_core::stack::{poll_with_room_for_query, with_room_for_query};

use super::computed_once::{ComputedOnce, ComputedOnceExec, without_marks};
use super::finished_beside_stream::with_finished_names;
use super::finished_build_side::FinishedBuildSide;
use super::future_guard::{FutureGuardExec, FutureGuardSpec};
use super::row_fact::RowFactExec;
use super::row_guard::column_names;
use super::side_table::LAST_WRITER;
use super::small_chunks::chunks_small_below_windows;
use super::source_exec::source_execs;
use super::source_table::{SourceTable, as_source_table, source_tables};
use super::stateful::{plan_groups_with_state, plan_join, plan_stateful};
use super::watermark::{EventTimeWatermarkExec, WatermarkOperator, name_watermarks};
use crate::error::{from_datafusion, to_datafusion};

/// Makes physical plans. Knows our logical nodes; everything else is DataFusion's.
pub struct PhysicalPlans {
    state: SessionState,
    planner: DefaultPhysicalPlanner,
}

impl fmt::Debug for PhysicalPlans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhysicalPlans").finish_non_exhaustive()
    }
}

impl PhysicalPlans {
    /// A planner for `parallelism` partitions and batches of `batch_rows` rows.
    pub fn new(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Self {
        let mut rules = PhysicalOptimizer::new().rules;
        rules.insert(0, Arc::new(FinishedBuildSide));
        let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
        let state = state.with_physical_optimizer_rules(rules).build();
        Self { state, planner: DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(StreamNodes)]) }
    }

    /// The optimised logical plan, as EXPLAIN shows it.
    pub fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let named = name_watermarks(plan)?;
        with_room_for_query(|| self.state.optimize(&compute_once(prune_nested_fields(&named, &narrowed)?)?)).map_err(from_datafusion)
    }

    /// The physical plan of a logical plan.
    pub async fn plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let optimized = self.optimize(plan)?;
        let planned = self.planner.create_physical_plan(&optimized, &self.state);
        let planned = without_marks(poll_with_room_for_query(planned).await.map_err(from_datafusion)?)?;
        with_finished_names(chunks_small_below_windows(planned, self.state.config().batch_size())?)
    }

    /// The session that DataFusion's planner saw (for codecs and tests).
    pub fn session(&self) -> &SessionState {
        &self.state
    }
}

/// The source that reads only the fields in `schema`.
fn narrowed(source: &Arc<dyn TableSource>, schema: SchemaRef) -> DfResult<Option<Arc<dyn TableSource>>> {
    let Ok(provider) = source_as_provider(source) else { return Ok(None) };
    let narrowed = provider.downcast_ref::<SourceTable>().and_then(|table| table.narrowed(schema));
    Ok(narrowed.map(|table| provider_as_source(Arc::new(table))))
}

/// Finished data has no watermark: rows pass.
fn watermark_exec(node: &EventTimeWatermarkNode, input: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    if !source_execs(input).iter().any(|source| source.is_streaming()) {
        return Ok(Arc::clone(input));
    }
    let input = guarded_from_future(node, input).map_err(to_datafusion)?;
    let (name, column) = (node.id().to_owned(), node.event_time()?.name().to_owned());
    let operator = WatermarkOperator { name, column, delay_us: node.delay_us() };
    Ok(Arc::new(EventTimeWatermarkExec::try_new(input, operator).map_err(to_datafusion)?))
}

/// The input of a watermark node, with a guard if one of its streams has a `maxFutureSkew`: the smallest, where they meet.
fn guarded_from_future(node: &EventTimeWatermarkNode, input: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let providers = source_tables(node.input())?;
    let tables = providers.iter().map(as_source_table).collect::<Result<Vec<_>>>()?;
    let streams = || tables.iter().filter(|table| table.is_streaming());
    let Some(max_skew) = streams().filter_map(|table| table.max_future_skew()).min() else { return Ok(Arc::clone(input)) };
    let joined = |text: &dyn Fn(&SourceTable) -> String| streams().map(|table| text(table)).collect::<Vec<_>>().join(", ");
    let spec = FutureGuardSpec {
        event_time: node.event_time().map_err(from_datafusion)?.name().to_owned(),
        max_skew_us: i64::try_from(max_skew.as_micros()).unwrap_or(i64::MAX),
        sources: joined(&|table| table.name().to_owned()),
        origin: joined(&|table| table.description().to_owned()),
        columns: column_names(input),
        writer_no: LAST_WRITER.saturating_sub(node.number()),
    };
    let dead_letters = source_execs(input).into_iter().filter(|source| source.is_streaming()).find_map(|source| source.dead_letters());
    Ok(Arc::new(FutureGuardExec::new(Arc::clone(input), spec, dead_letters.cloned())))
}

/// Of an input the columns of a schema.
fn only_columns(schema: &DFSchema, input: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    if schema.fields().len() == input.schema().fields().len() {
        return Ok(Arc::clone(input));
    }
    let column = |field: &FieldRef| Ok((physical_column(field.name(), &input.schema())?, field.name().clone()));
    let columns = schema.fields().iter().map(column).collect::<DfResult<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, Arc::clone(input))?))
}

/// Plans the analyzer's stream nodes.
struct StreamNodes;

#[async_trait]
impl ExtensionPlanner for StreamNodes {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        ctx: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(input) = physical_inputs.first() else { return Ok(None) };
        if let Some(fact) = node.as_any().downcast_ref::<RowFactNode>() {
            return Ok(Some(Arc::new(RowFactExec::new(Arc::clone(input), fact.fact(), fact.column()))));
        }
        if let Some(watermark) = node.as_any().downcast_ref::<EventTimeWatermarkNode>() {
            return watermark_exec(watermark, input).map(Some);
        }
        if node.as_any().is::<JoinSideNode>() {
            return Ok(Some(Arc::clone(input)));
        }
        if node.as_any().is::<ComputedOnceNode>() {
            return Ok(Some(Arc::new(ComputedOnceExec::over(ComputedOnce, [only_columns(node.schema(), input)?]))));
        }
        let (props, n_tasks) = (session.execution_props(), session.config().target_partitions());
        if let (Some(join), [left, right]) = (node.as_any().downcast_ref::<StreamJoinNode>(), physical_inputs) {
            return plan_join(join, [left, right], props, ctx, n_tasks).map(Some);
        }
        if let Some(groups) = node.as_any().downcast_ref::<GroupsWithStateNode>() {
            return plan_groups_with_state(groups, physical_inputs, n_tasks).map(Some);
        }
        plan_stateful(node, input, props, ctx, n_tasks)
    }
}
