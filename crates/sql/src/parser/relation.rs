//! `FROM`: tables, streams, table functions, joins, watermarks, aliases.
//!
//! Spark puts a watermark above the alias of tables and subqueries and below that of table
//! functions; so `e.ts` names the event time of the former only from outside.

use super::deduplicated::is_within_watermark;
use super::{Parser, Result, Streams, words};
use crate::error::SqlError;
use crate::ir::{Expr, Ident, JoinCondition, JoinKind, ObjectName, Plan, Properties, Read, ReadSource};
use crate::lexer::{Token, TokenKind};
use crate::span::Span;

/// A table by name.
pub(super) fn read_table(name: ObjectName, is_streaming: bool, options: Properties) -> Plan {
    let span = name.span;
    Plan::Read(Read { source: ReadSource::Table(name), is_streaming, options, schema: None, span })
}

/// The alias Spark gives a subquery without one: it hides the names inside.
const UNNAMED_SUBQUERY: &str = "__auto_generated_subquery_name";

impl Parser<'_> {
    /// `FROM relation, relation ... [LATERAL VIEW ...] [PIVOT ...]`
    pub(super) fn relations(&mut self) -> Result<Plan> {
        self.expect_word("FROM")?;
        let mut plan = self.relation_or_lateral(None)?;
        while self.at_symbol(",") {
            self.next();
            plan = self.relation_or_lateral(Some(plan))?;
            self.grow()?;
        }
        while self.at_words(&["LATERAL", "VIEW"]) {
            plan = self.lateral_view(plan)?;
            self.grow()?;
        }
        self.pivots(plan)
    }

    /// One element of the list; a second one is a cross join, with `LATERAL` one that sees the first.
    pub(super) fn relation_or_lateral(&mut self, left: Option<Plan>) -> Result<Plan> {
        let start = self.peek().span;
        let lateral = self.take_lateral()?;
        let right = self.relation_primary()?;
        let Some(left) = left else {
            if lateral {
                let lateral = Plan::Join {
                    left: Box::new(Plan::OneRow),
                    right: Box::new(right),
                    kind: JoinKind::Cross,
                    condition: JoinCondition::None,
                    lateral,
                    span: self.span_from(start),
                };
                return self.joins(lateral);
            }
            return self.joins(right);
        };
        if lateral {
            let joined = Plan::Join {
                left: Box::new(left),
                right: Box::new(right),
                kind: JoinKind::Cross,
                condition: JoinCondition::None,
                lateral,
                span: self.span_from(start),
            };
            return self.joins(joined);
        }
        let right = self.joins(right)?;
        Ok(Plan::Join {
            left: Box::new(left),
            right: Box::new(right),
            kind: JoinKind::Cross,
            condition: JoinCondition::None,
            lateral: false,
            span: self.span_from(start),
        })
    }

    /// Takes `LATERAL`; behind it only a subquery or a table function can use what stands before.
    fn take_lateral(&mut self) -> Result<bool> {
        let next = self.peek_nth(1);
        let begins = matches!(next.kind, TokenKind::Word | TokenKind::Quoted) || next.is_symbol("(");
        if !self.at_word("LATERAL") || !begins || next.is_word("VIEW") {
            return Ok(false);
        }
        self.next();
        let mut behind_name = self.pos + 1;
        while self.token_at(behind_name).is_symbol(".") {
            behind_name += 2;
        }
        let fits = self.at_paren_query() || self.at_name() && self.token_at(behind_name).is_symbol("(");
        if fits { Ok(true) } else { Err(self.unexpected("a subquery or a table function behind LATERAL")) }
    }

    /// The joins and pivots behind a relation.
    pub(super) fn joins(&mut self, mut left: Plan) -> Result<Plan> {
        loop {
            if self.at_pivot() {
                left = self.pivots(left)?;
                continue;
            }
            let start = self.peek().span;
            let Some((natural, kind)) = self.join_words()? else { return Ok(left) };
            self.grow()?;
            let lateral = self.take_lateral()?;
            let right = self.relation_primary()?;
            let condition = if natural {
                JoinCondition::Natural
            } else if self.take_word("ON") {
                JoinCondition::On(self.expr()?)
            } else if self.take_word("USING") {
                JoinCondition::Using(self.ident_list()?)
            } else {
                JoinCondition::None
            };
            if lateral && !matches!(kind, JoinKind::Inner | JoinKind::Cross | JoinKind::LeftOuter) {
                return Err(SqlError::syntax("a LATERAL join can only be INNER, CROSS or LEFT OUTER", start));
            }
            if lateral && matches!(condition, JoinCondition::Using(_) | JoinCondition::Natural) {
                return Err(SqlError::unsupported("a LATERAL join with USING or NATURAL", start));
            }
            left = Plan::Join { left: Box::new(left), right: Box::new(right), kind, condition, lateral, span: self.span_from(start) };
        }
    }

    /// `[NATURAL] [kind] JOIN`: whether natural, and the kind; none when no join is next.
    fn join_words(&mut self) -> Result<Option<(bool, JoinKind)>> {
        let natural = self.at_word("NATURAL");
        let n = usize::from(natural);
        let word = |i: usize| self.peek_nth(n + i);
        let outer = |i: usize| usize::from(word(i).is_word("OUTER"));
        let (kind, len) = if word(0).is_word("JOIN") {
            (JoinKind::Inner, 0)
        } else if word(0).is_word("INNER") {
            (JoinKind::Inner, 1)
        } else if word(0).is_word("CROSS") {
            (JoinKind::Cross, 1)
        } else if word(0).is_word("SEMI") {
            (JoinKind::LeftSemi, 1)
        } else if word(0).is_word("ANTI") {
            (JoinKind::LeftAnti, 1)
        } else if word(0).is_word("LEFT") && word(1).is_word("SEMI") {
            (JoinKind::LeftSemi, 2)
        } else if word(0).is_word("LEFT") && word(1).is_word("ANTI") {
            (JoinKind::LeftAnti, 2)
        } else if word(0).is_word("LEFT") {
            (JoinKind::LeftOuter, 1 + outer(1))
        } else if word(0).is_word("RIGHT") {
            (JoinKind::RightOuter, 1 + outer(1))
        } else if word(0).is_word("FULL") {
            (JoinKind::FullOuter, 1 + outer(1))
        } else if natural {
            self.next();
            return Err(self.unexpected_word(&["JOIN"]));
        } else {
            return Ok(None);
        };
        self.skip(n + len);
        self.expect_word("JOIN")?;
        Ok(Some((natural, kind)))
    }

    /// One relation with its sample, watermark and alias.
    fn relation_primary(&mut self) -> Result<Plan> {
        if self.at_symbol("(") {
            let is_query = self.at_paren_query();
            self.next();
            let plan = self.nested(|p| if is_query { p.query() } else { p.relation_or_lateral(None) })?;
            self.expect_symbol(")")?;
            return self.decorated(plan, Some(if is_query { Inside::Query } else { Inside::Relation }));
        }
        self.named_relation()
    }

    /// A table, a stream or a table function.
    fn named_relation(&mut self) -> Result<Plan> {
        let next = self.peek_nth(1);
        if self.at_word("VALUES") && (next.is_symbol("(") || next.is_number() || next.kind == TokenKind::String) {
            return self.inline_table();
        }
        if self.at_word("STREAM") && self.stream_follows(&next) {
            return self.stream();
        }
        let token = self.peek();
        if token.is_any_word(words::NO_TABLE_ALIAS) || words::starts_clause(&token, &next) {
            return Err(self.unexpected("a table, a subquery or a table function"));
        }
        let start = token.span;
        let name = self.object_name()?;
        if self.at_symbol("(") {
            return self.table_function(name, start);
        }
        self.refuse_time_travel()?;
        let options = self.with_options()?;
        self.decorated(read_table(name, false, options), None)
    }

    /// Whether `STREAM` begins a streaming read here, or is the name of a table.
    fn stream_follows(&self, next: &Token<'_>) -> bool {
        match next.kind {
            TokenKind::Quoted => true,
            TokenKind::Symbol => next.is_symbol("("),
            TokenKind::Word => {
                let ends = next.is_any_word(words::NO_TABLE_ALIAS) || words::ends_item(next, &self.peek_nth(2));
                !(ends || next.is_word("AS") || next.is_word("WITH") && self.nth_is_symbol(2, "("))
            }
            _ => false,
        }
    }

    /// `STREAM t`, `STREAM(t)`, `STREAM f(...)`, `STREAM(f(...))`
    fn stream(&mut self) -> Result<Plan> {
        let start = self.next().span;
        let parenthesized = self.take_symbol("(");
        let name = self.object_name()?;
        if self.at_symbol("(") {
            self.refuse_stream_of_deduplicated(&name)?;
            let read = self.function_read(name, self.streams == Streams::Live, start)?;
            if parenthesized {
                self.expect_symbol(")")?;
            }
            let read = self.stream_name(read)?;
            return self.function_decorated(read);
        }
        if parenthesized {
            self.expect_symbol(")")?;
        }
        let options = self.with_options()?;
        let span = self.span_from(start);
        let is_streaming = self.streams == Streams::Live;
        let read = Plan::Read(Read { source: ReadSource::Table(name), is_streaming, options, schema: None, span });
        let read = self.stream_name(read)?;
        self.decorated(read, None)
    }

    /// `IDENTIFIED BY name` behind a streaming read.
    fn stream_name(&mut self, read: Plan) -> Result<Plan> {
        let start = self.peek().span;
        if !self.take_words(&["IDENTIFIED", "BY"]) {
            return Ok(read);
        }
        let name = self.plain_ident()?;
        Ok(Plan::NamedStream { input: Box::new(read), name, span: self.span_from(start) })
    }

    fn table_function(&mut self, name: ObjectName, start: Span) -> Result<Plan> {
        let plan = match is_within_watermark(&name) {
            Some(within_watermark) => self.deduplicated(within_watermark, start)?,
            None => self.function_read(name, false, start)?,
        };
        self.function_decorated(plan)
    }

    /// `f(args)`
    fn function_read(&mut self, name: ObjectName, is_streaming: bool, start: Span) -> Result<Plan> {
        self.expect_symbol("(")?;
        let args = if self.at_symbol(")") { vec![] } else { self.comma_list(Self::argument)? };
        self.expect_symbol(")")?;
        let span = self.span_from(start);
        Ok(Plan::Read(Read { source: ReadSource::Function { name, args }, is_streaming, options: vec![], schema: None, span }))
    }

    /// A table function's watermark stands below its alias.
    fn function_decorated(&mut self, plan: Plan) -> Result<Plan> {
        let plan = self.watermark(plan)?;
        self.table_alias(plan)
    }

    /// Sample, watermark and alias of a table or subquery: written in this order, nested alias first.
    fn decorated(&mut self, plan: Plan, in_parens: Option<Inside>) -> Result<Plan> {
        let sample = self.sample()?;
        let watermark = self.watermark_clause()?;
        let before = self.pos;
        // The sample of a table stands above its alias, that of a parenthesis below.
        let around = |plan: Plan, sample| match sample {
            Some((size, seed, span)) => Plan::Sample { input: Box::new(plan), size, seed, span },
            None => plan,
        };
        let (below, above) = if in_parens.is_some() { (sample, None) } else { (None, sample) };
        let mut plan = self.table_alias(around(plan, below))?;
        if in_parens == Some(Inside::Query) && self.pos == before {
            plan = plan.alias(UNNAMED_SUBQUERY);
        }
        plan = around(plan, above);
        Ok(match watermark {
            Some(watermark) => watermark.around(plan),
            None => plan,
        })
    }

    /// `[AS] name [(columns)]`
    pub(super) fn table_alias(&mut self, input: Plan) -> Result<Plan> {
        let start = self.peek().span;
        let has_as = self.take_word("AS");
        let token = self.peek();
        if !has_as && (!self.at_name() || token.is_any_word(words::NO_TABLE_ALIAS) || words::ends_item(&token, &self.peek_nth(1))) {
            return Ok(input);
        }
        if token.is_any_word(words::NO_TABLE_ALIAS) {
            return Err(self.unexpected("an alias"));
        }
        let alias = self.plain_ident()?;
        let columns = if self.at_symbol("(") { self.ident_list()? } else { vec![] };
        Ok(Plan::SubqueryAlias { input: Box::new(input), alias, columns, span: self.span_from(start) })
    }

    fn watermark(&mut self, plan: Plan) -> Result<Plan> {
        Ok(match self.watermark_clause()? {
            Some(watermark) => watermark.around(plan),
            None => plan,
        })
    }

    /// `WATERMARK expr [AS name] DELAY OF INTERVAL ...`
    fn watermark_clause(&mut self) -> Result<Option<Watermark>> {
        let next = self.peek_nth(1);
        let is_clause = self.at_word("WATERMARK")
            && matches!(next.kind, TokenKind::Word | TokenKind::Quoted)
            && !next.is_any_word(words::NO_TABLE_ALIAS)
            && !words::ends_item(&next, &self.peek_nth(2))
            && !next.is_word("AS");
        if !is_clause {
            return Ok(None);
        }
        let start = self.next().span;
        let event_time = self.expr()?;
        let named = self.take_word("AS") || self.at_name() && !self.at_word("DELAY");
        let name = if named { Some(self.plain_ident()?) } else { None };
        self.expect_words(&["DELAY", "OF"])?;
        let at = self.peek().span;
        let delay = self.interval_length()?;
        if delay.is_negative() {
            return Err(SqlError::invalid("the delay of a watermark cannot be negative", self.span_from(at)));
        }
        Ok(Some(Watermark { event_time, name, delay, span: self.span_from(start) }))
    }

    /// `WITH ('key' = 'value')` behind a table.
    pub(super) fn with_options(&mut self) -> Result<Properties> {
        if self.at_word("WITH") && self.nth_is_symbol(1, "(") {
            self.next();
            return self.properties();
        }
        Ok(vec![])
    }

    fn refuse_time_travel(&self) -> Result<()> {
        let n = usize::from(self.at_word("FOR"));
        let word = self.peek_nth(n);
        let travels = word.is_any_word(&["VERSION", "SYSTEM_VERSION", "TIMESTAMP", "SYSTEM_TIME"]);
        if travels && self.peek_nth(n + 1).is_word("AS") && self.peek_nth(n + 2).is_word("OF") {
            return Err(self.unsupported("time travel (VERSION AS OF, TIMESTAMP AS OF)"));
        }
        Ok(())
    }
}

/// What a parenthesis of `FROM` holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Query,
    Relation,
}

/// A parsed watermark clause.
struct Watermark {
    event_time: Expr,
    name: Option<Ident>,
    delay: crate::ir::CalendarInterval,
    span: Span,
}

impl Watermark {
    fn around(self, input: Plan) -> Plan {
        Plan::WithWatermark { input: Box::new(input), event_time: self.event_time, name: self.name, delay: self.delay, span: self.span }
    }
}
