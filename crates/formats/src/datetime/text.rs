//! Dates and timestamps as the text of Spark's `cast(.. as string)`.

use super::{Civil, Zone};

/// `yyyy-MM-dd`; years past 9999 have a `+`, before 0 a `-`.
pub fn push_date(out: &mut String, days: i32) {
    push_civil_date(out, &Civil::from_days(i64::from(days)));
}

/// `yyyy-MM-dd HH:mm:ss` and the fraction without trailing zeros, in `zone`.
pub fn push_timestamp(out: &mut String, us: i64, zone: Zone) {
    push_timestamp_ntz(out, zone.to_local(us));
}

/// `yyyy-MM-dd HH:mm:ss` and the fraction without trailing zeros, of a local time.
pub fn push_timestamp_ntz(out: &mut String, local_us: i64) {
    let civil = Civil::from_local_micros(local_us);
    push_civil_date(out, &civil);
    out.push(' ');
    push_2(out, civil.hour);
    out.push(':');
    push_2(out, civil.minute);
    out.push(':');
    push_2(out, civil.second);
    push_time_fraction(out, civil.micro);
}

/// `yyyy-MM-dd'T'HH:mm:ss.SSS` of a local time.
pub(crate) fn push_local_iso_millis(out: &mut String, civil: &Civil) {
    push_civil_date(out, civil);
    out.push('T');
    push_2(out, civil.hour);
    out.push(':');
    push_2(out, civil.minute);
    out.push(':');
    push_2(out, civil.second);
    out.push('.');
    push_digit(out, civil.micro / 100_000);
    push_2(out, civil.micro / 1000 % 100);
}

/// `.5`, `.123456`, or nothing for 0.
pub fn push_time_fraction(out: &mut String, micro: u32) {
    if micro == 0 {
        return;
    }
    out.push('.');
    let (mut rest, mut unit) = (micro, 100_000);
    while rest > 0 && unit > 0 {
        push_digit(out, rest / unit);
        rest %= unit;
        unit /= 10;
    }
}

fn push_civil_date(out: &mut String, civil: &Civil) {
    push_year(out, civil.year);
    out.push('-');
    push_2(out, civil.month);
    out.push('-');
    push_2(out, civil.day);
}

/// At least four digits, as java.time's `appendValue(YEAR, 4, 10, EXCEEDS_PAD)`.
pub(crate) fn push_year(out: &mut String, year: i64) {
    if (0..=9999).contains(&year) {
        let year = year as u32;
        push_2(out, year / 100);
        push_2(out, year % 100);
    } else {
        out.push_str(&if year < 0 { format!("-{:04}", -year) } else { format!("+{year}") });
    }
}

pub(crate) fn push_2(out: &mut String, value: u32) {
    push_digit(out, value / 10 % 10);
    push_digit(out, value % 10);
}

pub(crate) fn push_digit(out: &mut String, digit: u32) {
    out.push(char::from(b'0' + (digit % 10) as u8));
}
