//! Stateful operators as what makes them again, for the plan codec.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_analyzer::streaming::{Gives, Kept, Shown};
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::join::pair_schema;
use super::{
    DeduplicateChangesExec, DeduplicateExec, JoinSpec, KeyExchangeExec, KeySpec, RecomputeAggregateExec, SessionAggregateExec,
    SessionChangesExec, SessionChangesSpec, SessionSpec, SideSpec, SinkChangesExec, SlidingAggregateExec, SlidingAggregateSpec,
    StatefulAggregateExec, StreamJoinExec, StreamLimitExec, WindowKey,
};
use crate::error::from_datafusion;
use crate::physical::PlanCodec;

/// A stateful operator, or one that stands below them, without its input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatefulWire {
    /// [`KeyExchangeExec`]
    KeyExchange { keys: Vec<String>, n_partitions: usize },
    /// [`StatefulAggregateExec`]: its aggregates are those of the partial aggregation below.
    Aggregate {
        operator: String,
        mode: String,
        gives_changes: bool,
        event_time: Option<String>,
        window: Option<WindowKey>,
        meaning: Vec<String>,
        key_names: Vec<String>,
    },
    /// [`SessionAggregateExec`]: so are its.
    Session { operator: String, mode: String, session: String, n_before: usize, event_time: Option<String>, meaning: Vec<String> },
    /// [`RecomputeAggregateExec`]: its aggregates are those of its second input.
    RecomputeAggregate {
        operator: String,
        mode: String,
        gives_changes: bool,
        event_time: Option<String>,
        meaning: Vec<String>,
        key_names: Vec<String>,
    },
    /// [`SessionChangesExec`]
    SessionChanges { operator: String, mode: String, keys: Vec<String>, session: String, event_time: Option<String> },
    /// [`SlidingAggregateExec`]: so are its.
    SlidingAggregate(SlidingAggregateSpec),
    /// [`DeduplicateExec`]
    Deduplicate {
        operator: String,
        keys: Vec<String>,
        expires_by: Option<String>,
        within_watermark_us: Option<i64>,
        key_names: Vec<String>,
    },
    /// [`DeduplicateChangesExec`]
    DeduplicateChanges { operator: String, keys: Vec<String>, expires_by: Option<String>, key_names: Vec<String> },
    /// [`SinkChangesExec`]
    SinkChanges { key: Option<Vec<String>>, shows_changes: bool },
    /// [`StreamLimitExec`]
    Limit { operator: String, n_rows: u64 },
}

