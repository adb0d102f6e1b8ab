//! A query over a memory stream: what every test here starts with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use millstream_connectors::{InProcess, MemoryStream, register_all};
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{Clock, ConnectorRegistry, CrashPoints, NoCrash, Options, OutputMode, RandomIds, Result, Sink, SystemClock};
use millstream_engine::physical::KeptLateRows;
use millstream_engine::stream::StreamPlan;
use millstream_engine::stream::definition::{CheckpointLife, Settings};
use millstream_engine::{
    Engine, EngineConfig, QueryDefinition, RowErrors, SourceTable, StreamingQuery, StreamingQueryManager, TableGates, Trigger,
};
use millstream_state::Location;

pub struct Harness {
    pub engine: Arc<Engine>,
    pub manager: StreamingQueryManager,
    pub in_process: InProcess,
    pub clock: Arc<dyn Clock>,
    pub dir: tempfile::TempDir,
}

#[derive(Debug)]
struct Fixed(LogicalPlan);

#[async_trait]
impl StreamPlan for Fixed {
    async fn logical_plan(&self, _: &Settings) -> Result<LogicalPlan> {
        Ok(self.0.clone())
    }
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

pub fn rows(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
}

impl Harness {
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::default()))
    }

    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self::with_crash_points(clock, Arc::new(NoCrash))
    }

    pub fn with_crash_points(clock: Arc<dyn Clock>, crash_points: Arc<dyn CrashPoints>) -> Self {
        crate::spans::listen();
        let mut registry = ConnectorRegistry::default();
        let in_process = register_all(&mut registry);
        let config = EngineConfig { parallelism: 2, ..EngineConfig::default() };
        let engine = Engine::new(config, Arc::new(registry), Arc::clone(&clock), Arc::new(RandomIds)).unwrap();
        let engine = Arc::new(engine.with_crash_points(crash_points));
        let manager = StreamingQueryManager::new(Arc::clone(&engine));
        Self { engine, manager, in_process, clock, dir: tempfile::tempdir().unwrap() }
    }

    pub fn stream(&self, name: &str) -> MemoryStream {
        self.in_process.memory.stream(name, schema()).unwrap()
    }

    /// `SELECT v FROM stream WHERE condition`
    pub async fn plan(&self, stream: &MemoryStream, condition: Option<Expr>) -> LogicalPlan {
        let mut plan = self.scan(stream.name(), "memory", Options::new().with("stream", stream.name())).await;
        if let Some(condition) = condition {
            plan = plan.filter(condition).unwrap();
        }
        plan.build().unwrap()
    }

    /// `SELECT * FROM source`, for a streaming source of any format.
    pub async fn scan(&self, name: &str, format: &str, options: Options) -> LogicalPlanBuilder {
        let request = SourceRequest {
            format: format.to_owned(),
            options,
            schema: None,
            is_streaming: true,
            time_zone: "UTC".to_owned(),
            checkpoint_dir: None,
            clock: Arc::clone(&self.clock),
        };
        let table = SourceTable::resolve(name.to_owned(), request, Arc::clone(self.engine.registry())).await.unwrap();
        let table: Arc<dyn TableProvider> = Arc::new(table);
        LogicalPlanBuilder::scan(name, provider_as_source(table), None).unwrap()
    }

    pub async fn sink(&self, format: &str, query_name: &str) -> Arc<dyn Sink> {
        self.sink_of(format, query_name, schema()).await
    }

    pub async fn sink_of(&self, format: &str, query_name: &str, schema: SchemaRef) -> Arc<dyn Sink> {
        let request = SinkRequest {
            format: format.to_owned(),
            options: Options::new(),
            schema,
            partition_by: Vec::new(),
            query_name: Some(query_name.to_owned()),
            output_mode: Some(OutputMode::Append),
            time_zone: "UTC".to_owned(),
            clock: Arc::clone(&self.clock),
        };
        self.engine.registry().for_format(format).unwrap().sink(request).await.unwrap()
    }

    pub fn definition(&self, plan: LogicalPlan, sink: Arc<dyn Sink>, trigger: Trigger) -> QueryDefinition {
        QueryDefinition {
            key_groups: None,
            allow_state_drop: Vec::new(),
            name: None,
            plan: Arc::new(Fixed(plan)),
            settings: BTreeMap::new(),
            row_errors: RowErrors::Fail,
            sink,
            late_rows: None,
            kept_late_rows: KeptLateRows::default(),
            gates: TableGates::default(),
            commit_interval: Duration::ZERO,
            trigger,
            checkpoint: self.checkpoint(),
            checkpoint_life: CheckpointLife::Kept,
            batch_bytes_max: QueryDefinition::BATCH_BYTES_MAX,
            target_batch_duration: None,
            stop_timeout: QueryDefinition::STOP_TIMEOUT,
            batches_retained_min: QueryDefinition::BATCHES_RETAINED_MIN,
            runs_no_data_batches: true,
            flushes: false,
            idle_event_interval: QueryDefinition::IDLE_EVENT_INTERVAL,
        }
    }

    pub fn checkpoint(&self) -> Location {
        let path: &Path = self.dir.path();
        Location::parse(&path.join("checkpoint").to_string_lossy(), &Options::new()).unwrap()
    }

    pub async fn start(&self, definition: QueryDefinition) -> StreamingQuery {
        self.manager.start(definition).await.unwrap()
    }

    /// The values in a memory sink's table, in order.
    pub fn table(&self, name: &str) -> Vec<i64> {
        let Some((_, batches)) = self.in_process.memory.table(name) else { return Vec::new() };
        batches.iter().flat_map(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()).collect()
    }
}
