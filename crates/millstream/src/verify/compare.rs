//! Whether two tables hold the same rows, in any order.
//!
//! Values are compared as they are printed, except floating-point numbers of the top level: a sum of doubles hangs on the
//! order of its terms, so two of them are equal within 1e-9 of their size.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::{Error, Result};

use super::fold::Folded;

const RELATIVE: f64 = 1e-9;
/// Differing rows that are kept to be shown, of each side.
const ROWS_SHOWN: usize = 5;

/// Rows that one table has and the other has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The columns.
    pub columns: Vec<String>,
    /// How many rows only the stream gave.
    pub n_only_in_stream: usize,
    /// The first of them.
    pub only_in_stream: Vec<Vec<String>>,
    /// How many rows only the batch gave.
    pub n_only_in_batch: usize,
    /// The first of them.
    pub only_in_batch: Vec<Vec<String>>,
    /// How many rows the stream took back that it had not given.
    pub n_taken_back: usize,
    /// The first of them.
    pub taken_back: Vec<Vec<String>>,
}

/// The rows in which a stream's table and a batch's differ, if they do.
pub(super) fn compare_rows(schema: &SchemaRef, stream: &Folded, batch: &[RecordBatch]) -> Result<Option<Difference>> {
    let mut groups: BTreeMap<Vec<String>, Sides> = BTreeMap::new();
    for row in rows_of(&stream.rows)? {
        groups.entry(row.exact.clone()).or_default().stream.push(row);
    }
    for row in rows_of(batch)? {
        groups.entry(row.exact.clone()).or_default().batch.push(row);
    }
    let (mut only_in_stream, mut only_in_batch) = (Vec::new(), Vec::new());
    for sides in groups.into_values() {
        let (stream, batch) = sides.unmatched();
        only_in_stream.extend(stream);
        only_in_batch.extend(batch);
    }
    let taken_back = rows_of(&stream.taken_back)?;
    if only_in_stream.is_empty() && only_in_batch.is_empty() && taken_back.is_empty() {
        return Ok(None);
    }
    let first = |rows: &[Row]| rows.iter().take(ROWS_SHOWN).map(|row| row.cells.clone()).collect();
    Ok(Some(Difference {
        columns: schema.fields().iter().map(|field| field.name().clone()).collect(),
        n_only_in_stream: only_in_stream.len(),
        only_in_stream: first(&only_in_stream),
        n_only_in_batch: only_in_batch.len(),
        only_in_batch: first(&only_in_batch),
        n_taken_back: taken_back.len(),
        taken_back: first(&taken_back),
    }))
}

/// The cells of each row, as they are shown.
pub(super) fn cells_of(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    Ok(rows_of(std::slice::from_ref(batch))?.into_iter().map(|row| row.cells).collect())
}

/// A row: its cells as shown, those that must be equal to the letter, and its numbers that must be near.
struct Row {
    cells: Vec<String>,
    exact: Vec<String>,
    near: Vec<f64>,
}

/// The rows of both tables that agree in what must be equal.
#[derive(Default)]
struct Sides {
    stream: Vec<Row>,
    batch: Vec<Row>,
}

impl Sides {
    /// The rows without a partner.
    fn unmatched(self) -> (Vec<Row>, Vec<Row>) {
        let (mut stream, mut batch) = (Vec::new(), self.batch);
        for row in self.stream {
            match batch.iter().position(|other| is_near(&row.near, &other.near)) {
                Some(at) => drop(batch.swap_remove(at)),
                None => stream.push(row),
            }
        }
        (stream, batch)
    }
}

fn is_near(left: &[f64], right: &[f64]) -> bool {
    left.iter().zip(right).all(|(left, right)| {
        left == right || (left.is_nan() && right.is_nan()) || (left - right).abs() <= RELATIVE * left.abs().max(right.abs())
    })
}

fn rows_of(batches: &[RecordBatch]) -> Result<Vec<Row>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut made = Row { cells: Vec::new(), exact: Vec::new(), near: Vec::new() };
            for (column, formatter) in batch.columns().iter().zip(&formatters) {
                let text = formatter.value(row).try_to_string().map_err(Error::from)?;
                let cell = match column.data_type() {
                    // A text that says NULL is not null.
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if column.is_valid(row) => format!("{text:?}"),
                    _ => text,
                };
                match number(column, row) {
                    Some(number) => {
                        made.near.push(number);
                        made.exact.push(String::new());
                    }
                    None => made.exact.push(cell.clone()),
                }
                made.cells.push(cell);
            }
            rows.push(made);
        }
    }
    Ok(rows)
}

/// A floating-point number.
fn number(column: &dyn Array, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Some(f64::from(column.as_primitive::<Float32Type>().value(row))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
