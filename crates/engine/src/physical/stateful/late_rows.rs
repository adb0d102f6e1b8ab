//! Drops rows that come too late for a stateful operator, and counts them for it.
//!
//! A row is late when its event time is at or before the watermark that was in force in the previous batch; a row in a
//! window when the window's end is (Spark's rule). The test stands below the operator's pre-aggregation, so that rows are
//! counted and not groups.

use std::fmt;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::StreamExt;
use millstream_core::{Error, Result};

use crate::error::to_datafusion;
use crate::physical::event_time::event_times_us;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};

/// Drops and counts late rows. See the module's documentation.
pub type LateRowsExec = OperatorExec<LateRows>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct LateRows {
    operator: String,
    event_time: String,
}

impl LateRowsExec {
    /// Tests the column `event_time` for the stateful operator of that name.
    pub fn new(input: Arc<dyn ExecutionPlan>, operator: impl Into<String>, event_time: impl Into<String>) -> Self {
        Self::over(LateRows { operator: operator.into(), event_time: event_time.into() }, [input])
    }

    /// For whom, and by which column.
    pub fn parts(&self) -> (&str, &str) {
        (&self.operator.operator, &self.operator.event_time)
    }
}

impl fmt::Display for LateRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.operator, self.event_time)
    }
}

impl Operator for LateRows {
    const NAME: &'static str = "LateRowsExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let column = input.schema().index_of(&self.event_time)?;
        let late_us = task.scope.facts.watermarks.late_us();
        let operator = self.operator.clone();
        let rows = task.rows_of(input)?.map(move |batch| {
            let batch = batch?;
            let times = batch.columns().get(column).ok_or_else(|| to_datafusion(Error::internal("rows without their event time")))?;
            let times = event_times_us(times).map_err(to_datafusion)?;
            let in_time: BooleanArray = times.iter().map(|us| Some(us.is_none_or(|us| us > late_us))).collect();
            let n_late = in_time.false_count();
            if n_late == 0 {
                return Ok(batch);
            }
            task.scope.count_late_rows(&operator, n_late as u64);
            Ok(filter_record_batch(&batch, &in_time)?)
        });
        Ok(rows.boxed())
    }
}
