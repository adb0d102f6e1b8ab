//! Options of clients: what is passed on, what is refused, what is never shown.

use millstream_core::ErrorKind;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::harness::options;
use crate::kafka::client::{ClientSettings, bad_config};
use crate::kafka::consumers::ConsumerSettings;
use crate::kafka::options::KafkaSourceOptions;

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
            vec![SERVERS, ("kafka.sasl.mechanism", "scram-sha-512")],
            ErrorKind::Unsupported,
            "option 'kafka.sasl.mechanism' is 'scram-sha-512'",
        ),
        (
            vec![SERVERS, ("kafka.sasl.mechanisms", "OAUTHBEARER")],
            ErrorKind::Unsupported,
            "option 'kafka.sasl.mechanisms' is 'OAUTHBEARER'",
        ),
        (
            vec![SERVERS, ("kafka.ssl.ca.location", "/not/there.pem")],
            ErrorKind::Invalid,
            "option 'kafka.ssl.ca.location': '/not/there.pem' cannot be read: No such file or directory (os error 2)",
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
fn secrets_are_shown_neither_by_settings_nor_by_what_is_made_of_them() {
    let secrets = ["kafka.sasl.password", "kafka.ssl.key.password", "kafka.ssl.keystore.password", "kafka.ssl.key.pem"];
    let mut pairs = vec![SERVERS, ("kafka.sasl.username", "u"), ("topic", "t")];
    pairs.extend(secrets.map(|name| (name, "hunter2")));
    let settings = parse(&pairs).unwrap();
    let shown = format!("{settings:?} {:?}", settings.to_options());
    assert!(shown.matches("***").count() >= 2 * secrets.len() && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_build_without_tls_names_the_feature() {
    let unsupported = |name: &str, why: &str| {
        let error = KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_INVALID, why.to_owned(), name.to_owned(), "v".to_owned());
        bad_config(error)
    };
    // As librdkafka says it, built without OpenSSL.
    for (name, why) in [
        (
            "security.protocol",
            "Unsupported value \"ssl\" for configuration property \"security.protocol\": OpenSSL not available at build time",
        ),
        (
            "ssl.key.password",
            "Configuration property \"ssl.key.password\" not supported in this build: OpenSSL not available at build time",
        ),
    ] {
        let error = unsupported(name, why);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let told = format!("{error:?}");
        assert!(told.contains(&format!("option 'kafka.{name}'")) && told.contains("feature kafka-tls"), "{told}");
    }
    let scram = "No provider for SASL mechanism SCRAM-SHA-256: recompile librdkafka with libsasl2 or openssl support.";
    let error = bad_config(KafkaError::ClientCreation(scram.to_owned()));
    assert!(error.kind() == ErrorKind::Unsupported && format!("{error:?}").contains("feature kafka-tls"), "{error:?}");
    let without_mechanism = "No provider for SASL mechanism GSSAPI: recompile librdkafka with libsasl2 or openssl support.";
    let error = bad_config(KafkaError::ClientCreation(without_mechanism.to_owned()));
    assert!(
        error.kind() == ErrorKind::Unsupported && format!("{error:?}").contains("option kafka.sasl.mechanism takes PLAIN"),
        "{error:?}"
    );
    let kerberos =
        unsupported("sasl.kerberos.keytab", "Configuration property not supported in this build: libsasl2 not available at build time");
    assert!(kerberos.kind() == ErrorKind::Unsupported && !format!("{kerberos:?}").contains("kafka-tls"), "{kerberos:?}");
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

#[test]
fn fetched_records_wait_in_as_much_memory_as_the_option_says() {
    const N_PARTITIONS: usize = 4;
    let fetching = |pairs: &[(&str, &str)]| {
        let options = KafkaSourceOptions::parse(&options(&[&[SERVERS, ("subscribe", "t")], pairs].concat()), true).unwrap();
        let ours = ConsumerSettings { client: options.client, group_id: "g".to_owned(), fetch_buffer_bytes: options.fetch_buffer_bytes };
        let config = ours.fetch_config(N_PARTITIONS);
        ["queued.max.messages.kbytes", "fetch.message.max.bytes"].map(|name| config.get(name).unwrap().parse::<usize>().unwrap())
    };
    for (option, wish) in [(None, 32 << 20), (Some("2m"), 2 << 20), (Some("64m"), 64 << 20)] {
        let pairs: Vec<(&str, &str)> = option.map(|size| ("fetchBufferBytes", size)).into_iter().collect();
        // What waits in the queue of a partition, and one fetch that comes while it is nearly full.
        let [queued_kb, fetched] = fetching(&pairs);
        let all = N_PARTITIONS * (queued_kb * 1024 + fetched);
        assert!(all <= wish && all >= wish / 2, "{all} bytes of {wish}");
    }
    // Who sets the client's own option has it.
    assert_eq!(fetching(&[("kafka.queued.max.messages.kbytes", "77")])[0], 77);
}
