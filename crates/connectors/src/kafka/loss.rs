//! Records that a query has to read and that are no longer there: what happened, to whom it is told, what is left.

use millstream_core::Error;
use serde::{Deserialize, Serialize};

use super::fingerprints::Identity;
use super::split::Piece;

/// Offsets of one partition that a query wanted and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Where the query wanted to read on.
    pub(super) wanted: i64,
    /// The offsets that were there instead: the first, and the one behind the last; none if the partition is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) available: Option<(i64, i64)>,
    /// How many offsets were passed over, as far as that can be known.
    pub(super) n_missing: u64,
    /// What is likely to have happened.
    pub(super) cause: Cause,
}

/// Why offsets are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cause {
    /// Retention, or a deletion of records, was faster.
    Retention,
    /// The topic was deleted, and there is another one of the same name.
    Recreated,
    /// One of the two: the topics have no ids.
    EndsEarly,
    /// The log of the partition was cut off, as by an unclean election of its leader.
    Truncated,
    /// The topic or partition is gone.
    Deleted,
    /// The query does not subscribe to it any more.
    Unsubscribed,
    /// A partition that was found while the query ran does not begin with offset 0.
    BeganLate,
}

impl Gap {
    /// The error of a query that fails on data loss.
    pub(super) fn error(&self) -> Error {
        Error::data(self.what())
            .code("KAFKA_DATA_LOSS")
            .hint("option failOnDataLoss 'false' goes on with what is there and records the gap in progress")
    }

    /// What happened, in words.
    pub(super) fn what(&self) -> String {
        let Self { topic, partition, wanted, .. } = self;
        match (self.cause, self.available) {
            (Cause::BeganLate, _) => {
                format!("the new partition {topic}-{partition} begins at offset {} instead of 0: earlier records are gone", self.n_missing)
            }
            (Cause::Unsubscribed, _) => {
                format!("the query stands at offset {wanted} of {topic}-{partition}, and does not subscribe to it any more")
            }
            (Cause::Recreated, None) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and the topic was deleted; there is another one of the same name"
            ),
            (_, None) => format!("{topic}-{partition} was to be read from offset {wanted} on, and does not exist any more"),
            (Cause::Recreated, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and the topic was deleted; \
                 another one of the same name has the offsets {first} to {past}"
            ),
            (Cause::EndsEarly, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and has the offsets {first} to {past}: \
                 the topic was deleted and made again, or its log was cut off"
            ),
            (Cause::Truncated, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and has the offsets {first} to {past}: its log was cut off"
            ),
            (_, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and has the offsets {first} to {past}: \
                 {} records may have been lost to retention",
                self.n_missing
            ),
        }
    }
}

/// What a look at one partition says about reading from `wanted` on, where all up to `up_to` was there, and `[first, past)` is there now, of
/// a topic of that name: `None` if all is there still.
pub(super) fn gap_of(
    (topic, partition): (&str, i32),
    (wanted, up_to): (i64, i64),
    (first, past): (i64, i64),
    identity: Identity,
) -> Option<Gap> {
    let (cause, n_missing) = match identity {
        Identity::Other => (Cause::Recreated, 0),
        Identity::Same if up_to > past => (Cause::Truncated, 0),
        Identity::Unknown if up_to > past => (Cause::EndsEarly, 0),
        _ if wanted < first => (Cause::Retention, u64::try_from(first.saturating_sub(wanted)).unwrap_or(0)),
        _ => return None,
    };
    Some(Gap { topic: topic.to_owned(), partition, wanted, available: Some((first, past)), n_missing, cause })
}

/// A partition that was to be read from `wanted` on, and does not exist any more.
pub(super) fn gone(topic: &str, partition: i32, wanted: i64) -> Gap {
    Gap { topic: topic.to_owned(), partition, wanted, available: None, n_missing: 0, cause: Cause::Deleted }
}

/// A piece of a topic that was deleted while there is another one of the same name.
pub(super) fn replaced(piece: &Piece) -> Gap {
    let Piece { topic, partition, begin, .. } = piece;
    Gap { topic: topic.clone(), partition: *partition, wanted: *begin, available: None, n_missing: piece.len(), cause: Cause::Recreated }
}
