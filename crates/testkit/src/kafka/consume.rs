//! What a reader of committed records sees in a topic.

use std::collections::BTreeSet;

use millstream_core::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::failed;
use super::topics::{TIMEOUT, TestKafka};

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its time, ms.
    pub timestamp_ms: Option<i64>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl ConsumedRecord {
    /// Its value as text; empty without one.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

impl TestKafka {
    /// The committed records of a topic, from its beginning to its end as it is now; by partition in their order.
    pub fn consume_committed(&self, topic: &str) -> Result<Vec<ConsumedRecord>> {
        self.consume(topic, "read_committed")
    }

    /// All records of a topic, those of open and aborted transactions, too.
    pub fn consume_uncommitted(&self, topic: &str) -> Result<Vec<ConsumedRecord>> {
        self.consume(topic, "read_uncommitted")
    }

    /// Waits until no transaction of a topic is open: a commit answers before its marks are in the partitions.
    pub async fn wait_until_stable(&self, topic: &str) -> Result<()> {
        let n_partitions = i32::try_from(self.n_partitions(topic)?).unwrap_or(i32::MAX);
        let consumer = |isolation_level: &str| -> Result<BaseConsumer> {
            self.config().set("isolation.level", isolation_level).create().map_err(failed("a consumer cannot be made"))
        };
        let (stable, all) = (consumer("read_committed")?, consumer("read_uncommitted")?);
        let end = |consumer: &BaseConsumer, partition| consumer.fetch_watermarks(topic, partition, TIMEOUT).map_err(failed("no offsets"));
        for partition in 0..n_partitions {
            let mut polls = 0;
            while end(&stable, partition)? != end(&all, partition)? {
                polls += 1;
                if polls > 1500 {
                    return Err(Error::unavailable(format!("a transaction of {topic}-{partition} stays open")));
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn consume(&self, topic: &str, isolation_level: &str) -> Result<Vec<ConsumedRecord>> {
        let mut config = self.config();
        config.set("group.id", self.unique("witness")).set("isolation.level", isolation_level);
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        let consumer: BaseConsumer = config.create().map_err(failed("a consumer cannot be made"))?;
        let n_partitions = i32::try_from(self.n_partitions(topic)?).unwrap_or(i32::MAX);
        let mut waiting: BTreeSet<i32> = (0..n_partitions).collect();
        let mut all = TopicPartitionList::new();
        for partition in &waiting {
            all.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed("an offset cannot be set"))?;
        }
        consumer.assign(&all).map_err(failed("partitions cannot be assigned"))?;
        let mut records = Vec::new();
        while !waiting.is_empty() {
            match consumer.poll(TIMEOUT) {
                None => return Err(Error::unavailable(format!("topic '{topic}' does not come to its end in partitions {waiting:?}"))),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    waiting.remove(&partition);
                }
                Some(Err(error)) => return Err(failed("a topic cannot be read")(error)),
                Some(Ok(message)) => records.push(ConsumedRecord {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    timestamp_ms: message.timestamp().to_millis(),
                    headers: message
                        .headers()
                        .map(|headers| headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect())
                        .unwrap_or_default(),
                }),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }
}
