//! The arguments of an aggregate: their types when it is planned, their columns when it runs.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;

use crate::error::internal;

/// The type of an argument; that of NULL where there is none.
pub(super) fn type_at(fields: &[FieldRef], idx: usize) -> DataType {
    fields.get(idx).map_or(DataType::Null, |field| field.data_type().clone())
}

/// The column of an argument, or of a state.
pub(super) fn column_at(columns: &[ArrayRef], idx: usize) -> Result<&ArrayRef> {
    columns.get(idx).ok_or_else(|| internal("an aggregate misses an argument"))
}
