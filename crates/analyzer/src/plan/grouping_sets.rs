//! Grouping sets written out: a row comes once for each set, with null for the keys that the set leaves out, and with the id of
//! the set as one more key.
//!
//! DataFusion's aggregation knows sets by itself, and finished data is left to it. On a stream each set has a time of its own,
//! the earliest of what carries the event time in *it*: by that its rows are late and its groups final, and a set without
//! any has neither. Sessions, too, are joined set by set.
//!
//! ```text
//! rows with keys ─ unnest the ids of sets ─ keys of the set, null for others ─ Aggregate ─ keys and grouping_id by their names
//! ```

use std::sync::Arc;

use arrow::datatypes::DataType as ArrowType;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions::core::expr_fn::{greatest, least};
use datafusion::logical_expr::expr_fn::bitwise_and;
use datafusion::logical_expr::{Aggregate, Case, Expr as DfExpr, LogicalPlan, lit};
use millstream_sql::Span;

use super::grouping::{Grouped, Key, OnStream, Timing, aggregation, with_computed};
use super::session::with_joined_sessions;
use super::{projection, with_replaced};
use crate::error::{AnalysisError, Result};
use crate::expr::Collected;
use crate::registry::{bounds, field};
use crate::resolver::Resolver;
use crate::scope::{column, plan_name};

/// The sets of one query, and the ids that tell them apart.
struct Sets<'g> {
    keys: &'g [Key],
    sets: &'g [Vec<usize>],
    /// The column of the ids.
    id: u64,
    /// By set: a bit for each key that it leaves out, the first key's the highest, as in Spark's `grouping_id()`; above them the
    /// number of equal sets before it.
    ids: Vec<i64>,
}

impl Grouped {
    /// The aggregation over `input` by sets that are written out.
    pub(super) fn plan_of_sets(
        &self,
        resolver: &mut Resolver<'_>,
        input: LogicalPlan,
        aggregates: &[Collected],
        on_stream: Option<OnStream>,
        sets: &[Vec<usize>],
    ) -> Result<LogicalPlan> {
        let sets = Sets::new(resolver, &self.keys, sets)?;
        // Over finished data sessions are joined by the keys of the set, and what is made of a session is known only then.
        let joins = self.session.filter(|_| on_stream.is_none());
        let (above, below): (Vec<usize>, Vec<usize>) = (0..self.keys.len()).partition(|key| joins.is_some() && self.is_of_session(*key));
        let of_set: Vec<u64> = self.keys.iter().map(|_| resolver.next_id()).collect();

        let mut plan = with_computed(input, below.iter().filter_map(|key| self.keys.get(*key)))?;
        let counts_late = on_stream.as_ref().and_then(|on_stream| sets.counts_late(on_stream));
        plan = sets.unnested(plan)?;
        plan = sets.with_keys_of_set(plan, &below, &of_set)?;
        if let Some(session) = joins.and_then(|session| self.keys.get(session)) {
            let others = below.iter().filter_map(|key| of_set.get(*key)).chain([&sets.id]).map(|id| column(*id)).collect();
            plan = with_joined_sessions(resolver, plan, session.id, others)?;
            plan = with_computed(plan, above.iter().filter_map(|key| self.keys.get(*key)))?;
            plan = sets.with_keys_of_set(plan, &above, &of_set)?;
        }
        let mut by: Vec<DfExpr> = of_set.iter().chain([&sets.id]).map(|id| column(*id)).collect();
        let calls: Vec<DfExpr> = aggregates.iter().map(|call| call.expr.clone().alias(plan_name(call.id))).collect();
        let name_of = |key: usize| of_set.get(key).map(|id| Column::new_unqualified(plan_name(*id)));
        let (mut event_time, mut session, mut once_per_row) = (None, None, None);
        if let Some(on_stream) = &on_stream {
            session = on_stream.session.and_then(name_of);
            if let Some(key) = on_stream.session {
                plan = sets.with_session_in_all_sets(plan, key, on_stream, &of_set)?;
            }
            event_time = match (on_stream.is_final_by_session(), on_stream.carriers.as_slice()) {
                (true, _) => session.clone(),
                (false, []) => None,
                (false, [only]) => name_of(*only),
                (false, several) => {
                    let id = resolver.next_id();
                    let first = least(sets.times_in(several, &on_stream.windows));
                    plan = with_column(plan, first, id)?;
                    by.push(column(id));
                    Some(Column::new_unqualified(plan_name(id)))
                }
            };
            if let Some(counts) = counts_late {
                let id = resolver.next_id();
                plan = with_column(plan, on_stream.is_latest.iter().cloned().fold(counts, DfExpr::and), id)?;
                once_per_row = Some(Column::new_unqualified(plan_name(id)));
            }
        }
        let aggregate = Aggregate::try_new(Arc::new(plan), by, calls)?;
        let on_stream = on_stream.map(|on_stream| on_stream.of_sets(sets.sets));
        let timing = Timing { event_time, session, once_per_row };
        let plan = aggregation(aggregate, aggregates, on_stream, timing, None)?;
        sets.named(plan, &of_set, aggregates, self)
    }
}

