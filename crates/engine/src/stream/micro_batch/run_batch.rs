//! A batch from its cut to its prepared record: nothing of it is visible before that record is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use millstream_core::crash::CRASH;
use millstream_core::{BatchId, CrashPoint, Error, ErrorKind, Result};
use millstream_state::checkpoint::{Record, RecordedWatermarks, Retention, SourceEntry};
use serde_json::Value;
use tracing::Instrument;

use super::MicroBatchLoop;
use super::cut::BatchCut;
use super::report::TriggerRun;
use crate::batch::{BatchFacts, BatchReport, BatchWatermarks};
use crate::physical::fill_splits;
use crate::runner::{MAIN_SINK, RunOutcome};
use crate::stream::query::QueryShared;
use crate::stream::run_state::StateChange;
use crate::stream::start_sinks::deciding_sink;

/// What the commit of a batch must know, by sink.
pub(super) type Prepared = BTreeMap<String, Value>;

/// What a batch has staged: durable, not decided.
pub(super) struct Staged {
    prepared: Prepared,
    state: StateChange,
    /// Rows written to the main sink.
    pub(super) n_rows_out: u64,
    pub(super) report: BatchReport,
}

impl MicroBatchLoop {
    /// Runs a batch, decides it and begins its commit.
    pub(super) async fn run_batch(&mut self, cut: BatchCut, trigger: TriggerRun) -> Result<()> {
        let batch = cut.batch;
        let ran = self.run_and_decide(cut, trigger).instrument(tracing::info_span!("batch", id = batch.0)).await;
        ran.map_err(|error| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => error.context(format!("batch {batch}")),
        })
    }

    async fn run_and_decide(&mut self, mut cut: BatchCut, mut trigger: TriggerRun) -> Result<()> {
        let crash_points = Arc::clone(&self.run.engine.crash_points);
        if !cut.is_replay && self.run.sinks.values().any(|sink| sink.needs_intent()) {
            self.settle().await?;
            trigger.phase("walCommit", self.append(self.intent(&cut), &cut, Prepared::new())).await?;
            crash_points.reach(CrashPoint::AfterIntent)?;
        }
        let splits = trigger.phase("getBatch", self.splits(&cut)).await?;
        let plan = trigger.phase("queryPlanning", async { fill_splits(&self.run.plan, &splits) }).await?;
        let staged = trigger.phase("addBatch", self.stage(plan, &cut)).await?;
        cut.tables_read = None;

        trigger.phase("commitOffsets", self.settle()).await?;
        self.tracker.batch_has_run(cut.watermarks, &staged.report.event_times);
        let record = self.prepared(&cut, &staged.state);
        if let Some((name, sink)) = deciding_sink(&self.run.sinks)? {
            let (name, sink) = (name.to_owned(), Arc::clone(sink));
            let proposed = Record::proposed_from(&record);
            trigger.phase("walCommit", self.append(proposed, &cut, staged.prepared.clone())).await?;
            crash_points.reach(CrashPoint::AfterProposed)?;
            let value = staged.prepared.get(&name).unwrap_or(&Value::Null);
            let committed = trigger.phase("commitOffsets", sink.commit(cut.batch, value)).await;
            committed.map_err(|error| error.context(format!("sink '{name}'")))?;
            crash_points.reach(CrashPoint::AfterDecision)?;
        }
        trigger.phase("walCommit", self.append(record, &cut, staged.prepared.clone())).await?;
        crash_points.reach(CrashPoint::AfterPrepared)?;
        self.decided(&cut, &staged.report, trigger.lasts()).await?;
        let progress = self.progress_of(&cut, &staged, &trigger);
        self.state_operators.clone_from(&progress.state_operators);
        self.begin_commit(cut, staged.prepared, progress, trigger);
        Ok(())
    }

    /// Runs the tasks; the sinks make what they staged durable. A stop waits so long for it as it was told to; of an attempt
    /// that failed or was cancelled, what was staged is removed.
    async fn stage(&mut self, plan: Arc<dyn ExecutionPlan>, cut: &BatchCut) -> Result<Staged> {
        let shared = Arc::clone(&self.run.shared);
        let staged = tokio::select! {
            staged = self.run_and_prepare(plan, cut) => staged,
            () = stop_deadline(&shared) => Err(Error::cancelled(format!("batch {} was cancelled after stopTimeout", cut.batch))),
        };
        match &staged {
            // As after a real crash: nothing is cleaned.
            Err(error) if error.error_class() != Some(CRASH) => self.abandon(cut.batch).await,
            _ => {}
        }
        staged
    }

    async fn run_and_prepare(&mut self, plan: Arc<dyn ExecutionPlan>, cut: &BatchCut) -> Result<Staged> {
        let (query_id, epoch) = (self.run.shared.id, self.run.epoch);
        let (clock_us, watermarks) = (cut.clock_us, cut.watermarks);
        let facts = BatchFacts { query_id, epoch, batch_id: cut.batch, attempt: 0, clock_us, watermarks };
        let RunOutcome { mut outputs, mut report } = self.run.engine.runner.run(plan, facts, Arc::clone(&self.run.state.tables)).await?;
        let crash_points = Arc::clone(&self.run.engine.crash_points);
        crash_points.reach(CrashPoint::AfterRun)?;
        let n_rows_out = outputs.get(MAIN_SINK).map_or(0, |outputs| outputs.iter().map(|output| output.n_rows).sum());
        let mut prepared = Prepared::new();
        for (name, sink) in &self.run.sinks {
            let of_sink = outputs.remove(name).unwrap_or_default();
            let value = sink.prepare(cut.batch, of_sink).await.map_err(|error| error.context(format!("sink '{name}'")))?;
            prepared.insert(name.clone(), value);
        }
        crash_points.reach(CrashPoint::AfterPrepare)?;
        let writing_from = self.run.engine.clock.monotonic();
        let state = self.run.state.write(cut.batch).await?;
        let written_in = self.run.engine.clock.monotonic().saturating_sub(writing_from);
        for operator in report.state_operators.values_mut() {
            // One write for all of them.
            operator.commit_ms = u64::try_from(written_in.as_millis()).unwrap_or(u64::MAX);
        }
        for (operator, usage) in self.run.state.tables.usage() {
            if let Some(operator) = report.state_operators.get_mut(&operator) {
                operator.set_usage(usage);
            }
        }
        if state.delta.is_some() {
            crash_points.reach(CrashPoint::AfterState)?;
        }
        Ok(Staged { prepared, state, n_rows_out, report })
    }

    fn intent(&self, cut: &BatchCut) -> Record {
        let BatchWatermarks { late_ms, current_ms } = cut.watermarks;
        let watermarks = RecordedWatermarks { late_ms, current_ms, ..RecordedWatermarks::default() };
        Record { watermarks: self.records_watermarks(cut).then_some(watermarks), ..Record::intent(cut.batch, cut.clock_us) }
    }

    fn prepared(&self, cut: &BatchCut, state: &StateChange) -> Record {
        let watermarks = self.records_watermarks(cut).then(|| self.tracker.recorded(cut.watermarks));
        let StateChange { versions, delta } = state.clone();
        Record { watermarks, state: versions, state_delta: delta, ..Record::prepared(cut.batch, cut.clock_us) }
    }

    /// A flush closes the checkpoint of any query.
    fn records_watermarks(&self, cut: &BatchCut) -> bool {
        self.tracker.has_nodes() || cut.watermarks.is_flush()
    }

    /// Appends a record of the batch; what is committed by now rides in it.
    async fn append(&mut self, mut record: Record, cut: &BatchCut, sinks: Prepared) -> Result<()> {
        record.committed = self.reached.committed;
        let ranges = cut.ranges.iter().chain(&cut.static_ranges);
        record.sources = ranges.map(|(name, range)| (name.clone(), SourceEntry::new(range.clone()))).collect();
        record.sinks = sinks;
        record.settings = cut.settings.clone();
        self.run.checkpoint.append(record).await?;
        self.reached.committed_recorded = self.reached.committed;
        Ok(())
    }

    /// The batch's record is durable: the sources move on, and their memory is saved when it is worth it.
    async fn decided(&mut self, cut: &BatchCut, report: &BatchReport, took: Duration) -> Result<()> {
        let run = &mut self.run;
        run.state.decided(cut.batch)?;
        for leaf in &mut run.streams {
            let Some(range) = cut.ranges.get(&leaf.name) else { continue };
            leaf.source.decided(cut.batch, range).await?;
            leaf.batch_ran(range, took);
            if let Some(missed) = report.missed.get(&leaf.name) {
                leaf.source.missed(cut.batch, missed)?;
            }
            leaf.position = range.end.clone();
            leaf.begun_in.get_or_insert(cut.batch);
            if leaf.source.snapshot_due()
                && let Some(bytes) = leaf.source.snapshot()?
            {
                run.checkpoint.put_source_snapshot(&leaf.name, cut.batch, bytes)?;
            }
        }
        let remembering: Vec<&str> = run.streams.iter().filter(|leaf| leaf.remembers).map(|leaf| leaf.name.as_str()).collect();
        let retention = Retention { n_batches_min: run.definition.batches_retained_min, keep_from: None, remembering: &remembering };
        run.checkpoint.retain(&retention);
        self.reached.next_batch = cut.batch.next();
        Ok(())
    }

    async fn abandon(&mut self, batch: BatchId) {
        for (name, sink) in &self.run.sinks {
            if let Err(error) = sink.abandon(batch, Vec::new()).await {
                tracing::warn!(sink = name, %batch, %error, "could not remove what a failed batch had staged");
            }
        }
    }
}

/// Ends when a stop has waited long enough for the batch.
async fn stop_deadline(shared: &QueryShared) {
    shared.stop.cancelled().await;
    match shared.stop_timeout {
        Duration::ZERO => std::future::pending().await,
        timeout => shared.clock.sleep(timeout).await,
    }
}
