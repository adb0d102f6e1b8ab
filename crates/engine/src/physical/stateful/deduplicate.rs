//! Lets the first row of each key pass and remembers the key.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Fields, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::Kept;
use millstream_core::{Error, Result};
use millstream_state::store::StoreDescription;
use serde::{Deserialize, Serialize};

use super::StatefulOperator;
use super::tables::{MAIN_STORE, one_store, store_keys, store_schema};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::{event_times_us, expiry_ms};
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered};

/// Lets the first row of each key pass. See the module's documentation.
pub type DeduplicateExec = OperatorExec<Deduplicate>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct Deduplicate(DeduplicateSpec);

/// What makes a deduplication again over its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeduplicateSpec {
    /// Its stable id.
    pub operator: String,
    /// The columns in which rows are equal.
    pub keys: Vec<String>,
    /// The column by whose event time keys expire; without one they are kept for ever.
    pub expires_by: Option<String>,
    /// How long a key is kept.
    pub kept: Kept,
}

impl DeduplicateExec {
    /// Over `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: DeduplicateSpec) -> Self {
        Self::over(Deduplicate(spec), [input])
    }

    /// What makes it again.
    pub fn spec(&self) -> &DeduplicateSpec {
        &self.operator.0
    }
}

impl StatefulOperator for DeduplicateExec {
    fn operator_id(&self) -> &str {
        &self.spec().operator
    }

    fn kind(&self) -> &'static str {
        match self.spec().kept {
            Kept::WithKey => "deduplicate",
            Kept::WithinWatermark { .. } => "deduplicate_within_watermark",
        }
    }

    fn uses_event_time(&self) -> bool {
        true
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let schema = self.schema();
        let keys = columns_of(&schema, &self.spec().keys)?;
        let fields: Fields = keys.iter().filter_map(|idx| schema.fields().get(*idx).cloned()).collect();
        Ok(one_store(store_schema(fields, Fields::empty())?))
    }
}

impl DeduplicateSpec {
    /// As Spark calls it in progress.
    pub(super) fn name_in_progress(&self) -> &'static str {
        match self.kept {
            Kept::WithKey => "dedupe",
            Kept::WithinWatermark { .. } => "dedupeWithinWatermark",
        }
    }

    /// When keys are forgotten whose first rows have these event times.
    pub(super) fn expiry_ms(&self, times_us: &Int64Array) -> Int64Array {
        match self.kept {
            Kept::WithKey => expiry_ms(times_us, 0),
            // Spark's rows without a time are forgotten as those of the epoch.
            Kept::WithinWatermark { delay_us } => expiry_ms(&times_us.iter().map(|us| Some(us.unwrap_or(0))).collect(), delay_us),
        }
    }
}

impl fmt::Display for Deduplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, keys=[{}], kept={:?}", self.0.operator, self.0.keys.join(", "), self.0.kept)
    }
}

impl Operator for Deduplicate {
    const NAME: &'static str = "DeduplicateExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered(input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let schema = input.schema();
        Ok(rows_of_run(Run {
            keys: columns_of(&schema, &self.0.keys)?,
            expires_by: self.0.expires_by.as_ref().map(|column| schema.index_of(column)).transpose()?,
            spec: self.0.clone(),
            input: Some(task.rows_of(input)?),
            report: StateOperatorReport {
                n_partitions: 1,
                n_stores: 1,
                ..StateOperatorReport::of(&self.0.operator, self.0.name_in_progress())
            },
            task,
        }))
    }
}

fn columns_of(schema: &SchemaRef, names: &[String]) -> Result<Vec<usize>> {
    Ok(names.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?)
}

/// One partition in one batch.
struct Run {
    keys: Vec<usize>,
    expires_by: Option<usize>,
    spec: DeduplicateSpec,
    input: Option<SendableRecordBatchStream>,
    report: StateOperatorReport,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(input) = &mut self.input else { return Ok(None) };
        match input.next().await {
            Some(batch) => Ok(Some(self.first_rows(&batch.map_err(from_datafusion)?)?)),
            None => {
                self.input = None;
                self.forget()?;
                Ok(None)
            }
        }
    }

    async fn abort(&mut self) {}
}

impl Run {
    fn first_rows(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let column = |idx: &usize| batch.columns().get(*idx).cloned().ok_or_else(|| Error::internal("rows without a key column"));
        let keys: Vec<ArrayRef> = self.keys.iter().map(column).collect::<Result<Vec<_>>>()?;
        let expiry = match &self.expires_by {
            Some(idx) => Some(self.spec.expiry_ms(&event_times_us(&column(idx)?)?)),
            None => None,
        };
        let began = self.task.scope.clock.monotonic();
        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        let is_first = table.insert_new(&store_keys(keys, batch.num_rows()), expiry.as_ref(), &[])?;
        self.report.n_rows_updated += is_first.true_count() as u64;
        self.report.updates_ms += self.task.scope.millis_since(began);
        Ok(filter_record_batch(batch, &is_first)?)
    }

    /// Forgets expired keys, and reports.
    fn forget(&mut self) -> Result<()> {
        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        if self.expires_by.is_some() {
            let began = self.task.scope.clock.monotonic();
            self.report.n_rows_removed = table.discard_expired(self.task.watermarks.current_ms)? as u64;
            self.report.removals_ms = self.task.scope.millis_since(began);
        }
        self.report.n_rows_total = table.n_rows() as u64;
        drop(table);
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(())
    }
}
