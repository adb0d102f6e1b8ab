//! Rows that are changes of a result: what flows between stateful operators when the upper one must hear that a row was
//! taken back.
//!
//! Such rows have one more column, [`CHANGE`]: [`INSERT`] adds the row to the result, [`RETRACT`] takes out one that is
//! equal to it; an update is a retraction followed by an insertion. Rows without the column are only added. What a
//! watermark makes final is forgotten, which is no change.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, Result};

/// The column that says what a row does to the result. It comes in after names are resolved and may stand anywhere in a schema.
pub const CHANGE: &str = "__change";

/// The row is added.
pub const INSERT: i8 = 1;

/// A row equal to this one is taken out.
pub const RETRACT: i8 = -1;

/// The column of changes, as plans carry it.
pub fn change_field() -> Field {
    Field::new(CHANGE, DataType::Int8, false)
}

/// Where the column of changes is, if the rows of this schema are changes.
pub fn change_column(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| field.name() == CHANGE)
}

/// What the rows of a stateful operator are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// Rows that are added, or the whole result.
    Rows,
    /// Changes, with the column [`CHANGE`].
    Changes,
}

/// A schema with the column of changes behind its columns.
pub(super) fn with_change(schema: &DFSchemaRef) -> Result<DFSchemaRef> {
    let columns = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
    let fields = columns.chain([(None, Arc::new(change_field()))]).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
