//! `kafka`: topics of a Kafka cluster, through librdkafka.
//!
//! ```text
//!  client.rs    options kafka.* -> librdkafka's configuration; what clients say
//!  error.rs     librdkafka's codes -> errors of ours
//! ```

#[allow(dead_code, reason = "source and sink follow")]
mod client;
#[allow(dead_code, reason = "source and sink follow")]
mod error;

use millstream_core::{Connector, OptionSpec};

/// Options that source and sink have in common.
const CLIENT_OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("kafka.*", "an option of the client, as librdkafka names it; kafka.bootstrap.servers is required"),
    OptionSpec::new("bootstrapServers", "the same as kafka.bootstrap.servers"),
];

/// See the [module](self).
#[derive(Debug, Default)]
pub struct KafkaConnector;

impl Connector for KafkaConnector {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["kafka"]
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        CLIENT_OPTIONS.to_vec()
    }
}

#[cfg(test)]
mod tests;
