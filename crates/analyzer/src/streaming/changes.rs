//! Rows that are changes of a result: what flows between stateful operators when the upper one must hear that a row was
//! taken back.
//!
//! Such rows have one more column, [`CHANGE`]: [`INSERT`] adds the row to the result, [`RETRACT`] takes out one that is
//! equal to it; an update is a retraction followed by an insertion. Rows without the column are only added. What a
//! watermark makes final is forgotten, which is no change.

use arrow::datatypes::{DataType, Field, Schema};

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
