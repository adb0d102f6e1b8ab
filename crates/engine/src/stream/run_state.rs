//! The state of a run: tables in memory, and the log that makes them durable.
//!
//! Before PREPARED N the changes of batch N are written, once for all operators and tasks; the record refers to them. After
//! it, a snapshot is begun in the background when one is due. A query without stateful operators has no state log.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use millstream_analyzer::streaming::ColumnOrigins;
use millstream_core::{BatchId, Error, Result};
use millstream_state::checkpoint::{Checkpoint, Recovered};
use millstream_state::store::{DeltaRef, KEY_GROUPS, OperatorState, StateLog, StateMemory, StoreSpec, Tasks};

use crate::physical::stateful::{QueryState, changes_taken, described, stateful_operators_upwards};

/// The state of one run. See the module's documentation.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) tables: Arc<QueryState>,
    log: Option<StateLog>,
    /// The last batch that changed each operator's state.
    versions: BTreeMap<String, u64>,
}

/// What the prepared record of a batch says of state.
#[derive(Debug, Clone, Default)]
pub(super) struct StateChange {
    pub(super) versions: BTreeMap<String, u64>,
    pub(super) delta: Option<DeltaRef>,
}

impl RunState {
    /// Reads the state after the last decided batch, for `parallelism` tasks.
    pub(super) async fn recover(
        operators: &BTreeMap<String, OperatorState>,
        checkpoint: &Checkpoint,
        recovered: &Recovered,
        parallelism: usize,
        memory: &StateMemory,
    ) -> Result<Self> {
        if operators.is_empty() {
            return Ok(Self { tables: Arc::default(), log: None, versions: BTreeMap::new() });
        }
        let specs: Vec<StoreSpec> = operators.iter().flat_map(|(id, operator)| operator.specs(id)).collect();
        let n_key_groups = key_groups_of(operators).unwrap_or(KEY_GROUPS);
        let tasks = Tasks { n_key_groups, parallelism: u32::try_from(parallelism.max(1)).unwrap_or(u32::MAX) };
        let log = checkpoint.open_state(recovered).await?;
        let loaded = log.recover(&specs, tasks, memory).await?;
        let mut versions = recovered.last_prepared.as_ref().map(|record| record.state.clone()).unwrap_or_default();
        // Operators that are gone, or begin afresh, have no version.
        versions.retain(|id, _| operators.get(id).is_some_and(|operator| operator.since != Some(checkpoint.epoch())));
        Ok(Self { tables: Arc::new(QueryState::new(&specs, n_key_groups, loaded.tables)?), log: Some(log), versions })
    }

    /// Makes what the batch changed durable; nothing of it counts before the batch's prepared record.
    pub(super) async fn write(&mut self, batch: BatchId) -> Result<StateChange> {
        let Some(log) = &mut self.log else { return Ok(StateChange::default()) };
        let deltas = self.tables.take_deltas()?;
        for (id, _) in &deltas {
            self.versions.insert(id.operator.clone(), batch.0);
        }
        let delta = log.write(batch, deltas).await?;
        Ok(StateChange { versions: self.versions.clone(), delta })
    }

    /// The batch is decided: begins a snapshot if one is due.
    pub(super) fn decided(&mut self, batch: BatchId) -> Result<()> {
        match &mut self.log {
            Some(log) if log.wants_snapshot() => log.snapshot(batch, self.tables.freeze()),
            _ => Ok(()),
        }
    }

    /// Waits for what runs in the background.
    pub(super) async fn close(self) {
        if let Some(log) = self.log {
            log.close().await;
        }
    }
}

/// The key groups of these operators' state: one number for all operators of a query.
fn key_groups_of(operators: &BTreeMap<String, OperatorState>) -> Option<u32> {
    operators.values().next().map(|operator| operator.n_key_groups)
}

/// The stateful operators of a plan as the start record describes them. Those of the checkpoint, `before`, have decided the number of key
/// groups; a first start takes the `wanted` one.
pub(super) fn operators_of(
    plan: &Arc<dyn ExecutionPlan>,
    origins: &ColumnOrigins,
    before: &BTreeMap<String, OperatorState>,
    wanted: Option<NonZeroU32>,
) -> Result<BTreeMap<String, OperatorState>> {
    let n_key_groups = match (key_groups_of(before), wanted.map(NonZeroU32::get)) {
        (Some(decided), Some(wanted)) if decided != wanted => {
            return Err(Error::invalid(format!("the checkpoint's state has {decided} key groups, and stateKeyGroups says {wanted}"))
                .hint("take stateKeyGroups out: the first start has decided the number; or start with a new checkpointLocation"));
        }
        (decided, wanted) => decided.or(wanted).unwrap_or(KEY_GROUPS),
    };
    let mut operators = BTreeMap::new();
    let mut changes_taken = changes_taken(plan);
    for (ordinal, operator) in (0..).zip(stateful_operators_upwards(plan)) {
        let mut state = described(operator, origins, n_key_groups)?;
        state.ordinal = Some(ordinal);
        state.changes_of = changes_taken.remove(operator.operator_id());
        if operators.insert(operator.operator_id().to_owned(), state).is_some() {
            return Err(Error::internal(format!("two stateful operators are called '{}'", operator.operator_id())));
        }
    }
    Ok(operators)
}
