//! One record to its values: separators, quotes, escapes, blanks, with univocity's answers where the text is not clean.

use memchr::{memchr, memchr2};

use millstream_core::{Error, ErrorKind, Result};

use super::options::CsvReadOptions;

/// Cuts records into values.
#[derive(Debug)]
pub(crate) struct Splitter {
    options: SplitOptions,
    spans: Vec<Span>,
    /// Values that are not in the input as they are: those with escapes.
    scratch: Vec<u8>,
}

#[derive(Debug, Clone)]
struct SplitOptions {
    separator: Vec<u8>,
    /// The separator's first byte.
    separator_first: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    escape_escape: Option<u8>,
    trim_left: bool,
    trim_right: bool,
    /// Line ends outside of quotes end the record; without it the input is one record.
    multi_line: bool,
    line_separator: Option<Vec<u8>>,
    columns_max: usize,
    value_bytes_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    in_scratch: bool,
    quoted: bool,
}

/// A value of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Nothing between two separators.
    Nothing,
    /// A quoted text without content.
    QuotedEmpty,
    /// Any other text.
    Text(&'a [u8]),
}

/// Where a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes to go on behind the record and its line end.
    pub consumed: usize,
    /// The record ended with the input, not with a line end: more bytes could change it.
    pub open: bool,
}

impl Splitter {
    pub fn new(options: &CsvReadOptions) -> Self {
        Self {
            options: SplitOptions {
                separator_first: options.separator.first().copied().unwrap_or(b','),
                separator: options.separator.clone(),
                quote: options.quote,
                escape: options.escape,
                escape_escape: options.escape_escape,
                trim_left: options.trim_left,
                trim_right: options.trim_right,
                multi_line: options.multi_line,
                line_separator: options.line_separator.clone(),
                columns_max: options.columns_max,
                value_bytes_max: options.value_bytes_max,
            },
            spans: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// How many values the record has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The values of the record that was cut from `input`.
    pub fn values<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = Value<'a>> {
        self.spans.iter().map(move |span| {
            let source = if span.in_scratch { &self.scratch } else { input };
            match source.get(span.start..span.end) {
                Some([]) | None if span.quoted => Value::QuotedEmpty,
                Some([]) | None => Value::Nothing,
                Some(text) => Value::Text(text),
            }
        })
    }

    /// Cuts the first record of `input`.
    pub fn cut(&mut self, input: &[u8]) -> Result<Cut> {
        self.spans.clear();
        self.scratch.clear();
        let mut at = 0;
        loop {
            if self.options.trim_left {
                while input.get(at).is_some_and(|byte| *byte <= b' ') && !self.options.stops(input, at) {
                    at += 1;
                }
            }
            let (span, end) = match input.get(at) {
                Some(byte) if Some(*byte) == self.options.quote => match self.quoted(input, at) {
                    Some(done) => done,
                    None => {
                        // The quote is not closed: the value is all that is left, or the quote if nothing is.
                        let start = if at + 1 == input.len() { at } else { at + 1 };
                        let span = Span { start, end: input.len(), in_scratch: false, quoted: true };
                        (self.rest_of_quoted(input, span), input.len())
                    }
                },
                _ => {
                    let end = self.options.find_stop(input, at);
                    (self.options.plain(input, at, end), end)
                }
            };
            self.push(span)?;
            at = end;
            match self.options.stop(input, at) {
                Stop::Separator => at += self.options.separator.len(),
                Stop::Line(length) => {
                    return Ok(Cut { consumed: at + length, open: length == 1 && at + 1 == input.len() && input.get(at) == Some(&b'\r') });
                }
                Stop::End => return Ok(Cut { consumed: input.len(), open: true }),
                Stop::None => return Err(Error::internal("a value of a csv record did not end at a separator")),
            }
        }
    }

    fn push(&mut self, span: Span) -> Result<()> {
        if self.spans.len() >= self.options.columns_max {
            return Err(Error::new(ErrorKind::Exhausted, format!("a record has more than {} values", self.options.columns_max))
                .hint("raise the option 'maxColumns', or correct 'sep'"));
        }
        if span.end - span.start > self.options.value_bytes_max {
            return Err(Error::new(ErrorKind::Exhausted, format!("a value is longer than {} bytes", self.options.value_bytes_max))
                .hint("raise the option 'maxCharsPerColumn'"));
        }
        self.spans.push(span);
        Ok(())
    }

    /// The value that begins with the quote at `open`, and where it stops; `None` if it is not closed.
    fn quoted(&mut self, input: &[u8], open: usize) -> Option<(Span, usize)> {
        let quote = self.options.quote?;
        // An escape that is the quote itself is handled at the quote.
        let escape = self.options.escape.filter(|escape| *escape != quote);
        let doubled = self.options.escape == Some(quote);
        let scratch_start = self.scratch.len();
        let mut copied_to = open + 1;
        let mut at = open + 1;
        loop {
            let rest = input.get(at..)?;
            at += match escape {
                Some(escape) => memchr2(quote, escape, rest)?,
                None => memchr(quote, rest)?,
            };
            let next = input.get(at + 1).copied();
            if input.get(at) != Some(&quote) {
                // An escape: it goes before a quote and before itself, and stays before anything else.
                if next.is_some() && (next == Some(quote) || next == self.options.escape_escape) {
                    self.scratch.extend_from_slice(input.get(copied_to..at)?);
                    copied_to = at + 1;
                    at += 2;
                } else {
                    at += 1;
                }
                continue;
            }
            if doubled && next == Some(quote) {
                self.scratch.extend_from_slice(input.get(copied_to..at)?);
                copied_to = at + 1;
                at += 2;
                continue;
            }
            // Of several quotes in a row the last one closes, the others belong to the value.
            let run = input.get(at..)?.iter().take_while(|byte| **byte == quote).count();
            let last = at + run - 1;
            let mut behind = last + 1;
            while input.get(behind).is_some_and(|byte| *byte <= b' ') && !self.options.stops(input, behind) {
                behind += 1;
            }
            if self.options.stops(input, behind) {
                if copied_to == open + 1 {
                    return Some((Span { start: open + 1, end: last, in_scratch: false, quoted: true }, behind));
                }
                self.scratch.extend_from_slice(input.get(copied_to..last)?);
                let span = Span { start: scratch_start, end: self.scratch.len(), in_scratch: true, quoted: true };
                return Some((span, behind));
            }
            // A quote in the middle: the text with its quotes counts, up to the next separator.
            let end = self.options.find_stop(input, at);
            if copied_to == open + 1 {
                return Some((self.options.plain(input, open, end), end));
            }
            self.scratch.insert(scratch_start, quote);
            let mut tail = self.options.plain(input, copied_to, end);
            self.scratch.extend_from_slice(input.get(tail.start..tail.end)?);
            (tail.start, tail.end, tail.in_scratch) = (scratch_start, self.scratch.len(), true);
            return Some((tail, end));
        }
    }

    /// A value without closing quote, its escapes resolved.
    fn rest_of_quoted(&mut self, input: &[u8], span: Span) -> Span {
        let (Some(quote), Some(escape)) = (self.options.quote, self.options.escape) else { return span };
        let text = input.get(span.start..span.end).unwrap_or_default();
        if memchr(escape, text).is_none() {
            return span;
        }
        let start = self.scratch.len();
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let next = bytes.peek().copied();
            if byte == escape && next.is_some() && (next == Some(quote) || next == self.options.escape_escape) {
                self.scratch.extend(bytes.next());
            } else {
                self.scratch.push(byte);
            }
        }
        Span { start, end: self.scratch.len(), in_scratch: true, quoted: true }
    }
}

