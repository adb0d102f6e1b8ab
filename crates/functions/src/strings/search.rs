//! Searching in strings: `instr`, `locate`, `contains`, `split_part`, `substring_index`, `levenshtein`, ...

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::Int32Type;
use datafusion::common::Result;

use super::byte_offset;
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::data;
use crate::rows::{bool_rows, bytes, number, number_rows, slice_rows, text, text_rows};

const TWO: &[Arg] = &[Arg::String, Arg::String];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("instr", &[Arg::String, Arg::String, Arg::Int, Arg::Int], Returns::Int, |call| {
        let (values, wanted) = (call.strings(0)?, call.strings(1)?);
        if call.len() == 2 {
            return positions(call, &wanted, &values, None);
        }
        let from = call.primitive::<Int32Type>(2)?;
        let occurrence = if call.len() > 3 { Some(call.primitive::<Int32Type>(3)?) } else { None };
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            let occurrence = match &occurrence {
                Some(occurrence) => number(occurrence, row),
                None => Some(1),
            };
            let (Some(value), Some(wanted), Some(from), Some(occurrence)) =
                (text(&values, row), text(&wanted, row), number(&from, row), occurrence)
            else {
                return Ok(None);
            };
            Ok(Some(nth_position(value, wanted, from, occurrence)))
        })?))
    })
    .min(2),
    FunctionDef::new("locate", &[Arg::String, Arg::String, Arg::Int], Returns::Int, locate).min(2).alias(&["position"]).lenient(),
    FunctionDef::new("contains", &[Arg::StringOrBinary, Arg::StringOrBinary], Returns::Boolean, |call| {
        bytes_test(call, |value, wanted| wanted.is_empty() || find(value, wanted).is_some())
    }),
    FunctionDef::new("startswith", &[Arg::StringOrBinary, Arg::StringOrBinary], Returns::Boolean, |call| {
        bytes_test(call, <[u8]>::starts_with)
    }),
    FunctionDef::new("endswith", &[Arg::StringOrBinary, Arg::StringOrBinary], Returns::Boolean, |call| bytes_test(call, <[u8]>::ends_with)),
    FunctionDef::new("find_in_set", TWO, Returns::Int, |call| {
        let (values, sets) = (call.strings(0)?, call.strings(1)?);
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            let (Some(value), Some(set)) = (text(&values, row), text(&sets, row)) else { return Ok(None) };
            if value.contains(',') {
                return Ok(Some(0));
            }
            Ok(Some(set.split(',').position(|part| part == value).map_or(0, |idx| idx as i32 + 1)))
        })?))
    }),
    FunctionDef::new("split_part", &[Arg::String, Arg::String, Arg::Int], Returns::String, split_part),
    FunctionDef::new("substring_index", &[Arg::String, Arg::String, Arg::Int], Returns::String, |call| {
        let (values, separators, counts) = (call.strings(0)?, call.strings(1)?, call.primitive::<Int32Type>(2)?);
        Ok(slice_rows(call.n_rows(), |row| Some(substring_index(text(&values, row)?, text(&separators, row)?, number(&counts, row)?))))
    }),
    FunctionDef::new("levenshtein", &[Arg::String, Arg::String, Arg::Int], Returns::Int, |call| {
        let (a, b) = (call.strings(0)?, call.strings(1)?);
        let limit = if call.len() > 2 { Some(call.primitive::<Int32Type>(2)?) } else { None };
        let mut costs = Vec::new();
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            let (Some(a), Some(b)) = (text(&a, row), text(&b, row)) else { return Ok(None) };
            let distance = levenshtein(a, b, &mut costs);
            Ok(match &limit {
                Some(limit) => number(limit, row).map(|limit| if distance > limit { -1 } else { distance }),
                None => Some(distance),
            })
        })?))
    })
    .min(2),
    FunctionDef::new("soundex", &[Arg::String], Returns::String, |call| {
        let values = call.strings(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = text(&values, row) else { return Ok(false) };
            soundex(value, out);
            Ok(true)
        })
    }),
    FunctionDef::new("luhn_check", &[Arg::String], Returns::Boolean, |call| {
        let values = call.strings(0)?;
        bool_rows(call.n_rows(), |row| Ok(text(&values, row).map(luhn)))
    }),
    FunctionDef::new("is_valid_utf8", &[Arg::StringOrBinary], Returns::Boolean, |call| {
        let values = call.binaries(0)?;
        bool_rows(call.n_rows(), |row| Ok(bytes(&values, row).map(|value| std::str::from_utf8(value).is_ok())))
    }),
];

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// UTF-8 is self-synchronising: bytes may be compared in place of characters.
fn bytes_test(call: &Call<'_>, test: impl Fn(&[u8], &[u8]) -> bool) -> Result<ArrayRef> {
    let (values, wanted) = (call.binaries(0)?, call.binaries(1)?);
    bool_rows(call.n_rows(), |row| {
        Ok(match (bytes(&values, row), bytes(&wanted, row)) {
            (Some(value), Some(wanted)) => Some(test(value, wanted)),
            _ => None,
        })
    })
}

/// The character position (from 1) of `wanted` in `value` at or behind `from` (from 1); 0 for none.
fn position_of(value: &str, wanted: &str, from: i32) -> i32 {
    if from < 1 {
        return 0;
    }
    let offset = byte_offset(value, i64::from(from) - 1);
    if i64::from(from) - 1 > value.chars().count() as i64 {
        return 0;
    }
    let rest = value.get(offset..).unwrap_or("");
    match rest.find(wanted) {
        Some(at) => from + rest.get(..at).map_or(0, |before| before.chars().count()) as i32,
        None => 0,
    }
}

