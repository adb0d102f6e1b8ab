//! Records that would wait for others for longer than anybody waits for them: a push sends them.

use std::time::Duration;

use millstream_core::Options;

use super::super::linger::{Stillness, linger};
use super::super::sink_options::SinkOptions;
use super::kafka;
use super::sink::{Writing, texts, values, values_schema};
use super::transactions::quickly;

const SLOW: (&str, &str) = ("kafka.linger.ms", "50000");

#[tokio::test(flavor = "multi_thread")]
async fn the_last_records_of_a_batch_wait_for_no_others() {
    let Some(kafka) = kafka() else { return };
    for delivery in ["exactly-once", "at-least-once"] {
        let topic = kafka.create_topic("last-records", 4).await.unwrap();
        let options = [SLOW, ("topic", &topic), ("delivery", delivery)];
        let mut writing = Writing::new(&kafka, values_schema(), &options);
        let sink = writing.fresh().await;
        for (batch, value) in [(0, "a"), (1, "b")] {
            quickly(writing.batch(&sink, batch, values([value]))).await.unwrap();
        }
        sink.stop().await.unwrap();
        kafka.wait_until_stable(&topic).await.unwrap();
        let mut seen = texts(&kafka.consume_committed(&topic).unwrap());
        seen.sort();
        assert_eq!(seen, ["a", "b"], "{delivery}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_of_waiting_records_is_emptied() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("full-of-waiting", 1).await.unwrap();
    let options = [SLOW, ("topic", &topic), ("kafka.queue.buffering.max.messages", "20")];
    let mut writing = Writing::new(&kafka, values_schema(), &options);
    let sink = writing.fresh().await;
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    quickly(writing.batch(&sink, 0, values(expected.clone()))).await.unwrap();
    kafka.wait_until_stable(&topic).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), expected);
}

#[test]
fn a_record_lives_longer_than_it_lingers() {
    let of = |more: &[(&str, &str)]| {
        let named = [("kafka.bootstrap.servers", "none:1"), ("topic", "t")].iter().chain(more);
        linger(&SinkOptions::parse(&named.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Options>()).unwrap())
    };
    let longest = Duration::from_secs(5);
    assert_eq!(of(&[]), longest);
    assert_eq!(of(&[("transactionTimeout", "2s")]), Duration::from_secs(1));
    assert_eq!(of(&[("kafka.message.timeout.ms", "600"), ("transactionTimeout", "2s")]), Duration::from_millis(300));
    assert_eq!(of(&[("kafka.delivery.timeout.ms", "0"), ("transactionTimeout", "2s")]), longest);
}

#[test]
fn what_moves_is_not_pushed() {
    let mut behind_others = Stillness::default();
    let looks = [5, 4, 4, 4, 6, 6].map(|n_records| behind_others.calls_for_push(n_records));
    assert_eq!(looks, [false, false, true, true, false, true]);
    assert!(Stillness::at_the_end().calls_for_push(5), "nothing will follow");
    // A broker that does not answer is not asked a thousand times a second.
    let mut away = Stillness::at_the_end();
    let n_pushes = std::iter::repeat_with(|| away.calls_for_push(1)).take(1_000).filter(|is_due| *is_due).count();
    assert!((50..150).contains(&n_pushes), "{n_pushes}");
}
