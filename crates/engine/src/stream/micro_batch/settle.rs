//! A batch from its prepared record to the fact that it is committed: off the path of the next batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{BatchId, CrashPoint, Error, Result, Sink, SourceRange};
use millstream_state::checkpoint::Record;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use super::MicroBatchLoop;
use super::cut::BatchCut;
use super::report::TriggerRun;
use super::run_batch::Prepared;
use crate::stream::progress::StreamingQueryProgress;

/// A batch whose record is durable and whose commit is under way.
pub(super) struct InFlight {
    batch: BatchId,
    ranges: BTreeMap<String, SourceRange>,
    /// Gives the time at which the last sink had committed.
    commit: JoinHandle<Result<Duration>>,
    commit_from: Duration,
    progress: StreamingQueryProgress,
    trigger: TriggerRun,
    span: Span,
}

impl MicroBatchLoop {
    /// Begins the commit of a decided batch; [`Self::settle`] waits for it.
    pub(super) fn begin_commit(&mut self, cut: BatchCut, prepared: Prepared, progress: StreamingQueryProgress, trigger: TriggerRun) {
        let (sinks, batch, clock) = (self.run.sinks.clone(), cut.batch, Arc::clone(&self.run.engine.clock));
        let commit_from = clock.monotonic();
        let span = Span::current();
        let commit = async move { commit_all(&sinks, batch, &prepared).await.map(|()| clock.monotonic()) };
        let commit = tokio::spawn(commit.instrument(tracing::debug_span!("phase", name = "commit")));
        self.in_flight = Some(InFlight { batch, ranges: cut.ranges, commit, commit_from, progress, trigger, span });
    }

    /// Waits for the commit that is under way, tells the sources, publishes the batch's progress.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        let span = in_flight.span.clone();
        self.settle_batch(in_flight).instrument(span).await
    }

    async fn settle_batch(&mut self, in_flight: InFlight) -> Result<()> {
        let InFlight { batch, ranges, commit, commit_from, mut progress, mut trigger, .. } = in_flight;
        let committed = commit.await.map_err(|error| Error::internal(format!("the commit task died: {error}"))).flatten();
        let committed_at = committed.map_err(|error| error.context(format!("commit of batch {batch}")))?;
        self.run.engine.crash_points.reach(CrashPoint::AfterCommit)?;
        self.reached.committed = Some(batch);
        let told_from = self.run.engine.clock.monotonic();
        for leaf in &mut self.run.streams {
            if let Some(range) = ranges.get(&leaf.name) {
                leaf.source.commit(batch, range).await?;
            }
        }
        self.run.engine.crash_points.reach(CrashPoint::AfterSourceCommit)?;
        let told_in = self.run.engine.clock.monotonic().saturating_sub(told_from);
        // The batch may have been committed long ago, while the next one ran: that time is not its own.
        trigger.add("commitOffsets", committed_at.saturating_sub(commit_from) + told_in);
        trigger.finish(&mut progress, committed_at + told_in);
        tracing::debug!(rows = progress.num_input_rows, "batch committed");
        self.settled_at = Some(self.run.engine.clock.monotonic());
        self.told_at = self.settled_at;
        self.run.shared.publish(progress);
        Ok(())
    }

    /// Writes the last fact by itself, if no record tells of it yet.
    pub(super) async fn write_fact(&mut self) -> Result<()> {
        let reached = &mut self.reached;
        let Some(committed) = reached.committed.filter(|_| reached.committed != reached.committed_recorded) else { return Ok(()) };
        self.run.checkpoint.append(Record::fact(committed, self.run.engine.clock.now_proc_us())).await?;
        reached.committed_recorded = reached.committed;
        self.run.engine.crash_points.reach(CrashPoint::AfterFact)
    }
}

/// Commits a batch in all sinks, in the order of their names; each is idempotent by batch id.
pub(super) async fn commit_all(sinks: &BTreeMap<String, Arc<dyn Sink>>, batch: BatchId, prepared: &Prepared) -> Result<()> {
    for (name, value) in prepared {
        let sink =
            sinks.get(name).ok_or_else(|| Error::internal(format!("batch {batch} was prepared for a sink '{name}' that is not there")))?;
        sink.commit(batch, value).await.map_err(|error| error.context(format!("sink '{name}'")))?;
    }
    Ok(())
}
