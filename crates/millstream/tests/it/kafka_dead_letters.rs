//! Dead letters of rows from Kafka, on the broker that the environment names: whatever a query reads of a record, its letter has all of
//! it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{Result, SaveMode, Session, StreamingQuery, Trigger};
use millstream_testkit::kafka::{ConsumedRecord, TestKafka, TestRecord};
use millstream_testkit::rows::sorted_row_texts;

use crate::stream_script::Armed;

/// A topic with records good and bad, and a session in which it is the table `events`.
struct Bench {
    kafka: TestKafka,
    session: Session,
    dir: tempfile::TempDir,
    topic: String,
}

const TIME_MS: i64 = 1_700_000_000_000;

/// What is bad of [`records`], as [`Bench::letters`] shows it.
const BAD: [&str; 2] = ["0/1/key=NULL/value=7BFF/headers=NULL", "0/2/key=6B/value=6E6F/headers=[{h, 01FF}, {none, null}]"];

fn records() -> Vec<TestRecord> {
    let good = |n: u32| TestRecord::new(format!("{{\"id\":{n},\"tags\":[\"{n}\"]}}")).key("k");
    let bad = [TestRecord::new(vec![b'{', 0xff]), TestRecord::new("no").key("k").header("h", Some(&[1, 0xff])).header("none", None)];
    let all = [good(0)].into_iter().chain(bad).chain([good(3)]);
    all.map(|record| record.partition(0).at_ms(TIME_MS)).collect()
}

impl Bench {
    async fn new(kafka: TestKafka, options: &str) -> Self {
        let topic = kafka.create_topic("letters", 1).await.unwrap();
        kafka.produce(&topic, &records()).await.unwrap();
        let (session, dir) = (Session::new().unwrap(), tempfile::tempdir().unwrap());
        let bench = Self { kafka, session, dir, topic };
        bench
            .sql(&format!(
                "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe '{}', startingOffsets 'earliest',
                 deadLetterPath '{}'{options})",
                bench.kafka.bootstrap_servers(),
                bench.topic,
                bench.path("dead").display()
            ))
            .await;
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn sql(&self, sql: &str) -> Vec<String> {
        sorted_row_texts(&self.session.sql(sql).await.unwrap().collect().await.unwrap()).unwrap()
    }

    /// Runs a stream over all that there is, into files.
    async fn stream(&self, sql: &str, row_errors: &str) -> StreamingQuery {
        let frame = self.session.sql(sql).await.unwrap();
        let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).option("rowErrors", row_errors);
        let query = writer.checkpoint(self.path("checkpoint")).start_path(self.path("out")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(120), query.await_termination(None)).await.expect("it ends").unwrap();
        query
    }

    /// How many rows came out, and the letters.
    async fn came_of(&self, sql: &str) -> (usize, Vec<String>) {
        for name in ["checkpoint", "out", "dead"] {
            drop(std::fs::remove_dir_all(self.path(name)));
        }
        self.stream(sql, "deadLetter").await;
        (self.rows(&self.path("out")).await, self.letters().await)
    }

    async fn rows(&self, path: &Path) -> usize {
        self.sql(&format!("SELECT * FROM parquet.`{}`", path.display())).await.len()
    }

    async fn letters(&self) -> Vec<String> {
        let dead = self.path("dead");
        let topics = self.sql(&format!("SELECT DISTINCT topic, timestamp FROM parquet.`{}`", dead.display())).await;
        assert_eq!(topics, [format!("topic={}, timestamp=2023-11-14T22:13:20Z", self.topic)]);
        let letters = format!(
            "SELECT concat_ws('/', partition, offset, concat('key=', coalesce(hex(key), 'NULL')), concat('value=', hex(value)),
               concat('headers=', coalesce(cast(transform(headers, h -> named_struct('k', h.key, 'v', hex(h.value))) AS STRING), 'NULL'))) AS l
             FROM parquet.`{}`",
            dead.display()
        );
        self.sql(&letters).await.iter().map(|letter| letter.trim_start_matches("l=").to_owned()).collect()
    }
}

