//! One partition of a join in one batch, where rows that were given may be taken back.
//!
//! ```text
//!   an added row        pairs with the other table's rows are added; goes into its table with the number of its pairs
//!   a row taken out     the same pairs are taken out; leaves its table
//!   of outer, semi and anti joins
//!     a row's number of pairs becomes zero, or is zero no more: it is added, or taken out, without the other side
//! ```
//! Of what comes at once added rows go first, so that a row that is taken out in the batch in which it came is there.
//! Forgetting is no change: a row that the watermark has made useless leaves its table, and what it gave stays; taken out later,
//! it is not found, and passes over.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, MutexGuard};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::common::JoinType;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use millstream_analyzer::streaming::{INSERT, RETRACT, change_column};
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedMultiTable, Slot};

use super::super::changed::{SameRows, split_change};
use super::layout::SideLayout;
use super::probe::Probe;
use super::run::{IN_PROGRESS, record_batch};
use super::{JoinSpec, STORES, StreamJoin};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::operator::{OperatorRun, OperatorTask};

/// See the module's documentation.
pub(super) struct ChangesRun {
    spec: JoinSpec,
    layouts: [Arc<SideLayout>; 2],
    /// The columns of left, then of right.
    pairs: SchemaRef,
    inputs: [SendableRecordBatchStream; 2],
    step: Step,
    /// What has come at once and waits.
    waiting: VecDeque<Part>,
    out: VecDeque<RecordBatch>,
    report: StateOperatorReport,
    task: OperatorTask,
}

/// Rows of one side that are all added or all taken out.
struct Part {
    side: usize,
    kind: i8,
    rows: RecordBatch,
}

enum Step {
    Read(usize),
    Probe(Box<Changing>),
    Expire,
    Ended,
}

/// A part that looks for its pairs.
struct Changing {
    kind: i8,
    probe: Probe,
    /// By row, how many pairs it has.
    n_pairs: Vec<i64>,
    /// How much the numbers of pairs of the other side's rows change.
    of_other: HashMap<Slot, i64>,
}

impl ChangesRun {
    pub(super) fn new(join: &StreamJoin, inputs: [SendableRecordBatchStream; 2], pairs: SchemaRef, task: OperatorTask) -> Self {
        let report = StateOperatorReport { n_partitions: 1, n_stores: 2, ..StateOperatorReport::of(&join.spec.operator, IN_PROGRESS) };
        let (spec, layouts) = (join.spec.clone(), join.layouts.clone());
        Self { spec, layouts, pairs, inputs, step: Step::Read(0), waiting: VecDeque::new(), out: VecDeque::new(), report, task }
    }
}

impl OperatorRun for ChangesRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = self.out.pop_front() {
                return Ok(Some(rows));
            }
            let began = self.task.scope.clock.monotonic();
            match &mut self.step {
                Step::Read(side) => {
                    let side = *side;
                    if let Some(part) = self.waiting.pop_front() {
                        self.begin(part)?;
                        continue;
                    }
                    let input = self.inputs.get_mut(side).ok_or_else(|| Error::internal("a join has two sides"))?;
                    match input.next().await.transpose().map_err(from_datafusion)? {
                        Some(rows) => self.waiting.extend(parts(side, rows)?),
                        None if side == 0 => self.step = Step::Read(1),
                        None => self.step = Step::Expire,
                    }
                }
                Step::Probe(_) => {
                    self.probe()?;
                    self.report.updates_ms += self.task.scope.millis_since(began);
                }
                Step::Expire => {
                    self.expire()?;
                    self.step = Step::Ended;
                }
                Step::Ended => return Ok(None),
            }
        }
    }

    async fn abort(&mut self) {}
}

/// Added rows, then those that are taken out. Rows without the column of changes are added.
fn parts(side: usize, rows: RecordBatch) -> Result<Vec<Part>> {
    if change_column(&rows.schema()).is_none() {
        return Ok(vec![Part { side, kind: INSERT, rows }]);
    }
    let (rows, kinds) = split_change(&rows)?;
    let is_added: BooleanArray = kinds.iter().map(|kind| Some(kind == Some(INSERT))).collect();
    let added = filter_record_batch(&rows, &is_added)?;
    let taken = filter_record_batch(&rows, &not(&is_added)?)?;
    let parts = [Part { side, kind: INSERT, rows: added }, Part { side, kind: RETRACT, rows: taken }];
    Ok(parts.into_iter().filter(|part| part.rows.num_rows() > 0).collect())
}

impl ChangesRun {
    fn layout(&self, side: usize) -> Arc<SideLayout> {
        let [left, right] = &self.layouts;
        Arc::clone(if side == 0 { left } else { right })
    }

    /// Whether a row of the side with so many pairs is given without the other side.
    fn is_alone(&self, side: usize, n_pairs: i64) -> bool {
        self.layout(side).counts_pairs() && ((n_pairs == 0) != (self.spec.kind == JoinType::LeftSemi))
    }

