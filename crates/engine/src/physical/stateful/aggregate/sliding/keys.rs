//! Numbers for keys: what is kept of a key per slice and window is kept by its number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{Fields, Schema};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use millstream_core::{Error, Result};

use crate::error::from_datafusion;

/// The keys that have a number, from 0 on.
pub struct KeyNumbers {
    fields: Fields,
    groups: Box<dyn GroupValues>,
    n_keys: usize,
    /// The key columns by number, in runs that get shorter: each at least twice as long as the next.
    runs: Vec<Run>,
}

struct Run {
    first: usize,
    columns: Vec<ArrayRef>,
}

impl KeyNumbers {
    /// For keys of these columns, at least one.
    pub fn new(fields: Fields) -> Result<Self> {
        let groups = new_group_values(Arc::new(Schema::new(fields.clone())), &GroupOrdering::None).map_err(from_datafusion)?;
        Ok(Self { fields, groups, n_keys: 0, runs: Vec::new() })
    }

    /// How many keys have a number.
    pub fn n_keys(&self) -> usize {
        self.n_keys
    }

    pub fn memory_bytes(&self) -> usize {
        let runs = self.runs.iter().flat_map(|run| &run.columns).map(|column| column.get_buffer_memory_size());
        self.groups.size() + runs.sum::<usize>()
    }

    /// The numbers of keys; those that have none get one.
    pub fn of(&mut self, keys: &[ArrayRef]) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        self.groups.intern(keys, &mut numbers).map_err(from_datafusion)?;
        let first = self.n_keys;
        self.n_keys = self.groups.len();
        if self.n_keys > first {
            // Numbers are given in the order in which keys come up.
            let mut next = first;
            let mut rows = Vec::with_capacity(self.n_keys - first);
            for (row, number) in (0_u32..).zip(&numbers) {
                if *number == next {
                    rows.push(row);
                    next += 1;
                }
            }
            let rows = UInt32Array::from(rows);
            self.add(Run { first, columns: keys.iter().map(|key| Ok(take(key, &rows, None)?)).collect::<Result<_>>()? })?;
        }
        numbers.into_iter().map(|number| u32::try_from(number).map_err(|_| too_many())).collect()
    }

    /// The key columns of keys.
    pub fn columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        match self.runs.as_slice() {
            [run] => {
                let rows = UInt32Array::from(numbers.to_vec());
                run.columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect()
            }
            runs => {
                let place = |number: &u32| {
                    let number = *number as usize;
                    let run = runs.partition_point(|run| run.first <= number).saturating_sub(1);
                    (run, number - runs.get(run).map_or(0, |run| run.first))
                };
                let places: Vec<(usize, usize)> = numbers.iter().map(place).collect();
                let column = |idx: usize| {
                    let columns: Vec<&dyn Array> = runs.iter().filter_map(|run| Some(run.columns.get(idx)?.as_ref())).collect();
                    Ok(interleave(&columns, &places)?)
                };
                (0..self.fields.len()).map(column).collect()
            }
        }
    }

    /// New numbers for these keys, the first becomes 0; all others are forgotten.
    pub fn keep(&mut self, numbers: &[u32]) -> Result<()> {
        let columns = self.columns(numbers)?;
        *self = Self::new(self.fields.clone())?;
        self.of(&columns)?;
        if self.n_keys == numbers.len() { Ok(()) } else { Err(Error::internal("two numbers of one key")) }
    }

    fn add(&mut self, run: Run) -> Result<()> {
        self.runs.push(run);
        let len = |run: &Run| run.columns.first().map_or(0, |column| column.len());
        while let [.., shorter, last] = self.runs.as_slice() {
            if len(shorter) >= 2 * len(last) {
                break;
            }
            let both = shorter.columns.iter().zip(&last.columns);
            let columns = both.map(|(left, right)| Ok(concat(&[left, right])?)).collect::<Result<_>>()?;
            let merged = Run { first: shorter.first, columns };
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
        Ok(())
    }
}

fn too_many() -> Error {
    Error::exhausted("one task has more than 4294967295 keys of windows").hint("run the query with a higher parallelism")
}
