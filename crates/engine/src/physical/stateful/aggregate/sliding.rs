//! Aggregates over windows that overlap, whose state is slices of windows: one row per key and slice, however many windows
//! hold it.
//!
//! ```text
//!  batch ─► partial groups by key and slice ─► merged with the state's, written back      (as for other groups)
//!           Slices: which keys are in which slice    Sweep: values of all keys, window by window ─► rows
//! ```
//! Append mode gives the windows that have become final, and goes on with its sweep in the next batch; update mode sweeps over the
//! windows of what the batch touched, complete mode over all. What is kept beside the state is made again from it after a
//! restart. The reasons: `docs/design/0007-slices.md`.

mod emission;
mod inverse;
mod keys;
mod present;
mod slices;
mod sweep;
mod two_stacks;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, Fields, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_core::{Error, OutputMode, Result};
use millstream_state::store::{StoreDescription, StoreKind, ValuesOf};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::emission::{Emission, Kept};
use super::merge::{GroupExpiry, GroupMerge};
use super::{GroupColumns, IN_PROGRESS, no_key, with_slices};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};
use crate::physical::stateful::tables::{MAIN_STORE, store_schema};
use crate::physical::stateful::{StatefulOperator, WindowKey};

/// Aggregates over overlapping windows with state. See the module's documentation.
pub type SlidingAggregateExec = OperatorExec<SlidingAggregate>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct SlidingAggregate {
    spec: SlidingAggregateSpec,
    groups: GroupColumns,
    output: SchemaRef,
}

/// What makes a [`SlidingAggregateExec`] again over its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlidingAggregateSpec {
    /// Its id.
    pub operator: String,
    /// Which windows a batch gives.
    pub mode: OutputMode,
    /// Whether windows become final.
    pub has_event_time: bool,
    /// What a restart compares.
    pub meaning: Vec<String>,
    /// The windows.
    pub window: WindowKey,
    /// Where the window stands among the keys of the result.
    pub window_idx: usize,
    /// Whether there are other keys. If not, a constant stands for them below.
    pub has_other_keys: bool,
}

/// The key of all rows, where the window is the only key: it keeps the slices of a window in one task.
pub const ALL: &str = "all";

impl SlidingAggregateExec {
    /// Over the partial aggregation `input`, whose last key is the start of the slice, or an exchange of one.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: SlidingAggregateSpec) -> Result<Self> {
        let groups = GroupColumns::of(&input, None)?;
        let window = &spec.window;
        let (slice, keys) =
            groups.keys.split_last().filter(|(slice, _)| *slice.name() == window.slice).ok_or_else(|| no_key(&window.slice))?;
        let mut fields: Vec<FieldRef> = if spec.has_other_keys { keys.to_vec() } else { Vec::new() };
        if spec.window_idx > fields.len() {
            return Err(no_key(&window.window));
        }
        fields.insert(spec.window_idx, Arc::new(window.field(slice.data_type())));
        fields.extend(groups.aggregates.iter().map(|aggregate| aggregate.field()));
        let output = Arc::new(Schema::new(fields));
        Ok(Self::over(SlidingAggregate { spec, groups, output }, [input]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &SlidingAggregateSpec {
        &self.operator.spec
    }
}

impl StatefulOperator for SlidingAggregateExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.mode != OutputMode::Complete
    }

    fn detail(&self) -> Value {
        json!(self.operator.groups.meanings(&self.operator.spec.meaning).0)
    }

    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        let [input] = &self.inputs;
        self.operator.groups.values_of(&self.operator.spec.meaning, input)
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let keys = &self.operator.groups.keys;
        let [input] = &self.inputs;
        let states: Vec<FieldRef> = input.schema().fields().iter().skip(keys.len()).cloned().collect();
        let states = self.operator.groups.named_states(&self.operator.spec.meaning, &states)?;
        let names = with_slices(keys.clone(), keys.len().saturating_sub(1), &self.operator.spec.window)?;
        let schema = store_schema(names, states)?;
        Ok(vec![StoreDescription { name: MAIN_STORE.to_owned(), kind: StoreKind::Sliced, schema }])
    }
}

impl fmt::Display for SlidingAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, mode={}, {}, aggregates=[{}]", self.spec.operator, self.spec.mode, self.spec.window, self.groups.shown_calls())
    }
}

impl SlidingAggregate {
    /// The keys beside the slice.
    fn keys(&self) -> Fields {
        self.groups.keys.iter().take(self.groups.keys.len().saturating_sub(1)).cloned().collect()
    }

