//! Offsets that options name, held against what the partitions have: a query that fails on data loss does not begin with others.

use millstream_core::{Error, Result};

use super::cluster::{Cluster, Edge};
use super::high_watermarks::HighWatermarks;
use super::offsets::Offsets;

/// Where a query begins, by `startingOffsets`. Beyond the end it begins at the end, if it may; within an open transaction it waits.
pub(super) async fn starting(named: Offsets, cluster: &Cluster, high_watermarks: &mut HighWatermarks, fails: bool) -> Result<Offsets> {
    let latest = cluster.edges(partitions(&named), Edge::Latest).await?;
    let written = high_watermarks.of_those_beyond(&named, &latest).await?;
    let at = |(topic, partition, offset)| match written.get(topic, partition) {
        Some(end) if offset > end => end_of("startingOffsets", (topic, partition, offset), end, fails),
        _ => Ok((topic, partition, offset)),
    };
    named.iter().map(at).collect()
}

/// Where a batch from `start` on ends, by `endingOffsets`: not beyond the end, and not before the first record that is left.
pub(super) async fn ending(named: Offsets, start: &Offsets, cluster: &Cluster, fails: bool) -> Result<Offsets> {
    let latest = cluster.edges(partitions(&named), Edge::Latest).await?;
    let first = cluster.edges(partitions(&named), Edge::Earliest).await?;
    let at = |(topic, partition, offset): (_, _, i64)| {
        let begins_behind = start.get(topic, partition).is_some_and(|start| start > offset);
        match (first.get(topic, partition), latest.get(topic, partition)) {
            (_, Some(end)) if offset > end => end_of("endingOffsets", (topic, partition, offset), end, fails),
            (Some(first), _) if fails && offset < first && begins_behind => Err(lost(format!(
                "option 'endingOffsets' is {offset} for {topic}-{partition}, which begins at {first}: all that was to be read may have been lost to retention"
            ))),
            _ => Ok((topic, partition, offset)),
        }
    };
    named.iter().map(at).collect()
}

fn end_of<'a>(option: &str, (topic, partition, offset): (&'a str, i32, i64), end: i64, fails: bool) -> Result<(&'a str, i32, i64)> {
    if fails {
        return Err(lost(format!("option '{option}' is {offset} for {topic}-{partition}, which ends at {end}")));
    }
    tracing::warn!(option, topic, partition, offset, end, "the partition does not go so far: its end is taken");
    Ok((topic, partition, end))
}

fn lost(what: String) -> Error {
    Error::data(what).code("KAFKA_DATA_LOSS").hint("name an offset that is there; option failOnDataLoss 'false' goes on with what is there")
}

fn partitions(offsets: &Offsets) -> impl Iterator<Item = (&str, i32)> {
    offsets.iter().map(|(topic, partition, _)| (topic, partition))
}
