//! Making collections: `array`, `map`, `named_struct`, `map_from_arrays`, `concat`, `arrays_zip`, ...

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StructArray, UInt32Array, new_empty_array};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use datafusion::common::Result;
use millstream_formats::value_text::{ValueStyle, push_value};

use super::access::as_map;
use super::{Gather, as_list, comparable, entry_range, make_map, range_of};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal, invalid};
use crate::rows::{bytes, number, text, text_rows};
use crate::types::{array_of, element_of, key_value_of, map_of, struct_of};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("array", &[Arg::Common], Returns::Rule(|types| Ok(array_of(types.at(0)))), array).min(0).repeat(1).lenient(),
    FunctionDef::new("map", &[Arg::CommonKey, Arg::Common], Returns::Rule(map_type), map).min(0).repeat(2).lenient(),
    FunctionDef::new("named_struct", &[Arg::LiteralString, Arg::Any], Returns::Rule(named_struct_type), named_struct)
        .min(0)
        .repeat(2)
        .lenient(),
    // Fields are called `col1`, `col2`, ..; the analyzer uses `named_struct` where it knows better names.
    FunctionDef::new("struct", &[Arg::Any], Returns::Rule(struct_type), |call| {
        let columns = (0..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
        build_struct(call, columns)
    })
    .min(0)
    .repeat(1)
    .lenient(),
    FunctionDef::new("map_from_arrays", &[Arg::Array, Arg::Array], Returns::Rule(from_arrays_type), map_from_arrays),
    FunctionDef::new("map_from_entries", &[Arg::Array], Returns::Rule(from_entries_type), map_from_entries),
    FunctionDef::new("map_concat", &[Arg::Common], Returns::Rule(concat_map_type), map_concat).min(0).repeat(1),
    FunctionDef::new("concat", &[Arg::Concat], Returns::Rule(concat_type), concat).min(0).repeat(1),
    FunctionDef::new("arrays_zip", &[Arg::Array], Returns::Rule(zip_type), arrays_zip).min(0).repeat(1),
    FunctionDef::new("array_repeat", &[Arg::Any, Arg::Int], Returns::Rule(|types| Ok(array_of(types.at(0)))), |call| {
        let (values, counts) = (call.array(0)?, call.primitive::<Int32Type>(1)?);
        let mut gather = Gather::new(call.n_rows());
        let mut total = 0usize;
        for row in 0..call.n_rows() {
            let count = number(&counts, row);
            let n_times = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            total = total.saturating_add(n_times);
            if total > super::NEW_ELEMENTS_MAX {
                return Err(super::too_many());
            }
            for _ in 0..n_times {
                gather.pick(row);
            }
            gather.end_row(count.is_some())?;
        }
        gather.into_list(&values)
    })
    .lenient(),
];

/// Stacks the arguments and picks one of each per row.
fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let n_rows = call.n_rows();
    let columns = (0..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    let stacked = stack(&columns)?;
    let mut gather = Gather::new(n_rows);
    for row in 0..n_rows {
        for column in 0..columns.len() {
            gather.pick(column * n_rows + row);
        }
        gather.end_row(true)?;
    }
    gather.into_list(&stacked)
}

/// One column under the other.
pub(super) fn stack(columns: &[ArrayRef]) -> Result<ArrayRef> {
    if columns.is_empty() {
        return Ok(new_empty_array(&DataType::Null));
    }
    let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&columns)?)
}

fn map_type(types: &Types<'_>) -> Result<DataType> {
    if !types.len().is_multiple_of(2) {
        return Err(invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "map takes pairs of key and value"));
    }
    Ok(map_of(types.at(0), types.at(1)))
}

pub(super) fn null_key() -> datafusion::common::DataFusionError {
    data("NULL_MAP_KEY", "a map key cannot be NULL")
}

/// Builds maps and checks their keys: none NULL, none twice.
struct MapCheck<'a> {
    keys: &'a ArrayRef,
    rows: arrow::row::Rows,
    seen: std::collections::HashSet<Vec<u8>>,
}

impl<'a> MapCheck<'a> {
    fn new(keys: &'a ArrayRef) -> Result<Self> {
        let [rows] = comparable([keys])?;
        Ok(Self { keys, rows, seen: std::collections::HashSet::new() })
    }

    fn begin(&mut self) {
        self.seen.clear();
    }

    fn add(&mut self, idx: usize) -> Result<()> {
        if self.keys.is_null(idx) || self.keys.data_type() == &DataType::Null {
            return Err(null_key());
        }
        if !self.seen.insert(self.rows.row(idx).data().to_vec()) {
            let mut name = String::new();
            let style = ValueStyle::cast(millstream_formats::datetime::Zone::UTC);
            push_value(&mut name, self.keys, idx, &style).map_err(crate::error::external)?;
            return Err(data("DUPLICATED_MAP_KEY", format!("the map key '{name}' appears twice")));
        }
        Ok(())
    }
}

