//! `SELECT`: one block from its list to `HAVING`, nested as Spark nests it:
//! hints around the `WINDOW` clause around `DISTINCT` around `QUALIFY` around `HAVING` around the
//! aggregation or projection around `WHERE` around `LATERAL VIEW`s around `FROM`.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{DedupColumns, Expr, Grouping, Ident, Plan};
use crate::lexer::TokenKind;
use crate::span::Span;

/// What stands between `SELECT` and `FROM`.
struct SelectList {
    hints: Vec<(String, Vec<Expr>, Span)>,
    distinct: bool,
    exprs: Vec<Expr>,
    span: Span,
}

impl Parser<'_> {
    /// `SELECT list [FROM ...] ...`
    pub(super) fn select(&mut self) -> Result<Plan> {
        let list = self.select_list()?;
        let from = if self.at_word("FROM") { self.relations()? } else { Plan::OneRow };
        self.select_body(list, from)
    }

    /// `FROM t SELECT a`, or `FROM t` alone for all of it.
    pub(super) fn select_behind_from(&mut self) -> Result<Plan> {
        let from = self.relations()?;
        if self.at_word("INSERT") {
            return Err(self.unsupported("INSERT behind FROM (multi-insert)"));
        }
        if !self.at_word("SELECT") {
            return Ok(from);
        }
        let list = self.select_list()?;
        self.select_body(list, from)
    }

    fn select_list(&mut self) -> Result<SelectList> {
        let span = self.expect_word("SELECT")?;
        let mut hints = vec![];
        while self.peek().kind == TokenKind::HintStart {
            self.next();
            if self.peek().kind == TokenKind::HintEnd {
                return Err(self.unexpected("the name of a hint"));
            }
            while self.peek().kind != TokenKind::HintEnd {
                hints.push(self.hint()?);
                self.take_symbol(",");
            }
            self.next();
        }
        if self.at_word("TRANSFORM") && self.nth_is_symbol(1, "(") {
            let behind = self.closer(self.pos + 1).map(|c| self.token_at(c + 1));
            if behind.is_some_and(|t| t.is_any_word(&["USING", "ROW", "RECORDWRITER"])) {
                return Err(self.unsupported("a script transformation (TRANSFORM ... USING)"));
            }
        }
        let next = self.peek_nth(1);
        let is_name = next.is_symbol(",") || next.is_symbol(".") || next.kind == TokenKind::End || next.is_word("FROM");
        let distinct = !is_name && self.take_word("DISTINCT");
        if !distinct && !is_name {
            self.take_word("ALL");
        }
        let exprs = self.named_exprs()?;
        Ok(SelectList { hints, distinct, exprs, span })
    }

    fn hint(&mut self) -> Result<(String, Vec<Expr>, Span)> {
        let name = self.ident()?;
        let mut args = vec![];
        if self.take_symbol("(") {
            if !self.at_symbol(")") {
                args = self.exprs()?;
            }
            self.expect_symbol(")")?;
        }
        Ok((name.name, args, self.span_from(name.span)))
    }

    /// Everything behind `FROM`, put around it.
    fn select_body(&mut self, list: SelectList, from: Plan) -> Result<Plan> {
        let mut plan = from;
        while self.at_words(&["LATERAL", "VIEW"]) {
            plan = self.lateral_view(plan)?;
        }
        if self.at_word("WHERE") {
            let start = self.next().span;
            let condition = self.expr()?;
            plan = Plan::Filter { input: Box::new(plan), condition, span: self.span_from(start) };
        }
        let grouping = if self.at_words(&["GROUP", "BY"]) { Some(self.group_by()?) } else { None };
        let having = if self.at_word("HAVING") {
            let start = self.next().span;
            let condition = self.expr()?;
            Some((condition, self.span_from(start)))
        } else {
            None
        };
        let span = list.span;
        plan = match (grouping, &having) {
            (Some((grouping, span)), _) => Plan::Aggregate { input: Box::new(plan), grouping, aggregates: list.exprs, span },
            // HAVING without GROUP BY makes one group of all rows.
            (None, Some((_, span))) => {
                Plan::Aggregate { input: Box::new(plan), grouping: Grouping::Plain(vec![]), aggregates: list.exprs, span: *span }
            }
            (None, None) => Plan::Project { input: Box::new(plan), exprs: list.exprs, span },
        };
        if let Some((condition, span)) = having {
            plan = Plan::Having { input: Box::new(plan), condition, span };
        }
        plan = self.qualify(plan)?;
        if list.distinct {
            plan = Plan::Deduplicate { input: Box::new(plan), columns: DedupColumns::Distinct, within_watermark: false, span };
        }
        plan = self.window_clause(plan)?;
        for (name, args, span) in list.hints.into_iter().rev() {
            plan = Plan::Hint { input: Box::new(plan), name, args, span };
        }
        Ok(plan)
    }

    /// `SELECT list [WINDOW ...]` as a step of a pipe.
    pub(super) fn pipe_select(&mut self, input: Plan) -> Result<Plan> {
        let list = self.select_list()?;
        if self.at_any_word(&["FROM", "WHERE", "HAVING"]) || self.at_words(&["GROUP", "BY"]) {
            return Err(self.unexpected("'|>' or the end of the query"));
        }
        self.select_body(list, input)
    }

    fn qualify(&mut self, plan: Plan) -> Result<Plan> {
        if !self.at_word("QUALIFY") {
            return Ok(plan);
        }
        let start = self.next().span;
        let condition = self.expr()?;
        Ok(Plan::Qualify { input: Box::new(plan), condition, span: self.span_from(start) })
    }

    /// `LATERAL VIEW [OUTER] f(args) name [[AS] a, b]`
    pub(super) fn lateral_view(&mut self, input: Plan) -> Result<Plan> {
        let start = self.peek().span;
        self.skip(2);
        let outer = self.take_word("OUTER");
        let name = self.object_name()?;
        if !self.at_symbol("(") {
            return Err(self.unexpected("'('"));
        }
        let generator = self.call(name)?;
        let alias = Some(self.plain_ident()?);
        let has_as = self.take_word("AS");
        let mut columns: Vec<Ident> = vec![];
        if has_as
            || self.at_name()
                && !super::words::ends_item(&self.peek(), &self.peek_nth(1))
                && !self.at_any_word(super::words::NO_TABLE_ALIAS)
        {
            columns = self.comma_list(Self::plain_ident)?;
        }
        Ok(Plan::Generate { input: Box::new(input), generator, outer, alias, columns, span: self.span_from(start) })
    }

    /// `GROUP BY ...` with all its analytic forms.
    fn group_by(&mut self) -> Result<(Grouping, Span)> {
        let start = self.peek().span;
        self.skip(2);
        if self.at_word("ALL") && !self.nth_is_symbol(1, ",") && !self.nth_is_symbol(1, ".") {
            let span = self.next().span;
            return Ok((Grouping::All(span), self.span_from(start)));
        }
        let mut parts = vec![];
        loop {
            parts.push(self.group_item()?);
            if !self.take_symbol(",") {
                break;
            }
        }
        let only_plain = parts.iter().all(|p| matches!(p, Grouping::Plain(_)));
        let grouping = if only_plain {
            let keys: Vec<Expr> = parts
                .into_iter()
                .flat_map(|p| match p {
                    Grouping::Plain(keys) => keys,
                    _ => vec![],
                })
                .collect();
            self.group_suffix(keys)?
        } else if parts.len() == 1 {
            parts.pop().unwrap_or(Grouping::Plain(vec![]))
        } else {
            Grouping::Several(parts)
        };
        Ok((grouping, self.span_from(start)))
    }

    /// `WITH ROLLUP`, `WITH CUBE` or `GROUPING SETS (...)` behind plain keys.
    fn group_suffix(&mut self, keys: Vec<Expr>) -> Result<Grouping> {
        let single = |keys: Vec<Expr>| keys.into_iter().map(|k| vec![k]).collect();
        if self.take_words(&["WITH", "ROLLUP"]) {
            return Ok(Grouping::Rollup(single(keys)));
        }
        if self.take_words(&["WITH", "CUBE"]) {
            return Ok(Grouping::Cube(single(keys)));
        }
        if self.take_words(&["GROUPING", "SETS"]) {
            let sets = self.paren_list(Self::grouping_set)?;
            return Ok(Grouping::Sets { keys, sets });
        }
        Ok(Grouping::Plain(keys))
    }

    fn group_item(&mut self) -> Result<Grouping> {
        if self.at_word("ROLLUP") && self.nth_is_symbol(1, "(") {
            self.next();
            return Ok(Grouping::Rollup(self.paren_list(Self::grouping_set)?));
        }
        if self.at_word("CUBE") && self.nth_is_symbol(1, "(") {
            self.next();
            return Ok(Grouping::Cube(self.paren_list(Self::grouping_set)?));
        }
        if self.at_words(&["GROUPING", "SETS"]) && self.nth_is_symbol(2, "(") {
            self.skip(2);
            let mut sets = vec![];
            self.expect_symbol("(")?;
            loop {
                sets.extend(self.grouping_element()?);
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
            return Ok(Grouping::Sets { keys: vec![], sets });
        }
        Ok(Grouping::Plain(vec![self.expr()?]))
    }

    /// `(a, b)`, `()`, `a`
    fn grouping_set(&mut self) -> Result<Vec<Expr>> {
        let is_set = self.at_symbol("(")
            && self.closer(self.pos).is_some_and(|c| {
                let after = self.token_at(c + 1);
                after.is_symbol(",") || after.is_symbol(")")
            });
        if !is_set || self.at_paren_query() {
            return Ok(vec![self.expr()?]);
        }
        self.next();
        if self.take_symbol(")") {
            return Ok(vec![]);
        }
        let keys = self.exprs()?;
        self.expect_symbol(")")?;
        Ok(keys)
    }

    /// A set inside `GROUPING SETS`, or the sets of a `ROLLUP` or `CUBE` there.
    fn grouping_element(&mut self) -> Result<Vec<Vec<Expr>>> {
        let at = self.peek().span;
        if self.at_any_word(&["ROLLUP", "CUBE", "GROUPING"]) && (self.nth_is_symbol(1, "(") || self.peek_nth(1).is_word("SETS")) {
            return match self.nested(Self::group_item)? {
                Grouping::Rollup(keys) => Ok((0..=keys.len()).rev().map(|n| keys.iter().take(n).flatten().cloned().collect()).collect()),
                Grouping::Cube(keys) => cube_sets(&keys).ok_or_else(|| SqlError::invalid("CUBE of more than 12 keys", at)),
                Grouping::Sets { sets, .. } => Ok(sets),
                _ => Err(self.unexpected("a grouping set")),
            };
        }
        Ok(vec![self.grouping_set()?])
    }
}

/// All subsets of the keys; the first key counts most, as in Spark.
fn cube_sets(keys: &[Vec<Expr>]) -> Option<Vec<Vec<Expr>>> {
    if keys.len() > 12 {
        return None;
    }
    let mut sets: Vec<Vec<Expr>> = vec![vec![]];
    for key in keys.iter().rev() {
        let with: Vec<Vec<Expr>> = sets.iter().map(|s| key.iter().chain(s).cloned().collect()).collect();
        sets = with.into_iter().chain(sets).collect();
    }
    Some(sets)
}
