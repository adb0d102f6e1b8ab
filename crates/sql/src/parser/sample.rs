//! `TABLESAMPLE (...)` behind a relation.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{Plan, SampleSize};
use crate::span::Span;

/// Spark's error class of samples that are no part of the whole.
const BAD_FRACTION: &str = "INVALID_TABLESAMPLE_FRACTION";

impl Parser<'_> {
    pub(super) fn sample(&mut self) -> Result<Option<(SampleSize, Option<i64>, Span)>> {
        if !(self.at_word("TABLESAMPLE") && self.nth_is_symbol(1, "(")) {
            return Ok(None);
        }
        let start = self.next().span;
        self.expect_symbol("(")?;
        let token = self.peek();
        let size = if self.at_word("BUCKET") && self.peek_nth(1).is_number() {
            self.bucket()?
        } else if token.is_number() && self.peek_nth(1).is_word("PERCENT") {
            self.skip(2);
            let percent: f64 = token.text.parse().map_err(|_| SqlError::invalid("the percentage is not a number", token.span))?;
            if !(0.0..=100.0).contains(&percent) {
                let message = format!("the percentage {percent} is not between 0 and 100");
                return Err(SqlError::invalid(message, token.span).with_class(BAD_FRACTION));
            }
            SampleSize::Fraction { lower: 0.0, upper: percent / 100.0, with_replacement: false }
        } else {
            let rows = self.expr()?;
            if !self.take_word("ROWS") {
                return Err(self.unexpected_word(&["PERCENT", "ROWS"]));
            }
            SampleSize::Rows(rows)
        };
        self.expect_symbol(")")?;
        let seed = if self.take_word("REPEATABLE") {
            self.expect_symbol("(")?;
            let token = self.peek();
            let seed = token.text.parse().map_err(|_| self.unexpected("a whole number"))?;
            self.next();
            self.expect_symbol(")")?;
            Some(seed)
        } else {
            None
        };
        Ok(Some((size, seed, self.span_from(start))))
    }

    /// `BUCKET 1 OUT OF 4` takes a quarter of the rows.
    fn bucket(&mut self) -> Result<SampleSize> {
        let start = self.next().span;
        let number =
            |p: &mut Self| p.next().text.parse::<f64>().map_err(|_| SqlError::syntax("a bucket is a whole number", p.previous_span()));
        let numerator = number(self)?;
        self.expect_words(&["OUT", "OF"])?;
        let denominator = number(self)?;
        if self.at_word("ON") {
            return Err(self.unsupported("TABLESAMPLE (BUCKET ... ON ...)"));
        }
        if denominator < 1.0 || numerator > denominator {
            return Err(SqlError::invalid("the bucket is not one of the buckets", self.span_from(start)).with_class(BAD_FRACTION));
        }
        Ok(SampleSize::Fraction { lower: 0.0, upper: numerator / denominator, with_replacement: false })
    }

    /// `TABLESAMPLE (...)` around `plan`.
    pub(super) fn sampled(&mut self, plan: Plan) -> Result<Plan> {
        Ok(match self.sample()? {
            Some((size, seed, span)) => Plan::Sample { input: Box::new(plan), size, seed, span },
            None => plan,
        })
    }
}
