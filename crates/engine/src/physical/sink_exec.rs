//! The root of a writing plan: every partition's rows go to one task writer, and one commit message per task comes out.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, LargeBinaryArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::{StreamExt, stream};
use millstream_core::{Error, Result, TaskId, TaskOutput, TaskWriter, WriterFactory, WriterSpec};

use super::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};
use crate::batch::BatchFacts;
use crate::error::{from_datafusion, to_datafusion};

static MESSAGE_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("task_id", DataType::UInt32, false),
        Field::new("n_rows", DataType::UInt64, false),
        Field::new("payload", DataType::LargeBinary, false),
    ]))
});

/// Writes its input to a sink. See the module's documentation.
pub type SinkExec = OperatorExec<SinkOperator>;

/// What a [`SinkExec`] is, beside its input.
#[derive(Debug, Clone)]
pub struct SinkOperator {
    spec: WriterSpec,
    writers: Arc<dyn WriterFactory>,
}

impl SinkExec {
    /// Writes `input` with `writers`, which must be the factory of `spec`.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: WriterSpec, writers: Arc<dyn WriterFactory>) -> Self {
        Self::over(SinkOperator { spec, writers }, [input])
    }

    /// The writer's spec.
    pub fn spec(&self) -> &WriterSpec {
        &self.operator.spec
    }
}

impl fmt::Display for SinkOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "format={}", self.spec.format)?;
        if !self.spec.partition_by.is_empty() {
            write!(f, ", partition_by=[{}]", self.spec.partition_by.join(", "))?;
        }
        Ok(())
    }
}

impl Operator for SinkOperator {
    const NAME: &'static str = "SinkExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&MESSAGE_SCHEMA)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        ))
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let (rows, writers, facts) = (task.rows_of(input)?, Arc::clone(&self.writers), task.scope.facts);
        let task_id = TaskId(u32::try_from(task.partition).map_err(|_| Error::internal("over 2^32 tasks"))?);
        let message = async move { write_all(rows, writers, facts, task_id).await.and_then(to_message).map_err(to_datafusion) };
        Ok(stream::once(message).boxed())
    }
}

/// Writes one task's rows. A task without rows opens no writer, unless its sink wants one, and says so with an
/// empty message.
async fn write_all(
    mut rows: SendableRecordBatchStream,
    writers: Arc<dyn WriterFactory>,
    facts: BatchFacts,
    task_id: TaskId,
) -> Result<Option<TaskOutput>> {
    let mut writer: Option<Box<dyn TaskWriter>> = None;
    let written = async {
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(from_datafusion)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(writers.open(facts.write_attempt(task_id)).await?),
            };
            writer.write(batch).await?;
        }
        if writer.is_none() && writers.opens_without_rows(task_id) {
            writer = Some(writers.open(facts.write_attempt(task_id)).await?);
        }
        Ok(())
    }
    .await;
    match (written, writer) {
        (Ok(()), None) => Ok(None),
        (Ok(()), Some(writer)) => writer.finish().await.map(Some),
        (Err(error), None) => Err(error),
        (Err(error), Some(writer)) => {
            if let Err(abort) = writer.abort().await {
                tracing::warn!(%task_id, error = %abort, "could not remove what a failed task had staged");
            }
            Err(error)
        }
    }
}

fn to_message(output: Option<TaskOutput>) -> Result<RecordBatch> {
    let Some(output) = output else { return Ok(RecordBatch::new_empty(Arc::clone(&MESSAGE_SCHEMA))) };
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(UInt32Array::from(vec![output.task_id.0])),
        Arc::new(UInt64Array::from(vec![output.n_rows])),
        Arc::new(LargeBinaryArray::from_iter_values([&output.payload])),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&MESSAGE_SCHEMA), columns)?)
}

/// The outputs in a batch of commit messages.
pub fn outputs_of(messages: &RecordBatch) -> Result<Vec<TaskOutput>> {
    let [tasks, rows, payloads] = messages.columns() else {
        return Err(Error::internal("a commit message without its columns"));
    };
    let (tasks, rows, payloads) =
        (tasks.as_primitive_opt::<UInt32Type>(), rows.as_primitive_opt::<UInt64Type>(), payloads.as_binary_opt::<i64>());
    let (Some(tasks), Some(rows), Some(payloads)) = (tasks, rows, payloads) else {
        return Err(Error::internal("a commit message with columns of other types"));
    };
    Ok((0..messages.num_rows())
        .map(|row| TaskOutput {
            task_id: TaskId(tasks.value(row)),
            n_rows: rows.value(row),
            payload: Bytes::copy_from_slice(payloads.value(row)),
        })
        .collect())
}
