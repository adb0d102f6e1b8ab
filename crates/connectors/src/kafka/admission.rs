//! How much of what is there a micro-batch takes. Pure arithmetic on offsets.

use super::offsets::Offsets;
use super::split::Piece;

/// What one partition has for the next batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Available {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Where the batch begins in it.
    pub(super) begin: i64,
    /// Where it ends now.
    pub(super) end: i64,
}

impl Available {
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.end.saturating_sub(self.begin)).unwrap_or(0)
    }

    pub(super) fn piece(&self) -> Piece {
        Piece { topic: self.topic.clone(), partition: self.partition, begin: self.begin, end: self.end }
    }
}

/// How many offsets there are.
pub(super) fn total(available: &[Available]) -> u64 {
    available.iter().fold(0, |sum, partition| sum.saturating_add(partition.len()))
}

/// Where each partition's part of a batch ends that takes at most about `limit` offsets: shared out by how much each has, as
/// in Spark, and at least one of every partition that has any, so that none starves.
pub(super) fn share_out(available: &[Available], limit: u64) -> Offsets {
    let total = total(available);
    available
        .iter()
        .map(|partition| {
            let share = if total <= limit {
                partition.len()
            } else {
                let exact = u128::from(partition.len()) * u128::from(limit) / u128::from(total.max(1));
                u64::try_from(exact).unwrap_or(u64::MAX).max(1).min(partition.len())
            };
            let end = partition.begin.saturating_add(i64::try_from(share).unwrap_or(i64::MAX)).min(partition.end);
            (partition.topic.as_str(), partition.partition, end.max(partition.begin))
        })
        .collect()
}
