//! A query over Kafka as a process, on the broker that the environment names: killed, and started again.

use std::path::Path;

use millstream_testkit::kafka::{TestKafka, TestRecord};

use crate::command::{millstream, text};
use crate::process::{Process, local_table, table, was_aborted};

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
    // An end that waits for an answer which never comes says so.
    assert!(!said.contains("may not be published"), "{said}");
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

/// A job over a topic of one partition that has read the ids from 0 to 9, with 10 to 12 behind them.
struct Stopped {
    kafka: TestKafka,
    topic: String,
    dir: tempfile::TempDir,
}

impl Stopped {
    fn new() -> Option<Self> {
        let kafka = TestKafka::from_env()?;
        let dir = tempfile::tempdir().unwrap();
        let topic = block_on(kafka.create_topic("moved", 1)).unwrap();
        produce(&kafka, &topic, 0..10, 1_000);
        write_job(dir.path(), &kafka, &topic, ", startingOffsets 'earliest'");
        let stopped = Self { kafka, topic, dir };
        stopped.run_job();
        produce(&stopped.kafka, &stopped.topic, 10..13, 2_000);
        Some(stopped)
    }

    fn run_job(&self) {
        let (status, _, said) = Process::run(self.dir.path(), "job.sql", &["--trigger", "available-now"], &[]).end();
        assert!(status.success(), "{said}");
    }

