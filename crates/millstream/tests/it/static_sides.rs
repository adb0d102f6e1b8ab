//! The finished side of a join with a stream: which version of it a batch sees, also when the batch runs again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{BatchId, Clock, DataFrame, Result, Session, StreamingQuery};
use millstream_testkit::gold::rows_of;
use millstream_testkit::{ManualClock, put_file};

use crate::stream_script::Armed;

/// Rows by batch, as text.
type Seen = Arc<Mutex<BTreeMap<u64, Vec<String>>>>;

struct Bench {
    dir: tempfile::TempDir,
    armed: Arc<Armed>,
    clock: Arc<ManualClock>,
    seen: Seen,
    refresh: &'static str,
}

impl Bench {
    fn new(refresh: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["users", "clicks"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, armed: Arc::default(), clock: Arc::new(ManualClock::new(1_000_000)), seen: Seen::default(), refresh }
    }

    fn write(&self, file: &str, text: &str) {
        put_file(self.dir.path().join(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.dir.path().join(file)).unwrap();
    }

    async fn session(&self) -> Session {
        let builder = Session::builder().clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        let session = builder.crash_points(Arc::clone(&self.armed) as Arc<dyn CrashPoints>).build().unwrap();
        let dir = self.dir.path().display();
        let refresh = self.refresh;
        session.sql(&format!("CREATE TABLE clicks (id BIGINT) USING json OPTIONS (path '{dir}/clicks')")).await.unwrap();
        let users = format!("CREATE TABLE users (id BIGINT, name STRING) USING json OPTIONS (path '{dir}/users' {refresh})");
        session.sql(&users).await.unwrap();
        session
    }

    /// Begins with an intent, as the sink's effects show before the commit.
    async fn start(&self, sql: &str) -> Result<StreamingQuery> {
        let seen = Arc::clone(&self.seen);
        let keep = move |batch: DataFrame, id: BatchId| {
            let seen = Arc::clone(&seen);
            async move {
                let rows = rows_of(&batch.collect().await?).unwrap();
                let mut rows: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
                rows.sort();
                seen.lock().unwrap().insert(id.0, rows);
                Ok(())
            }
        };
        let frame = self.session().await.sql(sql).await?;
        frame.write_stream().foreach_batch(keep).checkpoint(self.dir.path().join("checkpoint")).start().await
    }

    fn seen(&self) -> Vec<Vec<String>> {
        self.seen.lock().unwrap().values().cloned().collect()
    }

    /// A query that crashed when the intent of its second batch was recorded.
    async fn crashed_in_its_second_batch(&self) {
        self.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
        self.write("clicks/1.json", "{\"id\":1}\n");
        let query = self.start(JOIN).await.unwrap();
        query.process_all_available().await.unwrap();
        *self.armed.0.lock().unwrap() = Some((CrashPoint::AfterIntent, 1));
        self.write("clicks/2.json", "{\"id\":2}\n");
        assert_eq!(query.process_all_available().await.unwrap_err().error_class(), Some(CRASH));
    }
}

const JOIN: &str = "SELECT c.id, u.name FROM STREAM clicks c LEFT JOIN users u ON c.id = u.id";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_again_joins_with_the_version_that_was_recorded() {
    let bench = Bench::new("");
    bench.crashed_in_its_second_batch().await;
    bench.write("users/b.json", "{\"id\":2,\"name\":\"bob\"}\n");
    let query = bench.start(JOIN).await.unwrap();
    query.process_all_available().await.unwrap();
    bench.write("clicks/3.json", "{\"id\":2}\n");
    query.process_all_available().await.unwrap();
    query.stop().await;
    assert_eq!(bench.seen(), [[r#"["1","ann"]"#], [r#"["2",null]"#], [r#"["2","bob"]"#]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_version_is_gone_does_not_join_with_another() {
    for (is_removed, text) in [(true, "users/a.json"), (false, "its size was")] {
        let bench = Bench::new("");
        bench.crashed_in_its_second_batch().await;
        match is_removed {
            true => bench.remove("users/a.json"),
            false => bench.write("users/a.json", "{\"id\":1,\"name\":\"annabel\"}\n"),
        }
        bench.write("users/b.json", "{\"id\":2,\"name\":\"bob\"}\n");
        let query = bench.start(JOIN).await.unwrap();
        let error = query.process_all_available().await.unwrap_err().to_string();
        assert!(error.contains("running a batch again with what it read before") && error.contains(text), "{error}");
        assert_eq!(bench.seen(), [[r#"["1","ann"]"#]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_finished_side_is_not_read_any_more_is_not_run_without_it() {
    let bench = Bench::new("");
    bench.crashed_in_its_second_batch().await;
    let query = bench.start("SELECT c.id, CAST(NULL AS STRING) AS name FROM STREAM clicks c").await.unwrap();
    let error = query.process_all_available().await.unwrap_err().to_string();
    assert!(error.contains("batch 1 was begun with the table 'users', which the query does not read any more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subqueries_over_finished_data_are_answered_in_each_batch() {
    let bench = Bench::new(", refreshInterval '1 minute'");
    let query = "SELECT id, (SELECT max(name) FROM users) AS last FROM STREAM clicks \
                 WHERE id < 10 * (SELECT max(id) FROM users) AND (id IN (SELECT id FROM users) OR id > 2)";
    bench.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
    bench.write("clicks/1.json", "{\"id\":1}\n{\"id\":2}\n{\"id\":15}\n");
    let query = bench.start(query).await.unwrap();
    query.process_all_available().await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    bench.write("users/b.json", "{\"id\":2,\"name\":\"bob\"}\n");
    for n in [2, 3] {
        bench.write(&format!("clicks/{n}.json"), "{\"id\":2}\n{\"id\":15}\n{\"id\":20}\n");
        query.process_all_available().await.unwrap();
    }
    let behind = vec![r#"["15","bob"]"#, r#"["2","bob"]"#];
    assert_eq!(bench.seen(), [vec![r#"["1","ann"]"#], behind.clone(), behind]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_side_is_looked_at_again_by_interval_and_when_its_files_change() {
    let bench = Bench::new(", refreshInterval '1 minute'");
    bench.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
    bench.write("clicks/1.json", "{\"id\":1}\n{\"id\":2}\n");
    let query = bench.start(JOIN).await.unwrap();
    query.process_all_available().await.unwrap();
    let before = [r#"["1","ann"]"#, r#"["2",null]"#];
    assert_eq!(bench.seen(), [before]);
    bench.write("users/b.json", "{\"id\":2,\"name\":\"bob\"}\n");
    bench.clock.advance(Duration::from_secs(59));
    bench.write("clicks/2.json", "{\"id\":1}\n{\"id\":2}\n");
    query.process_all_available().await.unwrap();
    assert_eq!(bench.seen(), [before, before]);
    bench.clock.advance(Duration::from_secs(1));
    bench.write("clicks/3.json", "{\"id\":1}\n{\"id\":2}\n");
    query.process_all_available().await.unwrap();
    assert_eq!(bench.seen()[2], [r#"["1","ann"]"#, r#"["2","bob"]"#]);
    // Written anew within the interval: the old files are gone, so they are no version any more.
    bench.remove("users/a.json");
    bench.remove("users/b.json");
    bench.write("users/c.json", "{\"id\":1,\"name\":\"anna\"}\n");
    bench.write("clicks/4.json", "{\"id\":1}\n{\"id\":2}\n");
    query.process_all_available().await.unwrap();
    assert_eq!(bench.seen()[3], [r#"["1","anna"]"#, r#"["2",null]"#]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_joins_with_all_that_its_own_table_held_at_the_start() {
    let bench = Bench::new("");
    bench.write("clicks/1.json", "{\"id\":1}\n");
    let pairs = "SELECT c.id, d.id AS known FROM STREAM clicks c LEFT JOIN clicks d ON c.id >= d.id";
    let query = bench.start(pairs).await.unwrap();
    query.process_all_available().await.unwrap();
    bench.write("clicks/2.json", "{\"id\":2}\n");
    query.process_all_available().await.unwrap();
    let rows = query.recent_progress().iter().map(|progress| progress.num_input_rows).max();
    query.stop().await;
    assert_eq!(bench.seen(), [[r#"["1","1"]"#], [r#"["2","1"]"#]]);
    assert_eq!(rows, Some(1), "rows of the finished side are no input of the stream");
}

/// Counts how often each name has how many clicks: the groups below are taken back when they grow.
const ABOVE_CHANGES: &str = "SELECT u.name, sum(c.n) AS clicks FROM (SELECT id, count(*) AS n FROM STREAM clicks GROUP BY id) c JOIN users u ON c.id = u.id GROUP BY u.name";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_beside_rows_that_are_taken_back_stays_as_it_is() {
    let start = async |bench: &Bench| {
        let frame = bench.session().await.sql(ABOVE_CHANGES).await?;
        let writer = frame.write_stream().format("memory").query_name("counts").output_mode("complete");
        writer.trigger(millstream::Trigger::AvailableNow).checkpoint(bench.dir.path().join("checkpoint")).start().await
    };
    let bench = Bench::new(", refreshInterval '1 minute'");
    bench.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
    bench.write("clicks/1.json", "{\"id\":1}\n");
    let refused = start(&bench).await.err().unwrap();
    assert!(refused.to_string().contains("'refreshInterval' on table 'users'"), "{refused}");

    let bench = Bench::new("");
    bench.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
    bench.write("clicks/1.json", "{\"id\":1}\n");
    start(&bench).await.unwrap().await_termination(None).await.unwrap();
    bench.write("clicks/2.json", "{\"id\":1}\n");
    start(&bench).await.unwrap().await_termination(None).await.unwrap();
    bench.write("users/a.json", "{\"id\":1,\"name\":\"annabel\"}\n");
    let refused = start(&bench).await.err().unwrap();
    assert!(refused.to_string().contains("table 'users' is not as it was"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_the_stream_go_past_a_hash_table_of_the_finished_side() {
    // Joins whose stream is left, then right; what they give of clicks 1, 2 and 3.
    let joins: [(&str, &[&str]); 6] = [
        (JOIN, &[r#"["1","ann"]"#, r#"["2","bob"]"#, r#"["3",null]"#]),
        (
            "SELECT c.id, u.name FROM users u RIGHT JOIN STREAM clicks c ON c.id = u.id",
            &[r#"["1","ann"]"#, r#"["2","bob"]"#, r#"["3",null]"#],
        ),
        ("SELECT c.id, u.name FROM STREAM clicks c JOIN users u ON c.id = u.id", &[r#"["1","ann"]"#, r#"["2","bob"]"#]),
        ("SELECT c.id, u.name FROM users u JOIN STREAM clicks c ON c.id = u.id AND c.id < 2", &[r#"["1","ann"]"#]),
        ("SELECT c.id FROM STREAM clicks c LEFT SEMI JOIN users u ON c.id = u.id", &[r#"["1"]"#, r#"["2"]"#]),
        ("SELECT c.id FROM STREAM clicks c LEFT ANTI JOIN users u ON c.id = u.id", &[r#"["3"]"#]),
    ];
    for (sql, want) in joins {
        let bench = Bench::new("");
        bench.write("users/a.json", "{\"id\":1,\"name\":\"ann\"}\n");
        bench.write("users/b.json", "{\"id\":2,\"name\":\"bob\"}\n{\"id\":7,\"name\":\"eve\"}\n");
        bench.write("clicks/1.json", "{\"id\":1}\n{\"id\":3}\n");
        bench.write("clicks/2.json", "{\"id\":2}\n");
        let query = bench.start(sql).await.unwrap();
        query.process_all_available().await.unwrap();
        let plan = query.explain();
        query.stop().await;
        assert_eq!(bench.seen(), [want], "{sql}");
        let at = |part: &str| plan.find(part).unwrap_or_else(|| panic!("{sql} without {part}: {plan}"));
        // The first input is the one that is kept; nothing is sent from task to task.
        assert!(at("HashJoinExec: mode=CollectLeft") < at("source=users") && at("source=users") < at("source=clicks"), "{sql}: {plan}");
        assert!(!plan.contains("RepartitionExec"), "{sql}: {plan}");
    }
}