fn map(call: &Call<'_>) -> Result<ArrayRef> {
    let n_rows = call.n_rows();
    let columns = (0..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    let keys: Vec<ArrayRef> = columns.iter().step_by(2).cloned().collect();
    let values: Vec<ArrayRef> = columns.iter().skip(1).step_by(2).cloned().collect();
    let n_pairs = keys.len();
    let (keys, values) = (stack(&keys)?, stack(&values)?);
    let mut check = MapCheck::new(&keys)?;
    let mut gather = Gather::new(n_rows);
    for row in 0..n_rows {
        check.begin();
        for pair in 0..n_pairs {
            check.add(pair * n_rows + row)?;
            gather.pick(pair * n_rows + row);
        }
        gather.end_row(true)?;
    }
    gather.into_map(&keys, &values)
}

fn named_struct_type(types: &Types<'_>) -> Result<DataType> {
    if !types.len().is_multiple_of(2) {
        return Err(invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "named_struct takes pairs of name and value"));
    }
    let mut fields = Vec::with_capacity(types.len() / 2);
    for idx in (0..types.len()).step_by(2) {
        let name = types
            .text(idx)
            .ok_or_else(|| invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "named_struct: names must be string literals"))?;
        fields.push((name.to_string(), types.at(idx + 1)));
    }
    Ok(struct_of(fields))
}

fn struct_type(types: &Types<'_>) -> Result<DataType> {
    Ok(struct_of((0..types.len()).map(|idx| (format!("col{}", idx + 1), types.at(idx)))))
}

fn named_struct(call: &Call<'_>) -> Result<ArrayRef> {
    let columns = (1..call.len()).step_by(2).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    build_struct(call, columns)
}

fn build_struct(call: &Call<'_>, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.return_type() else { return Err(internal("expected a struct type")) };
    Ok(Arc::new(if fields.is_empty() {
        StructArray::new_empty_fields(call.n_rows(), None)
    } else {
        StructArray::try_new(fields.clone(), columns, None)?
    }))
}

fn from_arrays_type(types: &Types<'_>) -> Result<DataType> {
    Ok(map_of(element_of(&types.at(0))?, element_of(&types.at(1))?))
}

fn map_from_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let (keys, values) = (as_list(&call.array(0)?)?, as_list(&call.array(1)?)?);
    let mut check = MapCheck::new(keys.values())?;
    let mut offsets = vec![0i32];
    let (mut key_picks, mut value_picks, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.n_rows() {
        let is_valid = keys.is_valid(row) && values.is_valid(row);
        if is_valid {
            let (key_range, value_range) = (range_of(&keys, row), range_of(&values, row));
            if key_range.len() != value_range.len() {
                return Err(data(
                    "_LEGACY_ERROR_TEMP_2128",
                    format!("the key array has {} elements and the value array {}", key_range.len(), value_range.len()),
                ));
            }
            check.begin();
            for (key, value) in key_range.zip(value_range) {
                check.add(key)?;
                key_picks.push(key as u32);
                value_picks.push(value as u32);
            }
        }
        offsets.push(i32::try_from(key_picks.len()).map_err(|_| super::too_many())?);
        valid.push(is_valid);
    }
    make_map(
        arrow::compute::take(keys.values(), &UInt32Array::from(key_picks), None)?,
        arrow::compute::take(values.values(), &UInt32Array::from(value_picks), None)?,
        arrow::buffer::OffsetBuffer::new(offsets.into()),
        Some(valid.into()),
    )
}

fn from_entries_type(types: &Types<'_>) -> Result<DataType> {
    match element_of(&types.at(0))? {
        DataType::Struct(fields) => match fields.as_ref() {
            [key, value] => Ok(map_of(key.data_type().clone(), value.data_type().clone())),
            _ => Err(invalid("DATATYPE_MISMATCH.MAP_FROM_ENTRIES_WRONG_TYPE", "map_from_entries takes structs of two fields")),
        },
        _ => Err(invalid("DATATYPE_MISMATCH.MAP_FROM_ENTRIES_WRONG_TYPE", "map_from_entries takes an array of structs")),
    }
}

/// A NULL entry makes the whole map NULL.
fn map_from_entries(call: &Call<'_>) -> Result<ArrayRef> {
    use arrow::array::AsArray;
    let list = as_list(&call.array(0)?)?;
    let structs = list.values().as_struct_opt().ok_or_else(|| internal("expected an array of structs"))?;
    let (keys, values) = (structs.column(0), structs.column(1));
    let mut check = MapCheck::new(keys)?;
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        let range = range_of(&list, row);
        let valid = list.is_valid(row) && range.clone().all(|idx| structs.is_valid(idx));
        if valid {
            check.begin();
            for idx in range {
                check.add(idx)?;
                gather.pick(idx);
            }
        }
        gather.end_row(valid)?;
    }
    gather.into_map(keys, values)
}

fn concat_map_type(types: &Types<'_>) -> Result<DataType> {
    Ok(if types.is_empty() { map_of(DataType::Utf8, DataType::Utf8) } else { types.at(0) })
}

