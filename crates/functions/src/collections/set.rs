//! Arrays as sets, and their extremes: `array_distinct`, `array_union`, `arrays_overlap`, `array_max`, ...
//!
//! The first of equal elements stays, in the order of the input. NULL is an element like any other, except in
//! `arrays_overlap`, where it makes the answer unknown, and in the extremes, which skip it.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, UInt32Array};
use datafusion::common::Result;

use super::build::stack;
use super::{Gather, as_list, comparable, range_of};
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::rows::bool_rows;

const TWO: &[Arg] = &[Arg::Common, Arg::Common];

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("array_distinct", &[Arg::Array], Returns::Same(0), |call| {
        let list = as_list(&call.array(0)?)?;
        let [rows] = comparable([list.values()])?;
        let mut gather = Gather::new(call.n_rows());
        let mut seen = HashSet::new();
        for row in 0..call.n_rows() {
            seen.clear();
            range_of(&list, row).filter(|idx| seen.insert(rows.row(*idx))).for_each(|idx| gather.pick(idx));
            gather.end_row(list.is_valid(row))?;
        }
        gather.into_list(list.values())
    }),
    FunctionDef::new("array_union", TWO, Returns::Same(0), |call| combine(call, Combine::Union)),
    FunctionDef::new("array_intersect", TWO, Returns::Same(0), |call| combine(call, Combine::Intersect)),
    FunctionDef::new("array_except", TWO, Returns::Same(0), |call| combine(call, Combine::Except)),
    FunctionDef::new("arrays_overlap", TWO, Returns::Boolean, |call| {
        let (a, b) = (as_list(&call.array(0)?)?, as_list(&call.array(1)?)?);
        let [a_rows, b_rows] = comparable([a.values(), b.values()])?;
        bool_rows(call.n_rows(), |row| {
            if a.is_null(row) || b.is_null(row) {
                return Ok(None);
            }
            let (a_range, b_range) = (range_of(&a, row), range_of(&b, row));
            let known: HashSet<_> = a_range.clone().filter(|idx| a.values().is_valid(*idx)).map(|idx| a_rows.row(idx)).collect();
            if b_range.clone().any(|idx| b.values().is_valid(idx) && known.contains(&b_rows.row(idx))) {
                return Ok(Some(true));
            }
            let has_null = a_range.clone().any(|idx| a.values().is_null(idx)) || b_range.clone().any(|idx| b.values().is_null(idx));
            Ok(if has_null && !a_range.is_empty() && !b_range.is_empty() { None } else { Some(false) })
        })
    }),
    FunctionDef::new("array_max", &[Arg::Array], Returns::Element(0), |call| extreme(call, true)),
    FunctionDef::new("array_min", &[Arg::Array], Returns::Element(0), |call| extreme(call, false)),
    FunctionDef::new("greatest", &[Arg::Common, Arg::Common], Returns::Same(0), |call| pick_extreme(call, true)).repeat(1).lenient(),
    FunctionDef::new("least", &[Arg::Common, Arg::Common], Returns::Same(0), |call| pick_extreme(call, false)).repeat(1).lenient(),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Combine {
    Union,
    Intersect,
    Except,
}

fn combine(call: &Call<'_>, how: Combine) -> Result<ArrayRef> {
    let (a, b) = (as_list(&call.array(0)?)?, as_list(&call.array(1)?)?);
    let base = a.values().len();
    let values = stack(&[a.values().clone(), b.values().clone()])?;
    let [rows] = comparable([&values])?;
    let mut gather = Gather::new(call.n_rows());
    let mut seen = HashSet::new();
    for row in 0..call.n_rows() {
        let valid = a.is_valid(row) && b.is_valid(row);
        if valid {
            seen.clear();
            let second = range_of(&b, row).map(|idx| base + idx);
            match how {
                Combine::Union => {
                    range_of(&a, row).chain(second).filter(|idx| seen.insert(rows.row(*idx))).for_each(|idx| gather.pick(idx));
                }
                Combine::Except => {
                    seen.extend(second.map(|idx| rows.row(idx)));
                    range_of(&a, row).filter(|idx| seen.insert(rows.row(*idx))).for_each(|idx| gather.pick(idx));
                }
                Combine::Intersect => {
                    seen.extend(second.map(|idx| rows.row(idx)));
                    range_of(&a, row).filter(|idx| seen.remove(&rows.row(*idx))).for_each(|idx| gather.pick(idx));
                }
            }
        }
        gather.end_row(valid)?;
    }
    gather.into_list(&values)
}

fn extreme(call: &Call<'_>, max: bool) -> Result<ArrayRef> {
    let list = as_list(&call.array(0)?)?;
    let values = list.values();
    let nulls = values.logical_nulls();
    let [rows] = comparable([values])?;
    let picks: UInt32Array = (0..call.n_rows())
        .map(|row| {
            let known = range_of(&list, row).filter(|idx| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*idx)));
            let best = if max {
                known.max_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            } else {
                known.min_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            };
            best.map(|idx| idx as u32)
        })
        .collect();
    Ok(arrow::compute::take(values, &picks, None)?)
}

fn pick_extreme(call: &Call<'_>, max: bool) -> Result<ArrayRef> {
    let n_rows = call.n_rows();
    let columns = (0..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    let values = stack(&columns)?;
    let nulls = values.logical_nulls();
    let [rows] = comparable([&values])?;
    let picks: UInt32Array = (0..n_rows)
        .map(|row| {
            let known = (0..columns.len())
                .map(|column| column * n_rows + row)
                .filter(|idx| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*idx)));
            let best = if max {
                known.max_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            } else {
                known.min_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            };
            best.map(|idx| idx as u32)
        })
        .collect();
    Ok(arrow::compute::take(&values, &picks, None)?)
}
