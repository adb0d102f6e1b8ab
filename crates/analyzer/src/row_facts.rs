//! Values that are known only when a row's batch runs: `current_timestamp()`, `rand()`, `uuid()`,
//! `monotonically_increasing_id()`, `spark_partition_id()`.
//!
//! They are columns of a [`RowFactNode`] and not calls. DataFusion's `now()` becomes a literal when a plan is optimised, and a
//! stream is planned once for all its batches; and a function sees neither the partition nor the batch, so a call would draw
//! anew when a batch is run again.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::types::timestamp;

/// What is appended to each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowFact {
    /// The batch's processing time, the same in all rows of a batch.
    BatchTime,
    /// The number of the partition.
    PartitionId,
    /// The number of the partition in the upper 31 bits, of the row in it in the lower 33.
    RowId,
    /// A uniform number in `[0, 1)`.
    Rand(Seed),
    /// A number of the standard normal distribution.
    Randn(Seed),
    /// A random UUID as text.
    Uuid(Seed),
    /// Any 64 bits, for functions that draw themselves.
    Bits(Seed),
}

/// Where a generator starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seed {
    /// The user's: the same numbers in every run and batch, those of Spark.
    Given(i64),
    /// Of the query and the batch, so that a batch that is run again draws the same; the number tells calls apart.
    OfBatch(u64),
}

impl RowFact {
    /// Whether it is drawn from a seed of the user's.
    pub(crate) fn has_given_seed(&self) -> bool {
        matches!(self, Self::Rand(Seed::Given(_)) | Self::Randn(Seed::Given(_)) | Self::Uuid(Seed::Given(_)) | Self::Bits(Seed::Given(_)))
    }

    /// The type of the column.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::BatchTime => timestamp(),
            Self::PartitionId => DataType::Int32,
            Self::RowId | Self::Bits(_) => DataType::Int64,
            Self::Rand(_) | Self::Randn(_) => DataType::Float64,
            Self::Uuid(_) => DataType::Utf8,
        }
    }
}

/// Appends one column, never null.
#[derive(Debug, Clone)]
pub struct RowFactNode {
    input: LogicalPlan,
    column: String,
    fact: RowFact,
    schema: DFSchemaRef,
}

impl RowFactNode {
    /// Appends the fact as `column`, which no column of `input` may be called.
    pub fn try_new(input: LogicalPlan, column: impl Into<String>, fact: RowFact) -> Result<Self> {
        let column = column.into();
        let added = (None, Arc::new(Field::new(&column, fact.data_type(), false)));
        let fields = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).chain([added]).collect();
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(Self { input, column, fact, schema: Arc::new(schema) })
    }

    /// The rows.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// Name of the appended column; it is the last one.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// What is appended.
    pub fn fact(&self) -> RowFact {
        self.fact
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl UserDefinedLogicalNodeCore for RowFactNode {
    fn name(&self) -> &str {
        "RowFact"
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
        match self.fact {
            // Anything that does not look at the time itself may be asked below.
            RowFact::BatchTime => HashSet::from([self.column.clone()]),
            // A filter below would give other rows the numbers: rows that a filter drops have theirs too.
            _ => self.schema.fields().iter().map(|field| field.name().clone()).collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowFact: {} ({:?})", self.column, self.fact)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Self::try_new(input, self.column.clone(), self.fact),
            Err(inputs) => plan_err!("RowFact takes one input, not {}", inputs.len()),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let n_input = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|idx| *idx < n_input).collect()])
    }
}

impl PartialEq for RowFactNode {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && self.fact == other.fact && self.input == other.input
    }
}

impl Eq for RowFactNode {}

impl Hash for RowFactNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.fact.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for RowFactNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (&self.column, self.fact).partial_cmp(&(&other.column, other.fact)) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}
