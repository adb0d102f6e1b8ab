//! One partition of a join in one batch.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, MutexGuard};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedMultiTable, Slot, StoreRows};

use super::layout::SideLayout;
use super::probe::{Pairs, Probe};
use super::{JoinSpec, STORES, StreamJoin};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::operator::{OperatorRun, OperatorTask};

/// As Spark calls it in progress.
pub(super) const IN_PROGRESS: &str = "symmetricHashJoin";

/// See the module's documentation.
pub(super) struct Run {
    spec: JoinSpec,
    layouts: [Arc<SideLayout>; 2],
    /// The columns of left, then of right.
    pairs: SchemaRef,
    inputs: [SendableRecordBatchStream; 2],
    step: Step,
    out: VecDeque<RecordBatch>,
    report: StateOperatorReport,
    task: OperatorTask,
}

enum Step {
    /// Rows of a side are read.
    Read(usize),
    /// Rows of a side look for matches.
    Probe(Probe),
    /// What the watermark has made useless leaves.
    Expire,
    Ended,
}

impl Run {
    pub(super) fn new(join: &StreamJoin, inputs: [SendableRecordBatchStream; 2], pairs: SchemaRef, task: OperatorTask) -> Self {
        let report = StateOperatorReport { n_partitions: 1, n_stores: 2, ..StateOperatorReport::of(&join.spec.operator, IN_PROGRESS) };
        let (spec, layouts) = (join.spec.clone(), join.layouts.clone());
        Self { spec, layouts, pairs, inputs, step: Step::Read(0), out: VecDeque::new(), report, task }
    }
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = self.out.pop_front() {
                return Ok(Some(rows));
            }
            let began = self.task.scope.clock.monotonic();
            match &mut self.step {
                Step::Read(side) => {
                    let side = *side;
                    let input = self.inputs.get_mut(side).ok_or_else(|| Error::internal("a join has two sides"))?;
                    match input.next().await.transpose().map_err(from_datafusion)? {
                        Some(rows) => self.begin(side, rows)?,
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

impl Run {
    fn layout(&self, side: usize) -> Arc<SideLayout> {
        let [left, right] = &self.layouts;
        Arc::clone(if side == 0 { left } else { right })
    }

    fn preserves(&self, side: usize) -> bool {
        let [left, right] = self.spec.preserves();
        if side == 0 { left } else { right }
    }

    /// Rows of a side have come: those that can match anything begin to look for it.
    fn begin(&mut self, side: usize, mut rows: RecordBatch) -> Result<()> {
        let layout = self.layout(side);
        if let Some(can_match) = layout.can_match(&rows).filter(|mask| mask.true_count() < mask.len()) {
            if self.preserves(side) {
                self.give_unmatched(side, filter_record_batch(&rows, &not(&can_match)?)?)?;
            }
            rows = filter_record_batch(&rows, &can_match)?;
        }
        // Of an outer side they wait for the end of the stream, as in Spark.
        if let Some(has_time) = layout.has_time(&rows)?.filter(|_| !self.preserves(side)) {
            rows = filter_record_batch(&rows, &has_time)?;
        }
        if let Some(has_keys) = layout.has_keys(&rows)?.filter(|mask| mask.true_count() < mask.len()) {
            // They match nothing, but as in Spark they come out with the others of their time.
            if self.preserves(side) {
                let without = filter_record_batch(&rows, &not(&has_keys)?)?;
                let has_matched = vec![false; without.num_rows()];
                self.keep(side, &without, has_matched)?;
            }
            rows = filter_record_batch(&rows, &has_keys)?;
        }
        if rows.num_rows() > 0 {
            let keys = layout.keys(&rows)?;
            let probe = Probe::new(side, rows, keys, &mut *self.table(1 - side)?)?;
            self.step = Step::Probe(probe);
        }
        Ok(())
    }

    /// One piece of the pairs, or the end of them.
    fn probe(&mut self) -> Result<()> {
        let Step::Probe(mut probe) = std::mem::replace(&mut self.step, Step::Ended) else {
            return Err(Error::internal("a join that looks for nothing"));
        };
        let side = probe.side;
        let other_layout = self.layout(1 - side);
        let found = probe.next(&*self.table(1 - side)?, &other_layout, &self.pairs, self.spec.filter.as_ref())?;
        match found {
            Some(pairs) => {
                self.give_pairs(&mut probe, pairs)?;
                self.step = Step::Probe(probe);
            }
            None => {
                self.step = Step::Read(side);
                self.end_probe(probe)?;
            }
        }
        Ok(())
    }

    fn give_pairs(&mut self, probe: &mut Probe, pairs: Pairs) -> Result<()> {
        let other = 1 - probe.side;
        if self.spec.is_semi_or_anti() {
            // Left rows look for a match only; right rows make left ones leave their table.
            if probe.side == 1 {
                let is_first: BooleanArray = pairs.slots.iter().map(|slot| Some(probe.gone.insert(*slot))).collect();
                if self.spec.kind == JoinType::LeftSemi {
                    let left: Vec<usize> = (0..self.layout(0).fields().len()).collect();
                    self.give(filter_record_batch(&pairs.rows.project(&left)?, &is_first)?.columns().to_vec(), is_first.true_count())?;
                }
            }
            return Ok(());
        }
        if let Some(flags) = &pairs.flags {
            let is_marked = |row: usize| flags.value(row);
            let new: HashSet<Slot> = pairs.slots.iter().enumerate().filter(|(row, _)| !is_marked(*row)).map(|(_, slot)| *slot).collect();
            let mut slots: Vec<Slot> = new.into_iter().collect();
            slots.sort_unstable();
            if !slots.is_empty() {
                let marks: ArrayRef = Arc::new(BooleanArray::from(vec![true; slots.len()]));
                self.table(other)?.set_value(&slots, self.layout(other).mark_column(), marks)?;
            }
        }
        self.give(pairs.rows.columns().to_vec(), pairs.rows.num_rows())
    }

    /// The rows have found what there is: they are kept for what is still to come.
    fn end_probe(&mut self, probe: Probe) -> Result<()> {
        let Probe { side, rows, has_matched, gone, .. } = probe;
        if !gone.is_empty() {
            let mut slots: Vec<Slot> = gone.into_iter().collect();
            slots.sort_unstable();
            self.report.n_rows_removed += slots.len() as u64;
            self.table(1 - side)?.remove_slots(&slots)?;
        }
        if side == 0 && self.spec.is_semi_or_anti() {
            let matched = BooleanArray::from(has_matched);
            if self.spec.kind == JoinType::LeftSemi {
                self.give(filter_record_batch(&rows, &matched)?.columns().to_vec(), matched.true_count())?;
            }
            let rows = filter_record_batch(&rows, &not(&matched)?)?;
            let has_matched = vec![false; rows.num_rows()];
            return self.keep(side, &rows, has_matched);
        }
        self.keep(side, &rows, has_matched)
    }

    /// Puts rows into the table of their side.
    fn keep(&mut self, side: usize, rows: &RecordBatch, has_matched: Vec<bool>) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let layout = self.layout(side);
        let mut expiry = layout.expiry(rows)?;
        let mut has_matched = BooleanArray::from(has_matched);
        let mut rows = rows.clone();
        // The left rows of this batch are all there when right ones come: what is useless by then need not be kept.
        if let (1, Some(times)) = (side, &expiry) {
            let now_ms = self.task.watermarks.current_ms;
            let is_kept: BooleanArray = times.iter().map(|ms| Some(ms.is_none_or(|ms| ms > now_ms))).collect();
            if is_kept.true_count() < is_kept.len() {
                if self.preserves(side) {
                    let is_left_over = arrow::compute::and(&not(&is_kept)?, &not(&has_matched)?)?;
                    self.give_unmatched(side, filter_record_batch(&rows, &is_left_over)?)?;
                }
                rows = filter_record_batch(&rows, &is_kept)?;
                has_matched = arrow::array::AsArray::as_boolean(&arrow::compute::filter(&has_matched, &is_kept)?).clone();
                expiry = layout.expiry(&rows)?;
            }
        }
        let (keys, values) = (layout.keys(&rows)?, layout.values(&rows, &has_matched)?);
        self.report.n_rows_updated += rows.num_rows() as u64;
        self.table(side)?.append(&keys, expiry.as_ref(), &values)
    }

    /// What is useless by now leaves the tables.
    fn expire(&mut self) -> Result<()> {
        let began = self.task.scope.clock.monotonic();
        let watermarks = self.task.watermarks;
        for side in [0, 1] {
            let layout = self.layout(side);
            let mut left = Vec::new();
            let mut table = self.table(side)?;
            let n_before = table.n_rows();
            match (layout.is_bounded(), self.preserves(side)) {
                (true, true) => left = table.expire(watermarks.current_ms)?,
                (true, false) => _ = table.discard_expired(watermarks.current_ms)?,
                (false, _) => {}
            }
            let n_removed = n_before - table.n_rows();
            if watermarks.is_flush() && self.preserves(side) {
                // Rows without a time would wait for ever, and there is nothing any more to wait for.
                let slots = table.scan().collect::<Result<Vec<StoreRows>>>()?;
                left.extend(slots);
            }
            let (n_rows, memory_bytes) = (table.n_rows() as u64, table.memory_bytes() as u64);
            drop(table);
            self.report.n_rows_removed += n_removed as u64;
            self.report.n_rows_total += n_rows;
            self.report.memory_bytes += memory_bytes;
            for rows in left {
                let mut columns = rows_of(&layout, &rows)?;
                if let Some(unmatched) = layout.unmatched(&rows) {
                    columns = filter_record_batch(&columns, &unmatched)?;
                }
                self.give_unmatched(side, columns)?;
            }
        }
        self.report.removals_ms = self.task.scope.millis_since(began);
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(())
    }

    /// Rows of one side come out without the other.
    fn give_unmatched(&mut self, side: usize, rows: RecordBatch) -> Result<()> {
        let n_rows = rows.num_rows();
        let nulls = |layout: &SideLayout| layout.fields().iter().map(|field| new_null_array(field.data_type(), n_rows)).collect::<Vec<_>>();
        let [left, right] = &self.layouts;
        let columns = match (self.spec.is_semi_or_anti(), side) {
            (true, _) => rows.columns().to_vec(),
            (false, 0) => rows.columns().iter().cloned().chain(nulls(right)).collect(),
            (false, _) => nulls(left).into_iter().chain(rows.columns().iter().cloned()).collect(),
        };
        self.give(columns, n_rows)
    }

    fn give(&mut self, columns: Vec<ArrayRef>, n_rows: usize) -> Result<()> {
        if n_rows > 0 {
            self.out.push_back(record_batch(Arc::clone(&self.task.schema), columns, n_rows)?);
        }
        Ok(())
    }

    fn table(&self, side: usize) -> Result<MutexGuard<'_, KeyedMultiTable>> {
        let [left, right] = STORES;
        self.task.scope.state.multi_table(&self.spec.operator, if side == 0 { left } else { right }, self.task.partition)
    }
}

/// Rows of a table as those of their side.
fn rows_of(layout: &SideLayout, rows: &StoreRows) -> Result<RecordBatch> {
    let columns = layout.columns(&rows.keys, &rows.values, rows.n_rows)?;
    record_batch(layout.schema(), columns, rows.n_rows)
}

pub(super) fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(n_rows)))?)
}
