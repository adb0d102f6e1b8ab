//! Aggregates that DataFusion has and Spark has not: approximate ones, and `nth_value` without a window.
//!
//! They keep DataFusion's meaning; numbers are taken as doubles and counts given as BIGINT, the types that Spark's aggregates have.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::{AggregateUDF, Expr as DfExpr, cast, lit};
use millstream_sql::Span;
use millstream_sql::ir::DataType;

use super::aggregates::{After, Kind};
use crate::error::{AnalysisError, Result};
use crate::expr::Typed;
use crate::resolver::Resolver;
use crate::types::arrow_type;

/// A call.
pub(super) struct OfDataFusion<'a> {
    pub(super) name: &'a str,
    pub(super) first: Typed,
    pub(super) rest: Vec<Typed>,
    /// The keys of `WITHIN GROUP`, where they say what the aggregate is of.
    pub(super) within: Vec<(Typed, bool, bool)>,
    pub(super) ignore_nulls: bool,
}

/// What the aggregate is made of.
pub(super) struct Made {
    pub(super) udaf: Arc<AggregateUDF>,
    pub(super) args: Vec<DfExpr>,
    pub(super) data_type: DataType,
    pub(super) nullable: bool,
    pub(super) after: Option<After>,
}

impl OfDataFusion<'_> {
    pub(super) fn build(self, resolver: &mut Resolver<'_>, kind: Kind, span: Span) -> Result<Made> {
        match kind {
            Kind::ApproxDistinct => Ok(Made {
                udaf: df::approx_distinct::approx_distinct_udaf(),
                args: vec![self.first.expr],
                data_type: DataType::Long,
                nullable: false,
                after: Some(Box::new(as_count)),
            }),
            Kind::ApproxMedian => Ok(Made {
                udaf: df::approx_median::approx_median_udaf(),
                args: vec![resolver.implicit_cast(self.first, &DataType::Double, span)?.expr],
                data_type: DataType::Double,
                nullable: true,
                after: None,
            }),
            Kind::ApproxPercentile => self.percentile(resolver, span),
            Kind::NthValue => self.nth_value(resolver, span),
            _ => Err(AnalysisError::internal(format!("{}() is no aggregate of DataFusion's own", self.name))),
        }
    }

    /// `f(value, [weight,] percentage[, centroids])`, where the value may stand in `WITHIN GROUP` instead.
    fn percentile(self, resolver: &mut Resolver<'_>, span: Span) -> Result<Made> {
        let Self { name, first, rest, within, .. } = self;
        let wrong_number = |wanted: &str| {
            let message = format!("{name}() takes {wanted}: a value, {}a percentage and, if wanted, a number of centroids", weight(name));
            AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message, span)
        };
        let (value, is_from_above, mut rest) = match within.into_iter().next() {
            Some((key, ascending, _)) => (key, !ascending, std::iter::once(first).chain(rest).collect::<Vec<_>>().into_iter()),
            None => (first, false, rest.into_iter()),
        };
        let mut next = || rest.next().ok_or_else(|| wrong_number("more arguments"));
        let mut args = vec![resolver.implicit_cast(value, &DataType::Double, span)?.expr];
        if is_weighted(name) {
            args.push(resolver.implicit_cast(next()?, &DataType::Double, span)?.expr);
        }
        let at = resolver.implicit_cast(next()?, &DataType::Double, span)?;
        let at = match resolver.evaluate(&at, span)? {
            ScalarValue::Float64(Some(at)) if (0.0..=1.0).contains(&at) => at,
            other => {
                let message = format!("the percentage of {name}() is {other}, which is not between 0.0 and 1.0");
                return Err(AnalysisError::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message, span));
            }
        };
        // The p-th from above is the (1 - p)-th from below.
        args.push(lit(if is_from_above { 1.0 - at } else { at }));
        if let Some(centroids) = rest.next() {
            let centroids = resolver.cast_with(centroids, &DataType::Long, "ansi", span)?;
            args.push(lit(resolver.evaluate(&centroids, span)?));
        }
        if rest.next().is_some() {
            return Err(wrong_number("fewer arguments"));
        }
        let udaf = match is_weighted(name) {
            true => df::approx_percentile_cont_with_weight::approx_percentile_cont_with_weight_udaf(),
            false => df::approx_percentile_cont::approx_percentile_cont_udaf(),
        };
        Ok(Made { udaf, args, data_type: DataType::Double, nullable: true, after: None })
    }

    /// `nth_value(value, n)`: of the rows in their order.
    fn nth_value(self, resolver: &mut Resolver<'_>, span: Span) -> Result<Made> {
        let Self { name, first, rest, ignore_nulls, .. } = self;
        if ignore_nulls {
            return Err(AnalysisError::unsupported(format!("{name}() IGNORE NULLS without OVER"), span)
                .hint("leave the nulls out by FILTER (WHERE ... IS NOT NULL)"));
        }
        let n = rest.into_iter().next().ok_or_else(|| AnalysisError::internal("nth_value without a number"))?;
        let n = resolver.cast_with(n, &DataType::Long, "ansi", span)?;
        let n = match resolver.evaluate(&n, span)? {
            ScalarValue::Int64(Some(n)) if n != 0 => n,
            other => {
                let message = format!("the number of {name}() is {other}: it counts from 1, or back from -1");
                return Err(AnalysisError::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message, span));
            }
        };
        let data_type = first.data_type.clone();
        Ok(Made { udaf: df::nth_value::nth_value_udaf(), args: vec![first.expr, lit(n)], data_type, nullable: true, after: None })
    }
}

fn is_weighted(name: &str) -> bool {
    name == "approx_percentile_cont_with_weight"
}

fn weight(name: &str) -> &'static str {
    if is_weighted(name) { "a weight, " } else { "" }
}

/// A count of DataFusion's, which is unsigned.
fn as_count(_: &mut Resolver<'_>, typed: Typed, _: Span) -> Result<Typed> {
    Ok(Typed { expr: cast(typed.expr.clone(), arrow_type(&DataType::Long)?), ..typed })
}
