//! Where rows come from: a column of positions beside the rows of a stream, from the source up to who asks for it.
//!
//! ```text
//!   LateRowsExec          asks (`lateRowsPath`), and so does FutureGuardExec with a table; above it the column is cut off
//!     ... operators that pass rows on: the column goes with them ([`carry`](super::carry))
//!       RowPositionExec   counts the rows of each block of a file     or   SourceExec   asks the reader (`RowPlaces`)
//!         SourceExec      reads `_metadata`, too
//! ```
//! Rows that were aggregated or joined with another stream, or that a function with state made, have no position. Nothing is read
//! or made without an asker.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringBuilder, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::connector::HIDDEN_FIELD;
use millstream_core::{ConnectorRegistry, Error, Result, RowPlaces};

use super::SourceExec;
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};
use crate::error::from_datafusion;

/// The column's name.
pub const POSITION: &str = "__position";

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("file", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("record", DataType::Int64, true),
    ])
});

/// The fields of a position. Of a row from a file: the file, where in it the block begins that was read at once, the number of the row
/// among those that the block gave, from 0. Of another row there is no file: either its number in the source and 0, or the
/// number of its block and that of the row within.
pub fn position_fields() -> &'static Fields {
    &FIELDS
}

/// The column.
pub(super) fn position_field() -> Field {
    Field::new(POSITION, DataType::Struct(FIELDS.clone()), true)
}

/// A stream: over files the reader says the file, other readers say where rows stand by themselves.
pub(super) fn position_of_source(
    source: &SourceExec,
    plan: &Arc<dyn ExecutionPlan>,
    registry: &ConnectorRegistry,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut spec = source.spec().clone();
    let hidden = spec.schema.fields().iter().position(|field| field.metadata().contains_key(HIDDEN_FIELD));
    let children = plan.children();
    let (true, [splits]) = (source.is_streaming(), children.as_slice()) else { return Ok(None) };
    let numbered: Arc<dyn ExecutionPlan> = match hidden {
        None => Arc::new(source.with_positions(true).filtered(None)),
        Some(hidden) => {
            let mut columns = spec.projection.take().unwrap_or_else(|| (0..spec.schema.fields().len()).collect());
            columns.push(hidden);
            spec.projection = Some(columns);
            let reader = registry.reader(&spec)?;
            let (name, dead_letters) = (source.source_name().to_owned(), source.dead_letters().cloned());
            let unfiltered = SourceExec::new(name, spec, reader, dead_letters, Arc::clone(splits)).streaming(true);
            Arc::new(RowPositionExec::new(Arc::new(unfiltered)))
        }
    };
    filtered_as(source, numbered).map(Some)
}

/// All rows of a source, of which those go on that meet its filter.
pub(super) fn filtered_as(source: &SourceExec, rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(match source.filter() {
        Some(filter) => Arc::new(FilterExec::try_new(Arc::clone(filter.predicate()), rows).map_err(from_datafusion)?),
        None => rows,
    })
}

/// The positions of rows that are not of files.
pub(super) fn positions_at(places: RowPlaces, n_rows: usize) -> Result<ArrayRef> {
    let n = n_rows as u64;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (offsets, records) = match places {
        RowPlaces::Untold => return Ok(new_null_array(&DataType::Struct(FIELDS.clone()), n_rows)),
        RowPlaces::InBlock { block, first } => (
            Int64Array::from_value(number(block), n_rows),
            Int64Array::from_iter_values((0..n).map(|row| number(first.saturating_add(row)))),
        ),
        RowPlaces::Numbered { first, step } => (
            Int64Array::from_iter_values((0..n).map(|row| number(first.saturating_add(row.saturating_mul(step))))),
            Int64Array::from_value(0, n_rows),
        ),
    };
    let columns: Vec<ArrayRef> = vec![new_null_array(&DataType::Utf8, n_rows), Arc::new(offsets), Arc::new(records)];
    Ok(Arc::new(StructArray::try_new(FIELDS.clone(), columns, None)?))
}

/// Makes positions of the last column of a source, its `_metadata`. See the module's documentation.
pub type RowPositionExec = OperatorExec<RowPosition>;

/// What a [`RowPositionExec`] is, beside its input.
#[derive(Debug, Clone, Copy)]
pub struct RowPosition;

impl RowPositionExec {
    /// Over a source whose last column is `_metadata`.
    pub fn new(source: Arc<dyn ExecutionPlan>) -> Self {
        Self::over(RowPosition, [source])
    }
}

impl fmt::Display for RowPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file, offset, record")
    }
}

impl Operator for RowPosition {
    const NAME: &'static str = "RowPositionExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        let mut fields = input.schema().fields().to_vec();
        fields.pop();
        fields.push(Arc::new(position_field()));
        let schema = Schema::new_with_metadata(fields, input.schema().metadata().clone());
        unordered_as(Arc::new(schema), input)
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let input = task.rows_of(input)?;
        Ok(rows_of_run(Run { input, task, block: None, next: 0 }))
    }
}

/// One task's rows: the block that they are of, and how many of it have come.
struct Run {
    input: SendableRecordBatchStream,
    task: OperatorTask,
    block: Option<(String, i64)>,
    next: i64,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.input.next().await.transpose().map_err(from_datafusion)? else { return Ok(None) };
        let mut columns = rows.columns().to_vec();
        let positions = columns.pop().and_then(|metadata| self.positions(metadata.as_struct_opt()?));
        columns.push(positions.ok_or_else(|| Error::internal("rows without the file that they are of"))?);
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.task.schema), columns)?))
    }

    async fn abort(&mut self) {}
}

impl Run {
    fn positions(&mut self, metadata: &StructArray) -> Option<ArrayRef> {
        let files = metadata.column_by_name("file_path")?.as_string_opt::<i32>()?;
        let offsets = metadata.column_by_name("file_block_start")?.as_primitive_opt::<Int64Type>()?;
        let (mut names, mut records) = (StringBuilder::new(), Vec::with_capacity(files.len()));
        for row in 0..files.len() {
            let (file, offset) = (files.value(row), offsets.value(row));
            if self.block.as_ref().is_none_or(|(of, at)| of != file || *at != offset) {
                self.block = Some((file.to_owned(), offset));
                self.next = 0;
            }
            names.append_value(file);
            records.push(self.next);
            self.next += 1;
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(offsets.clone()), Arc::new(Int64Array::from(records))];
        StructArray::try_new(FIELDS.clone(), columns, None).ok().map(|positions| Arc::new(positions) as ArrayRef)
    }
}
