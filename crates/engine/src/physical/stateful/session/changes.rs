//! Sessions of changes: which session each row is in, as rows come and are taken out again.
//!
//! ```text
//!   an aggregation of changes     by the other keys and the session that a row is in
//!     SessionChangesExec          rows with their own sessions ─► changes of rows with the sessions that they are in
//!       KeyExchangeExec           by the other keys
//! ```
//! A row that is taken out may leave two sessions of one, which only the rows themselves can tell. So they are kept, equal ones
//! once with their number. When the session of a row becomes another one, the row is taken out of the old one and
//! added to the new one; the aggregation above knows nothing of sessions. A batch costs what the sessions of its keys hold.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, Int64Array, PrimitiveArray, RecordBatch, StructArray, UInt32Array};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::{CHANGE, INSERT, RETRACT};
use millstream_core::{Error, OutputMode, Result};
use millstream_state::store::{KeyedMultiTable, Slot, StoreDescription, StoreKind, StoreSchema, ValuesOf};
use serde::{Deserialize, Serialize};

use super::pieces::{Piece, Place, join};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::{event_times_us, expiry_ms};
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered};
use crate::physical::stateful::StatefulOperator;
use crate::physical::stateful::changed::never_added;
use crate::physical::stateful::described::{counted_rows, each_by_itself};
use crate::physical::stateful::tables::{MAIN_STORE, store_keys, store_schema};

/// Gives changes of rows the sessions that they are in. See the module's documentation.
pub type SessionChangesExec = OperatorExec<SessionChanges>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct SessionChanges {
    spec: SessionChangesSpec,
    shape: Shape,
}

/// What makes the operator again over its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionChangesSpec {
    /// Its stable id.
    pub operator: String,
    /// Complete mode forgets nothing.
    pub mode: OutputMode,
    /// The other keys.
    pub keys: Vec<String>,
    /// The column that is the session that each row would be alone; it goes out as the one that the row is in.
    pub session: String,
    /// The column by which sessions become final: the session, or another one.
    pub event_time: Option<String>,
}

/// Where the columns of the input are.
#[derive(Debug, Clone)]
struct Shape {
    keys: Vec<usize>,
    /// All that is neither a key nor the column of changes.
    others: Vec<usize>,
    change: usize,
    /// The session among the others.
    session: usize,
    bounds: Fields,
    store: StoreSchema,
}

/// Behind the row's columns the state has how often it is there, and the session that it is in.
const N_OWN: usize = 3;
const COUNT: &str = "session.count";

impl SessionChangesExec {
    /// Over changes, or an exchange of them.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: SessionChangesSpec) -> Result<Self> {
        let shape = Shape::of(&input.schema(), &spec)?;
        Ok(Self::over(SessionChanges { spec, shape }, [input]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &SessionChangesSpec {
        &self.operator.spec
    }
}

impl Shape {
    fn of(schema: &SchemaRef, spec: &SessionChangesSpec) -> Result<Self> {
        let keys = spec.keys.iter().map(|key| schema.index_of(key)).collect::<Result<Vec<_>, _>>()?;
        let change = schema.index_of(CHANGE)?;
        let others: Vec<usize> = (0..schema.fields().len()).filter(|idx| *idx != change && !keys.contains(idx)).collect();
        let session = schema.index_of(&spec.session)?;
        let DataType::Struct(bounds) = schema.field(session).data_type().clone() else {
            return Err(Error::internal("a session that is no struct"));
        };
        let session = others.iter().position(|idx| *idx == session);
        let session = session.ok_or_else(|| Error::internal("a session among the other keys"))?;
        let field = |idx: &usize| schema.fields().get(*idx).cloned();
        let time = bounds.first().map_or(DataType::Null, |start| start.data_type().clone());
        let own = [(COUNT, DataType::Int64), ("session.start", time.clone()), ("session.end", time)];
        let own = own.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
        let values: Fields = others.iter().filter_map(field).chain(own).collect();
        let store = store_schema(keys.iter().filter_map(field).collect(), values)?;
        Ok(Self { keys, others, change, session, bounds, store })
    }
}

impl StatefulOperator for SessionChangesExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        "session_changes"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.mode != OutputMode::Complete
    }

    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        let values = self.operator.shape.store.values();
        let (rows, of_session) = values.split_at(values.len().saturating_sub(N_OWN - 1));
        let rows = counted_rows(&rows.iter().cloned().collect(), COUNT);
        let of_session = each_by_itself(&of_session.iter().cloned().collect());
        Ok([(MAIN_STORE.to_owned(), rows.into_iter().chain(of_session).collect())].into())
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let schema = self.operator.shape.store.clone();
        Ok(vec![StoreDescription { name: MAIN_STORE.to_owned(), kind: StoreKind::Multi, schema }])
    }
}

