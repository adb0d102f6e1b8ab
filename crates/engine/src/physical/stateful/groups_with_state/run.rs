//! One task in one batch: gathers rows, calls the groups that have some, then those whose time is over.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, StructArray, UInt32Array};
use arrow::compute::{BatchCoalescer, take};
use arrow::datatypes::{Fields, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use millstream_analyzer::streaming::{GroupStateTimeout, GroupTimes};
use millstream_core::{BatchId, Error, Result};
use millstream_state::store::{KeyHasher, StoreRows};

use super::call::{Caller, Reason, key_at};
use super::grouping::{Grouper, Groups, concatenated};
use super::states::{Before, Writes, states_of, stored, value_at};
use super::{Columns, GroupsWithState};
use crate::batch::{BatchFacts, BatchWatermarks, StateOperatorReport};
use crate::error::from_datafusion;
use crate::physical::operator::{OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use crate::physical::stateful::tables::{MAIN_STORE, store_keys};

/// So many groups are called before their states are written.
const GROUPS_PER_STEP: usize = 4096;

/// The last millisecond that a column of times can hold: what a function sees of the watermark at the end of time.
const LAST_EVENT_MS: i64 = i64::MAX / 1000;

/// As Spark calls it in progress.
const NAME_IN_PROGRESS: &str = "flatMapGroupsWithState";

/// Starts a task.
pub fn start(
    operator: &GroupsWithState,
    input: &Arc<dyn ExecutionPlan>,
    initial: Option<&Arc<dyn ExecutionPlan>>,
    task: OperatorTask,
) -> Result<OperatorRows> {
    let schema = input.schema();
    let facts = &task.scope.facts;
    let function = &operator.function;
    let late_us = task.watermarks.late_us();
    let event_time = function.event_time.as_ref().filter(|_| operator.is_streaming);
    let event_time = event_time.and_then(|name| function.output.iter().position(|field| field.name().eq_ignore_ascii_case(name)));
    let caller = Caller {
        operator: operator.operator.clone(),
        function: Arc::clone(function),
        times: operator.times(facts, task.watermarks),
        schema: Arc::clone(&operator.schema),
        event_time: event_time.map(|column| (column, late_us)),
    };
    // What groups start from is read once in the life of a query.
    let initial = initial.filter(|_| !operator.is_streaming || facts.batch_id == BatchId(0));
    let initial = match (initial, &operator.initial) {
        (Some(plan), Some(columns)) => Some((task.rows_of(plan)?, columns.clone())),
        _ => None,
    };
    let key_fields = operator.store(&schema)?.keys().clone();
    let batch_rows = task.ctx.session_config().batch_size();
    Ok(rows_of_run(Run {
        grouper: Some(Grouper::new(KeyHasher::new(&key_fields)?, Arc::new(Schema::new(operator.input.fields(&schema))))),
        input: task.rows_of(input)?,
        initial,
        columns: operator.input.clone(),
        key_fields,
        timeout_ms: operator.timeout_ms(facts, task.watermarks),
        is_streaming: operator.is_streaming,
        caller,
        waiting: Waiting::Input,
        given: BatchCoalescer::new(Arc::clone(&operator.schema), batch_rows),
        report: StateOperatorReport { n_partitions: 1, n_stores: 1, ..StateOperatorReport::of(&operator.operator, NAME_IN_PROGRESS) },
        task,
    }))
}

impl GroupsWithState {
    fn times(&self, facts: &BatchFacts, watermarks: BatchWatermarks) -> GroupTimes {
        let now_proc_ms = facts.clock_us.div_euclid(1000);
        let watermark_ms = watermarks.current_ms.min(LAST_EVENT_MS);
        if self.is_streaming {
            let watermark_event_ms = self.has_watermark.then_some(watermark_ms);
            GroupTimes { watermark_event_ms, earliest_event_ms: watermark_event_ms, now_proc_ms }
        } else {
            GroupTimes { watermark_event_ms: self.has_watermark.then_some(-1), earliest_event_ms: None, now_proc_ms }
        }
    }

    /// Groups with this deadline or an earlier one have timed out: the deadline is before the watermark, or the clock.
    fn timeout_ms(&self, facts: &BatchFacts, watermarks: BatchWatermarks) -> Option<i64> {
        let now_ms = match self.function.timeout {
            GroupStateTimeout::None => return None,
            GroupStateTimeout::ProcessingTime => facts.clock_us.div_euclid(1000),
            GroupStateTimeout::EventTime => watermarks.current_ms,
        };
        Some(now_ms.saturating_sub(1)).filter(|_| self.is_streaming)
    }
}

/// What is to be done next.
enum Waiting {
    Input,
    Groups { groups: Groups, initial: Option<Initial>, next: usize },
    TimedOut { groups: TimedOut, next: usize },
    Nothing,
}

/// States that groups start from: the row of each group.
struct Initial {
    rows: HashMap<usize, usize>,
    states: ArrayRef,
}

/// Groups whose time is over, in the order in which they are called.
struct TimedOut {
    keys: Vec<ArrayRef>,
    states: Vec<Before>,
}

struct Run {
    grouper: Option<Grouper>,
    input: SendableRecordBatchStream,
    initial: Option<(SendableRecordBatchStream, Columns)>,
    columns: Columns,
    key_fields: Fields,
    timeout_ms: Option<i64>,
    is_streaming: bool,
    caller: Caller,
    waiting: Waiting,
    given: BatchCoalescer,
    report: StateOperatorReport,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = self.given.next_completed_batch() {
                return Ok(Some(rows));
            }
            self.waiting = match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
                Waiting::Input => self.gather().await?,
                Waiting::Groups { groups, initial, next } => self.call_groups(groups, initial, next)?,
                Waiting::TimedOut { groups, next } => self.call_timed_out(groups, next)?,
                Waiting::Nothing => return Ok(None),
            };
            if matches!(self.waiting, Waiting::Nothing) {
                self.given.finish_buffered_batch()?;
                self.finish()?;
            }
            // A user's function may take its time: others of this thread get theirs, and a stop is heard.
            tokio::task::yield_now().await;
        }
    }

    async fn abort(&mut self) {}
}

