//! Kafka to Kafka through a session, on the broker that the environment names: what a reader of committed records sees after
//! a crash at every step of the commit protocol, and what updates of a grouped result become.

use std::collections::BTreeMap;

use millstream::crash::CrashPoint;
use millstream::job::RunOptions;
use millstream::{Job, Session, Trigger};
use millstream_testkit::kafka::{ConsumedRecord, TestKafka, TestRecord};

use crate::kafka_bench::KafkaBench;

/// The steps between the first record of a batch and the record that says it is committed: produced, marked and flushed,
/// state durable, PROPOSED, committed in Kafka, PREPARED.
const WINDOW: [CrashPoint; 6] = [
    CrashPoint::AfterRun,
    CrashPoint::AfterPrepare,
    CrashPoint::AfterState,
    CrashPoint::AfterProposed,
    CrashPoint::AfterDecision,
    CrashPoint::AfterPrepared,
];

/// A query from one topic to another, run again and again.
struct Bench {
    events: KafkaBench,
    to: String,
    sql: &'static str,
    options: &'static [(&'static str, &'static str)],
    n_produced: usize,
}

impl Bench {
    async fn new(kafka: TestKafka, sql: &'static str, options: &'static [(&'static str, &'static str)]) -> Self {
        let events = KafkaBench::new(kafka, 2).await;
        events.create_events("").await;
        let to = events.kafka.create_topic("to", 2).await.unwrap();
        Self { events, to, sql, options, n_produced: 0 }
    }

    /// A few records more, with one of seven keys each.
    async fn produce(&mut self) {
        let numbers = self.n_produced..self.n_produced + 5;
        let records: Vec<TestRecord> = numbers.map(|n| TestRecord::new(n.to_string()).key(format!("k{}", n % 7))).collect();
        self.events.kafka.produce(&self.events.from, &records).await.unwrap();
        self.n_produced += records.len();
    }

    /// One run over what is there; whether it crashed.
    async fn run(&self, crash: Option<CrashPoint>) -> bool {
        let frame = self.events.session.sql(self.sql).await.unwrap();
        let writer = frame.write_stream().format("kafka");
        let writer = writer.option("kafka.bootstrap.servers", self.events.kafka.bootstrap_servers()).option("topic", &self.to);
        let writer = self.options.iter().fold(writer, |writer, (name, value)| writer.option(name, value));
        self.events.run_armed(crash.map(|point| (point, 1)), writer).await
    }

    fn written(&self) -> Vec<ConsumedRecord> {
        self.events.kafka.consume_committed(&self.to).unwrap()
    }
}

