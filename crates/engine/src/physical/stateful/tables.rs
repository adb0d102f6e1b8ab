//! The state of a query while it runs: one table per store of every stateful operator and task.
//!
//! Tasks of a batch change their own tables; between batches the loop takes what has changed. The tables are at the
//! version of the last decided batch whenever no batch runs: a batch that fails ends its query.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int8Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use millstream_core::{Error, Result};
use millstream_state::store::{
    FrozenTable, KEY_GROUPS, KeyedMultiTable, KeyedTable, SpillStats, StoreDescription, StoreId, StoreKind, StoreRows, StoreSchema,
    StoreSpec, TableDelta,
};

/// A store's name within its operator; most operators have one store.
pub const MAIN_STORE: &str = "default";

/// The tables of a query's stateful operators, one per store and task.
#[derive(Debug)]
pub struct QueryState {
    n_key_groups: u32,
    single: Tables<KeyedTable>,
    multi: Tables<KeyedMultiTable>,
    derived: Mutex<BTreeMap<(String, usize), Box<dyn Any + Send>>>,
}

/// What the state of an operator takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct StateUsage {
    /// Of memory, in bytes.
    pub memory_bytes: u64,
    /// Of the disk; `None` where memory has no limit.
    pub spilled: Option<SpillStats>,
}

type Tables<T> = BTreeMap<StoreId, Vec<Mutex<T>>>;

impl Default for QueryState {
    /// Of a query without stateful operators.
    fn default() -> Self {
        Self { n_key_groups: KEY_GROUPS, single: Tables::default(), multi: Tables::default(), derived: Mutex::default() }
    }
}

impl QueryState {
    /// The tables of each store's tasks, as they were read; the tasks share `n_key_groups` key groups.
    pub fn new(stores: &[StoreSpec], n_key_groups: u32, mut tables: BTreeMap<StoreId, Vec<KeyedTable>>) -> Result<Self> {
        let mut state = Self { n_key_groups, ..Self::default() };
        for StoreSpec { id, kind, schema, .. } in stores {
            let tables = tables.remove(id).ok_or_else(|| Error::internal(format!("{id} was not read")))?;
            match kind {
                StoreKind::Multi => {
                    let recover = |rows| Ok(Mutex::new(KeyedMultiTable::recover(schema.clone(), rows)?));
                    state.multi.insert(id.clone(), tables.into_iter().map(recover).collect::<Result<_>>()?);
                }
                _ => {
                    state.single.insert(id.clone(), tables.into_iter().map(Mutex::new).collect());
                }
            }
        }
        Ok(state)
    }

    /// How many key groups the keys of all stores fall into.
    pub fn n_key_groups(&self) -> u32 {
        self.n_key_groups
    }

    /// The table of a task, of a store with one row per key.
    pub fn table(&self, operator: &str, store: &str, task: usize) -> Result<MutexGuard<'_, KeyedTable>> {
        table_of(&self.single, operator, store, task)
    }

    /// The table of a task, of a store with any number of rows per key.
    pub fn multi_table(&self, operator: &str, store: &str, task: usize) -> Result<MutexGuard<'_, KeyedMultiTable>> {
        table_of(&self.multi, operator, store, task)
    }

    /// The tables of all tasks, of a store with one row per key.
    pub fn tables_of(&self, store: &StoreId) -> impl Iterator<Item = MutexGuard<'_, KeyedTable>> {
        self.single.get(store).into_iter().flatten().map(lock)
    }

    /// What an operator's task keeps in memory beside its tables, and can make again from them: what it gave to
    /// [`QueryState::keep_derived`] when its last batch ended. None after a start, and after a batch that failed.
    pub fn take_derived<T: 'static>(&self, operator: &str, task: usize) -> Option<Box<T>> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        derived.remove(&(operator.to_owned(), task))?.downcast().ok()
    }

    /// Keeps it for the next batch. It is not part of the state: what is not in the tables is gone after a restart.
    pub fn keep_derived<T: Any + Send>(&self, operator: &str, task: usize, derived: Box<T>) {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner).insert((operator.to_owned(), task), derived);
    }

    /// What has changed in all tables since the last call.
    pub fn take_deltas(&self) -> Result<Vec<(StoreId, TableDelta)>> {
        let mut deltas = Vec::new();
        for (id, mut table) in each(&self.single) {
            deltas.extend(table.take_delta().map_err(|error| error.context(id.to_string()))?.map(|delta| (id.clone(), delta)));
        }
        for (id, mut table) in each(&self.multi) {
            deltas.extend(table.take_delta().map_err(|error| error.context(id.to_string()))?.map(|delta| (id.clone(), delta)));
        }
        Ok(deltas)
    }

    /// What the state of each operator takes of memory and disk now.
    pub fn usage(&self) -> BTreeMap<String, StateUsage> {
        let mut by_operator: BTreeMap<String, StateUsage> = BTreeMap::new();
        let mut add = |id: &StoreId, memory_bytes: usize, spilled: Option<SpillStats>| {
            let usage = by_operator.entry(id.operator.clone()).or_default();
            usage.memory_bytes += memory_bytes as u64;
            if let Some(spilled) = spilled {
                *usage.spilled.get_or_insert_default() += spilled;
            }
        };
        each(&self.single).for_each(|(id, table)| add(id, table.memory_bytes(), table.spilled()));
        each(&self.multi).for_each(|(id, table)| add(id, table.memory_bytes(), table.spilled()));
        by_operator
    }

    /// All tables as they are now, to be read while they change.
    pub fn freeze(&self) -> Vec<(StoreId, FrozenTable)> {
        let single = each(&self.single).map(|(id, table)| (id.clone(), table.freeze()));
        single.chain(each(&self.multi).map(|(id, table)| (id.clone(), table.freeze()))).collect()
    }
}

fn table_of<'a, T>(tables: &'a Tables<T>, operator: &str, store: &str, task: usize) -> Result<MutexGuard<'a, T>> {
    let id = StoreId { operator: operator.to_owned(), store: store.to_owned() };
    let table = tables.get(&id).and_then(|tables| tables.get(task));
    table.map(lock).ok_or_else(|| Error::internal(format!("{id} has no such table for task {task}")))
}

fn each<T>(tables: &Tables<T>) -> impl Iterator<Item = (&StoreId, MutexGuard<'_, T>)> {
    tables.iter().flat_map(|(id, tables)| tables.iter().map(move |table| (id, lock(table))))
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one store of an operator that keeps one row per key.
pub fn one_store(schema: StoreSchema) -> Vec<StoreDescription> {
    vec![StoreDescription { name: MAIN_STORE.to_owned(), kind: StoreKind::Single, schema }]
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

/// The rows where `wanted` is true.
pub fn filtered(rows: &StoreRows, wanted: &BooleanArray) -> Result<StoreRows> {
    let some = |columns: &[ArrayRef]| columns.iter().map(|column| Ok(filter(column, wanted)?)).collect::<Result<Vec<_>>>();
    let expiry =
        rows.expiry.as_ref().map(|expiry| Ok::<_, Error>(filter(expiry, wanted)?.as_primitive::<Int64Type>().clone())).transpose()?;
    Ok(StoreRows { n_rows: wanted.true_count(), keys: some(&rows.keys)?, expiry, values: some(&rows.values)? })
}
