//! Rows on which an expression fails are set aside (`rowErrors 'deadLetter'`).
//!
//! ```text
//!   RowGuardExec: depth=2        evaluates the two operators below it itself, chunk by chunk:
//!     ProjectionExec             all rows of the chunk pass ─► they go on
//!       FilterExec               one fails ─► each half by itself, ... down to the rows that fail: dead letters
//!         (input)                executed as ever
//! ```
//! The guarded operators are row-wise (`steps`), so a row's result does not depend on the rows beside it, and no row
//! goes on before its whole chunk has passed. Errors that are not a row's fault (storage, memory, defects) still stop the
//! query. `place` says where in a plan guards stand.

mod names;
mod place;
mod steps;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{Error, ErrorKind, RejectedRecord, Result};

pub(super) use names::column_names;
pub use place::guard_rows;
use steps::RowStep;
pub use steps::is_fallible;

use super::dead_letters::{DeadLetterWriter, DeadLetters};
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use super::row_record::RECORD;
use crate::batch::BatchScope;
use crate::error::from_datafusion;

/// Evaluates row-wise operators and sets aside the rows that fail. See the module's documentation.
///
/// Its input are the operators that it evaluates, so that a plan shows them and can be rewritten.
pub type RowGuardExec = OperatorExec<RowGuardOperator>;

/// What a [`RowGuardExec`] is, beside what it guards.
#[derive(Debug, Clone)]
pub struct RowGuardOperator {
    spec: RowGuardSpec,
    dead_letters: DeadLetters,
}

/// What a guard is, beside its input and its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGuardSpec {
    /// How many operators below it are guarded.
    pub depth: usize,
    /// The sources whose rows come here, divided by commas.
    pub sources: String,
    /// What those sources read.
    pub origin: String,
    /// What the columns of the guarded rows are called in a dead letter.
    pub columns: Vec<String>,
    /// Tells apart the guards of a plan that write to one table: from 1.
    pub writer_no: u32,
}

impl RowGuardExec {
    /// Guards the top `spec.depth` operators of `guarded`, which must be row-wise.
    pub fn try_new(guarded: Arc<dyn ExecutionPlan>, spec: RowGuardSpec, dead_letters: DeadLetters) -> Result<Self> {
        // Asked again in every task, for the operators may have been made anew; here it is early enough to refuse the plan.
        steps::steps_of(&guarded, spec.depth)?;
        Ok(Self::over(RowGuardOperator { spec, dead_letters }, [guarded]))
    }

    /// What it is.
    pub fn spec(&self) -> &RowGuardSpec {
        &self.operator.spec
    }

    /// Where bad rows go.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.operator.dead_letters
    }
}

impl fmt::Display for RowGuardOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "depth={}, dead_letters={}", self.spec.depth, self.dead_letters)
    }
}

impl Operator for RowGuardOperator {
    const NAME: &'static str = "RowGuardExec";

    fn properties(&self, [guarded]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::clone(guarded.properties())
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [guarded]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let (spec, dead_letters) = (self.spec.clone(), self.dead_letters.clone());
        let input = steps::below(guarded, spec.depth)?;
        Ok(rows_of_run(GuardRun {
            record_idx: input.schema().index_of(RECORD).ok(),
            input: task.rows_of(input)?,
            steps: steps::steps_of(guarded, spec.depth)?,
            letters: DeadLetterWriter::new(dead_letters, Arc::clone(&task.scope), spec.writer_no, task.partition)?,
            schema: task.schema,
            spec,
            scope: task.scope,
            n_set_aside: 0,
        }))
    }
}

/// One task's walk over the chunks of its input.
struct GuardRun {
    input: SendableRecordBatchStream,
    /// Where the input says what record a row was made of.
    record_idx: Option<usize>,
    steps: Vec<RowStep>,
    schema: SchemaRef,
    spec: RowGuardSpec,
    scope: Arc<BatchScope>,
    letters: DeadLetterWriter,
    n_set_aside: u64,
}

