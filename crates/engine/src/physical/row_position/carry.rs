//! The same plan with the positions of its rows as one more column, the last one, if every operator on the way passes them on.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use millstream_core::connector::HIDDEN_FIELD;
use millstream_core::{ConnectorRegistry, Error, Result};

use super::{POSITION, RowPositionExec};
use crate::error::from_datafusion;
use crate::physical::{EventTimeWatermarkExec, SourceExec};

type Plan = Arc<dyn ExecutionPlan>;

/// See the module's documentation; `None` if the rows have no position.
pub fn carry(plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
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
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return of_join(join, registry);
    }
    let passes_on = plan.is::<UnionExec>()
        || plan.is::<EventTimeWatermarkExec>()
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

/// A stream over files, whose reader can say the file.
fn of_source(source: &SourceExec, plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let mut spec = source.spec().clone();
    let hidden = spec.schema.fields().iter().position(|field| field.metadata().contains_key(HIDDEN_FIELD));
    let children = plan.children();
    let (Some(hidden), true, [splits]) = (hidden, source.is_streaming(), children.as_slice()) else { return Ok(None) };
    let mut columns = spec.projection.take().unwrap_or_else(|| (0..spec.schema.fields().len()).collect());
    columns.push(hidden);
    spec.projection = Some(columns);
    let reader = registry.reader(&spec)?;
    let (name, dead_letters) = (source.source_name().to_owned(), source.dead_letters().cloned());
    let source = SourceExec::new(name, spec, reader, dead_letters, Arc::clone(splits)).streaming(true);
    Ok(Some(Arc::new(RowPositionExec::new(Arc::new(source)))))
}

/// A stream joined with what stands still: positions are the stream's.
fn of_join(join: &HashJoinExec, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    if !matches!(join.join_type(), JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
        return Ok(None);
    }
    let (n_left, n_right) = (join.left().schema().fields().len(), join.right().schema().fields().len());
    let (children, shift, position) = match (carry(join.left(), registry)?, carry(join.right(), registry)?) {
        // The column stands between the columns of both sides.
        (Some(left), None) => (vec![left, Arc::clone(join.right())], 1, n_left),
        (None, Some(right)) => (vec![Arc::clone(join.left()), right], 0, n_left + n_right),
        _ => return Ok(None),
    };
    let old: Vec<usize> = match join.projection.as_ref() {
        Some(picked) => picked.to_vec(),
        None => (0..n_left + n_right).collect(),
    };
    let picked = old.into_iter().map(|idx| if idx >= n_left { idx + shift } else { idx }).chain([position]).collect();
    let [left, right] = <[Plan; 2]>::try_from(children).map_err(|_| Error::internal("a join of other than two sides"))?;
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

/// Where the column of a plan that has it stands.
fn last(plan: &Plan) -> usize {
    plan.schema().fields().len().saturating_sub(1)
}