impl fmt::Display for SessionChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, keys=[{}]", self.spec.operator, self.spec.keys.join(", "))
    }
}

impl Operator for SessionChanges {
    const NAME: &'static str = "SessionChangesExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered(input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        Ok(rows_of_run(Run { of: self.clone(), input: Some(task.rows_of(input)?), task }))
    }
}

/// One partition in one batch.
struct Run {
    of: SessionChanges,
    input: Option<SendableRecordBatchStream>,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        let mut batches = Vec::new();
        while let Some(batch) = input.next().await {
            batches.push(batch.map_err(from_datafusion)?);
        }
        let batch = concat_batches(&self.task.schema, &batches)?;
        Ok(Some(self.finish(&batch)?))
    }

    async fn abort(&mut self) {}
}

/// Equal rows: how many there were and are, and in which session.
struct Row {
    key: usize,
    /// One of them, among the rows of the state and the batch.
    at: usize,
    slot: Option<Slot>,
    before: i64,
    after: i64,
    was_in: (i64, i64),
    is_in: (i64, i64),
}

impl Run {
    fn finish(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let SessionChanges { spec, shape } = &self.of;
        let scope = &self.task.scope;
        let began = scope.clock.monotonic();
        let mut table = scope.state.multi_table(&spec.operator, MAIN_STORE, self.task.partition)?;
        let found = Found::of(shape, batch, &mut table)?;
        let rows = found.rows(shape, batch, &table, &spec.operator)?;
        let changed: Vec<&Row> = rows.iter().filter(|row| row.before != row.after || row.was_in != row.is_in).collect();
        let out = self.changes(&found, &changed)?;
        self.keep(&found, &changed, &mut table)?;
        let mut report = StateOperatorReport {
            n_partitions: 1,
            n_stores: 1,
            ..StateOperatorReport::of(&spec.operator, "sessionWindowStateStoreSaveExec")
        };
        report.n_rows_updated = changed.len() as u64;
        report.updates_ms = scope.millis_since(began);
        if spec.mode != OutputMode::Complete && spec.event_time.is_some() {
            let began = scope.clock.monotonic();
            report.n_rows_removed = table.discard_expired(self.task.watermarks.current_ms)? as u64;
            report.removals_ms = scope.millis_since(began);
        }
        report.n_rows_total = table.n_rows() as u64;
        drop(table);
        scope.report_state(report);
        Ok(out)
    }

