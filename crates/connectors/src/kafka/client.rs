//! Clients of a Kafka cluster: the options `kafka.*` as librdkafka's configuration, and what a client says beside its
//! answers.
//!
//! Options go to librdkafka under their own names, without `kafka.`. A name that it does not know is refused when the table
//! or stream is made; names that only Kafka's Java client has are answered with what to write instead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use millstream_core::options::looks_secret;
use millstream_core::{Error, ErrorKind, Options, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};

use super::error::{failed, of_code};

/// The prefix of options that are librdkafka's.
const PREFIX: &str = "kafka.";
/// Options of Kafka's Java client that librdkafka does not have, with what to do instead.
const JAVA_ONLY: [(&str, &str); 12] = [
    ("sasl.jaas.config", "write the user into kafka.sasl.username and kafka.sasl.password"),
    ("sasl.login.callback.handler.class", "classes of Java cannot be used"),
    ("sasl.client.callback.handler.class", "classes of Java cannot be used"),
    ("ssl.truststore.location", "write the certificates (PEM) into a file and name it in kafka.ssl.ca.location"),
    ("ssl.truststore.password", "kafka.ssl.ca.location names a PEM file, which has no password"),
    ("ssl.truststore.type", "kafka.ssl.ca.location names a PEM file"),
    (
        "ssl.keystore.type",
        "kafka.ssl.keystore.location names a PKCS#12 file; PEM files go into kafka.ssl.certificate.location and kafka.ssl.key.location",
    ),
    ("max.poll.records", "leave it out: records come in Arrow batches"),
    ("default.api.timeout.ms", "kafka.socket.timeout.ms bounds a request"),
    ("request.timeout.ms", "kafka.socket.timeout.ms bounds a request"),
    ("metric.reporters", "classes of Java cannot be used"),
    ("partitioner.class", "librdkafka names its partitioners in kafka.partitioner"),
];

/// The part of the options that clients are made of.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientSettings {
    entries: BTreeMap<String, String>,
}

impl ClientSettings {
    /// The options `kafka.*` (and `bootstrapServers`). `refused` names those that this use does not take, and why.
    pub(super) fn parse(options: &Options, client: &str, refused: &[(&str, &str)]) -> Result<Self> {
        let mut entries = BTreeMap::new();
        if let Some(servers) = options.get("bootstrapServers") {
            entries.insert("bootstrap.servers".to_owned(), servers.trim().to_owned());
        }
        for (written, value) in options.iter() {
            let lower = written.to_ascii_lowercase();
            let Some(name) = lower.strip_prefix(PREFIX) else { continue };
            if let Some((_, why)) = refused.iter().find(|(refused, _)| *refused == name) {
                return Err(Error::invalid(format!("kafka option '{name}' is not supported{why}")));
            }
            if let Some((_, instead)) = JAVA_ONLY.iter().find(|(java, _)| *java == name) {
                return Err(Error::unsupported(format!("kafka option '{name}' is one of Kafka's Java client")).hint(*instead));
            }
            entries.insert(name.to_owned(), value.to_owned());
        }
        if entries.get("bootstrap.servers").is_none_or(String::is_empty) {
            return Err(Error::invalid(format!("option 'kafka.bootstrap.servers' must be specified for configuring Kafka {client}")));
        }
        let settings = Self { entries };
        // librdkafka knows best which names and values there are; nothing connects yet.
        settings.config().create_native_config().map_err(bad_config)?;
        Ok(settings)
    }

    /// Where the cluster is found.
    pub(super) fn bootstrap_servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// What the user said of an option of librdkafka.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(String::as_str)
    }

    /// The configuration that the user asks for; what a use needs besides is set upon it.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "millstream");
        for (name, value) in &self.entries {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The options as a task is given them.
    pub(super) fn to_options(&self) -> Options {
        self.entries.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.clone())).collect()
    }
}

impl std::fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_options().fmt(f)
    }
}

/// A configuration that librdkafka refuses. Values of secrets are not told.
pub(super) fn bad_config(error: KafkaError) -> Error {
    let KafkaError::ClientConfig(_, why, name, _) = &error else { return failed("a Kafka client cannot be made")(error) };
    let lacks_feature = why.contains("not available at build time") || why.contains("not compiled");
    let why = if looks_secret(name) { "its value is not taken" } else { why.as_str() };
    if lacks_feature {
        return Error::unsupported(format!("option 'kafka.{name}': {why}"));
    }
    Error::invalid(format!("option 'kafka.{name}': {why}"))
}

/// What a client says beside its answers: log lines become events, and the last trouble is kept, because the answer that
/// suffers from it is often no more than a timeout.
#[derive(Debug, Default)]
pub(super) struct ClientNews {
    /// Offsets that were sent to be published, less those that were answered for.
    n_unanswered: AtomicI64,
    trouble: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
}

impl ClientNews {
    /// The last trouble since this was asked.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.locked().take().map(|(_, reason)| reason)
    }

    /// The last trouble, if it is one that does not pass, such as a wrong password.
    pub(super) fn lasting_trouble(&self) -> Option<Error> {
        let trouble = self.locked();
        let (code, reason) = trouble.as_ref()?;
        let error = of_code((*code)?, reason.clone());
        (error.kind() == ErrorKind::Invalid).then_some(error)
    }

    /// Offsets are on their way to be published.
    pub(super) fn publishes(&self) {
        self.n_unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether some of them were not answered for.
    pub(super) fn awaits_publications(&self) -> bool {
        self.n_unanswered.load(Ordering::Relaxed) > 0
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<(Option<RDKafkaErrorCode>, String)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientNews {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", fac, "{log_message}");
            }
            // What librdkafka calls an error it tries again: a lost connection, a broker that restarts.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", fac, "{log_message}"),
            _ => tracing::debug!(target: "librdkafka", fac, "{log_message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // No trouble: readers ask to be told where a partition ends.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!(target: "librdkafka", "{error}: {reason}");
        *self.locked() = Some((error.rdkafka_error_code(), reason.to_owned()));
    }
}

impl ConsumerContext for ClientNews {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.n_unanswered.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not published");
        }
    }
}
