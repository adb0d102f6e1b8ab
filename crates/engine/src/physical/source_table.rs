//! A source as a DataFusion table: the leaf of every logical plan, for finished and live data alike.
//!
//! It is an ordinary `TableProvider`, so DataFusion's own projection pushdown reaches the reader: a column that the
//! query does not use is never decoded. The table knows how to open its source; who opens it, when, and which splits it
//! reads is the business of a batch run or of the micro-batch loop.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{TableType, source_as_provider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{ConnectorRegistry, Error, Options, OutputMode, ReaderSpec, RejectedRecord, Result, Sink, Source};

use super::dead_letters::DeadLetters;
use super::side_table::SideTable;
use super::source_exec::SourceExec;
use super::splits::split_leaf;
use crate::error::to_datafusion;

/// A source with its options and resolved schema. See the module's documentation.
#[derive(Debug, Clone)]
pub struct SourceTable {
    name: String,
    request: SourceRequest,
    reader: ReaderSpec,
    identity: serde_json::Value,
    description: String,
    registry: Arc<ConnectorRegistry>,
    /// By their names in the checkpoint.
    dead_letters: Vec<(String, Arc<dyn Sink>)>,
    refresh_interval: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_future_skew: Option<Duration>,
}

impl SourceTable {
    /// Resolves a source: checks its options and finds its schema. Nothing is started.
    ///
    /// `name` is what the checkpoint calls it. The engine's own options are `deadLetterPath` (bad records go to a Parquet
    /// table there), `deadLetterTopic` (they go to a topic, with options `deadLetter.*` of its sink), `refreshInterval` (a static side of a join is resolved again so often), `idleTimeout` (a stream that is
    /// silent for so long holds the watermark back no more) and `maxFutureSkew` (rows of a stream that are further ahead of
    /// the clock are set aside). The last two have no effect on finished data, which has no watermark.
    pub async fn resolve(name: String, mut request: SourceRequest, registry: Arc<ConnectorRegistry>) -> Result<Self> {
        let refresh_interval = request.options.get_duration("refreshInterval")?;
        request.options.remove("refreshInterval");
        let idle_timeout = request.options.get_duration("idleTimeout")?;
        request.options.remove("idleTimeout");
        let max_future_skew = request.options.get_duration("maxFutureSkew")?;
        request.options.remove("maxFutureSkew");
        let dead_letters = dead_letter_sinks(&name, &mut request, &registry).await?;
        let source = registry.for_format(&request.format)?.source(request.clone()).await?;
        let (reader, identity, description) = (source.reader(), source.identity(), source.description());
        // From here on the schema is fixed: opening the source again must not infer another one. Formats whose columns are
        // the connector's own refuse one.
        request.schema = request.schema.or_else(|| registry.is_file_format(&request.format).then(|| source.schema()));
        Ok(Self { name, request, reader, identity, description, registry, dead_letters, refresh_interval, idle_timeout, max_future_skew })
    }

    /// The same source, of whose structs only the fields in `schema` are read; none if it must give them whole.
    pub fn narrowed(&self, schema: SchemaRef) -> Option<Self> {
        // The other formats have no nested columns, or their connector makes the rows itself.
        let reads_fields = matches!(self.request.format.to_ascii_lowercase().as_str(), "json" | "parquet");
        reads_fields.then(|| Self { reader: ReaderSpec { schema, ..self.reader.clone() }, ..self.clone() })
    }

    /// What the checkpoint calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is read as a stream.
    pub fn is_streaming(&self) -> bool {
        self.request.is_streaming
    }

    /// What a restart compares.
    pub fn identity(&self) -> &serde_json::Value {
        &self.identity
    }

    /// What progress shows.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How often a static side is resolved again.
    pub fn refresh_interval(&self) -> Option<Duration> {
        self.refresh_interval
    }

    /// How long a stream may be silent before its event time holds the query back no more; for ever if not said.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// How far ahead of the clock the event time of a stream's rows may be; any time if not said.
    pub fn max_future_skew(&self) -> Option<Duration> {
        self.max_future_skew
    }

    /// The side sinks of its dead letters: (name in the checkpoint, sink).
    pub fn dead_letter_sinks(&self) -> &[(String, Arc<dyn Sink>)] {
        &self.dead_letters
    }

    /// Opens the driver's half. `checkpoint_dir` is where a source that logs what it receives may keep it.
    pub async fn open(&self, checkpoint_dir: Option<String>) -> Result<Box<dyn Source>> {
        let request = SourceRequest { checkpoint_dir, ..self.request.clone() };
        self.registry.for_format(&request.format)?.source(request).await
    }

