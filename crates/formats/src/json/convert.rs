//! Tokens to columns with the rules of Spark's `JacksonParser`.
//!
//! A value of the wrong type fails; a struct turns a failed member into null and keeps the others, a list or map with a
//! failed element fails as a whole unless the element kept a part. A failure never stops the record, only text that is
//! no JSON does.

use base64::Engine as _;
use rustc_hash::FxHashMap;

use super::encode::push_quoted;
use super::options::JsonReadOptions;
use super::scan::{Malformed, Scanner, Text, Token};
use crate::column::{Column, Lists, Maps, Structs};
use crate::datetime;
use crate::number::{parse_decimal, push_double};

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Pushed as it is.
    Good,
    /// Pushed, but some part of it was bad and is null.
    Partial,
    /// Bad: nothing was pushed.
    Failed,
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the record.
    Root,
    /// It is a part of something.
    Inner,
}

/// Converts values and remembers the first bad one of a record.
#[derive(Debug)]
pub(crate) struct Converter {
    options: JsonReadOptions,
    scratch: String,
    /// A second one, for what is written anew from the first.
    rewritten: String,
    /// What the first bad field of the record was, if one was met since it was last taken.
    pub bad_field: Option<String>,
}

impl Converter {
    pub fn new(options: JsonReadOptions) -> Self {
        Self { options, scratch: String::new(), rewritten: String::new(), bad_field: None }
    }

    /// Reads one value into `column`. On an error the column may have been pushed to: cut it back.
    pub fn value(&mut self, scan: &mut Scanner<'_>, column: &mut Column) -> Result<Fate, Malformed> {
        // Before the token there may be blanks; the text of containers and numbers is cut from the token on.
        let token = scan.token()?;
        self.token_value(scan, column, token)
    }

