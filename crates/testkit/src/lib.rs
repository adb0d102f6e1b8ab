//! What tests of several crates share: gold files of Spark ([`gold`]), a clock moved by hand ([`clock`]), rows as texts
//! ([`rows`]), the contract suites that every source and sink passes ([`source_contract`], [`sink_contract`]), and files
//! that lose what was not synced ([`power_loss`]), stores whose network fails ([`object_store_faults`]), and a second
//! decoder of the write-ahead log ([`wal_decoder`]), input files that are there whole ([`files`]), and
//! topics and records on a real broker ([`kafka`]).
//!
//! Only tests depend on this crate; it never ends up in a program. The suites speak the traits of `millstream-core` only,
//! so that a connector's tests need no engine. Seeds are arguments, and tests print them, so that every failure can be
//! replayed exactly.
#![forbid(unsafe_code)]

pub mod clock;
pub mod files;
pub mod gold;
pub mod kafka;
pub mod object_store_faults;
pub mod power_loss;
pub mod rng;
pub mod rows;
pub mod sink_contract;
pub mod sink_power_loss;
pub mod source_contract;
pub mod wal_decoder;

pub use clock::ManualClock;
pub use files::put_file;
pub use object_store_faults::{FaultyStore, StoreFault};
pub use power_loss::{Fault, PowerLossFs};
pub use rng::Rng;
