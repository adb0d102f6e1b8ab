//! The same plan with one more column, the last one, that says of each row where it came from ([`Carried`]), if every operator on
//! the way from the sources passes it on.

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
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use millstream_core::{ConnectorRegistry, Error, Result};

use super::row_position::{POSITION, position_of_source};
use super::row_record::{RECORD, record_of_source};
use super::stateful::{DeduplicateExec, KeyExchangeExec, LateRowsExec, StreamLimitExec};
use super::{EventTimeWatermarkExec, FutureGuardExec, RowFactExec, RowGuardExec, SmallChunksExec, SourceExec};
use crate::error::from_datafusion;

type Plan = Arc<dyn ExecutionPlan>;

/// What is carried beside the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// Where a row stood in its source ([`row_position`](super::row_position)).
    Position,
    /// The record that a row was made of ([`row_record`](super::row_record)): of streams, or of finished data if there are no streams.
    Record {
        /// Whether the whole plan reads a stream.
        of_streams: bool,
    },
}

impl Carried {
    fn column(self) -> &'static str {
        match self {
            Self::Position => POSITION,
            Self::Record { .. } => RECORD,
        }
    }
}

/// The same rows without their last column.
pub fn without_last_column(plan: Plan) -> Result<Plan> {
    let schema = plan.schema();
    let n_columns = schema.fields().len().saturating_sub(1);
    let columns = schema.fields().iter().take(n_columns).enumerate().map(|(idx, field)| column(idx, field.name()));
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), plan).map_err(from_datafusion)?))
}

/// See the module's documentation; `None` if no row has such a thing. A plan that has the column stays as it is.
pub fn carry(what: Carried, plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    if plan.schema().fields().last().is_some_and(|field| field.name() == what.column()) {
        return Ok(Some(Arc::clone(plan)));
    }
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        return match what {
            Carried::Position => position_of_source(source, plan, registry),
            Carried::Record { of_streams } if source.is_streaming() == of_streams => record_of_source(source, plan, registry),
            Carried::Record { .. } => Ok(None),
        };
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(input) = carry(what, projection.input(), registry)? else { return Ok(None) };
        let carried = column(last(&input), what.column());
        let exprs = projection.expr().iter().cloned().chain([carried]);
        return Ok(Some(Arc::new(ProjectionExec::try_new(exprs, input).map_err(from_datafusion)?)));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let Some(input) = carry(what, filter.input(), registry)? else { return Ok(None) };
        let picked = filter.projection().as_ref().map(|picked| picked.iter().copied().chain([last(&input)]).collect());
        let builder = FilterExecBuilder::new(Arc::clone(filter.predicate()), input).with_batch_size(filter.batch_size());
        let built = builder.with_fetch(filter.fetch()).apply_projection(picked).and_then(FilterExecBuilder::build);
        return Ok(Some(Arc::new(built.map_err(from_datafusion)?)));
    }
    if let Some(unnest) = plan.downcast_ref::<UnnestExec>() {
        let Some(input) = carry(what, unnest.input(), registry)? else { return Ok(None) };
        let carried = input.schema().fields().last().cloned();
        let fields: Vec<_> = plan.schema().fields().iter().cloned().chain(carried).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, plan.schema().metadata().clone()));
        let (lists, structs) = (unnest.list_column_indices().to_vec(), unnest.struct_column_indices().to_vec());
        let carried = UnnestExec::new(input, lists, structs, schema, unnest.options().clone());
        return Ok(Some(Arc::new(carried.map_err(from_datafusion)?)));
    }
    if let Some(guard) = plan.downcast_ref::<RowGuardExec>() {
        let children = plan.children();
        let [guarded] = children.as_slice() else { return Ok(None) };
        // Step for step the same operators, with the column.
        let Some(guarded) = carry(what, guarded, registry)? else { return Ok(None) };
        return Ok(Some(Arc::new(RowGuardExec::try_new(guarded, guard.spec().clone(), guard.dead_letters().clone())?)));
    }
    if let Some(fact) = plan.downcast_ref::<RowFactExec>() {
        let children = plan.children();
        let [input] = children.as_slice() else { return Ok(None) };
        let Some(input) = carry(what, input, registry)? else { return Ok(None) };
        let idx = last(&input);
        return moved_last(Arc::new(RowFactExec::new(input, fact.fact(), fact.column())), idx).map(Some);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return of_hash_join(what, join, registry);
    }
    if plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>() {
        return of_loop_join(what, plan, registry);
    }
    if plan.is::<UnionExec>() || plan.is::<InterleaveExec>() {
        return of_union(what, plan, registry);
    }
    // Where positions are asked for, they are cut off above it.
    let cuts_off = what == Carried::Position && plan.is::<LateRowsExec>();
    if cuts_off || !(passes_rows_on(plan) || plan.is::<RepartitionExec>()) {
        return Ok(None);
    }
    let children = plan.children().into_iter().map(|child| carry(what, child, registry)).collect::<Result<Option<Vec<_>>>>()?;
    let Some(children) = children else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), children).map(Some).map_err(from_datafusion)
}

