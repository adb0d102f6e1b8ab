//! Changing arrays: `slice`, `flatten`, `reverse`, `sort_array`, `array_insert`, `array_remove`, `array_join`, ...

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::Result;
use millstream_core::random::SparkRandom;

use super::build::stack;
use super::{Gather, as_list, comparable, range_of};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal};
use crate::rows::{boolean, number, text, text_rows};
use crate::types::element_of;

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("slice", &[Arg::Array, Arg::Int, Arg::Int], Returns::Same(0), slice),
    FunctionDef::new("flatten", &[Arg::Array], Returns::Rule(|types: &Types<'_>| element_of(&types.at(0))), flatten),
    FunctionDef::new("reverse", &[Arg::Any], Returns::Rule(reverse_type), reverse),
    // The second argument is a row's random bits, which the analyzer adds.
    FunctionDef::new("shuffle", &[Arg::Array, Arg::Long], Returns::Same(0), shuffle),
    FunctionDef::new("sort_array", &[Arg::Array, Arg::Boolean], Returns::Same(0), |call| {
        let ascending = if call.len() > 1 { Some(call.booleans(1)?) } else { None };
        // NULL counts as the smallest.
        sort(call, |row| ascending.as_ref().is_none_or(|values| boolean(values, row).unwrap_or(true)), false)
    })
    .min(1),
    // Without a comparison function: ascending, NULL last.
    FunctionDef::new("array_sort", &[Arg::Array], Returns::Same(0), |call| sort(call, |_| true, true)),
    FunctionDef::new("array_append", &[Arg::Array, Arg::ElementOf(0)], Returns::Same(0), |call| insert_end(call, false)).lenient(),
    FunctionDef::new("array_prepend", &[Arg::Array, Arg::ElementOf(0)], Returns::Same(0), |call| insert_end(call, true)).lenient(),
    FunctionDef::new("array_insert", &[Arg::Array, Arg::Int, Arg::ElementOf(0)], Returns::Same(0), array_insert).lenient(),
    FunctionDef::new("array_remove", &[Arg::Array, Arg::ElementOf(0)], Returns::Same(0), |call| {
        let (list, elements) = (as_list(&call.array(0)?)?, call.array(1)?);
        let [values, unwanted] = comparable([list.values(), &elements])?;
        let mut gather = Gather::new(call.n_rows());
        for row in 0..call.n_rows() {
            let valid = list.is_valid(row) && elements.is_valid(row);
            if valid {
                range_of(&list, row).filter(|idx| values.row(*idx) != unwanted.row(row)).for_each(|idx| gather.pick(idx));
            }
            gather.end_row(valid)?;
        }
        gather.into_list(list.values())
    }),
    FunctionDef::new("array_compact", &[Arg::Array], Returns::Same(0), |call| {
        let list = as_list(&call.array(0)?)?;
        let nulls = list.values().logical_nulls();
        let mut gather = Gather::new(call.n_rows());
        for row in 0..call.n_rows() {
            range_of(&list, row).filter(|idx| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*idx))).for_each(|idx| gather.pick(idx));
            gather.end_row(list.is_valid(row))?;
        }
        gather.into_list(list.values())
    }),
    FunctionDef::new("array_join", &[Arg::Strings, Arg::String, Arg::String], Returns::String, array_join).min(2),
];

fn shuffle(call: &Call<'_>) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let bits = call.primitive::<Int64Type>(1)?;
    let mut gather = Gather::new(call.n_rows());
    let mut order: Vec<usize> = Vec::new();
    for row in 0..call.n_rows() {
        let seed = number(&bits, row).filter(|_| list.is_valid(row));
        if let Some(seed) = seed {
            let mut random = SparkRandom::new(seed);
            order.clear();
            order.extend(range_of(&list, row));
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            order.iter().for_each(|idx| gather.pick(*idx));
        }
        gather.end_row(seed.is_some())?;
    }
    gather.into_list(list.values())
}

fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let (starts, lengths) = (call.primitive::<Int32Type>(1)?, call.primitive::<Int32Type>(2)?);
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        let (Some(start), Some(length)) = (number(&starts, row), number(&lengths, row)) else {
            gather.end_row(false)?;
            continue;
        };
        if list.is_null(row) {
            gather.end_row(false)?;
            continue;
        }
        if start == 0 {
            return Err(data("INVALID_PARAMETER_VALUE.START", "slice: the start must not be 0: elements count from 1"));
        }
        let Ok(length) = usize::try_from(length) else {
            return Err(data("INVALID_PARAMETER_VALUE.LENGTH", format!("slice: the length {length} is negative")));
        };
        let range = range_of(&list, row);
        let first = if start > 0 { i64::from(start) - 1 } else { range.len() as i64 + i64::from(start) };
        if let Ok(first) = usize::try_from(first) {
            range.skip(first).take(length).for_each(|idx| gather.pick(idx));
        }
        gather.end_row(true)?;
    }
    gather.into_list(list.values())
}

fn flatten(call: &Call<'_>) -> Result<ArrayRef> {
    let outer = as_list(&call.array(0)?)?;
    let inner = as_list(outer.values())?;
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        let range = range_of(&outer, row);
        let valid = outer.is_valid(row) && range.clone().all(|idx| inner.is_valid(idx));
        if valid {
            range.flat_map(|idx| range_of(&inner, idx)).for_each(|idx| gather.pick(idx));
        }
        gather.end_row(valid)?;
    }
    gather.into_list(inner.values())
}

