//! From the analyzer's stateful nodes to operators.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, UserDefinedLogicalNode};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{Literal, col};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use millstream_analyzer::streaming::{DeduplicateNode, Kept, SideFacts, StatefulAggregateNode, StreamJoinNode, StreamLimitNode};
use millstream_core::{Error, OutputMode};

use super::join::pair_schema;
use super::session::session_group_by;
use super::{
    DeduplicateExec, JoinSpec, KeyExchangeExec, KeySpec, LateRowsExec, SessionAggregateExec, SessionSpec, SideSpec, StatefulAggregateExec,
    StreamJoinExec, StreamLimitExec, watermark_lag_ms,
};
use crate::error::to_datafusion;

/// The operators of a stateful node over its planned input, or `None` if it is another node.
pub fn plan_stateful(
    node: &dyn UserDefinedLogicalNode,
    input: &Arc<dyn ExecutionPlan>,
    props: &ExecutionProps,
    ctx: &PhysicalPlanningContext,
    n_tasks: usize,
) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let input = Arc::clone(input);
    if let Some(aggregate) = node.as_any().downcast_ref::<StatefulAggregateNode>() {
        return aggregation(aggregate, input, props, ctx, n_tasks).map(Some);
    }
    if let Some(deduplicate) = node.as_any().downcast_ref::<DeduplicateNode>() {
        let keys: Vec<String> = deduplicate.keys().iter().filter_map(|key| Some(key.try_as_col()?.name.clone())).collect();
        // A key without event time is remembered for ever, so no row is late for it, as in Spark.
        let by_event_time = deduplicate.has_event_time_key() || matches!(deduplicate.kept(), Kept::WithinWatermark { .. });
        let event_time = deduplicate.event_time().filter(|_| by_event_time);
        let input = in_time(input, deduplicate.operator(), event_time, None);
        let expires_by = event_time.map(|column| column.name.clone());
        let input = exchanged(input, keys.clone(), n_tasks);
        let exec = DeduplicateExec::new(input, deduplicate.operator(), keys, expires_by, deduplicate.kept());
        return Ok(Some(Arc::new(exec.with_key_names(deduplicate.key_names().to_vec()))));
    }
    if let Some(limit) = node.as_any().downcast_ref::<StreamLimitNode>() {
        let input = exchanged(input, Vec::new(), n_tasks);
        return Ok(Some(Arc::new(StreamLimitExec::new(input, limit.operator(), limit.n_rows()))));
    }
    Ok(None)
}

/// The operators of a join of two streams over its planned sides.
pub fn plan_join(
    node: &StreamJoinNode,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    props: &ExecutionProps,
    ctx: &PhysicalPlanningContext,
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let keys: Vec<KeySpec> = node
        .keys()
        .iter()
        .map(|key| KeySpec { left: key.left.name.clone(), right: key.right.name.clone(), is_null_safe: key.is_null_safe })
        .collect();
    // What is late for a join is so for both of its sides.
    let lag_ms = watermark_lag_ms(&inputs.map(Arc::clone));
    let side = |input: &Arc<dyn ExecutionPlan>, facts: &SideFacts, keys: Vec<String>| {
        let in_time: Arc<dyn ExecutionPlan> = match &facts.event_time {
            Some(column) => Arc::new(LateRowsExec::new(Arc::clone(input), node.operator(), &column.name, None).allowing(lag_ms)),
            None => Arc::clone(input),
        };
        exchanged(in_time, keys, n_tasks)
    };
    let spec = |facts: &SideFacts| SideSpec {
        expires_by: facts.bound.as_ref().map(|bound| (bound.column.name.clone(), bound.offset_ms)),
        can_match: facts.can_match.as_ref().map(|column| column.name.clone()),
    };
    let ([left, right], [(_, left_facts), (_, right_facts)]) = (inputs, node.sides());
    let pairs = DFSchema::try_from(pair_schema(&left.schema(), &right.schema()))?;
    let spec = JoinSpec {
        operator: node.operator().to_owned(),
        kind: node.kind(),
        sides: [spec(left_facts), spec(right_facts)],
        filter: node.filter().map(|filter| create_physical_expr(filter, &pairs, props, ctx)).transpose()?,
        meaning: node.meaning().to_vec(),
        keys: keys.clone(),
    };
    let left = side(left, left_facts, keys.iter().map(|key| key.left.clone()).collect());
    let right = side(right, right_facts, keys.into_iter().map(|key| key.right).collect());
    Ok(Arc::new(StreamJoinExec::try_new(left, right, spec).map_err(to_datafusion)?))
}

pub(super) fn in_time(
    input: Arc<dyn ExecutionPlan>,
    operator: &str,
    event_time: Option<&Column>,
    once_per_row: Option<&Column>,
) -> Arc<dyn ExecutionPlan> {
    match event_time {
        Some(column) => Arc::new(LateRowsExec::new(input, operator, &column.name, once_per_row.map(|column| column.name.clone()))),
        None => input,
    }
}

