//! Text to tokens by Spark's rules.
//!
//! Tokens borrow the text and keep their quotes; what a string or number means is worked out by
//! [`text`] and by the parser when it is asked for. `>>` is never one token, because it may close
//! two type parameters. Words are not told apart here: nearly every word of Spark's SQL is also an
//! ordinary name, and only the parser knows which of the two is meant.
//!
//! One rule is not Spark's lexer's: at the start of a statement `SET` is followed by one raw token,
//! the rest of the statement, because a setting's value need not be made of tokens at all.

pub(crate) mod text;

#[cfg(test)]
mod tests;

use crate::error::SqlError;
use crate::span::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A word without quotes: a keyword or a name.
    Word,
    /// A name in backticks.
    Quoted,
    /// `'...'`, `"..."`, `r'...'`, `r"..."`
    String,
    /// `1`
    Integer,
    /// `1.5`
    Decimal,
    /// `1e5`
    Exponent,
    /// `1L`
    Long,
    /// `1S`
    Short,
    /// `1Y`
    Byte,
    /// `1D`
    Double,
    /// `1F`
    Float,
    /// `1BD`
    BigDecimal,
    /// An operator or punctuation mark.
    Symbol,
    /// `/*+`
    HintStart,
    /// `*/`
    HintEnd,
    /// The rest of a `SET` statement.
    Raw,
    /// The end of the text.
    End,
}

/// A token: a stretch of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text, with quotes.
    pub text: &'a str,
    /// Where it stands.
    pub span: Span,
}

/// Symbols, longest first among those that begin alike.
const SYMBOLS: &[&str] = &[
    "<=>", "<<", "<=", "<>", "<", ">=", ">", "==", "=>", "=", "!=", "!>", "!<", "!", "||", "|>", "|", "->", "-", "::", ":", "(", ")", "[",
    "]", "{", "}", ",", ".", ";", "+", "*", "/", "%", "~", "&", "^", "?", "@",
];

/// All tokens of `text`; the last one is [`TokenKind::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<Token<'_>>, SqlError> {
    lex_at(text, Span { line: 1, column: 1, offset: 0, len: 0 })
}

/// All tokens of a `text` that begins at `start` of a larger one.
pub(crate) fn lex_at(text: &str, start: Span) -> Result<Vec<Token<'_>>, SqlError> {
    if u32::try_from(text.len()).is_err() {
        return Err(SqlError::invalid("a text of 4 GiB or more cannot be parsed", start));
    }
    let mut lexer =
        Lexer { rest: text, at: start, tokens: Vec::with_capacity(text.len() / 4 + 1), in_hint: false, at_statement: start.offset == 0 };
    while lexer.skip_blanks()? {
        lexer.token()?;
    }
    let end = Token { kind: TokenKind::End, text: "", span: lexer.at };
    lexer.tokens.push(end);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    at: Span,
    tokens: Vec<Token<'a>>,
    in_hint: bool,
    at_statement: bool,
}

