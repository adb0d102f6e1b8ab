//! Removes duplicates from changes: of each key it keeps all rows, gives the oldest, and gives the next one when that is
//! taken out.
//!
//! Where keys are kept within the watermark, a key is forgotten with its first row, whatever is known of others: so all rows
//! of a key expire when the first does. One that is taken out after that is not found, and passes over.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::{CHANGE, INSERT, Kept, change_column};
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedMultiTable, Slot, StoreDescription, StoreKind};

use super::StatefulOperator;
use super::changed::{changes_between, never_added, split_change};
use super::deduplicate::DeduplicateSpec;
use super::tables::{MAIN_STORE, store_keys, store_schema};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::event_times_us;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered};

/// Removes duplicates from changes. See the module's documentation.
pub type DeduplicateChangesExec = OperatorExec<DeduplicateChanges>;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct DeduplicateChanges(DeduplicateSpec);

impl DeduplicateChangesExec {
    /// Over `input`. Without an event time rows are kept until they are taken out.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: DeduplicateSpec) -> Self {
        Self::over(DeduplicateChanges(spec), [input])
    }

    /// What makes it again.
    pub fn spec(&self) -> &DeduplicateSpec {
        &self.operator.0
    }
}

impl StatefulOperator for DeduplicateChangesExec {
    fn operator_id(&self) -> &str {
        &self.spec().operator
    }

    fn kind(&self) -> &'static str {
        match self.spec().kept {
            Kept::WithKey => "deduplicate_changes",
            Kept::WithinWatermark { .. } => "deduplicate_changes_within_watermark",
        }
    }

    fn uses_event_time(&self) -> bool {
        true
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let shape = Shape::of(&self.schema(), &self.spec().keys)?;
        Ok(vec![StoreDescription {
            name: MAIN_STORE.to_owned(),
            kind: StoreKind::Multi,
            schema: store_schema(fields_at(&shape.rows, &shape.keys), shape.values())?,
        }])
    }
}

impl fmt::Display for DeduplicateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, keys=[{}]", self.0.operator, self.0.keys.join(", "))
    }
}

impl Operator for DeduplicateChanges {
    const NAME: &'static str = "DeduplicateChangesExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered(input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let schema = input.schema();
        let shape = Shape::of(&schema, &self.0.keys)?;
        let expires_by = self.0.expires_by.as_ref().map(|column| shape.rows.index_of(column)).transpose()?;
        Ok(rows_of_run(Run { of: self.0.clone(), shape, schema, expires_by, input: Some(task.rows_of(input)?), task }))
    }
}

/// The columns of rows without the column of changes.
struct Shape {
    rows: SchemaRef,
    keys: Vec<usize>,
    /// Those that are no keys.
    others: Vec<usize>,
}

impl Shape {
    fn of(schema: &Schema, keys: &[String]) -> Result<Self> {
        let rows: Fields = schema.fields().iter().filter(|field| field.name() != CHANGE).cloned().collect();
        let rows = Arc::new(Schema::new(rows));
        let keys = keys.iter().map(|key| Ok(rows.index_of(key)?)).collect::<Result<Vec<_>>>()?;
        let others = (0..rows.fields().len()).filter(|idx| !keys.contains(idx)).collect();
        Ok(Self { rows, keys, others })
    }

    /// A store wants a column beside the keys; without others it is a constant.
    fn values(&self) -> Fields {
        match self.others.as_slice() {
            [] => Fields::from(vec![Field::new("none", DataType::Int8, true)]),
            others => fields_at(&self.rows, others).iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect(),
        }
    }

    /// Rows of the store as they are given.
    fn rows_of(&self, keys: &[ArrayRef], values: &[ArrayRef], n_rows: usize) -> Result<RecordBatch> {
        let column = |idx: usize| {
            let key = self.keys.iter().position(|key| *key == idx).and_then(|at| keys.get(at));
            key.or_else(|| self.others.iter().position(|other| *other == idx).and_then(|at| values.get(at))).cloned()
        };
        let columns = (0..self.rows.fields().len()).filter_map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.rows), columns, &options)?)
    }
}

fn fields_at(schema: &Schema, at: &[usize]) -> Fields {
    at.iter().filter_map(|idx| schema.fields().get(*idx).cloned()).collect()
}

fn columns_at(rows: &RecordBatch, at: &[usize]) -> Vec<ArrayRef> {
    at.iter().filter_map(|idx| rows.columns().get(*idx).cloned()).collect()
}

