//! Topics that are deleted and made again under the name that they had: none of the new records is taken for one of the old topic, and none
//! is read twice, however many there are.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Admission, ErrorKind, Options, Position, SourceRange, SourceStart};
use millstream_testkit::ManualClock;
use millstream_testkit::kafka::{Broker, TestKafka, broker_jars};
use millstream_testkit::source_contract::{SourceHarness, read_splits};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey;
use serde_json::{Value, json};

use super::loss::half_read;
use super::{Reading, kafka, offsets, texts};
use crate::kafka::commands;

/// The same name, with `n` new records in each of its partitions.
async fn make_again(kafka: &TestKafka, topic: &str, n_partitions: usize, n: usize) {
    kafka.delete_topic(topic).await.unwrap();
    kafka.create_topic_named(topic, n_partitions, &[]).await.unwrap();
    for partition in 0..n_partitions {
        kafka.produce_values(topic, i32::try_from(partition).unwrap(), new_values(n)).await.unwrap();
    }
}

fn new_values(n: usize) -> Vec<String> {
    (0..n).map(|nth| format!("new {nth}")).collect()
}

fn servers(kafka: &TestKafka) -> Options {
    [("kafka.bootstrap.servers".to_owned(), kafka.bootstrap_servers().to_owned())].into_iter().collect()
}

/// The position as `millstream kafka reset` moves it.
async fn moved(kafka: &TestKafka, position: &Position, to: &str) -> Position {
    commands::moved(position, &Value::Null, to, &servers(kafka), Arc::new(ManualClock::new(0))).await.unwrap()
}

