//! Interval literals and the interval strings of options (`10 seconds`).
//!
//! A literal's type follows from its units: years and months give a year-month interval, all other
//! units a day-time interval whose fields are the largest and the smallest unit named; the two
//! families do not mix. A string keeps months, days and microseconds apart.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{CalendarInterval, DayTimeField, Expr, Literal, YearMonthField};
use crate::lexer::text::string_value;
use crate::lexer::{Token, TokenKind};
use crate::span::Span;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A unit of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

const UNITS: &[(&str, Unit)] = &[
    ("year", Unit::Year),
    ("month", Unit::Month),
    ("week", Unit::Week),
    ("day", Unit::Day),
    ("hour", Unit::Hour),
    ("minute", Unit::Minute),
    ("second", Unit::Second),
    ("millisecond", Unit::Millisecond),
    ("microsecond", Unit::Microsecond),
];

impl Unit {
    fn of(word: &str) -> Option<Unit> {
        let word = word.to_lowercase();
        let stem = word.strip_suffix('s').unwrap_or(&word);
        UNITS.iter().find(|(name, _)| *name == stem).map(|(_, unit)| *unit)
    }

    /// Months, days and microseconds of one.
    fn parts(self) -> (i32, i32, i64) {
        match self {
            Unit::Year => (12, 0, 0),
            Unit::Month => (1, 0, 0),
            Unit::Week => (0, 7, 0),
            Unit::Day => (0, 1, 0),
            Unit::Hour => (0, 0, 3_600 * MICROS_PER_SECOND),
            Unit::Minute => (0, 0, 60 * MICROS_PER_SECOND),
            Unit::Second => (0, 0, MICROS_PER_SECOND),
            Unit::Millisecond => (0, 0, 1_000),
            Unit::Microsecond => (0, 0, 1),
        }
    }

    fn year_month(self) -> Option<YearMonthField> {
        match self {
            Unit::Year => Some(YearMonthField::Year),
            Unit::Month => Some(YearMonthField::Month),
            _ => None,
        }
    }

    fn day_time(self) -> Option<DayTimeField> {
        match self {
            Unit::Year | Unit::Month => None,
            Unit::Week | Unit::Day => Some(DayTimeField::Day),
            Unit::Hour => Some(DayTimeField::Hour),
            Unit::Minute => Some(DayTimeField::Minute),
            Unit::Second | Unit::Millisecond | Unit::Microsecond => Some(DayTimeField::Second),
        }
    }
}

/// Reads `10 seconds`, `1 minute 30 seconds`, `interval -2 days`: one or more pairs of number and unit.
pub(crate) fn parse_interval_text(text: &str) -> Result<CalendarInterval> {
    read_pairs(text).map(|(interval, _)| interval).map_err(|why| {
        let span = Span { line: 1, column: 1, offset: 0, len: u32::try_from(text.len()).unwrap_or(0) };
        SqlError::invalid(format!("'{text}' is not an interval: {why}"), span)
    })
}

/// The interval and its units; the error says why in a few words.
fn read_pairs(text: &str) -> std::result::Result<(CalendarInterval, Vec<Unit>), String> {
    let mut rest = text.trim();
    if let Some((word, tail)) = rest.split_at_checked("interval".len())
        && word.eq_ignore_ascii_case("interval")
        && tail.starts_with(char::is_whitespace)
    {
        rest = tail.trim_start();
    }
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut sum = CalendarInterval::default();
    let mut units = vec![];
    while !rest.is_empty() {
        let number_len = number_len(rest);
        let (number, tail) = rest.split_at_checked(number_len).unwrap_or((rest, ""));
        if number.is_empty() {
            return Err(format!("expected a number at '{rest}'"));
        }
        if tail.starts_with(|c: char| !c.is_whitespace()) {
            return Err(format!("expected a blank behind {}", number.trim()));
        }
        let tail = tail.trim_start();
        let word_len = tail.find(char::is_whitespace).unwrap_or(tail.len());
        let (word, tail) = tail.split_at_checked(word_len).unwrap_or((tail, ""));
        if word.is_empty() {
            return Err(format!("the unit behind {} is missing", number.trim()));
        }
        let unit = Unit::of(word).ok_or_else(|| {
            let near = crate::error::nearest(word, UNITS.iter().map(|(name, _)| *name));
            let hint = near.map(|n| format!(", did you mean '{n}'?")).unwrap_or_default();
            format!("'{word}' is not a unit{hint}")
        })?;
        add(&mut sum, number, unit)?;
        units.push(unit);
        rest = tail.trim_start();
    }
    Ok((sum, units))
}

