//! The micro-batch loop. One task owns it, with the sources and the checkpoint; sinks commit in a task of their own.
//!
//! ```text
//!  plan ranges ─► [INTENT N] ─► refill + run ─► sinks prepare ─► commit of N-1 awaited ─► PREPARED N ─► commit N ─┐
//!       ▲                                                        (its fact rides here)                          │
//!       └───────────────────────────── N+1 computes while N is being committed ◄────────────────────────────────┘
//! ```
//! Before PREPARED N nothing of batch N is visible and it may be cut anew (unless its intent was recorded); after it the
//! batch is rolled forward from the record and never run again. An error ends the loop: restart recovers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use futures::future::select_all;
use millstream_core::crash::CRASH;
use millstream_core::{
    Admission, BatchId, CrashPoint, Error, ErrorKind, Position, QueryId, Result, RunEpoch, Sink, Source, SourceRange, SourceStart,
};
use millstream_state::checkpoint::{Checkpoint, Record, Retention, SourceEntry};
use tokio::task::JoinHandle;

use super::definition::{QueryDefinition, Settings};
use super::progress::{SinkProgress, SourceProgress, StreamingQueryProgress, iso_timestamp, rate};
use super::query::{QueryEnd, QueryShared};
use super::trigger::{Trigger, until_next_tick};
use crate::batch::{BatchFacts, SourceCounts};
use crate::engine::Engine;
use crate::physical::source_table::as_source_table;
use crate::physical::{SplitsBySource, fill_splits};
use crate::runner::{MAIN_SINK, RunOutcome};

/// How long an idle loop sleeps at first between two looks at sources that must be asked ...
const IDLE_POLL_MIN: Duration = Duration::from_millis(10);
/// ... and at most: it doubles while nothing comes.
const IDLE_POLL_MAX: Duration = Duration::from_millis(500);
/// An idle loop writes the last fact by itself after this long, so that a restart has nothing to roll forward.
const IDLE_FACT_AFTER: Duration = Duration::from_secs(1);

/// A streaming source of the query.
pub(super) struct StreamLeaf {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) source: Box<dyn Source>,
    pub(super) position: Position,
    /// Whether it keeps more than its position (seen files): then its ranges are kept until a snapshot has them.
    pub(super) remembers: bool,
}

/// A finished side of a join: its range is fixed at start, recorded with each batch, and resolved again by interval.
pub(super) struct StaticLeaf {
    pub(super) name: String,
    pub(super) table: Arc<dyn datafusion::catalog::TableProvider>,
    pub(super) source: Box<dyn Source>,
    pub(super) range: Option<SourceRange>,
    pub(super) resolved_at: Duration,
}

impl StaticLeaf {
    pub(super) async fn resolve(table: Arc<dyn datafusion::catalog::TableProvider>, now: Duration) -> Result<Self> {
        let (name, mut source) = {
            let of = as_source_table(&table)?;
            (of.name().to_owned(), of.open(None).await?)
        };
        let from = source.start(SourceStart::Fresh).await?;
        let range = source.plan(&from, &Admission::ALL).await?;
        Ok(Self { name, table, source, range, resolved_at: now })
    }
}

/// What a batch reads, when it was cut, and under which settings.
struct BatchCut {
    batch: BatchId,
    clock_us: i64,
    ranges: BTreeMap<String, SourceRange>,
    static_ranges: BTreeMap<String, SourceRange>,
    settings: Settings,
    is_replay: bool,
}

/// A batch whose record is durable and whose commit is under way.
struct InFlight {
    batch: BatchId,
    ranges: BTreeMap<String, SourceRange>,
    commit: JoinHandle<Result<()>>,
    progress: StreamingQueryProgress,
    started_at: Duration,
    commit_from: Duration,
}

/// The loop of one run of one query.
pub(super) struct MicroBatchLoop {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<QueryShared>,
    pub(super) checkpoint: Checkpoint,
    pub(super) definition: QueryDefinition,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) streams: Vec<StreamLeaf>,
    pub(super) statics: Vec<StaticLeaf>,
    pub(super) sinks: BTreeMap<String, Arc<dyn Sink>>,
    pub(super) query_id: QueryId,
    pub(super) epoch: RunEpoch,
    pub(super) next_batch: BatchId,
    pub(super) committed: Option<BatchId>,
    /// The highest committed batch that a durable record tells of.
    pub(super) committed_recorded: Option<BatchId>,
    pub(super) roll_forward: Vec<Record>,
    pub(super) replay: Option<Record>,
    in_flight: Option<InFlight>,
    last_trigger_at: Option<Duration>,
}

