//! Java's regular expressions on the `regex` crate: linear time, so no input can make a query hang.
//!
//! Patterns are translated: `\d`, `\w` and `\s` are ASCII, `.` stops at every line end Java knows, `\Q..\E` and
//! POSIX classes are spelled out. What needs backtracking (look-around, back-references, possessive repetition)
//! is refused by name instead of answered wrongly.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;
use regex::{Captures, Regex, RegexBuilder};

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::{data, unsupported};
use crate::rows::{Memo, TEXT_BYTES_MAX, bool_rows, number, number_rows, text, text_rows, too_long};
use crate::types::element_field;

const TEXT_AND_PATTERN: &[Arg] = &[Arg::String, Arg::String];

/// Functions with a pattern.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("rlike", TEXT_AND_PATTERN, Returns::Boolean, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let mut memo = Memo::new();
        bool_rows(call.n_rows(), |row| {
            let (Some(value), Some(pattern)) = (text(&values, row), text(&patterns, row)) else { return Ok(None) };
            Ok(Some(memo.get(pattern, |pattern| compile(pattern, "rlike"))?.is_match(value)))
        })
    })
    .alias(&["regexp_like", "regexp"]),
    FunctionDef::new("regexp_extract", &[Arg::String, Arg::String, Arg::Int], Returns::String, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let groups = group_argument(call)?;
        let mut memo = Memo::new();
        text_rows(call.n_rows(), |row, out| {
            let (Some(value), Some(pattern), Some(group)) = (text(&values, row), text(&patterns, row), groups.at(row)) else {
                return Ok(false);
            };
            let regex = memo.get(pattern, |pattern| compile(pattern, "regexp_extract"))?;
            // Spark looks at the group number only where the pattern matches.
            if let Some(captures) = regex.captures(value) {
                let group = checked_group(regex, group, "regexp_extract")?;
                out.push_str(captures.get(group).map_or("", |found| found.as_str()));
            }
            Ok(true)
        })
    })
    .min(2),
    FunctionDef::new("regexp_extract_all", &[Arg::String, Arg::String, Arg::Int], Returns::Strings, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let groups = group_argument(call)?;
        let mut memo = Memo::new();
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element_field(DataType::Utf8));
        for row in 0..call.n_rows() {
            let (Some(value), Some(pattern), Some(group)) = (text(&values, row), text(&patterns, row), groups.at(row)) else {
                builder.append(false);
                continue;
            };
            let regex = memo.get(pattern, |pattern| compile(pattern, "regexp_extract_all"))?;
            for captures in regex.captures_iter(value) {
                let group = checked_group(regex, group, "regexp_extract_all")?;
                builder.values().append_value(captures.get(group).map_or("", |found| found.as_str()));
            }
            builder.append(true);
        }
        Ok(Arc::new(builder.finish()))
    })
    .min(2),
    FunctionDef::new("regexp_replace", &[Arg::String, Arg::String, Arg::String, Arg::Int], Returns::String, regexp_replace).min(3),
    FunctionDef::new("regexp_count", TEXT_AND_PATTERN, Returns::Int, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let mut memo = Memo::new();
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            let (Some(value), Some(pattern)) = (text(&values, row), text(&patterns, row)) else { return Ok(None) };
            Ok(Some(memo.get(pattern, |pattern| compile(pattern, "regexp_count"))?.find_iter(value).count() as i32))
        })?))
    }),
    FunctionDef::new("regexp_substr", TEXT_AND_PATTERN, Returns::String, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let mut memo = Memo::new();
        text_rows(call.n_rows(), |row, out| {
            let (Some(value), Some(pattern)) = (text(&values, row), text(&patterns, row)) else { return Ok(false) };
            let regex = memo.get(pattern, |pattern| compile(pattern, "regexp_substr"))?;
            // An empty match counts as none.
            match regex.find(value).filter(|found| !found.is_empty()) {
                Some(found) => out.push_str(found.as_str()),
                None => return Ok(false),
            }
            Ok(true)
        })
    }),
    FunctionDef::new("regexp_instr", &[Arg::String, Arg::String, Arg::Int], Returns::Int, |call| {
        let (values, patterns) = (call.strings(0)?, call.strings(1)?);
        let mut memo = Memo::new();
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            let (Some(value), Some(pattern)) = (text(&values, row), text(&patterns, row)) else { return Ok(None) };
            let regex = memo.get(pattern, |pattern| compile(pattern, "regexp_instr"))?;
            Ok(Some(regex.find(value).map_or(0, |found| value.get(..found.start()).map_or(0, |before| before.chars().count() as i32) + 1)))
        })?))
    })
    .min(2),
    FunctionDef::new("split", &[Arg::String, Arg::String, Arg::Int], Returns::Strings, split).min(2),
];