/// Length of a number with its sign, blanks behind the sign included.
fn number_len(text: &str) -> usize {
    let signed = text.strip_prefix(['+', '-']).map_or(text, str::trim_start);
    let digits = signed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(signed.len());
    if digits == 0 { 0 } else { text.len() - signed.len() + digits }
}

/// Adds `number` units; only seconds may have a fraction.
fn add(sum: &mut CalendarInterval, number: &str, unit: Unit) -> std::result::Result<(), String> {
    let bad = || format!("'{}' is not a number of {}", number.trim(), UNITS.iter().find(|(_, u)| *u == unit).map_or("unit", |(n, _)| *n));
    let overflow = || "it is too long".to_owned();
    let negative = number.trim_start().starts_with('-');
    let digits = number.trim_start_matches(['+', '-', ' ', '\t', '\n', '\r']).trim_end();
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if unit == Unit::Second => (whole, fraction),
        Some(_) => return Err(format!("only seconds may have a fraction, not '{digits}'")),
        None => (digits, ""),
    };
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return Err(bad());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| overflow())? };
    let fraction_micros: i64 = format!("{fraction:0<6}").get(..6).and_then(|f| f.parse().ok()).ok_or_else(bad)?;
    let sign = if negative { -1 } else { 1 };
    let (months, days, micros) = unit.parts();
    let narrow = |per_unit: i32| whole.checked_mul(i64::from(per_unit) * sign).and_then(|n| i32::try_from(n).ok());
    let wide = whole.checked_mul(micros * sign).and_then(|n| n.checked_add(fraction_micros * sign));
    let total = (|| {
        Some(CalendarInterval {
            months: sum.months.checked_add(narrow(months)?)?,
            days: sum.days.checked_add(narrow(days)?)?,
            micros: sum.micros.checked_add(wide?)?,
        })
    })();
    *sum = total.ok_or_else(overflow)?;
    Ok(())
}

