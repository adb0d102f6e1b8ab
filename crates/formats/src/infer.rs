//! Types found by reading: the lattice that JSON and CSV inference share, and the trait that readers drive.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

use millstream_core::{Error, Result};

/// Finds a schema by reading inputs as a [`crate::Decoder`] would.
pub trait Inferrer: Send {
    /// A new input begins; `origin` names it in errors.
    fn begin(&mut self, origin: &str);

    /// More bytes of the input.
    fn push(&mut self, bytes: &[u8]) -> Result<()>;

    /// The input ends.
    fn end(&mut self) -> Result<()>;

    /// The schema of all that was read; without columns if nothing was.
    fn finish(&mut self) -> Result<Schema>;
}

/// What values looked like so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Null,
    Bool,
    Int,
    Long,
    Double,
    Decimal(u8, u8),
    Date,
    TimestampNtz,
    Timestamp,
    Str,
    Struct(BTreeMap<String, Seen>),
    Array(Box<Seen>),
}

impl Seen {
    /// The tightest type for both, as Spark's `compatibleType`; else a string.
    pub fn merge(self, other: Self) -> Self {
        use Seen::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Null, other) | (other, Null) => other,
            (Int, Long) | (Long, Int) => Long,
            (Int | Long, Double) | (Double, Int | Long) => Double,
            (Decimal(..), Double) | (Double, Decimal(..)) => Double,
            (Int, Decimal(p, s)) | (Decimal(p, s), Int) => decimal_of((10, 0), (p, s)),
            (Long, Decimal(p, s)) | (Decimal(p, s), Long) => decimal_of((20, 0), (p, s)),
            (Decimal(p1, s1), Decimal(p2, s2)) => decimal_of((p1, s1), (p2, s2)),
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            (Date, TimestampNtz) | (TimestampNtz, Date) => TimestampNtz,
            (TimestampNtz, Timestamp) | (Timestamp, TimestampNtz) => Timestamp,
            // The same names in another case are the same members, but only if all are.
            (Struct(a), Struct(b)) if a.len() == b.len() && a.keys().zip(b.keys()).all(|(a, b)| a.to_lowercase() == b.to_lowercase()) => {
                Struct(a.into_iter().zip(b.into_values()).map(|((name, a), b)| (name, a.merge(b))).collect())
            }
            (Struct(mut a), Struct(b)) => {
                for (name, seen) in b {
                    let merged = match a.remove(&name) {
                        Some(before) => before.merge(seen),
                        None => seen,
                    };
                    a.insert(name, merged);
                }
                Struct(a)
            }
            (Array(a), Array(b)) => Array(Box::new(a.merge(*b))),
            _ => Str,
        }
    }

    /// The Arrow type; `None` for what has no value at all and is left out: structs without members, and with
    /// `drop_null` whatever was only null.
    pub fn data_type(&self, drop_null: bool) -> Option<DataType> {
        Some(match self {
            Self::Null if drop_null => return None,
            Self::Null | Self::Str => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, i8::try_from(*scale).ok()?),
            Self::Date => DataType::Date32,
            Self::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Struct(members) => {
                let fields = fields_of(members, drop_null);
                if fields.is_empty() {
                    return None;
                }
                DataType::Struct(fields)
            }
            Self::Array(element) => DataType::List(Arc::new(Field::new("element", element.data_type(drop_null)?, true))),
        })
    }
}

/// Members that have a type and a name.
pub(crate) fn fields_of(members: &BTreeMap<String, Seen>, drop_null: bool) -> Fields {
    members
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .filter_map(|(name, seen)| Some(Field::new(name, seen.data_type(drop_null)?, true)))
        .collect()
}

/// The decimal for the values of both, or a double if that is too wide.
fn decimal_of(a: (u8, u8), b: (u8, u8)) -> Seen {
    let scale = a.1.max(b.1);
    let whole = (a.0 - a.1.min(a.0)).max(b.0 - b.1.min(b.0));
    if whole + scale > 38 { Seen::Double } else { Seen::Decimal(whole + scale, scale) }
}

/// Precision and scale of a decimal text, as Java's `BigDecimal` counts them; `None` if it is no number.
pub(crate) fn decimal_shape(text: &str) -> Option<(i64, i64)> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => {
            let exponent = text.get(at + 1..)?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            (text.get(..at)?, exponent.parse::<i64>().ok()?)
        }
        None => (text, 0),
    };
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = whole.bytes().chain(fraction.bytes()).skip_while(|byte| *byte == b'0').count();
    let scale = i64::try_from(fraction.len()).ok()? - exponent;
    Some((i64::try_from(significant.max(1)).ok()?, scale))
}

/// Takes every record, or an even share of them. Spark draws them by chance; an even share gives the same schema twice.
#[derive(Debug)]
pub(crate) struct Sample {
    ratio: f64,
    due: f64,
}

impl Sample {
    pub fn new(ratio: f64) -> Self {
        // The first record is always taken.
        Self { ratio, due: 1.0 - ratio }
    }

    pub fn takes(&mut self) -> bool {
        self.due += self.ratio;
        let taken = self.due >= 1.0;
        if taken {
            self.due -= 1.0;
        }
        taken
    }
}

/// Refuses columns whose names differ in case only.
pub(crate) fn check_names(fields: &Fields) -> Result<()> {
    let mut lower = BTreeMap::new();
    for field in fields {
        if let Some(before) = lower.insert(field.name().to_lowercase(), field.name()) {
            return Err(Error::invalid(format!("the data has the columns '{before}' and '{}', which are one name", field.name()))
                .code("COLUMN_ALREADY_EXISTS")
                .hint("give a schema with the one that is wanted"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
