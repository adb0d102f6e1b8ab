//! Strings: positions count characters from 1, as in Spark.
//!
//! Case mapping is Unicode's full mapping, trimming takes only blanks unless told otherwise.

mod compose;
mod convert;
mod encode;
mod format;
mod number_format;
mod search;
mod url;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::rows::{bytes, number, number_rows, slice_rows, text, text_rows};

/// The tables of this module.
pub(crate) const TABLES: &[&[FunctionDef]] = &[
    FUNCTIONS,
    compose::FUNCTIONS,
    convert::FUNCTIONS,
    encode::FUNCTIONS,
    format::FUNCTIONS,
    number_format::FUNCTIONS,
    search::FUNCTIONS,
    url::FUNCTIONS,
];

const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("upper", &[Arg::String], Returns::String, |call| case(call, true)).alias(&["ucase"]),
    FunctionDef::new("lower", &[Arg::String], Returns::String, |call| case(call, false)).alias(&["lcase"]),
    FunctionDef::new("initcap", &[Arg::String], Returns::String, initcap),
    // With two arguments the characters come first: `trim('x', s)`.
    FunctionDef::new("trim", &[Arg::String, Arg::String], Returns::String, |call| trim_first(call, true, true)).min(1),
    FunctionDef::new("ltrim", &[Arg::String, Arg::String], Returns::String, |call| trim_first(call, true, false)).min(1),
    FunctionDef::new("rtrim", &[Arg::String, Arg::String], Returns::String, |call| trim_first(call, false, true)).min(1),
    FunctionDef::new("btrim", &[Arg::String, Arg::String], Returns::String, |call| {
        let characters = if call.len() > 1 { Some(call.strings(1)?) } else { None };
        trim(&call.strings(0)?, characters.as_ref(), true, true)
    })
    .min(1),
    FunctionDef::new("substring", &[Arg::StringOrBinary, Arg::Int, Arg::Int], Returns::Same(0), |call| {
        let length = if call.len() > 2 { Some(call.primitive::<Int32Type>(2)?) } else { None };
        let position = call.primitive::<Int32Type>(1)?;
        slice(call, |row| {
            let length = match &length {
                Some(length) => number(length, row)?,
                None => i32::MAX,
            };
            Some((number(&position, row)?, length))
        })
    })
    .min(2)
    .alias(&["substr"]),
    FunctionDef::new("left", &[Arg::StringOrBinary, Arg::Int], Returns::Same(0), |call| {
        let length = call.primitive::<Int32Type>(1)?;
        slice(call, |row| Some((1, number(&length, row)?)))
    }),
    FunctionDef::new("right", &[Arg::StringOrBinary, Arg::Int], Returns::Same(0), |call| {
        let length = call.primitive::<Int32Type>(1)?;
        slice(call, |row| {
            let length = number(&length, row)?;
            Some(if length <= 0 { (1, 0) } else { (-length, i32::MAX) })
        })
    }),
    FunctionDef::new("length", &[Arg::StringOrBinary], Returns::Int, length).alias(&["len", "char_length", "character_length"]),
    FunctionDef::new("octet_length", &[Arg::StringOrBinary], Returns::Int, |call| {
        let values = call.binaries(0)?;
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| Ok(bytes(&values, row).map(|b| b.len() as i32)))?))
    }),
    FunctionDef::new("bit_length", &[Arg::StringOrBinary], Returns::Int, |call| {
        let values = call.binaries(0)?;
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| Ok(bytes(&values, row).map(|b| (b.len() as i32).wrapping_mul(8))))?))
    }),
];

fn case(call: &Call<'_>, upper: bool) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(text) = text(&values, row) else { return Ok(false) };
        if text.is_ascii() {
            out.push_str(text);
            if upper { out.make_ascii_uppercase() } else { out.make_ascii_lowercase() }
        } else if upper {
            out.extend(text.chars().flat_map(char::to_uppercase));
        } else {
            // The whole string, because of the final sigma.
            out.push_str(&text.to_lowercase());
        }
        Ok(true)
    })
}

