//! Identifiers and numbers that must not be mixed up, and where new ones come from.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of a query: made at its first start, kept in the checkpoint, the same after every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueryId(pub Uuid);

/// The identity of one run of a query: new at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

/// The fencing number of a run: each start takes the next one, and the highest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunEpoch(pub u64);

/// The number of a micro-batch: 0, 1, 2, ... without gaps for the life of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

/// The number of a task (an output partition) within a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

impl BatchId {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
display_inner!(QueryId, RunId, RunEpoch, BatchId, TaskId);

/// Where new unique ids come from; tests pass a predictable one.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// A new unique id.
    fn new_uuid(&self) -> Uuid;
}

/// Random ids from the operating system. Made in `cli`, `server` and the facade's default session only.
#[derive(Debug, Default, Clone, Copy)]
pub struct RandomIds;

impl IdSource for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one real source of ids")]
    fn new_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}
