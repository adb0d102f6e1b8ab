//! Reading: columns, topics, limits, splits, what is published.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use millstream_core::Admission;
use millstream_testkit::kafka::{TestKafka, TestRecord};
use millstream_testkit::source_contract::check_source;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{Reading, kafka, offsets};
use crate::kafka::split::KafkaSplit;
use crate::wire;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("contract", 3).await.unwrap();
    let reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("includeHeaders", "true")]);
    check_source(&reading.harness).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_with_limits() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("contract", 3).await.unwrap();
    let options = [
        ("subscribe", topic.as_str()),
        ("startingOffsets", "earliest"),
        ("maxOffsetsPerTrigger", "8"),
        ("minPartitions", "4"),
        ("maxRecordsPerPartition", "3"),
    ];
    check_source(&Reading::stream(&kafka, &options).harness).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_those_of_spark() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("columns", 2).await.unwrap();
    let records = [
        TestRecord::new("v").key("k").partition(1).at_ms(1_234).header("a", Some(b"1")).header("b", None).header("a", Some(b"2")),
        TestRecord::tombstone("k").partition(1).at_ms(1_235),
    ];
    kafka.produce(&topic, &records).await.unwrap();
    let mut reading = Reading::batch(&kafka, &[("subscribe", &topic), ("includeHeaders", "true")]);
    let rows = reading.next().await.unwrap().unwrap();
    let [batch] = rows.as_slice() else { panic!("{rows:?}") };
    let types: Vec<String> = batch.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(
        types,
        [
            "key Binary",
            "value Binary",
            "topic Utf8",
            "partition Int32",
            "offset Int64",
            "timestamp Timestamp(µs, \"UTC\")",
            "timestampType Int32",
            "headers List(Struct(\"key\": Utf8, \"value\": Binary))",
        ]
    );
    assert_eq!(batch.column(0).as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(b"k".as_slice()), Some(b"k")]);
    assert_eq!(batch.column(1).as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(b"v".as_slice()), None]);
    assert_eq!(batch.column(5).as_primitive::<TimestampMicrosecondType>().values(), &[1_234_000, 1_235_000]);
    assert_eq!(batch.column(6).as_primitive::<Int32Type>().values(), &[0, 0]);
    let headers = batch.column(7).as_list::<i32>();
    assert!(headers.is_null(1), "a record without headers has none");
    let first = headers.value(0);
    let (keys, values) = (first.as_struct().column(0).as_string::<i32>(), first.as_struct().column(1).as_binary::<i32>());
    assert_eq!(keys.iter().flatten().collect::<Vec<_>>(), ["a", "b", "a"]);
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some(b"1".as_slice()), None, Some(b"2")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_the_broker_have_type_1() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.unique("append-time");
    kafka.create_topic_named(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]).await.unwrap();
    kafka.produce(&topic, &[TestRecord::new("v").at_ms(5)]).await.unwrap();
    let rows = Reading::batch(&kafka, &[("subscribe", &topic)]).next().await.unwrap().unwrap();
    assert_eq!(rows[0].column(6).as_primitive::<Int32Type>().values(), &[1]);
    assert!(rows[0].column(5).as_primitive::<TimestampMicrosecondType>().value(0) > 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_topics_that_appear_later_and_reads_them_from_their_beginning() {
    let Some(kafka) = kafka() else { return };
    let prefix = kafka.unique("customer");
    let named = |name: &str| format!("{prefix}-{name}");
    kafka.create_topic_named(&named("a"), 1, &[]).await.unwrap();
    kafka.create_topic_named(&format!("not-{prefix}-a"), 1, &[]).await.unwrap();
    kafka.produce_values(&named("a"), 0, ["before"]).await.unwrap();
    kafka.produce_values(&format!("not-{prefix}-a"), 0, ["other"]).await.unwrap();
    let pattern = format!("{prefix}-.");
    let mut reading = Reading::stream(&kafka, &[("subscribePattern", &pattern), ("metadataInterval", "5s")]);
    assert!(reading.plan().await.unwrap().is_none(), "a new query begins at the latest offsets");
    kafka.produce_values(&named("a"), 0, ["a1"]).await.unwrap();
    kafka.create_topic_named(&named("b"), 2, &[]).await.unwrap();
    kafka.create_topic_named(&named("too-long"), 1, &[]).await.unwrap();
    kafka.produce_values(&named("b"), 1, ["b0", "b1"]).await.unwrap();
    kafka.produce_values(&named("too-long"), 0, ["no"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["a1"], "topics are looked for every metadataInterval");
    reading.clock.advance(Duration::from_millis(5_000));
    assert_eq!(reading.next_texts().await, [format!("{prefix}-b-1@0=b0"), format!("{prefix}-b-1@1=b1")]);
    // A partition that was empty when it was found is new still.
    kafka.produce_values(&named("b"), 0, ["b2"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["b2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_found() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("grows", 1).await.unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("metadataInterval", "0")]);
    assert!(reading.plan().await.unwrap().is_none());
    kafka.grow_topic(&topic, 3).await.unwrap();
    for partition in 0..3 {
        kafka.produce_values(&topic, partition, [format!("p{partition}")]).await.unwrap();
    }
    assert_eq!(reading.next_values().await, ["p0", "p1", "p2"]);
    assert!(reading.plan().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn assigned_partitions_are_read_and_no_others() {
    let Some(kafka) = kafka() else { return };
    let (one, two) = (kafka.create_topic("one", 3).await.unwrap(), kafka.create_topic("two", 2).await.unwrap());
    for (topic, n_partitions) in [(&one, 3), (&two, 2)] {
        for partition in 0..n_partitions {
            kafka.produce_values(topic, partition, [format!("{partition}")]).await.unwrap();
        }
    }
    let assign = format!("{{\"{one}\":[0,2],\"{two}\":[1]}}");
    let mut reading = Reading::batch(&kafka, &[("assign", &assign)]);
    assert_eq!(reading.next_texts().await, [format!("{one}-0@0=0"), format!("{one}-2@0=2"), format!("{two}-1@0=1")]);
    let assign = format!("{{\"{one}\":[0,3]}}");
    let error = Reading::batch(&kafka, &[("assign", &assign)]).plan().await.unwrap_err();
    assert!(error.message().starts_with(&format!("there is no partition {one}-3 in the Kafka cluster at ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_are_subscribed_to_and_each_must_be_there() {
    let Some(kafka) = kafka() else { return };
    let (one, two) = (kafka.create_topic("one", 1).await.unwrap(), kafka.create_topic("two", 1).await.unwrap());
    kafka.produce_values(&one, 0, ["1"]).await.unwrap();
    kafka.produce_values(&two, 0, ["2"]).await.unwrap();
    let both = format!("{one}, {two},");
    assert_eq!(Reading::batch(&kafka, &[("subscribe", &both)]).next_values().await, ["1", "2"]);
    let error = Reading::stream(&kafka, &[("subscribe", "not-there")]).plan().await.unwrap_err();
    assert!(error.message().starts_with("there is no topic 'not-there' in the Kafka cluster at "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_no_more_than_max_offsets_per_trigger_shared_out_by_what_there_is() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("max", 3).await.unwrap();
    for (partition, n) in [(0, 60), (1, 30), (2, 1)] {
        kafka.produce_values(&topic, partition, (0..n).map(|n| n.to_string())).await.unwrap();
    }
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "9")]);
    let range = reading.plan().await.unwrap().unwrap();
    assert_eq!(offsets(&range.end), serde_json::json!({ topic.clone(): { "0": 5, "1": 2, "2": 1 } }));
    let mut seen = Vec::new();
    for _ in 0..100 {
        let rows = reading.next_texts().await;
        assert!(rows.len() <= 10, "{rows:?}");
        if rows.is_empty() {
            break;
        }
        seen.extend(rows);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 91);
    let once = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "9")])
        .plan_with(&Admission::ALL)
        .await;
    assert_eq!(offsets(&once.unwrap().unwrap().end), serde_json::json!({ topic: { "0": 60, "1": 30, "2": 1 } }), "once takes all");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_offsets_are_waited_for_but_not_for_ever() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("min", 1).await.unwrap();
    let options =
        [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("minOffsetsPerTrigger", "3"), ("maxTriggerDelay", "10s")];
    let mut reading = Reading::stream(&kafka, &options);
    kafka.produce_values(&topic, 0, ["a"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["a"], "the first batch takes what there is");
    kafka.produce_values(&topic, 0, ["b", "c"]).await.unwrap();
    assert!(reading.plan().await.unwrap().is_none());
    kafka.produce_values(&topic, 0, ["d"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["b", "c", "d"]);
    kafka.produce_values(&topic, 0, ["e"]).await.unwrap();
    reading.clock.advance(Duration::from_millis(9_999));
    assert!(reading.plan().await.unwrap().is_none());
    reading.clock.advance(Duration::from_millis(1));
    assert_eq!(reading.next_values().await, ["e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_are_as_many_as_the_options_want() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("splits", 2).await.unwrap();
    kafka.produce_values(&topic, 0, (0..90).map(|n| n.to_string())).await.unwrap();
    kafka.produce_values(&topic, 1, (0..10).map(|n| n.to_string())).await.unwrap();
    for (options, n_tasks, expected) in [
        (vec![], 4, vec![90, 10]),
        (vec![], 1, vec![100]),
        (vec![("minPartitions", "10")], 2, vec![10; 10]),
        (vec![("maxRecordsPerPartition", "40")], 2, vec![30, 30, 30, 10]),
        (vec![("maxRecordsPerPartition", "40"), ("minPartitions", "3")], 2, vec![30, 30, 30, 10]),
    ] {
        let mut all = vec![("subscribe", topic.as_str()), ("startingOffsets", "earliest")];
        all.extend(options);
        let mut reading = Reading::stream(&kafka, &all);
        let range = reading.plan().await.unwrap().unwrap();
        let (source, _) = reading.run.as_mut().unwrap();
        let splits = source.splits(&range, n_tasks).await.unwrap();
        let mut lens: Vec<i64> = splits
            .iter()
            .map(|split| wire::split_payload::<KafkaSplit>(split).unwrap().pieces.iter().map(|piece| piece.end - piece.begin).sum())
            .collect();
        lens.sort_by_key(|len| std::cmp::Reverse(*len));
        assert_eq!(lens, expected, "{all:?}");
        assert_eq!(reading.next_values().await.len(), 100, "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_are_published_and_lag_is_told() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("published", 2).await.unwrap();
    kafka.produce_values(&topic, 0, ["a", "b", "c"]).await.unwrap();
    for (wish, expected) in [("true", Offset::Offset(2)), ("false", Offset::Invalid)] {
        let prefix = kafka.unique("group");
        let options = [
            ("subscribe", topic.as_str()),
            ("startingOffsets", "earliest"),
            ("maxOffsetsPerTrigger", "2"),
            ("groupIdPrefix", &prefix),
            ("commitOffsetsToBroker", wish),
        ];
        let mut reading = Reading::stream(&kafka, &options);
        assert_eq!(reading.next_values().await, ["a", "b"]);
        assert_eq!(reading.metric("offsetsBehindLatest").unwrap(), format!("{{\"{topic}\":{{\"0\":1}}}}"));
        assert_eq!(reading.metric("maxOffsetsBehindLatest").as_deref(), Some("1"));
        assert_eq!(reading.metric("minOffsetsBehindLatest").as_deref(), Some("0"));
        assert_eq!(reading.metric("avgOffsetsBehindLatest").as_deref(), Some("0.5"));
        let (mut source, _) = reading.run.take().unwrap();
        let group = source.metrics().values.into_iter().find(|(name, _)| name == "groupId").map(|(_, group)| group);
        source.stop().await.unwrap();
        assert_eq!(group.is_some(), wish == "true");
        let group = group.unwrap_or_else(|| format!("{prefix}-nobody"));
        assert!(group.starts_with(&prefix), "{group}");
        assert_eq!(published(&kafka, &group, &topic), expected);
    }
}

/// What the broker knows of a group's offset in the first partition of a topic.
pub(super) fn published(kafka: &TestKafka, group: &str, topic: &str) -> Offset {
    let witness: BaseConsumer = kafka.config().set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let committed = witness.committed_offsets(asked, Duration::from_secs(10)).unwrap();
    committed.elements()[0].offset()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_id_of_the_users_is_used() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("group", 1).await.unwrap();
    kafka.produce_values(&topic, 0, ["a"]).await.unwrap();
    let group = kafka.unique("mine");
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("kafka.group.id", &group)]);
    reading.next_values().await;
    assert_eq!(reading.metric("groupId").as_ref(), Some(&group));
    let (mut source, _) = reading.run.take().unwrap();
    source.stop().await.unwrap();
    assert_eq!(published(&kafka, &group, &topic), Offset::Offset(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn available_now_takes_what_is_there_and_no_more() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("now", 1).await.unwrap();
    kafka.produce_values(&topic, 0, ["a", "b", "c"]).await.unwrap();
    let options =
        [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "2"), ("minOffsetsPerTrigger", "2")];
    let mut reading = Reading::stream(&kafka, &options);
    reading.start(millstream_core::SourceStart::Fresh).await.unwrap();
    reading.run.as_mut().unwrap().0.fix_end().await.unwrap();
    kafka.produce_values(&topic, 0, ["later"]).await.unwrap();
    kafka.grow_topic(&topic, 2).await.unwrap();
    assert_eq!(reading.next_values().await, ["a", "b"]);
    assert_eq!(reading.next_values().await, ["c"], "minOffsetsPerTrigger holds nothing back when the end is fixed");
    assert!(reading.plan().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_again_reads_the_same_records_and_not_those_written_since() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("again", 2).await.unwrap();
    kafka.produce_values(&topic, 0, ["a", "b"]).await.unwrap();
    kafka.produce_values(&topic, 1, ["c"]).await.unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest")]);
    let range = reading.plan().await.unwrap().unwrap();
    let first = super::texts(&reading.read(&range).await.unwrap());
    kafka.produce_values(&topic, 0, ["later"]).await.unwrap();
    kafka.produce_values(&topic, 1, ["later"]).await.unwrap();
    for _ in 0..2 {
        reading.restart_after(&range).await.unwrap();
        assert_eq!(super::texts(&reading.read(&range).await.unwrap()), first);
    }
    assert_eq!(reading.next_values().await, ["later", "later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_records_and_many_rows_come_whole() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("wide", 1).await.unwrap();
    let wide = |n: usize| vec![b'a' + (n % 26) as u8; 900_000];
    kafka.produce_values(&topic, 0, (0..20).map(wide)).await.unwrap();
    kafka.produce_values(&topic, 0, (0..20_000).map(|n| n.to_string())).await.unwrap();
    let rows = Reading::batch(&kafka, &[("subscribe", &topic), ("fetchBufferBytes", "1m")]).next().await.unwrap().unwrap();
    assert_eq!(rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 20_020);
    assert!(rows.iter().all(|batch| batch.num_rows() <= 8192));
    let first = rows[0].column(1).as_binary::<i32>();
    assert!((0..10).all(|row| first.value(row) == wide(row)));
    assert!(Arc::ptr_eq(&rows[0].schema(), &rows[1].schema()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_topics_are_one_range() {
    let Some(kafka) = kafka() else { return };
    let prefix = kafka.unique("many");
    for nth in 0..60 {
        kafka.create_topic_named(&format!("{prefix}-{nth}"), 2, &[]).await.unwrap();
        kafka.produce_values(&format!("{prefix}-{nth}"), nth % 2, [nth.to_string()]).await.unwrap();
    }
    let pattern = format!("{prefix}-.*");
    let mut reading = Reading::stream(&kafka, &[("subscribePattern", &pattern), ("startingOffsets", "earliest")]);
    let mut values = reading.next_values().await;
    values.sort_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(values, (0..60).map(|nth| nth.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_told_of_new_records_again_and_again() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("told", 2).await.unwrap();
    let mut reading = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", "earliest")]);
    for round in ["a", "b", "c"] {
        for partition in 0..2 {
            kafka.produce_values(&topic, partition, [round]).await.unwrap();
        }
        assert_eq!(reading.next_values().await, [round, round]);
        // The ends of the partitions are told, too, each once.
        let nudge = reading.nudge();
        for _ in 0..20 {
            assert!(reading.plan().await.unwrap().is_none());
            drop(tokio::time::timeout(Duration::from_millis(50), nudge.notified()).await);
        }
        assert!(tokio::time::timeout(Duration::from_millis(300), nudge.notified()).await.is_err(), "nothing comes, and nothing is told");
        kafka.produce_values(&topic, 1, ["told"]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), nudge.notified()).await.expect("it is told of the record");
        assert_eq!(reading.next_values().await, ["told"]);
    }
}
