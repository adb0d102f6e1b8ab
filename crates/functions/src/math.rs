//! Mathematics: rounding by type, powers and logarithms with Spark's NULLs, bits.
//!
//! `ln` and `log` of what is not positive are NULL; `sqrt` of a negative number is NaN. Rounding a DOUBLE goes
//! through its shortest decimal text, as Spark's `BigDecimal(double)` does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int32Type, Int64Type, IntervalUnit,
    IntervalYearMonthType,
};
use datafusion::common::Result;

use crate::decimal::{self, Shape, div_half_up, pow10, round_type};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, decimal_overflow, internal, overflow};
use crate::rows::{number, number_rows};
use crate::text::{write_decimal, write_double};

const D: &[Arg] = &[Arg::Double];
const DD: &[Arg] = &[Arg::Double, Arg::Double];

macro_rules! double {
    ($name:literal, $f:expr) => {
        FunctionDef::new($name, D, Returns::Double, |call| {
            let result: PrimitiveArray<Float64Type> = call.primitive::<Float64Type>(0)?.unary($f);
            Ok(Arc::new(result))
        })
    };
}

/// Rounding, powers, trigonometry, bits.
pub const FUNCTIONS: &[FunctionDef] = &[
    double!("sqrt", f64::sqrt),
    double!("cbrt", f64::cbrt),
    double!("exp", |x| if x == 1.0 { JAVA_E } else { x.exp() }),
    double!("expm1", f64::exp_m1),
    double!("sin", f64::sin),
    double!("cos", f64::cos),
    double!("tan", f64::tan),
    double!("asin", f64::asin),
    double!("acos", f64::acos),
    double!("atan", f64::atan),
    double!("sinh", f64::sinh),
    double!("cosh", cosh),
    double!("tanh", f64::tanh),
    double!("asinh", f64::asinh),
    double!("acosh", f64::acosh),
    double!("atanh", f64::atanh),
    double!("cot", |x| 1.0 / x.tan()),
    double!("sec", |x| 1.0 / x.cos()),
    double!("csc", |x| 1.0 / x.sin()),
    double!("degrees", |x| x * (180.0 / std::f64::consts::PI)),
    double!("radians", |x| x / 180.0 * std::f64::consts::PI),
    double!("rint", f64::round_ties_even),
    FunctionDef::new("ln", D, Returns::Double, |call| log_kernel(call, 0.0, f64::ln)),
    FunctionDef::new("log10", D, Returns::Double, |call| log_kernel(call, 0.0, f64::log10)),
    FunctionDef::new("log2", D, Returns::Double, |call| log_kernel(call, 0.0, f64::log2)),
    FunctionDef::new("log1p", D, Returns::Double, |call| log_kernel(call, -1.0, f64::ln_1p)),
    FunctionDef::new("log", DD, Returns::Double, log).min(1),
    FunctionDef::new("pow", DD, Returns::Double, |call| two(call, f64::powf)).alias(&["power"]),
    FunctionDef::new("atan2", DD, Returns::Double, |call| two(call, |y, x| (y + 0.0).atan2(x + 0.0))),
    FunctionDef::new("hypot", DD, Returns::Double, |call| two(call, f64::hypot)),
    FunctionDef::new("pi", &[], Returns::Double, |call| constant(call, std::f64::consts::PI)),
    FunctionDef::new("e", &[], Returns::Double, |call| constant(call, std::f64::consts::E)),
    FunctionDef::new("signum", &[Arg::NumericOrInterval], Returns::Double, signum).alias(&["sign"]),
    FunctionDef::new("isnan", &[Arg::Double], Returns::Boolean, |call| {
        let values = call.primitive::<Float64Type>(0)?;
        crate::rows::bool_rows(call.n_rows(), |row| Ok(Some(number(&values, row).is_some_and(f64::is_nan))))
    })
    .lenient(),
    FunctionDef::new("nanvl", DD, Returns::Double, |call| {
        let (a, b) = (call.primitive::<Float64Type>(0)?, call.primitive::<Float64Type>(1)?);
        Ok(Arc::new(number_rows::<Float64Type>(call.n_rows(), |row| {
            Ok(match number(&a, row) {
                Some(value) if value.is_nan() => number(&b, row),
                value => value,
            })
        })?))
    })
    .lenient(),
    FunctionDef::new("factorial", &[Arg::Int], Returns::Long, |call| {
        let values = call.primitive::<Int32Type>(0)?;
        Ok(Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| {
            Ok(number(&values, row).filter(|n| (0..=20).contains(n)).map(|n| (1..=i64::from(n)).product()))
        })?))
    }),
    FunctionDef::new("width_bucket", &[Arg::Double, Arg::Double, Arg::Double, Arg::Long], Returns::Long, width_bucket),
    FunctionDef::new("round", &[Arg::Numeric, Arg::Int], Returns::Rule(round_rule), |call| round(call, Rounding::HalfUp)).min(1),
    FunctionDef::new("bround", &[Arg::Numeric, Arg::Int], Returns::Rule(round_rule), |call| round(call, Rounding::HalfEven)).min(1),
    FunctionDef::new("ceil", &[Arg::Numeric, Arg::Int], Returns::Rule(ceil_rule), |call| round(call, Rounding::Ceiling))
        .min(1)
        .alias(&["ceiling"]),
    FunctionDef::new("floor", &[Arg::Numeric, Arg::Int], Returns::Rule(ceil_rule), |call| round(call, Rounding::Floor)).min(1),
    FunctionDef::new("shiftleft", &[Arg::Integral, Arg::Int], Returns::Rule(shift_rule), |call| {
        shift(call, i32::wrapping_shl, i64::wrapping_shl)
    }),
    FunctionDef::new("shiftright", &[Arg::Integral, Arg::Int], Returns::Rule(shift_rule), |call| {
        shift(call, i32::wrapping_shr, i64::wrapping_shr)
    }),
    FunctionDef::new("shiftrightunsigned", &[Arg::Integral, Arg::Int], Returns::Rule(shift_rule), |call| {
        shift(call, |a, n| (a as u32).wrapping_shr(n) as i32, |a, n| (a as u64).wrapping_shr(n) as i64)
    }),
    FunctionDef::new("bitwise_and", &[Arg::Common, Arg::Common], Returns::Same(0), |call| {
        bits(call, arrow::compute::kernels::bitwise::bitwise_and, arrow::compute::kernels::bitwise::bitwise_and)
    }),
    FunctionDef::new("bitwise_or", &[Arg::Common, Arg::Common], Returns::Same(0), |call| {
        bits(call, arrow::compute::kernels::bitwise::bitwise_or, arrow::compute::kernels::bitwise::bitwise_or)
    }),
    FunctionDef::new("bitwise_xor", &[Arg::Common, Arg::Common], Returns::Same(0), |call| {
        bits(call, arrow::compute::kernels::bitwise::bitwise_xor, arrow::compute::kernels::bitwise::bitwise_xor)
    }),
    FunctionDef::new("bitwise_not", &[Arg::Integral], Returns::Same(0), |call| {
        let array = call.array(0)?;
        Ok(match array.data_type() {
            DataType::Int8 => Arc::new(array.as_primitive::<Int8Type>().unary::<_, Int8Type>(|x| !x)),
            DataType::Int16 => {
                Arc::new(array.as_primitive::<arrow::datatypes::Int16Type>().unary::<_, arrow::datatypes::Int16Type>(|x| !x))
            }
            DataType::Int32 => Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int32Type>(|x| !x)),
            DataType::Int64 => Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(|x| !x)),
            other => return Err(internal(format!("~ of {other}"))),
        })
    })
    .alias(&["bit_not"]),
    FunctionDef::new("bit_count", &[Arg::Any], Returns::Int, |call| {
        let array = call.array(0)?;
        let values = arrow::compute::cast(&array, &DataType::Int64)?;
        let result: PrimitiveArray<Int32Type> = values.as_primitive::<Int64Type>().unary(|x| x.count_ones() as i32);
        Ok(Arc::new(result))
    }),
    FunctionDef::new("bit_get", &[Arg::Integral, Arg::Int], Returns::Byte, |call| {
        let n_bits = match call.data_type(0)? {
            DataType::Int8 => 8,
            DataType::Int16 => 16,
            DataType::Int32 => 32,
            _ => 64,
        };
        let (values, positions) = (call.primitive::<Int64Type>(0)?, call.primitive::<Int32Type>(1)?);
        Ok(Arc::new(number_rows::<Int8Type>(call.n_rows(), |row| {
            let (Some(value), Some(position)) = (number(&values, row), number(&positions, row)) else { return Ok(None) };
            if !(0..n_bits).contains(&position) {
                return Err(data(
                    "INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE",
                    format!("bit_get: the position {position} is not between 0 and {}", n_bits - 1),
                ));
            }
            Ok(Some((value >> position & 1) as i8))
        })?))
    })
    .alias(&["getbit"]),
];

