//! The real binary as a process: signals, crashes, and rivals on one checkpoint. What a job computes is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod crashes;
mod process;
mod rivals;
mod signals;