impl Parser<'_> {
    /// Whether `INTERVAL` begins a literal here and is not a column of that name.
    pub(super) fn at_interval(&self) -> bool {
        let signed = usize::from(self.nth_is_symbol(1, "-") || self.nth_is_symbol(1, "+"));
        let value = self.peek_nth(1 + signed);
        let unit = self.peek_nth(2 + signed);
        let alone = signed == 0 && value.kind == TokenKind::String;
        alone || is_interval_value(&value) && unit.kind == TokenKind::Word && (Unit::of(unit.text).is_some() || signed == 0)
    }

    /// `INTERVAL ...` as a literal.
    pub(super) fn interval_literal(&mut self) -> Result<Expr> {
        let start = self.peek().span;
        let value = self.interval_value()?;
        Ok(Expr::Literal { value, span: self.span_from(start) })
    }

    /// `INTERVAL ...` as a length of time, as in a watermark's delay.
    pub(super) fn interval_length(&mut self) -> Result<CalendarInterval> {
        if !self.at_word("INTERVAL") {
            return Err(self.unexpected("INTERVAL"));
        }
        let start = self.peek().span;
        match self.interval_value()? {
            Literal::YearMonthInterval { months, .. } => Ok(CalendarInterval { months, ..CalendarInterval::default() }),
            Literal::DayTimeInterval { micros, .. } => Ok(CalendarInterval::from_micros(micros)),
            Literal::CalendarInterval(interval) => Ok(interval),
            _ => Err(SqlError::syntax("expected an interval", start)),
        }
    }

    fn interval_value(&mut self) -> Result<Literal> {
        let start = self.next().span;
        let first = self.peek();
        let unit = self.peek_nth(1);
        if first.kind == TokenKind::String && !(unit.kind == TokenKind::Word && Unit::of(unit.text).is_some()) {
            self.next();
            return self.interval_string(&string_value(first.text), start);
        }
        let mut sum = CalendarInterval::default();
        let mut units = vec![];
        let mut at = 0;
        while units.is_empty() || self.at_interval_pair() {
            let number = self.interval_number()?;
            let word = self.peek();
            let Some(unit) = Unit::of(word.text).filter(|_| word.kind == TokenKind::Word) else {
                let names = UNITS.iter().map(|(name, _)| *name);
                return Err(self.unexpected("a unit such as DAY or SECOND").with_nearest(word.text, names));
            };
            self.next();
            if units.is_empty() && self.at_word("TO") {
                self.next();
                return self.unit_to_unit(&number, unit, start);
            }
            add(&mut sum, &number, unit).map_err(|why| SqlError::invalid(format!("bad interval: {why}"), self.span_from(start)))?;
            units.push(unit);
            at += 1;
            if at > 100 {
                return Err(SqlError::invalid("an interval with more than 100 parts", self.span_from(start)));
            }
        }
        literal_of(sum, &units, self.span_from(start))
    }

    /// `INTERVAL '1 day 2 hours'`
    fn interval_string(&self, text: &str, start: Span) -> Result<Literal> {
        let span = self.span_from(start);
        let (interval, units) = read_pairs(text).map_err(|why| SqlError::invalid(format!("'{text}' is not an interval: {why}"), span))?;
        literal_of(interval, &units, span)
    }

    /// Whether another pair of value and unit follows, such as the `2 HOURS` of `1 DAY 2 HOURS`.
    fn at_interval_pair(&self) -> bool {
        let signed = usize::from(self.at_symbol("-") || self.at_symbol("+"));
        let unit = self.peek_nth(1 + signed);
        is_interval_value(&self.peek_nth(signed)) && unit.kind == TokenKind::Word && Unit::of(unit.text).is_some()
    }

    /// A number of units as text: `-1`, `+'1.5'`.
    fn interval_number(&mut self) -> Result<String> {
        let mut sign = "";
        if self.take_symbol("-") {
            sign = "-";
        } else {
            self.take_symbol("+");
        }
        let token = self.peek();
        if !is_interval_value(&token) {
            return Err(self.unexpected("a number or a string"));
        }
        self.next();
        let text = if token.kind == TokenKind::String { string_value(token.text) } else { token.text.to_owned() };
        let text = text.trim();
        // A sign inside the string and one in front of it cancel each other.
        Ok(match (sign, text.strip_prefix('-')) {
            ("-", Some(positive)) => positive.to_owned(),
            _ => format!("{sign}{}", text.strip_prefix('+').unwrap_or(text)),
        })
    }

    /// `'1-2' YEAR TO MONTH`, `'1 02:03:04.5' DAY TO SECOND`; `TO` is taken.
    fn unit_to_unit(&mut self, text: &str, from: Unit, start: Span) -> Result<Literal> {
        let word = self.peek();
        let to = Unit::of(word.text).filter(|_| word.kind == TokenKind::Word).ok_or_else(|| self.unexpected("a unit"))?;
        self.next();
        let span = self.span_from(start);
        let none = || SqlError::invalid(format!("there is no interval from {from:?} to {to:?}").to_lowercase(), span);
        let bad = || SqlError::invalid(format!("'{text}' is not an interval from {} to {}", lower(from), lower(to)), span);
        if let (Some(first), Some(last)) = (from.year_month(), to.year_month()) {
            if first >= last {
                return Err(none());
            }
            let (sign, text) = signed(text);
            let (years, months) = text.split_once('-').ok_or_else(bad)?;
            let total = || {
                let months: i32 = digits(months)?.try_into().ok().filter(|m| *m < 12)?;
                let years: i32 = digits(years)?.try_into().ok()?;
                years.checked_mul(12)?.checked_add(months)?.checked_mul(sign)
            };
            return Ok(Literal::YearMonthInterval { months: total().ok_or_else(bad)?, start: first, end: last });
        }
        match (from.day_time(), to.day_time()) {
            (Some(first), Some(last)) if first < last && from != Unit::Week => {
                let micros = day_time_micros(text, first, last).ok_or_else(bad)?;
                Ok(Literal::DayTimeInterval { micros, start: first, end: last })
            }
            _ => Err(none()),
        }
    }
}

