//! Which versions of the state can be read.
//!
//! Two snapshots are kept and the deltas behind the older one; before there are two, everything since the first batch. The
//! records of older batches may still be there without their deltas.

use millstream_core::{BatchId, Error, Result};

use super::files::{STATE_DIR, SnapshotName};
use super::load::{RecoveredState, list_snapshots};
use super::operator::OperatorState;
use crate::location::Location;

/// The batches whose state is kept: all from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptVersions {
    /// The oldest.
    pub first: BatchId,
    /// The last decided batch.
    pub last: BatchId,
}

impl KeptVersions {
    /// Of a checkpoint; `None` if no batch is decided.
    pub async fn of(checkpoint: &Location, state: &RecoveredState) -> Result<Option<Self>> {
        Ok(Self::among(state, &list_snapshots(&checkpoint.join(STATE_DIR)).await?))
    }

    /// `snapshots` are there, oldest first.
    pub(super) fn among(state: &RecoveredState, snapshots: &[(SnapshotName, u64)]) -> Option<Self> {
        let last = state.last_batch?;
        let first = match snapshots {
            [.., (older, _), _] => older.batch,
            [(only, _)] if state.first_batch != Some(BatchId(0)) => only.batch,
            _ => state.first_batch?,
        };
        Some(Self { first: first.min(last), last })
    }

    /// Those of an operator: it may have begun afresh behind some of the batches. `None` if no batch is decided since.
    pub fn of_operator(self, state: &RecoveredState, operator: &OperatorState) -> Option<Self> {
        let Some(since) = operator.since else { return Some(self) };
        let of_others = state.runs.iter().filter(|(run, _)| *run < since).map(|(_, last)| last.next()).max();
        let first = of_others.map_or(self.first, |begun| begun.max(self.first));
        (first <= self.last).then_some(Self { first, ..self })
    }

    /// Refuses another batch, saying which there are.
    pub fn check(&self, version: BatchId) -> Result<()> {
        if (self.first..=self.last).contains(&version) {
            return Ok(());
        }
        let Self { first, last } = self;
        let kept = if first == last { format!("that after batch {last} is") } else { format!("that after batches {first} to {last} is") };
        let what = if version > *last { "is not there yet" } else { "is not kept any more" };
        Err(Error::invalid(format!("the state after batch {version} {what}: {kept}"))
            .code("STDS_COMMITTED_BATCH_UNAVAILABLE")
            .hint("snapshots of state take the place of older batches; copy a checkpoint folder to keep a batch for longer"))
    }
}
