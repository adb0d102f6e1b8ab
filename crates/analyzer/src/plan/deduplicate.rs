//! `SELECT DISTINCT`, `dropDuplicates` and `dropDuplicatesWithinWatermark`, of finished data and of streams.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Aggregate, Distinct, Expr as DfExpr, LogicalPlan};
use millstream_sql::Span;
use millstream_sql::ir::DedupColumns;

use super::groups_with_state::named_columns;
use super::projection;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, plan_name};
use crate::streaming::{DeduplicateNode, Kept, StatefulAggregateNode};

impl Resolver<'_> {
    /// `SELECT DISTINCT` and `dropDuplicates`.
    pub(crate) fn deduplicate(&mut self, rel: Rel, columns: &DedupColumns, within_watermark: bool, span: Span) -> Result<Rel> {
        let case = self.name_case();
        let visible: Vec<Attribute> = rel.visible().cloned().collect();
        for attr in &visible {
            if !crate::coerce::is_orderable(&attr.data_type) && !matches!(columns, DedupColumns::Names(_)) {
                return Err(AnalysisError::invalid(
                    "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE",
                    format!("rows with the column '{}' of type {} cannot be compared", attr.name, attr.data_type.sql()),
                    span,
                ));
            }
        }
        let keys = match columns {
            DedupColumns::All if rel.is_streaming => visible.iter().map(|attr| attr.id).collect(),
            DedupColumns::Distinct if rel.is_streaming => return self.distinct_of_stream(rel, visible),
            DedupColumns::All | DedupColumns::Distinct => {
                let plan = projection(visible.iter().map(Attribute::column).collect(), rel.plan)?;
                let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(plan)));
                return Ok(Rel { plan, attrs: visible, ..rel });
            }
            DedupColumns::Names(names) => {
                let mut keys = vec![];
                for name in names {
                    let found: Vec<&Attribute> = visible.iter().filter(|attr| case.same(&attr.name, &name.name)).collect();
                    if found.is_empty() {
                        return Err(AnalysisError::invalid(
                            "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES",
                            format!("the column '{}' is not among the columns {}", name.name, names_of(&visible)),
                            name.span,
                        ));
                    }
                    keys.extend(found.into_iter().map(|attr| attr.id));
                }
                keys
            }
        };
        if rel.is_streaming {
            let named: Vec<&Attribute> = visible.iter().filter(|attr| keys.contains(&attr.id)).collect();
            return Self::deduplicate_stream(rel, &named, within_watermark, span);
        }
        if within_watermark {
            return Err(AnalysisError::invalid(
                "DROP_DUPLICATES_WITHIN_WATERMARK_NOT_SUPPORTED",
                "dropDuplicatesWithinWatermark is not supported on finished data",
                span,
            )
            .hint("use dropDuplicates"));
        }
        // The first row of each group, column by column; the rest of the row is any of the group's, as in Spark.
        let group = visible.iter().filter(|attr| keys.contains(&attr.id)).map(Attribute::column).collect();
        let first = datafusion::functions_aggregate::first_last::first_value_udaf();
        let calls: Vec<DfExpr> = visible
            .iter()
            .filter(|attr| !keys.contains(&attr.id))
            .map(|attr| first.call(vec![attr.column()]).alias(format!("{}'", attr.plan_name())))
            .collect();
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rel.plan), group, calls)?);
        let exprs = visible
            .iter()
            .map(|attr| match keys.contains(&attr.id) {
                true => attr.column(),
                false => DfExpr::Column(Column::new_unqualified(format!("{}'", attr.plan_name()))).alias(attr.plan_name()),
            })
            .collect();
        Ok(Rel { plan: projection(exprs, plan)?, attrs: visible, ..rel })
    }

    /// `SELECT DISTINCT` of a stream: an aggregation without aggregates, as in Spark.
    fn distinct_of_stream(&mut self, rel: Rel, visible: Vec<Attribute>) -> Result<Rel> {
        let keys = visible.iter().map(Attribute::column).collect();
        let event_time = visible.iter().find(|attr| rel.watermarks.iter().any(|mark| mark.id == attr.id));
        let event_time = event_time.map(|attr| Column::new_unqualified(attr.plan_name()));
        let aggregate = Aggregate::try_new(Arc::new(rel.plan), keys, vec![])?;
        let names = visible.iter().map(|attr| attr.name.clone()).collect();
        let plan = StatefulAggregateNode::new(aggregate, names, event_time).of_relation(named_columns(&visible)).into_plan();
        Ok(Rel { plan, attrs: visible, ..rel })
    }

    /// `dropDuplicates` and `dropDuplicatesWithinWatermark` of a stream.
    fn deduplicate_stream(rel: Rel, keys: &[&Attribute], within_watermark: bool, span: Span) -> Result<Rel> {
        let mark = rel.watermarks.iter().find(|mark| rel.attrs.iter().any(|attr| attr.id == mark.id));
        let kept = match (within_watermark, mark) {
            (false, _) => Kept::WithKey,
            (true, Some(mark)) => {
                let delay_us = mark.delay.to_micros_for_delay();
                Kept::WithinWatermark { delay_us: delay_us.ok_or_else(|| AnalysisError::internal("a delay that is too long"))? }
            }
            (true, None) => {
                return Err(AnalysisError::unsupported("dropDuplicatesWithinWatermark on a stream without watermark", span)
                    .hint("name the event time first: withWatermark(column, delay), or WATERMARK ... DELAY OF ..."));
            }
        };
        let event_time = mark.map(|mark| Column::new_unqualified(plan_name(mark.id)));
        let columns = keys.iter().map(|attr| Column::new_unqualified(attr.plan_name())).collect();
        let names = keys.iter().map(|attr| attr.name.clone()).collect();
        let relation = named_columns(rel.visible());
        let plan = DeduplicateNode::new(rel.plan, columns, names, event_time, kept).of_relation(relation).into_plan();
        Ok(Rel { plan, ..rel })
    }
}

fn names_of(attrs: &[Attribute]) -> String {
    attrs.iter().map(|attr| attr.name.as_str()).collect::<Vec<_>>().join(", ")
}
