//! Keeps secrets of option lists out of what is printed: error messages, rendered lines, `Debug`.
//!
//! The words are those of `millstream_core::options`, which this crate cannot depend on (core knows
//! Arrow). Nothing here changes what is parsed.

use std::ops::Range;

use crate::lexer::text::string_value;
use crate::lexer::{Token, TokenKind, lex};

const WORDS: &[&str] =
    &["password", "passwd", "secret", "token", "credential", "accesskey", "apikey", "privatekey", "jaas", "authorization"];

/// Whether an option or setting of this name holds a secret.
pub(crate) fn looks_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase().replace(['_', '-', '.'], "");
    WORDS.iter().any(|word| lower.contains(word))
}

/// The text with every secret replaced by stars, character for character, so that columns stay true.
pub(crate) fn masked(text: &str) -> String {
    let ranges = match lex(text) {
        Ok(tokens) => secrets(&tokens),
        // A text that cannot be cut into tokens is judged line by line: better too many stars than too few.
        Err(_) => return text.split('\n').map(masked_line).collect::<Vec<_>>().join("\n"),
    };
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.extend(text.get(range.clone()).unwrap_or_default().chars().map(|c| if c == '\n' { c } else { '*' }));
        from = range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Byte ranges of the values behind secret keys: `key = 'value'`, `'a.key' 'value'`, `SET key = value`.
fn secrets(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut ranges = vec![];
    // The name just read, its parts joined.
    let mut key = String::new();
    let mut joined = false;
    for token in tokens {
        let range = token.span.offset as usize..token.span.end() as usize;
        match token.kind {
            TokenKind::Raw => {
                if let Some((name, _)) = token.text.split_once('=')
                    && looks_secret(name)
                {
                    ranges.push(range.start + name.len() + 1..range.end);
                }
            }
            TokenKind::Symbol if matches!(token.text, "=" | "==" | "." | "=>" | "-") => {}
            TokenKind::Symbol => key.clear(),
            TokenKind::String if looks_secret(&key) => ranges.push(range),
            TokenKind::String => key = string_value(token.text),
            TokenKind::Word | TokenKind::Quoted if joined => key.push_str(token.text),
            TokenKind::Word | TokenKind::Quoted => key = token.text.to_owned(),
            _ => {}
        }
        joined = matches!(token.text, "." | "-");
    }
    ranges
}

/// A line whose tokens are unknown: all behind the first secret word is hidden.
fn masked_line(line: &str) -> String {
    let words = line.split_inclusive(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
    let mut hidden = false;
    let mut out = String::with_capacity(line.len());
    for word in words {
        if hidden {
            out.extend(word.chars().map(|c| if c.is_whitespace() { c } else { '*' }));
        } else {
            out.push_str(word);
        }
        hidden |= looks_secret(word);
    }
    out
}
