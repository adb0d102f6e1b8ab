//! `WITH RECURSIVE`: an anchor, and a query over the rows that the round before gave, until a round gives none.
//!
//! DataFusion runs the rounds but counts none. So each row carries the number of its round in a hidden column (as sources
//! carry `_metadata`), and a row of a round too many is Spark's error. A recursive query that loses the column, by
//! grouping or by a set operation, is refused: Spark refuses most of these too.

use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, Schema};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, RecursiveQuery, cast, lit};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Plan, ReadSource, SetOpKind};

use super::{closed, projection};
use crate::error::{AnalysisError, Result};
use crate::resolver::{CteNode, Resolver};
use crate::scope::{Attribute, Rel, Visibility, plan_name};
use crate::types::arrow_type;
use crate::walk::referenced_relations;

/// Rounds, the anchor among them, unless `MAX RECURSION LEVEL` says otherwise.
const LEVEL_MAX: u32 = 100;

/// What the rows of a recursive query under resolution look like.
#[derive(Clone)]
pub(crate) struct Recursion {
    /// The named query itself.
    node: Rc<CteNode>,
    /// The name under which its rounds read each other.
    table: String,
    columns: Vec<Attribute>,
}

impl Resolver<'_> {
    /// The rows of a query of `WITH RECURSIVE`; an ordinary one if it does not name itself.
    pub(crate) fn recursive_cte(&mut self, node: &Rc<CteNode>, span: Span) -> Result<Rel> {
        if let Some(recursion) = self.recursions.iter().find(|recursion| Rc::ptr_eq(&recursion.node, node)).cloned() {
            return self.round_before(&recursion, span);
        }
        if !names_itself(&node.plan, &node.name) {
            let rel = self.plan(&node.plan)?;
            return Ok(closed(self.renamed(rel, &node.columns, span)?));
        }
        let (anchor, step) = parts(&node.plan, span)?;
        if names_itself(anchor, &node.name) || !names_itself(step, &node.name) {
            return Err(invalid("the first query must not name the recursive one, the second must", span));
        }
        if n_references(step, &node.name) > 1 {
            return Err(AnalysisError::unsupported("WITH RECURSIVE with more than one reference to itself", span));
        }
        let anchor = self.plan(anchor)?;
        let anchor = closed(self.renamed(anchor, &node.columns, span)?);
        let columns: Vec<Attribute> = anchor.visible().cloned().map(|attr| Attribute { nullable: true, ..attr }).collect();
        let table = format!("{}#{}", node.name, self.next_id());
        self.recursions.push(Recursion { node: Rc::clone(node), table: table.clone(), columns: columns.clone() });
        let step = self.plan(step);
        self.recursions.pop();
        self.recursive_query(node, table, columns, anchor, step?, span)
    }

    fn recursive_query(
        &mut self,
        node: &CteNode,
        table: String,
        columns: Vec<Attribute>,
        anchor: Rel,
        step: Rel,
        span: Span,
    ) -> Result<Rel> {
        if anchor.is_streaming || step.is_streaming {
            return Err(AnalysisError::unsupported("WITH RECURSIVE over a stream", span));
        }
        let given: Vec<Attribute> = step.visible().cloned().collect();
        if given.len() != columns.len() {
            return Err(AnalysisError::invalid(
                "NUM_COLUMNS_MISMATCH",
                format!("the recursive query gives {} columns, the first one {}", given.len(), columns.len()),
                span,
            ));
        }
        if let Some((wanted, other)) = columns.iter().zip(&given).find(|(wanted, other)| wanted.data_type != other.data_type) {
            return Err(AnalysisError::invalid(
                "CANNOT_MERGE_INCOMPATIBLE_DATA_TYPE",
                format!(
                    "column '{}' is of type {}, but the recursive query gives {}",
                    wanted.name,
                    wanted.data_type.sql(),
                    other.data_type.sql()
                ),
                span,
            )
            .hint(format!("cast it to {}", wanted.data_type.sql())));
        }
        let Some(level) = step.metadata().find(|attr| attr.name == self.level_name()).cloned() else {
            return Err(AnalysisError::invalid(
                "INVALID_RECURSIVE_REFERENCE.PLACE",
                "a recursive query cannot group, deduplicate or combine the rows of the one before",
                span,
            ));
        };
        let limit = node.level_max.unwrap_or(LEVEL_MAX);
        let attrs: Vec<Attribute> =
            columns.into_iter().map(|attr| Attribute { id: self.next_id(), origin: None, qualifiers: vec![], ..attr }).collect();
        let level_id = self.next_id();
        let mut first: Vec<_> = anchor.visible().zip(&attrs).map(|(from, to)| from.column().alias(to.plan_name())).collect();
        // Spark counts the anchor as the first round.
        first.push(cast(lit(1_i64), ArrowType::Int64).alias(plan_name(level_id)));
        let mut next: Vec<_> = given.iter().zip(&attrs).map(|(from, to)| from.column().alias(to.plan_name())).collect();
        next.push(crate::registry::recursion_level::call(level.column(), i64::from(limit)).alias(plan_name(level_id)));
        let rounds =
            RecursiveQuery::try_new(table, Arc::new(projection(first, anchor.plan)?), Arc::new(projection(next, step.plan)?), false)?;
        let plan = projection(attrs.iter().map(Attribute::column).collect(), LogicalPlan::RecursiveQuery(rounds))?;
        Ok(Rel { plan, attrs, is_streaming: false, watermarks: vec![] })
    }

    /// The rows of the round before, inside of the recursive query.
    fn round_before(&mut self, recursion: &Recursion, span: Span) -> Result<Rel> {
        let level = Attribute {
            id: 0,
            origin: None,
            name: self.level_name().to_owned(),
            qualifiers: vec![],
            data_type: DataType::Long,
            nullable: true,
            metadata: None,
            visibility: Visibility::Metadata,
        };
        let columns: Vec<Attribute> =
            recursion.columns.iter().chain([&level]).map(|attr| Attribute { id: self.next_id(), origin: None, ..attr.clone() }).collect();
        let fields = columns
            .iter()
            .enumerate()
            .map(|(idx, attr)| Ok(Field::new(format!("c{idx}"), arrow_type(&attr.data_type)?, true)))
            .collect::<Result<Vec<_>>>()
            .map_err(|error| error.at(span))?;
        let table = CteWorkTable::new(&recursion.table, Arc::new(Schema::new(fields)));
        let name = datafusion::common::TableReference::bare(recursion.table.clone());
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()?;
        let exprs = scan.schema().columns().into_iter().zip(&columns);
        let exprs = exprs.map(|(column, attr)| datafusion::logical_expr::Expr::Column(column).alias(attr.plan_name())).collect();
        Ok(Rel { plan: projection(exprs, scan)?, attrs: columns, is_streaming: false, watermarks: vec![] })
    }

    /// What the hidden column is called: no name that can be written without backticks.
    fn level_name(&self) -> &'static str {
        "#recursion level"
    }
}

