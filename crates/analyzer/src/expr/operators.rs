//! Arithmetic, bit operations and their types: ANSI arithmetic, checked, with Spark's decimal rules.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr as DfExpr, Operator};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, UnresolvedFunction};

use super::{ExprCx, Typed};
use crate::coerce::{
    common_type, common_with_string, decimal_for_integral, is_ansi_interval, is_datetime, is_integral, is_numeric, is_string,
};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;

impl Resolver<'_> {
    /// An operator's call; none when `call` is none of them.
    pub(crate) fn operator(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Option<Typed>> {
        let span = call.span;
        let name = call.name.to_lowercase();
        let out = match (name.as_str(), call.args.as_slice()) {
            (
                "+" | "-" | "*" | "/" | "%" | "div" | "mod" | "pmod" | "try_add" | "try_subtract" | "try_multiply" | "try_divide"
                | "try_mod",
                [l, r],
            ) => {
                let left = self.expr(cx, l)?;
                let right = self.expr(cx, r)?;
                self.arithmetic(&name, left, right, span)?
            }
            ("+" | "*", [first, rest @ ..]) if rest.len() > 1 => self.arithmetic_chain(cx, &name, first, rest)?,
            ("||", terms) => self.concat_chain(cx, terms, span)?,
            ("-" | "negative", [x]) => {
                let arg = self.expr(cx, x)?;
                let shown = if name == "-" { format!("(- {})", arg.name) } else { format!("negative({})", arg.name) };
                self.unary(arg, "negative", shown, span)?
            }
            ("+" | "positive", [x]) => {
                let arg = self.expr(cx, x)?;
                let shown = format!("(+ {})", arg.name);
                let arg = if is_string(&arg.data_type) { self.implicit_cast(arg, &DataType::Double, span)? } else { arg };
                arg.named(shown)
            }
            ("&" | "|" | "^", [l, r]) => {
                let left = self.expr(cx, l)?;
                let right = self.expr(cx, r)?;
                self.bitwise(&name, left, right, span)?
            }
            ("~", [x]) => {
                let arg = self.expr(cx, x)?;
                let shown = format!("~{}", arg.name);
                if !is_integral(&arg.data_type) && arg.data_type != DataType::Null {
                    return Err(wrong_type("~", &arg, "an integer", span));
                }
                let arg = if arg.data_type == DataType::Null { self.implicit_cast(arg, &DataType::Int, span)? } else { arg };
                self.kernel_typed("bitwise_not", vec![arg], span)?.named(shown)
            }
            ("<<" | ">>" | ">>>", [l, r]) => {
                let kernel = match name.as_str() {
                    "<<" => "shiftleft",
                    ">>" => "shiftright",
                    _ => "shiftrightunsigned",
                };
                let left = self.expr(cx, l)?;
                let right = self.expr(cx, r)?;
                let shown = format!("({} {name} {})", left.name, right.name);
                self.shift(kernel, left, right, span)?.named(shown)
            }
            _ => return Ok(None),
        };
        Ok(Some(out))
    }

    /// `left op right` of numbers, dates, intervals and strings among them.
    pub(crate) fn arithmetic(&mut self, op: &str, left: Typed, right: Typed, span: Span) -> Result<Typed> {
        let shown = match op {
            "+" | "-" | "*" | "/" | "%" | "div" => format!("({} {op} {})", left.name, right.name),
            _ => format!("{op}({}, {})", left.name, right.name),
        };
        let nullable = left.nullable || right.nullable;
        if let Some(typed) = self.temporal_arithmetic(op, &left, &right, &shown, span)? {
            return Ok(typed);
        }
        let is_temporal = |t: &DataType| is_datetime(t) || is_ansi_interval(t) || *t == DataType::CalendarInterval;
        if op.starts_with("try_") && (is_temporal(&left.data_type) || is_temporal(&right.data_type)) {
            return Err(AnalysisError::unsupported(format!("{op}() with dates, timestamps or intervals"), span));
        }
        let kernel = match op {
            "+" => "add",
            "-" => "subtract",
            "*" => "multiply",
            "/" => "divide",
            "%" => "remainder",
            "mod" => "remainder",
            other => other,
        };
        let (left, right) = self.arithmetic_operands(op, left, right, span)?;
        let mut out = self.kernel_typed(kernel, vec![left, right], span)?.named(shown);
        out.nullable = nullable || op.starts_with("try_");
        Ok(out)
    }

    /// Both operands in the type in which the operation is done.
    fn arithmetic_operands(&mut self, op: &str, left: Typed, right: Typed, span: Span) -> Result<(Typed, Typed)> {
        use DataType as T;
        // A string takes the type that the other side suggests; two strings suggest nothing.
        let target = common_with_string(&left.data_type, &right.data_type);
        if let Some(target) = target.filter(is_numeric) {
            let left = if is_string(&left.data_type) { self.implicit_cast(left, &target, span)? } else { left };
            let right = if is_string(&right.data_type) { self.implicit_cast(right, &target, span)? } else { right };
            return self.arithmetic_operands(op, left, right, span);
        }
        let is_division = matches!(op, "/" | "try_divide");
        let (l, r) = (left.data_type.clone(), right.data_type.clone());
        if !(is_numeric(&l) || l == T::Null) || !(is_numeric(&r) || r == T::Null) {
            return Err(wrong_operands(op, &left, &right, span));
        }
        match (&l, &r) {
            (T::Null, T::Null) => {
                let target = if op == "div" { T::Long } else { T::Double };
                self.both(left, right, &target, &target, span)
            }
            (T::Decimal { .. }, T::Null) | (T::Null, T::Decimal { .. }) => {
                let target = if l == T::Null { r } else { l };
                self.both(left, right, &target, &target, span)
            }
            (T::Decimal { .. }, T::Decimal { .. }) => Ok((left, right)),
            (T::Decimal { .. }, T::Float | T::Double) | (T::Float | T::Double, T::Decimal { .. }) => {
                self.both(left, right, &T::Double, &T::Double, span)
            }
            (T::Decimal { .. }, _) => {
                let to = narrow_decimal(&right).or_else(|| decimal_for_integral(&r)).unwrap_or(r);
                self.both(left, right, &l, &to, span)
            }
            (_, T::Decimal { .. }) => {
                let to = narrow_decimal(&left).or_else(|| decimal_for_integral(&l)).unwrap_or(l);
                self.both(left, right, &to, &r, span)
            }
            _ if is_division => self.both(left, right, &T::Double, &T::Double, span),
            _ if op == "div" => {
                if !(is_integral(&l) || l == T::Null) || !(is_integral(&r) || r == T::Null) {
                    return Err(wrong_operands(op, &left, &right, span));
                }
                self.both(left, right, &T::Long, &T::Long, span)
            }
            _ => {
                let Some(target) = common_type(&l, &r) else { return Err(wrong_operands(op, &left, &right, span)) };
                self.both(left, right, &target, &target, span)
            }
        }
    }

    fn both(&mut self, left: Typed, right: Typed, to_left: &DataType, to_right: &DataType, span: Span) -> Result<(Typed, Typed)> {
        Ok((self.implicit_cast(left, to_left, span)?, self.implicit_cast(right, to_right, span)?))
    }

    fn unary(&mut self, arg: Typed, kernel: &str, shown: String, span: Span) -> Result<Typed> {
        let arg = if is_string(&arg.data_type) || arg.data_type == DataType::Null {
            self.implicit_cast(arg, &DataType::Double, span)?
        } else {
            arg
        };
        if !is_numeric(&arg.data_type) && !is_ansi_interval(&arg.data_type) && arg.data_type != DataType::CalendarInterval {
            return Err(wrong_type("-", &arg, "a number or an interval", span));
        }
        let data_type = arg.data_type.clone();
        let nullable = arg.nullable;
        let mut out = self.kernel_typed(kernel, vec![arg], span)?.named(shown);
        out.data_type = data_type;
        out.nullable = nullable;
        Ok(out)
    }

    fn bitwise(&mut self, op: &str, left: Typed, right: Typed, span: Span) -> Result<Typed> {
        let shown = format!("({} {op} {})", left.name, right.name);
        let operator = match op {
            "&" => Operator::BitwiseAnd,
            "|" => Operator::BitwiseOr,
            _ => Operator::BitwiseXor,
        };
        let legal = |t: &DataType| is_integral(t) || is_string(t) || *t == DataType::Null;
        if !legal(&left.data_type) || !legal(&right.data_type) {
            return Err(wrong_operands(op, &left, &right, span));
        }
        let target = match common_type(&left.data_type, &right.data_type) {
            Some(DataType::Null) => DataType::Int,
            Some(target) if is_integral(&target) => target,
            _ => return Err(wrong_operands(op, &left, &right, span)),
        };
        let (left, right) = self.both(left, right, &target, &target, span)?;
        let nullable = left.nullable || right.nullable;
        let expr = datafusion::logical_expr::binary_expr(left.expr, operator, right.expr);
        Ok(Typed::new(expr, target, nullable, shown))
    }

    fn shift(&mut self, kernel: &str, left: Typed, right: Typed, span: Span) -> Result<Typed> {
        let left = if left.data_type == DataType::Long { left } else { self.implicit_cast(left, &DataType::Int, span)? };
        let right = self.implicit_cast(right, &DataType::Int, span)?;
        self.kernel_typed(kernel, vec![left, right], span)
    }
}

