//! Literals: their Arrow value and the text by which Spark names them.

use std::fmt::Write;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::ir::{CalendarInterval, DataType, DayTimeField, Literal, TypedLiteralKind, YearMonthField};

use super::Typed;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::settings::SessionSettings;

/// A literal with a known value.
pub(crate) fn literal_of(value: &Literal, settings: &SessionSettings) -> Result<Typed> {
    let data_type = value.data_type();
    let (scalar, name) = match value {
        Literal::Null => (ScalarValue::Null, "NULL".to_owned()),
        Literal::Boolean(v) => (ScalarValue::Boolean(Some(*v)), v.to_string()),
        Literal::Byte(v) => (ScalarValue::Int8(Some(*v)), v.to_string()),
        Literal::Short(v) => (ScalarValue::Int16(Some(*v)), v.to_string()),
        Literal::Int(v) => (ScalarValue::Int32(Some(*v)), v.to_string()),
        Literal::Long(v) => (ScalarValue::Int64(Some(*v)), v.to_string()),
        Literal::Float(v) => (ScalarValue::Float32(Some(*v)), float_text(*v)),
        Literal::Double(v) => (ScalarValue::Float64(Some(*v)), double_text(*v)),
        Literal::Decimal { unscaled, precision, scale } => {
            (ScalarValue::Decimal128(Some(*unscaled), *precision, *scale), decimal_text(*unscaled, *scale))
        }
        Literal::String(v) => (ScalarValue::Utf8(Some(v.clone())), v.clone()),
        Literal::Binary(v) => (ScalarValue::Binary(Some(v.clone())), binary_text(v)),
        Literal::Date(days) => {
            let scalar = ScalarValue::Date32(Some(*days));
            let text = text_of(&scalar, &DataType::Date, settings)?;
            (scalar, format!("DATE '{text}'"))
        }
        Literal::Timestamp(micros) => {
            let scalar = ScalarValue::TimestampMicrosecond(Some(*micros), Some("UTC".into()));
            let text = text_of(&scalar, &DataType::Timestamp, settings)?;
            (scalar, format!("TIMESTAMP '{text}'"))
        }
        Literal::TimestampNtz(micros) => {
            let scalar = ScalarValue::TimestampMicrosecond(Some(*micros), None);
            let text = text_of(&scalar, &DataType::TimestampNtz, settings)?;
            (scalar, format!("TIMESTAMP_NTZ '{text}'"))
        }
        Literal::YearMonthInterval { months, start, end } => {
            (ScalarValue::IntervalYearMonth(Some(*months)), year_month_text(*months, *start, *end))
        }
        Literal::DayTimeInterval { micros, start, end } => {
            (ScalarValue::DurationMicrosecond(Some(*micros)), day_time_text(*micros, *start, *end))
        }
        Literal::CalendarInterval(interval) => (calendar_scalar(*interval)?, calendar_text(*interval)),
        _ => return Err(AnalysisError::unsupported("this kind of literal", Span::NONE)),
    };
    let nullable = scalar.is_null();
    Ok(Typed::new(DfExpr::Literal(scalar, None), data_type, nullable, name))
}

impl Resolver<'_> {
    /// `DATE '...'` and its like.
    pub(crate) fn typed_literal(&mut self, kind: TypedLiteralKind, text: &str, span: Span) -> Result<Typed> {
        let (word, data_type) = match kind {
            TypedLiteralKind::Date => ("DATE", DataType::Date),
            TypedLiteralKind::Timestamp | TypedLiteralKind::TimestampLtz => ("TIMESTAMP", DataType::Timestamp),
            TypedLiteralKind::TimestampNtz => ("TIMESTAMP_NTZ", DataType::TimestampNtz),
            TypedLiteralKind::Time => return Err(AnalysisError::unsupported("the type TIME", span)),
            _ => return Err(AnalysisError::unsupported("this kind of literal", span)),
        };
        // Special values such as 'now' are not literals here: they would freeze a stream's clock.
        let source = Typed::new(DfExpr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None), DataType::String, false, text);
        let invalid =
            || AnalysisError::invalid("INVALID_TYPED_LITERAL", format!("the value of the typed literal {word} '{text}' is invalid"), span);
        let value = self.evaluate(&self.cast_with(source, &data_type, "try", span)?, span).map_err(|_| invalid())?;
        if value.is_null() {
            return Err(invalid());
        }
        let shown = text_of(&value, &data_type, self.settings())?;
        Ok(Typed::new(DfExpr::Literal(value, None), data_type, false, format!("{word} '{shown}'")))
    }
}

/// A value as `CAST(value AS STRING)` shows it.
fn text_of(value: &ScalarValue, data_type: &DataType, settings: &SessionSettings) -> Result<String> {
    let literal = DfExpr::Literal(value.clone(), None);
    let expr = super::cast::cast_call(literal, &DataType::String, data_type, "ansi", &settings.time_zone)?;
    match crate::constant::evaluate(&expr)? {
        ScalarValue::Utf8(Some(text)) => Ok(text),
        other => Err(AnalysisError::internal(format!("a cast to STRING gave {other}"))),
    }
}

