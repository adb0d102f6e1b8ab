//! States of groups between columns of a store and values of a user's function.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StructArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::Fields;
use datafusion::common::ScalarValue;
use millstream_analyzer::streaming::GroupOutcome;
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedTable, Slot};

use crate::error::from_datafusion;

/// What is known of a group before its call.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub value: Option<Vec<ScalarValue>>,
    pub deadline_ms: Option<i64>,
    /// Whether the store has a row of it.
    pub is_stored: bool,
}

/// What the groups of `keys` have in the store.
pub fn states_of(table: &mut KeyedTable, keys: &[ArrayRef]) -> Result<Vec<Before>> {
    let slots = table.lookup(keys)?;
    let found: Vec<Slot> = slots.iter().flatten().copied().collect();
    let mut states = stored(&table.gather(&found)?, Some(&table.gather_expiry(&found)))?.into_iter();
    let before = slots.iter().map(|slot| match slot {
        None => Ok(Before::default()),
        Some(_) => states.next().ok_or_else(|| Error::internal("a store gave fewer rows than it has")),
    });
    before.collect()
}

/// Rows of the store as states.
pub fn stored(values: &[ArrayRef], expiry: Option<&Int64Array>) -> Result<Vec<Before>> {
    let [states] = values else { return Err(Error::internal("a state of groups is one column")) };
    let state = |row: usize| {
        let deadline_ms = expiry.filter(|expiry| expiry.is_valid(row)).map(|expiry| expiry.value(row));
        Ok(Before { value: value_at(states, row)?, deadline_ms, is_stored: true })
    };
    (0..states.len()).map(state).collect()
}

/// One row of a column of states.
pub fn value_at(states: &ArrayRef, row: usize) -> Result<Option<Vec<ScalarValue>>> {
    let states = states.as_struct_opt().ok_or_else(|| Error::internal("a state of groups is a struct"))?;
    if states.is_null(row) {
        return Ok(None);
    }
    let values = states.columns().iter().map(|column| ScalarValue::try_from_array(column, row)).collect::<Result<Vec<_>, _>>();
    values.map(Some).map_err(from_datafusion)
}

/// What calls have changed, to be written at once.
#[derive(Debug, Default)]
pub struct Writes {
    upserted: Vec<u32>,
    values: Vec<Option<Vec<ScalarValue>>>,
    deadlines: Vec<Option<i64>>,
    removed: Vec<u32>,
    /// As progress counts them, Spark's way.
    pub n_updated: u64,
    pub n_removed: u64,
}

impl Writes {
    /// Notes what the call for the group in row `row` of the keys has made of its state.
    pub fn note(&mut self, row: u32, before: (Option<i64>, bool), outcome: GroupOutcome) {
        let (deadline_before, is_stored) = before;
        let GroupOutcome { value, deadline_ms, is_touched } = outcome;
        if value.is_none() && deadline_ms.is_none() {
            if is_stored {
                self.removed.push(row);
            }
            self.n_removed += u64::from(is_stored || is_touched);
        } else if is_touched || deadline_ms != deadline_before || !is_stored {
            self.upserted.push(row);
            self.values.push(value);
            self.deadlines.push(deadline_ms);
            self.n_updated += 1;
        }
    }

    /// The same of a group whose time is over: the store has it no more.
    pub fn note_timed_out(&mut self, row: u32, outcome: GroupOutcome) {
        let is_over = outcome.value.is_none() && outcome.deadline_ms.is_none();
        if is_over {
            self.n_removed += 1;
        } else {
            self.note(row, (None, false), outcome);
        }
    }

    /// Writes; `keys` are those of the groups that were called, `columns` those of a state.
    pub fn apply(self, table: &mut KeyedTable, keys: &[ArrayRef], columns: &Fields) -> Result<()> {
        let taken = |rows: Vec<u32>| {
            let rows = UInt32Array::from(rows);
            keys.iter().map(|key| Ok(take(key, &rows, None)?)).collect::<Result<Vec<ArrayRef>>>()
        };
        if !self.removed.is_empty() {
            table.remove(&taken(self.removed)?)?;
        }
        if !self.upserted.is_empty() {
            let states: ArrayRef = Arc::new(as_struct(&self.values, columns)?);
            table.upsert(&taken(self.upserted)?, Some(&self.deadlines.into_iter().collect()), &[states])?;
        }
        Ok(())
    }
}

fn as_struct(values: &[Option<Vec<ScalarValue>>], columns: &Fields) -> Result<StructArray> {
    let column = |(idx, field): (usize, &Arc<arrow::datatypes::Field>)| {
        let null = ScalarValue::try_from(field.data_type()).map_err(from_datafusion)?;
        let of_row = |value: &Option<Vec<ScalarValue>>| value.as_ref().and_then(|value| value.get(idx)).unwrap_or(&null).clone();
        ScalarValue::iter_to_array(values.iter().map(of_row)).map_err(from_datafusion)
    };
    let arrays = columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    Ok(StructArray::try_new(Fields::clone(columns), arrays, Some(nulls))?)
}
