//! Drops rows that come too late for a stateful operator, and counts them for it; on request they go to a table
//! (`lateRowsPath`).
//!
//! A row is late when its event time is at or before the watermark that was in force in the previous batch; a row in a
//! window when the window's end is (Spark's rule). The test stands below the operator's pre-aggregation, so that rows are
//! counted and not groups. A row of overlapping windows is late when the latest of them is. Where such a row comes here once
//! for each of its windows, all of them are tested, but as a late row it counts once. One that is late for some of its windows
//! only is no late row; the table has it if it is asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{and, and_not, filter, filter_record_batch, not};
use arrow::datatypes::Int64Type;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::LATE_ROW;
use millstream_core::{ConnectorRegistry, Error, Result, TimeWindows};

use super::window_key::{earliest_ends_us, latest_ends_us};
use crate::batch::BatchScope;
use crate::error::from_datafusion;
use crate::physical::SideTable;
use crate::physical::carry::{Carried, carry, without_last_column};
use crate::physical::event_time::event_times_us;
use crate::physical::late_table::{KeptLateRows, LateRowsWriter, LateTable, Missed};
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, in_input_order, rows_of_run};
use crate::physical::row_position::POSITION;
use crate::physical::row_record::RECORD;

/// Drops and counts late rows. See the module's documentation.
pub type LateRowsExec = OperatorExec<LateRows>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct LateRows {
    operator: String,
    event_time: String,
    once_per_row: Option<String>,
    /// The operator hears of event times that are so far behind its watermark, though not in this input.
    lag_ms: i64,
    /// The column is the start of a slice of these windows.
    windows: Option<TimeWindows>,
    table: Option<LateTable>,
}

impl LateRowsExec {
    /// Tests the column `event_time` for the stateful operator of that name. With `once_per_row`, a boolean column, only rows
    /// where it is true count as late rows.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        operator: impl Into<String>,
        event_time: impl Into<String>,
        once_per_row: Option<String>,
    ) -> Self {
        let (operator, event_time) = (operator.into(), event_time.into());
        Self::over(LateRows { operator, event_time, once_per_row, lag_ms: 0, windows: None, table: None }, [input])
    }

    /// The same, with what the operator's other input allows.
    #[must_use]
    pub fn allowing(mut self, lag_ms: i64) -> Self {
        self.operator.lag_ms = lag_ms;
        self
    }

    /// The same by the windows of slices: the column is the start of a slice, and a row is late when all windows that hold it are.
    #[must_use]
    pub fn by_slice(mut self, windows: TimeWindows) -> Self {
        self.operator.windows = Some(windows);
        self
    }

    /// The same over another input, whose late rows go to a table.
    #[must_use]
    pub fn with_table(&self, input: Arc<dyn ExecutionPlan>, table: Option<LateTable>) -> Self {
        Self::over(LateRows { table, ..self.operator.clone() }, [input])
    }

    /// For whom, by which column, which column says what counts, how far behind is still in time, and the windows of which the
    /// column has slices.
    pub fn parts(&self) -> (&str, &str, Option<&str>, i64, Option<TimeWindows>) {
        let LateRows { operator, event_time, once_per_row, lag_ms, windows, table: _ } = &self.operator;
        (operator, event_time, once_per_row.as_deref(), *lag_ms, *windows)
    }

    /// Where late rows go.
    pub fn table(&self) -> Option<&LateTable> {
        self.operator.table.as_ref()
    }
}

/// The same plan, whose late rows go to a table of the query, with their positions where they have one.
pub fn keep_late_rows(
    plan: &Arc<dyn ExecutionPlan>,
    table: &SideTable,
    kept: KeptLateRows,
    registry: &ConnectorRegistry,
) -> Result<Arc<dyn ExecutionPlan>> {
    keep(plan, &KeptIn { table, kept, registry }, &mut 0)
}

/// Where late rows go, and which.
struct KeptIn<'a> {
    table: &'a SideTable,
    kept: KeptLateRows,
    registry: &'a ConnectorRegistry,
}

fn keep(plan: &Arc<dyn ExecutionPlan>, kept_in: &KeptIn<'_>, n_operators: &mut u32) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children();
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    let children = children.into_iter().map(|child| keep(child, kept_in, n_operators)).collect::<Result<Vec<_>>>()?;
    match (plan.downcast_ref::<LateRowsExec>(), children.as_slice()) {
        (Some(late), [input]) => match carry(Carried::Position, input, kept_in.registry)? {
            Some(carried) => without_last_column(keeping(late, carried, kept_in, n_operators)),
            None => Ok(keeping(late, Arc::clone(input), kept_in, n_operators)),
        },
        _ => replace_children_if_necessary(Arc::clone(plan), children).map_err(from_datafusion),
    }
}

/// The operator with its table.
fn keeping(late: &LateRowsExec, input: Arc<dyn ExecutionPlan>, kept_in: &KeptIn<'_>, n_operators: &mut u32) -> Arc<dyn ExecutionPlan> {
    let table = LateTable::new(kept_in.table.clone(), kept_in.kept, *n_operators, &input);
    *n_operators += 1;
    Arc::new(late.with_table(input, Some(table)))
}

