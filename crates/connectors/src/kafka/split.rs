//! Ranges of partitions become splits, and what a split says to the task that reads it.

use std::cmp::Reverse;

use millstream_core::{Result, Split};
use serde::{Deserialize, Serialize};

use super::admission::Available;
use super::fingerprints::Fingerprints;
use super::position::KafkaPosition;
use crate::wire;

/// What a record is reckoned to weigh, for balancing tasks.
pub(super) const RECORD_BYTES_GUESS: u64 = 1024;

/// A piece of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    #[serde(rename = "t")]
    pub(super) topic: String,
    #[serde(rename = "p")]
    pub(super) partition: i32,
    #[serde(rename = "b")]
    pub(super) begin: i64,
    #[serde(rename = "e")]
    pub(super) end: i64,
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.end.saturating_sub(self.begin)).unwrap_or(0)
    }
}

/// What one task reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KafkaSplit {
    pub(super) pieces: Vec<Piece>,
    /// How many partitions the whole range has: they share the memory for fetched records.
    pub(super) n_partitions: usize,
    /// What tells its topics from others of the same name.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    pub(super) topics: Fingerprints,
}

/// What the options say of splits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SplitLimits {
    pub(super) min_partitions: Option<usize>,
    pub(super) max_records_per_partition: Option<u64>,
}

/// The splits of a range that ends at `end`. A partition is read by one task, in order, unless the options want more splits: then the largest
/// ranges are divided, as in Spark.
pub(super) fn splits(ranges: &[Available], end: &KafkaPosition, limits: SplitLimits, n_tasks: usize) -> Result<Vec<Split>> {
    let mut pieces: Vec<Piece> = ranges.iter().filter(|range| range.len() > 0).map(Available::piece).collect();
    let n_partitions = pieces.len();
    if let Some(max) = limits.max_records_per_partition {
        pieces = pieces.into_iter().flat_map(|piece| divided(&piece, piece.len().div_ceil(max.max(1)))).collect();
    }
    if let Some(min) = limits.min_partitions.filter(|min| *min > pieces.len()) {
        pieces = divided_among(pieces, min);
    }
    let has_limits = limits.min_partitions.is_some() || limits.max_records_per_partition.is_some();
    let n_groups = if has_limits { pieces.len() } else { n_tasks.clamp(1, pieces.len().max(1)) };
    let mut groups: Vec<(u64, Vec<Piece>)> = vec![(0, Vec::new()); n_groups];
    // The largest first, each to who has the least.
    pieces.sort_by_key(|piece| Reverse(piece.len()));
    for piece in pieces {
        if let Some((len, group)) = groups.iter_mut().min_by_key(|(len, group)| (*len, group.len())) {
            *len += piece.len();
            group.push(piece);
        }
    }
    groups
        .into_iter()
        .filter(|(_, pieces)| !pieces.is_empty())
        .map(|(len, mut pieces)| {
            pieces.sort_by(|a, b| (&a.topic, a.partition, a.begin).cmp(&(&b.topic, b.partition, b.begin)));
            let topics = pieces.iter().filter_map(|piece| Some((piece.topic.clone(), end.fingerprint(&piece.topic)?.clone()))).collect();
            wire::split(&KafkaSplit { pieces, n_partitions, topics }, len.saturating_mul(RECORD_BYTES_GUESS))
        })
        .collect()
}

/// `n` pieces of about one length.
fn divided(piece: &Piece, n: u64) -> Vec<Piece> {
    let n = n.clamp(1, piece.len().max(1));
    let at = |nth: u64| {
        let offset = u128::from(piece.len()) * u128::from(nth) / u128::from(n);
        piece.begin.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
    };
    (0..n).map(|nth| Piece { begin: at(nth), end: at(nth + 1), ..piece.clone() }).collect()
}

/// At least `min` pieces, as far as there are so many offsets: each range gets its share by its length.
fn divided_among(pieces: Vec<Piece>, min: usize) -> Vec<Piece> {
    let total: u64 = pieces.iter().map(Piece::len).sum();
    let mut left = min as u64;
    let mut rest = total;
    let mut divided_pieces = Vec::with_capacity(min);
    let mut by_length = pieces;
    by_length.sort_by_key(Piece::len);
    for piece in by_length {
        // What is left to make is shared among what is left to divide; rounding goes to the longest, which come last.
        let share = u128::from(piece.len()) * u128::from(left) / u128::from(rest.max(1));
        let n = u64::try_from(share).unwrap_or(u64::MAX).max(1);
        rest -= piece.len();
        let made = divided(&piece, n);
        left = left.saturating_sub(made.len() as u64);
        divided_pieces.extend(made);
    }
    divided_pieces
}
