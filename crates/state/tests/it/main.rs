//! Checkpoints and write-ahead logs under everything that can go wrong: power loss, damage, kills, rivals, lost answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod fencing;
mod fixtures;
mod power_loss;
mod retention;
mod store;
mod support;
mod two_processes;