    #[inline]
    pub fn token_value(&mut self, scan: &mut Scanner<'_>, column: &mut Column, token: Token<'_>) -> Result<Fate, Malformed> {
        if token == Token::Null {
            column.push_null();
            return Ok(Fate::Good);
        }
        let done = match (column, token) {
            (Column::Str(column), Token::Str(text)) => {
                if text.escaped {
                    column.push(text.resolve(&mut self.scratch).as_bytes());
                } else {
                    column.push(text.raw.as_bytes());
                }
                true
            }
            (Column::Str(column), Token::Int(_) | Token::Float(_) | Token::Object | Token::Array) if !self.options.exact_text => {
                self.rewritten.clear();
                self.rewrite(scan, token)?;
                column.push(self.rewritten.as_bytes());
                true
            }
            (Column::Str(column), Token::Int(text) | Token::Float(text)) => {
                column.push(text.as_bytes());
                true
            }
            (Column::Str(column), Token::True) => {
                column.push(b"true");
                true
            }
            (Column::Str(column), Token::False) => {
                column.push(b"false");
                true
            }
            (Column::Str(column), Token::Object | Token::Array) => {
                // The text exactly as written, blanks included.
                let start = scan.pos() - 1;
                scan.skip_rest(token)?;
                column.push(scan.since(start).as_bytes());
                true
            }
            (Column::Int64(column), Token::Int(text)) => push_some(text.parse().ok(), |value| column.push(value)),
            (Column::Int32(column), Token::Int(text)) => push_some(text.parse().ok(), |value| column.push(value)),
            (Column::Int16(column), Token::Int(text)) => push_some(text.parse().ok(), |value| column.push(value)),
            // Jackson takes unsigned bytes too.
            (Column::Int8(column), Token::Int(text)) => {
                let value = text.parse().ok().filter(|value: &i16| (-128..=255).contains(value));
                push_some(value, |value| column.push(value as i8))
            }
            // A whole number has no negative zero.
            (Column::Float64(column), Token::Int(text)) => push_some(float(text), |value| column.push(value + 0.0)),
            (Column::Float64(column), Token::Float(text)) => push_some(float(text), |value| column.push(value)),
            (Column::Float32(column), Token::Int(text)) => push_some(text.parse().ok(), |value: f32| column.push(value + 0.0)),
            (Column::Float32(column), Token::Float(text)) => {
                push_some(text.parse().ok().or_else(|| float(text).map(|value| value as f32)), |value| column.push(value))
            }
            (Column::Float64(column), Token::Str(text)) => push_some(self.named_float(text), |value| column.push(value)),
            (Column::Float32(column), Token::Str(text)) => push_some(self.named_float(text), |value| column.push(value as f32)),
            (Column::Bool(column), Token::True) => {
                column.push(Some(true));
                true
            }
            (Column::Bool(column), Token::False) => {
                column.push(Some(false));
                true
            }
            (Column::Decimal(column, precision, scale), Token::Int(text) | Token::Float(text)) => {
                push_some(parse_decimal(text, *precision, *scale), |value| column.push(value))
            }
            (Column::Decimal(column, precision, scale), Token::Str(text)) => {
                let text = text.resolve(&mut self.scratch);
                let value = if text.contains(',') {
                    parse_decimal(&text.replace(',', ""), *precision, *scale)
                } else {
                    parse_decimal(text, *precision, *scale)
                };
                push_some(value, |value| column.push(value))
            }
            (Column::Timestamp(column, zone), Token::Str(text)) => {
                let with_zone = zone.is_some();
                push_some(self.timestamp(text, with_zone), |value| column.push(value))
            }
            // Seconds too large for a timestamp are bad; Spark lets them wrap around.
            (Column::Timestamp(column, Some(_)), Token::Int(text)) => {
                let us = text.parse().ok().and_then(|seconds: i64| seconds.checked_mul(1_000_000));
                push_some(us, |value| column.push(value))
            }
            (Column::Date(column), Token::Str(text)) => {
                let text = text.resolve(&mut self.scratch);
                let days = match &self.options.date_format {
                    Some(pattern) => pattern.parse_date(text),
                    // Spark 1.5 wrote dates as days since 1970.
                    None => datetime::parse_date(text).or_else(|| text.parse().ok()),
                };
                push_some(days, |value| column.push(value))
            }
            (Column::Binary(column), Token::Str(text)) => {
                let text = text.resolve(&mut self.scratch);
                let ok = base64::engine::general_purpose::STANDARD.decode_vec(text, &mut column.data).is_ok();
                if ok {
                    column.close(true);
                } else {
                    let len = column.len();
                    column.truncate(len);
                }
                ok
            }
            (Column::Struct(column), Token::Object) => return self.object(scan, column, Place::Inner),
            (Column::List(column), Token::Array) => return self.array(scan, column),
            (Column::Map(column), Token::Object) => return self.map(scan, column),
            _ => false,
        };
        if done {
            return Ok(Fate::Good);
        }
        self.note(token);
        scan.skip_rest(token)?;
        Ok(Fate::Failed)
    }

    /// Behind the opening brace: members into the struct's children, one row.
    pub fn object(&mut self, scan: &mut Scanner<'_>, column: &mut Structs, at: Place) -> Result<Fate, Malformed> {
        let row = column.len;
        let mut fate = Fate::Good;
        let mut place = 0;
        let mut first = true;
        loop {
            let target = match column.names.order.get(place) {
                Some((quoted, target)) if scan.expect_name(quoted, first) => *target,
                _ => match self.member(scan, column, &mut place, first)? {
                    Some(target) => target,
                    None => break,
                },
            };
            first = false;
            place += 1;
            let Some(child) = target.and_then(|target| column.children.get_mut(target)) else {
                scan.skip_value().map_err(Malformed::for_all)?;
                continue;
            };
            let start = scan.pos();
            let token = scan.member_token()?;
            let again = child.len() != row;
            let mut member = self.token_value(scan, child, token);
            if again && matches!(member, Ok(Fate::Good | Fate::Partial)) {
                // The name was there before: the last good value counts. Rare, so it is read twice.
                child.truncate(row);
                scan.rewind(start);
                member = self.value(scan, child);
            }
            match member {
                Ok(Fate::Good) => {}
                Ok(Fate::Partial) => fate = Fate::Partial,
                Ok(Fate::Failed) => {
                    if child.len() == row {
                        child.push_null();
                    }
                    fate = Fate::Partial;
                }
                Err(malformed) if malformed.behind_name && at == Place::Root => {
                    self.bad_field.get_or_insert_with(|| format!("{} at byte {}", malformed.why, malformed.at + 1));
                    child.truncate(if again { row + 1 } else { row });
                    fate = Fate::Partial;
                    break;
                }
                Err(malformed) => return Err(malformed.for_all()),
            }
        }
        column.close(true);
        Ok(fate)
    }

