//! Unresolved relations become plans: one function per kind of relation.

pub(crate) mod by_schema;
mod columns;
mod deduplicate;
mod generate;
mod grouping;
mod grouping_sets;
mod groups_with_state;
mod join;
mod pivot;
mod read;
mod recursive;
mod sample;
mod select;
mod select_block;
mod select_list;
mod session;
mod set_op;
mod sort;
mod unpivot;
mod values;

pub(crate) use generate::unnest;
pub(crate) use recursive::Recursion;

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr as DfExpr, Filter, Limit, LogicalPlan, Projection, Window};
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Plan};

use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Sliding, Typed, UsedFacts};
use crate::nodes::EventTimeWatermarkNode;
use crate::resolver::{CteNode, Resolver};
use crate::row_facts::{RowFact, RowFactNode};
use crate::scope::{Attribute, AttributeWatermark, NameCase, Rel, Visibility, plan_name};
use crate::stream_check;
use crate::streaming::StreamLimitNode;
use pivot::Pivot;
use unpivot::Unpivot;

/// What file sources call their hidden column.
const METADATA: &str = "_metadata";

impl Resolver<'_> {
    /// Resolves a relation.
    pub(crate) fn plan(&mut self, plan: &Plan) -> Result<Rel> {
        self.nested(plan.span(), |resolver| resolver.plan_unbounded(plan))
    }

    /// A whole query: what the user wrote, or a view.
    pub(crate) fn query(&mut self, plan: &Plan) -> Result<Rel> {
        let before = std::mem::replace(&mut self.names_metadata, crate::walk::names_column(plan, METADATA));
        let rel = self.plan(plan);
        self.names_metadata = before;
        rel
    }

    fn plan_unbounded(&mut self, plan: &Plan) -> Result<Rel> {
        if let Some(plain) = self.by_schema(plan)? {
            return self.plan(&plain);
        }
        match plan {
            Plan::Read(read) => self.read(read),
            Plan::Local(id) => {
                let relation = self.catalog().local(*id)?;
                self.relation(relation, &[], false, Span::NONE)
            }
            Plan::OneRow => Ok(Self::one_row()),
            Plan::Values { rows, span } => self.values(rows, *span),
            Plan::Range { start, end, step, .. } => self.range(*start, *end, *step, Span::NONE),
            Plan::SubqueryAlias { input, alias, columns, span } => {
                let rel = self.plan(input)?;
                let rel = self.renamed(rel, columns, *span)?;
                Ok(qualified(rel, std::slice::from_ref(&alias.name)))
            }
            Plan::Project { .. } | Plan::Aggregate { .. } | Plan::Having { .. } | Plan::Qualify { .. } => self.select(plan, None),
            Plan::Sort { input, order, is_global, span } => self.sort(input, order, *is_global, *span),
            Plan::Filter { input, condition, span } => {
                let rel = self.plan(input)?;
                let attrs = rel.attrs.clone();
                match self.filter(rel, condition, "WHERE", *span) {
                    Err(error) if error.class().is_some_and(|class| class.starts_with("UNRESOLVED_COLUMN")) => {
                        self.filter_below(input, &attrs, condition, *span).unwrap_or(Err(error))
                    }
                    out => out,
                }
            }
            Plan::Join { .. } => self.join(plan),
            Plan::UnionAll { inputs, span } => self.union_all(inputs, *span),
            Plan::SetOp { .. } => self.set_op(plan),
            Plan::Repartition { input, .. } | Plan::Hint { input, .. } => self.plan(input),
            Plan::Limit { input, limit, span } => {
                // LIMIT above OFFSET is one node, so that the offset counts first.
                if let Plan::Offset { input, offset, .. } = input.as_ref() {
                    let rel = self.plan(input)?;
                    return self.limit(rel, Some(offset), Some(limit), *span);
                }
                let rel = self.plan(input)?;
                self.limit(rel, None, Some(limit), *span)
            }
            Plan::Offset { input, offset, span } => {
                let rel = self.plan(input)?;
                self.limit(rel, Some(offset), None, *span)
            }
            Plan::Deduplicate { input, columns, within_watermark, span } => {
                let rel = self.plan(input)?;
                self.deduplicate(rel, columns, *within_watermark, *span)
            }
            Plan::GroupsWithState { input, keys, function, initial_state, span } => {
                let function = self.catalog().state_function(*function)?;
                self.groups_with_state(input, keys, function, initial_state.as_deref(), *span)
            }
            Plan::WithColumns { input, columns, span } => self.with_columns(input, columns, *span),
            Plan::WithColumnsRenamed { input, renames, .. } => self.with_columns_renamed(input, renames),
            Plan::Drop { input, columns, .. } => self.drop_columns(input, columns),
            Plan::ToDF { input, names, span } => {
                let rel = self.plan(input)?;
                self.renamed_all(rel, names, *span)
            }
            Plan::WithWatermark { input, event_time, name, delay, span } => {
                let rel = self.plan(input)?;
                self.watermark(rel, event_time, name.as_ref().map(|name| name.name.as_str()), *delay, *span)
            }
            Plan::Generate { input, generator, outer, alias, columns, span } => {
                let rel = self.plan(input)?;
                self.lateral_view(rel, generator, *outer, alias.as_ref(), columns, *span)
            }
            Plan::With { ctes, recursive, input, .. } => {
                let before = self.ctes.clone();
                for cte in ctes {
                    let node = CteNode {
                        name: cte.name.name.clone(),
                        columns: cte.columns.clone(),
                        plan: cte.plan.clone(),
                        is_recursive: *recursive,
                        level_max: cte.level_max,
                        parent: self.ctes.clone(),
                    };
                    self.ctes = Some(std::rc::Rc::new(node));
                }
                let out = self.plan(input);
                self.ctes = before;
                out
            }
            Plan::WindowDefinitions { input, definitions, .. } => {
                self.windows.push(definitions.clone());
                let out = self.plan(input);
                self.windows.pop();
                out
            }
            Plan::Sample { input, size, seed, span } => self.sample(input, size, *seed, *span),
            Plan::Pivot { input, grouping, aggregates, columns, values, span } => {
                self.pivot(&Pivot { input, grouping: grouping.as_deref(), aggregates, columns, values, span: *span })
            }
            Plan::Unpivot { input, ids, values, variable, value_names, include_nulls, span } => {
                let (ids, include_nulls, span) = (ids.as_deref(), *include_nulls, *span);
                self.unpivot(&Unpivot { input, ids, values, variable, value_names, include_nulls, span })
            }
            Plan::NamedStream { span, .. } => Err(AnalysisError::unsupported("IDENTIFIED BY", *span)
                .hint("a stream's place in the checkpoint follows from its format and path; name(...) of readStream names it otherwise")),
            _ => Err(AnalysisError::unsupported(plan.kind(), plan.span())),
        }
    }

    /// `WHERE condition`
    pub(crate) fn filter(&mut self, rel: Rel, condition: &Expr, clause: &'static str, _span: Span) -> Result<Rel> {
        let mut cx = ExprCx::new(&rel.attrs, clause);
        let condition = self.condition(&mut cx, condition, clause)?;
        let plan = with_batch_time(rel.plan, &cx)?;
        let plan = LogicalPlan::Filter(Filter::try_new(condition.expr, Arc::new(plan))?);
        Ok(Rel { plan, ..rel })
    }

    /// A filter on columns that the projection right below leaves out: they are kept until the filter has seen them.
    /// None when there is no such projection, or it has no such columns.
    fn filter_below(&mut self, input: &Plan, attrs: &[Attribute], condition: &Expr, span: Span) -> Option<Result<Rel>> {
        let case = self.name_case();
        let mut missing: Vec<Expr> = vec![];
        crate::walk::visit(condition, &mut |node| {
            if let Expr::UnresolvedAttribute { parts, span, .. } = node
                && matches!(crate::scope::find(attrs, parts, case, *span), Ok(None))
                && !missing.contains(node)
            {
                missing.push(node.clone());
            }
        });
        let wider = with_more_columns(input, &missing, case).filter(|_| !missing.is_empty())?;
        let rel = self.plan(&wider).ok()?;
        let mut added = vec![];
        for expr in &missing {
            if let Expr::UnresolvedAttribute { parts, span, .. } = expr {
                added.push(crate::scope::find(&rel.attrs, parts, case, *span).ok()??.attr.id);
            }
        }
        let filtered = self.filter(rel, condition, "WHERE", span).ok()?;
        let attrs: Vec<Attribute> = filtered.attrs.iter().filter(|attr| !added.contains(&attr.id)).cloned().collect();
        let plan = projection(attrs.iter().map(Attribute::column).collect(), filtered.plan);
        Some(plan.map(|plan| Rel { plan, attrs, ..filtered }))
    }

    fn limit(&mut self, rel: Rel, offset: Option<&Expr>, limit: Option<&Expr>, span: Span) -> Result<Rel> {
        if offset.is_some() {
            stream_check::offset(&rel, span)?;
        }
        let skip = offset.map(|expr| self.row_count(expr, "OFFSET")).transpose()?;
        let fetch = limit.map(|expr| self.row_count(expr, "LIMIT")).transpose()?;
        let number = |n: i64| Box::new(datafusion::logical_expr::lit(n));
        let mut plan = match (fetch, rel.is_streaming) {
            (Some(fetch), true) => StreamLimitNode::new(rel.plan, fetch.unsigned_abs()).into_plan(),
            _ => LogicalPlan::Limit(Limit { skip: skip.map(number), fetch: fetch.map(number), input: Arc::new(rel.plan) }),
        };
        if self.outer_scope().is_none() {
            // DataFusion 55 moves a sort above a limit below it, which picks other rows; it moves none across this node.
            // In subqueries the node would hinder their decorrelation, and their order counts for nothing.
            plan = RowFactNode::try_new(plan, plan_name(self.next_id()), RowFact::PartitionId)?.into_plan();
        }
        Ok(Rel { plan, ..rel })
    }

    fn row_count(&mut self, expr: &Expr, clause: &'static str) -> Result<i64> {
        let span = expr.span();
        let mut cx = ExprCx::new(&[], clause);
        let typed = self.expr(&mut cx, expr)?;
        if !crate::coerce::is_integral(&typed.data_type) {
            return Err(AnalysisError::invalid(
                "INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE",
                format!("{clause} must be an integer, not '{}' of type {}", typed.name, typed.data_type.sql()),
                span,
            ));
        }
        let typed = self.implicit_cast(typed, &millstream_sql::ir::DataType::Long, span)?;
        match self.evaluate(&typed, span)? {
            datafusion::common::ScalarValue::Int64(Some(n)) if n >= 0 => Ok(n),
            other => Err(AnalysisError::invalid(
                "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
                format!("{clause} must be zero or more, not {other}"),
                span,
            )),
        }
    }

    fn watermark(
        &mut self,
        rel: Rel,
        event_time: &Expr,
        name: Option<&str>,
        delay: millstream_sql::ir::CalendarInterval,
        span: Span,
    ) -> Result<Rel> {
        use millstream_sql::ir::DataType;
        if delay.is_negative() {
            return Err(AnalysisError::invalid("INVALID_DELAY_THRESHOLD", "the delay of a watermark cannot be negative", span));
        }
        let delay_us = delay
            .to_micros_for_delay()
            .ok_or_else(|| AnalysisError::invalid("ARITHMETIC_OVERFLOW", "the delay of a watermark is too long", span))?;
        let mut cx = ExprCx::new(&rel.attrs, "WATERMARK");
        let typed = self.expr(&mut cx, event_time)?;
        // A time without a zone is no moment that a watermark could be behind of, as in Spark.
        let is_time = match &typed.data_type {
            DataType::Struct(fields) => fields.iter().any(|field| field.name == "end" && field.data_type == DataType::Timestamp),
            other => *other == DataType::Timestamp,
        };
        if !is_time {
            return Err(AnalysisError::invalid(
                "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
                format!("the event time '{}' is of type {}, not TIMESTAMP", typed.name, typed.data_type.sql()),
                span,
            )
            .hint(format!("write WATERMARK to_timestamp({}) AS a_name DELAY OF ...", typed.name)));
        }
        // A column is marked where it is; anything else becomes a new column first.
        let marked = rel.attrs.iter().find(|attr| attr.column() == typed.expr).cloned();
        let (rel, attr) = match (marked, name) {
            (Some(attr), None) => (rel, attr),
            (_, name) => {
                let name = name.map_or_else(|| typed.column_name(), str::to_owned);
                let attr = attribute_of(self.next_id(), &name, &typed);
                let plan = with_batch_time(rel.plan, &cx)?;
                let mut exprs: Vec<DfExpr> = rel.attrs.iter().map(Attribute::column).collect();
                exprs.push(typed.expr.alias(attr.plan_name()));
                let mut attrs = rel.attrs;
                attrs.push(attr.clone());
                (Rel { plan: projection(exprs, plan)?, attrs, ..rel }, attr)
            }
        };
        let column = Column::new_unqualified(attr.plan_name());
        let plan = EventTimeWatermarkNode::try_new(rel.plan, column, &attr.name, delay_us)?.into_plan();
        let mut watermarks = rel.watermarks;
        watermarks.retain(|known| known.id != attr.id);
        watermarks.push(AttributeWatermark { id: attr.id, delay });
        Ok(Rel { plan, watermarks, ..rel })
    }

    /// New names for all columns; none keeps them.
    pub(crate) fn renamed(&mut self, rel: Rel, names: &[millstream_sql::ir::Ident], span: Span) -> Result<Rel> {
        if names.is_empty() {
            return Ok(rel);
        }
        let attrs: Vec<Attribute> = rel.visible().cloned().collect();
        if attrs.len() != names.len() {
            return Err(AnalysisError::invalid(
                "ASSIGNMENT_ARITY_MISMATCH",
                format!("{} names are given for {} columns", names.len(), attrs.len()),
                span,
            ));
        }
        let attrs = attrs.into_iter().zip(names).map(|(attr, name)| Attribute { name: name.name.clone(), ..attr }).collect();
        Ok(Rel { attrs, ..rel })
    }
}

