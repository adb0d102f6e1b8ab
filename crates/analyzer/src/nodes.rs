//! The logical nodes that DataFusion does not know: the batch's time, and the watermark of an event time.
//!
//! Both pass all columns of their input through. The engine plans them; the analyzer only says where they stand.
//! `current_timestamp()` is a column of [`BatchTimeNode`] and not a call, because DataFusion's `now()` becomes a
//! literal when a plan is optimised, and a stream is planned once for all its batches.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::types::timestamp;

/// Appends one column with the batch's processing time: `Timestamp(us, "UTC")`, never null, the same in all rows of a batch.
#[derive(Debug, Clone)]
pub struct BatchTimeNode {
    input: LogicalPlan,
    column: String,
    schema: DFSchemaRef,
}

impl BatchTimeNode {
    /// Appends the time as `column`, which no column of `input` may be called.
    pub fn try_new(input: LogicalPlan, column: impl Into<String>) -> Result<Self> {
        let column = column.into();
        let added = (None, Arc::new(Field::new(&column, timestamp(), false)));
        let fields = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).chain([added]).collect();
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(Self { input, column, schema: Arc::new(schema) })
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// Name of the appended column; it is the last one.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for BatchTimeNode {
    fn name(&self) -> &str {
        "BatchTime"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // Anything that does not look at the time itself may be asked below.
        HashSet::from([self.column.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchTime: {}", self.column)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::try_new(only_input("BatchTime", inputs)?, self.column.clone())
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let n_input = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|idx| *idx < n_input).collect()])
    }
}

impl PartialEq for BatchTimeNode {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && self.input == other.input
    }
}

impl Eq for BatchTimeNode {}

impl Hash for BatchTimeNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for BatchTimeNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.column.partial_cmp(&other.column) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

/// Says which column is the event time of its input and how late rows may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventTimeWatermarkNode {
    input: LogicalPlan,
    event_time: Expr,
    name: String,
    delay_us: i64,
}

impl EventTimeWatermarkNode {
    /// Marks `event_time`, a column of `input` that the user calls `name`.
    pub fn try_new(input: LogicalPlan, event_time: Column, name: impl Into<String>, delay_us: i64) -> Result<Self> {
        if input.schema().maybe_index_of_column(&event_time).is_none() {
            return plan_err!("the watermark's column {event_time} is not in its input");
        }
        Ok(Self { input, event_time: Expr::Column(event_time), name: name.into(), delay_us })
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// The event time's column of the input.
    pub fn event_time(&self) -> Result<&Column> {
        match &self.event_time {
            Expr::Column(column) => Ok(column),
            other => Err(DataFusionError::Plan(format!("the watermark's event time became {other}"))),
        }
    }

    /// What the user calls the event time.
    pub fn written_name(&self) -> &str {
        &self.name
    }

    /// How late rows may be, in microseconds.
    pub fn delay_us(&self) -> i64 {
        self.delay_us
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for EventTimeWatermarkNode {
    fn name(&self) -> &str {
        "EventTimeWatermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.event_time.clone()]
    }

    // Predicates stay above (the default): rows that a later filter drops move the watermark too, as in Spark.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTimeWatermark: {} ({}), delay {} us", self.event_time, self.name, self.delay_us)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [event_time] = exprs.as_slice() else {
            return plan_err!("EventTimeWatermark takes one expression");
        };
        Ok(Self {
            input: only_input("EventTimeWatermark", inputs)?,
            event_time: event_time.clone(),
            name: self.name.clone(),
            delay_us: self.delay_us,
        })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let Expr::Column(column) = &self.event_time else { return None };
        let event_time = self.input.schema().maybe_index_of_column(column)?;
        let mut needed = output_columns.to_vec();
        if !needed.contains(&event_time) {
            needed.push(event_time);
            needed.sort_unstable();
        }
        Some(vec![needed])
    }
}

impl PartialOrd for EventTimeWatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (&self.event_time, self.delay_us).partial_cmp(&(&other.event_time, other.delay_us)) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

fn only_input(name: &str, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    match <[LogicalPlan; 1]>::try_from(inputs) {
        Ok([input]) => Ok(input),
        Err(inputs) => plan_err!("{name} takes one input, not {}", inputs.len()),
    }
}
