//! The values that a sweep has computed: a key whose slices in the window stay as they are has the same value in the next window.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat, take};
use millstream_core::{Error, Result};

/// Rows that nobody refers to are given up when they are more than the others and so many.
const DEAD_ROWS_MIN: usize = 8192;

/// By key, the values of the aggregates.
#[derive(Default)]
pub struct Values {
    /// By key: the row of its value; [`NO_VALUE`] if it has changed, or was not asked for.
    rows: Vec<u32>,
    /// By aggregate.
    columns: Vec<ArrayRef>,
    n_rows: usize,
}

/// See [`Values`].
const NO_VALUE: u32 = u32::MAX;

impl Values {
    pub fn memory_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.get_buffer_memory_size()).sum();
        columns + self.rows.capacity() * size_of::<u32>()
    }

    /// What the key's value is computed from has changed.
    pub fn forget(&mut self, key: u32) {
        self.rows.get_mut(key as usize).into_iter().for_each(|row| *row = NO_VALUE);
    }

    /// The row of a key's value, and whether it is there. If not, it is to be computed and added behind `n_asked` others.
    pub fn row_of(&mut self, key: u32, n_asked: usize) -> Result<(u32, bool)> {
        if self.rows.len() <= key as usize {
            self.rows.resize(key as usize + 1, NO_VALUE);
        }
        let row = self.rows.get_mut(key as usize).ok_or_else(too_many)?;
        let is_there = *row != NO_VALUE;
        if !is_there {
            *row = u32::try_from(self.n_rows + n_asked).ok().filter(|row| *row < NO_VALUE).ok_or_else(too_many)?;
        }
        Ok((*row, is_there))
    }

    /// The values that were asked for, in that order.
    pub fn add(&mut self, n_rows: usize, columns: Vec<ArrayRef>) -> Result<()> {
        if self.n_rows == 0 {
            self.columns = columns;
        } else if n_rows > 0 {
            let both = self.columns.iter().zip(columns);
            self.columns = both.map(|(known, new)| Ok(concat(&[known, &new])?)).collect::<Result<_>>()?;
        }
        self.n_rows += n_rows;
        Ok(())
    }

    /// The values of rows, by aggregate.
    pub fn take(&self, rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
        let rows = UInt32Array::from(rows);
        self.columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect()
    }

    /// Keeps the values of these keys alone, where they have some, if most others are dead.
    pub fn tidy(&mut self, keys: &[u32]) -> Result<()> {
        if self.n_rows <= 2 * keys.len() + DEAD_ROWS_MIN {
            return Ok(());
        }
        let mut kept = Vec::new();
        for key in keys {
            if let Some(row) = self.rows.get_mut(*key as usize).filter(|row| **row != NO_VALUE) {
                let new = u32::try_from(kept.len()).map_err(|_| too_many())?;
                kept.push(std::mem::replace(row, new));
            }
        }
        self.n_rows = kept.len();
        self.columns = self.take(kept)?;
        Ok(())
    }
}

fn too_many() -> Error {
    Error::exhausted("one task gives windows with more than 4294967294 rows").hint("run the query with a higher parallelism")
}
