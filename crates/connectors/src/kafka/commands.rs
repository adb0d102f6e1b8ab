//! Positions of a source, looked at and moved from outside its query (`millstream kafka offsets` and `reset`).
//!
//! Nothing here knows a checkpoint: positions come in and go out. The brokers are asked once, and what they do not have is
//! never written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Clock, Error, Options, Position, Result};
use serde_json::Value;

use super::client::ClientSettings;
use super::cluster::{Cluster, Edge};
use super::consumers::ConsumerSettings;
use super::fingerprints::Identity;
use super::high_watermarks::HighWatermarks;
use super::loss::{Cause, Gap, gap_of};
use super::offsets::Offsets;
use super::options::{EARLIEST, LATEST, of_reads};
use super::position::KafkaPosition;
use super::retries::Retries;

/// Who waits for the answer is a person.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RETRIES: Retries = Retries { n_max: Some(0), interval: Duration::ZERO };

/// A number per topic and partition.
pub type ByPartition = BTreeMap<(String, i32), i64>;

/// The offsets of a position.
pub fn offsets_of(position: &Position) -> Result<ByPartition> {
    Ok(by_partition(&KafkaPosition::of(position)?.offsets))
}

/// What the brokers say of a partition.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Look {
    /// Where it ends; none if it does not exist.
    pub latest: Option<i64>,
    /// How many offsets there are up to that; none where the position is not one of the partition's.
    pub lag: Option<i64>,
    /// Why the query will not go on there as if nothing had happened.
    pub note: Option<String>,
}

/// Looks at the partitions of a position. `reads`: what the checkpoint says of the source under this key; `options`: `kafka.*`.
pub async fn look(position: &Position, reads: &Value, options: &Options, clock: Arc<dyn Clock>) -> Result<BTreeMap<(String, i32), Look>> {
    let stands = KafkaPosition::of(position)?;
    let known = &stands.offsets;
    let (subscription, of_source) = of_reads(reads)?;
    let settings = settings(&of_source, options)?;
    let cluster = connect(&settings, Arc::clone(&clock))?;
    let told = cluster.fingerprints(known.topics().map(str::to_owned).collect()).await?;
    let first = cluster.edges(partitions(known), Edge::Earliest).await?;
    let latest = cluster.edges(partitions(known), Edge::Latest).await?;
    let written = HighWatermarks::new(settings.config(), clock, RETRIES).of_those_beyond(known, &latest).await?;
    let looked = known.iter().map(|(topic, partition, wanted)| {
        let is_read = subscription.as_ref().is_none_or(|subscription| subscription.includes(topic, partition));
        let available = first.get(topic, partition).zip(latest.get(topic, partition));
        let gone = |cause| Gap { topic: topic.to_owned(), partition, wanted, available: None, n_missing: 0, cause };
        let identity = stands.identity(topic, &told);
        let is_in_transaction = identity != Identity::Other && written.get(topic, partition).is_some_and(|end| wanted <= end);
        let gap = match available {
            None if is_read && identity == Identity::Other => Some(gone(Cause::Recreated)),
            _ if !is_read => Some(gone(Cause::Unsubscribed)),
            None => Some(gone(Cause::Deleted)),
            Some(_) if is_in_transaction => None,
            Some(available) => gap_of((topic, partition), (wanted, wanted), available, identity),
        };
        let stands_nowhere = gap.as_ref().is_some_and(|gap| matches!(gap.cause, Cause::Recreated | Cause::EndsEarly | Cause::Truncated));
        let lag = available.filter(|_| !stands_nowhere).map(|(_, past)| past.saturating_sub(wanted).max(0));
        let waits = || format!("{topic}-{partition} has an open transaction before offset {wanted}, whose end is waited for");
        let note = gap.map(|gap| gap.what()).or_else(|| is_in_transaction.then(waits));
        ((topic.to_owned(), partition), Look { latest: latest.get(topic, partition), lag, note })
    });
    Ok(looked.collect())
}

