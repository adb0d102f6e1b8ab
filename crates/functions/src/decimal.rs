//! Decimal arithmetic: result types by Spark's rules, exact intermediate values, rounding half up.
//!
//! The rules are public because the analyzer states the result type before the kernel runs. Kernels work on
//! `i128` where that is exact and on 256 bits where it is not; they never round twice.

use arrow::datatypes::{DataType, i256};

/// The most digits of a decimal.
pub const PRECISION_MAX: u8 = 38;
/// The digits after the point that Spark keeps when a result type must lose some.
pub const SCALE_KEPT_MIN: i8 = 6;

/// A precision and a scale.
pub type Shape = (u8, i8);

/// Spark's `DecimalType.adjustPrecisionScale` with precision loss allowed (its default).
pub fn adjusted(precision: i32, scale: i32) -> Shape {
    if precision <= i32::from(PRECISION_MAX) {
        return (precision.clamp(1, 38) as u8, scale.clamp(-38, 38) as i8);
    }
    let whole = precision - scale;
    let scale_min = scale.min(i32::from(SCALE_KEPT_MIN));
    let scale = (i32::from(PRECISION_MAX) - whole).max(scale_min);
    (PRECISION_MAX, scale.clamp(-38, 38) as i8)
}

fn parts((precision, scale): Shape) -> (i32, i32) {
    (i32::from(precision), i32::from(scale))
}

/// The type of `a + b` and `a - b`.
pub fn add_type(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    let scale = s1.max(s2);
    adjusted(scale + (p1 - s1).max(p2 - s2) + 1, scale)
}

/// The type of `a * b`.
pub fn multiply_type(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    adjusted(p1 + p2 + 1, s1 + s2)
}

/// The type of `a / b`.
pub fn divide_type(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    let scale = i32::from(SCALE_KEPT_MIN).max(s1 + p2 + 1);
    adjusted(p1 - s1 + s2 + scale, scale)
}

/// The type of `a % b` and `pmod(a, b)`.
pub fn remainder_type(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    let scale = s1.max(s2);
    adjusted((p1 - s1).min(p2 - s2) + scale, scale)
}

/// The type that holds all values of both (comparison, `coalesce`, set operations).
pub fn widest_type(a: Shape, b: Shape) -> Shape {
    let ((p1, s1), (p2, s2)) = (parts(a), parts(b));
    let scale = s1.max(s2);
    let whole = (p1 - s1).max(p2 - s2);
    // Spark keeps the whole digits here and gives up scale: `boundedPreferIntegralDigits`.
    let precision = whole + scale;
    if precision <= 38 { (precision.max(1) as u8, scale as i8) } else { (PRECISION_MAX, (38 - whole).max(0).min(scale) as i8) }
}

/// The decimal that holds every value of an integer type.
pub fn decimal_of_integer(data_type: &DataType) -> Option<Shape> {
    Some(match data_type {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (20, 0),
        _ => return None,
    })
}

/// The type of `round(x, scale)`, `bround`, `ceil` and `floor` with a scale on decimals.
pub fn round_type((precision, scale): Shape, to: i32) -> Shape {
    let (p, s) = (i32::from(precision), i32::from(scale));
    let whole_least = p - s + 1;
    if to < 0 {
        let new_precision = whole_least.max(-to + 1);
        (new_precision.clamp(1, 38) as u8, 0)
    } else {
        let new_scale = s.min(to);
        ((whole_least + new_scale).clamp(1, 38) as u8, new_scale as i8)
    }
}

/// `10^exponent`, if it fits.
pub(crate) fn pow10(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// Whether `value` has at most `precision` digits.
pub(crate) fn fits(value: i128, precision: u8) -> bool {
    pow10(u32::from(precision)).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs())
}

/// `numerator / denominator`, rounded half away from zero. `denominator` is positive.
pub(crate) fn div_half_up(numerator: i128, denominator: i128) -> i128 {
    let quotient = numerator / denominator;
    let remainder = (numerator % denominator).unsigned_abs();
    if remainder >= denominator.unsigned_abs() - remainder { quotient + numerator.signum() } else { quotient }
}

