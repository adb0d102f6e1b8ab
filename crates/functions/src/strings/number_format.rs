//! `to_char` and `to_number`: numbers by a format of `9 0 . D , G $ S MI PR`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::Result;

use crate::cast::{CastMode, CastOptions, cast_array};
use crate::decimal::{pow10, rescale};
use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, internal, invalid};
use crate::rows::{text, text_rows};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("to_number", &[Arg::String, Arg::LiteralString], Returns::Rule(number_type), |call| to_number(call, false)),
    FunctionDef::new("try_to_number", &[Arg::String, Arg::LiteralString], Returns::Rule(number_type), |call| to_number(call, true)),
    // The form for numbers; dates go to `date_format`, bytes to `base64`, `hex` or `decode`, by the analyzer.
    FunctionDef::new("to_char", &[Arg::Numeric, Arg::LiteralString], Returns::String, to_char).alias(&["to_varchar"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A digit; `true` for `0`.
    Digit(bool),
    Group,
    Point,
    Dollar,
    Sign,
    Minus,
    Brackets,
}

struct NumberFormat {
    tokens: Vec<Token>,
    whole: usize,
    fraction: usize,
}

impl NumberFormat {
    fn parse(format: &str) -> Result<Self> {
        let bad = || invalid("INVALID_FORMAT.UNEXPECTED_TOKEN", format!("the number format '{format}' is not valid"));
        let upper = format.to_ascii_uppercase();
        let mut chars = upper.chars();
        let mut tokens = Vec::new();
        let (mut whole, mut fraction, mut seen_point) = (0, 0, false);
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '9' | '0' => {
                    if seen_point {
                        fraction += 1
                    } else {
                        whole += 1
                    }
                    Token::Digit(c == '0')
                }
                ',' | 'G' => Token::Group,
                '.' | 'D' if !seen_point => {
                    seen_point = true;
                    Token::Point
                }
                '$' => Token::Dollar,
                'S' => Token::Sign,
                'M' if chars.next() == Some('I') => Token::Minus,
                'P' if chars.next() == Some('R') => Token::Brackets,
                _ => return Err(bad()),
            });
        }
        if whole + fraction == 0 || whole + fraction > 38 {
            return Err(bad());
        }
        Ok(Self { tokens, whole, fraction })
    }

    fn read(&self, value: &str) -> Option<i128> {
        let mut rest = value.trim();
        let mut negative = false;
        if self.tokens.contains(&Token::Brackets)
            && let Some(inner) = rest.strip_prefix('<')
        {
            rest = inner.strip_suffix('>')?;
            negative = true;
        }
        let n_given = rest.split('.').next().unwrap_or("").bytes().filter(u8::is_ascii_digit).count();
        if n_given > self.whole {
            return None;
        }
        let mut skip = self.whole - n_given;
        let (mut unscaled, mut n_fraction, mut in_fraction) = (0i128, 0, false);
        let mut started = false;
        for token in &self.tokens {
            let next = rest.chars().next();
            let mut eat = |wanted: char| {
                let found = next == Some(wanted);
                if found {
                    rest = rest.get(wanted.len_utf8()..).unwrap_or("");
                }
                found
            };
            match token {
                Token::Digit(required) if !in_fraction => {
                    if skip > 0 {
                        // A leading `0` in the format demands its digit.
                        if *required {
                            return None;
                        }
                        skip -= 1;
                        continue;
                    }
                    let digit = next.and_then(|c| c.to_digit(10))?;
                    eat(next?);
                    unscaled = unscaled * 10 + i128::from(digit);
                    started = true;
                }
                Token::Digit(_) => {
                    if let Some(digit) = next.and_then(|c| c.to_digit(10)) {
                        eat(next?);
                        unscaled = unscaled * 10 + i128::from(digit);
                        n_fraction += 1;
                    }
                }
                Token::Group => {
                    if started && !eat(',') {
                        return None;
                    }
                    if !started {
                        eat(',');
                    }
                }
                Token::Point => {
                    in_fraction = true;
                    eat('.');
                }
                Token::Dollar => {
                    if !eat('$') {
                        return None;
                    }
                }
                Token::Sign | Token::Minus => {
                    if eat('-') {
                        negative = true;
                    } else {
                        eat('+');
                    }
                }
                Token::Brackets => {}
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let unscaled = unscaled.checked_mul(pow10((self.fraction - n_fraction) as u32)?)?;
        Some(if negative { -unscaled } else { unscaled })
    }

    fn write(&self, out: &mut String, unscaled: i128) {
        let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = self.whole + self.fraction);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(self.fraction));
        if whole.len() > self.whole {
            // Too many digits: Spark prints the format filled with '#'.
            out.extend(self.tokens.iter().map(|token| match token {
                Token::Point => '.',
                Token::Group => ',',
                _ => '#',
            }));
            return;
        }
        let n_leading = whole.bytes().take_while(|byte| *byte == b'0').count();
        let first_zero = self.tokens.iter().filter(|t| matches!(t, Token::Digit(_) | Token::Point)).position(|t| t == &Token::Digit(true));
        let blank_until = n_leading.min(first_zero.unwrap_or(self.whole.saturating_sub(usize::from(self.fraction == 0))));
        let negative = unscaled < 0;
        let mut all = whole.chars().chain(fraction.chars());
        let mut idx = 0;
        let mut text = String::new();
        for token in &self.tokens {
            match token {
                Token::Digit(_) => {
                    let digit = all.next().unwrap_or('0');
                    text.push(if idx < blank_until { ' ' } else { digit });
                    idx += 1;
                }
                Token::Group => text.push(if idx > blank_until { ',' } else { ' ' }),
                Token::Point => text.push('.'),
                Token::Dollar => text.push('$'),
                Token::Sign => text.push(if negative { '-' } else { '+' }),
                Token::Minus => text.push(if negative { '-' } else { ' ' }),
                Token::Brackets => {}
            }
        }
        // Signs and currency stand directly before the first digit.
        let n_blank = text.chars().filter(|c| *c == ' ').count();
        if text.starts_with(['$', '+', '-']) && n_blank > 0 {
            let head: String = text.chars().take_while(|c| matches!(c, '$' | '+' | '-')).collect();
            let tail: String = text.chars().skip(head.chars().count()).filter(|c| *c != ' ').collect();
            text = format!("{}{head}{tail}", " ".repeat(n_blank));
        }
        if self.tokens.contains(&Token::Brackets) {
            text = if negative { format!("<{}>", text.trim_start()) } else { text };
        }
        out.push_str(&text);
    }
}

