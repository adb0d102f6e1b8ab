//! Where a plan runs: one trait between the micro-batch loop and the engine that executes plans.
//!
//! The loop calls [`StageRunner::run`] once per attempt and gets one commit message per task. A runner may run a task
//! twice, but counts its result once; it never commits anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use millstream_core::{Clock, Error, Result, TaskOutput};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::batch::{BatchFacts, BatchReport, BatchScope};
use crate::error::{from_datafusion, panic_text};
use crate::physical::sink_exec::outputs_of;
use crate::physical::stateful::QueryState;

/// The main sink's name in the checkpoint and in outcomes.
pub const MAIN_SINK: &str = "main";

/// What one run of a writing plan gave: outputs by sink name, and the tasks' reports.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// One output per task that wrote something, by sink.
    pub outputs: BTreeMap<String, Vec<TaskOutput>>,
    /// What the tasks counted.
    pub report: BatchReport,
}

/// Executes finite plans. See the module's documentation.
#[async_trait]
pub trait StageRunner: Send + Sync + fmt::Debug {
    /// Runs a plan whose root is a [`SinkExec`](crate::physical::SinkExec) for one attempt at one micro-batch.
    /// Dropping the future cancels its tasks; after that, and after an error, the state is not to be used any more.
    async fn run(&self, plan: Arc<dyn ExecutionPlan>, facts: BatchFacts, state: Arc<QueryState>) -> Result<RunOutcome>;

    /// Runs a plan that gives rows (interactive queries), partition by partition in order.
    async fn collect(&self, plan: Arc<dyn ExecutionPlan>, facts: BatchFacts) -> Result<(Vec<RecordBatch>, BatchReport)>;
}

/// Runs plans in this process: one tokio task per partition.
#[derive(Debug)]
pub struct LocalRunner {
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    clock: Arc<dyn Clock>,
}

impl LocalRunner {
    /// A runner with DataFusion's configuration and shared memory pool; the clock says how long work takes.
    pub fn new(config: SessionConfig, runtime: Arc<RuntimeEnv>, clock: Arc<dyn Clock>) -> Self {
        Self { config, runtime, clock }
    }

    async fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        facts: BatchFacts,
        state: Arc<QueryState>,
    ) -> Result<(Vec<Vec<RecordBatch>>, BatchReport)> {
        let scope = Arc::new(BatchScope::new(facts, state, Arc::clone(&self.clock)));
        let _end = RunEnd(Arc::clone(&scope));
        let ctx = Arc::new(self.task_context(Arc::clone(&scope)));
        let n_partitions = plan.output_partitioning().partition_count();
        let mut partitions: Vec<Vec<RecordBatch>> = vec![Vec::new(); n_partitions];
        let mut tasks = JoinSet::new();
        for partition in 0..n_partitions {
            let (plan, ctx) = (Arc::clone(&plan), Arc::clone(&ctx));
            let task = async move {
                let mut stream = plan.execute(partition, ctx).map_err(from_datafusion)?;
                let mut batches = Vec::new();
                while let Some(batch) = stream.next().await {
                    batches.push(batch.map_err(from_datafusion)?);
                }
                Ok::<_, Error>((partition, batches))
            };
            tasks.spawn(task.instrument(tracing::debug_span!("task", id = partition)));
        }
        while let Some(ended) = tasks.join_next().await {
            let (partition, batches) = ended.map_err(task_died)??;
            if let Some(slot) = partitions.get_mut(partition) {
                *slot = batches;
            }
        }
        read_what_was_left(&scope).await?;
        Ok((partitions, scope.take_report()))
    }

    fn task_context(&self, scope: Arc<BatchScope>) -> TaskContext {
        TaskContext::new(
            None,
            scope.facts.query_id.to_string(),
            self.config.clone().with_extension(scope),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::clone(&self.runtime),
        )
    }
}

/// Reads the rows of streams that no operator asked for, and those that are left while these are read.
async fn read_what_was_left(scope: &BatchScope) -> Result<()> {
    loop {
        let unread = scope.take_unread();
        if unread.is_empty() {
            return Ok(());
        }
        // Side by side: an exchange may want all of its readers.
        try_join_all(unread.into_iter().map(|rows| async move {
            let mut rows = rows;
            while rows.try_next().await?.is_some() {}
            Ok(())
        }))
        .await
        .map_err(from_datafusion)?;
    }
}

/// Ends a run, however it ends.
struct RunEnd(Arc<BatchScope>);

impl Drop for RunEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A panic in a task (a user's function, a defect) fails the query, not the process.
fn task_died(error: tokio::task::JoinError) -> Error {
    if error.is_cancelled() {
        return Error::cancelled("the task was cancelled");
    }
    Error::internal(format!("a task panicked: {}", panic_text(error.into_panic().as_ref())))
}

#[async_trait]
impl StageRunner for LocalRunner {
    async fn run(&self, plan: Arc<dyn ExecutionPlan>, facts: BatchFacts, state: Arc<QueryState>) -> Result<RunOutcome> {
        let (messages, mut report) = self.execute(plan, facts, state).await?;
        let mut outcome = RunOutcome::default();
        let main = outcome.outputs.entry(MAIN_SINK.to_owned()).or_default();
        for batch in messages.iter().flatten() {
            main.extend(outputs_of(batch)?);
        }
        for (sink, output) in std::mem::take(&mut report.side_outputs) {
            outcome.outputs.entry(sink).or_default().push(output);
        }
        outcome.report = report;
        Ok(outcome)
    }

    async fn collect(&self, plan: Arc<dyn ExecutionPlan>, facts: BatchFacts) -> Result<(Vec<RecordBatch>, BatchReport)> {
        let (partitions, report) = self.execute(plan, facts, Arc::default()).await?;
        Ok((partitions.into_iter().flatten().collect(), report))
    }
}