impl Run {
    async fn gather(&mut self) -> Result<Waiting> {
        let mut grouper = self.grouper.take().ok_or_else(|| Error::internal("rows were gathered twice"))?;
        while let Some(batch) = self.input.next().await.transpose().map_err(from_datafusion)? {
            let keys = store_keys(picked(&batch, &self.columns.keys), batch.num_rows());
            grouper.add(&keys, picked(&batch, &self.columns.columns), batch.num_rows())?;
        }
        let initial = match self.initial.take() {
            Some((rows, columns)) => gather_initial(&self.caller, &mut grouper, rows, &columns).await?,
            None => None,
        };
        Ok(Waiting::Groups { groups: grouper.finish()?, initial, next: 0 })
    }

    /// Calls the next groups that have rows, or an initial state.
    fn call_groups(&mut self, groups: Groups, initial: Option<Initial>, from: usize) -> Result<Waiting> {
        let n = GROUPS_PER_STEP.min(groups.n_groups - from);
        if n == 0 {
            return self.time_out();
        }
        let began = self.task.scope.clock.monotonic();
        let keys: Vec<ArrayRef> = groups.keys.iter().map(|key| key.slice(from, n)).collect();
        let mut before = match self.is_streaming {
            true => states_of(&mut *self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?, &keys)?,
            false => vec![Before::default(); n],
        };
        if let Some(initial) = &initial {
            for (offset, before) in before.iter_mut().enumerate() {
                if let Some(row) = initial.rows.get(&(from + offset)) {
                    before.value = value_at(&initial.states, *row)?;
                }
            }
        }
        let rows = |offset: usize| groups.rows(from + offset);
        let writes = self.call_each(&keys, before, Reason::Rows, rows)?;
        self.write(writes, &keys)?;
        self.report.updates_ms += self.task.scope.millis_since(began);
        Ok(Waiting::Groups { groups, initial, next: from + n })
    }

    /// Takes the groups whose time is over out of the state.
    fn time_out(&mut self) -> Result<Waiting> {
        let Some(timeout_ms) = self.timeout_ms else { return Ok(Waiting::Nothing) };
        let began = self.task.scope.clock.monotonic();
        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        let expired = table.expire(timeout_ms)?;
        drop(table);
        let groups = TimedOut::of(expired, &self.key_fields)?;
        self.report.removals_ms += self.task.scope.millis_since(began);
        Ok(groups.map_or(Waiting::Nothing, |groups| Waiting::TimedOut { groups, next: 0 }))
    }

    fn call_timed_out(&mut self, mut groups: TimedOut, from: usize) -> Result<Waiting> {
        let n = GROUPS_PER_STEP.min(groups.states.len() - from);
        if n == 0 {
            return Ok(Waiting::Nothing);
        }
        let began = self.task.scope.clock.monotonic();
        let keys: Vec<ArrayRef> = groups.keys.iter().map(|key| key.slice(from, n)).collect();
        let before = groups.states.iter_mut().skip(from).take(n).map(std::mem::take).collect();
        let writes = self.call_each(&keys, before, Reason::Timeout, |_| Vec::new())?;
        self.write(writes, &keys)?;
        self.report.removals_ms += self.task.scope.millis_since(began);
        Ok(Waiting::TimedOut { groups, next: from + n })
    }

