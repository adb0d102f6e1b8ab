//! Looking into collections: `get`, `element_at`, `size`, `array_contains`, `map_keys`, fields of structs in arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, ListArray, MapArray, UInt32Array};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::Result;

use super::{comparable, entry_range, range_of};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal, invalid};
use crate::rows::{number, number_rows};
use crate::types::{array_of, element_of, key_value_of};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("get", &[Arg::Array, Arg::Int], Returns::Element(0), |call| item(call, Index::Lenient)),
    // `array[index]`.
    FunctionDef::new("get_array_item", &[Arg::Array, Arg::Int], Returns::Element(0), |call| item(call, Index::FromZero)),
    FunctionDef::new("element_at", &[Arg::ArrayOrMap, Arg::KeyOf(0)], Returns::Rule(item_type), |call| element_at(call, false)),
    FunctionDef::new("try_element_at", &[Arg::ArrayOrMap, Arg::KeyOf(0)], Returns::Rule(item_type), |call| element_at(call, true)),
    // `map[key]`.
    FunctionDef::new("get_map_value", &[Arg::Map, Arg::KeyOf(0)], Returns::Rule(item_type), map_value),
    GET_STRUCT_FIELD,
    // `array.field`: the field of every struct.
    FunctionDef::new("get_array_struct_fields", &[Arg::Array, Arg::LiteralString], Returns::Rule(fields_type), struct_fields),
    FunctionDef::new("size", &[Arg::ArrayOrMap], Returns::Int, size).alias(&["cardinality", "array_size"]),
    FunctionDef::new("array_contains", &[Arg::Array, Arg::ElementOf(0)], Returns::Boolean, |call| {
        let (list, elements) = (as_list(&call.array(0)?)?, call.array(1)?);
        let [values, wanted] = comparable([list.values(), &elements])?;
        let mut builder = BooleanBuilder::with_capacity(call.n_rows());
        for row in 0..call.n_rows() {
            if list.is_null(row) || elements.is_null(row) {
                builder.append_null();
                continue;
            }
            let range = range_of(&list, row);
            let found = range.clone().any(|idx| values.row(idx) == wanted.row(row));
            // Among NULLs the answer is not known.
            let unknown = !found && list.values().null_count() > 0 && range.into_iter().any(|idx| list.values().is_null(idx));
            builder.append_option((!unknown).then_some(found));
        }
        Ok(Arc::new(builder.finish()))
    }),
    FunctionDef::new("array_position", &[Arg::Array, Arg::ElementOf(0)], Returns::Long, |call| {
        let (list, elements) = (as_list(&call.array(0)?)?, call.array(1)?);
        let [values, wanted] = comparable([list.values(), &elements])?;
        Ok(Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| {
            if list.is_null(row) || elements.is_null(row) {
                return Ok(None);
            }
            let found = range_of(&list, row).position(|idx| values.row(idx) == wanted.row(row));
            Ok(Some(found.map_or(0, |position| position as i64 + 1)))
        })?))
    }),
    FunctionDef::new("map_keys", &[Arg::Map], Returns::Rule(|types| Ok(array_of(key_value_of(&types.at(0))?.0))), |call| {
        map_part(call, |map| Arc::clone(map.keys()))
    }),
    FunctionDef::new("map_values", &[Arg::Map], Returns::Rule(|types| Ok(array_of(key_value_of(&types.at(0))?.1))), |call| {
        map_part(call, |map| Arc::clone(map.values()))
    }),
    FunctionDef::new("map_entries", &[Arg::Map], Returns::Rule(entries_type), |call| map_part(call, |map| Arc::new(map.entries().clone()))),
    FunctionDef::new("map_contains_key", &[Arg::Map, Arg::KeyOf(0)], Returns::Boolean, |call| {
        let (map, keys) = (as_map(&call.array(0)?)?, call.array(1)?);
        let [known, wanted] = comparable([map.keys(), &keys])?;
        crate::rows::bool_rows(call.n_rows(), |row| {
            if map.is_null(row) || keys.is_null(row) {
                return Ok(None);
            }
            Ok(Some(entry_range(&map, row).any(|idx| known.row(idx) == wanted.row(row))))
        })
    }),
];

/// `struct.field`. DataFusion's `get_field` gives what lies below a NULL struct, which may be anything: what makes a NULL by its mask
/// alone, as CASE and readers do, leaves the fields as they were.
pub const GET_STRUCT_FIELD: FunctionDef =
    FunctionDef::new("get_struct_field", &[Arg::Struct, Arg::LiteralString], Returns::Rule(field_type), struct_field);

/// A column as a list; VOID gives NULL lists.
pub(crate) fn as_list(array: &ArrayRef) -> Result<ListArray> {
    match array.as_list_opt::<i32>() {
        Some(list) => Ok(list.clone()),
        None => Err(internal(format!("expected an array, got {}", array.data_type()))),
    }
}

pub(super) fn as_map(array: &ArrayRef) -> Result<MapArray> {
    array.as_map_opt().cloned().ok_or_else(|| internal(format!("expected a map, got {}", array.data_type())))
}

fn item_type(types: &Types<'_>) -> Result<DataType> {
    match types.at(0) {
        data_type @ DataType::Map(..) => Ok(key_value_of(&data_type)?.1),
        data_type => element_of(&data_type),
    }
}

fn field_type(types: &Types<'_>) -> Result<DataType> {
    type_of_field(&types.at(0), types)
}

fn fields_type(types: &Types<'_>) -> Result<DataType> {
    Ok(array_of(type_of_field(&element_of(&types.at(0))?, types)?))
}

