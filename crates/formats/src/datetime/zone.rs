//! Time zones by name or offset, with java.time's rules for gaps and overlaps.
//!
//! Rules come from chrono-tz, which arrow needs anyway. Beyond the end of its tables the last offset holds.

use chrono::{NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};
use millstream_core::{Error, Result};

use super::MICROS_PER_SECOND;

/// A time zone: a fixed offset or a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC, at most 18 hours either way.
    Fixed(i32),
    /// A region of the tz database, such as `Europe/Berlin`.
    Region(Tz),
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Fixed(0);

    /// Reads a zone as Spark does: `Z`, `UTC`, `GMT+1`, `+1:00`, `-08:00`, `+053000`, `Europe/Berlin`, `PST`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::try_parse(text).ok_or_else(|| {
            Error::invalid(format!("time zone '{text}' is not known"))
                .code("INVALID_TIMEZONE")
                .hint("use a region such as 'Europe/Berlin' or an offset such as '+01:00'")
        })
    }

    /// [`Self::parse`] without a message.
    pub fn try_parse(text: &str) -> Option<Self> {
        if let Some(short) = short_id(text) {
            return Some(short);
        }
        if text.starts_with(['+', '-']) {
            return parse_offset(text).map(Self::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                if rest.is_empty() {
                    return Some(Self::UTC);
                }
                if rest.starts_with(['+', '-']) {
                    return parse_offset(rest).map(Self::Fixed);
                }
            }
        }
        // Region names are case-sensitive in java.time; chrono-tz agrees.
        let tz = text.parse::<Tz>().ok()?;
        let fixed = matches!(tz, Tz::UTC | Tz::Etc__UTC | Tz::Zulu | Tz::Universal | Tz::Etc__GMT | Tz::GMT | Tz::UCT);
        Some(if fixed { Self::UTC } else { Self::Region(tz) })
    }

    /// Seconds east of UTC at an instant.
    pub fn offset_at(&self, utc_us: i64) -> i32 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(tz) => tz.offset_from_utc_datetime(&naive(utc_us)).fix().local_minus_utc(),
        }
    }

    /// The local time of an instant, as microseconds.
    pub fn to_local(&self, utc_us: i64) -> i64 {
        utc_us.saturating_add(i64::from(self.offset_at(utc_us)) * MICROS_PER_SECOND)
    }

    /// The instant of a local time. In a gap the time moves forward by the length of the gap, in an overlap the
    /// earlier instant is meant: in both the offset before the change is used, as in java.time. `None` beyond 64 bits.
    pub fn to_utc(&self, local_us: i64) -> Option<i64> {
        let offset = match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(tz) => {
                let mut probe = local_us;
                let mut step = 3600 * MICROS_PER_SECOND;
                loop {
                    if let Some(offset) = tz.offset_from_local_datetime(&naive(probe)).earliest() {
                        break offset.fix().local_minus_utc();
                    }
                    // A gap: step back until before it. The longest ever was a day (Samoa, 2011).
                    probe = probe.saturating_sub(step);
                    step *= 2;
                }
            }
        };
        local_us.checked_sub(i64::from(offset) * MICROS_PER_SECOND)
    }

    /// The zone's name: a region, `Z` for UTC, or `+01:00`.
    pub fn name(&self) -> String {
        match self {
            Self::Region(tz) => tz.name().to_owned(),
            Self::Fixed(0) => "Z".to_owned(),
            Self::Fixed(seconds) => offset_text(*seconds),
        }
    }

    /// The short name at an instant, such as `CEST`; `UTC` or `+01:00` for fixed offsets.
    pub fn abbreviation(&self, utc_us: i64) -> String {
        match self {
            Self::Fixed(0) => "UTC".to_owned(),
            Self::Fixed(seconds) => offset_text(*seconds),
            Self::Region(tz) => {
                let offset = tz.offset_from_utc_datetime(&naive(utc_us));
                offset.abbreviation().map_or_else(|| tz.name().to_owned(), str::to_owned)
            }
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(0) => f.write_str("UTC"),
            other => f.write_str(&other.name()),
        }
    }
}

