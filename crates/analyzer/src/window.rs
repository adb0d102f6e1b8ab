//! Window functions: `f(...) OVER (PARTITION BY ... ORDER BY ... frame)`.

use datafusion::common::ScalarValue;
use datafusion::functions_window as dfw;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr as DfExpr, SortExpr, WindowFrame as DfFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, cast, lit,
};
use millstream_functions::aggregate::in_frames;
use millstream_sql::Span;
use millstream_sql::ir::{
    DataType, Expr, FrameBound, FrameUnits, NullOrdering, SortDirection, UnresolvedFunction, WindowFrame, WindowSpec,
};

use crate::error::{AnalysisError, Result};
use crate::expr::{Collect, ExprCx, IN_AGGREGATE, Typed, call_text};
use crate::registry::aggregates::NTH_VALUE;
use crate::resolver::Resolver;
use crate::types::arrow_type;

/// Aggregates that Spark offers over whole partitions only.
const WHOLE_PARTITION: [&str; 3] = ["median", "percentile_cont", "percentile_disc"];

/// A function, before its window.
struct Function {
    definition: WindowFunctionDefinition,
    args: Vec<DfExpr>,
    distinct: bool,
    filter: Option<Box<DfExpr>>,
    nulls: Option<datafusion::logical_expr::expr::NullTreatment>,
    typed: Typed,
    after: Option<crate::registry::aggregates::After>,
    /// Ranking functions have a frame of their own, which only shows in the name.
    is_ranking: bool,
    /// The frame that Spark shows for functions whose frame cannot be chosen.
    frame_text: Option<String>,
    cast_to: Option<arrow::datatypes::DataType>,
}

