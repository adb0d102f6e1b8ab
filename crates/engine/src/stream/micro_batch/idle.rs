//! What the loop does under the default trigger while there is nothing to do.
//!
//! Sources that tell of data (memory, sockets) wake it. Those that must be asked are looked at, at once when they say that there may
//! be something (topics that are being fetched), else soon after the last data, then less
//! and less often, in the end at the multiples of [`LOOK_EVERY`] on the clock. So all idle queries of a process look at the
//! same moments, and a hundred of them wake its threads twice a second and not two hundred times. What else is due without
//! data, and nobody waits for to the millisecond, is done at a look, too; a query whose sources all tell of data takes only
//! those looks at which something is due.

use std::time::Duration;

use futures::future::select_all;
use millstream_core::Result;

use super::MicroBatchLoop;

/// How long an idle loop waits at first between two looks at sources that must be asked ...
const POLL_MIN: Duration = Duration::from_millis(10);
/// ... and at most: it doubles while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An idle loop writes the last fact by itself after this long, so that a restart has nothing to roll forward.
const FACT_AFTER: Duration = Duration::from_secs(1);

/// How long to wait until the next look, while nothing comes.
#[derive(Debug)]
pub(super) struct IdlePoll(Duration);

impl Default for IdlePoll {
    fn default() -> Self {
        Self(POLL_MIN)
    }
}

impl IdlePoll {
    fn next(&mut self, now: Duration) -> Duration {
        let poll = self.0;
        self.0 = (poll * 2).min(LOOK_EVERY);
        if poll < LOOK_EVERY { poll } else { until_look(now, Duration::ZERO) }
    }
}

impl MicroBatchLoop {
    /// Waits until a source tells of data, or until it is time to ask those that do not tell, or until something is due.
    pub(super) async fn idle(&mut self, poll: &mut IdlePoll) -> Result<()> {
        let now = self.run.engine.clock.monotonic();
        let streams = &self.run.streams;
        let wakeups: Vec<_> = streams.iter().filter_map(|leaf| leaf.source.wakeup()).collect();
        let wait = if wakeups.len() == streams.len() { until_look(now, self.until_due(now)) } else { poll.next(now) };
        let wait = match self.until_timeout() {
            // At the next look at the latest: the clock of timeouts may be set while the loop waits.
            Some(until) => wait.min(until).min(until_look(now, Duration::ZERO)),
            None => wait,
        };
        let nudges = streams.iter().filter_map(|leaf| leaf.source.nudge());
        let told: Vec<_> = wakeups.into_iter().chain(nudges).collect();
        if told.is_empty() {
            self.pause(wait).await;
        } else {
            let told = select_all(told.iter().map(|told| Box::pin(told.notified())));
            tokio::select! {
                _ = told => {}
                () = self.pause(wait) => {}
            }
        }
        // The rate of input is of the time since the last look; one that was not worth taking counts as taken.
        let looked_at = self.run.engine.clock.monotonic().saturating_sub(LOOK_EVERY);
        self.last_trigger_at = self.last_trigger_at.map(|at| at.max(looked_at));
        if self.settled_at.is_some_and(|at| self.since(at) >= FACT_AFTER) {
            self.write_fact().await?;
        }
        Ok(())
    }

    /// How long until there is something to do though no source has data: to tell of idleness, to write the last fact, to find
    /// that a source is silent for too long.
    fn until_due(&self, now: Duration) -> Duration {
        let until = |from: Duration, after: Duration| from.saturating_add(after).saturating_sub(now);
        let told = until(self.told_at.unwrap_or(now), self.run.definition.idle_event_interval);
        let owes_fact = self.reached.committed != self.reached.committed_recorded;
        let fact = self.settled_at.filter(|_| owes_fact).map(|at| until(at, FACT_AFTER));
        [fact, self.tracker.until_silent(now)].into_iter().flatten().fold(told, Duration::min)
    }
}

/// How long until the first look that is `after` away or more; never nothing.
fn until_look(now: Duration, after: Duration) -> Duration {
    let every_us = LOOK_EVERY.as_micros();
    let at_us = now.saturating_add(after).as_micros().max(now.as_micros() + 1).next_multiple_of(every_us);
    Duration::from_micros(u64::try_from(at_us - now.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
