//! Joins of two streams: both sides are remembered, as far as rows of the other side can still come for them.
//!
//! ```text
//!   resolver         LogicalPlan::Join over two JoinSideNodes, which know the sides' event times
//!   for_output_mode  DataFusion's rules move filters into the sides and conditions into the join (`resolve`);
//!                    the join becomes a StreamJoinNode: keys, what is asked of pairs, how long rows are kept (`bounds`)
//! ```

mod bounds;
mod known;
mod resolve;
mod side;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, NullEquality, Result, plan_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Extension, Join, JoinConstraint, JoinType, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
};
use millstream_core::{Error, OutputMode};

use super::changes::{CHANGE, Gives, change_column, change_field};
use super::groups_with_state::NamedColumn;
use super::late_row::{LATE_ROW, late_row_column};

pub use bounds::Bound;
pub(super) use known::known_of;
pub(super) use resolve::resolve_joins;
pub use side::JoinSideNode;

/// Two columns that are equal in rows that match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JoinKey {
    /// Of the left side.
    pub left: Column,
    /// Of the right side.
    pub right: Column,
    /// Whether a null equals a null.
    pub is_null_safe: bool,
}

/// What a join knows of the rows of one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SideFacts {
    /// The column by which rows are late.
    pub event_time: Option<Column>,
    /// How long a row is kept; for ever without it.
    pub bound: Option<Bound>,
    /// A boolean column: where it is not true, no row of the other side can match.
    pub can_match: Option<Column>,
}

/// Joins two streams.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamJoinNode {
    left: LogicalPlan,
    right: LogicalPlan,
    kind: JoinType,
    keys: Vec<JoinKey>,
    filter: Option<Expr>,
    sides: [SideFacts; 2],
    relations: [Vec<NamedColumn>; 2],
    key_names: Vec<String>,
    meaning: Vec<String>,
    operator: String,
    gives: Gives,
    schema: DFSchemaRef,
}

impl StreamJoinNode {
    /// The sides, left and right.
    pub fn sides(&self) -> [(&LogicalPlan, &SideFacts); 2] {
        let [left, right] = &self.sides;
        [(&self.left, left), (&self.right, right)]
    }

    /// The columns of both sides by the user's names.
    pub(super) fn relations(&self) -> [&[NamedColumn]; 2] {
        self.relations.each_ref().map(Vec::as_slice)
    }

    /// Inner, an outer kind, left semi or left anti.
    pub fn kind(&self) -> JoinType {
        self.kind
    }

    /// What is equal in rows that match; never empty.
    pub fn keys(&self) -> &[JoinKey] {
        &self.keys
    }

    /// What else must be true of rows that match.
    pub fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// What the user calls the keys.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// What is joined and by what, in texts that a restart compares.
    pub fn meaning(&self) -> &[String] {
        &self.meaning
    }

    /// The operator's name in checkpoints and progress.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Whether unmatched rows of the left and of the right side come out.
    pub fn preserves(&self) -> [bool; 2] {
        preserved(self.kind)
    }

    /// Whether rows that were given may be taken back.
    pub fn gives(&self) -> Gives {
        self.gives
    }

    pub(super) fn fitted(&self, operator: String, gives: Gives, left: LogicalPlan, right: LogicalPlan) -> Result<Self> {
        let schema = output_schema(left.schema(), right.schema(), self.kind, gives)?;
        Ok(Self { operator, gives, left, right, schema, ..self.clone() })
    }

    /// The same of whole results, anew in each batch: DataFusion's join, which remembers nothing.
    pub(super) fn of_whole_results(&self, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
        let column = |column: &Column| Expr::Column(column.clone());
        let (null_safe, keys): (Vec<&JoinKey>, Vec<&JoinKey>) = self.keys.iter().partition(|key| key.is_null_safe);
        let on = keys.into_iter().map(|key| (column(&key.left), column(&key.right))).collect();
        let null_safe = null_safe.into_iter().map(|key| {
            let operator = Operator::IsNotDistinctFrom;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(column(&key.left)), operator, Box::new(column(&key.right))))
        });
        let can_match = self.sides.iter().filter_map(|side| side.can_match.as_ref()).map(column);
        let filter = conjunction(null_safe.chain(can_match).chain(self.filter.clone()));
        let (left, right) = (Arc::new(left), Arc::new(right));
        let nulls = NullEquality::NullEqualsNothing;
        Ok(LogicalPlan::Join(Join::try_new(left, right, on, filter, self.kind, JoinConstraint::On, nulls, false)?))
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// Refuses a join that the mode cannot serve, or whose unmatched rows could never come out.
pub(super) fn check_join(join: &StreamJoinNode, mode: OutputMode) -> millstream_core::Result<()> {
    let kind = kind_name(join.kind);
    if mode != OutputMode::Append {
        // Unmatched rows come at once; what is kept for ever is the user's business, as with inner joins.
        return Ok(());
    }
    let [keeps_left, keeps_right] = join.preserves();
    // Of a left semi join too, as in Spark.
    let waits = [(keeps_left || join.kind == JoinType::LeftSemi, "left", "right"), (keeps_right, "right", "left")];
    for (side, (waits, own, other)) in join.sides.iter().zip(waits) {
        if waits && side.bound.is_none() {
            return Err(Error::unsupported(format!(
                "a {kind} of two streams without a watermark in the join keys, or a watermark on the {other} side and a range condition that bounds the time of the {own} side"
            ))
            .hint(format!(
                "give both streams a watermark, and say how long a row of the {own} side waits, such as {own}.time >= {other}.time - INTERVAL 10 MINUTES"
            )));
        }
    }
    Ok(())
}