/// `StrictMath.exp(1)` is one unit in the last place off `Math.E`.
const JAVA_E: f64 = 2.7182818284590455;

/// fdlibm's `cosh`, whose last digit differs from the C library's.
fn cosh(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude < 0.5 * std::f64::consts::LN_2 {
        let t = magnitude.exp_m1();
        let w = 1.0 + t;
        return if magnitude < 2f64.powi(-55) { w } else { 1.0 + t * t / (w + w) };
    }
    if magnitude < 22.0 {
        let t = if magnitude == 1.0 { JAVA_E } else { magnitude.exp() };
        return 0.5 * t + 0.5 / t;
    }
    x.cosh()
}

fn constant(call: &Call<'_>, value: f64) -> Result<ArrayRef> {
    Ok(Arc::new(PrimitiveArray::<Float64Type>::from_value(value, call.n_rows())))
}

fn two(call: &Call<'_>, f: impl Fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (a, b) = (call.primitive::<Float64Type>(0)?, call.primitive::<Float64Type>(1)?);
    let result: PrimitiveArray<Float64Type> = arrow::compute::binary(&a, &b, f)?;
    Ok(Arc::new(result))
}

fn log_kernel(call: &Call<'_>, above: f64, f: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    let values = call.primitive::<Float64Type>(0)?;
    let result: PrimitiveArray<Float64Type> = values.unary_opt(|value| if value <= above { None } else { Some(f(value)) });
    Ok(Arc::new(result))
}

