//! Options of clients: what is passed on, what is refused, what is never shown.

use millstream_core::ErrorKind;

use crate::harness::options;
use crate::kafka::client::ClientSettings;
use crate::kafka::consumers::ConsumerSettings;

const SERVERS: (&str, &str) = ("kafka.bootstrap.servers", "127.0.0.1:1");

fn parse(pairs: &[(&str, &str)]) -> millstream_core::Result<ClientSettings> {
    ClientSettings::parse(&options(pairs), "consumer", &[("enable.auto.commit", "")])
}

#[test]
fn options_go_to_librdkafka_under_their_own_names() {
    let settings = parse(&[SERVERS, ("KAFKA.Fetch.Wait.Max.Ms", "7"), ("subscribe", "t")]).unwrap();
    assert_eq!((settings.bootstrap_servers(), settings.get("fetch.wait.max.ms")), ("127.0.0.1:1", Some("7")));
    assert_eq!(settings.config().get("fetch.wait.max.ms"), Some("7"));
    assert_eq!(ClientSettings::parse(&settings.to_options(), "consumer", &[]).unwrap(), settings);
    assert_eq!(parse(&[("bootstrapServers", "h:1")]).unwrap().bootstrap_servers(), "h:1");
}

#[test]
fn what_cannot_be_passed_on_is_refused() {
    for (pairs, kind, message) in [
        (vec![], ErrorKind::Invalid, "option 'kafka.bootstrap.servers' must be specified for configuring Kafka consumer"),
        (vec![SERVERS, ("kafka.enable.auto.commit", "true")], ErrorKind::Invalid, "kafka option 'enable.auto.commit' is not supported"),
        (
            vec![SERVERS, ("kafka.ssl.truststore.location", "/a.jks")],
            ErrorKind::Unsupported,
            "kafka option 'ssl.truststore.location' is one of Kafka's Java client",
        ),
        (
            vec![SERVERS, ("kafka.fetch.wait.max.sm", "7")],
            ErrorKind::Invalid,
            "option 'kafka.fetch.wait.max.sm': No such configuration property: \"fetch.wait.max.sm\"",
        ),
        (
            vec![SERVERS, ("kafka.fetch.wait.max.ms", "soon")],
            ErrorKind::Invalid,
            "option 'kafka.fetch.wait.max.ms': Invalid value for configuration property \"fetch.wait.max.ms\"",
        ),
    ] {
        let error = parse(&pairs).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message), "{pairs:?}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let settings = parse(&[SERVERS, ("kafka.sasl.password", "hunter2"), ("kafka.sasl.username", "u")]).unwrap();
    let shown = format!("{settings:?}");
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn many_partitions_are_not_asked_for_each_record() {
    let fetch = |pairs: &[(&str, &str)], n_partitions| {
        let client = parse(&[&[SERVERS], pairs].concat()).unwrap();
        let settings = ConsumerSettings { client, group_id: "g".to_owned(), fetch_buffer_bytes: 64 << 20 };
        settings.fetch_config(n_partitions).get("fetch.min.bytes").map(str::to_owned)
    };
    assert_eq!(fetch(&[], 4), None);
    assert_eq!(fetch(&[], 1000).as_deref(), Some("1048576"));
    assert_eq!(fetch(&[("kafka.fetch.min.bytes", "1")], 1000).as_deref(), Some("1"));
}
