//! The analyzer end to end: SQL text in, rows of DataFusion out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod column_origins;
mod errors;
mod gold;
mod harness;
mod pruning;
mod queries;
mod stream_joins;
mod streams;
mod traps;