/// The plan with more columns of its input, if it is a plain select list, `drop`, or filters above one of them.
fn with_more_columns(plan: &Plan, more: &[Expr], case: NameCase) -> Option<Plan> {
    let name_of = |expr: &Expr| match expr {
        Expr::UnresolvedAttribute { parts, .. } => parts.last().cloned(),
        _ => None,
    };
    let is_wanted = |column: &Expr| more.iter().filter_map(name_of).any(|name| name_of(column).is_some_and(|drop| case.same(&drop, &name)));
    match plan {
        Plan::Drop { input, columns, span } => {
            let columns = columns.iter().filter(|column| !is_wanted(column)).cloned().collect();
            Some(Plan::Drop { input: input.clone(), columns, span: *span })
        }
        Plan::Project { input, exprs, span } => {
            let exprs = exprs.iter().chain(more).cloned().collect();
            Some(Plan::Project { input: input.clone(), exprs, span: *span })
        }
        Plan::Filter { input, condition, span } => {
            let input = Box::new(with_more_columns(input, more, case)?);
            Some(Plan::Filter { input, condition: condition.clone(), span: *span })
        }
        _ => None,
    }
}

/// The relation under a new qualifier.
pub(crate) fn qualified(rel: Rel, qualifiers: &[String]) -> Rel {
    let seen = |attr: &Attribute| attr.visibility != Visibility::Qualified;
    let attrs = rel.attrs.into_iter().filter(seen).map(|attr| Attribute { qualifiers: qualifiers.to_vec(), ..attr }).collect();
    Rel { attrs, ..rel }
}

