//! From the analyzer's stateful nodes to operators.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::context::ExecutionProps;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, UserDefinedLogicalNode};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{CastExpr, Column as PhysicalColumn, Literal, col};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use millstream_analyzer::streaming::{
    CHANGE, DeduplicateNode, LATE_ROW, SideFacts, SinkChangesNode, StatefulAggregateNode, StreamJoinNode, StreamLimitNode, change_column,
};
use millstream_core::Error;

use super::aggregate::sliding::ALL;
use super::aggregate::{AggregateSpec, ROWS};
use super::changed::can_subtract;
use super::deduplicate::DeduplicateSpec;
use super::join::pair_schema;
use super::limit::StreamLimit;
use super::recompute::{INPUT_SUFFIX, input_name};
use super::session::session_group_by;
use super::sink_changes::{SinkChanges, meeting_columns};
use super::{
    DeduplicateChangesExec, DeduplicateExec, JoinSpec, KeyExchangeExec, KeySpec, LateRowsExec, RecomputeAggregateExec,
    SessionAggregateExec, SessionChangesExec, SessionChangesSpec, SessionSpec, SideSpec, SinkChangesExec, SlidingAggregateExec,
    SlidingAggregateSpec, StatefulAggregateExec, StreamJoinExec, StreamLimitExec, WindowKey, watermark_lag_ms,
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
        let event_time = deduplicate.late_by();
        let input = in_time(input, deduplicate.operator(), event_time, None)?;
        let expires_by = event_time.map(|column| column.name.clone());
        let input = exchanged(input, keys.clone(), n_tasks);
        let spec = DeduplicateSpec { operator: deduplicate.operator().to_owned(), keys, expires_by, kept: deduplicate.kept() };
        return Ok(Some(match change_column(&input.schema()) {
            Some(_) => Arc::new(DeduplicateChangesExec::new(input, spec)),
            None => Arc::new(DeduplicateExec::new(input, spec)),
        }));
    }
    if let Some(limit) = node.as_any().downcast_ref::<StreamLimitNode>() {
        let input = exchanged(input, Vec::new(), n_tasks);
        let limit = StreamLimit { operator: limit.operator().to_owned(), n_rows: limit.n_rows() };
        return Ok(Some(Arc::new(StreamLimitExec::over(limit, [input]))));
    }
    if let Some(changes) = node.as_any().downcast_ref::<SinkChangesNode>() {
        let key: Option<Vec<String>> = changes.key().map(|key| key.into_iter().map(|column| column.name.clone()).collect());
        let meeting = meeting_columns(&input.schema(), key.as_deref());
        let changes = SinkChanges { key, declared: changes.declared().map(<[String]>::to_vec), shown: changes.shown() };
        return Ok(Some(Arc::new(SinkChangesExec::over(changes, [exchanged(input, meeting, n_tasks)]))));
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
    let side = |input: &Arc<dyn ExecutionPlan>, facts: &SideFacts, keys: Vec<String>| -> DfResult<Arc<dyn ExecutionPlan>> {
        let in_time: Arc<dyn ExecutionPlan> = match &facts.event_time {
            Some(column) => Arc::new(LateRowsExec::new(Arc::clone(input), node.operator(), &column.name, None).allowing(lag_ms)),
            None => Arc::clone(input),
        };
        Ok(exchanged(without_late_row(in_time)?, keys, n_tasks))
    };
    let spec = |facts: &SideFacts| SideSpec {
        expires_by: facts.bound.as_ref().map(|bound| (bound.column.name.clone(), bound.offset_ms)),
        can_match: facts.can_match.as_ref().map(|column| column.name.clone()),
    };
    let ([left, right], [(_, left_facts), (_, right_facts)]) = (inputs, node.sides());
    let left = side(left, left_facts, keys.iter().map(|key| key.left.clone()).collect())?;
    let right = side(right, right_facts, keys.iter().map(|key| key.right.clone()).collect())?;
    let pairs = DFSchema::try_from(pair_schema(&left.schema(), &right.schema()))?;
    let spec = JoinSpec {
        operator: node.operator().to_owned(),
        kind: node.kind(),
        sides: [spec(left_facts), spec(right_facts)],
        gives: node.gives(),
        filter: node.filter().map(|filter| create_physical_expr(filter, &pairs, props, ctx)).transpose()?,
        meaning: node.meaning().to_vec(),
        keys,
    };
    Ok(Arc::new(StreamJoinExec::try_new(left, right, spec).map_err(to_datafusion)?))
}

