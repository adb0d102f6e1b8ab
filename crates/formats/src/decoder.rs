//! What every decoder shares: the trait that readers drive, the counts that must add up, the policy for bad records.
//!
//! A reader calls [`Decoder::begin`] for every input, [`Decoder::push`] with its bytes in pieces of any size,
//! [`Decoder::end`] after the last, and [`Decoder::flush`] when it wants the rows that wait for a full batch.
//! Always: `records = rows + dropped + rejected`. A line that holds a JSON array counts as one record per element.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use std::sync::Arc;

use millstream_core::{RejectedRecord, Result};

/// Where decoded batches go.
pub type BatchSink<'a> = dyn FnMut(RecordBatch) -> Result<()> + 'a;

/// Bytes of a format to record batches of one schema.
pub trait Decoder: Send {
    /// The schema of the batches: the wanted one with everything nullable, as Spark reads files.
    fn schema(&self) -> &SchemaRef;

    /// A new input begins; `origin` names it in errors and rejected records. Lines count from 1 again.
    fn begin(&mut self, origin: &str);

    /// More bytes of the input. Full batches go to `sink`; take rejected records after each call, they are kept in memory.
    fn push(&mut self, bytes: &[u8], sink: &mut BatchSink<'_>) -> Result<()>;

    /// The input ends: what it left open is decoded. Rows may still wait for a full batch.
    fn end(&mut self, sink: &mut BatchSink<'_>) -> Result<()>;

    /// Gives the rows that wait, if there are any.
    fn flush(&mut self, sink: &mut BatchSink<'_>) -> Result<()>;

    /// What was seen so far.
    fn counts(&self) -> Counts;

    /// The records set aside since the last call ([`Rejects::Keep`] only).
    fn take_rejected(&mut self) -> Vec<RejectedRecord>;
}

/// What became of the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records met.
    pub records: u64,
    /// Rows made of them.
    pub rows: u64,
    /// Records dropped (`DROPMALFORMED`).
    pub dropped: u64,
    /// Records set aside.
    pub rejected: u64,
}

/// What to do with a bad record instead of what the parse mode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rejects {
    /// Nothing: the parse mode decides.
    #[default]
    None,
    /// Set the whole record aside with its bytes, also when only one of its fields is bad. The parse mode has no effect.
    Keep,
}

/// How batches are cut and bad records handled; the same for every format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DecodeSettings {
    /// The most rows of a batch.
    pub batch_rows: usize,
    /// Input bytes after which a batch is given even if it has fewer rows.
    pub batch_bytes: usize,
    /// What to do with bad records.
    pub rejects: Rejects,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self { batch_rows: 8192, batch_bytes: 32 << 20, rejects: Rejects::None }
    }
}

impl DecodeSettings {
    /// The same with another number of rows of a batch.
    #[must_use]
    pub fn with_batch_rows(mut self, batch_rows: usize) -> Self {
        self.batch_rows = batch_rows.max(1);
        self
    }

    /// The same with another policy for bad records.
    #[must_use]
    pub fn with_rejects(mut self, rejects: Rejects) -> Self {
        self.rejects = rejects;
        self
    }
}

/// The schema with every field nullable at every level; map keys stay as they are.
pub fn nullable_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new_with_metadata(nullable_fields(schema.fields()), schema.metadata().clone()))
}

fn nullable_fields(fields: &Fields) -> Fields {
    fields.iter().map(|field| nullable_field(field)).collect()
}

fn nullable_field(field: &Field) -> Field {
    field.clone().with_data_type(nullable_type(field.data_type())).with_nullable(true)
}

pub(crate) fn nullable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(nullable_fields(fields)),
        DataType::List(item) => DataType::List(Arc::new(nullable_field(item))),
        DataType::Map(entries, ordered) => match (entries.data_type(), entries.data_type()) {
            (DataType::Struct(pair), _) => {
                let pair: Fields =
                    pair.iter().enumerate().map(|(i, field)| if i == 0 { field.as_ref().clone() } else { nullable_field(field) }).collect();
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair))), *ordered)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}