const PARSED: &str = "from_json(cast(value AS STRING), 'id INT, tags ARRAY<STRING>', map('mode', 'FAILFAST'))";

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_has_the_whole_record_whatever_the_query_reads() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = Bench::new(kafka, "").await;
    let parsed = format!("SELECT e.* FROM (SELECT {PARSED} AS e FROM STREAM events)");
    let (n_rows, letters) = bench.came_of(&format!("SELECT id FROM ({parsed})")).await;
    assert_eq!((n_rows, letters), (2, BAD.map(str::to_owned).to_vec()), "only one field of the value is read");
    let raw = bench.sql(&format!("SELECT cast(raw AS STRING), error FROM parquet.`{}`", bench.path("dead").display())).await;
    assert!(raw.iter().all(|row| row.contains("[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] malformed record: ")), "{raw:?}");

    // The parsed value is not among what the failing expression reads.
    let (n_rows, letters) = bench.came_of("SELECT 10 DIV (offset - 2) AS n FROM STREAM events").await;
    assert_eq!((n_rows, letters), (3, vec![BAD[1].to_owned()]));
    // Above a filter on what is computed, an explode, a union, a join and a deduplication.
    let exploded = "SELECT cast(c AS INT) AS c FROM (SELECT explode(split(hex(value), '')) AS c FROM STREAM events WHERE offset IN (1, 2))";
    let (n_rows, letters) = bench.came_of(exploded).await;
    assert_eq!((n_rows, letters), (3, [BAD[0], BAD[0], BAD[0], BAD[1], BAD[1]].map(str::to_owned).to_vec()));
    let union = "SELECT 10 DIV (o - 2) AS n FROM (SELECT offset AS o FROM STREAM events UNION ALL SELECT offset + 1 FROM STREAM events)";
    let (n_rows, letters) = bench.came_of(union).await;
    assert_eq!((n_rows, letters), (6, BAD.map(str::to_owned).to_vec()));
    std::fs::create_dir_all(bench.path("names")).unwrap();
    std::fs::write(bench.path("names/a.json"), "{\"n\":1,\"by\":0}\n{\"n\":2,\"by\":1}\n{\"n\":3,\"by\":2}\n").unwrap();
    bench.sql(&format!("CREATE TABLE names (n BIGINT, by INT) USING json OPTIONS (path '{}')", bench.path("names").display())).await;
    let join = "SELECT 10 DIV n.by AS n FROM STREAM events e JOIN names n ON e.offset = n.n";
    assert_eq!(bench.came_of(join).await, (2, vec![BAD[0].to_owned()]));
    let left = "SELECT 10 DIV (n.by - 1) AS n FROM STREAM events e LEFT JOIN names n ON e.offset = n.n";
    assert_eq!(bench.came_of(left).await, (3, vec![BAD[1].to_owned()]));
    let distinct = "SELECT 10 DIV (offset - 2) AS n FROM drop_duplicates(STREAM events, 'offset')";
    assert_eq!(bench.came_of(distinct).await, (3, vec![BAD[1].to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_in_the_letter_whether_the_query_can_name_them_or_not() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = Bench::new(kafka, ", includeHeaders 'true'").await;
    let sql = "SELECT 10 DIV (offset - 2) AS n, size(headers) AS h FROM STREAM events";
    assert_eq!(bench.came_of(sql).await, (3, vec![BAD[1].to_owned()]));
    // Who sets no rows aside reads what the query reads.
    std::fs::remove_dir_all(bench.path("checkpoint")).unwrap();
    let plan = bench.stream("SELECT offset FROM STREAM events", "fail").await.explain();
    assert!(plan.contains("columns=[offset]") && !plan.contains("RowRecordExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_read_keeps_the_record_too() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = Bench::new(kafka, "").await;
    let frame = bench.session.sql(&format!("SELECT e.id + 1 AS id FROM (SELECT {PARSED} AS e FROM events LIMIT 4)")).await.unwrap();
    assert_eq!(frame.write().option("rowErrors", "deadLetter").parquet(bench.path("out")).await.unwrap(), 2);
    assert_eq!(bench.letters().await, BAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_from_the_future_has_its_record() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = Bench::new(kafka, ", maxFutureSkew '1 hour'").await;
    let sql = "SELECT window.start AS w, count(*) AS n FROM
                 (SELECT if(offset = 2, timestamp '2999-01-01 00:00:00', timestamp) AS ts FROM STREAM events) WATERMARK ts DELAY OF INTERVAL 1 MINUTE
               GROUP BY window(ts, '1 minute')";
    for row_errors in ["fail", "deadLetter"] {
        if row_errors == "deadLetter" {
            for name in ["checkpoint", "out", "dead"] {
                std::fs::remove_dir_all(bench.path(name)).unwrap();
            }
        }
        let sql = if row_errors == "fail" {
            sql
        } else {
            "SELECT offset FROM (SELECT *, if(offset = 2, timestamp '2999-01-01 00:00:00', timestamp) AS ts FROM STREAM events) WATERMARK ts DELAY OF INTERVAL 1 MINUTE"
        };
        bench.stream(sql, row_errors).await;
        assert_eq!(bench.letters().await, [BAD[1]], "{row_errors}");
    }
}

/// Runs that end at crash points, and what a topic of letters has then: (offset of the record, batch that it was set aside in).
struct TopicBench {
    kafka: TestKafka,
    session: Session,
    armed: Arc<Armed>,
    dir: tempfile::TempDir,
    from: String,
    to: String,
    dead: String,
}

impl TopicBench {
    async fn new(kafka: TestKafka, options: &str) -> Self {
        let armed = Arc::new(Armed::default());
        let session = Session::builder().crash_points(Arc::clone(&armed) as Arc<dyn CrashPoints>).build().unwrap();
        let from = kafka.create_topic("from", 1).await.unwrap();
        let (to, dead) = (kafka.create_topic("to", 1).await.unwrap(), kafka.create_topic("dead", 1).await.unwrap());
        let table = format!(
            "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe '{from}', startingOffsets 'earliest',
             maxOffsetsPerTrigger '2', deadLetterTopic '{dead}'{options})",
            kafka.bootstrap_servers()
        );
        session.sql(&table).await.unwrap();
        Self { kafka, session, armed, dir: tempfile::tempdir().unwrap(), from, to, dead }
    }

    /// Batches of two records, of which the second is bad.
    async fn produce(&self, n_batches: usize) {
        let values = (0..n_batches).flat_map(|_| ["1", "x"]);
        self.kafka.produce_values(&self.from, 0, values).await.unwrap();
    }

    async fn run(&self, format: &str) -> Result<()> {
        let frame = self.session.sql("SELECT cast(cast(value AS STRING) AS INT) AS n, offset FROM STREAM events").await?;
        let frame = if format == "kafka" { frame.select_expr(["cast(offset + n AS STRING) AS value"])? } else { frame };
        let writer = frame.write_stream().format(format).trigger(Trigger::AvailableNow).option("rowErrors", "deadLetter");
        let writer = match format {
            "kafka" => writer.option("kafka.bootstrap.servers", self.kafka.bootstrap_servers()).option("topic", &self.to),
            _ => writer.option("path", self.dir.path().join("out").display()),
        };
        let query = writer.checkpoint(self.dir.path().join("checkpoint")).start().await?;
        tokio::time::timeout(Duration::from_secs(120), query.await_termination(None)).await.expect("it ends").map(drop)
    }

    /// Crashes twice at a point, and then goes on to the end.
    async fn run_through(&self, point: CrashPoint, format: &str) {
        for n in [2, 1] {
            *self.armed.0.lock().unwrap() = Some((point, n));
            if let Err(error) = self.run(format).await {
                assert_eq!(error.error_class(), Some(CRASH), "{point}: {error:?}");
            }
        }
        *self.armed.0.lock().unwrap() = None;
        self.run(format).await.unwrap();
        for topic in [&self.to, &self.dead] {
            self.kafka.wait_until_stable(topic).await.unwrap();
        }
    }

    /// The offsets of the records that were set aside.
    fn letters(&self) -> Vec<String> {
        let letters = self.kafka.consume_committed(&self.dead).unwrap();
        letters.iter().map(|letter| header(letter, "millstream.offset").expect("every letter has it")).collect()
    }
}

fn header(record: &ConsumedRecord, name: &str) -> Option<String> {
    let found = record.headers.iter().rev().find(|(known, _)| known == name)?;
    found.1.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_to_a_topic_as_the_records_that_they_were() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let dead = kafka.create_topic("dead", 1).await.unwrap();
    let bench = Bench::new(kafka, &format!(", deadLetterTopic '{dead}'")).await;
    let sql = format!("SELECT e.id FROM (SELECT {PARSED} AS e FROM STREAM events)");
    assert_eq!(bench.came_of(&sql).await, (2, BAD.map(str::to_owned).to_vec()), "the folder has them, too");
    let letters = bench.kafka.consume_committed(&dead).unwrap();
    let [binary, text] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((binary.key.as_deref(), binary.value.as_deref()), (None, Some([b'{', 0xff].as_slice())));
    assert_eq!((text.key.as_deref(), text.value.as_deref()), (Some(b"k".as_slice()), Some(b"no".as_slice())));
    assert_eq!(text.headers[..2], [("h".to_owned(), Some(vec![1, 0xff])), ("none".to_owned(), None)], "its own headers come first");
    let told =
        ["topic", "partition", "offset", "timestamp", "source", "batch"].map(|name| header(text, &format!("millstream.{name}")).unwrap());
    assert_eq!(told, [&bench.topic, "0", "2", &TIME_MS.to_string(), "events", "0"]);
    assert!(header(text, "millstream.error").unwrap().starts_with("[MALFORMED_RECORD_IN_PARSING"), "{text:?}");
    assert_eq!(header(text, "millstream.query").unwrap().len(), 36);

    // A batch read writes there, too, and a letter can be read again and fail again.
    let frame = bench.session.sql("SELECT cast(cast(value AS STRING) AS INT) AS n FROM events WHERE offset = 2").await.unwrap();
    assert_eq!(frame.write().option("rowErrors", "deadLetter").mode(SaveMode::Overwrite).parquet(bench.path("out")).await.unwrap(), 0);
    assert_eq!(bench.kafka.consume_committed(&dead).unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_letter_is_lost_where_a_transactional_topic_and_a_topic_of_letters_are_written() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = TopicBench::new(kafka, "").await;
    let mut n_batches = 0;
    for point in CrashPoint::ALL {
        bench.produce(3).await;
        n_batches += 3;
        bench.run_through(point, "kafka").await;
        let written = bench.kafka.consume_committed(&bench.to).unwrap();
        assert_eq!(written.len(), n_batches, "{point}: each good row once");
        let mut letters: Vec<i64> = bench.letters().iter().map(|offset| offset.parse().unwrap()).collect();
        letters.sort_unstable();
        letters.dedup();
        let bad: Vec<i64> = (0..n_batches as i64).map(|batch| batch * 2 + 1).collect();
        assert_eq!(letters, bad, "{point}: each bad row at least once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_written_exactly_once_on_request() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = TopicBench::new(kafka, ", deadLetter.delivery 'exactly-once'").await;
    let mut n_batches = 0;
    for point in CrashPoint::ALL {
        bench.produce(3).await;
        n_batches += 3;
        bench.run_through(point, "parquet").await;
        let mut letters: Vec<usize> = bench.letters().iter().map(|offset| offset.parse().unwrap()).collect();
        letters.sort_unstable();
        assert_eq!(letters, (0..n_batches).map(|batch| batch * 2 + 1).collect::<Vec<_>>(), "{point}");
        let out = format!("SELECT offset FROM parquet.`{}`", bench.dir.path().join("out").display());
        assert_eq!(
            bench.session.sql(&out).await.unwrap().collect().await.unwrap().iter().map(|rows| rows.num_rows()).sum::<usize>(),
            n_batches
        );
    }
    // Two that decide by themselves what is committed cannot be in one query.
    std::fs::remove_dir_all(bench.dir.path().join("checkpoint")).unwrap();
    let error = bench.run("kafka").await.unwrap_err();
    assert!(error.message().contains("each decide by themselves") && error.to_string().contains(&bench.dead), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_files_go_to_a_topic_of_letters_as_they_are() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let dead = kafka.create_topic("dead", 1).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), "{\"id\":1}\n{\"id\":\n{\"id\":0}\n").unwrap();
    let define = async |options: String| {
        let (session, path) = (Session::new().unwrap(), dir.path().join("a.json"));
        session.sql(&format!("CREATE TABLE input (id INT) USING json OPTIONS (path '{}'{options})", path.display())).await.unwrap();
        let frame = session.sql("SELECT 10 DIV id AS n FROM input").await.unwrap();
        frame.write().option("rowErrors", "deadLetter").mode(SaveMode::Overwrite).parquet(dir.path().join("out")).await
    };
    let error = define(format!(", deadLetterTopic '{dead}'")).await.unwrap_err();
    assert!(error.message().contains("needs 'deadLetter.kafka.bootstrap.servers'"), "{error}");
    let servers = kafka.bootstrap_servers();
    let error = define(format!(", deadLetter.kafka.bootstrap.servers '{servers}'")).await.unwrap_err();
    assert!(error.message().contains("'deadLetterTopic'"), "{error}");
    let error = define(format!(", deadLetterTopic '{dead}', deadLetter.kafka.bootstrap.servers '{servers}', deadLetter.deliver 'x'"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("deadLetter.*") && error.to_string().contains("'deliver'"), "{error}");
    assert_eq!(define(format!(", deadLetterTopic '{dead}', deadLetter.kafka.bootstrap.servers '{servers}'")).await.unwrap(), 1);
    let letters = kafka.consume_committed(&dead).unwrap();
    let mut told: Vec<_> = letters.iter().map(|letter| (letter.text(), header(letter, "millstream.position"))).collect();
    told.sort();
    assert_eq!(told, [("{\"id\":".to_owned(), Some("2".to_owned())), ("{\"id\":0}".to_owned(), None)]);
    assert!(header(&letters[0], "millstream.origin").is_some_and(|origin| origin.contains("a.json")));
}
