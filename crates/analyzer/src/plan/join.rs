//! Joins of all kinds, `USING`, `NATURAL`, and what their columns are called.

use std::sync::Arc;

use datafusion::common::{Column, JoinConstraint, NullEquality};
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr as DfExpr, Join, JoinType, LogicalPlan, Operator};
use millstream_sql::Span;
use millstream_sql::ir::{Ident, JoinCondition, JoinKind, Plan};

use super::groups_with_state::named_columns;
use super::{attribute_of, projection};
use crate::coerce::common_type;
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, plan_name};
use crate::stream_check;
use crate::streaming::JoinSideNode;

impl Resolver<'_> {
    /// A join.
    pub(crate) fn join(&mut self, plan: &Plan) -> Result<Rel> {
        let Plan::Join { left, right, kind, condition, lateral, span } = plan else {
            return Err(AnalysisError::internal("a join of another kind"));
        };
        let left = self.plan(left)?;
        if *lateral {
            return self.lateral_join(left, right, *kind, condition, *span);
        }
        let right = self.plan(right)?;
        stream_check::join(*kind, &left, &right, *span)?;
        match condition {
            JoinCondition::Using(names) => self.using_join(left, right, *kind, names, *span),
            JoinCondition::Natural => {
                let case = self.name_case();
                let names: Vec<Ident> = left
                    .visible()
                    .filter(|l| right.visible().any(|r| case.same(&l.name, &r.name)))
                    .map(|attr| Ident::new(attr.name.clone()))
                    .collect();
                self.using_join(left, right, *kind, &names, *span)
            }
            JoinCondition::On(condition) => {
                let mut scope = left.attrs.clone();
                scope.extend(right.attrs.iter().cloned());
                let mut cx = ExprCx::new(&scope, "JOIN");
                let typed = self.condition(&mut cx, condition, "JOIN")?;
                let left = Rel { plan: super::with_batch_time(left.plan, &cx)?, ..left };
                let out = joined(left, right, *kind, Some(typed.expr))?;
                if cx.facts.calls().next().is_some() {
                    return Err(AnalysisError::invalid(
                        "INVALID_NON_DETERMINISTIC_EXPRESSIONS",
                        "a join condition cannot draw random numbers",
                        *span,
                    ));
                }
                // The batch's time may not leave the join.
                if cx.facts.batch_time().is_some() {
                    let exprs = out.attrs.iter().map(Attribute::column).collect();
                    return Ok(Rel { plan: projection(exprs, out.plan.clone())?, ..out });
                }
                Ok(out)
            }
            JoinCondition::None => joined(left, right, *kind, None),
        }
    }

    fn using_join(&mut self, left: Rel, right: Rel, kind: JoinKind, names: &[Ident], span: Span) -> Result<Rel> {
        let case = self.name_case();
        let mut condition: Option<DfExpr> = None;
        let mut keys: Vec<(Attribute, Attribute)> = vec![];
        let (mut left, mut right) = (left, right);
        for name in names {
            let side = |rel: &Rel| -> Result<Attribute> {
                let found: Vec<&Attribute> = rel.visible().filter(|attr| case.same(&attr.name, &name.name)).collect();
                match found.as_slice() {
                    [attr] => Ok((*attr).clone()),
                    [] => Err(AnalysisError::invalid(
                        "UNRESOLVED_USING_COLUMN_FOR_JOIN",
                        format!("the column '{}' of USING is not on both sides of the join", name.name),
                        name.span,
                    )
                    .near(millstream_sql::error::nearest(&name.name, rel.visible().map(|attr| attr.name.as_str())).map(str::to_owned))),
                    _ => Err(AnalysisError::invalid(
                        "AMBIGUOUS_REFERENCE",
                        format!("the column '{}' of USING is ambiguous", name.name),
                        name.span,
                    )),
                }
            };
            let (l, r) = (side(&left)?, side(&right)?);
            let Some(common) = common_type(&l.data_type, &r.data_type) else {
                return Err(AnalysisError::invalid(
                    "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
                    format!("'{}' is of type {} on the left and {} on the right", name.name, l.data_type.sql(), r.data_type.sql()),
                    name.span,
                ));
            };
            let lt = self.cast_with(Typed::attribute(&l), &common, "ansi", span)?;
            let rt = self.cast_with(Typed::attribute(&r), &common, "ansi", span)?;
            let equal = DfExpr::BinaryExpr(BinaryExpr::new(Box::new(lt.expr), Operator::Eq, Box::new(rt.expr)));
            condition = Some(match condition {
                None => equal,
                Some(condition) => condition.and(equal),
            });
            keys.push((l, r));
        }
        // Spark puts the keys first, then the rest of the left, then the rest of the right.
        let is_other =
            |attr: &Attribute| attr.visibility != Visibility::Metadata && !keys.iter().any(|(l, r)| l.id == attr.id || r.id == attr.id);
        let rest_left: Vec<Attribute> = left.attrs.iter().filter(|attr| is_other(attr)).cloned().collect();
        let rest_right: Vec<Attribute> = right.attrs.iter().filter(|attr| is_other(attr)).cloned().collect();
        left.attrs = left.visible().cloned().collect();
        right.attrs = right.visible().cloned().collect();
        let out = joined(left, right, kind, condition)?;
        let hidden = |attr: &Attribute| Attribute { visibility: Visibility::Qualified, ..attr.clone() };
        let (mut attrs, mut exprs) = (vec![], vec![]);
        for (l, r) in &keys {
            match kind {
                JoinKind::RightOuter => attrs.push(r.clone()),
                JoinKind::FullOuter => {
                    let both = vec![Typed::attribute(l), Typed::attribute(r)];
                    let merged = self.coalesce(both, &l.name, span)?;
                    let attr = attribute_of(self.next_id(), &l.name, &merged);
                    exprs.push(merged.expr.alias(attr.plan_name()));
                    attrs.push(attr);
                }
                _ => attrs.push(l.clone()),
            }
        }
        let semi = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        attrs.extend(rest_left);
        if !semi {
            attrs.extend(rest_right);
            for (l, r) in &keys {
                match kind {
                    JoinKind::RightOuter => attrs.push(hidden(l)),
                    JoinKind::FullOuter => attrs.extend([hidden(l), hidden(r)]),
                    _ => attrs.push(hidden(r)),
                }
            }
        }
        let computed: Vec<String> = exprs.iter().map(|expr| expr.schema_name().to_string()).collect();
        let mut all: Vec<DfExpr> = vec![];
        for attr in &attrs {
            match computed.iter().position(|name| *name == attr.plan_name()) {
                Some(idx) => all.extend(exprs.get(idx).cloned()),
                None => all.push(attr.column()),
            }
        }
        // Nullability follows the kind of the join.
        let attrs = with_join_nullability(attrs, &out.attrs);
        Ok(Rel { plan: projection(all, out.plan)?, attrs, is_streaming: out.is_streaming, watermarks: out.watermarks })
    }

    fn lateral_join(&mut self, left: Rel, right: &Plan, kind: JoinKind, condition: &JoinCondition, span: Span) -> Result<Rel> {
        // `t, LATERAL explode(arr) AS x(c)` is a generator over t's rows.
        if let Some((call, alias, columns)) = lateral_generator(right) {
            let outer = match kind {
                JoinKind::Inner | JoinKind::Cross => false,
                JoinKind::LeftOuter => true,
                _ => return Err(AnalysisError::unsupported("a LATERAL join of this kind", span)),
            };
            return match condition {
                JoinCondition::None => self.lateral_view(left, &call, outer, alias, columns, span),
                JoinCondition::On(condition) if !outer || is_true(condition) => {
                    let rel = self.lateral_view(left, &call, outer, alias, columns, span)?;
                    if outer { Ok(rel) } else { self.filter(rel, condition, "JOIN", span) }
                }
                _ => Err(AnalysisError::unsupported("a LEFT JOIN LATERAL of a generator with a condition", span)),
            };
        }
        let condition = match condition {
            JoinCondition::None => None,
            JoinCondition::On(condition) => Some(condition),
            _ => return Err(AnalysisError::unsupported("a LATERAL join with USING or NATURAL", span)),
        };
        if left.is_streaming {
            return Err(AnalysisError::unsupported("a LATERAL subquery over a stream", span));
        }
        let scope = left.attrs.clone();
        self.outer.push(scope);
        let right = self.plan(right);
        self.outer.pop();
        let right = right?;
        if right.is_streaming {
            return Err(AnalysisError::unsupported("a LATERAL subquery over a stream", span));
        }
        let outer_ref_columns = right.plan.all_out_ref_exprs();
        let subquery = LogicalPlan::Subquery(datafusion::logical_expr::Subquery {
            subquery: Arc::new(right.plan.clone()),
            outer_ref_columns,
            spans: datafusion::common::Spans::new(),
        });
        let right = Rel { plan: subquery, ..right };
        match condition {
            // A constant needs no scope, and DataFusion wants none for it.
            Some(condition) if !is_true(condition) => {
                let mut scope = left.attrs.clone();
                scope.extend(right.attrs.iter().cloned());
                let condition = self.condition(&mut ExprCx::new(&scope, "JOIN"), condition, "JOIN")?;
                joined(left, right, kind, Some(condition.expr))
            }
            _ => joined(left, right, kind, None),
        }
    }
}

