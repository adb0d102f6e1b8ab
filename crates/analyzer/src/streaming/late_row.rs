//! The row that a stateful operator judges, as the user knows it: one more column below the operator when late rows are kept
//! (`lateRowsPath`).
//!
//! ```text
//!   operator                                asks for its own columns, and for this one
//!     Projection *, struct(..) AS __late_row    all columns of the relation, by the user's names
//!       the relation
//! ```
//! So the columns of the relation are read, whether or not the query uses them: who keeps late rows wants to process them again.
//! The engine cuts the column off behind the late test: it goes into no state and no result.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, lit};

use super::groups_with_state::NamedColumn;

/// The column's name.
pub const LATE_ROW: &str = "__late_row";

/// The plan with the column, of those of `columns` that it has.
pub(super) fn with_late_row(input: LogicalPlan, columns: &[NamedColumn]) -> Result<LogicalPlan> {
    let mut names = HashSet::new();
    let mut fields = vec![];
    for (idx, NamedColumn { column, name }) in columns.iter().enumerate().filter(|(_, named)| input.schema().has_column(&named.column)) {
        let name = if names.insert(name.clone()) { name.clone() } else { format!("{name}#{idx}") };
        names.insert(name.clone());
        fields.extend([lit(name), Expr::Column(column.clone())]);
    }
    if fields.is_empty() {
        return Ok(input);
    }
    let own = input.schema().columns().into_iter().map(Expr::Column);
    let exprs = own.chain([named_struct(fields).alias(LATE_ROW)]).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

/// Where the column is in a schema, if it is there.
pub fn late_row_column(schema: &DFSchema) -> Option<usize> {
    schema.index_of_column_by_name(None, LATE_ROW)
}

/// The columns that leave an operator which passes those of its input on.
pub(super) fn without_late_row(schema: &DFSchemaRef) -> Result<DFSchemaRef> {
    if late_row_column(schema).is_none() {
        return Ok(Arc::clone(schema));
    }
    let others = schema.iter().filter(|(_, field)| field.name() != LATE_ROW);
    let fields = others.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
