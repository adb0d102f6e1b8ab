//! Tests on librdkafka's own broker, which has ids as a real one has.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{leader_epochs, topic_ids};

/// The only broker of a cluster has this id.
const BROKER: i32 = 1;
const WITHIN: Duration = Duration::from_secs(10);

fn cluster() -> (MockCluster<'static, DefaultProducerContext>, BaseConsumer) {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["a", "b"] {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    let consumer = consumer_of(&cluster.bootstrap_servers());
    (cluster, consumer)
}

fn consumer_of(servers: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "g").create().unwrap()
}

#[test]
fn ids_come_in_the_order_of_the_question_and_stay() {
    let (_cluster, consumer) = cluster();
    let ids = topic_ids(consumer.client(), BROKER, &["b", "a"], WITHIN).unwrap();
    let names: Vec<&str> = ids.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    let told: Vec<_> = ids.iter().map(|(_, id)| id.unwrap().unwrap()).collect();
    assert_ne!(told[0], told[1]);
    assert_eq!(topic_ids(consumer.client(), BROKER, &["b", "a"], WITHIN).unwrap(), ids);
    assert_eq!(topic_ids(consumer.client(), BROKER, &[], WITHIN).unwrap(), []);
}

#[test]
fn a_topic_that_does_not_exist_is_told_beside_the_others() {
    let (cluster, consumer) = cluster();
    cluster.topic_error("b", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let ids = topic_ids(consumer.client(), BROKER, &["a", "b"], WITHIN).unwrap();
    assert!(ids[0].1.unwrap().is_some());
    assert_eq!(ids[1], ("b".to_owned(), Err(RDKafkaErrorCode::UnknownTopicOrPartition)));
}

#[test]
fn brokers_without_ids_are_told_apart() {
    let (cluster, consumer) = cluster();
    cluster.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(9)).unwrap();
    assert_eq!(topic_ids(consumer.client(), BROKER, &["a"], WITHIN).unwrap(), [("a".to_owned(), Ok(None))]);
}

#[test]
fn names_that_no_topic_has_and_names_twice_are_errors() {
    let (_cluster, consumer) = cluster();
    let code = |topics: &[&str]| match topic_ids(consumer.client(), BROKER, topics, WITHIN) {
        Err(KafkaError::MetadataFetch(code)) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&["a\0b"]), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(code(&["a", "a"]), RDKafkaErrorCode::InvalidArgument);
    assert_eq!(code(&[""]), RDKafkaErrorCode::InvalidArgument);
}

#[test]
fn no_broker_is_an_error() {
    let consumer = consumer_of("127.0.0.1:1");
    let error = topic_ids(consumer.client(), BROKER, &["a"], Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, KafkaError::MetadataFetch(_)), "{error:?}");
}

#[test]
fn brokers_that_tell_no_epoch_are_told_apart() {
    let (_cluster, consumer) = cluster();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("a", 1, Offset::End).unwrap();
    // librdkafka's own broker leaves them out.
    assert_eq!(leader_epochs(&consumer.offsets_for_times(list, WITHIN).unwrap()), [None]);
    assert_eq!(leader_epochs(&TopicPartitionList::new()), []);
}
