//! When batches begin: the trigger's loop, and what it does while there is nothing to do.

use std::time::Duration;

use futures::future::select_all;
use millstream_core::Result;

use super::{MicroBatchLoop, in_source};
use crate::stream::trigger::{Trigger, until_next_tick};

/// How long an idle loop sleeps at first between two looks at sources that must be asked ...
const IDLE_POLL_MIN: Duration = Duration::from_millis(10);
/// ... and at most: it doubles while nothing comes.
const IDLE_POLL_MAX: Duration = Duration::from_millis(500);
/// An idle loop writes the last fact by itself after this long, so that a restart has nothing to roll forward.
const IDLE_FACT_AFTER: Duration = Duration::from_secs(1);

impl MicroBatchLoop {
    /// Begins batches until a bounded trigger has had its input, or a stop.
    pub(super) async fn drive(&mut self) -> Result<()> {
        let trigger = self.run.definition.trigger;
        if trigger.is_bounded() {
            for leaf in &mut self.run.streams {
                leaf.source.fix_end().await.map_err(in_source(&leaf.name))?;
            }
        }
        let mut idle_poll = IDLE_POLL_MIN;
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
                    idle_poll = IDLE_POLL_MIN;
                    let rest = self.run.definition.commit_interval.saturating_sub(self.since(began));
                    if !rest.is_zero() {
                        self.settle().await?;
                        self.pause(rest).await;
                    }
                }
                Trigger::AsSoonAsPossible => {
                    self.run.shared.set_status("Waiting for data to arrive", false, false);
                    self.idle(idle_poll).await?;
                    idle_poll = (idle_poll * 2).min(IDLE_POLL_MAX);
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
    async fn pause(&mut self, duration: Duration) {
        tokio::select! {
            () = self.run.shared.stop.cancelled() => {}
            () = self.run.shared.wake.notified() => {}
            () = self.run.engine.clock.sleep(duration) => {}
        }
    }

    /// Waits until a source tells of data, or until it is time to ask those that do not tell.
    async fn idle(&mut self, poll: Duration) -> Result<()> {
        let streams = &self.run.streams;
        let wakeups: Vec<_> = streams.iter().filter_map(|leaf| leaf.source.wakeup()).collect();
        let poll = if wakeups.len() == streams.len() { IDLE_POLL_MAX } else { poll };
        let poll = self.until_timeout()?.map_or(poll, |until| until.min(poll));
        if wakeups.is_empty() {
            self.pause(poll).await;
        } else {
            let told = select_all(wakeups.iter().map(|wakeup| Box::pin(wakeup.notified())));
            tokio::select! {
                _ = told => {}
                () = self.pause(poll) => {}
            }
        }
        if self.settled_at.is_some_and(|at| self.since(at) >= IDLE_FACT_AFTER) {
            self.write_fact().await?;
        }
        Ok(())
    }

    fn since(&self, then: Duration) -> Duration {
        self.run.engine.clock.monotonic().saturating_sub(then)
    }
}
