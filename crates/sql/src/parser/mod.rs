//! The recursive-descent parser: tokens to the unresolved representation.
//!
//! This file holds the cursor that all parts share: looking ahead, taking, refusing, and the two
//! bounds that keep any text from overflowing the stack. `expr` is the Pratt parser; `query`,
//! `select` and `relation` are queries; `statement` and its children are the rest.
//!
//! Nearly every word of Spark's SQL is also an ordinary name. So words become keywords only where
//! the grammar asks for one, and the few places in which both could stand (an alias without `AS`, a
//! column at the start of an expression) look at the words behind; `words` holds those lists.

mod call;
mod create;
mod deduplicated;
mod expr;
mod interval;
mod literal;
mod pipe;
mod pivot;
mod primary;
mod query;
mod relation;
mod sample;
mod select;
mod show;
mod statement;
mod types;
mod words;

#[cfg(test)]
mod tests;

use crate::error::SqlError;
use crate::ir::{Ident, ObjectName};
use crate::lexer::text::{name_value, string_value};
use crate::lexer::{Token, TokenKind, lex};
use crate::parse::Streams;
use crate::span::Span;

pub(crate) use interval::parse_interval_text;

/// How deeply parentheses, subqueries and types may nest. Parser and analyzer find room on the stack however deep that is;
/// what runs the query in the end, operator in operator, does not.
const DEPTH_MAX: u32 = 250;

/// What must be left of the stack for one level (a debug build takes up to 20 kB), and what is added when it is not.
const LEVEL_BYTES: usize = 128 << 10;
const STACK_BYTES: usize = 4 << 20;

/// How high the resulting tree may be, chains such as `a - b - c ...` included, for the same reason. Lists do not grow in
/// height, nor do chains of one associative operator: `AND`, `OR`, `+`, `*`, `||`, `UNION ALL`.
const HEIGHT_MAX: u32 = 250;

pub(crate) type Result<T> = std::result::Result<T, SqlError>;

