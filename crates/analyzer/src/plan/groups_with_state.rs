//! `flatMapGroupsWithState` and `mapGroupsWithState`: keys, what the function sees of a row, and its declared output.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Fields};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Plan};

use super::{projection, with_batch_time};
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, AttributeWatermark, Rel, Visibility, plan_name};
use crate::streaming::{GroupedRows, GroupsWithStateNode, NamedColumn, StateFunction};
use crate::types::{arrow_type, spark_type};

impl Resolver<'_> {
    pub(crate) fn groups_with_state(
        &mut self,
        input: &Plan,
        keys: &[Expr],
        function: Arc<StateFunction>,
        initial: Option<&Plan>,
        span: Span,
    ) -> Result<Rel> {
        let rel = self.plan(input)?;
        let (is_streaming, watermarks) = (rel.is_streaming, rel.watermarks.clone());
        let mark = watermarks.iter().find(|mark| rel.attrs.iter().any(|attr| attr.id == mark.id)).cloned();
        let (rows, key_types) = self.rows_by_key(rel, keys, span)?;
        let initial = match initial {
            None => None,
            Some(plan) => {
                let initial = self.plan(plan)?;
                if initial.is_streaming {
                    return Err(AnalysisError::unsupported(format!("a stream as initial state of {}", function.operation()), span)
                        .hint("the initial state is finished data"));
                }
                Some(self.initial_state(initial, &rows.keys, &key_types, &function, span)?)
            }
        };
        let attrs = self.declared(&function.output, "output", &function, span)?;
        for field in &function.state {
            check_type(field, "state", &function, span)?;
        }
        let mut out_marks = vec![];
        if let Some(name) = &function.event_time {
            out_marks.push(self.event_time_of_output(name, &attrs, mark.as_ref(), &function, span)?);
        }
        let fields: Fields =
            attrs.iter().zip(&function.output).map(|(attr, field)| Field::new(attr.plan_name(), field.data_type().clone(), true)).collect();
        let schema = Arc::new(DFSchema::from_unqualified_fields(fields, HashMap::new())?);
        let event_time = mark.map(|mark| Column::new_unqualified(plan_name(mark.id)));
        let plan = GroupsWithStateNode::new(function, rows, initial, event_time, is_streaming, schema).into_plan();
        Ok(Rel { plan, attrs, is_streaming, watermarks: out_marks })
    }

    /// The rows with their keys as columns.
    fn rows_by_key(&mut self, rel: Rel, keys: &[Expr], span: Span) -> Result<(GroupedRows, Vec<DataType>)> {
        let mut cx = ExprCx::new(&rel.attrs, "a grouping key").with_event_times(&rel.watermarks);
        let typed = keys.iter().map(|key| self.expr(&mut cx, key)).collect::<Result<Vec<Typed>>>()?;
        let mut plan = with_batch_time(rel.plan, &cx)?;
        let mut exprs: Vec<DfExpr> = plan.schema().columns().into_iter().map(DfExpr::Column).collect();
        let n_columns = exprs.len();
        let mut named = vec![];
        for key in &typed {
            if !crate::coerce::is_orderable(&key.data_type) {
                return Err(AnalysisError::invalid(
                    "GROUP_EXPRESSION_TYPE_IS_NOT_ORDERABLE",
                    format!("'{}' of type {} cannot be grouped", key.name, key.data_type.sql()),
                    span,
                ));
            }
            let column = match &key.expr {
                DfExpr::Column(column) => column.clone(),
                computed => {
                    let name = plan_name(self.next_id());
                    exprs.push(computed.clone().alias(name.clone()));
                    Column::new_unqualified(name)
                }
            };
            named.push(NamedColumn { column, name: key.column_name() });
        }
        if exprs.len() > n_columns {
            plan = projection(exprs, plan)?;
        }
        let columns = named_columns(rel.attrs.iter().filter(|attr| attr.visibility == Visibility::Shown));
        Ok((GroupedRows { plan, keys: named, columns }, typed.into_iter().map(|key| key.data_type).collect()))
    }

    /// Keys and states that groups start from, by name.
    fn initial_state(
        &self,
        rel: Rel,
        keys: &[NamedColumn],
        key_types: &[DataType],
        function: &StateFunction,
        span: Span,
    ) -> Result<GroupedRows> {
        let case = self.name_case();
        let visible: Vec<Attribute> = rel.visible().cloned().collect();
        let find = |name: &str, wanted: &DataType| {
            let found: Vec<&Attribute> = visible.iter().filter(|attr| case.same(&attr.name, name)).collect();
            let [attr] = found.as_slice() else {
                let names = visible.iter().map(|attr| attr.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(AnalysisError::invalid(
                    "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES",
                    format!("the initial state of '{}' must have one column '{name}', and has the columns {names}", function.name),
                    span,
                ));
            };
            if arrow_type(&attr.data_type)? != arrow_type(wanted)? {
                return Err(AnalysisError::invalid(
                    "DATATYPE_MISMATCH",
                    format!(
                        "column '{name}' of the initial state of '{}' is {}, not {}",
                        function.name,
                        attr.data_type.sql(),
                        wanted.sql()
                    ),
                    span,
                )
                .hint("cast it"));
            }
            Ok(NamedColumn { name: name.to_owned(), ..named_column(attr) })
        };
        let found = keys.iter().zip(key_types).map(|(key, data_type)| find(&key.name, data_type)).collect::<Result<_>>()?;
        let states = function.state.iter().map(|field| find(field.name(), &spark_type(field.data_type())?));
        let columns = states.collect::<Result<_>>()?;
        Ok(GroupedRows { plan: rel.plan, keys: found, columns })
    }

    /// Columns of the plan for declared ones.
    fn declared(&self, fields: &Fields, what: &str, function: &StateFunction, span: Span) -> Result<Vec<Attribute>> {
        let attribute = |field: &Arc<Field>| {
            Ok(Attribute {
                id: self.next_id(),
                origin: None,
                name: field.name().clone(),
                qualifiers: vec![],
                data_type: check_type(field, what, function, span)?,
                nullable: true,
                metadata: None,
                visibility: Visibility::Shown,
            })
        };
        fields.iter().map(attribute).collect()
    }

    fn event_time_of_output(
        &self,
        name: &str,
        output: &[Attribute],
        mark: Option<&AttributeWatermark>,
        function: &StateFunction,
        span: Span,
    ) -> Result<AttributeWatermark> {
        let case = self.name_case();
        let Some(attr) = output.iter().find(|attr| case.same(&attr.name, name)) else {
            return Err(AnalysisError::invalid(
                "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES",
                format!("the event time '{name}' is not among the output columns of '{}'", function.name),
                span,
            ));
        };
        if attr.data_type != DataType::Timestamp {
            return Err(AnalysisError::invalid(
                "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
                format!("the event time '{name}' of '{}' is of type {}, not TIMESTAMP", function.name, attr.data_type.sql()),
                span,
            ));
        }
        let mark = mark.ok_or_else(|| {
            AnalysisError::unsupported(format!("an event time in the output of '{}' over input without watermark", function.name), span)
                .hint("name the event time of the input first: with_watermark(column, delay)")
        })?;
        Ok(AttributeWatermark { id: attr.id, delay: mark.delay })
    }
}

/// Columns by the user's names.
pub(super) fn named_columns<'a>(attrs: impl IntoIterator<Item = &'a Attribute>) -> Vec<NamedColumn> {
    attrs.into_iter().map(named_column).collect()
}

fn named_column(attr: &Attribute) -> NamedColumn {
    NamedColumn { column: Column::new_unqualified(attr.plan_name()), name: attr.name.clone() }
}

/// A declared column's type in Spark's words, if it is the Arrow type in which such values are kept.
fn check_type(field: &Field, what: &str, function: &StateFunction, span: Span) -> Result<DataType> {
    let data_type = spark_type(field.data_type())?;
    let kept = arrow_type(&data_type)?;
    if kept == *field.data_type() {
        return Ok(data_type);
    }
    let (name, column, found) = (&function.name, field.name(), field.data_type());
    Err(AnalysisError::unsupported(format!("{what} column '{column}' of '{name}' as {found}"), span).hint(format!("declare it as {kept}")))
}
