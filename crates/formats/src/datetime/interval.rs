//! Intervals as the text of Spark's `cast(.. as string)`.

use std::fmt::Write;

use super::text::push_time_fraction;
use super::{MICROS_PER_DAY, MICROS_PER_SECOND};

/// `INTERVAL '1-2' YEAR TO MONTH`.
pub fn year_month_interval_text(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let abs = months.unsigned_abs();
    format!("INTERVAL '{sign}{}-{}' YEAR TO MONTH", abs / 12, abs % 12)
}

/// `INTERVAL '1 02:03:04.5' DAY TO SECOND`.
pub fn day_time_interval_text(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let abs = us.unsigned_abs();
    let (days, in_day) = (abs / MICROS_PER_DAY as u64, abs % MICROS_PER_DAY as u64);
    let seconds = in_day / MICROS_PER_SECOND as u64;
    let mut out = format!("INTERVAL '{sign}{days} {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_time_fraction(&mut out, (in_day % MICROS_PER_SECOND as u64) as u32);
    out.push_str("' DAY TO SECOND");
    out
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
