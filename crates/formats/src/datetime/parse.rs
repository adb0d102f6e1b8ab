//! Spark's casts from text to date and timestamp: `DateTimeUtils.stringToDate`, `stringToTimestamp` and
//! `stringToTimestampWithoutTimeZone`, segment by segment.
//!
//! `yyyy`, `yyyy-[m]m`, `yyyy-[m]m-[d]d`, then `T` or a space, `[h]h:[m]m:[s]s.[fraction]` and a zone. A text that does
//! not fit is `None`; nothing is guessed.

use super::{Civil, MICROS_PER_SECOND, Zone, days_from_civil};

/// A text as a date; anything after a `T` or space behind a full date is ignored.
pub fn parse_date(text: &str) -> Option<i32> {
    let mut rest = trim(text);
    if let Some(days) = common_date(rest.as_bytes()) {
        return i32::try_from(days).ok();
    }
    let negative = rest.starts_with('-');
    if rest.starts_with(['-', '+']) {
        rest = rest.get(1..)?;
    }
    let mut segments = [1_i64, 1, 1];
    let mut i = 0_usize;
    let mut value = 0_i64;
    let mut digits = 0_u32;
    let valid = |i: usize, digits: u32| if i == 0 { (4..=7).contains(&digits) } else { (1..=2).contains(&digits) };
    let mut ended = true;
    for byte in rest.bytes() {
        match byte {
            b' ' | b'T' => {
                ended = false;
                break;
            }
            b'-' if i < 2 => {
                if !valid(i, digits) {
                    return None;
                }
                *segments.get_mut(i)? = value;
                (i, value, digits) = (i + 1, 0, 0);
            }
            b'0'..=b'9' if digits < 8 => (value, digits) = (value * 10 + i64::from(byte - b'0'), digits + 1),
            _ => return None,
        }
    }
    // `yyyy` and `yyyy-mm` must be the whole text.
    if !valid(i, digits) || (i < 2 && !ended) {
        return None;
    }
    *segments.get_mut(i)? = value;
    let [year, month, day] = segments;
    let year = if negative { -year } else { year };
    i32::try_from(days_from_civil(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?).ok()
}

/// A text as a timestamp in `zone` unless the text names one. A time without a date is `None`: see [`parse_timestamp_at`].
pub fn parse_timestamp(text: &str, zone: Zone) -> Option<i64> {
    parse_timestamp_at(text, zone, None)
}

/// [`parse_timestamp`]; a text that is only a time (`10:30`, `T10:30:00`) is on the day of `now_us` in its zone.
pub fn parse_timestamp_at(text: &str, zone: Zone, now_us: Option<i64>) -> Option<i64> {
    if let Some((local, rest)) = common_timestamp(trim(text).as_bytes()) {
        return match rest {
            b"" => zone.to_utc(local),
            b"Z" => Some(local),
            _ => slow_timestamp(text, zone, now_us),
        };
    }
    slow_timestamp(text, zone, now_us)
}

/// A text as a timestamp without time zone. Where the text names a zone: `None`, or ignored with `allow_zone`.
pub fn parse_timestamp_ntz(text: &str, allow_zone: bool) -> Option<i64> {
    if let Some((local, b"")) = common_timestamp(trim(text).as_bytes()) {
        return Some(local);
    }
    let parsed = split_timestamp(text)?;
    if parsed.just_time || (parsed.zone.is_some() && !allow_zone) {
        return None;
    }
    parsed.civil.to_local_micros()
}

fn slow_timestamp(text: &str, zone: Zone, now_us: Option<i64>) -> Option<i64> {
    let parsed = split_timestamp(text)?;
    let zone = match parsed.zone {
        Some(name) => Zone::try_parse(name.trim())?,
        None => zone,
    };
    let mut civil = parsed.civil;
    if parsed.just_time {
        let today = Civil::from_local_micros(zone.to_local(now_us?));
        (civil.year, civil.month, civil.day) = (today.year, today.month, today.day);
    }
    zone.to_utc(civil.to_local_micros()?)
}

struct Parsed<'a> {
    civil: Civil,
    zone: Option<&'a str>,
    just_time: bool,
}