    /// The next member by its name when it is not the expected one: its field if the schema has it; `None` at the end.
    #[cold]
    fn member(
        &mut self,
        scan: &mut Scanner<'_>,
        column: &mut Structs,
        place: &mut usize,
        first: bool,
    ) -> Result<Option<Option<usize>>, Malformed> {
        // A member that is often missing: the next one is here.
        if let Some((quoted, target)) = column.names.order.get(*place + 1)
            && scan.expect_name(quoted, first)
        {
            *place += 1;
            return Ok(Some(*target));
        }
        let Some(name) = scan.next_name(first)? else { return Ok(None) };
        if name.escaped {
            return Ok(Some(column.names.find(name.resolve(&mut self.scratch))));
        }
        Ok(Some(column.names.learn(*place, name.raw)))
    }

    fn array(&mut self, scan: &mut Scanner<'_>, column: &mut Lists) -> Result<Fate, Malformed> {
        let start = column.open_at();
        let mut fate = Fate::Good;
        let mut first = true;
        while scan.next_element(first)? {
            first = false;
            match self.value(scan, &mut column.child)? {
                Fate::Good => {}
                Fate::Partial => fate = Fate::Partial,
                Fate::Failed => {
                    column.child.truncate(start);
                    scan.skip_members(false)?;
                    return Ok(Fate::Failed);
                }
            }
        }
        column.close(true);
        Ok(fate)
    }

    fn map(&mut self, scan: &mut Scanner<'_>, column: &mut Maps) -> Result<Fate, Malformed> {
        let start = column.open_at();
        let begin = scan.pos();
        let mut fate = Fate::Good;
        let mut first = true;
        while let Some(name) = scan.next_name(first)? {
            first = false;
            column.keys.push(name.resolve(&mut self.scratch).as_bytes());
            let token = scan.member_token()?;
            match self.token_value(scan, &mut column.values, token)? {
                Fate::Good => {}
                Fate::Partial => fate = Fate::Partial,
                Fate::Failed => {
                    column.keys.truncate(start);
                    column.values.truncate(start);
                    scan.skip_members(true)?;
                    return Ok(Fate::Failed);
                }
            }
        }
        if column.keys.has_duplicates(start) {
            self.map_again(scan, column, start, begin)?;
        }
        column.close(true);
        Ok(fate)
    }

    /// A map with a key twice: it keeps the place of the first and the value of the last. Rare, so it is read again.
    #[cold]
    fn map_again(&mut self, scan: &mut Scanner<'_>, column: &mut Maps, start: usize, begin: usize) -> Result<(), Malformed> {
        let end = scan.pos();
        let mut entries: Vec<(String, usize)> = Vec::new();
        let mut places: FxHashMap<String, usize> = FxHashMap::default();
        scan.reenter(begin);
        let mut first = true;
        while let Some(name) = scan.next_name(first)? {
            first = false;
            let name = name.resolve(&mut self.scratch);
            let pos = scan.pos();
            match places.get(name).and_then(|place| entries.get_mut(*place)) {
                Some(entry) => entry.1 = pos,
                None => {
                    places.insert(name.to_owned(), entries.len());
                    entries.push((name.to_owned(), pos));
                }
            }
            scan.skip_value()?;
        }
        column.keys.truncate(start);
        column.values.truncate(start);
        for (name, pos) in entries {
            column.keys.push(name.as_bytes());
            scan.rewind(pos);
            self.value(scan, &mut column.values)?;
        }
        scan.rewind(end);
        Ok(())
    }

