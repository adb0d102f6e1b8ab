//! The adapter, with an operator of two inputs and a run that fails.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::config::SessionConfig;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::execution_plan::{InvariantLevel, replace_children_if_necessary};
use futures::TryStreamExt;
use millstream_core::{BatchId, QueryId, RunEpoch};

use super::*;
use crate::batch::{BatchFacts, BatchWatermarks};

/// Gives the rows of its right input, then those of its left one.
#[derive(Debug, Clone)]
struct RightThenLeft {
    key: Arc<dyn PhysicalExpr>,
}

impl fmt::Display for RightThenLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key={}", self.key)
    }
}

impl Operator<2> for RightThenLeft {
    const NAME: &'static str = "RightThenLeftExec";

    fn properties(&self, [left, _]: &[Arc<dyn ExecutionPlan>; 2]) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::clone(left.properties()))
    }

    fn execute(&self, [left, right]: &[Arc<dyn ExecutionPlan>; 2], task: OperatorTask) -> Result<OperatorRows> {
        Ok(task.rows_of(right)?.chain(task.rows_of(left)?).boxed())
    }

    fn expressions(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.key]
    }

    fn input_distribution(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::co_partitioned(vec![Distribution::KeyPartitioned(vec![Arc::clone(&self.key)]); 2])
    }

    fn maintains_input_order(&self) -> [bool; 2] {
        [true, false]
    }
}

#[tokio::test]
async fn an_operator_of_two_inputs_is_a_datafusion_operator() {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("n", 0));
    let exec = OperatorExec::over(RightThenLeft { key: Arc::clone(&key) }, [rows(&[1, 2]), rows(&[3])]);
    exec.check_invariants(InvariantLevel::Always).unwrap();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(exec);

    assert_eq!(plan.children().len(), 2);
    assert_eq!(plan.maintains_input_order(), [true, false]);
    assert!(displayable(plan.as_ref()).indent(false).to_string().starts_with("RightThenLeftExec: key=n@0\n"));
    let wants_key = |distribution: &Distribution| matches!(distribution, Distribution::KeyPartitioned(keys) if keys.len() == 1);
    assert!(plan.input_distribution_requirements().per_child_distributions().all(wants_key));
    let mut evaluated = Vec::new();
    plan.apply_expressions(&mut |expr| {
        evaluated.push(Arc::clone(expr));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    assert_eq!(evaluated, [key]);
    assert_eq!(run(&plan).await.unwrap(), [3, 1, 2]);
}

#[tokio::test]
async fn new_inputs_take_the_place_of_the_old_ones() {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("n", 0));
    let (left, right) = (rows(&[1]), rows(&[2]));
    let plan: Arc<dyn ExecutionPlan> = Arc::new(OperatorExec::over(RightThenLeft { key }, [Arc::clone(&left), Arc::clone(&right)]));

    let replaced = replace_children_if_necessary(Arc::clone(&plan), vec![left, rows(&[7])]).unwrap();
    assert!(replaced.is::<OperatorExec<RightThenLeft, 2>>());
    assert!(!Arc::ptr_eq(replaced.properties(), plan.properties()), "found again for inputs with other properties");
    assert_eq!(run(&replaced).await.unwrap(), [7, 1]);

    let again = Arc::clone(&plan).reset_state().unwrap();
    assert!(Arc::ptr_eq(again.properties(), plan.properties()), "kept for inputs with the same properties");
    assert_eq!(run(&again).await.unwrap(), [2, 1]);

    let error = plan.replace_children(vec![right], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)).unwrap_err();
    assert_eq!(from_datafusion(error).message(), "RightThenLeftExec takes 2 inputs and was given 1");
}

#[tokio::test]
async fn an_operator_runs_only_within_a_batch() {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("n", 0));
    let exec = OperatorExec::over(RightThenLeft { key }, [rows(&[1]), rows(&[2])]);
    let Err(error) = exec.execute(0, Arc::new(TaskContext::default())) else { panic!("ran") };
    assert_eq!(from_datafusion(error).message(), "a Millstream operator was run outside a micro-batch");
}

/// Gives one chunk, then fails.
struct Failing {
    n_chunks: u32,
    aborted: Arc<AtomicBool>,
}

impl OperatorRun for Failing {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        self.n_chunks += 1;
        match self.n_chunks {
            1 => Ok(Some(chunk(&[1]))),
            _ => Err(Error::data("bad row")),
        }
    }

    async fn abort(&mut self) {
        self.aborted.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_run_that_fails_is_aborted_and_not_asked_again() {
    let aborted = Arc::new(AtomicBool::new(false));
    let mut rows = rows_of_run(Failing { n_chunks: 0, aborted: Arc::clone(&aborted) });
    assert_eq!(rows.next().await.unwrap().unwrap(), chunk(&[1]));
    assert!(!aborted.load(Ordering::Relaxed));
    assert_eq!(from_datafusion(rows.next().await.unwrap().unwrap_err()).message(), "bad row");
    assert!(aborted.load(Ordering::Relaxed));
    assert!(rows.next().await.is_none());
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn chunk(values: &[i64]) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
}

fn rows(values: &[i64]) -> Arc<dyn ExecutionPlan> {
    MemorySourceConfig::try_new_exec(&[vec![chunk(values)]], schema(), None).unwrap()
}

async fn run(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<i64>> {
    let facts = BatchFacts {
        query_id: QueryId(uuid::Uuid::nil()),
        epoch: RunEpoch(1),
        batch_id: BatchId(0),
        attempt: 0,
        clock_us: 0,
        watermarks: BatchWatermarks::EPOCH,
    };
    let config = SessionConfig::new().with_extension(Arc::new(BatchScope::new(
        facts,
        Arc::default(),
        Arc::new(millstream_core::SystemClock::default()),
    )));
    let ctx = Arc::new(TaskContext::default().with_session_config(config));
    let stream = plan.execute(0, ctx).map_err(from_datafusion)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(from_datafusion)?;
    Ok(batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}
