//! Pipes: `FROM t |> WHERE a |> SELECT b`. Each step wraps what stands on its left.
//!
//! The steps become the nodes that the other syntax gives; there is no pipe node.

use super::{Parser, Result};
use crate::ir::{Expr, Grouping, Plan};
use crate::span::Span;

/// The words a step may begin with.
const STEPS: &[&str] = &[
    "SELECT",
    "WHERE",
    "EXTEND",
    "SET",
    "DROP",
    "AS",
    "AGGREGATE",
    "JOIN",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "PIVOT",
    "UNPIVOT",
    "TABLESAMPLE",
];

impl Parser<'_> {
    /// One step around `input`; `|>` is taken.
    pub(super) fn pipe_step(&mut self, input: Plan) -> Result<Plan> {
        self.grow()?;
        let start = self.peek().span;
        if self.at_word("SELECT") {
            return self.pipe_select(input);
        }
        if self.take_word("WHERE") {
            let condition = self.expr()?;
            return Ok(Plan::Filter { input: Box::new(input), condition, span: self.span_from(start) });
        }
        if self.take_word("EXTEND") {
            let mut exprs = vec![Expr::star()];
            exprs.extend(self.named_exprs()?);
            return Ok(Plan::Project { input: Box::new(input), exprs, span: self.span_from(start) });
        }
        if self.take_word("SET") {
            return self.pipe_set(input);
        }
        if self.take_word("DROP") {
            let except = self.comma_list(Self::object_name)?;
            let span = self.span_from(start);
            let star = Expr::UnresolvedStar { target: None, except, plan_id: None, span };
            return Ok(Plan::Project { input: Box::new(input), exprs: vec![star], span });
        }
        if self.take_word("AS") {
            let alias = self.plain_ident()?;
            return Ok(Plan::SubqueryAlias { input: Box::new(input), alias, columns: vec![], span: self.span_from(start) });
        }
        if self.take_word("AGGREGATE") {
            return self.pipe_aggregate(input, start);
        }
        self.pipe_relation_step(input)
    }

    /// The steps that are clauses of `FROM` or of a whole query elsewhere.
    fn pipe_relation_step(&mut self, input: Plan) -> Result<Plan> {
        if self.at_pivot() {
            return self.pivots(input);
        }
        if self.at_word("TABLESAMPLE") {
            return self.sampled(input);
        }
        if self.at_any_word(&["UNION", "EXCEPT", "MINUS", "INTERSECT"]) {
            return self.set_operation(input);
        }
        if self.at_any_word(&["ORDER", "SORT", "CLUSTER", "DISTRIBUTE", "LIMIT", "OFFSET"]) {
            return self.organization(input);
        }
        let before = self.pos;
        let joined = self.joins(input)?;
        if self.pos == before { Err(self.unexpected_word(STEPS)) } else { Ok(joined) }
    }

    /// `|> SET a = 1, b = a + 1`: each sees the ones before.
    fn pipe_set(&mut self, mut input: Plan) -> Result<Plan> {
        loop {
            let name = self.plain_ident()?;
            self.expect_symbol("=")?;
            let value = self.expr()?;
            let span = self.span_from(name.span);
            input = Plan::WithColumns { input: Box::new(input), columns: vec![(name.name, value)], span };
            self.grow()?;
            if !self.take_symbol(",") {
                return Ok(input);
            }
        }
    }

    /// `|> AGGREGATE aggregates GROUP BY keys`: the keys come first in the result.
    fn pipe_aggregate(&mut self, input: Plan, start: Span) -> Result<Plan> {
        let aggregates = if self.at_words(&["GROUP", "BY"]) { vec![] } else { self.named_exprs()? };
        let mut keys = vec![];
        if self.take_words(&["GROUP", "BY"]) {
            let analytic = self.at_any_word(&["ROLLUP", "CUBE"]) && self.nth_is_symbol(1, "(") || self.at_words(&["GROUPING", "SETS"]);
            if analytic {
                return Err(self.unsupported("ROLLUP, CUBE or GROUPING SETS behind |> AGGREGATE"));
            }
            keys = self.named_exprs()?;
        }
        let bare = |key: &Expr| match key {
            Expr::Alias { expr, .. } => (**expr).clone(),
            other => other.clone(),
        };
        let grouping = Grouping::Plain(keys.iter().map(bare).collect());
        let aggregates = keys.into_iter().chain(aggregates).collect();
        Ok(Plan::Aggregate { input: Box::new(input), grouping, aggregates, span: self.span_from(start) })
    }
}
