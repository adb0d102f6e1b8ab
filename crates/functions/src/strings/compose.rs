//! Strings put together: `concat_ws`, `lpad`, `repeat`, `replace`, `translate`, `overlay`, `mask`, ...
//!
//! `concat` is with the collections, since it joins arrays too.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

use super::{byte_offset, substring};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal};
use crate::rows::{TEXT_BYTES_MAX, bytes, number, text, text_rows, too_long};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("concat_ws", &[Arg::String, Arg::StringOrStrings], Returns::String, concat_ws).min(1).repeat(1).lenient(),
    FunctionDef::new("lpad", &[Arg::StringOrBinary, Arg::Int, Arg::StringOrBinary], Returns::Same(0), |call| pad(call, true)).min(2),
    FunctionDef::new("rpad", &[Arg::StringOrBinary, Arg::Int, Arg::StringOrBinary], Returns::Same(0), |call| pad(call, false)).min(2),
    FunctionDef::new("repeat", &[Arg::String, Arg::Int], Returns::String, |call| {
        let (values, times) = (call.strings(0)?, call.primitive::<Int32Type>(1)?);
        text_rows(call.n_rows(), |row, out| {
            let (Some(text), Some(times)) = (text(&values, row), number(&times, row)) else { return Ok(false) };
            repeat(out, text, times)?;
            Ok(true)
        })
    }),
    FunctionDef::new("space", &[Arg::Int], Returns::String, |call| {
        let times = call.primitive::<Int32Type>(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(times) = number(&times, row) else { return Ok(false) };
            repeat(out, " ", times)?;
            Ok(true)
        })
    }),
    FunctionDef::new("replace", &[Arg::String, Arg::String, Arg::String], Returns::String, |call| {
        let (values, from) = (call.strings(0)?, call.strings(1)?);
        let to = if call.len() > 2 { Some(call.strings(2)?) } else { None };
        text_rows(call.n_rows(), |row, out| {
            let to = match &to {
                Some(to) => text(to, row),
                None => Some(""),
            };
            let (Some(value), Some(from), Some(to)) = (text(&values, row), text(&from, row), to) else {
                return Ok(false);
            };
            if from.is_empty() {
                out.push_str(value);
                return Ok(true);
            }
            let mut rest = value;
            while let Some((before, after)) = rest.split_once(from) {
                out.push_str(before);
                out.push_str(to);
                rest = after;
                if out.len() > TEXT_BYTES_MAX {
                    return Err(too_long());
                }
            }
            out.push_str(rest);
            Ok(true)
        })
    })
    .min(2),
    FunctionDef::new("translate", &[Arg::String, Arg::String, Arg::String], Returns::String, |call| {
        let (values, from, to) = (call.strings(0)?, call.strings(1)?, call.strings(2)?);
        text_rows(call.n_rows(), |row, out| {
            let (Some(value), Some(from), Some(to)) = (text(&values, row), text(&from, row), text(&to, row)) else {
                return Ok(false);
            };
            for c in value.chars() {
                match from.chars().position(|f| f == c) {
                    Some(idx) => out.extend(to.chars().nth(idx)),
                    None => out.push(c),
                }
            }
            Ok(true)
        })
    }),
    FunctionDef::new("overlay", &[Arg::StringOrBinary, Arg::StringOrBinary, Arg::Int, Arg::Int], Returns::Same(0), |call| {
        if call.data_type(0)? == DataType::Binary {
            return overlay_binary(call);
        }
        let (values, with, at) = (call.strings(0)?, call.strings(1)?, call.primitive::<Int32Type>(2)?);
        let length = if call.len() > 3 { Some(call.primitive::<Int32Type>(3)?) } else { None };
        text_rows(call.n_rows(), |row, out| {
            let length = match &length {
                Some(length) => number(length, row),
                None => Some(-1),
            };
            let (Some(value), Some(with), Some(at), Some(length)) = (text(&values, row), text(&with, row), number(&at, row), length) else {
                return Ok(false);
            };
            let length = if length >= 0 { length } else { with.chars().count() as i32 };
            out.push_str(substring(value, 1, at.saturating_sub(1)));
            out.push_str(with);
            out.push_str(substring(value, at.saturating_add(length), i32::MAX));
            Ok(true)
        })
    })
    .min(3),
    FunctionDef::new("elt", &[Arg::Int, Arg::Common], Returns::Rule(elt_type), elt).repeat(1).lenient(),
    FunctionDef::new("mask", &[Arg::String, Arg::String, Arg::String, Arg::String, Arg::String], Returns::String, mask).min(1).lenient(),
    FunctionDef::new("quote", &[Arg::String], Returns::String, |call| {
        let values = call.strings(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = text(&values, row) else { return Ok(false) };
            out.push('\'');
            for c in value.chars() {
                if matches!(c, '\'' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('\'');
            Ok(true)
        })
    }),
];

fn repeat(out: &mut String, text: &str, times: i32) -> Result<()> {
    let times = usize::try_from(times).unwrap_or(0);
    if text.len().saturating_mul(times) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    out.extend(std::iter::repeat_n(text, times));
    Ok(())
}

