//! A process that is killed when the dead letters of a batch are written and the batch is not committed. The next start runs the batch
//! again or finishes it: good rows and letters that are written exactly once are there once, other letters at least once.

use millstream_testkit::kafka::{ConsumedRecord, TestKafka, takes_its_time};

use crate::kafka_copy::runtime;
use crate::process::{Process, numbers};

/// The steps at which it is killed, and whether the transaction of the batch is committed there: letters outside of it are delivered; it is
/// committed and no record says so.
const STEPS: [(&str, bool); 2] = [("after-prepare", false), ("after-decision", true)];

/// The steps between them: letters are produced; the batch is proposed; the log says that it is committed.
const MORE_STEPS: [(&str, bool); 3] = [("after-run", false), ("after-proposed", false), ("after-prepared", true)];

/// What a batch's only transaction in Kafka is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// The good rows: letters go to their topic at least once.
    Rows,
    /// The letters; the good rows go to a folder.
    Letters,
}

/// A job that sets aside each second record, in a folder and in a topic.
struct Bench<'a> {
    runtime: &'a tokio::runtime::Runtime,
    kafka: TestKafka,
    transaction: Transaction,
    from: String,
    to: String,
    dead: String,
    dir: tempfile::TempDir,
    n_produced: i64,
}

impl<'a> Bench<'a> {
    fn new(runtime: &'a tokio::runtime::Runtime, kafka: TestKafka, transaction: Transaction) -> Self {
        let create = |name: &str| runtime.block_on(kafka.create_topic(name, 1)).unwrap();
        let (from, to, dead, dir) = (create("letters-from"), create("letters-to"), create("letters-dead"), tempfile::tempdir().unwrap());
        let servers = kafka.bootstrap_servers();
        let (delivery, sink, rows) = match transaction {
            Transaction::Rows => (
                "at-least-once",
                format!("kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', "),
                "cast(id AS STRING) AS value",
            ),
            Transaction::Letters => ("exactly-once", "parquet LOCATION 'out' OPTIONS (commitInterval '0s', ".to_owned(), "id"),
        };
        let job = format!(
            "CREATE TABLE src USING kafka
               OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest',
                        deadLetterPath 'dead', deadLetterTopic '{dead}', deadLetter.delivery '{delivery}');
             CREATE STREAMING TABLE result USING {sink}checkpointLocation 'checkpoint', rowErrors 'deadLetter')
               AS SELECT {rows} FROM (SELECT cast(cast(value AS STRING) AS BIGINT) AS id FROM STREAM src);"
        );
        std::fs::write(dir.path().join("job.sql"), job).unwrap();
        Self { runtime, kafka, transaction, from, to, dead, dir, n_produced: 0 }
    }

    /// Ten records more: the value of an even one is its offset, an odd one is bad.
    fn produce(&mut self) {
        let numbers = self.n_produced..self.n_produced + 10;
        let values = numbers.clone().map(|n| if n % 2 == 0 { n.to_string() } else { "bad".to_owned() });
        self.runtime.block_on(self.kafka.produce_values(&self.from, 0, values)).unwrap();
        self.n_produced = numbers.end;
    }

    fn killed_at(&self, step: &str) {
        let process = Process::run(self.dir.path(), "job.sql", &["--trigger", "available-now"], &[("MILLSTREAM_PAUSE_AT", step)]);
        process.wait_until_stopped(step);
        process.signal("KILL");
        drop(process.end());
    }

    fn run_to_the_end(&self) {
        let (status, _, said) = Process::run(self.dir.path(), "job.sql", &["--trigger", "available-now"], &[]).end();
        assert!(status.success(), "{said}");
        for topic in [&self.to, &self.dead] {
            self.runtime.block_on(self.kafka.wait_until_stable(topic)).unwrap();
        }
    }

    /// The offsets of the good rows.
    fn rows(&self) -> Vec<i64> {
        match self.transaction {
            Transaction::Rows => sorted(self.committed(&self.to).iter().map(|record| record.text().parse().unwrap())),
            Transaction::Letters => self.folder("out", "id"),
        }
    }

    /// The offsets of the records in the folder of letters.
    fn letters_in_folder(&self) -> Vec<i64> {
        self.folder("dead", "offset")
    }

    /// The same of the topic of letters.
    fn letters_in_topic(&self, records: &[ConsumedRecord]) -> Vec<i64> {
        sorted(records.iter().map(|letter| {
            let offset = letter.headers.iter().find(|(name, _)| name == "millstream.offset").and_then(|(_, offset)| offset.clone());
            String::from_utf8(offset.expect("every letter has it")).unwrap().parse().unwrap()
        }))
    }

    fn committed(&self, topic: &str) -> Vec<ConsumedRecord> {
        self.kafka.consume_committed(topic).unwrap()
    }

    fn folder(&self, name: &str, column: &str) -> Vec<i64> {
        numbers(&self.dir.path().join(name).display().to_string(), column, &[])
    }

    fn is_killed_and_goes_on(&mut self, step: &str, is_committed: bool) {
        let context = format!("{:?}, {step}", self.transaction);
        let before = self.n_produced;
        self.produce();
        self.killed_at(step);
        // What decides has decided or not; letters that are written at least once are delivered before.
        let decided = if is_committed { self.n_produced } else { before };
        let transaction = match self.transaction {
            Transaction::Rows => self.rows(),
            Transaction::Letters => self.letters_in_topic(&self.committed(&self.dead)),
        };
        let parity = i64::from(self.transaction == Transaction::Letters);
        assert_eq!(transaction, of_parity(parity, decided), "{context}");
        if self.transaction == Transaction::Rows && step != "after-run" {
            let written = self.letters_in_topic(&self.committed(&self.dead));
            assert!(written.iter().any(|offset| *offset >= before), "{context}: {written:?}");
        }

        self.run_to_the_end();
        assert_eq!(self.rows(), of_parity(0, self.n_produced), "{context}: good rows");
        assert_eq!(self.letters_in_folder(), of_parity(1, self.n_produced), "{context}: letters in the folder");
        let mut letters = self.letters_in_topic(&self.committed(&self.dead));
        if self.transaction == Transaction::Rows {
            letters.dedup();
        }
        assert_eq!(letters, of_parity(1, self.n_produced), "{context}: letters in the topic");
    }
}

/// The even numbers below `end`, or the odd ones.
fn of_parity(parity: i64, end: i64) -> Vec<i64> {
    (0..end).filter(|n| n % 2 == parity).collect()
}

fn sorted(numbers: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn letters_and_rows_are_as_often_there_as_promised_wherever_the_process_is_killed() {
    let runtime = runtime();
    let steps: Vec<_> = STEPS.into_iter().chain(if takes_its_time() { MORE_STEPS.to_vec() } else { Vec::new() }).collect();
    std::thread::scope(|scope| {
        for transaction in [Transaction::Rows, Transaction::Letters] {
            let Some(kafka) = TestKafka::from_env() else { return };
            let mut t = Bench::new(&runtime, kafka, transaction);
            let steps = steps.as_slice();
            scope.spawn(move || steps.iter().for_each(|(step, is_committed)| t.is_killed_and_goes_on(step, *is_committed)));
        }
    });
}
