//! Queries: `WITH`, set operations and what orders and cuts their result.

use super::{DEPTH_MAX, Parser, Result};
use crate::error::SqlError;
use crate::ir::{Cte, Expr, Plan, SetOpKind};
use crate::lexer::TokenKind;
use crate::span::Span;

impl Parser<'_> {
    /// A whole query.
    pub(crate) fn query(&mut self) -> Result<Plan> {
        self.nested(|p| {
            let start = p.peek().span;
            if !p.at_word("WITH") {
                return p.query_without_ctes();
            }
            let (recursive, ctes) = p.ctes()?;
            let input = Box::new(p.query_without_ctes()?);
            Ok(Plan::With { ctes, recursive, input, span: p.span_from(start) })
        })
    }

    /// `WITH [RECURSIVE] name [(columns)] [MAX RECURSION LEVEL n] [AS] (query), ...`
    pub(super) fn ctes(&mut self) -> Result<(bool, Vec<Cte>)> {
        self.expect_word("WITH")?;
        let recursive = self.at_word("RECURSIVE") && self.peek_nth(1).kind != TokenKind::Symbol && !self.peek_nth(1).is_word("AS");
        if recursive {
            self.next();
        }
        let ctes = self.comma_list(|p| {
            let name = p.plain_ident()?;
            let columns = if p.at_symbol("(") && !p.is_query_at(p.pos) { p.ident_list()? } else { vec![] };
            let level_max = if p.take_words(&["MAX", "RECURSION", "LEVEL"]) {
                let level = p.peek().text.parse().map_err(|_| p.unexpected("a whole number"))?;
                p.next();
                Some(level)
            } else {
                None
            };
            p.take_word("AS");
            p.expect_symbol("(")?;
            let plan = p.query()?;
            p.expect_symbol(")")?;
            Ok(Cte { name, columns, level_max, plan })
        })?;
        Ok((recursive, ctes))
    }

    pub(super) fn query_without_ctes(&mut self) -> Result<Plan> {
        let plan = self.union_term()?;
        self.organization(plan)
    }

    /// `UNION`, `EXCEPT` and `MINUS` bind alike, from left to right.
    fn union_term(&mut self) -> Result<Plan> {
        let mut left = self.intersect_term()?;
        loop {
            left = if self.at_any_word(&["UNION", "EXCEPT", "MINUS"]) {
                self.set_operation(left)?
            } else if self.take_symbol("|>") {
                self.pipe_step(left)?
            } else {
                return Ok(left);
            };
        }
    }

    /// One set operation with `left` on its left side.
    pub(super) fn set_operation(&mut self, left: Plan) -> Result<Plan> {
        let word = self.next();
        let kind = match () {
            () if word.is_word("UNION") => SetOpKind::Union,
            () if word.is_word("INTERSECT") => SetOpKind::Intersect,
            () => SetOpKind::Except,
        };
        let all = self.set_quantifier();
        let right = self.beside(if kind == SetOpKind::Intersect { Self::query_primary } else { Self::intersect_term })?;
        if kind == SetOpKind::Union && all {
            return self.union_all(left, right, word.span);
        }
        self.grow()?;
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(Plan::SetOp { left, right, kind, all, by_name: false, allow_missing: false, span: word.span })
    }

    /// `a UNION ALL b UNION ALL c` is one relation of three inputs: generated ones have thousands.
    fn union_all(&mut self, left: Plan, right: Plan, span: Span) -> Result<Plan> {
        if !matches!(left, Plan::UnionAll { .. }) {
            self.grow()?;
        }
        Ok(match left.union(right) {
            Plan::UnionAll { inputs, .. } => Plan::UnionAll { inputs, span },
            other => other,
        })
    }

    /// `INTERSECT` binds tighter.
    fn intersect_term(&mut self) -> Result<Plan> {
        let mut left = self.query_primary()?;
        while self.at_word("INTERSECT") {
            left = self.set_operation(left)?;
        }
        Ok(left)
    }

    fn set_quantifier(&mut self) -> bool {
        let all = self.take_word("ALL");
        if !all {
            self.take_word("DISTINCT");
        }
        all
    }

    fn query_primary(&mut self) -> Result<Plan> {
        if self.at_symbol("(") {
            self.next();
            let plan = self.query()?;
            self.expect_symbol(")")?;
            return Ok(plan);
        }
        if self.at_word("SELECT") {
            return self.select();
        }
        if self.at_word("FROM") {
            return self.select_behind_from();
        }
        if self.at_word("VALUES") {
            return self.inline_table();
        }
        if self.take_word("TABLE") {
            let name = self.object_name()?;
            return Ok(super::relation::read_table(name, false, vec![]));
        }
        if self.at_any_word(&["MAP", "REDUCE"]) {
            return Err(self.unsupported("a script transformation (MAP, REDUCE)"));
        }
        Err(self.unexpected_word(&["SELECT", "FROM", "VALUES", "TABLE", "WITH"]))
    }

    /// `ORDER BY`, `SORT BY`, `CLUSTER BY`, `DISTRIBUTE BY`, `WINDOW`, `LIMIT`, `OFFSET` behind a query.
    pub(super) fn organization(&mut self, mut plan: Plan) -> Result<Plan> {
        let start = self.peek().span;
        let before = self.pos;
        let order = self.keys("ORDER", Self::sort_item)?;
        let cluster = self.keys("CLUSTER", Self::expr)?;
        let distribute = self.keys("DISTRIBUTE", Self::expr)?;
        let sort = self.keys("SORT", Self::sort_item)?;
        let span = if self.pos == before { Span::NONE } else { self.span_from(start) };
        let repartition =
            |input: Plan, exprs: Vec<Expr>| Plan::Repartition { input: Box::new(input), exprs, partitions: None, shuffle: true, span };
        let sorted = |input: Plan, order, is_global| Plan::Sort { input: Box::new(input), order, is_global, span };
        plan = match (order, sort, distribute, cluster) {
            (None, None, None, None) => plan,
            (Some(order), None, None, None) => sorted(plan, order, true),
            (None, Some(sort), None, None) => sorted(plan, sort, false),
            (None, None, Some(keys), None) => repartition(plan, keys),
            (None, Some(sort), Some(keys), None) => sorted(repartition(plan, keys), sort, false),
            (None, None, None, Some(keys)) => {
                let order = keys.iter().cloned().map(Expr::asc).collect();
                sorted(repartition(plan, keys), order, false)
            }
            _ => {
                let message = "ORDER BY, SORT BY, DISTRIBUTE BY and CLUSTER BY cannot be combined like this";
                return Err(SqlError::syntax(message, span));
            }
        };
        plan = self.window_clause(plan)?;
        let limit = self.limit()?;
        if self.at_word("OFFSET") {
            let start = self.next().span;
            let offset = self.expr()?;
            plan = Plan::Offset { input: Box::new(plan), offset, span: self.span_from(start) };
        }
        if let Some((limit, span)) = limit {
            plan = Plan::Limit { input: Box::new(plan), limit, span };
        }
        Ok(plan)
    }

    fn keys<T>(&mut self, word: &str, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Option<Vec<T>>> {
        if !self.at_words(&[word, "BY"]) {
            return Ok(None);
        }
        self.skip(2);
        self.comma_list(item).map(Some)
    }

    fn limit(&mut self) -> Result<Option<(Expr, Span)>> {
        if !self.at_word("LIMIT") {
            return Ok(None);
        }
        let start = self.next().span;
        if self.take_word("ALL") {
            return Ok(None);
        }
        let limit = self.expr()?;
        Ok(Some((limit, self.span_from(start))))
    }

    /// `WINDOW name AS (...)` around `plan`.
    pub(super) fn window_clause(&mut self, plan: Plan) -> Result<Plan> {
        if !(self.at_word("WINDOW") && self.peek_nth(2).is_word("AS")) {
            return Ok(plan);
        }
        let start = self.next().span;
        let definitions = self.window_definitions()?;
        Ok(Plan::WindowDefinitions { input: Box::new(plan), definitions, span: self.span_from(start) })
    }

    /// `VALUES (1, 'a'), (2, 'b')` or `VALUES 1, 2`, with an alias perhaps.
    pub(super) fn inline_table(&mut self) -> Result<Plan> {
        let start = self.expect_word("VALUES")?;
        let mut rows: Vec<Vec<Expr>> = vec![];
        loop {
            let at = self.peek().span;
            let row = self.expr()?;
            let row = self.row_values(row);
            if let Some(first) = rows.first()
                && first.len() != row.len()
            {
                let message = format!("the first row of VALUES has {} columns, this one {}", first.len(), row.len());
                return Err(SqlError::syntax(message, at).with_class("INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH"));
            }
            rows.push(row);
            if !self.take_symbol(",") {
                break;
            }
        }
        let values = Plan::Values { rows, span: self.span_from(start) };
        self.table_alias(values)
    }

    /// Whether the parenthesis at hand holds a query and not an expression.
    pub(super) fn at_paren_query(&self) -> bool {
        self.at_symbol("(") && self.is_query_at(self.pos)
    }

    /// Whether the parenthesis at `index` holds a query. Parentheses around a query may belong to the
    /// query, `((SELECT 1) UNION SELECT 2)`, or to an expression, `((SELECT 1) + 1)`: what follows
    /// each closing one decides, from the inside out.
    pub(super) fn is_query_at(&self, index: usize) -> bool {
        let mut inner = index;
        while self.token_at(inner + 1).is_symbol("(") {
            inner += 1;
            if inner - index > DEPTH_MAX as usize {
                // Too deep whatever it is; looking at all of it for each level would take quadratic time.
                return false;
            }
        }
        let first = self.token_at(inner + 1);
        let second = self.token_at(inner + 2);
        let named = matches!(second.kind, TokenKind::Word | TokenKind::Quoted);
        let begins = first.is_word("SELECT") && !second.is_symbol(")") && !second.is_symbol(",")
            || first.is_any_word(&["WITH", "FROM", "TABLE"]) && named
            || first.is_word("VALUES") && (second.is_symbol("(") || second.is_number() || second.kind == TokenKind::String);
        if !begins {
            return false;
        }
        (index..inner).rev().all(|outer| {
            let Some(close) = self.closer(outer + 1) else { return true };
            let after = self.token_at(close + 1);
            let by = self.token_at(close + 2).is_word("BY");
            after.is_symbol(")")
                || after.is_any_word(&["UNION", "INTERSECT", "EXCEPT", "MINUS", "LIMIT", "OFFSET", "WINDOW"])
                || after.is_any_word(&["ORDER", "SORT", "CLUSTER", "DISTRIBUTE"]) && by
        })
    }
}