/// Changes the scale, rounding half up; `None` when the result has more digits than `precision`.
pub(crate) fn rescale(value: i128, from: i8, to: i8, precision: u8) -> Option<i128> {
    let by = i32::from(to) - i32::from(from);
    let result = if by >= 0 {
        if value == 0 { 0 } else { value.checked_mul(pow10(by.unsigned_abs())?)? }
    } else {
        match pow10(by.unsigned_abs()) {
            Some(divisor) => div_half_up(value, divisor),
            None => 0,
        }
    };
    fits(result, precision).then_some(result)
}

fn wide_pow10(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

fn wide_div_half_up(numerator: i256, denominator: i256) -> Option<i256> {
    let quotient = numerator.checked_div(denominator)?;
    let remainder = numerator.checked_rem(denominator)?.wrapping_abs();
    let divisor = denominator.wrapping_abs();
    if remainder >= divisor.wrapping_sub(remainder) {
        let one = if (numerator < i256::ZERO) == (denominator < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
        quotient.checked_add(one)
    } else {
        Some(quotient)
    }
}

fn wide_rescale(value: i256, from: i32, to: Shape) -> Option<i128> {
    let by = i32::from(to.1) - from;
    let result =
        if by >= 0 { value.checked_mul(wide_pow10(by.unsigned_abs())?)? } else { wide_div_half_up(value, wide_pow10(by.unsigned_abs())?)? };
    result.to_i128().filter(|value| fits(*value, to.0))
}

/// `a + b` or `a - b` as `to`; `None` on overflow.
pub(crate) fn add(a: i128, sa: i8, b: i128, sb: i8, subtract: bool, to: Shape) -> Option<i128> {
    let scale = sa.max(sb);
    let narrow = || {
        let a = a.checked_mul(pow10((scale - sa).unsigned_abs().into())?)?;
        let b = b.checked_mul(pow10((scale - sb).unsigned_abs().into())?)?;
        let sum = if subtract { a.checked_sub(b)? } else { a.checked_add(b)? };
        Some(sum)
    };
    if let Some(sum) = narrow() {
        return if scale == to.1 { fits(sum, to.0).then_some(sum) } else { rescale(sum, scale, to.1, to.0) };
    }
    let a = i256::from_i128(a).checked_mul(wide_pow10((scale - sa).unsigned_abs().into())?)?;
    let b = i256::from_i128(b).checked_mul(wide_pow10((scale - sb).unsigned_abs().into())?)?;
    let sum = if subtract { a.checked_sub(b)? } else { a.checked_add(b)? };
    wide_rescale(sum, scale.into(), to)
}

/// `a * b` as `to`; `None` on overflow.
pub(crate) fn multiply(a: i128, sa: i8, b: i128, sb: i8, to: Shape) -> Option<i128> {
    let scale = i32::from(sa) + i32::from(sb);
    if let (Some(product), Ok(scale)) = (a.checked_mul(b), i8::try_from(scale)) {
        return rescale(product, scale, to.1, to.0);
    }
    wide_rescale(i256::from_i128(a).checked_mul(i256::from_i128(b))?, scale, to)
}

/// `a / b` as `to`; `None` on overflow. `b` is not zero.
pub(crate) fn divide(a: i128, sa: i8, b: i128, sb: i8, to: Shape) -> Option<i128> {
    // a / 10^sa / (b / 10^sb) * 10^st
    let shift = i32::from(to.1) - i32::from(sa) + i32::from(sb);
    let (mut numerator, mut denominator) = (i256::from_i128(a), i256::from_i128(b));
    if shift >= 0 {
        numerator = numerator.checked_mul(wide_pow10(shift.unsigned_abs())?)?;
    } else {
        denominator = denominator.checked_mul(wide_pow10(shift.unsigned_abs())?)?;
    }
    wide_div_half_up(numerator, denominator)?.to_i128().filter(|value| fits(*value, to.0))
}

/// `a % b` (sign of `a`) as `to`; `None` on overflow. `b` is not zero.
pub(crate) fn remainder(a: i128, sa: i8, b: i128, sb: i8, to: Shape) -> Option<i128> {
    let scale = sa.max(sb);
    let a = i256::from_i128(a).checked_mul(wide_pow10((scale - sa).unsigned_abs().into())?)?;
    let b = i256::from_i128(b).checked_mul(wide_pow10((scale - sb).unsigned_abs().into())?)?;
    wide_rescale(a.checked_rem(b)?, scale.into(), to)
}

/// `a div b`: the whole part; `None` when it does not fit a BIGINT. `b` is not zero.
pub(crate) fn whole_quotient(a: i128, sa: i8, b: i128, sb: i8) -> Option<i64> {
    let scale = sa.max(sb);
    let a = i256::from_i128(a).checked_mul(wide_pow10((scale - sa).unsigned_abs().into())?)?;
    let b = i256::from_i128(b).checked_mul(wide_pow10((scale - sb).unsigned_abs().into())?)?;
    a.checked_div(b)?.to_i128().and_then(|value| i64::try_from(value).ok())
}

/// A decimal read from text, before it is fitted to a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Parsed {
    /// The digits, at most 38 significant ones exact.
    unscaled: i256,
    /// Digits after the point; may be negative.
    scale: i64,
}

/// Why text is not a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseFault {
    /// Not a number.
    Malformed,
    /// A number with more whole digits than any decimal holds.
    TooLarge,
    /// A number that does not fit the wanted type.
    OutOfRange,
}

