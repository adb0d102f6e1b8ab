//! Rows between columns and the bytes of segments.

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, Int64Array, Int64Builder};
use arrow::datatypes::Fields;
use arrow::row::{RowConverter, Rows, SortField};
use millstream_core::Result;

use super::segment::SpilledRow;
use crate::store::arrow_error;
use crate::store::key::KeyCodec;
use crate::store::schema::StoreRows;

/// Value columns in row format: it holds every type that a store takes, bit by bit.
#[derive(Debug)]
pub struct ValueCodec {
    /// None without columns.
    converter: Option<RowConverter>,
}

/// Rows that were read, put together.
#[derive(Debug, Default)]
pub struct RowsRead {
    keys: BinaryBuilder,
    expiry: Int64Builder,
    values: BinaryBuilder,
    n_rows: usize,
}

/// Columns of rows that were read.
#[derive(Debug)]
pub struct ReadColumns {
    /// In row format.
    pub keys: BinaryArray,
    pub expiry: Int64Array,
    pub values: Vec<ArrayRef>,
}

impl ValueCodec {
    pub fn new(fields: &Fields) -> Result<Self> {
        let sort_fields: Vec<SortField> = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = if sort_fields.is_empty() { None } else { Some(RowConverter::new(sort_fields).map_err(arrow_error)?) };
        Ok(Self { converter })
    }

    /// The rows of these columns; `None` if they have none.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Option<Rows>> {
        self.converter.as_ref().map(|converter| converter.convert_columns(columns).map_err(arrow_error)).transpose()
    }

    fn decode(&self, rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let parser = converter.parser();
        converter.convert_rows(rows.iter().flatten().map(|row| parser.parse(row))).map_err(arrow_error)
    }
}

impl RowsRead {
    pub fn push(&mut self, row: SpilledRow<'_>) {
        self.keys.append_value(row.key);
        self.expiry.append_option(row.expiry);
        self.values.append_value(row.values);
        self.n_rows += 1;
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn finish(mut self, codec: &ValueCodec) -> Result<ReadColumns> {
        Ok(ReadColumns { keys: self.keys.finish(), expiry: self.expiry.finish(), values: codec.decode(&self.values.finish())? })
    }
}

impl ReadColumns {
    /// With typed keys, as they leave a table.
    pub fn typed(self, codec: &KeyCodec) -> Result<StoreRows> {
        Ok(StoreRows {
            n_rows: self.keys.len(),
            keys: codec.decode(self.keys.iter().flatten())?,
            expiry: Some(self.expiry).filter(|expiry| expiry.null_count() < expiry.len()),
            values: self.values,
        })
    }
}
