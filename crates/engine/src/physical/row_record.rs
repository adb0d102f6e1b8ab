//! The record that a row was made of: a column beside the rows, from the source up to the guards that may set a row aside.
//!
//! ```text
//!   RowGuardExec, FutureGuardExec   write it into the dead letter; above them the column is cut off
//!     ... operators that pass rows on: the column goes with them ([`carry`](super::carry))
//!       RowRecordExec               makes one column of those that are the record
//!         SourceExec                reads them, whatever the query reads
//! ```
//! Which columns these are the connector says ([`Connector::record_columns`](millstream_core::Connector::record_columns)); sources
//! without any have no such column. Texts and bytes are views into what the reader made: a row that is repeated or filtered takes some
//! bytes per value, and never copies it. Rows that were aggregated or joined with another stream, or that a function with state made,
//! have no record. Nothing is read or made in plans without guards.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{ConnectorRegistry, Error, Result};

use super::carry::{Carried, carry, without_last_column};
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};
use super::row_position::filtered_as;
use super::source_exec::source_execs;
use super::{FutureGuardExec, RowGuardExec, SourceExec};
use crate::error::{from_datafusion, to_datafusion};

/// The column's name.
pub const RECORD: &str = "__record";

/// The same plan, whose guards that have a dead-letter table are told of which record each row was made, where it is known.
pub fn keep_records(plan: Arc<dyn ExecutionPlan>, registry: &ConnectorRegistry) -> Result<Arc<dyn ExecutionPlan>> {
    let of_streams = source_execs(&plan).iter().any(|source| source.is_streaming());
    let kept = plan.transform_up(|node| {
        let has_table =
            node.is::<RowGuardExec>() || node.downcast_ref::<FutureGuardExec>().is_some_and(|guard| guard.dead_letters().is_some());
        if !has_table {
            return Ok(Transformed::no(node));
        }
        match carry(Carried::Record { of_streams }, &node, registry).map_err(to_datafusion)? {
            Some(carried) => Ok(Transformed::yes(without_last_column(carried).map_err(to_datafusion)?)),
            None => Ok(Transformed::no(node)),
        }
    });
    kept.map(|kept| kept.data).map_err(from_datafusion)
}

/// A source with the column, if its connector says what a record is.
pub(super) fn record_of_source(
    source: &SourceExec,
    plan: &Arc<dyn ExecutionPlan>,
    registry: &ConnectorRegistry,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut spec = source.spec().clone();
    let children = plan.children();
    let (Some(kept), Some(dead_letters), [splits]) = (registry.record_columns(&spec)?, source.dead_letters(), children.as_slice()) else {
        return Ok(None);
    };
    let mut fields = spec.schema.fields().to_vec();
    let mut columns = spec.projection.take().unwrap_or_else(|| (0..fields.len()).collect());
    let n_columns = columns.len();
    let mut record = Vec::with_capacity(kept.len());
    for field in &kept {
        let in_schema = position_or_push(&mut fields, |known| known.name() == field.name(), || Arc::clone(field));
        record.push(position_or_push(&mut columns, |known| *known == in_schema, || in_schema));
    }
    spec.schema = Arc::new(Schema::new_with_metadata(fields, spec.schema.metadata().clone()));
    spec.projection = Some(columns);
    let reader = registry.reader(&spec)?;
    let wider = SourceExec::new(source.source_name().to_owned(), spec, reader, Some(dead_letters.clone()), Arc::clone(splits));
    let wider = Arc::new(wider.streaming(source.is_streaming()));
    filtered_as(source, Arc::new(RowRecordExec::new(wider, n_columns, record))).map(Some)
}

/// Where it stands, behind the others if it was not there.
fn position_or_push<T>(all: &mut Vec<T>, is_it: impl Fn(&T) -> bool, it: impl FnOnce() -> T) -> usize {
    all.iter().position(is_it).unwrap_or_else(|| {
        all.push(it());
        all.len() - 1
    })
}

/// Makes one column of those that are the record. See the module's documentation.
pub type RowRecordExec = OperatorExec<RowRecord>;

/// What a [`RowRecordExec`] is, beside its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRecord {
    /// So many columns of the input go on as they are.
    n_columns: usize,
    /// The columns of the input that are the record.
    record: Vec<usize>,
}

impl RowRecordExec {
    /// Gives the first `n_columns` of a source, and behind them those of `record` as one.
    pub fn new(source: Arc<dyn ExecutionPlan>, n_columns: usize, record: Vec<usize>) -> Self {
        Self::over(RowRecord { n_columns, record }, [source])
    }

    /// How many columns go on, and which are the record.
    pub fn parts(&self) -> (usize, &[usize]) {
        (self.operator.n_columns, &self.operator.record)
    }
}

impl RowRecord {
    fn fields(&self, input: &Schema) -> Fields {
        let field = |idx: &usize| input.fields().get(*idx).map(with_views);
        self.record.iter().filter_map(field).collect()
    }
}

/// The field with views for texts and bytes.
fn with_views(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(element) => DataType::List(with_views(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(with_views).collect()),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, true))
}

impl fmt::Display for RowRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "columns={}, record={:?}", self.n_columns, self.record)
    }
}

impl Operator for RowRecord {
    const NAME: &'static str = "RowRecordExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        let schema = input.schema();
        let record = Arc::new(Field::new(RECORD, DataType::Struct(self.fields(&schema)), true));
        let fields = schema.fields().iter().take(self.n_columns).cloned().chain([record]).collect::<Vec<_>>();
        unordered_as(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), input)
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        [true]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        Ok(rows_of_run(Run { fields: self.fields(&input.schema()), input: task.rows_of(input)?, operator: self.clone(), task }))
    }
}

/// One task's rows.
struct Run {
    input: SendableRecordBatchStream,
    operator: RowRecord,
    fields: Fields,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.input.next().await.transpose().map_err(from_datafusion)? else { return Ok(None) };
        let of_record = |(idx, field): (&usize, &FieldRef)| {
            let column = rows.columns().get(*idx).ok_or_else(|| Error::internal("a record without one of its columns"))?;
            Ok::<ArrayRef, Error>(cast(column, field.data_type())?)
        };
        let record = self.operator.record.iter().zip(&self.fields).map(of_record).collect::<Result<Vec<_>>>()?;
        let record: ArrayRef = Arc::new(StructArray::try_new(self.fields.clone(), record, None)?);
        let columns = rows.columns().iter().take(self.operator.n_columns).cloned().chain([record]).collect();
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.task.schema), columns)?))
    }

    async fn abort(&mut self) {}
}
