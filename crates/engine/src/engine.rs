//! What a session runs with, and the batch life of a plan: every source read whole, once.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_core::{
    Admission, BatchId, Clock, ConnectorRegistry, CrashPoints, Error, IdSource, NoCrash, QueryId, Result, RunEpoch, Sink, SinkContext,
    SourceStart,
};
use millstream_state::store::StateMemory;

use crate::batch::{BatchFacts, BatchReport, BatchWatermarks};
use crate::error::from_datafusion;
use crate::physical::source_table::{as_source_table, source_tables};
use crate::physical::{PhysicalPlans, SinkExec, SplitsBySource, fill_splits, guard_rows, keep_records};
use crate::runner::{LocalRunner, MAIN_SINK, StageRunner};
use crate::table_gate::TableGates;

/// How much of the machine the engine may use.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Tasks per batch (partitions).
    pub parallelism: usize,
    /// Rows per Arrow batch.
    pub batch_rows: usize,
    /// Bytes that DataFusion's operators may hold; `None` = unbounded.
    pub memory_limit_bytes: Option<usize>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { parallelism, batch_rows: 8192, memory_limit_bytes: None }
    }
}

/// What becomes of rows on which an expression fails (a bad cast, an overflow, a user's function).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowErrors {
    /// The query stops, as in Spark.
    #[default]
    Fail,
    /// They are set aside in the dead-letter table of their source, and the other rows go on.
    DeadLetter,
}

impl FromStr for RowErrors {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "fail" => Ok(Self::Fail),
            "deadletter" => Ok(Self::DeadLetter),
            _ => Err(Error::invalid(format!("rowErrors '{text}' is not one of fail, deadLetter"))),
        }
    }
}

/// What all queries of a session run with.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) plans: PhysicalPlans,
    pub(crate) runner: Arc<dyn StageRunner>,
    pub(crate) registry: Arc<ConnectorRegistry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) crash_points: Arc<dyn CrashPoints>,
    state_memory: Mutex<StateMemory>,
}

/// The rows of a finished query and what its sources counted.
#[derive(Debug)]
pub struct BatchResult {
    /// The rows; columns are in the plan's order (its schema has the written names).
    pub batches: Vec<RecordBatch>,
    /// What the sources counted.
    pub report: BatchReport,
}

