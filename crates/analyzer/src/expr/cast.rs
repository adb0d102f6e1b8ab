//! Casts: those that are written and those that Spark makes by itself. All are explicit in the plan.
//!
//! A cast that cannot change or lose anything is DataFusion's own, which its optimiser understands (join keys,
//! pruning). Every other one is the `cast` kernel, whose target type, mode and time zone are literal arguments.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr as DfExpr};
use millstream_sql::Span;
use millstream_sql::ir::{CastMode, DataType};

use super::Typed;
use crate::coerce::{can_cast, can_cast_implicitly, common_type_of, forces_nullable, is_string, same_type};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::types::arrow_type;

impl Resolver<'_> {
    /// `CAST(x AS t)` and `TRY_CAST`.
    pub(crate) fn explicit_cast(&mut self, typed: Typed, to: &DataType, mode: CastMode, span: Span) -> Result<Typed> {
        let (word, kernel_mode) = match mode {
            CastMode::Session | CastMode::Ansi => ("CAST", "ansi"),
            CastMode::Try => ("TRY_CAST", "try"),
            CastMode::Legacy => ("CAST", "legacy"),
        };
        check_type(to, span)?;
        // Spark leaves casts to nested types out of names.
        let name = match to {
            DataType::Array { .. } | DataType::Map { .. } | DataType::Struct(_) => typed.name.clone(),
            _ => format!("{word}({} AS {})", typed.name, cast_type_name(to)),
        };
        if !can_cast(&typed.data_type, to, mode == CastMode::Try) {
            return Err(cannot_cast(&typed, to, span));
        }
        let own_name = typed.own_name.clone();
        let mut out = self.cast_with(typed, to, kernel_mode, span)?;
        out.nullable |= mode == CastMode::Try;
        out.name = name;
        out.own_name = own_name;
        Ok(out)
    }

    /// The cast that Spark makes by itself where `to` is wanted; keeps the expression's name.
    pub(crate) fn implicit_cast(&mut self, typed: Typed, to: &DataType, span: Span) -> Result<Typed> {
        if !can_cast_implicitly(&typed.data_type, to) {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!("'{}' is of type {}, but {} is needed", typed.name, typed.data_type.sql(), to.sql()),
                span,
            ));
        }
        self.cast_with(typed, to, "ansi", span)
    }

    /// A cast to a type that is known to be possible; keeps the expression's name.
    pub(crate) fn cast_with(&self, typed: Typed, to: &DataType, mode: &str, span: Span) -> Result<Typed> {
        let to = &without_length(to);
        if typed.data_type == *to || (same_type(&typed.data_type, to) && arrow_type(&typed.data_type)? == arrow_type(to)?) {
            return Ok(Typed { data_type: to.clone(), ..typed });
        }
        let nullable = typed.nullable || forces_nullable(&typed.data_type, to);
        let expr = cast_call(typed.expr, to, &typed.data_type, mode, &self.settings().time_zone).map_err(|error| error.at(span))?;
        Ok(Typed { expr, data_type: to.clone(), nullable: nullable || mode == "try", ..typed })
    }

    /// All of one type, the common one; `function` is named when there is none.
    pub(crate) fn in_common_type(&mut self, args: Vec<Typed>, function: &str, span: Span) -> Result<(Vec<Typed>, DataType)> {
        let Some(common) = common_type_of(args.iter().map(|arg| &arg.data_type)) else {
            return Err(different_types(&args, function, span));
        };
        let args = args.into_iter().map(|arg| self.cast_with(arg, &common, "ansi", span)).collect::<Result<Vec<_>>>()?;
        Ok((args, common))
    }
}

/// The expression that casts `expr`, a value of type `from`, to `to`.
pub(crate) fn cast_call(expr: DfExpr, to: &DataType, from: &DataType, mode: &str, time_zone: &str) -> Result<DfExpr> {
    if *from == DataType::Null {
        // Typed nulls as literals, so that no kernel sees the VOID type.
        if matches!(expr, DfExpr::Literal(..)) {
            return Ok(DfExpr::Literal(ScalarValue::try_from(&arrow_type(to)?)?, None));
        }
        return Ok(DfExpr::Cast(Cast::new(Box::new(expr), arrow_type(to)?)));
    }
    if let Some(literal) = widened_literal(&expr, to) {
        return Ok(literal);
    }
    if is_lossless(from, to) {
        return Ok(DfExpr::Cast(Cast::new(Box::new(expr), arrow_type(to)?)));
    }
    let text = |text: &str| DfExpr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
    let to_name = to.simple_string();
    // An interval's fields decide its text and its number, but its Arrow type does not know them.
    let from_name = match from {
        DataType::YearMonthInterval { .. } | DataType::DayTimeInterval { .. } => Some(from.simple_string()),
        _ => None,
    };
    let mut args = vec![expr, text(&to_name), text(mode), text(time_zone)];
    args.extend(from_name.as_deref().map(text));
    crate::registry::kernel_call("cast", args)
}

