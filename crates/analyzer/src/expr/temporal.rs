//! `+`, `-`, `*` and `/` with dates, timestamps and intervals, and the functions that read the batch's clock.

use millstream_sql::Span;
use millstream_sql::ir::{DataType, DayTimeField};

use super::{ExprCx, Typed};
use crate::coerce::{common_type, is_ansi_interval, is_numeric, is_string};
use crate::error::Result;
use crate::resolver::Resolver;

impl Resolver<'_> {
    /// Arithmetic in which a date, timestamp or interval takes part; none when there is neither.
    pub(crate) fn temporal_arithmetic(&mut self, op: &str, left: &Typed, right: &Typed, shown: &str, span: Span) -> Result<Option<Typed>> {
        use DataType as T;
        let bare = || format!("{} {op} {}", left.name, right.name);
        let (l, r) = (left.clone(), right.clone());
        let is_interval = |t: &T| is_ansi_interval(t) || *t == T::CalendarInterval;
        let out = match (op, &left.data_type, &right.data_type) {
            ("+" | "-", T::Date, T::DayTimeInterval { start: DayTimeField::Day, end: DayTimeField::Day }) => {
                let call = if op == "+" { "date_add" } else { "date_sub" };
                let shown = format!("{call}({}, extractansiintervaldays({}))", left.name, right.name);
                self.kernel_typed(if call == "date_add" { "add_interval" } else { "subtract_interval" }, vec![l, r], span)?
                    .named(shown)
                    .of(T::Date)
            }
            ("+", interval, T::Date | T::Timestamp | T::TimestampNtz) if is_interval(interval) => {
                let flipped = self.temporal_arithmetic("+", right, left, shown, span)?;
                return Ok(flipped);
            }
            ("+" | "-", T::Date, T::DayTimeInterval { .. }) => {
                let l = self.implicit_cast(l, &T::Timestamp, span)?;
                self.add_interval(op, l, r, T::Timestamp, bare(), span)?
            }
            ("+" | "-", T::Date, T::YearMonthInterval { .. } | T::CalendarInterval) => {
                self.add_interval(op, l, r, T::Date, bare(), span)?
            }
            ("+" | "-", T::Timestamp | T::TimestampNtz, interval) if is_interval(interval) => {
                let data_type = left.data_type.clone();
                self.add_interval(op, l, r, data_type, bare(), span)?
            }
            ("+" | "-", text, interval) if is_string(text) && is_interval(interval) => {
                let l = self.implicit_cast(l, &T::Timestamp, span)?;
                let sum = self.add_interval(op, l, r, T::Timestamp, bare(), span)?;
                self.implicit_cast(sum, &T::String, span)?
            }
            ("-", T::Date, T::Date) => {
                let days = T::DayTimeInterval { start: DayTimeField::Day, end: DayTimeField::Day };
                self.kernel_typed("subtract_dates", vec![l, r], span)?.named(shown).of(days)
            }
            ("-", T::Timestamp | T::TimestampNtz | T::Date, T::Timestamp | T::TimestampNtz | T::Date) => {
                let Some(common) = common_type(&left.data_type, &right.data_type) else { return Ok(None) };
                let l = self.implicit_cast(l, &common, span)?;
                let r = self.implicit_cast(r, &common, span)?;
                self.kernel_typed("subtract_timestamps", vec![l, r], span)?.named(shown).of(T::DAY_TIME)
            }
            ("-", T::Timestamp | T::TimestampNtz, text) if is_string(text) => {
                let r = self.implicit_cast(r, &left.data_type, span)?;
                self.kernel_typed("subtract_timestamps", vec![l, r], span)?.named(shown).of(T::DAY_TIME)
            }
            ("-", T::Date, text) if is_string(text) => {
                let r = self.implicit_cast(r, &T::Date, span)?;
                let days = T::DayTimeInterval { start: DayTimeField::Day, end: DayTimeField::Day };
                self.kernel_typed("subtract_dates", vec![l, r], span)?.named(shown).of(days)
            }
            ("+" | "-", T::Date, T::Int | T::Short | T::Byte) => {
                let call = if op == "+" { "date_add" } else { "date_sub" };
                let shown = format!("{call}({}, {})", left.name, right.name);
                let r = self.implicit_cast(r, &T::Int, span)?;
                self.kernel_typed(call, vec![l, r], span)?.named(shown).of(T::Date)
            }
            ("+", T::Int | T::Short | T::Byte, T::Date) => return self.temporal_arithmetic("+", right, left, shown, span),
            ("+" | "-", a, b) if is_interval(a) && (is_interval(b) || *b == T::Null) || is_interval(b) && *a == T::Null => {
                let Some(common) = common_type(a, b) else { return Ok(None) };
                let l = self.implicit_cast(l, &common, span)?;
                let r = self.implicit_cast(r, &common, span)?;
                self.kernel_typed(if op == "+" { "add" } else { "subtract" }, vec![l, r], span)?.named(shown).of(common)
            }
            ("*" | "/", a, b) if is_interval(a) && (is_numeric(b) || is_string(b) || *b == T::Null) => {
                let data_type = widened(a);
                self.scale_interval(op, l, r, data_type, shown, span)?
            }
            ("*", a, b) if is_interval(b) && (is_numeric(a) || is_string(a) || *a == T::Null) => {
                let data_type = widened(b);
                self.scale_interval(op, r, l, data_type, shown, span)?
            }
            _ => return Ok(None),
        };
        Ok(Some(out))
    }

    fn add_interval(&mut self, op: &str, l: Typed, r: Typed, data_type: DataType, shown: String, span: Span) -> Result<Typed> {
        let kernel = if op == "+" { "add_interval" } else { "subtract_interval" };
        Ok(self.kernel_typed(kernel, vec![l, r], span)?.named(shown).of(data_type))
    }

    fn scale_interval(&mut self, op: &str, interval: Typed, by: Typed, data_type: DataType, shown: &str, span: Span) -> Result<Typed> {
        let kernel = if op == "*" { "multiply_interval" } else { "divide_interval" };
        let by = match by.data_type {
            DataType::Decimal { .. } | DataType::Double => by,
            DataType::Float => self.implicit_cast(by, &DataType::Double, span)?,
            DataType::Byte | DataType::Short | DataType::Int | DataType::Long => self.implicit_cast(by, &DataType::Long, span)?,
            _ => self.implicit_cast(by, &DataType::Double, span)?,
        };
        Ok(self.kernel_typed(kernel, vec![interval, by], span)?.named(shown).of(data_type))
    }

    /// `current_timestamp()`, `now()`, `current_date`, `localtimestamp()`: the batch's time, never a literal.
    pub(crate) fn clock_function(&mut self, cx: &mut ExprCx, name: &str, span: Span) -> Result<Option<Typed>> {
        let shown = format!("{name}()");
        let now = |resolver: &mut Self, cx: &mut ExprCx| Typed::new(resolver.batch_time(cx), DataType::Timestamp, false, shown.clone());
        let out = match name {
            "current_timestamp" | "now" => now(self, cx),
            "current_date" | "curdate" => {
                let now = now(self, cx);
                self.cast_with(now, &DataType::Date, "ansi", span)?.named("current_date()")
            }
            "localtimestamp" => {
                let now = now(self, cx);
                self.cast_with(now, &DataType::TimestampNtz, "ansi", span)?
            }
            _ => return Ok(None),
        };
        Ok(Some(out))
    }
}

impl Typed {
    /// The same value as a type that its Arrow type cannot tell (fields of an interval).
    pub(crate) fn of(mut self, data_type: DataType) -> Typed {
        self.data_type = data_type;
        self
    }
}

/// The product of an interval has all fields of its family.
fn widened(interval: &DataType) -> DataType {
    match interval {
        DataType::YearMonthInterval { .. } => DataType::YEAR_MONTH,
        DataType::DayTimeInterval { .. } => DataType::DAY_TIME,
        other => other.clone(),
    }
}
