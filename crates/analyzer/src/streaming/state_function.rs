//! A user's function with state per group, and what it declares of itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;
use datafusion::common::ScalarValue;
use millstream_core::{OutputMode, Result};

use super::group_state::{GroupState, GroupStateTimeout};

/// What is called for a group: with its key, its new rows of the batch (none if it has timed out), and its state. Gives rows
/// of the declared output columns.
///
/// A batch may run again after a crash, so what is given must follow from what is passed.
pub type GroupFunction = dyn Fn(&[ScalarValue], &[RecordBatch], &mut GroupState) -> Result<Vec<RecordBatch>> + Send + Sync;

/// How many rows a call gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupRows {
    /// One (`mapGroupsWithState`).
    One,
    /// Any number (`flatMapGroupsWithState`).
    Any,
}

/// A function with state, as declared.
#[derive(Clone)]
pub struct StateFunction {
    /// What messages call it; a restart compares it.
    pub name: String,
    /// The columns of the rows that it gives.
    pub output: Fields,
    /// The columns of a group's state.
    pub state: Fields,
    /// When groups without rows are called.
    pub timeout: GroupStateTimeout,
    /// Whether its rows stand for ever (append) or replace those that it gave before (update).
    pub mode: OutputMode,
    /// How many rows a call gives.
    pub rows: GroupRows,
    /// The output column that carries the event time for the operators above, if one does.
    pub event_time: Option<String>,
    /// What is called.
    pub function: Arc<GroupFunction>,
}

impl StateFunction {
    /// Spark's name of the operation.
    pub fn operation(&self) -> &'static str {
        match self.rows {
            GroupRows::One => "mapGroupsWithState",
            GroupRows::Any => "flatMapGroupsWithState",
        }
    }
}

impl fmt::Debug for StateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}, {}, {})", self.operation(), self.name, self.timeout.as_str(), self.mode)
    }
}

/// Two are equal if they are the same function.
impl PartialEq for StateFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function, &other.function) && self.name == other.name
    }
}

impl Eq for StateFunction {}

impl Hash for StateFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