impl<'a> Lexer<'a> {
    /// Passes over blanks and comments; false at the end of the text.
    fn skip_blanks(&mut self) -> Result<bool, SqlError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
            self.advance(blank);
            if self.rest.starts_with("--") {
                self.advance(line_comment_len(self.rest));
            } else if self.rest.starts_with("/*") && !self.rest.starts_with("/*+") {
                let Some(len) = bracketed_comment_len(self.rest) else {
                    return Err(SqlError::syntax("unclosed comment", Span { len: 2, ..self.at }));
                };
                self.advance(len);
            } else {
                return Ok(!self.rest.is_empty());
            }
        }
    }

    fn token(&mut self) -> Result<(), SqlError> {
        let Some(first) = self.rest.chars().next() else { return Ok(()) };
        let second = self.rest.get(first.len_utf8()..).and_then(|r| r.chars().next());
        if matches!(first, 'r' | 'R')
            && let Some(quote @ ('\'' | '"')) = second
        {
            return self.quoted(TokenKind::String, raw_string_len(self.rest, quote), "string");
        }
        match first {
            '\'' | '"' => self.quoted(TokenKind::String, string_len(self.rest, first), "string"),
            '`' => self.quoted(TokenKind::Quoted, backquoted_len(self.rest), "name in backticks"),
            '0'..='9' => {
                let (kind, len) = number(self.rest);
                self.push(kind, len);
                Ok(())
            }
            '.' if second.is_some_and(|c| c.is_ascii_digit()) && !self.after_name() => {
                let (kind, len) = number(self.rest);
                self.push(kind, len);
                Ok(())
            }
            c if is_word_char(c) => {
                self.word();
                Ok(())
            }
            _ => self.symbol(first),
        }
    }

    fn word(&mut self) {
        let len = word_len(self.rest);
        let is_set = self.at_statement && self.rest.get(..len).is_some_and(|w| w.eq_ignore_ascii_case("set"));
        self.push(TokenKind::Word, len);
        if is_set {
            let blank = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
            self.advance(blank);
            let len = raw_rest_len(self.rest);
            if len > 0 {
                self.push(TokenKind::Raw, len);
            }
        }
    }

    fn symbol(&mut self, first: char) -> Result<(), SqlError> {
        if self.rest.starts_with("/*+") {
            self.in_hint = true;
            self.push(TokenKind::HintStart, 3);
            return Ok(());
        }
        if self.in_hint && self.rest.starts_with("*/") {
            self.in_hint = false;
            self.push(TokenKind::HintEnd, 2);
            return Ok(());
        }
        match SYMBOLS.iter().find(|s| self.rest.starts_with(**s)) {
            Some(symbol) => {
                self.push(TokenKind::Symbol, symbol.len());
                self.at_statement = *symbol == ";";
                Ok(())
            }
            None => {
                let len = u32::try_from(first.len_utf8()).unwrap_or(1);
                Err(SqlError::syntax(format!("unexpected character '{}'", first.escape_debug()), Span { len, ..self.at }))
            }
        }
    }

    fn quoted(&mut self, kind: TokenKind, len: Option<usize>, what: &str) -> Result<(), SqlError> {
        match len {
            Some(len) => {
                self.push(kind, len);
                Ok(())
            }
            None => Err(SqlError::syntax(format!("unclosed {what}"), Span { len: 1, ..self.at })),
        }
    }

    /// Whether the last token ends a name that touches this point, so that `a.1b` is a field and not a number.
    fn after_name(&self) -> bool {
        let touches = |t: &Token<'_>| t.span.end() == self.at.offset;
        let digits = self.rest.get(1..).map_or(0, |r| r.len() - r.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        let then = self.rest.get(1 + digits..).and_then(|r| r.chars().next());
        let is_number_end = matches!(then, Some('e' | 'E' | 'd' | 'D' | 'f' | 'F' | 'b' | 'B')) || !then.is_some_and(is_word_char);
        !is_number_end && self.tokens.last().is_some_and(|t| touches(t) && matches!(t.kind, TokenKind::Word | TokenKind::Quoted))
    }

    fn push(&mut self, kind: TokenKind, len: usize) {
        let text = self.rest.get(..len).unwrap_or(self.rest);
        let span = Span { len: u32::try_from(text.len()).unwrap_or(u32::MAX), ..self.at };
        self.tokens.push(Token { kind, text, span });
        self.at_statement = false;
        self.advance(text.len());
    }

    fn advance(&mut self, len: usize) {
        let Some((passed, rest)) = self.rest.split_at_checked(len) else { return };
        for c in passed.chars() {
            if c == '\n' {
                self.at.line += 1;
                self.at.column = 1;
            } else {
                self.at.column += 1;
            }
        }
        self.at.offset = self.at.offset.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.rest = rest;
    }
}

