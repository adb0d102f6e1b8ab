//! Which windows a batch gives, and their rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::compute::concat;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use millstream_core::{Error, OutputMode, Result};
use millstream_state::store::KeyedTable;

use super::SlidingAggregate;
use super::keys::KeyNumbers;
use super::slices::Slices;
use super::sweep::{Found, Sweep};
use crate::batch::BatchWatermarks;

/// Rows are given in batches of so many, or one window more.
const ROWS_PER_BATCH: usize = 8192;

/// What one task keeps between batches beside its table; made again from the table when it is not there.
pub struct Kept {
    slices: Slices,
    /// At the last window that was given, in append mode.
    sweep: Option<Sweep>,
}

/// The windows of one batch that are still to be given.
pub struct Emission {
    slices: Slices,
    sweep: Sweep,
    /// Whether the next batch goes on with the sweep.
    is_kept: bool,
    start_type: DataType,
    /// No window that begins before is given.
    from: Option<i64>,
    /// No window that ends later is given.
    until: i64,
    touched: Option<Touched>,
    given: GivenKeys,
}

/// The keys of the rows that were given last: those of the next window are mostly the same, perhaps with others behind them.
#[derive(Default)]
struct GivenKeys {
    keys: Vec<u32>,
    columns: Vec<ArrayRef>,
}

/// The keys and slices that a batch touched: update mode gives windows that hold one.
struct Touched {
    /// By key.
    swept: Vec<bool>,
    slices: BTreeMap<i64, Vec<u32>>,
    /// The slices from `left` up to `entered` are counted.
    left: i64,
    entered: i64,
    /// How many of the counted slices each key has touched.
    counts: Vec<u32>,
}

/// Keys, starts of windows, values.
type Rows = (Vec<ArrayRef>, ArrayRef, Vec<ArrayRef>);

impl Kept {
    /// From the table alone.
    pub fn of(table: &KeyedTable, operator: &SlidingAggregate) -> Result<Self> {
        let slices = Slices::of(table, operator.spec.window.windows, operator.keys(), start_type(operator)?)?;
        Ok(Self { slices, sweep: None })
    }

    /// Forgets the slices whose last windows have ended; they are still in the table.
    pub fn forget_expired(&mut self, table: &mut KeyedTable, watermark_us: i64) -> Result<()> {
        let expired: Vec<i64> = self.slices.expired(watermark_us).collect();
        if let Some(sweep) = &mut self.sweep {
            sweep.forget(&self.slices, table, &expired)?;
        }
        expired.into_iter().for_each(|slice| self.slices.remove(slice));
        if self.slices.tidy()? {
            // Its numbers of keys are not theirs any more.
            self.sweep = None;
        }
        Ok(())
    }

    pub fn memory_bytes(&self) -> usize {
        self.slices.memory_bytes() + self.sweep.as_ref().map_or(0, Sweep::memory_bytes)
    }
}

impl Emission {
    /// `touched` are keys of the table's rows that the batch changed, `is_new` says which were not there.
    pub fn new(
        kept: Kept,
        operator: &SlidingAggregate,
        watermarks: BatchWatermarks,
        touched: &[ArrayRef],
        is_new: &[bool],
        table: &mut KeyedTable,
    ) -> Result<Self> {
        let Kept { mut slices, sweep } = kept;
        let windows = operator.spec.window.windows;
        let entries = slices.add(touched, is_new)?;
        let late_us =
            if operator.spec.has_event_time && operator.spec.mode != OutputMode::Complete { watermarks.late_us() } else { i64::MIN };
        let mut emission = Self {
            sweep: sweep.map_or_else(|| Sweep::new(windows, &operator.groups.aggregates), Ok)?,
            is_kept: operator.spec.mode == OutputMode::Append,
            start_type: start_type(operator)?,
            // What ended at or before the last watermark was given then.
            from: Some(windows.earliest_start(late_us)),
            until: if operator.spec.mode == OutputMode::Append { watermarks.current_us() } else { i64::MAX },
            touched: (operator.spec.mode == OutputMode::Update).then(|| Touched::new(&entries, slices.keys.n_keys())),
            slices,
            given: GivenKeys::default(),
        };
        if emission.is_kept {
            emission.repair(&entries, table)?;
        }
        Ok(emission)
    }

