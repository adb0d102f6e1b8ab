//! Rows of changes: from what a result was and is, and with the sign taken off partial sums.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, DynComparator, Int8Array, PrimitiveArray, RecordBatch, RecordBatchOptions,
    make_comparator,
};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{ArrowNativeTypeOp, DataType, Decimal128Type, Decimal256Type, Field, Int8Type, Int64Type, Schema, SchemaRef};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_analyzer::streaming::{CHANGE, Gives, INSERT, RETRACT, change_column, change_field};
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedTable, Slot, StoreRows};

use crate::error::from_datafusion;

/// A schema with the column of changes behind its columns.
pub fn with_change(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().cloned().chain([Arc::new(change_field())]);
    Arc::new(Schema::new(fields.collect::<Vec<Arc<Field>>>()))
}

/// What an operator gives whose result has these columns.
pub fn given_schema(gives: Gives, schema: &SchemaRef) -> SchemaRef {
    match gives {
        Gives::Rows => Arc::clone(schema),
        Gives::Changes => with_change(schema),
    }
}

/// The column of changes taken off rows.
pub fn split_change(rows: &RecordBatch) -> Result<(RecordBatch, Int8Array)> {
    let idx = change_column(&rows.schema()).ok_or_else(|| Error::internal(format!("rows without {CHANGE}")))?;
    let kinds =
        rows.column(idx).as_primitive_opt::<Int8Type>().ok_or_else(|| Error::internal(format!("{CHANGE} of another type")))?.clone();
    let others: Vec<usize> = (0..rows.num_columns()).filter(|other| *other != idx).collect();
    Ok((rows.project(&others)?, kinds))
}

/// For each pair of a row of `before` and one of `after`, what has to be taken out and what added; nothing where they are equal.
pub fn changes_between(
    before: &RecordBatch,
    after: &RecordBatch,
    pairs: impl IntoIterator<Item = (Option<usize>, Option<usize>)>,
) -> Result<RecordBatch> {
    let same = SameRows::new(before.columns(), after.columns())?;
    let (mut picked, mut kinds) = (Vec::new(), Vec::new());
    for (old, new) in pairs {
        if let (Some(old), Some(new)) = (old, new)
            && same.are(old, new)
        {
            continue;
        }
        picked.extend(old.map(|old| (0, old)));
        kinds.extend(old.map(|_| RETRACT));
        picked.extend(new.map(|new| (1, new)));
        kinds.extend(new.map(|_| INSERT));
    }
    let n_rows = kinds.len();
    let mut columns: Vec<ArrayRef> = match before.num_columns() {
        0 => Vec::new(),
        _ => interleave_record_batch(&[before, after], &picked)?.columns().to_vec(),
    };
    columns.push(Arc::new(Int8Array::from(kinds)));
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(with_change(&after.schema()), columns, &options)?)
}

/// What a batch changes in the rows that groups give; the state does not know of it yet. `shown` makes rows of what is in the
/// state, `is_there` says which of the touched groups still have some.
pub fn changes_of_groups(
    state: &mut KeyedTable,
    touched: &StoreRows,
    is_there: impl Fn(usize) -> bool,
    shown: impl Fn(StoreRows) -> Result<RecordBatch>,
) -> Result<RecordBatch> {
    let slots = state.lookup(&touched.keys)?;
    let known: Vec<Slot> = slots.iter().flatten().copied().collect();
    let (keys, values) = (state.gather_keys(&known)?, state.gather(&known)?);
    let before = shown(StoreRows { n_rows: known.len(), keys, expiry: None, values })?;
    let mut n_known = 0..;
    let pairs = slots.iter().enumerate().map(|(group, slot)| {
        let old = slot.and_then(|_| n_known.next());
        (old, is_there(group).then_some(group))
    });
    changes_between(&before, &shown(touched.clone())?, pairs)
}

/// Whether rows are equal in all columns, bit by bit: nulls are equal, and so are NaNs.
pub struct SameRows(Vec<DynComparator>);

impl SameRows {
    /// Of rows with these columns.
    pub fn new(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Self> {
        let columns = left.iter().zip(right);
        Ok(Self(columns.map(|(l, r)| Ok(make_comparator(l.as_ref(), r.as_ref(), Default::default())?)).collect::<Result<_>>()?))
    }

    /// Whether the rows of these numbers are.
    pub fn are(&self, left: usize, right: usize) -> bool {
        self.0.iter().all(|compare| compare(left, right).is_eq())
    }
}

/// Whether what was added to the aggregate's partial state can be taken out again by adding its negative: counts, and sums of
/// numbers that are exact however many there are.
pub fn can_subtract(aggregate: &AggregateFunctionExpr) -> Result<bool> {
    let known = ["count", "spark_sum", "spark_try_sum", "spark_avg", "spark_try_avg"].contains(&aggregate.fun().name());
    let states = aggregate.state_fields().map_err(from_datafusion)?;
    let is_exact = |state: &DataType| matches!(state, DataType::Int64 | DataType::Decimal128(..) | DataType::Decimal256(..));
    Ok(known && !aggregate.is_distinct() && states.iter().all(|state| is_exact(state.data_type())))
}

/// Partial sums, those of rows that are taken out as negatives.
pub fn signed(states: &[ArrayRef], kinds: &Int8Array) -> Result<Vec<ArrayRef>> {
    if kinds.values().iter().all(|kind| *kind == INSERT) {
        return Ok(states.to_vec());
    }
    let one = |state: &ArrayRef| match state.data_type() {
        DataType::Int64 => negated::<Int64Type>(state, kinds),
        DataType::Decimal128(..) => negated::<Decimal128Type>(state, kinds),
        DataType::Decimal256(..) => negated::<Decimal256Type>(state, kinds),
        other => Err(Error::internal(format!("a partial sum of {other}"))),
    };
    states.iter().map(one).collect()
}

fn negated<T: ArrowPrimitiveType>(state: &ArrayRef, kinds: &Int8Array) -> Result<ArrayRef> {
    let values = state.as_primitive_opt::<T>().ok_or_else(|| Error::internal("a partial sum of another type"))?;
    let signed = values.iter().zip(kinds.values()).map(|(value, kind)| match *kind {
        RETRACT => value.map(ArrowNativeTypeOp::neg_wrapping),
        _ => value,
    });
    Ok(Arc::new(PrimitiveArray::<T>::from_iter(signed).with_data_type(state.data_type().clone())))
}

/// A row that is taken out must have come in.
pub fn never_added(operator: &str) -> Error {
    Error::internal(format!("operator '{operator}' was told to take out a row that it does not have"))
}
