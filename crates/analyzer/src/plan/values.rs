//! `VALUES` and `range`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, Values};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr};

use super::projection;
use crate::coerce::common_type_of;
use crate::error::{AnalysisError, Result};
use crate::expr::ExprCx;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, plan_name};
use crate::types::arrow_type;

/// Rows of a `range` that are kept in memory at most; larger ones are computed in the plan.
const RANGE_ROWS_MAX: u64 = 1 << 24;

impl Resolver<'_> {
    /// Inline rows.
    pub(crate) fn values(&mut self, rows: &[Vec<Expr>], span: Span) -> Result<Rel> {
        let width = rows.first().map_or(0, Vec::len);
        let mut cx = ExprCx::new(&[], "VALUES");
        let mut typed_rows = vec![];
        for row in rows {
            if row.len() != width {
                return Err(AnalysisError::invalid(
                    "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH",
                    format!("the rows of VALUES differ in length: {width} and {}", row.len()),
                    span,
                ));
            }
            typed_rows.push(self.exprs(&mut cx, row)?);
        }
        if cx.adds_columns() {
            return Err(AnalysisError::unsupported("the current time or a random number in VALUES", span)
                .hint("write SELECT current_timestamp() instead"));
        }
        let mut attrs = vec![];
        for idx in 0..width {
            let column = typed_rows.iter().filter_map(|row| row.get(idx));
            let types: Vec<&DataType> = column.clone().map(|typed| &typed.data_type).collect();
            let Some(data_type) = common_type_of(types.iter().copied()).filter(|_| !mixes_strings(&types)) else {
                return Err(AnalysisError::invalid(
                    "INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE",
                    format!("the values of column {} of VALUES have no common type", idx + 1),
                    span,
                ));
            };
            let nullable = column.clone().any(|typed| typed.nullable);
            attrs.push(Attribute {
                id: self.next_id(),
                origin: None,
                name: format!("col{}", idx + 1),
                qualifiers: vec![],
                data_type,
                nullable,
                metadata: None,
                visibility: Visibility::Shown,
            });
        }
        let mut values = vec![];
        for row in typed_rows {
            let mut out = vec![];
            for (typed, attr) in row.into_iter().zip(&attrs) {
                out.push(self.cast_with(typed, &attr.data_type, "ansi", span)?.expr);
            }
            values.push(out);
        }
        let fields =
            attrs.iter().map(|attr| Ok(Field::new(attr.plan_name(), arrow_type(&attr.data_type)?, true))).collect::<Result<Vec<_>>>()?;
        let schema = DFSchema::try_from(Schema::new(fields))?;
        let plan = LogicalPlan::Values(Values { schema: Arc::new(schema), values });
        Ok(Rel { plan, attrs, is_streaming: false, watermarks: vec![] })
    }

    /// `range(start, end, step)`
    pub(crate) fn range(&mut self, start: i64, end: i64, step: i64, span: Span) -> Result<Rel> {
        if step == 0 {
            return Err(AnalysisError::invalid("INVALID_PARAMETER_VALUE", "the step of range() cannot be 0", span));
        }
        let n_rows = n_rows(start, end, step);
        if n_rows > RANGE_ROWS_MAX {
            return Err(AnalysisError::unsupported(format!("a range() of {n_rows} rows (more than {RANGE_ROWS_MAX})"), span));
        }
        let values = (0..n_rows).scan(start, |next, _| {
            let value = *next;
            *next = next.saturating_add(step);
            Some(value)
        });
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        let schema = Arc::new(Schema::new(vec![Field::new("id", ArrowType::Int64, false)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).map_err(millstream_core::Error::from)?;
        let table = MemTable::try_new(schema, vec![vec![batch]])?;
        let plan = LogicalPlanBuilder::scan("range", provider_as_source(Arc::new(table)), None)?.build()?;
        let id = self.next_id();
        let column = plan.schema().columns().into_iter().next().ok_or_else(|| AnalysisError::internal("range without a column"))?;
        let plan = projection(vec![datafusion::logical_expr::Expr::Column(column).alias(plan_name(id))], plan)?;
        let attr = Attribute {
            id,
            origin: None,
            name: "id".to_owned(),
            qualifiers: vec![],
            data_type: DataType::Long,
            nullable: false,
            metadata: None,
            visibility: Visibility::Shown,
        };
        Ok(Rel { plan, attrs: vec![attr], is_streaming: false, watermarks: vec![] })
    }
}

/// Spark casts no string beside another type in VALUES.
fn mixes_strings(types: &[&DataType]) -> bool {
    let is_text = |t: &&&DataType| crate::coerce::is_string(t);
    types.iter().any(|t| is_text(&t)) && types.iter().any(|t| !is_text(&t) && **t != DataType::Null)
}

fn n_rows(start: i64, end: i64, step: i64) -> u64 {
    if (step > 0 && start >= end) || (step < 0 && start <= end) {
        return 0;
    }
    start.abs_diff(end).div_ceil(step.unsigned_abs())
}