    /// The next rows; none when all windows are given.
    pub fn next(&mut self, table: &mut KeyedTable) -> Result<Option<Rows>> {
        let mut found = Found::default();
        while found.keys.len() < ROWS_PER_BATCH {
            let Some(start) = self.next_window() else { break };
            if !found.keys.is_empty() && !self.sweep.keeps_found(&self.slices, start) {
                break;
            }
            let swept = self.touched.as_ref().map(|touched| touched.swept.as_slice());
            self.sweep.move_to(&self.slices, table, start, swept)?;
            match &mut self.touched {
                None => self.sweep.find(&mut found, |_| true)?,
                Some(touched) => {
                    touched.move_to(start, self.slices.windows.end(start));
                    self.sweep.find(&mut found, |key| touched.has(key))?;
                }
            }
            self.from = start.checked_add(self.slices.windows.slide_us());
        }
        if found.keys.is_empty() {
            return Ok(None);
        }
        let values = self.sweep.fetch(&found)?;
        let keys = self.given.columns(&self.slices.keys, found.keys)?;
        let starts = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(found.windows);
        Ok(Some((keys, Arc::new(starts.with_data_type(self.start_type.clone())), values)))
    }

    /// What the next batch goes on with.
    pub fn into_kept(self) -> Kept {
        Kept { slices: self.slices, sweep: self.is_kept.then_some(self.sweep) }
    }

    /// The start of the next window that has rows to be given.
    fn next_window(&self) -> Option<i64> {
        let (from, windows) = (self.from?, self.slices.windows);
        let slice = match &self.touched {
            Some(touched) => *touched.slices.range(from..).next()?.0,
            None => self.slices.next_start(from)?,
        };
        let start = from.max(windows.earliest_start(slice));
        (windows.end(start) <= self.until).then_some(start)
    }

    /// The window that was given last goes on: what the batch changed in it is put right.
    fn repair(&mut self, entries: &[(u32, i64)], table: &mut KeyedTable) -> Result<()> {
        let mut changed = Vec::new();
        for (key, _) in entries.iter().filter(|(_, slice)| self.sweep.holds(*slice)) {
            changed.resize(self.slices.keys.n_keys(), false);
            changed.get_mut(*key as usize).into_iter().for_each(|changed| *changed = true);
        }
        if changed.is_empty() { Ok(()) } else { self.sweep.repair(&self.slices, table, &changed) }
    }
}

impl GivenKeys {
    fn columns(&mut self, numbers: &KeyNumbers, keys: Vec<u32>) -> Result<Vec<ArrayRef>> {
        match keys.strip_prefix(self.keys.as_slice()) {
            Some([]) => {}
            Some(others) if !self.keys.is_empty() => {
                let columns = self.columns.iter().zip(numbers.columns(others)?);
                self.columns = columns.map(|(given, others)| Ok(concat(&[given, &others])?)).collect::<Result<_>>()?;
            }
            _ => self.columns = numbers.columns(&keys)?,
        }
        self.keys = keys;
        Ok(self.columns.clone())
    }
}

impl Touched {
    fn new(entries: &[(u32, i64)], n_keys: usize) -> Self {
        let mut touched =
            Self { swept: vec![false; n_keys], slices: BTreeMap::new(), left: i64::MIN, entered: i64::MIN, counts: vec![0; n_keys] };
        for (key, slice) in entries {
            touched.swept.get_mut(*key as usize).into_iter().for_each(|swept| *swept = true);
            touched.slices.entry(*slice).or_default().push(*key);
        }
        touched
    }

    /// Counts the slices of the window `[start, end)`; windows only go forward.
    fn move_to(&mut self, start: i64, end: i64) {
        let Self { slices, left, entered, counts, .. } = self;
        for key in slices.range(*entered..end).flat_map(|(_, keys)| keys) {
            counts.get_mut(*key as usize).into_iter().for_each(|count| *count += 1);
        }
        *entered = end;
        for key in slices.range(*left..start).flat_map(|(_, keys)| keys) {
            counts.get_mut(*key as usize).into_iter().for_each(|count| *count -= 1);
        }
        *left = start;
    }

    fn has(&self, key: u32) -> bool {
        self.counts.get(key as usize).is_some_and(|count| *count > 0)
    }
}

fn start_type(operator: &SlidingAggregate) -> Result<DataType> {
    let slice = operator.groups.keys.last().ok_or_else(|| Error::internal("an aggregation over windows without a window"))?;
    Ok(slice.data_type().clone())
}