/// Reads `[+-]digits[.digits][e[+-]digits]`; surrounding space is the caller's to trim.
pub(crate) fn parse(text: &str) -> Result<Parsed, ParseFault> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => {
            let (mantissa, exponent) = text.split_at(at);
            let exponent = exponent.get(1..).unwrap_or("");
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ParseFault::Malformed);
            }
            (mantissa, exponent.parse::<i64>().map_err(|_| ParseFault::TooLarge)?)
        }
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let digits = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (mut unscaled, mut scale, mut significant) = (i256::ZERO, 0i64, 0u32);
    let (mut seen_point, mut seen_digit) = (false, false);
    // Digits past the 70th cannot change a value rounded to 38 places, except as a sticky tail, which half-up
    // rounding ignores.
    const SIGNIFICANT_MAX: u32 = 70;
    let ten = i256::from_i128(10);
    for byte in digits.bytes() {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' => {
                seen_digit = true;
                if significant < SIGNIFICANT_MAX {
                    unscaled = unscaled.wrapping_mul(ten).wrapping_add(i256::from_i128(i128::from(byte - b'0')));
                    significant += u32::from(unscaled != i256::ZERO);
                    scale += i64::from(seen_point);
                } else {
                    scale -= i64::from(!seen_point);
                }
            }
            _ => return Err(ParseFault::Malformed),
        }
    }
    if !seen_digit {
        return Err(ParseFault::Malformed);
    }
    let unscaled = if negative { unscaled.wrapping_neg() } else { unscaled };
    Ok(Parsed { unscaled, scale: scale.saturating_sub(exponent) })
}

/// Fits a read decimal to a type.
pub(crate) fn fit(parsed: Parsed, to: Shape) -> Result<i128, ParseFault> {
    if parsed.unscaled == i256::ZERO {
        return Ok(0);
    }
    let digits = digit_count(parsed.unscaled);
    if digits - parsed.scale > i64::from(PRECISION_MAX) {
        return Err(ParseFault::TooLarge);
    }
    if digits - parsed.scale < -(i64::from(PRECISION_MAX) + 1) {
        return Ok(0);
    }
    let scale = i32::try_from(parsed.scale).map_err(|_| ParseFault::OutOfRange)?;
    wide_rescale(parsed.unscaled, scale, to).ok_or(ParseFault::OutOfRange)
}

fn digit_count(value: i256) -> i64 {
    let mut value = value.wrapping_abs();
    let chunk = i256::from_i128(10i128.pow(18));
    let mut count = 0;
    while let Some(next) = value.checked_div(chunk).filter(|next| *next != i256::ZERO) {
        value = next;
        count += 18;
    }
    let mut rest = value.to_i128().unwrap_or(0);
    while rest > 0 {
        rest /= 10;
        count += 1;
    }
    count
}

/// The double nearest to a decimal.
pub(crate) fn to_double(unscaled: i128, scale: i8) -> f64 {
    // Both operands exact: one correctly rounded division.
    if unscaled.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale) {
        return unscaled as f64 / 10f64.powi(scale.into());
    }
    let mut text = String::new();
    crate::text::write_decimal(&mut text, unscaled, scale);
    text.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests;
