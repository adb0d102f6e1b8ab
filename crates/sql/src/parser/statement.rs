//! Statements: which one it is, and all but `CREATE` and `SHOW`.
//!
//! What Spark has and Millstream lacks is refused here by name, at its first word.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{Command, DropKind, ExplainMode, Insert, InsertMode, PartitionValue, Plan, Properties, Property, Statement};
use crate::lexer::{TokenKind, lex_at};
use crate::span::Span;

/// The first words of statements; a mistyped one is compared with these.
const STARTS: &[&str] = &[
    "SELECT", "WITH", "FROM", "VALUES", "TABLE", "SET", "RESET", "CREATE", "REPLACE", "DROP", "INSERT", "EXPLAIN", "DESCRIBE", "DESC",
    "SHOW", "USE", "REFRESH", "TRUNCATE",
];

/// First words of statements that Spark has and Millstream has not.
const REFUSED: &[(&[&str], &str)] = &[
    (&["ALTER"], "ALTER"),
    (&["ANALYZE"], "ANALYZE"),
    (&["MERGE"], "MERGE INTO"),
    (&["UPDATE"], "UPDATE"),
    (&["DELETE"], "DELETE FROM"),
    (&["CACHE"], "CACHE TABLE"),
    (&["UNCACHE"], "UNCACHE TABLE"),
    (&["CLEAR"], "CLEAR CACHE"),
    (&["COMMENT"], "COMMENT ON"),
    (&["LOAD"], "LOAD DATA"),
    (&["MSCK"], "MSCK REPAIR TABLE"),
    (&["REPAIR"], "REPAIR TABLE"),
    (&["DECLARE"], "DECLARE VARIABLE"),
    (&["EXECUTE"], "EXECUTE IMMEDIATE"),
    (&["BEGIN"], "a BEGIN ... END script"),
    (&["CALL"], "CALL"),
    (&["ADD"], "ADD FILE, JAR or ARCHIVE"),
    (&["LIST"], "LIST FILE, JAR or ARCHIVE"),
    (&["GRANT"], "GRANT"),
    (&["REVOKE"], "REVOKE"),
    (&["EXPORT"], "EXPORT TABLE"),
    (&["IMPORT"], "IMPORT TABLE"),
    (&["LOCK"], "LOCK TABLE"),
    (&["UNLOCK"], "UNLOCK TABLE"),
    (&["START"], "START TRANSACTION"),
    (&["COMMIT"], "COMMIT"),
    (&["ROLLBACK"], "ROLLBACK"),
    (&["DFS"], "DFS"),
];

