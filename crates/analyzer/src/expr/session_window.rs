//! `session_window(time, gap)`: the struct of start and end that one row alone would make, or the session's column where
//! `GROUP BY` joined the rows (see [`crate::plan`]).

use datafusion::common::ScalarValue;
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Literal, UnresolvedFunction};

use super::time_window::struct_of;
use super::{ExprCx, Typed, literal_of};
use crate::coerce::is_string;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;

/// Start and end of the session that one row alone would make.
pub(crate) struct SessionBounds {
    pub(crate) start: Typed,
    pub(crate) end: Typed,
    /// Of which time and with which gap: what tells it from other sessions of the same type.
    pub(crate) meaning: String,
}

impl SessionBounds {
    /// The session.
    pub(crate) fn session(&self) -> Result<Typed> {
        struct_of("session_window", &self.start.data_type, self.start.expr.clone(), self.end.expr.clone())
    }
}

impl Resolver<'_> {
    /// A call of `session_window`.
    pub(crate) fn session_window(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Typed> {
        let bounds = self.session_bounds(cx, call)?;
        if let Some(made) = cx.time_windows.iter().find(|made| made.is_session()) {
            if made.meaning != bounds.meaning {
                let what = format!("'{}' beside '{}' in one GROUP BY", bounds.meaning, made.meaning);
                return Err(AnalysisError::unsupported(what, call.span).hint("group by each in a query of its own"));
            }
            return Ok(made.typed.clone());
        }
        let (start, typed) = (bounds.start.expr.clone(), bounds.session()?);
        // Rows without a time make no session.
        cx.time_windows.push(super::TimeWindow {
            typed: typed.clone(),
            time: start,
            sliding: None,
            windows: None,
            meaning: bounds.meaning,
        });
        Ok(typed)
    }

    /// The arguments of a call.
    pub(crate) fn session_bounds(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<SessionBounds> {
        let span = call.span;
        let args = self.exprs(cx, &call.args)?;
        let Ok([time, gap]) = <[Typed; 2]>::try_from(args) else {
            let message = format!("session_window() takes 2 arguments, not {}", call.args.len());
            return Err(AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message, span));
        };
        let meaning = format!("session_window({}, {})", time.name, gap.name);
        let start = match time.data_type {
            DataType::Timestamp | DataType::TimestampNtz => time,
            // Sessions of windows: by their last moments.
            DataType::Struct(_) => self.window_time(cx, time, span)?,
            _ => self.implicit_cast(time, &DataType::Timestamp, span)?,
        };
        let gap = if gap.is_constant() {
            let micros = self.window_length(&gap, span)?;
            if micros <= 0 {
                return Err(AnalysisError::invalid("CANNOT_PARSE_INTERVAL", "the gap of session_window() must be above 0", span));
            }
            let DataType::DayTimeInterval { start, end } = DataType::DAY_TIME else {
                return Err(AnalysisError::internal("a day-time interval of another type"));
            };
            literal_of(&Literal::DayTimeInterval { micros, start, end }, self.settings())?
        } else if is_string(&gap.data_type) {
            self.cast_with(gap, &DataType::CalendarInterval, "ansi", span)?
        } else {
            gap
        };
        let end = self.arithmetic("+", start.clone(), gap, span)?;
        Ok(SessionBounds { start, end, meaning })
    }

    fn window_length(&mut self, gap: &Typed, span: Span) -> Result<i64> {
        match self.evaluate(gap, span)? {
            ScalarValue::Int64(_) | ScalarValue::Utf8(None) | ScalarValue::Null => {
                let message = format!("'{}' is no length of days, hours or shorter units", gap.name);
                Err(AnalysisError::invalid("CANNOT_PARSE_INTERVAL", message, span))
            }
            _ => self.micros(gap, span),
        }
    }
}
