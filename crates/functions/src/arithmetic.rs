//! Checked arithmetic: `+ - * / % div`, unary minus, `abs`, `pmod`, and their `try_` variants.
//!
//! Both sides have the same type when a kernel sees them, except decimals (any two shapes; the result type follows
//! Spark's rules in [`crate::decimal`]). Overflow and division by zero are errors; the `try_` variants give NULL.
//! NULL on either side gives NULL before anything is checked. Dates, timestamps and intervals times numbers are in
//! `interval_math`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalUnit, IntervalYearMonthType,
};
use arrow::error::ArrowError;
use datafusion::common::Result;

use crate::cast::{CastMode, CastOptions, cast_array};
use crate::decimal::{self, Shape};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, decimal_overflow, divide_by_zero, internal, overflow, remainder_by_zero};
use crate::text::write_decimal;

const BOTH: &[Arg] = &[Arg::Common, Arg::Common];
const NUMBER: &[Arg] = &[Arg::NumericOrInterval];

/// The operators and their function forms.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("add", BOTH, Returns::Rule(add_rule), |call| chain(call, Op::Add)).repeat(1),
    FunctionDef::new("subtract", BOTH, Returns::Rule(add_rule), |call| binary(call, Op::Subtract, false)),
    FunctionDef::new("multiply", BOTH, Returns::Rule(multiply_rule), |call| chain(call, Op::Multiply)).repeat(1),
    FunctionDef::new("divide", BOTH, Returns::Rule(divide_rule), |call| binary(call, Op::Divide, false)),
    FunctionDef::new("div", BOTH, Returns::Long, |call| binary(call, Op::Whole, false)),
    FunctionDef::new("remainder", BOTH, Returns::Rule(remainder_rule), |call| binary(call, Op::Remainder, false)).alias(&["mod"]),
    FunctionDef::new("pmod", BOTH, Returns::Rule(remainder_rule), |call| binary(call, Op::Pmod, false)),
    FunctionDef::new("try_add", BOTH, Returns::Rule(add_rule), |call| binary(call, Op::Add, true)),
    FunctionDef::new("try_subtract", BOTH, Returns::Rule(add_rule), |call| binary(call, Op::Subtract, true)),
    FunctionDef::new("try_multiply", BOTH, Returns::Rule(multiply_rule), |call| binary(call, Op::Multiply, true)),
    FunctionDef::new("try_divide", BOTH, Returns::Rule(divide_rule), |call| binary(call, Op::Divide, true)),
    FunctionDef::new("try_mod", BOTH, Returns::Rule(remainder_rule), |call| binary(call, Op::Remainder, true)),
    FunctionDef::new("negative", NUMBER, Returns::Same(0), |call| unary(call, Unary::Negative)),
    FunctionDef::new("abs", NUMBER, Returns::Same(0), |call| unary(call, Unary::Abs)),
    FunctionDef::new("positive", NUMBER, Returns::Same(0), |call| call.array(0)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Whole,
    Remainder,
    Pmod,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "addition",
            Self::Subtract => "subtraction",
            Self::Multiply => "multiplication",
            Self::Divide | Self::Whole => "division",
            Self::Remainder | Self::Pmod => "remainder",
        }
    }
}