fn calendar_scalar(interval: CalendarInterval) -> Result<ScalarValue> {
    let nanos = interval
        .micros
        .checked_mul(1000)
        .ok_or_else(|| AnalysisError::invalid("ARITHMETIC_OVERFLOW", "the interval is too long", Span::NONE))?;
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(interval.months, interval.days, nanos))))
}

fn binary_text(bytes: &[u8]) -> String {
    let mut out = String::from("X'");
    for byte in bytes {
        let _ = write!(out, "{byte:02X}");
    }
    out.push('\'');
    out
}

/// All digits, with the point where the scale says.
pub(crate) fn decimal_text(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    let Some(scale) = usize::try_from(scale).ok().filter(|scale| *scale > 0) else {
        return format!("{sign}{digits}");
    };
    // Java's BigDecimal leaves the plain form when the first digit is more than six places behind the point.
    if scale + 1 > digits.len() + 6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E-{}", scale + 1 - digits.len());
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// A double as Java prints it: `1.0`, `1.0E10`, `NaN`, `Infinity`.
pub(crate) fn double_text(value: f64) -> String {
    java_text(value, &format!("{value:e}"))
}

fn float_text(value: f32) -> String {
    java_text(f64::from(value), &format!("{value:e}"))
}

/// `shortest` is Rust's shortest scientific form, `d.ddde-N`.
fn java_text(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}E{exponent}");
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole_len = usize::try_from(exponent).unwrap_or(0) + 1;
    let padded = format!("{digits:0<whole_len$}");
    let (whole, fraction) = padded.split_at(whole_len);
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    format!("{sign}{whole}.{fraction}")
}

fn year_month_text(months: i32, start: YearMonthField, end: YearMonthField) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let abs = months.unsigned_abs();
    match (start, end) {
        (YearMonthField::Year, YearMonthField::Year) => format!("INTERVAL '{sign}{}' YEAR", abs / 12),
        (YearMonthField::Month, _) => format!("INTERVAL '{sign}{abs}' MONTH"),
        _ => format!("INTERVAL '{sign}{}-{}' YEAR TO MONTH", abs / 12, abs % 12),
    }
}

fn day_time_text(micros: i64, start: DayTimeField, end: DayTimeField) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let abs = micros.unsigned_abs();
    let fraction = abs % 1_000_000;
    let seconds = abs / 1_000_000;
    let second_text = |seconds: u64, padded: bool| {
        let whole = if padded { format!("{seconds:02}") } else { seconds.to_string() };
        if fraction == 0 { whole } else { format!("{whole}.{}", format!("{fraction:06}").trim_end_matches('0')) }
    };
    use DayTimeField as F;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    let value = match (start, end) {
        (F::Day, F::Day) => days.to_string(),
        (F::Day, F::Hour) => format!("{days} {:02}", hours % 24),
        (F::Day, F::Minute) => format!("{days} {:02}:{:02}", hours % 24, minutes % 60),
        (F::Day, F::Second) => format!("{days} {:02}:{:02}:{}", hours % 24, minutes % 60, second_text(seconds % 60, true)),
        (F::Hour, F::Hour) => format!("{hours:02}"),
        (F::Hour, F::Minute) => format!("{hours:02}:{:02}", minutes % 60),
        (F::Hour, _) => format!("{hours:02}:{:02}:{}", minutes % 60, second_text(seconds % 60, true)),
        (F::Minute, F::Minute) => format!("{minutes:02}"),
        (F::Minute, _) => format!("{minutes:02}:{}", second_text(seconds % 60, true)),
        (F::Second, _) => second_text(seconds, true),
    };
    let qualifier = if start == end { start.to_string() } else { format!("{start} to {end}") };
    format!("INTERVAL '{sign}{value}' {}", qualifier.to_uppercase())
}

fn calendar_text(interval: CalendarInterval) -> String {
    let mut parts = vec![];
    let mut push = |n: i64, unit: &str| {
        if n != 0 {
            parts.push(format!("{n} {unit}"));
        }
    };
    push(i64::from(interval.months / 12), "years");
    push(i64::from(interval.months % 12), "months");
    push(i64::from(interval.days), "days");
    push(interval.micros / 3_600_000_000, "hours");
    push(interval.micros / 60_000_000 % 60, "minutes");
    let rest = interval.micros % 60_000_000;
    if rest != 0 {
        let sign = if rest < 0 { "-" } else { "" };
        let abs = rest.unsigned_abs();
        let fraction = abs % 1_000_000;
        let text = if fraction == 0 { String::new() } else { format!(".{}", format!("{fraction:06}").trim_end_matches('0')) };
        parts.push(format!("{sign}{}{text} seconds", abs / 1_000_000));
    }
    if parts.is_empty() { "INTERVAL '0 seconds'".to_owned() } else { format!("INTERVAL '{}'", parts.join(" ")) }
}
