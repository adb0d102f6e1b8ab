//! Partitions of the position that are not there: gone, or not listed for a moment, as by brokers that come back.
//!
//! A live stream reads the others meanwhile. Where there is no later batch, as in an available-now run, the answer is awaited.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_core::Result;

use super::{KafkaSource, before_start};
use crate::kafka::offsets::Offsets;
use crate::kafka::reading::GONE_AFTER;

/// Between two looks where the answer is awaited.
pub(in crate::kafka) const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Since when each partition is missing, by the source's clock.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<(String, i32), Duration>);

impl Doubts {
    /// Takes in that of all partitions these, and only these, are missing `now`, as was asked at `asked_at`. Those are left that have not
    /// been missing for long enough to be gone. Time in which an answer was waited for does not count: nobody said anything.
    fn left_of(&mut self, missing: &Offsets, asked_at: Duration, now: Duration) -> Offsets {
        self.0.retain(|(topic, partition), _| missing.get(topic, *partition).is_some());
        let waited = now.saturating_sub(asked_at);
        self.0.values_mut().for_each(|since| *since = since.saturating_add(waited));
        let mut is_open = |(topic, partition, _): &(&str, i32, i64)| {
            let since = self.0.entry(((*topic).to_owned(), *partition)).or_insert_with(|| {
                tracing::warn!(topic, partition, "kafka does not list a partition that is read: it is looked for again");
                now
            });
            now.saturating_sub(*since) < GONE_AFTER
        };
        missing.iter().filter(|one| is_open(one)).collect()
    }
}

impl KafkaSource {
    /// The partitions of `start` that are subscribed to, have no end in what was asked at `asked_at`, and are not yet believed gone; with
    /// where they stand.
    pub(super) fn may_come_back(&mut self, start: &Offsets, ends: &Offsets, asked_at: Duration) -> Result<Offsets> {
        let now = self.clock.monotonic();
        let subscription = &self.options.subscription;
        let is_missing = |topic: &str, partition: i32| ends.get(topic, partition).is_none() && subscription.includes(topic, partition);
        let missing: Offsets = start.iter().filter(|(topic, partition, _)| is_missing(topic, *partition)).collect();
        let run = self.run.as_mut().ok_or_else(before_start)?;
        if !missing.is_empty() {
            // Only what is looked at again says more.
            run.looked_at = None;
        }
        Ok(run.doubts.left_of(&missing, asked_at, now))
    }
}
