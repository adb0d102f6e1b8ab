//! Markers: in the same transaction as its records each batch leaves its number in a compacted topic of the query's own, so
//! that a restart finds out which batch is committed. A reader of committed records sees the marker if, and only if, it
//! sees the batch.

use std::time::Duration;

use millstream_core::{BatchId, Error, ErrorKind, QueryId, Result, RunEpoch};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client::{ClientNews, ClientSettings, bad_config};
use super::error::{failed, may_pass, of_code};
use super::producer::blocking;
use super::retries::Retries;

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
        let retries = Retries { n_max: None, interval: PAUSE };
        let (mut n_failed, begun) = (0_u32, Instant::now());
        loop {
            let Err(error) = self.make(&admin).await else { return Ok(()) };
            n_failed = n_failed.saturating_add(1);
            let pause = retries.pause(n_failed, begun.elapsed()).filter(|_| error.kind() == ErrorKind::Unavailable);
            let Some(pause) = pause else { return Err(error) };
            tracing::warn!(%error, n_failed, "kafka is asked again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn make(&self, admin: &AdminClient<DefaultClientContext>) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(self.timeout)).request_timeout(Some(self.timeout));
        // -1: as many replicas as the brokers make by default.
        let topic = NewTopic::new(&self.name, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let made = admin.create_topics([&topic], &options).await.map_err(failed(format!("{} cannot be made", self.what())))?;
        match made.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => self.check(admin, &options).await,
            Some(Err((_, code))) => {
                let error = of_answer(code, format!("{} cannot be made: {code}", self.what()));
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
        if n_partitions == 0 {
            return Err(Error::unavailable(format!("{} is not known to every broker yet", self.what())));
        }
        if n_partitions != 1 {
            return Err(unfit(format!("has {n_partitions} partitions instead of one")));
        }
        let configs = admin.describe_configs([&ResourceSpecifier::Topic(&self.name)], options).await.map_err(failed(self.what()))?;
        let mut policy = None;
        for described in configs {
            let config = described.map_err(|code| of_answer(code, format!("{}: {code}", self.what())))?;
            policy = policy.or(config.get("cleanup.policy").and_then(|entry| entry.value.clone()));
        }
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
        let (at_most, begun) = (self.timeout + LATER_THAN_TIMEOUT, Instant::now());
        let end = loop {
            let left = at_most.saturating_sub(begun.elapsed());
            let within = left.min(self.timeout).max(PAUSE);
            match self.end(&committed, within).and_then(|stable| Ok((stable, self.end(&all, within)?))) {
                Ok((stable, end)) if stable >= end => break stable,
                Ok((stable, end)) if left.is_zero() => {
                    return Err(Error::unavailable(format!("a transaction stays open in {}, from offset {stable} of {end} on", self.what()))
                        .hint("a transaction of a producer that died ends after its timeout; one that the brokers have forgotten is found and ended with Kafka's kafka-transactions.sh"));
                }
                Err(error) if left.is_zero() || !may_be_answered_later(&error) => return Err(self.unreadable(&committed, error)),
                _ => {}
            }
            std::thread::sleep(PAUSE);
        };
        if end == 0 {
            return Ok(None);
        }
        let mut from_start = TopicPartitionList::new();
        from_start.add_partition_offset(&self.name, PARTITION, Offset::Beginning).map_err(failed(self.what()))?;
        committed.assign(&from_start).map_err(failed(self.what()))?;
        let mut last: Option<Marker> = None;
        let mut silent_since = Instant::now();
        loop {
            let left = self.timeout.saturating_sub(silent_since.elapsed());
            match committed.poll(left) {
                // The wait may also end with an event that is none of ours.
                None if !left.is_zero() => {}
                None => return Err(self.with_trouble(&committed, Error::unavailable(format!("{} cannot be read to its end", self.what())))),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                // The client says so, and goes on by itself.
                Some(Err(error)) if may_be_answered_later(&error) && !left.is_zero() && committed.context().lasting_trouble().is_none() => {
                }
                Some(Err(error)) => return Err(self.unreadable(&committed, error)),
                Some(Ok(message)) => {
                    silent_since = Instant::now();
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

    fn unreadable(&self, consumer: &BaseConsumer<ClientNews>, error: KafkaError) -> Error {
        self.with_trouble(consumer, failed(format!("{} cannot be read", self.what()))(error))
    }

    /// An error with what the client has complained of meanwhile.
    fn with_trouble(&self, consumer: &BaseConsumer<ClientNews>, error: Error) -> Error {
        let news = consumer.context();
        match news.lasting_trouble() {
            Some(lasting) => lasting.context(error.message().to_owned()),
            None => news.take_trouble().map_or(error.clone(), |trouble| error.context(trouble)),
        }
    }

    fn end(&self, consumer: &BaseConsumer<ClientNews>, within: Duration) -> Result<i64, KafkaError> {
        Ok(consumer.fetch_watermarks(&self.name, PARTITION, within)?.1)
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

/// What a broker answers for one topic.
fn of_answer(code: Code, message: String) -> Error {
    match code {
        // Brokers that come back do not know of each other yet.
        Code::InvalidReplicationFactor => Error::unavailable(message),
        code if is_unknown(code) => Error::unavailable(message),
        code => of_code(code, message),
    }
}

fn may_be_answered_later(error: &KafkaError) -> bool {
    may_pass(error) || error.rdkafka_error_code().is_some_and(is_unknown)
}

/// A topic that was just made is not yet known to every broker, nor is any topic to one that comes back.
fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownPartition | Code::UnknownTopic | Code::UnknownTopicOrPartition)
}

const PRODUCER_ONLY: [&str; 6] = ["acks", "compression.type", "linger.ms", "batch.size", "queue.buffering.max.kbytes", "partitioner"];
