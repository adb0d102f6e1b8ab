//! Where late rows go on request (`lateRowsPath`): a side table of the query.
//!
//! A row of it says which operator judged which row by which watermark, in which batch. A late row is there exactly once,
//! like those of the main output; a row that two operators judge late is there once for each.
//!
//! A row of windows that overlap may be late for some of them only: it counts in the others, and is no late row. On request
//! (`partlyLateRows`) such rows are written, too: once where the operator keeps slices of windows, otherwise once for each
//! window that it missed.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::row_guard::rows_as_json;
use super::row_position::position_fields;
use super::side_table::{SideTable, SideWriter};
use super::source_exec::source_execs;
use crate::batch::BatchScope;

/// The table's name in the checkpoint.
pub const LATE_ROWS_SINK: &str = "lateRows";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [
        Field::new("row", DataType::Utf8, false),
        Field::new("event_time", time.clone(), false),
        Field::new("watermark", time, false),
        Field::new("operator", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("batch_id", DataType::Int64, false),
        Field::new("missed_windows", DataType::Utf8, false),
    ];
    let fields = fields.into_iter().map(Arc::new).chain(position_fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// The columns: the row as JSON, its event time, the watermark that judged it, the operator's id, the names of the sources
/// below it, the batch, how many of its windows the row missed ([`Missed`]), and the row's position ([`position_fields`]), null
/// where it has none.
pub fn late_rows_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Which rows are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptLateRows {
    /// Those that are late.
    #[default]
    Late,
    /// Also those that are late for some of their windows only.
    AlsoPartly,
}

/// How many of its windows a row missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// All, or the one moment that it has.
    All,
    /// Some: it counts in the others.
    Some,
}

impl Missed {
    /// As the table says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
        }
    }
}

/// The late rows of one operator.
#[derive(Debug, Clone)]
pub struct LateTable {
    /// The query's table.
    pub table: SideTable,
    /// Tells apart the operators of a plan.
    pub writer_no: u32,
    /// The sources of the rows, divided by commas.
    pub sources: String,
    /// Which rows are kept.
    pub kept: KeptLateRows,
}

impl LateTable {
    /// For an operator that judges the rows of `input`.
    pub fn new(table: SideTable, kept: KeptLateRows, writer_no: u32, input: &Arc<dyn ExecutionPlan>) -> Self {
        let streams = source_execs(input).into_iter().filter(|source| source.is_streaming());
        let sources = streams.map(|source| source.source_name()).collect::<Vec<_>>().join(", ");
        Self { table, writer_no, sources, kept }
    }

    /// The writer of one partition of the operator.
    pub fn writer(&self, operator: &str, scope: &Arc<BatchScope>, partition: usize) -> Result<LateRowsWriter> {
        let writer = SideWriter::new(self.table.clone(), Arc::clone(scope), self.writer_no, partition)?;
        Ok(LateRowsWriter { writer, operator: operator.to_owned(), of: self.clone() })
    }
}

/// One partition's late rows of one operator.
pub struct LateRowsWriter {
    writer: SideWriter,
    operator: String,
    of: LateTable,
}

impl LateRowsWriter {
    /// Stages rows that came too late, with their event times and, if they have them, positions.
    pub async fn write(
        &mut self,
        late: &RecordBatch,
        missed: Missed,
        event_times_us: &Int64Array,
        positions: Option<&ArrayRef>,
    ) -> Result<()> {
        let facts = self.writer.scope().facts;
        let rows = StringArray::from(rows_as_json(late));
        let batch_id = i64::try_from(facts.batch_id.0).map_err(|_| Error::internal("batch id over 2^63"))?;
        let n_rows = late.num_rows();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(rows),
            Arc::new(event_times_us.reinterpret_cast::<TimestampMicrosecondType>().with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from_value(facts.watermarks.late_us(), n_rows).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![self.operator.as_str(); n_rows])),
            Arc::new(StringArray::from(vec![self.of.sources.as_str(); n_rows])),
            Arc::new(Int64Array::from_value(batch_id, n_rows)),
            Arc::new(StringArray::from(vec![missed.name(); n_rows])),
        ];
        match positions.and_then(|positions| positions.as_struct_opt()) {
            Some(positions) => columns.extend(positions.columns().iter().cloned()),
            None => columns.extend(position_fields().iter().map(|field| new_null_array(field.data_type(), n_rows))),
        }
        self.writer.write(RecordBatch::try_new(late_rows_schema(), columns)?).await
    }

    /// Whether rows that are late for some of their windows only are written, too.
    pub fn keeps_partly_late(&self) -> bool {
        self.of.kept == KeptLateRows::AlsoPartly
    }

    /// The task has ended well: reports what was staged.
    pub async fn finish(&mut self) -> Result<()> {
        self.writer.finish().await
    }

    /// The task has failed: removes what was staged, as far as it goes.
    pub async fn abort(&mut self) {
        self.writer.abort().await;
    }
}
