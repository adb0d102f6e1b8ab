//! Records that a query has to read and that are no longer there: what happened, to whom it is told, what is left.

use millstream_core::Error;
use serde::{Deserialize, Serialize};

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
    /// The topic was deleted and made again, or its log was cut off.
    Recreated,
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
            (_, None) => format!("{topic}-{partition} was to be read from offset {wanted} on, and does not exist any more"),
            (Cause::Recreated, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and has the offsets {first} to {past}: \
                 the topic was deleted and made again, or its log was cut off"
            ),
            (_, Some((first, past))) => format!(
                "{topic}-{partition} was to be read from offset {wanted} on, and has the offsets {first} to {past}: \
                 {} records may have been lost to retention",
                self.n_missing
            ),
        }
    }
}

/// What a look at one partition says about reading on from `wanted`, where `[first, past)` is there: `None` if all is there.
/// `is_recreated`: it is known that this is another topic of the same name.
pub(super) fn gap_of(topic: &str, partition: i32, wanted: i64, (first, past): (i64, i64), is_recreated: bool) -> Option<Gap> {
    let (cause, n_missing) = if wanted > past || is_recreated {
        (Cause::Recreated, 0)
    } else if wanted < first {
        (Cause::Retention, u64::try_from(first.saturating_sub(wanted)).unwrap_or(0))
    } else {
        return None;
    };
    Some(Gap { topic: topic.to_owned(), partition, wanted, available: Some((first, past)), n_missing, cause })
}

/// A partition that was to be read from `wanted` on, and does not exist any more.
pub(super) fn gone(topic: &str, partition: i32, wanted: i64) -> Gap {
    Gap { topic: topic.to_owned(), partition, wanted, available: None, n_missing: 0, cause: Cause::Deleted }
}
