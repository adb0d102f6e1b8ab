//! Merges the partial groups of a batch with the groups of the state, and gives groups by the output mode.
//!
//! The state has one row per group: its keys and the accumulators' states, as DataFusion's partial aggregation gives
//! them. A batch touches few groups: their rows are looked up, merged with the batch's, and written back; the changed rows
//! are what the batch adds to the checkpoint. So any aggregate works that DataFusion can compute in parts.
//!
//! When its rows are changes, a group that a batch touches gives its old row, to be taken out, and its new one. When its
//! input is changes, the batch is aggregated apart by what is added and what is taken out, and the latter counts negative:
//! so only counts and exact sums come here ([`can_subtract`](super::changed::can_subtract)), others are recomputed ([`super::recompute`]).

pub(super) mod merge;
pub(super) mod sliding;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{FieldRef, Fields, Int64Type, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::{CHANGE, Gives};
use millstream_core::{Error, OutputMode, Result};
use millstream_state::store::{StoreDescription, StoreRows, ValuesOf, of_slices};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::merge::groups_accumulator;
use self::merge::{Evaluator, GroupExpiry, GroupMerge};
use super::changed::{changes_of_groups, given_schema, never_added, signed, split_change};
use super::exchange::{KeyExchangeExec, keeps_only_row};
use super::tables::{MAIN_STORE, filtered, one_store, store_schema};
use super::{StatefulOperator, WindowKey};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::event_time_among;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};

/// Aggregates with state. See the module's documentation.
pub type StatefulAggregateExec = OperatorExec<StatefulAggregate>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct StatefulAggregate {
    spec: AggregateSpec,
    groups: GroupColumns,
}

/// What makes an aggregation again over its input, which says what the aggregates are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AggregateSpec {
    /// Its stable id.
    pub operator: String,
    /// Which groups a batch gives.
    pub mode: OutputMode,
    /// Whether groups that were given may be taken back.
    pub gives: Gives,
    /// The key by which groups become final, as the result calls it.
    pub event_time: Option<String>,
    /// The key that is a window of time.
    pub window: Option<WindowKey>,
    /// What it computes, in texts that a restart compares.
    pub meaning: Vec<String>,
}

/// The columns of groups: keys, then the states of each aggregate.
#[derive(Debug, Clone)]
pub(super) struct GroupColumns {
    pub(super) keys: Fields,
    /// The key that is a window of time, and which it is.
    window: Option<(usize, WindowKey)>,
    pub(super) aggregates: Arc<[Arc<AggregateFunctionExpr>]>,
    /// What a group gives: keys, then the value of each aggregate.
    pub(super) output: SchemaRef,
    /// Its rows are told apart by whether they are added or taken out, and the last aggregate counts them for the group's sake.
    is_signed: bool,
}

/// The aggregate that counts the rows of groups whose rows can be taken out.
pub(super) const ROWS: &str = "__rows";

/// As Spark calls it in progress.
const IN_PROGRESS: &str = "stateStoreSave";

impl StatefulAggregateExec {
    /// Over the partial aggregation `input`, or an exchange of one.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: AggregateSpec) -> Result<Self> {
        let groups = GroupColumns::of(&input, spec.window.clone())?;
        Ok(Self::over(StatefulAggregate { spec, groups }, [input]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &AggregateSpec {
        &self.operator.spec
    }
}

impl StatefulOperator for StatefulAggregateExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.mode != OutputMode::Complete
    }

    /// The keys: of the aggregates each is compared by itself.
    fn detail(&self) -> Value {
        json!(self.operator.groups.meanings(&self.operator.spec.meaning).0)
    }

    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        let [input] = &self.inputs;
        self.operator.groups.values_of(&self.operator.spec.meaning, input)
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let groups = &self.operator.groups;
        let [input] = &self.inputs;
        let n_grouped = groups.keys.len() + usize::from(groups.is_signed);
        let states: Vec<_> = input.schema().fields().iter().skip(n_grouped).cloned().collect();
        let keys = match &groups.window {
            Some((idx, window)) => with_slices(groups.keys.clone(), *idx, window)?,
            None => groups.keys.clone(),
        };
        Ok(one_store(store_schema(keys, groups.named_states(&self.operator.spec.meaning, &states)?)?))
    }
}

/// Whether what an aggregate has kept of narrow inputs, widened, is what it would have kept of wide ones. It is for those
/// that add, compare or pick; not for what hashes its inputs, or tells them apart.
fn survives_wider_inputs(aggregate: &AggregateFunctionExpr) -> bool {
    let name = aggregate.fun().name().to_ascii_lowercase();
    let name = name.strip_prefix("spark_").unwrap_or(&name);
    !aggregate.is_distinct()
        && matches!(name, "sum" | "try_sum" | "avg" | "try_avg" | "min" | "max" | "count" | "first_value" | "last_value" | "any_value")
}

