//! What a sink is given of a batch's changes: equal rows that are added and taken out cancel; the rest are the rows that are
//! added, or all of them with Spark's words of change data.
//!
//! An update is one row before and one after, told by the key. It needs all changes of a key, and of equal rows, in one
//! task: an exchange stands below. A key that the user says tells rows apart (`upsertKey`) is checked by the rows that meet in a
//! batch; what went by in earlier batches is not kept for that.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::{CHANGE, CHANGE_TYPE, INSERT, Shown};
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::changed::split_change;
use crate::error::from_datafusion;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};

/// Makes of changes what a sink is given. See the module's documentation.
pub type SinkChangesExec = OperatorExec<SinkChanges>;

/// What the operator is beside its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SinkChanges {
    /// The columns by which an added row replaces one that is taken out; none: nothing is known to.
    pub key: Option<Vec<String>>,
    /// What the user calls the key, if it was the user who said that it tells rows apart.
    pub declared: Option<Vec<String>>,
    /// What the sink is given.
    pub shown: Shown,
}

/// The columns whose rows must meet in one task.
pub(super) fn meeting_columns(schema: &Schema, key: Option<&[String]>) -> Vec<String> {
    match key {
        Some(key) => key.to_vec(),
        None => schema.fields().iter().map(|field| field.name().clone()).filter(|name| name != CHANGE).collect(),
    }
}

impl fmt::Display for SinkChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map_or("none".to_owned(), |key| format!("[{}]", key.join(", ")));
        write!(f, "{:?}, key={key}", self.shown)
    }
}

impl SinkChanges {
    fn output(&self, input: &Schema) -> SchemaRef {
        let kind = (self.shown == Shown::Changes).then(|| Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, false)));
        let columns = input.fields().iter().filter(|field| field.name() != CHANGE).cloned();
        Arc::new(Schema::new(kind.into_iter().chain(columns).collect::<Vec<_>>()))
    }
}

impl Operator for SinkChanges {
    const NAME: &'static str = "SinkChangesExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        unordered_as(self.output(&input.schema()), input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let schema = input.schema();
        let of = self.clone();
        Ok(rows_of_run(Run { of, output: Arc::clone(&task.schema), schema, input: Some(task.rows_of(input)?) }))
    }
}

/// One partition in one batch.
struct Run {
    of: SinkChanges,
    /// With the column of changes.
    schema: SchemaRef,
    output: SchemaRef,
    input: Option<SendableRecordBatchStream>,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        let mut batches = Vec::new();
        while let Some(batch) = input.next().await {
            batches.push(batch.map_err(from_datafusion)?);
        }
        let (rows, kinds) = split_change(&concat_batches(&self.schema, &batches)?)?;
        let net = self.net(&rows, kinds.values())?;
        let (mut wanted, mut words) = (Vec::new(), Vec::new());
        let mut show = |row: &u32, word: &'static str| {
            wanted.push(*row);
            words.push(word);
        };
        for Net { added, taken } in &net {
            if let Some(names) = &self.of.declared
                && let ([first, second, ..], _) | (_, [first, second, ..]) = (added.as_slice(), taken.as_slice())
            {
                return Err(self.not_unique(names, &rows, [*first, *second])?);
            }
            let n_updates = if self.of.key.is_some() { added.len().min(taken.len()) } else { 0 };
            let (before, deleted) = taken.split_at_checked(n_updates).unwrap_or((taken, &[]));
            let (after, inserted) = added.split_at_checked(n_updates).unwrap_or((added, &[]));
            if self.of.shown == Shown::NewRows {
                added.iter().for_each(|row| show(row, ""));
                continue;
            }
            for (before, after) in before.iter().zip(after) {
                show(before, "update_preimage");
                show(after, "update_postimage");
            }
            deleted.iter().for_each(|row| show(row, "delete"));
            inserted.iter().for_each(|row| show(row, "insert"));
        }
        let rows = take_record_batch(&rows, &UInt32Array::from(wanted))?;
        let kind = (self.of.shown == Shown::Changes).then(|| Arc::new(StringArray::from(words)) as ArrayRef);
        let columns = kind.into_iter().chain(rows.columns().iter().cloned()).collect();
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.output), columns)?))
    }

    async fn abort(&mut self) {}
}

/// What remains of the rows of a key, or of equal rows, in the order in which they came.
#[derive(Default)]
struct Net {
    added: Vec<u32>,
    taken: Vec<u32>,
}

impl Run {
    /// Why a key that has these two rows does not tell rows apart.
    fn not_unique(&self, names: &[String], rows: &RecordBatch, two: [u32; 2]) -> Result<Error> {
        let two = take_record_batch(rows, &UInt32Array::from(two.to_vec()))?;
        let options = FormatOptions::default().with_null("NULL");
        let mut shown = Vec::new();
        for (column, name) in self.of.key.iter().flatten().zip(names) {
            let values = two.column(two.schema().index_of(column)?);
            shown.push(format!("{name} = {}", ArrayFormatter::try_new(values, &options)?.value(0).try_to_string()?));
        }
        let message = format!("option 'upsertKey' ({}) does not tell rows apart: two rows have {}", names.join(", "), shown.join(", "));
        Ok(Error::data(message).hint("name columns that no two rows of the result share"))
    }

    fn net(&self, rows: &RecordBatch, kinds: &[i8]) -> Result<Vec<Net>> {
        let whole = comparable(rows.columns(), rows.num_rows())?;
        let by = match &self.of.key {
            Some(key) => {
                let columns =
                    key.iter().map(|name| Ok(Arc::clone(rows.column(rows.schema().index_of(name)?)))).collect::<Result<Vec<_>>>()?;
                comparable(&columns, rows.num_rows())?
            }
            None => whole.clone(),
        };
        let mut numbers: HashMap<&OwnedRow, usize> = HashMap::new();
        let mut net: Vec<Net> = Vec::new();
        let equal = |one: u32, other: u32| whole.get(one as usize) == whole.get(other as usize);
        for (row, (by, kind)) in (0_u32..).zip(by.iter().zip(kinds)) {
            let number = *numbers.entry(by).or_insert_with(|| {
                net.push(Net::default());
                net.len() - 1
            });
            let Some(of) = net.get_mut(number) else { continue };
            let (mine, others) = if *kind == INSERT { (&mut of.added, &mut of.taken) } else { (&mut of.taken, &mut of.added) };
            match others.iter().position(|other| equal(row, *other)) {
                Some(at) => _ = others.remove(at),
                None => mine.push(row),
            }
        }
        Ok(net)
    }
}

fn comparable(columns: &[ArrayRef], n_rows: usize) -> Result<Vec<OwnedRow>> {
    if columns.is_empty() {
        let constant: ArrayRef = Arc::new(arrow::array::Int8Array::from_value(0, n_rows));
        return comparable(&[constant], n_rows);
    }
    let converter = RowConverter::new(columns.iter().map(|column| SortField::new(column.data_type().clone())).collect())?;
    Ok(converter.convert_columns(columns)?.iter().map(|row| row.owned()).collect())
}
