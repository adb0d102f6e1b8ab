//! `PIVOT` and `UNPIVOT` behind a relation.

use super::{Parser, Result};
use crate::ir::{Expr, Ident, Plan};

impl Parser<'_> {
    pub(super) fn at_pivot(&self) -> bool {
        let unpivot = self.at_word("UNPIVOT") && (self.nth_is_symbol(1, "(") || self.peek_nth(1).is_any_word(&["INCLUDE", "EXCLUDE"]));
        self.at_word("PIVOT") && self.nth_is_symbol(1, "(") || unpivot
    }

    /// The `PIVOT` and `UNPIVOT` clauses behind a relation.
    pub(super) fn pivots(&mut self, mut plan: Plan) -> Result<Plan> {
        while self.at_pivot() {
            self.grow()?;
            plan = if self.at_word("PIVOT") { self.pivot(plan)? } else { self.unpivot(plan)? };
        }
        Ok(plan)
    }

    /// `PIVOT (aggregates FOR column IN (values))`
    fn pivot(&mut self, input: Plan) -> Result<Plan> {
        let start = self.next().span;
        self.expect_symbol("(")?;
        let aggregates = self.named_exprs()?;
        self.expect_word("FOR")?;
        let column = |p: &mut Self| p.plain_ident().map(|i| Expr::UnresolvedAttribute { parts: vec![i.name], plan_id: None, span: i.span });
        let columns = if self.at_symbol("(") { self.paren_list(column)? } else { vec![column(self)?] };
        self.expect_word("IN")?;
        let values = self.paren_list(Self::named_expr)?;
        self.expect_symbol(")")?;
        let plan = Plan::Pivot { input: Box::new(input), grouping: None, aggregates, columns, values, span: self.span_from(start) };
        if self.at_pivot() { Ok(plan) } else { self.table_alias(plan) }
    }

    /// `UNPIVOT [INCLUDE | EXCLUDE NULLS] (value FOR name IN (columns))`
    fn unpivot(&mut self, input: Plan) -> Result<Plan> {
        let start = self.next().span;
        let include_nulls = self.take_word("INCLUDE");
        if include_nulls || self.take_word("EXCLUDE") {
            self.expect_word("NULLS")?;
        }
        self.expect_symbol("(")?;
        let several = self.at_symbol("(");
        let value_names = if several { self.ident_list()? } else { vec![self.plain_ident()?] };
        self.expect_word("FOR")?;
        let variable = self.plain_ident()?;
        self.expect_word("IN")?;
        let values = self.paren_list(|p| p.unpivot_columns(several))?;
        self.expect_symbol(")")?;
        let span = self.span_from(start);
        let plan = Plan::Unpivot { input: Box::new(input), ids: None, values, variable, value_names, include_nulls, span };
        if self.at_pivot() { Ok(plan) } else { self.table_alias(plan) }
    }

    fn unpivot_columns(&mut self, several: bool) -> Result<(Vec<Expr>, Option<Ident>)> {
        let column = |p: &mut Self| p.object_name().map(|n| Expr::UnresolvedAttribute { parts: n.parts, plan_id: None, span: n.span });
        let columns = if several { self.paren_list(column)? } else { vec![column(self)?] };
        let named = self.take_word("AS") || self.at_name();
        let name = if named { Some(self.plain_ident()?) } else { None };
        Ok((columns, name))
    }
}