impl GroupColumns {
    fn of(input: &Arc<dyn ExecutionPlan>, window: Option<WindowKey>) -> Result<Self> {
        let partial = partial_below(input)?;
        let schema = partial.schema();
        let grouped = || schema.fields().iter().take(partial.group_expr().num_group_exprs());
        let is_signed = grouped().any(|field| field.name() == CHANGE);
        let keys: Fields = grouped().filter(|field| field.name() != CHANGE).cloned().collect();
        let groups = Self::new(keys, partial.aggr_expr().into());
        let n_shown = groups.output.fields().len().saturating_sub(usize::from(is_signed));
        let mut shown: Vec<FieldRef> = groups.output.fields().iter().take(n_shown).cloned().collect();
        let window = match window {
            Some(window) => {
                let idx = groups.keys.iter().position(|key| *key.name() == window.slice).ok_or_else(|| no_key(&window.slice))?;
                if let Some(field) = shown.get_mut(idx) {
                    *field = Arc::new(window.field(field.data_type()));
                }
                Some((idx, window))
            }
            None => None,
        };
        Ok(Self { window, output: Arc::new(Schema::new(shown)), is_signed, ..groups })
    }

    pub(super) fn new(keys: Fields, aggregates: Arc<[Arc<AggregateFunctionExpr>]>) -> Self {
        let fields: Vec<_> = keys.iter().cloned().chain(aggregates.iter().map(|aggregate| aggregate.field())).collect();
        Self { keys, window: None, aggregates, output: Arc::new(Schema::new(fields)), is_signed: false }
    }

    pub(super) fn shown_aggregates(&self) -> impl Iterator<Item = &Arc<AggregateFunctionExpr>> {
        self.aggregates.iter().take(self.aggregates.len() - usize::from(self.is_signed))
    }

    /// The aggregates as EXPLAIN shows them.
    fn shown_calls(&self) -> String {
        let calls = self.shown_aggregates().map(|aggregate| aggregate.human_display().unwrap_or(aggregate.name()));
        calls.collect::<Vec<_>>().join(", ")
    }

