//! Aggregates: argument types, result types, and the DataFusion function that computes each.
//!
//! Only what was compared with Spark is listed. Where DataFusion's answer differs from Spark's (NULL instead of an
//! empty array), an expression over the result corrects it.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{AggregateUDF, Case, Expr as DfExpr, SortExpr, lit};
use millstream_sql::Span;
use millstream_sql::ir::DataType;

use super::datafusion_aggregates::OfDataFusion;
use crate::coerce::{bounded, is_numeric, is_orderable, is_string};
use crate::error::{AnalysisError, Result};
use crate::expr::Typed;
use crate::resolver::Resolver;
use crate::types::arrow_type;

/// What remains to be done with an aggregate's result.
pub(crate) type After = Box<dyn Fn(&mut Resolver<'_>, Typed, Span) -> Result<Typed>>;

/// A call, resolved.
pub(crate) struct Parts {
    pub(crate) args: Vec<Typed>,
    pub(crate) is_distinct: bool,
    pub(crate) filter: Option<Typed>,
    pub(crate) ignore_nulls: bool,
    /// Key, ascending, nulls first.
    pub(crate) order: Vec<(Typed, bool, bool)>,
}

/// How a family of aggregates treats its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Count,
    CountIf,
    Sum,
    Avg,
    Extreme,
    Pick,
    Collect,
    CollectSet,
    Boolean,
    Double,
    DoublePair,
    Bits,
    ApproxCountDistinct,
    ExtremeBy,
    StringAgg,
    Median,
    Percentile,
    PercentileWithin,
    PercentileApprox,
    Mode,
    ApproxDistinct,
    ApproxMedian,
    ApproxPercentile,
    NthValue,
}

/// Names that only DataFusion has for aggregates which Spark has, too.
const ALIASES: &[(&str, &str)] = &[
    ("covar", "covar_samp"),
    ("quantile_cont", "percentile_cont"),
    ("var", "var_samp"),
    ("var_sample", "var_samp"),
    ("var_population", "var_pop"),
];

/// Name, Spark's name of it, family.
const AGGREGATES: &[(&str, &str, Kind)] = &[
    ("count", "count", Kind::Count),
    ("count_if", "count_if", Kind::CountIf),
    ("sum", "sum", Kind::Sum),
    ("avg", "avg", Kind::Avg),
    ("mean", "mean", Kind::Avg),
    ("min", "min", Kind::Extreme),
    ("max", "max", Kind::Extreme),
    ("first", "first", Kind::Pick),
    ("first_value", "first_value", Kind::Pick),
    ("last", "last", Kind::Pick),
    ("last_value", "last_value", Kind::Pick),
    ("any_value", "any_value", Kind::Pick),
    ("collect_list", "collect_list", Kind::Collect),
    ("array_agg", "collect_list", Kind::Collect),
    ("collect_set", "collect_set", Kind::CollectSet),
    ("bool_and", "bool_and", Kind::Boolean),
    ("every", "every", Kind::Boolean),
    ("bool_or", "bool_or", Kind::Boolean),
    ("any", "any", Kind::Boolean),
    ("some", "some", Kind::Boolean),
    ("stddev", "stddev", Kind::Double),
    ("stddev_samp", "stddev_samp", Kind::Double),
    ("std", "std", Kind::Double),
    ("stddev_pop", "stddev_pop", Kind::Double),
    ("variance", "variance", Kind::Double),
    ("var_samp", "var_samp", Kind::Double),
    ("var_pop", "var_pop", Kind::Double),
    ("median", "median", Kind::Median),
    ("skewness", "skewness", Kind::Double),
    ("kurtosis", "kurtosis", Kind::Double),
    ("try_sum", "try_sum", Kind::Sum),
    ("try_avg", "try_avg", Kind::Avg),
    ("mode", "mode", Kind::Mode),
    ("percentile_approx", "percentile_approx", Kind::PercentileApprox),
    ("approx_percentile", "approx_percentile", Kind::PercentileApprox),
    ("corr", "corr", Kind::DoublePair),
    ("covar_pop", "covar_pop", Kind::DoublePair),
    ("covar_samp", "covar_samp", Kind::DoublePair),
    ("regr_count", "regr_count", Kind::DoublePair),
    ("regr_avgx", "regr_avgx", Kind::DoublePair),
    ("regr_avgy", "regr_avgy", Kind::DoublePair),
    ("regr_sxx", "regr_sxx", Kind::DoublePair),
    ("regr_syy", "regr_syy", Kind::DoublePair),
    ("regr_sxy", "regr_sxy", Kind::DoublePair),
    ("regr_slope", "regr_slope", Kind::DoublePair),
    ("regr_intercept", "regr_intercept", Kind::DoublePair),
    ("regr_r2", "regr_r2", Kind::DoublePair),
    ("bit_and", "bit_and", Kind::Bits),
    ("bit_or", "bit_or", Kind::Bits),
    ("bit_xor", "bit_xor", Kind::Bits),
    ("approx_count_distinct", "approx_count_distinct", Kind::ApproxCountDistinct),
    ("max_by", "max_by", Kind::ExtremeBy),
    ("min_by", "min_by", Kind::ExtremeBy),
    ("string_agg", "string_agg", Kind::StringAgg),
    ("listagg", "listagg", Kind::StringAgg),
    ("percentile", "percentile", Kind::Percentile),
    ("percentile_cont", "percentile_cont", Kind::PercentileWithin),
    ("percentile_disc", "percentile_disc", Kind::PercentileWithin),
    // DataFusion's own, which Spark has not (of nth_value() only the window function).
    ("approx_distinct", "approx_distinct", Kind::ApproxDistinct),
    ("approx_median", "approx_median", Kind::ApproxMedian),
    ("approx_percentile_cont", "approx_percentile_cont", Kind::ApproxPercentile),
    ("approx_percentile_cont_with_weight", "approx_percentile_cont_with_weight", Kind::ApproxPercentile),
    (NTH_VALUE, NTH_VALUE, Kind::NthValue),
];

