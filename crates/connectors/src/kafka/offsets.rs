//! Offsets of partitions: the positions of a source, as Spark's progress and options write them,
//! `{"topic":{"0":23,"1":7}}`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use millstream_core::{Error, Position, Result};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::wire;

/// A number per partition, by topic: offsets, or in options timestamps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Offsets(BTreeMap<String, BTreeMap<i32, i64>>);

impl Offsets {
    pub(super) fn to_position(&self) -> Result<Position> {
        Ok(Position(wire::to_value(self)?))
    }

    /// What an option says; `option` and `words`, those that it takes as well, are for the message.
    pub(super) fn of_json(option: &str, words: &str, text: &str) -> Result<Self> {
        let topics: Entries<String, Entries<i32, i64>> = serde_json::from_str(text).map_err(|_| {
            Error::invalid(format!(
                "option '{option}' is '{text}': expected {words}numbers of partitions by topic, such as {{\"topicA\":{{\"0\":23,\"1\":-1}}}}"
            ))
        })?;
        let twice = |what: String| Error::invalid(format!("option '{option}' names {what} twice"));
        let mut offsets = Self::default();
        for (topic, partitions) in topics.0 {
            let mut by_partition = BTreeMap::new();
            for (partition, offset) in partitions.0 {
                if by_partition.insert(partition, offset).is_some() {
                    return Err(twice(format!("partition {topic}-{partition}")));
                }
            }
            if offsets.0.contains_key(&topic) {
                return Err(twice(format!("topic '{topic}'")));
            }
            offsets.0.insert(topic, by_partition);
        }
        Ok(offsets)
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

    /// Forgets all partitions of a topic.
    pub(super) fn remove_topic(&mut self, topic: &str) {
        self.0.remove(topic);
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The partitions of a topic.
    pub(super) fn of_topic(&self, topic: &str) -> Vec<i32> {
        self.0.get(topic).map(|partitions| partitions.keys().copied().collect()).unwrap_or_default()
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

/// A JSON object as it is written: a map would keep the last of what is named twice, and say nothing.
pub(super) struct Entries<K, V>(pub(super) Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, V> {
    type Value = Entries<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
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