/// Whether each row that an operator gives is one of its only input, as it came: it computes nothing, and a column more goes with the
/// others. An operator of ours that is such a one has its line here.
pub(super) fn passes_rows_on(plan: &Plan) -> bool {
    plan.is::<EventTimeWatermarkExec>()
        || plan.is::<FutureGuardExec>()
        || plan.is::<SmallChunksExec>()
        || plan.is::<LateRowsExec>()
        || plan.is::<KeyExchangeExec>()
        || plan.is::<DeduplicateExec>()
        || plan.is::<StreamLimitExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
}

/// The rows of all inputs, of which some may have none.
fn of_union(what: Carried, plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let carried = plan.children().into_iter().map(|child| carry(what, child, registry)).collect::<Result<Vec<_>>>()?;
    let Some(field) = carried.iter().flatten().find_map(|input| input.schema().fields().last().cloned()) else { return Ok(None) };
    let with_null = |input: &Plan| -> Result<Plan> {
        let schema = input.schema();
        let own = schema.fields().iter().enumerate().map(|(idx, field)| column(idx, field.name()));
        let null = ScalarValue::try_from(field.data_type()).map_err(from_datafusion)?;
        let carried = ProjectionExpr { expr: Arc::new(Literal::new(null)), alias: what.column().to_owned() };
        Ok(Arc::new(ProjectionExec::try_new(own.chain([carried]), Arc::clone(input)).map_err(from_datafusion)?))
    };
    let same_type = |input: &Plan| input.schema().fields().last().is_some_and(|other| other.data_type() == field.data_type());
    if !carried.iter().flatten().all(same_type) {
        return Err(Error::internal("streams of a union whose rows come from records of different kinds"));
    }
    let inputs = carried.into_iter().zip(plan.children()).map(|(carried, input)| carried.map_or_else(|| with_null(input), Ok));
    replace_children_if_necessary(Arc::clone(plan), inputs.collect::<Result<_>>()?).map(Some).map_err(from_datafusion)
}

/// A join of the two of which one side has the column: a stream joined with what stands still. Where the column of the stream comes
/// to stand, if it comes out.
struct Joined {
    left: Plan,
    right: Plan,
    position: usize,
    /// How far it moves the columns of the right side.
    shift: usize,
}

impl Joined {
    fn of(what: Carried, left: &Plan, right: &Plan, kind: JoinType, registry: &ConnectorRegistry) -> Result<Option<Self>> {
        let (n_left, n_right) = (left.schema().fields().len(), right.schema().fields().len());
        let (gives_left, gives_right) = match kind {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => (true, true),
            JoinType::LeftSemi | JoinType::LeftAnti => (true, false),
            JoinType::RightSemi | JoinType::RightAnti => (false, true),
            _ => return Ok(None),
        };
        Ok(match (carry(what, left, registry)?, carry(what, right, registry)?) {
            // The column stands between the columns of both sides.
            (Some(left), None) if gives_left => Some(Self { left, right: Arc::clone(right), position: n_left, shift: 1 }),
            (None, Some(right)) if gives_right => {
                Some(Self { left: Arc::clone(left), right, position: if gives_left { n_left + n_right } else { n_right }, shift: 0 })
            }
            _ => None,
        })
    }
}

fn of_hash_join(what: Carried, join: &HashJoinExec, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let n_left = join.left().schema().fields().len();
    let Some(Joined { left, right, position, shift }) = Joined::of(what, join.left(), join.right(), *join.join_type(), registry)? else {
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
fn of_loop_join(what: Carried, plan: &Plan, registry: &ConnectorRegistry) -> Result<Option<Plan>> {
    let [left, right] = plan.children()[..] else { return Ok(None) };
    let join = plan.downcast_ref::<NestedLoopJoinExec>();
    let kind = join.map_or(JoinType::Inner, |join| *join.join_type());
    let n_left = left.schema().fields().len();
    let Some(Joined { left, right, position, shift }) = Joined::of(what, left, right, kind, registry)? else { return Ok(None) };
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
