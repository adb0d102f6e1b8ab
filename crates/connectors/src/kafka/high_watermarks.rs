//! Ends of partitions with the records of open transactions. A position may lie there, and then nothing is lost.
//!
//! ```text
//!  0 ── read ──► last stable offset ── an open transaction ──► high watermark
//!                (end under read_committed)                    (end under read_uncommitted)
//! ```
//! A position beyond the first comes from whoever has read uncommitted records: Spark by default, or an earlier run.

use std::sync::Arc;

use millstream_core::{Clock, Result};
use rdkafka::ClientConfig;

use super::cluster::{Cluster, Edge};
use super::offsets::Offsets;
use super::retries::Retries;

const ISOLATION_LEVEL: &str = "isolation.level";
const READ_UNCOMMITTED: &str = "read_uncommitted";

/// The configuration of a client that sees the records of open transactions; `None`: the one of `config` does.
pub(super) fn uncommitted(config: &ClientConfig) -> Option<ClientConfig> {
    if config.get(ISOLATION_LEVEL) == Some(READ_UNCOMMITTED) {
        return None;
    }
    let mut config = config.clone();
    config.set(ISOLATION_LEVEL, READ_UNCOMMITTED);
    Some(config)
}

/// Asks for them. The client for it is made when somebody does, which is rare.
#[derive(Debug)]
pub(super) struct HighWatermarks {
    config: ClientConfig,
    clock: Arc<dyn Clock>,
    retries: Retries,
    cluster: Option<Cluster>,
}

impl HighWatermarks {
    /// `config`: of the client that asks for all else.
    pub(super) fn new(config: ClientConfig, clock: Arc<dyn Clock>, retries: Retries) -> Self {
        Self { config, clock, retries, cluster: None }
    }

    /// The partitions in which `wanted` lies beyond `past`, the end that readers see, and where their records really end.
    pub(super) async fn of_those_beyond(&mut self, wanted: &Offsets, past: &Offsets) -> Result<Offsets> {
        let is_beyond = |(topic, partition, wanted)| past.get(topic, partition).filter(|past| wanted > *past);
        let beyond: Offsets = wanted
            .iter()
            .filter_map(|(topic, partition, wanted)| Some((topic, partition, is_beyond((topic, partition, wanted))?)))
            .collect();
        if beyond.is_empty() {
            return Ok(beyond);
        }
        let Some(config) = uncommitted(&self.config) else { return Ok(beyond) };
        let cluster = match &mut self.cluster {
            Some(cluster) => cluster,
            none => none.insert(Cluster::connect_again(&config, Arc::clone(&self.clock), self.retries)?),
        };
        let partitions = beyond.iter().map(|(topic, partition, _)| (topic, partition));
        let written = cluster.edges(partitions, Edge::Latest).await?;
        Ok(beyond
            .iter()
            .map(|(topic, partition, past)| (topic, partition, written.get(topic, partition).map_or(past, |end| end.max(past))))
            .collect())
    }
}
