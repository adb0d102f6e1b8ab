//! What changed in a table between two batches: the incremental checkpoint.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::schema::{StoreRows, StoreSchema};

/// The changes of a table. Applied in this order: what expired, what was removed, what was upserted.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDelta {
    /// The columns.
    pub schema: Arc<StoreSchema>,
    /// All rows that expire at or before this are gone.
    pub expired_to: Option<i64>,
    /// How many keys were removed.
    pub n_removed: usize,
    /// The keys that were removed, by column.
    pub removed: Vec<ArrayRef>,
    /// The rows that are new or have changed.
    pub upserted: StoreRows,
}

impl TableDelta {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.expired_to.is_none() && self.n_removed == 0 && self.upserted.n_rows == 0
    }
}
