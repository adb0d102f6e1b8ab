//! What our operators have in common: one adapter makes DataFusion operators of them.
//!
//! An [`Operator`] says what is its own: its name, what it needs of its inputs, what it promises of its rows, and how one
//! partition runs. [`OperatorExec`] holds its inputs and answers DataFusion. The number of inputs is part of the type, so
//! an operator takes its inputs apart without asking whether they are there.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions, apply_expression_roots};
use datafusion::physical_plan::filter_pushdown::{ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::stream::{self, BoxStream};
use futures::{Future, StreamExt};
use millstream_core::{Error, Result};

use super::stateful::watermark_lag_ms;
use crate::batch::{BatchScope, BatchWatermarks};
use crate::error::{from_datafusion, to_datafusion};

/// What one of our operators is, beside its `N` inputs. EXPLAIN shows its name and what its `Display` writes.
pub trait Operator<const N: usize = 1>: fmt::Debug + fmt::Display + Clone + Send + Sync + 'static {
    /// What plans call it.
    const NAME: &'static str;

    /// Schema, partitions and order of the rows it gives over these inputs.
    fn properties(&self, inputs: &[Arc<dyn ExecutionPlan>; N]) -> Arc<PlanProperties>;

    /// Starts one partition. Runs for every partition of every batch: what can be decided before belongs elsewhere.
    fn execute(&self, inputs: &[Arc<dyn ExecutionPlan>; N], task: OperatorTask) -> Result<OperatorRows>;

    /// The expressions that it evaluates.
    fn expressions(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    /// The same operator with those of the filters right above it that it applies itself, and which these are; nothing if there
    /// are none.
    fn with_filters(&self, filters: &[&Arc<dyn PhysicalExpr>]) -> Option<(Self, Vec<bool>)> {
        let _ = filters;
        None
    }

    /// How the rows of its inputs must lie in partitions: one with state by key asks for them by hash of that key.
    fn input_distribution(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution; N])
    }

    /// Whether the rows of an input go on in their order. DataFusion moves sorts below an operator that says so.
    fn maintains_input_order(&self) -> [bool; N] {
        [false; N]
    }
}

/// Rows of the input, partition by partition, in no order that DataFusion may count on.
pub fn unordered(input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
    unordered_as(input.schema(), input)
}

/// Some rows of the input, partition by partition, in their order.
pub fn in_input_order(input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        input.equivalence_properties().clone(),
        Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
        input.pipeline_behavior(),
        input.boundedness(),
    ))
}

/// As [`unordered`], with other columns.
pub fn unordered_as(schema: SchemaRef, input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
        input.pipeline_behavior(),
        input.boundedness(),
    ))
}

/// The rows of one partition.
pub type OperatorRows = BoxStream<'static, DfResult<RecordBatch>>;

/// One partition of an operator in one batch.
#[derive(Debug, Clone)]
pub struct OperatorTask {
    /// Which partition.
    pub partition: usize,
    /// The batch's facts and report.
    pub scope: Arc<BatchScope>,
    /// What is late and what is final here: above a join both come later.
    pub watermarks: BatchWatermarks,
    /// The schema that the operator promised.
    pub schema: SchemaRef,
    /// DataFusion's context: memory, spill files, settings.
    pub ctx: Arc<TaskContext>,
}

impl OperatorTask {
    /// Starts the same partition of an input.
    pub fn rows_of(&self, input: &Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        input.execute(self.partition, Arc::clone(&self.ctx)).map_err(from_datafusion)
    }
}

/// One partition that makes its rows chunk by chunk and has something to tidy up when it fails.
pub trait OperatorRun: Send + 'static {
    /// The next rows, or `None` after the last, when all that had to be reported has been.
    fn next_rows(&mut self) -> impl Future<Output = Result<Option<RecordBatch>>> + Send;

    /// It has failed: removes what it had staged, as far as it goes.
    fn abort(&mut self) -> impl Future<Output = ()> + Send;
}

/// The rows of a run, until its end or its first error.
pub fn rows_of_run(run: impl OperatorRun) -> OperatorRows {
    stream::try_unfold(run, |mut run| async move {
        match run.next_rows().await {
            Ok(rows) => Ok(rows.map(|rows| (rows, run))),
            Err(error) => {
                run.abort().await;
                Err(to_datafusion(error))
            }
        }
    })
    .boxed()
}

/// An [`Operator`] over its inputs, as DataFusion sees it.
#[derive(Debug, Clone)]
pub struct OperatorExec<O, const N: usize = 1> {
    pub(super) operator: O,
    pub(super) inputs: [Arc<dyn ExecutionPlan>; N],
    properties: Arc<PlanProperties>,
    /// How far event times may be behind the watermark here.
    lag_ms: i64,
}

impl<const N: usize, O: Operator<N>> OperatorExec<O, N> {
    /// The operator over `inputs`.
    pub fn over(operator: O, inputs: [Arc<dyn ExecutionPlan>; N]) -> Self {
        let properties = operator.properties(&inputs);
        let lag_ms = watermark_lag_ms(&inputs);
        Self { operator, inputs, properties, lag_ms }
    }

    /// The same operator over inputs with the properties of the old ones: its own need not be found again.
    #[must_use]
    pub fn over_alike(&self, inputs: [Arc<dyn ExecutionPlan>; N]) -> Self {
        Self { operator: self.operator.clone(), inputs, properties: Arc::clone(&self.properties), lag_ms: self.lag_ms }
    }
}

impl<const N: usize, O: Operator<N>> DisplayAs for OperatorExec<O, N> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", O::NAME, self.operator)
    }
}

impl<const N: usize, O: Operator<N>> ExecutionPlan for OperatorExec<O, N> {
    fn name(&self) -> &str {
        O::NAME
    }

    fn static_name() -> &'static str {
        O::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.operator.input_distribution()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.operator.maintains_input_order().to_vec()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Sources and exchanges decide how many partitions a batch has; none is put in for an operator's sake.
        vec![false; N]
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(self.operator.expressions(), f)
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        from_above: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters: Vec<_> = from_above.parent_filters.iter().map(|result| &result.filter).collect();
        // Later ones change while a batch runs.
        let taken = (phase == FilterPushdownPhase::Pre).then(|| self.operator.with_filters(&filters)).flatten();
        let Some((operator, is_taken)) = taken else { return Ok(FilterPushdownPropagation::all_unsupported(from_above)) };
        let answers = is_taken.into_iter().map(|taken| if taken { PushedDown::Yes } else { PushedDown::No }).collect();
        let filtering: Arc<dyn ExecutionPlan> = Arc::new(Self::over(operator, self.inputs.clone()));
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(answers).with_updated_node(filtering))
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let inputs = <[_; N]>::try_from(children)
            .map_err(|children| to_datafusion(Error::internal(format!("{} takes {N} inputs and was given {}", O::NAME, children.len()))))?;
        Ok(Arc::new(match options.children_properties {
            ChildrenPropertiesMode::Keep => self.over_alike(inputs),
            ChildrenPropertiesMode::Recompute => Self::over(self.operator.clone(), inputs),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, ctx: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let start = || {
            let scope = BatchScope::of(&ctx)?;
            let watermarks = scope.facts.watermarks.lagging(self.lag_ms);
            let task = OperatorTask { partition, scope, watermarks, schema: self.schema(), ctx: Arc::clone(&ctx) };
            self.operator.execute(&self.inputs, task)
        };
        let rows = start().map_err(to_datafusion)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

#[cfg(test)]
mod tests;
