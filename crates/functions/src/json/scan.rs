//! A pull scanner over one JSON text with Jackson's rules: single quotes and raw control characters are taken,
//! leading zeros, comments and NaN are not. `None` means malformed.

use std::borrow::Cow;

/// Jackson refuses deeper nesting.
pub(super) const DEPTH_MAX: usize = 1000;

/// The scanner; it stands before a value, a name, or the end of a container.
pub(super) struct Scanner<'a> {
    text: &'a str,
    pos: usize,
    depth: usize,
}

/// A string between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// Without escapes.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        if self.escaped { unescape(self.raw) == name } else { self.raw == name }
    }
}

/// What a value begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Word,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0, depth: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
    }

    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.byte() == Some(wanted);
        self.pos += usize::from(found);
        found
    }

    /// The kind of the value here.
    pub(super) fn kind(&mut self) -> Option<Kind> {
        self.skip_space();
        Some(match self.byte()? {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' | b'\'' => Kind::String,
            b'-' | b'0'..=b'9' => Kind::Number,
            _ => Kind::Word,
        })
    }

    pub(super) fn begin_array(&mut self) -> Option<()> {
        self.begin(b'[')
    }

    pub(super) fn begin_object(&mut self) -> Option<()> {
        self.begin(b'{')
    }

    fn begin(&mut self, bracket: u8) -> Option<()> {
        self.depth += 1;
        (self.eat(bracket) && self.depth <= DEPTH_MAX).then_some(())
    }

    /// Whether there is another element; `false` behind the closing bracket.
    pub(super) fn next_element(&mut self, first: bool) -> Option<bool> {
        if self.eat(b']') {
            self.depth -= 1;
            return Some(false);
        }
        (first || self.eat(b',')).then_some(true)
    }

    /// The next name, the scanner behind its colon; `Some(None)` behind the closing brace.
    #[allow(clippy::option_option, reason = "malformed, the end, or a name")]
    pub(super) fn next_name(&mut self, first: bool) -> Option<Option<Quoted<'a>>> {
        if self.eat(b'}') {
            self.depth -= 1;
            return Some(None);
        }
        if !first && !self.eat(b',') {
            return None;
        }
        let name = self.string()?;
        self.eat(b':').then_some(Some(name))
    }

    pub(super) fn string(&mut self) -> Option<Quoted<'a>> {
        self.skip_space();
        let quote = self.byte().filter(|byte| matches!(byte, b'"' | b'\''))?;
        self.pos += 1;
        let start = self.pos;
        let mut escaped = false;
        loop {
            match self.byte()? {
                byte if byte == quote => break,
                b'\\' => {
                    escaped = true;
                    self.pos += 1;
                    match self.byte()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'\'' => self.pos += 1,
                        b'u' => {
                            let digits = self.text.as_bytes().get(self.pos + 1..self.pos + 5)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.pos += 5;
                        }
                        _ => return None,
                    }
                }
                _ => self.pos += 1,
            }
        }
        let raw = self.text.get(start..self.pos)?;
        self.pos += 1;
        Some(Quoted { raw, escaped })
    }

    /// A number as written, checked.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.pos;
        self.pos += usize::from(self.byte() == Some(b'-'));
        let first = self.byte()?;
        let n_whole = self.digits();
        if n_whole == 0 || (first == b'0' && n_whole > 1) {
            return None;
        }
        if self.byte() == Some(b'.') {
            self.pos += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.pos += 1;
            self.pos += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return None;
            }
        }
        let ended = !self.byte().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'"'));
        ended.then(|| self.text.get(start..self.pos))?
    }

    fn digits(&mut self) -> usize {
        let start = self.pos;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos += 1;
        }
        self.pos - start
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.pos;
        while self.byte().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            self.pos += 1;
        }
        self.text.get(start..self.pos).filter(|word| matches!(*word, "true" | "false" | "null"))
    }

    /// Goes behind the value here.
    pub(super) fn skip_value(&mut self) -> Option<()> {
        match self.kind()? {
            Kind::String => self.string().map(|_| ()),
            Kind::Number => self.number().map(|_| ()),
            Kind::Word => self.word().map(|_| ()),
            Kind::Array => {
                self.begin_array()?;
                let mut first = true;
                while self.next_element(first)? {
                    first = false;
                    self.skip_value()?;
                }
                Some(())
            }
            Kind::Object => {
                self.begin_object()?;
                let mut first = true;
                while self.next_name(first)?.is_some() {
                    first = false;
                    self.skip_value()?;
                }
                Some(())
            }
        }
    }
}

fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut high: Option<u16> = None;
    while let Some(c) = chars.next() {
        let c = if c != '\\' {
            c
        } else {
            match chars.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD);
                    if (0xD800..0xDC00).contains(&unit) {
                        if high.replace(unit).is_some() {
                            out.push(char::REPLACEMENT_CHARACTER);
                        }
                        continue;
                    }
                    let units = high.take().into_iter().chain(std::iter::once(unit));
                    out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
                    continue;
                }
                Some(other) => other,
                None => break,
            }
        };
        if high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        out.push(c);
    }
    if high.is_some() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
    out
}

impl Scanner<'_> {
    /// Whether the text goes on like this.
    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.text.get(self.pos..).is_some_and(|rest| rest.starts_with(text))
    }
}
