//! From DataFusion's join over two sides to a [`StreamJoinNode`].
//!
//! DataFusion's own rules first move filters into the sides and into the join's condition, as they do for finished data:
//! which keys and bounds a join has is known only then (`FROM l, r WHERE lk = rk AND ...`), and an outer join whose
//! unmatched rows are filtered out is none.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, JoinType, LogicalPlan, Operator, Projection};
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use millstream_core::{Error, Result};

use super::bounds::{Bound, bound_of, without_guard};
use super::{JoinKey, JoinSideNode, SideFacts, StreamJoinNode, kind_name, output_schema, preserved};
use crate::expr::contains_subquery;
use crate::streaming::changes::Gives;
use crate::streaming::node_of;

/// The plan with [`StreamJoinNode`]s where two streams are joined.
pub(in crate::streaming) fn resolve_joins(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let is_side = |node: &LogicalPlan| Ok(node_of::<JoinSideNode>(node).is_some());
    if !plan.exists(is_side).map_err(internal)? {
        return Ok(plan.clone());
    }
    let rules = Optimizer::with_rules(vec![Arc::new(PushDownFilter::new()), Arc::new(EliminateOuterJoin::new())]);
    let pushed = rules.optimize(plan.clone(), &OptimizerContext::new(), |_, _| {}).map_err(internal)?;
    let mut refused = Ok(());
    let mut columns = NewColumns::default();
    let resolved = pushed.transform_up(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        let (Some(left), Some(right)) = (node_of::<JoinSideNode>(&join.left), node_of::<JoinSideNode>(&join.right)) else {
            return Ok(Transformed::no(node));
        };
        match Conditions::of(join, left, right) {
            Ok(conditions) => Ok(Transformed::yes(conditions.into_plan(join, left, right, &mut columns)?)),
            Err(error) => {
                refused = Err(error);
                Ok(Transformed::new(node, false, TreeNodeRecursion::Stop))
            }
        }
    });
    refused?;
    Ok(resolved.map_err(internal)?.data)
}

fn internal(error: datafusion::error::DataFusionError) -> Error {
    Error::internal(error.to_string())
}

/// Columns that joins compute below themselves.
#[derive(Default)]
struct NewColumns(usize);

impl NewColumns {
    fn next(&mut self) -> Column {
        self.0 += 1;
        Column::new_unqualified(format!("#join{}", self.0))
    }
}

/// A join's condition, taken apart.
#[derive(Default)]
struct Conditions {
    /// Left, right, and whether a null equals a null.
    keys: Vec<(Expr, Expr, bool)>,
    /// What is asked of one side only, left and right.
    of_sides: [Vec<Expr>; 2],
    /// What is asked of pairs.
    of_pairs: Vec<Expr>,
    /// Everything that speaks of both sides.
    all: Vec<Expr>,
}

impl Conditions {
    fn of(join: &Join, left: &JoinSideNode, right: &JoinSideNode) -> Result<Self> {
        let is_null_safe = join.null_equality == NullEquality::NullEqualsNull;
        let operator = if is_null_safe { Operator::IsNotDistinctFrom } else { Operator::Eq };
        let equal = |(l, r): &(Expr, Expr)| Expr::BinaryExpr(BinaryExpr::new(Box::new(l.clone()), operator, Box::new(r.clone())));
        let on = join.on.iter().map(equal);
        let sides = [left, right];
        let mut conditions = Self::default();
        for conjunct in on.chain(join.filter.clone().map(split_conjunction_owned).unwrap_or_default()) {
            if contains_subquery(&conjunct) {
                return Err(Error::unsupported("a subquery in the condition of a join of two streams"));
            }
            conditions.add(conjunct, sides);
        }
        if conditions.keys.is_empty() {
            return Err(Error::unsupported(format!(
                "a {} of two streams without an equality of both sides' columns",
                kind_name(join.join_type)
            ))
            .hint("add a condition such as l.key = r.key: rows are kept and found by what must be equal"));
        }
        Ok(conditions)
    }