/// What `start` hands over.
pub(super) struct LoopParts {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<QueryShared>,
    pub(super) checkpoint: Checkpoint,
    pub(super) definition: QueryDefinition,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) streams: Vec<StreamLeaf>,
    pub(super) statics: Vec<StaticLeaf>,
    pub(super) sinks: BTreeMap<String, Arc<dyn Sink>>,
    pub(super) query_id: QueryId,
    pub(super) epoch: RunEpoch,
    pub(super) next_batch: BatchId,
    pub(super) committed: Option<BatchId>,
    pub(super) roll_forward: Vec<Record>,
    pub(super) replay: Option<Record>,
}

impl MicroBatchLoop {
    pub(super) fn new(parts: LoopParts) -> Self {
        let LoopParts {
            engine,
            shared,
            checkpoint,
            definition,
            plan,
            streams,
            statics,
            sinks,
            query_id,
            epoch,
            next_batch,
            committed,
            roll_forward,
            replay,
        } = parts;
        Self {
            engine,
            shared,
            checkpoint,
            definition,
            plan,
            streams,
            statics,
            sinks,
            query_id,
            epoch,
            next_batch,
            committed,
            committed_recorded: committed,
            roll_forward,
            replay,
            in_flight: None,
            last_trigger_at: None,
        }
    }

    /// Runs until the input ends, a stop, or an error.
    pub(super) async fn run(mut self) {
        let driven = self.drive().await;
        if let Err(error) = &driven
            && error.error_class() == Some(CRASH)
        {
            // As after a real crash: nothing is closed, cleaned or written.
            let Self { shared, .. } = self;
            return shared.finish(QueryEnd::Failed(error.clone()));
        }
        let stopped = self.shared.stop.is_cancelled();
        let mut end = match driven {
            Ok(()) => QueryEnd::Ended,
            Err(error) if stopped && error.kind() == ErrorKind::Cancelled => QueryEnd::Ended,
            Err(error) => {
                tracing::error!(query = %self.query_id, name = self.shared.name, error = ?error, "the query failed");
                QueryEnd::Failed(error)
            }
        };
        if let Err(error) = self.close().await {
            tracing::warn!(query = %self.query_id, %error, "the query did not close cleanly");
            if matches!(end, QueryEnd::Ended) {
                end = QueryEnd::Failed(error);
            }
        }
        // The checkpoint's lock is released before anybody hears of the end: a restart may follow at once.
        let Self { shared, checkpoint, .. } = self;
        checkpoint.close().await;
        shared.finish(end);
    }

    async fn drive(&mut self) -> Result<()> {
        self.recover().await?;
        if self.definition.trigger.is_bounded() {
            for leaf in &mut self.streams {
                leaf.source.fix_end().await.map_err(|error| error.context(format!("source '{}'", leaf.name)))?;
            }
        }
        let mut idle_poll = IDLE_POLL_MIN;
        while !self.shared.stop.is_cancelled() {
            let ticket = *self.shared.drain.borrow();
            let began = self.engine.clock.monotonic();
            let ran = self.next_batch().await?;
            if !ran {
                self.settle().await?;
                self.shared.drained.send_if_modified(|done| std::mem::replace(done, ticket) != ticket);
            }
            match self.definition.trigger {
                Trigger::Once => break,
                Trigger::AvailableNow if !ran => break,
                Trigger::AvailableNow => {}
                Trigger::ProcessingTime(interval) => {
                    self.settle().await?;
                    self.shared.set_status("Waiting for next trigger", false, false);
                    let elapsed = self.engine.clock.monotonic().saturating_sub(began);
                    if elapsed < interval {
                        self.pause(until_next_tick(self.engine.clock.now_proc_ms(), interval)).await;
                    }
                }
                Trigger::AsSoonAsPossible if ran => {
                    idle_poll = IDLE_POLL_MIN;
                    let elapsed = self.engine.clock.monotonic().saturating_sub(began);
                    if let Some(rest) = self.definition.commit_interval.checked_sub(elapsed).filter(|rest| !rest.is_zero()) {
                        self.settle().await?;
                        self.pause(rest).await;
                    }
                }
                Trigger::AsSoonAsPossible => {
                    self.shared.set_status("Waiting for data to arrive", false, false);
                    self.idle(idle_poll).await?;
                    idle_poll = (idle_poll * 2).min(IDLE_POLL_MAX);
                }
            }
        }
        self.settle().await
    }

