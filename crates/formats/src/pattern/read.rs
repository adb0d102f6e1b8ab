//! Text to fields by a compiled pattern, and fields to a value: java.time's strict resolver with Spark's defaults
//! (1970, January, the 1st, midnight).

use super::compile::{Field, Item, OffsetStyle, Sign, Width};
use super::{MONTHS, WEEKDAYS};
use crate::datetime::{Civil, Zone, days_from_civil, is_leap_year};

/// What a text said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields {
    year: Option<i64>,
    year_of_era: Option<i64>,
    era: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    am_pm: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    micro: Option<i64>,
    pub zone: Option<Zone>,
}

/// Reads the whole text.
pub(super) fn read(items: &[Item], text: &str) -> Option<Fields> {
    let mut fields = Fields::default();
    let rest = read_items(items, text, &mut fields)?;
    rest.is_empty().then_some(fields)
}

fn read_items<'a>(items: &[Item], text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    let mut rest = text;
    for item in items {
        rest = match item {
            Item::Literal(literal) => strip_ignoring_case(rest, literal)?,
            Item::Number { field, min, max, sign, reserved } => {
                let (number, rest) = read_number(rest, *min, *max, *sign, *reserved)?;
                fields.set(*field, number)?;
                rest
            }
            Item::ReducedYear { reserved, era } => {
                let (number, rest) = read_number(rest, 2, 2, Sign::Never, *reserved)?;
                fields.set(if *era { Field::YearOfEra } else { Field::Year }, 2000 + number)?;
                rest
            }
            Item::Fraction { min, max } => {
                let (micro, rest) = read_fraction(rest, *min, *max)?;
                fields.set(Field::Fraction, micro)?;
                rest
            }
            Item::Text { field, width } => {
                let (number, rest) = read_text(rest, *field, *width)?;
                fields.set(*field, number)?;
                rest
            }
            Item::Offset(style) => {
                let (offset, rest) = read_offset(rest, *style)?;
                fields.zone = Some(Zone::Fixed(offset));
                rest
            }
            Item::LocalizedOffset(_) => {
                let rest = strip_ignoring_case(rest, "GMT")?;
                let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | ':'))).unwrap_or(rest.len());
                let (offset, rest) = rest.split_at_checked(end)?;
                fields.zone = Some(if offset.is_empty() { Zone::UTC } else { Zone::try_parse(offset)? });
                rest
            }
            Item::ZoneId | Item::ZoneName => {
                let (zone, rest) = read_zone(rest)?;
                fields.zone = Some(zone);
                rest
            }
            Item::Optional(inner) => {
                let mut attempt = *fields;
                match read_items(inner, rest, &mut attempt) {
                    Some(after) => {
                        *fields = attempt;
                        after
                    }
                    None => rest,
                }
            }
        };
    }
    Some(rest)
}

