//! Carries the column of changes through what stands between stateful operators, and follows what is known of the changes.
//!
//! A node that works row by row is right on changes as it is: the row that is taken out goes the way that it once came in. So
//! it only has to hand the column on. What is not (random numbers, the time of the batch) would turn a row that is
//! taken out into another one than was added, and is refused by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection, Union, Unnest, lit};
use millstream_core::{Error, Result};

use super::changes::{CHANGE, INSERT, change_column};
use super::output_mode::node_of;
use crate::nodes::EventTimeWatermarkNode;
use crate::row_facts::{RowFact, RowFactNode};

/// What is known of the changes that a plan gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Columns that tell the rows of the result apart and stay as they are when a row is updated.
    pub(super) key: Option<Vec<Column>>,
    /// Columns in which the row that replaces another one is equal to it.
    pub(super) stable: BTreeSet<Column>,
    /// Whether rows may go without others that replace them.
    pub(super) deletes: bool,
    /// Whether rows of an outer join are among them, which come without a partner first: one that comes with a partner takes the
    /// place of that, and no column says so.
    pub(super) completes: bool,
}

/// A plan, and what is known of its changes if its rows are changes.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    pub(super) plan: LogicalPlan,
    pub(super) changes: Option<Changes>,
}

impl Fitted {
    /// Rows that are only added.
    pub(super) fn rows(plan: LogicalPlan) -> Self {
        Self { plan, changes: None }
    }
}

/// `node` over inputs that may give changes: what it gives.
pub(super) fn carried(node: LogicalPlan, inputs: Vec<Fitted>) -> Result<Fitted> {
    if inputs.iter().all(|input| input.changes.is_none()) {
        let mut inputs = inputs.into_iter();
        let put_in = |old| Ok(inputs.next().map_or(Transformed::no(old), |input| Transformed::yes(input.plan)));
        return Ok(Fitted::rows(node.map_children(put_in).map_err(internal)?.data));
    }
    refuse_chance(&node)?;
    if let LogicalPlan::Union(union) = &node {
        return united(union, inputs);
    }
    let two: Result<[Fitted; 2], _> = match <[Fitted; 1]>::try_from(inputs) {
        Ok([input]) => return over_one(node, input),
        Err(inputs) => inputs.try_into(),
    };
    match (node, two) {
        (LogicalPlan::Join(join), Ok([left, right])) => joined(&join, left, right),
        (node, _) => Err(not_on_changes(node.display().to_string())),
    }
}

/// `plan`, which stands on `base`, over what `base` gives when it is fitted.
pub(super) fn carried_up(plan: LogicalPlan, base: &LogicalPlan, fitted: Fitted) -> Result<Fitted> {
    if plan == *base {
        return Ok(fitted);
    }
    let inputs = plan.inputs();
    let [input] = inputs.as_slice() else { return Err(Error::internal("a plan that does not stand on another one")) };
    let below = carried_up((*input).clone(), base, fitted)?;
    carried(plan, vec![below])
}

