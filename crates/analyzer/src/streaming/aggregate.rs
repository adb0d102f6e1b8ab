//! Aggregation of a stream: groups whose values are kept between batches.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use millstream_core::OutputMode;

use super::TimeWindowKey;
use super::changes::{Gives, change_column, with_change};
use super::groups_with_state::NamedColumn;
use super::late_row::late_row_column;

/// Groups rows by keys and keeps what was aggregated of each group. Its columns are those of DataFusion's `Aggregate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatefulAggregateNode {
    aggregate: Aggregate,
    /// With the window in the place of its slice.
    schema: DFSchemaRef,
    window: Option<TimeWindowKey>,
    key_names: Vec<String>,
    meaning: Vec<String>,
    event_time: Option<Column>,
    session: Option<Column>,
    once_per_row: Option<Column>,
    relation: Vec<NamedColumn>,
    operator: String,
    mode: OutputMode,
    gives: Gives,
}

impl StatefulAggregateNode {
    /// Aggregates a stream. `key_names` are what the user calls the keys; `event_time` is the key that carries the event
    /// time, if one does: a time, or a window of time (a struct), which counts by its end; it is a column of the result. The mode is append until [`super::for_output_mode`] says otherwise.
    pub fn new(aggregate: Aggregate, key_names: Vec<String>, event_time: Option<Column>) -> Self {
        Self {
            schema: Arc::clone(&aggregate.schema),
            window: None,
            aggregate,
            key_names,
            meaning: Vec::new(),
            event_time,
            session: None,
            once_per_row: None,
            relation: Vec::new(),
            operator: String::new(),
            mode: OutputMode::Append,
            gives: Gives::Rows,
        }
    }

    /// One of the keys is the start of a slice of windows; the result has the window in its place.
    pub fn with_window(self, window: TimeWindowKey) -> Result<Self> {
        Ok(Self { schema: schema_of(&self.aggregate, Some(&window))?, window: Some(window), ..self })
    }

    /// See [`Self::with_window`].
    pub fn window(&self) -> Option<&TimeWindowKey> {
        self.window.as_ref()
    }

    /// What the keys and the aggregates are, in texts that a restart compares: their types may stay the same when their
    /// meaning does not.
    #[must_use]
    pub fn with_meaning(self, meaning: Vec<String>) -> Self {
        Self { meaning, ..self }
    }

    /// See [`Self::with_meaning`].
    pub fn meaning(&self) -> &[String] {
        &self.meaning
    }

    /// One of the keys, a struct of start and end, is what each row by itself would be as a session: rows of equal other keys
    /// whose sessions overlap or touch are one group, from the earliest start to the latest end.
    #[must_use]
    pub fn joining_sessions(self, session: Option<Column>) -> Self {
        Self { session, ..self }
    }

    /// See [`Self::joining_sessions`].
    pub fn session(&self) -> Option<&Column> {
        self.session.as_ref()
    }

    /// The input has several rows for each row of the stream (windows that overlap): late rows are counted where this column
    /// is true, which it is for the last of them to become late.
    #[must_use]
    pub fn counting_late_rows_by(self, once_per_row: Option<Column>) -> Self {
        Self { once_per_row, ..self }
    }

    /// See [`Self::counting_late_rows_by`].
    pub fn once_per_row(&self) -> Option<&Column> {
        self.once_per_row.as_ref()
    }

    /// The columns of the aggregated relation by the user's names.
    #[must_use]
    pub fn of_relation(self, relation: Vec<NamedColumn>) -> Self {
        Self { relation, ..self }
    }

    /// See [`Self::of_relation`].
    pub fn relation(&self) -> &[NamedColumn] {
        &self.relation
    }

    /// The keys and the aggregates over the input.
    pub fn aggregate(&self) -> &Aggregate {
        &self.aggregate
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.aggregate.input
    }

    /// What the user calls the keys.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// The key that carries the event time: by it rows are late and groups final.
    pub fn event_time(&self) -> Option<&Column> {
        self.event_time.as_ref()
    }

    /// The operator's name in checkpoints and progress.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// The column by which rows are late in a mode. Complete mode drops nothing, but for sessions, as in Spark.
    pub fn late_by(&self, mode: OutputMode) -> Option<&Column> {
        self.event_time().filter(|_| mode != OutputMode::Complete || self.session.is_some())
    }

    /// Which groups a batch gives.
    pub fn mode(&self) -> OutputMode {
        self.mode
    }

    /// Whether its rows are groups as they are now, or changes. Whether it takes changes, its input's columns say.
    pub fn gives(&self) -> Gives {
        self.gives
    }

