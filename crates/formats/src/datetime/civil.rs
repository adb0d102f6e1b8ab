//! Days since 1970-01-01 to year, month and day and back, in the proleptic Gregorian calendar.
//!
//! Integer arithmetic on eras of 400 years; unlike chrono it covers the whole range of Spark's dates and timestamps.

use super::{MICROS_PER_DAY, MICROS_PER_SECOND};

/// A local date and time taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Civil {
    /// Proleptic year: 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999.
    pub micro: u32,
}

impl Civil {
    /// The date part of `days` since 1970-01-01, at midnight.
    pub fn from_days(days: i64) -> Self {
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let mp = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month: month as u32, day: day as u32, ..Self::default() }
    }

    /// Local microseconds since 1970-01-01T00:00 taken apart.
    pub fn from_local_micros(local_us: i64) -> Self {
        let mut civil = Self::from_days(local_us.div_euclid(MICROS_PER_DAY));
        let in_day = local_us.rem_euclid(MICROS_PER_DAY);
        civil.micro = (in_day % MICROS_PER_SECOND) as u32;
        let seconds = (in_day / MICROS_PER_SECOND) as u32;
        civil.hour = seconds / 3600;
        civil.minute = seconds / 60 % 60;
        civil.second = seconds % 60;
        civil
    }

    /// Local microseconds since 1970-01-01T00:00; `None` for fields out of range or beyond 64 bits.
    pub fn to_local_micros(&self) -> Option<i64> {
        if self.hour > 23 || self.minute > 59 || self.second > 59 || self.micro > 999_999 {
            return None;
        }
        let days = days_from_civil(self.year, self.month, self.day)?;
        let seconds = i64::from(self.hour * 3600 + self.minute * 60 + self.second);
        // The first representable day begins before the first representable microsecond: add in 128 bits.
        let us =
            i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(seconds) * i128::from(MICROS_PER_SECOND) + i128::from(self.micro);
        i64::try_from(us).ok()
    }
}

/// Days since 1970-01-01 of a date; `None` if there is no such day.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || year.abs() > 999_999_999 {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let mp = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Whether the proleptic year has a 29th of February.
pub fn is_leap_year(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days of a month (1 to 12); 0 for no month.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap_year(year)),
        _ => 0,
    }
}

/// ISO day of the week: Monday 1 to Sunday 7.
pub fn weekday(days: i64) -> u32 {
    ((days + 3).rem_euclid(7) + 1) as u32
}

/// Day of the year, from 1.
pub fn year_day(civil: &Civil) -> u32 {
    let before: u32 = (1..civil.month).map(|month| days_in_month(civil.year, month)).sum();
    before + civil.day
}
