//! The same plan with the positions of its rows as one more column, the last one, if every operator on the way passes them on.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use millstream_core::connector::HIDDEN_FIELD;
use millstream_core::{ConnectorRegistry, Result};

use super::{POSITION, RowPositionExec, position_field};
use crate::error::from_datafusion;
use crate::physical::stateful::{DeduplicateExec, KeyExchangeExec, StreamLimitExec};
use crate::physical::{EventTimeWatermarkExec, FutureGuardExec, RowFactExec, RowGuardExec, SmallChunksExec, SourceExec};

type Plan = Arc<dyn ExecutionPlan>;

/// See the module's documentation; `None` if the rows have no position. A plan that has them stays as it is.
pub fn carry(plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    if plan.schema().fields().last().is_some_and(|field| field.name() == POSITION) {
        return Ok(Some(Arc::clone(plan)));
    }
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        return of_source(source, plan, registry);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(input) = carry(projection.input(), registry)? else { return Ok(None) };
        let position = ProjectionExpr { expr: Arc::new(Column::new(POSITION, last(&input))), alias: POSITION.to_owned() };
        let exprs = projection.expr().iter().cloned().chain([position]);
        return Ok(Some(Arc::new(ProjectionExec::try_new(exprs, input).map_err(from_datafusion)?)));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let Some(input) = carry(filter.input(), registry)? else { return Ok(None) };
        let picked = filter.projection().as_ref().map(|picked| picked.iter().copied().chain([last(&input)]).collect());
        let builder = FilterExecBuilder::new(Arc::clone(filter.predicate()), input).with_batch_size(filter.batch_size());
        let built = builder.with_fetch(filter.fetch()).apply_projection(picked).and_then(FilterExecBuilder::build);
        return Ok(Some(Arc::new(built.map_err(from_datafusion)?)));
    }
    if let Some(unnest) = plan.downcast_ref::<UnnestExec>() {
        let Some(input) = carry(unnest.input(), registry)? else { return Ok(None) };
        let position = input.schema().fields().last().cloned();
        let fields: Vec<_> = plan.schema().fields().iter().cloned().chain(position).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, plan.schema().metadata().clone()));
        let (lists, structs) = (unnest.list_column_indices().to_vec(), unnest.struct_column_indices().to_vec());
        let carried = UnnestExec::new(input, lists, structs, schema, unnest.options().clone());
        return Ok(Some(Arc::new(carried.map_err(from_datafusion)?)));
    }
    if let Some(guard) = plan.downcast_ref::<RowGuardExec>() {
        let children = plan.children();
        let [guarded] = children.as_slice() else { return Ok(None) };
        // Step for step the same operators, with the column.
        let Some(guarded) = carry(guarded, registry)? else { return Ok(None) };
        return Ok(Some(Arc::new(RowGuardExec::try_new(guarded, guard.spec().clone(), guard.dead_letters().clone())?)));
    }
    if let Some(fact) = plan.downcast_ref::<RowFactExec>() {
        let children = plan.children();
        let [input] = children.as_slice() else { return Ok(None) };
        let Some(input) = carry(input, registry)? else { return Ok(None) };
        let idx = last(&input);
        return moved_last(Arc::new(RowFactExec::new(input, fact.fact(), fact.column())), idx).map(Some);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return of_hash_join(join, registry);
    }
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
        return of_loop_join(plan, registry);
    }
    if plan.is::<UnionExec>() {
        return of_union(plan, registry);
    }
    let passes_on = plan.is::<EventTimeWatermarkExec>()
        || plan.is::<FutureGuardExec>()
        || plan.is::<SmallChunksExec>()
        || plan.is::<KeyExchangeExec>()
        || plan.is::<DeduplicateExec>()
        || plan.is::<StreamLimitExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>();
    if !passes_on {
        return Ok(None);
    }
    let children = plan.children().into_iter().map(|child| carry(child, registry)).collect::<Result<Option<Vec<_>>>>()?;
    let Some(children) = children else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), children).map(Some).map_err(from_datafusion)
}

/// A stream: over files the reader says the file, other readers say where rows stand by themselves.
fn of_source(source: &SourceExec, plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let mut spec = source.spec().clone();
    let hidden = spec.schema.fields().iter().position(|field| field.metadata().contains_key(HIDDEN_FIELD));
    let children = plan.children();
    let (true, [splits]) = (source.is_streaming(), children.as_slice()) else { return Ok(None) };
    let numbered: Plan = match hidden {
        None => Arc::new(source.with_positions(true).filtered(None)),
        Some(hidden) => {
            let mut columns = spec.projection.take().unwrap_or_else(|| (0..spec.schema.fields().len()).collect());
            columns.push(hidden);
            spec.projection = Some(columns);
            let reader = registry.reader(&spec)?;
            let (name, dead_letters) = (source.source_name().to_owned(), source.dead_letters().cloned());
            let unfiltered = SourceExec::new(name, spec, reader, dead_letters, Arc::clone(splits)).streaming(true);
            Arc::new(RowPositionExec::new(Arc::new(unfiltered)))
        }
    };
    // All rows are counted, also those that are filtered then.
    Ok(Some(match source.filter() {
        Some(filter) => Arc::new(FilterExec::try_new(Arc::clone(filter.predicate()), numbered).map_err(from_datafusion)?),
        None => numbered,
    }))
}