    /// Appends the value that begins with `token` as Jackson's generator writes it: no blanks, numbers as Java prints them.
    fn rewrite(&mut self, scan: &mut Scanner<'_>, token: Token<'_>) -> Result<(), Malformed> {
        let mut open: Vec<bool> = Vec::new();
        self.rewrite_token(token, &mut open);
        let mut first = true;
        while let Some(&object) = open.last() {
            let name = if object { scan.next_name(first)? } else { None };
            let more = if object { name.is_some() } else { scan.next_element(first)? };
            if !more {
                open.pop();
                self.rewritten.push(if object { '}' } else { ']' });
                first = false;
                continue;
            }
            if !first {
                self.rewritten.push(',');
            }
            if let Some(name) = name {
                push_quoted(&mut self.rewritten, name.resolve(&mut self.scratch), false);
                self.rewritten.push(':');
            }
            let token = if object { scan.member_token()? } else { scan.token()? };
            first = self.rewrite_token(token, &mut open);
        }
        Ok(())
    }

    /// A scalar, or the opening bracket of a container: then `true`.
    fn rewrite_token(&mut self, token: Token<'_>, open: &mut Vec<bool>) -> bool {
        let out = &mut self.rewritten;
        match token {
            Token::Object => {
                open.push(true);
                out.push('{');
                return true;
            }
            Token::Array => {
                open.push(false);
                out.push('[');
                return true;
            }
            Token::Str(text) => push_quoted(out, text.resolve(&mut self.scratch), false),
            Token::Int(text) => match text.parse::<i128>() {
                Ok(value) => out.push_str(&value.to_string()),
                Err(_) => out.push_str(text),
            },
            Token::Float(text) => {
                let value = float(text).unwrap_or(f64::NAN);
                if value.is_finite() {
                    push_double(out, value);
                } else {
                    out.push('"');
                    push_double(out, value);
                    out.push('"');
                }
            }
            Token::True => out.push_str("true"),
            Token::False => out.push_str("false"),
            Token::Null => out.push_str("null"),
        }
        false
    }

    fn named_float(&mut self, text: Text<'_>) -> Option<f64> {
        if !self.options.dialect.non_numeric_numbers {
            return None;
        }
        match text.resolve(&mut self.scratch) {
            "NaN" => Some(f64::NAN),
            "+INF" | "+Infinity" | "Infinity" => Some(f64::INFINITY),
            "-INF" | "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    fn timestamp(&mut self, text: Text<'_>, with_zone: bool) -> Option<i64> {
        let options = &self.options;
        let text = text.resolve(&mut self.scratch);
        if with_zone {
            match &options.timestamp_format {
                Some(pattern) => pattern.parse_timestamp(text, options.zone),
                None => datetime::parse_timestamp_at(text, options.zone, options.now_us),
            }
        } else {
            match &options.timestamp_ntz_format {
                Some(pattern) => pattern.parse_timestamp_ntz(text, false),
                None => datetime::parse_timestamp_ntz(text, false),
            }
        }
    }

    #[cold]
    fn note(&mut self, token: Token<'_>) {
        if self.bad_field.is_some() {
            return;
        }
        let shown = |text: &str| text.chars().take(64).collect::<String>();
        self.bad_field = Some(match token {
            Token::Object => "an object does not fit the wanted type".to_owned(),
            Token::Array => "an array, or an element of it, does not fit the wanted type".to_owned(),
            Token::Str(text) => format!("the string \"{}\" does not fit the wanted type", shown(text.raw)),
            Token::Int(text) | Token::Float(text) => format!("the number {} does not fit the wanted type", shown(text)),
            Token::True => "true does not fit the wanted type".to_owned(),
            Token::False => "false does not fit the wanted type".to_owned(),
            Token::Null => "null does not fit the wanted type".to_owned(),
        });
    }
}

#[inline]
fn push_some<T>(value: Option<T>, push: impl FnOnce(T)) -> bool {
    match value {
        Some(value) => {
            push(value);
            true
        }
        None => false,
    }
}

/// A number token as a double; `NaN` and infinities included.
fn float(text: &str) -> Option<f64> {
    match text {
        "+INF" => Some(f64::INFINITY),
        "-INF" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}
