//! Strings from numbers and back, and strings taken apart: `ascii`, `chr`, `conv`, `bin`, `str_to_map`, `sentences`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::data;
use crate::regexp::compile;
use crate::rows::{Memo, number, number_rows, text, text_rows};
use crate::types::{array_of, element_field, map_of};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("ascii", &[Arg::String], Returns::Int, |call| {
        let values = call.strings(0)?;
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            Ok(text(&values, row).map(|value| value.chars().next().map_or(0, |c| u32::from(c) as i32)))
        })?))
    }),
    FunctionDef::new("chr", &[Arg::Long], Returns::String, |call| {
        let values = call.primitive::<Int64Type>(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(code) = number(&values, row) else { return Ok(false) };
            if code >= 0 {
                // Only the lowest byte counts.
                out.push(char::from((code & 0xFF) as u8));
            }
            Ok(true)
        })
    })
    .alias(&["char"]),
    FunctionDef::new("bin", &[Arg::Long], Returns::String, |call| {
        let values = call.primitive::<Int64Type>(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = number(&values, row) else { return Ok(false) };
            let _ = write!(out, "{value:b}");
            Ok(true)
        })
    }),
    FunctionDef::new("conv", &[Arg::String, Arg::Int, Arg::Int], Returns::String, conv),
    FunctionDef::new("str_to_map", &[Arg::String, Arg::String, Arg::String], Returns::Rule(string_map), str_to_map).min(1),
    FunctionDef::new("sentences", &[Arg::String, Arg::String, Arg::String], Returns::Rule(sentences_type), sentences).min(1),
];

fn string_map(_: &Types<'_>) -> Result<DataType> {
    Ok(map_of(DataType::Utf8, DataType::Utf8))
}

fn sentences_type(_: &Types<'_>) -> Result<DataType> {
    Ok(array_of(array_of(DataType::Utf8)))
}

/// Reads as many digits as are valid, as an unsigned number; a negative target base prints signed.
fn conv(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let (from, to) = (call.primitive::<Int32Type>(1)?, call.primitive::<Int32Type>(2)?);
    text_rows(call.n_rows(), |row, out| {
        let (Some(value), Some(from), Some(to)) = (text(&values, row), number(&from, row), number(&to, row)) else {
            return Ok(false);
        };
        let radix = |base: i32| (2..=36).contains(&base.unsigned_abs()).then_some(base.unsigned_abs());
        let (Some(from_radix), Some(to_radix)) = (radix(from), radix(to)) else { return Ok(false) };
        let value = value.trim();
        if value.is_empty() || from < 0 {
            return Ok(false);
        }
        let negative = value.starts_with('-');
        let digits = value.strip_prefix('-').unwrap_or(value);
        let mut number = 0u64;
        for c in digits.chars() {
            let Some(digit) = c.to_digit(from_radix) else { break };
            number = match number.checked_mul(from_radix.into()).and_then(|n| n.checked_add(digit.into())) {
                Some(number) => number,
                None => return Err(crate::error::overflow("conv")),
            };
        }
        let mut magnitude = number;
        let mut minus = false;
        if negative {
            if to < 0 {
                minus = magnitude != 0;
            } else {
                magnitude = magnitude.wrapping_neg();
            }
        } else if to < 0 && (number as i64) < 0 {
            minus = true;
            magnitude = (number as i64).unsigned_abs();
        }
        let mut digits = Vec::new();
        loop {
            digits.push(char::from_digit((magnitude % u64::from(to_radix)) as u32, to_radix).unwrap_or('0'));
            magnitude /= u64::from(to_radix);
            if magnitude == 0 {
                break;
            }
        }
        if minus {
            out.push('-');
        }
        out.extend(digits.iter().rev().map(char::to_ascii_uppercase));
        Ok(true)
    })
}

fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let pairs = if call.len() > 1 { Some(call.strings(1)?) } else { None };
    let keys = if call.len() > 2 { Some(call.strings(2)?) } else { None };
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    let (mut pair_memo, mut key_memo) = (Memo::new(), Memo::new());
    for row in 0..call.n_rows() {
        let pair = pairs.as_ref().map_or(Some(","), |pairs| text(pairs, row));
        let key = keys.as_ref().map_or(Some(":"), |keys| text(keys, row));
        let (Some(value), Some(pair), Some(key)) = (text(&values, row), pair, key) else {
            builder.append(false)?;
            continue;
        };
        let pair = pair_memo.get(pair, |pattern| compile(pattern, "str_to_map"))?;
        let key = key_memo.get(key, |pattern| compile(pattern, "str_to_map"))?;
        let mut seen = std::collections::HashSet::new();
        for part in pair.split(value) {
            let (name, content) = match key.find(part).filter(|found| !found.is_empty()) {
                Some(found) => (part.get(..found.start()).unwrap_or(""), Some(part.get(found.end()..).unwrap_or(""))),
                None => (part, None),
            };
            if !seen.insert(name) {
                return Err(data("DUPLICATED_MAP_KEY", format!("the map key '{name}' appears twice")));
            }
            builder.keys().append_value(name);
            builder.values().append_option(content);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Sentences end at `.`, `!` or `?`; words are runs of letters, digits and apostrophes.
fn sentences(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let words = ListBuilder::new(StringBuilder::new()).with_field(element_field(DataType::Utf8));
    let mut builder = ListBuilder::new(words).with_field(element_field(array_of(DataType::Utf8)));
    for row in 0..call.n_rows() {
        let Some(value) = text(&values, row) else {
            builder.append(false);
            continue;
        };
        for sentence in value.split(['.', '!', '?']) {
            let mut words = sentence.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).peekable();
            if words.peek().is_none() {
                continue;
            }
            for word in words {
                builder.values().values().append_value(word);
            }
            builder.values().append(true);
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