/// The rows of all inputs, of which some may have none.
fn of_union(plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let carried = plan.children().into_iter().map(|child| carry(child, registry)).collect::<Result<Vec<_>>>()?;
    if carried.iter().all(Option::is_none) {
        return Ok(None);
    }
    let with_null = |input: &Plan| -> Result<Plan> {
        let schema = input.schema();
        let own = schema.fields().iter().enumerate().map(|(idx, field)| column(idx, field.name()));
        let null = ScalarValue::try_from(position_field().data_type()).map_err(from_datafusion)?;
        let position = ProjectionExpr { expr: Arc::new(Literal::new(null)), alias: POSITION.to_owned() };
        Ok(Arc::new(ProjectionExec::try_new(own.chain([position]), Arc::clone(input)).map_err(from_datafusion)?))
    };
    let inputs = carried.into_iter().zip(plan.children()).map(|(carried, input)| carried.map_or_else(|| with_null(input), Ok));
    replace_children_if_necessary(Arc::clone(plan), inputs.collect::<Result<_>>()?).map(Some).map_err(from_datafusion)
}

/// A join of the two that has to do with positions: a stream joined with what stands still. Where the column of the stream comes
/// to stand, if it comes out.
struct Joined {
    left: Plan,
    right: Plan,
    position: usize,
    /// How far it moves the columns of the right side.
    shift: usize,
}

impl Joined {
    fn of(left: &Plan, right: &Plan, kind: JoinType, registry: &ConnectorRegistry) -> Result<Option<Self>> {
        let (n_left, n_right) = (left.schema().fields().len(), right.schema().fields().len());
        let (gives_left, gives_right) = match kind {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => (true, true),
            JoinType::LeftSemi | JoinType::LeftAnti => (true, false),
            JoinType::RightSemi | JoinType::RightAnti => (false, true),
            _ => return Ok(None),
        };
        Ok(match (carry(left, registry)?, carry(right, registry)?) {
            // The column stands between the columns of both sides.
            (Some(left), None) if gives_left => Some(Self { left, right: Arc::clone(right), position: n_left, shift: 1 }),
            (None, Some(right)) if gives_right => {
                Some(Self { left: Arc::clone(left), right, position: if gives_left { n_left + n_right } else { n_right }, shift: 0 })
            }
            _ => None,
        })
    }
}

fn of_hash_join(join: &HashJoinExec, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let n_left = join.left().schema().fields().len();
    let Some(Joined { left, right, position, shift }) = Joined::of(join.left(), join.right(), *join.join_type(), registry)? else {
        return Ok(None);
    };
    let n_columns = join.join_schema().fields().len();
    let old: Vec<usize> = join.projection.as_ref().map_or_else(|| (0..n_columns).collect(), |picked| picked.to_vec());
    let picked = old.into_iter().map(|idx| if idx >= n_left { idx + shift } else { idx }).chain([position]).collect();
    let carried = HashJoinExec::try_new(
        left,
        right,
        join.on().to_vec(),
        join.filter().cloned(),
        join.join_type(),
        Some(picked),
        *join.partition_mode(),
        join.null_equality(),
        join.null_aware,
    );
    Ok(Some(Arc::new(carried.map_err(from_datafusion)?)))
}

/// A join without equalities.
fn of_loop_join(plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let [left, right] = plan.children()[..] else { return Ok(None) };
    let join = plan.downcast_ref::<NestedLoopJoinExec>();
    let kind = join.map_or(JoinType::Inner, |join| *join.join_type());
    let n_left = left.schema().fields().len();
    let Some(Joined { left, right, position, shift }) = Joined::of(left, right, kind, registry)? else { return Ok(None) };
    let Some(join) = join else { return moved_last(Arc::new(CrossJoinExec::new(left, right)), position).map(Some) };
    let all: Vec<usize> = match join.projection() {
        Some(picked) => picked.to_vec(),
        None => (0..plan.schema().fields().len()).collect(),
    };
    let picked = all.into_iter().map(|idx| if idx >= n_left { idx + shift } else { idx }).chain([position]).collect();
    let carried = NestedLoopJoinExec::try_new(left, right, join.filter().cloned(), &kind, Some(picked));
    Ok(Some(Arc::new(carried.map_err(from_datafusion)?)))
}

/// The same columns, with this one behind the others.
fn moved_last(plan: Plan, idx: usize) -> Result<Plan> {
    let schema = plan.schema();
    let order = (0..schema.fields().len()).filter(|other| *other != idx).chain([idx]);
    let columns = order.filter_map(|idx| Some(column(idx, schema.fields().get(idx)?.name()))).collect::<Vec<_>>();
    Ok(Arc::new(ProjectionExec::try_new(columns, plan).map_err(from_datafusion)?))
}

fn column(idx: usize, name: &str) -> ProjectionExpr {
    ProjectionExpr { expr: Arc::new(Column::new(name, idx)), alias: name.to_owned() }
}

/// Where the column of a plan that has it stands.
fn last(plan: &Plan) -> usize {
    plan.schema().fields().len().saturating_sub(1)
}
