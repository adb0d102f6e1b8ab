//! Records that are gone before they are read: named exactly, or passed over and recorded.

use std::time::Duration;

use millstream_core::{ErrorKind, Position, SourceRange};
use millstream_testkit::kafka::TestKafka;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::{Reading, kafka, offsets, texts};
use crate::kafka::reading::GONE_AFTER;

/// A stream that has read three records of a topic of ten, two a batch.
pub(super) async fn half_read(kafka: &TestKafka, fails: bool) -> (String, Reading) {
    let topic = kafka.create_topic("loss", 1).await.unwrap();
    let fails = fails.to_string();
    let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("failOnDataLoss", &fails), ("metadataInterval", "0")];
    let mut reading = Reading::stream(kafka, &options);
    kafka.produce_values(&topic, 0, ["0", "1", "2"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["0", "1", "2"]);
    (topic, reading)
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_a_stream_is_an_error_with_the_offsets() {
    let Some(kafka) = kafka() else { return };
    let (topic, mut reading) = half_read(&kafka, true).await;
    kafka.produce_values(&topic, 0, (3..10).map(|n| n.to_string())).await.unwrap();
    kafka.delete_records(&topic, 0, 3).await.unwrap();
    assert!(reading.plan().await.unwrap().is_some(), "what was read may go");
    kafka.delete_records(&topic, 0, 7).await.unwrap();
    let error = reading.plan().await.unwrap_err();
    let expected =
        format!("{topic}-0 was to be read from offset 3 on, and has the offsets 7 to 10: 4 records may have been lost to retention");
    assert_eq!((error.kind(), error.message(), error.error_class()), (ErrorKind::Data, expected.as_str(), Some("KAFKA_DATA_LOSS")));
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_a_stream_may_be_a_gap_in_progress() {
    let Some(kafka) = kafka() else { return };
    let (topic, mut reading) = half_read(&kafka, false).await;
    kafka.produce_values(&topic, 0, (3..10).map(|n| n.to_string())).await.unwrap();
    kafka.delete_records(&topic, 0, 7).await.unwrap();
    let range = reading.plan().await.unwrap().unwrap();
    assert_eq!(reading.next_values().await, ["7", "8", "9"]);
    assert_eq!(reading.metric("recordsMissing").as_deref(), Some("4"));
    let gaps = serde_json::from_str::<serde_json::Value>(&reading.metric("gaps").unwrap()).unwrap();
    let gap =
        serde_json::json!([{ "topic": topic, "partition": 0, "wanted": 3, "available": [7, 10], "n_missing": 4, "cause": "retention" }]);
    assert_eq!(gaps, gap);
    // The range says where it begins: reading it again loses nothing a second time.
    reading.restart_after(&range).await.unwrap();
    assert_eq!(super::texts(&reading.read(&range).await.unwrap()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_between_planning_and_reading_are_an_error_or_passed_over() {
    let Some(kafka) = kafka() else { return };
    for fails in [true, false] {
        let (topic, mut reading) = half_read(&kafka, fails).await;
        kafka.produce_values(&topic, 0, (3..10).map(|n| n.to_string())).await.unwrap();
        let range = reading.plan().await.unwrap().unwrap();
        kafka.delete_records(&topic, 0, 7).await.unwrap();
        // Another process: nothing was fetched before the records went away.
        let options = [("subscribe", topic.as_str()), ("failOnDataLoss", if fails { "true" } else { "false" })];
        let mut reading = Reading::stream(&kafka, &options);
        reading.restart_after(&range).await.unwrap();
        let read = reading.read_chunks(&range).await;
        if fails {
            let error = read.unwrap_err();
            let expected = format!("{topic}-0 was to be read from offset 3 on, and has the offsets 7 to 10: ");
            assert!(error.message().starts_with(&expected), "{error}");
            continue;
        }
        let chunks = read.unwrap();
        let missed: Vec<_> = chunks.iter().flat_map(|chunk| chunk.missed.clone()).collect();
        let rows: Vec<_> = chunks.into_iter().map(|chunk| chunk.rows).collect();
        assert_eq!(super::texts(&rows).len(), 3);
        let gap =
            serde_json::json!({ "topic": topic, "partition": 0, "wanted": 3, "available": [7, 10], "n_missing": 4, "cause": "retention" });
        assert_eq!(missed, [gap]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_behind_a_batch_is_counted_by_the_next() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("behind", 1).await.unwrap();
    let options = [
        ("subscribe", topic.as_str()),
        ("startingOffsets", "earliest"),
        ("failOnDataLoss", "false"),
        ("maxOffsetsPerTrigger", "4"),
        ("metadataInterval", "0"),
    ];
    kafka.produce_values(&topic, 0, (0..10).map(|n| n.to_string())).await.unwrap();
    let mut reading = Reading::stream(&kafka, &options);
    let range = reading.plan().await.unwrap().unwrap();
    kafka.delete_records(&topic, 0, 7).await.unwrap();
    let chunks = reading.read_chunks(&range).await.unwrap();
    let n_missing = |gaps: &[serde_json::Value]| gaps.iter().map(|gap| gap["n_missing"].as_u64().unwrap()).sum::<u64>();
    let missed: Vec<_> = chunks.iter().flat_map(|chunk| chunk.missed.clone()).collect();
    assert_eq!((n_missing(&missed), missed.len()), (4, 1), "of the batch's own range: {missed:?}");
    reading.decide(&range, &missed).await;
    assert_eq!(reading.metric("recordsMissing").as_deref(), Some("4"));
    assert_eq!(reading.next_values().await, ["7", "8", "9"]);
    assert_eq!(reading.metric("recordsMissing").as_deref(), Some("3"), "of offsets 4 to 6, in the next batch");
    assert_eq!(reading.metric("recordsMissingInRun").as_deref(), Some("7"));
    assert!(reading.plan().await.unwrap().is_none());
    assert_eq!((reading.metric("recordsMissing"), reading.metric("gaps")), (None, None), "a gap is told of once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_vanishes_stops_a_stream_or_only_itself() {
    let Some(kafka) = kafka() else { return };
    for fails in [true, false] {
        let prefix = kafka.unique("vanish");
        let (stays, goes) = (format!("{prefix}-stays"), format!("{prefix}-goes"));
        for topic in [&stays, &goes] {
            kafka.create_topic_named(topic, 1, &[]).await.unwrap();
            kafka.produce_values(topic, 0, ["a"]).await.unwrap();
        }
        let (pattern, fails_text) = (format!("{prefix}-.*"), fails.to_string());
        let options = [
            ("subscribePattern", pattern.as_str()),
            ("startingOffsets", "earliest"),
            ("failOnDataLoss", &fails_text),
            ("metadataInterval", "0"),
        ];
        let mut reading = Reading::stream(&kafka, &options);
        assert_eq!(reading.next_values().await, ["a", "a"]);
        kafka.delete_topic(&goes).await.unwrap();
        kafka.produce_values(&stays, 0, ["b"]).await.unwrap();
        assert_eq!(reading.next_values().await, ["b"]);
        assert!(reading.plan().await.unwrap().is_none(), "it may come back");
        reading.clock.advance(GONE_AFTER);
        if fails {
            let error = reading.plan().await.unwrap_err();
            assert_eq!(error.message(), format!("{goes}-0 was to be read from offset 1 on, and does not exist any more"));
            continue;
        }
        assert!(reading.next_values().await.is_empty());
        assert!(reading.metric("gaps").unwrap().contains("\"cause\":\"deleted\""));
        // A topic of that name is a new one.
        kafka.create_topic_named(&goes, 1, &[]).await.unwrap();
        kafka.produce_values(&goes, 0, ["c", "d"]).await.unwrap();
        assert_eq!(reading.next_values().await, ["c", "d"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_that_has_lost_all_its_records_is_a_gap_once() {
    let Some(kafka) = kafka() else { return };
    let prefix = kafka.unique("late");
    let (known, found) = (format!("{prefix}-known"), format!("{prefix}-found"));
    kafka.create_topic_named(&known, 1, &[]).await.unwrap();
    let pattern = format!("{prefix}-.*");
    let options = [("subscribePattern", pattern.as_str()), ("failOnDataLoss", "false"), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &options);
    assert!(reading.plan().await.unwrap().is_none());
    kafka.create_topic_named(&found, 1, &[]).await.unwrap();
    kafka.produce_values(&found, 0, (0..5).map(|n| n.to_string())).await.unwrap();
    kafka.delete_records(&found, 0, 5).await.unwrap();
    let range = reading.plan_soon().await.unwrap();
    assert_eq!(offsets(&range.end)[&found]["0"], 5, "it stands there: {range:?}");
    reading.decide(&range, &[]).await;
    assert_eq!(reading.metric("recordsMissing").as_deref(), Some("5"));
    assert!(reading.plan().await.unwrap().is_none(), "a gap is told of once");
    kafka.produce_values(&found, 0, ["new"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["new"]);
    assert_eq!(reading.metric("recordsMissing"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_subscribed_to_any_more_is_told_apart_from_what_is_gone() {
    let Some(kafka) = kafka() else { return };
    let (stays, goes) = (kafka.create_topic("stays", 1).await.unwrap(), kafka.create_topic("goes", 2).await.unwrap());
    kafka.produce_values(&stays, 0, ["a"]).await.unwrap();
    kafka.produce_values(&goes, 0, ["b"]).await.unwrap();
    let both = format!("{stays},{goes}");
    let one = [("subscribe", stays.as_str()), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &[("subscribe", &both), ("startingOffsets", "earliest")]);
    let range = reading.plan().await.unwrap().unwrap();
    kafka.produce_values(&stays, 0, ["c"]).await.unwrap();

    let mut reading = Reading::stream(&kafka, &one);
    reading.restart_after(&range).await.unwrap();
    let error = reading.plan().await.unwrap_err();
    assert_eq!(error.message(), format!("the query stands at offset 1 of {goes}-0, and does not subscribe to it any more"));
    assert_eq!((error.kind(), error.error_class()), (ErrorKind::Data, Some("KAFKA_DATA_LOSS")));

    let mut reading = Reading::stream(&kafka, &[one[0], one[1], ("failOnDataLoss", "false")]);
    reading.restart_after(&range).await.unwrap();
    assert_eq!(reading.next_values().await, ["c"]);
    let gaps = serde_json::from_str::<serde_json::Value>(&reading.metric("gaps").unwrap()).unwrap();
    let gap = |partition: i32, wanted: i64| serde_json::json!({ "topic": goes, "partition": partition, "wanted": wanted, "n_missing": 0, "cause": "unsubscribed" });
    assert_eq!(gaps, serde_json::json!([gap(0, 1), gap(1, 0)]));
    assert!(reading.plan().await.unwrap().is_none(), "it is dropped from the position");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_end_is_not_told_for_a_while_is_not_gone() {
    // A broker that is told when to fail, as a real one cannot be.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("moving", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", "moving"), ("startingOffsets", "earliest"), ("metadataInterval", "0")]);
    kafka.produce_values("moving", 0, ["0", "1"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["0", "1"]);
    kafka.produce_values("moving", 0, ["2"]).await.unwrap();
    let unknown = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; 2];
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &unknown);
    assert!(reading.plan().await.unwrap().is_none(), "neither a batch nor an error");
    cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    assert_eq!(reading.next_values().await, ["2"]);
    assert_eq!(reading.metric("recordsMissing"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_is_waited_for() {
    let changing = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 12];
    for (n_retries, is_enough) in [(None, true), (Some("1"), false)] {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("led", 1, 1).unwrap();
        let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
        let mut options = vec![("subscribe", "led"), ("startingOffsets", "earliest"), ("metadataInterval", "0")];
        options.extend(n_retries.map(|n| ("fetchOffset.numRetries", n)));
        let mut reading = Reading::stream(&kafka, &options);
        kafka.produce_values("led", 0, ["0", "1"]).await.unwrap();
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &changing);
        match reading.next().await {
            Ok(rows) => assert!(is_enough && texts(&rows.unwrap()) == ["led-0@0=0", "led-0@1=1"]),
            Err(error) => assert!(!is_enough && error.message().contains("NotLeaderForPartition"), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_was_said_to_be_gone_is_asked_for_until_the_broker_tells() {
    for answer in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        // As of a broker that comes back: the cluster lists the partition all the same.
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    ] {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("there", 1, 1).unwrap();
        let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
        kafka.produce_values("there", 0, ["0", "1"]).await.unwrap();
        let mut reading = Reading::stream(&kafka, &[("subscribe", "there"), ("startingOffsets", "earliest")]);
        let range = reading.plan().await.unwrap().unwrap();
        cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[answer; 2]);
        assert_eq!(texts(&reading.read(&range).await.unwrap()), ["there-0@0=0", "there-0@1=1"], "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_the_end_of_a_range_is_asked_for_is_not_passed_over() {
    // A slow network: each answer is older than what is asked next.
    const ROUND_TRIP: Duration = Duration::from_millis(400);
    let cluster = MockCluster::new(1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let position = |topic: &str, offset: i64| Position(serde_json::json!({ topic: { "0": offset } }));
    let mut readings = Vec::new();
    for nth in 0..24_u32 {
        let topic = format!("late-{nth}");
        cluster.create_topic(&topic, 1, 1).unwrap();
        kafka.produce_values(&topic, 0, ["0", "1"]).await.unwrap();
        let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest")]);
        let range = SourceRange { start: position(&topic, 0), end: position(&topic, 4), detail: serde_json::Value::Null };
        reading.restart_after(&range).await.unwrap();
        readings.push((nth, topic, reading, range));
    }
    cluster.broker_round_trip_time(1, ROUND_TRIP).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for (nth, topic, mut reading, range) in readings {
        let kafka = TestKafka::at(kafka.bootstrap_servers()).unwrap();
        tasks.spawn(async move {
            // At some of these moments the client has asked for more records, and the task not yet for the end.
            let write = async {
                tokio::time::sleep(ROUND_TRIP / 4 * nth).await;
                kafka.produce_values(&topic, 0, ["2", "3"]).await.unwrap();
            };
            let (read, ()) = tokio::join!(reading.read(&range), write);
            match &read {
                Ok(rows) => assert_eq!(texts(rows).len(), 4, "{topic}: {rows:?}"),
                Err(error) => assert_eq!(error.error_class(), Some("KAFKA_DATA_LOSS"), "asked before they were written: {error:?}"),
            }
            read.is_ok()
        });
    }
    let are_whole = tasks.join_all().await;
    assert!(are_whole.contains(&true), "the first are written before anybody asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_deleted_between_planning_and_reading_is_an_error_or_passed_over() {
    let Some(kafka) = kafka() else { return };
    for (fails, knew_it) in [("true", false), ("false", false), ("true", true), ("false", true)] {
        let topic = kafka.create_topic("deleted", 1).await.unwrap();
        kafka.produce_values(&topic, 0, ["0", "1", "2"]).await.unwrap();
        let options = [
            ("subscribe", topic.as_str()),
            ("startingOffsets", "earliest"),
            ("failOnDataLoss", fails),
            // By default a client takes a topic that it asks for the first time for a new one for so long.
            ("kafka.topic.metadata.propagation.max.ms", "0"),
        ];
        let mut reading = Reading::stream(&kafka, &options);
        let range = reading.plan().await.unwrap().unwrap();
        if knew_it {
            assert_eq!(reading.next_values().await, ["0", "1", "2"]);
        } else {
            // Another process, whose consumers never saw the topic.
            reading = Reading::stream(&kafka, &options);
            reading.restart_after(&range).await.unwrap();
        }
        kafka.delete_topic(&topic).await.unwrap();
        let read = reading.read_chunks(&range).await;
        if fails == "true" {
            let error = read.unwrap_err();
            assert_eq!(error.message(), format!("{topic}-0 was to be read from offset 0 on, and does not exist any more"), "{error:?}");
            assert_eq!((error.kind(), error.error_class()), (ErrorKind::Data, Some("KAFKA_DATA_LOSS")));
            continue;
        }
        let missed: Vec<_> = read.unwrap().into_iter().flat_map(|chunk| chunk.missed).collect();
        assert_eq!(missed, [serde_json::json!({ "topic": topic, "partition": 0, "wanted": 0, "n_missing": 3, "cause": "deleted" })]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_though_no_broker_is_left_to_publish_to() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("left", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", "left"), ("startingOffsets", "earliest")]);
    kafka.produce_values("left", 0, ["0"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["0"]);
    drop((cluster, kafka));
    let (mut source, _) = reading.run.take().unwrap();
    tokio::time::timeout(Duration::from_secs(20), source.stop()).await.expect("a stop waits for a broker").unwrap();
    // The runtime of this test ends here, and with it every thread that still asks.
}
