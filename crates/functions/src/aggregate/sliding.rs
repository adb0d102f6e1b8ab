//! Aggregates over sliding window frames that cannot take rows out again: the frame's rows are kept, and aggregated
//! anew for each row, as Spark does it.
//!
//! The cost is the length of the frame per row. What can be taken out exactly (integers, decimals) does not come here.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use crate::error::internal;

/// An accumulator over the rows of a frame.
pub(super) struct Sliding<F> {
    /// Makes the accumulator of one frame.
    make: F,
    /// The arguments of the frame's rows, oldest first.
    chunks: VecDeque<Vec<ArrayRef>>,
}

impl<F: Fn() -> Result<Box<dyn Accumulator>>> Sliding<F> {
    /// Each frame is aggregated by what `make` gives.
    pub(super) fn new(make: F) -> Self {
        Self { make, chunks: VecDeque::new() }
    }
}

impl<F> Sliding<F> {
    /// The frame's rows as one chunk: rows mostly come one by one, and an update costs more than a row.
    fn merged(&mut self) -> Result<Option<&[ArrayRef]>> {
        if self.chunks.len() > 1 {
            let n_columns = self.chunks.front().map_or(0, Vec::len);
            let columns = (0..n_columns).map(|idx| {
                let parts: Vec<&dyn Array> = self.chunks.iter().filter_map(|chunk| chunk.get(idx)).map(AsRef::as_ref).collect();
                Ok(arrow::compute::concat(&parts)?)
            });
            let merged = columns.collect::<Result<Vec<_>>>()?;
            self.chunks.clear();
            self.chunks.push_back(merged);
        }
        Ok(self.chunks.front().map(Vec::as_slice))
    }
}

impl<F> std::fmt::Debug for Sliding<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sliding").field("n_chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

fn n_rows(chunk: &[ArrayRef]) -> usize {
    chunk.first().map_or(0, |column| column.len())
}

impl<F: Fn() -> Result<Box<dyn Accumulator>> + Send + Sync + 'static> Accumulator for Sliding<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if n_rows(values) > 0 {
            self.chunks.push_back(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // Rows leave a frame in the order they came.
        let mut n_left = n_rows(values);
        while n_left > 0 {
            let Some(chunk) = self.chunks.front_mut() else { return Err(internal("a window frame gives back more rows than it has")) };
            let n_chunk = n_rows(chunk);
            if n_chunk > n_left {
                for column in chunk.iter_mut() {
                    *column = column.slice(n_left, n_chunk - n_left);
                }
                return Ok(());
            }
            n_left -= n_chunk;
            self.chunks.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut frame = (self.make)()?;
        if let Some(rows) = self.merged()? {
            frame.update_batch(rows)?;
        }
        frame.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(internal("a window frame has no partial state"))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(internal("a window frame has no partial state"))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.chunks.iter().flatten().map(|column| column.get_array_memory_size()).sum::<usize>()
    }
}