fn shape(data_type: &DataType) -> Option<Shape> {
    match data_type {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

fn rule(types: &Types<'_>, decimals: fn(Shape, Shape) -> Shape) -> DataType {
    (2..types.len()).fold(step_type(types.at(0), types.at(1), decimals), |left, idx| step_type(left, types.at(idx), decimals))
}

fn step_type(a: DataType, b: DataType, decimals: fn(Shape, Shape) -> Shape) -> DataType {
    match (shape(&a), shape(&b)) {
        (Some(a), Some(b)) => {
            let (precision, scale) = decimals(a, b);
            DataType::Decimal128(precision, scale)
        }
        _ if a == DataType::Null => b,
        _ => a,
    }
}

fn add_rule(types: &Types<'_>) -> Result<DataType> {
    Ok(rule(types, decimal::add_type))
}

fn multiply_rule(types: &Types<'_>) -> Result<DataType> {
    Ok(rule(types, decimal::multiply_type))
}

fn remainder_rule(types: &Types<'_>) -> Result<DataType> {
    Ok(rule(types, decimal::remainder_type))
}

/// Integers divide as doubles.
fn divide_rule(types: &Types<'_>) -> Result<DataType> {
    Ok(match rule(types, decimal::divide_type) {
        decimal @ DataType::Decimal128(..) => decimal,
        _ => DataType::Float64,
    })
}

fn binary(call: &Call<'_>, op: Op, lenient: bool) -> Result<ArrayRef> {
    operate(call.array(0)?, &call.array(1)?, op, lenient, call.return_type())
}

/// `a + b + c ...` from the left: one call, because a chain of thousands of calls in calls needs as much stack.
fn chain(call: &Call<'_>, op: Op) -> Result<ArrayRef> {
    let decimals = if op == Op::Multiply { decimal::multiply_type } else { decimal::add_type };
    let mut left = call.array(0)?;
    for idx in 1..call.len() {
        let right = call.array(idx)?;
        let to = step_type(left.data_type().clone(), right.data_type().clone(), decimals);
        left = operate(left, &right, op, false, &to)?;
    }
    Ok(left)
}

fn operate(a: ArrayRef, b: &ArrayRef, op: Op, lenient: bool, to: &DataType) -> Result<ArrayRef> {
    if a.data_type() == &DataType::Null || b.data_type() == &DataType::Null {
        return Ok(arrow::array::new_null_array(to, a.len()));
    }
    match (a.data_type(), b.data_type()) {
        (DataType::Decimal128(_, sa), DataType::Decimal128(_, sb)) => {
            decimals(a.as_primitive(), *sa, b.as_primitive(), *sb, op, lenient, to)
        }
        _ if op == Op::Divide => {
            let options = CastOptions::new(CastMode::Ansi, millstream_formats::datetime::Zone::UTC);
            let a = cast_array(&a, &DataType::Float64, &options)?;
            let b = cast_array(b, &DataType::Float64, &options)?;
            floats::<Float64Type>(a.as_primitive(), b.as_primitive(), op, lenient)
        }
        (a_type, b_type) if a_type != b_type => Err(internal(format!("{} of {a_type} and {b_type}: sides must have one type", op.name()))),
        (DataType::Int8, _) => integers::<Int8Type>(&a, b, op, lenient),
        (DataType::Int16, _) => integers::<Int16Type>(&a, b, op, lenient),
        (DataType::Int32, _) => integers::<Int32Type>(&a, b, op, lenient),
        (DataType::Int64, _) => integers::<Int64Type>(&a, b, op, lenient),
        (DataType::Float32, _) => floats::<Float32Type>(a.as_primitive(), b.as_primitive(), op, lenient),
        (DataType::Float64, _) => floats::<Float64Type>(a.as_primitive(), b.as_primitive(), op, lenient),
        (DataType::Duration(_), _) => integers::<DurationMicrosecondType>(&a, b, op, lenient),
        (DataType::Interval(IntervalUnit::YearMonth), _) => integers::<IntervalYearMonthType>(&a, b, op, lenient),
        (other, _) => Err(internal(format!("no {} of {other}", op.name()))),
    }
}

/// What arithmetic needs of an integer type and its storage.
trait Checked: ArrowPrimitiveType {
    /// Spark has a class of its own for the two small types.
    const OVERFLOW: &'static str;
    fn to_i64(value: Self::Native) -> i64;
}

macro_rules! checked {
    ($($arrow:ty => $overflow:literal;)*) => {$(
        impl Checked for $arrow {
            const OVERFLOW: &'static str = $overflow;
            fn to_i64(value: Self::Native) -> i64 {
                i64::from(value)
            }
        }
    )*};
}
checked! {
    Int8Type => "BINARY_ARITHMETIC_OVERFLOW";
    Int16Type => "BINARY_ARITHMETIC_OVERFLOW";
    Int32Type => "ARITHMETIC_OVERFLOW";
    Int64Type => "ARITHMETIC_OVERFLOW";
    DurationMicrosecondType => "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION";
    IntervalYearMonthType => "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION";
}

fn integers<T: Checked>(a: &ArrayRef, b: &ArrayRef, op: Op, lenient: bool) -> Result<ArrayRef> {
    let overflowed = || data(T::OVERFLOW, format!("{} overflow; use a try_ variant to get NULL instead", op.name()));
    let (a, b) = (a.as_primitive::<T>(), b.as_primitive::<T>());
    // Arrow's kernels are checked and run whole vectors; they cover the common case.
    if !lenient {
        let fast = match op {
            Op::Add => Some(numeric::add(a, b)),
            Op::Subtract => Some(numeric::sub(a, b)),
            Op::Multiply if T::DATA_TYPE.is_integer() => Some(numeric::mul(a, b)),
            _ => None,
        };
        match fast {
            Some(Ok(result)) => return Ok(result),
            Some(Err(ArrowError::ArithmeticOverflow(_))) => return Err(overflowed()),
            Some(Err(other)) => return Err(other.into()),
            None => {}
        }
    }
    if op == Op::Whole {
        let result = zip::<T, T, Int64Type>(a, b, |a, b| {
            let (a, b) = (T::to_i64(a), T::to_i64(b));
            if b == 0 {
                return if T::DATA_TYPE.is_integer() {
                    Err(divide_by_zero())
                } else {
                    Err(data("INTERVAL_DIVIDED_BY_ZERO", "division of an interval by zero"))
                };
            }
            a.checked_div(b).map(Some).ok_or_else(overflowed)
        })?;
        return Ok(Arc::new(result));
    }
    let result = zip::<T, T, T>(a, b, |a, b| {
        let value = match op {
            Op::Add => a.add_checked(b).ok(),
            Op::Subtract => a.sub_checked(b).ok(),
            Op::Multiply => a.mul_checked(b).ok(),
            Op::Remainder | Op::Pmod => {
                if b.is_zero() {
                    return if lenient { Ok(None) } else { Err(remainder_by_zero()) };
                }
                let zero = T::Native::default();
                let rest = a.mod_wrapping(b);
                if op == Op::Pmod && rest.is_lt(zero) {
                    // The divisor may be negative: then the sum stays in range, else it cannot overflow.
                    Some(rest.add_wrapping(b).mod_wrapping(b))
                } else {
                    Some(rest)
                }
            }
            Op::Divide | Op::Whole => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None if lenient => Ok(None),
            None => Err(overflowed()),
        }
    })?;
    Ok(Arc::new(result))
}

fn floats<T: ArrowPrimitiveType>(a: &PrimitiveArray<T>, b: &PrimitiveArray<T>, op: Op, lenient: bool) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    Ok(match op {
        Op::Add => numeric::add_wrapping(a, b)?,
        Op::Subtract => numeric::sub_wrapping(a, b)?,
        Op::Multiply => numeric::mul_wrapping(a, b)?,
        _ => {
            let zero = T::Native::default();
            let result = zip::<T, T, T>(a, b, |a, b| {
                // 0.0 and -0.0 both count as zero.
                if b.is_zero() || b.neg_wrapping().is_zero() {
                    return match op {
                        _ if lenient => Ok(None),
                        Op::Divide | Op::Whole => Err(divide_by_zero()),
                        _ => Err(remainder_by_zero()),
                    };
                }
                Ok(Some(match op {
                    Op::Divide | Op::Whole => a.div_wrapping(b),
                    Op::Remainder => a.mod_wrapping(b),
                    _ => {
                        let rest = a.mod_wrapping(b);
                        if rest.is_lt(zero) && !rest.is_zero() { rest.add_wrapping(b).mod_wrapping(b) } else { rest }
                    }
                }))
            })?;
            Arc::new(result)
        }
    })
}

fn decimals(a: &Decimal128Array, sa: i8, b: &Decimal128Array, sb: i8, op: Op, lenient: bool, to: &DataType) -> Result<ArrayRef> {
    if op == Op::Whole {
        let result = zip::<_, _, Int64Type>(a, b, |a, b| {
            if b == 0 {
                return Err(divide_by_zero());
            }
            decimal::whole_quotient(a, sa, b, sb).map(Some).ok_or_else(|| overflow("division"))
        })?;
        return Ok(Arc::new(result));
    }
    let to = shape(to).ok_or_else(|| internal("decimal arithmetic needs a decimal result"))?;
    let result = zip::<_, _, Decimal128Type>(a, b, |x, y| {
        if y == 0 && matches!(op, Op::Divide | Op::Remainder | Op::Pmod) {
            return match op {
                _ if lenient => Ok(None),
                Op::Divide => Err(divide_by_zero()),
                _ => Err(remainder_by_zero()),
            };
        }
        let value = match op {
            Op::Add => decimal::add(x, sa, y, sb, false, to),
            Op::Subtract => decimal::add(x, sa, y, sb, true, to),
            Op::Multiply => decimal::multiply(x, sa, y, sb, to),
            Op::Divide => decimal::divide(x, sa, y, sb, to),
            Op::Remainder | Op::Whole => decimal::remainder(x, sa, y, sb, to),
            Op::Pmod => match decimal::remainder(x, sa, y, sb, to) {
                Some(rest) if rest < 0 => decimal::add(rest, to.1, y, sb, false, (38, to.1.max(sb)))
                    .and_then(|sum| decimal::remainder(sum, to.1.max(sb), y, sb, to)),
                rest => rest,
            },
        };
        match value {
            Some(value) => Ok(Some(value)),
            None if lenient => Ok(None),
            None => {
                let mut text = String::new();
                write_decimal(&mut text, x, sa);
                let sign = match op {
                    Op::Add => '+',
                    Op::Subtract => '-',
                    Op::Multiply => '*',
                    Op::Divide | Op::Whole => '/',
                    Op::Remainder | Op::Pmod => '%',
                };
                text.push_str(&format!(" {sign} "));
                write_decimal(&mut text, y, sb);
                Err(decimal_overflow(&text, to.0, to.1))
            }
        }
    })?;
    Ok(Arc::new(result.with_precision_and_scale(to.0, to.1)?))
}

/// Combines two columns row by row; NULL on either side is NULL and is never looked at.
pub(crate) fn zip<A: ArrowPrimitiveType, B: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    a: &PrimitiveArray<A>,
    b: &PrimitiveArray<B>,
    mut f: impl FnMut(A::Native, B::Native) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>> {
    let mut builder = PrimitiveArray::<O>::builder(a.len());
    for (a, b) in a.iter().zip(b.iter()) {
        match (a, b) {
            (Some(a), Some(b)) => builder.append_option(f(a, b)?),
            _ => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unary {
    Negative,
    Abs,
}

fn unary(call: &Call<'_>, op: Unary) -> Result<ArrayRef> {
    let array = call.array(0)?;
    match array.data_type() {
        DataType::Null => Ok(array),
        DataType::Int8 => unary_integer::<Int8Type>(&array, op),
        DataType::Int16 => unary_integer::<Int16Type>(&array, op),
        DataType::Int32 => unary_integer::<Int32Type>(&array, op),
        DataType::Int64 => unary_integer::<Int64Type>(&array, op),
        DataType::Duration(_) => unary_integer::<DurationMicrosecondType>(&array, op),
        DataType::Interval(IntervalUnit::YearMonth) => unary_integer::<IntervalYearMonthType>(&array, op),
        DataType::Interval(_) => crate::interval_math::negate_calendar(&array),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            let result: PrimitiveArray<Float32Type> = if op == Unary::Abs { values.unary(f32::abs) } else { values.unary(|value| -value) };
            Ok(Arc::new(result))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            let result: PrimitiveArray<Float64Type> = if op == Unary::Abs { values.unary(f64::abs) } else { values.unary(|value| -value) };
            Ok(Arc::new(result))
        }
        DataType::Decimal128(precision, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            let result: Decimal128Array =
                values.unary(|value| if op == Unary::Abs { value.saturating_abs() } else { value.saturating_neg() });
            Ok(Arc::new(result.with_precision_and_scale(*precision, *scale)?))
        }
        other => Err(internal(format!("no sign of {other}"))),
    }
}

fn unary_integer<T: Checked>(array: &ArrayRef, op: Unary) -> Result<ArrayRef> {
    let values = array.as_primitive::<T>();
    let zero = T::Native::default();
    let result = values.try_unary::<_, T, _>(|value| if op == Unary::Abs && value.is_ge(zero) { Ok(value) } else { value.neg_checked() });
    match result {
        Ok(result) => Ok(Arc::new(result)),
        Err(_) => Err(overflow(if op == Unary::Abs { "abs" } else { "unary minus" })),
    }
}

#[cfg(test)]
mod tests;