fn is_true(condition: &millstream_sql::ir::Expr) -> bool {
    matches!(condition, millstream_sql::ir::Expr::Literal { value: millstream_sql::ir::Literal::Boolean(true), .. })
}

/// The generator behind `LATERAL`, with the names given to it.
fn lateral_generator(plan: &Plan) -> Option<(millstream_sql::ir::Expr, Option<&Ident>, &[Ident])> {
    use millstream_sql::ir::{Expr, ReadSource};
    match plan {
        Plan::SubqueryAlias { input, alias, columns, .. } => {
            let (call, ..) = lateral_generator(input)?;
            Some((call, Some(alias), columns))
        }
        Plan::Read(read) => match &read.source {
            ReadSource::Function { name, args } if crate::registry::is_generator(&name.last().to_lowercase()) => {
                Some((Expr::call_at(name.last(), args.clone(), read.span), None, &[]))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Left and right joined on a condition over both.
fn joined(left: Rel, right: Rel, kind: JoinKind, condition: Option<DfExpr>) -> Result<Rel> {
    let join_type = match kind {
        JoinKind::Inner | JoinKind::Cross => JoinType::Inner,
        JoinKind::LeftOuter => JoinType::Left,
        JoinKind::RightOuter => JoinType::Right,
        JoinKind::FullOuter => JoinType::Full,
        JoinKind::LeftSemi => JoinType::LeftSemi,
        JoinKind::LeftAnti => JoinType::LeftAnti,
    };
    let (left, right) = if left.is_streaming && right.is_streaming { (side(left), side(right)) } else { (left, right) };
    let (on, filter) = equi_keys(condition, &left, &right);
    let (left_null, right_null) = match join_type {
        JoinType::Left => (false, true),
        JoinType::Right => (true, false),
        JoinType::Full => (true, true),
        _ => (false, false),
    };
    let nullable =
        |attrs: Vec<Attribute>, null: bool| attrs.into_iter().map(move |attr| Attribute { nullable: attr.nullable || null, ..attr });
    let mut attrs: Vec<Attribute> = nullable(left.attrs, left_null).collect();
    let mut watermarks = left.watermarks;
    if !matches!(join_type, JoinType::LeftSemi | JoinType::LeftAnti) {
        attrs.extend(nullable(right.attrs, right_null));
        watermarks.extend(right.watermarks);
    }
    let join = Join::try_new(
        Arc::new(left.plan),
        Arc::new(right.plan),
        on,
        filter,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(Rel { plan: LogicalPlan::Join(join), attrs, is_streaming: left.is_streaming || right.is_streaming, watermarks })
}

/// A side of a join of two streams.
fn side(rel: Rel) -> Rel {
    let schema = rel.plan.schema();
    let event_times = rel.watermarks.iter().map(|mark| Column::new_unqualified(plan_name(mark.id)));
    let event_times = event_times.filter(|column| schema.has_column(column)).collect();
    let names = rel.attrs.iter().map(|attr| (attr.plan_name(), attr.name.clone())).collect();
    let relation = named_columns(rel.visible());
    Rel { plan: JoinSideNode::new(rel.plan, event_times, names).of_relation(relation).into_plan(), ..rel }
}

/// Splits the condition into pairs of equal keys, left and right, and the rest.
fn equi_keys(condition: Option<DfExpr>, left: &Rel, right: &Rel) -> (Vec<(DfExpr, DfExpr)>, Option<DfExpr>) {
    let (mut on, mut filter) = (vec![], None);
    let is_of = |expr: &DfExpr, rel: &Rel| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| rel.plan.schema().has_column(column))
    };
    for part in condition.map(split_conjunction_owned).unwrap_or_default() {
        // Keys with subqueries or errors stay in the filter, which is asked for matching rows only.
        let is_plain = !crate::expr::may_raise(&part) && !matches!(part, DfExpr::Exists(Exists { .. }));
        match part {
            DfExpr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r }) if is_plain && is_of(&l, left) && is_of(&r, right) => {
                on.push((*l, *r));
            }
            DfExpr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r }) if is_plain && is_of(&l, right) && is_of(&r, left) => {
                on.push((*r, *l));
            }
            part => {
                filter = Some(match filter {
                    None => part,
                    Some(filter) => DfExpr::and(filter, part),
                });
            }
        }
    }
    (on, filter)
}

fn with_join_nullability(attrs: Vec<Attribute>, joined: &[Attribute]) -> Vec<Attribute> {
    attrs
        .into_iter()
        .map(|attr| match joined.iter().find(|other| other.id == attr.id) {
            Some(other) => Attribute { nullable: other.nullable, ..attr },
            None => attr,
        })
        .collect()
}
