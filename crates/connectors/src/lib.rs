//! Sources and sinks.
//!
//! One folder per connector, each with the same cast of files: `mod.rs` (what it is and its [`Connector`]),
//! `options.rs`, `source.rs` and `reader.rs` (the driver's and the task's half of reading), `sink.rs` and `writer.rs`
//! (likewise for writing), `tests.rs`. To add one: add a folder, and one line in [`register_all`].
//!
//! This crate knows no engine: it implements the traits of `millstream-core` and is tested without DataFusion.
//!
//! [`Connector`]: millstream_core::Connector
#![forbid(unsafe_code)]

mod in_process;
mod read_thread;
mod type_name;
pub mod wire;

pub mod console;
pub mod file;
pub mod foreach;
pub mod foreach_batch;
pub mod kafka;
pub mod memory;
pub mod noop;
pub mod rate;
pub mod rate_micro_batch;
pub mod socket;
pub mod state;

#[cfg(test)]
mod harness;

use std::sync::Arc;

use millstream_core::ConnectorRegistry;
use millstream_state::{FileSystem, OsFileSystem};

pub use console::ConsoleOutput;
pub use file::STORE_OPTIONS;
pub use foreach::{RowWriter, RowWriterFactory, foreach_sink};
pub use foreach_batch::{ForeachBatch, foreach_batch_sink};
pub use memory::{MemoryStore, MemoryStream};

/// What the connectors of one session share with its user: tables and streams in memory.
#[derive(Debug, Clone)]
pub struct InProcess {
    /// The streams and tables of format `memory`.
    pub memory: Arc<MemoryStore>,
}

/// Puts every connector of this crate into a registry.
pub fn register_all(registry: &mut ConnectorRegistry) -> InProcess {
    register_all_on(registry, Arc::new(OsFileSystem))
}

/// As [`register_all`], with another local file layer (tests pass one that fails or forgets).
pub fn register_all_on(registry: &mut ConnectorRegistry, fs: Arc<dyn FileSystem>) -> InProcess {
    let memory = Arc::new(MemoryStore::default());
    registry.register(Arc::new(rate::RateConnector));
    registry.register(Arc::new(rate_micro_batch::RateMicroBatchConnector));
    registry.register(Arc::new(memory::MemoryConnector::new(Arc::clone(&memory))));
    registry.register(Arc::new(console::ConsoleConnector::default()));
    registry.register(Arc::new(noop::NoopConnector));
    registry.register(Arc::new(socket::SocketConnector::new(Arc::clone(&fs))));
    registry.register(Arc::new(state::StateConnector::new(Arc::clone(&fs))));
    registry.register(Arc::new(file::FileConnector::new(fs)));
    registry.register(Arc::new(foreach::ForeachConnector));
    registry.register(Arc::new(foreach_batch::ForeachBatchConnector));
    registry.register(Arc::new(kafka::KafkaConnector::default()));
    InProcess { memory }
}