/// A window function of Spark's, and beside it an aggregate of DataFusion's.
pub(crate) const NTH_VALUE: &str = "nth_value";

/// The name under which an aggregate is known here.
fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| known)
}

/// The family of an aggregate and Spark's name for it.
pub(crate) fn find(name: &str) -> Option<(&'static str, Kind)> {
    let name = canonical(name);
    AGGREGATES.iter().find(|(known, ..)| *known == name).map(|(_, shown, kind)| (*shown, *kind))
}

/// All aggregates.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.iter().map(|(name, ..)| *name).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// The aggregate's expression over the input, and what remains to be done with its column.
pub(crate) fn build(resolver: &mut Resolver<'_>, name: &str, parts: Parts, span: Span) -> Result<(Typed, Option<After>)> {
    let Some((shown, kind)) = find(name) else { return Err(AnalysisError::internal(format!("no aggregate {name}"))) };
    let name = canonical(name);
    check_arity(name, kind, parts.args.len(), span)?;
    let shown = call_text(shown, kind, &parts);
    let Parts { args, is_distinct, filter, ignore_nulls, mut order } = parts;
    // These take what they are of from WITHIN GROUP, and no order of rows.
    let takes_key = matches!(kind, Kind::Mode | Kind::PercentileWithin | Kind::ApproxPercentile);
    let within = if takes_key { std::mem::take(&mut order) } else { vec![] };
    let mut call = Call { args: vec![], is_distinct, filter: filter.map(|f| Box::new(f.expr)), order: sort_exprs(order), ignore_nulls };
    let mut after: Option<After> = None;
    let mut args = args.into_iter();
    let first = match (args.next(), within.first()) {
        (Some(first), _) => first,
        (None, Some((key, ..))) => key.clone(),
        (None, None) => return Err(AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{name}() needs arguments"), span)),
    };
    let rest: Vec<Typed> = args.collect();
    let (udaf, data_type, nullable) = match kind {
        Kind::Count => {
            call.args = vec![counted(first, &rest)?];
            (df::count::count_udaf(), DataType::Long, false)
        }
        Kind::CountIf => {
            let condition = resolver.implicit_cast(first, &DataType::Boolean, span)?;
            let one = Case::new(None, vec![(Box::new(condition.expr), Box::new(lit(1)))], None);
            call.args = vec![DfExpr::Case(one)];
            (df::count::count_udaf(), DataType::Long, false)
        }
        Kind::Sum => {
            let (arg, data_type) = sum_argument(resolver, first, span)?;
            call.args = vec![arg.expr];
            (spark_udaf(name)?, data_type, true)
        }
        Kind::Avg => {
            let (arg, data_type) = avg_argument(resolver, first, span)?;
            call.args = vec![arg.expr];
            (spark_udaf(name)?, data_type, true)
        }
        Kind::Extreme => {
            if !is_orderable(&first.data_type) {
                return Err(wrong(name, &first, "a type with an order", "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", span));
            }
            let data_type = first.data_type.clone();
            call.args = vec![first.expr];
            call.is_distinct = false;
            let udaf = match (&data_type, name) {
                // NaN is the largest number, which DataFusion's pass over.
                (DataType::Float | DataType::Double, _) => spark_udaf(name)?,
                (_, "min") => df::min_max::min_udaf(),
                _ => df::min_max::max_udaf(),
            };
            (udaf, data_type, true)
        }
        Kind::Pick => {
            if let Some(flag) = rest.first() {
                call.ignore_nulls |= matches!(resolver.evaluate(flag, span)?, ScalarValue::Boolean(Some(true)));
            }
            let data_type = first.data_type.clone();
            call.args = vec![first.expr];
            let is_last = name.starts_with("last");
            (if is_last { df::first_last::last_value_udaf() } else { df::first_last::first_value_udaf() }, data_type, true)
        }
        Kind::Collect | Kind::CollectSet => {
            let data_type = DataType::Array { element: Box::new(first.data_type.clone()), contains_null: false };
            call.args = vec![first.expr];
            call.is_distinct |= kind == Kind::CollectSet;
            after = Some(Box::new(empty_for_null));
            if call.is_distinct && call.order.is_empty() {
                // DataFusion's gives different values in another order in each run.
                (spark_udaf("list")?, data_type, true)
            } else {
                call.ignore_nulls = true;
                (df::array_agg::array_agg_udaf(), data_type, true)
            }
        }
        Kind::Boolean => {
            let arg = resolver.implicit_cast(first, &DataType::Boolean, span)?;
            call.args = vec![arg.expr];
            let all = matches!(name, "bool_and" | "every");
            (if all { df::bool_and_or::bool_and_udaf() } else { df::bool_and_or::bool_or_udaf() }, DataType::Boolean, true)
        }
        Kind::Double => {
            let arg = resolver.implicit_cast(first, &DataType::Double, span)?;
            call.args = vec![arg.expr];
            (spark_udaf(name)?, DataType::Double, true)
        }
        // Means over the pairs, which keep decimals as avg() does.
        Kind::DoublePair if matches!(name, "regr_avgx" | "regr_avgy") => {
            let x = rest.into_iter().next().ok_or_else(|| AnalysisError::internal("a pair of one"))?;
            let known = DfExpr::IsNotNull(Box::new(first.expr.clone())).and(DfExpr::IsNotNull(Box::new(x.expr.clone())));
            let value = if name == "regr_avgx" { x } else { first };
            let paired = Case::new(None, vec![(Box::new(known), Box::new(value.expr.clone()))], None);
            let (arg, data_type) = avg_argument(resolver, Typed { expr: DfExpr::Case(paired), ..value }, span)?;
            call.args = vec![arg.expr];
            (spark_udaf("avg")?, data_type, true)
        }
        Kind::DoublePair => {
            let mut both = vec![resolver.implicit_cast(first, &DataType::Double, span)?.expr];
            for arg in rest {
                both.push(resolver.implicit_cast(arg, &DataType::Double, span)?.expr);
            }
            call.args = both;
            match name {
                "regr_count" => (spark_udaf(name)?, DataType::Long, false),
                _ => (spark_udaf(name)?, DataType::Double, true),
            }
        }
        Kind::Bits => {
            let data_type = first.data_type.clone();
            if !crate::coerce::is_integral(&data_type) {
                return Err(wrong(name, &first, "an integer", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", span));
            }
            call.args = vec![first.expr];
            let udaf = match name {
                "bit_and" => df::bit_and_or_xor::bit_and_udaf(),
                "bit_or" => df::bit_and_or_xor::bit_or_udaf(),
                _ => df::bit_and_or_xor::bit_xor_udaf(),
            };
            (udaf, data_type, true)
        }
        Kind::ApproxCountDistinct => {
            // Exact here: more than approximate, and the same in every run.
            call.args = vec![first.expr];
            call.is_distinct = true;
            (df::count::count_udaf(), DataType::Long, false)
        }
        Kind::StringAgg => {
            let delimiter = rest.into_iter().next().unwrap_or_else(|| Typed::new(lit(""), DataType::String, false, "NULL"));
            let value = resolver.implicit_cast(first, &DataType::String, span)?;
            let delimiter = resolver.implicit_cast(delimiter, &DataType::String, span)?;
            let delimiter = match resolver.evaluate(&delimiter, span)? {
                ScalarValue::Utf8(Some(text)) => lit(text),
                _ => lit(""),
            };
            if call.is_distinct && call.order.is_empty() {
                call.args = vec![value.expr];
                after = Some(Box::new(move |resolver, typed, span| {
                    let expr = resolver.kernel("array_join", vec![typed.expr.clone(), delimiter.clone()], span)?;
                    Ok(Typed { expr, ..typed })
                }));
                return Ok((Typed::new(call.build(spark_udaf("list")?), DataType::String, true, shown), after));
            }
            call.args = vec![value.expr, delimiter];
            (df::string_agg::string_agg_udaf(), DataType::String, true)
        }
        Kind::Mode => {
            let data_type = first.data_type.clone();
            call.args = vec![first.expr];
            // The smallest of several modes, unless the order is descending.
            let is_largest = within.first().is_some_and(|(_, ascending, _)| !ascending);
            (spark_udaf(if is_largest { "mode_largest" } else { name })?, data_type, true)
        }
        Kind::Median => {
            let (value, data_type) = percentile_argument(resolver, first, span)?;
            call.args = vec![value.expr];
            (spark_udaf(name)?, data_type, true)
        }
        Kind::PercentileWithin => {
            let Some((key, ascending, _)) = within.into_iter().next() else {
                return Err(AnalysisError::invalid(
                    "INVALID_WITHIN_GROUP_EXPRESSION.WITHIN_GROUP_MISSING",
                    format!("{name}() needs WITHIN GROUP (ORDER BY ...)"),
                    span,
                ));
            };
            let at = resolver.implicit_cast(first, &DataType::Double, span)?;
            let at = lit(resolver.evaluate(&at, span)?);
            let (value, data_type) = percentile_argument(resolver, key, span)?;
            let mut value = value.expr;
            if !ascending {
                // The p-th from above is the p-th from below of the negatives.
                value = resolver.kernel("negative", vec![value], span)?;
                after = Some(Box::new(|resolver, typed, span| {
                    let expr = resolver.kernel("negative", vec![typed.expr.clone()], span)?;
                    Ok(Typed { expr, ..typed })
                }));
            }
            call.args = vec![value, at];
            if name == "percentile_disc" {
                call.args.push(lit(ScalarValue::Int32(Some(10_000))));
            }
            (spark_udaf(if name == "percentile_disc" { "percentile_approx" } else { "percentile" })?, data_type, true)
        }
        Kind::Percentile | Kind::PercentileApprox => {
            let mut rest = rest.into_iter();
            let at = rest.next().ok_or_else(|| AnalysisError::internal("percentile without a percentage"))?;
            let (value, of) = match kind {
                Kind::Percentile => percentile_argument(resolver, first, span)?,
                _ => (first.clone(), first.data_type),
            };
            let is_list = matches!(at.data_type, DataType::Array { .. });
            let wanted = if is_list { DataType::array(DataType::Double) } else { DataType::Double };
            let at = resolver.implicit_cast(at, &wanted, span)?;
            let at = resolver.evaluate(&at, span)?;
            let data_type = if is_list { DataType::array(of) } else { of };
            call.args = vec![value.expr, lit(at)];
            if kind == Kind::PercentileApprox {
                let accuracy = match rest.next() {
                    Some(accuracy) => resolver.evaluate(&resolver.cast_with(accuracy, &DataType::Int, "ansi", span)?, span)?,
                    None => ScalarValue::Int32(Some(10_000)),
                };
                call.args.push(lit(accuracy));
            }
            (spark_udaf(name)?, data_type, true)
        }
        Kind::ApproxDistinct | Kind::ApproxMedian | Kind::ApproxPercentile | Kind::NthValue => {
            let of = OfDataFusion { name, first, rest, within, ignore_nulls };
            let made = of.build(resolver, kind, span)?;
            (call.args, after) = (made.args, made.after);
            (made.udaf, made.data_type, made.nullable)
        }
        Kind::ExtremeBy => {
            let by = rest.into_iter().next().ok_or_else(|| AnalysisError::internal("max_by without an order"))?;
            let data_type = first.data_type.clone();
            call.args = vec![first.expr, by.expr];
            (spark_udaf(name)?, data_type, true)
        }
    };
    let expr = call.build(udaf);
    Ok((Typed::new(expr, data_type, nullable, shown), after))
}

struct Call {
    args: Vec<DfExpr>,
    is_distinct: bool,
    filter: Option<Box<DfExpr>>,
    order: Vec<SortExpr>,
    ignore_nulls: bool,
}

impl Call {
    fn build(self, udaf: Arc<AggregateUDF>) -> DfExpr {
        let nulls = self.ignore_nulls.then_some(NullTreatment::IgnoreNulls);
        DfExpr::AggregateFunction(AggregateFunction::new_udf(udaf, self.args, self.is_distinct, self.filter, self.order, nulls))
    }
}

/// An aggregate of our own.
fn spark_udaf(name: &str) -> Result<Arc<AggregateUDF>> {
    millstream_functions::aggregate(name).ok_or_else(|| AnalysisError::unsupported(format!("{name}()"), Span::NONE))
}

fn sum_argument(resolver: &mut Resolver<'_>, arg: Typed, span: Span) -> Result<(Typed, DataType)> {
    use DataType as T;
    Ok(match arg.data_type.clone() {
        T::Byte | T::Short | T::Int | T::Long => (resolver.implicit_cast(arg, &T::Long, span)?, T::Long),
        T::Decimal { precision, scale } => (arg, bounded(i32::from(precision) + 10, i32::from(scale))),
        T::Float | T::Double | T::Null => (resolver.implicit_cast(arg, &T::Double, span)?, T::Double),
        t if is_string(&t) => (resolver.implicit_cast(arg, &T::Double, span)?, T::Double),
        T::YearMonthInterval { .. } => (arg, T::YEAR_MONTH),
        T::DayTimeInterval { .. } => (arg, T::DAY_TIME),
        _ => return Err(wrong("sum", &arg, "a number", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", span)),
    })
}

fn avg_argument(resolver: &mut Resolver<'_>, arg: Typed, span: Span) -> Result<(Typed, DataType)> {
    use DataType as T;
    Ok(match arg.data_type.clone() {
        T::Decimal { precision, scale } => (arg, bounded(i32::from(precision) + 4, i32::from(scale) + 4)),
        t if is_numeric(&t) || is_string(&t) || t == T::Null => (resolver.implicit_cast(arg, &T::Double, span)?, T::Double),
        T::YearMonthInterval { .. } => (arg, T::YEAR_MONTH),
        T::DayTimeInterval { .. } => (arg, T::DAY_TIME),
        _ => return Err(wrong("avg", &arg, "a number", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", span)),
    })
}

/// What percentiles are taken of: numbers as doubles, intervals as they are.
fn percentile_argument(resolver: &mut Resolver<'_>, arg: Typed, span: Span) -> Result<(Typed, DataType)> {
    Ok(match arg.data_type {
        DataType::YearMonthInterval { .. } => (arg, DataType::YEAR_MONTH),
        DataType::DayTimeInterval { .. } => (arg, DataType::DAY_TIME),
        _ => (resolver.implicit_cast(arg, &DataType::Double, span)?, DataType::Double),
    })
}

/// `count(a, b)` counts rows in which neither is null.
fn counted(first: Typed, rest: &[Typed]) -> Result<DfExpr> {
    if rest.is_empty() {
        return Ok(first.expr);
    }
    let mut known = DfExpr::IsNotNull(Box::new(first.expr.clone()));
    let mut fields = vec![lit("0"), first.expr];
    for (idx, arg) in rest.iter().enumerate() {
        known = known.and(DfExpr::IsNotNull(Box::new(arg.expr.clone())));
        fields.push(lit((idx + 1).to_string()));
        fields.push(arg.expr.clone());
    }
    let row = super::kernel_call("named_struct", fields)?;
    Ok(DfExpr::Case(Case::new(None, vec![(Box::new(known), Box::new(row))], None)))
}

/// Collecting nothing gives an empty array, not NULL.
fn empty_for_null(_: &mut Resolver<'_>, typed: Typed, _: Span) -> Result<Typed> {
    let arrow = arrow_type(&typed.data_type)?;
    let empty = datafusion::common::scalar::ScalarValue::new_default(&arrow)?;
    let value = datafusion::logical_expr::cast(typed.expr.clone(), arrow);
    let case = Case::new(
        None,
        vec![(Box::new(DfExpr::IsNull(Box::new(typed.expr.clone()))), Box::new(DfExpr::Literal(empty, None)))],
        Some(Box::new(value)),
    );
    Ok(Typed { expr: DfExpr::Case(case), nullable: false, ..typed })
}

pub(crate) fn sort_exprs(order: Vec<(Typed, bool, bool)>) -> Vec<SortExpr> {
    order.into_iter().map(|(typed, ascending, nulls_first)| SortExpr::new(typed.expr, ascending, nulls_first)).collect()
}

fn call_text(shown: &str, kind: Kind, parts: &Parts) -> String {
    // The flag that skips nulls does not show.
    let n_shown = if matches!(kind, Kind::Pick | Kind::Mode) { 1 } else { usize::MAX };
    let names: Vec<&str> = parts.args.iter().take(n_shown).map(|arg| arg.name.as_str()).collect();
    let distinct = if parts.is_distinct { "DISTINCT " } else { "" };
    // With an order string_agg() shows as what it is another name of.
    let shown = if kind == Kind::StringAgg && !parts.order.is_empty() { "listagg" } else { shown };
    let mut out = format!("{shown}({distinct}{})", names.join(", "));
    match (kind, parts.args.as_slice(), parts.order.first()) {
        // Spark shows the order in which the wanted mode is the last one.
        (Kind::Mode, _, Some((key, ascending, _))) => {
            out = format!("{shown}() WITHIN GROUP (ORDER BY {}{})", key.name, if *ascending { " DESC" } else { "" });
        }
        (Kind::Mode, [value, flag], None) if matches!(flag.literal(), Some(ScalarValue::Boolean(Some(true)))) => {
            out = format!("{shown}() WITHIN GROUP (ORDER BY {} DESC)", value.name);
        }
        (Kind::PercentileWithin | Kind::ApproxPercentile, _, Some((key, ascending, _))) => {
            out.push_str(&format!(" WITHIN GROUP (ORDER BY {}{})", key.name, if *ascending { "" } else { " DESC" }));
        }
        _ => {}
    }
    if kind == Kind::PercentileApprox && parts.args.len() == 2 {
        out.insert_str(out.len() - 1, ", 10000");
    }
    if kind == Kind::StringAgg && parts.args.len() == 1 {
        out.insert_str(out.len() - 1, ", NULL");
    }
    if !parts.order.is_empty() && kind == Kind::StringAgg {
        let keys: Vec<String> = parts
            .order
            .iter()
            .map(|(key, ascending, first)| {
                format!("{} {} NULLS {}", key.name, if *ascending { "ASC" } else { "DESC" }, if *first { "FIRST" } else { "LAST" })
            })
            .collect();
        out.push_str(&format!(" WITHIN GROUP (ORDER BY {})", keys.join(", ")));
    }
    if kind == Kind::Percentile {
        out.insert_str(out.len() - 1, ", 1");
    }
    if let Some(filter) = &parts.filter {
        out.push_str(&format!(" FILTER (WHERE {})", filter.name));
    }
    out
}

fn check_arity(name: &str, kind: Kind, n_args: usize, span: Span) -> Result<()> {
    let (min, max) = match kind {
        Kind::Count => (1, usize::MAX),
        Kind::Pick | Kind::ApproxCountDistinct | Kind::StringAgg => (1, 2),
        Kind::Percentile => (2, 2),
        Kind::Mode => (0, 2),
        Kind::PercentileApprox => (2, 3),
        Kind::DoublePair | Kind::ExtremeBy | Kind::NthValue => (2, 2),
        Kind::ApproxPercentile => (1, 4),
        _ => (1, 1),
    };
    if (min..=max).contains(&n_args) {
        return Ok(());
    }
    let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
    Err(AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{name}() takes {wanted} arguments, not {n_args}"), span))
}

fn wrong(name: &str, arg: &Typed, wanted: &str, class: &'static str, span: Span) -> AnalysisError {
    AnalysisError::invalid(class, format!("{name}() wants {wanted}, but '{}' is of type {}", arg.name, arg.data_type.sql()), span)
}