impl fmt::Display for LateRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.operator, self.event_time)?;
        self.table.iter().try_for_each(|table| write!(f, ", table={}", table.table.sink))
    }
}

impl Operator for LateRows {
    const NAME: &'static str = "LateRowsExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        // What stands above may have asked for an order, which DataFusion makes below: an aggregate with ORDER BY.
        in_input_order(input)
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let of_operator = task.scope.facts.watermarks.lagging(self.lag_ms);
        let late_ms = task.watermarks.late_ms.min(of_operator.late_ms);
        let writer = self.table.as_ref().map(|table| table.writer(&self.operator, &task.scope, task.partition));
        Ok(rows_of_run(LateRowsRun {
            event_time_idx: input.schema().index_of(&self.event_time)?,
            position_idx: input.schema().index_of(POSITION).ok(),
            record_idx: input.schema().index_of(RECORD).ok(),
            late_row_idx: input.schema().index_of(LATE_ROW).ok(),
            once_per_row_idx: self.once_per_row.as_ref().map(|column| input.schema().index_of(column)).transpose()?,
            windows: self.windows,
            late_us: late_ms.saturating_mul(1000),
            input: task.rows_of(input)?,
            operator: self.operator.clone(),
            writer: writer.transpose()?,
            scope: task.scope,
        }))
    }
}

/// One task's rows on their way.
struct LateRowsRun {
    input: SendableRecordBatchStream,
    event_time_idx: usize,
    once_per_row_idx: Option<usize>,
    /// The last column, if it is there.
    position_idx: Option<usize>,
    /// What dead letters are told, behind the columns of the row.
    record_idx: Option<usize>,
    windows: Option<TimeWindows>,
    /// The row as the user knows it.
    late_row_idx: Option<usize>,
    late_us: i64,
    operator: String,
    writer: Option<LateRowsWriter>,
    scope: Arc<BatchScope>,
}

impl OperatorRun for LateRowsRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(chunk) = self.input.next().await.transpose().map_err(from_datafusion)? else {
            if let Some(writer) = &mut self.writer {
                writer.finish().await?;
            }
            return Ok(None);
        };
        let event_times = chunk.columns().get(self.event_time_idx).ok_or_else(|| Error::internal("rows without their event time"))?;
        let times = match self.windows {
            Some(windows) => latest_ends_us(windows, event_times)?,
            None => event_times_us(event_times)?,
        };
        let in_time = self.in_time(&times);
        let mut late = not(&in_time)?;
        let mut partly = None;
        if let Some(windows) = self.windows.filter(|windows| !windows.is_tumbling() && self.keeps_partly_late()) {
            let first_ends = earliest_ends_us(windows, event_times)?;
            partly = Some((and_not(&in_time, &self.in_time(&first_ends))?, first_ends));
        }
        if let Some(once_per_row) = self.once_per_row_idx.and_then(|idx| chunk.columns().get(idx)) {
            if self.keeps_partly_late() {
                partly = Some((and_not(&late, once_per_row.as_boolean())?, times.clone()));
            }
            late = and(&late, once_per_row.as_boolean())?;
        }
        self.scope.count_late_rows(&self.operator, late.true_count() as u64);
        self.keep(&chunk, &late, Missed::All, &times).await?;
        if let Some((partly, times)) = partly {
            self.keep(&chunk, &partly, Missed::Some, &times).await?;
        }
        if in_time.false_count() == 0 { Ok(Some(chunk)) } else { Ok(Some(filter_record_batch(&chunk, &in_time)?)) }
    }

    async fn abort(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.abort().await;
        }
    }
}

impl LateRowsRun {
    fn in_time(&self, times_us: &Int64Array) -> BooleanArray {
        times_us.iter().map(|us| Some(us.is_none_or(|us| us > self.late_us))).collect()
    }

    fn keeps_partly_late(&self) -> bool {
        self.writer.as_ref().is_some_and(LateRowsWriter::keeps_partly_late)
    }

    /// Writes those of the rows that `kept` says, if late rows are kept.
    async fn keep(&mut self, chunk: &RecordBatch, kept: &BooleanArray, missed: Missed, times_us: &Int64Array) -> Result<()> {
        let Some(writer) = self.writer.as_mut().filter(|_| kept.true_count() > 0) else { return Ok(()) };
        let times = filter(times_us, kept)?.as_primitive::<Int64Type>().clone();
        let mut rows = filter_record_batch(chunk, kept)?;
        let positions = self.position_idx.map(|idx| rows.remove_column(idx));
        if let Some(idx) = self.record_idx {
            rows.remove_column(idx);
        }
        let rows = match self.late_row_idx.and_then(|idx| rows.columns().get(idx)?.as_struct_opt()) {
            Some(late_rows) => late_rows.into(),
            None => rows,
        };
        writer.write(&rows, missed, &times, positions.as_ref()).await
    }
}
