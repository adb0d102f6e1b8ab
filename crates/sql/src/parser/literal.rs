//! Numbers and typed literals.
//!
//! A number keeps its written scale (`1.50` has two digits behind the point). Dates and timestamps
//! keep their text, because the session's time zone decides what they mean.

use super::types::PRECISION_EXCEEDED;
use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{Expr, Literal, TypedLiteralKind};
use crate::lexer::TokenKind;
use crate::lexer::text::string_value;
use crate::span::Span;

const PRECISION_MAX: usize = 38;

impl Parser<'_> {
    /// A number, perhaps with a minus sign in front.
    pub(super) fn number(&mut self) -> Result<Expr> {
        let start = self.peek().span;
        let negative = self.take_symbol("-");
        let token = self.peek();
        if !token.is_number() {
            return Err(self.unexpected("a number"));
        }
        self.next();
        let span = self.span_from(start);
        let sign = if negative { "-" } else { "" };
        let text = format!("{sign}{}", token.text);
        let value = number_value(&text, token.kind, span)?;
        Ok(Expr::Literal { value, span })
    }

    /// `DATE '...'` and its like, or `X'...'`.
    pub(super) fn typed_literal(&mut self) -> Result<Expr> {
        let word = self.peek();
        let string = self.peek_nth(1);
        let span = word.span.to(string.span);
        let kind = if word.is_word("DATE") {
            TypedLiteralKind::Date
        } else if word.is_word("TIMESTAMP") {
            TypedLiteralKind::Timestamp
        } else if word.is_word("TIMESTAMP_LTZ") {
            TypedLiteralKind::TimestampLtz
        } else if word.is_word("TIMESTAMP_NTZ") {
            TypedLiteralKind::TimestampNtz
        } else if word.is_word("TIME") {
            TypedLiteralKind::Time
        } else {
            self.skip(2);
            let value = Literal::Binary(hex_bytes(&string_value(string.text), span)?);
            return Ok(Expr::Literal { value, span });
        };
        self.skip(2);
        Ok(Expr::TypedLiteral { kind, text: string_value(string.text), span })
    }
}

fn number_value(text: &str, kind: TokenKind, span: Span) -> Result<Literal> {
    let misfit = |what: &str, class| SqlError::invalid(format!("the number {text} does not fit {what}"), span).with_class(class);
    let out_of_range = |what: &str| misfit(what, "INVALID_NUMERIC_LITERAL_RANGE");
    let too_long = |what: &str| misfit(what, PRECISION_EXCEEDED);
    let stem = |suffix: usize| text.get(..text.len().saturating_sub(suffix)).unwrap_or(text);
    Ok(match kind {
        TokenKind::Integer => match (text.parse::<i32>(), text.parse::<i64>()) {
            (Ok(int), _) => Literal::Int(int),
            (_, Ok(long)) => Literal::Long(long),
            _ => decimal(text).ok_or_else(|| too_long("DECIMAL(38, 0)"))?,
        },
        TokenKind::Long => Literal::Long(stem(1).parse().map_err(|_| out_of_range("BIGINT"))?),
        TokenKind::Short => Literal::Short(stem(1).parse().map_err(|_| out_of_range("SMALLINT"))?),
        TokenKind::Byte => Literal::Byte(stem(1).parse().map_err(|_| out_of_range("TINYINT"))?),
        TokenKind::Float => Literal::Float(stem(1).parse().ok().filter(|f: &f32| f.is_finite()).ok_or_else(|| out_of_range("FLOAT"))?),
        TokenKind::Double => Literal::Double(double(stem(1)).ok_or_else(|| out_of_range("DOUBLE"))?),
        TokenKind::Exponent => Literal::Double(double(text).ok_or_else(|| out_of_range("DOUBLE"))?),
        TokenKind::BigDecimal => decimal(stem(2)).ok_or_else(|| too_long("DECIMAL with 38 digits"))?,
        _ => decimal(text).ok_or_else(|| too_long("DECIMAL with 38 digits"))?,
    })
}

fn double(text: &str) -> Option<f64> {
    text.parse().ok().filter(|d: &f64| d.is_finite())
}

/// The decimal with exactly the written digits; an exponent moves the point.
fn decimal(text: &str) -> Option<Literal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or(Some((text, 0)), |(m, e)| e.parse::<i32>().ok().map(|e| (m, e)))?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    // Spark has no negative scales: 1e5BD is 100000.
    while scale < 0 && unscaled != 0 {
        unscaled = unscaled.checked_mul(10)?;
        scale += 1;
    }
    let scale = scale.max(0);
    let digits = unscaled.unsigned_abs().to_string().len();
    let precision = digits.max(usize::try_from(scale).ok()?);
    if precision > PRECISION_MAX {
        return None;
    }
    Some(Literal::Decimal { unscaled, precision: u8::try_from(precision).ok()?, scale: i8::try_from(scale).ok()? })
}

/// The bytes of `X'...'`; an odd digit in front counts as one byte.
fn hex_bytes(text: &str, span: Span) -> Result<Vec<u8>> {
    let bad = || SqlError::invalid(format!("'{text}' is not a row of hexadecimal digits"), span);
    let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    let nibble = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    padded
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(bad)
}
