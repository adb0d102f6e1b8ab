//! Stateful operators on streams: logical nodes that remember, and what an output mode makes of them.
//!
//! The resolver puts a node here where a streaming query aggregates, removes duplicates, joins streams or limits; over finished data
//! the same query gets DataFusion's own. The mode is known only when the query starts: [`for_output_mode`] refuses
//! what the mode does not allow, names the operators and fits the nodes to it. What state a node keeps and how is the
//! engine's business.

mod aggregate;
mod carried;
mod changes;
mod column_origins;
mod cuts;
mod deduplicate;
mod group_state;
mod groups_with_state;
mod join;
mod late_row;
mod limit;
mod output_mode;
mod sink_changes;
mod state_function;
mod state_function_rules;
mod time_window;

pub use aggregate::StatefulAggregateNode;
pub use changes::{CHANGE, Gives, INSERT, RETRACT, change_column, change_field};
pub use column_origins::ColumnOrigins;
pub use cuts::hangs_on_cuts;
pub use deduplicate::{DeduplicateNode, Kept};
pub use group_state::{GroupOutcome, GroupState, GroupStateTimeout, GroupTimes};
pub use groups_with_state::{GroupedRows, GroupsWithStateNode, NamedColumn};
pub use join::{Bound, JoinKey, JoinSideNode, SideFacts, StreamJoinNode};
pub use late_row::LATE_ROW;
pub use limit::StreamLimitNode;
pub(crate) use output_mode::node_of;
pub use output_mode::{OutputRequest, Updates, for_output_mode, updates};
pub use sink_changes::{CHANGE_TYPE, Shown, SinkChangesNode};
pub use state_function::{GroupFunction, GroupRows, StateFunction};
pub use time_window::TimeWindowKey;
pub(crate) use time_window::WholeWindows;
