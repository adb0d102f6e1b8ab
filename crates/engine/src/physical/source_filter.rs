//! The filter of a source: rows that fail it are gone before the strings of their other columns are made.
//!
//! It is for readers that give packed columns ([`SplitReader::read_packed`](millstream_core::SplitReader::read_packed)): a
//! condition on one such column is asked once for each distinct string, not for each row, and of the other columns only the strings of rows
//! that pass are made. Only conditions that cannot fail come here: a dictionary may hold strings that no row has.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, cast, concat, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Int32Type, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_plan::ColumnarValue;
use millstream_core::{Error, Result};

use super::row_guard::is_fallible;
use crate::error::from_datafusion;

/// Conditions on the rows of a source. See the module's documentation.
#[derive(Debug, Clone)]
pub struct SourceFilter {
    predicate: Arc<dyn PhysicalExpr>,
    conditions: Arc<[Condition]>,
}

#[derive(Debug)]
struct Condition {
    expr: Arc<dyn PhysicalExpr>,
    /// The only column that it is about, and the condition over that column alone.
    of_one: Option<OverOne>,
}

impl SourceFilter {
    /// Rows of `schema` that meet `predicate`.
    pub fn try_new(predicate: Arc<dyn PhysicalExpr>, schema: &Schema) -> DfResult<Self> {
        let condition = |expr: &Arc<dyn PhysicalExpr>| Ok(Condition { expr: Arc::clone(expr), of_one: over_one(expr, schema)? });
        let conditions = split_conjunction(&predicate).into_iter().map(condition).collect::<DfResult<_>>()?;
        Ok(Self { predicate, conditions })
    }

    /// Whether a condition can be asked here.
    pub fn takes(condition: &Arc<dyn PhysicalExpr>) -> bool {
        !collect_columns(condition).is_empty() && !is_fallible(condition)
    }

    /// All conditions.
    pub fn predicate(&self) -> &Arc<dyn PhysicalExpr> {
        &self.predicate
    }

    /// The conditions together with more.
    pub fn and(filter: Option<&Self>, more: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>, schema: &Schema) -> DfResult<Self> {
        Self::try_new(conjunction(filter.map(|filter| Arc::clone(&filter.predicate)).into_iter().chain(more)), schema)
    }

    /// For the rows of one task.
    pub fn start(&self) -> FilterRun {
        FilterRun { known: self.conditions.iter().map(|_| None).collect(), conditions: Arc::clone(&self.conditions) }
    }
}

impl fmt::Display for SourceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.predicate)
    }
}

type OverOne = (usize, Arc<dyn PhysicalExpr>, SchemaRef);

/// The condition over its only column, if it has only one.
fn over_one(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> DfResult<Option<OverOne>> {
    let columns = collect_columns(expr);
    let (Some(column), 1) = (columns.iter().next(), columns.len()) else { return Ok(None) };
    let moved = Arc::clone(expr).transform_down(|node| {
        let moved: Option<Arc<dyn PhysicalExpr>> = node.downcast_ref::<Column>().map(|column| Arc::new(Column::new(column.name(), 0)) as _);
        Ok(moved.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    let one = schema.field(column.index()).clone().with_nullable(true);
    Ok(Some((column.index(), moved.data, Arc::new(Schema::new(vec![one])))))
}

/// The filter at work.
pub struct FilterRun {
    conditions: Arc<[Condition]>,
    /// By condition: which strings of the last dictionary pass.
    known: Vec<Option<Verdicts>>,
}

/// Which strings of a dictionary pass, and at the end whether a null does.
struct Verdicts {
    dictionary: ArrayRef,
    passes: Vec<bool>,
}

impl FilterRun {
    /// The rows that pass, in the columns of `schema`.
    pub fn filter(&mut self, packed: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut passed: Option<BooleanArray> = None;
        let mut unpacked_rows: Option<RecordBatch> = None;
        for (condition, known) in self.conditions.iter().zip(&mut self.known) {
            let strings = |(idx, ..): &OverOne| packed.columns().get(*idx).and_then(|column| column.as_dictionary_opt::<Int32Type>());
            let of_condition = match condition.of_one.as_ref().and_then(|one| Some((one, strings(one)?))) {
                Some(((_, expr, one), column)) => by_dictionary(expr, one, column, known)?,
                None => {
                    let rows = match &unpacked_rows {
                        Some(rows) => rows,
                        None => unpacked_rows.insert(unpacked(packed, schema)?),
                    };
                    asked(&condition.expr, rows)?
                }
            };
            passed = Some(match passed {
                Some(before) => and(&before, &of_condition)?,
                None => of_condition,
            });
        }
        match passed {
            Some(passed) if passed.true_count() < passed.len() => unpacked(&filter_record_batch(packed, &passed)?, schema),
            _ => unpacked_rows.map_or_else(|| unpacked(packed, schema), Ok),
        }
    }
}

fn by_dictionary(
    expr: &Arc<dyn PhysicalExpr>,
    one: &SchemaRef,
    column: &DictionaryArray<Int32Type>,
    known: &mut Option<Verdicts>,
) -> Result<BooleanArray> {
    let dictionary = column.values();
    let verdicts = match known {
        // Batches of a row group share theirs.
        Some(verdicts) if verdicts.dictionary.to_data().ptr_eq(&dictionary.to_data()) => verdicts,
        known => {
            let strings = concat(&[dictionary, &new_null_array(dictionary.data_type(), 1)])?;
            let passes = asked(expr, &RecordBatch::try_new(Arc::clone(one), vec![strings])?)?;
            known.insert(Verdicts { dictionary: Arc::clone(dictionary), passes: passes.values().iter().collect() })
        }
    };
    let (passes, keys) = (&verdicts.passes, column.keys());
    let verdict = |key: i32| usize::try_from(key).ok().and_then(|key| passes.get(key).copied()).unwrap_or(false);
    let passed = match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => {
            let keys = keys.values();
            BooleanBuffer::collect_bool(keys.len(), |row| keys.get(row).is_some_and(|key| verdict(*key)))
        }
        Some(_) => keys.iter().map(|key| key.map_or_else(|| passes.last().copied().unwrap_or(false), verdict)).collect(),
    };
    Ok(BooleanArray::new(passed, None))
}

/// Where a condition is true.
fn asked(condition: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let answer = condition.evaluate(rows).and_then(|answer| ColumnarValue::into_array(answer, rows.num_rows()));
    let answer = answer.map_err(from_datafusion)?;
    let answer = answer.as_boolean_opt().ok_or_else(|| Error::internal(format!("the condition {condition} is not boolean")))?;
    Ok(if answer.null_count() > 0 { prep_null_mask_filter(answer) } else { answer.clone() })
}

/// The rows with all their strings.
fn unpacked(packed: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let whole = packed.columns().iter().map(|column| match column.data_type() {
        DataType::Dictionary(_, strings) => Ok(cast(column, strings)?),
        _ => Ok(Arc::clone(column)),
    });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(packed.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), whole.collect::<Result<_>>()?, &options)?)
}

#[cfg(test)]
mod tests;
