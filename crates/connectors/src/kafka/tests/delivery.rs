//! What the two kinds of `delivery` leave in topics: marks of transactions, markers of batches.

use std::time::Duration;

use millstream_core::{Admission, BatchId, ErrorKind, Options, QueryId, RunEpoch};
use millstream_testkit::kafka::{TestKafka, TestRecord};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use uuid::Uuid;

use super::sink::{Writing, recorded, texts, values, values_schema};
use super::{Reading, kafka, offsets};
use crate::kafka::client::ClientSettings;
use crate::kafka::marker::{Marker, MarkerTopic};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_leaves_one_marker_in_the_topic_that_is_named_or_the_querys_own() {
    let Some(kafka) = kafka() else { return };
    let (topic, named) = (kafka.create_topic("marked", 1).await.unwrap(), kafka.unique("named-marker"));
    for more in [vec![], vec![("markerTopic", named.as_str())]] {
        let mut writing = Writing::new(&kafka, values_schema(), &[&[("topic", topic.as_str())], more.as_slice()].concat());
        let sink = writing.fresh().await;
        writing.batch(&sink, 0, values(["a", "b"])).await.unwrap();
        writing.batch(&sink, 1, values(Vec::<String>::new())).await.unwrap();
        let two = writing.batch(&sink, 2, values(["c"])).await.unwrap();
        sink.stop().await.unwrap();
        let own = format!("millstream-marker-{}", writing.query);
        let markers = more.first().map_or(own.as_str(), |(_, named)| named);
        assert_eq!(kafka.n_partitions(markers).unwrap(), 1);
        let read = kafka.consume_committed(markers).unwrap();
        let read: Vec<_> = read.iter().map(|marker| (marker.key.clone().unwrap(), marker.text())).collect();
        let marker = |batch: u64| {
            let text = format!("{{\"query\":\"{}\",\"task\":0,\"batch\":{batch},\"epoch\":1}}", writing.query);
            (format!("{}/0", writing.query).into_bytes(), text)
        };
        assert_eq!(read, [marker(0), marker(2)], "a batch without records has no transaction");
        // Their place does not change under a query.
        writing.request.options.set("markerTopic", kafka.unique("elsewhere"));
        let error = writing.started().await.unwrap().recover(recorded(2, &two), None).await.unwrap_err();
        assert!(error.message().contains(&format!("left their markers in '{markers}'")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_has_neither_transactions_nor_markers() {
    let Some(kafka) = kafka() else { return };
    // The mark of a transaction's end takes an offset behind its records.
    for (is_streaming, delivery, ends_at) in
        [(true, "at-least-once", 2), (true, "Exactly-Once", 3), (false, "at-least-once", 2), (false, "exactly-once", 3)]
    {
        let topic = kafka.create_topic("delivered", 1).await.unwrap();
        let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("delivery", delivery)]);
        if !is_streaming {
            writing.request.output_mode = None;
        }
        let sink = writing.fresh().await;
        let outputs = writing.write(&sink, 0, values(["a", "b"])).await.unwrap();
        let prepared = sink.prepare(BatchId(0), outputs).await.unwrap();
        let n_seen = kafka.consume_committed(&topic).unwrap().len();
        assert_eq!(n_seen, if ends_at == 2 { 2 } else { 0 }, "{delivery}: before the commit");
        sink.commit(BatchId(0), &prepared).await.unwrap();
        sink.stop().await.unwrap();
        kafka.wait_until_stable(&topic).await.unwrap();
        assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["a", "b"], "{delivery}");
        let range = Reading::batch(&kafka, &[("subscribe", &topic)]).plan_with(&Admission::ALL).await.unwrap().unwrap();
        assert_eq!(offsets(&range.end)[&topic]["0"], ends_at, "{delivery}");
        let has_markers = kafka.n_partitions(&format!("millstream-marker-{}", writing.query)).unwrap() == 1;
        assert_eq!(has_markers, is_streaming && ends_at == 3, "{delivery}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_waits_for_its_last_records_as_long_as_the_option_says() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("silent", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let options = [("topic", "silent"), ("delivery", "at-least-once"), ("transactionTimeout", "1s")];
    let mut writing = Writing::new(&kafka, values_schema(), &options);
    let sink = writing.started().await.unwrap();
    writing.batch(&sink, 0, values(["a"])).await.unwrap();
    cluster.broker_down(1).unwrap();
    let error = writing.batch(&sink, 1, values(["b"])).await.unwrap_err();
    assert!(format!("{error:?}").contains("option transactionTimeout is how long they are waited for"), "{error:?}");
    cluster.broker_up(1).unwrap();
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_read_though_the_broker_breaks_off() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("markers", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let query = QueryId(Uuid::from_u128(1));
    let marker = Marker { query, task: 0, batch: BatchId(7), epoch: RunEpoch(1) };
    kafka.produce("markers", &[TestRecord::new(marker.value().unwrap()).key(marker.key()).partition(0)]).await.unwrap();
    let options: Options = [("kafka.bootstrap.servers".to_owned(), cluster.bootstrap_servers())].into_iter().collect();
    let client = ClientSettings::parse(&options, "producer", &[]).unwrap();
    let markers = |timeout| MarkerTopic::new("markers".to_owned(), query, &client, timeout);
    let transport = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT;
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let broken = RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR;
    for (asked, errors) in [
        (RDKafkaApiKey::Fetch, [transport; 3]),
        (RDKafkaApiKey::ListOffsets, [transport; 3]),
        (RDKafkaApiKey::ListOffsets, [unknown; 3]),
        (RDKafkaApiKey::ListOffsets, [broken; 3]),
    ] {
        cluster.request_errors(asked, &errors);
        assert_eq!(markers(Duration::from_secs(60)).read().await.unwrap(), Some(marker), "{asked:?}: {errors:?}");
        cluster.clear_request_errors(asked);
    }
    // One that never answers is not waited for without end.
    cluster.request_errors(RDKafkaApiKey::Fetch, &[transport; 1000]);
    let error = markers(Duration::from_secs(1)).read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("topic 'markers' of markers cannot be read"), "{error:?}");
}

/// A broker refuses requests, and does not say which of their records is too large.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_not_blamed_on_a_small_record() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("narrow", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", "narrow"), ("delivery", "at-least-once")]);
    let sink = writing.started().await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 2]);
    let error = writing.batch(&sink, 0, values(["small", "too"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error:?}");
    assert!(error.message().contains("the request that it was in is larger than the broker takes"), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("kafka.batch.size")), "{error:?}");
    sink.stop().await.unwrap();
}

/// Runs of a query that do not know of each other, and other queries that were given the same topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_markers_may_be_made_by_several_at_once() {
    let Some(kafka) = kafka() else { return };
    let client: Options = [("kafka.bootstrap.servers", kafka.bootstrap_servers())].into_iter().collect();
    let client = ClientSettings::parse(&client, "producer", &[]).unwrap();
    let name = kafka.unique("raced-marker");
    let topic = MarkerTopic::new(name.clone(), QueryId(Uuid::from_u128(1)), &client, Duration::from_secs(60));
    let (one, two, three) = tokio::join!(topic.ensure(), topic.ensure(), topic.ensure());
    for made in [one, two, three, topic.ensure().await] {
        made.unwrap();
    }
    assert_eq!(kafka.n_partitions(&name).unwrap(), 1);
}
