//! A piece of a partition while a task reads it, and what is asked of the brokers when nothing comes of it.

use std::time::Duration;

use millstream_core::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::client::ClientNews;
use super::consumers::Lease;
use super::error::{does_not_exist, failed, may_pass};
use super::split::Piece;

const ASK_WITHIN: Duration = Duration::from_secs(30);
/// A partition that the brokers have not known for so long does not exist: one that comes back may say so for a moment.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// See the [module](self).
pub(super) struct Reading {
    pub(super) lease: Lease,
    pub(super) piece: Piece,
    /// How long nothing came.
    pub(super) silent: Duration,
    /// The client said that the partition has no more. It may have said so long ago, before this piece was written.
    pub(super) saw_end: bool,
    /// It was sought again: if the client says so now, it is true.
    pub(super) is_sought: bool,
    /// Since when it is said that the partition does not exist.
    pub(super) doubted_since: Option<Instant>,
    pub(super) is_ended: bool,
}

/// What is there of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edges {
    /// The first offset, and the one behind the last that readers may see.
    Told { first: i64, past: i64 },
    /// The partition does not exist any more.
    Gone,
    /// That cannot be asked at the moment.
    Untold,
}

impl Reading {
    pub(super) fn new(mut lease: Lease, piece: Piece) -> Self {
        let saw_end = lease.saw_end();
        Self { lease, piece, silent: Duration::ZERO, saw_end, is_sought: false, doubted_since: None, is_ended: false }
    }

    pub(super) fn place(&self) -> String {
        format!("{}-{}", self.piece.topic, self.piece.partition)
    }

    pub(super) fn len(&self) -> i64 {
        self.piece.end.saturating_sub(self.piece.begin)
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
        self.lease.read_up_to(self.piece.end);
    }

    /// Somebody says that the partition does not exist: that is asked until it is certain.
    pub(super) fn doubt(&mut self) {
        self.doubted_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted_since.is_some()
    }

    /// Where the partition begins and ends. Time without an answer is time in which the piece was silent.
    pub(super) fn ask_edges(&mut self) -> Result<Edges> {
        let begun = Instant::now();
        let consumer = self.lease.consumer();
        let error = match consumer.fetch_watermarks(&self.piece.topic, self.piece.partition, ASK_WITHIN) {
            Ok((first, past)) => return Ok(Edges::Told { first, past }),
            Err(error) => error,
        };
        if error.rdkafka_error_code().is_some_and(does_not_exist) {
            match is_listed(consumer, &self.piece) {
                Some(false) if self.doubted_since.is_some_and(|since| since.elapsed() >= GONE_AFTER) => return Ok(Edges::Gone),
                Some(false) => self.doubt(),
                Some(true) | None => self.doubted_since = Some(Instant::now()),
            }
        } else if !may_pass(&error) {
            return Err(failed(format!("the offsets of {} cannot be asked for", self.place()))(error));
        }
        tracing::warn!(%error, of = self.place(), "kafka is asked again for the offsets of a partition");
        self.silent += begun.elapsed();
        Ok(Edges::Untold)
    }
}

/// Whether the cluster lists the partition; `None`: it does not say.
fn is_listed(consumer: &BaseConsumer<ClientNews>, piece: &Piece) -> Option<bool> {
    let metadata = consumer.fetch_metadata(Some(&piece.topic), ASK_WITHIN).ok()?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == piece.topic)?;
    match topic.error().map(Code::from) {
        None => Some(topic.partitions().iter().any(|partition| partition.id() == piece.partition)),
        Some(code) if does_not_exist(code) => Some(false),
        Some(_) => None,
    }
}
