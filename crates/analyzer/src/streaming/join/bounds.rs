//! How long rows of a join are kept: what its conditions say of the event times of both sides.
//!
//! A condition such as `rt <= lt + INTERVAL 10 SECONDS` says that a left row waits for right rows only until these are
//! 10 seconds younger: `lt >= rt - 10 s`. Right rows that are still to come have `rt > watermark`, so a left row is of no
//! use when `lt <= watermark - 10 s`. Equal event times (or windows of them) among the keys bound both sides alike.
//!
//! The milliseconds are Spark's (StreamingJoinHelper.getStateValueWatermark): a bound that allows equality keeps rows one
//! millisecond longer than need be, and of several bounds the loosest counts.

use std::fmt;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Between, BinaryExpr, Case, Expr, Operator};

use crate::constant;

/// When rows of one side are of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The event time of the side.
    pub column: Column,
    /// A row expires when the watermark reaches its event time, rounded up to milliseconds, and so much more.
    pub offset_ms: i64,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:+} ms", self.column, self.offset_ms)
    }
}

/// How long rows with an event time in `own` are kept, by conditions that hold for all matches, if rows of the other side
/// whose event time, one of `other`, is behind the watermark come no more.
pub(super) fn bound_of(own: &[Column], other: &[Column], conjuncts: &[Expr]) -> Option<Bound> {
    let mut found: Option<Bound> = None;
    for bound in conjuncts.iter().flat_map(comparisons).filter_map(|comparison| comparison.bound(own, other)) {
        found = Some(match found {
            Some(known) if known.column != bound.column || known.offset_ms >= bound.offset_ms => known,
            _ => bound,
        });
    }
    found
}

/// What a guard against errors stands around: where the guard is closed no comparison is true.
pub(super) fn without_guard(expr: &Expr) -> &Expr {
    match expr {
        Expr::Case(Case { expr: None, when_then_expr, else_expr: None }) => match when_then_expr.as_slice() {
            [(_, then)] => without_guard(then),
            _ => expr,
        },
        _ => expr,
    }
}

/// `difference > 0`, `>= 0` or `= 0`.
struct Comparison {
    difference: Linear,
    sign: Sign,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Positive,
    NotNegative,
    Zero,
}

/// A sum of event times, each taken `n` times, and microseconds.
#[derive(Default)]
struct Linear {
    columns: Vec<(Column, i64)>,
    constant_us: i64,
}

fn comparisons(conjunct: &Expr) -> Vec<Comparison> {
    let of = |left: &Expr, op: Operator, right: &Expr| Comparison::of(left, op, right).into_iter();
    match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => of(left, *op, right).collect(),
        Expr::Between(Between { expr, negated: false, low, high }) => {
            of(expr, Operator::GtEq, low).chain(of(expr, Operator::LtEq, high)).collect()
        }
        _ => vec![],
    }
}

impl Comparison {
    fn of(left: &Expr, op: Operator, right: &Expr) -> Option<Self> {
        let (left, right) = (Linear::of(left)?, Linear::of(right)?);
        let (difference, sign) = match op {
            Operator::Gt => (left.minus(right)?, Sign::Positive),
            Operator::GtEq => (left.minus(right)?, Sign::NotNegative),
            Operator::Lt => (right.minus(left)?, Sign::Positive),
            Operator::LtEq => (right.minus(left)?, Sign::NotNegative),
            Operator::Eq => (left.minus(right)?, Sign::Zero),
            _ => return None,
        };
        Some(Self { difference, sign })
    }

    fn bound(&self, own: &[Column], other: &[Column]) -> Option<Bound> {
        let [(a, n_a), (b, n_b)] = self.difference.columns.as_slice() else { return None };
        let (column, n_own, n_other) = match (own.contains(a) && other.contains(b), own.contains(b) && other.contains(a)) {
            (true, _) => (a, *n_a, *n_b),
            (_, true) => (b, *n_b, *n_a),
            _ => return None,
        };
        // own - other + us > 0 says own > other - us > watermark - us.
        let us = match (n_own, n_other, self.sign) {
            (1, -1, _) => self.difference.constant_us,
            (-1, 1, Sign::Zero) => self.difference.constant_us.checked_neg()?,
            // A bound from above says nothing of when a row is of no use.
            _ => return None,
        };
        let offset_ms = us.div_euclid(1000) + i64::from(us.rem_euclid(1000) > 0);
        let offset_ms = match self.sign {
            Sign::Positive => offset_ms,
            Sign::NotNegative => offset_ms.checked_add(1)?,
            // Spark keeps such rows by their key until the watermark passes it, though they were of no use before.
            Sign::Zero => offset_ms.max(0),
        };
        Some(Bound { column: column.clone(), offset_ms })
    }
}

impl Linear {
    fn of(expr: &Expr) -> Option<Self> {
        match without_guard(expr) {
            Expr::Column(column) => Some(Self { columns: vec![(column.clone(), 1)], constant_us: 0 }),
            Expr::Alias(alias) => Self::of(&alias.expr),
            Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), args.as_slice()) {
                ("spark_add_interval", [time, interval, ..]) => Self::of(time)?.plus(Self::constant(interval)?),
                ("spark_subtract_interval", [time, interval, ..]) => Self::of(time)?.minus(Self::constant(interval)?),
                ("spark_subtract_timestamps", [left, right, ..]) => Self::of(left)?.minus(Self::of(right)?),
                _ => Self::constant(expr),
            },
            other => Self::constant(other),
        }
    }

    /// An interval of a fixed length.
    fn constant(expr: &Expr) -> Option<Self> {
        if !expr.column_refs().is_empty() || expr.is_volatile() {
            return None;
        }
        let constant_us = match constant::evaluate(expr).ok()? {
            ScalarValue::DurationMicrosecond(us) => us?,
            // Days of 24 hours, as in Spark; months have no length.
            ScalarValue::IntervalMonthDayNano(interval) => {
                let interval = interval.filter(|interval| interval.months == 0)?;
                i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1000)?
            }
            _ => return None,
        };
        Some(Self { columns: vec![], constant_us })
    }

    fn plus(mut self, other: Self) -> Option<Self> {
        for (column, n) in other.columns {
            match self.columns.iter_mut().find(|(known, _)| *known == column) {
                Some((_, known)) => *known += n,
                None => self.columns.push((column, n)),
            }
        }
        self.columns.retain(|(_, n)| *n != 0);
        Some(Self { constant_us: self.constant_us.checked_add(other.constant_us)?, ..self })
    }

    fn minus(self, other: Self) -> Option<Self> {
        let columns = other.columns.into_iter().map(|(column, n)| (column, -n)).collect();
        self.plus(Self { columns, constant_us: other.constant_us.checked_neg()? })
    }
}

#[cfg(test)]
mod tests;
