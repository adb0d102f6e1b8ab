//! What the next batch reads: partitions, their ends, gaps, limits.
//!
//! ```text
//!  plan       partitions (looked for every metadataInterval) ── ends now ── gaps? ── admission ── the same topics? ──► range
//!  range      start, end; detail: where partitions begin that `start` does not know, or that lost records; the gaps
//! ```
//! A partition that is not in the position is new, and begins with its first record. The range holds all that is needed to
//! read it again; the cluster is not asked a second time.

use std::collections::BTreeSet;

use millstream_core::{Admission, Position, Result, SourceRange};
use serde::{Deserialize, Serialize};

use super::doubts::LOOK_PAUSE;
use super::identity::Confirmed;
use super::places::each;
use super::{KafkaSource, Run, before_start};
use crate::kafka::admission::{Available, share_out, total};
use crate::kafka::cluster::Edge;
use crate::kafka::fingerprints::Identity;
use crate::kafka::loss::{Cause, Gap, gap_of};
use crate::kafka::named_offsets;
use crate::kafka::offsets::Offsets;
use crate::kafka::options::Place;
use crate::kafka::position::KafkaPosition;
use crate::kafka::split::RECORD_BYTES_GUESS;
use crate::wire;

/// See [`SourceRange::detail`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Detail {
    /// Where partitions begin, if not where the last batch ended.
    #[serde(default, skip_serializing_if = "Offsets::is_empty")]
    begin: Offsets,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gaps: Vec<Gap>,
}

impl KafkaSource {
    /// The range of the next batch behind `from`; `None`: there is nothing new, or too little yet.
    pub(super) async fn plan_batch(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        let known = KafkaPosition::of(from)?;
        let mut n_looks = 0;
        loop {
            let Some((taken, detail, topics)) = self.take(&known, admission).await? else { return Ok(None) };
            match self.confirm(topics).await? {
                Confirmed::Yes => return self.range(from, &known, taken, detail).map(Some),
                Confirmed::Changed => {}
                Confirmed::Untold(topic) if self.has_later_batch()? => {
                    tracing::warn!(topic, "kafka lists a topic and does not say which one it is: nothing is read meanwhile");
                    return Ok(None);
                }
                Confirmed::Untold(topic) => self.pause_before_look(&topic, &mut n_looks).await?,
            }
        }
    }

    /// What a batch behind `known` takes: where it ends, with what else its range has, and the topics that have anything to be read or told.
    async fn take(&mut self, known: &KafkaPosition, admission: &Admission) -> Result<Option<(Offsets, Detail, BTreeSet<String>)>> {
        self.run()?.gaps.clear();
        self.look_for_partitions().await?;
        let (replaced, start, ends) = loop {
            let replaced = known.replaced_topics(&self.run()?.topics);
            let start: Offsets = known.offsets.iter().filter(|(topic, _, _)| !replaced.contains(topic)).collect();
            let ends = self.ends_for(&start).await?;
            // It may have looked for topics again.
            if known.replaced_topics(&self.run()?.topics) == replaced {
                break (replaced, start, ends);
            }
        };
        if ends == start && replaced.is_empty() {
            if let Some((consumers, _)) = &self.consumers {
                consumers.listen();
            }
            return Ok(None);
        }
        let (available, detail) = self.available(known, &replaced, &start, &ends).await?;
        let n_available = total(&available);
        if detail.gaps.is_empty() && (n_available == 0 || self.holds_back(n_available, admission)?) {
            return Ok(None);
        }
        let with_news = available.iter().filter(|one| one.len() > 0).map(|one| one.topic.as_str());
        let with_gaps = detail.gaps.iter().filter(|gap| gap.available.is_some()).map(|gap| gap.topic.as_str());
        let topics = with_news.chain(with_gaps).map(str::to_owned).collect();
        Ok(Some((share_out(&available, self.limit(admission)), detail, topics)))
    }

