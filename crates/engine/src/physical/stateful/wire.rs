//! Stateful operators as what makes them again, for the plan codec.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use millstream_analyzer::streaming::Gives;
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::aggregate::AggregateSpec;
use super::deduplicate::DeduplicateSpec;
use super::join::pair_schema;
use super::limit::StreamLimit;
use super::sink_changes::SinkChanges;
use super::{
    DeduplicateChangesExec, DeduplicateExec, JoinSpec, KeyExchangeExec, KeySpec, RecomputeAggregateExec, SessionAggregateExec,
    SessionChangesExec, SessionChangesSpec, SessionSpec, SideSpec, SinkChangesExec, SlidingAggregateExec, SlidingAggregateSpec,
    StatefulAggregateExec, StreamJoinExec, StreamLimitExec,
};
use crate::error::from_datafusion;
use crate::physical::PlanCodec;
use crate::physical::codec::{condition_from_bytes, condition_to_bytes};

/// A stateful operator, or one that stands below them, without its input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatefulWire {
    /// [`KeyExchangeExec`]
    KeyExchange { keys: Vec<String>, n_partitions: usize },
    /// [`StatefulAggregateExec`]: its aggregates are those of the partial aggregation below.
    Aggregate(AggregateSpec),
    /// [`SlidingAggregateExec`]: so are its.
    SlidingAggregate(SlidingAggregateSpec),
    /// [`SessionAggregateExec`]: so are its.
    Session(SessionSpec),
    /// [`RecomputeAggregateExec`]: its aggregates are those of its second input.
    RecomputeAggregate(AggregateSpec),
    /// [`SessionChangesExec`]
    SessionChanges(SessionChangesSpec),
    /// [`DeduplicateExec`]
    Deduplicate(DeduplicateSpec),
    /// [`DeduplicateChangesExec`]
    DeduplicateChanges(DeduplicateSpec),
    /// [`SinkChangesExec`]
    SinkChanges(SinkChanges),
    /// [`StreamLimitExec`]
    Limit(StreamLimit),
}

impl StatefulWire {
    /// The operator, if it is one of these.
    pub fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        let exchange = |exec: &KeyExchangeExec| {
            let n_partitions = exec.properties().output_partitioning().partition_count();
            Self::KeyExchange { keys: exec.keys().to_vec(), n_partitions }
        };
        let aggregate = |exec: &StatefulAggregateExec| Self::Aggregate(exec.spec().clone());
        let sliding = |exec: &SlidingAggregateExec| Self::SlidingAggregate(exec.spec().clone());
        let session = |exec: &SessionAggregateExec| Self::Session(exec.spec().clone());
        let recompute = |exec: &RecomputeAggregateExec| Self::RecomputeAggregate(exec.spec().clone());
        let session_changes = |exec: &SessionChangesExec| Self::SessionChanges(exec.spec().clone());
        let deduplicate = |exec: &DeduplicateExec| Self::Deduplicate(exec.spec().clone());
        let deduplicate_changes = |exec: &DeduplicateChangesExec| Self::DeduplicateChanges(exec.spec().clone());
        let sink_changes = |exec: &SinkChangesExec| Self::SinkChanges(exec.operator.clone());
        let limit = |exec: &StreamLimitExec| Self::Limit(exec.operator.clone());
        None.or_else(|| plan.downcast_ref().map(exchange))
            .or_else(|| plan.downcast_ref().map(aggregate))
            .or_else(|| plan.downcast_ref().map(sliding))
            .or_else(|| plan.downcast_ref().map(session))
            .or_else(|| plan.downcast_ref().map(recompute))
            .or_else(|| plan.downcast_ref().map(session_changes))
            .or_else(|| plan.downcast_ref().map(deduplicate))
            .or_else(|| plan.downcast_ref().map(deduplicate_changes))
            .or_else(|| plan.downcast_ref().map(sink_changes))
            .or_else(|| plan.downcast_ref().map(limit))
    }

    /// The operator over its inputs.
    pub fn over(self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        if let (Self::RecomputeAggregate(spec), [input, what]) = (&self, inputs) {
            return Ok(Arc::new(RecomputeAggregateExec::try_new(Arc::clone(input), Arc::clone(what), spec.clone())?));
        }
        let [input] = inputs else { return Err(Error::internal(format!("a stateful operator of {} inputs", inputs.len()))) };
        let input = Arc::clone(input);
        Ok(match self {
            Self::KeyExchange { keys, n_partitions } => Arc::new(KeyExchangeExec::new(input, keys, n_partitions)),
            Self::Aggregate(spec) => Arc::new(StatefulAggregateExec::try_new(input, spec)?),
            Self::SlidingAggregate(spec) => Arc::new(SlidingAggregateExec::try_new(input, spec)?),
            Self::Session(spec) => Arc::new(SessionAggregateExec::try_new(input, spec)?),
            Self::RecomputeAggregate(_) => return Err(Error::internal("an aggregation without its aggregates")),
            Self::SessionChanges(spec) => Arc::new(SessionChangesExec::try_new(input, spec)?),
            Self::Deduplicate(spec) => Arc::new(DeduplicateExec::new(input, spec)),
            Self::DeduplicateChanges(spec) => Arc::new(DeduplicateChangesExec::new(input, spec)),
            Self::SinkChanges(changes) => Arc::new(SinkChangesExec::over(changes, [input])),
            Self::Limit(limit) => Arc::new(StreamLimitExec::over(limit, [input])),
        })
    }
}

/// A [`StreamJoinExec`] without its inputs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JoinWire {
    operator: String,
    kind: String,
    keys: Vec<KeySpec>,
    sides: [SideSpec; 2],
    gives: Gives,
    /// The condition over pairs.
    filter: Option<Vec<u8>>,
    meaning: Vec<String>,
}

impl JoinWire {
    /// What makes `join` again.
    pub fn of(join: &StreamJoinExec, codec: &PlanCodec) -> Result<Self> {
        let JoinSpec { operator, kind, keys, sides, gives, filter, meaning } = join.spec().clone();
        let [left, right] = &join.inputs;
        let pairs = Arc::new(pair_schema(&left.schema(), &right.schema()));
        let filter = filter.map(|filter| condition_to_bytes(&filter, &pairs, codec));
        Ok(Self { operator, kind: kind.to_string(), keys, sides, gives, filter: filter.transpose()?, meaning })
    }

    /// The join of `left` and `right`.
    pub fn over(
        self,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        codec: &PlanCodec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Self { operator, kind, keys, sides, gives, filter, meaning } = self;
        let filter = filter.map(|bytes| condition_from_bytes(&bytes, ctx, codec));
        let kind = kind.parse().map_err(from_datafusion)?;
        let spec = JoinSpec { operator, kind, keys, sides, gives, filter: filter.transpose()?, meaning };
        Ok(Arc::new(StreamJoinExec::try_new(Arc::clone(left), Arc::clone(right), spec)?))
    }
}