/// The segments are year, month, day, hour, minute, second, fraction (6) and zone (7 and on).
fn split_timestamp(text: &str) -> Option<Parsed<'_>> {
    let trimmed = trim(text);
    // Spark looks for a leading `T` only at the very start of the text.
    let starts_at_zero = text.len() == trimmed.len() || text.starts_with(trimmed);
    let bytes = trimmed.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    let mut segments = [1_i64, 1, 1, 0, 0, 0, 0, 0, 0];
    let (mut i, mut value, mut digits, mut fraction_digits) = (0_usize, 0_i64, 0_u32, 0_u32);
    let (mut just_time, mut zone) = (false, None);
    let mut j = 0;
    let sign = match bytes.first()? {
        b'-' => Some(-1),
        b'+' => Some(1),
        _ => None,
    };
    if sign.is_some() {
        j = 1;
    }
    while let Some(&byte) = bytes.get(j) {
        if byte.is_ascii_digit() {
            if i == 6 {
                fraction_digits += 1;
            }
            // Digits past microseconds are cut off.
            if i != 6 || digits < 6 {
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            digits += 1;
            j += 1;
            continue;
        }
        let mut next = i + 1;
        match (i, byte) {
            (0, b'T') if j == 0 && starts_at_zero => {
                just_time = true;
                (i, j) = (3, j + 1);
                continue;
            }
            (0 | 1, b'-') | (2, b' ' | b'T') | (3 | 4, b':') | (5, b'.') => {}
            (0, b':') if sign.is_none() => {
                just_time = true;
                if !valid_digits(3, digits) {
                    return None;
                }
                *segments.get_mut(3)? = value;
                (i, value, digits, j) = (4, 0, 0, j + 1);
                continue;
            }
            (5 | 6, _) => {
                zone = Some(trimmed.get(j..)?);
                next = 7;
            }
            _ => return None,
        }
        if !valid_digits(i, digits) {
            return None;
        }
        *segments.get_mut(i)? = value;
        (i, value, digits) = (next, 0, 0);
        if zone.is_some() {
            break;
        }
        j += 1;
    }
    if !valid_digits(i, digits) {
        return None;
    }
    *segments.get_mut(i)? = value;
    let [year, month, day, hour, minute, second, mut fraction, ..] = segments;
    while fraction_digits < 6 {
        fraction *= 10;
        fraction_digits += 1;
    }
    let small = |value: i64| u32::try_from(value).ok();
    let civil = Civil {
        year: year * sign.unwrap_or(1),
        month: small(month)?,
        day: small(day)?,
        hour: small(hour)?,
        minute: small(minute)?,
        second: small(second)?,
        micro: small(fraction)?,
    };
    Some(Parsed { civil, zone, just_time })
}

fn valid_digits(segment: usize, digits: u32) -> bool {
    match segment {
        0 => (4..=6).contains(&digits),
        6 => true,
        7 => digits <= 2,
        _ => (1..=2).contains(&digits),
    }
}

/// Without blanks and control characters at both ends, as `UTF8String.trimAll`.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// Exactly `yyyy-MM-dd`.
fn common_date(bytes: &[u8]) -> Option<i64> {
    let &[a, b, c, d, b'-', e, f, b'-', g, h] = bytes else { return None };
    let year = two(a, b)? * 100 + two(c, d)?;
    days_from_civil(i64::from(year), two(e, f)?, two(g, h)?)
}

/// `yyyy-MM-dd?HH:mm:ss` with an optional fraction: the local time and what follows.
fn common_timestamp(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (date, rest) = bytes.split_at_checked(10)?;
    let (&[b'T' | b' ', a, b, b':', c, d, b':', e, f], mut rest) = rest.split_first_chunk::<9>()? else { return None };
    let days = common_date(date)?;
    let (hour, minute, second) = (two(a, b)?, two(c, d)?, two(e, f)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut us = (days * 86_400 + i64::from(hour * 3600 + minute * 60 + second)) * MICROS_PER_SECOND;
    if let Some((b'.', after)) = rest.split_first() {
        let mut unit = 100_000;
        rest = after;
        while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
            us += i64::from(digit - b'0') * unit;
            unit /= 10;
            rest = after;
        }
    }
    Some((us, rest))
}

fn two(a: u8, b: u8) -> Option<u32> {
    let (a, b) = (u32::from(a.wrapping_sub(b'0')), u32::from(b.wrapping_sub(b'0')));
    (a < 10 && b < 10).then_some(a * 10 + b)
}
