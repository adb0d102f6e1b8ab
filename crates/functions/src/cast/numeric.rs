//! Casts between numbers and booleans, and from text to them.
//!
//! Integers are never read through doubles, doubles never through text, except to DECIMAL, where Spark does the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::Result;

use super::{CastMode, CastOptions, cast_overflow, invalid_input, mismatch};
use crate::decimal::{self, ParseFault, Shape};
use crate::error::{data, decimal_overflow};
use crate::text::write_decimal;

/// An integer type of Spark and how it wraps.
trait Integer: ArrowPrimitiveType {
    fn from_i64(value: i64) -> Option<Self::Native>;
    fn wrap(value: i64) -> Self::Native;
    fn to_i64(value: Self::Native) -> i64;
    const MIN: i64;
    const MAX: i64;
}

macro_rules! integer {
    ($($arrow:ty, $native:ty;)*) => {$(
        impl Integer for $arrow {
            fn from_i64(value: i64) -> Option<$native> {
                <$native>::try_from(value).ok()
            }
            fn wrap(value: i64) -> $native {
                value as $native
            }
            fn to_i64(value: $native) -> i64 {
                i64::from(value)
            }
            const MIN: i64 = <$native>::MIN as i64;
            const MAX: i64 = <$native>::MAX as i64;
        }
    )*};
}
integer! { Int8Type, i8; Int16Type, i16; Int32Type, i32; Int64Type, i64; }

