//! Comparison of arrays and structs, and `LIKE` with an escape: operators that DataFusion does not compute.
//!
//! NULL elements are equal to each other and smaller than all others, as Spark orders nested values; a NULL on
//! either side gives NULL, except in the null-safe form.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef};
use datafusion::common::Result;
use regex::RegexBuilder;

use super::comparable;
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::data;
use crate::rows::{Memo, bool_rows, text};

const BOTH: &[Arg] = &[Arg::Common, Arg::Common];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("equal", BOTH, Returns::Boolean, |call| compare(call, Ordering::is_eq)),
    FunctionDef::new("less", BOTH, Returns::Boolean, |call| compare(call, Ordering::is_lt)),
    FunctionDef::new("less_or_equal", BOTH, Returns::Boolean, |call| compare(call, Ordering::is_le)),
    FunctionDef::new("greater", BOTH, Returns::Boolean, |call| compare(call, Ordering::is_gt)),
    FunctionDef::new("greater_or_equal", BOTH, Returns::Boolean, |call| compare(call, Ordering::is_ge)),
    FunctionDef::new("equal_null_safe", BOTH, Returns::Boolean, |call| {
        let (a, b) = (call.array(0)?, call.array(1)?);
        let [a, b] = comparable([&a, &b])?;
        bool_rows(call.n_rows(), |row| Ok(Some(a.row(row) == b.row(row))))
    })
    .lenient(),
    FunctionDef::new("like", &[Arg::String, Arg::String, Arg::LiteralString], Returns::Boolean, |call| like(call, false)).min(2),
    FunctionDef::new("ilike", &[Arg::String, Arg::String, Arg::LiteralString], Returns::Boolean, |call| like(call, true)).min(2),
];

fn compare(call: &Call<'_>, test: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let (a, b) = (call.array(0)?, call.array(1)?);
    let [a_rows, b_rows] = comparable([&a, &b])?;
    bool_rows(call.n_rows(), |row| Ok((a.is_valid(row) && b.is_valid(row)).then(|| test(a_rows.row(row).cmp(&b_rows.row(row))))))
}

/// The escape character must stand before `%`, `_` or itself.
fn like(call: &Call<'_>, ignore_case: bool) -> Result<ArrayRef> {
    let (values, patterns) = (call.strings(0)?, call.strings(1)?);
    let escape = call.text(2).and_then(|text| text.chars().next()).unwrap_or('\\');
    let mut memo = Memo::new();
    bool_rows(call.n_rows(), |row| {
        let (Some(value), Some(pattern)) = (text(&values, row), text(&patterns, row)) else { return Ok(None) };
        let regex = memo.get(pattern, |pattern| {
            let mut regex = String::from("^");
            let mut chars = pattern.chars();
            while let Some(c) = chars.next() {
                match c {
                    c if c == escape => match chars.next() {
                        Some(next) if next == escape || matches!(next, '%' | '_') => {
                            regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                        }
                        Some(next) => {
                            return Err(data(
                                "INVALID_FORMAT.ESC_IN_THE_MIDDLE",
                                format!("the escape character may not stand before '{next}' in the pattern '{pattern}'"),
                            ));
                        }
                        None => {
                            return Err(data(
                                "INVALID_FORMAT.ESC_AT_THE_END",
                                format!("the pattern '{pattern}' ends with the escape character"),
                            ));
                        }
                    },
                    '%' => regex.push_str(".*"),
                    '_' => regex.push('.'),
                    c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                }
            }
            regex.push('$');
            RegexBuilder::new(&regex)
                .dot_matches_new_line(true)
                .case_insensitive(ignore_case)
                .build()
                .map_err(|error| data("INVALID_PARAMETER_VALUE.PATTERN", format!("the pattern '{pattern}' is not valid: {error}")))
        })?;
        Ok(Some(regex.is_match(value)))
    })
}
