//! The operator: a batch's sessions become part of the state, and the output mode says which go out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{Fields, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::{Gives, INSERT, RETRACT};
use millstream_core::{OutputMode, Result};
use millstream_state::store::{KeyedMultiTable, Slot, StoreDescription, StoreKind, StoreRows, ValuesOf};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::columns::{N_BOUNDS, SessionColumns, SessionRows};
use super::merge::{SessionMerge, Touched};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::event_time_among;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};
use crate::physical::stateful::StatefulOperator;
use crate::physical::stateful::aggregate::merge::Evaluator;
use crate::physical::stateful::changed::given_schema;
use crate::physical::stateful::described::each_by_itself;
use crate::physical::stateful::tables::MAIN_STORE;

/// Aggregates by sessions, with state. See the module's documentation.
pub type SessionAggregateExec = OperatorExec<SessionAggregate>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct SessionAggregate {
    spec: SessionSpec,
    columns: SessionColumns,
    /// Which of the keys that go out says when a session is final.
    event_time: Option<usize>,
}

/// What makes the operator again over its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionSpec {
    /// Its stable id.
    pub operator: String,
    /// Which sessions a batch gives.
    pub mode: OutputMode,
    /// The column of the rows that is the session that each would be alone.
    pub session: String,
    /// How many keys stand before it in what goes out.
    pub n_before: usize,
    /// The key that carries the event time: the session, or another one.
    pub event_time: Option<String>,
    /// What it computes, in texts that a restart compares.
    pub meaning: Vec<String>,
}

/// As Spark calls it in progress.
const IN_PROGRESS: &str = "sessionWindowStateStoreSaveExec";

impl SessionAggregateExec {
    /// Over the partial aggregation `input`, by keys and session, or an exchange of one.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: SessionSpec) -> Result<Self> {
        let columns = SessionColumns::of(&input, &spec.session, spec.n_before)?;
        let event_time = event_time_among(&columns.groups().keys, spec.event_time.as_deref())?;
        Ok(Self::over(SessionAggregate { spec, columns, event_time }, [input]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &SessionSpec {
        &self.operator.spec
    }
}

impl StatefulOperator for SessionAggregateExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        "session_aggregate"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.mode != OutputMode::Complete
    }

    fn detail(&self) -> Value {
        let (keys, _) = self.operator.columns.groups().meanings(&self.operator.spec.meaning);
        json!(keys)
    }

    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        let SessionAggregate { spec, columns, .. } = &self.operator;
        let [input] = &self.inputs;
        let bounds: Fields = columns.store().values().iter().take(N_BOUNDS).cloned().collect();
        let calls = columns.groups().values_of_calls(&spec.meaning, input)?;
        Ok([(MAIN_STORE.to_owned(), each_by_itself(&bounds).into_iter().chain(calls).collect())].into())
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let SessionAggregate { spec, columns, .. } = &self.operator;
        let schema = columns.named_store(&spec.meaning)?;
        Ok(vec![StoreDescription { name: MAIN_STORE.to_owned(), kind: StoreKind::Multi, schema }])
    }
}

impl SessionAggregate {
    /// In update mode sessions are changes, also where nobody asked for them: one that grows is another one.
    fn output(&self) -> SchemaRef {
        let gives = if self.spec.mode == OutputMode::Update { Gives::Changes } else { Gives::Rows };
        given_schema(gives, &self.columns.groups().output)
    }
}

impl fmt::Display for SessionAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.columns.aggregates().iter();
        let calls: Vec<&str> = calls.map(|aggregate| aggregate.human_display().unwrap_or(aggregate.name())).collect();
        write!(f, "{}, mode={}, aggregates=[{}]", self.spec.operator, self.spec.mode, calls.join(", "))
    }
}

impl Operator for SessionAggregate {
    const NAME: &'static str = "SessionAggregateExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered_as(self.output(), input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        Ok(rows_of_run(Run {
            step: Step::Merge(task.rows_of(input)?, SessionMerge::default()),
            evaluator: Evaluator::new(self.columns.groups().clone()),
            report: StateOperatorReport { n_partitions: 1, n_stores: 1, ..StateOperatorReport::of(&self.spec.operator, IN_PROGRESS) },
            sessions: self.clone(),
            task,
        }))
    }
}

/// One partition in one batch.
struct Run {
    step: Step,
    sessions: SessionAggregate,
    evaluator: Evaluator,
    report: StateOperatorReport,
    task: OperatorTask,
}

enum Step {
    /// The batch's partial groups are read.
    Merge(SendableRecordBatchStream, SessionMerge),
    /// What is to be given.
    Give(std::vec::IntoIter<Given>),
}

/// Sessions that go out.
enum Given {
    /// Sessions, as rows of the state.
    Rows(SessionRows),
    /// Changes, made.
    Changes(RecordBatch),
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match &mut self.step {
                Step::Merge(input, merge) => match input.next().await {
                    Some(partial) => merge.add(partial.map_err(from_datafusion)?),
                    None => {
                        let merge = std::mem::take(merge);
                        self.step = Step::Give(self.finish(merge)?.into_iter());
                    }
                },
                Step::Give(given) => {
                    return match given.next() {
                        Some(Given::Rows(rows)) => Ok(Some(self.sessions.columns.output(&self.evaluator, rows)?)),
                        Some(Given::Changes(changes)) => Ok(Some(changes)),
                        None => Ok(None),
                    };
                }
            }
        }
    }

    async fn abort(&mut self) {}
}

