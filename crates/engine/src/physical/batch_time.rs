//! Appends the batch's clock as a column: the value of `current_timestamp()`.
//!
//! DataFusion's `now()` becomes a literal when the plan is optimised; a plan that is made once and run for every batch
//! would be frozen at its start time. This operator takes the time from the run's facts instead.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::StreamExt;

use crate::batch::BatchScope;
use crate::error::to_datafusion;

/// Appends one timestamp column. See the module's documentation.
#[derive(Debug, Clone)]
pub struct BatchTimeExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl BatchTimeExec {
    /// `schema` is the input's with one more column, `Timestamp(us, "UTC")`, at the end.
    pub fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for BatchTimeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchTimeExec")
    }
}

impl ExecutionPlan for BatchTimeExec {
    fn name(&self) -> &str {
        "BatchTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        let Some(time) = self.schema().fields().last().cloned() else {
            return Err(to_datafusion(millstream_core::Error::internal("a batch-time operator without its column")));
        };
        let mut fields = input.schema().fields().to_vec();
        fields.push(time);
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        Ok(Arc::new(Self::new(input, schema)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, ctx: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let clock_us = BatchScope::of(&ctx).map_err(to_datafusion)?.facts.clock_us;
        let schema = self.schema();
        let out = Arc::clone(&schema);
        let rows = self.input.execute(partition, ctx)?.map(move |batch| {
            let batch = batch?;
            let time = TimestampMicrosecondArray::from_value(clock_us, batch.num_rows()).with_timezone("UTC");
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            columns.push(Arc::new(time));
            Ok(RecordBatch::try_new(Arc::clone(&out), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
