//! Aggregation by sessions: rows of equal keys that come close after one another are one group.
//!
//! A row by itself is a session from its time to the end of its gap; sessions that overlap or touch are one, from the
//! earliest start to the latest end. So a group can grow, and one row can make one of two. The state has any number of
//! sessions for each combination of the other keys:
//!
//! ```text
//!   SessionAggregateExec    joins a batch's pieces with the sessions of the state; gives sessions by the output mode
//!     KeyExchangeExec       by the other keys
//!       AggregateExec       DataFusion's, partial, by other keys, start and end
//!         LateRowsExec      each row is judged by its own session, whichever it would become part of
//! ```
//! Over changes [`SessionChangesExec`] finds the sessions, and an aggregation of changes stands above it.
//!
//! A session in the state touches no other one of its key, so only rows of a batch can join two.

mod changes;
mod columns;
mod exec;
mod merge;
mod pieces;
mod plan;

pub use changes::{SessionChangesExec, SessionChangesSpec};
pub use exec::{SessionAggregateExec, SessionSpec};
pub use plan::session_group_by;
