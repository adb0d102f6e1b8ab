//! Clients of a Kafka cluster: the options `kafka.*` as librdkafka's configuration, how long the first answer is waited for, and what
//! a client says beside its answers.
//!
//! Options go to librdkafka under their own names, without `kafka.`. A name that it does not know is refused when the table
//! or stream is made; names that only Kafka's Java client has are answered with what to write instead.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use millstream_core::options::looks_secret;
use millstream_core::{Error, Options, Result};
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::Instant;

use super::error::failed;

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
    (
        "default.api.timeout.ms",
        "kafka.socket.timeout.ms bounds a request, kafka.socket.connection.setup.timeout.ms the wait for the first answer",
    ),
    ("request.timeout.ms", "kafka.socket.timeout.ms bounds a request"),
    ("metric.reporters", "classes of Java cannot be used"),
    ("partitioner.class", "librdkafka names its partitioners in kafka.partitioner"),
];

/// How users can be told from each other.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Options that name a file.
const FILES: [&str; 5] = ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location"];
/// In place of a file: where the system keeps certificates.
const SEARCHED: &str = "probe";

/// How long the first answer of a cluster is waited for, unless [`SETUP_TIMEOUT_MS`] says otherwise. Later a broker that is away is waited for
/// as long as what was asked of it may take.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may take to come about.
const SETUP_TIMEOUT_MS: &str = "socket.connection.setup.timeout.ms";
/// While one server is tried the next one is, too.
const NEXT_SERVER_AFTER: Duration = Duration::from_secs(1);
/// The wait for the first answer is cut into pieces, each twice as long as the one before: between two it is looked whether it can ever be had.
const CONNECT_SLICE: Duration = Duration::from_millis(500);

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
        settings.check_mechanism()?;
        settings.check_files()?;
        // librdkafka knows best which names and values there are; nothing connects yet.
        settings.config().create_native_config().map_err(bad_config)?;
        Ok(settings)
    }

    /// librdkafka takes mechanisms that it cannot do without help from us, and then waits.
    fn check_mechanism(&self) -> Result<()> {
        let given = ["sasl.mechanism", "sasl.mechanisms"].iter().filter_map(|name| Some((name, self.get(name)?)));
        match given.into_iter().find(|(_, mechanism)| !MECHANISMS.contains(mechanism)) {
            Some((name, mechanism)) => {
                Err(Error::unsupported(format!("option 'kafka.{name}' is '{mechanism}'")).hint(format!("it takes {}", mechanisms())))
            }
            None => Ok(()),
        }
    }

    /// OpenSSL says of a file that is not there only that something failed.
    fn check_files(&self) -> Result<()> {
        let missing = FILES.iter().find_map(|name| {
            let path = self.get(name).filter(|path| !path.is_empty() && *path != SEARCHED)?;
            fs::metadata(path).err().map(|error| Error::invalid(format!("option 'kafka.{name}': '{path}' cannot be read: {error}")))
        });
        missing.map_or(Ok(()), Err)
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
        self.config_without(&[])
    }

    /// The same without some options, by their names.
    pub(super) fn config_without(&self, names: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "millstream");
        for (name, value) in self.entries.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
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

/// Where the cluster is, and how long its first answer is waited for.
#[derive(Debug, Clone)]
pub(super) struct FirstAnswer {
    servers: String,
    within: Duration,
}

impl FirstAnswer {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let n_servers = u32::try_from(servers.split(',').count()).unwrap_or(u32::MAX).max(1);
        let setup_ms = config.get(SETUP_TIMEOUT_MS).and_then(|ms| ms.parse().ok());
        // As long as none answers librdkafka tries one more each second.
        let within = setup_ms.map_or(FIRST_ANSWER_WITHIN, |ms| Duration::from_millis(ms) + NEXT_SERVER_AFTER.saturating_mul(n_servers - 1));
        Self { servers, within }
    }

    /// The same, for who does not wait longer than this.
    pub(super) fn at_most(self, within: Duration) -> Self {
        Self { within: self.within.min(within), ..self }
    }

    /// Waits, in the thread that calls, until a broker has answered; `hear` has the client tell what went wrong. What can never be
    /// connected, because the password is wrong, is found here: questions wait for a connection as long as for their answer.
    pub(super) fn wait<C: ClientContext>(&self, client: &Client<C>, news: &ClientNews, hear: impl Fn()) -> Result<()> {
        let (begun, mut slice) = (Instant::now(), CONNECT_SLICE);
        loop {
            let asked = Instant::now();
            // The question has the client connect at once; asked for the cluster's id it would wait until something else does.
            if client.fetch_metadata(None, slice).is_ok() {
                return Ok(());
            }
            thread::sleep(slice.saturating_sub(asked.elapsed()));
            slice = slice.saturating_mul(2).min(self.within.saturating_sub(begun.elapsed()).max(CONNECT_SLICE));
            hear();
            if let Some(lasting) = news.lasting_trouble() {
                return Err(lasting.context(format!("while connecting to {}", self.servers)));
            }
            if begun.elapsed() >= self.within {
                break;
            }
        }
        let why = news.take_trouble().map_or_else(String::new, |trouble| format!(": {trouble}"));
        Err(Error::unavailable(format!("no broker answers at {} within {:?}{why}", self.servers, self.within))
            .hint("check option kafka.bootstrap.servers, and that the brokers run; option kafka.socket.connection.setup.timeout.ms says how long the first answer is waited for"))
    }
}

