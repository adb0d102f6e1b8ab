//! State beyond the memory budget of the process: rows that nobody asked for lie in files until somebody does.
//!
//! ```text
//!  StateMemory: limit │ used          one per process; every table and frozen view counts against it
//!       │ over its mark, at the end of a batch
//!       ▼
//!  RowLog's oldest chunks, without the rows that were asked for since ─► sorted by hash ─► a run of segments
//!       ▲                                                                                   │ four of a size: merged
//!       └── the rows of the keys of a call, read by block ◄── filter ◄── run │ run │ run ◄──┘
//! ```
//! A row is in memory or in one segment, never in both: what comes in is marked dead where it was, by the same live bits
//! that chunks have. So nothing shadows anything, counts are exact, and a merge may stop between any two rows.
//!
//! The files are a cache of this process and no part of the checkpoint: nothing of them is synced, they are removed at the
//! end, and another start removes those of a process that was killed. A block that is not as it was written is an error that stops the query.
//! The reasons: `docs/design/0006-spilling.md`.
//!
//! Read in this order: `memory`, `folder`, `hash_filter`, `segment`, `row_codec`, `run`, `cold_rows`.

mod cold_rows;
mod folder;
mod hash_filter;
mod memory;
mod row_codec;
mod run;
mod segment;

pub(super) use cold_rows::{ColdRows, FrozenRun, KeyHash, Wanted};
pub(super) use memory::{Charge, Member};
pub use memory::{SpillStats, StateMemory};
pub(super) use row_codec::ReadColumns;
pub(super) use segment::SpilledRow;
