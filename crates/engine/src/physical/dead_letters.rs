//! Where bad records and rows go: a side table of their source.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::cast;
use millstream_core::{RejectedRecord, Result};

use super::side_table::{SideTable, SideWriter};
use crate::batch::BatchScope;

/// A dead-letter table. Operators that write to it have numbers: the source is 0, row guards count up from 1, guards from
/// the future down from the last.
pub type DeadLetters = SideTable;

/// One partition's dead letters of one operator.
pub(super) struct DeadLetterWriter(SideWriter);

impl DeadLetterWriter {
    /// `writer_no` tells apart the operators that write to one table.
    pub(super) fn new(target: DeadLetters, scope: Arc<BatchScope>, writer_no: u32, partition: usize) -> Result<Self> {
        SideWriter::new(target, scope, writer_no, partition).map(Self)
    }

    /// Stages letters of rows that came from `source`; `records`: what those were made of ([`RECORD`](super::row_record::RECORD)),
    /// where it is known.
    pub(super) async fn write(&mut self, letters: &[RejectedRecord], source: &str, records: Option<&ArrayRef>) -> Result<()> {
        let letters = RejectedRecord::to_batch(letters, source, self.0.scope().facts.batch_id)?;
        let schema = self.0.schema();
        let records = records.and_then(|records| records.as_struct_opt());
        let mut columns = letters.columns().to_vec();
        for field in schema.fields().iter().skip(columns.len()) {
            columns.push(match records.and_then(|records: &StructArray| records.column_by_name(field.name())) {
                Some(column) => cast(column, field.data_type())?,
                None => new_null_array(field.data_type(), letters.num_rows()),
            });
        }
        self.0.write(RecordBatch::try_new(schema, columns)?).await
    }

    /// The task has ended well: reports what was staged.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.0.finish().await
    }

    /// The task has failed: removes what was staged, as far as it goes.
    pub(super) async fn abort(&mut self) {
        self.0.abort().await;
    }
}