    /// Finishes what the last run began: rolls a prepared batch forward, runs a batch with an intent again.
    async fn recover(&mut self) -> Result<()> {
        for record in std::mem::take(&mut self.roll_forward) {
            let Some(batch) = record.batch else { continue };
            tracing::info!(query = %self.query_id, %batch, "rolling a prepared batch forward");
            commit_all(&self.sinks, batch, &record.sinks).await.map_err(|error| error.context(format!("batch {batch}")))?;
            self.committed = Some(batch);
            for (name, entry) in &record.sources {
                if let Some(leaf) = self.streams.iter_mut().find(|leaf| leaf.name == *name) {
                    leaf.source.commit(batch, &entry.range).await?;
                }
            }
            self.engine.crash_points.reach(CrashPoint::AfterRollForward)?;
        }
        if let Some(record) = self.replay.take()
            && let Some(batch) = record.batch
        {
            tracing::info!(query = %self.query_id, %batch, "running a batch again whose intent was recorded");
            let (mut ranges, mut static_ranges) = (BTreeMap::new(), BTreeMap::new());
            for (name, entry) in record.sources {
                let is_stream = self.streams.iter().any(|leaf| leaf.name == name);
                if is_stream { &mut ranges } else { &mut static_ranges }.insert(name, entry.range);
            }
            let current = Arc::clone(&self.plan);
            if record.settings != self.definition.settings {
                self.plan = super::start::physical_plan(&self.engine, &self.definition, &record.settings).await?.0;
            }
            let cut = BatchCut { batch, clock_us: record.clock_us, ranges, static_ranges, settings: record.settings, is_replay: true };
            self.run_batch(cut, Timings::start(self.engine.clock.monotonic())).await?;
            self.plan = current;
        }
        Ok(())
    }

    /// Cuts the next batch and runs it; `false` if there is nothing new.
    async fn next_batch(&mut self) -> Result<bool> {
        let mut timings = Timings::start(self.engine.clock.monotonic());
        let clock_us = self.engine.clock.now_proc_us();
        let admission = match self.definition.trigger {
            Trigger::Once => Admission::ALL,
            _ => Admission::bytes(Some(self.definition.batch_bytes_max)),
        };
        let mut ranges = BTreeMap::new();
        for leaf in &mut self.streams {
            let planned = leaf.source.plan(&leaf.position, &admission).await;
            if let Some(range) = planned.map_err(|error| error.context(format!("source '{}'", leaf.name)))? {
                ranges.insert(leaf.name.clone(), range);
            }
        }
        timings.lap("latestOffset", self.engine.clock.monotonic());
        if ranges.is_empty() {
            return Ok(false);
        }
        self.shared.set_status("Processing new data", true, true);
        self.refresh_statics().await?;
        let static_ranges = self.statics.iter().filter_map(|leaf| Some((leaf.name.clone(), leaf.range.clone()?))).collect();
        let settings = self.definition.settings.clone();
        let cut = BatchCut { batch: self.next_batch, clock_us, ranges, static_ranges, settings, is_replay: false };
        self.run_batch(cut, timings).await?;
        Ok(true)
    }

    async fn refresh_statics(&mut self) -> Result<()> {
        let now = self.engine.clock.monotonic();
        for leaf in &mut self.statics {
            let interval = as_source_table(&leaf.table)?.refresh_interval();
            if interval.is_some_and(|interval| now.saturating_sub(leaf.resolved_at) >= interval) {
                *leaf = StaticLeaf::resolve(Arc::clone(&leaf.table), now).await?;
            }
        }
        Ok(())
    }