    /// The texts of keys and of aggregates apart; no aggregates if they have no texts.
    pub(super) fn meanings<'m>(&self, meaning: &'m [String]) -> (&'m [String], &'m [String]) {
        let n_keys = meaning.len().checked_sub(self.shown_aggregates().count());
        n_keys.and_then(|n_keys| meaning.split_at_checked(n_keys)).unwrap_or((meaning, &[]))
    }

    /// What the columns of a group's state belong to; `input` is the partial aggregation.
    fn values_of(&self, meaning: &[String], input: &Arc<dyn ExecutionPlan>) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        Ok([(MAIN_STORE.to_owned(), self.values_of_calls(meaning, input)?)].into())
    }

    /// What the columns of a group's state belong to, in their order.
    pub(super) fn values_of_calls(&self, meaning: &[String], input: &Arc<dyn ExecutionPlan>) -> Result<Vec<ValuesOf>> {
        let (_, calls) = self.meanings(meaning);
        let rows = partial_below(input)?.input_schema();
        let own = self.aggregates.iter().skip(calls.len()).map(|aggregate| aggregate.name().to_owned());
        let values = self.aggregates.iter().zip(calls.iter().cloned().chain(own)).map(|(aggregate, of)| {
            let types = aggregate.expressions().into_iter().map(|input| Ok(input.data_type(&rows).map_err(from_datafusion)?.to_string()));
            Ok(ValuesOf {
                of,
                n_columns: aggregate.state_fields().map_err(from_datafusion)?.len(),
                inputs: if survives_wider_inputs(aggregate) { Vec::new() } else { types.collect::<Result<_>>()? },
                from: aggregate.name().to_owned(),
            })
        });
        values.collect()
    }

    /// State columns under the names of the aggregates they belong to, whose texts are the last ones of `meaning`: `sum(v)`, or
    /// `avg(v)[sum]` and `avg(v)[count]`.
    pub(super) fn named_states(&self, meaning: &[String], states: &[FieldRef]) -> Result<Fields> {
        let (_, calls) = self.meanings(meaning);
        let mut fields = states.iter();
        let mut all = Vec::with_capacity(states.len());
        for (aggregate, call) in self.shown_aggregates().zip(calls) {
            let n_columns = aggregate.state_fields().map_err(from_datafusion)?.len();
            for field in fields.by_ref().take(n_columns) {
                let of_several = field.name().rsplit_once('[').map_or("", |(_, column)| column.trim_end_matches(']'));
                let name = if n_columns == 1 { call.clone() } else { format!("{call}[{of_several}]") };
                all.push(Arc::new(field.as_ref().clone().with_name(name)));
            }
        }
        all.extend(fields.cloned());
        Ok(all.into())
    }

    /// Partial groups of changes without their sign.
    fn unsigned(&self, partial: &RecordBatch) -> Result<RecordBatch> {
        let (rows, kinds) = split_change(partial)?;
        let (keys, states) = rows.columns().split_at_checked(self.keys.len()).ok_or_else(|| Error::internal("groups without all keys"))?;
        let columns = keys.iter().cloned().chain(signed(states, &kinds)?).collect();
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }

    /// A partial group of no rows.
    fn empty_group(&self) -> Result<RecordBatch> {
        let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
        for aggregate in self.aggregates.iter() {
            for state in aggregate.state_fields().map_err(from_datafusion)? {
                let zero = ScalarValue::new_zero(state.data_type()).and_then(|zero| zero.to_array_of_size(1));
                columns.push(zero.map_err(from_datafusion)?);
                fields.push(state);
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Which groups have rows; all, if none can be taken out.
    fn have_rows(&self, groups: &StoreRows, operator: &str) -> Result<Option<BooleanArray>> {
        if !self.is_signed {
            return Ok(None);
        }
        let counts = groups.values.last().and_then(|counts| counts.as_primitive_opt::<Int64Type>());
        let counts = counts.ok_or_else(|| Error::internal("groups without a count of their rows"))?;
        if counts.values().iter().any(|count| *count < 0) {
            return Err(never_added(operator));
        }
        // The group of all rows is there without rows, too.
        Ok((!self.keys.is_empty()).then(|| counts.iter().map(|count| Some(count.unwrap_or(0) > 0)).collect()))
    }

    /// How the key of this name, as the result calls it, tells when a group expires.
    fn expiry_by(&self, event_time: &str) -> Result<GroupExpiry> {
        if let Some((idx, window)) = self.window.as_ref().filter(|(_, window)| window.window == event_time) {
            return Ok(GroupExpiry { key: *idx, windows: Some(window.windows) });
        }
        let key = event_time_among(&self.keys, Some(event_time))?.ok_or_else(|| no_key(event_time))?;
        Ok(GroupExpiry { key, windows: None })
    }
}

/// The partial aggregation that a stateful one stands on, perhaps with an exchange between them.
pub(super) fn partial_below(input: &Arc<dyn ExecutionPlan>) -> Result<&AggregateExec> {
    let below = input.downcast_ref::<KeyExchangeExec>().map_or(input, KeyExchangeExec::input);
    let partial = below.downcast_ref::<AggregateExec>().filter(|partial| *partial.mode() == AggregateMode::Partial);
    partial.ok_or_else(|| Error::internal(format!("a stateful aggregation over {}", below.name())))
}

/// Says of the key at `idx` that it is the start of a slice.
fn with_slices(keys: Fields, idx: usize, window: &WindowKey) -> Result<Fields> {
    let field = |(at, field): (usize, &FieldRef)| match at == idx {
        true => Ok(Arc::new(of_slices(field.as_ref().clone(), window.windows)?)),
        false => Ok(Arc::clone(field)),
    };
    keys.iter().enumerate().map(field).collect::<Result<Vec<_>>>().map(Fields::from)
}

fn no_key(name: &str) -> Error {
    Error::internal(format!("{name} is not among the keys of an aggregation"))
}

impl fmt::Display for StatefulAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, mode={}, aggregates=[{}]", self.spec.operator, self.spec.mode, self.groups.shown_calls())?;
        if self.spec.gives == Gives::Changes { f.write_str(", gives changes") } else { Ok(()) }
    }
}

impl Operator for StatefulAggregate {
    const NAME: &'static str = "StatefulAggregateExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered_as(given_schema(self.spec.gives, &self.groups.output), input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let expiry = self.spec.event_time.as_ref().map(|name| self.groups.expiry_by(name)).transpose()?;
        let has_event_time = expiry.is_some();
        let mut merge = GroupMerge::new(&self.groups, expiry)?;
        let n_partitions = input.output_partitioning().partition_count();
        if self.groups.is_signed && self.groups.keys.is_empty() && keeps_only_row(&task, n_partitions)? {
            let mut table = task.scope.state.table(&self.spec.operator, MAIN_STORE, task.partition)?;
            merge.add(&mut table, &self.groups.empty_group()?)?;
        }
        Ok(rows_of_run(Run {
            step: Step::Merge(task.rows_of(input)?, Box::new(merge)),
            mode: self.spec.mode,
            gives: self.spec.gives,
            groups: self.groups.clone(),
            has_event_time,
            evaluator: Evaluator::new(self.groups.clone()),
            report: StateOperatorReport { n_partitions: 1, n_stores: 1, ..StateOperatorReport::of(&self.spec.operator, IN_PROGRESS) },
            task,
        }))
    }
}

