//! Where bad records and rows go: side tables of their source.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::cast;
use millstream_core::{RejectedRecord, Result};

use super::side_table::{SideTable, SideWriter};
use crate::batch::BatchScope;

/// The tables that the dead letters of a source go to: a folder, a topic, or both, with the same columns. Operators that write there have
/// numbers: the source is 0, row guards count up from 1, guards from the future down from the last.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    tables: Vec<SideTable>,
}

impl DeadLetters {
    /// `None` without a table.
    pub fn new(tables: Vec<SideTable>) -> Option<Self> {
        (!tables.is_empty()).then_some(Self { tables })
    }

    /// The tables.
    pub fn tables(&self) -> &[SideTable] {
        &self.tables
    }

    /// How many columns they have.
    pub fn n_columns(&self) -> usize {
        self.tables.first().map_or(0, |table| table.spec.schema.fields().len())
    }
}

impl fmt::Display for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.tables.iter().map(|table| table.sink.as_str()).collect();
        f.write_str(&names.join(", "))
    }
}

/// One partition's dead letters of one operator, for each table.
pub(super) struct DeadLetterWriter {
    tables: Vec<SideWriter>,
    scope: Arc<BatchScope>,
}

impl DeadLetterWriter {
    /// `writer_no` tells apart the operators that write to one table.
    pub(super) fn new(target: DeadLetters, scope: Arc<BatchScope>, writer_no: u32, partition: usize) -> Result<Self> {
        let tables = target.tables.into_iter().map(|table| SideWriter::new(table, Arc::clone(&scope), writer_no, partition));
        Ok(Self { tables: tables.collect::<Result<_>>()?, scope })
    }

    /// Stages letters of rows that came from `source`; `records`: what those were made of ([`RECORD`](super::row_record::RECORD)),
    /// where it is known.
    pub(super) async fn write(&mut self, letters: &[RejectedRecord], source: &str, records: Option<&ArrayRef>) -> Result<()> {
        let letters = RejectedRecord::to_batch(letters, source, self.scope.facts.batch_id)?;
        let Some(schema) = self.tables.first().map(SideWriter::schema) else { return Ok(()) };
        let records = records.and_then(|records| records.as_struct_opt());
        let mut columns = letters.columns().to_vec();
        for field in schema.fields().iter().skip(columns.len()) {
            columns.push(match records.and_then(|records: &StructArray| records.column_by_name(field.name())) {
                Some(column) => cast(column, field.data_type())?,
                None => new_null_array(field.data_type(), letters.num_rows()),
            });
        }
        let letters = RecordBatch::try_new(schema, columns)?;
        for table in &mut self.tables {
            table.write(letters.clone()).await?;
        }
        Ok(())
    }

    /// The task has ended well: reports what was staged.
    pub(super) async fn finish(&mut self) -> Result<()> {
        for table in &mut self.tables {
            table.finish().await?;
        }
        Ok(())
    }

    /// The task has failed: removes what was staged, as far as it goes.
    pub(super) async fn abort(&mut self) {
        for table in &mut self.tables {
            table.abort().await;
        }
    }
}
