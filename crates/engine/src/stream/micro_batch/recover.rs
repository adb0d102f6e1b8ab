//! What the last run began: a prepared batch is rolled forward, a batch with an intent is run again.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_core::{BatchId, CrashPoint, Error, ErrorKind, Result, SinkContext};
use millstream_state::checkpoint::Record;

use super::cut::BatchCut;
use super::settle::commit_all;
use super::{MicroBatchLoop, Unfinished};
use crate::batch::BatchWatermarks;
use crate::physical::source_table::source_tables;
use crate::runner::MAIN_SINK;
use crate::stream::start::{physical_plan, sinks_of};

impl MicroBatchLoop {
    pub(super) async fn recover(&mut self, unfinished: Unfinished) -> Result<()> {
        for record in unfinished.roll_forward {
            if let Some(batch) = record.batch {
                self.roll_forward(batch, record).await?;
            }
        }
        match unfinished.replay.and_then(|record| Some((record.batch?, record))) {
            Some((batch, record)) => self.replay(batch, record).await,
            None => Ok(()),
        }
    }

    async fn roll_forward(&mut self, batch: BatchId, record: Record) -> Result<()> {
        tracing::info!(%batch, "rolling a prepared batch forward");
        commit_all(&self.run.sinks, batch, &record.sinks).await.map_err(|error| error.context(format!("batch {batch}")))?;
        self.reached.committed = Some(batch);
        for (name, entry) in &record.sources {
            if let Some(leaf) = self.run.streams.iter_mut().find(|leaf| leaf.name == *name) {
                leaf.source.commit(batch, &entry.range).await?;
            }
        }
        self.run.engine.crash_points.reach(CrashPoint::AfterRollForward)
    }

    /// The batch has the id, ranges, clock and settings that were recorded, whatever has changed since.
    async fn replay(&mut self, batch: BatchId, record: Record) -> Result<()> {
        tracing::info!(%batch, "running a batch again whose intent was recorded");
        let (mut ranges, mut static_ranges) = (BTreeMap::new(), BTreeMap::new());
        for (name, entry) in record.sources {
            let is_stream = self.run.streams.iter().any(|leaf| leaf.name == name);
            if !is_stream && !self.run.statics.iter().any(|leaf| leaf.name == name) {
                return Err(Error::invalid(format!(
                    "batch {batch} was begun with the table '{name}', which the query does not read any more"
                ))
                .hint("start the query as it was once more, so that the batch can be finished; then change it"));
            }
            if is_stream { &mut ranges } else { &mut static_ranges }.insert(name, entry.range);
        }
        let current = (Arc::clone(&self.run.plan), self.run.sinks.clone());
        let is_other_plan = record.settings != self.run.definition.settings;
        if is_other_plan {
            let (plan, logical) = physical_plan(&self.run.engine, &self.run.definition, &record.settings).await?;
            (self.run.plan, self.run.sinks) = (plan, sinks_of(&self.run.definition, &source_tables(&logical)?)?);
            self.start_side_sinks().await?;
        }
        let recorded = record.watermarks.map(|marks| BatchWatermarks { late_ms: marks.late_ms, current_ms: marks.current_ms });
        let watermarks = recorded.unwrap_or_else(|| self.tracker.of_next_batch());
        let cut = BatchCut {
            batch,
            clock_us: record.clock_us,
            watermarks,
            ranges,
            static_ranges,
            settings: record.settings,
            tables_read: Some(self.run.definition.gates.read().await),
            is_replay: true,
        };
        let trigger = self.begin_trigger();
        let ran = self.run_batch(cut, trigger).await;
        ran.map_err(|error| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => error.context("running a batch again with what it read before"),
        })?;
        if is_other_plan {
            self.settle().await?;
            (self.run.plan, self.run.sinks) = current;
            self.start_side_sinks().await?;
        }
        Ok(())
    }

    /// Those of the sources belong to the plan that reads them.
    async fn start_side_sinks(&mut self) -> Result<()> {
        let ctx = SinkContext { query_id: self.run.shared.id, epoch: self.run.epoch };
        for (_, sink) in self.run.sinks.iter().filter(|(name, _)| *name != MAIN_SINK) {
            sink.start(&ctx, self.reached.committed).await?;
        }
        Ok(())
    }
}