    fn begin(&mut self, Part { side, kind, mut rows }: Part) -> Result<()> {
        let layout = self.layout(side);
        // What can match nothing is given at once and not kept: its number of pairs stays zero.
        let can_match = layout.can_match(&rows);
        rows = self.give_hopeless(side, rows, can_match, kind)?;
        let has_time = layout.has_time(&rows)?;
        rows = self.give_hopeless(side, rows, has_time, kind)?;
        let has_keys = layout.has_keys(&rows)?;
        rows = self.give_hopeless(side, rows, has_keys, kind)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if kind == RETRACT {
            rows = self.take_out(side, &rows)?;
        }
        if rows.num_rows() > 0 {
            let n_pairs = vec![0; rows.num_rows()];
            let keys = layout.keys(&rows)?;
            let probe = Probe::new(side, rows, keys, &mut *self.table(1 - side)?)?;
            self.step = Step::Probe(Box::new(Changing { kind, probe, n_pairs, of_other: HashMap::new() }));
        }
        Ok(())
    }

    /// Gives the rows of which `mask` says that they match nothing; the others go on.
    fn give_hopeless(&mut self, side: usize, rows: RecordBatch, mask: Option<BooleanArray>, kind: i8) -> Result<RecordBatch> {
        let Some(mask) = mask.filter(|mask| mask.true_count() < mask.len()) else { return Ok(rows) };
        self.give_alone(side, filter_record_batch(&rows, &not(&mask)?)?, kind, |_| 0)?;
        Ok(filter_record_batch(&rows, &mask)?)
    }

    /// Rows leave their table; those that were not there are left out. Those that were given alone are taken out alone.
    fn take_out(&mut self, side: usize, rows: &RecordBatch) -> Result<RecordBatch> {
        let layout = self.layout(side);
        let keys = layout.keys(rows)?;
        let values = layout.own_values(rows)?;
        let mut table = self.table(side)?;
        let mut matches = table.lookup_all(&keys)?;
        let mut found: Vec<Option<Slot>> = vec![None; rows.num_rows()];
        let mut gone: HashSet<Slot> = HashSet::new();
        while let Some(pairs) = table.next_pairs(&mut matches, 8192) {
            let kept = table.gather(&pairs.slots)?;
            let same = SameRows::new(&values, &kept)?;
            for (at, (row, slot)) in pairs.probe_rows.iter().zip(&pairs.slots).enumerate() {
                let row = *row as usize;
                if let Some(place) = found.get_mut(row)
                    && place.is_none()
                    && !gone.contains(slot)
                    && same.are(row, at)
                {
                    *place = Some(*slot);
                    gone.insert(*slot);
                }
            }
        }
        let is_found: BooleanArray = found.iter().map(|slot| Some(slot.is_some())).collect();
        let slots: Vec<Slot> = found.into_iter().flatten().collect();
        let counts = if layout.counts_pairs() { Some(count_column(&table.gather(&slots)?, &layout)?) } else { None };
        table.remove_slots(&slots)?;
        drop(table);
        self.report.n_rows_removed += slots.len() as u64;
        let rows = filter_record_batch(rows, &is_found)?;
        if let Some(counts) = counts {
            self.give_alone(side, rows.clone(), RETRACT, |row| counts.value(row))?;
        }
        Ok(rows)
    }

    fn probe(&mut self) -> Result<()> {
        let Step::Probe(mut changing) = std::mem::replace(&mut self.step, Step::Ended) else {
            return Err(Error::internal("a join that looks for nothing"));
        };
        let side = changing.probe.side;
        let other_layout = self.layout(1 - side);
        let found = changing.probe.next(&*self.table(1 - side)?, &other_layout, &self.pairs, self.spec.filter.as_ref())?;
        let Some(pairs) = found else {
            self.step = Step::Read(side);
            return self.end_probe(*changing);
        };
        for row in pairs.probe_rows.values() {
            changing.n_pairs.get_mut(*row as usize).into_iter().for_each(|n| *n += 1);
        }
        if other_layout.counts_pairs() {
            for slot in &pairs.slots {
                *changing.of_other.entry(*slot).or_default() += i64::from(changing.kind);
            }
        }
        if !self.spec.is_semi_or_anti() {
            self.give(pairs.rows.columns().to_vec(), pairs.rows.num_rows(), changing.kind)?;
        }
        self.step = Step::Probe(changing);
        Ok(())
    }