/// The type of the field that the second argument names.
fn type_of_field(of: &DataType, types: &Types<'_>) -> Result<DataType> {
    let DataType::Struct(fields) = of else { return Err(internal(format!("expected a struct, got {of}"))) };
    let name = types.text(1).ok_or_else(|| internal("the field name must be a literal"))?;
    let field = fields.iter().find(|field| field.name() == name);
    field
        .map(|field| field.data_type().clone())
        .ok_or_else(|| invalid("FIELD_NOT_FOUND", format!("there is no field '{name}' in {}", crate::types::type_name(of))))
}

fn entries_type(types: &Types<'_>) -> Result<DataType> {
    let (key, value) = key_value_of(&types.at(0))?;
    Ok(array_of(DataType::Struct(crate::types::map_fields(key, value))))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    /// From 0; NULL outside.
    Lenient,
    /// From 0; an error outside.
    FromZero,
    /// From 1, or from the end; an error outside.
    FromOne,
    /// From 1, or from the end; NULL outside.
    FromOneLenient,
}

fn item(call: &Call<'_>, index: Index) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let positions = call.primitive::<Int64Type>(1)?;
    let mut picks = Vec::with_capacity(call.n_rows());
    for row in 0..call.n_rows() {
        let Some(position) = number(&positions, row).filter(|_| list.is_valid(row)) else {
            picks.push(None);
            continue;
        };
        let range = range_of(&list, row);
        let len = range.len() as i64;
        let from_zero = match index {
            Index::Lenient | Index::FromZero => position,
            Index::FromOne | Index::FromOneLenient => match position {
                0 => {
                    return Err(data("INVALID_INDEX_OF_ZERO", "the index 0 is invalid: elements count from 1, or from -1 backwards"));
                }
                position if position > 0 => position - 1,
                position => len + position,
            },
        };
        if (0..len).contains(&from_zero) {
            picks.push(u32::try_from(range.start as i64 + from_zero).ok());
            continue;
        }
        match index {
            Index::Lenient | Index::FromOneLenient => picks.push(None),
            Index::FromZero => {
                return Err(data(
                    "INVALID_ARRAY_INDEX",
                    format!("the index {position} is out of bounds: the array has {len} elements; use get() to get NULL instead"),
                ));
            }
            Index::FromOne => {
                return Err(data(
                    "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
                    format!("the index {position} is out of bounds: the array has {len} elements; use try_element_at to get NULL instead"),
                ));
            }
        }
    }
    Ok(arrow::compute::take(list.values(), &UInt32Array::from(picks), None)?)
}

fn element_at(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    match call.data_type(0)? {
        DataType::Map(..) => map_value(call),
        _ => item(call, if lenient { Index::FromOneLenient } else { Index::FromOne }),
    }
}

fn map_value(call: &Call<'_>) -> Result<ArrayRef> {
    let (map, keys) = (as_map(&call.array(0)?)?, call.array(1)?);
    if map.keys().data_type() != keys.data_type() {
        return Ok(arrow::array::new_null_array(call.return_type(), call.n_rows()));
    }
    let [known, wanted] = comparable([map.keys(), &keys])?;
    let picks: UInt32Array = (0..call.n_rows())
        .map(|row| {
            if map.is_null(row) || keys.is_null(row) {
                return None;
            }
            entry_range(&map, row).find(|idx| known.row(*idx) == wanted.row(row)).and_then(|idx| u32::try_from(idx).ok())
        })
        .collect();
    Ok(arrow::compute::take(map.values(), &picks, None)?)
}

fn struct_field(call: &Call<'_>) -> Result<ArrayRef> {
    field_of(&call.array(0)?, call.required_text(1)?)
}

/// A field of each struct, NULL where the struct is.
fn field_of(structs: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let structs = structs.as_struct_opt().ok_or_else(|| internal(format!("expected a struct, got {}", structs.data_type())))?;
    let column = structs.column_by_name(name).ok_or_else(|| internal(format!("no field '{name}'")))?;
    match structs.nulls() {
        Some(nulls) if nulls.null_count() > 0 => crate::cast::hide(column, nulls),
        _ => Ok(Arc::clone(column)),
    }
}

fn struct_fields(call: &Call<'_>) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let column = field_of(list.values(), call.required_text(1)?)?;
    let field = crate::types::element_field(column.data_type().clone());
    Ok(Arc::new(ListArray::try_new(field, list.offsets().clone(), column, list.nulls().cloned())?))
}

fn size(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let result = match array.data_type() {
        DataType::Map(..) => {
            let map = array.as_map();
            number_rows::<Int32Type>(call.n_rows(), |row| Ok(map.is_valid(row).then(|| entry_range(map, row).len() as i32)))?
        }
        _ => {
            let list = as_list(&array)?;
            number_rows::<Int32Type>(call.n_rows(), |row| Ok(list.is_valid(row).then(|| range_of(&list, row).len() as i32)))?
        }
    };
    Ok(Arc::new(result))
}

fn map_part(call: &Call<'_>, part: impl Fn(&MapArray) -> ArrayRef) -> Result<ArrayRef> {
    let map = as_map(&call.array(0)?)?;
    let values = part(&map);
    let DataType::List(field) = call.return_type() else { return Err(internal("expected an array type")) };
    let values = if values.data_type() == field.data_type() { values } else { arrow::compute::cast(&values, field.data_type())? };
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), map.offsets().clone(), values, map.nulls().cloned())?))
}
