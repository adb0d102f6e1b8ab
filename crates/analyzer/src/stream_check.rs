//! What a streaming query may not do yet, said by name before anything starts.
//!
//! The checks are called where the plan node is built, so that the error knows the place in the text. They know
//! nothing of output modes or sinks.

use datafusion::logical_expr::LogicalPlan;
use millstream_sql::Span;
use millstream_sql::ir::JoinKind;

use crate::error::{AnalysisError, Result};
use crate::scope::Rel;
use crate::streaming::{StatefulAggregateNode, node_of};

/// Refuses `feature` on a stream and says what to use instead.
pub(crate) fn refuse_on_stream(rel: &Rel, feature: &str, instead: &str, span: Span) -> Result<()> {
    if !rel.is_streaming {
        return Ok(());
    }
    Err(AnalysisError::unsupported(format!("{feature} on a stream"), span).hint(instead.to_owned()))
}

/// Refuses sorting a stream that is not aggregated; the mode decides later about one that is.
pub(crate) fn sort(rel: &Rel, span: Span) -> Result<()> {
    if is_aggregated(&rel.plan) {
        return Ok(());
    }
    refuse_on_stream(
        rel,
        "sorting",
        "sort the whole result of an aggregation in complete mode, or sort in the query that reads the stream's output table",
        span,
    )
}

/// Refuses `OFFSET` on a stream.
pub(crate) fn offset(rel: &Rel, span: Span) -> Result<()> {
    refuse_on_stream(rel, "OFFSET", "use it in the query that reads the stream's output table", span)
}

fn is_aggregated(plan: &LogicalPlan) -> bool {
    node_of::<StatefulAggregateNode>(plan).is_some() || plan.inputs().into_iter().any(is_aggregated)
}

/// Refuses window functions on a stream.
pub(crate) fn window_function(rel: &Rel, span: Span) -> Result<()> {
    refuse_on_stream(rel, "a window function", "use window functions in a batch query over the stream's output table", span)
}

/// Refuses a subquery that reads a stream.
pub(crate) fn subquery(rel: &Rel, span: Span) -> Result<()> {
    refuse_on_stream(
        rel,
        "a subquery",
        "join the two instead: a left semi join answers IN and EXISTS, a left anti join their negations",
        span,
    )
}

/// Refuses set operations other than `UNION` with a stream on one side.
pub(crate) fn set_operation(name: &str, left: &Rel, right: &Rel, span: Span) -> Result<()> {
    for side in [left, right] {
        refuse_on_stream(
            side,
            name,
            "of set operations only UNION combines streams; a left semi or left anti join on all columns, and DISTINCT, answer the same",
            span,
        )?;
    }
    Ok(())
}

/// Refuses `UNION` of streams and finished data, as Spark does: each batch would have the finished rows again.
pub(crate) fn union<'a>(name: &str, mut inputs: impl Iterator<Item = &'a Rel>, span: Span) -> Result<()> {
    let is_streaming = inputs.next().is_some_and(|rel| rel.is_streaming);
    if inputs.all(|rel| rel.is_streaming == is_streaming) {
        return Ok(());
    }
    Err(AnalysisError::unsupported(format!("{name} of a stream and finished data"), span)
        .hint("read the finished table as a stream, too (STREAM); or unite it with the stream's output table in a batch query"))
}

/// Refuses outer joins with finished data that would have to wait for the stream's end.
pub(crate) fn join(kind: JoinKind, left: &Rel, right: &Rel, span: Span) -> Result<()> {
    let name = match kind {
        JoinKind::Inner | JoinKind::Cross => "inner join",
        JoinKind::LeftOuter => "left outer join",
        JoinKind::RightOuter => "right outer join",
        JoinKind::FullOuter => "full outer join",
        JoinKind::LeftSemi => "left semi join",
        JoinKind::LeftAnti => "left anti join",
    };
    match (left.is_streaming, right.is_streaming, kind) {
        (false, false, _)
        | (true, false, JoinKind::Inner | JoinKind::Cross | JoinKind::LeftOuter | JoinKind::LeftSemi | JoinKind::LeftAnti)
        | (false, true, JoinKind::Inner | JoinKind::Cross | JoinKind::RightOuter)
        // Whether it can be kept within bounds is known when filters and conditions have come together.
        | (true, true, _) => Ok(()),
        (stream_left, _, _) => {
            let side = if stream_left { "left" } else { "right" };
            Err(AnalysisError::unsupported(format!("a {name} with the stream on the {side}"), span)
                .hint("allowed are inner joins, left outer, semi and anti joins with the stream on the left, and right outer joins with the stream on the right"))
        }
    }
}