    fn call_each(
        &mut self,
        keys: &[ArrayRef],
        before: Vec<Before>,
        reason: Reason,
        rows: impl Fn(usize) -> Vec<RecordBatch>,
    ) -> Result<Writes> {
        let n_keys = self.columns.keys.len();
        let keys = keys.get(..n_keys).unwrap_or_default();
        let mut writes = Writes::default();
        for (row, Before { value, deadline_ms, is_stored }) in (0_u32..).zip(before) {
            let offset = row as usize;
            let (given, outcome) = self.caller.call(&key_at(keys, offset)?, &rows(offset), value, reason)?;
            for rows in given {
                self.given.push_batch(rows)?;
            }
            match reason {
                Reason::Rows => writes.note(row, (deadline_ms, is_stored), outcome),
                Reason::Timeout => writes.note_timed_out(row, outcome),
            }
        }
        Ok(writes)
    }

    fn write(&mut self, writes: Writes, keys: &[ArrayRef]) -> Result<()> {
        if !self.is_streaming {
            return Ok(());
        }
        self.report.n_rows_updated += writes.n_updated;
        self.report.n_rows_removed += writes.n_removed;
        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        writes.apply(&mut table, keys, &self.caller.function.state)
    }

    fn finish(&mut self) -> Result<()> {
        if !self.is_streaming {
            return Ok(());
        }
        let table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        self.report.n_rows_total = table.n_rows() as u64;
        drop(table);
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(())
    }
}

impl TimedOut {
    /// By deadline, then key: an order that does not hang on how the state was read.
    fn of(expired: Vec<StoreRows>, key_fields: &Fields) -> Result<Option<Self>> {
        if expired.iter().all(|rows| rows.n_rows == 0) {
            return Ok(None);
        }
        let keys = concatenated(&expired.iter().map(|rows| rows.keys.clone()).collect::<Vec<_>>())?;
        let mut states = Vec::new();
        for rows in &expired {
            states.extend(stored(&rows.values, rows.expiry.as_ref())?);
        }
        let bytes: BinaryArray = KeyHasher::new(key_fields)?.bytes(&keys)?;
        let mut order: Vec<(i64, &[u8], usize)> = states
            .iter()
            .zip(bytes.iter().flatten())
            .enumerate()
            .map(|(row, (state, key))| (state.deadline_ms.unwrap_or(0), key, row))
            .collect();
        order.sort_unstable();
        let rows: Vec<usize> = order.into_iter().map(|(_, _, row)| row).collect();
        let indices: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
        let keys = keys.iter().map(|key| take(key, &indices, None)).collect::<Result<_, _>>()?;
        let states = rows.into_iter().filter_map(|row| states.get_mut(row).map(std::mem::take)).collect();
        Ok(Some(Self { keys, states }))
    }
}

async fn gather_initial(
    caller: &Caller,
    grouper: &mut Grouper,
    mut rows: SendableRecordBatchStream,
    columns: &Columns,
) -> Result<Option<Initial>> {
    let (mut of_groups, mut states) = (HashMap::new(), Vec::new());
    while let Some(batch) = rows.next().await.transpose().map_err(from_datafusion)? {
        let keys = store_keys(picked(&batch, &columns.keys), batch.num_rows());
        for group in grouper.numbers_of(&keys)? {
            let row = of_groups.len();
            if of_groups.insert(group as usize, row).is_some() {
                let (function, operator) = (&caller.function.name, &caller.operator);
                return Err(Error::invalid(format!(
                    "the initial state of the function '{function}' of operator '{operator}' has several rows with the same key"
                ))
                .hint("drop_duplicates on the keys"));
            }
        }
        states.push(picked(&batch, &columns.columns));
    }
    if states.is_empty() {
        return Ok(None);
    }
    let states = StructArray::try_new(Fields::clone(&caller.function.state), concatenated(&states)?, None)?;
    Ok(Some(Initial { rows: of_groups, states: Arc::new(states) }))
}

fn picked(batch: &RecordBatch, columns: &[(usize, String)]) -> Vec<ArrayRef> {
    columns.iter().filter_map(|(idx, _)| batch.columns().get(*idx).cloned()).collect()
}
