//! Whether topics are still those that the position is of. Offsets of a topic that was made again say nothing of it: it is read from its
//! first record, and its records come neither as those of the old one nor twice.
//!
//! ```text
//!  fingerprints (looked at every metadataInterval) ── ends, beginnings ── the same of topics with news ──► the range, with them
//! ```
//! They never come back: what was asked between two equal answers is of that topic. A task asks once more when it has read.

use std::collections::BTreeSet;

use millstream_core::{Error, Result, SourceRange};

use super::doubts::LOOK_PAUSE;
use super::planning::pieces_of;
use super::{KafkaSource, Run};
use crate::kafka::admission::Available;
use crate::kafka::fingerprints::{Fingerprints, Identity};
use crate::kafka::loss::{Gap, replaced};
use crate::kafka::position::KafkaPosition;

/// What asking once more has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// All is of the topics that were told before.
    Yes,
    /// A topic is another one than before: what was asked must be asked again.
    Changed,
    /// This topic is not told of, as one that is being deleted.
    Untold(String),
}

/// So often a topic is asked for that the cluster lists and does not tell of, where that must be known; with a [`LOOK_PAUSE`] between.
const LOOKS_MAX: u32 = 120;

impl KafkaSource {
    /// Asks once more which topics these are.
    pub(super) async fn confirm(&mut self, topics: BTreeSet<String>) -> Result<Confirmed> {
        let run = self.run()?;
        let told = run.cluster.fingerprints(topics.iter().cloned().collect()).await?;
        if told.len() == topics.len() && told.iter().all(|(topic, now)| run.topics.get(topic) == Some(now)) {
            return Ok(Confirmed::Yes);
        }
        let untold = topics.iter().find(|topic| !told.contains_key(*topic)).cloned();
        let is_changed = told.iter().any(|(topic, now)| run.topics.get(topic) != Some(now));
        run.topics.retain(|topic, _| told.contains_key(topic) || !topics.contains(topic));
        run.know(told);
        // It may have other partitions.
        run.looked_at = None;
        Ok(untold.filter(|_| !is_changed).map_or(Confirmed::Changed, Confirmed::Untold))
    }

    /// Before topics are asked for again, one of which is not told of; `n_looks`: so often that was.
    pub(super) async fn pause_before_look(&mut self, topic: &str, n_looks: &mut u32) -> Result<()> {
        *n_looks = n_looks.saturating_add(1);
        if *n_looks > LOOKS_MAX {
            return Err(Error::unavailable(format!("the cluster lists topic '{topic}', and does not say which one it is")));
        }
        tracing::warn!(topic, "kafka lists a topic and does not say which one it is: it is asked again");
        self.clock.sleep(LOOK_PAUSE).await;
        Ok(())
    }

    /// What a range reads of each partition; nothing of topics that were made again since it was planned. That is asked where a range is
    /// read that an earlier run planned, or long ago.
    pub(super) async fn pieces_that_are_left(&mut self, range: &SourceRange) -> Result<Vec<Available>> {
        let mut pieces = pieces_of(range)?;
        if self.run()?.confirmed.as_ref() == Some(&range.end) {
            return Ok(pieces);
        }
        let end = KafkaPosition::of(&range.end)?;
        let topics: Vec<String> = end.offsets.topics().filter(|topic| end.fingerprint(topic).is_some()).map(str::to_owned).collect();
        let fails = self.options.fails_on_data_loss;
        let run = self.run()?;
        let told = run.cluster.fingerprints(topics).await?;
        let is_lost = |piece: &Available| piece.len() > 0 && end.identity(&piece.topic, &told) == Identity::Other;
        let gaps: Vec<Gap> = pieces.iter().filter(|piece| is_lost(piece)).map(|lost| replaced(&lost.piece())).collect();
        if let Some(gap) = gaps.first().filter(|_| fails) {
            return Err(gap.error());
        }
        pieces.retain(|piece| !is_lost(piece));
        run.lost(gaps);
        Ok(pieces)
    }
}

impl Run {
    /// Takes in what was told of topics. What is remembered of one that may be another now is forgotten.
    pub(super) fn know(&mut self, told: Fingerprints) {
        for (topic, now) in told {
            if self.topics.get(&topic) != Some(&now) {
                self.first.remove_topic(&topic);
                self.latest.remove_topic(&topic);
                self.topics.insert(topic, now);
            }
        }
    }
}
