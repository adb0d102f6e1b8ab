//! Primary expressions: what stands between operators, and the postfix forms behind it.
//!
//! Functions are in `call`, numbers and typed literals in `literal`, intervals in `interval`.

use super::{Parser, Result, words};
use crate::error::SqlError;
use crate::ir::{CastMode, Expr, Ident, Literal, ObjectName, UnresolvedFunction};
use crate::lexer::text::string_value;
use crate::lexer::{Token, TokenKind};
use crate::span::Span;

/// Functions that may be written without parentheses. `user` is one in Spark too, but a column far more often.
const BARE_FUNCTIONS: &[&str] = &[
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "CURRENT_TIME",
    "LOCALTIMESTAMP",
    "CURRENT_USER",
    "SESSION_USER",
    "CURRENT_CATALOG",
    "CURRENT_DATABASE",
];

/// Words that make a literal of the string behind them.
const TYPED_LITERALS: &[&str] = &["DATE", "TIMESTAMP", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ", "TIME", "X"];

impl Parser<'_> {
    /// A primary expression with everything that stands behind it: `a.b[0]::INT`.
    pub(super) fn primary(&mut self) -> Result<Expr> {
        let expr = self.bare_primary()?;
        let postfix = [".", "[", "::", ":"].iter().any(|s| self.at_symbol(s)) || self.at_word("COLLATE");
        if postfix { self.postfix(expr) } else { Ok(expr) }
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            let start = expr.span();
            expr = if self.at_symbol("[") {
                self.next();
                let index = self.nested(Self::value_expr)?;
                self.expect_symbol("]")?;
                let span = self.span_from(start);
                Expr::UnresolvedExtractValue { child: Box::new(expr), extraction: Box::new(index), span }
            } else if self.at_symbol(".") && matches!(self.peek_nth(1).kind, TokenKind::Word | TokenKind::Quoted) {
                self.next();
                let field = self.ident()?;
                dereference(expr, field)
            } else if self.take_symbol("::") {
                let data_type = self.data_type()?;
                Expr::Cast { expr: Box::new(expr), data_type, mode: CastMode::Session, span: self.span_from(start) }
            } else if self.at_word("COLLATE") && matches!(self.peek_nth(1).kind, TokenKind::Word | TokenKind::Quoted) {
                return Err(self.unsupported("COLLATE"));
            } else if self.at_symbol(":") && matches!(expr, Expr::UnresolvedAttribute { .. }) {
                return Err(self.unsupported("extraction from a variant by ':'"));
            } else {
                return Ok(expr);
            };
            self.grow()?;
        }
    }

    /// Only tells the forms apart; each form is a function of its own, which keeps the stack small.
    fn bare_primary(&mut self) -> Result<Expr> {
        let token = self.peek();
        match token.kind {
            TokenKind::String => self.string_literal(),
            TokenKind::Word | TokenKind::Quoted => self.word_primary(token),
            TokenKind::Symbol if token.text == "(" => self.paren(),
            TokenKind::Symbol if token.text == "*" => {
                self.next();
                self.star(None, token.span)
            }
            TokenKind::Symbol if token.text == "?" || token.text == ":" => self.parameter(),
            TokenKind::Symbol if token.text == "-" => self.number(),
            TokenKind::HintStart => Err(SqlError::syntax("a hint can stand only behind SELECT", token.span)),
            _ if token.is_number() => self.number(),
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn word_primary(&mut self, token: Token<'_>) -> Result<Expr> {
        let next = self.peek_nth(1);
        if next.is_symbol("->") {
            return self.bare_lambda();
        }
        if token.kind == TokenKind::Quoted {
            return self.name_or_call(token.span);
        }
        if next.kind == TokenKind::String && token.is_any_word(TYPED_LITERALS) {
            return self.typed_literal();
        }
        if words::starts_clause(&token, &next) {
            return Err(self.unexpected("an expression"));
        }
        if token.is_any_word(&["NULL", "TRUE", "FALSE"]) {
            return Ok(self.word_literal());
        }
        let ends = next.kind == TokenKind::End || next.is_word("FROM") || [",", ")", ".", "]"].iter().any(|s| next.is_symbol(s));
        if token.is_word("CASE") && !ends {
            return self.case();
        }
        if token.is_word("INTERVAL") && self.at_interval() {
            return self.interval_literal();
        }
        if token.is_any_word(BARE_FUNCTIONS) && !next.is_symbol("(") && !next.is_symbol(".") {
            self.next();
            return Ok(Expr::call_at(token.text, vec![], token.span));
        }
        if next.is_symbol("(") && token.is_any_word(&["CAST", "TRY_CAST"]) {
            return self.cast();
        }
        if token.is_word("EXISTS") && next.is_symbol("(") && self.is_query_at(self.pos + 1) {
            return self.exists();
        }
        self.name_or_call(token.span)
    }

    fn bare_lambda(&mut self) -> Result<Expr> {
        let arg = self.ident()?;
        let start = arg.span;
        self.lambda(vec![arg], start)
    }

    /// `NULL`, `TRUE`, `FALSE`
    fn word_literal(&mut self) -> Expr {
        let token = self.next();
        let value = if token.is_word("NULL") { Literal::Null } else { Literal::Boolean(token.is_word("TRUE")) };
        Expr::Literal { value, span: token.span }
    }

    /// `?` or `:name`
    fn parameter(&mut self) -> Result<Expr> {
        let start = self.next();
        let name = if start.is_symbol("?") { None } else { Some(self.ident()?.name) };
        Ok(Expr::Parameter { name, span: self.span_from(start.span) })
    }

    /// `EXISTS (query)`
    fn exists(&mut self) -> Result<Expr> {
        let start = self.next().span;
        self.next();
        let plan = Box::new(self.query()?);
        self.expect_symbol(")")?;
        Ok(Expr::Exists { plan, span: self.span_from(start) })
    }

    /// A column, a star or a call: whatever begins with a name.
    fn name_or_call(&mut self, start: Span) -> Result<Expr> {
        if self.at_word("IDENTIFIER") && self.nth_is_symbol(1, "(") && self.peek_nth(2).kind == TokenKind::String {
            let name = self.object_name()?;
            return if self.at_symbol("(") { self.call(name) } else { Ok(self.attribute(name.parts, name.span)) };
        }
        let first = self.ident()?;
        let mut parts = vec![first.name];
        loop {
            if self.at_symbol("(") {
                return self.call(ObjectName { parts, span: self.span_from(start) });
            }
            if !self.at_symbol(".") {
                break;
            }
            if self.nth_is_symbol(1, "*") {
                self.skip(2);
                return self.star(Some(parts), start);
            }
            if !matches!(self.peek_nth(1).kind, TokenKind::Word | TokenKind::Quoted) {
                self.next();
                return Err(self.unexpected("a field name"));
            }
            self.next();
            parts.push(self.ident()?.name);
        }
        let span = self.span_from(start);
        Ok(self.attribute(parts, span))
    }

    /// A column, or an argument of a lambda around.
    fn attribute(&self, parts: Vec<String>, span: Span) -> Expr {
        let is_arg = |first: &String| self.lambda_args.iter().flatten().any(|a| a.eq_ignore_ascii_case(first));
        if parts.first().is_some_and(is_arg) {
            return Expr::LambdaVariable { parts, span };
        }
        Expr::UnresolvedAttribute { parts, plan_id: None, span }
    }

    /// The rest of a star: `EXCEPT (a, b.c)`.
    fn star(&mut self, target: Option<Vec<String>>, start: Span) -> Result<Expr> {
        let except = if self.at_word("EXCEPT") && self.nth_is_symbol(1, "(") && !self.is_query_at(self.pos + 1) {
            self.next();
            self.paren_list(Self::object_name)?
        } else {
            vec![]
        };
        Ok(Expr::UnresolvedStar { target, except, plan_id: None, span: self.span_from(start) })
    }

    /// What begins with a parenthesis: a lambda's arguments, a subquery, a row or a grouped expression.
    fn paren(&mut self) -> Result<Expr> {
        let start = self.peek().span;
        if self.closer(self.pos).is_some_and(|c| self.token_at(c + 1).is_symbol("->")) {
            let args = self.ident_list()?;
            if args.len() == 1 {
                return Err(SqlError::syntax("the one argument of a lambda stands without parentheses", start));
            }
            return self.lambda(args, start);
        }
        if self.at_paren_query() {
            return self.scalar_subquery();
        }
        self.next();
        let first = self.expr()?;
        if self.take_symbol(")") { Ok(first) } else { self.row(first, start) }
    }

    /// `(query)` as a value.
    fn scalar_subquery(&mut self) -> Result<Expr> {
        let start = self.next().span;
        let plan = Box::new(self.query()?);
        self.expect_symbol(")")?;
        Ok(Expr::ScalarSubquery { plan, span: self.span_from(start) })
    }

    /// `(first [AS name], ...)`, behind its first value.
    fn row(&mut self, first: Expr, start: Span) -> Result<Expr> {
        let mut fields = vec![self.aliased(first)?];
        if !self.at_symbol(",") {
            return Err(self.unexpected("')'"));
        }
        while self.take_symbol(",") {
            fields.push(self.named_expr()?);
        }
        self.expect_symbol(")")?;
        Ok(row_of(fields, self.span_from(start)))
    }

    /// The values of a row in parentheses; anything else is a row of one value.
    pub(super) fn row_values(&self, expr: Expr) -> Vec<Expr> {
        let is_row = |call: &UnresolvedFunction| self.text.as_bytes().get(call.span.offset as usize) == Some(&b'(');
        match expr {
            Expr::UnresolvedFunction(call) if call.name == "struct" && is_row(&call) => call.args,
            Expr::UnresolvedFunction(call) if call.name == "named_struct" && is_row(&call) => {
                call.args.into_iter().skip(1).step_by(2).collect()
            }
            other => vec![other],
        }
    }

    /// `-> body` behind the arguments.
    fn lambda(&mut self, args: Vec<Ident>, start: Span) -> Result<Expr> {
        self.expect_symbol("->")?;
        self.lambda_args.push(args.iter().map(|a| a.name.clone()).collect());
        let body = self.expr();
        self.lambda_args.pop();
        Ok(Expr::Lambda { args, body: Box::new(body?), span: self.span_from(start) })
    }

    fn string_literal(&mut self) -> Result<Expr> {
        let start = self.peek().span;
        let mut value = String::new();
        while self.peek().kind == TokenKind::String {
            value.push_str(&string_value(self.next().text));
        }
        Ok(Expr::Literal { value: value.into(), span: self.span_from(start) })
    }

    fn case(&mut self) -> Result<Expr> {
        let start = self.next().span;
        let value = if self.at_word("WHEN") { None } else { Some(self.expr()?) };
        let mut args = vec![];
        while self.take_word("WHEN") {
            let condition = self.expr()?;
            args.push(match &value {
                Some(value) => {
                    let span = condition.span();
                    Expr::call_at("==", vec![value.clone(), condition], span)
                }
                None => condition,
            });
            self.expect_word("THEN")?;
            args.push(self.expr()?);
        }
        if args.is_empty() {
            return Err(self.unexpected_word(&["WHEN"]));
        }
        if self.take_word("ELSE") {
            args.push(self.expr()?);
        }
        if !self.at_word("END") {
            return Err(self.unexpected_word(&["WHEN", "ELSE", "END"]));
        }
        self.next();
        Ok(Expr::call_at("when", args, self.span_from(start)))
    }

    fn cast(&mut self) -> Result<Expr> {
        let word = self.next();
        let mode = if word.is_word("CAST") { CastMode::Session } else { CastMode::Try };
        self.expect_symbol("(")?;
        let expr = Box::new(self.expr()?);
        self.expect_word("AS")?;
        let data_type = self.data_type()?;
        self.expect_symbol(")")?;
        Ok(Expr::Cast { expr, data_type, mode, span: self.span_from(word.span) })
    }
}

/// `(a, b AS c, 1)` is `named_struct('a', a, 'c', b, 'col3', 1)`; with a star in it only the
/// analyzer knows the names, and it stays `struct`.
fn row_of(fields: Vec<Expr>, span: Span) -> Expr {
    if fields.iter().any(|f| matches!(f, Expr::UnresolvedStar { .. })) {
        return Expr::call_at("struct", fields, span);
    }
    let mut args = vec![];
    for (i, field) in fields.into_iter().enumerate() {
        let at = field.span();
        let (name, value) = match field {
            Expr::Alias { expr, names, .. } => (names.into_iter().next().map(|n| n.name), *expr),
            Expr::UnresolvedAttribute { ref parts, .. } | Expr::LambdaVariable { ref parts, .. } => (parts.last().cloned(), field),
            other => (None, other),
        };
        let name = name.unwrap_or_else(|| format!("col{}", i + 1));
        args.extend([Expr::Literal { value: name.into(), span: at }, value]);
    }
    Expr::call_at("named_struct", args, span)
}

/// `base.field`: a longer name, or an extraction when the base is not a name.
fn dereference(base: Expr, field: Ident) -> Expr {
    let joined = base.span().to(field.span);
    match base {
        Expr::UnresolvedAttribute { mut parts, plan_id, .. } => {
            parts.push(field.name);
            Expr::UnresolvedAttribute { parts, plan_id, span: joined }
        }
        Expr::LambdaVariable { mut parts, .. } => {
            parts.push(field.name);
            Expr::LambdaVariable { parts, span: joined }
        }
        other => {
            let extraction = Expr::Literal { value: field.name.into(), span: field.span };
            Expr::UnresolvedExtractValue { child: Box::new(other), extraction: Box::new(extraction), span: joined }
        }
    }
}