/// Maps values that may fail, keeping NULLs and never looking at what lies under them.
pub(super) fn try_map<I: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    array: &PrimitiveArray<I>,
    mut f: impl FnMut(I::Native) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>> {
    let mut builder = PrimitiveArray::<O>::builder(array.len());
    for value in array {
        match value {
            Some(value) => builder.append_option(f(value)?),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

/// Casts between BOOLEAN, integers, FLOAT, DOUBLE and DECIMAL.
pub(super) fn between(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    use DataType as D;
    match (array.data_type(), to) {
        (D::Boolean, D::Decimal128(precision, scale)) => {
            let ints = arrow::compute::cast(array, &D::Int32)?;
            integer_to_decimal::<Int32Type>(ints.as_primitive(), (*precision, *scale), options)
        }
        (D::Boolean, _) => Ok(arrow::compute::cast(array, to)?),
        (D::Int8, _) => from_integer::<Int8Type>(array, to, options),
        (D::Int16, _) => from_integer::<Int16Type>(array, to, options),
        (D::Int32, _) => from_integer::<Int32Type>(array, to, options),
        (D::Int64, _) => from_integer::<Int64Type>(array, to, options),
        (D::Float32, _) => from_float::<Float32Type>(array, to, options),
        (D::Float64, _) => from_float::<Float64Type>(array, to, options),
        (D::Decimal128(_, scale), _) => from_decimal(array.as_primitive(), *scale, to, options),
        (from, _) => Err(mismatch(from, to)),
    }
}

fn from_integer<I: Integer>(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef>
where
    I::Native: std::fmt::Display,
{
    let values = array.as_primitive::<I>();
    Ok(match to {
        DataType::Boolean => Arc::new(BooleanArray::from_unary(values, |value| I::to_i64(value) != 0)),
        DataType::Int8 => Arc::new(narrow::<I, Int8Type>(values, options)?),
        DataType::Int16 => Arc::new(narrow::<I, Int16Type>(values, options)?),
        DataType::Int32 => Arc::new(narrow::<I, Int32Type>(values, options)?),
        DataType::Int64 => Arc::new(values.unary::<_, Int64Type>(I::to_i64)),
        DataType::Float32 => Arc::new(values.unary::<_, Float32Type>(|value| I::to_i64(value) as f32)),
        DataType::Float64 => Arc::new(values.unary::<_, Float64Type>(|value| I::to_i64(value) as f64)),
        DataType::Decimal128(precision, scale) => integer_to_decimal(values, (*precision, *scale), options)?,
        _ => return Err(mismatch(array.data_type(), to)),
    })
}

fn narrow<I: Integer, O: Integer>(values: &PrimitiveArray<I>, options: &CastOptions) -> Result<PrimitiveArray<O>>
where
    I::Native: std::fmt::Display,
{
    if I::MIN >= O::MIN && I::MAX <= O::MAX {
        return Ok(values.unary(|value| O::wrap(I::to_i64(value))));
    }
    if options.mode == CastMode::Legacy {
        return Ok(values.unary(|value| O::wrap(I::to_i64(value))));
    }
    try_map(values, |value| match O::from_i64(I::to_i64(value)) {
        Some(value) => Ok(Some(value)),
        None => options.fault(|| cast_overflow(value, &I::DATA_TYPE, &O::DATA_TYPE)),
    })
}

fn integer_to_decimal<I: Integer>(values: &PrimitiveArray<I>, to: Shape, options: &CastOptions) -> Result<ArrayRef> {
    let result = try_map::<I, Decimal128Type>(values, |value| {
        let value = I::to_i64(value);
        match decimal::rescale(value.into(), 0, to.1, to.0) {
            Some(value) => Ok(Some(value)),
            None => options.fault(|| decimal_overflow(&value.to_string(), to.0, to.1)),
        }
    })?;
    Ok(Arc::new(result.with_precision_and_scale(to.0, to.1)?))
}

trait Float: ArrowPrimitiveType {
    fn to_f64(value: Self::Native) -> f64;
    fn write(out: &mut String, value: Self::Native);
}

impl Float for Float32Type {
    fn to_f64(value: f32) -> f64 {
        value.into()
    }
    fn write(out: &mut String, value: f32) {
        crate::text::write_float(out, value);
    }
}

impl Float for Float64Type {
    fn to_f64(value: f64) -> f64 {
        value
    }
    fn write(out: &mut String, value: f64) {
        crate::text::write_double(out, value);
    }
}

fn from_float<F: Float>(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    let values = array.as_primitive::<F>();
    Ok(match to {
        DataType::Boolean => Arc::new(BooleanArray::from_unary(values, |value| F::to_f64(value) != 0.0)),
        DataType::Int8 => Arc::new(float_to_integer::<F, Int8Type>(values, options)?),
        DataType::Int16 => Arc::new(float_to_integer::<F, Int16Type>(values, options)?),
        DataType::Int32 => Arc::new(float_to_integer::<F, Int32Type>(values, options)?),
        DataType::Int64 => Arc::new(float_to_integer::<F, Int64Type>(values, options)?),
        DataType::Float32 => Arc::new(values.unary::<_, Float32Type>(|value| F::to_f64(value) as f32)),
        DataType::Float64 => Arc::new(values.unary::<_, Float64Type>(F::to_f64)),
        DataType::Decimal128(precision, scale) => {
            let to = (*precision, *scale);
            let mut text = String::new();
            let result = try_map::<F, Decimal128Type>(values, |value| {
                let value = F::to_f64(value);
                // Spark's answer for NaN and the infinities is NULL, in ANSI mode too.
                if !value.is_finite() {
                    return Ok(None);
                }
                text.clear();
                crate::text::write_double(&mut text, value);
                match decimal::parse(&text).and_then(|parsed| decimal::fit(parsed, to)) {
                    Ok(value) => Ok(Some(value)),
                    Err(_) => options.fault(|| decimal_overflow(&text, to.0, to.1)),
                }
            })?;
            Arc::new(result.with_precision_and_scale(to.0, to.1)?)
        }
        _ => return Err(mismatch(array.data_type(), to)),
    })
}

fn float_to_integer<F: Float, O: Integer>(values: &PrimitiveArray<F>, options: &CastOptions) -> Result<PrimitiveArray<O>> {
    // Java narrows a double to INT first, and then wraps to the smaller types.
    let legacy = |value: f64| if O::MAX <= i64::from(i32::MAX) { i64::from(value as i32) } else { value as i64 };
    if options.mode == CastMode::Legacy {
        return Ok(values.unary(|value| O::wrap(legacy(F::to_f64(value)))));
    }
    try_map(values, |native| {
        let value = F::to_f64(native);
        if value.floor() <= O::MAX as f64 && value.ceil() >= O::MIN as f64 {
            return Ok(Some(O::wrap(value as i64)));
        }
        options.fault(|| {
            let mut text = String::new();
            F::write(&mut text, native);
            cast_overflow(text, &F::DATA_TYPE, &O::DATA_TYPE)
        })
    })
}

fn from_decimal(array: &Decimal128Array, scale: i8, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    let text = |value: i128| {
        let mut out = String::new();
        write_decimal(&mut out, value, scale);
        out
    };
    Ok(match to {
        DataType::Boolean => Arc::new(BooleanArray::from_unary(array, |value| value != 0)),
        DataType::Int8 => Arc::new(decimal_to_integer::<Int8Type>(array, scale, options)?),
        DataType::Int16 => Arc::new(decimal_to_integer::<Int16Type>(array, scale, options)?),
        DataType::Int32 => Arc::new(decimal_to_integer::<Int32Type>(array, scale, options)?),
        DataType::Int64 => Arc::new(decimal_to_integer::<Int64Type>(array, scale, options)?),
        DataType::Float32 => {
            Arc::new(array.unary::<_, Float32Type>(|value| {
                // Straight to the narrow type: rounding twice would differ from Java.
                text(value).parse::<f32>().unwrap_or(f32::NAN)
            }))
        }
        DataType::Float64 => Arc::new(array.unary::<_, Float64Type>(|value| decimal::to_double(value, scale))),
        DataType::Decimal128(new_precision, new_scale) => {
            let result = try_map::<Decimal128Type, Decimal128Type>(array, |value| {
                match decimal::rescale(value, scale, *new_scale, *new_precision) {
                    Some(value) => Ok(Some(value)),
                    None => options.fault(|| decimal_overflow(&text(value), *new_precision, *new_scale)),
                }
            })?;
            Arc::new(result.with_precision_and_scale(*new_precision, *new_scale)?)
        }
        _ => return Err(mismatch(array.data_type(), to)),
    })
}

fn decimal_to_integer<O: Integer>(array: &Decimal128Array, scale: i8, options: &CastOptions) -> Result<PrimitiveArray<O>> {
    let divisor = if scale >= 0 { decimal::pow10(scale.unsigned_abs().into()) } else { Some(1) };
    let factor = if scale < 0 { decimal::pow10(scale.unsigned_abs().into()) } else { Some(1) };
    try_map(array, |value| {
        let whole = match (divisor, factor) {
            (Some(divisor), Some(factor)) => (value / divisor).checked_mul(factor),
            _ => Some(0),
        };
        if options.mode == CastMode::Legacy {
            return Ok(whole.map(|whole| O::wrap(whole as i64)));
        }
        match whole.and_then(|whole| i64::try_from(whole).ok()).and_then(O::from_i64) {
            Some(value) => Ok(Some(value)),
            None => options.fault(|| {
                let mut text = String::new();
                write_decimal(&mut text, value, scale);
                cast_overflow(text, array.data_type(), &O::DATA_TYPE)
            }),
        }
    })
}

/// Casts text to numbers and booleans.
pub(super) fn from_text(array: &StringArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    Ok(match to {
        DataType::Boolean => {
            let mut builder = arrow::array::BooleanBuilder::with_capacity(array.len());
            for text in array {
                match text {
                    Some(text) => builder.append_option(match parse_boolean(text) {
                        Some(value) => Some(value),
                        None => options.fault(|| invalid_input(text, "STRING", to))?,
                    }),
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Int8 => Arc::new(text_to_integer::<Int8Type>(array, to, options)?),
        DataType::Int16 => Arc::new(text_to_integer::<Int16Type>(array, to, options)?),
        DataType::Int32 => Arc::new(text_to_integer::<Int32Type>(array, to, options)?),
        DataType::Int64 => Arc::new(text_to_integer::<Int64Type>(array, to, options)?),
        DataType::Float32 => Arc::new(map_text::<Float32Type>(array, to, options, |text| {
            parse_float(text).map(|value| match value {
                FloatText::Number(digits) => digits.parse().unwrap_or(f32::NAN),
                FloatText::Special(value) => value as f32,
            })
        })?),
        DataType::Float64 => Arc::new(map_text::<Float64Type>(array, to, options, parse_double)?),
        DataType::Decimal128(precision, scale) => {
            let shape = (*precision, *scale);
            let mut builder = Decimal128Array::builder(array.len());
            for text in array {
                let Some(text) = text else {
                    builder.append_null();
                    continue;
                };
                let value = match decimal::parse(trim(text)).and_then(|parsed| decimal::fit(parsed, shape)) {
                    Ok(value) => Some(value),
                    Err(ParseFault::Malformed) => options.fault(|| invalid_input(text, "STRING", to))?,
                    Err(ParseFault::TooLarge) => options.fault(|| {
                        data("NUMERIC_OUT_OF_SUPPORTED_RANGE", format!("the value '{text}' has too many digits for a decimal"))
                    })?,
                    Err(ParseFault::OutOfRange) => options.fault(|| decimal_overflow(text, shape.0, shape.1))?,
                };
                builder.append_option(value);
            }
            Arc::new(builder.finish().with_precision_and_scale(shape.0, shape.1)?)
        }
        _ => return Err(mismatch(array.data_type(), to)),
    })
}

fn map_text<O: ArrowPrimitiveType>(
    array: &StringArray,
    to: &DataType,
    options: &CastOptions,
    parse: impl Fn(&str) -> Option<O::Native>,
) -> Result<PrimitiveArray<O>> {
    let mut builder = PrimitiveArray::<O>::builder(array.len());
    for text in array {
        match text {
            Some(text) => builder.append_option(match parse(text) {
                Some(value) => Some(value),
                None => options.fault(|| invalid_input(text, "STRING", to))?,
            }),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

fn text_to_integer<O: Integer>(array: &StringArray, to: &DataType, options: &CastOptions) -> Result<PrimitiveArray<O>> {
    let fraction = options.mode == CastMode::Legacy;
    map_text::<O>(array, to, options, |text| parse_integer(text, fraction).and_then(O::from_i64))
}

/// Spark trims blanks and control characters.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || ('\u{7f}'..='\u{9f}').contains(&c))
}

/// `[+-]digits`; with `fraction` a fraction of digits is cut off.
pub(crate) fn parse_integer(text: &str, fraction: bool) -> Option<i64> {
    let mut bytes = trim(text).as_bytes();
    let negative = bytes.first() == Some(&b'-');
    if matches!(bytes.first(), Some(b'-' | b'+')) {
        bytes = bytes.get(1..)?;
    }
    if bytes.is_empty() {
        return None;
    }
    // Negative accumulation reaches i64::MIN.
    let mut value = 0i64;
    let mut iter = bytes.iter();
    for byte in iter.by_ref() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?,
            b'.' if fraction => break,
            _ => return None,
        }
    }
    if iter.any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

fn parse_boolean(text: &str) -> Option<bool> {
    let text = trim(text);
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["t", "true", "y", "yes", "1"]) {
        Some(true)
    } else if is(&["f", "false", "n", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

enum FloatText<'a> {
    Number(&'a str),
    Special(f64),
}

/// What Java's `Double.parseDouble` takes, plus Spark's `inf` and `nan`, without hexadecimal floats.
fn parse_float(text: &str) -> Option<FloatText<'_>> {
    let text = trim(text);
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let numeric = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if numeric && digits.parse::<f64>().is_ok() {
        return Some(FloatText::Number(digits));
    }
    let lower = text.to_ascii_lowercase();
    Some(FloatText::Special(match lower.as_str() {
        "inf" | "+inf" | "infinity" | "+infinity" => f64::INFINITY,
        "-inf" | "-infinity" => f64::NEG_INFINITY,
        "nan" => f64::NAN,
        _ => return None,
    }))
}

/// A DOUBLE as Spark reads it from text.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    parse_float(text).map(|value| match value {
        FloatText::Number(digits) => digits.parse().unwrap_or(f64::NAN),
        FloatText::Special(value) => value,
    })
}
