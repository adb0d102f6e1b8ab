//! Arrays, maps and structs: built, looked into, changed, compared.
//!
//! Elements are compared through Arrow's row format, with NaN equal to NaN and -0.0 equal to 0.0. Results are
//! gathered by index from the input's values, so no element is copied twice and none is looked at one by one.

mod access;
mod build;
mod change;
mod compare;
mod sequence;
mod set;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;
use millstream_core::Error;

use crate::def::FunctionDef;
use crate::error::{external, internal};
use crate::types::{element_field, map_fields, map_of};

/// The tables of this module.
pub(crate) const TABLES: &[&[FunctionDef]] =
    &[access::FUNCTIONS, build::FUNCTIONS, change::FUNCTIONS, compare::FUNCTIONS, sequence::FUNCTIONS, set::FUNCTIONS];

pub use access::GET_STRUCT_FIELD;
pub(crate) use access::as_list;

/// The most elements in one array.
const ELEMENTS_MAX: usize = i32::MAX as usize;

fn too_many() -> datafusion::common::DataFusionError {
    external(Error::exhausted("the arrays of one batch have more than 2147483647 elements").hint("use smaller batches"))
}

/// The most elements that one call may make up (`array_repeat`, a gap of `array_insert`): more is a mistake.
const NEW_ELEMENTS_MAX: usize = 100_000_000;

/// Collects, row by row, which elements of a values column make up each result array.
pub(super) struct Gather {
    offsets: Vec<i32>,
    valid: Vec<bool>,
    picks: Vec<Option<u32>>,
}

impl Gather {
    pub(super) fn new(n_rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(n_rows + 1);
        offsets.push(0);
        Self { offsets, valid: Vec::with_capacity(n_rows), picks: Vec::new() }
    }

    /// Appends an element to the current row.
    pub(super) fn pick(&mut self, idx: usize) {
        self.picks.push(u32::try_from(idx).ok());
    }

    /// Appends a NULL element to the current row.
    pub(super) fn pick_null(&mut self) {
        self.picks.push(None);
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self, valid: bool) -> Result<()> {
        if self.picks.len() > ELEMENTS_MAX {
            return Err(too_many());
        }
        self.offsets.push(self.picks.len() as i32);
        self.valid.push(valid);
        Ok(())
    }

    fn parts(self) -> (UInt32Array, OffsetBuffer<i32>, Option<NullBuffer>) {
        let nulls = self.valid.contains(&false).then(|| NullBuffer::from(self.valid));
        (UInt32Array::from(self.picks), OffsetBuffer::new(ScalarBuffer::from(self.offsets)), nulls)
    }

    /// The arrays, their elements taken from `values`.
    pub(super) fn into_list(self, values: &ArrayRef) -> Result<ArrayRef> {
        let (picks, offsets, nulls) = self.parts();
        let values = arrow::compute::take(values, &picks, None)?;
        let field = element_field(values.data_type().clone());
        Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
    }

    /// The maps, their entries taken from `keys` and `values`.
    pub(super) fn into_map(self, keys: &ArrayRef, values: &ArrayRef) -> Result<ArrayRef> {
        let (picks, offsets, nulls) = self.parts();
        make_map(arrow::compute::take(keys, &picks, None)?, arrow::compute::take(values, &picks, None)?, offsets, nulls)
    }
}

/// A map column of its parts.
pub(super) fn make_map(keys: ArrayRef, values: ArrayRef, offsets: OffsetBuffer<i32>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let (key_type, value_type) = (keys.data_type().clone(), values.data_type().clone());
    let DataType::Map(entries_field, _) = map_of(key_type.clone(), value_type.clone()) else {
        return Err(internal("a map type"));
    };
    let entries = StructArray::try_new(map_fields(key_type, value_type), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(entries_field, offsets, entries, nulls, false)?))
}

/// The elements of one row as a range into the values column.
pub(super) fn range_of(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.offsets();
    let at = |idx: usize| offsets.get(idx).copied().and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0);
    if list.is_null(row) { 0..0 } else { at(row)..at(row + 1) }
}

/// The entries of one row as a range into the keys and values.
pub(super) fn entry_range(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    let offsets = map.offsets();
    let at = |idx: usize| offsets.get(idx).copied().and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0);
    if map.is_null(row) { 0..0 } else { at(row)..at(row + 1) }
}

/// The same column with one NaN and one zero.
pub(crate) fn normalized(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            let result: Float64Array = values.unary(|value| if value.is_nan() { f64::NAN } else { value + 0.0 });
            Arc::new(result)
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            let result: Float32Array = values.unary(|value| if value.is_nan() { f32::NAN } else { value + 0.0 });
            Arc::new(result)
        }
        DataType::List(field) if has_float(field.data_type()) => {
            let list = array.as_list::<i32>();
            let values = normalized(list.values());
            match ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()) {
                Ok(list) => Arc::new(list),
                Err(_) => Arc::clone(array),
            }
        }
        DataType::Struct(fields) if fields.iter().any(|field| has_float(field.data_type())) => {
            let columns = array.as_struct().columns().iter().map(normalized).collect();
            match StructArray::try_new(fields.clone(), columns, array.nulls().cloned()) {
                Ok(array) => Arc::new(array),
                Err(_) => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

fn has_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(field) => has_float(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_float(field.data_type())),
        _ => false,
    }
}

/// Columns of one type as comparable rows; NULL comes first.
pub(crate) fn comparable<const N: usize>(columns: [&ArrayRef; N]) -> Result<[Rows; N]> {
    let data_type = columns.first().map_or(DataType::Null, |column| column.data_type().clone());
    let converter = RowConverter::new(vec![SortField::new(data_type)])?;
    let mut rows = Vec::with_capacity(N);
    for column in columns {
        rows.push(converter.convert_columns(&[normalized(column)])?);
    }
    rows.try_into().map_err(|_| internal("a wrong number of columns"))
}

#[cfg(test)]
mod tests;
