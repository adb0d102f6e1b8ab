//! The row facts that expressions of a clause use: a column for each call, made below the clause.
//!
//! Of a grouped list those that no key and no aggregate uses are made above the groups. There a call that is equal to one among
//! the keys means the key: `SELECT rand(1) .. GROUP BY rand(1)`. Calls with a seed are equal by it; one without is equal to
//! itself only, which the list and the keys may both hold (`SELECT rand() AS r .. GROUP BY r`).

use std::collections::HashSet;

use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;

use super::ExprCx;
use crate::resolver::Resolver;
use crate::row_facts::RowFact;
use crate::scope::{column, plan_name};

/// The facts of a clause.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedFacts {
    /// The column of the batch's time.
    batch_time: Option<u64>,
    calls: Vec<Call>,
    /// How many of the calls are those of keys.
    n_of_keys: usize,
}

/// A call whose value hangs on where a row stands.
#[derive(Clone, Debug)]
struct Call {
    id: u64,
    fact: RowFact,
    span: Span,
}

impl UsedFacts {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch_time.is_none() && self.calls.is_empty()
    }

    /// The column of the batch's time, once it is used.
    pub(crate) fn batch_time(&self) -> Option<u64> {
        self.batch_time
    }

    /// The columns that hang on where a row stands.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (u64, RowFact)> + '_ {
        self.calls.iter().map(|call| (call.id, call.fact))
    }

    /// Whether the expression uses one of the columns that hang on where a row stands.
    pub(crate) fn has_call_in(&self, expr: &DfExpr) -> bool {
        expr.column_refs().iter().any(|column| self.calls.iter().any(|call| plan_name(call.id) == column.name))
    }

    /// Those that were used so far are the keys'.
    pub(crate) fn are_of_keys(&mut self) {
        self.n_of_keys = self.calls.len();
    }

    /// Those whose columns are among `names`.
    pub(crate) fn among(&self, names: &HashSet<String>) -> Self {
        let is_named = |id: &u64| names.contains(&plan_name(*id));
        let calls = self.calls.iter().filter(|call| is_named(&call.id)).cloned().collect();
        Self { batch_time: self.batch_time.filter(is_named), calls, n_of_keys: 0 }
    }

    fn of_key(&self, fact: RowFact, span: Span) -> Option<u64> {
        let is_same = |call: &&Call| {
            let is_same_call = call.span == span && std::mem::discriminant(&call.fact) == std::mem::discriminant(&fact);
            call.fact == fact || is_same_call && !call.fact.has_given_seed() && !fact.has_given_seed()
        };
        self.calls.iter().take(self.n_of_keys).find(is_same).map(|call| call.id)
    }
}

impl Resolver<'_> {
    /// The batch's time as a column.
    pub(crate) fn batch_time(&mut self, cx: &mut ExprCx) -> DfExpr {
        column(*cx.facts.batch_time.get_or_insert_with(|| self.next_id()))
    }

    /// A column that hangs on where a row stands; every call has its own, but those that are a key.
    pub(crate) fn row_fact(&mut self, cx: &mut ExprCx, span: Span, make: impl FnOnce(u64) -> RowFact) -> DfExpr {
        let id = self.next_id();
        let fact = make(id);
        if let Some(key) = cx.facts.of_key(fact, span) {
            return column(key);
        }
        cx.facts.calls.push(Call { id, fact, span });
        column(id)
    }
}
