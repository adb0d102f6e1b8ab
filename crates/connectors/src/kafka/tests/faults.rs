//! Brokers and networks that fail while a query runs: it goes on, or stops with the cause, and the output is right.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_core::{BatchId, ErrorKind, Outcome, Sink};
use millstream_testkit::kafka::{Cluster, ProxiedBroker, TestKafka, broker_jars, takes_its_time};
use serde_json::Value;

use super::sink::{Writing, recorded, texts, values, values_schema};
use super::{Reading, kafka};
use crate::kafka::client::ClientSettings;
use crate::kafka::marker::MarkerTopic;

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// What a stream gives until it has given so many values.
async fn read_until(reading: &mut Reading, n: usize) -> Vec<String> {
    let all = async {
        let mut seen = Vec::new();
        while seen.len() < n {
            seen.extend(reading.next_values().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sorted(seen)
    };
    tokio::time::timeout(Duration::from_secs(90), all).await.expect("what was committed is read")
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_while_a_query_runs_are_written_and_read() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("grown", 1).await.unwrap();
    let fields = [("partition", DataType::Int32), ("value", DataType::Utf8)];
    let schema = Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
    let to = |partition: i32, value: &str| {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![partition])), Arc::new(StringArray::from(vec![value]))];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let mut writing = Writing::new(&kafka, schema.clone(), &[("topic", &topic)]);
    let sink = writing.fresh().await;
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("metadataInterval", "0")]);
    writing.batch(&sink, 0, to(0, "a")).await.unwrap();
    assert_eq!(read_until(&mut reading, 1).await, ["a"]);
    kafka.grow_topic(&topic, 3).await.unwrap();
    writing.batch(&sink, 1, to(2, "b")).await.unwrap();
    assert_eq!(read_until(&mut reading, 1).await, ["b"]);
    let written = kafka.consume_committed(&topic).unwrap();
    assert_eq!(written.iter().map(|record| record.partition).collect::<Vec<_>>(), [0, 2]);
    // One that is not there after a look, either, is none.
    let error = writing.batch(&sink, 2, to(3, "c")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && format!("{error:?}").contains("the column partition names one"), "{error:?}");
    sink.stop().await.unwrap();
}

/// A sink and a source behind a network that is cut and mended.
struct Cut {
    network: ProxiedBroker,
    kafka: TestKafka,
    topic: String,
}

impl Cut {
    fn servers(&self) -> String {
        self.network.proxy.address().to_string()
    }

    fn writing(&self, more: &[(&str, &str)]) -> Writing {
        let mut options = vec![("topic", self.topic.as_str())];
        options.extend(more);
        let mut writing = Writing::new(&self.kafka, values_schema(), &options);
        writing.request.options.set("kafka.bootstrap.servers", self.servers());
        writing
    }

    fn reading(&self) -> Reading {
        let options = [("subscribe", self.topic.as_str()), ("startingOffsets", "earliest"), ("metadataInterval", "0")];
        Reading::of(&self.servers(), &options, true)
    }

    /// `work`, with a network that comes back after a while.
    async fn without_network<T>(&self, work: impl Future<Output = T>) -> T {
        self.network.proxy.cut();
        let (done, ()) = tokio::join!(work, async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            self.network.proxy.mend();
        });
        done
    }

    fn committed(&self) -> Vec<String> {
        sorted(texts(&self.kafka.consume_committed(&self.topic).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_for_a_while_costs_time_and_no_record() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let network = ProxiedBroker::start(&jars, &folder.path().join("broker")).await.unwrap();
    let kafka = TestKafka::at(&network.broker.bootstrap_servers()).unwrap();
    let topic = kafka.create_topic("cut", 2).await.unwrap();
    let t = Cut { network, kafka, topic };

    let mut writing = t.writing(&[("transactionTimeout", "20s")]);
    let sink = writing.fresh().await;
    let mut reading = t.reading();
    // While records are produced, while they are flushed, while the transaction is committed.
    let outputs = t.without_network(writing.write(&sink, 0, values(["0a", "0b"]))).await.unwrap();
    let zero = t.without_network(sink.prepare(BatchId(0), outputs)).await.unwrap();
    t.without_network(sink.commit(BatchId(0), &zero)).await.unwrap();
    assert_eq!(t.committed(), ["0a", "0b"]);
    // While the source asks, and while it reads what it has planned.
    assert!(t.without_network(reading.plan()).await.unwrap().is_some());
    assert_eq!(t.without_network(read_until(&mut reading, 2)).await, ["0a", "0b"]);
    let one = writing.batch(&sink, 1, values(["1"])).await.unwrap();
    let range = reading.plan().await.unwrap().unwrap();
    assert_eq!(super::texts(&t.without_network(reading.read(&range)).await.unwrap()).len(), 1);
    sink.stop().await.unwrap();
    // While the next run looks what is committed.
    let next = writing.started().await.unwrap();
    assert_eq!(t.without_network(next.recover(None, recorded(1, &one))).await.unwrap(), Outcome::Committed);
    next.stop().await.unwrap();
    // While the topic of markers is made: the broker is asked again.
    let client = [("kafka.bootstrap.servers", t.servers())].into_iter().collect();
    let client = ClientSettings::parse(&client, "producer", &[]).unwrap();
    let markers = MarkerTopic::new(t.kafka.unique("cut-marker"), writing.query, &client, Duration::from_secs(1));
    t.without_network(markers.ensure()).await.unwrap();
    assert_eq!(t.kafka.n_partitions(markers.name()).unwrap(), 1);
    a_task_that_waits_for_too_long(&t).await;
    longer_than_a_transaction(&t).await;
    a_queue_that_stays_full(&t).await;
}

/// Records that must be there and do not come: the option that bounds the wait is named, and a later attempt reads them.
async fn a_task_that_waits_for_too_long(t: &Cut) {
    let options = [("subscribe", t.topic.as_str()), ("startingOffsets", "earliest"), ("kafkaConsumer.pollTimeoutMs", "500")];
    let mut reading = Reading::of(&t.servers(), &options, true);
    let range = reading.plan().await.unwrap().unwrap();
    t.network.proxy.cut();
    let error = reading.read(&range).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(format!("{error:?}").contains("raise option kafkaConsumer.pollTimeoutMs"), "{error:?}");
    t.network.proxy.mend();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut again = t.reading();
    again.restart_after(&range).await.unwrap();
    assert_eq!(super::texts(&again.read(&range).await.unwrap()).len(), t.committed().len());
}

/// The broker ends the transaction: the query stops, its next run writes the batch again, and nothing was there twice.
async fn longer_than_a_transaction(t: &Cut) {
    let before = t.committed();
    let mut writing = t.writing(&[("transactionTimeout", "2s")]);
    let sink = writing.fresh().await;
    let outputs = writing.write(&sink, 0, values(["long"])).await.unwrap();
    let zero = sink.prepare(BatchId(0), outputs).await.unwrap();
    t.network.proxy.cut();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let error = sink.commit(BatchId(0), &zero).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Exhausted), "{error:?}");
    assert!(error.to_string().contains("batch"), "{error}");
    t.network.proxy.mend();
    drop(sink);
    assert_eq!(t.committed(), before);
    run_again(t, &mut writing, &zero, "long", before).await;
}

