//! Lets the first rows of a stream pass, counted over all its batches.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::Result;
use millstream_state::store::StoreDescription;
use serde::{Deserialize, Serialize};

use super::StatefulOperator;
use super::tables::{MAIN_STORE, one_store, store_keys, store_schema};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered};

/// Lets the first rows pass. Its input has all rows in one partition, that of the state's only row.
pub type StreamLimitExec = OperatorExec<StreamLimit>;

/// What the operator is beside its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamLimit {
    /// Its stable id.
    pub operator: String,
    /// How many rows pass.
    pub n_rows: u64,
}

/// As Spark calls it in progress.
const IN_PROGRESS: &str = "globalLimit";

impl StatefulOperator for StreamLimitExec {
    fn operator_id(&self) -> &str {
        &self.operator.operator
    }

    fn kind(&self) -> &'static str {
        "limit"
    }

    fn uses_event_time(&self) -> bool {
        false
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let values = Fields::from(vec![Field::new("rows", DataType::Int64, false)]);
        Ok(one_store(store_schema(Fields::empty(), values)?))
    }
}

impl fmt::Display for StreamLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, rows={}", self.operator, self.n_rows)
    }
}

impl Operator for StreamLimit {
    const NAME: &'static str = "StreamLimitExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered(input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let rows = task.rows_of(input)?;
        let operator = self.operator.clone();
        let n_before = n_passed(&task, &operator)?;
        Ok(rows_of_run(Run { operator, n_rows: self.n_rows, n_passed: n_before, n_before, input: Some(rows), task }))
    }
}

fn n_passed(task: &OperatorTask, operator: &str) -> Result<u64> {
    let mut table = task.scope.state.table(operator, MAIN_STORE, task.partition)?;
    let slots: Vec<_> = table.lookup(&store_keys(Vec::new(), 1))?.into_iter().flatten().collect();
    let values = table.gather(&slots)?;
    let count = values.first().and_then(|rows| rows.as_primitive::<Int64Type>().iter().next().flatten());
    Ok(count.map_or(0, i64::unsigned_abs))
}

/// One partition in one batch.
struct Run {
    operator: String,
    n_rows: u64,
    n_passed: u64,
    n_before: u64,
    input: Option<SendableRecordBatchStream>,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(input) = &mut self.input else { return Ok(None) };
        // All input is read, also behind the last row that passes: its records are counted.
        let Some(batch) = input.next().await else {
            self.input = None;
            self.remember()?;
            return Ok(None);
        };
        let batch = batch.map_err(from_datafusion)?;
        let n = usize::try_from(self.n_rows.saturating_sub(self.n_passed)).unwrap_or(usize::MAX).min(batch.num_rows());
        self.n_passed += n as u64;
        Ok(Some(batch.slice(0, n)))
    }

    async fn abort(&mut self) {}
}

impl Run {
    fn remember(&self) -> Result<()> {
        let mut table = self.task.scope.state.table(&self.operator, MAIN_STORE, self.task.partition)?;
        let is_changed = self.n_passed != self.n_before;
        if is_changed {
            let count = Int64Array::from_value(i64::try_from(self.n_passed).unwrap_or(i64::MAX), 1);
            table.upsert(&store_keys(Vec::new(), 1), None, &[Arc::new(count)])?;
        }
        self.task.scope.report_state(StateOperatorReport {
            n_rows_total: table.n_rows() as u64,
            n_rows_updated: u64::from(is_changed),
            n_partitions: 1,
            n_stores: 1,
            ..StateOperatorReport::of(&self.operator, IN_PROGRESS)
        });
        Ok(())
    }
}