    /// Rows that leave a session or come into one, as often as they are there.
    fn changes(&self, found: &Found, changed: &[&Row]) -> Result<RecordBatch> {
        let shape = &self.of.shape;
        let (mut at, mut keys, mut sessions, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut give = |row: &Row, n: i64, session: (i64, i64), kind: i8| {
            for _ in 0..n.max(0) {
                at.push(index(row.at));
                keys.push(index(row.key));
                sessions.push(session);
                kinds.push(kind);
            }
        };
        for row in changed {
            if row.was_in == row.is_in || row.before == 0 || row.after == 0 {
                give(row, row.before - row.after, row.was_in, RETRACT);
                give(row, row.after - row.before, row.is_in, INSERT);
            } else {
                give(row, row.before, row.was_in, RETRACT);
                give(row, row.after, row.is_in, INSERT);
            }
        }
        let (at, keys) = (UInt32Array::from(at), UInt32Array::from(keys));
        let bounds = [sessions.iter().map(|(start, _)| *start).collect(), sessions.iter().map(|(_, end)| *end).collect()];
        let bounds = bounds.into_iter().zip(shape.bounds.iter()).map(|(times, field)| times_of(times, field.data_type())).collect();
        let session: ArrayRef = Arc::new(StructArray::try_new(shape.bounds.clone(), bounds, None)?);
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.task.schema.fields().len()];
        let mut put = |idx: usize, column: ArrayRef| columns.get_mut(idx).into_iter().for_each(|place| *place = Some(Arc::clone(&column)));
        for (idx, column) in shape.keys.iter().zip(&found.keys) {
            put(*idx, take(column, &keys, None)?);
        }
        for (other, (idx, column)) in shape.others.iter().zip(&found.others).enumerate() {
            put(*idx, if other == shape.session { Arc::clone(&session) } else { take(column, &at, None)? });
        }
        put(shape.change, Arc::new(Int8Array::from(kinds)));
        let columns = columns.into_iter().collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::internal("changes of sessions without all columns"))?;
        Ok(RecordBatch::try_new(Arc::clone(&self.task.schema), columns)?)
    }

    /// The state takes the rows as they are now.
    fn keep(&self, found: &Found, changed: &[&Row], table: &mut KeyedMultiTable) -> Result<()> {
        let gone: Vec<Slot> = changed.iter().filter(|row| row.after == 0).filter_map(|row| row.slot).collect();
        table.remove_slots(&gone)?;
        let (known, new): (Vec<&Row>, Vec<&Row>) = changed.iter().copied().filter(|row| row.after > 0).partition(|row| row.slot.is_some());
        if !known.is_empty() {
            let slots: Vec<Slot> = known.iter().filter_map(|row| row.slot).collect();
            let (_, values, expiry) = self.stored(found, &known)?;
            table.replace(&slots, expiry.as_ref(), &values)?;
        }
        if !new.is_empty() {
            let (keys, values, expiry) = self.stored(found, &new)?;
            table.append(&keys, expiry.as_ref(), &values)?;
        }
        Ok(())
    }

    fn stored(&self, found: &Found, rows: &[&Row]) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>, Option<Int64Array>)> {
        let SessionChanges { spec, shape } = &self.of;
        let at: UInt32Array = rows.iter().map(|row| Some(index(row.at))).collect();
        let keys: UInt32Array = rows.iter().map(|row| Some(index(row.key))).collect();
        let keys = found.keys.iter().map(|key| Ok(take(key, &keys, None)?)).collect::<Result<Vec<_>>>()?;
        let mut values = found.others.iter().map(|column| Ok(take(column, &at, None)?)).collect::<Result<Vec<_>>>()?;
        let expiry = match &spec.event_time {
            None => None,
            Some(name) if *name == spec.session => {
                let ends: Int64Array = rows.iter().map(|row| Some(row.is_in.1)).collect();
                Some(expiry_ms(&ends, 0))
            }
            Some(name) => {
                let idx = self.task.schema.index_of(name)?;
                let of_keys = shape.keys.iter().position(|key| *key == idx).and_then(|at| keys.get(at));
                let times = of_keys.or_else(|| values.get(shape.others.iter().position(|other| *other == idx)?));
                Some(expiry_ms(&event_times_us(times.ok_or_else(|| Error::internal("rows without their event time"))?)?, 0))
            }
        };
        values.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.after))));
        let time = shape.bounds.first().map_or(&DataType::Null, |start| start.data_type());
        values.push(times_of(rows.iter().map(|row| row.is_in.0).collect(), time));
        values.push(times_of(rows.iter().map(|row| row.is_in.1).collect(), time));
        Ok((keys, values, expiry))
    }
}

/// The rows of a batch behind those that the state has of their keys.
struct Found {
    /// The different keys, by number.
    keys: Vec<ArrayRef>,
    keys_of_batch: Vec<usize>,
    keys_of_state: Vec<usize>,
    slots: Vec<Slot>,
    /// The columns of the rows that are no keys: the state's rows, then those of the batch.
    others: Vec<ArrayRef>,
}