fn number_type(types: &Types<'_>) -> Result<DataType> {
    let format =
        types.text(1).ok_or_else(|| invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the number format must be a string literal"))?;
    let format = NumberFormat::parse(format)?;
    Ok(DataType::Decimal128((format.whole + format.fraction) as u8, format.fraction as i8))
}

fn to_number(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let text_format = call.required_text(1)?;
    let format = NumberFormat::parse(text_format)?;
    let values = call.strings(0)?;
    let mut builder = Decimal128Array::builder(call.n_rows());
    for row in 0..call.n_rows() {
        let Some(value) = text(&values, row) else {
            builder.append_null();
            continue;
        };
        match format.read(value) {
            Some(unscaled) => builder.append_value(unscaled),
            None if lenient => builder.append_null(),
            None => {
                return Err(data("INVALID_FORMAT.MISMATCH_INPUT", format!("the text '{value}' does not have the format '{text_format}'")));
            }
        }
    }
    let (precision, scale) = ((format.whole + format.fraction) as u8, format.fraction as i8);
    Ok(Arc::new(builder.finish().with_precision_and_scale(precision, scale)?))
}

fn to_char(call: &Call<'_>) -> Result<ArrayRef> {
    let format = NumberFormat::parse(call.required_text(1)?)?;
    let options = CastOptions::new(CastMode::Try, millstream_formats::datetime::Zone::UTC);
    let mut values = call.array(0)?;
    if !matches!(values.data_type(), DataType::Decimal128(..)) {
        let wanted = if values.data_type().is_integer() { DataType::Decimal128(20, 0) } else { DataType::Decimal128(38, 10) };
        values = cast_array(&values, &wanted, &options)?;
    }
    let DataType::Decimal128(_, scale) = values.data_type() else { return Err(internal("to_char needs a decimal")) };
    let scale = *scale;
    let values = values.as_primitive::<Decimal128Type>();
    text_rows(call.n_rows(), |row, out| {
        if values.is_null(row) {
            return Ok(false);
        }
        let Some(unscaled) = rescale(values.value(row), scale, format.fraction as i8, 38) else { return Ok(false) };
        format.write(out, unscaled);
        Ok(true)
    })
}