pub(super) fn in_time(
    input: Arc<dyn ExecutionPlan>,
    operator: &str,
    event_time: Option<&Column>,
    once_per_row: Option<&Column>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    without_late_row(match event_time {
        Some(column) => Arc::new(LateRowsExec::new(input, operator, &column.name, once_per_row.map(|column| column.name.clone()))),
        None => input,
    })
}

/// The rows behind the late test: what was kept of late ones goes no further.
fn without_late_row(judged: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = judged.schema();
    if schema.index_of(LATE_ROW).is_err() {
        return Ok(judged);
    }
    let others = schema.fields().iter().enumerate().filter(|(_, field)| field.name() != LATE_ROW);
    let columns =
        others.map(|(idx, field)| ProjectionExpr { expr: Arc::new(PhysicalColumn::new(field.name(), idx)), alias: field.name().clone() });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), judged)?))
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
    let late_by = node.late_by(node.mode());
    let window =
        node.window().map(|key| WindowKey { slice: key.slice().name.clone(), window: key.window().name().clone(), windows: key.windows() });
    let by_window = window.as_ref().filter(|window| late_by.is_some_and(|late_by| late_by.name == window.window));
    let input = match by_window {
        Some(window) => {
            let judged = LateRowsExec::new(input, node.operator(), &window.slice, None).by_slice(window.windows);
            without_late_row(Arc::new(judged))?
        }
        None => in_time(input, node.operator(), late_by, node.once_per_row())?,
    };
    let input = match node.session() {
        Some(session) if change_column(&input.schema()).is_some() => in_sessions(node, session, input, n_tasks)?,
        _ => input,
    };
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
    if let Some(session) = node.session().filter(|_| change_column(&physical).is_none()) {
        return sessions(node, session, input, calls, filters, n_tasks);
    }
    let spec = AggregateSpec {
        operator: node.operator().to_owned(),
        mode: node.mode(),
        gives: node.gives(),
        event_time: node.event_time().map(|column| column.name.clone()),
        window: None,
        meaning: node.meaning().to_vec(),
    };
    if change_column(&physical).is_none() {
        if let Some(window) = window.as_ref().filter(|window| !window.windows.is_tumbling()) {
            return sliding(node, window.clone(), input, calls, filters, n_tasks);
        }
        let group_by = group_by(aggregate, logical, &physical, &[])?;
        let groups = partial(group_by, calls, filters, input, n_tasks, &|_| true)?;
        let spec = AggregateSpec { window, ..spec };
        return Ok(Arc::new(StatefulAggregateExec::try_new(groups, spec).map_err(to_datafusion)?));
    }
    let is_key = |name: &str| name != CHANGE && !name.ends_with(INPUT_SUFFIX);
    if calls.iter().map(|call| can_subtract(call)).collect::<Result<Vec<_>, _>>().map_err(to_datafusion)?.into_iter().all(|can| can) {
        // Rows that are added and rows that are taken out are aggregated apart.
        let group_by = group_by(aggregate, logical, &physical, &[(CHANGE, CHANGE.to_owned())])?;
        calls.push(count_of_rows(&physical)?);
        filters.push(None);
        let groups = partial(group_by, calls, filters, input, n_tasks, &is_key)?;
        return Ok(Arc::new(StatefulAggregateExec::try_new(groups, spec).map_err(to_datafusion)?));
    }
    let used = columns_used(&calls, &filters, &physical);
    let inputs: Vec<(&str, String)> = used.fields().iter().map(|field| (field.name().as_str(), input_name(field.name()))).collect();
    let group_by = group_by(aggregate, logical, &physical, &inputs)?;
    let rows = partial(group_by, vec![net_count(&physical)?], vec![None], input, n_tasks, &is_key)?;
    let (calls, filters) = over_columns(calls, filters, &used)?;
    let nothing = Arc::new(EmptyExec::new(Arc::clone(&used)));
    let what = AggregateExec::try_new(AggregateMode::Partial, PhysicalGroupBy::new_single(vec![]), calls, filters, nothing, used)?;
    Ok(Arc::new(RecomputeAggregateExec::try_new(rows, Arc::new(what), spec).map_err(to_datafusion)?))
}

