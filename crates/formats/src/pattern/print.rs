//! Values to text by a compiled pattern.

use std::fmt::Write;

use millstream_core::{Error, Result};

use super::compile::{Field, Item, OffsetStyle, Sign, Width};
use super::{MONTHS, WEEKDAYS};
use crate::datetime::{Civil, Zone, weekday, year_day};

/// A value taken apart.
pub(super) struct Value {
    pub civil: Civil,
    /// Local days since 1970-01-01.
    pub days: i64,
    /// Zone, its offset in seconds, and the instant.
    pub zone: Option<(Zone, i32, i64)>,
    /// Hours and below are not there.
    pub date_only: bool,
}

pub(super) fn print(items: &[Item], value: &Value, out: &mut String) -> Result<()> {
    for item in items {
        match item {
            Item::Literal(text) => out.push_str(text),
            Item::Number { field, min, sign, max, .. } => {
                let number = field_value(*field, value)?;
                push_number(out, number, *min, *max, *sign);
            }
            Item::ReducedYear { era, .. } => {
                let year = field_value(if *era { Field::YearOfEra } else { Field::Year }, value)?;
                let _ = write!(out, "{:02}", year.unsigned_abs() % 100);
            }
            Item::Fraction { max, .. } => {
                let nanos = field_value(Field::Fraction, value)? * 1000;
                let mut unit = 100_000_000;
                for _ in 0..*max {
                    out.push(char::from(b'0' + (nanos / unit % 10) as u8));
                    unit /= 10;
                }
            }
            Item::Text { field, width } => push_text(out, *field, *width, field_value(*field, value)?),
            Item::Offset(style) => push_offset(out, zone_of(value)?.1, *style),
            Item::LocalizedOffset(width) => push_localized(out, zone_of(value)?.1, *width),
            Item::ZoneId => out.push_str(&zone_of(value)?.0.name()),
            Item::ZoneName => {
                let (zone, _, us) = zone_of(value)?;
                out.push_str(&zone.abbreviation(us));
            }
            Item::Optional(inner) => {
                // A section whose field the value does not have is left out.
                let mark = out.len();
                if print(inner, value, out).is_err() {
                    out.truncate(mark);
                }
            }
        }
    }
    Ok(())
}

fn zone_of(value: &Value) -> Result<(Zone, i32, i64)> {
    value.zone.ok_or_else(|| Error::invalid("a datetime pattern with a zone letter cannot format a value without time zone"))
}

fn field_value(field: Field, value: &Value) -> Result<i64> {
    let civil = &value.civil;
    let timed = matches!(
        field,
        Field::AmPm
            | Field::Hour
            | Field::ClockHour
            | Field::HalfHour
            | Field::ClockHalfHour
            | Field::Minute
            | Field::Second
            | Field::Fraction
    );
    if timed && value.date_only {
        return Err(Error::invalid("a datetime pattern with a time letter cannot format a date"));
    }
    let hour = i64::from(civil.hour);
    Ok(match field {
        Field::Year => civil.year,
        Field::YearOfEra => {
            if civil.year > 0 {
                civil.year
            } else {
                1 - civil.year
            }
        }
        Field::Era => i64::from(civil.year > 0),
        Field::Quarter => i64::from((civil.month - 1) / 3 + 1),
        Field::Month => i64::from(civil.month),
        Field::Day => i64::from(civil.day),
        Field::DayOfYear => i64::from(year_day(civil)),
        Field::AlignedDay => i64::from((civil.day - 1) % 7 + 1),
        Field::Weekday => i64::from(weekday(value.days)),
        Field::AmPm => hour / 12,
        Field::Hour => hour,
        Field::ClockHour => {
            if hour == 0 {
                24
            } else {
                hour
            }
        }
        Field::HalfHour => hour % 12,
        Field::ClockHalfHour => {
            if hour % 12 == 0 {
                12
            } else {
                hour % 12
            }
        }
        Field::Minute => i64::from(civil.minute),
        Field::Second => i64::from(civil.second),
        Field::Fraction => i64::from(civil.micro),
    })
}

fn push_number(out: &mut String, number: i64, min: usize, max: usize, sign: Sign) {
    if number < 0 {
        out.push('-');
    } else if sign == Sign::ExceedsPad && max > min && number >= 10_i64.pow(min as u32) {
        out.push('+');
    }
    let _ = write!(out, "{:0min$}", number.unsigned_abs());
}

fn push_text(out: &mut String, field: Field, width: Width, number: i64) {
    let name = match field {
        Field::Month => MONTHS.get(number as usize - 1),
        Field::Weekday => WEEKDAYS.get(number as usize - 1),
        _ => None,
    };
    match (field, width) {
        (Field::AmPm, _) => out.push_str(if number == 0 { "AM" } else { "PM" }),
        (Field::Era, Width::Short) => out.push_str(if number == 0 { "BC" } else { "AD" }),
        (Field::Era, Width::Full) => out.push_str(if number == 0 { "Before Christ" } else { "Anno Domini" }),
        (Field::Quarter, Width::Short) => {
            let _ = write!(out, "Q{number}");
        }
        (Field::Quarter, Width::Full) => {
            let suffix = match number {
                1 => "st",
                2 => "nd",
                3 => "rd",
                _ => "th",
            };
            let _ = write!(out, "{number}{suffix} quarter");
        }
        (_, Width::Short) => out.push_str(name.and_then(|name| name.get(..3)).unwrap_or_default()),
        (_, Width::Full) => out.push_str(name.copied().unwrap_or_default()),
    }
}

fn push_offset(out: &mut String, offset: i32, style: OffsetStyle) {
    if offset == 0 && !style.zero.is_empty() {
        out.push_str(style.zero);
        return;
    }
    let abs = offset.unsigned_abs();
    let (hours, minutes, seconds) = (abs / 3600, abs / 60 % 60, abs % 60);
    let colon = if style.colon { ":" } else { "" };
    let _ = write!(out, "{}{hours:02}", if offset < 0 { '-' } else { '+' });
    let seconds_shown = style.seconds && seconds != 0;
    if !style.optional_minutes || minutes != 0 {
        let _ = write!(out, "{colon}{minutes:02}");
    }
    if seconds_shown {
        let _ = write!(out, "{colon}{seconds:02}");
    }
}

fn push_localized(out: &mut String, offset: i32, width: Width) {
    out.push_str("GMT");
    if offset == 0 {
        return;
    }
    let abs = offset.unsigned_abs();
    let (hours, minutes, seconds) = (abs / 3600, abs / 60 % 60, abs % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    match width {
        Width::Full => {
            let _ = write!(out, "{sign}{hours:02}:{minutes:02}");
        }
        Width::Short => {
            let _ = write!(out, "{sign}{hours}");
            if minutes != 0 || seconds != 0 {
                let _ = write!(out, ":{minutes:02}");
            }
        }
    }
    if seconds != 0 {
        let _ = write!(out, ":{seconds:02}");
    }
}
