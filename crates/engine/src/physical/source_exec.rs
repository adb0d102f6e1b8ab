//! The source operator: rows of split descriptions in, the source's rows out, bad records set aside.
//!
//! It has one child, the memory leaf of splits (see [`super::splits`]), and is therefore not a leaf itself. Dead
//! letters are written by the same task through a side sink and reported with the task's commit message.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::StreamExt;
use millstream_core::{ReaderSpec, RejectedRecord, Result, Split, SplitChunk, SplitReader, SplitStream};

use super::dead_letters::{DeadLetterWriter, DeadLetters};
use super::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run};
use super::row_position::{position_field, positions_at};
use super::source_filter::{FilterRun, SourceFilter};
use super::splits::{split_leaf, splits_of};
use crate::batch::{BatchScope, SourceCounts};
use crate::error::from_datafusion;

/// Reads the splits of one source. See the module's documentation.
pub type SourceExec = OperatorExec<SourceOperator>;

/// What a [`SourceExec`] is, beside its splits.
#[derive(Debug, Clone)]
pub struct SourceOperator {
    name: String,
    spec: ReaderSpec,
    reader: Arc<dyn SplitReader>,
    dead_letters: Option<DeadLetters>,
    is_streaming: bool,
    /// Whether a last column says where rows stand in the source.
    gives_positions: bool,
    /// What rows must meet to go on; counted are all.
    filter: Option<SourceFilter>,
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
        let operator = SourceOperator { name, spec, reader, dead_letters, is_streaming: false, gives_positions: false, filter: None };
        Self::over(operator, [splits])
    }

    /// The same operator over a stream: what it reads is read once and for all, so it is read to its end (see
    /// [`read_to_end`](super::read_to_end)).
    #[must_use]
    pub fn streaming(mut self, is_streaming: bool) -> Self {
        self.operator.is_streaming = is_streaming;
        self
    }

    /// The same operator with one more column, the last: where its rows stand in the source, as far as the reader tells.
    #[must_use]
    pub fn with_positions(&self, gives_positions: bool) -> Self {
        let [splits] = &self.inputs;
        Self::over(SourceOperator { gives_positions, ..self.operator.clone() }, [Arc::clone(splits)])
    }

    /// See [`Self::with_positions`].
    pub fn gives_positions(&self) -> bool {
        self.operator.gives_positions
    }

    /// The same operator that gives only rows that meet `filter`.
    #[must_use]
    pub fn filtered(mut self, filter: Option<SourceFilter>) -> Self {
        self.operator.filter = filter;
        self
    }

    /// What its rows must meet.
    pub fn filter(&self) -> Option<&SourceFilter> {
        self.operator.filter.as_ref()
    }

    /// Whether it reads a stream.
    pub fn is_streaming(&self) -> bool {
        self.operator.is_streaming
    }

    /// The source's name, by which its splits are found.
    pub fn source_name(&self) -> &str {
        &self.operator.name
    }

    /// The same operator under another name.
    pub(crate) fn renamed(&self, name: String) -> Self {
        let [splits] = &self.inputs;
        Self::over(SourceOperator { name, ..self.operator.clone() }, [Arc::clone(splits)])
    }

    /// The reader's spec.
    pub fn spec(&self) -> &ReaderSpec {
        &self.operator.spec
    }

    /// Where bad records go.
    pub fn dead_letters(&self) -> Option<&DeadLetters> {
        self.operator.dead_letters.as_ref()
    }

    /// The same operator over other splits; its properties stay.
    pub fn with_splits(&self, splits: &[Split]) -> Result<Self> {
        let n_partitions = self.properties().partitioning.partition_count();
        Ok(self.over_alike([split_leaf(splits, n_partitions)?]))
    }
}

impl SourceOperator {
    fn schema(&self) -> SchemaRef {
        let read = self.reader.schema();
        if !self.gives_positions {
            return read;
        }
        let fields = read.fields().iter().cloned().chain([Arc::new(position_field())]).collect::<Vec<_>>();
        Arc::new(Schema::new_with_metadata(fields, read.metadata().clone()))
    }
}

