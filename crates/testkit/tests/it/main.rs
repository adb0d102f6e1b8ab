//! Suites of this crate that need real connectors, which themselves are tested with this crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod file_sink_power_loss;