/// `log(x)` is natural; `log(base, x)` is NULL unless both are positive.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    if call.len() == 1 {
        return log_kernel(call, 0.0, f64::ln);
    }
    let (bases, values) = (call.primitive::<Float64Type>(0)?, call.primitive::<Float64Type>(1)?);
    Ok(Arc::new(number_rows::<Float64Type>(call.n_rows(), |row| {
        Ok(match (number(&bases, row), number(&values, row)) {
            (Some(base), Some(value)) if base > 0.0 && value > 0.0 => Some(value.ln() / base.ln()),
            _ => None,
        })
    })?))
}

fn signum(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let sign = |value: i64| value.signum() as f64;
    let result: PrimitiveArray<Float64Type> = match array.data_type() {
        DataType::Duration(_) => array.as_primitive::<DurationMicrosecondType>().unary(sign),
        DataType::Interval(IntervalUnit::YearMonth) => array.as_primitive::<IntervalYearMonthType>().unary(|value| sign(value.into())),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().unary(|value| value.signum() as f64),
        _ => arrow::compute::cast(&array, &DataType::Float64)?
            .as_primitive::<Float64Type>()
            .unary(|value| if value == 0.0 || value.is_nan() { value } else { value.signum() }),
    };
    Ok(Arc::new(result))
}

fn width_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, lows, highs) = (call.primitive::<Float64Type>(0)?, call.primitive::<Float64Type>(1)?, call.primitive::<Float64Type>(2)?);
    let counts = call.primitive::<Int64Type>(3)?;
    Ok(Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| {
        let (Some(value), Some(low), Some(high), Some(count)) =
            (number(&values, row), number(&lows, row), number(&highs, row), number(&counts, row))
        else {
            return Ok(None);
        };
        let bad = count <= 0 || count == i64::MAX || value.is_nan() || low == high || !low.is_finite() || !high.is_finite();
        if bad {
            return Ok(None);
        }
        let (below, above) = if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
        Ok(Some(if below {
            0
        } else if above {
            count + 1
        } else {
            (count as f64 * (value - low) / (high - low)) as i64 + 1
        }))
    })?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    HalfUp,
    HalfEven,
    Ceiling,
    Floor,
}

/// `numerator / denominator`, ties to even. `denominator` is positive.
pub(crate) fn div_half_even(numerator: i128, denominator: i128) -> i128 {
    let quotient = numerator / denominator;
    let remainder = (numerator % denominator).unsigned_abs();
    let rest = denominator.unsigned_abs() - remainder;
    if remainder > rest || (remainder == rest && quotient % 2 != 0) { quotient + numerator.signum() } else { quotient }
}

impl Rounding {
    fn divide(self, numerator: i128, denominator: i128) -> i128 {
        match self {
            Self::HalfUp => div_half_up(numerator, denominator),
            Self::HalfEven => div_half_even(numerator, denominator),
            Self::Floor => numerator.div_euclid(denominator),
            Self::Ceiling => {
                let floor = numerator.div_euclid(denominator);
                floor + i128::from(numerator.rem_euclid(denominator) != 0)
            }
        }
    }
}

fn shape_of(data_type: &DataType) -> Option<Shape> {
    match data_type {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => decimal::decimal_of_integer(data_type),
    }
}

