//! A piece of a partition while a task reads it, and what is asked of the brokers when nothing comes of it.

use std::time::Duration;

use millstream_core::Result;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::consumers::{Consumers, KafkaConsumer, Lease};
use super::error::{does_not_exist, failed, may_pass};
use super::split::Piece;

const ASK_WITHIN: Duration = Duration::from_secs(30);
/// A partition that the brokers have not known for so long does not exist: one that comes back may say so for a moment.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// After so long without a record the brokers are asked what is there, though the client has said nothing.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct Reading {
    pub(super) lease: Lease,
    pub(super) piece: Piece,
    /// How long nothing came.
    pub(super) silent: Duration,
    /// The client said that the partition has no more. It may have said so long ago, before this piece was written.
    pub(super) saw_end: bool,
    /// It was sought again when the brokers had said that its end is there: if the client says so now, it is true.
    pub(super) is_sought: bool,
    /// Since when it is said that the partition does not exist.
    pub(super) doubted_since: Option<Instant>,
    /// Its rest is of a transaction that is open, and readers do not see it yet.
    pub(super) is_held_back: bool,
    /// When it has been silent for so long the brokers are asked what is there.
    look_at: Duration,
    pub(super) is_ended: bool,
}

/// What is there of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edges {
    /// The first offset; the one behind the last that readers may see; where that is short of the piece, the one behind the last of
    /// all, those of open transactions, too.
    Told { first: i64, past: i64, written: i64 },
    /// The partition does not exist any more.
    Gone,
    /// That cannot be asked at the moment.
    Untold,
}

impl Reading {
    pub(super) fn new(mut lease: Lease, piece: Piece) -> Self {
        let saw_end = lease.saw_end();
        Self {
            lease,
            piece,
            silent: Duration::ZERO,
            saw_end,
            is_sought: false,
            doubted_since: None,
            is_held_back: false,
            look_at: LOOK_AFTER,
            is_ended: false,
        }
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

    /// A record came.
    pub(super) fn heard(&mut self) {
        (self.silent, self.look_at, self.is_held_back) = (Duration::ZERO, LOOK_AFTER, false);
    }

    /// Whether the brokers are to be asked what is there, as nothing has come for a while; the next time that is after as long again.
    pub(super) fn is_look_due(&mut self) -> bool {
        let is_due = self.silent >= self.look_at;
        if is_due {
            self.look_at = self.silent.saturating_add(LOOK_AFTER);
        }
        is_due
    }

    /// Somebody says that the partition does not exist: that is asked until it is certain.
    pub(super) fn doubt(&mut self) {
        self.doubted_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted_since.is_some()
    }

    /// Where the partition begins and ends. Time without an answer is time in which the piece was silent.
    pub(super) fn ask_edges(&mut self, consumers: &Consumers) -> Result<Edges> {
        let begun = Instant::now();
        let consumer = self.lease.consumer();
        let ask = |consumer: &KafkaConsumer| consumer.fetch_watermarks(&self.piece.topic, self.piece.partition, ASK_WITHIN);
        let mut told = ask(consumer).map(|(first, past)| Edges::Told { first, past, written: past });
        if let Ok(Edges::Told { first, past, .. }) = told
            && past < self.piece.end
            && let Some(uncommitted) = consumers.uncommitted()?
        {
            // Its events are of no interest.
            drop(uncommitted.poll(Duration::ZERO));
            told = ask(&uncommitted).map(|(_, end)| Edges::Told { first, past, written: end.max(past) });
        }
        let error = match told {
            Ok(told) => return Ok(told),
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
fn is_listed(consumer: &KafkaConsumer, piece: &Piece) -> Option<bool> {
    let metadata = consumer.fetch_metadata(Some(&piece.topic), ASK_WITHIN).ok()?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == piece.topic)?;
    match topic.error().map(Code::from) {
        None => Some(topic.partitions().iter().any(|partition| partition.id() == piece.partition)),
        Some(code) if does_not_exist(code) => Some(false),
        Some(_) => None,
    }
}