/// Rows to the tasks that keep their keys. One task has them all, if there is one partition of them: a union has more.
pub(super) fn exchanged(input: Arc<dyn ExecutionPlan>, keys: Vec<String>, n_tasks: usize) -> Arc<dyn ExecutionPlan> {
    let n_partitions = input.output_partitioning().partition_count();
    if n_tasks > 1 || n_partitions > 1 { Arc::new(KeyExchangeExec::new(input, keys, n_tasks)) } else { input }
}

fn aggregation(
    node: &StatefulAggregateNode,
    input: Arc<dyn ExecutionPlan>,
    props: &ExecutionProps,
    ctx: &PhysicalPlanningContext,
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    // Complete mode drops nothing, but for sessions, as in Spark.
    let late_by = node.event_time().filter(|_| node.mode() != OutputMode::Complete || node.session().is_some());
    let input = in_time(input, node.operator(), late_by, node.once_per_row());
    let aggregate = node.aggregate();
    let (logical, physical) = (aggregate.input.schema(), input.schema());
    let mut calls = Vec::new();
    let mut filters = Vec::new();
    for expr in &aggregate.aggr_expr {
        let lowered = LoweredAggregateBuilder::new(expr, logical, &physical, props, ctx)
            .with_name(expr.schema_name().to_string())
            .with_human_display(expr.human_display().to_string())
            .build()?;
        calls.push(lowered.aggregate);
        filters.push(lowered.filter);
    }
    if let Some(session) = node.session() {
        return sessions(node, session, input, calls, filters, n_tasks);
    }
    let group_by = group_by(aggregate, logical, &physical)?;
    let partial = AggregateExec::try_new(AggregateMode::Partial, group_by, calls, filters, input, Arc::clone(&physical))?;
    let keys = partial.schema().fields().iter().take(partial.group_expr().num_group_exprs()).map(|key| key.name().clone()).collect();
    let groups = exchanged(Arc::new(partial), keys, n_tasks);
    let event_time = node.event_time().map(|column| column.name.clone());
    let exec =
        StatefulAggregateExec::try_new(groups, node.operator(), node.mode(), event_time, node.meaning().to_vec()).map_err(to_datafusion)?;
    Ok(Arc::new(exec.with_key_names(node.key_names().to_vec())))
}

fn sessions(
    node: &StatefulAggregateNode,
    session: &Column,
    input: Arc<dyn ExecutionPlan>,
    calls: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let keys: Vec<&Column> = node.aggregate().group_expr.iter().filter_map(Expr::try_as_col).collect();
    let n_before = keys.iter().take_while(|key| **key != session).count();
    let others: Vec<String> = keys.iter().filter(|key| **key != session).map(|key| key.name.clone()).collect();
    if others.len() + 1 != node.aggregate().group_expr.len() {
        return Err(to_datafusion(Error::internal("sessions by keys that are no columns, or without their own")));
    }
    let schema = input.schema();
    let group_by = session_group_by(&others, &session.name, &schema)?;
    let partial = AggregateExec::try_new(AggregateMode::Partial, group_by, calls, filters, input, schema)?;
    let spec = SessionSpec {
        operator: node.operator().to_owned(),
        mode: node.mode(),
        session: session.name.clone(),
        n_before,
        event_time: node.event_time().map(|column| column.name.clone()),
        meaning: node.meaning().to_vec(),
    };
    let exec = SessionAggregateExec::try_new(exchanged(Arc::new(partial), others, n_tasks), spec).map_err(to_datafusion)?;
    Ok(Arc::new(exec))
}

/// The keys, which the analyzer makes columns of the input.
fn group_by(aggregate: &Aggregate, logical: &DFSchema, physical: &Schema) -> DfResult<PhysicalGroupBy> {
    let key = |expr: &Expr| -> DfResult<(Arc<dyn PhysicalExpr>, String)> {
        match expr {
            Expr::Column(column) => Ok((col(&column.name, physical)?, column.name.clone())),
            other => Err(to_datafusion(Error::internal(format!("a key of a stateful aggregation that is no column: {other}")))),
        }
    };
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
        return Ok(PhysicalGroupBy::new_single(aggregate.group_expr.iter().map(key).collect::<DfResult<Vec<_>>>()?));
    };
    let GroupingSet::GroupingSets(sets) = sets else {
        return Err(to_datafusion(Error::internal("grouping sets that are not written out")));
    };
    let mut all: Vec<&Expr> = Vec::new();
    let mut known = BTreeSet::new();
    for expr in sets.iter().flatten() {
        if known.insert(expr.to_string()) {
            all.push(expr);
        }
    }
    let keys = all.iter().map(|expr| key(expr)).collect::<DfResult<Vec<_>>>()?;
    let nulls = all.iter().zip(&keys).map(|(expr, (_, name))| {
        let data_type = datafusion::logical_expr::ExprSchemable::get_type(*expr, logical)?;
        Ok((Arc::new(Literal::new(ScalarValue::try_from(&data_type)?)) as Arc<dyn PhysicalExpr>, name.clone()))
    });
    let nulls = nulls.collect::<DfResult<Vec<_>>>()?;
    let is_null = sets.iter().map(|set| all.iter().map(|expr| !set.contains(expr)).collect()).collect();
    Ok(PhysicalGroupBy::new(keys, nulls, is_null, true))
}