fn round_rule(types: &Types<'_>) -> Result<DataType> {
    let places = i32::try_from(types.int(1).unwrap_or(0)).unwrap_or(0);
    Ok(match types.at(0) {
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = round_type((precision, scale), places);
            DataType::Decimal128(precision, scale)
        }
        DataType::Null => DataType::Float64,
        other => other,
    })
}

/// Without places `ceil` of a number is BIGINT; with places it is a decimal.
fn ceil_rule(types: &Types<'_>) -> Result<DataType> {
    let data_type = types.at(0);
    if types.len() < 2 {
        return Ok(match data_type {
            DataType::Decimal128(precision, scale) => {
                let (precision, scale) = round_type((precision, scale), 0);
                DataType::Decimal128(precision, scale)
            }
            _ => DataType::Int64,
        });
    }
    let places = i32::try_from(types.int(1).unwrap_or(0)).unwrap_or(0);
    let shape = match data_type {
        DataType::Float32 => (14, 7),
        DataType::Float64 | DataType::Null => (30, 15),
        ref other => shape_of(other).unwrap_or((38, 18)),
    };
    let (precision, scale) = round_type(shape, places);
    Ok(DataType::Decimal128(precision, scale))
}

fn round(call: &Call<'_>, rounding: Rounding) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let places = if call.len() > 1 {
        let places = call.primitive::<Int32Type>(1)?;
        // Spark asks for a constant: the first value stands for all.
        number(&places, 0).unwrap_or(0)
    } else {
        0
    };
    match call.return_type() {
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            let values = to_decimal(&array)?;
            let DataType::Decimal128(_, from) = values.data_type() else { return Err(internal("round needs a decimal")) };
            let from = *from;
            let values = values.as_primitive::<Decimal128Type>();
            let mut builder = Decimal128Array::builder(values.len());
            for value in values {
                builder.append_option(match value {
                    Some(value) => Some(round_decimal(value, from, places, (precision, scale), rounding)?),
                    None => None,
                });
            }
            Ok(Arc::new(builder.finish().with_precision_and_scale(precision, scale)?))
        }
        DataType::Int64 if matches!(rounding, Rounding::Ceiling | Rounding::Floor) => to_long(&array, rounding),
        data_type if data_type.is_integer() => {
            let data_type = data_type.clone();
            if places >= 0 {
                return Ok(array);
            }
            let values = arrow::compute::cast(&array, &DataType::Int64)?;
            let rounded = number_rows::<Int64Type>(call.n_rows(), |row| {
                let Some(value) = number(values.as_primitive::<Int64Type>(), row) else { return Ok(None) };
                let Some(unit) = pow10(places.unsigned_abs()) else { return Ok(Some(0)) };
                let rounded = rounding.divide(value.into(), unit).checked_mul(unit);
                let limit = match data_type {
                    DataType::Int8 => i128::from(i8::MAX),
                    DataType::Int16 => i128::from(i16::MAX),
                    DataType::Int32 => i128::from(i32::MAX),
                    _ => i128::from(i64::MAX),
                };
                let rounded = rounded.filter(|rounded| (-limit - 1..=limit).contains(rounded));
                rounded.map(|rounded| Some(rounded as i64)).ok_or_else(|| overflow("rounding"))
            })?;
            Ok(arrow::compute::cast(&rounded, call.return_type())?)
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            let result: PrimitiveArray<Float32Type> = values.unary(|value| {
                let mut text = String::new();
                crate::text::write_float(&mut text, value);
                round_text(&text, value.is_finite(), places, rounding).map_or(value, |text| text.parse().unwrap_or(value))
            });
            Ok(Arc::new(result))
        }
        DataType::Float64 => {
            let array = arrow::compute::cast(&array, &DataType::Float64)?;
            let values = array.as_primitive::<Float64Type>();
            let mut text = String::new();
            let result: PrimitiveArray<Float64Type> = PrimitiveArray::from_iter(values.iter().map(|value| {
                value.map(|value| {
                    text.clear();
                    write_double(&mut text, value);
                    round_text(&text, value.is_finite(), places, rounding).map_or(value, |text| text.parse().unwrap_or(value))
                })
            }));
            Ok(Arc::new(result))
        }
        other => Err(internal(format!("round to {other}"))),
    }
}

