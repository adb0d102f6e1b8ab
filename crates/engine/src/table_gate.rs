//! Tables that are replaced while a program reads them.
//!
//! A job computes its materialized views again and again: the files of the new version take the place of the old ones, which
//! are removed. A batch that had listed the old ones would find them gone. So who reads such a table keeps its gate open while
//! it does, and who replaces it waits at the gate, for the moment of the replacement alone.
//!
//! Nobody waits to replace a table while he reads one, and all gates are opened in one order (that of the list), so nobody
//! waits for ever.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The gate of one table.
#[derive(Debug, Clone, Default)]
pub struct TableGate(Arc<RwLock<()>>);

/// What is read stays as it is as long as this lives.
#[derive(Debug)]
pub struct TablesRead {
    _guards: Vec<OwnedRwLockReadGuard<()>>,
}

/// The gates that a program passes.
#[derive(Debug, Clone, Default)]
pub struct TableGates {
    /// Of the tables that it reads and others replace, in the order of the job.
    pub reads: Vec<TableGate>,
    /// Of the table that it replaces.
    pub replaces: Option<TableGate>,
}

impl TableGates {
    /// Waits until none of the tables is being replaced.
    pub(crate) async fn read(&self) -> TablesRead {
        let mut guards = Vec::with_capacity(self.reads.len());
        for gate in &self.reads {
            guards.push(Arc::clone(&gate.0).read_owned().await);
        }
        TablesRead { _guards: guards }
    }

    /// Waits until nobody reads the table that is to be replaced.
    pub(crate) async fn replace(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        match &self.replaces {
            Some(gate) => Some(Arc::clone(&gate.0).write_owned().await),
            None => None,
        }
    }
}