    /// The range that a batch takes, which is all of the topics that were told of.
    fn range(&mut self, from: &Position, known: &KafkaPosition, taken: Offsets, detail: Detail) -> Result<SourceRange> {
        if let Some(gap) = detail.gaps.first().filter(|_| self.options.fails_on_data_loss) {
            return Err(gap.error());
        }
        let run = self.run()?;
        // A new partition that never had a record is not known until it has some: it would begin at 0 all the same.
        let is_known = |topic: &str, partition: i32| known.offsets.get(topic, partition).is_some();
        let end: Offsets = taken.iter().filter(|(topic, partition, end)| is_known(topic, *partition) || *end > 0).collect();
        let begin = detail.begin.iter().filter(|(topic, partition, _)| end.get(topic, *partition).is_some()).collect();
        let detail = Detail { begin, ..detail };
        let detail = if detail == Detail::default() { serde_json::Value::Null } else { wire::to_value(&detail)? };
        let end = known.moved_to(end, &run.topics).to_position()?;
        run.confirmed = Some(end.clone());
        Ok(SourceRange { start: from.clone(), end, detail })
    }

    /// Where a batch behind `start` may end; none of a partition that is gone. Of one that may come back a live stream reads nothing
    /// meanwhile; where there is no later batch it is waited for.
    async fn ends_for(&mut self, start: &Offsets) -> Result<Offsets> {
        loop {
            let asked_at = self.clock.monotonic();
            let mut ends = self.ends_told(start).await?;
            let may_come_back = self.may_come_back(start, &ends, asked_at)?;
            if may_come_back.is_empty() || self.has_later_batch()? {
                may_come_back.iter().for_each(|(topic, partition, offset)| ends.set(topic, partition, offset));
                return Ok(ends);
            }
            self.clock.sleep(LOOK_PAUSE).await;
        }
    }

    async fn ends_told(&mut self, start: &Offsets) -> Result<Offsets> {
        let fails = self.options.fails_on_data_loss;
        let mut ends = self.look_at_ends().await?;
        if self.is_streaming {
            let has_later_batch = self.has_later_batch()?;
            let run = self.run()?;
            if has_later_batch {
                run.keep_silent(start, &mut ends);
            }
            run.wait_for_transactions(start, &mut ends).await?;
            return Ok(ends);
        }
        let end = self.options.end.clone();
        ends = self.resolve(&end, "ending", true).await?;
        if let Place::Offsets(_) = end {
            ends = named_offsets::ending(ends, start, &self.run()?.cluster, fails).await?;
        }
        Ok(ends)
    }

    /// Whether what this batch leaves out is read by another.
    fn has_later_batch(&mut self) -> Result<bool> {
        Ok(self.is_streaming && self.run()?.fixed_end.is_none())
    }

    /// Finds the partitions that there are now.
    pub(super) async fn look_for_partitions(&mut self) -> Result<()> {
        let now = self.clock.monotonic();
        let interval = self.options.metadata_interval;
        let subscription = self.options.subscription.clone();
        let run = self.run()?;
        let is_due = run.looked_at.is_none_or(|at| now.saturating_sub(at) >= interval);
        if is_due {
            let found = run.cluster.partitions(&subscription).await?;
            let told = run.cluster.fingerprints(found.keys().cloned().collect()).await?;
            run.topics.retain(|topic, _| told.contains_key(topic));
            run.know(told);
            run.partitions = found;
            run.looked_at = Some(now);
        }
        Ok(())
    }

    /// Where each partition ends that there is; none of a partition that is gone. A live stream does without those that the cluster does
    /// not tell at once: it asks again for the next batch.
    async fn look_at_ends(&mut self) -> Result<Offsets> {
        self.look_for_partitions().await?;
        let mut ends = self.ask_for_edges(Edge::Latest, None).await?;
        let run = self.run()?;
        let n_known: usize = run.partitions.values().map(Vec::len).sum();
        if ends.len() < n_known {
            // Some went away since they were looked for.
            run.looked_at = None;
            self.look_for_partitions().await?;
            ends = self.ask_for_edges(Edge::Latest, None).await?;
        }
        let run = self.run()?;
        run.latest = ends.clone();
        if let Some(known) = &mut run.fixed_end {
            let replaced = known.replaced_topics(&run.topics);
            let mut fixed: Offsets = known.offsets.iter().filter(|(topic, _, _)| !replaced.contains(topic)).collect();
            // Those of the position that were not listed when the end was fixed, or are of another topic now, have theirs from here on.
            for (topic, partition, _) in run.read.iter() {
                if let (None, Some(end)) = (fixed.get(topic, partition), ends.get(topic, partition)) {
                    fixed.set(topic, partition, end);
                }
            }
            ends =
                ends.iter().filter_map(|(topic, partition, end)| Some((topic, partition, end.min(fixed.get(topic, partition)?)))).collect();
            *known = known.moved_to(fixed, &run.topics);
        }
        Ok(ends)
    }

