//! Pattern letters to items: Spark's checks, then java.time's rules of counts and adjacent numbers.

use millstream_core::{Error, ErrorKind, Result};

use super::Usage;

/// What a number or text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Proleptic year.
    Year,
    YearOfEra,
    Era,
    Quarter,
    Month,
    Day,
    DayOfYear,
    /// `F`: 1 for the days 1 to 7, counted anew every seven days of the month.
    AlignedDay,
    Weekday,
    AmPm,
    /// `H`: 0 to 23.
    Hour,
    /// `k`: 1 to 24.
    ClockHour,
    /// `K`: 0 to 11.
    HalfHour,
    /// `h`: 1 to 12.
    ClockHalfHour,
    Minute,
    Second,
    Fraction,
}

/// When a number carries a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// `-` for negatives.
    Normal,
    /// Never.
    Never,
    /// `-` for negatives and `+` for numbers wider than the pad.
    ExceedsPad,
}

/// How wide a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Short,
    Full,
}

/// An offset such as `+01:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetStyle {
    pub colon: bool,
    /// Minutes may be left out when 0 (`X`, `x`).
    pub optional_minutes: bool,
    /// Seconds are written when not 0.
    pub seconds: bool,
    /// The text of offset 0: `Z`, or numbers when empty.
    pub zero: &'static str,
}

/// One compiled piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Literal(String),
    /// `reserved`: digits that the fixed-width numbers right behind need.
    Number {
        field: Field,
        min: usize,
        max: usize,
        sign: Sign,
        reserved: usize,
    },
    /// Two digits of a year from 2000 on.
    ReducedYear {
        reserved: usize,
        era: bool,
    },
    /// Digits of a second's fraction without the point.
    Fraction {
        min: usize,
        max: usize,
    },
    Text {
        field: Field,
        width: Width,
    },
    Offset(OffsetStyle),
    /// `O`, `OOOO`, `ZZZZ`: `GMT+1`, `GMT+01:00`.
    LocalizedOffset(Width),
    /// `VV`.
    ZoneId,
    /// `z`.
    ZoneName,
    Optional(Vec<Item>),
}

/// Compiles a pattern. A pattern that only Spark 2 would take is refused with the class that says so.
pub(super) fn compile(pattern: &str, usage: Usage) -> Result<Vec<Item>> {
    compile_items(pattern, usage).map_err(|error| {
        let legacy =
            error.kind() == ErrorKind::Invalid && unquoted(pattern).all(|c| !c.is_ascii_alphabetic() || LEGACY_LETTERS.contains(c));
        if legacy { error.code("INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION") } else { error }
    })
}

/// The letters of Java's `SimpleDateFormat`.
const LEGACY_LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";

fn compile_items(pattern: &str, usage: Usage) -> Result<Vec<Item>> {
    check_letters(pattern, usage)?;
    let mut levels: Vec<Vec<Item>> = vec![Vec::new()];
    let has_era = unquoted(pattern).any(|c| c == 'G');
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let mut text = String::new();
                if chars.peek() == Some(&'\'') {
                    chars.next();
                    text.push('\'');
                } else {
                    loop {
                        match chars.next() {
                            Some('\'') if chars.peek() == Some(&'\'') => {
                                chars.next();
                                text.push('\'');
                            }
                            Some('\'') => break,
                            Some(other) => text.push(other),
                            None => return Err(invalid(pattern, "a quoted text is not closed")),
                        }
                    }
                }
                push(&mut levels, Item::Literal(text));
            }
            '[' => levels.push(Vec::new()),
            ']' => {
                let inner = levels.pop().filter(|_| !levels.is_empty());
                let inner = inner.ok_or_else(|| invalid(pattern, "a ']' without '['"))?;
                push(&mut levels, Item::Optional(inner));
            }
            '{' | '}' | '#' => return Err(invalid(pattern, &format!("'{c}' is reserved"))),
            letter if letter.is_ascii_alphabetic() => {
                let mut count = 1;
                while chars.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                let item = letter_item(pattern, letter, count, usage, has_era)?;
                push(&mut levels, item);
            }
            other => push(&mut levels, Item::Literal(other.to_string())),
        }
    }
    // java.time closes open sections at the end of the pattern.
    while levels.len() > 1 {
        let inner = levels.pop().unwrap_or_default();
        push(&mut levels, Item::Optional(inner));
    }
    let mut items = levels.pop().unwrap_or_default();
    reserve_adjacent(&mut items);
    Ok(items)
}

fn push(levels: &mut [Vec<Item>], item: Item) {
    let Some(level) = levels.last_mut() else { return };
    if let (Some(Item::Literal(before)), Item::Literal(text)) = (level.last_mut(), &item) {
        before.push_str(text);
        return;
    }
    level.push(item);
}

/// Spark's own checks of letters, before java.time sees the pattern.
fn check_letters(pattern: &str, usage: Usage) -> Result<()> {
    for letter in unquoted(pattern) {
        match letter {
            'Y' | 'W' | 'w' | 'u' | 'e' | 'c' => {
                return Err(Error::invalid(format!(
                    "all week-based patterns are unsupported since Spark 3.0, detected '{letter}' in datetime pattern '{pattern}'"
                ))
                .code("INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN")
                .hint("use the SQL function EXTRACT instead"));
            }
            'A' | 'B' | 'n' | 'N' | 'p' => return Err(illegal(pattern, letter)),
            'E' | 'F' | 'q' | 'Q' if usage == Usage::Parse => return Err(illegal(pattern, letter)),
            _ => {}
        }
    }
    for narrow in ["GGGGG", "MMMMM", "LLLLL", "EEEEE", "QQQQQ", "qqqqq"] {
        if pattern.contains(narrow) {
            let letter = narrow.get(..1).unwrap_or_default();
            return Err(invalid(pattern, &format!("too many pattern letters '{letter}'")));
        }
    }
    Ok(())
}

