//! What tests of several crates share: gold files of Spark ([`gold`]), a clock moved by hand ([`clock`]), rows as texts
//! ([`rows`]), and the contract suites that every source and sink passes ([`source_contract`], [`sink_contract`]).
//!
//! Only tests depend on this crate; it never ends up in a program. The suites speak the traits of `millstream-core` only,
//! so that a connector's tests need no engine.
#![forbid(unsafe_code)]

pub mod clock;
pub mod gold;
pub mod rows;
pub mod sink_contract;
pub mod source_contract;

pub use clock::ManualClock;