impl StatefulWire {
    /// The operator, if it is one of these.
    pub fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        if let Some(exchange) = plan.downcast_ref::<KeyExchangeExec>() {
            let n_partitions = plan.output_partitioning().partition_count();
            return Some(Self::KeyExchange { keys: exchange.keys().to_vec(), n_partitions });
        }
        if let Some(aggregate) = plan.downcast_ref::<StatefulAggregateExec>() {
            let (operator, mode, gives, event_time, window, meaning) = aggregate.parts();
            let (operator, event_time) = (operator.to_owned(), event_time.map(str::to_owned));
            let (mode, gives_changes) = (mode.to_string(), gives == Gives::Changes);
            let (window, meaning, key_names) = (window.cloned(), meaning.to_vec(), aggregate.key_names().to_vec());
            return Some(Self::Aggregate { operator, mode, gives_changes, event_time, window, meaning, key_names });
        }
        if let Some(aggregate) = plan.downcast_ref::<RecomputeAggregateExec>() {
            let (operator, mode, gives, event_time, meaning) = aggregate.parts();
            let (operator, event_time) = (operator.to_owned(), event_time.map(str::to_owned));
            let (mode, gives_changes) = (mode.to_string(), gives == Gives::Changes);
            let (meaning, key_names) = (meaning.to_vec(), aggregate.key_names().to_vec());
            return Some(Self::RecomputeAggregate { operator, mode, gives_changes, event_time, meaning, key_names });
        }
        if let Some(changes) = plan.downcast_ref::<SessionChangesExec>() {
            let SessionChangesSpec { operator, mode, keys, session, event_time } = changes.spec().clone();
            return Some(Self::SessionChanges { operator, mode: mode.to_string(), keys, session, event_time });
        }
        if let Some(deduplicate) = plan.downcast_ref::<DeduplicateChangesExec>() {
            let (operator, keys, expires_by) = deduplicate.parts();
            let (operator, keys, expires_by) = (operator.to_owned(), keys.to_vec(), expires_by.map(str::to_owned));
            let key_names = deduplicate.key_names().to_vec();
            return Some(Self::DeduplicateChanges { operator, keys, expires_by, key_names });
        }
        if let Some(changes) = plan.downcast_ref::<SinkChangesExec>() {
            let (key, shown) = changes.parts();
            return Some(Self::SinkChanges { key: key.map(<[String]>::to_vec), shows_changes: shown == Shown::Changes });
        }
        if let Some(sessions) = plan.downcast_ref::<SessionAggregateExec>() {
            let SessionSpec { operator, mode, session, n_before, event_time, meaning } = sessions.spec().clone();
            return Some(Self::Session { operator, mode: mode.to_string(), session, n_before, event_time, meaning });
        }
        if let Some(sliding) = plan.downcast_ref::<SlidingAggregateExec>() {
            return Some(Self::SlidingAggregate(sliding.spec()));
        }
        if let Some(deduplicate) = plan.downcast_ref::<DeduplicateExec>() {
            let (operator, keys, expires_by, kept) = deduplicate.parts();
            let within_watermark_us = match kept {
                Kept::WithKey => None,
                Kept::WithinWatermark { delay_us } => Some(delay_us),
            };
            let (operator, expires_by) = (operator.to_owned(), expires_by.map(str::to_owned));
            let (keys, key_names) = (keys.to_vec(), deduplicate.key_names().to_vec());
            return Some(Self::Deduplicate { operator, keys, expires_by, within_watermark_us, key_names });
        }
        let (operator, n_rows) = plan.downcast_ref::<StreamLimitExec>()?.parts();
        Some(Self::Limit { operator: operator.to_owned(), n_rows })
    }

    /// The operator over its inputs.
    pub fn over(self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let gives_of = |gives_changes| if gives_changes { Gives::Changes } else { Gives::Rows };
        let (input, second) = match inputs {
            [input] => (Arc::clone(input), None),
            [input, second] => (Arc::clone(input), Some(Arc::clone(second))),
            _ => return Err(Error::internal(format!("a stateful operator of {} inputs", inputs.len()))),
        };
        Ok(match self {
            Self::RecomputeAggregate { operator, mode, gives_changes, event_time, meaning, key_names } => {
                let what = second.ok_or_else(|| Error::internal("an aggregation without its aggregates"))?;
                let (mode, gives) = (mode.parse()?, gives_of(gives_changes));
                let exec = RecomputeAggregateExec::try_new(input, what, operator, mode, gives, event_time, meaning)?;
                Arc::new(exec.with_key_names(key_names))
            }
            Self::DeduplicateChanges { operator, keys, expires_by, key_names } => {
                Arc::new(DeduplicateChangesExec::new(input, operator, keys, expires_by).with_key_names(key_names))
            }
            Self::SinkChanges { key, shows_changes } => {
                Arc::new(SinkChangesExec::new(input, key, if shows_changes { Shown::Changes } else { Shown::NewRows }))
            }
            Self::KeyExchange { keys, n_partitions } => Arc::new(KeyExchangeExec::new(input, keys, n_partitions)),
            Self::Aggregate { operator, mode, gives_changes, event_time, window, meaning, key_names } => {
                let (mode, gives) = (mode.parse()?, gives_of(gives_changes));
                let exec = StatefulAggregateExec::try_new(input, operator, mode, gives, event_time, window, meaning)?;
                Arc::new(exec.with_key_names(key_names))
            }
            Self::Session { operator, mode, session, n_before, event_time, meaning } => {
                let spec = SessionSpec { operator, mode: mode.parse()?, session, n_before, event_time, meaning };
                Arc::new(SessionAggregateExec::try_new(input, spec)?)
            }
            Self::SessionChanges { operator, mode, keys, session, event_time } => {
                let spec = SessionChangesSpec { operator, mode: mode.parse()?, keys, session, event_time };
                Arc::new(SessionChangesExec::try_new(input, spec)?)
            }
            Self::SlidingAggregate(spec) => Arc::new(SlidingAggregateExec::try_new(input, spec)?),
            Self::Deduplicate { operator, keys, expires_by, within_watermark_us, key_names } => {
                let kept = within_watermark_us.map_or(Kept::WithKey, |delay_us| Kept::WithinWatermark { delay_us });
                Arc::new(DeduplicateExec::new(input, operator, keys, expires_by, kept).with_key_names(key_names))
            }
            Self::Limit { operator, n_rows } => Arc::new(StreamLimitExec::new(input, operator, n_rows)),
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
    gives_changes: bool,
    /// As the condition of a filter over pairs: plans are what DataFusion makes bytes of.
    filter: Option<Vec<u8>>,
    meaning: Vec<String>,
}

impl JoinWire {
    /// What makes `join` again.
    pub fn of(join: &StreamJoinExec, codec: &PlanCodec) -> Result<Self> {
        let JoinSpec { operator, kind, keys, sides, gives, filter, meaning } = join.spec().clone();
        let [left, right] = &join.inputs;
        let pairs = Arc::new(EmptyExec::new(Arc::new(pair_schema(&left.schema(), &right.schema()))));
        let filter = filter.map(|filter| {
            let plan = FilterExec::try_new(filter, pairs).map_err(from_datafusion)?;
            let bytes = physical_plan_to_bytes_with_extension_codec(Arc::new(plan), codec).map_err(from_datafusion)?;
            Ok::<_, Error>(bytes.to_vec())
        });
        let gives_changes = gives == Gives::Changes;
        Ok(Self { operator, kind: kind.to_string(), keys, sides, gives_changes, filter: filter.transpose()?, meaning })
    }

    /// The join of `left` and `right`.
    pub fn over(
        self,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        codec: &PlanCodec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Self { operator, kind, keys, sides, gives_changes, filter, meaning } = self;
        let gives = if gives_changes { Gives::Changes } else { Gives::Rows };
        let filter = filter.map(|bytes| {
            let plan = physical_plan_from_bytes_with_extension_codec(&bytes, ctx, codec).map_err(from_datafusion)?;
            let filter = plan.downcast_ref::<FilterExec>().map(|filter| Arc::clone(filter.predicate()));
            filter.ok_or_else(|| Error::internal("a join's condition that is no filter"))
        });
        let kind = kind.parse().map_err(from_datafusion)?;
        let spec = JoinSpec { operator, kind, keys, sides, gives, filter: filter.transpose()?, meaning };
        Ok(Arc::new(StreamJoinExec::try_new(Arc::clone(left), Arc::clone(right), spec)?))
    }
}
