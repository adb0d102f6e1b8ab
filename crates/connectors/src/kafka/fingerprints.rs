//! What tells a topic from another one that has its name, as after a topic was deleted and made again.
//!
//! That is its id ([KIP-516](https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers)). Brokers before Kafka 2.8 give
//! topics none, nor do some others that speak Kafka's protocol. There the leader epochs of partitions say less: they grow with every change
//! of a leader, so a partition with a lower one is of another topic.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_core::{Error, ErrorKind, Result};
use millstream_rdkafka_ext::{TopicIdResult, leader_epochs, topic_ids};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::ClientNews;
use super::cluster::{Edge, edges_of, named};
use super::error::{does_not_exist, failed, of_code};

/// A broker that does not answer within this time may be gone. Then another one is asked, which has twice the time.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The id of a topic; as text as Kafka's tools show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId(Uuid);

/// See the [module](self). As JSON it is a text, or an object of epochs by partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Fingerprint {
    Id(TopicId),
    /// As far as they were told; of other partitions nothing is known.
    LeaderEpochs(BTreeMap<i32, i32>),
}

/// What two fingerprints of topics of one name say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// They are one.
    Same,
    Other,
    Unknown,
}

/// By topic. A topic of which nothing is known is not there.
pub(super) type Fingerprints = BTreeMap<String, Fingerprint>;

impl Fingerprint {
    /// Whether `now`, which was told later, is of the same topic.
    pub(super) fn identity(&self, now: &Self) -> Identity {
        match (self, now) {
            (Self::Id(known), Self::Id(now)) if known == now => Identity::Same,
            (Self::Id(_), Self::Id(_)) => Identity::Other,
            (Self::LeaderEpochs(known), Self::LeaderEpochs(now)) => {
                let is_lower = |(partition, known): (&i32, &i32)| now.get(partition).is_some_and(|now| now < known);
                if known.iter().any(is_lower) { Identity::Other } else { Identity::Unknown }
            }
            _ => Identity::Unknown,
        }
    }

    /// Whether it tells anything.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::LeaderEpochs(epochs) if epochs.is_empty())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Value::deserialize(deserializer)? {
            Value::String(id) => id.parse().map(Self::Id).map_err(serde::de::Error::custom),
            epochs => serde_json::from_value(epochs).map(Self::LeaderEpochs),
        };
        read.map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
        bytes.map(Self).ok_or_else(|| Error::data(format!("'{text}' is no id of a topic")))
    }
}

impl Serialize for TopicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Asks the brokers for the fingerprints of topics; those that do not exist are left out. Blocks, for `within` at most.
pub(super) fn ask_fingerprints(consumer: &BaseConsumer<ClientNews>, topics: &[&str], within: Duration) -> Result<Fingerprints> {
    let Some(first) = topics.first() else { return Ok(Fingerprints::new()) };
    let (news, begun) = (consumer.context(), Instant::now());
    let mut patience = ANSWER_WITHIN;
    let described = loop {
        let rest = within.saturating_sub(begun.elapsed());
        let described = describe(consumer, topics, first, patience.min(rest));
        match described {
            Err(error) if error.kind() == ErrorKind::Unavailable && rest > patience => {
                // Errors of the client as a whole are among the events of its common queue.
                drop(consumer.poll(Duration::ZERO));
                if let Some(lasting) = news.lasting_trouble() {
                    return Err(lasting);
                }
                tracing::debug!(%error, "another broker is asked for the ids of topics");
                patience = patience.saturating_mul(2);
            }
            described => break described?,
        }
    };
    let (mut told, mut without_id) = (Fingerprints::new(), Vec::new());
    for (topic, id) in described {
        match id {
            Ok(Some(id)) => drop(told.insert(topic, Fingerprint::Id(TopicId(id)))),
            Ok(None) => without_id.push(topic),
            Err(code) if does_not_exist(code) => {}
            Err(code) => return Err(of_code(code, format!("the id of topic '{topic}' cannot be asked for: {code}"))),
        }
    }
    if !without_id.is_empty() {
        told.extend(ask_leader_epochs(consumer, &without_id, within)?);
    }
    Ok(told)
}

/// Asks one broker; the same as the last time, if that told of every topic: a broker may not have heard of one yet.
fn describe(consumer: &BaseConsumer<ClientNews>, topics: &[&str], first: &str, within: Duration) -> Result<Vec<(String, TopicIdResult)>> {
    let news = consumer.context();
    let broker = match news.any_broker() {
        Some(broker) => broker,
        None => broker_to_ask(consumer, first, within)?,
    };
    let described = topic_ids(consumer.client(), broker, topics, within);
    let tells_all = described.as_ref().is_ok_and(|described| described.iter().all(|(_, id)| id.is_ok()));
    news.set_any_broker(tells_all.then_some(broker));
    described.map_err(failed("the ids of topics cannot be asked for"))
}

/// A broker that is there; best the one that is asked for the metadata of `topic`, and answers.
fn broker_to_ask(consumer: &BaseConsumer<ClientNews>, topic: &str, within: Duration) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), within).map_err(failed("topics cannot be listed"))?;
    let brokers = || metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id);
    // It may not say who it is.
    let answered = brokers().find(|broker| *broker == metadata.orig_broker_id());
    answered.or_else(|| brokers().next()).ok_or_else(|| Error::unavailable("the cluster names no broker"))
}

fn ask_leader_epochs(consumer: &BaseConsumer<ClientNews>, topics: &[String], within: Duration) -> Result<Fingerprints> {
    let partitions = named(consumer, topics)?;
    let mut told: Fingerprints = partitions.keys().map(|topic| (topic.clone(), Fingerprint::LeaderEpochs(BTreeMap::new()))).collect();
    if told.is_empty() {
        return Ok(told);
    }
    let asked =
        edges_of(partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (topic.as_str(), *number))), Edge::Latest)?;
    let answered = consumer.offsets_for_times(asked, within).map_err(failed("leader epochs cannot be asked for"))?;
    for (element, epoch) in answered.elements().iter().zip(leader_epochs(&answered)) {
        if let (Ok(()), Some(epoch), Some(Fingerprint::LeaderEpochs(epochs))) = (element.error(), epoch, told.get_mut(element.topic())) {
            epochs.insert(element.partition(), epoch);
        }
    }
    Ok(told)
}
