//! Sets aside rows whose event time is further ahead of the batch's clock than its source may be (`maxFutureSkew`).
//!
//! One clock that runs wild would move the watermark so far that everything else is late, so the guard stands below the
//! watermark node, which then does not see such rows. They go to the dead-letter table of their source if it has one,
//! and are counted either way. A row is judged by the batch's clock, so a batch that is run again judges alike.

use std::fmt;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, not};
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{RejectedRecord, Result};
use serde::{Deserialize, Serialize};

use super::dead_letters::{DeadLetterWriter, DeadLetters};
use super::event_time::event_times_us;
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use super::row_guard::row_as_json;
use crate::batch::BatchScope;
use crate::error::from_datafusion;
use crate::stream::progress::event_timestamp;

/// Sets aside rows from the future. See the module's documentation.
pub type FutureGuardExec = OperatorExec<FutureGuard>;

/// What a [`FutureGuardExec`] is, beside its input.
#[derive(Debug, Clone)]
pub struct FutureGuard {
    spec: FutureGuardSpec,
    dead_letters: Option<DeadLetters>,
}

/// What it is, beside its input and its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FutureGuardSpec {
    /// The event time's column of the input.
    pub event_time: String,
    /// How far ahead of the batch's clock it may be.
    pub max_skew_us: i64,
    /// The streams whose rows come here, divided by commas.
    pub sources: String,
    /// What they read.
    pub origin: String,
    /// What the columns of the rows are called in a dead letter.
    pub columns: Vec<String>,
    /// Tells apart the operators of a plan that write to one table.
    pub writer_no: u32,
}

impl FutureGuardExec {
    /// Guards the rows of `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: FutureGuardSpec, dead_letters: Option<DeadLetters>) -> Self {
        Self::over(FutureGuard { spec, dead_letters }, [input])
    }

    /// What it is.
    pub fn spec(&self) -> &FutureGuardSpec {
        &self.operator.spec
    }

    /// Where rows from the future go.
    pub fn dead_letters(&self) -> Option<&DeadLetters> {
        self.operator.dead_letters.as_ref()
    }
}

impl fmt::Display for FutureGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, max_skew={} ms", self.spec.sources, self.spec.max_skew_us / 1000)?;
        self.dead_letters.iter().try_for_each(|target| write!(f, ", dead_letters={}", target.sink))
    }
}

impl Operator for FutureGuard {
    const NAME: &'static str = "FutureGuardExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let letters = self.dead_letters.clone();
        let letters = letters.map(|target| DeadLetterWriter::new(target, Arc::clone(&task.scope), self.spec.writer_no, task.partition));
        Ok(rows_of_run(GuardRun {
            event_time_idx: input.schema().index_of(&self.spec.event_time)?,
            latest_us: task.scope.facts.clock_us.saturating_add(self.spec.max_skew_us),
            input: task.rows_of(input)?,
            letters: letters.transpose()?,
            spec: self.spec.clone(),
            scope: task.scope,
        }))
    }
}

/// One task's rows on their way.
struct GuardRun {
    input: SendableRecordBatchStream,
    event_time_idx: usize,
    /// The last event time that may pass.
    latest_us: i64,
    letters: Option<DeadLetterWriter>,
    spec: FutureGuardSpec,
    scope: Arc<BatchScope>,
}

impl OperatorRun for GuardRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(chunk) = self.input.next().await.transpose().map_err(from_datafusion)? {
            let times = event_times_us(chunk.column(self.event_time_idx))?;
            let passes: BooleanArray = times.iter().map(|time| Some(time.is_none_or(|event_us| event_us <= self.latest_us))).collect();
            let n_ahead = passes.false_count();
            if n_ahead == 0 {
                return Ok(Some(chunk));
            }
            self.scope.count_future_rows(n_ahead as u64);
            let ahead = not(&passes)?;
            self.set_aside(&filter_record_batch(&chunk, &ahead)?).await?;
            let rows = filter_record_batch(&chunk, &passes)?;
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
        if let Some(letters) = &mut self.letters {
            letters.finish().await?;
        }
        Ok(None)
    }

    async fn abort(&mut self) {
        if let Some(letters) = &mut self.letters {
            letters.abort().await;
        }
    }
}

impl GuardRun {
    async fn set_aside(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(letters) = &mut self.letters else { return Ok(()) };
        let times = event_times_us(rows.column(self.event_time_idx))?;
        let clock = event_timestamp(self.scope.facts.clock_us.div_euclid(1000));
        let records: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(row, time)| {
                let time = event_timestamp(time.unwrap_or_default().div_euclid(1000));
                let error = format!("event time {time} is more than {} ms ahead of the clock, {clock}", self.spec.max_skew_us / 1000);
                RejectedRecord::new(&row_as_json(&rows.slice(row, 1), &self.spec.columns), error, self.spec.origin.as_str(), None)
            })
            .collect();
        letters.write(&records, &self.spec.sources).await
    }
}