/// Words are separated by blanks only.
fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(text) = text(&values, row) else { return Ok(false) };
        let mut start = true;
        for c in text.chars() {
            if start {
                out.extend(c.to_uppercase())
            } else {
                out.extend(c.to_lowercase())
            }
            start = c == ' ';
        }
        Ok(true)
    })
}

fn trim_first(call: &Call<'_>, left: bool, right: bool) -> Result<ArrayRef> {
    if call.len() > 1 { trim(&call.strings(1)?, Some(&call.strings(0)?), left, right) } else { trim(&call.strings(0)?, None, left, right) }
}

fn trim(values: &StringArray, characters: Option<&StringArray>, left: bool, right: bool) -> Result<ArrayRef> {
    Ok(slice_rows(values.len(), |row| {
        let mut result = text(values, row)?;
        let characters = match characters {
            Some(characters) => text(characters, row)?,
            None => " ",
        };
        if left {
            result = result.trim_start_matches(|c| characters.contains(c));
        }
        if right {
            result = result.trim_end_matches(|c| characters.contains(c));
        }
        Some(result)
    }))
}

/// The part of `text` from a position counted from 1 (from the end if negative).
pub(crate) fn substring(text: &str, position: i32, length: i32) -> &str {
    let n_chars = |text: &str| if text.is_ascii() { text.len() } else { text.chars().count() } as i64;
    let start = start_of(position, || n_chars(text));
    let end = if length == i32::MAX { i64::MAX } else { start + i64::from(length) };
    let from = start.max(0);
    if end <= from {
        return "";
    }
    let from = byte_offset(text, from);
    let rest = text.get(from..).unwrap_or("");
    let take = end.saturating_sub(start.max(0));
    rest.get(..byte_offset(rest, take)).unwrap_or("")
}

fn start_of(position: i32, len: impl FnOnce() -> i64) -> i64 {
    match position {
        0 => 0,
        position if position > 0 => i64::from(position) - 1,
        position => len() + i64::from(position),
    }
}

/// The byte offset of the `n`-th character, or the length.
pub(crate) fn byte_offset(text: &str, n: i64) -> usize {
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    // Characters are at least as many bytes: past the end needs no walk.
    if n >= text.len() {
        return text.len();
    }
    if text.as_bytes().iter().take(n).all(u8::is_ascii) {
        return n;
    }
    text.char_indices().nth(n).map_or(text.len(), |(offset, _)| offset)
}

fn slice(call: &Call<'_>, range: impl Fn(usize) -> Option<(i32, i32)>) -> Result<ArrayRef> {
    if call.data_type(0)? == DataType::Binary {
        let values = call.binaries(0)?;
        return crate::rows::binary_rows(call.n_rows(), |row, out| {
            let (Some(value), Some((position, length))) = (bytes(&values, row), range(row)) else { return Ok(false) };
            let start = start_of(position, || value.len() as i64);
            let end = if length == i32::MAX { i64::MAX } else { start + i64::from(length) };
            let clip = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(value.len());
            out.extend_from_slice(value.get(clip(start)..clip(end).max(clip(start))).unwrap_or(&[]));
            Ok(true)
        });
    }
    let values = call.strings(0)?;
    Ok(slice_rows(call.n_rows(), |row| {
        let (position, length) = range(row)?;
        Some(substring(text(&values, row)?, position, length))
    }))
}

fn length(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let result = if let Some(values) = array.as_binary_opt::<i32>() {
        number_rows::<Int32Type>(call.n_rows(), |row| Ok(bytes(values, row).map(|value| value.len() as i32)))?
    } else {
        let values = call.strings(0)?;
        number_rows::<Int32Type>(call.n_rows(), |row| Ok(text(&values, row).map(|value| value.chars().count() as i32)))?
    };
    Ok(Arc::new(result))
}

#[cfg(test)]
mod tests;
