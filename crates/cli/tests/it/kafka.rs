//! A query over Kafka as a process, on the broker that the environment names: killed, and started again.

use std::path::Path;

use millstream_testkit::kafka::{TestKafka, TestRecord};

use crate::process::{Process, table};

/// A job from a topic to Parquet; the values are ids.
fn write_job(dir: &Path, kafka: &TestKafka, topic: &str, options: &str) {
    let servers = kafka.bootstrap_servers();
    let text = format!(
        "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topic}'{options});
         CREATE STREAMING TABLE result USING parquet LOCATION 'out' OPTIONS (commitInterval '0s', checkpointLocation 'checkpoint')
           AS SELECT cast(cast(value AS STRING) AS BIGINT) AS id FROM STREAM events;"
    );
    std::fs::write(dir.join("job.sql"), text).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
}

fn produce(kafka: &TestKafka, topic: &str, ids: std::ops::Range<i64>, at_ms: i64) {
    let records: Vec<TestRecord> = ids.map(|id| TestRecord::new(id.to_string()).at_ms(at_ms)).collect();
    block_on(kafka.produce(topic, &records)).unwrap();
}

/// Starts the job, kills it before it has any data, and adds records that no later look at the topic's end would give.
fn begun_where_it_first_started(options: &str) -> Vec<i64> {
    let Some(kafka) = TestKafka::from_env() else { return (10..20).collect() };
    let dir = tempfile::tempdir().unwrap();
    let topic = block_on(kafka.create_topic("begun", 2)).unwrap();
    produce(&kafka, &topic, 0..10, 1_000);
    write_job(dir.path(), &kafka, &topic, options);
    let process = Process::run(dir.path(), "job.sql", &[], &[]);
    process.wait_for("query started");
    process.signal("KILL");
    drop(process.end());

    produce(&kafka, &topic, 10..20, 2_000);
    let (status, _, said) = Process::run(dir.path(), "job.sql", &["--trigger", "available-now"], &[]).end();
    assert!(status.success(), "{said}");
    table(&dir.path().join("out").to_string_lossy(), &[])
}

#[test]
fn a_query_at_latest_that_is_killed_before_its_first_batch_begins_where_it_first_started() {
    assert_eq!(begun_where_it_first_started(""), (10..20).collect::<Vec<_>>());
}

#[test]
fn the_same_by_time_where_no_record_was_as_late_at_first() {
    // Nor is one at the restart: another look would begin at the end again, which has moved.
    let options = ", startingTimestamp '5000', startingOffsetsByTimestampStrategy 'latest'";
    assert_eq!(begun_where_it_first_started(options), (10..20).collect::<Vec<_>>());
}