/// java.time's `NumberPrinterParser` in strict mode.
fn read_number(text: &str, min: usize, max: usize, sign: Sign, reserved: usize) -> Option<(i64, &str)> {
    let (negative, positive, digits_text) = match text.as_bytes().first()? {
        b'-' if sign != Sign::Never => (true, false, text.get(1..)?),
        b'+' if sign == Sign::ExceedsPad => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let available = digits_text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = available.min(max.saturating_add(reserved));
    if reserved > 0 {
        length = length.saturating_sub(reserved).max(min);
    }
    length = length.min(max).min(available);
    if length < min || length == 0 {
        return None;
    }
    let (digits, rest) = digits_text.split_at_checked(length)?;
    let number: i64 = digits.parse().ok()?;
    match sign {
        Sign::ExceedsPad if !negative && positive != (length > min) => return None,
        _ if negative && number == 0 => return None,
        _ => {}
    }
    Some((if negative { -number } else { number }, rest))
}

fn read_fraction(text: &str, min: usize, max: usize) -> Option<(i64, &str)> {
    let length = text.bytes().take(max).take_while(u8::is_ascii_digit).count();
    if length < min {
        return None;
    }
    let (digits, rest) = text.split_at_checked(length)?;
    let mut micro = 0;
    let mut unit = 100_000;
    for digit in digits.bytes() {
        micro += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    Some((micro, rest))
}

fn read_text(text: &str, field: Field, width: Width) -> Option<(i64, &str)> {
    let find = |names: &[&str], first: i64| {
        names.iter().zip(first..).find_map(|(name, number)| {
            let name = if width == Width::Short { name.get(..3)? } else { name };
            Some((number, strip_ignoring_case(text, name)?))
        })
    };
    match (field, width) {
        (Field::Month, _) => find(&MONTHS, 1),
        (Field::Weekday, _) => find(&WEEKDAYS, 1),
        (Field::AmPm, _) => strip_ignoring_case(text, "AM").map(|rest| (0, rest)).or_else(|| Some((1, strip_ignoring_case(text, "PM")?))),
        (Field::Era, Width::Short) => {
            strip_ignoring_case(text, "BC").map(|rest| (0, rest)).or_else(|| Some((1, strip_ignoring_case(text, "AD")?)))
        }
        (Field::Era, Width::Full) => strip_ignoring_case(text, "Before Christ")
            .map(|rest| (0, rest))
            .or_else(|| Some((1, strip_ignoring_case(text, "Anno Domini")?))),
        _ => None,
    }
}

fn read_offset(text: &str, style: OffsetStyle) -> Option<(i32, &str)> {
    if !style.zero.is_empty()
        && let Some(rest) = strip_ignoring_case(text, style.zero)
    {
        return Some((0, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |text: &str| -> Option<i32> {
        let digits = text.get(..2)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mut rest = text.get(1..)?;
    let hours = two(rest)?;
    rest = rest.get(2..)?;
    let mut part = || {
        let after = if style.colon { rest.strip_prefix(':')? } else { rest };
        let value = two(after).filter(|value| *value < 60)?;
        rest = after.get(2..)?;
        Some(value)
    };
    let minutes = match part() {
        Some(minutes) => minutes,
        None if style.optional_minutes => 0,
        None => return None,
    };
    let seconds = if style.seconds { part().unwrap_or(0) } else { 0 };
    let total = hours * 3600 + minutes * 60 + seconds;
    (total <= 18 * 3600).then_some((sign * total, rest))
}

/// The longest prefix that names a zone.
fn read_zone(text: &str) -> Option<(Zone, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-' | ':'))).unwrap_or(text.len());
    (1..=end).rev().find_map(|length| {
        let (name, rest) = text.split_at_checked(length)?;
        Some((Zone::try_parse(name)?, rest))
    })
}

fn strip_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl Fields {
    /// Sets a field; the same field twice must agree, and each must be in its range.
    fn set(&mut self, field: Field, number: i64) -> Option<()> {
        let range = match field {
            Field::Month => 1..=12,
            Field::Day => 1..=31,
            Field::DayOfYear => 1..=366,
            Field::Hour => 0..=23,
            Field::ClockHour => 1..=24,
            Field::HalfHour => 0..=11,
            Field::ClockHalfHour => 1..=12,
            Field::Minute | Field::Second => 0..=59,
            _ => -999_999_999..=999_999_999,
        };
        if !range.contains(&number) {
            return None;
        }
        let (slot, number) = match field {
            Field::Year => (&mut self.year, number),
            Field::YearOfEra => (&mut self.year_of_era, number),
            Field::Era => (&mut self.era, number),
            Field::Month => (&mut self.month, number),
            Field::Day => (&mut self.day, number),
            Field::DayOfYear => (&mut self.day_of_year, number),
            Field::AmPm => (&mut self.am_pm, number),
            Field::Hour => (&mut self.hour, number),
            Field::ClockHour => (&mut self.hour, number % 24),
            Field::HalfHour => (&mut self.half_hour, number),
            Field::ClockHalfHour => (&mut self.half_hour, number % 12),
            Field::Minute => (&mut self.minute, number),
            Field::Second => (&mut self.second, number),
            Field::Fraction => (&mut self.micro, number),
            Field::Quarter | Field::AlignedDay | Field::Weekday => return Some(()),
        };
        match slot {
            Some(before) if *before != number => return None,
            _ => *slot = Some(number),
        }
        Some(())
    }

    /// The date and time; `None` if the fields contradict each other or name no day.
    pub(super) fn civil(&self) -> Option<Civil> {
        let from_era = match (self.year_of_era, self.era.unwrap_or(1)) {
            (Some(year), _) if year < 1 => return None,
            (Some(year), 0) => Some(1 - year),
            (Some(year), _) => Some(year),
            (None, _) => None,
        };
        let year = self.year.or(from_era).unwrap_or(1970);
        let (month, day) = match self.day_of_year {
            Some(day_of_year) => {
                if day_of_year == 366 && !is_leap_year(year) {
                    return None;
                }
                let date = Civil::from_days(days_from_civil(year, 1, 1)? + day_of_year - 1);
                let (month, day) = (i64::from(date.month), i64::from(date.day));
                if self.month.is_some_and(|said| said != month) || self.day.is_some_and(|said| said != day) {
                    return None;
                }
                (month, day)
            }
            None => (self.month.unwrap_or(1), self.day.unwrap_or(1)),
        };
        let hour = match (self.hour, self.am_pm, self.half_hour) {
            (Some(hour), am_pm, half) => {
                if am_pm.is_some_and(|half_day| half_day != hour / 12) || half.is_some_and(|half| half != hour % 12) {
                    return None;
                }
                hour
            }
            // Without AM or PM the morning is meant; with PM alone it is noon.
            (None, am_pm, half) => am_pm.unwrap_or(0) * 12 + half.unwrap_or(0),
        };
        let small = |value: i64| u32::try_from(value).ok();
        let civil = Civil {
            year,
            month: small(month)?,
            day: small(day)?,
            hour: small(hour)?,
            minute: small(self.minute.unwrap_or(0))?,
            second: small(self.second.unwrap_or(0))?,
            micro: small(self.micro.unwrap_or(0))?,
        };
        days_from_civil(civil.year, civil.month, civil.day).map(|_| civil)
    }
}
