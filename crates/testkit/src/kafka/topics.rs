//! Topics made, changed and deleted; every test has its own, so that tests run side by side on one broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use millstream_core::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{failed, skipped};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

static NEXT_NAME: AtomicU64 = AtomicU64::new(0);

/// A broker that tests may use, but not stop.
pub struct TestKafka {
    bootstrap_servers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl TestKafka {
    /// The broker that the environment names; `None` where there is none, told on stderr.
    pub fn from_env() -> Option<Self> {
        match std::env::var("MILLSTREAM_TEST_KAFKA") {
            Ok(servers) => Self::at(&servers).ok(),
            Err(_) => {
                skipped("MILLSTREAM_TEST_KAFKA");
                None
            }
        }
    }

    /// The broker at this address.
    pub fn at(bootstrap_servers: &str) -> Result<Self> {
        let config = Self::config_of(bootstrap_servers);
        let admin = config.create().map_err(failed("an admin client cannot be made"))?;
        Ok(Self { bootstrap_servers: bootstrap_servers.to_owned(), admin })
    }

    /// For option `kafka.bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// A name that no other test has: of topics, groups, transactional ids.
    pub fn unique(&self, prefix: &str) -> String {
        let since = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        format!("{prefix}-{}-{since}-{}", std::process::id(), NEXT_NAME.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a topic of a unique name, and waits until clients see it.
    pub async fn create_topic(&self, prefix: &str, n_partitions: usize) -> Result<String> {
        let name = self.unique(prefix);
        // Records may have times of long ago, and stay: the broker's retention begins half a minute after the broker.
        self.create_topic_named(&name, n_partitions, &[("retention.ms", "-1")]).await?;
        Ok(name)
    }

    /// Makes a topic with these settings (`cleanup.policy`, ...).
    pub async fn create_topic_named(&self, name: &str, n_partitions: usize, settings: &[(&str, &str)]) -> Result<()> {
        let count = i32::try_from(n_partitions).map_err(|_| Error::invalid("too many partitions"))?;
        let topic = settings.iter().fold(NewTopic::new(name, count, TopicReplication::Fixed(-1)), |topic, (k, v)| topic.set(k, v));
        let done = self.admin.create_topics([&topic], &AdminOptions::new()).await.map_err(failed("topics cannot be made"))?;
        each_done(done)?;
        self.wait_for_partitions(name, n_partitions).await
    }

    /// Makes a topic's partitions `n_partitions` in all.
    pub async fn grow_topic(&self, name: &str, n_partitions: usize) -> Result<()> {
        let grown = [NewPartitions::new(name, n_partitions)];
        each_done(self.admin.create_partitions(&grown, &AdminOptions::new()).await.map_err(failed("partitions cannot be made"))?)?;
        self.wait_for_partitions(name, n_partitions).await
    }

    /// Deletes a topic and waits until it is gone.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        each_done(self.admin.delete_topics(&[name], &AdminOptions::new()).await.map_err(failed("topics cannot be deleted"))?)?;
        self.wait_for_partitions(name, 0).await
    }

    /// Deletes the records of a partition before `offset`, as retention does.
    pub async fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed("an offset cannot be set"))?;
        let done = self.admin.delete_records(&before, &AdminOptions::new()).await.map_err(failed("records cannot be deleted"))?;
        done.elements().iter().try_for_each(|element| element.error()).map_err(failed("records cannot be deleted"))
    }

    /// How many partitions the broker says a topic has; 0 = there is no such topic.
    pub fn n_partitions(&self, topic: &str) -> Result<usize> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).map_err(failed("no metadata"))?;
        Ok(metadata.topics().iter().filter(|found| found.name() == topic).map(|found| found.partitions().len()).sum())
    }

    /// The node that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).map_err(failed("no metadata"))?;
        let mut partitions = metadata.topics().iter().flat_map(|found| found.partitions());
        let found = partitions.find(|found| found.id() == partition).map(|found| found.leader());
        found.ok_or_else(|| Error::unavailable(format!("there is no {topic}-{partition}")))
    }

    async fn wait_for_partitions(&self, topic: &str, n_partitions: usize) -> Result<()> {
        let polls = TIMEOUT.as_millis() / POLL.as_millis();
        for _ in 0..polls {
            if self.n_partitions(topic)? == n_partitions {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::unavailable(format!("topic '{topic}' does not come to have {n_partitions} partitions")))
    }

    /// The configuration of a client of this broker.
    pub fn config(&self) -> ClientConfig {
        Self::config_of(&self.bootstrap_servers)
    }

    fn config_of(bootstrap_servers: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers);
        config
    }
}

fn each_done(results: Vec<rdkafka::admin::TopicResult>) -> Result<()> {
    results.into_iter().try_for_each(|result| match result {
        Ok(_) => Ok(()),
        Err((topic, code)) => Err(Error::unavailable(format!("topic '{topic}': {code}"))),
    })
}