/// What Spark passes over: the Unicode blanks that people paste, and a byte-order mark.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}' || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a word; a word of letters followed by `://` goes on over the whole address.
fn word_len(text: &str) -> usize {
    let len = text.find(|c| !is_word_char(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(len).unwrap_or((text, ""));
    if word.chars().all(char::is_alphabetic)
        && let Some(path) = rest.strip_prefix("://")
    {
        let in_path = |c: char| is_word_char(c) || "/-.?=&#%".contains(c);
        let path_len = path.find(|c| !in_path(c)).unwrap_or(path.len());
        if path_len > 0 {
            return len + 3 + path_len;
        }
    }
    len
}

/// Kind and length of the number at the start of `text`; `2x` is a word.
fn number(text: &str) -> (TokenKind, usize) {
    let bytes = text.as_bytes();
    let digits_from = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let at = |i: usize| bytes.get(i).map(u8::to_ascii_uppercase);
    let whole = digits_from(0);
    let has_point = at(whole) == Some(b'.');
    let mut len = if has_point { whole + 1 + digits_from(whole + 1) } else { whole };
    let sign = usize::from(matches!(at(len + 1), Some(b'+' | b'-')));
    let exponent = if at(len) == Some(b'E') { digits_from(len + 1 + sign) } else { 0 };
    if exponent > 0 {
        len += 1 + sign + exponent;
    }
    let plain = !has_point && exponent == 0;
    let (kind, suffix) = match (at(len), at(len + 1)) {
        (Some(b'B'), Some(b'D')) => (TokenKind::BigDecimal, 2),
        (Some(b'D'), _) => (TokenKind::Double, 1),
        (Some(b'F'), _) => (TokenKind::Float, 1),
        (Some(b'L'), _) if plain => (TokenKind::Long, 1),
        (Some(b'S'), _) if plain => (TokenKind::Short, 1),
        (Some(b'Y'), _) if plain => (TokenKind::Byte, 1),
        _ => (bare(plain, exponent > 0), 0),
    };
    let ends = |at: usize| !text.get(at..).and_then(|r| r.chars().next()).is_some_and(is_word_char);
    if ends(len + suffix) {
        return (kind, len + suffix);
    }
    if whole > 0 {
        // The longest match wins: digits that run on into letters are a name, as in `t.2nd` or `2x`.
        let word = word_len(text);
        if word > whole || !has_point {
            return (TokenKind::Word, word);
        }
    }
    if ends(len) { (bare(plain, exponent > 0), len) } else { (TokenKind::Integer, whole.max(1)) }
}

fn bare(plain: bool, has_exponent: bool) -> TokenKind {
    match (plain, has_exponent) {
        (true, _) => TokenKind::Integer,
        (_, true) => TokenKind::Exponent,
        _ => TokenKind::Decimal,
    }
}

fn string_len(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c == '\\' {
            chars.next()?;
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(i + 1);
        }
    }
    None
}

fn raw_string_len(text: &str, quote: char) -> Option<usize> {
    text.get(2..)?.find(quote).map(|i| i + 3)
}

fn backquoted_len(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c == '`' && chars.next_if(|(_, next)| *next == '`').is_none() {
            return Some(i + 1);
        }
    }
    None
}

/// A comment runs to the end of the line; a backslash before the line's end carries it on.
fn line_comment_len(text: &str) -> usize {
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|r| r.find('\n')) {
        let end = from + found;
        if !text.get(..end).is_some_and(|t| t.ends_with('\\')) {
            return end + 1;
        }
        from = end + 1;
    }
    text.len()
}

/// Length of a bracketed comment; comments nest.
fn bracketed_comment_len(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let found = rest.find(['/', '*'])?;
        let here = rest.get(found..)?;
        from += found + 1;
        if here.starts_with("/*") {
            depth += 1;
            from += 1;
        } else if here.starts_with("*/") {
            depth = depth.checked_sub(1)?;
            from += 1;
            if depth == 0 {
                return Some(from);
            }
        }
    }
}

/// Length of a setting's raw text: to the next semicolon that is not in quotes, or to a comment.
fn raw_rest_len(text: &str) -> usize {
    let mut from = 0;
    let mut after_blank = true;
    while let Some(c) = text.get(from..).and_then(|r| r.chars().next()) {
        let rest = text.get(from..).unwrap_or_default();
        if c == ';' || (after_blank && rest.starts_with("--")) {
            break;
        }
        // A quote that is never closed on its line is an ordinary character.
        let quoted = match c {
            '\'' | '"' => string_len(rest, c),
            '`' => backquoted_len(rest),
            _ => None,
        };
        let quoted = quoted.filter(|len| !rest.get(..*len).is_some_and(|q| q.contains('\n')));
        after_blank = is_blank(c);
        from += quoted.unwrap_or(c.len_utf8());
    }
    text.get(..from).unwrap_or(text).trim_end_matches(is_blank).len()
}
