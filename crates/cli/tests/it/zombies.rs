//! A process that sleeps while another one takes its query over, and wakes up: what it has open in Kafka is not committed, it says
//! why it stops, and the output is right. Two machines share a checkpoint only on an object store, so this one is on the S3 server
//! that `cargo xtask test` starts.

use millstream_testkit::kafka::{ConsumedRecord, TestKafka, takes_its_time};

use crate::process::{Process, wait_until};

/// Transactions are not begun; records of the open one are produced; they are flushed with their marker and proposed; they are committed
/// and no record says so.
const POINTS: [&str; 4] = ["after-start", "after-run", "after-proposed", "after-decision"];

/// The steps between, which differ from one of those in nothing that Kafka sees.
const MORE_POINTS: [&str; 5] = ["after-positions", "after-prepare", "after-state", "after-prepared", "after-source-commit"];

/// So many at a time, as each waits most of its time.
const AT_ONCE: usize = 4;

struct Bench {
    kafka: TestKafka,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
    from: String,
    to: String,
    n_produced: usize,
}

impl Bench {
    fn new(point: &str) -> Option<Self> {
        let var = |name: &str| std::env::var(format!("MILLSTREAM_TEST_S3_{name}")).ok();
        let (kafka, endpoint, key, secret, bucket) =
            (TestKafka::from_env()?, var("ENDPOINT")?, var("KEY")?, var("SECRET")?, var("BUCKET")?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let create = |name: &str| runtime.block_on(kafka.create_topic(name, 2)).unwrap();
        let (from, to, dir) = (create("zombie-from"), create("zombie-to"), tempfile::tempdir().unwrap());
        let servers = kafka.bootstrap_servers();
        let job = format!(
            "CREATE TABLE src USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest');
             CREATE STREAMING TABLE result USING kafka
               OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', checkpointLocation 's3://{bucket}/zombies/{to}-{point}')
               AS SELECT value FROM STREAM src{};",
            // A limit is what is remembered.
            if point == "after-state" { " LIMIT 1000" } else { "" }
        );
        std::fs::write(dir.path().join("job.sql"), job).unwrap();
        let env = vec![
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        Some(Self { kafka, runtime, dir, env, from, to, n_produced: 0 })
    }

    fn start(&self, pause_at: Option<&str>) -> Process {
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        env.extend(pause_at.map(|point| ("MILLSTREAM_PAUSE_AT", point)));
        Process::run(self.dir.path(), "job.sql", &[], &env)
    }

    fn produce(&mut self) {
        let numbers = self.n_produced..self.n_produced + 20;
        for partition in 0..2 {
            let values = numbers.clone().filter(|n| n % 2 == partition).map(|n| n.to_string());
            self.runtime.block_on(self.kafka.produce_values(&self.from, i32::try_from(partition).unwrap(), values)).unwrap();
        }
        self.n_produced += 20;
    }

    fn written(&self) -> Vec<usize> {
        let read = self.kafka.consume_committed(&self.to).unwrap();
        let mut numbers: Vec<usize> = read.iter().map(|record: &ConsumedRecord| record.text().parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn wait_until_written(&self, by: &Process, point: &str) {
        wait_until(|| self.written().len() >= self.n_produced, || format!("{point}: not all is written: {}", by.said()));
    }
}

#[test]
fn a_zombie_is_shut_out_and_says_so() {
    let points: Vec<&str> = if takes_its_time() { POINTS.into_iter().chain(MORE_POINTS).collect() } else { POINTS.to_vec() };
    for points in points.chunks(AT_ONCE) {
        std::thread::scope(|scope| points.iter().for_each(|point| drop(scope.spawn(|| sleeps_and_wakes(point)))));
    }
}

fn sleeps_and_wakes(point: &str) {
    let Some(mut t) = Bench::new(point) else { return };
    t.produce();
    let older = t.start(Some(point));
    older.wait_until_stopped(point);
    let newer = t.start(None);
    t.produce();
    t.wait_until_written(&newer, point);
    older.signal("CONT");
    let (status, _, said) = older.end();
    assert_eq!(status.code(), Some(1), "{point}: {said}");
    assert!(said.contains("has taken over"), "{point}: {said}");
    // The successor goes on.
    t.produce();
    t.wait_until_written(&newer, point);
    newer.signal("TERM");
    let (status, _, said) = newer.end();
    assert!(status.success(), "{point}: {said}");
    // It has read the markers to their end, which is no error to tell.
    assert!(!said.contains("PartitionEOF"), "{point}: {said}");
    assert_eq!(t.written(), (0..t.n_produced).collect::<Vec<_>>(), "{point}");
}
