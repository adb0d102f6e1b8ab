//! `schema_of_json`: the type of one JSON text, as Spark infers it.

use datafusion::common::Result;

use super::scan::{Kind, Scanner};
use crate::error::data;

/// An inferred type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Inferred {
    Null,
    Boolean,
    Long,
    Double,
    Decimal(usize, usize),
    String,
    Array(Box<Inferred>),
    Struct(Vec<(String, Inferred)>),
}

/// The type of a text.
pub(super) fn infer(text: &str, prefers_decimal: bool, primitives_as_string: bool) -> Result<Inferred> {
    let options = Options { prefers_decimal, primitives_as_string };
    value(&mut Scanner::new(text), options)
        .map(Inferred::finished)
        .ok_or_else(|| data("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION", format!("schema_of_json: the text '{text}' is no JSON")))
}

#[derive(Clone, Copy)]
struct Options {
    prefers_decimal: bool,
    primitives_as_string: bool,
}

fn value(scan: &mut Scanner<'_>, options: Options) -> Option<Inferred> {
    Some(match scan.kind()? {
        Kind::String => {
            scan.string()?;
            Inferred::String
        }
        Kind::Word => match scan.word()? {
            "null" => Inferred::Null,
            _ if options.primitives_as_string => Inferred::String,
            _ => Inferred::Boolean,
        },
        Kind::Number => {
            let number = scan.number()?;
            if options.primitives_as_string {
                return Some(Inferred::String);
            }
            let is_whole = !number.contains(['.', 'e', 'E']);
            if is_whole && number.parse::<i64>().is_ok() {
                return Some(Inferred::Long);
            }
            let digits = number.trim_start_matches('-');
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let plain = !number.contains(['e', 'E']) && whole.len() + fraction.len() <= 38;
            // Whole numbers past BIGINT are decimals in any case.
            if plain && (is_whole || options.prefers_decimal) {
                let whole = whole.trim_start_matches('0').len();
                Inferred::Decimal((whole + fraction.len()).max(1), fraction.len())
            } else {
                Inferred::Double
            }
        }
        Kind::Array => {
            scan.begin_array()?;
            let (mut element, mut first) = (Inferred::Null, true);
            while scan.next_element(first)? {
                first = false;
                element = element.or(value(scan, options)?);
            }
            Inferred::Array(Box::new(element))
        }
        Kind::Object => {
            scan.begin_object()?;
            let mut fields: Vec<(String, Inferred)> = Vec::new();
            let mut first = true;
            while let Some(name) = scan.next_name(first)? {
                first = false;
                let name = name.text().into_owned();
                let data_type = value(scan, options)?;
                match fields.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = known.clone().or(data_type),
                    None => fields.push((name, data_type)),
                }
            }
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Inferred::Struct(fields)
        }
    })
}

impl Inferred {
    /// The type that holds values of both.
    fn or(self, other: Self) -> Self {
        use Inferred::{Array, Decimal, Double, Long, Null, String, Struct};
        match (self, other) {
            (a, b) if a == b => a,
            (Null, other) | (other, Null) => other,
            (Long, Double) | (Double, Long) | (Double, Decimal(..)) | (Decimal(..), Double) => Double,
            (Long, Decimal(p, s)) | (Decimal(p, s), Long) => Decimal(20, 0).or(Decimal(p, s)),
            (Decimal(p1, s1), Decimal(p2, s2)) => {
                let scale = s1.max(s2);
                let precision = (p1 - s1.min(p1)).max(p2 - s2.min(p2)) + scale;
                if precision > 38 { Double } else { Decimal(precision, scale) }
            }
            (Array(a), Array(b)) => Array(Box::new(a.or(*b))),
            (Struct(mut a), Struct(b)) => {
                for (name, data_type) in b {
                    match a.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = known.clone().or(data_type),
                        None => a.push((name, data_type)),
                    }
                }
                a.sort_by(|(a, _), (b, _)| a.cmp(b));
                Struct(a)
            }
            _ => String,
        }
    }

    /// Without anything unknown: NULLs become strings.
    fn finished(self) -> Self {
        match self {
            Self::Null => Self::String,
            Self::Array(element) => Self::Array(Box::new(element.finished())),
            Self::Struct(fields) => Self::Struct(fields.into_iter().map(|(name, t)| (name, t.finished())).collect()),
            other => other,
        }
    }

    /// Spark's SQL name of the type.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("VOID"),
            Self::Boolean => out.push_str("BOOLEAN"),
            Self::Long => out.push_str("BIGINT"),
            Self::Double => out.push_str("DOUBLE"),
            Self::Decimal(precision, scale) => out.push_str(&format!("DECIMAL({precision},{scale})")),
            Self::String => out.push_str("STRING"),
            Self::Array(element) => {
                out.push_str("ARRAY<");
                element.write(out);
                out.push('>');
            }
            Self::Struct(fields) => {
                out.push_str("STRUCT<");
                for (idx, (name, data_type)) in fields.iter().enumerate() {
                    if idx > 0 {
                        out.push_str(", ");
                    }
                    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                        && !name.starts_with(|c: char| c.is_ascii_digit());
                    if plain && !name.is_empty() {
                        out.push_str(name);
                    } else {
                        out.push_str(&format!("`{}`", name.replace('`', "``")));
                    }
                    out.push_str(": ");
                    data_type.write(out);
                }
                out.push('>');
            }
        }
    }
}