/// Above changes only what is the same for a row each time is right.
fn refuse_chance(node: &LogicalPlan) -> Result<()> {
    let mut volatile = None;
    let looked = node.apply_expressions(|expr| {
        if expr.is_volatile() {
            volatile = Some(expr.to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked.map_err(internal)?;
    volatile.map_or(Ok(()), |expr| Err(not_on_changes(expr)))
}

fn over_one(node: LogicalPlan, input: Fitted) -> Result<Fitted> {
    let Some(changes) = input.changes else { return Err(Error::internal("changes that are none")) };
    match &node {
        LogicalPlan::Projection(projection) => projected(projection, input.plan, &changes),
        LogicalPlan::Filter(Filter { predicate, .. }) => {
            let deletes = changes.deletes || !is_stable(predicate, &changes.stable);
            let plan = over(&node, node.expressions(), vec![input.plan])?;
            Ok(Fitted { plan, changes: Some(Changes { deletes, ..changes }) })
        }
        LogicalPlan::Unnest(unnest) => unnested(unnest, input.plan, changes),
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Repartition(_) => {
            let renamed = renaming(input.plan.schema().columns(), node.schema().columns());
            let plan = over(&node, node.expressions(), vec![input.plan])?;
            Ok(Fitted { plan, changes: Some(changes.renamed(&renamed)) })
        }
        LogicalPlan::Sort(_) => Err(not_on_changes("sorting")),
        LogicalPlan::Limit(_) => Err(not_on_changes("LIMIT")),
        _ if node_of::<EventTimeWatermarkNode>(&node).is_some() => {
            let plan = over(&node, node.expressions(), vec![input.plan])?;
            Ok(Fitted { plan, changes: Some(changes) })
        }
        _ => match node_of::<RowFactNode>(&node) {
            Some(fact) => Err(not_on_changes(name_of(fact.fact()))),
            None => Err(not_on_changes(node.display().to_string())),
        },
    }
}

fn name_of(fact: RowFact) -> &'static str {
    match fact {
        RowFact::BatchTime => "the current time",
        RowFact::PartitionId => "spark_partition_id()",
        RowFact::RowId => "monotonically_increasing_id()",
        RowFact::Rand(_) | RowFact::Randn(_) | RowFact::Uuid(_) | RowFact::Bits(_) => "a random number",
    }
}

pub(super) fn not_on_changes(what: impl Into<String>) -> Error {
    Error::unsupported(format!("{} above an aggregation whose rows are updated", what.into()))
        .hint("compute it below the aggregation, or use append mode, in which a row that is given stays")
}

/// The column of changes of a plan.
fn change_of(plan: &LogicalPlan) -> Result<Column> {
    let schema = plan.schema();
    let idx = change_column(schema.as_arrow()).ok_or_else(|| Error::internal("changes without their column"))?;
    Ok(Column::from(schema.qualified_field(idx)))
}

fn projected(projection: &Projection, input: LogicalPlan, changes: &Changes) -> Result<Fitted> {
    let mut exprs = projection.expr.clone();
    exprs.push(Expr::Column(change_of(&input)?));
    let stable = projection.expr.iter().zip(projection.schema.columns()).filter(|(expr, _)| is_stable(expr, &changes.stable));
    let stable = stable.map(|(_, column)| column).collect();
    let goes_on = |key: &Column| {
        let at = projection.expr.iter().position(|expr| column_of(expr) == Some(key))?;
        projection.schema.columns().into_iter().nth(at)
    };
    let key = changes.key.as_ref().and_then(|key| key.iter().map(goes_on).collect());
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input)).map_err(internal)?);
    Ok(Fitted { plan, changes: Some(Changes { key, stable, ..changes.clone() }) })
}

/// Which column of its input a projection hands on.
pub(super) fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column_of(&alias.expr),
        _ => None,
    }
}

