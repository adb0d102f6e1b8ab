//! Brokers that list a partition and do not tell its offsets, as one that comes back: where nothing is looked at a second time, the answer
//! is awaited.

use millstream_core::{ErrorKind, Position, Result, SourceRange, SourceStart};
use millstream_testkit::ManualClock;
use millstream_testkit::kafka::TestKafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;

use super::{Reading, offsets};
use crate::kafka::commands;

/// A broker that is told when to fail, as a real one cannot be, with a topic of two records.
async fn two_records() -> (MockCluster<'static, DefaultProducerContext>, TestKafka) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("back", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    kafka.produce_values("back", 0, ["0", "1"]).await.unwrap();
    (cluster, kafka)
}

/// The next answers do not know the partition.
fn is_silent(cluster: &MockCluster<'static, DefaultProducerContext>, n_answers: usize) {
    cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &vec![unknown; n_answers]);
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("subscribe", "back"), ("metadataInterval", "0")], more].concat()
}

/// Reads on from offset 1, as far as there is when it begins.
async fn available_now(reading: &mut Reading) -> Result<Option<SourceRange>> {
    reading.run.as_mut().unwrap().0.fix_end().await?;
    reading.plan().await
}

fn at_one() -> SourceStart {
    let range = SourceRange { start: Position(json!({})), end: Position(json!({ "back": { "0": 1 } })), detail: json!(null) };
    SourceStart::Resume { snapshot: None, ranges: vec![(millstream_core::BatchId(0), range)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn available_now_reads_all_of_a_broker_that_comes_back() {
    let (cluster, kafka) = two_records().await;
    let mut reading = Reading::stream(&kafka, &with(&[]));
    reading.start(at_one()).await.unwrap();
    is_silent(&cluster, 6);
    let range = available_now(&mut reading).await.unwrap().expect("the end is not where the query is");
    assert_eq!(offsets(&range.end), json!({ "back": { "0": 2 } }));
    // Nor does it end early when only the later looks find it so.
    is_silent(&cluster, 6);
    assert_eq!(reading.next_values().await, ["1"]);
    assert!(reading.plan().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_never_told_fails_available_now() {
    let (cluster, kafka) = two_records().await;
    let mut reading = Reading::stream(&kafka, &with(&[("fetchOffset.numRetries", "3")]));
    reading.start(at_one()).await.unwrap();
    is_silent(&cluster, 1000);
    let error = available_now(&mut reading).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "the cluster lists back-0, and does not tell their offsets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_does_not_say_where_a_partition_ends_that_is_silent() {
    let (cluster, kafka) = two_records().await;
    let mut reading = Reading::stream(&kafka, &with(&[]));
    reading.start(at_one()).await.unwrap();
    is_silent(&cluster, 2);
    assert!(reading.plan().await.unwrap().is_none(), "it is read later");
    assert_eq!(reading.run.as_ref().unwrap().0.metrics().latest, Some(Position(json!({}))));
    cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    assert_eq!(reading.next_values().await, ["1"]);
    assert_eq!(reading.run.as_ref().unwrap().0.metrics().latest, Some(Position(json!({ "back": { "0": 2 } }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_leaves_out_no_partition_of_a_broker_that_comes_back() {
    let (cluster, kafka) = two_records().await;
    // The broker of this test knows no times: where none is found, a batch ends at the latest.
    let named = ("startingOffsets", "{\"back\":{\"0\":-2}}");
    for options in [vec![], vec![named], vec![("endingTimestamp", "1")]] {
        // First where it begins, then where it ends.
        for starts in [true, false] {
            let mut reading = Reading::batch(&kafka, &with(&options));
            if starts {
                is_silent(&cluster, 6);
            }
            reading.start(SourceStart::Fresh).await.unwrap();
            is_silent(&cluster, if starts { 0 } else { 6 });
            assert_eq!(reading.next_values().await, ["0", "1"], "{options:?}, at its start: {starts}");
        }
    }
    is_silent(&cluster, 1000);
    let error = Reading::batch(&kafka, &with(&[("fetchOffset.numRetries", "3")])).plan().await.unwrap_err();
    assert!(error.message().contains("back-0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_query_begins_where_it_was_told_to() {
    let (cluster, kafka) = two_records().await;
    for (begins, offset) in [("latest", 2), ("earliest", 0), ("{\"back\":{\"0\":-1}}", 2)] {
        is_silent(&cluster, 6);
        let mut reading = Reading::stream(&kafka, &with(&[("startingOffsets", begins)]));
        let position = reading.start(SourceStart::Fresh).await.unwrap();
        assert_eq!(offsets(&position), json!({ "back": { "0": offset } }), "{begins}");
    }
    is_silent(&cluster, 1000);
    let mut reading = Reading::stream(&kafka, &with(&[("startingOffsets", "latest"), ("fetchOffset.numRetries", "3")]));
    assert_eq!(reading.start(SourceStart::Fresh).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_moved_keeps_all_partitions_that_exist() {
    let (cluster, kafka) = two_records().await;
    let servers = [("kafka.bootstrap.servers".to_owned(), kafka.bootstrap_servers().to_owned())];
    let options = servers.into_iter().collect();
    let clock = std::sync::Arc::new(ManualClock::new(0));
    let position = Position(json!({ "back": { "0": 1 }, "gone": { "0": 1 } }));
    is_silent(&cluster, 1000);
    let error = commands::moved(&position, &serde_json::Value::Null, "latest", &options, clock.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    is_silent(&cluster, 0);
    let moved = commands::moved(&position, &serde_json::Value::Null, "latest", &options, clock).await.unwrap();
    assert_eq!(offsets(&moved), json!({ "back": { "0": 2 } }));
}
