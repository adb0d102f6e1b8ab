//! Markers: in the same transaction as its records each batch leaves its number in a compacted topic of the query's own, so
//! that a restart finds out which batch is committed. A reader of committed records sees the marker if, and only if, it
//! sees the batch.

use std::time::Duration;

use millstream_core::{BatchId, Error, QueryId, Result, RunEpoch};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::client::{ClientNews, ClientSettings, bad_config};
use super::error::failed;
use super::producer::blocking;

/// The only partition.
pub(super) const PARTITION: i32 = 0;
/// Between two looks at whether a transaction has ended.
const PAUSE: Duration = Duration::from_millis(50);
/// A broker ends a transaction this much later than its timeout at the latest: it looks every ten seconds, and one that has
/// just come back takes its time.
const LATER_THAN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a transaction says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) query: QueryId,
    pub(super) task: u32,
    pub(super) batch: BatchId,
    pub(super) epoch: RunEpoch,
}

impl Marker {
    /// Only the last marker of a task is needed.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.query, self.task)
    }

    pub(super) fn value(&self) -> Result<Vec<u8>> {
        crate::wire::to_json(self)
    }
}

/// The topic of a query's markers.
#[derive(Debug, Clone)]
pub(super) struct MarkerTopic {
    name: String,
    query: QueryId,
    client: ClientSettings,
    timeout: Duration,
}

impl MarkerTopic {
    pub(super) fn new(name: String, query: QueryId, client: &ClientSettings, timeout: Duration) -> Self {
        Self { name, query, client: client.clone(), timeout }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the topic if it is not there; one that is there must be fit for markers.
    pub(super) async fn ensure(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client.config().create().map_err(bad_config)?;
        let options = AdminOptions::new().operation_timeout(Some(self.timeout)).request_timeout(Some(self.timeout));
        // -1: as many replicas as the brokers make by default.
        let topic = NewTopic::new(&self.name, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let made = admin.create_topics([&topic], &options).await.map_err(failed(format!("{} cannot be made", self.what())))?;
        match made.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => self.check(&admin, &options).await,
            Some(Err((_, code))) => {
                let error = failed(format!("{} cannot be made", self.what()))(KafkaError::AdminOp(code));
                Err(error.hint("create it beforehand, with one partition and cleanup.policy=compact, and name it in option markerTopic"))
            }
            _ => Ok(()),
        }
    }

    async fn check(&self, admin: &AdminClient<DefaultClientContext>, options: &AdminOptions) -> Result<()> {
        let unfit = |why: String| {
            Error::invalid(format!("{} {why}", self.what()))
                .hint("name another topic in option markerTopic; a new one is made as it must be")
        };
        let topic = self.clone();
        let n_partitions = blocking(move || {
            let consumer = topic.consumer("read_committed")?;
            let metadata = consumer.fetch_metadata(Some(&topic.name), topic.timeout).map_err(failed(topic.what()))?;
            let found = metadata.topics().iter().filter(|found| found.name() == topic.name);
            Ok(found.map(|found| found.partitions().len()).sum::<usize>())
        })
        .await?;
        if n_partitions != 1 {
            return Err(unfit(format!("has {n_partitions} partitions instead of one")));
        }
        let configs = admin.describe_configs([&ResourceSpecifier::Topic(&self.name)], options).await.map_err(failed(self.what()))?;
        let policy = configs.into_iter().flatten().find_map(|config| config.get("cleanup.policy").and_then(|entry| entry.value.clone()));
        match policy.as_deref() {
            Some("compact") => Ok(()),
            other => Err(unfit(format!("has cleanup.policy={} instead of compact: markers would expire", other.unwrap_or("(unknown)")))),
        }
    }

    /// The last committed marker; the caller has made sure that no older producer has a transaction open.
    pub(super) async fn read(&self) -> Result<Option<Marker>> {
        let topic = self.clone();
        blocking(move || topic.read_blocking()).await
    }

    fn read_blocking(&self) -> Result<Option<Marker>> {
        let committed = self.consumer("read_committed")?;
        let all = self.consumer("read_uncommitted")?;
        // An open transaction holds back what is behind it, perhaps our marker.
        let mut tries_left = (self.timeout + LATER_THAN_TIMEOUT).as_millis() / PAUSE.as_millis();
        let end = loop {
            let looked = self.end(&committed).and_then(|stable| Ok((stable, self.end(&all)?)));
            match &looked {
                Ok((stable, end)) if stable >= end => break *stable,
                // A topic that was just made is not yet known to every broker.
                Err(error) if tries_left == 0 || !error.rdkafka_error_code().is_some_and(is_of_new_topic) => {
                    return Err(failed(format!("{} cannot be read", self.what()))(error.clone()));
                }
                _ => {}
            }
            if let (0, Ok((stable, end))) = (tries_left, looked) {
                return Err(Error::unavailable(format!("a transaction stays open in {}, from offset {stable} of {end} on", self.what()))
                    .hint("a transaction of a producer that died ends after its timeout; one that the brokers have forgotten is found and ended with Kafka's kafka-transactions.sh"));
            }
            tries_left -= 1;
            std::thread::sleep(PAUSE);
        };
        if end == 0 {
            return Ok(None);
        }
        let mut from_start = TopicPartitionList::new();
        from_start.add_partition_offset(&self.name, PARTITION, Offset::Beginning).map_err(failed(self.what()))?;
        committed.assign(&from_start).map_err(failed(self.what()))?;
        let mut last: Option<Marker> = None;
        loop {
            match committed.poll(self.timeout) {
                None => return Err(Error::unavailable(format!("{} cannot be read to its end", self.what()))),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                Some(Err(error)) => return Err(failed(format!("{} cannot be read", self.what()))(error)),
                Some(Ok(message)) => {
                    let marker: Option<Marker> = message.payload().and_then(|bytes| serde_json::from_slice(bytes).ok());
                    match marker {
                        Some(marker) if marker.query == self.query => {
                            last = Some(last.filter(|last| last.batch > marker.batch).unwrap_or(marker))
                        }
                        _ => return Err(self.foreign(message.offset())),
                    }
                }
            }
        }
    }

    fn foreign(&self, offset: i64) -> Error {
        Error::invalid(format!("{} holds, at offset {offset}, what is no marker of query {}", self.what(), self.query))
            .hint("each query needs a topic of its own: name another one in option markerTopic")
    }

    fn end(&self, consumer: &BaseConsumer<ClientNews>) -> Result<i64, KafkaError> {
        Ok(consumer.fetch_watermarks(&self.name, PARTITION, self.timeout)?.1)
    }

    fn consumer(&self, isolation_level: &str) -> Result<BaseConsumer<ClientNews>> {
        // Options of producers would be warned of.
        let mut config = self.client.config_without(&PRODUCER_ONLY);
        config.set("group.id", &self.name).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "error").set("isolation.level", isolation_level);
        // The end of the topic is told by an answer without records: the broker need not hold it back.
        config.set("fetch.wait.max.ms", "10");
        config.create_with_context(ClientNews::default()).map_err(bad_config)
    }

    fn what(&self) -> String {
        format!("topic '{}' of markers", self.name)
    }
}

fn is_of_new_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownPartition
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
    )
}

const PRODUCER_ONLY: [&str; 6] = ["acks", "compression.type", "linger.ms", "batch.size", "queue.buffering.max.kbytes", "partitioner"];