/// Aggregates a batch by itself, and sends what comes of it to the tasks that keep its keys.
fn partial(
    group_by: PhysicalGroupBy,
    calls: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    input: Arc<dyn ExecutionPlan>,
    n_tasks: usize,
    is_key: &dyn Fn(&str) -> bool,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let physical = input.schema();
    let partial = AggregateExec::try_new(AggregateMode::Partial, group_by, calls, filters, input, physical)?;
    let schema = partial.schema();
    let grouped = schema.fields().iter().take(partial.group_expr().num_group_exprs()).map(|key| key.name().clone());
    let keys = grouped.filter(|name| is_key(name)).collect();
    Ok(exchanged(Arc::new(partial), keys, n_tasks))
}

/// How many rows a group has.
fn count_of_rows(physical: &SchemaRef) -> DfResult<Arc<AggregateFunctionExpr>> {
    let one: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(1))));
    Ok(Arc::new(AggregateExprBuilder::new(count_udaf(), vec![one]).schema(Arc::clone(physical)).alias(ROWS).build()?))
}

/// How often a row was added, less how often it was taken out.
fn net_count(physical: &SchemaRef) -> DfResult<Arc<AggregateFunctionExpr>> {
    let change: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(col(CHANGE, physical)?, DataType::Int64, None));
    Ok(Arc::new(AggregateExprBuilder::new(sum_udaf(), vec![change]).schema(Arc::clone(physical)).alias(ROWS).build()?))
}

type Calls = (Vec<Arc<AggregateFunctionExpr>>, Vec<Option<Arc<dyn PhysicalExpr>>>);

/// All that aggregates evaluate.
fn evaluated<'a>(
    calls: &'a [Arc<AggregateFunctionExpr>],
    filters: &'a [Option<Arc<dyn PhysicalExpr>>],
) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> + 'a {
    let of_call = |call: &Arc<AggregateFunctionExpr>| {
        call.expressions().into_iter().chain(call.order_bys().iter().map(|order| Arc::clone(&order.expr))).collect::<Vec<_>>()
    };
    calls.iter().flat_map(of_call).chain(filters.iter().flatten().cloned())
}

/// The columns that aggregates use.
fn columns_used(calls: &[Arc<AggregateFunctionExpr>], filters: &[Option<Arc<dyn PhysicalExpr>>], physical: &SchemaRef) -> SchemaRef {
    let used: BTreeSet<usize> = evaluated(calls, filters).flat_map(|expr| collect_columns(&expr)).map(|column| column.index()).collect();
    let fields = used.into_iter().filter_map(|idx| physical.fields().get(idx).cloned());
    Arc::new(Schema::new(fields.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect::<Vec<_>>()))
}

/// The same calls over the columns that they use.
fn over_columns(calls: Vec<Arc<AggregateFunctionExpr>>, filters: Vec<Option<Arc<dyn PhysicalExpr>>>, used: &SchemaRef) -> DfResult<Calls> {
    let moved = |expr: Arc<dyn PhysicalExpr>| {
        let at = |node: Arc<dyn PhysicalExpr>| match node.downcast_ref::<PhysicalColumn>() {
            Some(column) => Ok(Transformed::yes(col(column.name(), used)?)),
            None => Ok(Transformed::no(node)),
        };
        expr.transform_down(at).map(|moved| moved.data)
    };
    let call = |call: Arc<AggregateFunctionExpr>| {
        let args = call.expressions().into_iter().map(moved).collect::<DfResult<Vec<_>>>()?;
        let order = call.order_bys().iter().map(|order| moved(Arc::clone(&order.expr))).collect::<DfResult<Vec<_>>>()?;
        let over = call.with_new_expressions(args, order);
        over.map(Arc::new).ok_or_else(|| to_datafusion(Error::internal(format!("{} over other columns", call.name()))))
    };
    let calls = calls.into_iter().map(call).collect::<DfResult<Vec<_>>>()?;
    Ok((calls, filters.into_iter().map(|filter| filter.map(moved).transpose()).collect::<DfResult<Vec<_>>>()?))
}

