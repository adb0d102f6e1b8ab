//! The watermark of an event time: a logical node that passes all columns of its input through. The engine plans it; the
//! analyzer only says where it stands.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, DataFusionError, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

/// Says which column is the event time of its input and how late rows may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventTimeWatermarkNode {
    input: LogicalPlan,
    event_time: Expr,
    name: String,
    delay_us: i64,
    id: Option<String>,
    number: u32,
    sets_rows_aside: bool,
}

impl EventTimeWatermarkNode {
    /// Marks `event_time`, a column of `input` that the user calls `name`.
    pub fn try_new(input: LogicalPlan, event_time: Column, name: impl Into<String>, delay_us: i64) -> Result<Self> {
        if input.schema().maybe_index_of_column(&event_time).is_none() {
            return plan_err!("the watermark's column {event_time} is not in its input");
        }
        Ok(Self { input, event_time: Expr::Column(event_time), name: name.into(), delay_us, id: None, number: 0, sets_rows_aside: false })
    }

    /// The same node with the name by which a checkpoint knows it, and its number in the plan.
    #[must_use]
    pub fn called(self, id: impl Into<String>, number: u32) -> Self {
        Self { id: Some(id.into()), number, ..self }
    }

    /// Its number among the nodes of its plan; of no meaning from one start of a query to the next.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What a checkpoint calls it; what the user calls the event time, if nobody has said.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
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

    /// Rows may be set aside here, and are kept whole: all columns are read, used or not.
    #[must_use]
    pub fn setting_rows_aside(self) -> Self {
        Self { sets_rows_aside: true, ..self }
    }

    /// See [`Self::setting_rows_aside`].
    pub fn sets_rows_aside(&self) -> bool {
        self.sets_rows_aside
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

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // As in Spark: what does not look at the event time is asked below, so rows that it drops do not move the watermark.
        self.event_time.column_refs().into_iter().map(|column| column.name.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTimeWatermark: {} ({}), delay {} us", self.event_time, self.name, self.delay_us)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let ([event_time], Ok([input])) = (exprs.as_slice(), <[LogicalPlan; 1]>::try_from(inputs)) else {
            return plan_err!("EventTimeWatermark takes one expression and one input");
        };
        Ok(Self { input, event_time: event_time.clone(), ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        if self.sets_rows_aside {
            return Some(vec![(0..self.input.schema().fields().len()).collect()]);
        }
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
