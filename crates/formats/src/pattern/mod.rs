//! Spark's datetime patterns (`yyyy-MM-dd HH:mm:ss[.SSS][XXX]`), compiled once, then used per value.
//!
//! The letters are java.time's `DateTimeFormatter` with Spark's changes: `y` is the proleptic year when there is no era
//! letter, a run of `S` reads one up to that many digits, week-based letters (`Y`, `w`, `u`, `e`, ..) are refused, and so
//! are text letters that cannot be read back (`E`, `F`, `q`, `Q`) when parsing. Texts are English. Parsing ignores case
//! and checks every field (java's strict resolver).
//!
//! `compile` makes items of letters, `print` formats, `read` parses and resolves.

mod compile;
mod print;
mod read;

use std::fmt;

use millstream_core::Result;

use crate::datetime::{Civil, MICROS_PER_DAY, Zone};
use compile::Item;

/// What a pattern is for: Spark refuses more letters for reading than for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Values to text.
    Format,
    /// Text to values.
    Parse,
}

/// A compiled datetime pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct DateTimePattern {
    source: String,
    items: Vec<Item>,
}

impl DateTimePattern {
    /// Compiles a pattern; the error names the letter that is not supported.
    pub fn new(pattern: &str, usage: Usage) -> Result<Self> {
        Ok(Self { source: pattern.to_owned(), items: compile::compile(pattern, usage)? })
    }

    /// Compiles a pattern for writing.
    pub fn for_format(pattern: &str) -> Result<Self> {
        Self::new(pattern, Usage::Format)
    }

    /// Compiles a pattern for reading.
    pub fn for_parse(pattern: &str) -> Result<Self> {
        Self::new(pattern, Usage::Parse)
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Appends a timestamp as local time of `zone`.
    pub fn format_timestamp(&self, out: &mut String, us: i64, zone: Zone) -> Result<()> {
        let offset = zone.offset_at(us);
        let local = us.saturating_add(i64::from(offset) * crate::datetime::MICROS_PER_SECOND);
        let value = print::Value {
            civil: Civil::from_local_micros(local),
            days: local.div_euclid(MICROS_PER_DAY),
            zone: Some((zone, offset, us)),
            date_only: false,
        };
        print::print(&self.items, &value, out)
    }

    /// Appends a timestamp without time zone; zone letters are an error.
    pub fn format_timestamp_ntz(&self, out: &mut String, local_us: i64) -> Result<()> {
        let value = print::Value {
            civil: Civil::from_local_micros(local_us),
            days: local_us.div_euclid(MICROS_PER_DAY),
            zone: None,
            date_only: false,
        };
        print::print(&self.items, &value, out)
    }

    /// Appends a date; hour letters and zone letters are an error, as in java.time.
    pub fn format_date(&self, out: &mut String, days: i32) -> Result<()> {
        let days = i64::from(days);
        let value = print::Value { civil: Civil::from_days(days), days, zone: None, date_only: true };
        print::print(&self.items, &value, out)
    }

    /// Reads a whole text as a timestamp, in `zone` unless the text names one.
    pub fn parse_timestamp(&self, text: &str, zone: Zone) -> Option<i64> {
        let fields = read::read(&self.items, text)?;
        fields.zone.unwrap_or(zone).to_utc(fields.civil()?.to_local_micros()?)
    }

    /// Reads a whole text as a timestamp without time zone; a zone in the text is refused unless `allow_zone`.
    pub fn parse_timestamp_ntz(&self, text: &str, allow_zone: bool) -> Option<i64> {
        let fields = read::read(&self.items, text)?;
        if fields.zone.is_some() && !allow_zone {
            return None;
        }
        fields.civil()?.to_local_micros()
    }

    /// Reads a whole text as a date.
    pub fn parse_date(&self, text: &str) -> Option<i32> {
        let civil = read::read(&self.items, text)?.civil()?;
        i32::try_from(crate::datetime::days_from_civil(civil.year, civil.month, civil.day)?).ok()
    }
}

impl fmt::Debug for DateTimePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DateTimePattern({:?})", self.source)
    }
}

pub(crate) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
pub(crate) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[cfg(test)]
mod tests;