/// NULL values are left out; a NULL separator gives NULL. Arrays are spread.
fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.strings(0)?;
    let arrays = (1..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    text_rows(call.n_rows(), |row, out| {
        let Some(separator) = text(&separator, row) else { return Ok(false) };
        let mut first = true;
        let mut push = |out: &mut String, value: &str| {
            if !std::mem::take(&mut first) {
                out.push_str(separator);
            }
            out.push_str(value);
        };
        for array in &arrays {
            if array.is_null(row) {
                continue;
            }
            match array.data_type() {
                DataType::Null => {}
                DataType::List(_) => {
                    let values = array.as_list::<i32>().value(row);
                    if values.data_type() == &DataType::Null {
                        continue;
                    }
                    let values = values.as_string_opt::<i32>().ok_or_else(|| internal("concat_ws needs strings"))?;
                    for value in values.iter().flatten() {
                        push(out, value);
                    }
                }
                _ => {
                    let values = array.as_string_opt::<i32>().ok_or_else(|| internal("concat_ws needs strings"))?;
                    push(out, values.value(row));
                }
            }
        }
        Ok(true)
    })
}

fn pad(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    let target = call.primitive::<Int32Type>(1)?;
    if call.data_type(0)? == DataType::Binary {
        let values = call.binaries(0)?;
        let pads = if call.len() > 2 { Some(call.binaries(2)?) } else { None };
        return crate::rows::binary_rows(call.n_rows(), |row, out| {
            let pad = match &pads {
                Some(pads) => bytes(pads, row),
                None => Some(&[0u8][..]),
            };
            let (Some(value), Some(length), Some(pad)) = (bytes(&values, row), number(&target, row), pad) else {
                return Ok(false);
            };
            let length = usize::try_from(length).unwrap_or(0);
            let missing = length.saturating_sub(value.len());
            let kept = value.get(..length.min(value.len())).unwrap_or(value);
            if left {
                out.extend(pad.iter().cycle().take(missing));
                out.extend_from_slice(kept);
            } else {
                out.extend_from_slice(kept);
                out.extend(pad.iter().cycle().take(missing));
            }
            Ok(true)
        });
    }
    let values = call.strings(0)?;
    let pads = if call.len() > 2 { Some(call.strings(2)?) } else { None };
    text_rows(call.n_rows(), |row, out| {
        let pad = match &pads {
            Some(pads) => text(pads, row),
            None => Some(" "),
        };
        let (Some(value), Some(length), Some(pad)) = (text(&values, row), number(&target, row), pad) else {
            return Ok(false);
        };
        let length = usize::try_from(length).unwrap_or(0);
        if length > TEXT_BYTES_MAX / 4 {
            return Err(too_long());
        }
        let n_chars = value.chars().count();
        let missing = length.saturating_sub(n_chars);
        let kept = if n_chars > length { value.get(..byte_offset(value, length as i64)).unwrap_or(value) } else { value };
        if !left {
            out.push_str(kept);
        }
        out.extend(pad.chars().cycle().take(if pad.is_empty() { 0 } else { missing }));
        if left {
            out.push_str(kept);
        }
        Ok(true)
    })
}

fn overlay_binary(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, with, at) = (call.binaries(0)?, call.binaries(1)?, call.primitive::<Int32Type>(2)?);
    let length = if call.len() > 3 { Some(call.primitive::<Int32Type>(3)?) } else { None };
    crate::rows::binary_rows(call.n_rows(), |row, out| {
        let length = match &length {
            Some(length) => number(length, row),
            None => Some(-1),
        };
        let (Some(value), Some(with), Some(at), Some(length)) = (bytes(&values, row), bytes(&with, row), number(&at, row), length) else {
            return Ok(false);
        };
        let clip = |offset: i64| usize::try_from(offset).unwrap_or(0).min(value.len());
        let start = clip(i64::from(at) - 1);
        let length = if length >= 0 { i64::from(length) } else { with.len() as i64 };
        out.extend_from_slice(value.get(..start).unwrap_or(&[]));
        out.extend_from_slice(with);
        out.extend_from_slice(value.get(clip(i64::from(at) - 1 + length)..).unwrap_or(&[]));
        Ok(true)
    })
}

fn elt_type(types: &Types<'_>) -> Result<DataType> {
    Ok(if types.at(1) == DataType::Binary { DataType::Binary } else { DataType::Utf8 })
}

fn elt(call: &Call<'_>) -> Result<ArrayRef> {
    let index = call.primitive::<Int32Type>(0)?;
    let values = (1..call.len()).map(|idx| call.strings(idx)).collect::<Result<Vec<_>>>()?;
    text_rows(call.n_rows(), |row, out| {
        let Some(index) = number(&index, row) else { return Ok(false) };
        let column = usize::try_from(index).ok().and_then(|index| index.checked_sub(1)).and_then(|idx| values.get(idx));
        let Some(column) = column else {
            return Err(data("INVALID_ARRAY_INDEX", format!("the index {index} is out of bounds: there are {} values", values.len())));
        };
        match text(column, row) {
            Some(value) => out.push_str(value),
            None => return Ok(false),
        }
        Ok(true)
    })
}

/// NULL in place of a mask character keeps the characters of that class.
fn mask(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let masks = (1..call.len()).map(|idx| call.strings(idx)).collect::<Result<Vec<_>>>()?;
    let of = |class: usize, default: Option<char>, row: usize| match masks.get(class) {
        Some(column) => text(column, row).and_then(|text| text.chars().next()),
        None => default,
    };
    text_rows(call.n_rows(), |row, out| {
        let Some(value) = text(&values, row) else { return Ok(false) };
        let (upper, lower, digit, other) = (of(0, Some('X'), row), of(1, Some('x'), row), of(2, Some('n'), row), of(3, None, row));
        out.extend(value.chars().map(|c| {
            let mask = if c.is_uppercase() {
                upper
            } else if c.is_lowercase() {
                lower
            } else if c.is_ascii_digit() {
                digit
            } else {
                other
            };
            mask.unwrap_or(c)
        }));
        Ok(true)
    })
}
