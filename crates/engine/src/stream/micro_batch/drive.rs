//! When batches begin: the trigger's loop.

use std::time::Duration;

use millstream_core::Result;

use super::idle::IdlePoll;
use super::{MicroBatchLoop, in_source};
use crate::stream::trigger::{Trigger, until_next_tick};

impl MicroBatchLoop {
    /// Begins batches until a bounded trigger has had its input, or a stop.
    pub(super) async fn drive(&mut self) -> Result<()> {
        let trigger = self.run.definition.trigger;
        if trigger.is_bounded() {
            for leaf in &mut self.run.streams {
                leaf.source.fix_end().await.map_err(in_source(&leaf.name))?;
            }
        }
        let mut idle_poll = IdlePoll::default();
        while !self.run.shared.stop.is_cancelled() {
            let ticket = *self.run.shared.drain.borrow();
            let began = self.run.engine.clock.monotonic();
            let ran = self.next_batch().await?;
            if !ran {
                self.run.shared.drained.send_if_modified(|done| std::mem::replace(done, ticket) != ticket);
            }
            match trigger {
                Trigger::Once => break,
                Trigger::AvailableNow if !ran => {
                    self.flush().await?;
                    break;
                }
                Trigger::AvailableNow => {}
                Trigger::ProcessingTime(interval) => {
                    self.settle().await?;
                    self.run.shared.set_status("Waiting for next trigger", false, false);
                    if self.since(began) < interval {
                        self.pause(until_next_tick(self.run.engine.clock.now_proc_ms(), interval)).await;
                    }
                }
                Trigger::AsSoonAsPossible if ran => {
                    idle_poll = IdlePoll::default();
                    let rest = self.run.definition.commit_interval.saturating_sub(self.since(began));
                    if !rest.is_zero() {
                        self.settle().await?;
                        self.pause(rest).await;
                    }
                }
                Trigger::AsSoonAsPossible => {
                    self.run.shared.set_status("Waiting for data to arrive", false, false);
                    self.idle(&mut idle_poll).await?;
                }
            }
        }
        self.settle().await
    }

    /// Cuts the next batch and runs it; `false` if there is nothing new and all is committed.
    async fn next_batch(&mut self) -> Result<bool> {
        let mut trigger = self.begin_trigger();
        match self.cut_next(&mut trigger).await? {
            Some(cut) => {
                match cut.ranges.is_empty() {
                    false => self.run.shared.set_status("Processing new data", true, true),
                    true => self.run.shared.set_status("No new data but cleaning up state", false, true),
                }
                self.run_batch(cut, trigger).await?;
                Ok(true)
            }
            None => {
                self.settle().await?;
                self.report_idle_trigger(trigger);
                Ok(false)
            }
        }
    }

    /// The input has ended. If it is to be flushed, a last batch makes everything final, once in the life of a checkpoint.
    async fn flush(&mut self) -> Result<()> {
        let run = &self.run;
        if !run.definition.flushes || self.tracker.is_flushed() || run.shared.stop.is_cancelled() {
            return Ok(());
        }
        run.shared.set_status("No more data: flushing", false, true);
        let trigger = self.begin_trigger();
        let cut = self.cut_flush().await?;
        self.run_batch(cut, trigger).await
    }

    /// Sleeps for `duration`, or until a stop or a request to process all.
    pub(super) async fn pause(&mut self, duration: Duration) {
        tokio::select! {
            () = self.run.shared.stop.cancelled() => {}
            () = self.run.shared.wake.notified() => {}
            () = self.run.engine.clock.sleep(duration) => {}
        }
    }

    pub(super) fn since(&self, then: Duration) -> Duration {
        self.run.engine.clock.monotonic().saturating_sub(then)
    }
}
