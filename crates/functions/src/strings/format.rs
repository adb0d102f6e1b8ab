//! `format_number`: thousands separated by commas, rounded half even, as Java's `DecimalFormat` in the US locale.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type};
use datafusion::common::Result;

use crate::decimal::pow10;
use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::internal;
use crate::rows::{number, text, text_rows};
use crate::text::write_decimal;

pub(super) const FUNCTIONS: &[FunctionDef] =
    &[FunctionDef::new("format_number", &[Arg::Numeric, Arg::Any], Returns::String, format_number)];

/// How many digits to write and where to group.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    prefix: String,
    suffix: String,
    group: usize,
    whole_min: usize,
    fraction_min: usize,
    fraction_max: usize,
}

impl Pattern {
    fn places(places: usize) -> Self {
        Self { prefix: String::new(), suffix: String::new(), group: 3, whole_min: 1, fraction_min: places, fraction_max: places }
    }

    /// `#,##0.00`, with text before and after.
    fn parse(pattern: &str) -> Self {
        let is_digit = |c: char| matches!(c, '#' | '0' | ',' | '.');
        let start = pattern.find(is_digit).unwrap_or(pattern.len());
        let (prefix, rest) = pattern.split_at(start);
        let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let group = whole.rfind(',').map_or(0, |at| whole.len() - at - 1);
        let zeros = |text: &str| text.chars().filter(|c| *c == '0').count();
        Self {
            prefix: prefix.replace('\'', ""),
            suffix: suffix.replace('\'', ""),
            group,
            whole_min: zeros(whole),
            fraction_min: zeros(fraction),
            fraction_max: fraction.chars().filter(|c| matches!(c, '0' | '#')).count(),
        }
    }
}

/// The digits of a value rounded half even to `places`, without a sign; and whether it is negative.
fn rounded(array: &dyn Array, row: usize, places: usize) -> Result<Option<(bool, String)>> {
    let float = |value: f64| {
        if !value.is_finite() {
            return None;
        }
        // Rust rounds the exact binary value, ties to even: as DecimalFormat.
        Some((value.is_sign_negative(), format!("{:.places$}", value.abs())))
    };
    Ok(match array.data_type() {
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            let drop = i64::from(*scale) - places as i64;
            let (value, scale) = match u32::try_from(drop).ok().filter(|drop| *drop > 0).and_then(pow10) {
                Some(unit) => (crate::math::div_half_even(value, unit), places as i8),
                None => (value, *scale),
            };
            let mut text = String::new();
            write_decimal(&mut text, value.saturating_abs(), scale);
            Some((value < 0, text))
        }
        data_type if data_type.is_integer() => {
            let array = arrow::compute::cast(&array.slice(row, 1), &DataType::Int64)?;
            let value = array.as_primitive::<arrow::datatypes::Int64Type>().value(0);
            Some((value < 0, value.unsigned_abs().to_string()))
        }
        other => return Err(internal(format!("format_number of {other}"))),
    })
}

fn write_number(out: &mut String, array: &dyn Array, row: usize, pattern: &Pattern) -> Result<()> {
    let Some((negative, digits)) = rounded(array, row, pattern.fraction_max)? else {
        let value = match array.as_primitive_opt::<Float64Type>() {
            Some(values) => values.value(row),
            None => array.as_primitive_opt::<Float32Type>().map_or(f64::NAN, |values| values.value(row).into()),
        };
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "∞"
        } else {
            "-∞"
        });
        return Ok(());
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if negative {
        out.push('-');
    }
    out.push_str(&pattern.prefix);
    let n_whole = whole.len().max(pattern.whole_min);
    for idx in 0..n_whole {
        let left = n_whole - idx;
        if idx > 0 && pattern.group > 0 && left % pattern.group == 0 {
            out.push(',');
        }
        let missing = n_whole - whole.len();
        let digit = idx.checked_sub(missing).and_then(|at| whole.as_bytes().get(at)).copied().unwrap_or(b'0');
        out.push(char::from(digit));
    }
    if !fraction.is_empty() || pattern.fraction_min > 0 {
        out.push('.');
        out.push_str(fraction);
        out.extend(std::iter::repeat_n('0', pattern.fraction_min.saturating_sub(fraction.len())));
    } else if n_whole == 0 {
        out.push('0');
    }
    out.push_str(&pattern.suffix);
    Ok(())
}

/// More places than this are not asked for in earnest.
const PLACES_MAX: usize = 1000;

fn format_number(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.array(0)?;
    if call.data_type(1)?.is_integer() {
        let places = call.primitive::<Int32Type>(1)?;
        return text_rows(call.n_rows(), |row, out| {
            let places = number(&places, row).and_then(|places| usize::try_from(places).ok());
            let Some(places) = places.filter(|_| values.is_valid(row)) else { return Ok(false) };
            write_number(out, &values, row, &Pattern::places(places.min(PLACES_MAX)))?;
            Ok(true)
        });
    }
    let patterns = call.strings(1)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(pattern) = text(&patterns, row).filter(|_| values.is_valid(row)) else { return Ok(false) };
        let pattern = if pattern.is_empty() { Pattern::places(0) } else { Pattern::parse(pattern) };
        write_number(out, &values, row, &pattern)?;
        Ok(true)
    })
}