    fn add(&mut self, conjunct: Expr, sides: [&JoinSideNode; 2]) {
        let is_of = |expr: &Expr, side: usize| {
            let columns = expr.column_refs();
            let schema = sides.get(side).map(|side| side.input().schema());
            !columns.is_empty() && schema.is_some_and(|schema| columns.iter().all(|column| schema.has_column(column)))
        };
        if conjunct.is_volatile() {
            self.of_pairs.push(conjunct);
            return;
        }
        if let Some((a, b, is_null_safe)) = equality(&conjunct) {
            // Keys are computed for every row, as in Spark; whether the guard was open is asked of the pair.
            let (key_a, key_b) = (without_guard(a), without_guard(b));
            let key = match (is_of(key_a, 0) && is_of(key_b, 1), is_of(key_a, 1) && is_of(key_b, 0)) {
                (true, _) => Some((key_a, key_b)),
                (_, true) => Some((key_b, key_a)),
                _ => None,
            };
            if let Some((left, right)) = key {
                let is_guarded = key_a != a || key_b != b;
                self.keys.push((left.clone(), right.clone(), is_null_safe));
                self.all.push(conjunct.clone());
                if is_guarded {
                    self.of_pairs.push(conjunct);
                }
                return;
            }
        }
        let [left, right] = &mut self.of_sides;
        match (is_of(&conjunct, 0), is_of(&conjunct, 1)) {
            (true, _) => left.push(conjunct),
            (_, true) => right.push(conjunct),
            _ => {
                self.all.push(conjunct.clone());
                self.of_pairs.push(conjunct);
            }
        }
    }

    fn into_plan(self, join: &Join, left: &JoinSideNode, right: &JoinSideNode, new: &mut NewColumns) -> DfResult<LogicalPlan> {
        let kind = join.join_type;
        let names: Vec<(String, String)> = left.names().iter().chain(right.names()).cloned().collect();
        let relations = [left, right].map(|side| side.relation().to_vec());
        let bounds = self.bounds(kind, left, right);
        let meaning = self.meaning(kind, &names, &bounds);
        let key_names = self.keys.iter().map(|(left, ..)| name_of(left, &names)).collect();

        let [of_left, of_right] = self.of_sides;
        let [keeps_left, keeps_right] = preserved(kind);
        let mut left_side = Side::new(left, of_left, keeps_left, new)?;
        let mut right_side = Side::new(right, of_right, keeps_right, new)?;
        let mut keys = vec![];
        for (left, right, is_null_safe) in self.keys {
            keys.push(JoinKey { left: left_side.column_of(left, new), right: right_side.column_of(right, new), is_null_safe });
        }
        let computes = !left_side.computed.is_empty() || !right_side.computed.is_empty();
        let [left_bound, right_bound] = bounds;
        let (left, left_facts) = left_side.finish(left, left_bound)?;
        let (right, right_facts) = right_side.finish(right, right_bound)?;
        let gives = Gives::Rows;
        let schema = output_schema(left.schema(), right.schema(), kind, gives)?;
        let sides = [left_facts, right_facts];
        let filter = conjunction(self.of_pairs);
        let operator = String::new();
        let node = StreamJoinNode { left, right, kind, keys, filter, sides, relations, key_names, meaning, operator, gives, schema };
        let plan = node.into_plan();
        if !computes {
            return Ok(plan);
        }
        // What was computed for the join does not leave it.
        let exprs = join.schema.columns().into_iter().map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// How long the rows of both sides are kept.
    fn bounds(&self, kind: JoinType, left: &JoinSideNode, right: &JoinSideNode) -> [Option<Bound>; 2] {
        for (l, r, is_null_safe) in &self.keys {
            if let (Expr::Column(l), Expr::Column(r), false) = (l, r, is_null_safe)
                && (left.event_times().contains(l) || right.event_times().contains(r))
            {
                // As in Spark also where only one side says how late its rows may be.
                return [l, r].map(|column| Some(Bound { column: column.clone(), offset_ms: 0 }));
            }
        }
        let [keeps_left, keeps_right] = preserved(kind);
        [
            bound_of(&own_times(left, keeps_left), right.event_times(), &self.all),
            bound_of(&own_times(right, keeps_right), left.event_times(), &self.all),
        ]
    }

    fn meaning(&self, kind: JoinType, names: &[(String, String)], bounds: &[Option<Bound>; 2]) -> Vec<String> {
        let [left, right] = &self.of_sides;
        let conditions = self.all.iter().chain(left).chain(right).map(|expr| described(expr, names));
        let bounds = bounds.iter().flatten().map(|Bound { column, offset_ms }| {
            let column = described(&Expr::Column(column.clone()), names);
            format!("{column} kept {offset_ms} ms")
        });
        std::iter::once(kind_name(kind).to_owned()).chain(conditions).chain(bounds).collect()
    }
}

/// A side while the join is made.
struct Side {
    input: LogicalPlan,
    computed: Vec<(Column, Expr)>,
    can_match: Option<Column>,
}

impl Side {
    /// `conditions` are what the join asks of this side's rows: those that fail are dropped, or come out unmatched.
    fn new(side: &JoinSideNode, conditions: Vec<Expr>, is_preserved: bool, new: &mut NewColumns) -> DfResult<Self> {
        let mut this = Self { input: side.input().clone(), computed: vec![], can_match: None };
        if let Some(condition) = conjunction(conditions) {
            if is_preserved {
                this.can_match = Some(this.column_of(condition, new));
            } else {
                this.input = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(this.input))?);
            }
        }
        Ok(this)
    }

    fn column_of(&mut self, expr: Expr, new: &mut NewColumns) -> Column {
        match expr {
            Expr::Column(column) => column,
            expr => {
                if let Some((column, _)) = self.computed.iter().find(|(_, known)| *known == expr) {
                    return column.clone();
                }
                let column = new.next();
                self.computed.push((column.clone(), expr));
                column
            }
        }
    }

    fn finish(self, side: &JoinSideNode, bound: Option<Bound>) -> DfResult<(LogicalPlan, SideFacts)> {
        let Self { mut input, computed, can_match } = self;
        if !computed.is_empty() {
            let kept = input.schema().columns().into_iter().map(Expr::Column);
            let exprs = kept.chain(computed.into_iter().map(|(column, expr)| expr.alias(column.name))).collect();
            input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
        }
        let of_bound = bound.as_ref().map(|bound| &bound.column).filter(|column| side.event_times().contains(column));
        let event_time = of_bound.or(side.event_times().first()).cloned();
        Ok((input, SideFacts { event_time, bound, can_match }))
    }
}

