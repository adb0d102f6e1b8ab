//! A job that copies a topic to another one, exactly once, as a process; what a reader of committed records sees of both.

use std::cell::RefCell;
use std::process::ExitStatus;

use millstream_testkit::kafka::{ConsumedRecord, TestKafka};

use crate::process::{Process, wait_until};

const N_PARTITIONS: usize = 2;

/// The job, its topics, and the process that runs it.
pub struct Copying {
    pub kafka: TestKafka,
    pub from: String,
    pub to: String,
    runtime: tokio::runtime::Handle,
    dir: tempfile::TempDir,
    n_produced: usize,
    running: Option<Process>,
}

impl Copying {
    /// Topics at `kafka`, and a job that reaches them at `servers`.
    pub fn new(runtime: &tokio::runtime::Runtime, kafka: TestKafka, servers: &str) -> Self {
        let create = |name: &str| runtime.block_on(kafka.create_topic(name, N_PARTITIONS)).unwrap();
        let (from, to, dir) = (create("copy-from"), create("copy-to"), tempfile::tempdir().unwrap());
        let job = format!(
            "CREATE TABLE src USING kafka
               OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest', metadataInterval '200ms');
             CREATE STREAMING TABLE result USING kafka
               OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', checkpointLocation 'checkpoint')
               AS SELECT value FROM STREAM src;"
        );
        std::fs::write(dir.path().join("job.sql"), job).unwrap();
        Self { kafka, from, to, runtime: runtime.handle().clone(), dir, n_produced: 0, running: None }
    }

    /// Starts it, to go on until it is stopped.
    pub fn start(&mut self) {
        self.running = Some(Process::run(self.dir.path(), "job.sql", &[], &[]));
    }

    /// One run over what is there, which aborts itself at a point of the commit protocol if one is named.
    pub fn run_once(&self, crash_at: Option<&str>) -> (ExitStatus, String) {
        let env: Vec<(&str, &str)> = crash_at.map(|point| ("MILLSTREAM_CRASH_AT", point)).into_iter().collect();
        let (status, _, said) = Process::run(self.dir.path(), "job.sql", &["--trigger", "available-now"], &env).end();
        (status, said)
    }

    /// Writes twenty records more.
    pub fn produce(&mut self) {
        let n_partitions = self.kafka.n_partitions(&self.from).unwrap();
        let numbers = self.n_produced..self.n_produced + 20;
        for partition in 0..n_partitions {
            let values = numbers.clone().filter(|n| n % n_partitions == partition).map(|n| n.to_string());
            self.runtime.block_on(self.kafka.produce_values(&self.from, i32::try_from(partition).unwrap(), values)).unwrap();
        }
        self.n_produced = numbers.end;
    }

    /// Waits until all is copied. A process that has stopped must have said `cause`; it is started again. How often that was.
    pub fn goes_on(&mut self, cause: &str) -> usize {
        let mut wanted = None;
        for n_stops in 0..10 {
            let running = RefCell::new(self.running.take().unwrap());
            let is_over = || running.borrow_mut().has_ended();
            let mut is_copied = || {
                wanted = wanted.or_else(|| Some(self.try_values(&self.from)?.len()));
                wanted.is_some_and(|wanted| self.try_values(&self.to).is_some_and(|written| written.len() >= wanted))
            };
            wait_until(|| is_over() || is_copied(), || running.borrow().said());
            if !is_over() {
                self.running = Some(running.into_inner());
                return n_stops;
            }
            let (status, _, said) = running.into_inner().end();
            assert!(status.code() == Some(1) && said.contains(cause), "{status}: {said}");
            self.start();
        }
        panic!("the query stops again and again");
    }

    /// Ends it, and compares. Records may be twice in the source, if its producer did not hear that it had written them.
    pub fn stop_and_compare(mut self) {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        let (status, _, said) = running.end();
        assert!(status.success(), "{said}");
        let read = self.values(&self.from);
        assert!(read.len() >= self.n_produced, "{read:?}");
        assert_eq!(self.values(&self.to), read);
    }

    /// The values of committed records, in order.
    pub fn values(&self, topic: &str) -> Vec<usize> {
        self.try_values(topic).unwrap()
    }

    /// The same; `None` while brokers cannot be reached.
    fn try_values(&self, topic: &str) -> Option<Vec<usize>> {
        let read = self.kafka.consume_committed(topic).ok()?;
        let mut values: Vec<usize> = read.iter().map(|record: &ConsumedRecord| record.text().parse().unwrap()).collect();
        values.sort_unstable();
        Some(values)
    }
}

/// Where brokers, clients and the network of a test run.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