/// The relation as its name alone stands for it: what its sources hide stays within.
pub(crate) fn closed(rel: Rel) -> Rel {
    let attrs = rel.attrs.into_iter().filter(|attr| attr.visibility != Visibility::Metadata).collect();
    Rel { attrs, ..rel }
}

/// An output column for an expression.
pub(crate) fn attribute_of(id: u64, name: &str, typed: &Typed) -> Attribute {
    Attribute {
        id,
        origin: None,
        name: name.to_owned(),
        qualifiers: vec![],
        data_type: typed.data_type.clone(),
        nullable: typed.nullable,
        metadata: typed.metadata.clone(),
        visibility: Visibility::Shown,
    }
}

/// A projection.
pub(crate) fn projection(exprs: Vec<DfExpr>, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

/// These columns of the input, with another value in the place of one.
pub(crate) fn with_replaced(input: LogicalPlan, columns: Vec<Column>, id: u64, value: &DfExpr) -> Result<LogicalPlan> {
    let name = plan_name(id);
    let exprs = columns.into_iter().map(|known| if known.name == name { value.clone().alias(&name) } else { DfExpr::Column(known) });
    projection(exprs.collect(), input)
}

/// The input with a window function as a column more.
pub(crate) fn window_plan(expr: DfExpr, id: u64, input: LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<DfExpr> = input.schema().columns().into_iter().map(DfExpr::Column).collect();
    let name = expr.schema_name().to_string();
    let plan = LogicalPlan::Window(Window::try_new(vec![expr], Arc::new(input))?);
    let computed = plan.schema().columns().pop().unwrap_or_else(|| Column::new_unqualified(name));
    exprs.push(DfExpr::Column(computed).alias(plan_name(id)));
    projection(exprs, plan)
}

/// The input with what the expressions over it need: the batch's time, random numbers, rows with a time for their windows,
/// a row for each window of those that overlap.
pub(crate) fn with_batch_time(input: LogicalPlan, cx: &ExprCx) -> Result<LogicalPlan> {
    let has_event_time = cx.time_windows.iter().any(|window| cx.event_time_delay(&window.typed.expr).is_some());
    with_row_facts(input, cx, |plan, sliding| sliding.expanded(plan, has_event_time))
}

/// As [`with_batch_time`], but a row stays one row, for who knows its windows by itself.
pub(crate) fn with_batch_time_and_whole_rows(input: LogicalPlan, cx: &ExprCx) -> Result<LogicalPlan> {
    with_row_facts(input, cx, |plan, _| Ok(plan))
}

fn with_row_facts(
    input: LogicalPlan,
    cx: &ExprCx,
    of_windows: impl Fn(LogicalPlan, &Sliding) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    let mut plan = with_time_of_batch(input, &cx.facts)?;
    // Rows without a time fall into no window of time.
    for window in &cx.time_windows {
        let known = DfExpr::IsNotNull(Box::new(window.time.clone()));
        plan = LogicalPlan::Filter(Filter::try_new(known, Arc::new(plan))?);
        if let Some(sliding) = &window.sliding {
            plan = of_windows(plan, sliding)?;
        }
    }
    with_calls(plan, &cx.facts)
}

/// The input with facts of its rows, above an aggregation: there are no windows to make any more.
pub(crate) fn with_facts(input: LogicalPlan, facts: &UsedFacts) -> Result<LogicalPlan> {
    with_calls(with_time_of_batch(input, facts)?, facts)
}

fn with_time_of_batch(input: LogicalPlan, facts: &UsedFacts) -> Result<LogicalPlan> {
    match facts.batch_time() {
        Some(id) => Ok(RowFactNode::try_new(input, plan_name(id), RowFact::BatchTime)?.into_plan()),
        None => Ok(input),
    }
}

fn with_calls(input: LogicalPlan, facts: &UsedFacts) -> Result<LogicalPlan> {
    facts.calls().try_fold(input, |plan, (id, fact)| Ok(RowFactNode::try_new(plan, plan_name(id), fact)?.into_plan()))
}