/// Whether unmatched rows of the left and of the right side are part of the result.
fn preserved(kind: JoinType) -> [bool; 2] {
    [matches!(kind, JoinType::Left | JoinType::Full | JoinType::LeftAnti), matches!(kind, JoinType::Right | JoinType::Full)]
}

/// What a join of that kind is called.
pub(crate) fn kind_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Left => "left outer join",
        JoinType::Right => "right outer join",
        JoinType::Full => "full outer join",
        JoinType::LeftSemi => "left semi join",
        JoinType::LeftAnti => "left anti join",
        _ => "inner join",
    }
}

/// The columns of both sides, as far as they come out, and that of changes behind them.
fn output_schema(left: &DFSchema, right: &DFSchema, kind: JoinType, gives: Gives) -> Result<DFSchemaRef> {
    let (left, right) = (passed_on(left)?, passed_on(right)?);
    let joined = build_join_schema(&left, &right, &kind)?;
    if gives == Gives::Rows {
        return Ok(Arc::new(joined));
    }
    let columns = joined.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
    let fields = columns.chain([(None, Arc::new(change_field()))]).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, joined.metadata().clone())?))
}

fn passed_on(schema: &DFSchema) -> Result<DFSchema> {
    let columns = schema.iter().filter(|(_, field)| field.name() != CHANGE && field.name() != LATE_ROW);
    let fields = columns.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    DFSchema::new_with_metadata(fields, schema.metadata().clone())
}

impl UserDefinedLogicalNodeCore for StreamJoinNode {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|key| [&key.left, &key.right]);
        let facts = self.sides.iter().flat_map(|side| {
            let bound = side.bound.as_ref().map(|bound| &bound.column);
            side.event_time.iter().chain(bound).chain(&side.can_match)
        });
        keys.chain(facts).cloned().map(Expr::Column).chain(self.filter.clone()).collect()
    }

    // Predicates stay above (the default): those that may go below went there before this node was made.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |key: &JoinKey| if key.is_null_safe { "<=>" } else { "=" };
        let keys = self.keys.iter().map(|key| format!("{} {} {}", key.left, sign(key), key.right)).collect::<Vec<_>>().join(", ");
        write!(f, "StreamJoin: {} {}, keys=[{keys}]", self.operator, kind_name(self.kind))?;
        self.filter.iter().try_for_each(|filter| write!(f, ", filter=[{filter}]"))?;
        for (name, side) in ["left", "right"].into_iter().zip(&self.sides) {
            side.bound.iter().try_for_each(|bound| write!(f, ", {name} until {bound}"))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return plan_err!("StreamJoin takes two inputs");
        };
        let filter = if self.filter.is_some() { exprs.pop() } else { None };
        let columns = self.expressions();
        if !columns.starts_with(&exprs) {
            return plan_err!("StreamJoin's keys and times are columns and cannot become {exprs:?}");
        }
        let schema = output_schema(left.schema(), right.schema(), self.kind, self.gives)?;
        Ok(Self { left, right, filter, schema, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the node itself names is added by who asks, but for the column of changes.
        let asked: Vec<Column> = output_columns.iter().map(|idx| Column::from(self.schema.qualified_field(*idx))).collect();
        let needed = |side: &DFSchema| {
            let change = change_column(side.as_arrow());
            let asked = asked.iter().filter(|column| column.name != CHANGE).filter_map(|column| side.maybe_index_of_column(column));
            asked.chain(change).chain(late_row_column(side)).collect::<Vec<usize>>()
        };
        Some(vec![needed(self.left.schema()), needed(self.right.schema())])
    }
}

impl PartialOrd for StreamJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (&self.operator, &self.meaning).partial_cmp(&(&other.operator, &other.meaning)) {
            Some(Ordering::Equal) => (&self.left, &self.right).partial_cmp(&(&other.left, &other.right)),
            order => order,
        }
    }
}
