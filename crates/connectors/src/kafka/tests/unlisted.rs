//! Partitions of the position that the cluster does not list: for a moment, as of a broker that comes back, or because they are gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::{BatchId, Clock, Position, SourceRange, SourceStart};
use millstream_testkit::ManualClock;
use millstream_testkit::kafka::TestKafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaRespErr;
use serde_json::json;
use tokio::sync::Notify;

use super::{Reading, offsets};
use crate::harness::registry;
use crate::kafka::reading::GONE_AFTER;
use crate::kafka::source::LOOK_PAUSE;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A broker that is told what to list, as a real one cannot be, with the records 0 and 1 in `blinks`, and an empty topic `stays`.
async fn two_topics() -> (Mock, TestKafka) {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = TestKafka::at(&cluster.bootstrap_servers()).unwrap();
    for topic in ["blinks", "stays"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    kafka.produce_values("blinks", 0, ["0", "1"]).await.unwrap();
    (cluster, kafka)
}

fn lists(cluster: &Mock, is_listed: bool) {
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let error = if is_listed { RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR } else { unknown };
    cluster.topic_error("blinks", error).unwrap();
}

fn with(fails: &str) -> [(&str, &str); 4] {
    [("subscribe", "blinks,stays"), ("startingOffsets", "earliest"), ("failOnDataLoss", fails), ("metadataInterval", "0")]
}

fn behind_one() -> SourceStart {
    let end = Position(json!({ "blinks": { "0": 1 }, "stays": { "0": 0 } }));
    let range = SourceRange { start: Position(json!({})), end, detail: json!(null) };
    SourceStart::Resume { snapshot: None, ranges: vec![(BatchId(0), range)] }
}

/// Its next look finds the partition gone.
async fn is_gone(reading: &mut Reading, fails: &str, wanted: i64) {
    let planned = reading.plan().await;
    if fails == "true" {
        let expected = format!("blinks-0 was to be read from offset {wanted} on, and does not exist any more");
        assert_eq!(planned.unwrap_err().message(), expected);
        return;
    }
    let range = planned.unwrap().unwrap();
    assert_eq!(offsets(&range.end), json!({ "stays": { "0": offsets(&reading.run.as_ref().unwrap().1)["stays"]["0"] } }));
    reading.decide(&range, &[]).await;
    let gaps = serde_json::from_str::<serde_json::Value>(&reading.metric("gaps").unwrap()).unwrap();
    assert_eq!(gaps, json!([{ "topic": "blinks", "partition": 0, "wanted": wanted, "n_missing": 0, "cause": "deleted" }]));
    assert!(reading.plan().await.unwrap().is_none(), "it is told of once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_listed_for_a_moment_is_read_on_and_one_that_stays_away_is_gone() {
    let just_short = GONE_AFTER - Duration::from_millis(1);
    for fails in ["true", "false"] {
        let (cluster, kafka) = two_topics().await;
        let mut reading = Reading::stream(&kafka, &with(fails));
        assert_eq!(reading.next_values().await, ["0", "1"]);
        kafka.produce_values("blinks", 0, ["2"]).await.unwrap();
        kafka.produce_values("stays", 0, ["other"]).await.unwrap();
        lists(&cluster, false);
        assert_eq!(reading.next_values().await, ["other"], "the others are read meanwhile");
        assert_eq!(offsets(&reading.run.as_ref().unwrap().1), json!({ "blinks": { "0": 2 }, "stays": { "0": 1 } }));
        reading.clock.advance(just_short);
        assert!(reading.plan().await.unwrap().is_none());
        lists(&cluster, true);
        assert_eq!(reading.next_values().await, ["2"], "neither none nor all again");
        assert_eq!(reading.metric("recordsMissing"), None);
        // The time begins anew.
        lists(&cluster, false);
        assert!(reading.plan().await.unwrap().is_none());
        reading.clock.advance(just_short);
        assert!(reading.plan().await.unwrap().is_none());
        reading.clock.advance(Duration::from_millis(1));
        is_gone(&mut reading, fails, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_starts_while_a_partition_is_not_listed_waits_before_it_judges() {
    for (fails, comes_back) in [("true", true), ("false", true), ("true", false), ("false", false)] {
        let (cluster, kafka) = two_topics().await;
        lists(&cluster, false);
        let mut reading = Reading::stream(&kafka, &with(fails));
        reading.start(behind_one()).await.unwrap();
        assert!(reading.plan().await.unwrap().is_none());
        if comes_back {
            lists(&cluster, true);
            assert_eq!(reading.next_values().await, ["1"]);
        } else {
            reading.clock.advance(GONE_AFTER);
            is_gone(&mut reading, fails, 1).await;
        }
    }
}

/// A clock that is moved by hand, and tells when somebody sleeps by it.
#[derive(Debug)]
struct Sleeper {
    clock: ManualClock,
    sleeps: Notify,
}

#[async_trait]
impl Clock for Sleeper {
    fn now_proc_us(&self) -> i64 {
        self.clock.now_proc_us()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.sleeps.notify_one();
        self.clock.sleep(duration).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn available_now_waits_for_a_partition_that_is_not_listed_and_not_for_ever() {
    // Whether it goes before the end is fixed or behind it, and how many looks find it away.
    for (goes_before, n_away) in [(true, 2), (false, 2), (true, u32::MAX), (false, u32::MAX)] {
        let (cluster, kafka) = two_topics().await;
        let mut reading = Reading::stream(&kafka, &with("false"));
        let clock = Arc::new(Sleeper { clock: ManualClock::new(0), sleeps: Notify::new() });
        let mut request = reading.harness.request();
        request.clock = clock.clone();
        let mut source = registry().0.for_format("kafka").unwrap().source(request).await.unwrap();
        let position = source.start(behind_one()).await.unwrap();
        reading.run = Some((source, position));
        lists(&cluster, !goes_before);
        let work = async {
            reading.run.as_mut().unwrap().0.fix_end().await.unwrap();
            if !goes_before {
                lists(&cluster, false);
            }
            reading.plan().await.unwrap().unwrap()
        };
        let passes = async {
            for nth in 1_u32.. {
                clock.sleeps.notified().await;
                if nth == n_away {
                    lists(&cluster, true);
                }
                clock.clock.advance(LOOK_PAUSE);
            }
        };
        let range = tokio::select! { range = work => range, () = passes => unreachable!("it waits for ever") };
        let is_back = n_away < u32::MAX;
        let expected = if is_back { json!({ "blinks": { "0": 2 }, "stays": { "0": 0 } }) } else { json!({ "stays": { "0": 0 } }) };
        assert_eq!(offsets(&range.end), expected, "goes before: {goes_before}, away: {n_away}");
        assert_eq!(clock.monotonic(), if is_back { LOOK_PAUSE * n_away } else { GONE_AFTER });
        reading.decide(&range, &[]).await;
        assert_eq!(reading.metric("gaps").is_some(), !is_back);
        assert!(reading.plan().await.unwrap().is_none(), "the run ends");
    }
}
