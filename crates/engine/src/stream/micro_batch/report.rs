//! What a trigger did and where its time went, as progress and listeners hear of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::Clock;
use serde_json::Value;
use tracing::Instrument;

use super::cut::BatchCut;
use super::run_batch::Staged;
use super::{MicroBatchLoop, StreamLeaf};
use crate::batch::{BatchReport, SourceCounts};
use crate::runner::MAIN_SINK;
use crate::stream::listener::QueryEvent;
use crate::stream::progress::{
    SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, event_timestamp, iso_timestamp, rate,
};

/// One trigger: when it began, and where its time went, by Spark's phase names.
pub(super) struct TriggerRun {
    clock: Arc<dyn Clock>,
    started_at: Duration,
    started_us: i64,
    /// Since the last trigger began, with or without a batch; `None` for the first.
    since_last: Option<Duration>,
    took: BTreeMap<&'static str, Duration>,
}

impl TriggerRun {
    /// Does a piece of work, in a span of its own, and counts its time.
    pub(super) async fn phase<T>(&mut self, phase: &'static str, work: impl Future<Output = T>) -> T {
        let from = self.clock.monotonic();
        let done = work.instrument(tracing::debug_span!("phase", name = phase)).await;
        self.add(phase, self.clock.monotonic().saturating_sub(from));
        done
    }

    /// How long ago it began.
    pub(super) fn lasts(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started_at)
    }

    pub(super) fn add(&mut self, phase: &'static str, time: Duration) {
        *self.took.entry(phase).or_default() += time;
    }

    /// The trigger has ended: enters all times, and the rates that follow from them.
    pub(super) fn finish(self, progress: &mut StreamingQueryProgress, ended_at: Duration) {
        let total_ms = millis(ended_at.saturating_sub(self.started_at));
        progress.duration_ms = self.took.iter().map(|(phase, time)| (*phase, millis(*time))).collect();
        progress.duration_ms.insert("triggerExecution", total_ms);
        progress.batch_duration = total_ms;
        // At least a millisecond and whole ones, as Spark counts.
        let seconds = Duration::from_millis(total_ms.max(1)).as_secs_f64();
        progress.processed_rows_per_second = rate(progress.num_input_rows, seconds);
        for source in &mut progress.sources {
            source.processed_rows_per_second = rate(source.num_input_rows, seconds);
        }
    }

    /// Seconds in which the input came; endless for the first trigger, whose rate is therefore 0.
    fn input_seconds(&self) -> f64 {
        self.since_last.map_or(f64::INFINITY, |since| since.as_secs_f64())
    }
}

/// The name of the number of records or rows that were set aside.
const DEAD_LETTERED: &str = "numRowsDeadLettered";

/// The name of the number of rows that were set aside as too far ahead of the clock.
const FROM_THE_FUTURE: &str = "numRowsFromTheFuture";

/// What a progress tells of a batch; of a trigger without one, the query as it stands.
#[derive(Clone, Copy)]
enum Told<'a> {
    Batch(&'a BatchCut, &'a Staged),
    NoBatch,
}

impl MicroBatchLoop {
    /// A trigger begins.
    pub(super) fn begin_trigger(&mut self) -> TriggerRun {
        let clock = Arc::clone(&self.run.engine.clock);
        let (started_at, started_us) = (clock.monotonic(), clock.now_proc_us());
        let since_last = self.last_trigger_at.replace(started_at).map(|last| started_at.saturating_sub(last));
        TriggerRun { clock, started_at, started_us, since_last, took: BTreeMap::new() }
    }

    /// The progress of a decided batch, but for its times: those are known when it is committed.
    pub(super) fn progress_of(&self, cut: &BatchCut, staged: &Staged, trigger: &TriggerRun) -> StreamingQueryProgress {
        self.progress(Told::Batch(cut, staged), trigger)
    }

    /// A trigger found nothing to do. As in Spark, the query's progress is updated and listeners are told of idleness, but
    /// only once per `noDataProgressEventInterval`; the first trigger of a run updates the progress and tells nobody.
    pub(super) fn report_idle_trigger(&mut self, trigger: TriggerRun) {
        let interval = self.run.definition.idle_event_interval;
        let told_at = self.told_at;
        if told_at.is_some_and(|at| trigger.started_at.saturating_sub(at) < interval) {
            return;
        }
        self.told_at = Some(trigger.started_at);
        let timestamp = iso_timestamp(trigger.started_us);
        let mut progress = self.progress(Told::NoBatch, &trigger);
        trigger.finish(&mut progress, self.run.engine.clock.monotonic());
        self.run.shared.remember(progress);
        if told_at.is_some() {
            let (id, run_id) = (self.run.shared.id, self.run.shared.run_id);
            tracing::debug!(interval_ms = millis(interval), "no new data for a while");
            self.run.shared.listeners.send(QueryEvent::Idle { id, run_id, timestamp });
        }
    }

