//! The facade as a user meets it: scripts of SQL and of streams, and the Rust API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod bad_input;
mod changes;
mod computed_once;
mod conservation;
mod crash_points;
mod depth;
mod gold;
mod groups_with_state;
mod hashtags;
mod jobs;
mod kafka;
mod kafka_sink;
mod key_groups;
mod materialized_views;
mod metadata_column;
mod nested_pruning;
mod no_data_batches;
mod plans;
mod power_loss;
mod progress;
mod properties;
mod row_errors;
mod scenarios;
mod sessions;
mod sliding_windows;
mod slt;
mod spilling;
mod state_change;
mod state_reader;
mod static_sides;
mod stream_joins;
mod stream_options;
mod stream_script;
mod user_aggregates;
mod verify;