/// One partition in one batch.
struct Run {
    of: DeduplicateSpec,
    shape: Shape,
    /// With the column of changes.
    schema: SchemaRef,
    expires_by: Option<usize>,
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
        let (rows, kinds) = split_change(&concat_batches(&self.schema, &batches)?)?;
        let began = self.task.scope.clock.monotonic();
        let mut table = self.task.scope.state.multi_table(&self.of.operator, MAIN_STORE, self.task.partition)?;
        let changes = self.apply(&mut table, &rows, kinds.values())?;
        let mut report =
            StateOperatorReport { n_partitions: 1, n_stores: 1, ..StateOperatorReport::of(&self.of.operator, self.of.name_in_progress()) };
        report.n_rows_updated = rows.num_rows() as u64;
        report.updates_ms = self.task.scope.millis_since(began);
        if self.expires_by.is_some() {
            let began = self.task.scope.clock.monotonic();
            report.n_rows_removed = table.discard_expired(self.task.watermarks.current_ms)? as u64;
            report.removals_ms = self.task.scope.millis_since(began);
        }
        report.n_rows_total = table.n_rows() as u64;
        drop(table);
        self.task.scope.report_state(report);
        Ok(Some(changes))
    }

    async fn abort(&mut self) {}
}

impl Run {
    fn apply(&self, table: &mut KeyedMultiTable, rows: &RecordBatch, kinds: &[i8]) -> Result<RecordBatch> {
        let shape = &self.shape;
        let bytes = RowBytes::new(shape)?;
        let (keys, values) = (columns_at(rows, &shape.keys), columns_at(rows, &shape.others));
        let of_keys = bytes.keys(&keys, rows.num_rows())?;
        // The touched keys, each with the row that stands for it.
        let mut numbers: HashMap<&OwnedRow, usize> = HashMap::new();
        let mut first_rows: Vec<u32> = Vec::new();
        for (row, key) in (0_u32..).zip(&of_keys) {
            numbers.entry(key).or_insert_with(|| {
                first_rows.push(row);
                first_rows.len() - 1
            });
        }
        let touched = take_record_batch(rows, &UInt32Array::from(first_rows))?;
        let touched_keys = store_keys(columns_at(&touched, &shape.keys), touched.num_rows());
        let before = self.firsts(table, &touched_keys)?;

        let mut added: BTreeMap<(usize, OwnedRow), Vec<u32>> = BTreeMap::new();
        let mut taken: BTreeMap<(usize, OwnedRow), usize> = BTreeMap::new();
        let of_values = bytes.values(&values, rows.num_rows())?;
        for (row, ((key, value), kind)) in (0_u32..).zip(of_keys.iter().zip(of_values).zip(kinds)) {
            let number = numbers.get(key).copied().unwrap_or_default();
            match *kind {
                INSERT => added.entry((number, value)).or_default().push(row),
                _ => *taken.entry((number, value)).or_default() += 1,
            }
        }
        // Equal rows that come and go within the batch change nothing.
        for (row, n) in &mut taken {
            if let Some(added) = added.get_mut(row) {
                let n_both = (*n).min(added.len());
                added.truncate(added.len() - n_both);
                *n -= n_both;
            }
        }
        taken.retain(|_, n| *n > 0);
        self.take_out(table, &touched_keys, &bytes, taken)?;
        let mut new_rows: Vec<u32> = added.into_values().flatten().collect();
        new_rows.sort_unstable();
        if !new_rows.is_empty() {
            let new = take_record_batch(rows, &UInt32Array::from(new_rows))?;
            let expiry = self.expiry(&new)?;
            let values = match shape.others.as_slice() {
                [] => vec![arrow::array::new_null_array(&DataType::Int8, new.num_rows())],
                others => columns_at(&new, others),
            };
            table.append(&store_keys(columns_at(&new, &shape.keys), new.num_rows()), expiry.as_ref(), &values)?;
        }
        let after = self.firsts(table, &touched_keys)?;
        if self.is_within_watermark() {
            self.expire_with_first(table, &touched_keys, &after)?;
        }
        let pairs = before.places.iter().copied().zip(after.places.iter().copied());
        let changes = changes_between(&before.rows, &after.rows, pairs)?;
        in_order_of(&changes, &self.schema)
    }

    fn is_within_watermark(&self) -> bool {
        matches!(self.of.kept, Kept::WithinWatermark { .. })
    }

    /// When rows expire by their own times.
    fn expiry(&self, rows: &RecordBatch) -> Result<Option<Int64Array>> {
        let times = self.expires_by.and_then(|idx| rows.columns().get(idx));
        times.map(|times| Ok(self.of.expiry_ms(&event_times_us(times)?))).transpose()
    }

