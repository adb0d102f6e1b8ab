//! The micro-batch loop against in-memory sources and sinks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod deciding_sink;
mod event_time;
mod harness;
mod idle;
mod manager;
mod recovery;
mod sessions;
mod spans;
mod stream;
mod triggers;
mod wake;
