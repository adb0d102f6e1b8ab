//! Calls of aggregate functions: resolved over the input's rows, collected for the aggregation below, used as its columns.

use std::sync::Arc;

use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{
    AggregateUDF, Expr as DfExpr, Operator, binary_expr, bitwise_and, bitwise_or, bitwise_shift_left, cast, lit,
};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, NullOrdering, SortDirection, SortOrder, UnresolvedFunction};

use super::{Collect, ExprCx, Typed, call_text};
use crate::error::{AnalysisError, Result};
use crate::registry::aggregates;
use crate::resolver::Resolver;
use crate::scope::column;
use crate::walk::contains_aggregate;

/// Where window functions stand that are an argument of an aggregate of groups.
pub(crate) const IN_AGGREGATE: &str = "an argument of an aggregate";

impl Resolver<'_> {
    /// A call of an aggregate: collected, and used as a column.
    pub(crate) fn aggregate_call(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let (typed, after) = self.aggregate_typed(cx, name, call)?;
        let column = self.collect_aggregate(cx, typed, name, span)?;
        match after {
            Some(after) => after(self, column, span),
            None => Ok(column),
        }
    }

    fn collect_aggregate(&mut self, cx: &mut ExprCx, typed: Typed, name: &str, span: Span) -> Result<Typed> {
        if let DfExpr::AggregateFunction(call) = &typed.expr
            && call.params.filter.as_ref().is_some_and(|filter| cx.facts.has_call_in(filter))
        {
            let what = format!("the FILTER of {name}() hangs on chance or on where a row stands");
            return Err(AnalysisError::invalid("INVALID_AGGREGATE_FILTER.NON_DETERMINISTIC", what, span));
        }
        if cx.facts.has_call_in(&typed.expr) {
            let what = format!("an argument of the aggregate {name}() hangs on chance or on where a row stands");
            let error = AnalysisError::invalid("AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION", what, span);
            return Err(error.hint("compute it in a subquery"));
        }
        let mut aggregates = std::mem::replace(&mut cx.aggregates, Collect::Refused(""));
        let column = aggregates.add(self, typed);
        cx.aggregates = aggregates;
        column.map_err(|clause| {
            let class = match clause {
                "GROUP BY" => "GROUP_BY_AGGREGATE",
                "WHERE" => "INVALID_WHERE_CONDITION",
                _ => "UNSUPPORTED_EXPR_FOR_OPERATOR",
            };
            let error = AnalysisError::invalid(class, format!("the aggregate {name}() cannot be used in {clause}"), span);
            if clause == "WHERE" { error.hint("conditions on groups stand in HAVING, behind GROUP BY") } else { error }
        })
    }

    /// An aggregate's call over the input's rows, not collected.
    pub(crate) fn aggregate_typed(
        &mut self,
        cx: &mut ExprCx,
        name: &str,
        call: &UnresolvedFunction,
    ) -> Result<(Typed, Option<aggregates::After>)> {
        if cx.is_inside_aggregate {
            return Err(AnalysisError::invalid(
                "NESTED_AGGREGATE_FUNCTION",
                format!("the aggregate {name}() cannot be an argument of another one"),
                call.span,
            ));
        }
        let windows = std::mem::replace(&mut cx.windows, Collect::Refused(IN_AGGREGATE));
        cx.is_inside_aggregate = true;
        let out = self.aggregate_over_rows(cx, name, call);
        cx.is_inside_aggregate = false;
        cx.windows = windows;
        out
    }

    /// An aggregate's call over whatever rows it is given, not collected. Over a window these may be groups, so its arguments
    /// may be aggregates, which are collected.
    pub(crate) fn aggregate_over_rows(
        &mut self,
        cx: &mut ExprCx,
        name: &str,
        call: &UnresolvedFunction,
    ) -> Result<(Typed, Option<aggregates::After>)> {
        let outputs = std::mem::take(&mut cx.outputs);
        let out = self.aggregate_in_context(cx, name, call);
        cx.outputs = outputs;
        out
    }

    fn aggregate_in_context(
        &mut self,
        cx: &mut ExprCx,
        name: &str,
        call: &UnresolvedFunction,
    ) -> Result<(Typed, Option<aggregates::After>)> {
        let is_star = matches!(call.args.as_slice(), [Expr::UnresolvedStar { target: None, .. }]);
        let args = if name == "count" && !call.is_distinct && (is_star || call.args.is_empty()) {
            vec![Typed::new(lit(1), DataType::Int, false, "1")]
        } else {
            let expanded = self.with_stars_expanded(cx, call)?;
            self.exprs(cx, &expanded.args)?
        };
        let filter = match &call.filter {
            Some(filter) if contains_aggregate(filter, self.catalog()) => {
                let message = format!("the FILTER of {name}() holds an aggregate");
                return Err(AnalysisError::invalid("INVALID_AGGREGATE_FILTER.CONTAINS_AGGREGATE", message, filter.span()));
            }
            Some(filter) => Some(self.condition(cx, filter, "FILTER")?),
            None => None,
        };
        let order = self.order_in_call(cx, &call.within_group)?;
        aggregates::build(
            self,
            name,
            aggregates::Parts { args, is_distinct: call.is_distinct, filter, ignore_nulls: call.ignore_nulls, order },
            call.span,
        )
    }

    fn order_in_call(&mut self, cx: &mut ExprCx, keys: &[SortOrder]) -> Result<Vec<(Typed, bool, bool)>> {
        keys.iter()
            .map(|key| {
                let typed = self.expr(cx, &key.expr)?;
                Ok((typed, key.direction == SortDirection::Ascending, key.nulls == NullOrdering::First))
            })
            .collect()
    }

    /// A call of a user's aggregate.
    pub(crate) fn user_aggregate(&mut self, cx: &mut ExprCx, udaf: Arc<AggregateUDF>, call: &UnresolvedFunction) -> Result<Typed> {
        if cx.is_inside_aggregate {
            let message = format!("the aggregate {}() cannot be an argument of another one", call.name);
            return Err(AnalysisError::invalid("NESTED_AGGREGATE_FUNCTION", message, call.span));
        }
        let outputs = std::mem::take(&mut cx.outputs);
        cx.is_inside_aggregate = true;
        let args = self.exprs(cx, &call.args);
        let order = self.order_in_call(cx, &call.within_group);
        cx.is_inside_aggregate = false;
        cx.outputs = outputs;
        let (args, order) = (args?, order?);
        let shown = crate::registry::names::call_name(&call.name, &args);
        let args = self.user_args(udaf.signature(), args, call)?;
        let types = args.iter().map(|arg| crate::types::arrow_type(&arg.data_type)).collect::<Result<Vec<_>>>()?;
        let returned = udaf.return_type(&types).map_err(|error| AnalysisError::from(error).at(call.span))?;
        let data_type = crate::types::spark_type(&returned)?;
        let filter = match &call.filter {
            Some(filter) => Some(Box::new(self.condition(cx, filter, "FILTER")?.expr)),
            None => None,
        };
        let args = args.into_iter().map(|arg| arg.expr).collect();
        let nulls = call.ignore_nulls.then_some(NullTreatment::IgnoreNulls);
        let expr = AggregateFunction::new_udf(udaf, args, call.is_distinct, filter, aggregates::sort_exprs(order), nulls);
        let typed = Typed::new(DfExpr::AggregateFunction(expr), data_type, true, shown);
        self.collect_aggregate(cx, typed, &call.name, call.span)
    }

    /// `grouping(key)` and `grouping_id(keys)`.
    pub(crate) fn grouping_function(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let misplaced = || {
            AnalysisError::invalid(
                "UNSUPPORTED_GROUPING_EXPRESSION",
                format!("{name}() can only be used with GROUPING SETS, CUBE or ROLLUP"),
                span,
            )
        };
        let outputs = std::mem::take(&mut cx.outputs);
        let args = self.exprs(cx, &call.args);
        cx.outputs = outputs;
        let args = args?;
        let Some(grouping) = cx.grouping.clone() else { return Err(misplaced()) };
        let shown = call_text(name, &args);
        let n_keys = grouping.keys.len();
        let bit_of = |arg: &Typed| -> Result<usize> {
            let idx = grouping.keys.iter().position(|key| *key == arg.expr);
            idx.map(|idx| n_keys - 1 - idx).ok_or_else(|| {
                AnalysisError::invalid("GROUPING_COLUMN_MISMATCH", format!("'{}' is no key of the grouping sets", arg.name), span)
            })
        };
        let id = column(grouping.id);
        let bit = |n: usize| {
            let shifted = binary_expr(id.clone(), Operator::BitwiseShiftRight, lit(i64::try_from(n).unwrap_or(0)));
            bitwise_and(shifted, lit(1_i64))
        };
        match (name, args.as_slice()) {
            ("grouping", [arg]) => {
                let expr = cast(bit(bit_of(arg)?), arrow::datatypes::DataType::Int8);
                Ok(Typed::new(expr, DataType::Byte, false, shown))
            }
            ("grouping_id", []) => Ok(Typed::new(id, DataType::Long, false, shown)),
            ("grouping_id", args) => {
                let mut expr = lit(0_i64);
                for arg in args {
                    let doubled = bitwise_shift_left(expr, lit(1_i64));
                    expr = bitwise_or(doubled, bit(bit_of(arg)?));
                }
                Ok(Typed::new(expr, DataType::Long, false, shown))
            }
            _ => Err(AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "grouping() takes one argument", span)),
        }
    }
}