fn map_concat(call: &Call<'_>) -> Result<ArrayRef> {
    if call.len() == 0 {
        let (key, value) = key_value_of(call.return_type())?;
        let mut gather = Gather::new(call.n_rows());
        for _ in 0..call.n_rows() {
            gather.end_row(true)?;
        }
        return gather.into_map(&new_empty_array(&key), &new_empty_array(&value));
    }
    let maps = (0..call.len()).map(|idx| as_map(&call.array(idx)?)).collect::<Result<Vec<_>>>()?;
    let keys = stack(&maps.iter().map(|map| Arc::clone(map.keys())).collect::<Vec<_>>())?;
    let values = stack(&maps.iter().map(|map| Arc::clone(map.values())).collect::<Vec<_>>())?;
    let mut check = MapCheck::new(&keys)?;
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        let valid = maps.iter().all(|map| map.is_valid(row));
        if valid {
            check.begin();
            let mut base = 0;
            for map in &maps {
                for idx in entry_range(map, row) {
                    check.add(base + idx)?;
                    gather.pick(base + idx);
                }
                base += map.keys().len();
            }
        }
        gather.end_row(valid)?;
    }
    gather.into_map(&keys, &values)
}

fn concat_type(types: &Types<'_>) -> Result<DataType> {
    Ok(match types.at(0) {
        _ if types.is_empty() => DataType::Utf8,
        data_type @ (DataType::List(_) | DataType::Binary) => data_type,
        _ => DataType::Utf8,
    })
}

/// Strings, bytes or arrays one behind the other; NULL when one of them is.
fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    match call.return_type() {
        DataType::List(_) => {
            let lists = (0..call.len()).map(|idx| as_list(&call.array(idx)?)).collect::<Result<Vec<_>>>()?;
            let values = stack(&lists.iter().map(|list| Arc::clone(list.values())).collect::<Vec<_>>())?;
            let mut gather = Gather::new(call.n_rows());
            for row in 0..call.n_rows() {
                let valid = lists.iter().all(|list| list.is_valid(row));
                let mut base = 0;
                for list in &lists {
                    if valid {
                        range_of(list, row).for_each(|idx| gather.pick(base + idx));
                    }
                    base += list.values().len();
                }
                gather.end_row(valid)?;
            }
            gather.into_list(&values)
        }
        DataType::Binary => {
            let columns = (0..call.len()).map(|idx| call.binaries(idx)).collect::<Result<Vec<_>>>()?;
            crate::rows::binary_rows(call.n_rows(), |row, out| {
                for column in &columns {
                    let Some(value) = bytes(column, row) else { return Ok(false) };
                    out.extend_from_slice(value);
                }
                Ok(true)
            })
        }
        _ => {
            let columns = (0..call.len()).map(|idx| call.strings(idx)).collect::<Result<Vec<_>>>()?;
            text_rows(call.n_rows(), |row, out| {
                for column in &columns {
                    let Some(value) = text(column, row) else { return Ok(false) };
                    out.push_str(value);
                }
                Ok(true)
            })
        }
    }
}

fn zip_type(types: &Types<'_>) -> Result<DataType> {
    let fields: Fields =
        (0..types.len()).map(|idx| Ok(Field::new(idx.to_string(), element_of(&types.at(idx))?, true))).collect::<Result<Vec<_>>>()?.into();
    Ok(array_of(DataType::Struct(fields)))
}

/// Fields are numbered from 0; shorter arrays are filled up with NULL.
fn arrays_zip(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = (0..call.len()).map(|idx| as_list(&call.array(idx)?)).collect::<Result<Vec<_>>>()?;
    let mut offsets = vec![0i32];
    let mut valid = Vec::new();
    let mut picks: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
    for row in 0..call.n_rows() {
        let is_valid = lists.iter().all(|list| list.is_valid(row));
        let longest = lists.iter().map(|list| range_of(list, row).len()).max().filter(|_| is_valid).unwrap_or(0);
        for (list, picks) in lists.iter().zip(&mut picks) {
            let mut range = range_of(list, row);
            picks.extend((0..longest).map(|_| range.next().map(|idx| idx as u32)));
        }
        let total = offsets.last().copied().unwrap_or(0).checked_add(longest as i32);
        offsets.push(total.ok_or_else(super::too_many)?);
        valid.push(is_valid);
    }
    let DataType::List(field) = call.return_type() else { return Err(internal("expected an array type")) };
    let DataType::Struct(fields) = field.data_type() else { return Err(internal("expected a struct type")) };
    let columns = lists
        .iter()
        .zip(picks)
        .map(|(list, picks)| Ok(arrow::compute::take(list.values(), &UInt32Array::from(picks), None)?))
        .collect::<Result<Vec<_>>>()?;
    let structs =
        if fields.is_empty() { StructArray::new_empty_fields(0, None) } else { StructArray::try_new(fields.clone(), columns, None)? };
    let offsets = arrow::buffer::OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, Arc::new(structs), Some(valid.into()))?))
}
