//! Dead letters of rows from Kafka, on the broker that the environment names: whatever a query reads of a record, its letter has all of
//! it.

use std::path::Path;

use millstream::crash::CrashPoint;
use millstream::{DataStreamWriter, SaveMode, Session, StreamingQuery};
use millstream_testkit::kafka::{ConsumedRecord, SCRAM_USER, SecureBroker, TestKafka, TestRecord, broker_jars};

use crate::kafka_bench::KafkaBench;

/// A topic with records good and bad, and what a query over it makes of them.
struct Bench {
    events: KafkaBench,
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
        let events = KafkaBench::new(kafka, 1).await;
        events.kafka.produce(&events.from, &records()).await.unwrap();
        events.create_events(&format!(", deadLetterPath '{}'{options}", events.path("dead").display())).await;
        Self { events }
    }

    /// Runs a stream over all that there is, into files.
    async fn stream(&self, sql: &str, row_errors: &str) -> StreamingQuery {
        let frame = self.events.session.sql(sql).await.unwrap();
        let writer = frame.write_stream().format("parquet").option("path", self.events.path("out").display());
        self.events.run(writer.option("rowErrors", row_errors)).await.unwrap()
    }

    /// How many rows came out, and the letters.
    async fn came_of(&self, sql: &str) -> (usize, Vec<String>) {
        for name in ["checkpoint", "out", "dead"] {
            drop(std::fs::remove_dir_all(self.events.path(name)));
        }
        self.stream(sql, "deadLetter").await;
        (self.rows(&self.events.path("out")).await, self.letters().await)
    }

    async fn rows(&self, path: &Path) -> usize {
        self.events.sql(&format!("SELECT * FROM parquet.`{}`", path.display())).await.len()
    }

    async fn letters(&self) -> Vec<String> {
        let dead = self.events.path("dead");
        let topics = self.events.sql(&format!("SELECT DISTINCT topic, timestamp FROM parquet.`{}`", dead.display())).await;
        assert_eq!(topics, [format!("topic={}, timestamp=2023-11-14T22:13:20Z", self.events.from)]);
        let letters = format!(
            "SELECT concat_ws('/', partition, offset, concat('key=', coalesce(hex(key), 'NULL')), concat('value=', hex(value)),
               concat('headers=', coalesce(cast(transform(headers, h -> named_struct('k', h.key, 'v', hex(h.value))) AS STRING), 'NULL'))) AS l
             FROM parquet.`{}`",
            dead.display()
        );
        self.events.sql(&letters).await.iter().map(|letter| letter.trim_start_matches("l=").to_owned()).collect()
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
    let raw = bench.events.sql(&format!("SELECT cast(raw AS STRING), error FROM parquet.`{}`", bench.events.path("dead").display())).await;
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
    std::fs::create_dir_all(bench.events.path("names")).unwrap();
    std::fs::write(bench.events.path("names/a.json"), "{\"n\":1,\"by\":0}\n{\"n\":2,\"by\":1}\n{\"n\":3,\"by\":2}\n").unwrap();
    bench
        .events
        .sql(&format!("CREATE TABLE names (n BIGINT, by INT) USING json OPTIONS (path '{}')", bench.events.path("names").display()))
        .await;
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
    std::fs::remove_dir_all(bench.events.path("checkpoint")).unwrap();
    let plan = bench.stream("SELECT offset FROM STREAM events", "fail").await.explain();
    assert!(plan.contains("columns=[offset]") && !plan.contains("RowRecordExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_read_keeps_the_record_too() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let bench = Bench::new(kafka, "").await;
    let frame = bench.events.session.sql(&format!("SELECT e.id + 1 AS id FROM (SELECT {PARSED} AS e FROM events LIMIT 4)")).await.unwrap();
    assert_eq!(frame.write().option("rowErrors", "deadLetter").parquet(bench.events.path("out")).await.unwrap(), 2);
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
                std::fs::remove_dir_all(bench.events.path(name)).unwrap();
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

/// Runs that end at crash points, and what a topic of letters has then.
struct TopicBench {
    events: KafkaBench,
    to: String,
    dead: String,
}

impl TopicBench {
    async fn new(kafka: TestKafka, options: &str) -> Self {
        let events = KafkaBench::new(kafka, 1).await;
        let (to, dead) = (events.kafka.create_topic("to", 1).await.unwrap(), events.kafka.create_topic("dead", 1).await.unwrap());
        events.create_events(&format!(", maxOffsetsPerTrigger '2', deadLetterTopic '{dead}'{options}")).await;
        Self { events, to, dead }
    }

    /// Batches of two records, of which the second is bad.
    async fn produce(&self, n_batches: usize) {
        let values = (0..n_batches).flat_map(|_| ["1", "x"]);
        self.events.kafka.produce_values(&self.events.from, 0, values).await.unwrap();
    }

    async fn writer(&self, format: &str) -> DataStreamWriter {
        let frame = self.events.session.sql("SELECT cast(cast(value AS STRING) AS INT) AS n, offset FROM STREAM events").await.unwrap();
        let frame = if format == "kafka" { frame.select_expr(["cast(offset + n AS STRING) AS value"]).unwrap() } else { frame };
        let writer = frame.write_stream().format(format).option("rowErrors", "deadLetter");
        match format {
            "kafka" => writer.option("kafka.bootstrap.servers", self.events.kafka.bootstrap_servers()).option("topic", &self.to),
            _ => writer.option("path", self.events.path("out").display()),
        }
    }

    /// Crashes twice at a point, and then goes on to the end.
    async fn run_through(&self, point: CrashPoint, format: &str) {
        for crash in [Some((point, 2)), Some((point, 1)), None] {
            self.events.run_armed(crash, self.writer(format).await).await;
        }
        for topic in [&self.to, &self.dead] {
            self.events.kafka.wait_until_stable(topic).await.unwrap();
        }
    }

    /// The offsets of the records that were set aside.
    fn letters(&self) -> Vec<String> {
        let letters = self.events.kafka.consume_committed(&self.dead).unwrap();
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
    let letters = bench.events.kafka.consume_committed(&dead).unwrap();
    let [binary, text] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((binary.key.as_deref(), binary.value.as_deref()), (None, Some([b'{', 0xff].as_slice())));
    assert_eq!((text.key.as_deref(), text.value.as_deref()), (Some(b"k".as_slice()), Some(b"no".as_slice())));
    assert_eq!(text.headers[..2], [("h".to_owned(), Some(vec![1, 0xff])), ("none".to_owned(), None)], "its own headers come first");
    let told =
        ["topic", "partition", "offset", "timestamp", "source", "batch"].map(|name| header(text, &format!("millstream.{name}")).unwrap());
    assert_eq!(told, [&bench.events.from, "0", "2", &TIME_MS.to_string(), "events", "0"]);
    assert!(header(text, "millstream.error").unwrap().starts_with("[MALFORMED_RECORD_IN_PARSING"), "{text:?}");
    assert_eq!(header(text, "millstream.query").unwrap().len(), 36);

    // A batch read writes there, too, and a letter can be read again and fail again.
    let frame = bench.events.session.sql("SELECT cast(cast(value AS STRING) AS INT) AS n FROM events WHERE offset = 2").await.unwrap();
    assert_eq!(
        frame.write().option("rowErrors", "deadLetter").mode(SaveMode::Overwrite).parquet(bench.events.path("out")).await.unwrap(),
        0
    );
    assert_eq!(bench.events.kafka.consume_committed(&dead).unwrap().len(), 3);
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
        let written = bench.events.kafka.consume_committed(&bench.to).unwrap();
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
        let out = format!("SELECT offset FROM parquet.`{}`", bench.events.path("out").display());
        assert_eq!(bench.events.sql(&out).await.len(), n_batches);
    }
    // Two that decide by themselves what is committed cannot be in one query.
    std::fs::remove_dir_all(bench.events.path("checkpoint")).unwrap();
    let error = bench.events.run(bench.writer("kafka").await).await.unwrap_err();
    assert!(error.message().contains("each decide by themselves") && error.to_string().contains(&bench.dead), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_to_a_broker_that_asks_who_we_are() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let broker = SecureBroker::start(&jars, &folder.path().join("broker")).unwrap();
    let bench = KafkaBench::new(TestKafka::at(&broker.broker.bootstrap_servers()).unwrap(), 1).await;
    bench.kafka.produce(&bench.from, &records()).await.unwrap();
    let ca = broker.certificate("ca.pem");
    let as_user = format!(
        ", kafka.security.protocol 'SASL_SSL', kafka.ssl.ca.location '{ca}', kafka.sasl.mechanism 'SCRAM-SHA-512',
           kafka.sasl.username '{}', kafka.sasl.password '{}'",
        SCRAM_USER.0, SCRAM_USER.1
    );
    let as_client = format!(
        ", deadLetter.kafka.bootstrap.servers '{}', deadLetter.kafka.security.protocol 'ssl', deadLetter.kafka.ssl.ca.location '{ca}',
           deadLetter.kafka.ssl.certificate.location '{}', deadLetter.kafka.ssl.key.location '{}'",
        broker.tls(),
        broker.certificate("client.crt"),
        broker.certificate("client.key")
    );
    // Another listener is another cluster for all we know, which is told nothing of who we are at the first.
    let as_nobody =
        format!(", deadLetter.kafka.bootstrap.servers '{}', deadLetter.kafka.security.protocol 'SASL_PLAINTEXT'", broker.sasl());
    let ways = [
        ("letters go where their source is, by its password", String::new(), true),
        ("by a certificate", as_client, true),
        ("by nothing", as_nobody, false),
    ];
    for (way, options, is_known) in ways {
        let dead = bench.kafka.create_topic("dead", 1).await.unwrap();
        drop(std::fs::remove_dir_all(bench.path("checkpoint")));
        bench.session.sql("DROP TABLE IF EXISTS events").await.unwrap();
        bench.create_events_at(&broker.sasl_tls(), &format!("{as_user}, deadLetterTopic '{dead}'{options}")).await;
        let frame = bench.session.sql("SELECT 10 DIV (offset - 2) AS n FROM STREAM events").await.unwrap();
        let ended = bench.run(frame.write_stream().format("noop").option("rowErrors", "deadLetter")).await;
        assert_eq!(ended.is_ok(), is_known, "{way}: {ended:?}");
        let letters = bench.kafka.consume_committed(&dead).unwrap();
        assert_eq!(letters.iter().map(ConsumedRecord::text).collect::<Vec<_>>(), ["no"][..usize::from(is_known)], "{way}");
        if let Err(error) = ended {
            let told = format!("{error} {error:?}");
            assert!(told.contains("sasl") && !told.contains(SCRAM_USER.1), "{told}");
        }
    }
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
