//! Offsets of partitions: the positions of a source, as Spark's progress and options write them,
//! `{"topic":{"0":23,"1":7}}`.

use std::collections::BTreeMap;

use millstream_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

use crate::wire;

/// A number per partition, by topic: offsets, or in options timestamps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Offsets(BTreeMap<String, BTreeMap<i32, i64>>);

impl Offsets {
    pub(super) fn of_position(position: &Position) -> Result<Self> {
        wire::from_value(&position.0, "kafka position")
    }

    pub(super) fn to_position(&self) -> Result<Position> {
        Ok(Position(wire::to_value(self)?))
    }

    /// What an option says; `option` is for the message.
    pub(super) fn of_json(option: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|_| {
            Error::invalid(format!(
                "option '{option}' is '{text}': expected numbers of partitions by topic, such as {{\"topicA\":{{\"0\":23,\"1\":-1}}}}"
            ))
        })
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    pub(super) fn set(&mut self, topic: &str, partition: i32, offset: i64) {
        match self.0.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, offset)),
            None => drop(self.0.insert(topic.to_owned(), BTreeMap::from([(partition, offset)]))),
        }
    }

    /// All of them, by topic and partition.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(|(partition, offset)| (topic.as_str(), *partition, *offset)))
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether both speak of the same partitions.
    pub(super) fn has_same_partitions(&self, other: &Self) -> bool {
        self.iter().map(|(topic, partition, _)| (topic, partition)).eq(other.iter().map(|(topic, partition, _)| (topic, partition)))
    }

    /// `a-0, a-1, b-0`: the partitions as Kafka writes them.
    pub(super) fn partitions_shown(&self) -> String {
        let shown: Vec<String> = self.iter().map(|(topic, partition, _)| format!("{topic}-{partition}")).collect();
        shown.join(", ")
    }
}

impl<'a> FromIterator<(&'a str, i32, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (&'a str, i32, i64)>>(iter: I) -> Self {
        let mut offsets = Self::default();
        for (topic, partition, offset) in iter {
            offsets.set(topic, partition, offset);
        }
        offsets
    }
}