fn reverse_type(types: &Types<'_>) -> Result<DataType> {
    Ok(match types.at(0) {
        same @ (DataType::List(_) | DataType::Binary) => same,
        _ => DataType::Utf8,
    })
}

fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    if let Some(list) = array.as_list_opt::<i32>() {
        let mut gather = Gather::new(call.n_rows());
        for row in 0..call.n_rows() {
            range_of(list, row).rev().for_each(|idx| gather.pick(idx));
            gather.end_row(list.is_valid(row))?;
        }
        return gather.into_list(list.values());
    }
    if let Some(values) = array.as_binary_opt::<i32>() {
        return crate::rows::binary_rows(call.n_rows(), |row, out| {
            let Some(value) = crate::rows::bytes(values, row) else { return Ok(false) };
            out.extend(value.iter().rev());
            Ok(true)
        });
    }
    let values = call.strings(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(value) = text(&values, row) else { return Ok(false) };
        out.extend(value.chars().rev());
        Ok(true)
    })
}

fn sort(call: &Call<'_>, ascending: impl Fn(usize) -> bool, nulls_last: bool) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let values = list.values();
    let [rows] = comparable([values])?;
    let mut gather = Gather::new(call.n_rows());
    let mut picks: Vec<usize> = Vec::new();
    for row in 0..call.n_rows() {
        picks.clear();
        picks.extend(range_of(&list, row));
        let ascending = ascending(row);
        picks.sort_by(|a, b| {
            let order = match (values.is_null(*a), values.is_null(*b)) {
                (true, true) => return Ordering::Equal,
                (true, false) if nulls_last => return Ordering::Greater,
                (false, true) if nulls_last => return Ordering::Less,
                _ => rows.row(*a).cmp(&rows.row(*b)),
            };
            if ascending { order } else { order.reverse() }
        });
        picks.iter().for_each(|idx| gather.pick(*idx));
        gather.end_row(list.is_valid(row))?;
    }
    gather.into_list(values)
}

fn insert_end(call: &Call<'_>, first: bool) -> Result<ArrayRef> {
    let (list, elements) = (as_list(&call.array(0)?)?, call.array(1)?);
    let base = list.values().len();
    let values = stack(&[list.values().clone(), elements])?;
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        if list.is_valid(row) {
            if first {
                gather.pick(base + row);
            }
            range_of(&list, row).for_each(|idx| gather.pick(idx));
            if !first {
                gather.pick(base + row);
            }
        }
        gather.end_row(list.is_valid(row))?;
    }
    gather.into_list(&values)
}

/// A position past either end fills the gap with NULL; negative positions count from behind the last element.
fn array_insert(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, positions, elements) = (as_list(&call.array(0)?)?, call.primitive::<Int32Type>(1)?, call.array(2)?);
    let base = list.values().len();
    let values = stack(&[list.values().clone(), elements])?;
    let mut gather = Gather::new(call.n_rows());
    for row in 0..call.n_rows() {
        let Some(position) = number(&positions, row).filter(|_| list.is_valid(row)) else {
            gather.end_row(false)?;
            continue;
        };
        if position == 0 {
            return Err(data("INVALID_INDEX_OF_ZERO", "the index 0 is invalid: elements count from 1, or from -1 backwards"));
        }
        let range = range_of(&list, row);
        let len = range.len() as i64;
        // Where the new element goes, counted from 0; below 0 means a gap in front.
        let at = if position > 0 { i64::from(position) - 1 } else { len + i64::from(position) + 1 };
        if at.unsigned_abs() > super::NEW_ELEMENTS_MAX as u64 {
            return Err(super::too_many());
        }
        if at < 0 {
            gather.pick(base + row);
            (0..-at).for_each(|_| gather.pick_null());
            range.for_each(|idx| gather.pick(idx));
        } else {
            let before = at.min(len) as usize;
            range.clone().take(before).for_each(|idx| gather.pick(idx));
            (0..at - len).for_each(|_| gather.pick_null());
            gather.pick(base + row);
            range.skip(before).for_each(|idx| gather.pick(idx));
        }
        gather.end_row(true)?;
    }
    gather.into_list(&values)
}

fn array_join(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, separators) = (as_list(&call.array(0)?)?, call.strings(1)?);
    let replacements = if call.len() > 2 { Some(call.strings(2)?) } else { None };
    let values = match list.values().data_type() {
        DataType::Null => arrow::array::new_null_array(&DataType::Utf8, list.values().len()),
        _ => list.values().clone(),
    };
    let values = values.as_string_opt::<i32>().ok_or_else(|| internal("array_join needs strings"))?;
    text_rows(call.n_rows(), |row, out| {
        let Some(separator) = text(&separators, row).filter(|_| list.is_valid(row)) else { return Ok(false) };
        let replacement = match &replacements {
            Some(replacements) => match text(replacements, row) {
                Some(replacement) => Some(replacement),
                None => return Ok(false),
            },
            None => None,
        };
        let mut first = true;
        for value in range_of(&list, row).filter_map(|idx| text(values, idx).or(replacement)) {
            if !std::mem::take(&mut first) {
                out.push_str(separator);
            }
            out.push_str(value);
        }
        Ok(true)
    })
}