/// A cursor over the tokens of one text.
pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    pos: usize,
    depth: u32,
    /// Upper bound of the height of what was parsed since the enclosing level began.
    height: u32,
    /// Arguments of the lambdas around the current point.
    lambda_args: Vec<Vec<String>>,
    /// For each `(` the index of its `)`.
    closers: Vec<usize>,
    streams: Streams,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Parser<'a>> {
        Ok(Parser::of_tokens(text, lex(text)?))
    }

    /// The same, reading what is behind `STREAM` so.
    pub(crate) fn reading_streams(self, streams: Streams) -> Parser<'a> {
        Parser { streams, ..self }
    }

    fn of_tokens(text: &'a str, tokens: Vec<Token<'a>>) -> Parser<'a> {
        let closers = closers(&tokens);
        Parser { text, tokens, pos: 0, depth: 0, height: 0, lambda_args: vec![], closers, streams: Streams::Live }
    }

    // --- looking ahead

    fn token_at(&self, index: usize) -> Token<'a> {
        let end = Token { kind: TokenKind::End, text: "", span: Span::NONE };
        self.tokens.get(index).or(self.tokens.last()).copied().unwrap_or(end)
    }

    fn peek(&self) -> Token<'a> {
        self.token_at(self.pos)
    }

    fn peek_nth(&self, n: usize) -> Token<'a> {
        self.token_at(self.pos + n)
    }

    fn previous_span(&self) -> Span {
        self.pos.checked_sub(1).map_or(Span::NONE, |p| self.token_at(p).span)
    }

    /// From `start` to the last token taken.
    fn span_from(&self, start: Span) -> Span {
        start.to(self.previous_span())
    }

    fn at_end(&self) -> bool {
        self.peek().kind == TokenKind::End
    }

    fn at_word(&self, word: &str) -> bool {
        self.peek().is_word(word)
    }

    /// Whether the next words are these.
    fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| self.peek_nth(i).is_word(word))
    }

    fn at_any_word(&self, words: &[&str]) -> bool {
        self.peek().is_any_word(words)
    }

    fn at_symbol(&self, symbol: &str) -> bool {
        self.peek().is_symbol(symbol)
    }

    fn nth_is_symbol(&self, n: usize, symbol: &str) -> bool {
        self.peek_nth(n).is_symbol(symbol)
    }

    // --- taking

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token.kind != TokenKind::End {
            self.pos += 1;
        }
        token
    }

    fn skip(&mut self, n: usize) {
        for _ in 0..n {
            self.next();
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.pos += 1;
        }
        found
    }

    /// Takes the words if all of them are next, else nothing.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            self.pos += words.len();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.pos += 1;
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<Span> {
        if self.at_word(word) { Ok(self.next().span) } else { Err(self.unexpected_word(&[word])) }
    }

    fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        words.iter().try_for_each(|word| self.expect_word(word).map(drop))
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<Span> {
        if self.at_symbol(symbol) { Ok(self.next().span) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    pub(crate) fn expect_end(&mut self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the text")) }
    }

    // --- refusing

    /// The next token is not what the grammar asks for here.
    fn unexpected(&self, expected: &str) -> SqlError {
        let token = self.peek();
        let found = match token.kind {
            TokenKind::End => "the text ends".to_owned(),
            // It may be the secret of an option list.
            TokenKind::String => "unexpected string".to_owned(),
            _ => format!("unexpected '{}'", shorten(token.text)),
        };
        let error = SqlError::syntax(format!("{found}, expected {expected}"), token.span);
        // The slip is often one word earlier, where it passed for an alias: `SELECT a FORM t`.
        let words = [Some(token), self.pos.checked_sub(1).map(|p| self.token_at(p))];
        let near = words.into_iter().flatten().filter(|t| t.kind == TokenKind::Word).find_map(|t| {
            let exact = words::CLAUSES.iter().any(|w| w.eq_ignore_ascii_case(t.text));
            if exact { None } else { crate::error::nearest(t.text, words::CLAUSES.iter().copied()) }
        });
        SqlError { near: near.map(str::to_owned), ..error }
    }

    /// The next token is none of the words.
    fn unexpected_word(&self, expected: &[&str]) -> SqlError {
        let token = self.peek();
        let list = match expected {
            [one] => (*one).to_owned(),
            many => format!("one of {}", many.join(", ")),
        };
        let error = self.unexpected(&list);
        let near = crate::error::nearest(token.text, expected.iter().copied());
        SqlError { near: near.map(str::to_owned).or(error.near), ..error }
    }

    fn unsupported(&self, feature: &str) -> SqlError {
        SqlError::unsupported(feature, self.peek().span)
    }

    // --- bounds

    /// Runs `f` one level deeper.
    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outside = self.enter()?;
        let result = stacker::maybe_grow(LEVEL_BYTES, STACK_BYTES, || f(self));
        self.leave(outside)?;
        result
    }

    /// Goes one level deeper; [`Parser::leave`] takes what it gives.
    fn enter(&mut self) -> Result<u32> {
        if self.depth >= DEPTH_MAX {
            let message = format!("the text is nested more than {DEPTH_MAX} levels deep");
            return Err(SqlError::invalid(message, self.peek().span));
        }
        self.depth += 1;
        Ok(std::mem::take(&mut self.height))
    }

    fn leave(&mut self, outside: u32) -> Result<()> {
        self.depth -= 1;
        self.height = outside.max(self.height + 1);
        self.check_height()
    }

    /// Runs `f` for something that stands beside what was parsed before, not on top of it.
    fn beside<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = std::mem::take(&mut self.height);
        let result = f(self);
        self.height = self.height.max(before);
        result
    }

    /// One more node was put on top of what was parsed at this level.
    fn grow(&mut self) -> Result<()> {
        self.height += 1;
        self.check_height()
    }

    fn check_height(&self) -> Result<()> {
        if self.height <= HEIGHT_MAX {
            return Ok(());
        }
        let message = format!("the text chains or nests more than {HEIGHT_MAX} operations");
        Err(SqlError::invalid(message, self.peek().span))
    }

    // --- names, strings, lists

    /// Any name: a word or a name in backticks.
    fn at_name(&self) -> bool {
        matches!(self.peek().kind, TokenKind::Word | TokenKind::Quoted)
    }

    fn ident(&mut self) -> Result<Ident> {
        let token = self.peek();
        let ident = match token.kind {
            TokenKind::Word => Ident { name: token.text.to_owned(), span: token.span },
            TokenKind::Quoted => Ident { name: name_value(token.text), span: token.span },
            _ => return Err(self.unexpected("a name")),
        };
        if ident.name.is_empty() {
            return Err(SqlError::syntax("a name in backticks is empty", token.span));
        }
        if token.kind == TokenKind::Word && !token.text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("the name {0} must stand in backticks: `{0}`", shorten(token.text));
            return Err(SqlError::syntax(message, token.span));
        }
        self.pos += 1;
        Ok(ident)
    }

    /// A name at a place where no expression can follow, so that `my-table` deserves a hint.
    fn plain_ident(&mut self) -> Result<Ident> {
        let ident = self.ident()?;
        let dash = self.peek();
        let next = self.peek_nth(1);
        if dash.is_symbol("-")
            && dash.span.offset == ident.span.end()
            && next.kind == TokenKind::Word
            && next.span.offset == dash.span.end()
        {
            let whole = format!("{}-{}", ident.name, next.text);
            let message = format!("a name with '-' must stand in backticks: `{whole}`");
            return Err(SqlError::syntax(message, ident.span.to(next.span)));
        }
        Ok(ident)
    }

    /// `a.b.c`, or `IDENTIFIER('a.b')` with a constant.
    pub(crate) fn object_name(&mut self) -> Result<ObjectName> {
        if self.at_word("IDENTIFIER") && self.nth_is_symbol(1, "(") {
            return self.identifier_clause();
        }
        let first = self.plain_ident()?;
        let mut span = first.span;
        let mut parts = vec![first.name];
        while self.at_symbol(".") {
            self.next();
            let part = self.plain_ident()?;
            span = span.to(part.span);
            parts.push(part.name);
        }
        Ok(ObjectName { parts, span })
    }

    fn identifier_clause(&mut self) -> Result<ObjectName> {
        let start = self.next().span;
        self.expect_symbol("(")?;
        if self.peek().kind != TokenKind::String {
            return Err(self.unsupported("IDENTIFIER of anything but a string literal"));
        }
        let text = self.string()?;
        self.expect_symbol(")")?;
        let span = self.span_from(start);
        let mut inner = Parser::new(&text).map_err(|e| SqlError { span, ..e })?;
        let name = inner.object_name().and_then(|n| inner.expect_end().map(|()| n)).map_err(|e| SqlError { span, ..e })?;
        Ok(ObjectName { span, ..name })
    }

    /// One or more adjacent string literals.
    fn string(&mut self) -> Result<String> {
        if self.peek().kind != TokenKind::String {
            return Err(self.unexpected("a string"));
        }
        Ok(string_value(self.next().text))
    }

    /// `item, item, ...`, at least one.
    fn comma_list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take_symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, item, ...)`, at least one.
    fn paren_list<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_symbol("(")?;
        let items = self.comma_list(item)?;
        self.expect_symbol(")")?;
        Ok(items)
    }

    /// `(a, b, c)`
    fn ident_list(&mut self) -> Result<Vec<Ident>> {
        self.paren_list(Self::plain_ident)
    }

    /// The index of the `)` that closes the `(` at `index`.
    fn closer(&self, index: usize) -> Option<usize> {
        self.closers.get(index).copied().filter(|c| *c > 0)
    }
}

impl Token<'_> {
    /// Whether this is the word, without quotes and in any case.
    fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    fn is_any_word(&self, words: &[&str]) -> bool {
        self.kind == TokenKind::Word && words.iter().any(|w| self.text.eq_ignore_ascii_case(w))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
}

/// For each `(` the index of its `)`, else 0.
fn closers(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut closers = vec![0; tokens.len()];
    let mut open = vec![];
    for (index, token) in tokens.iter().enumerate() {
        if token.is_symbol("(") {
            open.push(index);
        } else if token.is_symbol(")")
            && let Some(slot) = open.pop().and_then(|o: usize| closers.get_mut(o))
        {
            *slot = index;
        }
    }
    closers
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}
