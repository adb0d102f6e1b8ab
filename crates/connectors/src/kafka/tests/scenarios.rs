//! Smaller scenarios, as tables: what the other tests of this folder leave out of the options' list.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use millstream_core::{Admission, Clock, ErrorKind, SourceStart};
use millstream_testkit::kafka::{TestKafka, TestRecord};
use rdkafka::Offset;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::sink::{Writing, schema, texts, values, values_schema};
use super::source::published;
use super::{Reading, kafka, offsets};
use crate::harness::registry;
use crate::kafka::split::RECORD_BYTES_GUESS;

#[tokio::test(flavor = "multi_thread")]
async fn records_compressed_in_any_way_are_written_and_read() {
    let Some(kafka) = kafka() else { return };
    let wide = |n: usize| format!("{n} {}", "compresses well ".repeat(50));
    let expected: Vec<String> = (0..40).map(wide).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        // The topic says how the broker keeps what our sink has compressed in its way.
        let topic = kafka.unique(codec);
        kafka.create_topic_named(&topic, 1, &[("compression.type", "producer")]).await.unwrap();
        let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("kafka.compression.type", codec)]);
        let sink = writing.fresh().await;
        writing.batch(&sink, 0, values(expected.clone())).await.unwrap();
        sink.stop().await.unwrap();
        assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), expected, "{codec}");
        assert_eq!(Reading::batch(&kafka, &[("subscribe", &topic)]).next_values().await, expected, "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_reads_where_there_is_nothing_to_read() {
    let Some(kafka) = kafka() else { return };
    let (empty, emptied) = (kafka.create_topic("empty", 2).await.unwrap(), kafka.create_topic("emptied", 1).await.unwrap());
    kafka.produce_values(&emptied, 0, ["a", "b"]).await.unwrap();
    kafka.delete_records(&emptied, 0, 2).await.unwrap();
    let from_two = format!("{{\"{emptied}\":{{\"0\":2}}}}");
    for options in [
        vec![("subscribe", empty.as_str())],
        vec![("subscribe", emptied.as_str())],
        vec![("subscribe", emptied.as_str()), ("startingOffsets", from_two.as_str())],
        vec![("subscribe", empty.as_str()), ("endingTimestamp", "1")],
        // Those of Kafka itself are no customers.
        vec![("subscribePattern", "__.*")],
        vec![("subscribePattern", "no-topic-is-called-so-.*")],
    ] {
        assert_eq!(Reading::batch(&kafka, &options).next_values().await, Vec::<String>::new(), "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_offsets_that_are_gone_fails_or_reads_what_is_left() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("gone", 1).await.unwrap();
    kafka.produce_values(&topic, 0, (0..6).map(|n| n.to_string())).await.unwrap();
    kafka.delete_records(&topic, 0, 4).await.unwrap();
    let at = |offset: i64| format!("{{\"{topic}\":{{\"0\":{offset}}}}}");
    let (one, five, nine, earliest) = (at(1), at(5), at(9), "earliest".to_owned());
    for (from, to, fails, expected) in [
        (&one, &five, "true", Err("-0 was to be read from offset 1 on, and has the offsets 4 to 6: 3 records may have been lost")),
        (&one, &five, "false", Ok(vec!["4"])),
        (&five, &nine, "true", Err("option 'endingOffsets' is 9 for ")),
        (&five, &nine, "false", Ok(vec!["5"])),
        (&earliest, &one, "true", Err("-0, which begins at 4: all that was to be read may have been lost to retention")),
        (&earliest, &one, "false", Ok(vec![])),
        (&one, &one, "true", Ok(vec![])),
    ] {
        let options = [
            ("subscribe", topic.as_str()),
            ("startingOffsets", from),
            ("endingOffsets", to),
            ("failOnDataLoss", fails),
            ("kafkaConsumer.pollTimeoutMs", "2000"),
        ];
        let mut reading = Reading::batch(&kafka, &options);
        match (reading.next().await, expected) {
            (Ok(rows), Ok(expected)) => {
                let read: Vec<String> =
                    super::texts(&rows.unwrap_or_default()).iter().map(|text| text.split_once('=').unwrap().1.to_owned()).collect();
                assert_eq!(read, expected, "{options:?}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.message().contains(expected), "{options:?}: {error}");
                assert!(matches!(error.kind(), ErrorKind::Data | ErrorKind::Unavailable), "{error:?}");
            }
            (read, _) => panic!("{options:?}: {read:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn option_topic_goes_before_the_column_as_in_spark() {
    let Some(kafka) = kafka() else { return };
    let (option, column) = (kafka.create_topic("option", 1).await.unwrap(), kafka.create_topic("column", 1).await.unwrap());
    let fields = schema(&[("topic", DataType::Utf8), ("value", DataType::Utf8)]);
    let rows = || {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec![Some(column.as_str()), None])), Arc::new(StringArray::from(vec!["a", "b"]))];
        RecordBatch::try_new(fields.clone(), columns).unwrap()
    };
    let mut writing = Writing::new(&kafka, fields.clone(), &[("topic", &option)]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, rows()).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&option).unwrap()), ["a", "b"]);
    assert_eq!(kafka.consume_committed(&column).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_partitions_that_kafkas_own_client_chooses() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("keyed", 7).await.unwrap();
    let fields = schema(&[("key", DataType::Utf8), ("value", DataType::Utf8)]);
    let keys: Vec<String> = (0..30).map(|n| format!("key-{n}")).collect();
    let column = || -> ArrayRef { Arc::new(StringArray::from(keys.clone())) };
    let mut writing = Writing::new(&kafka, fields.clone(), &[("topic", &topic)]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, RecordBatch::try_new(fields, vec![column(), column()]).unwrap()).await.unwrap();
    let written = kafka.consume_committed(&topic).unwrap();
    assert_eq!(written.len(), keys.len());
    for record in &written {
        assert_eq!(record.partition, (murmur2(record.key.as_deref().unwrap()) & 0x7fff_ffff) as i32 % 7, "{}", record.text());
    }
}

/// As `org.apache.kafka.common.utils.Utils.murmur2` has it.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(bytes.len()).unwrap();
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (nth, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * nth);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_times_are_there_when_they_are_asked_for() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("asked", 1).await.unwrap();
    kafka.produce(&topic, &[TestRecord::new("v").partition(0).at_ms(0).header("h", Some(b""))]).await.unwrap();
    for (wish, n_columns) in [("false", 7), ("true", 8), ("TRUE", 8)] {
        let rows = Reading::batch(&kafka, &[("subscribe", &topic), ("includeHeaders", wish)]).next().await.unwrap().unwrap();
        assert_eq!(rows[0].num_columns(), n_columns, "{wish}");
    }
    let error = Reading::batch(&kafka, &[("subscribe", &topic), ("includeHeaders", "perhaps")]).plan().await.unwrap_err();
    assert!(error.message().contains("includeHeaders"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_way_to_say_where_to_begin() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("ways", 1).await.unwrap();
    kafka.produce(&topic, &[TestRecord::new("a").partition(0).at_ms(1000), TestRecord::new("b").partition(0).at_ms(2000)]).await.unwrap();
    let json = |n: i64| format!("{{\"{topic}\":{{\"0\":{n}}}}}");
    let (one, latest, times, late) = (json(1), json(-1), json(1500), json(9000));
    for (options, expected) in [
        // In assign, too, all partitions must be named, and no others.
        (vec![("startingOffsets", one.as_str())], "b"),
        (vec![("startingOffsetsByTimestamp", times.as_str())], "b"),
        (vec![("startingOffsetsByTimestamp", late.as_str()), ("startingOffsetsByTimestampStrategy", "LATEST")], ""),
        (vec![("startingTimestamp", "1001"), ("endingOffsets", latest.as_str())], "b"),
        (vec![("endingOffsets", one.as_str())], "a"),
        (vec![("endingTimestamp", "1500"), ("endingOffsets", "latest")], "a"),
        (vec![("minPartitions", "2")], "a b"),
        (vec![("maxRecordsPerPartition", "1")], "a b"),
    ] {
        let assign = format!("{{\"{topic}\":[0]}}");
        let mut all = vec![("assign", assign.as_str())];
        all.extend(options.iter().copied());
        assert_eq!(Reading::batch(&kafka, &all).next_values().await.join(" "), expected, "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_asked_for_again_as_often_as_the_option_says() {
    // A broker that is told when to fail, as a real one cannot be.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("failing", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    kafka.produce_values("failing", 0, ["a"]).await.unwrap();
    for (n_retries, n_failures, reads) in [("2", 2, true), ("2", 9, false), ("0", 1, false)] {
        let options =
            [("subscribe", "failing"), ("startingOffsets", "earliest"), ("fetchOffset.numRetries", n_retries), ("metadataInterval", "0")];
        let mut reading = Reading::stream(&kafka, &options);
        reading.start(SourceStart::Fresh).await.unwrap();
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; n_failures]);
        let planned = reading.plan().await;
        cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
        assert_eq!(planned.is_ok(), reads, "{n_retries} retries, {n_failures} failures: {planned:?}");
    }
}

#[tokio::test]
async fn names_and_values_of_options_that_are_wrong_are_told_before_anybody_connects() {
    for (options, message) in [
        (vec![("subscribe", "t"), ("maxOffsetsPerTriger", "5")], "unknown option 'maxOffsetsPerTriger'"),
        (vec![("subscribe", "t"), ("maxOffsetsPerTrigger", "-1")], "maxOffsetsPerTrigger"),
        (vec![("subscribe", "t"), ("maxTriggerDelay", "soon")], "maxTriggerDelay"),
        (vec![("subscribe", "t"), ("metadataInterval", "often")], "metadataInterval"),
        (vec![("subscribe", "t"), ("failOnDataLoss", "no!")], "failOnDataLoss"),
        (vec![("subscribe", "t"), ("fetchOffset.numRetries", "x")], "fetchOffset.numRetries"),
        (vec![("subscribe", "t"), ("fetchBufferBytes", "x")], "fetchBufferBytes"),
        (vec![("subscribePattern", "(")], "subscribePattern"),
        (vec![("assign", "{}")], "assign"),
    ] {
        let mut reading = Reading::of("127.0.0.1:1", &options, true);
        let planned = tokio::time::timeout(Duration::from_secs(5), reading.plan()).await.expect("nobody connects");
        let error = planned.unwrap_err();
        assert!(error.message().contains(message) && error.kind() == ErrorKind::Invalid, "{options:?}: {error}");
    }
}

/// A clock whose sleeps are over at once, and remembered.
#[derive(Debug, Default)]
struct Sleeps(Mutex<Vec<Duration>>);

#[async_trait]
impl Clock for Sleeps {
    fn now_proc_us(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, duration: Duration) {
        self.0.lock().unwrap().push(duration);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_before_offsets_are_asked_for_again_is_as_long_as_the_option_says() {
    // A broker that is told when to fail, as a real one cannot be.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("failing", 1, 1).unwrap();
    for (options, expected) in [
        (vec![("fetchOffset.retryIntervalMs", "70"), ("fetchOffset.numRetries", "3")], vec![70, 70, 70]),
        (vec![("fetchOffset.retryIntervalMs", "400")], vec![400, 800, 1000]),
        (vec![("fetchOffset.retryIntervalMs", "10")], vec![10, 20, 40]),
    ] {
        let mut all = vec![("subscribe", "failing"), ("startingOffsets", "earliest")];
        all.extend(options);
        let clock = Arc::new(Sleeps::default());
        let mut request = Reading::of(&cluster.bootstrap_servers(), &all, true).harness.request();
        request.clock = clock.clone();
        let mut source = registry().0.for_format("kafka").unwrap().source(request).await.unwrap();
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 3]);
        source.start(SourceStart::Fresh).await.unwrap();
        let slept: Vec<u128> = clock.0.lock().unwrap().iter().map(Duration::as_millis).collect();
        assert_eq!(slept, expected, "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_broker_does_not_take_stop_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("watched", 1, 1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    let options = [("subscribe", "watched"), ("startingOffsets", "earliest"), ("kafka.group.id", "watchers"), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &options);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 9];
    for value in ["a", "b"] {
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
        kafka.produce_values("watched", 0, [value]).await.unwrap();
        assert_eq!(reading.next_values().await, [value]);
    }
    let stop = async |reading: &mut Reading| reading.run.take().unwrap().0.stop().await.unwrap();
    stop(&mut reading).await;
    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    assert_eq!(published(&kafka, "watchers", "watched"), Offset::Invalid);
    // With the right to it, they are published.
    kafka.produce_values("watched", 0, ["c"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["a", "b", "c"], "a new query");
    stop(&mut reading).await;
    assert_eq!(published(&kafka, "watchers", "watched"), Offset::Offset(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_keeps_its_group_and_others_have_their_own() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("groups", 1).await.unwrap();
    kafka.produce_values(&topic, 0, ["a"]).await.unwrap();
    let group = async |checkpoint: &str| {
        let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("groupIdPrefix", "watched")];
        let mut request = Reading::stream(&kafka, &options).harness.request();
        request.checkpoint_dir = Some(checkpoint.to_owned());
        let mut source = registry().0.for_format("kafka").unwrap().source(request).await.unwrap();
        source.start(SourceStart::Fresh).await.unwrap();
        source.metrics().values.into_iter().find(|(name, _)| name == "groupId").unwrap().1
    };
    let (one, again, other) = (group("/one").await, group("/one").await, group("/other").await);
    assert!(one.starts_with("watched-") && one == again && one != other, "{one} {again} {other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_a_table_is_read_unless_others_are_named() {
    let Some(kafka) = kafka() else { return };
    let (own, other) = (kafka.create_topic("own", 1).await.unwrap(), kafka.create_topic("other", 1).await.unwrap());
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &own)]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, values(["mine"])).await.unwrap();
    kafka.produce_values(&other, 0, ["another's"]).await.unwrap();
    let assign = format!("{{\"{other}\":[0]}}");
    for (options, expected) in [
        (vec![("topic", own.as_str())], "mine"),
        (vec![("topic", own.as_str()), ("subscribe", other.as_str())], "another's"),
        (vec![("topic", own.as_str()), ("subscribePattern", other.as_str())], "another's"),
        (vec![("topic", own.as_str()), ("assign", assign.as_str())], "another's"),
    ] {
        assert_eq!(Reading::batch(&kafka, &options).next_values().await, [expected], "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_of_all_limits_counts() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("limits", 1).await.unwrap();
    kafka.produce_values(&topic, 0, (0..100).map(|n| n.to_string())).await.unwrap();
    for (max_offsets, bytes_max, records_max, expected) in [
        ("50", None, u64::MAX, 50),
        ("50", Some(20 * RECORD_BYTES_GUESS), u64::MAX, 20),
        ("50", Some(20 * RECORD_BYTES_GUESS), 7, 7),
        ("5", Some(20 * RECORD_BYTES_GUESS), 7, 5),
        ("50", Some(1), u64::MAX, 1),
    ] {
        let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", max_offsets)];
        let admission = Admission::bytes(bytes_max).records(records_max);
        let range = Reading::stream(&kafka, &options).plan_with(&admission).await.unwrap().unwrap();
        assert_eq!(offsets(&range.end)[&topic]["0"], expected, "{max_offsets}, {admission:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_offsets_are_held_back_for_a_quarter_of_an_hour_by_default() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("quarter", 1).await.unwrap();
    let options = [("subscribe", topic.as_str()), ("startingOffsets", "earliest"), ("minOffsetsPerTrigger", "3")];
    let mut reading = Reading::stream(&kafka, &options);
    for value in ["a", "b"] {
        kafka.produce_values(&topic, 0, [value]).await.unwrap();
        assert_eq!(reading.plan().await.unwrap().is_none(), value == "b");
        reading.clock.advance(Duration::from_mins(15) - Duration::from_millis(1));
        assert_eq!(reading.plan().await.unwrap().is_none(), value == "b");
        reading.clock.advance(Duration::from_millis(1));
        assert_eq!(reading.next_values().await, [value]);
    }
}