    pub(super) fn fitted(&self, operator: String, mode: OutputMode, gives: Gives, input: LogicalPlan) -> Result<Self> {
        let aggregate = aggregate_over(input, self.aggregate.group_expr.clone(), self.aggregate.aggr_expr.clone(), gives)?;
        Ok(Self { schema: schema_of(&aggregate, self.window.as_ref())?, aggregate, operator, mode, gives, ..self.clone() })
    }

    /// The same by whole windows instead of slices: rows that may be taken back are kept window by window.
    pub(super) fn by_whole_windows(&self) -> crate::error::Result<Self> {
        let Some(window) = &self.window else { return Ok(self.clone()) };
        let name = window.window().name();
        let counts_late = self.event_time.as_ref().is_some_and(|column| column.name == *name);
        let (input, is_latest) = window.expanded(self.input().clone(), counts_late)?;
        let whole = |key: &Expr| match key.try_as_col() {
            Some(column) if column == window.slice() => Expr::Column(Column::new_unqualified(name)),
            _ => key.clone(),
        };
        let keys = self.aggregate.group_expr.iter().map(whole).collect();
        let aggregate = Aggregate::try_new(Arc::new(input), keys, self.aggregate.aggr_expr.clone())?;
        let once_per_row = is_latest.or_else(|| self.once_per_row.clone());
        Ok(Self { schema: Arc::clone(&aggregate.schema), aggregate, window: None, once_per_row, ..self.clone() })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// The columns of an aggregation with a window in the place of its slice.
fn schema_of(aggregate: &Aggregate, window: Option<&TimeWindowKey>) -> Result<DFSchemaRef> {
    let Some(window) = window else { return Ok(Arc::clone(&aggregate.schema)) };
    let fields = aggregate.schema.iter().map(|(qualifier, field)| {
        let is_slice = qualifier.is_none() && *field.name() == window.slice().name;
        let field = if is_slice { window.window() } else { field };
        (qualifier.cloned(), Arc::clone(field))
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), aggregate.schema.metadata().clone())?))
}

impl PartialOrd for StatefulAggregateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let parts = |node: &Self| (node.operator.clone(), node.mode, node.window.clone());
        let order = self.aggregate.partial_cmp(&other.aggregate)?.then(parts(self).partial_cmp(&parts(other))?);
        (order != Ordering::Equal || self == other).then_some(order)
    }
}

impl UserDefinedLogicalNodeCore for StatefulAggregateNode {
    fn name(&self) -> &str {
        "StatefulAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.aggregate.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.aggregate.group_expr.iter().chain(&self.aggregate.aggr_expr).cloned().collect()
    }

    // Predicates stay above (the default): the state must not depend on what is asked of it, and late rows are counted.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |exprs: &[Expr]| exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (keys, calls) = (list(&self.aggregate.group_expr), list(&self.aggregate.aggr_expr));
        write!(f, "StatefulAggregate: {} {}, keys=[{keys}], aggregates=[{calls}]", self.operator, self.mode)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let n_keys = self.aggregate.group_expr.len();
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return plan_err!("StatefulAggregate takes one input");
        };
        if exprs.len() != n_keys + self.aggregate.aggr_expr.len() {
            return plan_err!("StatefulAggregate takes its keys and aggregates");
        }
        let calls = exprs.split_off(n_keys);
        let aggregate = aggregate_over(input, exprs, calls, self.gives)?;
        Ok(Self { schema: schema_of(&aggregate, self.window.as_ref())?, aggregate, ..self.clone() })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // All keys and aggregates, whichever are asked for: the state has a shape of its own.
        let input = self.aggregate.input.schema();
        let mut needed: Vec<usize> = vec![];
        for expr in self.aggregate.group_expr.iter().chain(&self.aggregate.aggr_expr) {
            for column in expr.column_refs() {
                needed.push(input.maybe_index_of_column(column)?);
            }
        }
        if let Some(column) = &self.once_per_row {
            needed.push(input.maybe_index_of_column(column)?);
        }
        needed.extend(change_column(input.as_arrow()));
        needed.extend(late_row_column(input));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

fn aggregate_over(input: LogicalPlan, keys: Vec<Expr>, calls: Vec<Expr>, gives: Gives) -> Result<Aggregate> {
    let mut aggregate = Aggregate::try_new(Arc::new(input), keys, calls)?;
    if gives == Gives::Changes {
        aggregate.schema = with_change(&aggregate.schema)?;
    }
    Ok(aggregate)
}