/// The position moved: `to` is `earliest`, `latest`, a time in ms since 1970 (the first record of that time or later, else the
/// end), or offsets as `startingOffsets` has them, of all partitions or some; the others stay. Partitions that do not exist
/// any more, or that the source does not read any more, are left out but for those that offsets leave alone. An offset that the
/// partition does not have is refused, and so is a partition that the source does not read. `reads`, `options`: see [`look`].
pub async fn moved(position: &Position, reads: &Value, to: &str, options: &Options, clock: Arc<dyn Clock>) -> Result<Position> {
    let target = Target::parse(to)?;
    let (subscription, of_source) = of_reads(reads)?;
    let is_read = |topic: &str, partition: i32| subscription.as_ref().is_none_or(|subscription| subscription.includes(topic, partition));
    let cluster = connect(&settings(&of_source, options)?, clock)?;
    let stands = KafkaPosition::of(position)?;
    let mut known = stands.offsets.clone();
    match &target {
        Target::Offsets(named) => {
            if let (Some((topic, partition, _)), Some(subscription)) =
                (named.iter().find(|(topic, partition, _)| !is_read(topic, *partition)), &subscription)
            {
                return Err(Error::invalid(format!("the query does not read {topic}-{partition}: it reads {}", subscription.topics())));
            }
        }
        _ => known = known.iter().filter(|(topic, partition, _)| is_read(topic, *partition)).collect(),
    }
    let asked = match &target {
        Target::Offsets(named) => named.clone(),
        _ => known.clone(),
    };
    let told = cluster.fingerprints(asked.topics().map(str::to_owned).collect()).await?;
    let first = cluster.edges(partitions(&asked), Edge::Earliest).await?;
    let past = cluster.edges(partitions(&asked), Edge::Latest).await?;
    let moved = match target {
        Target::Earliest => first,
        Target::Latest => past,
        Target::Time(ms) => {
            let times = past.iter().map(|(topic, partition, _)| (topic, partition, ms)).collect();
            let matched = cluster.offsets_at(&times).await?;
            let found = matched.iter().filter_map(|(topic, partition, offset)| Some((topic.as_str(), *partition, (*offset)?)));
            let mut moved = past.clone();
            found.for_each(|(topic, partition, offset)| moved.set(topic, partition, offset));
            moved
        }
        Target::Offsets(named) => {
            // Of a topic that was made again the other partitions are new, too.
            let replaced = stands.replaced_topics(&told);
            let mut moved: Offsets = known.iter().filter(|(topic, _, _)| !replaced.contains(topic)).collect();
            for (topic, partition, offset) in named.iter() {
                let (Some(first), Some(past)) = (first.get(topic, partition), past.get(topic, partition)) else {
                    return Err(Error::invalid(format!("there is no partition {topic}-{partition}")));
                };
                let offset = match offset {
                    EARLIEST => first,
                    LATEST => past,
                    offset if (first..=past).contains(&offset) => offset,
                    offset => {
                        return Err(Error::invalid(format!(
                            "{topic}-{partition} has the offsets {first} to {past}, and {offset} is none of them"
                        )));
                    }
                };
                moved.set(topic, partition, offset);
            }
            moved
        }
    };
    if cluster.fingerprints(asked.topics().map(str::to_owned).collect()).await? != told {
        return Err(Error::unavailable("a topic was made or deleted while its offsets were asked for").hint("try again"));
    }
    stands.moved_to(moved, &told).to_position()
}

enum Target {
    Earliest,
    Latest,
    Time(i64),
    Offsets(Offsets),
}

impl Target {
    fn parse(to: &str) -> Result<Self> {
        match to.trim() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            to if to.starts_with('{') => Ok(Self::Offsets(Offsets::of_json("to", "", to)?)),
            to => to.parse().ok().filter(|ms| *ms >= 0).map(Self::Time).ok_or_else(|| {
                Error::invalid(format!("'{to}' is no place in a topic"))
                    .hint("expected earliest, latest, a time in ms since 1970, or offsets such as {\"topicA\":{\"0\":23,\"1\":-1}}")
            }),
        }
    }
}

/// The source's own options of the client, and the caller's before them.
fn settings(of_source: &Options, options: &Options) -> Result<ConsumerSettings> {
    let mut all = of_source.clone();
    options.iter().for_each(|(name, value)| all.set(name, value));
    if ["kafka.bootstrap.servers", "bootstrapServers"].iter().all(|name| all.get(name).is_none_or(str::is_empty)) {
        return Err(Error::invalid("the checkpoint does not say where the brokers are")
            .hint("name them: --bootstrap-servers HOST:PORT, or option kafka.bootstrap.servers"));
    }
    let client = ClientSettings::parse(&all, "consumer", &[])?;
    Ok(ConsumerSettings { client, group_id: "millstream-kafka-offsets".to_owned(), fetch_buffer_bytes: 0 })
}

fn connect(settings: &ConsumerSettings, clock: Arc<dyn Clock>) -> Result<Cluster> {
    Ok(Cluster::connect(&settings.config(), clock, RETRIES)?.answering_within(ANSWER_WITHIN))
}

fn partitions(offsets: &Offsets) -> impl Iterator<Item = (&str, i32)> {
    offsets.iter().map(|(topic, partition, _)| (topic, partition))
}

fn by_partition(offsets: &Offsets) -> ByPartition {
    offsets.iter().map(|(topic, partition, offset)| ((topic.to_owned(), partition), offset)).collect()
}
