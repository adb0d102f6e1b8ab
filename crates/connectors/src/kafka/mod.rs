//! `kafka`: topics of a Kafka cluster, through librdkafka.
//!
//! ```text
//!  client.rs     options kafka.* -> librdkafka's configuration; the wait for the first answer; what clients say
//!  error.rs      librdkafka's codes -> errors of ours
//!  options.rs    the source's options
//!  source.rs     the driver's half: cuts ranges of offsets ── source/places.rs says where a query begins, source/planning.rs what a
//!                batch reads; cluster.rs asks the brokers, loss.rs judges what is missing (high_watermarks.rs: within open
//!                transactions nothing is; position.rs, fingerprints.rs: of topics made again nothing was read), admission.rs and split.rs share out what is there
//!  reader.rs     the task's half: reads pieces of partitions ── reading.rs is one of them, and asks what became of a silent one,
//!                consumers.rs keeps consumers between batches, rows.rs makes Arrow rows
//!  retries.rs    how long what may pass is waited for
//!  commands.rs   where a query stands, looked at and moved from outside
//!  sink.rs       the sink: a batch is a transaction, or records at least once ── sink_options.rs, sink_columns.rs, sink_writer.rs (the
//!                task's half), transaction.rs (what both share), producer.rs and runs.rs (which partition), marker.rs (which batch is
//!                committed), dead_letters.rs (records that were set aside, written by such a sink)
//! ```
//! A batch is a range of offsets per partition, fixed before it is read and kept in the checkpoint: a batch that runs again
//! reads the same records. The consumer group is told what was committed, for tools that watch lag, and never asked.

mod admission;
mod client;
mod cluster;
mod commands;
mod consumers;
mod dead_letters;
mod error;
mod fingerprints;
mod high_watermarks;
mod loss;
mod marker;
mod named_offsets;
mod offsets;
mod options;
mod position;
mod producer;
mod reader;
mod reading;
mod retries;
mod rows;
mod runs;
mod sink;
mod sink_columns;
mod sink_options;
mod sink_writer;
mod source;
mod spark_checkpoint;
mod split;
mod transaction;

use std::sync::Arc;

use arrow::datatypes::Fields;
use async_trait::async_trait;
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{Connector, Error, OptionSpec, Options, ReaderSpec, Result, Sink, Source, SplitReader, WriterFactory, WriterSpec};

pub use commands::{ByPartition, Look, look, moved, offsets_of};

/// Options that source and sink have in common.
const CLIENT_OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new(
        "kafka.*",
        "an option of the client, as librdkafka names it; kafka.bootstrap.servers is required. A source reads with kafka.isolation.level read_committed unless told otherwise; a sink writes with kafka.acks all, and takes no other. The first answer of a cluster is waited for 30 s, or kafka.socket.connection.setup.timeout.ms and a second for each further server. kafka.security.protocol, kafka.ssl.* and kafka.sasl.* need the feature kafka-tls, but for SASL PLAIN without TLS",
    ),
    OptionSpec::new("bootstrapServers", "the same as kafka.bootstrap.servers"),
];

/// See the [module](self).
#[derive(Debug, Default)]
pub struct KafkaConnector {
    consumers: reader::ConsumerPools,
    outputs: transaction::Outputs,
}

#[async_trait]
impl Connector for KafkaConnector {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["kafka"]
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        options::source_options()
    }

    fn record_columns(&self, _format: &str) -> Option<Fields> {
        Some(rows::record_columns())
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        if request.schema.is_some() {
            return Err(Error::invalid("Kafka source has a fixed schema and cannot be set with a custom one").hint("leave the schema out"));
        }
        Ok(Box::new(source::KafkaSource::new(&request, &self.consumers)?))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Ok(Arc::new(reader::KafkaReader::new(&self.consumers, spec)?))
    }

    fn takes_changes(&self) -> bool {
        true
    }

    fn can_overwrite(&self) -> bool {
        false
    }

    fn sink_options(&self, _format: &str) -> Vec<OptionSpec> {
        sink_options::sink_options()
    }

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::KafkaSink::new(request, &self.outputs)?))
    }

    async fn dead_letter_sink(&self, request: SinkRequest, source: Option<&Options>) -> Result<Arc<dyn Sink>> {
        let options = dead_letters::sink_options(source, request.options.clone())?;
        Ok(Arc::new(sink::KafkaSink::of_dead_letters(SinkRequest { options, ..request }, &self.outputs)?))
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(sink_writer::KafkaWriters::new(&self.outputs, spec)?))
    }
}

#[cfg(test)]
mod tests;
