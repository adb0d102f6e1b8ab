//! Ranges with gaps: what was aborted, is still open, marks the end of a transaction, or was compacted away.

use std::time::Duration;

use millstream_core::{ErrorKind, Position, SourceRange};
use millstream_testkit::kafka::{TestKafka, TestRecord, TestTransactions};

use super::{Reading, kafka, offsets};

async fn write(kafka: &TestKafka, transactions: &TestTransactions, topic: &str, partition: i32, values: &[&str], commits: bool) {
    transactions.begin().unwrap();
    let records: Vec<TestRecord> = values.iter().map(|value| TestRecord::new(*value).partition(partition)).collect();
    transactions.send(topic, &records).await.unwrap();
    if commits {
        transactions.commit().unwrap()
    } else {
        transactions.abort().unwrap()
    }
    kafka.wait_until_stable(topic).await.unwrap();
}

fn reading(kafka: &TestKafka, topic: &str, more: &[(&str, &str)]) -> Reading {
    let mut options = vec![("subscribe", topic), ("startingOffsets", "earliest")];
    options.extend(more);
    Reading::stream(kafka, &options)
}

/// A range must be read in a time that no waiting for records that never come would leave.
async fn quickly<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the range ends without waiting")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_committed_records_are_read() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("committed", 1).await.unwrap();
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    write(&kafka, &transactions, &topic, 0, &["a", "b"], true).await;
    write(&kafka, &transactions, &topic, 0, &["no", "no"], false).await;
    write(&kafka, &transactions, &topic, 0, &["c"], true).await;
    let mut committed = reading(&kafka, &topic, &[]);
    assert_eq!(quickly(committed.next_values()).await, ["a", "b", "c"]);
    assert!(committed.plan().await.unwrap().is_none());
    let mut all = reading(&kafka, &topic, &[("kafka.isolation.level", "read_uncommitted")]);
    assert_eq!(quickly(all.next_values()).await, ["a", "b", "no", "no", "c"]);
    let mut batch = Reading::batch(&kafka, &[("subscribe", &topic)]);
    assert_eq!(quickly(batch.next_values()).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_nothing_but_aborted_records_ends() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("aborted", 1).await.unwrap();
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    write(&kafka, &transactions, &topic, 0, &["no", "no", "no"], false).await;
    let mut reading = reading(&kafka, &topic, &[]);
    assert!(quickly(reading.next()).await.unwrap().is_some_and(|rows| rows.is_empty()));
    write(&kafka, &transactions, &topic, 0, &["yes"], true).await;
    assert_eq!(quickly(reading.next_values()).await, ["yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_ends_in_aborted_records_ends_beside_others_that_have_ended() {
    let Some(kafka) = kafka() else { return };
    for aborted_in in 0..4 {
        let topic = kafka.create_topic("beside", 4).await.unwrap();
        let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
        // Three offsets each, so that two tasks read two partitions each.
        for partition in 0..4 {
            let values: &[&str] = if partition == aborted_in { &["a"] } else { &["a", "b", "c"] };
            kafka.produce_values(&topic, partition, values.iter().copied()).await.unwrap();
        }
        write(&kafka, &transactions, &topic, aborted_in, &["no"], false).await;
        let mut reading = reading(&kafka, &topic, &[]);
        assert_eq!(quickly(reading.next_values()).await.len(), 10, "aborted in {aborted_in}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_back_what_is_behind_it() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("open", 1).await.unwrap();
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    kafka.produce_values(&topic, 0, ["a"]).await.unwrap();
    transactions.begin().unwrap();
    transactions.send(&topic, &[TestRecord::new("b").partition(0)]).await.unwrap();
    kafka.produce_values(&topic, 0, ["c"]).await.unwrap();
    let mut reading = reading(&kafka, &topic, &[]);
    assert_eq!(quickly(reading.next_values()).await, ["a"]);
    assert!(reading.plan().await.unwrap().is_none());
    transactions.commit().unwrap();
    kafka.wait_until_stable(&topic).await.unwrap();
    assert_eq!(quickly(reading.next_values()).await, ["b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_end_anywhere_in_transactions_read_each_record_once() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("anywhere", 2).await.unwrap();
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    let mut expected = Vec::new();
    for nth in 0..12 {
        let values: Vec<String> = (0..=nth % 4).map(|n| format!("{nth}.{n}")).collect();
        let commits = nth % 3 != 1;
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        write(&kafka, &transactions, &topic, nth % 2, &texts, commits).await;
        if commits {
            expected.extend(values);
        }
    }
    expected.sort();
    // Batches of 1, 2, ... offsets end on records, on aborted ones and on marks.
    for max in 1..=5 {
        let mut reading = reading(&kafka, &topic, &[("maxOffsetsPerTrigger", &max.to_string())]);
        let mut seen = Vec::new();
        while let Some(rows) = quickly(reading.next()).await.unwrap() {
            seen.extend(super::texts(&rows).into_iter().map(|text| text.split_once('=').unwrap().1.to_owned()));
        }
        seen.sort();
        assert_eq!(seen, expected, "at most {max} offsets per batch");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_transactions_are_read_again_alike_after_others_moved_the_consumers() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("replay", 1).await.unwrap();
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    for nth in 0..6 {
        write(&kafka, &transactions, &topic, 0, &[&format!("{nth}a"), &format!("{nth}b")], nth % 2 == 0).await;
    }
    let mut reading = reading(&kafka, &topic, &[("maxOffsetsPerTrigger", "3")]);
    let mut batches: Vec<(SourceRange, Vec<String>)> = Vec::new();
    while let Some(range) = reading.plan().await.unwrap() {
        let rows = quickly(reading.next_texts()).await;
        batches.push((range, rows));
    }
    assert_eq!(batches.len(), 6);
    // Backwards, so that each seeks; no reader may think that it is where it was before.
    for (range, rows) in batches.iter().rev() {
        assert_eq!(&super::texts(&quickly(reading.read(range)).await.unwrap()), rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compacted_away_is_not_waited_for() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "1"),
        ("segment.ms", "100"),
        ("delete.retention.ms", "1"),
    ];
    kafka.create_topic_named(&topic, 1, &settings).await.unwrap();
    let keyed = |key: &str, value: String| TestRecord::new(value).key(key).partition(0);
    let mut reading = reading(&kafka, &topic, &[]);
    reading.start(millstream_core::SourceStart::Fresh).await.unwrap();
    for nth in 0..40 {
        kafka.produce(&topic, &[keyed("k", nth.to_string()), keyed("l", nth.to_string())]).await.unwrap();
    }
    // A segment is closed by the first record after its time, and cleaned some time later.
    let mut n_left = 80;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kafka.produce(&topic, &[keyed("tick", "t".to_owned())]).await.unwrap();
        n_left = kafka.consume_committed(&topic).unwrap().iter().filter(|record| record.key.as_deref() != Some(b"tick")).count();
        if n_left < 20 {
            break;
        }
    }
    assert!(n_left < 20, "the broker compacts: {n_left} records are left");
    let range = reading.plan().await.unwrap().unwrap();
    let rows = quickly(reading.next()).await.unwrap().unwrap();
    let n_offsets = offsets(&range.end)[&topic]["0"].as_i64().unwrap();
    let n_rows: usize = rows.iter().map(arrow::array::RecordBatch::num_rows).sum();
    assert!((n_rows as i64) < n_offsets - 60, "{n_rows} rows of {n_offsets} offsets");
    let batch = quickly(Reading::batch(&kafka, &[("subscribe", &topic)]).next()).await.unwrap().unwrap();
    assert!(!batch.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_within_an_open_transaction_is_waited_at() {
    let Some(kafka) = kafka() else { return };
    for (fails, fixes_end) in [("true", false), ("false", false), ("true", true), ("false", true)] {
        let topic = kafka.create_topic("within", 1).await.unwrap();
        kafka.produce_values(&topic, 0, ["a", "b"]).await.unwrap();
        let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
        transactions.begin().unwrap();
        let open: Vec<TestRecord> = (0..4).map(|_| TestRecord::new("open").partition(0)).collect();
        transactions.send(&topic, &open).await.unwrap();
        // As a run has left it that reads uncommitted records, like Spark's by default.
        let position = |offset: i64| Position(serde_json::json!({ &topic: { "0": offset } }));
        let range = SourceRange { start: position(0), end: position(6), detail: serde_json::Value::Null };
        let mut reading = reading(&kafka, &topic, &[("failOnDataLoss", fails), ("metadataInterval", "0")]);
        reading.restart_after(&range).await.unwrap();
        if fixes_end {
            reading.run.as_mut().unwrap().0.fix_end().await.unwrap();
        }
        assert!(reading.plan().await.unwrap().is_none(), "neither records nor a loss");
        transactions.commit().unwrap();
        kafka.produce_values(&topic, 0, ["next"]).await.unwrap();
        kafka.wait_until_stable(&topic).await.unwrap();
        if !fixes_end {
            assert_eq!(quickly(reading.next_values()).await, ["next"]);
        }
        assert_eq!(reading.metric("recordsMissingInRun"), None);
        // Behind the last record there is nothing to wait for.
        let range = SourceRange { start: position(0), end: position(60), detail: serde_json::Value::Null };
        reading.restart_after(&range).await.unwrap();
        let planned = reading.plan().await;
        assert_eq!(planned.is_err(), fails == "true", "{planned:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_reaches_into_an_open_transaction_waits_for_its_end() {
    let Some(kafka) = kafka() else { return };
    for fails in ["true", "false"] {
        for commits in [true, false] {
            // It begins before the transaction, or within it.
            for begin in [0, 4] {
                let topic = kafka.create_topic("into", 1).await.unwrap();
                kafka.produce_values(&topic, 0, ["0", "1"]).await.unwrap();
                let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
                transactions.begin().unwrap();
                let open = ["2", "3", "4", "5"].map(|value| TestRecord::new(value).partition(0));
                transactions.send(&topic, &open).await.unwrap();
                // As a run has planned it that read uncommitted records.
                let position = |offset: i64| Position(serde_json::json!({ &topic: { "0": offset } }));
                let range = SourceRange { start: position(begin), end: position(6), detail: serde_json::Value::Null };
                let more = [("failOnDataLoss", fails), ("kafkaConsumer.pollTimeoutMs", "1000")];
                if begin == 0 {
                    // Nobody ends it: that is told, and nothing is taken for lost.
                    let mut reading = reading(&kafka, &topic, &more);
                    reading.restart_after(&range).await.unwrap();
                    let error = quickly(reading.read(&range)).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    let expected = format!("offsets 2 to 6 of {topic}-0 are to be read and lie in a transaction that did not end");
                    assert!(error.message().starts_with(&expected), "{error:?}");
                }
                let mut reading = reading(&kafka, &topic, &more[..1]);
                reading.restart_after(&range).await.unwrap();
                let mut read = std::pin::pin!(quickly(reading.read_chunks(&range)));
                // The read looks at the end of what is committed, and goes on to wait.
                assert!(tokio::time::timeout(Duration::from_secs(1), &mut read).await.is_err(), "nothing ends it before the transaction");
                if commits {
                    transactions.commit().unwrap()
                } else {
                    transactions.abort().unwrap()
                }
                let chunks = read.await.unwrap();
                assert!(chunks.iter().all(|chunk| chunk.missed.is_empty()));
                let rows: Vec<_> = chunks.into_iter().map(|chunk| chunk.rows).collect();
                let expected: Vec<String> =
                    (begin..if commits { 6 } else { 2 }).map(|offset| format!("{topic}-0@{offset}={offset}")).collect();
                assert_eq!(super::texts(&rows), expected);
            }
        }
    }
}
