//! `SHOW`.

use super::{Parser, Result};
use crate::ir::{Command, ObjectName, Show};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `SHOW ...`
    pub(super) fn show(&mut self) -> Result<Command> {
        let start = self.expect_word("SHOW")?;
        let what = self.show_what()?;
        Ok(Command::Show { what, span: self.span_from(start) })
    }

    fn show_what(&mut self) -> Result<Show> {
        if self.at_words(&["TABLE", "EXTENDED"]) {
            return Err(self.unsupported("SHOW TABLE EXTENDED"));
        }
        if self.take_word("TABLES") {
            let namespace = self.in_namespace()?;
            return Ok(Show::Tables { namespace, pattern: self.like_pattern()? });
        }
        if self.take_word("VIEWS") {
            let namespace = self.in_namespace()?;
            return Ok(Show::Views { namespace, pattern: self.like_pattern()? });
        }
        if self.at_any_word(&["DATABASES", "SCHEMAS", "NAMESPACES"]) {
            self.next();
            if self.at_any_word(&["IN", "FROM"]) {
                return Err(self.unsupported("SHOW NAMESPACES IN"));
            }
            return Ok(Show::Namespaces { pattern: self.like_pattern()? });
        }
        if self.take_word("COLUMNS") {
            if !self.take_word("IN") {
                self.expect_word("FROM")?;
            }
            let table = self.object_name()?;
            let namespace = self.in_namespace()?;
            let parts = namespace.into_iter().flat_map(|n| n.parts).chain(table.parts).collect();
            return Ok(Show::Columns { table: ObjectName { parts, span: table.span } });
        }
        if self.take_words(&["CREATE", "TABLE"]) {
            let table = self.object_name()?;
            if self.at_words(&["AS", "SERDE"]) {
                return Err(self.unsupported("SHOW CREATE TABLE ... AS SERDE"));
            }
            return Ok(Show::CreateTable { table });
        }
        if self.take_word("TBLPROPERTIES") {
            let table = self.object_name()?;
            let mut key = None;
            if self.take_symbol("(") {
                key = Some(if self.peek().kind == TokenKind::String { self.string()? } else { self.object_name()?.parts.join(".") });
                self.expect_symbol(")")?;
            }
            return Ok(Show::TableProperties { table, key });
        }
        if self.take_word("PARTITIONS") {
            let table = self.object_name()?;
            if self.at_word("PARTITION") {
                return Err(self.unsupported("SHOW PARTITIONS of a partition"));
            }
            return Ok(Show::Partitions { table });
        }
        let scope = if self.at_any_word(&["USER", "SYSTEM", "ALL"]) { Some(self.next().text.to_uppercase()) } else { None };
        if self.take_word("FUNCTIONS") {
            let namespace = self.in_namespace()?;
            // A function may also be named without quotes.
            let like = usize::from(self.at_word("LIKE"));
            let named = matches!(self.peek_nth(like).kind, TokenKind::Word | TokenKind::Quoted);
            let pattern = if named {
                self.skip(like);
                Some(self.object_name()?.parts.join("."))
            } else {
                self.like_pattern()?
            };
            return Ok(Show::Functions { scope, namespace, pattern });
        }
        if self.at_any_word(&[
            "CATALOGS",
            "CURRENT",
            "GRANT",
            "ROLES",
            "ROLE",
            "PRINCIPALS",
            "INDEXES",
            "LOCKS",
            "TRANSACTIONS",
            "COMPACTIONS",
        ]) {
            let feature = format!("SHOW {}", self.peek().text.to_uppercase());
            return Err(self.unsupported(&feature));
        }
        Err(self.unexpected_word(&[
            "TABLES",
            "VIEWS",
            "FUNCTIONS",
            "COLUMNS",
            "SCHEMAS",
            "DATABASES",
            "NAMESPACES",
            "TBLPROPERTIES",
            "PARTITIONS",
        ]))
    }

    fn in_namespace(&mut self) -> Result<Option<ObjectName>> {
        if self.take_word("IN") || self.take_word("FROM") { self.object_name().map(Some) } else { Ok(None) }
    }

    /// `[LIKE] 'pattern'`
    fn like_pattern(&mut self) -> Result<Option<String>> {
        let has_like = self.take_word("LIKE");
        if has_like || self.peek().kind == TokenKind::String { self.string().map(Some) } else { Ok(None) }
    }
}
