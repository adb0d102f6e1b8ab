//! Sees the event times that pass and reports them: the loop makes the next batch's watermark of them.
//!
//! Rows go on as they came. A node stands where the query says `withWatermark`; its name in the checkpoint is made of the
//! column's written name and of the sources below it ([`name_watermarks`]), so that an edit elsewhere does not change it.

mod names;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{Error, Result};

pub use names::name_watermarks;

use super::event_time::{carries_event_times, event_times_us};
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use super::source_exec::source_execs;
use crate::batch::{BatchScope, EventTimeStats};
use crate::error::from_datafusion;

/// Reports the event times of its input. See the module's documentation.
pub type EventTimeWatermarkExec = OperatorExec<WatermarkOperator>;

/// What an [`EventTimeWatermarkExec`] is, beside its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkOperator {
    /// What the checkpoint calls the node; unique in its plan.
    pub name: String,
    /// The event time's column of the input: a timestamp, or a window, whose end counts.
    pub column: String,
    /// How late rows may be.
    pub delay_us: i64,
}

impl EventTimeWatermarkExec {
    /// Reports the event times of `input`.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, operator: WatermarkOperator) -> Result<Self> {
        // Refused here and not in the first batch.
        let schema = input.schema();
        let field = schema.field_with_name(&operator.column)?;
        if !carries_event_times(field.data_type()) {
            return Err(Error::internal(format!("the event time '{}' is of type {}", operator.name, field.data_type())));
        }
        Ok(Self::over(operator, [input]))
    }

    /// What it is.
    pub fn spec(&self) -> &WatermarkOperator {
        &self.operator
    }

    /// The names of the streams whose rows come here.
    pub fn sources(&self) -> Vec<&str> {
        let [input] = &self.inputs;
        source_execs(input).into_iter().filter(|source| source.is_streaming()).map(|source| source.source_name()).collect()
    }
}

/// All watermark nodes of a plan, from its root down.
pub fn watermark_execs(plan: &Arc<dyn ExecutionPlan>) -> Vec<&EventTimeWatermarkExec> {
    let mut found = Vec::new();
    let mut walk = vec![plan];
    while let Some(node) = walk.pop() {
        found.extend(node.downcast_ref::<EventTimeWatermarkExec>());
        walk.extend(node.children().into_iter().rev());
    }
    found
}

impl fmt::Display for WatermarkOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, delay={} ms", self.name, self.delay_us / 1000)
    }
}

impl Operator for WatermarkOperator {
    const NAME: &'static str = "EventTimeWatermarkExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let column_idx = input.schema().index_of(&self.column)?;
        let rows = task.rows_of(input)?;
        Ok(rows_of_run(WatermarkRun { rows, node: self.name.clone(), column_idx, seen: None, scope: task.scope }))
    }
}

/// One task's rows on their way.
struct WatermarkRun {
    rows: SendableRecordBatchStream,
    node: String,
    column_idx: usize,
    seen: Option<EventTimeStats>,
    scope: Arc<BatchScope>,
}

impl OperatorRun for WatermarkRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(chunk) = self.rows.next().await.transpose().map_err(from_datafusion)? else {
            if let Some(seen) = self.seen.take() {
                self.scope.saw_event_times(&self.node, seen);
            }
            return Ok(None);
        };
        let of_chunk = event_time_stats(chunk.column(self.column_idx))?;
        match (&mut self.seen, of_chunk) {
            (Some(seen), Some(more)) => seen.add(more),
            (seen, more) => *seen = seen.take().or(more),
        }
        Ok(Some(chunk))
    }

    async fn abort(&mut self) {}
}

/// The event times of a column, in milliseconds rounded down; `None` if no row has one.
fn event_time_stats(column: &ArrayRef) -> Result<Option<EventTimeStats>> {
    let times = event_times_us(column)?;
    let mut seen: Option<EventTimeStats> = None;
    let mut take = |event_us: i64| {
        let of_row = EventTimeStats::of(event_us.div_euclid(1000));
        match &mut seen {
            Some(seen) => seen.add(of_row),
            none => *none = Some(of_row),
        }
    };
    match times.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => times.values().iter().for_each(|event_us| take(*event_us)),
        Some(nulls) => nulls.valid_indices().for_each(|row| take(times.value(row))),
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
