//! Pieces of sessions, joined where they overlap or touch: the rows of a batch and what the state has of their keys.
//!
//! ```text
//!   state   [----)            [--)
//!   batch       [---) [)           [-)        a piece that begins where another ends touches it
//!   joined  [-------) [)      [------)        each knows its pieces, in the order of their starts
//! ```
//! Knows nothing of columns and tables.

use std::ops::Range;

use millstream_state::store::Slot;

/// A part of a session: its key (by number), from when to when (microseconds), and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub key: usize,
    pub start_us: i64,
    pub end_us: i64,
    pub place: Place,
}

/// Where a piece is. Of pieces with one start that of the state is the first, then they keep the order of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A row of the state.
    State(Slot),
    /// A row of one of the chunks of the batch.
    Batch { chunk: usize, row: usize },
}

/// What pieces of one key became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub key: usize,
    pub start_us: i64,
    pub end_us: i64,
    /// Its pieces, as positions in the sorted list.
    pub pieces: Range<usize>,
}

impl Place {
    /// The row of the state, if it is one.
    pub fn slot(self) -> Option<Slot> {
        match self {
            Self::State(slot) => Some(slot),
            Self::Batch { .. } => None,
        }
    }
}

/// Sorts pieces by key and start, and joins those that overlap or touch.
pub fn join(pieces: &mut [Piece]) -> Vec<Session> {
    pieces.sort_unstable_by_key(|piece| (piece.key, piece.start_us, piece.place));
    let mut sessions: Vec<Session> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        match sessions.last_mut() {
            // At the end still belongs to it, as in Spark.
            Some(open) if open.key == piece.key && piece.start_us <= open.end_us => {
                open.end_us = open.end_us.max(piece.end_us);
                open.pieces.end = at + 1;
            }
            _ => sessions.push(Session { key: piece.key, start_us: piece.start_us, end_us: piece.end_us, pieces: at..at + 1 }),
        }
    }
    sessions
}

#[cfg(test)]
mod tests;