/// Compiles a Java pattern; `function` is named in errors.
pub(crate) fn compile(pattern: &str, function: &str) -> Result<Regex> {
    let translated = Translator::new(pattern, function).run()?;
    RegexBuilder::new(&translated).size_limit(64 << 20).build().map_err(|error| {
        data(
            "INVALID_PARAMETER_VALUE.PATTERN",
            format!("{function}: the regular expression '{pattern}' is not valid: {}", short(&error.to_string())),
        )
    })
}

/// The last line of the crate's multi-line message.
fn short(message: &str) -> String {
    message.lines().last().unwrap_or("").trim_start_matches("error: ").to_string()
}

struct Translator<'a> {
    pattern: &'a str,
    function: &'a str,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    out: String,
}

const LINE_ENDS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

impl<'a> Translator<'a> {
    fn new(pattern: &'a str, function: &'a str) -> Self {
        Self { pattern, function, chars: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 16) }
    }

    fn refuse(&self, what: &str) -> datafusion::common::DataFusionError {
        unsupported(format!("{}: {what} in the regular expression '{}' is not supported", self.function, self.pattern))
    }

    fn invalid(&self) -> datafusion::common::DataFusionError {
        data("INVALID_PARAMETER_VALUE.PATTERN", format!("{}: the regular expression '{}' is not valid", self.function, self.pattern))
    }

    fn run(mut self) -> Result<String> {
        // With an inline `s` flag somewhere `.` is left to the crate, which knows the flag.
        let dot_all = self.pattern.contains("(?") && {
            let flags = self.pattern.split("(?").skip(1).filter_map(|rest| rest.split([')', ':']).next());
            flags.into_iter().any(|flags| flags.chars().all(|c| c.is_ascii_alphabetic() || c == '-') && flags.contains('s'))
        };
        let mut after_repetition = false;
        while let Some(c) = self.chars.next() {
            let mut repetition = false;
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '.' if !dot_all => self.out.push_str(&format!("[^{LINE_ENDS}]")),
                '(' => self.group()?,
                '+' if after_repetition => return Err(self.refuse("possessive repetition")),
                '*' | '+' | '?' => {
                    // `a*?` is lazy; a further repetition of it is an error in Java.
                    repetition = !after_repetition;
                    self.out.push(c);
                }
                '}' => {
                    repetition = true;
                    self.out.push(c);
                }
                _ => self.out.push(c),
            }
            after_repetition = repetition;
        }
        Ok(self.out)
    }

    fn group(&mut self) -> Result<()> {
        self.out.push('(');
        if self.chars.peek() != Some(&'?') {
            return Ok(());
        }
        self.chars.next();
        let rest: String = self.chars.clone().take(2).collect();
        if rest.starts_with(['=', '!']) || rest == "<=" || rest == "<!" {
            return Err(self.refuse("look-around"));
        }
        if rest.starts_with('>') {
            return Err(self.refuse("an atomic group"));
        }
        self.out.push('?');
        // Java's `d` and `U` flags have no counterpart; the others have the same letters.
        while let Some(c) = self.chars.peek().copied().filter(|c| c.is_ascii_alphabetic() || *c == '-') {
            self.chars.next();
            match c {
                'd' | 'U' => return Err(self.refuse("this inline flag")),
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    /// After a backslash, inside or outside of a class.
    fn escape(&mut self, in_class: bool) -> Result<()> {
        let Some(c) = self.chars.next() else { return Err(self.invalid()) };
        let class = |inner: &str| if in_class { inner.to_string() } else { format!("[{inner}]") };
        let negated = |inner: &str| format!("[^{inner}]");
        let piece = match c {
            'd' => class("0-9"),
            'D' => negated("0-9"),
            'w' => class("a-zA-Z0-9_"),
            'W' => negated("a-zA-Z0-9_"),
            's' => class(r" \t\n\x0B\f\r"),
            'S' => negated(r" \t\n\x0B\f\r"),
            'h' => class(r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"),
            'H' => negated(r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"),
            'v' => class(r"\n\x0B\f\r\x{85}\x{2028}\x{2029}"),
            'V' => negated(r"\n\x0B\f\r\x{85}\x{2028}\x{2029}"),
            'R' if !in_class => format!(r"(?:\r\n|[{LINE_ENDS}\x0B\f])"),
            'e' => r"\x1B".to_string(),
            'Z' if !in_class => r"\z".to_string(),
            't' | 'n' | 'r' | 'f' | 'a' => format!("\\{c}"),
            'b' | 'B' | 'A' | 'z' if !in_class => format!("\\{c}"),
            'Q' => {
                let mut literal = String::new();
                for c in self.chars.by_ref() {
                    literal.push(c);
                    if literal.ends_with("\\E") {
                        literal.truncate(literal.len() - 2);
                        break;
                    }
                }
                regex::escape(&literal)
            }
            'E' => String::new(),
            'x' | 'u' => self.code_point(c)?,
            '0' => {
                let mut value = 0;
                let mut n_digits = 0;
                while let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(8)).filter(|_| n_digits < 3) {
                    if value * 8 + digit > 0o377 {
                        break;
                    }
                    value = value * 8 + digit;
                    n_digits += 1;
                    self.chars.next();
                }
                if n_digits == 0 {
                    return Err(self.invalid());
                }
                format!(r"\x{{{value:X}}}")
            }
            'c' => {
                let Some(c) = self.chars.next() else { return Err(self.invalid()) };
                format!(r"\x{{{:X}}}", u32::from(c) ^ 64)
            }
            'p' | 'P' => self.property(c == 'P', in_class)?,
            '1'..='9' | 'k' => return Err(self.refuse("a back-reference")),
            'G' | 'X' | 'N' => return Err(self.refuse(&format!("\\{c}"))),
            c if c.is_ascii_alphabetic() => return Err(self.invalid()),
            c => regex::escape(&c.to_string()),
        };
        self.out.push_str(&piece);
        Ok(())
    }

    fn code_point(&mut self, kind: char) -> Result<String> {
        if kind == 'x' && self.chars.peek() == Some(&'{') {
            self.chars.next();
            let digits: String = self.chars.by_ref().take_while(|c| *c != '}').collect();
            return Ok(format!(r"\x{{{digits}}}"));
        }
        let n_digits = if kind == 'x' { 2 } else { 4 };
        let digits: String = self.chars.by_ref().take(n_digits).collect();
        if digits.len() == n_digits && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(format!(r"\x{{{digits}}}"))
        } else {
            Err(self.invalid())
        }
    }

    fn property(&mut self, negated: bool, in_class: bool) -> Result<String> {
        let name: String = if self.chars.peek() == Some(&'{') {
            self.chars.next();
            self.chars.by_ref().take_while(|c| *c != '}').collect()
        } else {
            self.chars.next().into_iter().collect()
        };
        let posix = match name.as_str() {
            "Lower" => "a-z",
            "Upper" => "A-Z",
            "ASCII" => r"\x00-\x7F",
            "Alpha" => "a-zA-Z",
            "Digit" => "0-9",
            "Alnum" => "a-zA-Z0-9",
            "Punct" => r"!-/:-@\[-`{-~",
            "Graph" => "!-~",
            "Print" => " -~",
            "Blank" => r" \t",
            "Cntrl" => r"\x00-\x1F\x7F",
            "XDigit" => "0-9a-fA-F",
            "Space" => r" \t\n\x0B\f\r",
            "javaLowerCase" => r"\p{Lowercase}",
            "javaUpperCase" => r"\p{Uppercase}",
            "javaWhitespace" => r"\p{White_Space}",
            _ => "",
        };
        if posix.is_empty() {
            // `IsAlphabetic`, `InGreek` and the like: the crate knows the bare names.
            let bare = name.strip_prefix("Is").or_else(|| name.strip_prefix("In")).unwrap_or(&name);
            return Ok(format!("\\{}{{{bare}}}", if negated { 'P' } else { 'p' }));
        }
        Ok(match (negated, in_class) {
            (true, _) => format!("[^{posix}]"),
            (false, true) => posix.to_string(),
            (false, false) => format!("[{posix}]"),
        })
    }

    /// A character class, with nested classes and intersections.
    fn class(&mut self) -> Result<()> {
        self.out.push('[');
        let mut depth = 1;
        let mut first = true;
        while let Some(c) = self.chars.next() {
            match c {
                '^' if first => {
                    self.out.push('^');
                    continue;
                }
                '\\' => self.escape(true)?,
                '[' => {
                    depth += 1;
                    self.out.push('[');
                    first = true;
                    continue;
                }
                ']' if first => {
                    // Java takes a leading bracket literally.
                    self.out.push_str(r"\]");
                }
                ']' => {
                    depth -= 1;
                    self.out.push(']');
                    if depth == 0 {
                        return Ok(());
                    }
                }
                '&' if self.chars.peek() == Some(&'&') => {
                    self.chars.next();
                    self.out.push_str("&&");
                }
                // The crate gives `~~` and `--` a meaning that Java does not.
                '~' | '&' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                '-' if self.chars.peek() == Some(&'-') => self.out.push_str(r"\-"),
                c => self.out.push(c),
            }
            first = false;
        }
        Err(self.invalid())
    }
}

/// The group number: an argument, or 1.
struct GroupArgument(Option<arrow::array::Int32Array>);

impl GroupArgument {
    fn at(&self, row: usize) -> Option<i32> {
        match &self.0 {
            Some(groups) => number(groups, row),
            None => Some(1),
        }
    }
}

fn group_argument(call: &Call<'_>) -> Result<GroupArgument> {
    Ok(GroupArgument(if call.len() > 2 { Some(call.primitive::<Int32Type>(2)?) } else { None }))
}

fn checked_group(regex: &Regex, group: i32, function: &str) -> Result<usize> {
    let n_groups = regex.captures_len() - 1;
    usize::try_from(group).ok().filter(|group| *group <= n_groups).ok_or_else(|| {
        data("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", format!("{function}: the group {group} is not between 0 and {n_groups}"))
    })
}

fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, patterns, replacements) = (call.strings(0)?, call.strings(1)?, call.strings(2)?);
    let positions = if call.len() > 3 { Some(call.primitive::<Int32Type>(3)?) } else { None };
    let (mut regexes, mut templates) = (Memo::new(), Memo::new());
    text_rows(call.n_rows(), |row, out| {
        let position = match &positions {
            Some(positions) => number(positions, row),
            None => Some(1),
        };
        let (Some(value), Some(pattern), Some(replacement), Some(position)) =
            (text(&values, row), text(&patterns, row), text(&replacements, row), position)
        else {
            return Ok(false);
        };
        if position < 1 {
            return Err(data("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", format!("regexp_replace: the position {position} is less than 1")));
        }
        let regex = regexes.get(pattern, |pattern| compile(pattern, "regexp_replace"))?;
        let template = templates.get(replacement, Template::parse)?;
        let start = crate::strings::byte_offset(value, i64::from(position) - 1);
        let (head, tail) = value.split_at_checked(start).unwrap_or((value, ""));
        out.push_str(head);
        if start >= value.len() && position > 1 {
            return Ok(true);
        }
        let mut last = 0;
        for captures in regex.captures_iter(tail) {
            let Some(found) = captures.get(0) else { continue };
            out.push_str(tail.get(last..found.start()).unwrap_or(""));
            template.write(out, &captures, regex)?;
            last = found.end();
            if out.len() > TEXT_BYTES_MAX {
                return Err(too_long());
            }
        }
        out.push_str(tail.get(last..).unwrap_or(""));
        Ok(true)
    })
}