impl OperatorRun for GuardRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(chunk) = self.input.next().await {
            let Passed { rows, failed } = pass(&self.steps, chunk.map_err(from_datafusion)?)?;
            if !failed.is_empty() {
                self.n_set_aside += failed.len() as u64;
                let letters: Vec<_> = failed.iter().map(|(row, error)| self.dead_letter(row, error)).collect();
                let records = self.records_of(&failed)?;
                self.letters.write(&letters, &self.spec.sources, records.as_ref()).await?;
            }
            match rows.as_slice() {
                [] => {}
                [rows] => return Ok(Some(rows.clone())),
                pieces => return Ok(Some(concat_batches(&self.schema, pieces)?)),
            }
        }
        self.scope.count_failed_rows(self.n_set_aside);
        self.letters.finish().await?;
        Ok(None)
    }

    async fn abort(&mut self) {
        self.letters.abort().await;
    }
}

impl GuardRun {
    /// The records that rows were made of, if the input says it.
    fn records_of(&self, failed: &[(RecordBatch, Error)]) -> Result<Option<ArrayRef>> {
        let Some(idx) = self.record_idx else { return Ok(None) };
        let records = failed.iter().filter_map(|(row, _)| row.columns().get(idx)).map(|record| record as &dyn Array);
        Ok(Some(concat(&records.collect::<Vec<_>>())?))
    }

    fn dead_letter(&self, row: &RecordBatch, error: &Error) -> RejectedRecord {
        let class = error.error_class().map(|class| format!("[{class}] ")).unwrap_or_default();
        RejectedRecord::new(&row_as_json(row, &self.spec.columns), format!("{class}{}", error.message()), self.spec.origin.as_str(), None)
    }
}

/// What became of the rows of a chunk, in their order.
struct Passed {
    rows: Vec<RecordBatch>,
    failed: Vec<(RecordBatch, Error)>,
}

/// Evaluates the steps on a chunk, and on ever smaller parts of it where they fail.
fn pass(steps: &[RowStep], chunk: RecordBatch) -> Result<Passed> {
    let mut passed = Passed { rows: Vec::new(), failed: Vec::new() };
    let mut waiting = vec![chunk];
    while let Some(part) = waiting.pop() {
        let n_rows = part.num_rows();
        match steps::apply(steps, part.clone()) {
            Ok(rows) if rows.num_rows() == 0 => {}
            Ok(rows) => passed.rows.push(rows),
            Err(error) if n_rows == 0 || !is_fault_of_a_row(&error) => return Err(error),
            Err(error) if n_rows == 1 => passed.failed.push((part, error)),
            Err(_) => {
                let half = n_rows / 2;
                waiting.push(part.slice(half, n_rows - half));
                waiting.push(part.slice(0, half));
            }
        }
    }
    Ok(passed)
}

/// Data that an expression cannot take. A function that is refused, or lacks memory, fails on every row.
fn is_fault_of_a_row(error: &Error) -> bool {
    error.kind() == ErrorKind::Data
}

/// The row as a JSON object of the columns that the query uses: behind them may stand others (its record, its position).
pub(super) fn row_as_json(row: &RecordBatch, columns: &[String]) -> Vec<u8> {
    let schema = row.schema();
    let fields = schema.fields().iter().zip(columns).map(|(field, name)| field.as_ref().clone().with_name(name));
    let fields = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let values = row.columns().iter().take(columns.len()).cloned().collect();
    match RecordBatch::try_new(fields, values) {
        Ok(named) => rows_as_json(&named).pop().unwrap_or_default().into_bytes(),
        Err(error) => format!("{row:?} ({error})").into_bytes(),
    }
}

/// Each row as a JSON object of all columns.
pub(super) fn rows_as_json(rows: &RecordBatch) -> Vec<String> {
    let as_json = || {
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
        writer.write(rows).and_then(|()| writer.finish())?;
        drop(writer);
        // A line end within a string is escaped.
        Ok::<Vec<String>, ArrowError>(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    };
    // A type without a JSON form: better told so than lost.
    let untold = |error: ArrowError| (0..rows.num_rows()).map(|row| format!("{:?} ({error})", rows.slice(row, 1))).collect();
    as_json().unwrap_or_else(untold)
}