/// The n-th occurrence at or behind `from`; a negative `from` searches backwards from that end.
fn nth_position(value: &str, wanted: &str, from: i32, occurrence: i32) -> i32 {
    let Ok(skip) = usize::try_from(i64::from(occurrence) - 1) else { return 0 };
    let starts = || value.char_indices().enumerate().filter(|(_, (at, _))| value.get(*at..).is_some_and(|rest| rest.starts_with(wanted)));
    let found = if from > 0 {
        starts().map(|(idx, _)| idx as i32 + 1).filter(|position| *position >= from).nth(skip)
    } else if from < 0 {
        let last = value.chars().count() as i64 + 1 + i64::from(from);
        let mut hits: Vec<i32> = starts().map(|(idx, _)| idx as i32 + 1).filter(|position| i64::from(*position) <= last).collect();
        hits.reverse();
        hits.get(skip).copied()
    } else {
        None
    };
    found.unwrap_or(0)
}

fn positions(call: &Call<'_>, wanted: &StringArray, values: &StringArray, from: Option<&arrow::array::Int32Array>) -> Result<ArrayRef> {
    Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
        // A NULL start finds nothing, instead of giving NULL.
        let from = match from {
            Some(from) => number(from, row).unwrap_or(0),
            None => 1,
        };
        Ok(match (text(wanted, row), text(values, row)) {
            (Some(wanted), Some(value)) => Some(position_of(value, wanted, from)),
            _ => None,
        })
    })?))
}

fn locate(call: &Call<'_>) -> Result<ArrayRef> {
    let (wanted, values) = (call.strings(0)?, call.strings(1)?);
    let from = if call.len() > 2 { Some(call.primitive::<Int32Type>(2)?) } else { None };
    positions(call, &wanted, &values, from.as_ref())
}

fn split_part(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, separators, parts) = (call.strings(0)?, call.strings(1)?, call.primitive::<Int32Type>(2)?);
    text_rows(call.n_rows(), |row, out| {
        let (Some(value), Some(separator), Some(part)) = (text(&values, row), text(&separators, row), number(&parts, row)) else {
            return Ok(false);
        };
        let nth = |count: i32| usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(1);
        let found = match part {
            0 => return Err(data("INVALID_INDEX_OF_ZERO", "the index 0 is invalid: positions count from 1 or from -1")),
            // An empty separator does not split.
            1 | -1 if separator.is_empty() => Some(value),
            _ if separator.is_empty() => None,
            part if part > 0 => value.split(separator).nth(nth(part)),
            part => value.rsplit(separator).nth(nth(part.saturating_neg())),
        };
        out.push_str(found.unwrap_or(""));
        Ok(true)
    })
}

fn substring_index<'a>(value: &'a str, separator: &str, count: i32) -> &'a str {
    if separator.is_empty() || count == 0 {
        return "";
    }
    let nth = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) - 1;
    let bytes = separator.len();
    if count > 0 {
        // Matches may overlap: the next search starts one character on.
        let mut from = 0;
        let mut found = None;
        for _ in 0..=nth {
            let Some(at) = value.get(from..).and_then(|rest| rest.find(separator)) else { return value };
            found = Some(from + at);
            from += at + value.get(from + at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        }
        found.and_then(|at| value.get(..at)).unwrap_or(value)
    } else {
        let mut end = value.len();
        let mut found = None;
        for _ in 0..=nth {
            let Some(at) = value.get(..end).and_then(|head| head.rfind(separator)) else { return value };
            found = Some(at);
            end = value.get(..at + bytes).map_or(at, |head| head.char_indices().next_back().map_or(at, |(last, _)| last.max(at)));
        }
        found.and_then(|at| value.get(at + bytes..)).unwrap_or(value)
    }
}

fn levenshtein(a: &str, b: &str, costs: &mut Vec<i32>) -> i32 {
    costs.clear();
    costs.extend(0..=b.chars().count() as i32);
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i as i32;
        let mut left = diagonal + 1;
        let mut iter = costs.iter_mut();
        if let Some(first) = iter.next() {
            *first = left;
        }
        for (cell, cb) in iter.zip(b.chars()) {
            let cost = (diagonal + i32::from(ca != cb)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = cost;
            left = cost;
        }
    }
    costs.last().copied().unwrap_or(0)
}

fn soundex(value: &str, out: &mut String) {
    const CODES: &[u8; 26] = b"01230127022455012623017202";
    let code = |c: char| {
        let idx = (c.to_ascii_uppercase() as usize).wrapping_sub('A' as usize);
        CODES.get(idx).copied()
    };
    let mut chars = value.chars();
    let Some(first) = chars.next() else { return };
    let Some(mut last) = code(first) else {
        out.push_str(value);
        return;
    };
    out.push(first.to_ascii_uppercase());
    let mut digits = 0;
    for c in chars {
        let Some(code) = code(c) else {
            last = b'0';
            continue;
        };
        if code == b'7' {
            // H and W do not separate equal codes.
            continue;
        }
        if code != b'0' && code != last && digits < 3 {
            out.push(char::from(code));
            digits += 1;
        }
        last = code;
    }
    out.extend(std::iter::repeat_n('0', 3 - digits));
}

fn luhn(value: &str) -> bool {
    if value.is_empty() {
        return false;
    }
    let mut sum = 0u64;
    for (idx, byte) in value.bytes().rev().enumerate() {
        if !byte.is_ascii_digit() {
            return false;
        }
        let digit = u64::from(byte - b'0') * (1 + (idx as u64 % 2));
        sum += if digit > 9 { digit - 9 } else { digit };
    }
    sum.is_multiple_of(10)
}
