//! What tests of several crates share: gold files of Spark ([`gold`]).
//!
//! Only tests depend on this crate; it never ends up in a program.
#![forbid(unsafe_code)]

pub mod gold;