fn text(bytes: &Option<Vec<u8>>) -> Option<String> {
    bytes.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_at_every_step_lose_and_double_no_record() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let sql = "SELECT key, value FROM STREAM events";
    let mut t = Bench::new(kafka, sql, &[]).await;
    let all = || CrashPoint::ALL.into_iter().map(|point| (point, point));
    // What can be lost or doubled differs between these; the engine's own tests crash at every pair.
    let decisive = [CrashPoint::AfterPrepare, CrashPoint::AfterProposed, CrashPoint::AfterDecision, CrashPoint::AfterPrepared];
    let pairs = decisive.into_iter().flat_map(|first| decisive.into_iter().map(move |second| (first, second)));
    let mut n_fired = 0;
    for (first, second) in all().chain(pairs).chain([(CrashPoint::AfterPrepared, CrashPoint::AfterRollForward)]) {
        t.produce().await;
        n_fired += u32::from(t.run(Some(first)).await);
        t.produce().await;
        n_fired += u32::from(t.run(Some(second)).await);
        t.run(None).await;
        let mut written: Vec<usize> = t.written().iter().map(|record| record.text().parse().unwrap()).collect();
        written.sort_unstable();
        assert_eq!(written, (0..t.n_produced).collect::<Vec<_>>(), "{first}, then {second}");
    }
    // Kafka needs no intent, this query has no state, and the last roll forward was armed alone.
    assert!(n_fired > 45, "{n_fired}");
    assert!(t.written().iter().all(|record| text(&record.key).unwrap() == format!("k{}", record.text().parse::<u32>().unwrap() % 7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_tombstones_fold_to_the_answer_of_the_batch_after_crashes() {
    let Some(kafka) = TestKafka::from_env() else { return };
    // A key whose count is a multiple of three is deleted; the next record of it brings it back.
    let sql = "SELECT cast(k AS string) AS key, to_json(struct(n, last)) AS value \
               FROM (SELECT key AS k, count(*) AS n, max(cast(cast(value AS string) AS int)) AS last FROM STREAM events GROUP BY key) \
               WHERE n % 3 <> 0";
    let mut t = Bench::new(kafka, sql, &[("outputMode", "update"), ("changes", "true"), ("upsertKey", "key")]).await;
    let (mut n_fired, mut n_tombstones) = (0, 0);
    for (first, second) in WINDOW.into_iter().zip(WINDOW.into_iter().cycle().skip(4)).chain(WINDOW.map(|point| (point, point))) {
        t.produce().await;
        n_fired += u32::from(t.run(Some(first)).await);
        t.produce().await;
        n_fired += u32::from(t.run(Some(second)).await);
        t.run(None).await;
        let mut folded = BTreeMap::new();
        n_tombstones = 0;
        for record in t.written() {
            let (key, value) = (text(&record.key).unwrap(), text(&record.value));
            n_tombstones += u32::from(value.is_none());
            let before = folded.insert(key.clone(), value.clone());
            assert_ne!(before.flatten(), value, "a change of {key} came twice, or a tombstone of nothing");
        }
        let left = folded.into_iter().filter_map(|(key, value)| Some(format!("key={key}, value={}", value?)));
        assert_eq!(left.collect::<Vec<_>>(), t.events.sql(&sql.replace("STREAM ", "")).await, "{first}, then {second}");
    }
    assert_eq!(n_fired, 24);
    assert!(n_tombstones > 5, "{n_tombstones}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_counts_topics_into_a_topic_and_a_batch_adds_to_it() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let (customers, counts) = (kafka.unique("customer"), kafka.create_topic("counts", 1).await.unwrap());
    for (customer, n) in [("a", 3), ("b", 2)] {
        kafka.create_topic_named(&format!("{customers}-{customer}"), 2, &[]).await.unwrap();
        kafka.produce_values(&format!("{customers}-{customer}"), 1, (0..n).map(|n: i32| n.to_string())).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let (servers, checkpoint) = (kafka.bootstrap_servers(), dir.path().join("ck"));
    let job = format!(
        "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribePattern '{customers}-.*', startingOffsets 'earliest');
         CREATE STREAMING TABLE counts USING kafka
           OPTIONS (kafka.bootstrap.servers '{servers}', topic '{counts}', checkpointLocation '{}', outputMode 'update')
           AS SELECT topic AS key, to_json(struct(right(topic, 1) AS topic, n)) AS value
              FROM (SELECT topic, count(*) AS n FROM STREAM events GROUP BY topic);",
        checkpoint.display()
    );
    let run = async || {
        let session = Session::new().unwrap();
        let options = RunOptions { trigger: Some(Trigger::AvailableNow), ..RunOptions::default() };
        Job::parse(&session, &job).await.unwrap().run(options).await.unwrap().wait().await.unwrap();
        session
    };
    let written = || kafka.consume_committed(&counts).unwrap().iter().map(ConsumedRecord::text).collect::<Vec<_>>();
    run().await;
    let mut first = written();
    first.sort();
    assert_eq!(first, [r#"{"topic":"a","n":3}"#, r#"{"topic":"b","n":2}"#]);
    kafka.produce_values(&format!("{customers}-b"), 0, ["more"]).await.unwrap();
    let session = run().await;
    assert_eq!(written()[2..], [r#"{"topic":"b","n":3}"#], "only what has changed");

    let more = session.sql("SELECT 'all' AS key, concat(count(*), '') AS value FROM events").await.unwrap();
    let writer = more.write().format("kafka").option("kafka.bootstrap.servers", servers).option("topic", &counts);
    writer.save().await.unwrap();
    assert_eq!(written()[3..], ["6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_by_name() {
    let session = Session::new().unwrap();
    session.sql("CREATE TABLE events USING rate").await.unwrap();
    let start = async |sql: &str, options: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let writer = session.sql(sql).await.unwrap().write_stream().format("kafka").checkpoint(dir.path().join("checkpoint"));
        let writer = writer.option("kafka.bootstrap.servers", "127.0.0.1:1").option("topic", "t");
        let writer = options.iter().fold(writer, |writer, (name, value)| writer.option(name, value));
        writer.start().await.map(drop).unwrap_err().to_string()
    };
    let error = start("SELECT value FROM STREAM events", &[]).await;
    assert!(error.contains("value attribute unsupported type bigint. value must be a(n) string or binary"), "{error}");
    let error =
        start("SELECT concat(value, '') AS value FROM STREAM events", &[("kafka.socket.connection.setup.timeout.ms", "1000")]).await;
    assert!(error.contains("no broker answers at 127.0.0.1:1 within 1s"), "{error}");
}
