//! The state of a query while it runs: one table per store of every stateful operator and task.
//!
//! Tasks of a batch change their own tables; between batches the loop takes what has changed. The tables are at the
//! version of the last decided batch whenever no batch runs: a batch that fails ends its query.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, Int8Array};
use arrow::datatypes::{DataType, Field, Fields};
use millstream_core::{Error, Result};
use millstream_state::store::{FrozenTable, KeyedTable, StoreId, StoreSchema, TableDelta};

/// A store's name within its operator; most operators have one store.
pub const MAIN_STORE: &str = "default";

/// The tables of a query's stateful operators, one per store and task.
#[derive(Debug, Default)]
pub struct QueryState {
    stores: BTreeMap<StoreId, Vec<Mutex<KeyedTable>>>,
}

impl QueryState {
    /// The tables of each store's tasks.
    pub fn new(tables: BTreeMap<StoreId, Vec<KeyedTable>>) -> Self {
        Self { stores: tables.into_iter().map(|(id, tables)| (id, tables.into_iter().map(Mutex::new).collect())).collect() }
    }

    /// The table of a task.
    pub fn table(&self, operator: &str, store: &str, task: usize) -> Result<MutexGuard<'_, KeyedTable>> {
        let id = StoreId { operator: operator.to_owned(), store: store.to_owned() };
        let table = self.stores.get(&id).and_then(|tables| tables.get(task));
        table.map(lock).ok_or_else(|| Error::internal(format!("{id} has no table for task {task}")))
    }

    /// What has changed in all tables since the last call.
    pub fn take_deltas(&self) -> Result<Vec<(StoreId, TableDelta)>> {
        let mut deltas = Vec::new();
        for (id, tables) in &self.stores {
            for table in tables {
                deltas.extend(lock(table).take_delta()?.map(|delta| (id.clone(), delta)));
            }
        }
        Ok(deltas)
    }

    /// All tables as they are now, to be read while they change.
    pub fn freeze(&self) -> Vec<(StoreId, FrozenTable)> {
        let frozen =
            |id: &StoreId, tables: &[Mutex<KeyedTable>]| tables.iter().map(|table| (id.clone(), lock(table).freeze())).collect::<Vec<_>>();
        self.stores.iter().flat_map(|(id, tables)| frozen(id, tables)).collect()
    }
}

fn lock(table: &Mutex<KeyedTable>) -> MutexGuard<'_, KeyedTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store's schema; without keys (one row for all) a constant stands for them.
pub fn store_schema(keys: Fields, values: Fields) -> Result<StoreSchema> {
    let keys = if keys.is_empty() { Fields::from(vec![Field::new("all", DataType::Int8, false)]) } else { keys };
    StoreSchema::new(keys, values)
}

/// Keys as [`store_schema`] has them.
pub fn store_keys(keys: Vec<ArrayRef>, n_rows: usize) -> Vec<ArrayRef> {
    if keys.is_empty() { vec![Arc::new(Int8Array::from_value(0, n_rows))] } else { keys }
}
