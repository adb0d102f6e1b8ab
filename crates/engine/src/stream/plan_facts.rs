//! What a query's plan says of itself and every trigger asks: found once, when the query starts. A query that has nothing to
//! do asks at each of its looks, and a process may have hundreds of those.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use millstream_core::Result;
use millstream_state::store::StoreId;

use crate::physical::stateful::{stateful_operators, stores_by_clock};
use crate::physical::watermark::watermark_execs;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PlanFacts {
    /// The ids of the stateful operators, from the plan's root down.
    pub(super) stateful_operators: Vec<String>,
    /// The names of the watermark nodes, in the plan's order.
    pub(super) watermark_nodes: Vec<String>,
    /// Whether a batch without data is worth running when the watermark has moved.
    pub(super) uses_event_time: bool,
    /// The stores whose rows expire by the clock.
    pub(super) stores_by_clock: Vec<StoreId>,
}

impl PlanFacts {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let operators = stateful_operators(plan);
        Ok(Self {
            stateful_operators: operators.iter().map(|operator| operator.operator_id().to_owned()).collect(),
            watermark_nodes: watermark_execs(plan).iter().map(|node| node.spec().name.clone()).collect(),
            uses_event_time: operators.iter().any(|operator| operator.uses_event_time()),
            stores_by_clock: stores_by_clock(plan)?,
        })
    }
}