    /// Rows of the result.
    fn rows(&self, keys: Vec<ArrayRef>, windows: &ArrayRef, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut columns = if self.spec.has_other_keys { keys } else { Vec::new() };
        columns.insert(self.spec.window_idx.min(columns.len()), self.spec.window.structs(windows)?);
        columns.extend(values);
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

impl Operator for SlidingAggregate {
    const NAME: &'static str = "SlidingAggregateExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered_as(Arc::clone(&self.output), input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let slice = self.groups.keys.len().saturating_sub(1);
        let expiry = self.spec.has_event_time.then_some(GroupExpiry { key: slice, windows: Some(self.spec.window.windows) });
        Ok(rows_of_run(Run {
            step: Step::Merge(task.rows_of(input)?, Box::new(GroupMerge::new(&self.groups, expiry)?)),
            report: StateOperatorReport { n_partitions: 1, n_stores: 1, ..StateOperatorReport::of(&self.spec.operator, IN_PROGRESS) },
            of: self.clone(),
            task,
        }))
    }
}

/// One partition in one batch.
struct Run {
    step: Step,
    of: SlidingAggregate,
    report: StateOperatorReport,
    task: OperatorTask,
}

enum Step {
    /// The batch's groups are read and merged with the state.
    Merge(SendableRecordBatchStream, Box<GroupMerge>),
    /// What is to be given, window by window.
    Give(Box<Emission>),
    Done,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match &mut self.step {
                Step::Merge(input, merge) => match input.next().await {
                    Some(batch) => {
                        let batch = batch.map_err(from_datafusion)?;
                        let began = self.task.scope.clock.monotonic();
                        let mut table = self.task.scope.state.table(&self.of.spec.operator, MAIN_STORE, self.task.partition)?;
                        merge.add(&mut table, &batch)?;
                        self.report.updates_ms += self.task.scope.millis_since(began);
                    }
                    None => self.merged()?,
                },
                Step::Give(emission) => {
                    let began = self.task.scope.clock.monotonic();
                    let mut table = self.task.scope.state.table(&self.of.spec.operator, MAIN_STORE, self.task.partition)?;
                    let rows = emission.next(&mut table)?;
                    drop(table);
                    self.report.removals_ms += self.task.scope.millis_since(began);
                    match rows {
                        Some((keys, windows, values)) => return Ok(Some(self.of.rows(keys, &windows, values)?)),
                        None => self.ended()?,
                    }
                }
                Step::Done => return Ok(None),
            }
        }
    }

    async fn abort(&mut self) {}
}

impl Run {
    /// All input is there: the state takes the merged groups, and the windows to be given are known.
    fn merged(&mut self) -> Result<()> {
        let Step::Merge(_, merge) = &mut self.step else { return Err(Error::internal("an aggregation that ended twice")) };
        let began = self.task.scope.clock.monotonic();
        let state = &self.task.scope.state;
        let mut table = state.table(&self.of.spec.operator, MAIN_STORE, self.task.partition)?;
        let kept = match state.take_derived::<Kept>(&self.of.spec.operator, self.task.partition) {
            Some(kept) => *kept,
            None => Kept::of(&table, &self.of)?,
        };
        let (touched, keys) = merge.finish()?;
        if touched.n_rows > 0 {
            table.upsert_known(&keys, merge.slots(), &touched)?;
        }
        self.report.n_rows_updated = touched.n_rows as u64;
        let watermarks = self.task.watermarks;
        let is_new: Vec<bool> = merge.slots().iter().map(Option::is_none).collect();
        let emission = Emission::new(kept, &self.of, watermarks, &touched.keys, &is_new, &mut table)?;
        drop(table);
        self.report.updates_ms += self.task.scope.millis_since(began);
        self.step = Step::Give(Box::new(emission));
        Ok(())
    }

    /// All windows are given: what no window needs any more leaves the state.
    fn ended(&mut self) -> Result<()> {
        let Step::Give(emission) = std::mem::replace(&mut self.step, Step::Done) else {
            return Err(Error::internal("an aggregation that ended twice"));
        };
        let began = self.task.scope.clock.monotonic();
        let state = &self.task.scope.state;
        let mut table = state.table(&self.of.spec.operator, MAIN_STORE, self.task.partition)?;
        let mut kept = emission.into_kept();
        if self.of.spec.has_event_time && self.of.spec.mode != OutputMode::Complete {
            let watermarks = self.task.watermarks;
            // What leaves a window is taken out of it first.
            kept.forget_expired(&mut table, watermarks.current_us())?;
            self.report.n_rows_removed = table.discard_expired(watermarks.current_ms)? as u64;
        }
        self.report.removals_ms += self.task.scope.millis_since(began);
        self.report.n_rows_total = table.n_rows() as u64;
        table.count_beside(kept.memory_bytes());
        drop(table);
        state.keep_derived(&self.of.spec.operator, self.task.partition, Box::new(kept));
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(())
    }
}