/// A configuration that librdkafka refuses. Values of secrets are not told.
pub(super) fn bad_config(error: KafkaError) -> Error {
    let (what, why) = match &error {
        KafkaError::ClientConfig(_, why, name, _) if looks_secret(name) && !lacks_tls(why) => {
            (format!("option 'kafka.{name}': its value is not taken"), why)
        }
        KafkaError::ClientConfig(_, why, name, _) => (format!("option 'kafka.{name}': {why}"), why),
        KafkaError::ClientCreation(why) => (format!("a Kafka client cannot be made: {why}"), why),
        _ => return failed("a Kafka client cannot be made")(error),
    };
    if lacks_tls(why) {
        return Error::unsupported(what).hint(
            "this Millstream is built without TLS: build it with the feature kafka-tls (cargo install --path crates/cli --features kafka-tls)",
        );
    }
    if why.contains("not available at build time") || why.contains("No provider for SASL mechanism") {
        return Error::unsupported(what).hint(format!("option kafka.sasl.mechanism takes {}", mechanisms()));
    }
    if why.contains("sasl.username") {
        return Error::invalid(what).hint("write the user into the options kafka.sasl.username and kafka.sasl.password");
    }
    Error::invalid(what)
}

fn mechanisms() -> String {
    MECHANISMS.join(", ")
}

/// What librdkafka says of options and mechanisms that need OpenSSL, built without it.
fn lacks_tls(why: &str) -> bool {
    let lacks_openssl = (why.starts_with("OpenSSL") || why.contains(": OpenSSL")) && why.contains("not available at build time");
    lacks_openssl || why.contains("No provider for SASL mechanism SCRAM")
}

/// What a client says beside its answers: log lines become events, and troubles are kept, because the answer that suffers
/// from one is often no more than a timeout.
#[derive(Debug, Default)]
pub(super) struct ClientNews {
    troubles: Mutex<Troubles>,
    /// Who answers questions that any broker can answer.
    broker: Mutex<Option<i32>>,
}

#[derive(Debug, Default)]
struct Troubles {
    last: Option<String>,
    /// What was last written to the log.
    told: Option<String>,
    /// The last that does not pass by itself, such as a wrong password.
    lasting: Option<Error>,
}

impl ClientNews {
    /// The last trouble since this was asked.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.locked().last.take()
    }

    /// A trouble that does not pass, such as a wrong password: there is no use in waiting.
    pub(super) fn lasting_trouble(&self) -> Option<Error> {
        self.locked().lasting.clone()
    }

    /// The brokers have answered: what was wrong is so no longer.
    pub(super) fn forget_troubles(&self) {
        *self.locked() = Troubles::default();
    }

    /// The broker to ask what any can answer, if one has answered such a question, and not left out the next.
    pub(super) fn any_broker(&self) -> Option<i32> {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_any_broker(&self, broker: Option<i32>) {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = broker;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut troubles = self.locked();
        // As long as no broker is there it is said many times a second.
        if troubles.told.as_deref() != Some(reason) {
            tracing::warn!(target: "librdkafka", "{error}: {reason}");
            troubles.told = Some(reason.to_owned());
        }
        if let Some(lasting) = lasting(error.rdkafka_error_code(), reason) {
            troubles.lasting = Some(lasting);
        }
        // Why one cannot be reached says more than that none can.
        if troubles.last.is_none() || error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            troubles.last = Some(reason.to_owned());
        }
    }
}

/// What a trouble means that does not pass by itself, with the options to look at; `None`: it may pass.
fn lasting(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Error> {
    let says = |text: &str| reason.contains(text);
    let (what, options) = match code? {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            ("the broker refuses the user", "kafka.sasl.username, kafka.sasl.password and kafka.sasl.mechanism")
        }
        RDKafkaErrorCode::UnsupportedSASLMechanism | RDKafkaErrorCode::IllegalSASLState => {
            ("the broker refuses the way of telling who we are", "kafka.sasl.mechanism and kafka.security.protocol")
        }
        // In TLS 1.3 the broker judges our certificate after the handshake: what comes is the end of the connection.
        _ if says("SSL alert") => {
            ("the broker refuses our certificate", "kafka.ssl.certificate.location, kafka.ssl.key.location or kafka.ssl.keystore.location")
        }
        // A broker that restarts breaks handshakes off.
        RDKafkaErrorCode::SSL if says("Disconnected") => return None,
        RDKafkaErrorCode::SSL if says("certificate") => ("the broker's certificate is not trusted", "kafka.ssl.ca.location"),
        RDKafkaErrorCode::SSL => ("TLS cannot be had with the broker", "kafka.security.protocol and kafka.ssl.*"),
        _ => return None,
    };
    Some(Error::invalid(format!("{what} (see option {options}): {reason}")))
}

impl ConsumerContext for ClientNews {}
