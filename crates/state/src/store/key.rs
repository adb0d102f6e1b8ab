//! Keys as bytes: Arrow's row format, so that equal keys are equal bytes whatever their types.
//!
//! Equal means as in grouping: a null equals a null, -0.0 equals 0.0, and there is one NaN. Keys come back as they were
//! after that. Row bytes stay in memory; what is stored is typed, as the row format may change with the library.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, UInt32Array, make_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Fields, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use millstream_core::Result;

use super::arrow_error;
use super::key_group::hash_key;
use super::schema::check_columns;

/// Between the key columns of one store and row bytes.
#[derive(Debug)]
pub struct KeyCodec {
    fields: Fields,
    converter: RowConverter,
}

/// Keys in row format and their hashes, which are made once: they say which task keeps a key, and where its table has it.
#[derive(Debug, Clone)]
pub struct HashedKeys {
    bytes: BinaryArray,
    hashes: Vec<u64>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct HashedKey<'a> {
    pub hash: u64,
    pub bytes: &'a [u8],
}

impl HashedKeys {
    pub(super) fn new(bytes: BinaryArray) -> Self {
        Self { hashes: bytes.iter().map(|key| key.map_or(0, hash_key)).collect(), bytes }
    }

    /// For who knows the hashes.
    pub(super) fn with_hashes(bytes: BinaryArray, hashes: Vec<u64>) -> Self {
        Self { bytes, hashes }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn bytes(&self) -> &BinaryArray {
        &self.bytes
    }

    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Those of some rows.
    pub(super) fn taken(&self, rows: &UInt32Array) -> Result<Self> {
        let bytes = take(&self.bytes, rows, None).map_err(arrow_error)?;
        let hashes = rows.values().iter().map(|row| self.hashes.get(*row as usize).copied().unwrap_or(0));
        Ok(Self { hashes: hashes.collect(), bytes: bytes.as_binary::<i32>().clone() })
    }

    /// All from the first to the one before the last.
    pub(super) fn among(&self, first: usize, last: usize) -> impl Iterator<Item = HashedKey<'_>> {
        let hashes = self.hashes.get(first..last).unwrap_or_default();
        hashes.iter().zip(first..).map(|(hash, row)| HashedKey { hash: *hash, bytes: self.bytes.value(row) })
    }
}

impl KeyCodec {
    pub fn new(fields: &Fields) -> Result<Self> {
        let sort_fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sort_fields).map_err(arrow_error)?;
        Ok(Self { fields: fields.clone(), converter })
    }

    pub fn encode(&self, keys: &[ArrayRef]) -> Result<BinaryArray> {
        check_columns("key", &self.fields, keys)?;
        let keys = keys.iter().map(normalised).collect::<Result<Vec<_>>>()?;
        self.converter.convert_columns(&keys).and_then(|rows| rows.try_into_binary()).map_err(arrow_error)
    }

    pub fn hashed(&self, keys: &[ArrayRef]) -> Result<HashedKeys> {
        self.encode(keys).map(HashedKeys::new)
    }

    /// Whether keys may come back otherwise than they came.
    pub fn normalises(&self) -> bool {
        self.fields.iter().any(|field| has_floats(field.data_type()))
    }

    pub fn decode<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        self.converter.convert_rows(keys.into_iter().map(|key| parser.parse(key))).map_err(arrow_error)
    }
}

/// One zero and one NaN, also within structs and lists.
fn normalised(array: &ArrayRef) -> Result<ArrayRef> {
    if !has_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        // Adding 0.0 makes 0.0 of -0.0, and leaves every other number as it is.
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| if x.is_nan() { f32::NAN } else { x + 0.0 }))
        }
        DataType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| if x.is_nan() { f64::NAN } else { x + 0.0 }))
        }
        _ => {
            let data = array.to_data();
            let children = data.child_data().iter().map(|child| Ok(normalised(&make_array(child.clone()))?.to_data()));
            let children = children.collect::<Result<Vec<_>>>()?;
            make_array(data.into_builder().child_data(children).build().map_err(arrow_error)?)
        }
    })
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            has_floats(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        other => other.is_floating(),
    }
}