/// An integer literal of a wider integer type, so that filters on columns keep a plain literal.
fn widened_literal(expr: &DfExpr, to: &DataType) -> Option<DfExpr> {
    let DfExpr::Literal(value, _) = expr else { return None };
    let value = match value {
        ScalarValue::Int8(Some(v)) => i64::from(*v),
        ScalarValue::Int16(Some(v)) => i64::from(*v),
        ScalarValue::Int32(Some(v)) => i64::from(*v),
        ScalarValue::Int64(Some(v)) => *v,
        _ => return None,
    };
    let scalar = match to {
        DataType::Byte => ScalarValue::Int8(Some(i8::try_from(value).ok()?)),
        DataType::Short => ScalarValue::Int16(Some(i16::try_from(value).ok()?)),
        DataType::Int => ScalarValue::Int32(Some(i32::try_from(value).ok()?)),
        DataType::Long => ScalarValue::Int64(Some(value)),
        DataType::Double if value.unsigned_abs() < 1 << 53 => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53 a double holds every integer")]
            let value = value as f64;
            ScalarValue::Float64(Some(value))
        }
        _ => return None,
    };
    Some(DfExpr::Literal(scalar, None))
}

/// Whether every value of `from` has the same value in `to`, so that arrow's cast is Spark's.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Byte, T::Short | T::Int | T::Long | T::Float | T::Double)
        | (T::Short, T::Int | T::Long | T::Float | T::Double)
        | (T::Int, T::Long | T::Double)
        | (T::Float, T::Double) => true,
        (T::Byte | T::Short | T::Int | T::Long, T::Decimal { precision, scale }) => {
            let digits: i16 = match from {
                T::Byte => 3,
                T::Short => 5,
                T::Int => 10,
                _ => 19,
            };
            i16::from(*precision) - i16::from(*scale) >= digits
        }
        (T::Decimal { precision: p1, scale: s1 }, T::Decimal { precision: p2, scale: s2 }) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (from, to) if is_string(from) && is_string(to) => true,
        _ => false,
    }
}

/// The error for arguments without a common type.
pub(crate) fn different_types(args: &[Typed], function: &str, span: Span) -> AnalysisError {
    let types: Vec<String> = args.iter().map(|arg| arg.data_type.sql()).collect();
    AnalysisError::invalid(
        "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
        format!("the arguments of {function} have no common type: {}", types.join(", ")),
        span,
    )
}

fn cannot_cast(typed: &Typed, to: &DataType, span: Span) -> AnalysisError {
    use DataType as T;
    let message = format!("'{}' of type {} cannot be cast to {}", typed.name, typed.data_type.sql(), to.sql());
    let from = &typed.data_type;
    // Spark names the function that does what the cast does not.
    let function = match (from, to) {
        (from, T::Date) if crate::coerce::is_numeric(from) => Some("DATE_FROM_UNIX_DATE"),
        (T::Date, to) if crate::coerce::is_numeric(to) => Some("UNIX_DATE"),
        (from, T::TimestampNtz) if crate::coerce::is_numeric(from) => Some("TIMESTAMP_SECONDS"),
        _ => None,
    };
    let is_legacy = matches!((from, to), (T::Boolean, T::Timestamp) | (T::Timestamp, T::Boolean))
        || (matches!(to, T::Binary) && crate::coerce::is_numeric(from));
    match function {
        Some(function) => AnalysisError::invalid("DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION", message, span)
            .hint(format!("use the function {function} instead")),
        None if is_legacy => AnalysisError::invalid("DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION", message, span),
        None => AnalysisError::invalid("DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION", message, span),
    }
}

fn check_type(data_type: &DataType, span: Span) -> Result<()> {
    arrow_type(data_type).map(|_| ()).map_err(|error| error.at(span))
}

/// CHAR and VARCHAR are STRING outside of tables.
fn without_length(data_type: &DataType) -> DataType {
    if is_string(data_type) { DataType::String } else { data_type.clone() }
}

/// The type as a cast's name shows it.
fn cast_type_name(data_type: &DataType) -> String {
    without_length(data_type).sql()
}
