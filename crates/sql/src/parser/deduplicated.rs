//! `drop_duplicates(relation, 'column', ...)` and `drop_duplicates_within_watermark(...)` in `FROM`: ours, as Spark's SQL has no
//! words for `dropDuplicates`.
//!
//! The relation is whatever may stand in `FROM`, with its watermark and alias: a table, `STREAM t`, a subquery, joins. Columns
//! are named by strings; without any all of them are compared. What comes out has the columns, aliases and watermarks of what
//! goes in; behind the parenthesis may stand a watermark and an alias, as behind every table function.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{DedupColumns, Ident, ObjectName, Plan};
use crate::lexer::TokenKind;
use crate::span::Span;

/// Whether the names of the function say that the watermark bounds what is remembered; `None` if it is another function.
pub(super) fn is_within_watermark(name: &ObjectName) -> Option<bool> {
    let [name] = name.parts.as_slice() else { return None };
    let is = |function: &str| name.eq_ignore_ascii_case(function);
    if is("drop_duplicates") {
        return Some(false);
    }
    is("drop_duplicates_within_watermark").then_some(true)
}

impl Parser<'_> {
    /// From the parenthesis on.
    pub(super) fn deduplicated(&mut self, within_watermark: bool, start: Span) -> Result<Plan> {
        self.expect_symbol("(")?;
        if self.at_symbol(")") {
            return Err(self.unexpected("a relation without duplicates"));
        }
        let input = Box::new(self.nested(|p| p.relation_or_lateral(None))?);
        let mut names = vec![];
        while self.take_symbol(",") {
            let span = self.peek().span;
            if self.peek().kind != TokenKind::String {
                return Err(self.unexpected("a column's name as a string"));
            }
            names.push(Ident { span, ..Ident::from(self.string()?) });
        }
        self.expect_symbol(")")?;
        let columns = if names.is_empty() { DedupColumns::All } else { DedupColumns::Names(names) };
        Ok(Plan::Deduplicate { input, columns, within_watermark, span: self.span_from(start) })
    }

    /// The stream is what goes in.
    pub(super) fn refuse_stream_of_deduplicated(&self, name: &ObjectName) -> Result<()> {
        if is_within_watermark(name).is_none() {
            return Ok(());
        }
        Err(SqlError::syntax(format!("STREAM before {name}() has no meaning: write {name}(STREAM t, ...)"), name.span))
    }
}
