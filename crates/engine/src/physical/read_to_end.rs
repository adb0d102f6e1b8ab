//! What comes from a stream is read to its end, also where the operator above needs no more of it.
//!
//! DataFusion's joins do not look at one side when the other is empty, and limits stop when they have enough. A micro-batch reads its rows
//! once and for all: an operator with state that is left alone would never see them, a watermark would miss their times, and bad records
//! would be gone without a dead letter. So below such operators stands a [`ReadToEndExec`]: rows of its input that nobody
//! asked for wait in the batch's scope, and the runner reads them when all tasks have ended.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use millstream_core::Result;

use super::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};
use super::source_exec::source_execs;
use crate::batch::BatchScope;
use crate::error::from_datafusion;

/// Gives its input's rows. See the module's documentation.
pub type ReadToEndExec = OperatorExec<ReadToEndOperator>;

/// What a [`ReadToEndExec`] is, beside its input.
#[derive(Debug, Clone, Copy)]
pub struct ReadToEndOperator;

impl ReadToEndExec {
    /// Over rows of a stream.
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self::over(ReadToEndOperator, [input])
    }
}

impl fmt::Display for ReadToEndOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows of a stream")
    }
}

impl Operator for ReadToEndOperator {
    const NAME: &'static str = "ReadToEndExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        Ok(Box::pin(WantedRows { rows: Some(task.rows_of(input)?), scope: task.scope }))
    }
}

/// Rows that go back to the batch if they are dropped before their end.
struct WantedRows {
    /// Until their end, or until they failed.
    rows: Option<SendableRecordBatchStream>,
    scope: Arc<BatchScope>,
}

impl Stream for WantedRows {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        let next = ready!(rows.poll_next_unpin(cx));
        if !matches!(next, Some(Ok(_))) {
            self.rows = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for WantedRows {
    fn drop(&mut self) {
        if let Some(rows) = self.rows.take() {
            self.scope.leave_unread(rows);
        }
    }
}

/// The plan with a [`ReadToEndExec`] above each stream whose reader may stop early.
pub fn read_streams_to_their_end(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let read = plan.transform_up(|node| {
        if !may_stop_early(&node) {
            return Ok(Transformed::no(node));
        }
        let whole = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            if is_of_stream(input) { Arc::new(ReadToEndExec::new(Arc::clone(input))) } else { Arc::clone(input) }
        };
        let inputs = node.children().into_iter().map(whole).collect();
        Ok(Transformed::yes(replace_children_if_necessary(node, inputs)?))
    });
    read.map(|read| read.data).map_err(from_datafusion)
}

fn may_stop_early(node: &Arc<dyn ExecutionPlan>) -> bool {
    let is_join =
        node.is::<HashJoinExec>() || node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>() || node.is::<SortMergeJoinExec>();
    is_join || node.fetch().is_some()
}

fn is_of_stream(input: &Arc<dyn ExecutionPlan>) -> bool {
    source_execs(input).iter().any(|source| source.is_streaming())
}

#[cfg(test)]
mod tests;
