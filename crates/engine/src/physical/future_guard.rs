//! Sets aside rows whose event time is further ahead of the batch's clock than its source may be (`maxFutureSkew`).
//!
//! One clock that runs wild would move the watermark so far that everything else is late, so the guard stands below the
//! watermark node, which then does not see such rows. They go to the dead-letter table of their source if it has one,
//! whole and with the place that they came from, and are counted either way. A row is judged by the batch's clock, so a batch that is run again judges alike.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{ConnectorRegistry, RejectedRecord, Result};
use serde::{Deserialize, Serialize};

use super::carry::{Carried, carry, without_last_column};
use super::dead_letters::{DeadLetterWriter, DeadLetters};
use super::event_time::event_times_us;
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use super::row_guard::row_as_json;
use super::row_position::POSITION;
use super::row_record::RECORD;
use crate::batch::BatchScope;
use crate::error::{from_datafusion, to_datafusion};
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
        self.dead_letters.iter().try_for_each(|target| write!(f, ", dead_letters={target}"))
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
            position_idx: input.schema().index_of(POSITION).ok(),
            record_idx: input.schema().index_of(RECORD).ok(),
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
    /// The last column, if it is there.
    position_idx: Option<usize>,
    /// Behind the columns of the row.
    record_idx: Option<usize>,
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

/// The same plan, in which guards that have a table are told where rows stood in their source, where that is known.
pub fn keep_positions_of_future_rows(plan: Arc<dyn ExecutionPlan>, registry: &ConnectorRegistry) -> Result<Arc<dyn ExecutionPlan>> {
    let kept = plan.transform_up(|node| {
        let guard = node.downcast_ref::<FutureGuardExec>().filter(|guard| guard.dead_letters().is_some());
        let Some(FutureGuardExec { operator, inputs: [input], .. }) = guard else { return Ok(Transformed::no(node)) };
        // Who asks for late rows may have asked already.
        if input.schema().index_of(POSITION).is_ok() {
            return Ok(Transformed::no(node));
        }
        let Some(carried) = carry(Carried::Position, input, registry).map_err(to_datafusion)? else { return Ok(Transformed::no(node)) };
        let guard = FutureGuardExec::new(carried, operator.spec.clone(), operator.dead_letters.clone());
        Ok(Transformed::yes(without_last_column(Arc::new(guard)).map_err(to_datafusion)?))
    });
    kept.map(|kept| kept.data).map_err(from_datafusion)
}

/// Where rows stood, if they say so.
struct Places(Option<ArrayRef>);

impl Places {
    fn of(positions: Option<ArrayRef>) -> Self {
        Self(positions)
    }

    /// File, offset, number in the block. A row that is its source's block by itself has no number.
    fn of_row(&self, row: usize) -> (Option<&str>, Option<i64>, Option<i64>) {
        let Some(places) = self.0.as_ref().and_then(|places| places.as_struct_opt()) else { return (None, None, None) };
        let number = |name: &str| {
            let numbers = places.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
            numbers.is_valid(row).then(|| numbers.value(row))
        };
        let files = places.column_by_name("file").and_then(|files| files.as_string_opt::<i32>());
        let file = files.filter(|files| files.is_valid(row)).map(|files| files.value(row));
        let record = number("record").filter(|record| file.is_some() || *record > 0);
        (file, number("offset"), record)
    }
}

impl GuardRun {
    async fn set_aside(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(letters) = &mut self.letters else { return Ok(()) };
        let times = event_times_us(rows.column(self.event_time_idx))?;
        let mut rows = rows.clone();
        let places = Places::of(self.position_idx.map(|idx| rows.remove_column(idx)));
        let records = self.record_idx.map(|idx| rows.remove_column(idx));
        let clock = event_timestamp(self.scope.facts.clock_us.div_euclid(1000));
        let letters_of_rows: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(row, time)| {
                let time = event_timestamp(time.unwrap_or_default().div_euclid(1000));
                let error = format!("event time {time} is more than {} ms ahead of the clock, {clock}", self.spec.max_skew_us / 1000);
                let (origin, position, record) = places.of_row(row);
                let error = record
                    .map_or(error.clone(), |record| format!("{error} (row {record} of the block at {})", position.unwrap_or_default()));
                let raw = row_as_json(&rows.slice(row, 1), &self.spec.columns);
                RejectedRecord::new(&raw, error, origin.unwrap_or(self.spec.origin.as_str()), position)
            })
            .collect();
        letters.write(&letters_of_rows, &self.spec.sources, records.as_ref()).await
    }
}
