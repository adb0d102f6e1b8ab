//! The source operator: rows of split descriptions in, the source's rows out, bad records set aside.
//!
//! It has one child, the memory leaf of splits (see [`super::splits`]), and is therefore not a leaf itself. Dead
//! letters are written by the same task through a side sink and reported with the task's commit message.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::{StreamExt, stream};
use millstream_core::{ReaderSpec, RejectedRecord, Result, Split, SplitChunk, SplitReader, SplitStream};

use super::dead_letters::{DeadLetterWriter, DeadLetters};
use super::splits::{split_leaf, splits_of};
use crate::batch::{BatchScope, SourceCounts};
use crate::error::to_datafusion;

/// Reads the splits of one source. See the module's documentation.
#[derive(Debug, Clone)]
pub struct SourceExec {
    name: String,
    spec: ReaderSpec,
    reader: Arc<dyn SplitReader>,
    dead_letters: Option<DeadLetters>,
    is_streaming: bool,
    splits: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    /// Reads `splits` (a leaf of split rows) with `reader`, which must be the reader of `spec`.
    pub fn new(
        name: String,
        spec: ReaderSpec,
        reader: Arc<dyn SplitReader>,
        dead_letters: Option<DeadLetters>,
        splits: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(reader.schema()),
            Partitioning::UnknownPartitioning(splits.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { name, spec, reader, dead_letters, is_streaming: false, splits, properties: Arc::new(properties) }
    }

    /// The same operator over a stream: what it reads is read once and for all, so it is read to its end (see
    /// `is_unread`).
    #[must_use]
    pub fn streaming(mut self, is_streaming: bool) -> Self {
        self.is_streaming = is_streaming;
        self
    }

    /// Whether it reads a stream.
    pub fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// Whether a partition of a stream was left alone by the operators above: a join with an empty side does not look at
    /// its other side. Its records would be gone without being counted, the bad ones without a dead letter.
    pub(crate) fn is_unread(&self, partition: usize, scope: &BatchScope) -> bool {
        self.is_streaming && !scope.is_opened(self.key(), partition)
    }

    /// Tells this operator of a plan apart from the others while the plan lives.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The source's name, by which its splits are found.
    pub fn source_name(&self) -> &str {
        &self.name
    }

    /// The reader's spec.
    pub fn spec(&self) -> &ReaderSpec {
        &self.spec
    }

    /// Where bad records go.
    pub fn dead_letters(&self) -> Option<&DeadLetters> {
        self.dead_letters.as_ref()
    }

    /// The same operator over other splits; its properties stay.
    pub fn with_splits(&self, splits: &[Split]) -> Result<Self> {
        let n_partitions = self.properties.partitioning.partition_count();
        Ok(Self { splits: split_leaf(splits, n_partitions)?, ..self.clone() })
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.schema().fields().iter().map(|field| shown(field)).collect::<Vec<_>>().join(", ");
        write!(f, "SourceExec: source={}, format={}, columns=[{columns}]", self.name, self.spec.format)
    }
}

/// A column with the fields that are read of it: `Records.{eventTime, userIdentity.{arn}}`.
fn shown(field: &Field) -> String {
    fn fields_of(data_type: &DataType) -> Option<&Fields> {
        match data_type {
            DataType::Struct(fields) => Some(fields),
            DataType::List(element) | DataType::LargeList(element) => fields_of(element.data_type()),
            _ => None,
        }
    }
    match fields_of(field.data_type()) {
        Some(fields) => {
            let fields = fields.iter().map(|field| shown(field)).collect::<Vec<_>>().join(", ");
            format!("{}.{{{fields}}}", field.name())
        }
        None => field.name().clone(),
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.splits]
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
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let splits = children.swap_remove(0);
        let same_partitions = splits.output_partitioning().partition_count() == self.properties.partitioning.partition_count();
        Ok(Arc::new(match same_partitions {
            true => Self { splits, ..Self::clone(&self) },
            false => Self::new(self.name.clone(), self.spec.clone(), Arc::clone(&self.reader), self.dead_letters.clone(), splits)
                .streaming(self.is_streaming),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, ctx: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let scope = BatchScope::of(&ctx).map_err(to_datafusion)?;
        let letters = self.dead_letters.clone().map(|target| DeadLetterWriter::new(target, Arc::clone(&scope), 0, partition));
        let run = SplitRun {
            letters: letters.transpose().map_err(to_datafusion)?,
            place: Some((self.key(), partition)),
            scope,
            splits: self.splits.execute(partition, ctx)?,
            name: self.name.clone(),
            reader: Arc::clone(&self.reader),
            waiting: VecDeque::new(),
            open: None,
            counts: SourceCounts::default(),
        };
        let rows = stream::try_unfold(Some(run), |run| async move {
            let Some(mut run) = run else { return Ok(None) };
            match run.next_rows().await {
                Ok(Some(rows)) => Ok(Some((rows, Some(run)))),
                Ok(None) => Ok(None),
                Err(error) => {
                    run.abort().await;
                    Err(to_datafusion(error))
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// One task's walk over its splits.
struct SplitRun {
    scope: Arc<BatchScope>,
    /// The operator and partition that it reads for, until it has begun.
    place: Option<(usize, usize)>,
    splits: SendableRecordBatchStream,
    name: String,
    reader: Arc<dyn SplitReader>,
    letters: Option<DeadLetterWriter>,
    waiting: VecDeque<Split>,
    open: Option<SplitStream>,
    counts: SourceCounts,
}

impl SplitRun {
    /// The next rows, or `None` after the last split, when counts and dead letters have been reported.
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        if let Some((operator, partition)) = self.place.take() {
            // Not before: an operator above may make the stream and never look at it.
            self.scope.open(operator, partition);
        }
        if self.open.is_some() {
            // A task that never has to wait for its input would not notice that its batch was cancelled.
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(open) = &mut self.open {
                match open.next().await.transpose()? {
                    Some(chunk) => {
                        let rows = self.take(chunk).await?;
                        if rows.num_rows() > 0 {
                            return Ok(Some(rows));
                        }
                    }
                    None => self.open = None,
                }
                continue;
            }
            if let Some(split) = self.waiting.pop_front() {
                self.open = Some(self.reader.read(&split).await?);
                continue;
            }
            match self.splits.next().await.transpose().map_err(crate::error::from_datafusion)? {
                Some(batch) => self.waiting.extend(splits_of(&batch)?),
                None => {
                    self.end().await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn take(&mut self, chunk: SplitChunk) -> Result<RecordBatch> {
        let n_rejected = chunk.rejected.len() as u64;
        let n_rows = chunk.rows.num_rows() as u64;
        if chunk.n_records != n_rows + chunk.n_dropped + n_rejected {
            return Err(millstream_core::Error::internal(format!(
                "source '{}' read {} records but gave {n_rows} rows, dropped {} and rejected {n_rejected}",
                self.name, chunk.n_records, chunk.n_dropped
            )));
        }
        self.counts.add(SourceCounts { n_records: chunk.n_records, n_rows, n_dropped: chunk.n_dropped, n_rejected });
        if !chunk.rejected.is_empty() {
            self.set_aside(&chunk.rejected).await?;
        }
        Ok(chunk.rows)
    }

    async fn set_aside(&mut self, rejected: &[RejectedRecord]) -> Result<()> {
        match &mut self.letters {
            Some(letters) => letters.write(rejected, &self.name).await,
            None => Err(millstream_core::Error::internal(format!("source '{}' rejected records without a dead-letter table", self.name))),
        }
    }

    async fn end(&mut self) -> Result<()> {
        self.scope.count(&self.name, self.counts);
        match &mut self.letters {
            Some(letters) => letters.finish().await,
            None => Ok(()),
        }
    }

    async fn abort(&mut self) {
        if let Some(letters) = &mut self.letters {
            letters.abort().await;
        }
    }
}

/// All source operators of a plan, in plan order.
pub fn source_execs(plan: &Arc<dyn ExecutionPlan>) -> Vec<&SourceExec> {
    let mut found = Vec::new();
    let mut walk = vec![plan];
    while let Some(node) = walk.pop() {
        match (node.as_ref() as &dyn Any).downcast_ref::<SourceExec>() {
            Some(source) => found.push(source),
            None => walk.extend(node.children().into_iter().rev()),
        }
    }
    found
}