    async fn run_batch(&mut self, cut: BatchCut, timings: Timings) -> Result<()> {
        let batch = cut.batch;
        let ran = self.run_batch_inner(cut, timings).await;
        ran.map_err(|error| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => error.context(format!("batch {batch}")),
        })
    }

    async fn run_batch_inner(&mut self, cut: BatchCut, mut timings: Timings) -> Result<()> {
        let clock = Arc::clone(&self.engine.clock);
        if !cut.is_replay && self.sinks.values().any(|sink| sink.needs_intent()) {
            self.settle().await?;
            self.append(Record::intent(cut.batch, cut.clock_us), &cut, BTreeMap::new()).await?;
            timings.lap("walCommit", clock.monotonic());
            self.engine.crash_points.reach(CrashPoint::AfterIntent)?;
        }
        let splits = self.splits(&cut).await?;
        timings.lap("getBatch", clock.monotonic());
        let plan = fill_splits(&self.plan, &splits)?;
        timings.lap("queryPlanning", clock.monotonic());

        let facts = BatchFacts { query_id: self.query_id, epoch: self.epoch, batch_id: cut.batch, attempt: 0, clock_us: cut.clock_us };
        let ran = tokio::select! {
            ran = self.engine.runner.run(plan, facts) => ran,
            () = stop_deadline(&self.shared) => Err(Error::cancelled(format!("batch {} was cancelled after stopTimeout", cut.batch))),
        };
        let mut outcome = match ran {
            Ok(outcome) => outcome,
            Err(error) => {
                self.abandon(cut.batch).await;
                return Err(error);
            }
        };
        self.engine.crash_points.reach(CrashPoint::AfterRun)?;
        let n_rows_out: u64 = outcome.outputs.get(MAIN_SINK).map_or(0, |outputs| outputs.iter().map(|output| output.n_rows).sum());
        let mut prepared = BTreeMap::new();
        for (name, sink) in &self.sinks {
            let outputs = outcome.outputs.remove(name).unwrap_or_default();
            let value = sink.prepare(cut.batch, outputs).await.map_err(|error| error.context(format!("sink '{name}'")))?;
            prepared.insert(name.clone(), value);
        }
        timings.lap("addBatch", clock.monotonic());
        self.engine.crash_points.reach(CrashPoint::AfterPrepare)?;

        self.settle().await?;
        timings.lap("commitOffsets", clock.monotonic());
        self.append(Record::prepared(cut.batch, cut.clock_us), &cut, prepared.clone()).await?;
        timings.lap("walCommit", clock.monotonic());
        self.engine.crash_points.reach(CrashPoint::AfterPrepared)?;
        self.decided(&cut).await?;

        let progress = self.progress(&cut, &outcome, n_rows_out, &timings);
        let (sinks, batch) = (self.sinks.clone(), cut.batch);
        let commit = tokio::spawn(async move { commit_all(&sinks, batch, &prepared).await });
        self.in_flight =
            Some(InFlight { batch, ranges: cut.ranges, commit, progress, started_at: timings.started_at, commit_from: clock.monotonic() });
        self.next_batch = batch.next();
        Ok(())
    }

    async fn splits(&mut self, cut: &BatchCut) -> Result<SplitsBySource> {
        let n_tasks = self.engine.config.parallelism;
        let mut splits = SplitsBySource::new();
        for leaf in &mut self.streams {
            let of_source = match cut.ranges.get(&leaf.name) {
                Some(range) => {
                    leaf.source.splits(range, n_tasks).await.map_err(|error| error.context(format!("source '{}'", leaf.name)))?
                }
                None => Vec::new(),
            };
            splits.insert(leaf.name.clone(), of_source);
        }
        for leaf in &mut self.statics {
            let of_source = match cut.static_ranges.get(&leaf.name) {
                Some(range) => leaf.source.splits(range, n_tasks).await?,
                None => Vec::new(),
            };
            splits.insert(leaf.name.clone(), of_source);
        }
        Ok(splits)
    }

    async fn append(&mut self, mut record: Record, cut: &BatchCut, sinks: BTreeMap<String, serde_json::Value>) -> Result<()> {
        record.committed = self.committed;
        let ranges = cut.ranges.iter().chain(&cut.static_ranges);
        record.sources = ranges.map(|(name, range)| (name.clone(), SourceEntry::new(range.clone(), None))).collect();
        record.sinks = sinks;
        record.settings = cut.settings.clone();
        self.checkpoint.append(record).await?;
        self.committed_recorded = self.committed;
        Ok(())
    }

    /// The batch's record is durable: the sources move on, and their memory is saved when it is worth it.
    async fn decided(&mut self, cut: &BatchCut) -> Result<()> {
        for leaf in &mut self.streams {
            let Some(range) = cut.ranges.get(&leaf.name) else { continue };
            leaf.source.decided(cut.batch, range).await?;
            leaf.position = range.end.clone();
            if leaf.source.snapshot_due()
                && let Some(bytes) = leaf.source.snapshot()?
            {
                self.checkpoint.put_source_snapshot(&leaf.name, cut.batch, bytes)?;
            }
        }
        let remembering: Vec<&str> = self.streams.iter().filter(|leaf| leaf.remembers).map(|leaf| leaf.name.as_str()).collect();
        let retention = Retention { n_batches_min: self.definition.batches_retained_min, keep_from: None, remembering: &remembering };
        self.checkpoint.retain(&retention);
        Ok(())
    }

    /// Waits for the commit that is under way, tells the sources, publishes the batch's progress.
    async fn settle(&mut self) -> Result<()> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(()) };
        let InFlight { batch, ranges, commit, mut progress, started_at, commit_from } = in_flight;
        let committed = commit.await.map_err(|error| Error::internal(format!("the commit task died: {error}"))).flatten();
        committed.map_err(|error| error.context(format!("commit of batch {batch}")))?;
        self.engine.crash_points.reach(CrashPoint::AfterCommit)?;
        self.committed = Some(batch);
        for leaf in &mut self.streams {
            if let Some(range) = ranges.get(&leaf.name) {
                leaf.source.commit(batch, range).await?;
            }
        }
        self.engine.crash_points.reach(CrashPoint::AfterSourceCommit)?;
        let now = self.engine.clock.monotonic();
        *progress.duration_ms.entry("commitOffsets").or_default() += millis(now.saturating_sub(commit_from));
        let total = now.saturating_sub(started_at);
        progress.duration_ms.insert("triggerExecution", millis(total));
        progress.batch_duration = millis(total);
        progress.processed_rows_per_second = rate(progress.num_input_rows, total.as_secs_f64());
        for source in &mut progress.sources {
            source.processed_rows_per_second = rate(source.num_input_rows, total.as_secs_f64());
        }
        tracing::debug!(query = %self.query_id, %batch, rows = progress.num_input_rows, "batch committed");
        self.shared.publish(progress);
        Ok(())
    }

    async fn abandon(&mut self, batch: BatchId) {
        for (name, sink) in &self.sinks {
            if let Err(error) = sink.abandon(batch, Vec::new()).await {
                tracing::warn!(sink = name, %batch, %error, "could not remove what a failed batch had staged");
            }
        }
    }

    /// Sleeps for `duration`, or until a stop or a request to process all.
    async fn pause(&mut self, duration: Duration) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.shared.wake.notified() => {}
            () = self.engine.clock.sleep(duration) => {}
        }
    }

    /// Waits until a source tells of data, or until it is time to ask those that do not tell.
    async fn idle(&mut self, poll: Duration) -> Result<()> {
        let wakeups: Vec<_> = self.streams.iter().filter_map(|leaf| leaf.source.wakeup()).collect();
        let poll = if wakeups.len() == self.streams.len() { IDLE_POLL_MAX } else { poll };
        if wakeups.is_empty() {
            self.pause(poll).await;
        } else {
            let told = select_all(wakeups.iter().map(|wakeup| Box::pin(wakeup.notified())));
            tokio::select! {
                _ = told => {}
                () = self.pause(poll) => {}
            }
        }
        let idle_for = self.last_trigger_at.map(|at| self.engine.clock.monotonic().saturating_sub(at));
        if idle_for.is_some_and(|idle_for| idle_for >= IDLE_FACT_AFTER) {
            self.write_fact().await?;
        }
        Ok(())
    }

    /// Writes the last fact by itself, if no record tells of it yet.
    async fn write_fact(&mut self) -> Result<()> {
        let Some(committed) = self.committed.filter(|_| self.committed != self.committed_recorded) else { return Ok(()) };
        self.checkpoint.append(Record::fact(committed, self.engine.clock.now_proc_us())).await?;
        self.committed_recorded = self.committed;
        self.engine.crash_points.reach(CrashPoint::AfterFact)
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(in_flight) = self.in_flight.take() {
            // The query failed while a commit was under way: let it end, so that nothing is torn off in the middle.
            let _ = in_flight.commit.await;
        }
        for leaf in &mut self.streams {
            leaf.source.stop().await?;
        }
        for leaf in &mut self.statics {
            leaf.source.stop().await?;
        }
        for sink in self.sinks.values() {
            sink.stop().await?;
        }
        self.write_fact().await
    }

    fn progress(&mut self, cut: &BatchCut, outcome: &RunOutcome, n_rows_out: u64, timings: &Timings) -> StreamingQueryProgress {
        let since_last = self.last_trigger_at.map(|last| timings.started_at.saturating_sub(last).as_secs_f64()).unwrap_or(0.0);
        self.last_trigger_at = Some(timings.started_at);
        let counts_of = |name: &str| outcome.report.sources.get(name).copied().unwrap_or_default();
        let sources: Vec<SourceProgress> =
            self.streams.iter().map(|leaf| source_progress(leaf, cut, counts_of(&leaf.name), since_last)).collect();
        let n_rows_in = sources.iter().map(|source| source.num_input_rows).sum();
        let sink = self.sinks.get(MAIN_SINK).map(|sink| sink.description()).unwrap_or_default();
        StreamingQueryProgress {
            id: self.query_id.to_string(),
            run_id: self.shared.run_id.to_string(),
            name: self.shared.name.clone(),
            timestamp: iso_timestamp(cut.clock_us),
            batch_id: cut.batch.0,
            batch_duration: 0,
            num_input_rows: n_rows_in,
            input_rows_per_second: rate(n_rows_in, since_last),
            processed_rows_per_second: 0.0,
            duration_ms: timings.phases.iter().map(|(phase, time)| (*phase, millis(*time))).collect(),
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources,
            sink: SinkProgress { description: sink, num_output_rows: i64::try_from(n_rows_out).unwrap_or(i64::MAX) },
        }
    }
}