impl<'g> Sets<'g> {
    fn new(resolver: &Resolver<'_>, keys: &'g [Key], sets: &'g [Vec<usize>]) -> Result<Self> {
        let too_many = || AnalysisError::invalid("GROUPING_SIZE_LIMIT_EXCEEDED", "too many keys or equal grouping sets", Span::NONE);
        let mut ids: Vec<i64> = Vec::with_capacity(sets.len());
        for set in sets {
            let mut left_out: i64 = 0;
            for key in 0..keys.len() {
                left_out = left_out.checked_mul(2).ok_or_else(too_many)? + i64::from(!set.contains(&key));
            }
            let mut id = left_out;
            while ids.contains(&id) {
                let step = u32::try_from(keys.len()).ok().and_then(|n_keys| 1_i64.checked_shl(n_keys)).filter(|step| *step > 0);
                id = step.and_then(|step| id.checked_add(step)).ok_or_else(too_many)?;
            }
            ids.push(id);
        }
        Ok(Self { keys, sets, id: resolver.next_id(), ids })
    }

    /// A row for each set.
    fn unnested(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        let ids: Vec<ScalarValue> = self.ids.iter().map(|id| ScalarValue::Int64(Some(*id))).collect();
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&ids, &ArrowType::Int64));
        let plan = with_column(input, lit(list), self.id)?;
        super::generate::unnest(plan, std::iter::once(self.id), false)
    }

    fn is_in_all(&self, key: usize) -> bool {
        self.sets.iter().all(|set| set.contains(&key))
    }

    /// Whether the set of a row has the key.
    fn has(&self, key: usize) -> DfExpr {
        let bit = self.keys.len().saturating_sub(key + 1);
        let bit = u32::try_from(bit).ok().and_then(|bit| 1_i64.checked_shl(bit)).unwrap_or(0);
        bitwise_and(column(self.id), lit(bit)).eq(lit(0_i64))
    }

    /// `expr` where the set has the key, otherwise `other`, or null.
    fn where_had(&self, key: usize, expr: DfExpr, other: Option<DfExpr>) -> DfExpr {
        match self.is_in_all(key) {
            true => expr,
            false => DfExpr::Case(Case::new(None, vec![(Box::new(self.has(key)), Box::new(expr))], other.map(Box::new))),
        }
    }

    /// The keys as those of a row's set.
    fn with_keys_of_set(&self, input: LogicalPlan, keys: &[usize], of_set: &[u64]) -> Result<LogicalPlan> {
        let mut exprs: Vec<DfExpr> = input.schema().columns().into_iter().map(DfExpr::Column).collect();
        for idx in keys {
            let (Some(key), Some(id)) = (self.keys.get(*idx), of_set.get(*idx)) else { continue };
            exprs.push(self.where_had(*idx, column(key.id), None).alias(plan_name(*id)));
        }
        projection(exprs, input)
    }

    /// The event times of these keys, null where the set leaves one out.
    fn times_in(&self, keys: &[usize], windows: &[usize]) -> Vec<DfExpr> {
        let time = |key: &usize| Some(self.where_had(*key, self.time_of(*key, windows)?, None));
        keys.iter().filter_map(time).collect()
    }

    /// The event time of a key: itself, or the end of a window.
    fn time_of(&self, key: usize, windows: &[usize]) -> Option<DfExpr> {
        let named = column(self.keys.get(key)?.id);
        Some(if windows.contains(&key) { field(named, "end") } else { named })
    }

    /// On a stream a row of a set without the session gets one that it shares with all rows of its group: without length, at the
    /// moment when the group is final, or at the end of time.
    fn with_session_in_all_sets(&self, plan: LogicalPlan, session: usize, on_stream: &OnStream, of_set: &[u64]) -> Result<LogicalPlan> {
        let (Some(key), Some(id), false) = (self.keys.get(session), of_set.get(session), self.is_in_all(session)) else { return Ok(plan) };
        let data_type = plan.schema().field_with_unqualified_name(&plan_name(key.id))?.data_type().clone();
        let (start, end) = end_of_time(&data_type)?;
        let final_at = |never: ScalarValue| {
            // `least` passes over nulls.
            least(self.times_in(&on_stream.carriers, &on_stream.windows).into_iter().chain([lit(never)]).collect())
        };
        let of_group = bounds(final_at(start), final_at(end))?;
        let own = self.where_had(session, column(key.id), Some(of_group));
        let columns = plan.schema().columns();
        with_replaced(plan, columns, *id, &own)
    }

    /// Of the rows that a row became, the one that becomes late last: that counts when it is. None if there is no such time.
    fn counts_late(&self, on_stream: &OnStream) -> Option<DfExpr> {
        let by_session = on_stream.session.filter(|_| on_stream.is_final_by_session());
        let mut known: Vec<(Vec<usize>, i64)> = Vec::new();
        for (set, id) in self.sets.iter().zip(&self.ids) {
            let carriers = match by_session.filter(|session| set.contains(session)) {
                Some(session) => vec![session],
                None => on_stream.carriers.iter().copied().filter(|key| set.contains(key)).collect(),
            };
            if !carriers.is_empty() && !known.iter().any(|(other, _)| *other == carriers) {
                known.push((carriers, *id));
            }
        }
        let id = column(self.id);
        if let [(_, only)] = known.as_slice() {
            return Some(id.eq(lit(*only)));
        }
        let windows: Vec<usize> = on_stream.windows.iter().copied().chain(by_session).collect();
        let time_of = |keys: &[usize]| least(keys.iter().filter_map(|key| self.time_of(*key, &windows)).collect());
        let finals: Vec<(DfExpr, i64)> = known.iter().map(|(keys, id)| (time_of(keys), *id)).collect();
        let last = greatest(finals.iter().map(|(time, _)| time.clone()).collect());
        let choices = finals.into_iter().map(|(time, id)| (Box::new(time.eq(last.clone())), Box::new(lit(id)))).collect::<Vec<_>>();
        (!choices.is_empty()).then(|| id.eq(DfExpr::Case(Case::new(None, choices, None))))
    }

    /// The aggregation's columns under the names of the keys and of `grouping_id`.
    fn named(&self, plan: LogicalPlan, of_set: &[u64], aggregates: &[Collected], grouped: &Grouped) -> Result<LogicalPlan> {
        let mut exprs = Vec::new();
        for (idx, (key, id)) in self.keys.iter().zip(of_set).enumerate() {
            // What stands for a session in sets without one is not shown.
            let given = if grouped.session == Some(idx) { self.where_had(idx, column(*id), None) } else { column(*id) };
            exprs.push(given.alias(plan_name(key.id)));
        }
        if let Some(sets_id) = grouped.sets_id {
            let has_equal = self.ids.iter().any(|id| u32::try_from(self.keys.len()).is_ok_and(|n| id.checked_shr(n).unwrap_or(0) > 0));
            let left_out = u32::try_from(self.keys.len()).ok().and_then(|n| 1_i64.checked_shl(n)).unwrap_or(0).wrapping_sub(1);
            let id = if has_equal { bitwise_and(column(self.id), lit(left_out)) } else { column(self.id) };
            exprs.push(id.alias(plan_name(sets_id)));
        }
        exprs.extend(aggregates.iter().map(|call| column(call.id)));
        projection(exprs, plan)
    }
}

/// The last moment that the bounds of a session can be.
fn end_of_time(session: &ArrowType) -> Result<(ScalarValue, ScalarValue)> {
    let ArrowType::Struct(bounds) = session else { return Err(AnalysisError::internal("a session that is no struct")) };
    let mut last = bounds.iter().map(|bound| match bound.data_type() {
        ArrowType::Timestamp(_, zone) => Ok(ScalarValue::TimestampMicrosecond(Some(i64::MAX), zone.clone())),
        other => Err(AnalysisError::internal(format!("a session with a bound of type {other}"))),
    });
    match (last.next(), last.next()) {
        (Some(start), Some(end)) => Ok((start?, end?)),
        _ => Err(AnalysisError::internal("a session without two bounds")),
    }
}

fn with_column(input: LogicalPlan, expr: DfExpr, id: u64) -> Result<LogicalPlan> {
    let mut exprs: Vec<DfExpr> = input.schema().columns().into_iter().map(DfExpr::Column).collect();
    exprs.push(expr.alias(plan_name(id)));
    projection(exprs, input)
}