fn to_decimal(array: &ArrayRef) -> Result<ArrayRef> {
    use crate::cast::{CastMode, CastOptions, cast_array};
    let wanted = match array.data_type() {
        DataType::Decimal128(..) => return Ok(Arc::clone(array)),
        DataType::Float32 | DataType::Float64 => DataType::Decimal128(38, 15),
        other => {
            let (precision, scale) = shape_of(other).ok_or_else(|| internal(format!("round of {other}")))?;
            DataType::Decimal128(precision, scale)
        }
    };
    let options = CastOptions::new(CastMode::Ansi, millstream_formats::datetime::Zone::UTC);
    cast_array(array, &wanted, &options)
}

fn round_decimal(value: i128, from: i8, places: i32, to: Shape, rounding: Rounding) -> Result<i128> {
    let drop = i32::from(from) - places;
    let error = || {
        let mut text = String::new();
        write_decimal(&mut text, value, from);
        decimal_overflow(&text, to.0, to.1)
    };
    if drop <= 0 {
        return decimal::rescale(value, from, to.1, to.0).ok_or_else(error);
    }
    let rounded = match pow10(drop.unsigned_abs()) {
        Some(unit) => rounding.divide(value, unit),
        None => match rounding {
            Rounding::Ceiling => i128::from(value > 0),
            Rounding::Floor => -i128::from(value < 0),
            Rounding::HalfUp | Rounding::HalfEven => 0,
        },
    };
    // `rounded` has the scale `places`, the result `to.1` (0 when places are negative).
    let up = i32::from(to.1) - places;
    let factor = u32::try_from(up).ok().and_then(pow10);
    let result = if rounded == 0 { Some(0) } else { factor.and_then(|factor| rounded.checked_mul(factor)) };
    result.filter(|value| decimal::fits(*value, to.0)).ok_or_else(error)
}

/// Rounds the decimal text of a finite double; `None` when nothing changes.
fn round_text(text: &str, finite: bool, places: i32, rounding: Rounding) -> Option<String> {
    if !finite {
        return None;
    }
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let negative = mantissa.starts_with('-');
    let digits = mantissa.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = fraction.len() as i32 - exponent;
    if scale <= places {
        return None;
    }
    let signed = if negative { -unscaled } else { unscaled };
    let rounded = match pow10((scale - places).unsigned_abs()) {
        Some(unit) => rounding.divide(signed, unit),
        None => 0,
    };
    Some(format!("{rounded}e{}", -places))
}

fn to_long(array: &ArrayRef, rounding: Rounding) -> Result<ArrayRef> {
    if array.data_type().is_integer() {
        return Ok(arrow::compute::cast(array, &DataType::Int64)?);
    }
    let values = arrow::compute::cast(array, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    Ok(Arc::new(number_rows::<Int64Type>(values.len(), |row| {
        let Some(value) = number(values, row) else { return Ok(None) };
        let rounded = if rounding == Rounding::Ceiling { value.ceil() } else { value.floor() };
        if rounded >= i64::MIN as f64 && rounded <= i64::MAX as f64 {
            Ok(Some(rounded as i64))
        } else {
            Err(overflow(if rounding == Rounding::Ceiling { "ceil" } else { "floor" }))
        }
    })?))
}

type Combine<T> = fn(&PrimitiveArray<T>, &PrimitiveArray<T>) -> std::result::Result<PrimitiveArray<T>, arrow::error::ArrowError>;

/// The narrow types are widened for the operation: the result always fits them again.
fn bits(call: &Call<'_>, int: Combine<Int32Type>, long: Combine<Int64Type>) -> Result<ArrayRef> {
    if call.return_type() == &DataType::Int64 {
        return Ok(Arc::new(long(&call.primitive(0)?, &call.primitive(1)?)?));
    }
    let result: ArrayRef = Arc::new(int(&call.primitive(0)?, &call.primitive(1)?)?);
    Ok(arrow::compute::cast(&result, call.return_type())?)
}

fn shift_rule(types: &Types<'_>) -> Result<DataType> {
    Ok(if types.at(0) == DataType::Int64 { DataType::Int64 } else { DataType::Int32 })
}

fn shift(call: &Call<'_>, int: fn(i32, u32) -> i32, long: fn(i64, u32) -> i64) -> Result<ArrayRef> {
    let by = call.primitive::<Int32Type>(1)?;
    if call.return_type() == &DataType::Int64 {
        let values = call.primitive::<Int64Type>(0)?;
        let result: PrimitiveArray<Int64Type> = arrow::compute::binary(&values, &by, |a, n| long(a, n as u32))?;
        return Ok(Arc::new(result));
    }
    let values = call.primitive::<Int32Type>(0)?;
    let result: PrimitiveArray<Int32Type> = arrow::compute::binary(&values, &by, |a, n| int(a, n as u32))?;
    Ok(Arc::new(result))
}

#[cfg(test)]
mod tests;