    /// All rows of a key expire with the first.
    fn expire_with_first(&self, table: &mut KeyedMultiTable, keys: &[ArrayRef], firsts: &Firsts) -> Result<()> {
        let Some(of_firsts) = self.expiry(&firsts.rows)? else { return Ok(()) };
        let mut matches = table.lookup_all(keys)?;
        let Some(known) = table.next_pairs(&mut matches, usize::MAX) else { return Ok(()) };
        let first_of = |key: &u32| firsts.places.get(*key as usize).copied().flatten();
        let expiry: Int64Array = known.probe_rows.iter().map(|key| first_of(key).map(|first| of_firsts.value(first))).collect();
        let values = table.gather(&known.slots)?;
        table.replace(&known.slots, Some(&expiry), &values)
    }

    /// The oldest row of each key.
    fn firsts(&self, table: &mut KeyedMultiTable, keys: &[ArrayRef]) -> Result<Firsts> {
        let found = table.lookup_first(keys)?;
        let slots: Vec<Slot> = found.iter().flatten().copied().collect();
        let rows = self.shape.rows_of(&table.gather_keys(&slots)?, &table.gather(&slots)?, slots.len())?;
        let mut n = 0..;
        Ok(Firsts { rows, places: found.iter().map(|slot| slot.and_then(|_| n.next())).collect() })
    }

    fn take_out(
        &self,
        table: &mut KeyedMultiTable,
        keys: &[ArrayRef],
        bytes: &RowBytes,
        mut taken: BTreeMap<(usize, OwnedRow), usize>,
    ) -> Result<()> {
        if taken.is_empty() {
            return Ok(());
        }
        let mut matches = table.lookup_all(keys)?;
        let known = table.next_pairs(&mut matches, usize::MAX).unwrap_or_default();
        let values = table.gather(&known.slots)?;
        let values = if self.shape.others.is_empty() { Vec::new() } else { values };
        let mut gone = Vec::new();
        let of_values = bytes.values(&values, known.slots.len())?;
        // The youngest of equal rows goes first: which one stands for a key changes as rarely as it can.
        for ((key, slot), value) in known.probe_rows.iter().zip(&known.slots).zip(of_values).rev() {
            if let Some(n) = taken.get_mut(&(*key as usize, value))
                && *n > 0
            {
                *n -= 1;
                gone.push(*slot);
            }
        }
        if !self.is_within_watermark() && taken.values().any(|n| *n > 0) {
            return Err(never_added(&self.of.operator));
        }
        table.remove_slots(&gone)
    }
}

/// The oldest rows of keys, and where that of each key is.
struct Firsts {
    rows: RecordBatch,
    places: Vec<Option<usize>>,
}

/// The column of changes goes where the schema has it.
fn in_order_of(changes: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let Some(at) = change_column(schema) else { return Err(Error::internal("changes without their column")) };
    let mut columns = changes.columns().to_vec();
    let kinds = columns.pop().ok_or_else(|| Error::internal("changes without columns"))?;
    columns.insert(at.min(columns.len()), kinds);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Makes keys and the rest of rows comparable.
struct RowBytes {
    keys: Option<RowConverter>,
    values: Option<RowConverter>,
}

impl RowBytes {
    fn new(shape: &Shape) -> Result<Self> {
        let converter = |at: &[usize]| {
            let fields: Vec<SortField> = fields_at(&shape.rows, at).iter().map(|field| SortField::new(field.data_type().clone())).collect();
            if fields.is_empty() { Ok(None) } else { RowConverter::new(fields).map(Some) }
        };
        Ok(Self { keys: converter(&shape.keys)?, values: converter(&shape.others)? })
    }

    fn keys(&self, columns: &[ArrayRef], n_rows: usize) -> Result<Vec<OwnedRow>> {
        owned(self.keys.as_ref(), columns, n_rows)
    }

    fn values(&self, columns: &[ArrayRef], n_rows: usize) -> Result<Vec<OwnedRow>> {
        owned(self.values.as_ref(), columns, n_rows)
    }
}

fn owned(converter: Option<&RowConverter>, columns: &[ArrayRef], n_rows: usize) -> Result<Vec<OwnedRow>> {
    match converter {
        Some(converter) => Ok(converter.convert_columns(columns)?.iter().map(|row| row.owned()).collect()),
        None => {
            let none = RowConverter::new(vec![SortField::new(DataType::Int64)])?;
            let constant: ArrayRef = Arc::new(Int64Array::from_value(0, n_rows));
            Ok(none.convert_columns(&[constant])?.iter().map(|row| row.owned()).collect())
        }
    }
}
