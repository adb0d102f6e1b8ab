//! Numbers as text: decimals with Spark's rounding, doubles and floats as Java reads and prints them.

use std::fmt::Write;

/// A decimal text as unscaled value of `decimal(precision, scale)`, rounded half up; `None` if it is no number or too large.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (rest.get(..at)?, parse_exponent(rest.get(at + 1..)?)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of the digits, from the left, lie before the end of the scale.
    let keep = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(i64::from(scale))?;
    let mut value: i128 = 0;
    let mut taken = 0_i64;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if taken >= keep {
            // The first digit that is cut off decides; digits further on never change a rounding half up.
            if taken == keep && digit >= b'5' {
                value = value.checked_add(1)?;
            }
            break;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        taken += 1;
    }
    while taken < keep {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
        taken += 1;
    }
    if value >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// A text as Java's `Double.parseDouble`: blanks around it, a suffix `d` or `f`, `NaN` and `Infinity` are taken.
/// Hexadecimal numbers are not.
pub fn parse_java_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    // Rust also takes `inf` and `nan` in any case.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text).parse().ok()
}

/// Appends a double as Java prints it: `1.0`, `1.0E20`, `1.0E-5`, `NaN`, `-Infinity`.
pub fn push_double(out: &mut String, value: f64) {
    if value.is_finite() && value.abs() == f64::from_bits(1) {
        // Java always shows two digits; these are the ones it picks for the smallest double.
        out.push_str(if value < 0.0 { "-4.9E-324" } else { "4.9E-324" });
        return;
    }
    push_java(out, value.abs(), value.is_sign_negative(), value.is_nan(), value.is_infinite(), |scratch| {
        let _ = write!(scratch, "{:e}", value.abs());
    });
}

/// Appends a float as Java prints it.
pub fn push_float(out: &mut String, value: f32) {
    if value.is_finite() && value.abs() == f32::from_bits(1) {
        out.push_str(if value < 0.0 { "-1.4E-45" } else { "1.4E-45" });
        return;
    }
    push_java(out, f64::from(value.abs()), value.is_sign_negative(), value.is_nan(), value.is_infinite(), |scratch| {
        let _ = write!(scratch, "{:e}", value.abs());
    });
}

/// Appends a decimal as Java's `BigDecimal.toString`: plain, but `1.000E-7` and `0E-8` for small ones.
pub fn push_big_decimal(out: &mut String, unscaled: i128, scale: i8) {
    if unscaled < 0 {
        out.push('-');
    }
    let mut digits = Digits::default();
    let _ = write!(digits, "{}", unscaled.unsigned_abs());
    let text = digits.bytes.get(..digits.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("0");
    let scale = i32::from(scale);
    let n_digits = i32::try_from(text.len()).unwrap_or(0);
    let exponent = n_digits - 1 - scale;
    if scale == 0 {
        out.push_str(text);
    } else if scale < 0 || exponent < -6 {
        let (first, rest) = text.split_at_checked(1).unwrap_or((text, ""));
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let _ = write!(out, "E{exponent:+}");
    } else {
        push_point(out, text, n_digits - scale);
    }
}

/// Appends a decimal with all its places: `0.0000001000`.
pub fn push_plain_decimal(out: &mut String, unscaled: i128, scale: i8) {
    if unscaled < 0 {
        out.push('-');
    }
    let mut digits = Digits::default();
    let _ = write!(digits, "{}", unscaled.unsigned_abs());
    let text = digits.bytes.get(..digits.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("0");
    if scale <= 0 {
        out.push_str(text);
        if unscaled != 0 {
            (scale..0).for_each(|_| out.push('0'));
        }
        return;
    }
    push_point(out, text, i32::try_from(text.len()).unwrap_or(0) - i32::from(scale));
}

/// Digits with a point behind the first `whole` of them.
fn push_point(out: &mut String, digits: &str, whole: i32) {
    match usize::try_from(whole) {
        Ok(whole) if whole > 0 => {
            let (before, after) = digits.split_at_checked(whole).unwrap_or((digits, ""));
            out.push_str(before);
            out.push('.');
            out.push_str(after);
        }
        _ => {
            out.push_str("0.");
            (whole..0).for_each(|_| out.push('0'));
            out.push_str(digits);
        }
    }
}

/// A stack buffer for the digits of 128 bits.
struct Digits {
    bytes: [u8; 40],
    len: usize,
}

impl Default for Digits {
    fn default() -> Self {
        Self { bytes: [0; 40], len: 0 }
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// A stack buffer for the shortest digits: at most 17 of them, a point and an exponent.
#[derive(Default)]
struct Shortest {
    bytes: [u8; 32],
    len: usize,
}

impl Write for Shortest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

fn push_java(out: &mut String, abs: f64, negative: bool, nan: bool, infinite: bool, shortest: impl FnOnce(&mut Shortest)) {
    if nan {
        out.push_str("NaN");
        return;
    }
    if negative {
        out.push('-');
    }
    if infinite {
        out.push_str("Infinity");
        return;
    }
    if abs == 0.0 {
        out.push_str("0.0");
        return;
    }
    let mut buffer = Shortest::default();
    shortest(&mut buffer);
    let text = buffer.bytes.get(..buffer.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("0e0");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        0..=6 => {
            let whole = usize::try_from(exponent).unwrap_or(0);
            out.push_str(first);
            let (before, after) = rest.split_at_checked(whole).unwrap_or((rest, ""));
            out.push_str(before);
            (before.len()..whole).for_each(|_| out.push('0'));
            out.push('.');
            out.push_str(if after.is_empty() { "0" } else { after });
        }
        -3..=-1 => {
            out.push_str("0.");
            (exponent..-1).for_each(|_| out.push('0'));
            out.push_str(first);
            out.push_str(rest);
        }
        _ => {
            out.push_str(first);
            out.push('.');
            out.push_str(if rest.is_empty() { "0" } else { rest });
            let _ = write!(out, "E{exponent}");
        }
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i64 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests;