pub(super) fn is_stable(expr: &Expr, stable: &BTreeSet<Column>) -> bool {
    let mut is_stable = true;
    let looked = expr.apply(|used| {
        // Subqueries read other tables, which may change.
        is_stable &= match used {
            Expr::Column(column) => stable.contains(column),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::OuterReferenceColumn(..) => false,
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    looked.is_ok() && is_stable
}

fn unnested(unnest: &Unnest, input: LogicalPlan, changes: Changes) -> Result<Fitted> {
    let before = unnest.input.schema().columns();
    let after = unnest.schema.columns();
    let stable = after.iter().zip(&unnest.dependency_indices);
    let stable = stable.filter(|(_, from)| before.get(**from).is_some_and(|column| changes.stable.contains(column)));
    let stable = stable.map(|(column, _)| column.clone()).collect();
    let deletes = changes.deletes || !unnest.exec_columns.iter().all(|column| changes.stable.contains(column));
    let columns = unnest.exec_columns.clone();
    let plan = datafusion::logical_expr::builder::unnest_with_options(input, columns, unnest.options.clone()).map_err(internal)?;
    // A row becomes several, which no key tells apart.
    Ok(Fitted { plan, changes: Some(Changes { key: None, stable, deletes, ..changes }) })
}

/// Inputs without changes get a column that says that their rows are added.
fn united(union: &Union, inputs: Vec<Fitted>) -> Result<Fitted> {
    let mut plans = Vec::with_capacity(inputs.len());
    let (mut deletes, mut completes) = (false, false);
    let n_columns = union.schema.fields().len();
    let mut is_stable = vec![true; n_columns];
    for Fitted { plan, changes } in inputs {
        let of_changes = match &changes {
            Some(_) => Expr::Column(change_of(&plan)?),
            None => lit(INSERT).alias(CHANGE),
        };
        let columns: Vec<Column> = plan.schema().columns().into_iter().filter(|column| column.name != CHANGE).collect();
        if let Some(changes) = &changes {
            deletes |= changes.deletes;
            completes |= changes.completes;
            is_stable.iter_mut().zip(&columns).for_each(|(known, column)| *known &= changes.stable.contains(column));
        }
        let exprs = columns.into_iter().map(Expr::Column).chain([of_changes]).collect::<Vec<_>>();
        plans.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan)).map_err(internal)?)));
    }
    let plan = LogicalPlan::Union(Union::try_new_with_loose_types(plans).map_err(internal)?);
    let stable = plan.schema().columns().into_iter().zip(is_stable).filter_map(|(column, is)| is.then_some(column)).collect();
    Ok(Fitted { plan, changes: Some(Changes { key: None, stable, deletes, completes }) })
}

/// A join with a finished side: each row of the stream finds its partners by itself.
fn joined(join: &Join, left: Fitted, right: Fitted) -> Result<Fitted> {
    let (changes, other) = match (&left.changes, &right.changes) {
        (Some(changes), None) => (changes.clone(), &right.plan),
        (None, Some(changes)) => (changes.clone(), &left.plan),
        _ => return Err(not_on_changes("a join of two streams")),
    };
    let is_row_by_row = match join.join_type {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.changes.is_some(),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.changes.is_some(),
        JoinType::Full => false,
    };
    if !is_row_by_row {
        return Err(not_on_changes(format!("a {} join", join.join_type)));
    }
    let of_other: BTreeSet<Column> = other.schema().columns().into_iter().collect();
    let known: BTreeSet<Column> = changes.stable.union(&of_other).cloned().collect();
    let finds_the_same = join.on.iter().all(|(l, r)| is_stable(l, &known) && is_stable(r, &known));
    let finds_the_same = finds_the_same && join.filter.as_ref().is_none_or(|filter| is_stable(filter, &known));
    let gives_one = matches!(
        join.join_type,
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    );
    let changes = Changes {
        key: changes.key.filter(|_| gives_one),
        stable: if finds_the_same { known } else { changes.stable },
        deletes: changes.deletes || !finds_the_same,
        completes: changes.completes,
    };
    let node = LogicalPlan::Join(join.clone());
    let plan = over(&node, node.expressions(), vec![left.plan, right.plan])?;
    Ok(Fitted { plan, changes: Some(changes) })
}

impl Changes {
    fn renamed(self, names: &[(Column, Column)]) -> Self {
        let new = |column: &Column| names.iter().find(|(old, _)| old == column).map(|(_, new)| new.clone());
        Self {
            key: self.key.as_ref().and_then(|key| key.iter().map(new).collect()),
            stable: self.stable.iter().filter_map(new).collect(),
            ..self
        }
    }
}

fn renaming(before: Vec<Column>, after: Vec<Column>) -> Vec<(Column, Column)> {
    before.into_iter().filter(|column| column.name != CHANGE).zip(after).collect()
}

/// The node over other inputs, its schema made anew.
fn over(node: &LogicalPlan, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    node.with_new_exprs(exprs, inputs).map_err(internal)
}

pub(super) fn internal(error: datafusion::error::DataFusionError) -> Error {
    Error::internal(error.to_string())
}
