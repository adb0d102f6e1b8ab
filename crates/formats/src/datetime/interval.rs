//! Intervals as the text of Spark's `cast(.. as string)`.

use std::fmt::Write;

use super::text::push_time_fraction;
use super::{MICROS_PER_DAY, MICROS_PER_SECOND};

const MINUTE: u64 = 60 * MICROS_PER_SECOND as u64;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = MICROS_PER_DAY as u64;

/// The fields of an interval, largest first; a qualifier such as `DAY TO SECOND` is a pair of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum IntervalField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// The range of an interval type: `DAY TO SECOND`. The Arrow type does not tell it.
pub type IntervalRange = (IntervalField, IntervalField);

impl IntervalField {
    /// The field as SQL writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "YEAR",
            Self::Month => "MONTH",
            Self::Day => "DAY",
            Self::Hour => "HOUR",
            Self::Minute => "MINUTE",
            Self::Second => "SECOND",
        }
    }

    /// The field of a lower-case word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "year" => Self::Year,
            "month" => Self::Month,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "second" => Self::Second,
            _ => return None,
        })
    }
}

/// Appends `INTERVAL '1 02:03:04.5' DAY TO SECOND`, cut to the range.
pub fn push_day_time_interval(out: &mut String, us: i64, range: Option<IntervalRange>) {
    use IntervalField::{Day, Hour, Minute, Second};
    let (from, to) = range.unwrap_or((Day, Second));
    out.push_str("INTERVAL '");
    if us < 0 {
        out.push('-');
    }
    let mut rest = us.unsigned_abs();
    let mut first = true;
    for (field, unit) in [(Day, DAY), (Hour, HOUR), (Minute, MINUTE), (Second, MICROS_PER_SECOND as u64)] {
        if field < from || field > to {
            continue;
        }
        let value = rest / unit;
        rest %= unit;
        if !first {
            out.push(if field == Hour { ' ' } else { ':' });
        }
        let _ = match field {
            Day => write!(out, "{value}"),
            _ => write!(out, "{value:02}"),
        };
        if field == Second {
            push_time_fraction(out, rest as u32);
        }
        first = false;
    }
    push_range(out, (from, to));
}

/// Appends `INTERVAL '1-2' YEAR TO MONTH`, cut to the range.
pub fn push_year_month_interval(out: &mut String, months: i32, range: Option<IntervalRange>) {
    use IntervalField::{Month, Year};
    let (from, to) = range.unwrap_or((Year, Month));
    out.push_str("INTERVAL '");
    if months < 0 {
        out.push('-');
    }
    let abs = months.unsigned_abs();
    let _ = match (from, to) {
        (Year, Year) => write!(out, "{}", abs / 12),
        (Month, Month) => write!(out, "{abs}"),
        _ => write!(out, "{}-{}", abs / 12, abs % 12),
    };
    push_range(out, (from, to));
}

fn push_range(out: &mut String, (from, to): IntervalRange) {
    out.push_str("' ");
    out.push_str(from.name());
    if from != to {
        out.push_str(" TO ");
        out.push_str(to.name());
    }
}

/// `1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds`; `0 seconds` for none.
pub fn calendar_interval_text(months: i32, days: i32, us: i64) -> String {
    let mut out = String::new();
    let mut unit = |value: i64, name: &str| {
        if value != 0 {
            let _ = write!(out, "{value} {name} ");
        }
    };
    unit(i64::from(months / 12), "years");
    unit(i64::from(months % 12), "months");
    unit(i64::from(days), "days");
    let minute = 60 * MICROS_PER_SECOND;
    unit(us / (60 * minute), "hours");
    unit(us % (60 * minute) / minute, "minutes");
    let rest = us % minute;
    if rest != 0 {
        let abs = rest.unsigned_abs();
        let _ = write!(out, "{}{}", if rest < 0 { "-" } else { "" }, abs / MICROS_PER_SECOND as u64);
        push_time_fraction(&mut out, (abs % MICROS_PER_SECOND as u64) as u32);
        out.push_str(" seconds ");
    }
    if out.is_empty() {
        return "0 seconds".to_owned();
    }
    out.truncate(out.trim_end().len());
    out
}