/// Changes of rows with the sessions that they are in, which the aggregation then takes for a key like any other.
fn in_sessions(
    node: &StatefulAggregateNode,
    session: &Column,
    input: Arc<dyn ExecutionPlan>,
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let keys = node.aggregate().group_expr.iter().filter_map(Expr::try_as_col).filter(|key| *key != session);
    let keys: Vec<String> = keys.map(|key| key.name.clone()).collect();
    let spec = SessionChangesSpec {
        operator: format!("{}.rows", node.operator()),
        mode: node.mode(),
        keys: keys.clone(),
        session: session.name.clone(),
        event_time: node.event_time().map(|column| column.name.clone()),
    };
    Ok(Arc::new(SessionChangesExec::try_new(exchanged(input, keys, n_tasks), spec).map_err(to_datafusion)?))
}

fn sliding(
    node: &StatefulAggregateNode,
    window: WindowKey,
    input: Arc<dyn ExecutionPlan>,
    calls: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let names: Vec<String> = node.aggregate().group_expr.iter().filter_map(|key| Some(key.try_as_col()?.name.clone())).collect();
    let others: Vec<String> = names.iter().filter(|name| **name != window.slice).cloned().collect();
    let window_idx = names.iter().position(|name| *name == window.slice).unwrap_or(names.len());
    if others.len() + 1 != node.aggregate().group_expr.len() {
        return Err(to_datafusion(Error::internal("windows by keys that are no columns, or without their own")));
    }
    // The slice comes last: the keys before it say which task keeps the group.
    let column = |name: &String| Ok((col(name, &schema)?, name.clone()));
    let mut by = others.iter().map(column).collect::<DfResult<Vec<(Arc<dyn PhysicalExpr>, String)>>>()?;
    let has_other_keys = !others.is_empty();
    if !has_other_keys {
        by.push((Arc::new(Literal::new(ScalarValue::Int8(Some(0)))), ALL.to_owned()));
    }
    let keys = by.iter().map(|(_, name)| name.clone()).collect();
    by.push(column(&window.slice)?);
    let partial = AggregateExec::try_new(AggregateMode::Partial, PhysicalGroupBy::new_single(by), calls, filters, input, schema)?;
    let spec = SlidingAggregateSpec {
        operator: node.operator().to_owned(),
        mode: node.mode(),
        has_event_time: node.event_time().is_some_and(|column| column.name == window.window),
        meaning: node.meaning().to_vec(),
        window,
        window_idx,
        has_other_keys,
    };
    let exec = SlidingAggregateExec::try_new(exchanged(Arc::new(partial), keys, n_tasks), spec).map_err(to_datafusion)?;
    Ok(Arc::new(exec))
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
///
/// `more` columns, with the names that they get, are keys of all grouping sets.
fn group_by(aggregate: &Aggregate, logical: &DFSchema, physical: &Schema, more: &[(&str, String)]) -> DfResult<PhysicalGroupBy> {
    let more = more.iter().map(|(column, name)| Ok((col(column, physical)?, name.clone()))).collect::<DfResult<Vec<_>>>()?;
    let key = |expr: &Expr| -> DfResult<(Arc<dyn PhysicalExpr>, String)> {
        match expr {
            Expr::Column(column) => Ok((col(&column.name, physical)?, column.name.clone())),
            other => Err(to_datafusion(Error::internal(format!("a key of a stateful aggregation that is no column: {other}")))),
        }
    };
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
        let keys = aggregate.group_expr.iter().map(key).chain(more.into_iter().map(Ok));
        return Ok(PhysicalGroupBy::new_single(keys.collect::<DfResult<Vec<_>>>()?));
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
    let mut nulls = nulls.collect::<DfResult<Vec<_>>>()?;
    for (column, name) in &more {
        let null = ScalarValue::try_from(&column.data_type(physical)?)?;
        nulls.push((Arc::new(Literal::new(null)), name.clone()));
    }
    let never = vec![false; more.len()];
    let is_null = sets.iter().map(|set| all.iter().map(|expr| !set.contains(expr)).chain(never.iter().copied()).collect()).collect();
    let keys = keys.into_iter().chain(more).collect();
    Ok(PhysicalGroupBy::new(keys, nulls, is_null, true))
}
