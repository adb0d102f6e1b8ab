//! From the rows that a stream gave, batch by batch, to the table that they make.
//!
//! In append mode that is all of them. In update mode a row replaces an earlier one, or says itself what it does; what it
//! takes back must be equal, to the letter, to what was given.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use millstream_analyzer::streaming::CHANGE_TYPE;
use millstream_core::{Error, Result};

use super::compare::cells_of;

/// How rows, in the order of their batches, make up a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Folding {
    /// Every row stays.
    Rows,
    /// A row replaces the one before it that is equal in these columns.
    ByKey(Vec<usize>),
    /// Rows say in their first column what they do.
    Changes,
}

/// A stream's table.
#[derive(Debug, Clone, Default)]
pub(super) struct Folded {
    /// Its rows.
    pub(super) rows: Vec<RecordBatch>,
    /// Rows that the stream took back and had not given.
    pub(super) taken_back: Vec<RecordBatch>,
}

/// The table that the rows of all batches make.
pub(super) fn fold(batches: Vec<RecordBatch>, folding: &Folding) -> Result<Folded> {
    let Some(first) = batches.first() else { return Ok(Folded::default()) };
    let all = match folding {
        Folding::Rows => return Ok(Folded { rows: batches, taken_back: Vec::new() }),
        Folding::ByKey(_) | Folding::Changes => concat_batches(&first.schema(), &batches)?,
    };
    let (kept, taken_back) = match folding {
        Folding::ByKey(key) => {
            let cells = cells_of(&all.project(key)?)?;
            let last: BTreeMap<_, _> = cells.into_iter().zip(0_u64..).collect();
            (last.into_values().collect(), Vec::new())
        }
        Folding::Rows | Folding::Changes => by_changes(&all)?,
    };
    let take = |rows: Vec<u64>| -> Result<RecordBatch> {
        let mut taken = take_record_batch(&all, &UInt64Array::from(rows))?;
        if *folding == Folding::Changes {
            taken.remove_column(0);
        }
        Ok(taken)
    };
    let taken_back = if taken_back.is_empty() { Vec::new() } else { vec![take(taken_back)?] };
    Ok(Folded { rows: vec![take(kept)?], taken_back })
}

/// Whether no two rows are equal in these columns.
pub(super) fn tell_apart(columns: &[usize], batches: &[RecordBatch]) -> Result<bool> {
    let mut seen = BTreeSet::new();
    for batch in batches {
        for cells in cells_of(&batch.project(columns)?)? {
            if !seen.insert(cells) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The rows that changes leave, and those that they take out in vain.
fn by_changes(all: &RecordBatch) -> Result<(Vec<u64>, Vec<u64>)> {
    let what = all.column_by_name(CHANGE_TYPE).and_then(|column| column.as_string_opt::<i32>());
    let what = what.ok_or_else(|| Error::internal(format!("changes without {CHANGE_TYPE}")))?;
    let mut rows = all.clone();
    rows.remove_column(0);
    let mut there: BTreeMap<Vec<String>, Vec<u64>> = BTreeMap::new();
    let mut taken_back = Vec::new();
    for ((cells, what), at) in cells_of(&rows)?.into_iter().zip(what).zip(0_u64..) {
        let equal = there.entry(cells).or_default();
        match what {
            Some("insert" | "update_postimage") => equal.push(at),
            Some("delete" | "update_preimage") => {
                if equal.pop().is_none() {
                    taken_back.push(at);
                }
            }
            _ => return Err(Error::internal(format!("a change called {what:?}"))),
        }
    }
    Ok((there.into_values().flatten().collect(), taken_back))
}

#[cfg(test)]
mod tests;