impl Resolver<'_> {
    /// A call with `OVER`.
    pub(crate) fn window_call(&mut self, cx: &mut ExprCx, function: &Expr, spec: &WindowSpec, span: Span) -> Result<Typed> {
        if let Collect::Refused(clause) = cx.windows {
            let class = match clause {
                "WHERE" | "HAVING" => "WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE",
                IN_AGGREGATE => "_LEGACY_ERROR_TEMP_1031",
                _ => "UNSUPPORTED_EXPR_FOR_OPERATOR",
            };
            return Err(AnalysisError::invalid(class, format!("a window function cannot be used in {clause}"), span));
        }
        let Expr::UnresolvedFunction(call) = function else {
            return Err(AnalysisError::invalid("UNSUPPORTED_EXPR_FOR_WINDOW", "OVER must follow a function", span));
        };
        let spec = self.named_window(spec, span)?;
        let (typed, after, cast_to) = self.window_typed(cx, call, &spec, span)?;
        let mut windows = std::mem::replace(&mut cx.windows, Collect::Refused(""));
        let column = windows.add(self, typed);
        cx.windows = windows;
        let mut column = column.map_err(|_| AnalysisError::internal("a window function where none is legal"))?;
        if let Some(arrow) = cast_to {
            column.expr = cast(column.expr, arrow);
        }
        match after {
            Some(after) => after(self, column, span),
            None => Ok(column),
        }
    }

    fn window_typed(
        &mut self,
        cx: &mut ExprCx,
        call: &UnresolvedFunction,
        spec: &WindowSpec,
        span: Span,
    ) -> Result<(Typed, Option<crate::registry::aggregates::After>, Option<arrow::datatypes::DataType>)> {
        let partition = self.exprs(cx, &spec.partition_by)?;
        let mut order = vec![];
        for key in &spec.order_by {
            let typed = self.expr(cx, &key.expr)?;
            order.push((typed, key.direction == SortDirection::Ascending, key.nulls == NullOrdering::First));
        }
        let function = self.window_function(cx, call, span)?;
        let is_framed = !order.is_empty() || spec.frame.is_some();
        if is_framed && WHOLE_PARTITION.contains(&call.name.to_lowercase().as_str()) {
            return Err(AnalysisError::invalid(
                "INVALID_WINDOW_SPEC_FOR_AGGREGATION_FUNC",
                format!("{}() is of a whole partition: its window takes neither ORDER BY nor a frame", call.name),
                span,
            ));
        }
        if function.is_ranking && order.is_empty() {
            return Err(AnalysisError::invalid(
                "WINDOW_FUNCTION_AND_FRAME_MISMATCH",
                format!("the window function {}() needs ORDER BY in its window", call.name),
                span,
            ));
        }
        let (frame, frame_text) = self.frame(cx, spec.frame.as_ref(), !order.is_empty(), function.is_ranking, &order, span)?;
        let mut inside = vec![];
        if !partition.is_empty() {
            let names: Vec<&str> = partition.iter().map(|key| key.name.as_str()).collect();
            inside.push(format!("PARTITION BY {}", names.join(", ")));
        }
        if !order.is_empty() {
            let names: Vec<String> = order
                .iter()
                .map(|(key, ascending, first)| {
                    let direction = if *ascending { "ASC" } else { "DESC" };
                    let nulls = if *first { "FIRST" } else { "LAST" };
                    format!("{} {direction} NULLS {nulls}", key.name)
                })
                .collect();
            inside.push(format!("ORDER BY {}", names.join(", ")));
        }
        inside.push(function.frame_text.clone().unwrap_or(frame_text));
        let shown = format!("{} OVER ({})", function.typed.name, inside.join(" "));
        let params = WindowFunctionParams {
            args: function.args,
            partition_by: partition.into_iter().map(|key| key.expr).collect(),
            order_by: order.into_iter().map(|(key, ascending, first)| SortExpr::new(key.expr, ascending, first)).collect(),
            window_frame: frame,
            filter: function.filter,
            null_treatment: function.nulls,
            distinct: function.distinct,
        };
        let expr = DfExpr::WindowFunction(Box::new(WindowFunction { fun: function.definition, params }));
        let typed = Typed { expr, ..function.typed }.named(shown);
        Ok((typed, function.after, function.cast_to))
    }

    fn window_function(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction, span: Span) -> Result<Function> {
        let name = call.name.to_lowercase();
        if crate::registry::is_aggregate(&name) && name != NTH_VALUE {
            if call.is_distinct {
                return Err(AnalysisError::invalid(
                    "DISTINCT_WINDOW_FUNCTION_UNSUPPORTED",
                    format!("DISTINCT in {}() cannot be used over a window", call.name),
                    span,
                ));
            }
            let (typed, after) = self.aggregate_over_rows(cx, &name, call)?;
            let DfExpr::AggregateFunction(aggregate) = typed.expr.clone() else {
                return Err(AnalysisError::internal("an aggregate that is none"));
            };
            return Ok(Function {
                definition: WindowFunctionDefinition::AggregateUDF(in_frames(aggregate.func)),
                args: aggregate.params.args,
                distinct: aggregate.params.distinct,
                filter: aggregate.params.filter,
                nulls: aggregate.params.null_treatment,
                typed,
                after,
                is_ranking: false,
                frame_text: None,
                cast_to: None,
            });
        }
        if !crate::registry::is_window_only(&name) && name != NTH_VALUE {
            return Err(AnalysisError::invalid(
                "UNSUPPORTED_EXPR_FOR_WINDOW",
                format!("{}() is neither an aggregate nor a window function", call.name),
                span,
            ));
        }
        let args = self.exprs(cx, &call.args)?;
        let frame_text = shown_frame(&name, args.get(1));
        let (definition, data_type, args, shown) = self.ranking(&name, args, span)?;
        let cast_to = match data_type {
            DataType::Int => Some(arrow_type(&DataType::Int)?),
            _ => None,
        };
        let nulls = call.ignore_nulls.then_some(datafusion::logical_expr::expr::NullTreatment::IgnoreNulls);
        let nullable = matches!(name.as_str(), "lag" | "lead" | "nth_value");
        Ok(Function {
            definition,
            args,
            distinct: false,
            filter: None,
            nulls,
            typed: Typed::new(lit(ScalarValue::Null), data_type, nullable, shown),
            after: None,
            is_ranking: name != "nth_value",
            frame_text,
            cast_to,
        })
    }

    fn ranking(
        &mut self,
        name: &str,
        mut args: Vec<Typed>,
        span: Span,
    ) -> Result<(WindowFunctionDefinition, DataType, Vec<DfExpr>, String)> {
        let mut shown = match name {
            "rank" | "dense_rank" | "percent_rank" => format!("{}()", name.to_uppercase()),
            _ => call_text(name, &args),
        };
        let simple = |udwf| WindowFunctionDefinition::WindowUDF(udwf);
        let arity = |n: usize, args: &[Typed]| match args.len() == n {
            true => Ok(()),
            false => Err(AnalysisError::invalid(
                "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                format!("{name}() takes {n} arguments, not {}", args.len()),
                span,
            )),
        };
        let (definition, data_type) = match name {
            "row_number" => (simple(dfw::row_number::row_number_udwf()), DataType::Int),
            "rank" => (simple(dfw::rank::rank_udwf()), DataType::Int),
            "dense_rank" => (simple(dfw::rank::dense_rank_udwf()), DataType::Int),
            "percent_rank" => (simple(dfw::rank::percent_rank_udwf()), DataType::Double),
            "cume_dist" => (simple(dfw::cume_dist::cume_dist_udwf()), DataType::Double),
            "ntile" => {
                arity(1, &args)?;
                args = vec![self.implicit_cast(args.remove(0), &DataType::Long, span)?];
                (simple(dfw::ntile::ntile_udwf()), DataType::Int)
            }
            "nth_value" => {
                arity(2, &args)?;
                let data_type = args.first().map_or(DataType::Null, |value| value.data_type.clone());
                let n = self.implicit_cast(args.remove(1), &DataType::Long, span)?;
                args.push(Typed { expr: DfExpr::Literal(self.evaluate(&n, span)?, None), ..n });
                (simple(dfw::nth_value::nth_value_udwf()), data_type)
            }
            "lag" | "lead" => {
                if args.is_empty() || args.len() > 3 {
                    arity(3, &args)?;
                }
                let value = args.remove(0);
                let data_type = value.data_type.clone();
                let offset = if args.is_empty() { Typed::new(lit(1), DataType::Int, false, "1") } else { args.remove(0) };
                let default =
                    if args.is_empty() { Typed::new(lit(ScalarValue::Null), DataType::Null, true, "NULL") } else { args.remove(0) };
                shown = call_text(name, &[value.clone(), offset.clone(), default.clone()]);
                let offset = self.implicit_cast(offset, &DataType::Long, span)?;
                let default = self.implicit_cast(default, &data_type, span)?;
                let offset = Typed { expr: DfExpr::Literal(self.evaluate(&offset, span)?, None), ..offset };
                let default = Typed { expr: DfExpr::Literal(self.evaluate(&default, span)?, None), ..default };
                args = vec![value, offset, default];
                (simple(if name == "lag" { dfw::lead_lag::lag_udwf() } else { dfw::lead_lag::lead_udwf() }), data_type)
            }
            _ => return Err(AnalysisError::unsupported(format!("the window function {name}()"), span)),
        };
        match name {
            "row_number" | "cume_dist" => arity(0, &args)?,
            // Spark takes what is ranked as arguments too, and looks at the window's order only.
            "rank" | "dense_rank" | "percent_rank" => args.clear(),
            _ => {}
        }
        Ok((definition, data_type, args.into_iter().map(|arg| arg.expr).collect(), shown))
    }

    /// The window a name refers to.
    fn named_window(&self, spec: &WindowSpec, span: Span) -> Result<WindowSpec> {
        let Some(name) = &spec.name else { return Ok(spec.clone()) };
        let case = self.name_case();
        let found = self.windows.iter().rev().flatten().find(|(known, _)| case.same(&known.name, &name.name));
        match found {
            Some((_, definition)) => self.named_window(definition, span),
            None => Err(AnalysisError::invalid("MISSING_WINDOW_SPECIFICATION", format!("the window '{}' is not defined", name.name), span)),
        }
    }

    fn frame(
        &mut self,
        cx: &mut ExprCx,
        frame: Option<&WindowFrame>,
        is_ordered: bool,
        is_ranking: bool,
        order: &[(Typed, bool, bool)],
        span: Span,
    ) -> Result<(DfFrame, String)> {
        let unbounded = || WindowFrameBound::Preceding(ScalarValue::Null);
        let Some(frame) = frame else {
            return Ok(match (is_ranking, is_ordered) {
                (true, _) => (
                    DfFrame::new_bounds(WindowFrameUnits::Rows, unbounded(), WindowFrameBound::CurrentRow),
                    "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
                ),
                (false, true) => (
                    DfFrame::new_bounds(WindowFrameUnits::Range, unbounded(), WindowFrameBound::CurrentRow),
                    "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
                ),
                (false, false) => (
                    DfFrame::new_bounds(WindowFrameUnits::Rows, unbounded(), WindowFrameBound::Following(ScalarValue::Null)),
                    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING".to_owned(),
                ),
            });
        };
        let (units, word) = match frame.units {
            FrameUnits::Rows => (WindowFrameUnits::Rows, "ROWS"),
            FrameUnits::Range => (WindowFrameUnits::Range, "RANGE"),
        };
        let key_type = match (units, order) {
            (WindowFrameUnits::Range, [(key, ..)]) => Some(key.data_type.clone()),
            _ => None,
        };
        let (start, start_text) = self.bound(cx, &frame.start, key_type.as_ref(), span)?;
        let (end, end_text) = self.bound(cx, &frame.end, key_type.as_ref(), span)?;
        Ok((DfFrame::new_bounds(units, start, end), format!("{word} BETWEEN {start_text} AND {end_text}")))
    }

    fn bound(&mut self, cx: &mut ExprCx, bound: &FrameBound, key: Option<&DataType>, span: Span) -> Result<(WindowFrameBound, String)> {
        Ok(match bound {
            FrameBound::UnboundedPreceding => (WindowFrameBound::Preceding(ScalarValue::Null), "UNBOUNDED PRECEDING".to_owned()),
            FrameBound::UnboundedFollowing => (WindowFrameBound::Following(ScalarValue::Null), "UNBOUNDED FOLLOWING".to_owned()),
            FrameBound::CurrentRow => (WindowFrameBound::CurrentRow, "CURRENT ROW".to_owned()),
            FrameBound::Preceding(n) => {
                let (value, text) = self.bound_value(cx, n, key, span)?;
                (WindowFrameBound::Preceding(value), format!("{text} PRECEDING"))
            }
            FrameBound::Following(n) => {
                let (value, text) = self.bound_value(cx, n, key, span)?;
                (WindowFrameBound::Following(value), format!("{text} FOLLOWING"))
            }
        })
    }

    fn bound_value(&mut self, cx: &mut ExprCx, n: &Expr, key: Option<&DataType>, span: Span) -> Result<(ScalarValue, String)> {
        let typed = self.expr(cx, n)?;
        let text = typed.name.clone();
        let typed = match key {
            // The distance is counted in the key's own type.
            Some(key) if crate::coerce::is_numeric(key) => self.implicit_cast(typed, key, span)?,
            Some(_) => typed,
            None => {
                let typed = self.implicit_cast(typed, &DataType::Long, span)?;
                return match self.evaluate(&typed, span)? {
                    ScalarValue::Int64(Some(n)) if n >= 0 => Ok((ScalarValue::UInt64(Some(n.unsigned_abs())), text)),
                    other => Err(AnalysisError::unsupported(format!("a frame bound of {other} rows"), span)),
                };
            }
        };
        Ok((self.evaluate(&typed, span)?, text))
    }
}

/// The frame in the name of `lag`, `lead` and `cume_dist`.
fn shown_frame(name: &str, offset: Option<&Typed>) -> Option<String> {
    let offset = offset.map_or("1", |offset| offset.name.as_str());
    match name {
        "lag" => {
            let negative = offset.strip_prefix('-').map_or_else(|| format!("-{offset}"), str::to_owned);
            Some(format!("ROWS BETWEEN {negative} FOLLOWING AND {negative} FOLLOWING"))
        }
        "lead" => Some(format!("ROWS BETWEEN {offset} FOLLOWING AND {offset} FOLLOWING")),
        "cume_dist" => Some("RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned()),
        _ => None,
    }
}