impl Parser<'_> {
    /// One statement up to its semicolon or the end of the text.
    pub(crate) fn statement(&mut self) -> Result<Statement> {
        let start = self.peek().span;
        let command = self.nested(Self::command)?;
        Ok(Statement { command, span: self.span_from(start) })
    }

    pub(crate) fn skip_semicolons(&mut self) {
        while self.take_symbol(";") {}
    }

    /// All statements; semicolons stand between them.
    pub(crate) fn script(&mut self) -> Result<Vec<Statement>> {
        let mut statements = vec![];
        loop {
            self.skip_semicolons();
            if self.at_end() {
                return Ok(statements);
            }
            statements.push(self.statement()?);
            if !self.at_end() && !self.at_symbol(";") {
                return Err(self.unexpected("';' or the end of the text"));
            }
        }
    }

    fn command(&mut self) -> Result<Command> {
        let token = self.peek();
        if token.kind == TokenKind::End {
            return Err(SqlError::syntax("the statement is empty", token.span));
        }
        if token.is_symbol("(") || token.is_any_word(&["SELECT", "FROM", "VALUES", "TABLE", "MAP", "REDUCE"]) {
            return Ok(Command::Query(self.query()?));
        }
        if token.kind != TokenKind::Word {
            return Err(self.unexpected("a statement"));
        }
        let start = token.span;
        match token.text.to_ascii_uppercase().as_str() {
            "WITH" => self.with_statement(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "CREATE" => self.create(),
            "REPLACE" => self.replace(),
            "DROP" => self.drop_statement(),
            "INSERT" => self.insert(start).map(|insert| Command::Insert(Box::new(insert))),
            "EXPLAIN" => self.explain(),
            "DESCRIBE" | "DESC" => self.describe(),
            "SHOW" => self.show(),
            "USE" => {
                self.next();
                let _ = self.take_word("NAMESPACE") || self.take_word("DATABASE") || self.take_word("SCHEMA");
                let name = self.object_name()?;
                Ok(Command::Use { name, span: self.span_from(start) })
            }
            "REFRESH" => {
                self.next();
                if self.at_word("FUNCTION") || self.peek().kind == TokenKind::String {
                    return Err(self.unsupported("REFRESH of anything but a table"));
                }
                self.take_word("TABLE");
                let name = self.object_name()?;
                Ok(Command::RefreshTable { name, span: self.span_from(start) })
            }
            "TRUNCATE" => {
                self.next();
                self.expect_word("TABLE")?;
                let name = self.object_name()?;
                if self.at_word("PARTITION") {
                    return Err(self.unsupported("TRUNCATE TABLE of a partition"));
                }
                Ok(Command::TruncateTable { name, span: self.span_from(start) })
            }
            _ => Err(self.refused_start()),
        }
    }

    fn refused_start(&self) -> SqlError {
        match REFUSED.iter().find(|(words, _)| self.at_words(words)) {
            Some((_, feature)) => self.unsupported(feature),
            None => self.unexpected("a statement").with_nearest(self.peek().text, STARTS.iter().copied()),
        }
    }

    /// `WITH ctes query`, or `WITH ctes INSERT ...`
    fn with_statement(&mut self) -> Result<Command> {
        let start = self.peek().span;
        let (recursive, ctes) = self.ctes()?;
        let with = |input: Plan, span: Span| Plan::With { ctes, recursive, input: Box::new(input), span };
        if self.at_word("INSERT") {
            let mut insert = self.insert(start)?;
            insert.query = with(insert.query, insert.span);
            return Ok(Command::Insert(Box::new(insert)));
        }
        if self.at_any_word(&["MERGE", "UPDATE", "DELETE"]) {
            return Err(self.refused_start());
        }
        let query = self.query_without_ctes()?;
        Ok(Command::Query(with(query, self.span_from(start))))
    }

    /// `SET`, `SET key`, `SET key = raw rest`; the lexer gave the rest as one token.
    fn set(&mut self) -> Result<Command> {
        let start = self.next().span;
        let raw = self.peek();
        if raw.kind != TokenKind::Raw {
            return Ok(Command::SetShowAll);
        }
        self.next();
        let span = self.span_from(start);
        let first = raw.text.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
        let is = |word: &str| first.eq_ignore_ascii_case(word);
        let Some((key, value)) = raw.text.split_once('=') else {
            if is("TIME") {
                return self.set_time_zone(raw.text, raw.span, span);
            }
            if is("CATALOG") || is("ROLE") || is("PATH") || is("COLLATION") {
                let feature = format!("SET {}", first.to_uppercase());
                return Err(SqlError::unsupported(feature, span));
            }
            let quoted = raw.text.starts_with('`') && raw.text.ends_with('`');
            if !quoted && !is_key(raw.text) {
                return Err(SqlError::syntax("expected SET, SET key or SET key = value", raw.span));
            }
            return Ok(Command::SetShow { key: unquote_key(raw.text.trim()), span });
        };
        if (is("VAR") || is("VARIABLE")) && key.split_whitespace().count() > 1 {
            return Err(SqlError::unsupported("SET VARIABLE", span));
        }
        let key = key.trim();
        let is_quoted = key.len() > 2 && key.starts_with('`') && key.ends_with('`');
        if !is_key(key) && !is_quoted {
            let message = format!("'{key}' is not a key of a setting; in backticks all characters are allowed");
            return Err(SqlError::syntax(message, raw.span));
        }
        Ok(Command::Set { key: unquote_key(key), value: unquote_key(value.trim()), span })
    }

    /// `SET TIME ZONE LOCAL | 'zone' | INTERVAL ...`
    fn set_time_zone(&self, text: &str, at: Span, span: Span) -> Result<Command> {
        let mut inner = Parser::of_tokens(self.text, lex_at(text, at)?);
        inner.expect_words(&["TIME", "ZONE"])?;
        if inner.at_any_word(&["LOCAL", "INTERVAL"]) {
            return Err(inner.unsupported("SET TIME ZONE LOCAL or INTERVAL"));
        }
        let value = inner.string()?;
        inner.expect_end()?;
        Ok(Command::Set { key: "spark.sql.session.timeZone".to_owned(), value, span })
    }

    /// `RESET [key]`
    fn reset(&mut self) -> Result<Command> {
        let start = self.next().span;
        if self.peek().kind == TokenKind::Quoted {
            let key = Some(self.ident()?.name);
            return Ok(Command::Reset { key, span: self.span_from(start) });
        }
        // A key may hold marks that separate tokens elsewhere; blanks end it.
        let mut key: Option<String> = None;
        while !self.at_end() && !self.at_symbol(";") {
            let token = self.peek();
            if key.is_some() && token.span.offset != self.previous_span().end() || !is_key(token.text) {
                return Err(self.unexpected("RESET or RESET key"));
            }
            key.get_or_insert_default().push_str(self.next().text);
        }
        Ok(Command::Reset { key, span: self.span_from(start) })
    }

    fn drop_statement(&mut self) -> Result<Command> {
        let start = self.next().span;
        let kind = if self.take_word("TABLE") {
            DropKind::Table
        } else if self.take_word("VIEW") || self.take_words(&["MATERIALIZED", "VIEW"]) {
            DropKind::View
        } else if self.at_any_word(&["DATABASE", "SCHEMA", "NAMESPACE"]) {
            self.next();
            DropKind::Namespace
        } else if self.at_any_word(&["FUNCTION", "TEMPORARY", "INDEX", "ROLE", "VARIABLE"]) {
            let feature = format!("DROP {}", self.peek().text.to_uppercase());
            return Err(self.unsupported(&feature));
        } else {
            return Err(self.unexpected_word(&["TABLE", "VIEW", "MATERIALIZED", "SCHEMA", "DATABASE", "NAMESPACE"]));
        };
        let if_exists = self.take_words(&["IF", "EXISTS"]);
        let name = self.object_name()?;
        match kind {
            DropKind::Table => drop(self.take_word("PURGE")),
            DropKind::Namespace if self.at_word("CASCADE") => return Err(self.unsupported("DROP ... CASCADE")),
            DropKind::Namespace => drop(self.take_word("RESTRICT")),
            DropKind::View => {}
        }
        Ok(Command::Drop { kind, name, if_exists, span: self.span_from(start) })
    }

    /// `INSERT INTO | OVERWRITE [TABLE] name ... query`
    pub(super) fn insert(&mut self, start: Span) -> Result<Insert> {
        self.expect_word("INSERT")?;
        let mode = if self.take_word("INTO") {
            InsertMode::Append
        } else if self.take_word("OVERWRITE") {
            InsertMode::Overwrite
        } else {
            return Err(self.unexpected_word(&["INTO", "OVERWRITE"]));
        };
        if self.at_word("DIRECTORY") || self.at_words(&["LOCAL", "DIRECTORY"]) {
            return Err(self.unsupported("INSERT OVERWRITE DIRECTORY"));
        }
        let next = self.peek_nth(1);
        if matches!(next.kind, TokenKind::Word | TokenKind::Quoted) && !next.is_any_word(&["SELECT", "VALUES", "PARTITION", "BY", "WITH"]) {
            self.take_word("TABLE");
        }
        let target = self.object_name()?;
        let options = self.with_options()?;
        let partition = self.partition_spec()?;
        let if_not_exists = self.take_words(&["IF", "NOT", "EXISTS"]);
        if self.at_words(&["REPLACE", "WHERE"]) || self.at_words(&["REPLACE", "ON"]) || self.at_words(&["REPLACE", "USING"]) {
            return Err(self.unsupported("INSERT INTO ... REPLACE"));
        }
        let by_name = self.take_words(&["BY", "NAME"]);
        let columns = if !by_name && self.at_symbol("(") && !self.at_paren_query() { self.ident_list()? } else { vec![] };
        let query = self.query()?;
        let span = self.span_from(start);
        Ok(Insert { target, mode, partition, if_not_exists, by_name, columns, options, query, span })
    }

    /// `PARTITION (a = 1, b)`
    fn partition_spec(&mut self) -> Result<Vec<PartitionValue>> {
        if !(self.at_word("PARTITION") && self.nth_is_symbol(1, "(")) {
            return Ok(vec![]);
        }
        self.next();
        self.paren_list(|p| {
            let column = p.plain_ident()?;
            let value = if p.take_symbol("=") || p.take_symbol("==") { Some(p.nested(Self::value_expr)?) } else { None };
            Ok(PartitionValue { column, value })
        })
    }

    fn explain(&mut self) -> Result<Command> {
        let start = self.next().span;
        let modes = [
            ("EXTENDED", ExplainMode::Extended),
            ("FORMATTED", ExplainMode::Formatted),
            ("COST", ExplainMode::Cost),
            ("CODEGEN", ExplainMode::Codegen),
            ("LOGICAL", ExplainMode::Logical),
        ];
        let found = modes.into_iter().find(|(word, _)| self.at_word(word));
        if found.is_some() {
            self.next();
        }
        let statement = Box::new(self.statement()?);
        let mode = found.map_or(ExplainMode::Simple, |(_, mode)| mode);
        Ok(Command::Explain { mode, statement, span: self.span_from(start) })
    }

    fn describe(&mut self) -> Result<Command> {
        let start = self.next().span;
        let named = |p: &Self, n: usize| matches!(p.peek_nth(n).kind, TokenKind::Word | TokenKind::Quoted);
        if self.at_any_word(&["DATABASE", "SCHEMA", "NAMESPACE"]) && named(self, 1) {
            return Err(self.unsupported("DESCRIBE of a namespace"));
        }
        if self.at_word("FUNCTION") && self.peek_nth(1).kind != TokenKind::End && !self.nth_is_symbol(1, ";") {
            self.next();
            let extended = named(self, 1) && self.take_word("EXTENDED");
            let name = self.object_name()?;
            return Ok(Command::DescribeFunction { name, extended, span: self.span_from(start) });
        }
        let is_query = self.at_any_word(&["SELECT", "WITH", "FROM", "VALUES"])
            && !self.nth_is_symbol(1, ".")
            && self.peek_nth(1).kind != TokenKind::End
            || self.at_symbol("(");
        if is_query || self.at_word("QUERY") && self.peek_nth(1).kind != TokenKind::End && !self.nth_is_symbol(1, ";") {
            self.take_word("QUERY");
            let plan = self.query()?;
            return Ok(Command::DescribeQuery { plan, span: self.span_from(start) });
        }
        if named(self, 1) {
            self.take_word("TABLE");
        }
        let extended = named(self, 1) && (self.take_word("EXTENDED") || self.take_word("FORMATTED"));
        let name = self.object_name()?;
        if self.at_word("PARTITION") || self.at_words(&["AS", "JSON"]) {
            return Err(self.unsupported("DESCRIBE of a partition or AS JSON"));
        }
        let column = if self.at_name() { Some(self.object_name()?) } else { None };
        Ok(Command::DescribeTable { name, extended, column, span: self.span_from(start) })
    }

    /// `(key = 'value', a.b 1, 'k' true)`
    pub(super) fn properties(&mut self) -> Result<Properties> {
        self.paren_list(|p| {
            let start = p.peek().span;
            let key = if p.peek().kind == TokenKind::String {
                p.string()?
            } else {
                let mut key = p.ident()?.name;
                while p.take_symbol(".") {
                    key.push('.');
                    key.push_str(&p.ident()?.name);
                }
                key
            };
            let has_equals = p.take_symbol("=") || p.take_symbol("==");
            if !has_equals && (p.at_symbol(",") || p.at_symbol(")")) {
                return Err(SqlError::syntax(format!("the value of '{key}' is missing"), p.span_from(start)));
            }
            let value = p.property_value()?;
            Ok(Property { key, value, span: p.span_from(start) })
        })
    }

    /// A string, a number or a truth value, as text.
    fn property_value(&mut self) -> Result<String> {
        let minus = self.at_symbol("-") && self.peek_nth(1).is_number();
        if minus {
            self.next();
        }
        let token = self.peek();
        let value = match token.kind {
            TokenKind::String => crate::lexer::text::string_value(token.text),
            TokenKind::Integer | TokenKind::Decimal => format!("{}{}", if minus { "-" } else { "" }, token.text),
            TokenKind::Word if token.is_any_word(&["TRUE", "FALSE"]) => token.text.to_lowercase(),
            _ => return Err(self.unexpected("a string, a number, TRUE or FALSE")),
        };
        self.next();
        Ok(value)
    }
}

/// Whether the text can be a setting's key without backticks.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_.:-\\".contains(c))
}

/// A key or value without the backticks around it.
fn unquote_key(text: &str) -> String {
    match text.strip_prefix('`').and_then(|t| t.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => text.to_owned(),
    }
}
