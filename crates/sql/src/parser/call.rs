//! Calls: plain ones, those with words between their arguments, and what stands behind a call.

use super::{Parser, Result, words};
use crate::error::SqlError;
use crate::ir::{Expr, FrameBound, FrameUnits, Ident, Literal, ObjectName, UnresolvedFunction, WindowFrame, WindowSpec};
use crate::lexer::TokenKind;
use crate::span::Span;

const DATETIME_UNITS: &[&str] =
    &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"];

impl Parser<'_> {
    /// The call of `name`; the parenthesis is next.
    pub(super) fn call(&mut self, name: ObjectName) -> Result<Expr> {
        if let [only] = name.parts.as_slice()
            && let Some(special) = self.special_call(&only.to_ascii_uppercase())
        {
            return special(self, name.span);
        }
        self.plain_call(name)
    }

    fn plain_call(&mut self, name: ObjectName) -> Result<Expr> {
        let mut call = UnresolvedFunction {
            name: name.parts.join("."),
            args: vec![],
            is_distinct: false,
            filter: None,
            ignore_nulls: false,
            within_group: vec![],
            span: name.span,
        };
        self.expect_symbol("(")?;
        if !self.at_symbol(")") {
            let quantified = !self.nth_is_symbol(1, ",") && !self.nth_is_symbol(1, ")") && !self.nth_is_symbol(1, ".");
            if quantified && self.take_word("DISTINCT") {
                call.is_distinct = true;
            } else if quantified && self.at_word("ALL") {
                self.next();
            }
            call.args = if call.name.eq_ignore_ascii_case("struct") { self.named_exprs()? } else { self.comma_list(Self::argument)? };
            call.ignore_nulls = self.null_treatment()?.unwrap_or(false);
        }
        self.expect_symbol(")")?;
        self.behind_call(call)
    }

    /// `WITHIN GROUP`, `FILTER`, `IGNORE NULLS` and `OVER` behind the arguments.
    fn behind_call(&mut self, mut call: UnresolvedFunction) -> Result<Expr> {
        let start = call.span;
        if self.take_words(&["WITHIN", "GROUP"]) {
            self.expect_symbol("(")?;
            self.expect_words(&["ORDER", "BY"])?;
            call.within_group = self.comma_list(Self::sort_item)?;
            self.expect_symbol(")")?;
        }
        if self.at_word("FILTER") && self.nth_is_symbol(1, "(") && self.peek_nth(2).is_word("WHERE") {
            self.skip(3);
            call.filter = Some(Box::new(self.expr()?));
            self.expect_symbol(")")?;
        }
        if let Some(ignore) = self.null_treatment()? {
            call.ignore_nulls = ignore;
        }
        call.span = self.span_from(start);
        let expr = Expr::UnresolvedFunction(call);
        let next = self.peek_nth(1);
        let names_window = matches!(next.kind, TokenKind::Word | TokenKind::Quoted) && !words::ends_item(&next, &self.peek_nth(2));
        if self.at_word("OVER") && (next.is_symbol("(") || names_window) {
            self.next();
            let spec = self.window_spec()?;
            return Ok(Expr::Window { function: Box::new(expr), spec, span: self.span_from(start) });
        }
        Ok(expr)
    }

    fn null_treatment(&mut self) -> Result<Option<bool>> {
        if self.take_words(&["IGNORE", "NULLS"]) {
            return Ok(Some(true));
        }
        Ok(self.take_words(&["RESPECT", "NULLS"]).then_some(false))
    }

    /// An argument: `expr` or `name => expr`.
    pub(super) fn argument(&mut self) -> Result<Expr> {
        if self.at_name() && self.nth_is_symbol(1, "=>") {
            return self.named_argument();
        }
        self.refuse_table_argument()?;
        self.expr()
    }

    fn refuse_table_argument(&self) -> Result<()> {
        let is_table = self.at_word("TABLE") && (self.nth_is_symbol(1, "(") || self.peek_nth(1).kind == TokenKind::Word);
        if is_table { Err(self.unsupported("a TABLE argument")) } else { Ok(()) }
    }

    fn named_argument(&mut self) -> Result<Expr> {
        let name = self.ident()?;
        self.next();
        self.refuse_table_argument()?;
        let value = Box::new(self.expr()?);
        let span = self.span_from(name.span);
        Ok(Expr::NamedArgument { name, value, span })
    }

    /// The function that reads the call at hand, if it has words or a unit between its arguments.
    fn special_call(&self, name: &str) -> Option<fn(&mut Self, Span) -> Result<Expr>> {
        let has = |word| self.has_word_inside(word);
        match name {
            "EXTRACT" if matches!(self.peek_nth(1).kind, TokenKind::Word | TokenKind::Quoted) && self.peek_nth(2).is_word("FROM") => {
                Some(Self::extract_call)
            }
            "TRIM" if has("FROM") => Some(Self::trim_call),
            "SUBSTRING" | "SUBSTR" if has("FROM") || has("FOR") => Some(Self::substring_call),
            "POSITION" => {
                // `position(a, b IN (c))` is an ordinary call.
                let first = self.inside().map(|i| self.token_at(i)).find(|t| t.is_word("IN") || t.is_symbol(","));
                first.is_some_and(|t| t.is_word("IN")).then_some(Self::position_call)
            }
            "OVERLAY" if has("PLACING") => Some(Self::overlay_call),
            "TIMESTAMPADD" | "DATEADD" | "DATE_ADD" if self.at_unit_argument() => Some(|p, start| p.unit_call("timestampadd", start)),
            "TIMESTAMPDIFF" | "DATEDIFF" | "DATE_DIFF" | "TIMEDIFF" if self.at_unit_argument() => {
                Some(|p, start| p.unit_call("timestampdiff", start))
            }
            _ => None,
        }
    }

    /// Whether three arguments follow, of which the first is a unit or, by mistake, a string.
    fn at_unit_argument(&self) -> bool {
        let first = self.peek_nth(1);
        let fits = first.is_any_word(DATETIME_UNITS) || first.kind == TokenKind::String;
        fits && self.nth_is_symbol(2, ",") && self.commas_inside() == 2
    }

    /// `EXTRACT(field FROM source)`
    fn extract_call(&mut self, start: Span) -> Result<Expr> {
        self.next();
        let field = self.ident()?;
        self.next();
        let source = self.expr()?;
        self.expect_symbol(")")?;
        let field = Expr::Literal { value: field.name.into(), span: field.span };
        Ok(Expr::call_at("extract", vec![field, source], self.span_from(start)))
    }

    /// `TRIM([BOTH | LEADING | TRAILING] [characters] FROM source)`
    fn trim_call(&mut self, start: Span) -> Result<Expr> {
        self.next();
        let followed = !self.nth_is_symbol(1, ",") && !self.nth_is_symbol(1, ")");
        let name = match () {
            () if followed && self.take_word("BOTH") => "trim",
            () if followed && self.take_word("LEADING") => "ltrim",
            () if followed && self.take_word("TRAILING") => "rtrim",
            () => "trim",
        };
        let mut args = vec![];
        if !self.at_word("FROM") {
            args.push(self.expr()?);
        }
        self.expect_word("FROM")?;
        args.push(self.expr()?);
        self.expect_symbol(")")?;
        Ok(Expr::call_at(name, args, self.span_from(start)))
    }

    /// `SUBSTRING(text FROM start FOR length)`
    fn substring_call(&mut self, start: Span) -> Result<Expr> {
        self.next();
        let mut args = vec![self.expr()?];
        if !self.take_word("FROM") {
            self.expect_symbol(",")?;
        }
        args.push(self.expr()?);
        if self.take_word("FOR") || self.take_symbol(",") {
            args.push(self.expr()?);
        }
        self.expect_symbol(")")?;
        Ok(Expr::call_at("substring", args, self.span_from(start)))
    }

    /// `POSITION(part IN text)`
    fn position_call(&mut self, start: Span) -> Result<Expr> {
        self.next();
        let part = self.nested(Self::value_expr)?;
        self.expect_word("IN")?;
        let text = self.nested(Self::value_expr)?;
        self.expect_symbol(")")?;
        Ok(Expr::call_at("locate", vec![part, text], self.span_from(start)))
    }

    /// `OVERLAY(text PLACING part FROM start [FOR length])`
    fn overlay_call(&mut self, start: Span) -> Result<Expr> {
        self.next();
        let mut args = vec![self.expr()?];
        self.expect_word("PLACING")?;
        args.push(self.expr()?);
        self.expect_word("FROM")?;
        args.push(self.expr()?);
        if self.take_word("FOR") {
            args.push(self.expr()?);
        }
        self.expect_symbol(")")?;
        Ok(Expr::call_at("overlay", args, self.span_from(start)))
    }

    /// `DATEADD(DAY, 1, ts)`
    fn unit_call(&mut self, name: &str, start: Span) -> Result<Expr> {
        self.next();
        let first = self.next();
        if first.kind == TokenKind::String {
            let message = format!("a unit without quotes is wanted here, one of {}", DATETIME_UNITS.join(", "));
            return Err(SqlError::invalid(message, first.span));
        }
        let unit = Expr::Literal { value: Literal::String(first.text.to_uppercase()), span: first.span };
        self.expect_symbol(",")?;
        let mut args = vec![unit];
        args.extend(self.exprs()?);
        self.expect_symbol(")")?;
        Ok(Expr::call_at(name, args, self.span_from(start)))
    }

    /// Whether the word stands between the parenthesis at hand and its end, not deeper.
    fn has_word_inside(&self, word: &str) -> bool {
        self.inside().any(|index| self.token_at(index).is_word(word))
    }

    fn commas_inside(&self) -> usize {
        self.inside().filter(|index| self.token_at(*index).is_symbol(",")).count()
    }

    /// Indices of the tokens directly inside the parenthesis at hand.
    fn inside(&self) -> impl Iterator<Item = usize> {
        let end = self.closer(self.pos).unwrap_or(self.tokens.len());
        let mut index = self.pos + 1;
        std::iter::from_fn(move || {
            if index >= end {
                return None;
            }
            let here = index;
            index = self.closer(here).unwrap_or(here) + 1;
            Some(here)
        })
    }

    /// What stands behind `OVER`: a name, or a window in parentheses.
    pub(super) fn window_spec(&mut self) -> Result<WindowSpec> {
        if !self.at_symbol("(") {
            return Ok(WindowSpec { name: Some(self.plain_ident()?), ..WindowSpec::default() });
        }
        self.next();
        if self.at_name() && self.nth_is_symbol(1, ")") {
            let name = self.plain_ident()?;
            self.next();
            return Ok(WindowSpec { name: Some(name), ..WindowSpec::default() });
        }
        let mut spec = WindowSpec::default();
        if self.take_words(&["CLUSTER", "BY"]) {
            spec.partition_by = self.exprs()?;
        } else {
            if self.take_words(&["PARTITION", "BY"]) || self.take_words(&["DISTRIBUTE", "BY"]) {
                spec.partition_by = self.exprs()?;
            }
            if self.take_words(&["ORDER", "BY"]) || self.take_words(&["SORT", "BY"]) {
                spec.order_by = self.comma_list(Self::sort_item)?;
            }
        }
        if self.at_any_word(&["ROWS", "RANGE"]) {
            spec.frame = Some(self.window_frame()?);
        }
        self.expect_symbol(")")?;
        Ok(spec)
    }

    fn window_frame(&mut self) -> Result<WindowFrame> {
        let units = if self.next().is_word("ROWS") { FrameUnits::Rows } else { FrameUnits::Range };
        if self.take_word("BETWEEN") {
            let start = self.frame_bound()?;
            self.expect_word("AND")?;
            let end = self.frame_bound()?;
            return Ok(WindowFrame { units, start, end });
        }
        let start = self.frame_bound()?;
        Ok(WindowFrame { units, start, end: FrameBound::CurrentRow })
    }

    fn frame_bound(&mut self) -> Result<FrameBound> {
        if self.take_words(&["CURRENT", "ROW"]) {
            return Ok(FrameBound::CurrentRow);
        }
        if self.take_word("UNBOUNDED") {
            return match self.frame_direction()? {
                true => Ok(FrameBound::UnboundedPreceding),
                false => Ok(FrameBound::UnboundedFollowing),
            };
        }
        let distance = Box::new(self.nested(Self::value_expr)?);
        Ok(if self.frame_direction()? { FrameBound::Preceding(distance) } else { FrameBound::Following(distance) })
    }

    /// True for `PRECEDING`, false for `FOLLOWING`.
    fn frame_direction(&mut self) -> Result<bool> {
        if self.take_word("PRECEDING") {
            Ok(true)
        } else if self.take_word("FOLLOWING") {
            Ok(false)
        } else {
            Err(self.unexpected_word(&["PRECEDING", "FOLLOWING"]))
        }
    }

    /// `WINDOW name AS (...), ...`; the word is taken.
    pub(super) fn window_definitions(&mut self) -> Result<Vec<(Ident, WindowSpec)>> {
        self.comma_list(|p| {
            let name = p.plain_ident()?;
            p.expect_word("AS")?;
            Ok((name, p.window_spec()?))
        })
    }
}
