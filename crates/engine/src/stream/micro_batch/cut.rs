//! What a batch reads: every source cuts its next range, and the ranges become splits.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_core::{BatchId, Result, SourceRange};

use super::report::TriggerRun;
use super::{MicroBatchLoop, in_source};
use crate::batch::BatchWatermarks;
use crate::physical::SplitsBySource;
use crate::physical::stateful::{has_timed_out, next_timeout_proc_ms};
use crate::stream::definition::Settings;
use crate::stream::start::input_behind_flush;
use crate::table_gate::TablesRead;

/// What a batch reads, when it was cut, and under which settings.
pub(super) struct BatchCut {
    pub(super) batch: BatchId,
    /// The batch's clock: what `current_timestamp()` says in it.
    pub(super) clock_us: i64,
    /// What is late in it, and what is final.
    pub(super) watermarks: BatchWatermarks,
    /// Empty if it runs for the watermark's sake alone.
    pub(super) ranges: BTreeMap<String, SourceRange>,
    pub(super) static_ranges: BTreeMap<String, SourceRange>,
    pub(super) settings: Settings,
    /// Until the batch has run, the tables that it reads are not replaced.
    pub(super) tables_read: Option<TablesRead>,
    /// Its intent is recorded already.
    pub(super) is_replay: bool,
}

impl MicroBatchLoop {
    /// Cuts the next batch, or `None` if there is nothing new: no data, nor a later watermark that an operator can use, nor
    /// anything that has timed out by the clock.
    pub(super) async fn cut_next(&mut self, trigger: &mut TriggerRun) -> Result<Option<BatchCut>> {
        let clock_us = self.run.engine.clock.now_proc_us();
        let ranges = trigger.phase("latestOffset", self.plan_ranges()).await?;
        let now = self.run.engine.clock.monotonic();
        self.tracker.asked(ranges.keys(), now);
        if let Some(source) = ranges.keys().next().filter(|_| self.tracker.is_flushed()) {
            return Err(input_behind_flush(source));
        }
        if ranges.is_empty() && !self.needs_no_data_batch(clock_us)? {
            return Ok(None);
        }
        self.cut(clock_us, self.tracker.of_next_batch(), ranges).await.map(Some)
    }

    /// Cuts the batch that flushes the query: it reads nothing, and everything is final in it.
    pub(super) async fn cut_flush(&mut self) -> Result<BatchCut> {
        let clock_us = self.run.engine.clock.now_proc_us();
        self.cut(clock_us, self.tracker.of_flush(), BTreeMap::new()).await
    }

    async fn cut(&mut self, clock_us: i64, watermarks: BatchWatermarks, ranges: BTreeMap<String, SourceRange>) -> Result<BatchCut> {
        let tables_read = Some(self.run.definition.gates.read().await);
        let now = self.run.engine.clock.monotonic();
        for leaf in &mut self.run.statics {
            leaf.refresh(now).await?;
        }
        let static_ranges = self.run.statics.iter().filter_map(|leaf| Some((leaf.name.clone(), leaf.range.clone()?))).collect();
        let settings = self.run.definition.settings.clone();
        let batch = self.reached.next_batch;
        Ok(BatchCut { batch, clock_us, watermarks, ranges, static_ranges, settings, tables_read, is_replay: false })
    }

    fn needs_no_data_batch(&self, clock_us: i64) -> Result<bool> {
        let run = &self.run;
        if !run.definition.runs_no_data_batches {
            return Ok(false);
        }
        if self.tracker.has_moved() && run.facts.uses_event_time {
            return Ok(true);
        }
        // Bounded input ends with its last row: who waited for the clock then would never end.
        Ok(!run.definition.trigger.is_bounded() && has_timed_out(&run.facts.stores_by_clock, &run.state.tables, clock_us.div_euclid(1000))?)
    }

    /// How long until the clock may make a batch without data worth running.
    pub(super) fn until_timeout(&self) -> Option<Duration> {
        let run = &self.run;
        if !run.definition.runs_no_data_batches || run.definition.trigger.is_bounded() {
            return None;
        }
        let at_ms = next_timeout_proc_ms(&run.facts.stores_by_clock, &run.state.tables)?;
        let wait_ms = at_ms.saturating_sub(run.engine.clock.now_proc_ms()).max(1);
        Some(Duration::from_millis(wait_ms.unsigned_abs()))
    }

    async fn plan_ranges(&mut self) -> Result<BTreeMap<String, SourceRange>> {
        let (trigger, batch_bytes_max) = (self.run.definition.trigger, self.run.definition.batch_bytes_max);
        let mut ranges = BTreeMap::new();
        for leaf in &mut self.run.streams {
            let admission = leaf.admission(trigger, batch_bytes_max);
            let planned = leaf.source.plan(&leaf.position, &admission).await;
            if let Some(range) = planned.map_err(in_source(&leaf.name))? {
                ranges.insert(leaf.name.clone(), range);
            }
        }
        Ok(ranges)
    }

    /// The splits of every source; none for a source that the batch does not read.
    pub(super) async fn splits(&mut self, cut: &BatchCut) -> Result<SplitsBySource> {
        let n_tasks = self.run.engine.config.parallelism;
        let streams = self.run.streams.iter_mut().map(|leaf| (&leaf.name, &mut leaf.source, cut.ranges.get(&leaf.name)));
        let statics = self.run.statics.iter_mut().map(|leaf| (&leaf.name, &mut leaf.source, cut.static_ranges.get(&leaf.name)));
        let mut splits = SplitsBySource::new();
        for (name, source, range) in streams.chain(statics) {
            let of_source = match range {
                Some(range) => source.splits(range, n_tasks).await.map_err(in_source(name))?,
                None => Vec::new(),
            };
            splits.insert(name.clone(), of_source);
        }
        Ok(splits)
    }
}
