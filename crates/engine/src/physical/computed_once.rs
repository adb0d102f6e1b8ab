//! Where a projection's costly calls are, while a plan is optimised: filters stay above, so that none makes the calls again.
//! (See the analyzer's `computed_once`.) No plan that runs has it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::Result;

use super::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};
use crate::error::from_datafusion;

/// Gives its input's rows. See the module's documentation.
pub type ComputedOnceExec = OperatorExec<ComputedOnce>;

/// What a [`ComputedOnceExec`] is, beside its input.
#[derive(Debug, Clone, Copy)]
pub struct ComputedOnce;

impl fmt::Display for ComputedOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("costly calls below")
    }
}

impl Operator for ComputedOnce {
    const NAME: &'static str = "ComputedOnceExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        Ok(task.rows_of(input)?.boxed())
    }
}

/// The plan without them.
pub(super) fn without_marks(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let without = plan.transform_up(|node| match node.downcast_ref::<ComputedOnceExec>() {
        Some(ComputedOnceExec { inputs: [input], .. }) => Ok(Transformed::yes(Arc::clone(input))),
        None => Ok(Transformed::no(node)),
    });
    without.map(|without| without.data).map_err(from_datafusion)
}
