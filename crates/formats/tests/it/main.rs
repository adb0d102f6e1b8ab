//! The decoders as a whole, against what Spark answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod encode;
mod gold;
mod random;
