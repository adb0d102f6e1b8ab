//! Keyed state: what a stateful operator remembers between batches, in memory, column by column.
//!
//! ```text
//!              keys ─► KeyCodec ─► row bytes ─► hash ─► index: slot          slot: stable name of a live row
//!                                                            │
//!   RowLog:  locations[slot] = (chunk, row) ◄────────────────┘
//!            chunk │ keys │ expiry │ values │ live bits      one per call, never changed but for its live bits;
//!            chunk │  ...                                    small and half-dead ones are merged
//!   ExpiryIndex: expiry ─► slots          Changes: what the next delta must say
//! ```
//! A [`KeyedTable`] has one row per key, a [`KeyedMultiTable`] any number; both belong to one task, and all calls take whole
//! batches. A table changes only through its methods; between two batches it gives a [`TableDelta`] (what changed) and,
//! when asked, a [`FrozenTable`] (all rows, for a snapshot in the background); [`StateLog`] makes both durable. Knows
//! nothing of watermarks and operators. The reasons: `docs/design/0003-state-store.md`.
//!
//! Read in this order: `schema`, `key_group`, `table`, `index`, `multi_table`, `row_log`, `chunk`, `expiry`, `changes`, `state_log`.

mod changes;
mod chunk;
mod delta;
mod expiry;
mod frozen;
mod index;
mod key;
mod key_group;
mod key_numbers;
mod live_rows;
mod multi_table;
mod row_log;
mod schema;
mod slices;
mod slot;
mod spill;
mod state_log;
mod table;

pub use delta::TableDelta;
pub use frozen::FrozenTable;
pub use key::HashedKeys;
pub use key_group::{KEY_GROUPS, KeyHasher, hash_key, key_group, partition_of};
pub use key_numbers::KeyNumbers;
pub use multi_table::{KeyedMultiTable, Matches, Pairs, ROW_NUMBER};
pub use schema::{StoreRows, StoreSchema};
pub use slices::{of_slices, shown_column, shown_field};
pub use slot::Slot;
pub use spill::{SpillStats, StateMemory};
pub use state_log::{
    DeltaRef, EarlierLayout, KeptDelta, KeptVersions, LoadedState, OPERATOR_VERSION, OPERATOR_VERSION_WITH_PAST, OperatorState,
    RecoveredState, Role, ScannedRows, StateLog, StoreDescription, StoreHistory, StoreKind, StoreScan, StoreSpec, Tasks, ValuesOf,
    goes_on_as, load, widens,
};
pub(crate) use state_log::{StateKeeping, StateLogParts, verify};
pub use table::KeyedTable;

use std::fmt;

use arrow::error::ArrowError;
use millstream_core::Error;

/// Which store: an operator's stable id, and the store's name within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId {
    /// The operator.
    pub operator: String,
    /// The store.
    pub store: String,
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store '{}' of operator '{}'", self.store, self.operator)
    }
}

fn arrow_error(error: ArrowError) -> Error {
    Error::internal("the state store cannot handle a column").caused_by(error)
}