/// The anchor and the recursive query.
fn parts(plan: &Plan, span: Span) -> Result<(&Plan, &Plan)> {
    match plan {
        Plan::UnionAll { inputs, .. } => match inputs.as_slice() {
            [anchor, step] => Ok((anchor, step)),
            _ => Err(invalid("it must be a UNION ALL of two queries", span)),
        },
        Plan::SetOp { kind: SetOpKind::Union, .. } => {
            Err(AnalysisError::invalid("UNION_NOT_SUPPORTED_IN_RECURSIVE_CTE", "a recursive query cannot use UNION, only UNION ALL", span))
        }
        _ => Err(invalid("it must be a UNION ALL of two queries", span)),
    }
}

fn invalid(why: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid("INVALID_RECURSIVE_CTE", format!("the recursive query cannot be run: {why}"), span)
}

fn names_itself(plan: &Plan, name: &str) -> bool {
    n_references(plan, name) > 0
}

fn n_references(plan: &Plan, name: &str) -> usize {
    let is_reference = |source: &ReadSource| match source {
        ReadSource::Table(read) => matches!(read.parts.as_slice(), [one] if one.eq_ignore_ascii_case(name)),
        _ => false,
    };
    referenced_relations(plan).iter().filter(|relation| is_reference(&relation.read.source)).count()
}
