//! Records that may go anywhere: a run to one partition, the next to another, and no partition gets one before it has the last.

use std::time::Duration;

use millstream_core::Options;

use super::super::producer::config;
use super::super::runs::{Progress, Runs};
use super::super::sink_options::SinkOptions;
use super::kafka;
use super::sink::{Writing, texts, values, values_schema};

/// Of a sink that writes to a topic.
fn runs(more: &[(&str, &str)]) -> Option<Runs> {
    let named = [("kafka.bootstrap.servers", "none:1"), ("topic", "t")].iter().chain(more);
    let options = named.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Options>();
    runs_of(&options)
}

fn runs_of(options: &Options) -> Option<Runs> {
    let options = SinkOptions::parse(options).unwrap();
    Runs::new(&options, &config(&options, None))
}

fn progress(n_sent: u64, n_open: u64) -> Progress {
    Progress { n_sent, n_open, now: Duration::from_secs(1) }
}

/// Where a run goes of which a record is taken.
fn begun(runs: &mut Runs, n_sent: u64, n_open: u64) -> Option<Option<i32>> {
    runs.begin(progress(n_sent, n_open)).then(|| runs.take(1))
}

#[test]
fn a_run_is_as_large_as_a_request() {
    let mut runs = runs(&[("kafka.batch.num.messages", "3"), ("kafka.batch.size", "1000")]).unwrap();
    assert!(runs.is_over(1), "none has begun");
    for sizes in [[1, 1, 1].as_slice(), &[500, 400], &[5_000]] {
        assert!(runs.begin(progress(0, 0)));
        for size in sizes {
            assert!(!runs.is_over(*size), "{sizes:?}");
            runs.take(*size);
        }
        assert!(runs.is_over(100), "{sizes:?}");
    }
}

#[test]
fn a_partition_gets_a_run_when_it_has_the_last_one() {
    let mut runs = runs(&[]).unwrap();
    assert_eq!(begun(&mut runs, 0, 0), Some(None), "librdkafka chooses until the partitions are known");
    runs.learn(&[4, 7]);
    assert_eq!(begun(&mut runs, 0, 0), Some(Some(4)));
    runs.end(10);
    assert_eq!(begun(&mut runs, 10, 10), Some(Some(7)));
    // The second run is open, and the first on its way: rows that come late stay where they are.
    assert_eq!(begun(&mut runs, 15, 6), None);
    assert_eq!(runs.take(1), Some(7));
    runs.end(20);
    assert_eq!(begun(&mut runs, 20, 11), None);
    assert!(runs.is_over(1), "it waits");
    assert_eq!(begun(&mut runs, 20, 10), Some(Some(4)), "ten were written");
    // What is learned again is not idle for that.
    runs.end(30);
    runs.learn(&[4, 7]);
    assert_eq!(begun(&mut runs, 30, 15), None);
    assert_eq!(begun(&mut runs, 30, 0), Some(Some(7)));
}

#[test]
fn rows_say_the_topic_and_users_the_partitioner() {
    assert!(runs(&[("kafka.partitioner", "random")]).is_none());
    assert!(runs(&[("kafka.sticky.partitioning.linger.ms", "50")]).is_none());
    let no_topic = [("kafka.bootstrap.servers", "none:1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(runs_of(&no_topic.into_iter().collect()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_take_turns_through_the_partitions() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("runs", 3).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("kafka.batch.num.messages", "100")]);
    let sink = writing.fresh().await;
    // The partitions are asked for behind the first record.
    let mut written = Vec::new();
    let per_partition = tokio::time::timeout(Duration::from_secs(60), async {
        for batch in 0.. {
            let rows: Vec<String> = (0..300).map(|n| format!("{batch}-{n:03}")).collect();
            writing.batch(&sink, batch, values(rows.clone())).await.unwrap();
            written.extend(rows);
            let read = kafka.consume_committed(&topic).unwrap();
            let of_batch =
                |partition| read.iter().filter(|one| one.partition == partition && one.text().starts_with(&format!("{batch}-"))).count();
            let per_partition = [0, 1, 2].map(of_batch);
            if per_partition == [100; 3] {
                return per_partition;
            }
        }
        [0; 3]
    });
    assert_eq!(per_partition.await.expect("the partitions become known"), [100; 3]);
    sink.stop().await.unwrap();
    let mut read = texts(&kafka.consume_committed(&topic).unwrap());
    read.sort();
    written.sort();
    assert_eq!(read, written);
}
