//! `window(time, '10 minutes')`: the window of fixed length that a time falls into, as a struct of start and end.
//!
//! Windows are aligned to 1970-01-01T00:00:00Z, whatever the session's time zone. A row in several windows (windows that
//! slide by less than their length) is several rows: the plan below unnests a list of its windows.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan, Operator, ScalarUDF, binary_expr, cast, lit};
use millstream_core::TimeWindows;
use millstream_functions::datetime::WINDOWS_OF;
use millstream_sql::Span;
use millstream_sql::ir::{DataType, StructField, UnresolvedFunction};

use super::{ExprCx, Typed};
use crate::coerce::is_string;
use crate::error::{AnalysisError, Result};
use crate::plan::{projection, unnest};
use crate::registry::{bounds, field, kernel_call};
use crate::resolver::Resolver;
use crate::scope::{column, plan_name};
use crate::types::arrow_type;

/// A window of time that an expression made.
#[derive(Clone, Debug)]
pub(crate) struct TimeWindow {
    /// The struct of start and end.
    pub(crate) typed: Typed,
    /// Rows for which this is null fall into no window.
    pub(crate) time: DfExpr,
    /// The windows of one row, when there may be several.
    pub(crate) sliding: Option<Sliding>,
    /// How long and how often, if all have one length.
    pub(crate) windows: Option<TimeWindows>,
    /// Of which time, how long, how often and from where: what tells it from other windows of the same type.
    pub(crate) meaning: String,
}

impl TimeWindow {
    /// Whether it is the session of rows that `GROUP BY` joins, and not a window of fixed length.
    pub(crate) fn is_session(&self) -> bool {
        self.typed.own_name.as_deref() == Some("session_window")
    }
}

/// The windows that one time falls into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sliding {
    /// The column of one window, after unnesting.
    pub(crate) id: u64,
    /// The list of windows that hold the time.
    pub(crate) windows: DfExpr,
    /// A column that says whether the window is the latest one that holds the time, over the unnested column: true for one
    /// row of each that was unnested.
    pub(crate) is_latest: (u64, DfExpr),
}

impl Sliding {
    /// The rows with a row for each window that holds their time; with `says_latest` a column says which is the latest.
    pub(crate) fn expanded(&self, plan: LogicalPlan, says_latest: bool) -> Result<LogicalPlan> {
        let columns = |plan: &LogicalPlan| plan.schema().columns().into_iter().map(DfExpr::Column).collect::<Vec<_>>();
        let mut exprs = columns(&plan);
        exprs.push(self.windows.clone().alias(plan_name(self.id)));
        let plan = unnest(projection(exprs, plan)?, std::iter::once(self.id), false)?;
        if !says_latest {
            return Ok(plan);
        }
        // A row that comes too late for all its windows is one late row.
        let (id, is_latest) = &self.is_latest;
        let mut exprs = columns(&plan);
        exprs.push(is_latest.clone().alias(plan_name(*id)));
        projection(exprs, plan)
    }
}

/// Whether the function makes the list of windows that hold a time: of its first argument, with length, slide and offset in
/// microseconds as the others.
pub fn lists_windows(function: &ScalarUDF) -> bool {
    millstream_functions::scalar(WINDOWS_OF).is_some_and(|def| def.udf_name() == function.name())
}

/// Most windows that one time may fall into: where a row becomes one for each of them, they are in memory together.
const OVERLAP_MAX: i64 = 10_000_000;