fn is_interval_value(token: &Token<'_>) -> bool {
    matches!(token.kind, TokenKind::Integer | TokenKind::Decimal | TokenKind::String)
}

fn lower(unit: Unit) -> &'static str {
    UNITS.iter().find(|(_, u)| *u == unit).map_or("", |(name, _)| *name)
}

/// The literal whose type the units decide.
fn literal_of(sum: CalendarInterval, units: &[Unit], span: Span) -> Result<Literal> {
    let year_month: Vec<YearMonthField> = units.iter().filter_map(|u| u.year_month()).collect();
    let day_time: Vec<DayTimeField> = units.iter().filter_map(|u| u.day_time()).collect();
    let bounds = (year_month.iter().min().zip(year_month.iter().max()), day_time.iter().min().zip(day_time.iter().max()));
    match bounds {
        (Some((start, end)), None) => Ok(Literal::YearMonthInterval { months: sum.months, start: *start, end: *end }),
        (None, Some((start, end))) => {
            let days = i64::from(sum.days).checked_mul(CalendarInterval::MICROS_PER_DAY);
            let micros = days.and_then(|d| d.checked_add(sum.micros));
            let micros = micros.ok_or_else(|| SqlError::invalid("the interval is too long", span))?;
            Ok(Literal::DayTimeInterval { micros, start: *start, end: *end })
        }
        (Some(_), Some(_)) => {
            Err(SqlError::invalid("an interval cannot mix years or months with other units", span).with_class("_LEGACY_ERROR_TEMP_0029"))
        }
        (None, None) => Err(SqlError::syntax("expected an interval", span)),
    }
}

fn signed(text: &str) -> (i32, &str) {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest.trim_start()),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The length of `d hh:mm:ss.f` cut to the fields from `first` to `last`.
fn day_time_micros(text: &str, first: DayTimeField, last: DayTimeField) -> Option<i64> {
    let (sign, mut rest) = signed(text);
    let mut micros: i64 = 0;
    let fields = [DayTimeField::Day, DayTimeField::Hour, DayTimeField::Minute, DayTimeField::Second];
    for field in fields.into_iter().filter(|f| (first..=last).contains(f)) {
        let (here, tail) = match field {
            _ if field == last => (rest, ""),
            DayTimeField::Day => rest.split_once(char::is_whitespace).map(|(d, t)| (d, t.trim_start()))?,
            _ => rest.split_once(':')?,
        };
        rest = tail;
        let (whole, fraction) = match here.split_once('.') {
            Some((whole, fraction)) if field == DayTimeField::Second => (whole, fraction),
            Some(_) => return None,
            None => (here, ""),
        };
        let value = digits(whole)?;
        let (limit, per_unit) = match field {
            DayTimeField::Day => (i64::MAX, CalendarInterval::MICROS_PER_DAY),
            DayTimeField::Hour => (23, 3_600 * MICROS_PER_SECOND),
            DayTimeField::Minute => (59, 60 * MICROS_PER_SECOND),
            DayTimeField::Second => (59, MICROS_PER_SECOND),
        };
        if field != first && value > limit {
            return None;
        }
        if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
        micros = micros.checked_add(value.checked_mul(per_unit)?)?.checked_add(fraction)?;
    }
    micros.checked_mul(i64::from(sign))
}
