//! How Spark writes numbers as text: doubles as Java does, decimals plain.
//!
//! Writes into a buffer of the caller and never allocates per value, because casts to STRING are hot.

use std::fmt::Write;

/// `1.0`, `1.0E10`, `1.0E-5`, `NaN`, `-Infinity`: Java's `Double.toString`.
pub fn write_double(out: &mut String, value: f64) {
    if value.is_finite() {
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
            let start = out.len();
            let _ = write!(out, "{value}");
            if !out.get(start..).unwrap_or("").contains('.') {
                out.push_str(".0");
            }
        } else {
            let mut text = Small::new();
            let _ = write!(text, "{value:E}");
            write_scientific(out, text.as_str());
        }
    } else {
        write_special(out, value.is_nan(), value > 0.0);
    }
}

/// Java's `Float.toString`.
pub fn write_float(out: &mut String, value: f32) {
    if value.is_finite() {
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
            let start = out.len();
            let _ = write!(out, "{value}");
            if !out.get(start..).unwrap_or("").contains('.') {
                out.push_str(".0");
            }
        } else {
            let mut text = Small::new();
            let _ = write!(text, "{value:E}");
            write_scientific(out, text.as_str());
        }
    } else {
        write_special(out, value.is_nan(), value > 0.0);
    }
}

fn write_special(out: &mut String, nan: bool, positive: bool) {
    out.push_str(if nan {
        "NaN"
    } else if positive {
        "Infinity"
    } else {
        "-Infinity"
    });
}

/// Rust writes `1E10` where Java writes `1.0E10`.
fn write_scientific(out: &mut String, text: &str) {
    match text.split_once('E') {
        Some((mantissa, exponent)) => {
            out.push_str(mantissa);
            if !mantissa.contains('.') {
                out.push_str(".0");
            }
            out.push('E');
            out.push_str(exponent);
        }
        None => out.push_str(text),
    }
}

/// All digits of the scale, never an exponent: `0.0000001`.
pub fn write_decimal(out: &mut String, unscaled: i128, scale: i8) {
    if unscaled < 0 {
        out.push('-');
    }
    let digits = unscaled.unsigned_abs();
    if scale <= 0 {
        let _ = write!(out, "{digits}");
        if digits != 0 {
            out.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    let mut text = Small::new();
    let _ = write!(text, "{digits}");
    let text = text.as_str();
    if text.len() > scale {
        let (whole, fraction) = text.split_at(text.len() - scale);
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', scale - text.len()));
        out.push_str(text);
    }
}

/// Java's `BigDecimal.toString`: an exponent when the scale is large against the digits (`1.000E-7`).
pub fn write_big_decimal(out: &mut String, unscaled: i128, scale: i8) {
    let mut text = Small::new();
    let _ = write!(text, "{}", unscaled.unsigned_abs());
    let digits = text.as_str();
    let adjusted = digits.len() as i64 - 1 - i64::from(scale);
    if scale >= 0 && adjusted >= -6 {
        return write_decimal(out, unscaled, scale);
    }
    if unscaled < 0 {
        out.push('-');
    }
    let (first, rest) = digits.split_at(1);
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    if adjusted != 0 {
        let _ = write!(out, "E{adjusted:+}");
    }
}

/// A text buffer on the stack, long enough for any number's digits.
struct Small {
    bytes: [u8; 64],
    len: usize,
}

impl Small {
    fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl Write for Small {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let target = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