/// `+01:00`, with seconds only if there are any.
fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let abs = seconds.unsigned_abs();
    let (hours, minutes, rest) = (abs / 3600, abs / 60 % 60, abs % 60);
    if rest == 0 { format!("{sign}{hours:02}:{minutes:02}") } else { format!("{sign}{hours:02}:{minutes:02}:{rest:02}") }
}

fn naive(us: i64) -> NaiveDateTime {
    // chrono ends at the year 262,142; Spark's timestamps reach 294,247. No zone changes out there.
    const FAR_US: i64 = 8_000_000_000_000_000_000;
    chrono::DateTime::from_timestamp_micros(us.clamp(-FAR_US, FAR_US)).unwrap_or_default().naive_utc()
}

/// `+h`, `+hh`, `+h:m`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`: what java.time reads plus Spark's one-digit forms.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, text.get(1..)?),
        b'-' => (-1, text.get(1..)?),
        _ => return None,
    };
    if !rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return None;
    }
    let number = |part: &str| part.parse::<i32>().ok();
    let (hours, minutes, seconds) = if rest.contains(':') {
        let mut parts = rest.split(':');
        let (h, m, s) = (parts.next()?, parts.next()?, parts.next());
        let plain = (1..=2).contains(&h.len()) && (1..=2).contains(&m.len()) && s.is_none_or(|s| s.len() == 2 && m.len() == 2);
        if !plain || parts.next().is_some() {
            return None;
        }
        (number(h)?, number(m)?, s.map_or(Some(0), number)?)
    } else {
        match rest.len() {
            1 | 2 => (number(rest)?, 0, 0),
            4 => (number(rest.get(..2)?)?, number(rest.get(2..)?)?, 0),
            6 => (number(rest.get(..2)?)?, number(rest.get(2..4)?)?, number(rest.get(4..)?)?),
            _ => return None,
        }
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}

/// `java.time.ZoneId.SHORT_IDS` of Java 17, which win over the tz database's own `EST`, `MST` and `HST`.
fn short_id(text: &str) -> Option<Zone> {
    let tz = match text {
        "Z" => return Some(Zone::UTC),
        "EST" => return Some(Zone::Fixed(-5 * 3600)),
        "HST" => return Some(Zone::Fixed(-10 * 3600)),
        "MST" => return Some(Zone::Fixed(-7 * 3600)),
        "ACT" => Tz::Australia__Darwin,
        "AET" => Tz::Australia__Sydney,
        "AGT" => Tz::America__Argentina__Buenos_Aires,
        "ART" => Tz::Africa__Cairo,
        "AST" => Tz::America__Anchorage,
        "BET" => Tz::America__Sao_Paulo,
        "BST" => Tz::Asia__Dhaka,
        "CAT" => Tz::Africa__Harare,
        "CNT" => Tz::America__St_Johns,
        "CST" => Tz::America__Chicago,
        "CTT" => Tz::Asia__Shanghai,
        "EAT" => Tz::Africa__Addis_Ababa,
        "ECT" => Tz::Europe__Paris,
        "IET" => Tz::America__Indiana__Indianapolis,
        "IST" => Tz::Asia__Kolkata,
        "JST" => Tz::Asia__Tokyo,
        "MIT" => Tz::Pacific__Apia,
        "NET" => Tz::Asia__Yerevan,
        "NST" => Tz::Pacific__Auckland,
        "PLT" => Tz::Asia__Karachi,
        "PNT" => Tz::America__Phoenix,
        "PRT" => Tz::America__Puerto_Rico,
        "PST" => Tz::America__Los_Angeles,
        "SST" => Tz::Pacific__Guadalcanal,
        "VST" => Tz::Asia__Ho_Chi_Minh,
        _ => return None,
    };
    Some(Zone::Region(tz))
}