impl Engine {
    /// An engine that runs in this process.
    pub fn new(config: EngineConfig, registry: Arc<ConnectorRegistry>, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Result<Self> {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = config.memory_limit_bytes {
            runtime = runtime.with_memory_limit(bytes, 1.0);
        }
        let runtime: Arc<RuntimeEnv> = runtime.build_arc().map_err(from_datafusion)?;
        let session = SessionConfig::new()
            .with_target_partitions(config.parallelism.max(1))
            .with_batch_size(config.batch_rows.max(1))
            // Sources give as many partitions as there are tasks; moving rows between tasks would only cost.
            .with_round_robin_repartition(false)
            .with_information_schema(false);
        let plans = PhysicalPlans::new(session.clone(), Arc::clone(&runtime));
        let runner = Arc::new(LocalRunner::new(session, runtime, Arc::clone(&clock)));
        let state_memory = Mutex::new(StateMemory::unlimited());
        Ok(Self { config, plans, runner, registry, clock, ids, crash_points: Arc::new(NoCrash), state_memory })
    }

    /// The same engine whose runs end at given points (tests).
    #[must_use]
    pub fn with_crash_points(mut self, crash_points: Arc<dyn CrashPoints>) -> Self {
        self.crash_points = crash_points;
        self
    }

    /// What the state of all queries may take together; the rest goes to files in a folder of this process in `spill_dir`.
    /// Refused while a query with state runs: it has its share of the memory before.
    pub fn limit_state(&self, limit_bytes: Option<usize>, spill_dir: &Path) -> Result<()> {
        let mut memory = self.state_memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.is_shared() {
            return Err(Error::invalid("the memory of state cannot be limited anew while a query with state runs")
                .hint("set state.memoryLimit and state.spillDir before the first such query starts"));
        }
        *memory = match limit_bytes {
            Some(limit_bytes) => StateMemory::limited(limit_bytes, spill_dir),
            None => StateMemory::unlimited(),
        };
        Ok(())
    }

    /// The memory of all state.
    pub fn state_memory(&self) -> StateMemory {
        self.state_memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connectors.
    pub fn registry(&self) -> &Arc<ConnectorRegistry> {
        &self.registry
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Where new ids come from.
    pub fn ids(&self) -> &Arc<dyn IdSource> {
        &self.ids
    }

    /// How much of the machine it may use.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Who executes plans.
    pub fn runner(&self) -> &Arc<dyn StageRunner> {
        &self.runner
    }

    /// The physical plan of a query over finished data, its sources filled with all there is.
    pub async fn filled_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = self.plans.plan(plan).await?;
        self.fill_whole(plan, physical, &self.one_off_facts().sink_context()).await
    }

    /// The physical planner.
    pub fn plans(&self) -> &PhysicalPlans {
        &self.plans
    }

    /// Runs a plan over finished data and gives its rows.
    pub async fn collect(&self, plan: &LogicalPlan) -> Result<BatchResult> {
        let physical = self.plans.plan(plan).await?;
        let facts = self.one_off_facts();
        let physical = self.fill_whole(plan, physical, &facts.sink_context()).await?;
        let (batches, mut report) = self.runner.collect(physical, facts).await?;
        self.commit_side_outputs(plan, &facts, &mut report).await?;
        Ok(BatchResult { batches, report })
    }

    /// The physical plan of a query, with guards where rows may fail: above the streams of a streaming query (its static
    /// sides are not guarded), above all sources of a batch query.
    pub async fn guarded_plan(&self, plan: &LogicalPlan, row_errors: RowErrors) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = self.plans.plan(plan).await?;
        if row_errors == RowErrors::Fail {
            return keep_records(physical, &self.registry);
        }
        let providers = source_tables(plan)?;
        let tables = providers.iter().map(as_source_table).collect::<Result<Vec<_>>>()?;
        let is_streaming = tables.iter().any(|table| table.is_streaming());
        let guarded = tables.into_iter().filter(|table| table.is_streaming() == is_streaming);
        let guarded = guarded.map(|table| (table.name().to_owned(), table.description().to_owned())).collect();
        keep_records(guard_rows(&physical, &guarded)?, &self.registry)
    }

    /// Runs a plan over finished data into a sink, as batch 0 of a query of its own. Gives the rows written.
    pub async fn write(&self, plan: &LogicalPlan, sink: &Arc<dyn Sink>, row_errors: RowErrors, gates: &TableGates) -> Result<u64> {
        let physical = self.guarded_plan(plan, row_errors).await?;
        let facts = self.one_off_facts();
        let tables_read = gates.read().await;
        let physical = self.fill_whole(plan, physical, &facts.sink_context()).await?;
        let spec = sink.writer();
        let writers = self.registry.writer(&spec)?;
        sink.start(&facts.sink_context(), None).await?;
        let written = self.runner.run(Arc::new(SinkExec::new(physical, spec, writers)), facts, Arc::default()).await;
        drop(tables_read);
        let mut outcome = match written {
            Ok(outcome) => outcome,
            Err(error) => {
                if let Err(abandon) = sink.abandon(facts.batch_id, Vec::new()).await {
                    tracing::warn!(error = %abandon, "could not remove what the failed write had staged");
                }
                return Err(error);
            }
        };
        let outputs = outcome.outputs.remove(MAIN_SINK).unwrap_or_default();
        let n_rows = outputs.iter().map(|output| output.n_rows).sum();
        let prepared = sink.prepare(facts.batch_id, outputs).await?;
        let replaces = gates.replace().await;
        sink.commit(facts.batch_id, &prepared).await?;
        drop(replaces);
        for (name, outputs) in outcome.outputs {
            outcome.report.side_outputs.extend(outputs.into_iter().map(|output| (name.clone(), output)));
        }
        self.commit_side_outputs(plan, &facts, &mut outcome.report).await?;
        sink.stop().await?;
        Ok(n_rows)
    }

    /// The physical plan in words.
    pub async fn explain(&self, plan: &LogicalPlan) -> Result<String> {
        let physical = self.plans.plan(plan).await?;
        Ok(displayable(physical.as_ref()).indent(false).to_string())
    }

    fn one_off_facts(&self) -> BatchFacts {
        BatchFacts {
            query_id: QueryId(self.ids.new_uuid()),
            epoch: RunEpoch(1),
            batch_id: BatchId(0),
            attempt: 0,
            clock_us: self.clock.now_proc_us(),
            watermarks: BatchWatermarks::NONE,
        }
    }

    /// Fills every source of a batch plan with all there is.
    async fn fill_whole(
        &self,
        logical: &LogicalPlan,
        physical: Arc<dyn ExecutionPlan>,
        ctx: &SinkContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut splits = SplitsBySource::new();
        for provider in source_tables(logical)? {
            let table = as_source_table(&provider)?;
            for (_, sink) in table.dead_letter_sinks() {
                sink.start(ctx, None).await?;
            }
            if table.is_streaming() {
                return Err(Error::invalid(format!("'{}' is a stream: a query over it must be started with write_stream", table.name())));
            }
            let mut source = table.open(None).await?;
            let from = source.start(SourceStart::Fresh).await?;
            let of_source = match source.plan(&from, &Admission::ALL).await? {
                Some(range) => source.splits(&range, self.config.parallelism).await?,
                None => Vec::new(),
            };
            source.stop().await?;
            splits.insert(table.name().to_owned(), of_source);
        }
        if splits.is_empty() { Ok(physical) } else { fill_splits(&physical, &splits) }
    }

    /// Makes the dead letters of a batch query visible, and ends their sinks.
    async fn commit_side_outputs(&self, plan: &LogicalPlan, facts: &BatchFacts, report: &mut BatchReport) -> Result<()> {
        let outputs = std::mem::take(&mut report.side_outputs);
        for provider in source_tables(plan)? {
            for (name, sink) in as_source_table(&provider)?.dead_letter_sinks() {
                let mine: Vec<_> = outputs.iter().filter(|(of, _)| of == name).map(|(_, output)| output.clone()).collect();
                if !mine.is_empty() {
                    let prepared = sink.prepare(facts.batch_id, mine).await?;
                    sink.commit(facts.batch_id, &prepared).await?;
                }
                sink.stop().await?;
            }
        }
        Ok(())
    }
}
