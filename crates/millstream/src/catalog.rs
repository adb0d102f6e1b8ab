//! The session's catalog: views, tables and functions by name.
//!
//! Names are compared without case. A database in front of a name (`default.t`) is accepted and passed over: a session
//! has one namespace. Sources are resolved (files listed, schemas inferred) by [`crate::resolve`], not here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::SchemaRef;
use millstream_analyzer::streaming::StateFunction;
use millstream_analyzer::{Relation, UserFunction};
use millstream_core::{Error, Options, Result};
use millstream_sql::ir::{LocalId, Plan};

/// A table over a format: `CREATE TABLE ... USING`.
#[derive(Debug, Clone)]
pub(crate) struct TableDefinition {
    pub(crate) name: String,
    pub(crate) format: String,
    pub(crate) options: Options,
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) partition_by: Vec<String>,
}

/// A view, with the settings of the moment at which it was made.
#[derive(Debug)]
pub(crate) struct ViewDefinition {
    pub(crate) name: String,
    pub(crate) plan: Arc<Plan>,
    /// New names of its columns; empty keeps the query's.
    pub(crate) columns: Vec<String>,
    pub(crate) time_zone: String,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    View(Arc<ViewDefinition>),
    Table(Arc<TableDefinition>),
}

/// Views, tables, functions, and rows that programs made.
#[derive(Debug, Default)]
pub(crate) struct SessionCatalog {
    entries: RwLock<BTreeMap<String, Entry>>,
    functions: RwLock<BTreeMap<String, UserFunction>>,
    kept: RwLock<BTreeMap<LocalId, Relation>>,
    kept_functions: RwLock<BTreeMap<LocalId, Arc<StateFunction>>>,
    next_id: AtomicU64,
}

impl SessionCatalog {
    /// Keeps a resolved relation and gives the leaf that stands for it.
    pub(crate) fn keep(&self, relation: Relation) -> Plan {
        let id = LocalId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(id, relation);
        Plan::local(id)
    }

    pub(crate) fn kept(&self, id: LocalId) -> Result<Relation> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(&id).cloned().ok_or_else(|| Error::invalid("a DataFrame of another session cannot be used here"))
    }

    /// Keeps a function with state and gives the name that stands for it in plans.
    pub(crate) fn keep_function(&self, function: Arc<StateFunction>) -> LocalId {
        let id = LocalId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.kept_functions.write().unwrap_or_else(PoisonError::into_inner).insert(id, function);
        id
    }

    pub(crate) fn kept_function(&self, id: LocalId) -> Result<Arc<StateFunction>> {
        let kept = self.kept_functions.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(&id).cloned().ok_or_else(|| Error::invalid("a DataFrame of another session cannot be used here"))
    }

    pub(crate) fn set_view(&self, view: ViewDefinition) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(key(&view.name), Entry::View(Arc::new(view)));
    }

    pub(crate) fn add_view(&self, view: ViewDefinition) -> Result<()> {
        if self.get(&view.name).is_some() {
            return Err(already_there(&view.name));
        }
        self.set_view(view);
        Ok(())
    }

    pub(crate) fn set_table(&self, table: TableDefinition) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(key(&table.name), Entry::Table(Arc::new(table)));
    }

    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&key(name)).cloned()
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Entry> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&key(name))
    }

    /// The names of all views and tables, as written.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .map(|entry| match entry {
                Entry::View(view) => view.name.clone(),
                Entry::Table(table) => table.name.clone(),
            })
            .collect()
    }

    pub(crate) fn set_function(&self, name: &str, function: UserFunction) {
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase(), function);
    }

    pub(crate) fn function(&self, name: &str) -> Option<UserFunction> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&name.to_ascii_lowercase()).cloned()
    }
}

/// The key of a name: its last part, without case.
fn key(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_lowercase()
}

/// A name is taken.
pub(crate) fn already_there(name: &str) -> Error {
    Error::invalid(format!("there is already a table or view '{name}'"))
        .code("TABLE_OR_VIEW_ALREADY_EXISTS")
        .hint("choose another name, or write CREATE OR REPLACE")
}