async fn run_again(t: &Cut, writing: &mut Writing, prepared: &Value, value: &str, mut before: Vec<String>) {
    let sink = writing.started().await.unwrap();
    assert_eq!(sink.recover(None, recorded(0, prepared)).await.unwrap(), Outcome::RunAgain);
    writing.batch(&sink, 0, values([value])).await.unwrap();
    sink.stop().await.unwrap();
    before.push(value.to_owned());
    assert_eq!(t.committed(), sorted(before));
}

async fn a_queue_that_stays_full(t: &Cut) {
    let before = t.committed();
    let mut writing = t.writing(&[("transactionTimeout", "2s"), ("kafka.queue.buffering.max.messages", "2")]);
    let sink: Arc<dyn Sink> = writing.fresh().await;
    t.network.proxy.cut();
    let error = writing.write(&sink, 0, values((0..50).map(|n| n.to_string()))).await.unwrap_err();
    // Whichever notices first: the queue, or a record that has waited in it for too long.
    let (queue, record) = ("kafka.queue.buffering.max.kbytes is the size of the queue", "kafka.message.timeout.ms");
    let told = format!("{error:?}");
    assert!(told.contains(queue) || told.contains(record), "{told}");
    t.network.proxy.mend();
    // Whether the abort succeeds or the timeout ends it: nobody sees any of it.
    drop(sink.abandon(BatchId(0), Vec::new()).await);
    sink.stop().await.unwrap();
    assert_eq!(t.committed(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_move_cost_and_double_no_record() {
    // Three brokers and a test beside them are much for a machine of two cores.
    let Some(jars) = broker_jars().filter(|_| takes_its_time()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&jars, folder.path()).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let topic = kafka.create_topic("moving", 3).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("transactionTimeout", "2min")]);
    let sink = writing.fresh().await;
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("metadataInterval", "0")]);
    let (mut expected, mut seen) = (Vec::new(), Vec::new());
    let mut killed = 0;
    for batch in 0..9_u64 {
        let rows: Vec<String> = (0..30).map(|n| format!("{batch}-{n:02}")).collect();
        let outputs = writing.write(&sink, batch, values(rows.clone())).await.unwrap();
        match batch {
            // With records of an open transaction on it.
            3 => {
                killed = kafka.leader(&topic, 0).unwrap();
                cluster.broker(killed).unwrap().kill();
            }
            6 => cluster.broker(killed).unwrap().start_again().unwrap(),
            _ => {}
        }
        let prepared = sink.prepare(BatchId(batch), outputs).await.unwrap();
        sink.commit(BatchId(batch), &prepared).await.unwrap();
        seen.extend(read_until(&mut reading, rows.len()).await);
        expected.extend(rows);
    }
    assert_ne!(kafka.leader(&topic, 0).unwrap(), 0);
    assert_eq!(sorted(seen), expected);
    assert_eq!(sorted(texts(&kafka.consume_committed(&topic).unwrap())), expected);
    sink.stop().await.unwrap();
}

/// No address of a cluster, or one that is down for good: both halves say so with its servers, before they do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_is_named_with_what_to_look_at() {
    let quick = ("kafka.socket.connection.setup.timeout.ms", "1000");
    let mut errors = vec![Reading::of("127.0.0.1:1", &[("subscribe", "t"), quick], true).plan().await.unwrap_err()];
    let nowhere = TestKafka::at("127.0.0.1:1").unwrap();
    for delivery in ["exactly-once", "at-least-once"] {
        let mut writing = Writing::new(&nowhere, values_schema(), &[("topic", "t"), ("delivery", delivery), quick]);
        errors.push(writing.started().await.map(drop).unwrap_err());
    }
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().starts_with("no broker answers at 127.0.0.1:1 within 1s"), "{error:?}");
        assert!(error.message().contains("Connection refused"), "{error:?}");
        let hint = error.hint_text().unwrap_or_default();
        assert!(["kafka.bootstrap.servers", quick.0].iter().all(|option| hint.contains(option)), "{error:?}");
    }
}