impl Resolver<'_> {
    /// A call of `window`.
    pub(crate) fn time_window(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let args = self.exprs(cx, &call.args)?;
        let (time, length, slide, offset) = match args.as_slice() {
            [time, length] => (time, length, None, None),
            [time, length, slide] => (time, length, Some(slide), None),
            [time, length, slide, offset] => (time, length, Some(slide), Some(offset)),
            _ => {
                return Err(AnalysisError::invalid(
                    "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                    format!("window() takes 2 to 4 arguments, not {}", args.len()),
                    span,
                ));
            }
        };
        let length = self.micros(length, span)?;
        let slide = slide.map_or(Ok(length), |slide| self.micros(slide, span))?;
        let offset = offset.map_or(Ok(0), |offset| self.micros(offset, span))?;
        if length <= 0 || slide <= 0 || slide > length || offset.abs() >= slide {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION",
                "window() needs a length above 0, a slide of at most the length and a start time below the slide",
                span,
            ));
        }
        let time = match time.data_type {
            DataType::Timestamp | DataType::TimestampNtz => time.clone(),
            // Windows of windows: by their last moments.
            DataType::Struct(_) => self.window_time(cx, time.clone(), span)?,
            _ => self.implicit_cast(time.clone(), &DataType::Timestamp, span)?,
        };
        let (typed, sliding) = match slide == length {
            true => (window_of(&time, length, slide, offset)?, None),
            false => self.sliding_window(cx, &time, length, slide, offset, span)?,
        };
        let meaning = format!("window({}, {length} us, {slide} us, {offset} us)", time.name);
        cx.carry_event_time(&time.expr, &typed.expr);
        if !cx.time_windows.iter().any(|known| known.typed.expr == typed.expr) {
            if !cx.time_windows.is_empty() && !cx.takes_several_windows {
                let message = "several different windows of time would multiply the rows, which only GROUP BY may ask for";
                return Err(AnalysisError::invalid("_LEGACY_ERROR_TEMP_1039", message, span));
            }
            cx.time_windows.push(TimeWindow {
                typed: typed.clone(),
                time: time.expr,
                sliding,
                windows: TimeWindows::new(length, slide, offset),
                meaning,
            });
        }
        Ok(typed)
    }

    /// The column of one of several windows; the same call is the same column.
    fn sliding_window(
        &mut self,
        cx: &ExprCx,
        time: &Typed,
        length: i64,
        slide: i64,
        offset: i64,
        span: Span,
    ) -> Result<(Typed, Option<Sliding>)> {
        let windows = TimeWindows::new(length, slide, offset);
        if let Some(known) = cx.time_windows.iter().find(|known| known.time == time.expr && known.windows == windows) {
            return Ok((known.typed.clone(), known.sliding.clone()));
        }
        if windows.is_none_or(|windows| windows.overlap() > OVERLAP_MAX) {
            let message = format!("more than {OVERLAP_MAX} windows that hold a row");
            return Err(AnalysisError::unsupported(message, span).hint("make the slide longer, or the windows shorter"));
        }
        // The latest window first, as Spark.
        let first = window_of(time, length, slide, offset)?;
        let micros = [length, slide, offset].map(lit);
        let windows = kernel_call(WINDOWS_OF, std::iter::once(time.expr.clone()).chain(micros).collect())?;
        let id = self.next_id();
        let is_latest = field(column(id), "end").eq(field(first.expr.clone(), "end"));
        let is_latest = (self.next_id(), is_latest);
        let typed = Typed { expr: column(id), ..first };
        Ok((typed, Some(Sliding { id, windows, is_latest })))
    }

    /// `window_time(window)`: the last moment that belongs to a window.
    pub(crate) fn window_time(&mut self, cx: &mut ExprCx, window: Typed, span: Span) -> Result<Typed> {
        let shown = format!("window_time({})", window.name);
        let end = match &window.data_type {
            DataType::Struct(fields) => fields.iter().find(|field| field.name == "end").cloned(),
            _ => None,
        };
        let Some(end) = end.filter(|end| matches!(end.data_type, DataType::Timestamp | DataType::TimestampNtz)) else {
            return Err(AnalysisError::invalid(
                "_LEGACY_ERROR_TEMP_3182",
                format!("window_time() wants a window of time, but '{}' is of type {}", window.name, window.data_type.sql()),
                span,
            ));
        };
        let micros = cast(field(window.expr.clone(), "end"), arrow::datatypes::DataType::Int64);
        let last = binary_expr(micros, Operator::Minus, lit(1_i64));
        let typed = Typed::new(cast(last, arrow_type(&end.data_type)?), end.data_type, window.nullable, shown);
        cx.carry_event_time(&window.expr, &typed.expr);
        Ok(typed)
    }

    /// A length of time, written as text or interval, in microseconds.
    pub(super) fn micros(&mut self, typed: &Typed, span: Span) -> Result<i64> {
        let invalid = || {
            AnalysisError::invalid("CANNOT_PARSE_INTERVAL", format!("'{}' is no length of days, hours or shorter units", typed.name), span)
        };
        let value = self.evaluate(typed, span)?;
        match value {
            ScalarValue::Utf8(Some(text)) if is_string(&typed.data_type) => {
                let interval = millstream_sql::parse_interval(&text).map_err(|_| invalid())?;
                if interval.months != 0 {
                    return Err(invalid());
                }
                interval.to_micros_for_delay().ok_or_else(invalid)
            }
            ScalarValue::DurationMicrosecond(Some(micros)) | ScalarValue::Int64(Some(micros)) => Ok(micros),
            _ => Err(invalid()),
        }
    }

    /// `window.start` where the window was made by an expression and not by a column.
    pub(crate) fn made_window(&mut self, cx: &ExprCx, parts: &[String], span: Span) -> Result<Option<Typed>> {
        let Some((first, fields)) = parts.split_first() else { return Ok(None) };
        let is_named = |made: &&TimeWindow| made.typed.own_name.as_deref().is_some_and(|own| self.name_case().same(own, first));
        let mut found = cx.time_windows.iter().filter(is_named);
        let Some(made) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            let message = format!("there are several windows of time that '{first}' may mean");
            return Err(AnalysisError::invalid("AMBIGUOUS_REFERENCE", message, span).hint("write the call itself, as in GROUP BY"));
        }
        let mut typed = made.typed.clone();
        for field in fields {
            typed = self.named_field(typed, field, span)?;
        }
        Ok(Some(typed))
    }
}

/// The latest window that holds the time.
fn window_of(time: &Typed, length: i64, slide: i64, offset: i64) -> Result<Typed> {
    let arrow = arrow_type(&time.data_type)?;
    let op = |left: DfExpr, op: Operator, right: i64| binary_expr(left, op, lit(right));
    let micros = cast(time.expr.clone(), arrow::datatypes::DataType::Int64);
    // The remainder of a time before the epoch is negative, so it is lifted once more.
    let since = op(micros.clone(), Operator::Minus, offset);
    let rest = op(op(op(since, Operator::Modulo, slide), Operator::Plus, slide), Operator::Modulo, slide);
    let start = binary_expr(micros, Operator::Minus, rest);
    let end = op(start.clone(), Operator::Plus, length);
    struct_of("window", &time.data_type, cast(start, arrow.clone()), cast(end, arrow))
}

/// A window, or a session, as a value of its own name.
pub(super) fn struct_of(name: &str, time: &DataType, start: DfExpr, end: DfExpr) -> Result<Typed> {
    let fields = ["start", "end"].map(|name| StructField::new(name, time.clone()));
    let mut typed = Typed::new(bounds(start, end)?, DataType::Struct(fields.to_vec()), false, name);
    typed.own_name = Some(name.to_owned());
    Ok(typed)
}