    /// An edge of these partitions, or of all that were found. Where there is no later batch to read what is left out, the answer is awaited.
    async fn ask_for_edges(&mut self, edge: Edge, partitions: Option<Vec<(&str, i32)>>) -> Result<Offsets> {
        let has_later_batch = self.has_later_batch()?;
        let run = self.run()?;
        let partitions = partitions.unwrap_or_else(|| each(&run.partitions).collect()).into_iter();
        if has_later_batch { run.cluster.edges_told(partitions, edge).await } else { run.cluster.edges(partitions, edge).await }
    }

    /// What there is to read behind `start`, up to `ends`, and what is missing of it. `start` is `known` without the `replaced` topics, which
    /// are new ones.
    async fn available(
        &mut self,
        known: &KafkaPosition,
        replaced: &BTreeSet<&str>,
        start: &Offsets,
        ends: &Offsets,
    ) -> Result<(Vec<Available>, Detail)> {
        let (interval, now) = (self.options.metadata_interval, self.clock.monotonic());
        let run = self.run()?;
        // What retention takes between two looks is missed by the reader, which tells of it in the same way.
        let is_old = run.first_at.is_none_or(|at| now.saturating_sub(at) >= interval);
        let must_ask = |topic: &str, partition: i32, end: i64| match start.get(topic, partition) {
            // It is another topic than the one that is remembered.
            Some(known) if run.latest.get(topic, partition).is_some_and(|past| known > past) => true,
            Some(known) => known != end && (is_old || run.first.get(topic, partition).is_none()),
            // It may be of another topic of the same name than the one that is remembered.
            None => true,
        };
        let asked = ends.iter().filter(|(topic, partition, end)| must_ask(topic, *partition, *end));
        let asked: Vec<(&str, i32)> = asked.map(|(topic, partition, _)| (topic, partition)).collect();
        let n_asked = asked.len();
        let answered = self.ask_for_edges(Edge::Earliest, Some(asked)).await?;
        let Self { options, run, .. } = self;
        let run = run.as_mut().ok_or_else(before_start)?;
        // What is not told is not taken from an earlier answer, either.
        if is_old || answered.len() < n_asked {
            (run.first, run.first_at) = (answered, Some(now));
        } else {
            answered.iter().for_each(|(topic, partition, first)| run.first.set(topic, partition, first));
        }
        let first = &run.first;
        let mut detail = Detail::default();
        let of_replaced = |(topic, _, _): &(&str, i32, i64)| !replaced.is_empty() && replaced.contains(topic);
        for (topic, partition, wanted) in known.offsets.iter().filter(of_replaced) {
            let available = first.get(topic, partition).zip(run.latest.get(topic, partition));
            detail.gaps.push(Gap { topic: topic.to_owned(), partition, wanted, available, n_missing: 0, cause: Cause::Recreated });
        }
        let mut available = Vec::with_capacity(ends.len());
        for (topic, partition, end) in ends.iter() {
            let stands = start.get(topic, partition);
            if stands == Some(end) && run.latest.get(topic, partition).is_none() {
                // Where it ends is not told: the next batch looks again.
                available.push(Available { topic: topic.to_owned(), partition, begin: end, end });
                continue;
            }
            // The end that is there, not the one that was fixed for this run.
            let past = run.latest.get(topic, partition).unwrap_or(end);
            let first = match (first.get(topic, partition), stands) {
                (Some(first), _) => first,
                (None, Some(stands)) if stands <= past => stands,
                // A new one, or one whose log was cut off, whose beginning is not told: the next batch looks again.
                (None, Some(stands)) => {
                    available.push(Available { topic: topic.to_owned(), partition, begin: stands, end: stands });
                    continue;
                }
                (None, None) => continue,
            };
            // It matters only where the log is shorter.
            let identity = if stands > Some(past) { known.identity(topic, &run.topics) } else { Identity::Unknown };
            let (begin, gap) = match stands {
                Some(wanted) => match gap_of((topic, partition), (wanted, wanted), (first, past), identity) {
                    // What is left was read.
                    Some(gap) if gap.cause == Cause::Truncated => (past.min(end), Some(gap)),
                    // It goes on with the first record that is left. Of a topic that may have been made again all are new.
                    Some(gap) => (first.min(end), Some(gap)),
                    None => (wanted, None),
                },
                None if first > 0 && !known.offsets.is_empty() && !replaced.contains(topic) => {
                    let (topic, n_missing) = (topic.to_owned(), u64::try_from(first).unwrap_or(0));
                    (first, Some(Gap { topic, partition, wanted: 0, available: Some((first, past)), n_missing, cause: Cause::BeganLate }))
                }
                None => (first, None),
            };
            if stands != Some(begin) {
                detail.begin.set(topic, partition, begin);
            }
            detail.gaps.extend(gap);
            available.push(Available { topic: topic.to_owned(), partition, begin, end: end.max(begin) });
        }
        for (topic, partition, wanted) in start.iter().filter(|(topic, partition, _)| ends.get(topic, *partition).is_none()) {
            let cause = if options.subscription.includes(topic, partition) { Cause::Deleted } else { Cause::Unsubscribed };
            detail.gaps.push(Gap { topic: topic.to_owned(), partition, wanted, available: None, n_missing: 0, cause });
        }
        Ok((available, detail))
    }

