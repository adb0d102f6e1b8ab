//! Rows that become many are taken few at a time: a row of windows that overlap is unnested into one for each of them, and DataFusion
//! unnests a chunk of rows as a whole.
//!
//! ```text
//!   Unnest                     a chunk of rows, times the windows of each
//!     Projection windows_of    lists of windows
//!       SmallChunksExec        so few rows that these make about one chunk
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream};
use millstream_analyzer::lists_windows;
use millstream_core::{Result, TimeWindows};

use super::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};
use crate::error::from_datafusion;

/// Gives its input's rows in small chunks. See the module's documentation.
pub type SmallChunksExec = OperatorExec<SmallChunks>;

/// What a [`SmallChunksExec`] is, beside its input.
#[derive(Debug, Clone, Copy)]
pub struct SmallChunks {
    rows_max: usize,
}

impl SmallChunksExec {
    /// Chunks of so many rows at most.
    pub fn new(input: Arc<dyn ExecutionPlan>, rows_max: usize) -> Self {
        Self::over(SmallChunks { rows_max: rows_max.max(1) }, [input])
    }

    /// How many rows a chunk has at most.
    pub fn rows_max(&self) -> usize {
        self.operator.rows_max
    }
}

impl fmt::Display for SmallChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows={}", self.rows_max)
    }
}

impl Operator for SmallChunks {
    const NAME: &'static str = "SmallChunksExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let rows_max = self.rows_max;
        let small = move |chunk: DfResult<RecordBatch>| {
            let pieces: Vec<DfResult<RecordBatch>> = match chunk {
                Ok(chunk) => {
                    let starts = (0..chunk.num_rows()).step_by(rows_max);
                    starts.map(|start| Ok(chunk.slice(start, rows_max.min(chunk.num_rows() - start)))).collect()
                }
                Err(error) => vec![Err(error)],
            };
            stream::iter(pieces)
        };
        Ok(task.rows_of(input)?.flat_map(small).boxed())
    }
}

/// The plan with a [`SmallChunksExec`] below each projection that makes lists of windows, for chunks of `chunk_rows` rows above.
pub(super) fn chunks_small_below_windows(plan: Arc<dyn ExecutionPlan>, chunk_rows: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let small = plan.transform_up(|node| {
        let Some(projection) = node.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(node)) };
        let overlap = projection.expr().iter().map(|column| overlap_in(&column.expr)).max().unwrap_or(1);
        // A few windows are not worth the pieces.
        if overlap < OVERLAP_MIN {
            return Ok(Transformed::no(node));
        }
        let rows_max = chunk_rows.saturating_mul(OVERLAP_MIN) / overlap;
        let input = Arc::new(SmallChunksExec::new(Arc::clone(projection.input()), rows_max));
        Ok(Transformed::yes(replace_children_if_necessary(Arc::clone(&node), vec![input])?))
    });
    small.map(|small| small.data).map_err(from_datafusion)
}

/// Where a row has fewer windows, chunks stay as they are; where it has more, a chunk becomes as many rows as it would with these.
const OVERLAP_MIN: usize = 16;

/// The most windows that hold a time, of the lists of windows that an expression makes.
fn overlap_in(expr: &Arc<dyn PhysicalExpr>) -> usize {
    let mut most = 1;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|node| {
        if let Some(call) = node.downcast_ref::<ScalarFunctionExpr>().filter(|call| lists_windows(call.fun())) {
            let micros = |idx: usize| match call.args().get(idx)?.downcast_ref::<Literal>()?.value() {
                ScalarValue::Int64(micros) => *micros,
                _ => None,
            };
            if let (Some(length), Some(slide), Some(offset)) = (micros(1), micros(2), micros(3))
                && let Some(windows) = TimeWindows::new(length, slide, offset)
            {
                most = most.max(usize::try_from(windows.overlap()).unwrap_or(usize::MAX));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    most
}

#[cfg(test)]
mod tests;
