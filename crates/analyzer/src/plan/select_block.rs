//! A select block taken apart: its list, and the clauses that hang on it, which the IR nests around one another.

use millstream_sql::Span;
use millstream_sql::ir::{Expr, Grouping, Plan};

/// A select block taken apart.
pub(super) struct Block<'p> {
    pub(super) input: &'p Plan,
    pub(super) exprs: &'p [Expr],
    pub(super) grouping: Option<&'p Grouping>,
    pub(super) having: Vec<&'p Expr>,
    pub(super) qualify: Vec<&'p Expr>,
    pub(super) windows: Vec<&'p Plan>,
    pub(super) span: Span,
}

impl Block<'_> {
    /// A list and nothing that hangs on it.
    pub(super) fn of_list(span: Span) -> Self {
        Self { input: &Plan::OneRow, exprs: &[], grouping: None, having: vec![], qualify: vec![], windows: vec![], span }
    }
}

/// The block of a plan; none if there is no list below its clauses.
pub(super) fn take_apart(plan: &Plan) -> Option<Block<'_>> {
    let (mut having, mut qualify, mut windows) = (vec![], vec![], vec![]);
    let mut at = plan;
    loop {
        match at {
            Plan::Having { input, condition, .. } => {
                having.push(condition);
                at = input;
            }
            Plan::Qualify { input, condition, .. } => {
                qualify.push(condition);
                at = input;
            }
            Plan::WindowDefinitions { input, .. } => {
                windows.push(at);
                at = input;
            }
            Plan::Project { input, exprs, span } => {
                return Some(Block { input, exprs, grouping: None, having, qualify, windows, span: *span });
            }
            Plan::Aggregate { input, grouping, aggregates, span } => {
                return Some(Block { input, exprs: aggregates, grouping: Some(grouping), having, qualify, windows, span: *span });
            }
            _ => return None,
        }
    }
}
