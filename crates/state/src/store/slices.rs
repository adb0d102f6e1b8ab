//! Key columns that hold the starts of slices of windows of time: whoever reads them for people needs the ends, too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimestampMicrosecondType};
use millstream_core::{Error, Result, TimeWindows};

/// Where a field says which windows its slices are of, as JSON.
const WINDOWS: &str = "millstream.windows";

/// The column `field` holds starts of slices of these windows; of windows that do not overlap those are their own.
pub fn of_slices(field: Field, windows: TimeWindows) -> Result<Field> {
    let windows = serde_json::to_string(&windows).map_err(|error| Error::internal(error.to_string()))?;
    let mut metadata = field.metadata().clone();
    metadata.insert(WINDOWS.to_owned(), windows);
    Ok(field.with_metadata(metadata))
}

/// Whether `now` holds the starts of the windows that a column of type `then` held as structs of start and end.
pub fn begins_windows(then: &DataType, now: &Field) -> bool {
    windows_of(now).is_some() && *then == DataType::Struct(bounds(now.data_type()))
}

/// The starts of windows that are structs.
pub fn starts_of(windows: &ArrayRef) -> Result<ArrayRef> {
    let structs = windows.as_struct_opt().filter(|structs| structs.null_count() == 0);
    let starts = structs.and_then(|structs| structs.column_by_name("start"));
    starts.cloned().ok_or_else(|| Error::data("a store holds windows without a start"))
}

fn windows_of(field: &Field) -> Option<TimeWindows> {
    serde_json::from_str(field.metadata().get(WINDOWS)?).ok()
}

/// A column as people read it: slices as structs of start and end, others as they are.
pub fn shown_field(field: &FieldRef) -> FieldRef {
    match windows_of(field) {
        Some(_) => Arc::new(Field::new(field.name(), DataType::Struct(bounds(field.data_type())), field.is_nullable())),
        None => Arc::clone(field),
    }
}

/// Its values, see [`shown_field`].
pub fn shown_column(field: &Field, column: &ArrayRef) -> Result<ArrayRef> {
    let Some(windows) = windows_of(field) else { return Ok(Arc::clone(column)) };
    let starts = column.as_primitive_opt::<TimestampMicrosecondType>();
    let starts = starts.ok_or_else(|| Error::data(format!("column '{}' of a store holds slices and no times", field.name())))?;
    let ends: PrimitiveArray<TimestampMicrosecondType> = starts.unary(|start| windows.slice(start).end_us);
    let ends: ArrayRef = Arc::new(ends.with_data_type(column.data_type().clone()));
    Ok(Arc::new(StructArray::try_new(bounds(column.data_type()), vec![Arc::clone(column), ends], starts.nulls().cloned())?))
}

fn bounds(data_type: &DataType) -> Fields {
    ["start", "end"].map(|name| Field::new(name, data_type.clone(), true)).to_vec().into()
}

#[cfg(test)]
mod tests;
