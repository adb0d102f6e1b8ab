//! Places in partitions that options name, as offsets: where a new query begins, where a batch ends.

use millstream_core::{Error, Result};

use super::identity::Confirmed;
use super::{KafkaSource, before_start};
use crate::kafka::cluster::{Edge, Partitions};
use crate::kafka::named_offsets;
use crate::kafka::offsets::Offsets;
use crate::kafka::options::{EARLIEST, LATEST, Place, Subscription};
use crate::kafka::position::KafkaPosition;
use crate::kafka::spark_checkpoint::committed_offsets;

impl KafkaSource {
    /// Where a new query begins, in all partitions that there are.
    pub(super) async fn first_position(&mut self) -> Result<KafkaPosition> {
        let mut n_looks = 0;
        loop {
            let offsets = self.first_offsets().await?;
            let topics = offsets.topics().map(str::to_owned).collect();
            match self.confirm(topics).await? {
                Confirmed::Yes => return Ok(KafkaPosition::new(offsets, &self.run()?.topics)),
                Confirmed::Changed => {}
                Confirmed::Untold(topic) => self.pause_before_look(&topic, &mut n_looks).await?,
            }
        }
    }

    async fn first_offsets(&mut self) -> Result<Offsets> {
        self.look_for_partitions().await?;
        let missing = self.missing_topics()?;
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "there is no {missing} in the Kafka cluster at {}",
                self.options.client.bootstrap_servers()
            )));
        }
        if let Some(dir) = self.options.start_from_spark.clone() {
            return committed_offsets(&dir, &self.run()?.partitions).await;
        }
        let start = self.options.start.clone();
        let at_latest = self.options.starts_at_latest_without_match;
        let resolved = self.resolve(&start, "starting", at_latest).await?;
        let (run, fails) = (self.run.as_mut().ok_or_else(before_start)?, self.options.fails_on_data_loss);
        match start {
            Place::Offsets(_) => named_offsets::starting(resolved, &run.cluster, &mut run.high_watermarks, fails).await,
            _ => Ok(resolved),
        }
    }

    /// Topics and partitions that were named and do not exist.
    fn missing_topics(&self) -> Result<String> {
        let run = self.run.as_ref().ok_or_else(before_start)?;
        let exists = |topic: &str, partition: i32| run.partitions.get(topic).is_some_and(|known| known.contains(&partition));
        let missing: Vec<String> = match &self.options.subscription {
            Subscription::Assign(named) => named
                .iter()
                .filter(|(topic, partition, _)| !exists(topic, *partition))
                .map(|(topic, partition, _)| format!("partition {topic}-{partition}"))
                .collect(),
            Subscription::Topics(named) => {
                named.iter().filter(|topic| !run.partitions.contains_key(*topic)).map(|topic| format!("topic '{topic}'")).collect()
            }
            // A pattern may match what comes later.
            Subscription::Pattern(..) => Vec::new(),
        };
        Ok(missing.join(", "))
    }

    /// The offsets that an option means; `edge` is the beginning of its name.
    pub(super) async fn resolve(&mut self, place: &Place, edge: &str, at_latest_without_match: bool) -> Result<Offsets> {
        let run = self.run()?;
        let all: Offsets = each(&run.partitions).map(|(topic, partition)| (topic, partition, 0)).collect();
        match place {
            Place::Earliest => run.cluster.edges(each(&run.partitions), Edge::Earliest).await,
            Place::Latest => run.cluster.edges(each(&run.partitions), Edge::Latest).await,
            Place::Offsets(named) => {
                check_named(named, &all, edge, "Offsets")?;
                let marked = |marker: i64| {
                    named.iter().filter(move |(_, _, offset)| *offset == marker).map(|(topic, partition, _)| (topic, partition))
                };
                let earliest = run.cluster.edges(marked(EARLIEST), Edge::Earliest).await?;
                let latest = run.cluster.edges(marked(LATEST), Edge::Latest).await?;
                let resolved = named.iter().map(|(topic, partition, offset)| {
                    let resolved = match offset {
                        EARLIEST => earliest.get(topic, partition),
                        LATEST => latest.get(topic, partition),
                        offset => Some(offset),
                    };
                    let gone = || Error::unavailable(format!("{topic}-{partition} went away while its offsets were asked for"));
                    Ok((topic, partition, resolved.ok_or_else(gone)?))
                });
                resolved.collect()
            }
            Place::Time(ms) => {
                let times = all.iter().map(|(topic, partition, _)| (topic, partition, *ms)).collect();
                self.resolve_times(&times, at_latest_without_match).await
            }
            Place::Times(named) => {
                check_named(named, &all, edge, "OffsetsByTimestamp")?;
                self.resolve_times(named, at_latest_without_match).await
            }
        }
    }

    async fn resolve_times(&mut self, times: &Offsets, at_latest_without_match: bool) -> Result<Offsets> {
        let run = self.run()?;
        let matched = run.cluster.offsets_at(times).await?;
        let unmatched =
            || matched.iter().filter(|(_, _, offset)| offset.is_none()).map(|(topic, partition, _)| (topic.as_str(), *partition));
        if let Some((topic, partition)) = unmatched().next().filter(|_| !at_latest_without_match) {
            let ms = times.get(topic, partition).unwrap_or_default();
            return Err(Error::invalid(format!(
                "no offset matched from request of topic-partition {topic}-{partition} and timestamp {ms}"
            ))
            .hint("option startingOffsetsByTimestampStrategy 'latest' begins at the end of such partitions"));
        }
        let latest = run.cluster.edges(unmatched(), Edge::Latest).await?;
        let resolved = matched
            .iter()
            .filter_map(|(topic, partition, offset)| Some((topic.as_str(), *partition, offset.or_else(|| latest.get(topic, *partition))?)));
        Ok(resolved.collect())
    }
}

/// What a named starting or ending offset must cover.
fn check_named(named: &Offsets, all: &Offsets, edge: &str, what: &str) -> Result<()> {
    if named.has_same_partitions(all) {
        return Ok(());
    }
    let hint = if what == "Offsets" { "use -1 for latest, -2 for earliest" } else { "name a time for each" };
    Err(Error::invalid(format!(
        "if option '{edge}{what}' names partitions, it must name all of them: named are {}, there are {}",
        named.partitions_shown(),
        all.partitions_shown()
    ))
    .hint(hint))
}

pub(super) fn each(partitions: &Partitions) -> impl Iterator<Item = (&str, i32)> {
    partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (topic.as_str(), *number)))
}