impl Found {
    fn of(shape: &Shape, batch: &RecordBatch, table: &mut KeyedMultiTable) -> Result<Self> {
        let columns = |of: &[usize]| of.iter().filter_map(|idx| batch.columns().get(*idx).cloned()).collect::<Vec<_>>();
        let keys = store_keys(columns(&shape.keys), batch.num_rows());
        let (mut known, mut first_rows) = (HashMap::new(), Vec::new());
        let mut keys_of_batch = Vec::with_capacity(batch.num_rows());
        let encoded = table.encode(&keys)?;
        for (row, key) in encoded.iter().enumerate() {
            keys_of_batch.push(*known.entry(key).or_insert_with(|| {
                first_rows.push(index(row));
                first_rows.len() - 1
            }));
        }
        let first_rows = UInt32Array::from(first_rows);
        let keys = keys.iter().map(|key| Ok(take(key, &first_rows, None)?)).collect::<Result<Vec<_>>>()?;
        let mut matches = table.lookup_all(&keys)?;
        let pairs = table.next_pairs(&mut matches, usize::MAX).unwrap_or_default();
        let known = table.gather(&pairs.slots)?;
        let both = known.iter().zip(columns(&shape.others)).map(|(known, new)| Ok(concat(&[known.as_ref(), new.as_ref()])?));
        Ok(Self {
            others: both.collect::<Result<_>>()?,
            keys,
            keys_of_batch,
            keys_of_state: pairs.probe_rows.iter().map(|key| *key as usize).collect(),
            slots: pairs.slots,
        })
    }

    /// Equal rows as one, each with the session that it was in and is in now.
    fn rows(&self, shape: &Shape, batch: &RecordBatch, table: &KeyedMultiTable, operator: &str) -> Result<Vec<Row>> {
        let n_others = shape.others.len();
        let own = (n_others..n_others + N_OWN).map(|column| table.gather_column(&self.slots, column)).collect::<Result<Vec<_>>>()?;
        let [counts, starts, ends] = own.as_slice() else { return Err(Error::internal("a row of a session without its bounds")) };
        let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("rows without their number"))?.values();
        let (starts, ends) = (micros(Some(starts))?, micros(Some(ends))?);
        let kinds = batch.columns().get(shape.change).and_then(|kinds| kinds.as_primitive_opt::<Int8Type>());
        let kinds = kinds.ok_or_else(|| Error::internal("changes that do not say what they are"))?.values();

        let fields = self.others.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let equal = RowConverter::new(fields)?.convert_columns(&self.others)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut known = HashMap::new();
        for (at, key) in self.keys_of_state.iter().chain(&self.keys_of_batch).enumerate() {
            let place = *known.entry((*key, equal.row(at))).or_insert_with(|| {
                rows.push(Row { key: *key, at, slot: None, before: 0, after: 0, was_in: (0, 0), is_in: (0, 0) });
                rows.len() - 1
            });
            let Some(row) = rows.get_mut(place) else { continue };
            match (self.slots.get(at), at.checked_sub(self.slots.len())) {
                (Some(slot), _) => {
                    let bound = |times: &[i64]| times.get(at).copied().unwrap_or_default();
                    row.slot = Some(*slot);
                    row.before = counts.get(at).copied().unwrap_or_default();
                    row.after = row.before;
                    row.was_in = (bound(&starts), bound(&ends));
                }
                (None, of_batch) => row.after += of_batch.and_then(|at| kinds.get(at)).map_or(0, |kind| i64::from(*kind)),
            }
        }
        if rows.iter().any(|row| row.after < 0) {
            return Err(never_added(operator));
        }
        let sessions = self.others.get(shape.session).and_then(|session| session.as_struct_opt());
        let bounds = |name: &str| micros(sessions.and_then(|session| session.column_by_name(name)));
        let (starts, ends) = (bounds("start")?, bounds("end")?);
        let there = rows.iter().enumerate().filter(|(_, row)| row.after > 0);
        let mut pieces: Vec<Piece> = there
            .filter_map(|(place, row)| {
                let (start_us, end_us) = (*starts.get(row.at)?, *ends.get(row.at)?);
                Some(Piece { key: row.key, start_us, end_us, place: Place::Batch { chunk: 0, row: place } })
            })
            .collect();
        for session in join(&mut pieces) {
            for piece in pieces.get(session.pieces.clone()).unwrap_or_default() {
                if let Place::Batch { row, .. } = piece.place {
                    rows.get_mut(row).into_iter().for_each(|row| row.is_in = (session.start_us, session.end_us));
                }
            }
        }
        Ok(rows)
    }
}

fn micros(column: Option<&ArrayRef>) -> Result<Vec<i64>> {
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    Ok(times.ok_or_else(|| Error::internal("a session without its bounds"))?.values().to_vec())
}

fn times_of(times_us: Vec<i64>, data_type: &DataType) -> ArrayRef {
    Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(times_us).with_data_type(data_type.clone()))
}

fn index(idx: usize) -> u32 {
    u32::try_from(idx).unwrap_or(u32::MAX)
}