fn gaps(reading: &Reading) -> Value {
    serde_json::from_str(&reading.metric("gaps").unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_is_noticed_however_many_records_it_has() {
    let Some(kafka) = kafka() else { return };
    for (fails, n) in [(true, 1), (true, 3), (true, 5), (false, 0), (false, 1), (false, 3), (false, 5)] {
        let (topic, mut reading) = half_read(&kafka, fails).await;
        make_again(&kafka, &topic, 1, n).await;
        let planned = reading.plan_soon().await;
        if fails {
            let error = planned.unwrap_err();
            let expected = format!(
                "{topic}-0 was to be read from offset 3 on, and the topic was deleted; another one of the same name has the offsets 0 to {n}"
            );
            assert_eq!((error.message(), error.error_class()), (expected.as_str(), Some("KAFKA_DATA_LOSS")));
            continue;
        }
        planned.unwrap();
        assert_eq!(reading.next_values().await, new_values(n), "all of the new topic is new");
        let gap = json!([{ "topic": topic, "partition": 0, "wanted": 3, "available": [0, n], "n_missing": 0, "cause": "recreated" }]);
        assert_eq!(gaps(&reading), gap);
        kafka.produce_values(&topic, 0, ["next"]).await.unwrap();
        assert_eq!(reading.next_values().await, ["next"]);
        assert_eq!(reading.metric("gaps"), None, "it is told of once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_while_the_query_was_down_is_noticed() {
    let Some(kafka) = kafka() else { return };
    for fails in [true, false] {
        let (topic, mut reading) = half_read(&kafka, fails).await;
        let (_, position) = reading.run.take().unwrap();
        make_again(&kafka, &topic, 1, 5).await;
        reading.start(SourceStart::At(position)).await.unwrap();
        match reading.plan_soon().await {
            Err(error) => assert!(fails && error.message().contains("another one of the same name"), "{error}"),
            Ok(_) => assert_eq!((fails, reading.next_values().await), (false, new_values(5))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_topic_made_again_are_never_taken_for_those_that_were_planned() {
    let Some(kafka) = kafka() else { return };
    for fails in [true, false] {
        let (topic, mut reading) = half_read(&kafka, fails).await;
        kafka.produce_values(&topic, 0, ["3", "4"]).await.unwrap();
        let range = reading.plan().await.unwrap().unwrap();
        make_again(&kafka, &topic, 1, 8).await;
        // Another process, which has fetched nothing yet. That it reads the range of an earlier run it cannot know.
        let options = [("subscribe", topic.as_str()), ("failOnDataLoss", if fails { "true" } else { "false" }), ("metadataInterval", "0")];
        let splits = {
            let (source, _) = reading.run.as_mut().unwrap();
            source.splits(&range, 2).await.unwrap()
        };
        let mut other = Reading::stream(&kafka, &options);
        other.start(SourceStart::At(range.start.clone())).await.unwrap();
        let spec = other.run.as_ref().unwrap().0.reader();
        let read = read_splits(other.harness.registry(), &spec, &splits).await;
        let error = read.unwrap_err();
        let (kind, expected) = match fails {
            true => (
                ErrorKind::Data,
                format!("{topic}-0 was to be read from offset 3 on, and the topic was deleted; there is another one of the same name"),
            ),
            false => (ErrorKind::Unavailable, format!("topic '{topic}' was deleted and made again while a batch read it")),
        };
        assert_eq!((error.kind(), error.message()), (kind, expected.as_str()));

        // The range was recorded before it was read, so it is read again as it is.
        other.start(SourceStart::At(range.start.clone())).await.unwrap();
        if fails {
            let (source, _) = other.run.as_mut().unwrap();
            assert_eq!(source.splits(&range, 2).await.unwrap_err().message(), expected);
            continue;
        }
        assert_eq!(texts(&other.read(&range).await.unwrap()), Vec::<String>::new());
        other.decide(&range, &[]).await;
        assert_eq!(gaps(&other), json!([{ "topic": topic, "partition": 0, "wanted": 3, "n_missing": 2, "cause": "recreated" }]));
        assert_eq!(other.next_values().await, new_values(8));
        assert_eq!(gaps(&other)[0]["wanted"], 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_of_the_old_topic_is_not_given_for_the_new_one() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("ahead", 1).await.unwrap();
    kafka.produce_values(&topic, 0, (0..9).map(|n| n.to_string())).await.unwrap();
    let options = [
        ("subscribe", topic.as_str()),
        ("startingOffsets", "earliest"),
        ("failOnDataLoss", "false"),
        ("maxOffsetsPerTrigger", "3"),
        ("metadataInterval", "0"),
    ];
    let mut reading = Reading::stream(&kafka, &options);
    assert_eq!(reading.next_values().await, ["0", "1", "2"]);
    make_again(&kafka, &topic, 1, 9).await;
    reading.plan_soon().await.unwrap();
    let mut values = Vec::new();
    for _ in 0..3 {
        values.extend(reading.next_values().await);
    }
    assert_eq!(values, new_values(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_of_the_old_topic_is_not_given_where_the_new_one_goes_on_at_the_same_offset() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("same", 1).await.unwrap();
    kafka.produce_values(&topic, 0, (0..9).map(|n| n.to_string())).await.unwrap();
    let options =
        [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "3"), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &options);
    assert_eq!(reading.next_values().await, ["0", "1", "2"]);
    let (_, position) = reading.run.take().unwrap();
    make_again(&kafka, &topic, 1, 6).await;
    // The next query of this process has the same consumers, which have fetched 3 to 8 of the old topic.
    let moved = moved(&kafka, &position, &format!("{{\"{topic}\":{{\"0\":3}}}}")).await;
    reading.start(SourceStart::At(moved)).await.unwrap();
    assert_eq!(reading.next_values().await, new_values(6)[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_whose_leaders_have_lower_epochs_is_read() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&jars, &folder.path().join("broker")).unwrap();
    let kafka = TestKafka::at(&broker.bootstrap_servers()).unwrap();
    let (topic, mut reading) = half_read(&kafka, false).await;
    // Each restart is a new epoch of the partition's leader.
    broker.stop().unwrap();
    broker.start_again().unwrap();
    kafka.produce_values(&topic, 0, ["3"]).await.unwrap();
    reading.plan_soon().await.unwrap();
    assert_eq!(reading.next_values().await, ["3"]);
    make_again(&kafka, &topic, 1, 5).await;
    reading.plan_soon().await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(30), reading.next_values()).await;
    assert_eq!(read.expect("its client follows"), new_values(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_topic_made_again_with_fewer_partitions_all_old_ones_are_gaps() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("fewer", 3).await.unwrap();
    for partition in 0..3 {
        kafka.produce_values(&topic, partition, ["old"]).await.unwrap();
    }
    let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("failOnDataLoss", "false"), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &options);
    assert_eq!(reading.next_values().await.len(), 3);
    make_again(&kafka, &topic, 1, 2).await;
    let range = reading.plan_soon().await.unwrap();
    assert_eq!(offsets(&range.end), json!({ topic.clone(): { "0": 2 } }), "no partition of the old topic is remembered");
    assert_eq!(reading.next_values().await, new_values(2));
    let missing: Vec<Value> = gaps(&reading).as_array().unwrap().iter().map(|gap| gap["partition"].clone()).collect();
    assert_eq!(missing, [0, 1, 2]);
    kafka.grow_topic(&topic, 3).await.unwrap();
    kafka.produce_values(&topic, 2, ["first"]).await.unwrap();
    reading.plan_soon().await.unwrap();
    assert_eq!(reading.next_values().await, ["first"]);
    assert_eq!(reading.metric("gaps"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_available_now_run_reads_a_topic_made_again_and_ends() {
    let Some(kafka) = kafka() else { return };
    let (topic, mut reading) = half_read(&kafka, false).await;
    kafka.produce_values(&topic, 0, ["3", "4"]).await.unwrap();
    reading.run.as_mut().unwrap().0.fix_end().await.unwrap();
    make_again(&kafka, &topic, 1, 8).await;
    reading.plan_soon().await.unwrap();
    let mut values = Vec::new();
    while let Some(range) = reading.plan_with(&Admission::default()).await.unwrap() {
        values.extend(texts(&reading.read(&range).await.unwrap()));
        reading.decide(&range, &[]).await;
    }
    assert_eq!(values.len(), 8, "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_old_topic_began_says_nothing_of_the_new_one() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("again", 1).await.unwrap();
    kafka.produce_values(&topic, 0, (0..5).map(|n| n.to_string())).await.unwrap();
    kafka.delete_records(&topic, 0, 3).await.unwrap();
    let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("failOnDataLoss", "false")];
    let mut reading = Reading::stream(&kafka, &options);
    assert_eq!(reading.next_values().await, ["3", "4"]);
    // What is found from here on is remembered for the interval, in which the clock does not move.
    kafka.produce_values(&topic, 0, ["5"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["5"]);
    make_again(&kafka, &topic, 1, 2).await;
    reading.plan_soon().await.unwrap();
    assert_eq!(reading.next_values().await, new_values(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_off_is_of_the_same_topic_and_what_is_left_of_it_does_not_come_again() {
    let Some(kafka) = kafka() else { return };
    for fails in [true, false] {
        let (topic, mut reading) = half_read(&kafka, fails).await;
        let (_, Position(mut position)) = reading.run.take().unwrap();
        position["offsets"][&topic]["0"] = json!(7);
        reading.start(SourceStart::At(Position(position))).await.unwrap();
        let expected = format!("{topic}-0 was to be read from offset 7 on, and has the offsets 0 to 3: its log was cut off");
        if fails {
            assert_eq!(reading.plan().await.unwrap_err().message(), expected);
            continue;
        }
        assert!(reading.next_values().await.is_empty());
        let gap = json!([{ "topic": topic, "partition": 0, "wanted": 7, "available": [0, 3], "n_missing": 0, "cause": "truncated" }]);
        assert_eq!(gaps(&reading), gap);
        kafka.produce_values(&topic, 0, ["3"]).await.unwrap();
        assert_eq!(reading.next_values().await, ["3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_without_ids_goes_on_and_has_them_from_its_next_batch_on() {
    let Some(kafka) = kafka() else { return };
    let (topic, mut reading) = half_read(&kafka, true).await;
    let plain = Position(json!({ topic.clone(): { "0": 1 } }));
    reading.start(SourceStart::At(plain.clone())).await.unwrap();
    let SourceRange { start, end, .. } = reading.plan().await.unwrap().unwrap();
    assert_eq!((start, offsets(&end)), (plain, json!({ topic.clone(): { "0": 3 } })));
    let id = end.0["topics"][&topic].as_str().unwrap();
    assert_eq!(id.len(), 22, "as Kafka's tools show it: {id}");
    assert_eq!(reading.next_values().await, ["1", "2"]);
    let (source, position) = reading.run.as_ref().unwrap();
    assert_eq!(source.shown(position), json!({ topic: { "0": 3 } }), "progress has what Spark has");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_give_topics_no_ids_are_read_by_offsets_alone() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(9)).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    kafka.produce_values("t", 0, ["0", "1"]).await.unwrap();
    for fails in ["true", "false"] {
        let options = [("subscribe", "t"), ("startingOffsets", "earliest"), ("failOnDataLoss", fails), ("metadataInterval", "0")];
        let mut reading = Reading::stream(&kafka, &options);
        assert_eq!(reading.next_values().await, ["0", "1"]);
        let (_, position) = reading.run.take().unwrap();
        assert_eq!(position.0, json!({ "t": { "0": 2 } }));
        reading.start(SourceStart::At(Position(json!({ "t": { "0": 5 } })))).await.unwrap();
        match reading.plan().await {
            Err(error) => assert!(error.message().ends_with("the topic was deleted and made again, or its log was cut off"), "{error}"),
            Ok(_) => assert_eq!((fails, reading.next_values().await), ("false", vec!["0".to_owned(), "1".to_owned()])),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_of_a_topic_made_again_and_move_to_the_new_one() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("moved", 2).await.unwrap();
    kafka.produce_values(&topic, 0, ["0", "1"]).await.unwrap();
    kafka.produce_values(&topic, 1, ["2"]).await.unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("metadataInterval", "0")]);
    assert_eq!(reading.next_values().await.len(), 3);
    let (_, position) = reading.run.take().unwrap();
    make_again(&kafka, &topic, 2, 5).await;
    let (options, clock) = (servers(&kafka), || Arc::new(ManualClock::new(0)));
    let looked = commands::look(&position, &Value::Null, &options, clock()).await.unwrap();
    let look = &looked[&(topic.clone(), 0)];
    let expected = format!(
        "{topic}-0 was to be read from offset 2 on, and the topic was deleted; another one of the same name has the offsets 0 to 5"
    );
    assert_eq!((look.latest, look.lag, look.note.as_deref()), (Some(5), None, Some(expected.as_str())));
    let one = format!("{{\"{topic}\":{{\"0\":4}}}}");
    for (to, expected) in [("earliest", json!({ "0": 0, "1": 0 })), ("latest", json!({ "0": 5, "1": 5 })), (&one, json!({ "0": 4 }))] {
        let moved = moved(&kafka, &position, to).await;
        assert_eq!(offsets(&moved)[&topic], expected, "{to}");
        let looked = commands::look(&moved, &Value::Null, &options, clock()).await.unwrap();
        assert_eq!(looked[&(topic.clone(), 0)].note, None, "{to}");
        reading.start(SourceStart::At(moved)).await.unwrap();
        let n_left = reading.plan().await.unwrap().map_or(0, |range| reading.run.as_ref().unwrap().0.n_records(&range).unwrap());
        assert_eq!(
            n_left,
            match to {
                "earliest" => 10,
                "latest" => 0,
                _ => 6,
            },
            "{to}"
        );
    }
}