fn source_progress(leaf: &StreamLeaf, cut: &BatchCut, counts: SourceCounts, since_last: f64) -> SourceProgress {
    let (start, end) = match cut.ranges.get(&leaf.name) {
        Some(range) => (range.start.clone(), range.end.clone()),
        None => (leaf.position.clone(), leaf.position.clone()),
    };
    let metrics = leaf.source.metrics();
    let latest = metrics.latest.unwrap_or_else(|| end.clone());
    let mut values: BTreeMap<String, String> = metrics.values.into_iter().collect();
    for (name, n_rows) in [("numRowsDropped", counts.n_dropped), ("numRowsDeadLettered", counts.n_rejected)] {
        if n_rows > 0 {
            values.insert(name.to_owned(), n_rows.to_string());
        }
    }
    SourceProgress {
        description: leaf.description.clone(),
        start_offset: start.0,
        end_offset: end.0,
        latest_offset: latest.0,
        num_input_rows: counts.n_records,
        input_rows_per_second: rate(counts.n_records, since_last),
        processed_rows_per_second: 0.0,
        metrics: values,
    }
}

/// Commits a batch in all sinks, in the order of their names; each is idempotent by batch id.
async fn commit_all(sinks: &BTreeMap<String, Arc<dyn Sink>>, batch: BatchId, prepared: &BTreeMap<String, serde_json::Value>) -> Result<()> {
    for (name, value) in prepared {
        let sink =
            sinks.get(name).ok_or_else(|| Error::internal(format!("batch {batch} was prepared for a sink '{name}' that is not there")))?;
        sink.commit(batch, value).await.map_err(|error| error.context(format!("sink '{name}'")))?;
    }
    Ok(())
}

/// Ends when a stop has waited long enough for the batch.
async fn stop_deadline(shared: &QueryShared) {
    shared.stop.cancelled().await;
    shared.clock.sleep(shared.stop_timeout).await;
}

/// Where the time of a batch went, by Spark's phase names.
struct Timings {
    started_at: Duration,
    last: Duration,
    phases: BTreeMap<&'static str, Duration>,
}

impl Timings {
    fn start(now: Duration) -> Self {
        Self { started_at: now, last: now, phases: BTreeMap::new() }
    }

    fn lap(&mut self, phase: &'static str, now: Duration) {
        *self.phases.entry(phase).or_default() += now.saturating_sub(self.last);
        self.last = now;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
