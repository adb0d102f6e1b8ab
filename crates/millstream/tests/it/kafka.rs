//! Kafka from SQL and from the API, on the broker that the environment names: tables, streams, restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream::{Clock, Session, StreamingQuery};
use millstream_testkit::ManualClock;
use millstream_testkit::kafka::TestKafka;
use millstream_testkit::rows::sorted_row_texts;

use crate::kafka_bench::{rows, run_to_the_end};

/// Runs a stream over all that there is, into files.
async fn run_to_files(session: &Session, sql: &str, dir: &Path) -> u64 {
    let frame = session.sql(sql).await.unwrap();
    let writer = frame.write_stream().format("parquet").option("path", dir.join("out").display());
    let query = run_to_the_end(writer.checkpoint(dir.join("checkpoint"))).await.unwrap();
    query.recent_progress().iter().map(|progress| progress.num_input_rows).sum()
}

async fn processed(query: &StreamingQuery) {
    tokio::time::timeout(Duration::from_secs(120), query.process_all_available()).await.expect("it is done").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_tables_and_streams() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let prefix = kafka.unique("customer");
    for (customer, n) in [("a", 3), ("b", 2)] {
        kafka.create_topic_named(&format!("{prefix}-{customer}"), 2, &[]).await.unwrap();
        kafka.produce_values(&format!("{prefix}-{customer}"), 1, (0..n).map(|n| format!("{{\"n\": {n}}}"))).await.unwrap();
    }
    let session = Session::new().unwrap();
    let servers = kafka.bootstrap_servers();
    session
        .sql(&format!(
            "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribePattern '{prefix}-.*', startingOffsets 'earliest', metadataInterval '200ms')"
        ))
        .await
        .unwrap();
    let counts = "SELECT right(topic, 1) AS customer, count(*) AS n, sum(get_json_object(cast(value AS string), '$.n')) AS total FROM events GROUP BY topic";
    assert_eq!(rows(&session, counts).await, ["customer=a, n=3, total=3.0", "customer=b, n=2, total=1.0"]);

    let dir = tempfile::tempdir().unwrap();
    let stream = "SELECT topic, partition, offset, cast(value AS string) AS value FROM STREAM events";
    assert_eq!(run_to_files(&session, stream, dir.path()).await, 5);
    kafka.produce_values(&format!("{prefix}-a"), 0, ["more"]).await.unwrap();
    assert_eq!(run_to_files(&session, stream, dir.path()).await, 1, "a restart goes on where the last run ended");
    let written = session.read().parquet(dir.path().join("out")).await.unwrap().collect().await.unwrap();
    assert_eq!(sorted_row_texts(&written).unwrap().len(), 6);

    // A stream that goes on beside it counts all topics in one query.
    let frame = session.sql("SELECT topic, count(*) AS n FROM STREAM events GROUP BY topic").await.unwrap();
    let writer = frame.write_stream().format("memory").query_name("counts").output_mode("complete");
    let query = writer.start().await.unwrap();
    processed(&query).await;
    kafka.create_topic_named(&format!("{prefix}-late"), 1, &[]).await.unwrap();
    kafka.produce_values(&format!("{prefix}-late"), 0, ["new"]).await.unwrap();
    let counts = "SELECT replace(topic, '{prefix}-') AS customer, n FROM counts".replace("{prefix}", &prefix);
    let found = async {
        while !rows(&session, &counts).await.contains(&"customer=late, n=1".to_owned()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("a topic that is new is found");
    assert_eq!(rows(&session, &counts).await, ["customer=a, n=4", "customer=b, n=2", "customer=late, n=1"]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_kafka_is_a_relation_of_batches_and_streams() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let topics = [kafka.create_topic("left", 1).await.unwrap(), kafka.create_topic("right", 1).await.unwrap()];
    for (n, topic) in (2_usize..).zip(&topics) {
        kafka.produce_values(topic, 0, (0..n).map(|n| n.to_string())).await.unwrap();
    }
    let session = Session::new().unwrap();
    let read = |topic: &str, more: &str| {
        format!(
            "read_kafka(bootstrapServers => '{}', subscribe => '{topic}', `kafka.fetch.wait.max.ms` => 10{more})",
            kafka.bootstrap_servers()
        )
    };
    let [left, right] = &topics;
    assert_eq!(rows(&session, &format!("SELECT count(*) AS n FROM {}", read(left, ""))).await, ["n=2"]);
    assert_eq!(rows(&session, &format!("SELECT count(*) AS n FROM {}", read(&format!("{left},{right}"), ""))).await, ["n=5"]);

    // Two of them in one query are two sources, and a restart knows which is which.
    let earliest = ", startingOffsets => 'earliest'";
    let stream = format!(
        "SELECT topic, offset FROM STREAM {} UNION ALL SELECT topic, offset FROM STREAM {}",
        read(left, earliest),
        read(right, &format!("{earliest}, maxOffsetsPerTrigger => 1"))
    );
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run_to_files(&session, &stream, dir.path()).await, 5);
    kafka.produce_values(right, 0, ["more"]).await.unwrap();
    assert_eq!(run_to_files(&session, &stream, dir.path()).await, 1);
    let written = session.read().parquet(dir.path().join("out")).await.unwrap().collect().await.unwrap();
    let mut expected: Vec<String> = (0..2).map(|n| format!("topic={left}, offset={n}")).collect();
    expected.extend((0..4).map(|n| format!("topic={right}, offset={n}")));
    expected.sort();
    assert_eq!(sorted_row_texts(&written).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_an_error_that_names_it() {
    let session = Session::new().unwrap();
    let missing_servers = session.sql("SELECT * FROM read_kafka(subscribe => 't')").await.unwrap();
    let error = missing_servers.collect().await.unwrap_err();
    assert!(error.message().contains("option 'kafka.bootstrap.servers' must be specified for configuring Kafka consumer"), "{error}");
    let error = session.sql("SELECT * FROM read_kafka('t')").await.unwrap().collect().await.unwrap_err();
    assert!(error.message().starts_with("read_kafka takes named arguments"), "{error}");
}

/// What passes is what a sink says to have worked; who waits for a broker waits in the time of the machine.
#[derive(Debug)]
struct WorkClock(ManualClock);

#[async_trait]
impl Clock for WorkClock {
    fn now_proc_us(&self) -> i64 {
        self.0.now_proc_us()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_take_as_much_as_a_slow_sink_can_in_the_target_time() {
    let Some(kafka) = TestKafka::from_env() else { return };
    const N_RECORDS: u64 = 80_000;
    const PER_RECORD: Duration = Duration::from_micros(40);
    let topic = kafka.create_topic("paced", 2).await.unwrap();
    for partition in 0..2 {
        kafka.produce_values(&topic, partition, (0..N_RECORDS / 2).map(|n| n.to_string())).await.unwrap();
    }
    let clock = Arc::new(WorkClock(ManualClock::new(0)));
    let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
    let servers = kafka.bootstrap_servers();
    let sql =
        format!("SELECT * FROM STREAM read_kafka(bootstrapServers => '{servers}', subscribe => '{topic}', startingOffsets => 'earliest')");
    let frame = session.sql(&sql).await.unwrap();
    let writer = frame.write_stream().option("targetBatchDuration", "1s").foreach_batch(move |rows, _| {
        let clock = Arc::clone(&clock);
        async move {
            let n_rows = u32::try_from(rows.count().await?).unwrap();
            clock.0.advance(PER_RECORD * n_rows);
            Ok(())
        }
    });
    let query = run_to_the_end(writer).await.unwrap();
    let rows: Vec<u64> = query.recent_progress().iter().map(|progress| progress.num_input_rows).filter(|n| *n > 0).collect();
    // Of the first nothing is known; in a second the sink takes 25,000.
    assert_eq!(rows, [10_000, 25_000, 25_000, 20_000]);
}
