//! Spark's three interval types as values and as fields of types.
//!
//! Only the numbers live here; their text is read by `parse_interval` and by the expression parser.

use std::fmt;

/// The calendar interval: months, days and microseconds stay apart because they differ in length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CalendarInterval {
    /// Months, twelve to the year.
    pub months: i32,
    /// Days, seven to the week.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl CalendarInterval {
    /// Microseconds in a day.
    pub const MICROS_PER_DAY: i64 = 86_400_000_000;

    /// An interval of microseconds.
    pub fn from_micros(micros: i64) -> CalendarInterval {
        CalendarInterval { months: 0, days: 0, micros }
    }

    /// The whole length in microseconds as Spark counts a watermark's delay: a day has 24 hours and
    /// a month 31 days. `None` on overflow.
    pub fn to_micros_for_delay(self) -> Option<i64> {
        let days = i64::from(self.months).checked_mul(31)?.checked_add(i64::from(self.days))?;
        days.checked_mul(Self::MICROS_PER_DAY)?.checked_add(self.micros)
    }

    /// True when any part is below zero.
    pub fn is_negative(self) -> bool {
        self.months < 0 || self.days < 0 || self.micros < 0
    }
}

/// A field of the year-month interval type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum YearMonthField {
    /// `YEAR`
    Year,
    /// `MONTH`
    Month,
}

/// A field of the day-time interval type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayTimeField {
    /// `DAY`
    Day,
    /// `HOUR`
    Hour,
    /// `MINUTE`
    Minute,
    /// `SECOND`
    Second,
}

impl fmt::Display for YearMonthField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            YearMonthField::Year => "year",
            YearMonthField::Month => "month",
        })
    }
}

impl fmt::Display for DayTimeField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DayTimeField::Day => "day",
            DayTimeField::Hour => "hour",
            DayTimeField::Minute => "minute",
            DayTimeField::Second => "second",
        })
    }
}
