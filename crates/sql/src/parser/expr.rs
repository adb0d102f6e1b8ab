//! Expressions: the Pratt parser and Spark's precedence.
//!
//! From loosest to tightest: `OR`, `AND`, `NOT`, one predicate (`BETWEEN`, `IN`, `LIKE`, `IS`),
//! comparison, `|`, `^`, `&`, shifts, `+ - ||`, `* / % DIV`, sign and `~`, then the postfix forms
//! of `primary`. A predicate takes whole comparisons as operands, so `a = b IS NULL` asks whether
//! the comparison is null, and no second predicate may follow it.

use super::{Parser, Result, words};
use crate::error::SqlError;
use crate::ir::{Expr, Literal, NullOrdering, SortDirection, SortOrder};
use crate::lexer::TokenKind;
use crate::span::Span;

/// How tightly the binary operators of value expressions bind.
const COMPARISON: u8 = 1;
const BIT_OR: u8 = 2;
const BIT_XOR: u8 = 3;
const BIT_AND: u8 = 4;
const SHIFT: u8 = 5;
const SUM: u8 = 6;
const PRODUCT: u8 = 7;

impl Parser<'_> {
    /// Any expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.nested(Self::or_expr)
    }

    /// `expr [AS] name`, `expr AS (a, b)`
    pub(crate) fn named_expr(&mut self) -> Result<Expr> {
        let expr = self.expr()?;
        if self.at_word("AS") || self.at_symbol("(") || self.at_alias() { self.aliased(expr) } else { Ok(expr) }
    }

    /// An alias behind `expr`, if there is one.
    pub(super) fn aliased(&mut self, expr: Expr) -> Result<Expr> {
        let has_as = self.take_word("AS");
        let names = if self.at_symbol("(") && (has_as || self.at_name_list()) {
            self.ident_list()?
        } else if has_as || self.at_alias() {
            vec![self.plain_ident()?]
        } else {
            return Ok(expr);
        };
        let span = self.span_from(expr.span());
        Ok(Expr::Alias { expr: Box::new(expr), names, metadata: None, span })
    }

    pub(crate) fn named_exprs(&mut self) -> Result<Vec<Expr>> {
        self.comma_list(Self::named_expr)
    }

    pub(super) fn exprs(&mut self) -> Result<Vec<Expr>> {
        self.comma_list(Self::expr)
    }

    /// Whether the next name can be an alias without `AS`.
    fn at_alias(&self) -> bool {
        self.at_name() && !words::ends_item(&self.peek(), &self.peek_nth(1))
    }

    /// Whether a list of nothing but names is next: `explode(m) (k, v)`.
    fn at_name_list(&self) -> bool {
        let mut n = 1;
        loop {
            if !matches!(self.peek_nth(n).kind, TokenKind::Word | TokenKind::Quoted) {
                return false;
            }
            if self.nth_is_symbol(n + 1, ")") {
                return true;
            }
            if !self.nth_is_symbol(n + 1, ",") {
                return false;
            }
            n += 2;
        }
    }

    /// `expr [ASC | DESC] [NULLS FIRST | LAST]`
    pub(super) fn sort_item(&mut self) -> Result<SortOrder> {
        let expr = self.expr()?;
        let mut order = if self.take_word("DESC") { expr.desc() } else { expr.asc() };
        if order.direction == SortDirection::Ascending {
            self.take_word("ASC");
        }
        if self.take_word("NULLS") {
            order.nulls = if self.take_word("FIRST") {
                NullOrdering::First
            } else if self.take_word("LAST") {
                NullOrdering::Last
            } else {
                return Err(self.unexpected_word(&["FIRST", "LAST"]));
            };
        }
        Ok(order)
    }

    fn or_expr(&mut self) -> Result<Expr> {
        let first = self.and_expr()?;
        if self.at_word("OR") { self.chain("or", first, Self::and_expr) } else { Ok(first) }
    }

    fn and_expr(&mut self) -> Result<Expr> {
        let first = self.not_expr()?;
        if self.at_word("AND") { self.chain("and", first, Self::not_expr) } else { Ok(first) }
    }

    fn chain(&mut self, name: &str, first: Expr, term: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let mut terms = vec![first];
        while self.take_word(name) {
            terms.push(self.beside(term)?);
        }
        self.balanced(name, terms)
    }

    /// A chain of `AND` or `OR` as a tree of little height, in Spark's shape: generated conditions
    /// have thousands of terms.
    fn balanced(&mut self, name: &str, terms: Vec<Expr>) -> Result<Expr> {
        let n = terms.len();
        if n > 1 {
            self.height += n.ilog2();
            self.grow()?;
        }
        balance(name, n, &mut terms.into_iter()).ok_or_else(|| self.unexpected("an expression"))
    }

    fn not_expr(&mut self) -> Result<Expr> {
        let token = self.peek();
        if token.is_word("NOT") && !self.not_is_a_name() || token.is_symbol("!") {
            return self.negation();
        }
        let value = self.value_expr()?;
        if self.at_predicate() { self.predicate(value) } else { Ok(value) }
    }

    /// `NOT NOT a`: the marks are counted, not nested.
    fn negation(&mut self) -> Result<Expr> {
        let mut marks = vec![];
        while self.at_symbol("!") || self.at_word("NOT") && !self.not_is_a_name() {
            marks.push(self.next().span);
            self.grow()?;
        }
        let mut expr = self.not_expr()?;
        for mark in marks.into_iter().rev() {
            expr = Expr::call_at("not", vec![expr], self.span_from(mark));
        }
        Ok(expr)
    }

    fn at_predicate(&self) -> bool {
        self.at_any_word(&["IS", "NOT", "BETWEEN", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP"]) || self.at_symbol("!")
    }

    /// `not(x)` is the operator all the same; `not.a` and a lone `not` are names.
    fn not_is_a_name(&self) -> bool {
        let next = self.peek_nth(1);
        next.is_symbol(".") || next.is_symbol(",") || next.is_symbol(")") || next.kind == TokenKind::End
    }

    /// The one predicate that may stand behind a value.
    fn predicate(&mut self, value: Expr) -> Result<Expr> {
        let start = value.span();
        if self.take_word("IS") {
            return self.is_predicate(value, start);
        }
        let bang = self.at_symbol("!");
        let negated = bang || self.at_word("NOT");
        let word = self.peek_nth(usize::from(negated));
        if !word.is_any_word(&["BETWEEN", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP"]) {
            return Ok(value);
        }
        if bang {
            return Err(SqlError::syntax(format!("'!' stands only in front of a condition, write NOT {}", word.text), self.peek().span));
        }
        self.skip(1 + usize::from(negated));
        self.grow()?;
        if word.is_any_word(&["LIKE", "ILIKE"]) && self.at_any_word(&["ANY", "SOME", "ALL"]) && self.nth_is_symbol(1, "(") {
            return self.like_any(value, word.is_word("ILIKE"), negated);
        }
        let expr = if word.is_word("IN") {
            self.in_predicate(value, start)
        } else if word.is_word("BETWEEN") {
            self.between(value, start)
        } else {
            self.pattern(word.text, value, start)
        };
        if negated { expr.map(Expr::negate) } else { expr }
    }

    fn between(&mut self, value: Expr, start: Span) -> Result<Expr> {
        let low = self.value_expr()?;
        self.expect_word("AND")?;
        let high = self.value_expr()?;
        Ok(Expr::call_at("between", vec![value, low, high], self.span_from(start)))
    }

    /// What follows `LIKE`, `ILIKE`, `RLIKE` or `REGEXP`.
    fn pattern(&mut self, word: &str, value: Expr, start: Span) -> Result<Expr> {
        let mut args = vec![value, self.value_expr()?];
        let is_regex = ["RLIKE", "REGEXP"].iter().any(|w| word.eq_ignore_ascii_case(w));
        if !is_regex && self.take_word("ESCAPE") {
            let at = self.peek().span;
            let escape = self.string()?;
            if escape.chars().count() != 1 {
                return Err(SqlError::syntax("an escape must be one character", at));
            }
            args.push(Expr::Literal { value: escape.into(), span: at });
        }
        let name = if is_regex { "rlike".to_owned() } else { word.to_lowercase() };
        Ok(Expr::call_at(name, args, self.span_from(start)))
    }

    /// `LIKE ANY (a, b)` and its kin, from the quantifier on. As in Spark, literal patterns make one
    /// call and others a chain of comparisons; `ILIKE` compares lower case in the call.
    fn like_any(&mut self, value: Expr, ignore_case: bool, negated: bool) -> Result<Expr> {
        let start = value.span();
        let is_all = self.next().is_word("ALL");
        if self.nth_is_symbol(1, ")") {
            return Err(SqlError::syntax("expected a pattern between '(' and ')'", self.peek().span));
        }
        let mut patterns = self.paren_list(Self::expr)?;
        let span = self.span_from(start);
        if patterns.iter().all(|p| matches!(p, Expr::Literal { value: Literal::String(_), .. })) {
            let (not, quantifier) = (if negated { "not" } else { "" }, if is_all { "all" } else { "any" });
            let mut left = value;
            if ignore_case {
                patterns = patterns.into_iter().map(lower_literal).collect();
                left = Expr::call_at("lower", vec![left], start);
            }
            let args = std::iter::once(left).chain(patterns).collect();
            return Ok(Expr::call_at(format!("{not}like{quantifier}"), args, span));
        }
        let like = |pattern: Expr| {
            let like = Expr::call_at(if ignore_case { "ilike" } else { "like" }, vec![value.clone(), pattern], span);
            if negated { like.negate() } else { like }
        };
        self.height += u32::try_from(patterns.len()).unwrap_or(u32::MAX);
        self.check_height()?;
        let terms = patterns.into_iter().map(like);
        let chain = terms.reduce(|left, right| Expr::call_at(if is_all { "and" } else { "or" }, vec![left, right], span));
        chain.ok_or_else(|| self.unexpected("a pattern"))
    }

    fn is_predicate(&mut self, value: Expr, start: Span) -> Result<Expr> {
        let negated = self.take_word("NOT");
        self.grow()?;
        let word = self.next();
        let truth = |value: Expr, truth: bool, span| {
            Expr::call_at("<=>", vec![value, Expr::Literal { value: truth.into(), span: word.span }], span)
        };
        if word.is_any_word(&["NULL", "UNKNOWN"]) {
            let span = self.span_from(start);
            let name = match (word.is_word("NULL"), negated) {
                (true, false) => "isnull",
                (true, true) => "isnotnull",
                (false, false) => "isunknown",
                (false, true) => "isnotunknown",
            };
            return Ok(Expr::call_at(name, vec![value], span));
        }
        let expr = if word.is_word("TRUE") {
            truth(value, true, self.span_from(start))
        } else if word.is_word("FALSE") {
            truth(value, false, self.span_from(start))
        } else if word.is_word("DISTINCT") {
            self.expect_word("FROM")?;
            let right = self.value_expr()?;
            let same = Expr::call_at("<=>", vec![value, right], self.span_from(start));
            return Ok(if negated { same } else { same.negate() });
        } else {
            self.pos -= usize::from(word.kind != TokenKind::End);
            return Err(self.unexpected_word(&["NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT"]));
        };
        Ok(if negated { expr.negate() } else { expr })
    }

    fn in_predicate(&mut self, value: Expr, start: Span) -> Result<Expr> {
        if !self.at_symbol("(") {
            return Err(self.unexpected("'('"));
        }
        if self.at_paren_query() {
            self.next();
            let plan = Box::new(self.query()?);
            self.expect_symbol(")")?;
            let values = self.row_values(value);
            return Ok(Expr::InSubquery { values, plan, span: self.span_from(start) });
        }
        let mut args = vec![value];
        args.extend(self.paren_list(Self::expr)?);
        Ok(Expr::call_at("in", args, self.span_from(start)))
    }

    /// A value expression: operands and operators wait on a stack until a looser operator comes.
    pub(super) fn value_expr(&mut self) -> Result<Expr> {
        let first = self.unary()?;
        if self.binary_operator().is_some() { self.operators(first) } else { Ok(first) }
    }

    fn operators(&mut self, first: Expr) -> Result<Expr> {
        // What `first` is taller than the text before it, nobody knows; so it counts whole.
        let mut operands = vec![Operand { expr: first, height: self.height }];
        let mut waiting: Vec<(&'static str, u8)> = vec![];
        while let Some((name, binding, tokens)) = self.binary_operator() {
            self.skip(tokens);
            while let Some((waiting_name, _)) = waiting.pop_if(|(_, w)| *w >= binding) {
                self.height = reduce(&mut operands, waiting_name);
                self.check_height()?;
            }
            waiting.push((name, binding));
            self.height = 0;
            let expr = self.unary()?;
            operands.push(Operand { expr, height: self.height });
        }
        while let Some((name, _)) = waiting.pop() {
            self.height = reduce(&mut operands, name);
            self.check_height()?;
        }
        operands.pop().map(|operand| operand.expr).ok_or_else(|| self.unexpected("an expression"))
    }

    /// Name, binding and number of tokens of the operator at hand.
    fn binary_operator(&self) -> Option<(&'static str, u8, usize)> {
        let token = self.peek();
        if token.kind == TokenKind::Word {
            return token.is_word("DIV").then_some(("div", PRODUCT, 1));
        }
        if token.kind != TokenKind::Symbol {
            return None;
        }
        let found = match token.text {
            "*" => ("*", PRODUCT),
            "/" => ("/", PRODUCT),
            "%" => ("%", PRODUCT),
            "+" => ("+", SUM),
            "-" => ("-", SUM),
            "||" => ("||", SUM),
            "<<" => ("<<", SHIFT),
            "&" => ("&", BIT_AND),
            "^" => ("^", BIT_XOR),
            "|" => ("|", BIT_OR),
            "=" | "==" => ("==", COMPARISON),
            "<>" | "!=" => ("!=", COMPARISON),
            "<=>" => ("<=>", COMPARISON),
            "<" => ("<", COMPARISON),
            "<=" | "!>" => ("<=", COMPARISON),
            ">=" | "!<" => (">=", COMPARISON),
            ">" => return Some(self.greater_or_shift()),
            _ => return None,
        };
        Some((found.0, found.1, 1))
    }

    /// `>`, `>>` or `>>>`: the lexer gives single marks, because they may close types.
    fn greater_or_shift(&self) -> (&'static str, u8, usize) {
        let touching = |n: usize| {
            let token = self.peek_nth(n);
            token.is_symbol(">") && token.span.offset == self.peek_nth(n - 1).span.end()
        };
        match (touching(1), touching(1) && touching(2)) {
            (_, true) => (">>>", SHIFT, 3),
            (true, _) => (">>", SHIFT, 2),
            _ => (">", COMPARISON, 1),
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        if self.at_sign() { self.signed() } else { self.primary() }
    }

    /// Whether a sign is next that is not part of a number.
    fn at_sign(&self) -> bool {
        let token = self.peek();
        ["-", "+", "~"].iter().any(|s| token.is_symbol(s)) && !(token.is_symbol("-") && self.peek_nth(1).is_number())
    }

    /// `- - ~a`: the signs are counted, not nested.
    fn signed(&mut self) -> Result<Expr> {
        let mut signs = vec![];
        while self.at_sign() {
            signs.push(self.next());
            self.grow()?;
        }
        let mut expr = self.primary()?;
        for sign in signs.into_iter().rev() {
            expr = Expr::call_at(sign.text, vec![expr], self.span_from(sign.span));
        }
        Ok(expr)
    }
}

/// The next `n` terms as one tree: the left half, one longer when odd, and the right half.
fn balance(name: &str, n: usize, terms: &mut impl Iterator<Item = Expr>) -> Option<Expr> {
    if n <= 1 {
        return terms.next();
    }
    let left_n = n.div_ceil(2);
    let left = balance(name, left_n, terms)?;
    let right = balance(name, n - left_n, terms)?;
    Some(binary(name, left, right))
}

fn lower_literal(pattern: Expr) -> Expr {
    match pattern {
        Expr::Literal { value: Literal::String(text), span } => Expr::Literal { value: text.to_lowercase().into(), span },
        other => other,
    }
}

/// An operand of value operators, and how high it is.
struct Operand {
    expr: Expr,
    height: u32,
}

/// Puts the two last operands under their operator. Gives the height of the result.
fn reduce(operands: &mut Vec<Operand>, name: &str) -> u32 {
    let Some(right) = operands.pop() else { return 0 };
    let Some(left) = operands.pop() else { return 0 };
    let (expr, height) = match (name, left.expr) {
        ("!=", expr) => (binary("==", expr, right.expr).negate(), left.height.max(right.height) + 2),
        // `a + b + c` is one call, which means the same from the left: generated sums have thousands of terms.
        ("+" | "*" | "||", Expr::UnresolvedFunction(mut call)) if call.name == name && call.args.len() > 1 => {
            call.span = call.span.to(right.expr.span());
            call.args.push(right.expr);
            (Expr::UnresolvedFunction(call), left.height.max(right.height + 1))
        }
        (name, expr) => (binary(name, expr, right.expr), left.height.max(right.height) + 1),
    };
    operands.push(Operand { expr, height });
    height
}

fn binary(name: &str, left: Expr, right: Expr) -> Expr {
    let span = left.span().to(right.span());
    Expr::call_at(name, vec![left, right], span)
}

impl crate::lexer::Token<'_> {
    pub(super) fn is_number(&self) -> bool {
        use TokenKind::{BigDecimal, Byte, Decimal, Double, Exponent, Float, Integer, Long, Short};
        matches!(self.kind, Integer | Decimal | Exponent | Long | Short | Byte | Double | Float | BigDecimal)
    }
}
