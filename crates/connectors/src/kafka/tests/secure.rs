//! A broker that asks who we are: whom it knows writes and reads, whom it does not is told so quickly, by the option's name.

use std::time::Duration;

use futures::future::join_all;
use millstream_core::{BatchId, Error, ErrorKind, Outcome, QueryId};
use millstream_testkit::kafka::{PLAIN_USER, SCRAM_USER, SecureBroker, TestKafka, broker_jars};

use super::Reading;
use super::sink::{Writing, recorded, texts, values, values_schema};
use crate::kafka::client::ClientSettings;
use crate::kafka::marker::MarkerTopic;

/// Waiting for what never comes would take the source 30 s and the sink 60 s.
const AT_ONCE: Duration = Duration::from_secs(15);

type Options = Vec<(&'static str, String)>;

/// Options of one who comes in at a listener.
struct Ways<'a>(&'a SecureBroker);

impl Ways<'_> {
    fn sasl_tls(&self, mechanism: &str, (user, password): (&str, &str)) -> Options {
        vec![
            ("kafka.bootstrap.servers", self.0.sasl_tls()),
            ("kafka.security.protocol", "SASL_SSL".to_owned()),
            ("kafka.ssl.ca.location", self.0.certificate("ca.pem")),
            ("kafka.sasl.mechanism", mechanism.to_owned()),
            ("kafka.sasl.username", user.to_owned()),
            ("kafka.sasl.password", password.to_owned()),
        ]
    }

    fn sasl(&self, mechanism: &str, (user, password): (&str, &str)) -> Options {
        let mut options = self.sasl_tls(mechanism, (user, password));
        options.retain(|(name, _)| !name.contains("ssl"));
        changed(options, &[("kafka.bootstrap.servers", self.0.sasl()), ("kafka.security.protocol", "SASL_PLAINTEXT".to_owned())])
    }

    fn certificate(&self, name: &str) -> Options {
        vec![
            ("kafka.bootstrap.servers", self.0.tls()),
            ("kafka.security.protocol", "ssl".to_owned()),
            ("kafka.ssl.ca.location", self.0.certificate("ca.pem")),
            ("kafka.ssl.certificate.location", self.0.certificate(&format!("{name}.crt"))),
            ("kafka.ssl.key.location", self.0.certificate(&format!("{name}.key"))),
        ]
    }
}

