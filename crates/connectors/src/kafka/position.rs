//! Where a source stands: the offset with which the next batch begins in each partition, and of which topics these offsets are.
//!
//! ```text
//!  {"offsets":{"t":{"0":40}},"topics":{"t":"nQ8x..."}}    in checkpoints: offsets, and the fingerprints of topics
//!  {"t":{"0":40}}                                          the same where none is known, and in progress, as Spark shows it
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use millstream_core::{Position, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprints::{Fingerprint, Fingerprints, Identity};
use super::offsets::Offsets;
use crate::wire;

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KafkaPosition {
    pub(super) offsets: Offsets,
    topics: Fingerprints,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithTopics {
    offsets: Offsets,
    topics: Fingerprints,
}

impl KafkaPosition {
    /// These offsets, of the topics that were told of.
    pub(super) fn new(offsets: Offsets, told: &Fingerprints) -> Self {
        Self::default().moved_to(offsets, told)
    }

    pub(super) fn of(position: &Position) -> Result<Self> {
        // A topic may have this name: then there are numbers.
        let topics = position.0.get("topics").and_then(Value::as_object);
        if topics.is_some_and(|topics| topics.values().any(|topic| topic.is_string() || topic.is_object())) {
            let WithTopics { offsets, topics } = wire::from_value(&position.0, "kafka position")?;
            return Ok(Self { offsets, topics });
        }
        Ok(Self { offsets: wire::from_value(&position.0, "kafka position")?, topics: Fingerprints::new() })
    }

    pub(super) fn to_position(&self) -> Result<Position> {
        if self.topics.is_empty() {
            return self.offsets.to_position();
        }
        let written = WithTopics { offsets: self.offsets.clone(), topics: self.topics.clone() };
        Ok(Position(wire::to_value(&written)?))
    }

    /// Other offsets: of the topics that were told of, or, where nothing was told, of those of this position.
    pub(super) fn moved_to(&self, offsets: Offsets, told: &Fingerprints) -> Self {
        let of = |topic: &str| told.get(topic).or_else(|| self.topics.get(topic)).filter(|known| known.is_known()).cloned();
        let topics = offsets.topics().filter_map(|topic| Some((topic.to_owned(), of(topic)?))).collect();
        Self { offsets, topics }
    }

    /// What tells a topic of this position from others, if anything does.
    pub(super) fn fingerprint(&self, topic: &str) -> Option<&Fingerprint> {
        self.topics.get(topic)
    }

    /// Whether the topic that was told of is the one of this position.
    pub(super) fn identity(&self, topic: &str, told: &Fingerprints) -> Identity {
        self.topics.get(topic).zip(told.get(topic)).map_or(Identity::Unknown, |(known, told)| known.identity(told))
    }

    /// The topics that others of the same name have taken the place of.
    pub(super) fn replaced_topics(&self, told: &Fingerprints) -> BTreeSet<&str> {
        self.topics.keys().map(String::as_str).filter(|topic| self.identity(topic, told) == Identity::Other).collect()
    }
}
