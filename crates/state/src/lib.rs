//! What Millstream keeps between runs: durable files, places, the checkpoint and the write-ahead log of push sources.
//!
//! Every byte that must survive a power cut on a local disk goes through [`fs::FileSystem`], because `object_store`'s
//! local store never calls fsync. This crate knows no DataFusion, no connector and no operator, and it never decides
//! *what* a batch is: it keeps, in order and whole, what the engine decided.
//!
//! Read in this order: [`fs`], [`location`], [`checkpoint`], [`wal`], [`store`]; the protocol is
//! `docs/design/0001-checkpoint-log-and-commit-protocol.md`.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod fs;
pub mod location;
pub mod store;
pub mod wal;

mod frame;

pub use checkpoint::{Checkpoint, CheckpointOptions, Record, RecordKind, Recovered, RecoveredSource, Retention, SourceEntry};
pub use fs::{AppendFile, FileSystem, LockGuard, OsFileSystem};
pub use location::{Location, Store};
pub use wal::{Wal, WalOptions, WalPosition, WalRow};
