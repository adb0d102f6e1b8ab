//! `window(time, '10 minutes')`: the window of fixed length that a time falls into, as a struct of start and end.
//!
//! Windows are aligned to 1970-01-01T00:00:00Z, whatever the session's time zone. Only tumbling windows here: a row in
//! several windows is several rows, which is an operator's work.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr as DfExpr, Operator, binary_expr, cast, lit};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, StructField, UnresolvedFunction};

use super::operators::text_arg;
use super::{ExprCx, Typed};
use crate::coerce::is_string;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::types::arrow_type;

/// A window of time that an expression made.
#[derive(Clone, Debug)]
pub(crate) struct TimeWindow {
    /// The struct of start and end.
    pub(crate) typed: Typed,
    /// Rows for which this is null fall into no window.
    pub(crate) time: DfExpr,
}

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
        if slide != length {
            return Err(AnalysisError::unsupported("window() with a slide", span)
                .hint("sliding windows come with event-time state; until then use windows of the slide's length"));
        }
        let time = match time.data_type {
            DataType::Timestamp | DataType::TimestampNtz => time.clone(),
            _ => self.implicit_cast(time.clone(), &DataType::Timestamp, span)?,
        };
        let typed = self.window_struct(&time, length, offset, span)?;
        if !cx.time_windows.iter().any(|known| known.typed.expr == typed.expr) {
            cx.time_windows.push(TimeWindow { typed: typed.clone(), time: time.expr });
        }
        Ok(typed)
    }

    fn window_struct(&mut self, time: &Typed, length: i64, offset: i64, span: Span) -> Result<Typed> {
        let arrow = arrow_type(&time.data_type)?;
        let op = |left: DfExpr, op: Operator, right: i64| binary_expr(left, op, lit(right));
        let micros = cast(time.expr.clone(), arrow::datatypes::DataType::Int64);
        // The remainder of a time before the epoch is negative, so it is lifted once more.
        let since = op(micros.clone(), Operator::Minus, offset);
        let rest = op(op(op(since, Operator::Modulo, length), Operator::Plus, length), Operator::Modulo, length);
        let start = binary_expr(micros, Operator::Minus, rest);
        let end = op(start.clone(), Operator::Plus, length);
        let bound = |micros: DfExpr| Typed::new(cast(micros, arrow.clone()), time.data_type.clone(), time.nullable, "");
        let pairs = vec![text_arg("start"), bound(start), text_arg("end"), bound(end)];
        let fields = ["start", "end"].map(|name| StructField::new(name, time.data_type.clone()));
        let mut typed = self.kernel_typed("named_struct", pairs, span)?.named("window").of(DataType::Struct(fields.to_vec()));
        typed.own_name = Some("window".to_owned());
        typed.nullable = false;
        Ok(typed)
    }

    /// A length of time, written as text or interval, in microseconds.
    fn micros(&mut self, typed: &Typed, span: Span) -> Result<i64> {
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
        let (Some(("window", fields)), [made]) =
            (parts.split_first().map(|(first, rest)| (first.as_str(), rest)), cx.time_windows.as_slice())
        else {
            return Ok(None);
        };
        let mut typed = made.typed.clone();
        for field in fields {
            typed = self.named_field(typed, field, span)?;
        }
        Ok(Some(typed))
    }
}