    fn end_probe(&mut self, changing: Changing) -> Result<()> {
        let Changing { kind, probe: Probe { side, rows, .. }, n_pairs, of_other } = changing;
        let layout = self.layout(side);
        if kind == INSERT {
            self.give_alone(side, rows.clone(), INSERT, |row| n_pairs.get(row).copied().unwrap_or(0))?;
            let mut values = layout.own_values(&rows)?;
            if layout.counts_pairs() {
                values.push(Arc::new(Int64Array::from(n_pairs)));
            }
            let (keys, expiry) = (layout.keys(&rows)?, layout.expiry(&rows)?);
            self.report.n_rows_updated += rows.num_rows() as u64;
            self.table(side)?.append(&keys, expiry.as_ref(), &values)?;
        }
        self.recount(1 - side, of_other)
    }

    /// Rows of a side have other numbers of pairs now: some are alone, some no more.
    fn recount(&mut self, side: usize, changes: HashMap<Slot, i64>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let layout = self.layout(side);
        let mut changes: Vec<(Slot, i64)> = changes.into_iter().collect();
        changes.sort_unstable();
        let slots: Vec<Slot> = changes.iter().map(|(slot, _)| *slot).collect();
        let mut table = self.table(side)?;
        let values = table.gather(&slots)?;
        let before = count_column(&values, &layout)?;
        // A partner that was forgotten still counts, one that is taken out does not.
        let after: Int64Array = before.values().iter().zip(&changes).map(|(n, (_, change))| (n + change).max(0)).collect();
        let columns = layout.columns(&table.gather_keys(&slots)?, &values, slots.len())?;
        table.set_value(&slots, layout.mark_column(), Arc::new(after.clone()))?;
        drop(table);
        let rows = record_batch(layout.schema(), columns, slots.len())?;
        for (kind, from, to) in [(RETRACT, &before, &after), (INSERT, &after, &before)] {
            let turned = |row: usize| self.is_alone(side, from.value(row)) && !self.is_alone(side, to.value(row));
            let turned: BooleanArray = (0..rows.num_rows()).map(|row| Some(turned(row))).collect();
            self.give_padded(side, &filter_record_batch(&rows, &turned)?, kind)?;
        }
        Ok(())
    }

    /// Gives those rows that are alone with their numbers of pairs.
    fn give_alone(&mut self, side: usize, rows: RecordBatch, kind: i8, n_pairs: impl Fn(usize) -> i64) -> Result<()> {
        let is_alone: BooleanArray = (0..rows.num_rows()).map(|row| Some(self.is_alone(side, n_pairs(row)))).collect();
        self.give_padded(side, &filter_record_batch(&rows, &is_alone)?, kind)
    }

    fn give_padded(&mut self, side: usize, rows: &RecordBatch, kind: i8) -> Result<()> {
        let n_rows = rows.num_rows();
        let nulls = |layout: &SideLayout| layout.fields().iter().map(|field| new_null_array(field.data_type(), n_rows)).collect::<Vec<_>>();
        let [left, right] = &self.layouts;
        let columns = match (self.spec.is_semi_or_anti(), side) {
            (true, _) => rows.columns().to_vec(),
            (false, 0) => rows.columns().iter().cloned().chain(nulls(right)).collect(),
            (false, _) => nulls(left).into_iter().chain(rows.columns().iter().cloned()).collect(),
        };
        self.give(columns, n_rows, kind)
    }

    fn give(&mut self, mut columns: Vec<ArrayRef>, n_rows: usize, kind: i8) -> Result<()> {
        if n_rows > 0 {
            columns.push(Arc::new(Int8Array::from_value(kind, n_rows)));
            self.out.push_back(record_batch(Arc::clone(&self.task.schema), columns, n_rows)?);
        }
        Ok(())
    }

    /// What is useless by now is forgotten.
    fn expire(&mut self) -> Result<()> {
        let began = self.task.scope.clock.monotonic();
        for side in [0, 1] {
            let is_bounded = self.layout(side).is_bounded();
            let mut table = self.table(side)?;
            let n_removed = if is_bounded { table.discard_expired(self.task.watermarks.current_ms)? } else { 0 };
            let (n_rows, memory_bytes) = (table.n_rows() as u64, table.memory_bytes() as u64);
            drop(table);
            self.report.n_rows_removed += n_removed as u64;
            self.report.n_rows_total += n_rows;
            self.report.memory_bytes += memory_bytes;
        }
        self.report.removals_ms = self.task.scope.millis_since(began);
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(())
    }

    fn table(&self, side: usize) -> Result<MutexGuard<'_, KeyedMultiTable>> {
        let [left, right] = STORES;
        self.task.scope.state.multi_table(&self.spec.operator, if side == 0 { left } else { right }, self.task.partition)
    }
}

fn count_column(values: &[ArrayRef], layout: &SideLayout) -> Result<Int64Array> {
    let counts = values.get(layout.mark_column()).and_then(|column| column.as_primitive_opt::<Int64Type>());
    counts.cloned().ok_or_else(|| Error::internal("a join's rows without their numbers of pairs"))
}

#[cfg(test)]
mod tests;
