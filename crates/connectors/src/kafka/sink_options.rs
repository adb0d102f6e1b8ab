//! Options of the sink, with Spark's names where Spark has them.

use std::time::Duration;

use millstream_core::{Error, OptionSpec, Options, Result};

use super::CLIENT_OPTIONS;
use super::client::ClientSettings;

/// What the sink knows beside [`CLIENT_OPTIONS`].
const OWN_OPTIONS: [OptionSpec; 6] = [
    OptionSpec::new("topic", "the topic of all records; goes before the column topic"),
    OptionSpec::new(
        "delivery",
        "exactly-once (default): a batch is one transaction, which readers of committed records see whole or not at all; at-least-once: \
         for brokers without transactions, after a crash records of the last batch come again",
    ),
    OptionSpec::new(
        "markerTopic",
        "streaming, exactly-once: the compacted topic of one partition, of this query alone, in which each transaction leaves the number \
         of its batch; default millstream-marker-QUERYID. It is created if it is not there",
    ),
    OptionSpec::new(
        "transactionTimeout",
        "exactly-once: the broker aborts a transaction that is open for longer, default 60s; at most the broker's transaction.max.timeout.ms. At-least-once: how long the last records of a batch are waited for",
    ),
    OptionSpec::new("batchHeaders", "records carry the headers millstream.query, millstream.batch and millstream.sequence, default false"),
    OptionSpec::new("mode", "of batch writes: append or error; both add to the topic"),
];

/// Options of Kafka's producer that the sink sets itself, with the rest of the sentence.
const REFUSED: [(&str, &str); 5] = [
    ("key.serializer", " as keys are written as bytes: cast the column key to string or binary"),
    ("value.serializer", " as values are written as bytes: cast the column value to string or binary"),
    ("transactional.id", " as it tells which query a transaction is of"),
    ("enable.idempotence", " as it is always on"),
    ("transaction.timeout.ms", ": set option 'transactionTimeout'"),
];

/// The least librdkafka takes.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// All options of the sink.
pub(super) fn sink_options() -> Vec<OptionSpec> {
    CLIENT_OPTIONS.into_iter().chain(OWN_OPTIONS).collect()
}

/// The options, read.
#[derive(Debug, Clone)]
pub(super) struct SinkOptions {
    pub(super) client: ClientSettings,
    pub(super) topic: Option<String>,
    pub(super) is_exactly_once: bool,
    pub(super) marker_topic: Option<String>,
    pub(super) transaction_timeout: Duration,
    pub(super) adds_headers: bool,
}

impl SinkOptions {
    pub(super) fn parse(options: &Options) -> Result<Self> {
        options.check("kafka sink", &sink_options())?;
        let client = ClientSettings::parse(options, "producer", &REFUSED)?;
        if let Some(acks) = client.get("acks").or(client.get("request.required.acks")).filter(|acks| !matches!(*acks, "all" | "-1")) {
            return Err(Error::invalid(format!("option 'kafka.acks' is '{acks}': records are written with acks = all"))
                .hint("leave it out: less would lose records that were reported as written"));
        }
        let is_exactly_once = match options.get("delivery").unwrap_or("exactly-once").to_ascii_lowercase().as_str() {
            "exactly-once" => true,
            "at-least-once" => false,
            other => return Err(Error::invalid(format!("option 'delivery' is '{other}': expected exactly-once or at-least-once"))),
        };
        if let Some(mode) =
            options.get("mode").filter(|mode| !matches!(mode.to_ascii_lowercase().as_str(), "append" | "error" | "errorifexists"))
        {
            return Err(Error::unsupported(format!("save mode '{mode}' is not allowed for Kafka: allowed are append and error (default)")));
        }
        let transaction_timeout = options.get_duration("transactionTimeout")?.unwrap_or(TRANSACTION_TIMEOUT);
        if transaction_timeout < TRANSACTION_TIMEOUT_MIN {
            return Err(Error::invalid(format!("option 'transactionTimeout' is {transaction_timeout:?}: at least 1s")));
        }
        let named = |name: &str| match options.get(name).map(str::trim) {
            Some("") => Err(Error::invalid(format!("option '{name}' is empty"))),
            found => Ok(found.map(str::to_owned)),
        };
        let (topic, marker_topic) = (named("topic")?, named("markerTopic")?);
        if marker_topic.is_some() && marker_topic == topic {
            return Err(Error::invalid("option 'markerTopic' names the topic of the rows: markers need a topic of their own"));
        }
        Ok(Self {
            client,
            topic,
            is_exactly_once,
            marker_topic,
            transaction_timeout,
            adds_headers: options.get_bool("batchHeaders")?.unwrap_or(false),
        })
    }
}
