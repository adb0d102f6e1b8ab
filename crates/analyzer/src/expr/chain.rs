//! Chains of one associative operator: `a + b + c ...`, which the parser gives as one call, and `a AND b AND c ...`.
//!
//! Sums mean what they mean from the left, two at a time. But as calls in calls, a generated chain of thousands of terms
//! would need a stack as deep when it runs; so kernels of `+`, `*` and `concat` take many arguments, and only a step
//! whose types differ from the one before makes a new call around it. What becomes of long conditions is in [`guard`].

use datafusion::logical_expr::{Expr as DfExpr, Operator};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, UnresolvedFunction};

use super::{ExprCx, Typed, guard};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;

/// How many calls a chain may need around each other.
const NESTED_MAX: usize = 250;
/// Longer texts of what was computed so far are not shown in errors.
const SHOWN_MAX: usize = 200;

impl Resolver<'_> {
    /// `a + b + c ...` or `a * b * c ...`
    pub(super) fn arithmetic_chain(&mut self, cx: &mut ExprCx, op: &str, first: &Expr, rest: &[Expr]) -> Result<Typed> {
        let mut left = self.expr(cx, first)?;
        let mut shown = format!("{}{}", "(".repeat(rest.len()), left.name);
        let mut n_nested = 0;
        for term in rest {
            let right = self.expr(cx, term)?;
            shown.push_str(&format!(" {op} {})", right.name));
            let step = self.arithmetic(op, left, right, term.span())?;
            left = self.one_call(step, &mut n_nested, term.span())?;
        }
        Ok(left.named(shown))
    }

    /// `a || b || c ...`
    pub(super) fn concat_chain(&mut self, cx: &mut ExprCx, terms: &[Expr], span: Span) -> Result<Typed> {
        let mut terms = terms.iter();
        let Some(first) = terms.next() else { return Err(AnalysisError::internal("|| of nothing")) };
        let mut left = self.expr(cx, first)?;
        let mut shown = format!("{}{}", "concat(".repeat(terms.len()), left.name);
        let mut n_nested = 0;
        for term in terms {
            let right = self.expr(cx, term)?;
            shown.push_str(&format!(", {})", right.name));
            let step = self.concat(vec![left, right], span)?;
            left = self.one_call(step, &mut n_nested, term.span())?;
        }
        Ok(left.named(shown))
    }

    /// `a AND b ...` or `a OR b ...`, all of them at once: the guards between them depend on how many there are.
    pub(super) fn connected(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction) -> Result<Typed> {
        let mut terms = vec![];
        let shown = self.connected_terms(cx, name, call, &mut terms)?;
        let nullable = terms.iter().any(|term| term.nullable);
        let op = if name == "and" { Operator::And } else { Operator::Or };
        Ok(Typed::new(guard::connect(op, terms)?, DataType::Boolean, nullable, shown))
    }

    /// The terms of a tree of one operator in the written order. Gives the tree's text.
    fn connected_terms(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction, terms: &mut Vec<Typed>) -> Result<String> {
        self.nested(call.span, |resolver| {
            let mut texts = vec![];
            for arg in &call.args {
                texts.push(match arg {
                    Expr::UnresolvedFunction(inner) if inner.name.eq_ignore_ascii_case(name) && inner.args.len() == 2 => {
                        resolver.connected_terms(cx, name, inner, terms)?
                    }
                    arg => {
                        let term = resolver.boolean(cx, arg, name)?;
                        let text = term.name.clone();
                        terms.push(term);
                        text
                    }
                });
            }
            Ok(format!("({})", texts.join(&format!(" {} ", name.to_uppercase()))))
        })
    }

    /// `f(f(a, b), c)` as `f(a, b, c)`; any other call around the one before is one more level.
    fn one_call(&self, mut step: Typed, n_nested: &mut usize, span: Span) -> Result<Typed> {
        if step.name.len() > SHOWN_MAX {
            "...".clone_into(&mut step.name);
        }
        let DfExpr::ScalarFunction(outer) = &mut step.expr else { return Ok(step) };
        match outer.args.first_mut() {
            Some(DfExpr::ScalarFunction(inner)) if inner.func == outer.func => {
                let mut args = std::mem::take(&mut inner.args);
                args.extend(outer.args.drain(1..));
                outer.args = args;
            }
            _ => *n_nested += 1,
        }
        if *n_nested > NESTED_MAX {
            return Err(AnalysisError::too_deep(NESTED_MAX, span));
        }
        Ok(step)
    }
}
