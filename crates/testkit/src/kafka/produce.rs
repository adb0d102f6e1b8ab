//! Records written, in transactions and without.

use millstream_core::{Error, Result};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use super::failed;
use super::topics::{TIMEOUT, TestKafka};

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct TestRecord {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl TestRecord {
    /// A record of this value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record without a value: it deletes its key in compacted topics.
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// With a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// To this partition, instead of what the key says.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With this time, ms.
    #[must_use]
    pub fn at_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

impl TestKafka {
    /// Writes records and waits until the broker has them; gives the (partition, offset) of each.
    pub async fn produce(&self, topic: &str, records: &[TestRecord]) -> Result<Vec<(i32, i64)>> {
        let producer: FutureProducer = self.config().create().map_err(failed("a producer cannot be made"))?;
        delivered(send(&producer, topic, records)?).await
    }

    /// Writes these values to one partition.
    pub async fn produce_values<V: Into<Vec<u8>>>(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = V>) -> Result<()> {
        let records: Vec<TestRecord> = values.into_iter().map(|value| TestRecord::new(value).partition(partition)).collect();
        self.produce(topic, &records).await.map(drop)
    }

    /// A producer of transactions; it fences the one before of the same id.
    pub fn transactions(&self, transactional_id: &str) -> Result<TestTransactions> {
        let mut config = self.config();
        config.set("transactional.id", transactional_id);
        let producer: FutureProducer = config.create().map_err(failed("a producer cannot be made"))?;
        producer.init_transactions(TIMEOUT).map_err(failed("transactions cannot begin"))?;
        Ok(TestTransactions { producer })
    }
}

/// Writes transactions, one after the other.
pub struct TestTransactions {
    producer: FutureProducer,
}

impl TestTransactions {
    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.producer.begin_transaction().map_err(failed("a transaction cannot begin"))
    }

    /// Writes records into it and waits until the broker has them.
    pub async fn send(&self, topic: &str, records: &[TestRecord]) -> Result<Vec<(i32, i64)>> {
        delivered(send(&self.producer, topic, records)?).await
    }

    /// Ends it: readers of committed records see its records.
    pub fn commit(&self) -> Result<()> {
        self.producer.commit_transaction(TIMEOUT).map_err(failed("a transaction cannot be committed"))
    }

    /// Ends it: nobody sees its records.
    pub fn abort(&self) -> Result<()> {
        self.producer.abort_transaction(TIMEOUT).map_err(failed("a transaction cannot be aborted"))
    }
}

fn send(producer: &FutureProducer, topic: &str, records: &[TestRecord]) -> Result<Vec<DeliveryFuture>> {
    let mut sent = Vec::with_capacity(records.len());
    for record in records {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_ref() });
        }
        let future_record = FutureRecord {
            topic,
            partition: record.partition,
            payload: record.value.as_ref(),
            key: record.key.as_ref(),
            timestamp: record.timestamp_ms,
            headers: (!record.headers.is_empty()).then_some(headers),
        };
        sent.push(producer.send_result(future_record).map_err(|(error, _)| failed("a record is not taken")(error))?);
    }
    Ok(sent)
}

async fn delivered(sent: Vec<DeliveryFuture>) -> Result<Vec<(i32, i64)>> {
    let mut places = Vec::with_capacity(sent.len());
    for delivery in sent {
        let delivery = delivery.await.map_err(|_| Error::unavailable("the producer went away"))?;
        let place = delivery.map_err(|(error, _)| failed("a record is not delivered")(error))?;
        places.push((place.partition, place.offset));
    }
    Ok(places)
}
