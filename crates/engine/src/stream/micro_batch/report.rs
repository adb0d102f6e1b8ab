//! What a batch did and where its time went, as progress shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::Clock;

use super::cut::BatchCut;
use super::run_batch::Staged;
use super::{MicroBatchLoop, StreamLeaf};
use crate::batch::SourceCounts;
use crate::runner::MAIN_SINK;
use crate::stream::progress::{SinkProgress, SourceProgress, StreamingQueryProgress, iso_timestamp, rate};

/// Where the time of a trigger went, by Spark's phase names.
pub(super) struct Phases {
    clock: Arc<dyn Clock>,
    started_at: Duration,
    took: BTreeMap<&'static str, Duration>,
}

impl Phases {
    /// The trigger begins.
    pub(super) fn start(clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.monotonic();
        Self { clock, started_at, took: BTreeMap::new() }
    }

    /// Does a piece of work and counts its time.
    pub(super) async fn time<T>(&mut self, phase: &'static str, work: impl Future<Output = T>) -> T {
        let from = self.clock.monotonic();
        let done = work.await;
        self.add(phase, self.clock.monotonic().saturating_sub(from));
        done
    }

    pub(super) fn add(&mut self, phase: &'static str, time: Duration) {
        *self.took.entry(phase).or_default() += time;
    }

    /// The trigger has ended: enters all times, and the rates that follow from them.
    pub(super) fn finish(self, progress: &mut StreamingQueryProgress, ended_at: Duration) {
        let total = ended_at.saturating_sub(self.started_at);
        progress.duration_ms = self.took.iter().map(|(phase, time)| (*phase, millis(*time))).collect();
        progress.duration_ms.insert("triggerExecution", millis(total));
        progress.batch_duration = millis(total);
        progress.processed_rows_per_second = rate(progress.num_input_rows, total.as_secs_f64());
        for source in &mut progress.sources {
            source.processed_rows_per_second = rate(source.num_input_rows, total.as_secs_f64());
        }
    }
}

impl MicroBatchLoop {
    /// The progress of a decided batch, but for its times: those are known when it is committed.
    pub(super) fn progress(&mut self, cut: &BatchCut, staged: &Staged, phases: &Phases) -> StreamingQueryProgress {
        let since_last = self.last_trigger_at.map(|last| phases.started_at.saturating_sub(last).as_secs_f64()).unwrap_or(0.0);
        self.last_trigger_at = Some(phases.started_at);
        let run = &self.run;
        let counts_of = |name: &str| staged.report.sources.get(name).copied().unwrap_or_default();
        let sources: Vec<SourceProgress> =
            run.streams.iter().map(|leaf| source_progress(leaf, cut, counts_of(&leaf.name), since_last)).collect();
        let n_rows_in = sources.iter().map(|source| source.num_input_rows).sum();
        let sink = run.sinks.get(MAIN_SINK).map(|sink| sink.description()).unwrap_or_default();
        StreamingQueryProgress {
            id: run.shared.id.to_string(),
            run_id: run.shared.run_id.to_string(),
            name: run.shared.name.clone(),
            timestamp: iso_timestamp(cut.clock_us),
            batch_id: cut.batch.0,
            batch_duration: 0,
            num_input_rows: n_rows_in,
            input_rows_per_second: rate(n_rows_in, since_last),
            processed_rows_per_second: 0.0,
            duration_ms: BTreeMap::new(),
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources,
            sink: SinkProgress { description: sink, num_output_rows: i64::try_from(staged.n_rows_out).unwrap_or(i64::MAX) },
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