enum Stop {
    None,
    Separator,
    /// A line end of so many bytes.
    Line(usize),
    End,
}

impl SplitOptions {
    #[inline]
    fn stop(&self, input: &[u8], at: usize) -> Stop {
        let Some(&byte) = input.get(at) else { return Stop::End };
        if byte == self.separator_first && input.get(at..at + self.separator.len()) == Some(self.separator.as_slice()) {
            return Stop::Separator;
        }
        if !self.multi_line {
            return Stop::None;
        }
        match (&self.line_separator, byte) {
            (Some(separator), _) => {
                if input.get(at..at + separator.len()) == Some(separator.as_slice()) {
                    Stop::Line(separator.len())
                } else {
                    Stop::None
                }
            }
            (None, b'\r') if input.get(at + 1) == Some(&b'\n') => Stop::Line(2),
            (None, b'\r' | b'\n') => Stop::Line(1),
            _ => Stop::None,
        }
    }

    #[inline]
    fn stops(&self, input: &[u8], at: usize) -> bool {
        !matches!(self.stop(input, at), Stop::None)
    }

    /// The next separator, line end or end of the input.
    #[inline]
    fn find_stop(&self, input: &[u8], mut at: usize) -> usize {
        if !self.multi_line {
            loop {
                let Some(found) = input.get(at..).and_then(|rest| memchr(self.separator_first, rest)) else { return input.len() };
                at += found;
                if self.separator.len() == 1 || self.stops(input, at) {
                    return at;
                }
                at += 1;
            }
        }
        while !self.stops(input, at) {
            at += 1;
        }
        at
    }

    fn plain(&self, input: &[u8], start: usize, mut end: usize) -> Span {
        if self.trim_right {
            while end > start && input.get(end - 1).is_some_and(|byte| *byte <= b' ') {
                end -= 1;
            }
        }
        Span { start, end, in_scratch: false, quoted: false }
    }
}