impl Run {
    /// All input is there: the state takes the joined sessions, gives up what is final, and says what goes out.
    fn finish(&mut self, merge: SessionMerge) -> Result<Vec<Given>> {
        let scope = Arc::clone(&self.task.scope);
        let mut table = scope.state.multi_table(&self.report.operator, MAIN_STORE, self.task.partition)?;
        let began = scope.clock.monotonic();
        let touched = merge.finish(&self.sessions.columns, &mut table)?;
        self.report.n_rows_updated = touched.now.n_rows as u64;
        let changes = match self.sessions.spec.mode {
            OutputMode::Update if touched.now.n_rows > 0 => Some(Given::Changes(self.changes(&touched, &table)?)),
            _ => None,
        };
        self.keep(touched, &mut table)?;
        self.report.updates_ms += scope.millis_since(began);
        let began = scope.clock.monotonic();
        let watermark_ms = self.task.watermarks.current_ms;
        let out = match self.sessions.spec.mode {
            OutputMode::Append => {
                let mut is_final = table.expire(watermark_ms)?;
                if scope.facts.watermarks.is_flush() {
                    // At the end of time sessions are final, too, that have no event time: that of another key is null.
                    let timeless = table.scan().collect::<Result<Vec<_>>>()?;
                    // Behind the keys is the row's number.
                    let remove = |rows: &StoreRows| rows.keys.split_last().map_or(Ok(()), |(_, keys)| table.remove(keys));
                    timeless.iter().try_for_each(remove)?;
                    is_final.extend(timeless);
                }
                self.report.n_rows_removed = is_final.iter().map(|rows| rows.n_rows as u64).sum();
                is_final.into_iter().map(given).collect()
            }
            OutputMode::Update => {
                if self.sessions.event_time.is_some() {
                    self.report.n_rows_removed = table.discard_expired(watermark_ms)? as u64;
                }
                changes.into_iter().collect()
            }
            OutputMode::Complete => table.scan().map(|rows| Ok(given(rows?))).collect::<Result<_>>()?,
        };
        self.report.removals_ms = scope.millis_since(began);
        self.report.n_rows_total = table.n_rows() as u64;
        drop(table);
        scope.report_state(std::mem::take(&mut self.report));
        Ok(out)
    }

    /// The state takes the sessions that the batch touched. One that grew keeps its row, so that its change is one row.
    fn keep(&self, touched: Touched, table: &mut KeyedMultiTable) -> Result<()> {
        let Touched { now, over, swallowed, .. } = touched;
        if now.n_rows == 0 {
            return Ok(());
        }
        let expiry = self.sessions.event_time.map(|key| self.sessions.columns.expiry(&now, key)).transpose()?;
        let positions = |known: bool| {
            let rows = over.iter().zip(0_u32..).filter(move |(slot, _)| slot.is_some() == known);
            UInt32Array::from_iter_values(rows.map(|(_, at)| at))
        };
        let of = |columns: &[ArrayRef], rows: &UInt32Array| -> Result<Vec<ArrayRef>> {
            columns.iter().map(|column| Ok(take(column, rows, None)?)).collect()
        };
        let expiry_of = |rows: &UInt32Array| -> Result<_> {
            expiry.as_ref().map(|expiry| Ok(arrow::array::Int64Array::from(take(expiry, rows, None)?.to_data()))).transpose()
        };
        table.remove_slots(&swallowed)?;
        let (grown, new) = (positions(true), positions(false));
        let slots: Vec<Slot> = over.iter().flatten().copied().collect();
        if !slots.is_empty() {
            table.replace(&slots, expiry_of(&grown)?.as_ref(), &of(&now.values, &grown)?)?;
        }
        if !new.is_empty() {
            table.append(&of(&now.keys, &new)?, expiry_of(&new)?.as_ref(), &of(&now.values, &new)?)?;
        }
        Ok(())
    }

    /// Session by session: what the state had of it is taken back, then what it is now is added.
    fn changes(&self, touched: &Touched, table: &KeyedMultiTable) -> Result<RecordBatch> {
        let slots: Vec<Slot> = touched.before.iter().map(|(_, slot)| *slot).collect();
        let before = SessionRows { n_rows: slots.len(), keys: table.gather_keys(&slots)?, values: table.gather(&slots)? };
        let columns = &self.sessions.columns;
        let before = columns.output(&self.evaluator, before)?;
        let now = columns.output(&self.evaluator, touched.now.clone())?;
        let mut order: Vec<u32> = Vec::with_capacity(before.num_rows() + now.num_rows());
        let mut change = Vec::with_capacity(order.capacity());
        let n_before = u32::try_from(before.num_rows()).unwrap_or(u32::MAX);
        let mut taken_back = (0_u32..).zip(&touched.before).peekable();
        for session in 0..now.num_rows() {
            while let Some((row, _)) = taken_back.next_if(|(_, (of, _))| *of == session) {
                order.push(row);
                change.push(RETRACT);
            }
            order.push(n_before.saturating_add(u32::try_from(session).unwrap_or(u32::MAX)));
            change.push(INSERT);
        }
        let both = concat_batches(&columns.groups().output, [&before, &now])?;
        let both = take_record_batch(&both, &UInt32Array::from(order))?;
        let mut all = both.columns().to_vec();
        all.push(Arc::new(Int8Array::from(change)));
        Ok(RecordBatch::try_new(Arc::clone(&self.task.schema), all)?)
    }
}

fn given(rows: StoreRows) -> Given {
    let StoreRows { n_rows, keys, values, .. } = rows;
    Given::Rows(SessionRows { n_rows, keys, values })
}