    /// The source operator over `n_partitions` empty partitions.
    fn exec(&self, projection: Option<Vec<usize>>, n_partitions: usize) -> Result<SourceExec> {
        let spec = ReaderSpec { projection, ..self.reader.clone() };
        let reader = self.registry.reader(&spec)?;
        let tables = self.dead_letters.iter().map(|(name, sink)| SideTable::of(name, sink, &self.registry));
        let dead_letters = DeadLetters::new(tables.collect::<Result<_>>()?);
        let splits = split_leaf(&[], n_partitions)?;
        Ok(SourceExec::new(self.name.clone(), spec, reader, dead_letters, splits).streaming(self.is_streaming()))
    }
}

/// Options of the sink of `deadLetterTopic`, without the prefix.
const DEAD_LETTER_PREFIX: &str = "deadletter.";

/// Where the dead letters of a source go: takes what says so from its options.
async fn dead_letter_sinks(
    source: &str,
    request: &mut SourceRequest,
    registry: &ConnectorRegistry,
) -> Result<Vec<(String, Arc<dyn Sink>)>> {
    let (path, topic) = (request.options.remove("deadLetterPath"), request.options.remove("deadLetterTopic"));
    let is_own = |name: &str| name.to_ascii_lowercase().starts_with(DEAD_LETTER_PREFIX);
    let of_topic: Vec<String> = request.options.iter().map(|(name, _)| name.to_owned()).filter(|name| is_own(name)).collect();
    if let (Some(name), None) = (of_topic.first(), &topic) {
        return Err(Error::invalid(format!("option '{name}' says how 'deadLetterTopic' is written, which is missing")));
    }
    let connector = registry.for_format(&request.format)?;
    let sink_request = |format: &str, options: Options| SinkRequest {
        format: format.to_owned(),
        options,
        schema: RejectedRecord::schema_with(connector.record_columns(&request.format).iter().flatten()),
        partition_by: Vec::new(),
        query_name: None,
        output_mode: Some(OutputMode::Append),
        time_zone: request.time_zone.clone(),
        clock: Arc::clone(&request.clock),
    };
    let mut sinks = Vec::new();
    if let Some(path) = path {
        let parquet = registry.for_format("parquet")?;
        let options = request.options.only(parquet.store_options()).with("path", path);
        sinks.push((format!("{source}.deadLetters"), parquet.sink(sink_request("parquet", options)).await?));
    }
    if let Some(topic) = topic {
        let kafka = registry.for_format("kafka")?;
        let own = of_topic
            .iter()
            .filter_map(|name| Some((name.get(DEAD_LETTER_PREFIX.len()..)?.to_owned(), request.options.get(name)?.to_owned())));
        let options = own.collect::<Options>().with("topic", topic);
        let output_mode = request.is_streaming.then_some(OutputMode::Append);
        let of_letters = SinkRequest { output_mode, ..sink_request("kafka", options) };
        let way_there = (kafka.name() == connector.name()).then_some(&request.options);
        sinks.push((format!("{source}.deadLetterTopic"), kafka.dead_letter_sink(of_letters, way_there).await?));
    }
    of_topic.iter().for_each(|name| drop(request.options.remove(name)));
    // Other sources have no records that can be bad; their rows may still fail in expressions.
    if !sinks.is_empty() && registry.is_file_format(&request.format) {
        request.options.set("deadLetter", "true");
    }
    Ok(sinks)
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.reader.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let n_partitions = session.config().target_partitions();
        Ok(Arc::new(self.exec(projection.cloned(), n_partitions).map_err(to_datafusion)?))
    }
}

/// The distinct source tables of a plan, in plan order. Two different sources under one name are an error.
pub fn source_tables(plan: &LogicalPlan) -> Result<Vec<Arc<dyn TableProvider>>> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    let mut tables: Vec<Arc<dyn TableProvider>> = Vec::new();
    let mut clash = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<SourceTable>()
        {
            // Read both live and finished it is two sources.
            let is_known = |known: &SourceTable| known.name == table.name && known.is_streaming() == table.is_streaming();
            let known = tables.iter().find(|known| known.downcast_ref::<SourceTable>().is_some_and(is_known));
            match known.and_then(|known| known.downcast_ref::<SourceTable>()) {
                None => tables.push(provider),
                Some(known) if known.identity == table.identity => {}
                Some(_) => clash = Some(table.name.clone()),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(crate::error::from_datafusion)?;
    match clash {
        None => Ok(tables),
        Some(name) => Err(Error::invalid(format!("two different sources are both named '{name}'")).hint("name one of them with name(...)")),
    }
}

/// The table behind a provider that [`source_tables`] found.
pub fn as_source_table(provider: &Arc<dyn TableProvider>) -> Result<&SourceTable> {
    provider.downcast_ref::<SourceTable>().ok_or_else(|| Error::internal("a table that is not a source"))
}
