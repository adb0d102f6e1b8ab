//! Appends a column of what is known only when a batch runs: its clock, a row's partition and number in it, random numbers.
//!
//! The clock is `current_timestamp()`, taken from the run's facts: DataFusion's `now()` would be frozen when the plan is made.
//! Without the user's seed the numbers start from the query, the batch and the partition, so that a batch that is run
//! again after a crash draws what it drew before.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::row_facts::{RowFact, Seed};
use millstream_core::random::{SparkRandom, hash_seed};

use crate::batch::{BatchFacts, BatchScope};
use crate::error::to_datafusion;

/// Bits of [`RowFact::RowId`] for the row; the partition is above them.
const ROW_BITS: u32 = 33;

/// Appends one column. See the module's documentation.
#[derive(Debug, Clone)]
pub struct RowFactExec {
    input: Arc<dyn ExecutionPlan>,
    fact: RowFact,
    properties: Arc<PlanProperties>,
}

impl RowFactExec {
    /// `schema` is the input's with one more column of the fact's type at the end.
    pub fn new(input: Arc<dyn ExecutionPlan>, fact: RowFact, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, fact, properties: Arc::new(properties) }
    }

    /// What is appended.
    pub fn fact(&self) -> RowFact {
        self.fact
    }
}

impl DisplayAs for RowFactExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowFactExec: {:?}", self.fact)
    }
}

impl ExecutionPlan for RowFactExec {
    fn name(&self) -> &str {
        "RowFactExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // Not said of numbers, so that no sort is moved below: they belong to the rows in the order in which they come.
        vec![self.fact == RowFact::BatchTime]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        if matches!(options.children_properties, ChildrenPropertiesMode::Keep) {
            return Ok(Arc::new(Self { input, ..Self::clone(&self) }));
        }
        // The input may have changed its columns (a projection was pushed through): ours follows.
        let Some(added) = self.schema().fields().last().cloned() else {
            return Err(to_datafusion(millstream_core::Error::internal("a row-fact operator without its column")));
        };
        let mut fields = input.schema().fields().to_vec();
        fields.push(added);
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        Ok(Arc::new(Self::new(input, self.fact, schema)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, ctx: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let facts = BatchScope::of(&ctx).map_err(to_datafusion)?.facts;
        let mut column = Column::new(self.fact, &facts, partition);
        let schema = self.schema();
        let out = Arc::clone(&schema);
        let rows = self.input.execute(partition, ctx)?.map(move |batch| {
            let batch = batch?;
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            columns.push(column.next(batch.num_rows()));
            Ok(RecordBatch::try_new(Arc::clone(&out), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The column of one partition, made batch by batch.
enum Column {
    BatchTime(i64),
    PartitionId(i32),
    RowId(i64),
    Rand(SparkRandom),
    Randn(SparkRandom),
    Uuid(SparkRandom),
    Bits(SparkRandom),
}

impl Column {
    fn new(fact: RowFact, facts: &BatchFacts, partition: usize) -> Self {
        let number = i64::try_from(partition).unwrap_or(i64::MAX);
        let random = |seed| SparkRandom::new(start(seed, facts).wrapping_add(number));
        match fact {
            RowFact::BatchTime => Self::BatchTime(facts.clock_us),
            RowFact::PartitionId => Self::PartitionId(i32::try_from(partition).unwrap_or(i32::MAX)),
            RowFact::RowId => Self::RowId(number << ROW_BITS),
            RowFact::Rand(seed) => Self::Rand(random(seed)),
            RowFact::Randn(seed) => Self::Randn(random(seed)),
            RowFact::Uuid(seed) => Self::Uuid(random(seed)),
            RowFact::Bits(seed) => Self::Bits(random(seed)),
        }
    }

    fn next(&mut self, n_rows: usize) -> ArrayRef {
        match self {
            Self::BatchTime(us) => Arc::new(TimestampMicrosecondArray::from_value(*us, n_rows).with_timezone("UTC")),
            Self::PartitionId(id) => Arc::new(Int32Array::from_value(*id, n_rows)),
            Self::RowId(next) => {
                let first = *next;
                *next = next.saturating_add(i64::try_from(n_rows).unwrap_or(i64::MAX));
                Arc::new(Int64Array::from_iter_values(first..*next))
            }
            Self::Rand(random) => Arc::new(Float64Array::from_iter_values((0..n_rows).map(|_| random.uniform()))),
            Self::Randn(random) => Arc::new(Float64Array::from_iter_values((0..n_rows).map(|_| random.normal()))),
            Self::Uuid(random) => Arc::new(StringArray::from_iter_values((0..n_rows).map(|_| {
                let (high, low) = (random.long() as u64, random.long() as u64);
                uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid().to_string()
            }))),
            Self::Bits(random) => Arc::new(Int64Array::from_iter_values((0..n_rows).map(|_| random.long()))),
        }
    }
}

/// The seed of partition 0.
fn start(seed: Seed, facts: &BatchFacts) -> i64 {
    match seed {
        Seed::Given(seed) => seed,
        Seed::OfBatch(call) => {
            let (high, low) = facts.query_id.0.as_u64_pair();
            [high, low, facts.batch_id.0, call].into_iter().fold(0, |hash, part| hash_seed(hash ^ part as i64))
        }
    }
}

#[cfg(test)]
mod tests;
