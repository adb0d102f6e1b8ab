//! Removing duplicates from a stream: the first row of each key passes, its key is remembered.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore};

use super::changes::change_column;
use super::groups_with_state::NamedColumn;
use super::late_row::{late_row_column, without_late_row};

/// How long a key is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Until the watermark passes the event time among the key's columns; for ever if there is none
    /// (`dropDuplicates`).
    WithKey,
    /// Until the watermark passes the event time of the first row and the watermark's delay
    /// (`dropDuplicatesWithinWatermark`).
    WithinWatermark {
        /// The watermark's delay, microseconds.
        delay_us: i64,
    },
}

/// Lets the first row of each key pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeduplicateNode {
    input: LogicalPlan,
    schema: DFSchemaRef,
    relation: Vec<NamedColumn>,
    keys: Vec<Expr>,
    key_names: Vec<String>,
    event_time: Option<Column>,
    kept: Kept,
    operator: String,
}

impl DeduplicateNode {
    /// Removes duplicates by `keys`, columns of `input`. `event_time` is the column of `input` that carries the event time;
    /// it counts when it is a key, or when keys are kept within the watermark.
    pub fn new(input: LogicalPlan, keys: Vec<Column>, key_names: Vec<String>, event_time: Option<Column>, kept: Kept) -> Self {
        let keys = keys.into_iter().map(Expr::Column).collect();
        let schema = Arc::clone(input.schema());
        Self { input, schema, relation: Vec::new(), keys, key_names, event_time, kept, operator: String::new() }
    }

    /// The columns of the rows by the user's names.
    #[must_use]
    pub fn of_relation(self, relation: Vec<NamedColumn>) -> Self {
        Self { relation, ..self }
    }

    /// See [`Self::of_relation`].
    pub fn relation(&self) -> &[NamedColumn] {
        &self.relation
    }

    /// The column by which rows are late: a key without event time is remembered for ever, so none is late for it, as in Spark.
    pub fn late_by(&self) -> Option<&Column> {
        self.event_time().filter(|_| self.has_event_time_key() || matches!(self.kept, Kept::WithinWatermark { .. }))
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// The key's columns.
    pub fn keys(&self) -> &[Expr] {
        &self.keys
    }

    /// What the user calls the key's columns.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// The column of the event time.
    pub fn event_time(&self) -> Option<&Column> {
        self.event_time.as_ref()
    }

    /// Whether the event time is one of the key's columns.
    pub fn has_event_time_key(&self) -> bool {
        let event_time = self.event_time.as_ref().map(|event_time| Expr::Column(event_time.clone()));
        event_time.is_some_and(|event_time| self.keys.contains(&event_time))
    }

    /// How long a key is remembered.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The operator's name in checkpoints and progress.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// The same of a whole result, anew in each batch: the first row of each key, which nobody remembers.
    pub(super) fn of_whole_result(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        let first = datafusion::functions_aggregate::first_last::first_value_udaf();
        let columns = input.schema().columns();
        let is_key = |column: &Column| self.keys.contains(&Expr::Column(column.clone()));
        let taken = |column: &Column| format!("{}'", column.name);
        let others = columns.iter().filter(|column| !is_key(column));
        let calls = others.map(|column| first.call(vec![Expr::Column(column.clone())]).alias(taken(column))).collect();
        let grouped = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), self.keys.clone(), calls)?);
        let exprs = columns.iter().map(|column| match is_key(column) {
            true => Expr::Column(column.clone()),
            false => Expr::Column(Column::new_unqualified(taken(column))).alias_qualified(column.relation.clone(), &column.name),
        });
        Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(grouped))?))
    }

    pub(super) fn fitted(&self, operator: String, input: LogicalPlan) -> Result<Self> {
        Ok(Self { operator, schema: without_late_row(input.schema())?, input, ..self.clone() })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for DeduplicateNode {
    fn name(&self) -> &str {
        "Deduplicate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    // Predicates stay above (the default): which row is the first must not depend on what is asked of it.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "Deduplicate: {}, keys=[{keys}], kept={:?}", self.operator, self.kept)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return plan_err!("Deduplicate takes one input");
        };
        if exprs != self.keys {
            return plan_err!("Deduplicate's keys are columns and cannot become {exprs:?}");
        }
        Ok(Self { schema: without_late_row(input.schema())?, input, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let asked = output_columns.iter().map(|idx| input.maybe_index_of_column(&Column::from(self.schema.qualified_field(*idx))));
        let mut needed = asked.collect::<Option<Vec<_>>>()?;
        needed.extend(late_row_column(input));
        let keys = self.keys.iter().filter_map(|key| key.try_as_col());
        for column in keys.chain(self.event_time.as_ref()) {
            needed.push(self.input.schema().maybe_index_of_column(column)?);
        }
        needed.extend(change_column(self.input.schema().as_arrow()));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

impl PartialOrd for DeduplicateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.input.partial_cmp(&other.input) {
            Some(Ordering::Equal) if self != other => None,
            order => order,
        }
    }
}
