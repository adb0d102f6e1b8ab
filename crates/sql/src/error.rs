//! The one error of this crate: what is wrong, where, and what was perhaps meant.
//!
//! The text itself is not kept in the error; [`SqlError::render`] takes it again to draw the line.

use std::fmt;

use crate::span::Span;

/// What kind of refusal a [`SqlError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// The text does not follow the grammar.
    Syntax,
    /// The text is grammatical but holds a value that cannot be, such as a number out of range.
    Invalid,
    /// Spark accepts the text, Millstream does not (yet); the message names the feature.
    Unsupported,
}

/// A refused text.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlError {
    /// What kind of refusal this is.
    pub kind: SqlErrorKind,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// The nearest known word, when one is near.
    pub near: Option<String>,
    /// Spark's error class.
    pub class: &'static str,
}

/// Spark's error class of texts that do not follow the grammar, and of most others that its parser refuses.
const SYNTAX_ERROR: &str = "PARSE_SYNTAX_ERROR";

impl SqlError {
    /// A violation of the grammar.
    pub fn syntax(message: impl Into<String>, span: Span) -> SqlError {
        SqlError { kind: SqlErrorKind::Syntax, message: message.into(), span, near: None, class: SYNTAX_ERROR }
    }

    /// A value that cannot be.
    pub fn invalid(message: impl Into<String>, span: Span) -> SqlError {
        SqlError { kind: SqlErrorKind::Invalid, message: message.into(), span, near: None, class: SYNTAX_ERROR }
    }

    /// A feature of Spark that Millstream lacks.
    pub fn unsupported(feature: impl fmt::Display, span: Span) -> SqlError {
        let message = format!("{feature} is not supported");
        SqlError { kind: SqlErrorKind::Unsupported, message, span, near: None, class: SYNTAX_ERROR }
    }

    /// The same error with another class of Spark's.
    #[must_use]
    pub fn with_class(self, class: &'static str) -> SqlError {
        SqlError { class, ..self }
    }

    /// The same error with the candidate that is nearest to `word`, if one is near enough.
    #[must_use]
    pub fn with_nearest<'a>(mut self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> SqlError {
        self.near = nearest(word, candidates).map(str::to_owned);
        self
    }

    /// The message with the source line and a caret under the place. Secrets of options are starred out.
    pub fn render(&self, text: &str) -> String {
        let mut out = self.to_string();
        let text = &crate::redact::masked(text);
        let Some(line) = (self.span.line as usize).checked_sub(1).and_then(|n| text.split('\n').nth(n)) else {
            return out;
        };
        // Long lines are cut around the place, so that a minified statement stays readable.
        const AROUND: usize = 100;
        let line = line.trim_end_matches('\r');
        let caret = (self.span.column as usize).saturating_sub(1);
        let start = caret.saturating_sub(AROUND);
        let shown: String = line.chars().skip(start).take(2 * AROUND).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let room = shown.chars().count().saturating_sub(caret - start).max(1);
        let len = self.span.len as usize;
        let width = line.chars().skip(caret).scan(0, |bytes, c| {
            let before = *bytes;
            *bytes += c.len_utf8();
            (before < len).then_some(())
        });
        let width = width.count().clamp(1, room);
        let number = self.span.line.to_string();
        let blank = " ".repeat(number.len());
        out.push_str(&format!("\n {blank} |\n {number} | {shown}\n {blank} | {}{}", " ".repeat(caret - start), "^".repeat(width)));
        out
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.span.is_known() {
            write!(f, " at line {}, column {}", self.span.line, self.span.column)?;
        }
        match &self.near {
            Some(near) => write!(f, "; did you mean '{near}'?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

/// The candidate nearest to `word` without regard to case, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // One slip for every three letters: "FORM" finds "FROM", "x" finds nothing.
    let most = (word.chars().count() / 3).clamp(1, 3);
    if word.chars().count() < 2 {
        return None;
    }
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_lowercase()), c))
        .filter(|(distance, _)| *distance > 0 && *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
