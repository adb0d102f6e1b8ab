//! Appends a column of what is known only when a batch runs: its clock, a row's partition and number in it, random numbers.
//!
//! The clock is `current_timestamp()`, taken from the run's facts: DataFusion's `now()` would be frozen when the plan is made.
//! Without the user's seed the numbers start from the query, the batch and the partition, so that a batch that is run
//! again after a crash draws what it drew before.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::row_facts::{RowFact, Seed};
use millstream_core::Result;
use millstream_core::random::{SparkRandom, hash_seed};

use super::operator::{Operator, OperatorExec, OperatorRows, OperatorTask, unordered_as};
use crate::batch::BatchFacts;

/// Bits of [`RowFact::RowId`] for the row; the partition is above them.
const ROW_BITS: u32 = 33;

/// Appends one column. See the module's documentation.
pub type RowFactExec = OperatorExec<RowFactOperator>;

/// What a [`RowFactExec`] is, beside its input.
#[derive(Debug, Clone)]
pub struct RowFactOperator {
    fact: RowFact,
    column: String,
}

impl RowFactExec {
    /// Appends `fact` as `column`.
    pub fn new(input: Arc<dyn ExecutionPlan>, fact: RowFact, column: impl Into<String>) -> Self {
        Self::over(RowFactOperator { fact, column: column.into() }, [input])
    }

    /// What is appended.
    pub fn fact(&self) -> RowFact {
        self.operator.fact
    }

    /// Name of the appended column; it is the last one.
    pub fn column(&self) -> &str {
        &self.operator.column
    }
}

impl fmt::Display for RowFactOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fact)
    }
}

impl Operator for RowFactOperator {
    const NAME: &'static str = "RowFactExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        let mut fields = input.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(&self.column, self.fact.data_type(), false)));
        let schema = Schema::new_with_metadata(fields, input.schema().metadata().clone());
        unordered_as(Arc::new(schema), input)
    }

    fn maintains_input_order(&self) -> [bool; 1] {
        // Not said of numbers, so that no sort is moved below: they belong to the rows in the order in which they come.
        [self.fact == RowFact::BatchTime]
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let mut column = Column::new(self.fact, &task.scope.facts, task.partition);
        let rows = task.rows_of(input)?.map(move |batch| {
            let batch = batch?;
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            columns.push(column.next(batch.num_rows()));
            Ok(RecordBatch::try_new(Arc::clone(&task.schema), columns)?)
        });
        Ok(rows.boxed())
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
