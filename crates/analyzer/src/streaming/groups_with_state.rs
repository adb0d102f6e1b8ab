//! A user's function with state per group, over a stream or over finished data.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::group_state::GroupStateTimeout;
use super::late_row::late_row_column;
use super::state_function::StateFunction;

/// A column of the plan, and what the user calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct NamedColumn {
    /// In the plan.
    pub column: Column,
    /// For the user.
    pub name: String,
}

/// Rows and what the groups start from, as the node reads them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupedRows {
    /// The rows.
    pub plan: LogicalPlan,
    /// The keys.
    pub keys: Vec<NamedColumn>,
    /// What the function sees of a row; of an initial state, the columns of the state.
    pub columns: Vec<NamedColumn>,
}

/// Calls a function for each group of a batch, with the group's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupsWithStateNode {
    function: Arc<StateFunction>,
    input: GroupedRows,
    initial: Option<GroupedRows>,
    event_time: Option<Column>,
    is_streaming: bool,
    schema: DFSchemaRef,
    operator: String,
}

impl GroupsWithStateNode {
    /// Groups `input` by its keys. `event_time` is the column of the input with a watermark; `schema` has the columns of the
    /// function's output as the plan calls them. Groups start from `initial`.
    pub fn new(
        function: Arc<StateFunction>,
        input: GroupedRows,
        initial: Option<GroupedRows>,
        event_time: Option<Column>,
        is_streaming: bool,
        schema: DFSchemaRef,
    ) -> Self {
        Self { function, input, initial, event_time, is_streaming, schema, operator: String::new() }
    }

    /// The function.
    pub fn function(&self) -> &Arc<StateFunction> {
        &self.function
    }

    /// The rows.
    pub fn input(&self) -> &GroupedRows {
        &self.input
    }

    /// What groups start from.
    pub fn initial(&self) -> Option<&GroupedRows> {
        self.initial.as_ref()
    }

    /// The input's column with a watermark.
    pub fn event_time(&self) -> Option<&Column> {
        self.event_time.as_ref()
    }

    /// Whether it remembers between batches; over finished data there is one batch.
    pub fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// The operator's name in checkpoints and progress.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// What the user calls the keys.
    pub fn key_names(&self) -> Vec<String> {
        self.input.keys.iter().map(|key| key.name.clone()).collect()
    }

    /// The column by which rows are late.
    pub fn late_by(&self) -> Option<&Column> {
        self.event_time().filter(|_| self.is_streaming && self.function.timeout == GroupStateTimeout::EventTime)
    }

    pub(super) fn named(&self, operator: String) -> Self {
        Self { operator, ..self.clone() }
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    fn both(&self) -> impl Iterator<Item = &GroupedRows> {
        std::iter::once(&self.input).chain(&self.initial)
    }
}

impl GroupedRows {
    fn all(&self) -> impl Iterator<Item = &Column> {
        self.keys.iter().chain(&self.columns).map(|named| &named.column)
    }
}

impl UserDefinedLogicalNodeCore for GroupsWithStateNode {
    fn name(&self) -> &str {
        "GroupsWithState"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.both().map(|rows| &rows.plan).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    // Predicates stay above (the default): nobody knows what the function makes of a row.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.input.keys.iter().map(|key| key.column.to_string()).collect::<Vec<_>>().join(", ");
        write!(f, "GroupsWithState: {} {:?}, keys=[{keys}]", self.operator, self.function)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (expected, found) = (self.both().count(), inputs.len());
        let mut plans = inputs.into_iter();
        let (Some(plan), initial, None) = (plans.next(), plans.next(), plans.next()) else {
            return plan_err!("GroupsWithState takes {expected} inputs, not {found}");
        };
        let initial = match (&self.initial, initial) {
            (Some(rows), Some(plan)) => Some(GroupedRows { plan, ..rows.clone() }),
            (None, None) => None,
            _ => return plan_err!("GroupsWithState takes {expected} inputs, not {found}"),
        };
        Ok(Self { input: GroupedRows { plan, ..self.input.clone() }, initial, ..self.clone() })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // All that the function may look at.
        let needed = |rows: &GroupedRows, more: Option<&Column>| {
            let columns = rows.all().chain(more);
            let mut needed = columns.map(|column| rows.plan.schema().maybe_index_of_column(column)).collect::<Option<Vec<_>>>()?;
            needed.extend(late_row_column(rows.plan.schema()));
            needed.sort_unstable();
            needed.dedup();
            Some(needed)
        };
        let of_input = needed(&self.input, self.event_time.as_ref())?;
        match &self.initial {
            None => Some(vec![of_input]),
            Some(initial) => Some(vec![of_input, needed(initial, None)?]),
        }
    }
}

impl PartialOrd for GroupsWithStateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.input.plan.partial_cmp(&other.input.plan) {
            Some(Ordering::Equal) if self == other => Some(Ordering::Equal),
            Some(Ordering::Equal) => None,
            order => order,
        }
    }
}