    fn progress(&self, told: Told<'_>, trigger: &TriggerRun) -> StreamingQueryProgress {
        let run = &self.run;
        let sources: Vec<SourceProgress> = run.streams.iter().map(|leaf| source_progress(leaf, told, trigger)).collect();
        let num_input_rows = sources.iter().map(|source| source.num_input_rows).sum();
        let (batch, n_rows_out, set_aside) = match told {
            Told::Batch(cut, staged) => {
                let BatchReport { n_failed_rows, n_future_rows, .. } = staged.report;
                (cut.batch, staged.n_rows_out, [(DEAD_LETTERED, n_failed_rows), (FROM_THE_FUTURE, n_future_rows)])
            }
            Told::NoBatch => (self.reached.next_batch, 0, [(DEAD_LETTERED, 0), (FROM_THE_FUTURE, 0)]),
        };
        let num_output_rows = i64::try_from(n_rows_out).unwrap_or(i64::MAX);
        let metrics = set_aside.into_iter().filter(|(_, n_rows)| *n_rows > 0);
        let metrics = metrics.map(|(name, n_rows)| (name.to_owned(), n_rows.to_string())).collect();
        let description = run.sinks.get(MAIN_SINK).map(|sink| sink.description()).unwrap_or_default();
        StreamingQueryProgress {
            id: run.shared.id.to_string(),
            run_id: run.shared.run_id.to_string(),
            name: run.shared.name.clone(),
            timestamp: iso_timestamp(trigger.started_us),
            batch_id: batch.0,
            batch_duration: 0,
            num_input_rows,
            input_rows_per_second: rate(num_input_rows, trigger.input_seconds()),
            processed_rows_per_second: 0.0,
            duration_ms: BTreeMap::new(),
            event_time: self.event_time_of(told),
            state_operators: self.state_operators_of(told),
            sources,
            sink: SinkProgress { description, num_output_rows, metrics },
        }
    }
}

impl MicroBatchLoop {
    /// The event times of the batch, and the watermark it was judged by; without a batch the one that the next will be. Of
    /// several nodes the first that saw any, as in Spark.
    fn event_time_of(&self, told: Told<'_>) -> BTreeMap<&'static str, String> {
        if !self.tracker.has_nodes() {
            return BTreeMap::new();
        }
        let (watermark_ms, seen) = match told {
            Told::Batch(cut, staged) => (cut.watermarks.current_ms, Some(&staged.report.event_times)),
            Told::NoBatch => (self.tracker.of_next_batch().current_ms, None),
        };
        let mut shown = BTreeMap::from([("watermark", event_timestamp(watermark_ms))]);
        let nodes = &self.run.facts.watermark_nodes;
        if let Some(stats) = seen.and_then(|seen| nodes.iter().find_map(|node| seen.get(node))) {
            shown.insert("avg", event_timestamp(stats.avg_event_ms()));
            shown.insert("max", event_timestamp(stats.max_event_ms));
            shown.insert("min", event_timestamp(stats.min_event_ms));
        }
        shown
    }

    /// What the stateful operators did, in the plan's order; without a batch what they hold since the last one.
    fn state_operators_of(&self, told: Told<'_>) -> Vec<StateOperatorProgress> {
        let Told::Batch(_, staged) = told else {
            let idle = |known: &StateOperatorProgress| StateOperatorProgress {
                num_rows_updated: 0,
                num_rows_dropped_by_watermark: 0,
                ..known.clone()
            };
            return self.state_operators.iter().map(idle).collect();
        };
        let reports = &staged.report.state_operators;
        let operators = self.run.facts.stateful_operators.iter();
        operators.filter_map(|operator| reports.get(operator)).map(StateOperatorProgress::from).collect()
    }
}

fn source_progress(leaf: &StreamLeaf, told: Told<'_>, trigger: &TriggerRun) -> SourceProgress {
    let (range, counts) = match told {
        Told::Batch(cut, staged) => (cut.ranges.get(&leaf.name), staged.report.sources.get(&leaf.name).copied().unwrap_or_default()),
        Told::NoBatch => (None, SourceCounts::default()),
    };
    let shown = |position| leaf.source.shown(position);
    let (start_offset, end_offset) = match (range, told) {
        // The first range of a source begins nowhere, as in Spark.
        (Some(range), Told::Batch(cut, _)) if leaf.begun_in == Some(cut.batch) => (Value::Null, shown(&range.end)),
        (Some(range), _) => (shown(&range.start), shown(&range.end)),
        (None, _) => {
            let here = if leaf.begun_in.is_some() { shown(&leaf.position) } else { Value::Null };
            (here.clone(), here)
        }
    };
    let metrics = leaf.source.metrics();
    let mut values: BTreeMap<String, String> = metrics.values.into_iter().collect();
    for (name, n_rows) in [("numRowsDropped", counts.n_dropped), (DEAD_LETTERED, counts.n_rejected)] {
        if n_rows > 0 {
            values.insert(name.to_owned(), n_rows.to_string());
        }
    }
    SourceProgress {
        description: leaf.description.clone(),
        start_offset,
        end_offset,
        latest_offset: metrics.latest.map_or(Value::Null, |latest| latest.0),
        num_input_rows: counts.n_records,
        input_rows_per_second: rate(counts.n_records, trigger.input_seconds()),
        processed_rows_per_second: 0.0,
        metrics: values,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