/// The decimal just wide enough for an integer literal: `1 + dec(10,2)` is `dec(11,2)`.
fn narrow_decimal(typed: &Typed) -> Option<DataType> {
    let digits = match typed.literal()? {
        ScalarValue::Int8(Some(v)) => v.unsigned_abs().to_string(),
        ScalarValue::Int16(Some(v)) => v.unsigned_abs().to_string(),
        ScalarValue::Int32(Some(v)) => v.unsigned_abs().to_string(),
        ScalarValue::Int64(Some(v)) => v.unsigned_abs().to_string(),
        _ => return None,
    };
    // `CAST(1 AS INT)` may have become a literal, but was none.
    if typed.name.trim_start_matches('-') != digits {
        return None;
    }
    Some(DataType::Decimal { precision: u8::try_from(digits.len()).ok()?, scale: 0 })
}

fn wrong_operands(op: &str, left: &Typed, right: &Typed, span: Span) -> AnalysisError {
    let (l, r) = (&left.data_type, &right.data_type);
    let class = if common_type(l, r).is_some_and(|t| !is_datetime(&t)) && l == r {
        "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE"
    } else {
        "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES"
    };
    AnalysisError::invalid(
        class,
        format!("'{op}' cannot be applied to '{}' of type {} and '{}' of type {}", left.name, l.sql(), right.name, r.sql()),
        span,
    )
    .hint("cast one side to a type that goes with the other: CAST(... AS ...)")
}

fn wrong_type(op: &str, arg: &Typed, wanted: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("'{op}' wants {wanted}, but '{}' is of type {}", arg.name, arg.data_type.sql()),
        span,
    )
}

/// A literal text argument of a kernel.
pub(crate) fn text_arg(value: &str) -> Typed {
    Typed::new(DfExpr::Literal(ScalarValue::Utf8(Some(value.to_owned())), None), DataType::String, false, value)
}