impl fmt::Display for SourceOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.reader.schema().fields().iter().map(|field| shown(field)).collect::<Vec<_>>().join(", ");
        write!(f, "source={}, format={}, columns=[{columns}]", self.name, self.spec.format)?;
        self.filter.iter().try_for_each(|filter| write!(f, ", filter={filter}"))?;
        if self.gives_positions { f.write_str(", with positions") } else { Ok(()) }
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

impl Operator for SourceOperator {
    const NAME: &'static str = "SourceExec";

    fn properties(&self, [splits]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(self.schema()),
            Partitioning::UnknownPartitioning(splits.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
    }

    fn expressions(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.filter.iter().map(SourceFilter::predicate).collect()
    }

    fn with_filters(&self, filters: &[&Arc<dyn PhysicalExpr>]) -> Option<(Self, Vec<bool>)> {
        let is_taken: Vec<bool> = filters.iter().map(|filter| self.reader.packs() && SourceFilter::takes(filter)).collect();
        let taken: Vec<_> = filters.iter().zip(&is_taken).filter(|(_, taken)| **taken).map(|(filter, _)| Arc::clone(filter)).collect();
        if taken.is_empty() {
            return None;
        }
        let filter = SourceFilter::and(self.filter.as_ref(), taken, &self.reader.schema()).ok()?;
        Some((Self { filter: Some(filter), ..self.clone() }, is_taken))
    }

    fn execute(&self, [splits]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let letters = self.dead_letters.clone();
        let letters = letters.map(|target| DeadLetterWriter::new(target, Arc::clone(&task.scope), 0, task.partition));
        Ok(rows_of_run(SplitRun {
            letters: letters.transpose()?,
            splits: task.rows_of(splits)?,
            scope: task.scope,
            name: self.name.clone(),
            reader: Arc::clone(&self.reader),
            filter: self.filter.as_ref().map(SourceFilter::start),
            schema: task.schema,
            waiting: VecDeque::new(),
            open: None,
            counts: SourceCounts::default(),
            gives_positions: self.gives_positions,
        }))
    }
}

/// One task's walk over its splits.
struct SplitRun {
    scope: Arc<BatchScope>,
    splits: SendableRecordBatchStream,
    name: String,
    reader: Arc<dyn SplitReader>,
    filter: Option<FilterRun>,
    schema: SchemaRef,
    letters: Option<DeadLetterWriter>,
    waiting: VecDeque<Split>,
    open: Option<SplitStream>,
    counts: SourceCounts,
    gives_positions: bool,
}

impl OperatorRun for SplitRun {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
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
                self.open = Some(match self.filter {
                    Some(_) => self.reader.read_packed(&split).await?,
                    None => self.reader.read(&split).await?,
                });
                continue;
            }
            match self.splits.next().await.transpose().map_err(from_datafusion)? {
                Some(batch) => self.waiting.extend(splits_of(&batch)?),
                None => {
                    self.end().await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn abort(&mut self) {
        if let Some(letters) = &mut self.letters {
            letters.abort().await;
        }
    }
}

impl SplitRun {
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
        if !chunk.missed.is_empty() {
            self.scope.missed(&self.name, chunk.missed);
        }
        if !chunk.rejected.is_empty() {
            self.set_aside(&chunk.rejected).await?;
        }
        if let Some(filter) = &mut self.filter {
            return filter.filter(&chunk.rows, &self.schema);
        }
        if !self.gives_positions {
            return Ok(chunk.rows);
        }
        let mut columns = chunk.rows.columns().to_vec();
        columns.push(positions_at(chunk.places, chunk.rows.num_rows())?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    async fn set_aside(&mut self, rejected: &[RejectedRecord]) -> Result<()> {
        match &mut self.letters {
            Some(letters) => letters.write(rejected, &self.name, None).await,
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
