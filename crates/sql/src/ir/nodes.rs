//! What every node can tell of itself: where it was written, and what it is called.

use super::expr::Expr;
use super::plan::Plan;
use crate::span::Span;

impl Plan {
    /// Where the relation was written; [`Span::NONE`] when it was not.
    pub fn span(&self) -> Span {
        match self {
            Plan::Read(read) => read.span,
            Plan::Local(_) | Plan::OneRow | Plan::Range { .. } => Span::NONE,
            Plan::NamedStream { span, .. }
            | Plan::Values { span, .. }
            | Plan::SubqueryAlias { span, .. }
            | Plan::Project { span, .. }
            | Plan::Filter { span, .. }
            | Plan::Aggregate { span, .. }
            | Plan::Having { span, .. }
            | Plan::Qualify { span, .. }
            | Plan::Join { span, .. }
            | Plan::UnionAll { span, .. }
            | Plan::SetOp { span, .. }
            | Plan::Sort { span, .. }
            | Plan::Repartition { span, .. }
            | Plan::Limit { span, .. }
            | Plan::Offset { span, .. }
            | Plan::Deduplicate { span, .. }
            | Plan::GroupsWithState { span, .. }
            | Plan::WithColumns { span, .. }
            | Plan::WithColumnsRenamed { span, .. }
            | Plan::Drop { span, .. }
            | Plan::ToDF { span, .. }
            | Plan::WithWatermark { span, .. }
            | Plan::Generate { span, .. }
            | Plan::With { span, .. }
            | Plan::Hint { span, .. }
            | Plan::Sample { span, .. }
            | Plan::WindowDefinitions { span, .. }
            | Plan::Pivot { span, .. }
            | Plan::Unpivot { span, .. } => *span,
        }
    }
    /// What SQL or the DataFrame API call it, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Plan::Read(_) => "a read",
            Plan::NamedStream { .. } => "IDENTIFIED BY",
            Plan::Local(_) => "local rows",
            Plan::OneRow => "a row without columns",
            Plan::Values { .. } => "VALUES",
            Plan::Range { .. } => "range()",
            Plan::SubqueryAlias { .. } => "an alias of a relation",
            Plan::Project { .. } => "SELECT",
            Plan::Filter { .. } => "WHERE",
            Plan::Aggregate { .. } => "GROUP BY",
            Plan::Having { .. } => "HAVING",
            Plan::Qualify { .. } => "QUALIFY",
            Plan::Join { .. } => "JOIN",
            Plan::UnionAll { .. } => "UNION ALL",
            Plan::SetOp { .. } => "a set operation",
            Plan::Sort { .. } => "ORDER BY",
            Plan::Repartition { .. } => "DISTRIBUTE BY",
            Plan::Limit { .. } => "LIMIT",
            Plan::Offset { .. } => "OFFSET",
            Plan::Deduplicate { .. } => "DISTINCT",
            Plan::GroupsWithState { .. } => "flatMapGroupsWithState",
            Plan::WithColumns { .. } => "withColumns",
            Plan::WithColumnsRenamed { .. } => "withColumnsRenamed",
            Plan::Drop { .. } => "drop",
            Plan::ToDF { .. } => "toDF",
            Plan::WithWatermark { .. } => "WATERMARK",
            Plan::Generate { .. } => "LATERAL VIEW",
            Plan::With { .. } => "WITH",
            Plan::Hint { .. } => "a hint",
            Plan::Sample { .. } => "TABLESAMPLE",
            Plan::WindowDefinitions { .. } => "WINDOW",
            Plan::Pivot { .. } => "PIVOT",
            Plan::Unpivot { .. } => "UNPIVOT",
        }
    }
}

impl Expr {
    /// Where the expression was written; [`Span::NONE`] when it was not.
    pub fn span(&self) -> Span {
        match self {
            Expr::Literal { span, .. }
            | Expr::TypedLiteral { span, .. }
            | Expr::UnresolvedAttribute { span, .. }
            | Expr::UnresolvedStar { span, .. }
            | Expr::Alias { span, .. }
            | Expr::Cast { span, .. }
            | Expr::UnresolvedExtractValue { span, .. }
            | Expr::UpdateFields { span, .. }
            | Expr::Lambda { span, .. }
            | Expr::LambdaVariable { span, .. }
            | Expr::Window { span, .. }
            | Expr::ScalarSubquery { span, .. }
            | Expr::Exists { span, .. }
            | Expr::InSubquery { span, .. }
            | Expr::NamedArgument { span, .. }
            | Expr::Parameter { span, .. } => *span,
            Expr::UnresolvedFunction(call) => call.span,
            Expr::SortOrder(order) => order.expr.span(),
        }
    }
    /// What SQL or the DataFrame API call it, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Expr::Literal { .. } => "a literal",
            Expr::TypedLiteral { .. } => "a typed literal",
            Expr::UnresolvedAttribute { .. } => "a column",
            Expr::UnresolvedStar { .. } => "a star",
            Expr::UnresolvedFunction(_) => "a call",
            Expr::Alias { .. } => "an alias",
            Expr::Cast { .. } => "CAST",
            Expr::UnresolvedExtractValue { .. } => "an extraction",
            Expr::UpdateFields { .. } => "withField",
            Expr::Lambda { .. } => "a lambda",
            Expr::LambdaVariable { .. } => "a lambda's argument",
            Expr::Window { .. } => "OVER",
            Expr::SortOrder(_) => "a sort order",
            Expr::ScalarSubquery { .. } => "a scalar subquery",
            Expr::Exists { .. } => "EXISTS",
            Expr::InSubquery { .. } => "IN (SELECT ...)",
            Expr::NamedArgument { .. } => "a named argument",
            Expr::Parameter { .. } => "a parameter",
        }
    }
}