/// The characters outside of quotes.
fn unquoted(pattern: &str) -> impl Iterator<Item = char> {
    let mut quoted = false;
    pattern.chars().filter(move |c| {
        if *c == '\'' {
            quoted = !quoted;
        }
        !quoted && *c != '\''
    })
}

fn letter_item(pattern: &str, letter: char, count: usize, usage: Usage, has_era: bool) -> Result<Item> {
    use Field as F;
    let too_many = || invalid(pattern, &format!("too many pattern letters '{letter}'"));
    let number = |field, min, max, sign| Ok(Item::Number { field, min, max, sign, reserved: 0 });
    let one_or_two = |field| match count {
        1 => number(field, 1, 19, Sign::Normal),
        2 => number(field, 2, 2, Sign::Never),
        _ => Err(too_many()),
    };
    let short_or_full = |field| match count {
        1..=3 => Ok(Item::Text { field, width: Width::Short }),
        4 => Ok(Item::Text { field, width: Width::Full }),
        _ => Err(too_many()),
    };
    let number_or_text = |field| match count {
        1 => number(field, 1, 19, Sign::Normal),
        2 => number(field, 2, 2, Sign::Never),
        _ => short_or_full(field),
    };
    match letter {
        'y' => {
            let field = if has_era { F::YearOfEra } else { F::Year };
            match count {
                1 => number(field, 1, 19, Sign::Normal),
                2 => Ok(Item::ReducedYear { reserved: 0, era: has_era }),
                3 => number(field, 3, 19, Sign::Normal),
                4..=6 => number(field, count, 19, Sign::ExceedsPad),
                _ => Err(too_many()),
            }
        }
        'G' => short_or_full(F::Era),
        'M' | 'L' => number_or_text(F::Month),
        'Q' | 'q' => number_or_text(F::Quarter),
        'd' => one_or_two(F::Day),
        'D' => match count {
            1 => number(F::DayOfYear, 1, 19, Sign::Normal),
            2 | 3 => number(F::DayOfYear, count, 3, Sign::Never),
            _ => Err(too_many()),
        },
        'E' => short_or_full(F::Weekday),
        'F' if count == 1 => number(F::AlignedDay, 1, 19, Sign::Normal),
        'F' => Err(too_many()),
        'a' if count == 1 => Ok(Item::Text { field: F::AmPm, width: Width::Short }),
        'a' => Err(too_many()),
        'H' => one_or_two(F::Hour),
        'k' => one_or_two(F::ClockHour),
        'K' => one_or_two(F::HalfHour),
        'h' => one_or_two(F::ClockHalfHour),
        'm' => one_or_two(F::Minute),
        's' => one_or_two(F::Second),
        'S' if count > 9 => Err(too_many()),
        'S' => Ok(Item::Fraction { min: if usage == Usage::Parse { 1 } else { count }, max: count }),
        'V' if count == 2 => Ok(Item::ZoneId),
        'V' => Err(invalid(pattern, "the count of pattern letter 'V' must be 2")),
        'z' if count == 4 => Err(Error::unsupported(format!("the full zone name 'zzzz' in datetime pattern '{pattern}' is not supported"))
            .hint("use 'z' or 'VV'")),
        'z' if count < 4 => Ok(Item::ZoneName),
        'z' => Err(too_many()),
        'O' => match count {
            1 => Ok(Item::LocalizedOffset(Width::Short)),
            4 => Ok(Item::LocalizedOffset(Width::Full)),
            _ => Err(invalid(pattern, "the count of pattern letter 'O' must be 1 or 4")),
        },
        'X' | 'x' if count <= 5 => Ok(Item::Offset(OffsetStyle {
            colon: count == 3 || count == 5,
            optional_minutes: count == 1,
            seconds: count > 3,
            zero: if letter == 'X' { "Z" } else { "" },
        })),
        'X' | 'x' => Err(too_many()),
        'Z' => match count {
            1..=3 => Ok(Item::Offset(OffsetStyle { colon: false, optional_minutes: false, seconds: false, zero: "" })),
            4 => Ok(Item::LocalizedOffset(Width::Full)),
            5 => Ok(Item::Offset(OffsetStyle { colon: true, optional_minutes: false, seconds: true, zero: "Z" })),
            _ => Err(too_many()),
        },
        other => Err(illegal(pattern, other).code("INVALID_DATETIME_PATTERN.WITH_SUGGESTION")),
    }
}

/// A variable-width number directly before fixed-width ones leaves them their digits: `yyyyMMdd`.
fn reserve_adjacent(items: &mut [Item]) {
    let mut digits_behind = 0;
    for item in items.iter_mut().rev() {
        match item {
            Item::Number { min, max, reserved, sign, .. } if !(min == max && *sign == Sign::Never) => {
                *reserved = digits_behind;
                digits_behind = 0;
            }
            Item::Number { min, .. } => digits_behind += *min,
            Item::ReducedYear { reserved, .. } => {
                *reserved = digits_behind;
                digits_behind += 2;
            }
            Item::Optional(inner) => {
                reserve_adjacent(inner);
                digits_behind = 0;
            }
            _ => digits_behind = 0,
        }
    }
}

fn illegal(pattern: &str, letter: char) -> Error {
    invalid(pattern, &format!("illegal pattern character '{letter}'")).code("INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER")
}

fn invalid(pattern: &str, why: &str) -> Error {
    Error::invalid(format!("datetime pattern '{pattern}' is not supported: {why}")).code("INVALID_DATETIME_PATTERN")
}