fn changed(mut options: Options, changes: &[(&'static str, String)]) -> Options {
    options.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    options.extend(changes.iter().cloned());
    options
}

fn writing(kafka: &TestKafka, topic: &str, options: &Options) -> Writing {
    let mut writing = Writing::new(kafka, values_schema(), &[("topic", topic)]);
    options.iter().for_each(|(name, value)| writing.request.options.set(*name, value));
    writing
}

fn reading(topic: &str, options: &Options) -> Reading {
    let mut all = vec![("subscribe", topic), ("startingOffsets", "earliest")];
    let (servers, others): (Vec<_>, Vec<_>) = options.iter().partition(|(name, _)| *name == "kafka.bootstrap.servers");
    all.extend(others.iter().map(|(name, value)| (*name, value.as_str())));
    Reading::of(&servers[0].1, &all, true)
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(time, work).await.expect("the refusal is told in time")
}

/// An error's whole text; no secret is in it, however it is written down.
fn told(error: &Error) -> String {
    let told = format!("{error} {error:?}");
    for secret in [SCRAM_USER.1, PLAIN_USER.1, "wr0ng"] {
        assert!(!told.contains(secret), "{told}");
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_who_we_are_is_written_and_read_or_its_refusal_is_told_at_once() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = SecureBroker::start(&jars, &folder.path().join("broker")).unwrap();
    let kafka = TestKafka::at(&broker.broker.bootstrap_servers()).unwrap();
    whom_it_knows_writes_and_reads(&kafka, &Ways(&broker)).await;
    whom_it_does_not_know_is_told_so(&kafka, &Ways(&broker)).await;
    a_password_that_expires_leaves_nothing_half_committed(&kafka, &mut broker).await;
}

async fn whom_it_knows_writes_and_reads(kafka: &TestKafka, ways: &Ways<'_>) {
    let known = [
        ways.sasl_tls("PLAIN", PLAIN_USER),
        ways.sasl_tls("SCRAM-SHA-256", SCRAM_USER),
        ways.sasl_tls("SCRAM-SHA-512", SCRAM_USER),
        ways.sasl("PLAIN", PLAIN_USER),
        ways.sasl("SCRAM-SHA-512", SCRAM_USER),
        ways.certificate("client"),
    ];
    join_all(known.iter().map(async |options| {
        let topic = kafka.create_topic("known", 1).await.unwrap();
        let mut writing = writing(kafka, &topic, options);
        let sink = writing.fresh().await;
        writing.batch(&sink, 0, values(["a", "b"])).await.unwrap();
        sink.stop().await.unwrap();
        assert_eq!(reading(&topic, options).next_values().await, ["a", "b"], "{options:?}");
    }))
    .await;
}

async fn whom_it_does_not_know_is_told_so(kafka: &TestKafka, ways: &Ways<'_>) {
    let good = || ways.sasl_tls("SCRAM-SHA-512", SCRAM_USER);
    let without_certificate: Options = ways.certificate("client").into_iter().take(3).collect();
    let password = "(see option kafka.sasl.username, kafka.sasl.password and kafka.sasl.mechanism)";
    let own = "(see option kafka.ssl.certificate.location, kafka.ssl.key.location or kafka.ssl.keystore.location)";
    let unknown = [
        (ways.sasl_tls("SCRAM-SHA-512", (SCRAM_USER.0, "wr0ng")), password),
        (ways.sasl_tls("PLAIN", (PLAIN_USER.0, "wr0ng")), password),
        (ways.sasl_tls("PLAIN", ("nobody", "wr0ng")), password),
        (ways.sasl("SCRAM-SHA-256", (SCRAM_USER.0, "wr0ng")), password),
        (changed(good(), &[("kafka.ssl.ca.location", ways.0.certificate("other-ca.pem"))]), "(see option kafka.ssl.ca.location)"),
        (without_certificate, own),
        (ways.certificate("expired"), own),
    ];
    join_all(unknown.iter().map(async |(options, expected)| {
        let topic = kafka.create_topic("unknown", 1).await.unwrap();
        let read = within(AT_ONCE, reading(&topic, options).plan()).await.unwrap_err();
        let written = within(AT_ONCE, writing(kafka, &topic, options).started()).await.map(drop).unwrap_err();
        for error in [read, written] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(told(&error).contains(expected), "{expected} is not in: {error}");
        }
        assert_eq!(texts(&kafka.consume_uncommitted(&topic).unwrap()), Vec::<String>::new());
    }))
    .await;
    // Files that are not there are found before anybody connects.
    let missing = changed(good(), &[("kafka.ssl.ca.location", "/not/there.pem".to_owned())]);
    let error = reading("t", &missing).plan().await.unwrap_err();
    assert!(told(&error).contains("ssl.ca.location"), "{error}");
}

async fn a_password_that_expires_leaves_nothing_half_committed(kafka: &TestKafka, broker: &mut SecureBroker) {
    let topic = kafka.create_topic("expires", 1).await.unwrap();
    let options = Ways(broker).sasl_tls("PLAIN", PLAIN_USER);
    let mut writing = writing(kafka, &topic, &options);
    let sink = writing.fresh().await;
    let zero = writing.batch(&sink, 0, values(["0"])).await.unwrap();
    let mut reading = reading(&topic, &options);
    assert_eq!(reading.next_values().await, ["0"]);
    let outputs = writing.write(&sink, 1, values(["1"])).await.unwrap();
    let one = sink.prepare(BatchId(1), outputs).await.unwrap();
    broker.broker.stop().unwrap();
    broker.change_password().unwrap();
    broker.broker.start_again().unwrap();
    let asked = async { tokio::join!(sink.commit(BatchId(1), &one), reading.plan()) };
    let (committed, planned) = within(3 * AT_ONCE, asked).await;
    let (committed, planned) = (committed.unwrap_err(), planned.unwrap_err());
    for error in [&committed, &planned] {
        assert!(told(error).contains("see option kafka.sasl.username, kafka.sasl.password"), "{error:?}");
    }
    sink.stop().await.unwrap();
    drop(sink);
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["0"]);
    // With the new password the query finds out what became of its batch.
    writing.request.options.set("kafka.sasl.password", "changed");
    let sink = writing.started().await.unwrap();
    let outcome = sink.recover(recorded(0, &zero), recorded(1, &one)).await.unwrap();
    assert_eq!(outcome, Outcome::RunAgain);
    writing.batch(&sink, 1, values(["1"])).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["0", "1"]);
    sink.stop().await.unwrap();
}

/// Access rules do not pass: the broker is asked once, and told is what a person can do.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_a_topic_of_markers_is_told_to_name_one() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut secure = SecureBroker::start(&jars, &folder.path().join("broker")).unwrap();
    secure.broker.stop().unwrap();
    let rules = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS";
    secure.broker.reconfigure(rules).unwrap();
    secure.broker.start_again().unwrap();
    let client = Ways(&secure).sasl("PLAIN", PLAIN_USER).into_iter().collect();
    let client = ClientSettings::parse(&client, "producer", &[]).unwrap();
    let topic = MarkerTopic::new("denied".to_owned(), QueryId(uuid::Uuid::nil()), &client, Duration::from_secs(60));
    let error = topic.ensure().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.message().starts_with("topic 'denied' of markers cannot be made: "), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("create it beforehand") && hint.contains("markerTopic")), "{error:?}");
}