/// The columns by which rows of a side can expire: its event times. Where unmatched rows must come out at last, any time
/// will do.
fn own_times(side: &JoinSideNode, is_preserved: bool) -> Vec<Column> {
    if !side.event_times().is_empty() || !is_preserved {
        return side.event_times().to_vec();
    }
    let is_time = |field: &arrow::datatypes::Field| matches!(field.data_type(), arrow::datatypes::DataType::Timestamp(..));
    let schema = side.input().schema();
    schema.fields().iter().filter(|field| is_time(field)).map(|field| Column::new_unqualified(field.name())).collect()
}

fn equality(expr: &Expr) -> Option<(&Expr, &Expr, bool)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => Some((left, right, false)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::IsNotDistinctFrom, right }) => Some((left, right, true)),
        // Arrays and structs, such as windows.
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), args.as_slice()) {
            ("spark_equal", [left, right]) => Some((left, right, false)),
            ("spark_equal_null_safe", [left, right]) => Some((left, right, true)),
            _ => None,
        },
        _ => None,
    }
}

/// The expression with the user's names of columns.
fn described(expr: &Expr, names: &[(String, String)]) -> String {
    let named = expr.clone().transform(|node| match &node {
        Expr::Column(column) => match names.iter().find(|(plan_name, _)| *plan_name == column.name) {
            Some((_, name)) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name)))),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    named.map_or_else(|_| expr.to_string(), |named| named.data.to_string())
}

/// What the user calls a key: the columns that it is made of.
fn name_of(key: &Expr, names: &[(String, String)]) -> String {
    let mut columns: Vec<String> = key.column_refs().into_iter().map(|column| described(&Expr::Column(column.clone()), names)).collect();
    columns.sort_unstable();
    columns.join("_")
}
