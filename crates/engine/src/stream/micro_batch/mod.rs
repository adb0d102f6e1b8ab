//! The micro-batch loop. One task owns it, with the sources and the checkpoint; sinks commit in a task of their own.
//!
//! ```text
//!  plan ranges ─► [INTENT N] ─► refill + run ─► sinks prepare ─► commit of N-1 awaited ─► PREPARED N ─► commit N ─┐
//!       ▲                                                        (its fact rides here)                          │
//!       └───────────────────────────── N+1 computes while N is being committed ◄────────────────────────────────┘
//! ```
//! Before PREPARED N nothing of batch N is visible and it may be cut anew (unless its intent was recorded); after it the
//! batch is rolled forward from the record and never run again. An error ends the loop: restart recovers.
//! Where a sink decides, PROPOSED N (all that PREPARED N says) and the sink's own commit come before PREPARED N, and a restart
//! asks the sink what became of N.
//!
//! This file holds the life of a run. `recover` finishes what the last run began; `drive` begins batches by the
//! trigger; `idle` waits while there is nothing to do; `cut` decides what a batch reads; `run_batch` goes from there to the prepared record; `settle` from the
//! record to the committed batch; `report` counts and times; `leaves` are the sources.

mod cut;
mod drive;
mod idle;
mod leaves;
mod recover;
mod report;
mod run_batch;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use millstream_core::crash::CRASH;
use millstream_core::{BatchId, Error, ErrorKind, Result, RunEpoch, Sink};
use millstream_state::checkpoint::{Checkpoint, Record};

pub(super) use leaves::{StaticLeaf, StreamLeaf};
use settle::InFlight;

use super::definition::QueryDefinition;
use super::plan_facts::PlanFacts;
use super::progress::StateOperatorProgress;
use super::query::{QueryEnd, QueryShared};
use super::run_state::RunState;
use super::start::remove_checkpoint;
use super::watermark_tracker::WatermarkTracker;
use crate::engine::Engine;

/// What one run of a query works with: made by `start`, given up when the run ends.
pub(super) struct QueryRun {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<QueryShared>,
    pub(super) definition: QueryDefinition,
    pub(super) epoch: RunEpoch,
    pub(super) checkpoint: Checkpoint,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) facts: PlanFacts,
    /// What the plan's stateful operators remember, at the version of the last decided batch.
    pub(super) state: RunState,
    pub(super) streams: Vec<StreamLeaf>,
    pub(super) statics: Vec<StaticLeaf>,
    pub(super) sinks: BTreeMap<String, Arc<dyn Sink>>,
}

/// What the last run left unfinished, in the order in which it is finished.
pub(super) struct Unfinished {
    /// Batches that are decided and perhaps not committed.
    pub(super) roll_forward: Vec<Record>,
    /// A batch whose intent is recorded and that is not decided.
    pub(super) replay: Option<Record>,
}

/// How far the query is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// The batch to be cut next.
    pub(super) next_batch: BatchId,
    /// The highest committed batch.
    pub(super) committed: Option<BatchId>,
    /// The highest committed batch that a durable record tells of.
    pub(super) committed_recorded: Option<BatchId>,
}

/// The loop of one run of one query.
pub(super) struct MicroBatchLoop {
    run: QueryRun,
    reached: Reached,
    tracker: WatermarkTracker,
    in_flight: Option<InFlight>,
    last_trigger_at: Option<Duration>,
    /// When the last batch was committed.
    settled_at: Option<Duration>,
    /// When progress or idleness was told last.
    told_at: Option<Duration>,
    /// What the stateful operators did in the last batch of this run.
    state_operators: Vec<StateOperatorProgress>,
}

impl MicroBatchLoop {
    pub(super) fn new(run: QueryRun, reached: Reached, tracker: WatermarkTracker) -> Self {
        Self { run, reached, tracker, in_flight: None, last_trigger_at: None, settled_at: None, told_at: None, state_operators: Vec::new() }
    }

    /// Runs until the input ends, a stop, or an error.
    pub(super) async fn run(mut self, unfinished: Unfinished) {
        let worked = self.work(unfinished).await;
        if let Err(error) = &worked
            && error.error_class() == Some(CRASH)
        {
            // As after a real crash: nothing is closed, cleaned or written. The lock goes before the end is told.
            let shared = Arc::clone(&self.run.shared);
            drop(self);
            return shared.finish(QueryEnd::Failed(error.clone()));
        }
        let mut end = self.end_of(worked);
        if let Err(error) = self.close().await {
            tracing::warn!(%error, "the query did not close cleanly");
            if matches!(end, QueryEnd::Ended) {
                end = QueryEnd::Failed(error);
            }
        }
        // The checkpoint's lock is released before anybody hears of the end: a restart may follow at once.
        let Self { run: QueryRun { shared, checkpoint, definition, state, .. }, .. } = self;
        state.close().await;
        checkpoint.close().await;
        if definition.checkpoint_life.ends_with(matches!(end, QueryEnd::Failed(_))) {
            remove_checkpoint(&definition.checkpoint).await;
        }
        shared.finish(end);
    }

    async fn work(&mut self, unfinished: Unfinished) -> Result<()> {
        self.recover(unfinished).await?;
        self.drive().await
    }

    fn end_of(&self, worked: Result<()>) -> QueryEnd {
        let shared = &self.run.shared;
        match worked {
            Ok(()) => QueryEnd::Ended,
            Err(error) if shared.stop.is_cancelled() && error.kind() == ErrorKind::Cancelled => QueryEnd::Ended,
            Err(error) => {
                tracing::error!(error = ?error, "the query failed");
                QueryEnd::Failed(error)
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        // The query failed while the batch before was being committed: that one ends as if nothing had happened.
        let settled = self.settle().await;
        for leaf in &mut self.run.streams {
            leaf.source.stop().await?;
        }
        for leaf in &mut self.run.statics {
            leaf.source.stop().await?;
        }
        for sink in self.run.sinks.values() {
            sink.stop().await?;
        }
        self.write_fact().await?;
        settled
    }
}

/// Adds a source's name to its error.
fn in_source(name: &str) -> impl Fn(Error) -> Error {
    move |error| error.context(format!("source '{name}'"))
}
