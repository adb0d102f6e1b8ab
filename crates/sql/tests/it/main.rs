//! The integration tests of `millstream-sql`: what can be said about the crate from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fuzz;
mod gold;
mod spark_form;
