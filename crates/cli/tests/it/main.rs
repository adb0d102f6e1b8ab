//! The real binary as a process: signals, crashes, rivals on one checkpoint, machines that refuse. What a job computes is
//! tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod bad_machine;
mod command;
mod commands;
mod crashes;
mod example;
mod guide;
mod kafka;
mod kafka_copy;
mod kafka_crashes;
mod kafka_dead_letters;
mod kafka_examples;
mod kafka_outages;
mod process;
mod rivals;
mod secrets;
mod signals;
mod spilling;
mod sql;
mod state;
mod verify;
mod zombies;
