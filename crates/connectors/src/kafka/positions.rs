//! Positions of a source, looked at and moved from outside its query (`millstream kafka offsets` and `reset`).
//!
//! Nothing here knows a checkpoint: positions come in and go out. The brokers are asked once, and what they do not have is
//! never written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Clock, Error, Options, Position, Result};

use super::client::ClientSettings;
use super::cluster::{Cluster, Edge};
use super::consumers::ConsumerSettings;
use super::offsets::Offsets;
use super::options::{EARLIEST, LATEST};
use super::retries::Retries;

/// Who waits for the answer is a person.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A number per topic and partition.
pub type ByPartition = BTreeMap<(String, i32), i64>;

/// The offsets of a position.
pub fn offsets_of(position: &Position) -> Result<ByPartition> {
    Ok(by_partition(&Offsets::of_position(position)?))
}

/// Where the partitions of a position end now; those that do not exist any more are left out. `options`: `kafka.*`.
pub async fn latest(position: &Position, options: &Options, clock: Arc<dyn Clock>) -> Result<ByPartition> {
    let known = Offsets::of_position(position)?;
    let ends = connect(options, clock)?.edges(partitions(&known), Edge::Latest).await?;
    Ok(by_partition(&ends))
}

/// The position moved: `to` is `earliest`, `latest`, a time in ms since 1970 (the first record of that time or later, else the
/// end), or offsets as `startingOffsets` has them, of all partitions or some; the others stay. Partitions that do not exist
/// any more are left out but for those that offsets leave alone. An offset that the partition does not have is refused.
pub async fn moved(position: &Position, to: &str, options: &Options, clock: Arc<dyn Clock>) -> Result<Position> {
    let known = Offsets::of_position(position)?;
    let target = Target::parse(to)?;
    let cluster = connect(options, clock)?;
    let asked = match &target {
        Target::Offsets(named) => named.clone(),
        _ => known.clone(),
    };
    let first = cluster.edges(partitions(&asked), Edge::Earliest).await?;
    let past = cluster.edges(partitions(&asked), Edge::Latest).await?;
    match target {
        Target::Earliest => first.to_position(),
        Target::Latest => past.to_position(),
        Target::Time(ms) => {
            let times = past.iter().map(|(topic, partition, _)| (topic, partition, ms)).collect();
            let matched = cluster.offsets_at(&times).await?;
            let found = matched.iter().filter_map(|(topic, partition, offset)| Some((topic.as_str(), *partition, (*offset)?)));
            let mut moved = past.clone();
            found.for_each(|(topic, partition, offset)| moved.set(topic, partition, offset));
            moved.to_position()
        }
        Target::Offsets(named) => {
            let mut moved = known;
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
            moved.to_position()
        }
    }
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

fn connect(options: &Options, clock: Arc<dyn Clock>) -> Result<Cluster> {
    let client = ClientSettings::parse(options, "consumer", &[])?;
    let settings = ConsumerSettings { client, group_id: "millstream-kafka-offsets".to_owned(), fetch_buffer_bytes: 0 };
    Ok(Cluster::connect(&settings.config(), clock, Retries { n_max: Some(0), interval: Duration::ZERO })?.answering_within(ANSWER_WITHIN))
}

fn partitions(offsets: &Offsets) -> impl Iterator<Item = (&str, i32)> {
    offsets.iter().map(|(topic, partition, _)| (topic, partition))
}

fn by_partition(offsets: &Offsets) -> ByPartition {
    offsets.iter().map(|(topic, partition, offset)| ((topic.to_owned(), partition), offset)).collect()
}
