//! A piece of a partition while a task reads it, and what is asked of the brokers when nothing comes of it.

use std::time::Duration;

use millstream_core::Result;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::consumers::{Consumers, KafkaConsumer, Lease};
use super::error::{does_not_exist, failed, may_pass};
use super::split::Piece;

/// A partition that the brokers have not known for so long does not exist: one that comes back may say so for a moment.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(3);
/// After so long without a record the brokers are asked what is there, though the client has said nothing. They answer within this time, or
/// are asked again.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// The same if the client has said that there is no more.
const SEEK_AFTER: Duration = Duration::from_millis(100);
/// Between two questions where the client has said something.
const ASK_PAUSE: Duration = Duration::from_millis(250);

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
    /// How long it had been silent when the brokers were last asked what is there.
    looked_at: Option<Duration>,
    pub(super) is_ended: bool,
    /// Rows came of it.
    pub(super) has_rows: bool,
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
            looked_at: None,
            is_ended: false,
            has_rows: false,
        }
    }

    pub(super) fn place(&self) -> String {
        format!("{}-{}", self.piece.topic, self.piece.partition)
    }

    pub(super) fn len(&self) -> i64 {
        self.piece.end.saturating_sub(self.piece.begin)
    }

    /// A record of the piece came.
    pub(super) fn read(&mut self, offset: i64) {
        self.has_rows = true;
        self.lease.read_up_to(offset.saturating_add(1));
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
        self.lease.read_up_to(self.piece.end);
    }

    /// A record came: what was found out while none did need not hold any more.
    pub(super) fn heard(&mut self) {
        (self.silent, self.looked_at, self.doubted_since) = (Duration::ZERO, None, None);
        (self.is_held_back, self.is_sought) = (false, false);
    }

    /// Whether the brokers are to be asked what is there: at once where the client says that there is no more, or no such partition, and
    /// else when nothing has come for a while. The next time it is after a pause.
    pub(super) fn is_look_due(&mut self) -> bool {
        let has_said = self.is_doubted() || (self.saw_end && self.silent >= SEEK_AFTER);
        let due_at = match self.looked_at {
            Some(at) => at.saturating_add(if has_said { ASK_PAUSE } else { LOOK_AFTER }),
            None if has_said => Duration::ZERO,
            None => LOOK_AFTER,
        };
        let is_due = self.silent >= due_at;
        if is_due {
            self.looked_at = Some(self.silent);
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

    /// Where the partition begins and ends, asked by who gives up when the piece has been silent for `silent_max`. Time without an answer
    /// is time in which it was silent.
    pub(super) fn ask_edges(&mut self, consumers: &Consumers, silent_max: Duration) -> Result<Edges> {
        let begun = Instant::now();
        let within = silent_max.saturating_sub(self.silent).clamp(ASK_PAUSE, LOOK_AFTER);
        let consumer = self.lease.consumer();
        let ask = |consumer: &KafkaConsumer| consumer.fetch_watermarks(&self.piece.topic, self.piece.partition, within);
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
            match is_listed(consumer, &self.piece, within) {
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
fn is_listed(consumer: &KafkaConsumer, piece: &Piece, within: Duration) -> Option<bool> {
    let metadata = consumer.fetch_metadata(Some(&piece.topic), within).ok()?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == piece.topic)?;
    match topic.error().map(Code::from) {
        None => Some(topic.partitions().iter().any(|partition| partition.id() == piece.partition)),
        Some(code) if does_not_exist(code) => Some(false),
        Some(_) => None,
    }
}