    /// Whether too little is there for a batch, and it is not yet time to take it all the same.
    fn holds_back(&mut self, n_available: u64, admission: &Admission) -> Result<bool> {
        let now_ms = self.clock.now_proc_ms();
        let (min, delay) = (self.options.min_offsets, self.options.max_trigger_delay);
        let run = self.run()?;
        let Some(min) = min.filter(|_| !admission.ignore_limits && run.fixed_end.is_none()) else { return Ok(false) };
        let waited_ms = run.last_taken_proc_ms.map_or(i64::MAX, |taken| now_ms.saturating_sub(taken));
        Ok(n_available < min && waited_ms < i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }

    fn limit(&self, admission: &Admission) -> u64 {
        if admission.ignore_limits {
            return u64::MAX;
        }
        let by_bytes = admission.bytes_max.map_or(u64::MAX, |bytes| (bytes / RECORD_BYTES_GUESS).max(1));
        [self.options.max_offsets, admission.records_max].into_iter().flatten().min().unwrap_or(u64::MAX).min(by_bytes)
    }
}

impl Run {
    pub(super) fn lost(&mut self, gaps: Vec<Gap>) {
        for gap in &gaps {
            tracing::error!(?gap, "records were lost before they were read");
        }
        self.n_missing += gaps.iter().map(|gap| gap.n_missing).sum::<u64>();
        self.gaps.extend(gaps);
    }

    /// Partitions that the cluster lists and whose end it does not tell, as while their leader moves, are not gone: they are read later.
    fn keep_silent(&mut self, start: &Offsets, ends: &mut Offsets) {
        for (topic, partition, offset) in start.iter() {
            let is_listed = self.partitions.get(topic).is_some_and(|known| known.contains(&partition));
            if is_listed && ends.get(topic, partition).is_none() {
                ends.set(topic, partition, offset);
            }
        }
    }

    /// A partition whose position is beyond the end that readers see has lost nothing if its records go as far: they are of transactions
    /// that are open, and whoever decided the position has read them. It stands there until the end has passed it.
    async fn wait_for_transactions(&mut self, start: &Offsets, ends: &mut Offsets) -> Result<()> {
        let written = self.high_watermarks.of_those_beyond(start, &self.latest).await?;
        for (topic, partition, wanted) in start.iter() {
            if written.get(topic, partition).is_some_and(|end| wanted <= end) {
                ends.set(topic, partition, wanted);
                self.latest.set(topic, partition, wanted);
            }
        }
        Ok(())
    }
}

/// What a range reads of each partition.
pub(super) fn pieces_of(range: &SourceRange) -> Result<Vec<Available>> {
    let (start, end) = (KafkaPosition::of(&range.start)?.offsets, KafkaPosition::of(&range.end)?.offsets);
    let detail = detail_of(range)?;
    let piece = |(topic, partition, end): (&str, i32, i64)| {
        let begin = detail.begin.get(topic, partition).or_else(|| start.get(topic, partition)).unwrap_or(end);
        Available { topic: topic.to_owned(), partition, begin, end }
    };
    Ok(end.iter().map(piece).collect())
}

pub(super) fn detail_of(range: &SourceRange) -> Result<Detail> {
    if range.detail.is_null() { Ok(Detail::default()) } else { wire::from_value(&range.detail, "kafka range") }
}