/// One partition in one batch.
struct Run {
    step: Step,
    mode: OutputMode,
    gives: Gives,
    groups: GroupColumns,
    has_event_time: bool,
    evaluator: Evaluator,
    report: StateOperatorReport,
    task: OperatorTask,
}

enum Step {
    /// The batch's groups are read and merged with the state.
    Merge(SendableRecordBatchStream, Box<GroupMerge>),
    /// What is to be given, one batch of groups at a time.
    Give(std::vec::IntoIter<StoreRows>),
    /// The changes of the batch.
    GiveChanges(Option<RecordBatch>),
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match &mut self.step {
                Step::Merge(input, merge) => match input.next().await {
                    Some(batch) => {
                        let batch = batch.map_err(from_datafusion)?;
                        let batch = if self.groups.is_signed { self.groups.unsigned(&batch)? } else { batch };
                        let began = self.task.scope.clock.monotonic();
                        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
                        merge.add(&mut table, &batch)?;
                        self.report.updates_ms += self.task.scope.millis_since(began);
                    }
                    None => self.step = self.finish()?,
                },
                Step::GiveChanges(changes) => return Ok(changes.take()),
                Step::Give(groups) => {
                    return match groups.next() {
                        Some(groups) => Ok(Some(self.evaluator.rows(groups)?)),
                        None => Ok(None),
                    };
                }
            }
        }
    }

    async fn abort(&mut self) {}
}

impl Run {
    /// All input is there: the state takes the merged groups, gives up what is final, and says what goes out.
    fn finish(&mut self) -> Result<Step> {
        let Step::Merge(_, merge) = &mut self.step else { return Err(Error::internal("an aggregation that ended twice")) };
        let mut table = self.task.scope.state.table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        let began = self.task.scope.clock.monotonic();
        let (touched, keys) = merge.finish()?;
        self.report.n_rows_updated = touched.n_rows as u64;
        let have_rows = self.groups.have_rows(&touched, &self.report.operator)?;
        let changes = match self.gives {
            Gives::Changes => Some({
                let is_there = |group: usize| have_rows.as_ref().is_none_or(|have: &BooleanArray| have.value(group));
                changes_of_groups(&mut table, &touched, is_there, |groups| self.evaluator.rows(groups))?
            }),
            Gives::Rows => None,
        };
        let touched = match have_rows {
            Some(have_rows) if have_rows.false_count() > 0 => {
                let gone = filtered(&touched, &arrow::compute::not(&have_rows)?)?;
                table.remove(&gone.keys)?;
                let there = filtered(&touched, &have_rows)?;
                if there.n_rows > 0 {
                    table.upsert(&there.keys, there.expiry.as_ref(), &there.values)?;
                }
                there
            }
            _ if touched.n_rows == 0 => touched,
            _ => {
                // Looking for the keys once more would cost as much again as all of the state's work.
                table.upsert_known(&keys, merge.slots(), &touched)?;
                touched
            }
        };
        self.report.updates_ms += self.task.scope.millis_since(began);
        let began = self.task.scope.clock.monotonic();
        let watermark_ms = self.task.watermarks.current_ms;
        let out = match self.mode {
            OutputMode::Append => {
                let mut is_final = table.expire(watermark_ms)?;
                if self.task.scope.facts.watermarks.is_flush() {
                    // At the end of time groups are final, too, that have no event time.
                    let timeless = table.scan().collect::<Result<Vec<_>>>()?;
                    timeless.iter().try_for_each(|rows| table.remove(&rows.keys))?;
                    is_final.extend(timeless);
                }
                self.report.n_rows_removed = is_final.iter().map(|rows| rows.n_rows as u64).sum();
                is_final
            }
            OutputMode::Update => {
                if self.has_event_time {
                    self.report.n_rows_removed = table.discard_expired(watermark_ms)? as u64;
                }
                vec![touched]
            }
            OutputMode::Complete => table.scan().collect::<Result<Vec<_>>>()?,
        };
        self.report.removals_ms = self.task.scope.millis_since(began);
        self.report.n_rows_total = table.n_rows() as u64;
        drop(table);
        self.task.scope.report_state(std::mem::take(&mut self.report));
        Ok(changes.map_or_else(|| Step::Give(out.into_iter()), |changes| Step::GiveChanges(Some(changes))))
    }
}