/// A Java replacement: `$1`, `${name}`, `\$`.
struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    /// The digits after `$`: as many are taken as name an existing group.
    Group(String),
    Name(String),
}

impl Template {
    fn parse(template: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = template.chars().peekable();
        let bad = || data("INVALID_PARAMETER_VALUE.PATTERN", format!("regexp_replace: the replacement '{template}' is not valid"));
        while let Some(c) = chars.next() {
            match c {
                '\\' => literal.push(chars.next().ok_or_else(bad)?),
                '$' => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    if chars.peek() == Some(&'{') {
                        chars.next();
                        let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                        pieces.push(Piece::Name(name));
                        continue;
                    }
                    let mut digits = String::new();
                    while let Some(digit) = chars.peek().copied().filter(char::is_ascii_digit) {
                        digits.push(digit);
                        chars.next();
                    }
                    if digits.is_empty() {
                        return Err(bad());
                    }
                    pieces.push(Piece::Group(digits));
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    fn write(&self, out: &mut String, captures: &Captures<'_>, regex: &Regex) -> Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Name(name) => out.push_str(captures.name(name).map_or("", |found| found.as_str())),
                Piece::Group(digits) => {
                    // The longest number that is a group; the digits behind it are text.
                    let n_groups = regex.captures_len() - 1;
                    let taken = (1..=digits.len())
                        .rev()
                        .find(|taken| {
                            let number = digits.get(..*taken).and_then(|digits| digits.parse::<usize>().ok());
                            number.is_some_and(|number| number <= n_groups)
                        })
                        .ok_or_else(|| {
                            data(
                                "INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX",
                                format!("regexp_replace: there is no group {digits}, the pattern has {n_groups}"),
                            )
                        })?;
                    let (number, rest) = digits.split_at(taken);
                    let group = number.parse().unwrap_or(0);
                    out.push_str(captures.get(group).map_or("", |found| found.as_str()));
                    out.push_str(rest);
                }
            }
        }
        Ok(())
    }
}

/// Java's `String.split`, keeping trailing empty strings; an empty pattern gives the characters.
fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, patterns) = (call.strings(0)?, call.strings(1)?);
    let limits = if call.len() > 2 { Some(call.primitive::<Int32Type>(2)?) } else { None };
    let mut memo = Memo::new();
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element_field(DataType::Utf8));
    for row in 0..call.n_rows() {
        let limit = match &limits {
            Some(limits) => number(limits, row),
            None => Some(-1),
        };
        let (Some(value), Some(pattern), Some(limit)) = (text(&values, row), text(&patterns, row), limit) else {
            builder.append(false);
            continue;
        };
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        if pattern.is_empty() {
            // Spark drops the empty string behind the last character.
            let mut rest = value;
            let mut n_parts = 1;
            while let Some(c) = rest.chars().next() {
                let (head, tail) = rest.split_at(c.len_utf8());
                if n_parts == limit || tail.is_empty() {
                    break;
                }
                builder.values().append_value(head);
                rest = tail;
                n_parts += 1;
            }
            builder.values().append_value(rest);
            builder.append(true);
            continue;
        }
        // A literal separator of one character is the common case and needs no automaton.
        let mut chars = pattern.chars();
        if let (Some(c), None) = (chars.next(), chars.next())
            && !r"\^$.|?*+()[]{}".contains(c)
        {
            for part in value.splitn(limit, c) {
                builder.values().append_value(part);
            }
            builder.append(true);
            continue;
        }
        let regex = memo.get(pattern, |pattern| compile(pattern, "split"))?;
        let (mut last, mut n_parts) = (0, 1);
        for found in regex.find_iter(value) {
            if n_parts == limit {
                break;
            }
            // No empty leading part for an empty match at the start, and none behind the end.
            if found.end() == 0 {
                continue;
            }
            builder.values().append_value(value.get(last..found.start()).unwrap_or(""));
            last = found.end();
            n_parts += 1;
        }
        builder.values().append_value(value.get(last..).unwrap_or(""));
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests;
