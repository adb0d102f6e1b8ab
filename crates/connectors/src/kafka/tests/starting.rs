//! Where queries begin, and where batches end.

use millstream_core::ErrorKind;
use millstream_testkit::kafka::{TestKafka, TestRecord};

use super::{Reading, kafka};

/// Two partitions: values a to e at 1000, 2000, ... ms in the first, x at 2500 in the second.
async fn timed(kafka: &TestKafka) -> String {
    let topic = kafka.create_topic("timed", 2).await.unwrap();
    let first = ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(value, nth)| TestRecord::new(*value).partition(0).at_ms(nth * 1000));
    let mut records: Vec<TestRecord> = first.collect();
    records.push(TestRecord::new("x").partition(1).at_ms(2500));
    kafka.produce(&topic, &records).await.unwrap();
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_where_the_options_say() {
    let Some(kafka) = kafka() else { return };
    let topic = timed(&kafka).await;
    let json = |first: i64, second: i64| format!("{{\"{topic}\":{{\"0\":{first},\"1\":{second}}}}}");
    let (offsets, marks, times, late) = (json(3, 0), json(-2, -1), json(2001, 0), json(9000, 0));
    for (options, expected) in [
        (vec![], "new"),
        (vec![("startingOffsets", "latest")], "new"),
        (vec![("startingOffsets", "EARLIEST")], "a b c d e new x"),
        (vec![("startingOffsets", offsets.as_str())], "d e new x"),
        (vec![("startingOffsets", marks.as_str())], "a b c d e new"),
        (vec![("startingTimestamp", "2000")], "b c d e new x"),
        (vec![("startingOffsetsByTimestamp", times.as_str()), ("startingOffsets", "earliest")], "c d e new x"),
        (vec![("startingTimestamp", "2400"), ("startingOffsetsByTimestamp", times.as_str())], "c d e new x"),
        (vec![("startingOffsetsByTimestamp", late.as_str()), ("startingOffsetsByTimestampStrategy", "latest")], "new x"),
    ] {
        let mut all = vec![("subscribe", topic.as_str())];
        all.extend(options.iter().copied());
        let mut reading = Reading::stream(&kafka, &all);
        let position = reading.start(millstream_core::SourceStart::Fresh).await.unwrap();
        // What a record written now adds is the same for all of them.
        let new = format!("{}-0@", topic);
        let n_before = kafka.consume_committed(&topic).unwrap().iter().filter(|record| record.partition == 0).count();
        kafka.produce(&topic, &[TestRecord::new("new").partition(0).at_ms(1)]).await.unwrap();
        let texts = reading.next_texts().await;
        let read: Vec<&str> = texts
            .iter()
            .filter(|text| !text.ends_with("=new") || text.starts_with(&format!("{new}{n_before}=")))
            .map(|text| text.split_once('=').unwrap().1)
            .collect();
        assert_eq!(read.join(" "), expected, "{options:?} began at {position:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_after_all_records_is_an_error_unless_the_strategy_is_latest() {
    let Some(kafka) = kafka() else { return };
    let topic = timed(&kafka).await;
    let error = Reading::stream(&kafka, &[("subscribe", &topic), ("startingTimestamp", "2600")]).plan().await.unwrap_err();
    let expected = format!("no offset matched from request of topic-partition {topic}-1 and timestamp 2600");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected.as_str()));
    let options = [("subscribe", topic.as_str()), ("startingTimestamp", "2600"), ("startingOffsetsByTimestampStrategy", "latest")];
    assert_eq!(Reading::batch(&kafka, &options).next_values().await, ["c", "d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_ends_where_the_options_say() {
    let Some(kafka) = kafka() else { return };
    let topic = timed(&kafka).await;
    let json = |first: i64, second: i64| format!("{{\"{topic}\":{{\"0\":{first},\"1\":{second}}}}}");
    let (from, until, mark, times) = (json(1, 0), json(3, 0), json(2, -1), json(2001, 9000));
    for (options, expected) in [
        (vec![], "a b c d e x"),
        (vec![("endingOffsets", "latest")], "a b c d e x"),
        (vec![("startingOffsets", from.as_str()), ("endingOffsets", until.as_str())], "b c"),
        (vec![("endingOffsets", mark.as_str())], "a b x"),
        (vec![("endingTimestamp", "2500")], "a b"),
        (vec![("endingOffsetsByTimestamp", times.as_str()), ("endingOffsets", until.as_str())], "a b x"),
        (vec![("endingTimestamp", "2500"), ("endingOffsetsByTimestamp", times.as_str())], "a b"),
        (vec![("startingTimestamp", "2000"), ("endingTimestamp", "4000")], "b c x"),
        (vec![("maxOffsetsPerTrigger", "1"), ("minOffsetsPerTrigger", "1")], "a b c d e x"),
    ] {
        let mut all = vec![("subscribe", topic.as_str())];
        all.extend(options.iter().copied());
        assert_eq!(Reading::batch(&kafka, &all).next_values().await.join(" "), expected, "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_must_be_named_of_all_partitions() {
    let Some(kafka) = kafka() else { return };
    let topic = timed(&kafka).await;
    let some = format!("{{\"{topic}\":{{\"1\":0}}}}");
    for (option, message) in [("startingOffsets", "startingOffsets"), ("startingOffsetsByTimestamp", "startingOffsetsByTimestamp")] {
        let error = Reading::stream(&kafka, &[("subscribe", &topic), (option, &some)]).plan().await.unwrap_err();
        let expected = format!(
            "if option '{message}' names partitions, it must name all of them: named are {topic}-1, there are {topic}-0, {topic}-1"
        );
        assert_eq!(error.message(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_not_there_is_data_loss() {
    let Some(kafka) = kafka() else { return };
    let topic = timed(&kafka).await;
    let behind = format!("{{\"{topic}\":{{\"0\":7,\"1\":0}}}}");
    let error = Reading::stream(&kafka, &[("subscribe", &topic), ("startingOffsets", &behind)]).plan().await.unwrap_err();
    assert_eq!(error.message(), format!("option 'startingOffsets' is 7 for {topic}-0, which ends at 5"));
    assert_eq!(error.error_class(), Some("KAFKA_DATA_LOSS"));
    let options = [("subscribe", topic.as_str()), ("startingOffsets", &behind), ("failOnDataLoss", "false"), ("metadataInterval", "0")];
    let mut reading = Reading::stream(&kafka, &options);
    assert_eq!(reading.next_values().await, ["x"], "the end is taken");
    kafka.produce_values(&topic, 0, ["f"]).await.unwrap();
    assert_eq!(reading.next_values().await, ["f"]);
}