    /// `millstream kafka ARGS`: exit code, standard output, and all that was said.
    fn kafka(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = millstream();
        command.current_dir(self.dir.path()).arg("kafka").args(args);
        if args.first() != Some(&"offsets") {
            command.args(["--bootstrap-servers", self.kafka.bootstrap_servers()]);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), text(&output))
    }

    /// Position and committed offset, and with the brokers asked the lag.
    fn stands(&self) -> (i64, Option<i64>, Option<i64>) {
        let servers = self.kafka.bootstrap_servers();
        let (code, out, all) = self.kafka(&["offsets", "checkpoint", "--json", "--option", &format!("kafka.bootstrap.servers={servers}")]);
        assert_eq!(code, Some(0), "{all}");
        let row: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
        assert_eq!((row["topic"].as_str(), row["partition"].as_i64()), (Some(self.topic.as_str()), Some(0)));
        (row["position"].as_i64().unwrap(), row["committed"].as_i64(), row["lag"].as_i64())
    }

    fn reset(&self, to: &str) {
        let (code, _, all) = self.kafka(&["reset", "checkpoint", "--to", to]);
        assert_eq!(code, Some(0), "{all}");
    }

    fn log(&self) -> String {
        let output = millstream().current_dir(self.dir.path()).args(["checkpoint", "show", "checkpoint", "--json"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn where_a_query_stands_is_shown_with_and_without_brokers() {
    let Some(t) = Stopped::new() else { return };
    assert_eq!(t.stands(), (10, Some(10), Some(3)));
    let (code, out, all) = t.kafka(&["offsets", "checkpoint"]);
    assert_eq!(code, Some(0), "{all}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SOURCE", "TOPIC", "PARTITION", "POSITION", "COMMITTED", "LATEST", "LAG"]);
    assert_eq!(lines[1], ["events", &t.topic, "0", "10", "10", "-", "-"]);
    // Nobody listens there.
    let (code, out, all) = t.kafka(&["offsets", "checkpoint", "--option", "bootstrapServers=127.0.0.1:1", "--json"]);
    assert_eq!(code, Some(0), "{all}");
    assert!(all.contains("lag is not known: ") && out.contains("\"position\":10"), "{all}");
}

#[test]
fn a_stopped_query_is_moved_by_offsets_time_and_ends() {
    let Some(t) = Stopped::new() else { return };
    let before = t.log();
    let (code, out, all) = t.kafka(&["reset", "checkpoint", "--to", "earliest", "--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{all}");
    let row: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((row["from"].as_i64(), row["to"].as_i64()), (Some(10), Some(0)));
    assert_eq!(t.log(), before, "a dry run writes nothing");

    t.reset(&format!("{{\"{}\":{{\"0\":5}}}}", t.topic));
    assert_eq!(t.stands(), (5, Some(10), Some(8)), "what was committed stays");
    t.run_job();
    let mut read: Vec<i64> = (0..10).chain(5..13).collect();
    read.sort_unstable();
    assert_eq!(local_table(t.dir.path()), read, "5 to 9 are read again");
    // Restarts go on behind that.
    t.run_job();
    assert_eq!(t.stands(), (13, Some(13), Some(0)));

    for (to, position) in [("earliest", 0), ("1500", 10), ("latest", 13), ("0", 0), ("9999999999999", 13)] {
        t.reset(to);
        assert_eq!(t.stands().0, position, "{to}");
    }
    produce(&t.kafka, &t.topic, 13..15, 3_000);
    t.run_job();
    read.extend([13, 14]);
    assert_eq!(local_table(t.dir.path()), read, "only what came behind the last place is read");
}

#[test]
fn partitions_that_a_query_does_not_read_are_refused_and_dropped() {
    let Some(t) = Stopped::new() else { return };
    let other = block_on(t.kafka.create_topic("other", 1)).unwrap();
    let to = format!("{{\"{other}\":{{\"0\":0}}}}");
    let (code, _, all) = t.kafka(&["reset", "checkpoint", "--to", &to]);
    let expected = format!("the query does not read {other}-0: it reads {}", t.topic);
    assert!(code == Some(2) && all.contains(&expected), "{all}");

    // Once it has read the other one, too.
    let write_job = |topics: &str| write_job(t.dir.path(), &t.kafka, topics, ", startingOffsets 'earliest'");
    write_job(&format!("{},{other}", t.topic));
    t.reset(&format!("{{\"{}\":{{\"0\":13}}}}", t.topic));
    produce(&t.kafka, &other, 90..92, 1_000);
    t.run_job();
    t.reset(&to);
    write_job(&t.topic);
    let (status, _, said) = Process::run(t.dir.path(), "job.sql", &["--trigger", "available-now"], &[]).end();
    assert!(!status.success() && said.contains("does not subscribe to it any more"), "{said}");
    let servers = format!("bootstrapServers={}", t.kafka.bootstrap_servers());
    let (code, _, all) = t.kafka(&["offsets", "checkpoint", "--option", &servers]);
    let expected = format!("the query stands at offset 0 of {other}-0, and does not subscribe to it any more");
    assert!(code == Some(0) && all.contains(&expected), "{all}");
    t.reset("earliest");
    assert_eq!(t.stands(), (0, Some(13), Some(13)), "it is the only one");
}

#[test]
fn what_is_wrong_with_a_position_is_shown() {
    let Some(t) = Stopped::new() else { return };
    block_on(t.kafka.delete_topic(&t.topic)).unwrap();
    block_on(t.kafka.create_topic_named(&t.topic, 1, &[])).unwrap();
    produce(&t.kafka, &t.topic, 0..4, 1_000);
    let servers = format!("bootstrapServers={}", t.kafka.bootstrap_servers());
    let (code, out, all) = t.kafka(&["offsets", "checkpoint", "--option", &servers]);
    assert_eq!(code, Some(0), "{all}");
    let expected = "-0 was to be read from offset 10 on, and the topic was deleted; another one of the same name has the offsets 0 to 4";
    assert!(all.contains(&format!("{}{expected}", t.topic)), "{all}");
    assert!(out.lines().nth(1).unwrap().ends_with(" 4       -"), "{out}");
}

#[test]
fn the_isolation_of_a_query_decides_where_its_latest_is() {
    let Some(t) = Stopped::new() else { return };
    write_job(t.dir.path(), &t.kafka, &t.topic, ", kafka.isolation.level 'read_uncommitted'");
    t.run_job();
    let transactions = t.kafka.transactions(&t.kafka.unique("tx")).unwrap();
    transactions.begin().unwrap();
    let open: Vec<TestRecord> = (13..17).map(|id| TestRecord::new(id.to_string()).partition(0)).collect();
    block_on(transactions.send(&t.topic, &open)).unwrap();
    assert_eq!(t.stands(), (13, Some(13), Some(4)));
    t.reset("latest");
    assert_eq!(t.stands(), (17, Some(13), Some(0)));
    // To who reads committed records only the same position is one that waits.
    let servers = format!("bootstrapServers={}", t.kafka.bootstrap_servers());
    let (_, _, all) = t.kafka(&["offsets", "checkpoint", "--option", &servers, "--option", "kafka.isolation.level=read_committed"]);
    assert!(all.contains(&format!("{}-0 has an open transaction before offset 17", t.topic)), "{all}");
    transactions.commit().unwrap();
}

#[test]
fn a_reset_is_refused_with_what_is_wrong() {
    let Some(t) = Stopped::new() else { return };
    let (there, nowhere) = (format!("{{\"{}\":{{\"0\":99}}}}", t.topic), format!("{{\"{}\":{{\"7\":0}}}}", t.topic));
    let before = t.log();
    for (args, what) in [
        (&["checkpoint", "--to", &there][..], "has the offsets 0 to 13, and 99 is none of them"),
        (&["checkpoint", "--to", &nowhere], "there is no partition"),
        (&["checkpoint", "--to", "yesterday"], "'yesterday' is no place in a topic"),
        (
            &["checkpoint", "--to", "earliest", "--option", "client.id=x"],
            "'client.id' is no option of the client: expected kafka.NAME=VALUE",
        ),
        (&["checkpoint", "--to", "earliest", "--source", "other"], "the query has no source 'other' of kafka: there is events"),
        (&["out", "--to", "earliest"], "is no checkpoint"),
    ] {
        let args: Vec<&str> = ["reset"].into_iter().chain(args.iter().copied()).collect();
        let (code, _, all) = t.kafka(&args);
        assert!(code == Some(2) && all.contains(what), "{args:?}: {all}");
    }
    assert_eq!(t.log(), before);

    let running = Process::run(t.dir.path(), "job.sql", &[], &[]);
    running.wait_for("query started");
    let (code, _, all) = t.kafka(&["reset", "checkpoint", "--to", "earliest"]);
    assert!(code == Some(1) && all.contains("has locked") && all.contains(&running.pid().to_string()), "{all}");
    // It is looked at all the same.
    t.stands();
    drop(running);

    // A batch that was begun has its offsets.
    let job = std::fs::read_to_string(t.dir.path().join("job.sql")).unwrap();
    let job = job.replace(
        "USING parquet LOCATION 'out' OPTIONS (commitInterval '0s', checkpointLocation 'checkpoint')",
        "USING console OPTIONS (checkpointLocation 'begun')",
    );
    std::fs::write(t.dir.path().join("begun.sql"), job).unwrap();
    let crashed =
        Process::run(t.dir.path(), "begun.sql", &["--trigger", "available-now"], &[("MILLSTREAM_CRASH_AT", "after-intent")]).end();
    assert!(was_aborted(crashed.0), "{}", crashed.2);
    let (code, _, all) = t.kafka(&["reset", "begun", "--to", "latest"]);
    assert!(code == Some(2) && all.contains("batch 0 of checkpoint 'begun' was begun and is not decided"), "{all}");
}
