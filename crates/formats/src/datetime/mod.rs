//! Dates, timestamps, time zones and intervals as Spark reads and prints them.
//!
//! A date is days since 1970-01-01, a timestamp microseconds since then in UTC, both in the proleptic Gregorian
//! calendar, for every value that fits. Nothing here asks for the current time: where Spark would, the caller passes it.

mod civil;
mod interval;
mod parse;
mod text;
mod zone;

pub use civil::{Civil, days_from_civil, days_in_month, is_leap_year, weekday, year_day};
pub use interval::{IntervalField, IntervalRange, calendar_interval_text, push_day_time_interval, push_year_month_interval};
pub use parse::{parse_date, parse_timestamp, parse_timestamp_at, parse_timestamp_ntz};
pub(crate) use text::push_local_iso_millis;
pub use text::{push_date, push_time_fraction, push_timestamp, push_timestamp_ntz};
pub use zone::Zone;

/// Microseconds of a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Seconds of a day.
pub const SECONDS_PER_DAY: i64 = 86_400;
/// Microseconds of a day.
pub const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

#[cfg(test)]
mod tests;
