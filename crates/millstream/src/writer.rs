//! Writers: the same formats and options for finished and live data.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::Analyzed;
use millstream_analyzer::streaming::{OutputRequest, Shown};
use millstream_connectors::{ForeachBatch, RowWriterFactory, STORE_OPTIONS, foreach_batch_sink, foreach_sink};
use millstream_core::connector::SinkRequest;
use millstream_core::options::parse_duration;
use millstream_core::{BatchId, Error, OptionSpec, Options, OutputMode, Result, Sink};
use millstream_engine::physical::late_table::{KeptLateRows, late_rows_schema};
use millstream_engine::stream::compare_with_checkpoint;
use millstream_engine::stream::definition::CheckpointLife;
use millstream_engine::{Engine, QueryDefinition, RowErrors, StateComparison, StreamingQuery, TableGates, Trigger};
use millstream_state::Location;

use crate::columns::check_distinct;
use crate::dataframe::DataFrame;
use crate::resolve::AnalyzedStream;
use crate::session::Session;
use crate::settings;

/// What a batch write does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveMode {
    /// Fails if there is anything.
    #[default]
    ErrorIfExists,
    /// Adds to it.
    Append,
    /// Replaces it.
    Overwrite,
    /// Does nothing if there is anything.
    Ignore,
}

impl SaveMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::ErrorIfExists => "error",
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::Ignore => "ignore",
        }
    }
}

impl FromStr for SaveMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "errorifexists" | "default" => Ok(Self::ErrorIfExists),
            "append" => Ok(Self::Append),
            "overwrite" => Ok(Self::Overwrite),
            "ignore" => Ok(Self::Ignore),
            _ => Err(Error::invalid(format!("save mode '{text}' is not one of error, append, overwrite, ignore"))),
        }
    }
}

/// Writes the rows of a DataFrame, finished ([`DataFrameWriter`]) or live ([`DataStreamWriter`]).
#[derive(Clone)]
pub struct Writer<T> {
    frame: DataFrame,
    format: Option<String>,
    options: Options,
    partition_by: Vec<String>,
    target: T,
}

/// Writes finished data: Spark's `DataFrameWriter`.
pub type DataFrameWriter = Writer<SaveMode>;

/// Writes a stream: Spark's `DataStreamWriter`.
pub type DataStreamWriter = Writer<Target>;

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("format", &self.format).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T: Default> Writer<T> {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame, format: None, options: Options::new(), partition_by: Vec::new(), target: T::default() }
    }
}

impl<T> Writer<T> {
    /// The format: parquet, json, csv, text, console, memory, noop, ...
    #[must_use]
    pub fn format(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// An option: of the format, or `rowErrors` (`fail`, or `deadLetter`: rows on which an expression fails go to the
    /// dead letters of their source, which needs `deadLetterPath` or `deadLetterTopic`); of streams also `checkpointLocation`, `outputMode`,
    /// `trigger`, `queryName`, `stopTimeout`, `commitInterval`, `maxBytesPerBatch`, `targetBatchDuration`, `flush`, `lateRowsPath`.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// The columns whose values become folders.
    #[must_use]
    pub fn partition_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    fn format_name(&self, session: &Session) -> String {
        self.format.clone().or_else(|| session.get(settings::DEFAULT_FORMAT)).unwrap_or_else(|| "parquet".to_owned())
    }
}

impl DataFrameWriter {
    /// What to do with what is there.
    #[must_use]
    pub fn mode(mut self, mode: SaveMode) -> Self {
        self.target = mode;
        self
    }

    /// Writes parquet files to a folder.
    pub async fn parquet(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("parquet").save_path(path).await
    }

    /// Writes JSON files to a folder.
    pub async fn json(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("json").save_path(path).await
    }

    /// Writes CSV files to a folder.
    pub async fn csv(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("csv").save_path(path).await
    }

    /// Writes text files to a folder; there must be one column of text.
    pub async fn text(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("text").save_path(path).await
    }

    /// Writes to a path (option `path`).
    pub async fn save_path(self, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.option("path", path).save().await
    }

    /// Writes, and gives the number of rows written.
    pub async fn save(self) -> Result<u64> {
        self.prepare().await?.run(&TableGates::default()).await
    }

    /// Everything but the writing: analyses the query and checks the options.
    pub(crate) async fn prepare(self) -> Result<PreparedWrite> {
        let analyzed = self.frame.analyze().await?;
        self.prepare_analyzed(analyzed).await
    }

    /// The same with the query's analysis.
    pub(crate) async fn prepare_analyzed(mut self, analyzed: Analyzed) -> Result<PreparedWrite> {
        let session = &self.frame.session;
        let format = self.format_name(session);
        self.options.set("mode", self.target.as_str());
        let row_errors = row_errors(&self.options)?;
        self.options.remove(ROW_ERRORS);
        let engine = session.engine();
        if engine.registry().is_file_format(&format) {
            check_distinct(session, analyzed.plan.schema().as_arrow())?;
        }
        let request = SinkRequest {
            format: format.clone(),
            options: self.options,
            schema: Arc::clone(analyzed.plan.schema().inner()),
            partition_by: self.partition_by,
            query_name: None,
            output_mode: None,
            time_zone: session.time_zone(),
            clock: Arc::clone(engine.clock()),
        };
        let sink = engine.registry().for_format(&format)?.sink(request).await?;
        Ok(PreparedWrite { engine: Arc::clone(engine), plan: analyzed.plan, sink, row_errors })
    }
}

/// A write of finished data, ready to run.
pub(crate) struct PreparedWrite {
    engine: Arc<Engine>,
    plan: LogicalPlan,
    sink: Arc<dyn Sink>,
    pub(crate) row_errors: RowErrors,
}

impl PreparedWrite {
    /// Writes, and gives the number of rows written.
    pub(crate) async fn run(self, gates: &TableGates) -> Result<u64> {
        self.engine.write(&self.plan, &self.sink, self.row_errors, gates).await
    }
}

/// What becomes of rows on which an expression fails: `fail` or `deadLetter`.
const ROW_ERRORS: &str = "rowErrors";

/// The stateful operators that may begin afresh, by name, divided by commas.
pub(crate) const ALLOW_STATE_DROP: &str = "allowStateDrop";

/// How many key groups state is divided into.
const STATE_KEY_GROUPS: &str = "stateKeyGroups";

/// The folder of the rows that came too late.
pub(crate) const LATE_ROWS_PATH: &str = "lateRowsPath";

/// Whether rows that are late for some of their windows only go there, too.
pub(crate) const PARTLY_LATE_ROWS: &str = "partlyLateRows";

/// Says that the result does not hang on how the input is cut, where that cannot be seen: `millstream verify` then compares.
pub(crate) const INDEPENDENT_OF_CUTS: &str = "independentOfCuts";

/// The options of a stream writer that are the engine's own; the rest goes to the sink's format.
const ENGINE_OPTIONS: &[&str] = &[
    "checkpointLocation",
    "outputMode",
    "trigger",
    "queryName",
    "stopTimeout",
    "commitInterval",
    "maxBytesPerBatch",
    "targetBatchDuration",
    "flush",
    "changes",
    "upsertKey",
    LATE_ROWS_PATH,
    PARTLY_LATE_ROWS,
    ALLOW_STATE_DROP,
    STATE_KEY_GROUPS,
    INDEPENDENT_OF_CUTS,
    ROW_ERRORS,
];

/// Where a stream's rows go.
#[derive(Clone, Default)]
pub enum Target {
    /// To a sink of the format.
    #[default]
    Format,
    ForeachBatch(ForeachBatchFn),
    Foreach(Arc<dyn RowWriterFactory>),
}

type ForeachBatchFn = Arc<dyn Fn(DataFrame, BatchId) -> futures::future::BoxFuture<'static, Result<()>> + Send + Sync>;

impl DataStreamWriter {
    /// `append`, `update` or `complete`.
    #[must_use]
    pub fn output_mode(self, mode: &str) -> Self {
        self.option("outputMode", mode)
    }

    /// The query's name.
    #[must_use]
    pub fn query_name(self, name: &str) -> Self {
        self.option("queryName", name)
    }

    /// When batches begin.
    #[must_use]
    pub fn trigger(self, trigger: Trigger) -> Self {
        self.option("trigger", trigger)
    }

    /// Where the query keeps what it has done.
    #[must_use]
    pub fn checkpoint(self, path: impl AsRef<Path>) -> Self {
        self.option("checkpointLocation", path.as_ref().to_string_lossy())
    }

    /// Gives every micro-batch and its id to a function. The batch is materialised: it may be read any number of times.
    /// After a crash the last batch may come again with the same id and rows.
    #[must_use]
    pub fn foreach_batch<F, R>(mut self, function: F) -> Self
    where
        F: Fn(DataFrame, BatchId) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.target = Target::ForeachBatch(Arc::new(move |frame, batch| Box::pin(function(frame, batch))));
        self
    }

    /// Gives every row to a writer. After a crash rows of the last batch may come again.
    #[must_use]
    pub fn foreach(mut self, writers: Arc<dyn RowWriterFactory>) -> Self {
        self.target = Target::Foreach(writers);
        self
    }

    /// Starts the query with a path (option `path`).
    pub async fn start_path(self, path: impl AsRef<Path>) -> Result<StreamingQuery> {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.option("path", path).start().await
    }

    /// Starts the query. What can be refused is refused here, before a row is read.
    pub async fn start(self) -> Result<StreamingQuery> {
        let session = self.frame.session.clone();
        let definition = self.definition().await?;
        session.streams().start(definition).await
    }

    /// What would become of the state in a checkpoint if this query went on from it. Starts nothing and writes nothing. A query that
    /// reads or writes something else than the one of the checkpoint is an error.
    pub async fn compare_with(self, checkpoint: &str) -> Result<StateComparison> {
        let session = self.frame.session.clone();
        let location = Location::parse_on(Arc::clone(session.files()), checkpoint, &self.options)?;
        let definition = self.definition().await?;
        compare_with_checkpoint(session.engine(), &definition, &location).await
    }

    /// Everything but the start: analyses the query and checks its options.
    pub(crate) async fn definition(self) -> Result<QueryDefinition> {
        let analyzed = self.frame.analyze().await?;
        self.definition_of(analyzed).await
    }

    /// The same with the query's analysis.
    pub(crate) async fn definition_of(mut self, analyzed: Analyzed) -> Result<QueryDefinition> {
        let session = self.frame.session.clone();
        if !analyzed.is_streaming {
            return Err(Error::invalid("write_stream can only be called on a stream")
                .code("WRITE_STREAM_NOT_ALLOWED")
                .hint("read it with read_stream, or write it with write"));
        }
        self.check_names(&session)?;
        let own: Options =
            ENGINE_OPTIONS.iter().filter_map(|name| self.options.remove(name).map(|value| ((*name).to_owned(), value))).collect();
        let output_mode: OutputMode = own.get("outputMode").map_or(Ok(OutputMode::default()), str::parse)?;
        let trigger: Trigger = own.get("trigger").map_or(Ok(Trigger::default()), str::parse)?;
        let name = own.get("queryName").map(str::to_owned);
        let format = self.format_name(&session);
        let is_file = matches!(self.target, Target::Format) && session.engine().registry().is_file_format(&format);
        let (checkpoint, checkpoint_life) = checkpoint_location(&session, &own, name.as_deref(), &self.options, is_file)?;
        let commit_interval = commit_interval(&own, is_file)?;
        let output = OutputRequest {
            mode: output_mode,
            shown: self.shown(&own, &session, &format)?,
            upsert_key: upsert_key(&own)?,
            keeps_late_rows: own.get(LATE_ROWS_PATH).is_some(),
        };
        let late_rows = late_rows(&session, &own, &self.options).await?;
        let plan = AnalyzedStream::try_new(self.frame, analyzed, output)?;
        let schema = plan.schema();
        let sink: Arc<dyn Sink> = match &self.target {
            Target::ForeachBatch(function) => {
                let (function, in_session, schema_of_rows) = (Arc::clone(function), session.clone(), Arc::clone(&schema));
                let call: ForeachBatch =
                    Arc::new(move |rows, batch| match in_session.create_dataframe(Arc::clone(&schema_of_rows), rows) {
                        Ok(frame) => function(frame, batch),
                        Err(error) => Box::pin(std::future::ready(Err(error))),
                    });
                Arc::new(foreach_batch_sink(call, schema, &session.time_zone()))
            }
            Target::Foreach(writers) => Arc::new(foreach_sink(Arc::clone(writers), schema, &session.time_zone())),
            Target::Format => {
                if is_file {
                    check_distinct(&session, &schema)?;
                }
                let connector = session.engine().registry().for_format(&format)?;
                // Those of a store are for the checkpoint and the late rows, too, whatever the format.
                let known = connector.sink_options(&format);
                let options = if known.is_empty() { self.options.clone() } else { self.options.only(&known) };
                let request = SinkRequest {
                    format: format.clone(),
                    options,
                    schema,
                    partition_by: self.partition_by.clone(),
                    query_name: name.clone(),
                    output_mode: Some(output_mode),
                    time_zone: session.time_zone(),
                    clock: Arc::clone(session.engine().clock()),
                };
                connector.sink(request).await?
            }
        };
        let stop_timeout = match own.get_duration("stopTimeout")? {
            Some(timeout) => timeout,
            None => session.get(settings::STOP_TIMEOUT).and_then(|text| parse_duration(&text)).unwrap_or(QueryDefinition::STOP_TIMEOUT),
        };
        let idle_event_interval = session
            .get(settings::NO_DATA_PROGRESS_EVENT_INTERVAL)
            .and_then(|text| parse_duration(&text))
            .unwrap_or(QueryDefinition::IDLE_EVENT_INTERVAL);
        let runs_no_data_batches = session.get(settings::NO_DATA_MICRO_BATCHES).is_none_or(|value| value.eq_ignore_ascii_case("true"));
        let retained = session.get(settings::MIN_BATCHES_TO_RETAIN).and_then(|text| text.parse().ok());
        let allow_state_drop = own.get(ALLOW_STATE_DROP).unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(QueryDefinition {
            key_groups: key_groups(&own)?,
            allow_state_drop: allow_state_drop.map(str::to_owned).collect(),
            name,
            plan: Arc::new(plan),
            settings: session.result_settings(),
            row_errors: row_errors(&own)?,
            sink,
            commit_interval,
            trigger,
            checkpoint,
            checkpoint_life,
            batch_bytes_max: batch_bytes_max(&own)?,
            target_batch_duration: target_batch_duration(&own)?,
            stop_timeout,
            batches_retained_min: retained.unwrap_or(QueryDefinition::BATCHES_RETAINED_MIN),
            runs_no_data_batches,
            flushes: flushes(&own, trigger)?,
            late_rows,
            kept_late_rows: kept_late_rows(&own)?,
            gates: TableGates::default(),
            idle_event_interval,
        })
    }

    /// `changes`: whether the sink is given changes.
    fn shown(&self, own: &Options, session: &Session, format: &str) -> Result<Shown> {
        if own.get_bool("changes")? != Some(true) {
            return Ok(Shown::NewRows);
        }
        let shows = match &self.target {
            Target::ForeachBatch(_) | Target::Foreach(_) => true,
            Target::Format => session.engine().registry().for_format(format)?.takes_changes(),
        };
        match shows {
            true => Ok(Shown::Changes),
            false => Err(Error::unsupported(format!("option 'changes' with the {format} sink"))
                .hint("console, memory, noop, kafka, foreach and foreach_batch take changes")),
        }
    }

    /// Names the nearest option, be it the format's or the engine's. A format that lists none takes any. Those of a store are
    /// for the checkpoint, too.
    fn check_names(&self, session: &Session) -> Result<()> {
        let (sink, mut known) = match &self.target {
            Target::ForeachBatch(_) => ("foreach_batch".to_owned(), Vec::new()),
            Target::Foreach(_) => ("foreach".to_owned(), Vec::new()),
            Target::Format => {
                let format = self.format_name(session);
                let known = session.engine().registry().for_format(&format)?.sink_options(&format);
                if known.is_empty() {
                    return Ok(());
                }
                (format, known)
            }
        };
        known.extend_from_slice(STORE_OPTIONS);
        known.extend(ENGINE_OPTIONS.iter().map(|name| OptionSpec::new(name, "of every streaming write")));
        self.options.check(&format!("{sink} sink"), &known)
    }
}

/// What a writer's options say of rows on which an expression fails.
pub(crate) fn row_errors(options: &Options) -> Result<RowErrors> {
    options.get(ROW_ERRORS).map_or(Ok(RowErrors::default()), str::parse)
}

fn batch_bytes_max(own: &Options) -> Result<u64> {
    match own.get_bytes("maxBytesPerBatch")? {
        Some(0) => Err(Error::invalid("option 'maxBytesPerBatch' is 0: expected a positive number")),
        Some(bytes_max) => Ok(bytes_max),
        None => Ok(QueryDefinition::BATCH_BYTES_MAX),
    }
}

fn target_batch_duration(own: &Options) -> Result<Option<Duration>> {
    match own.get_duration("targetBatchDuration")? {
        Some(Duration::ZERO) => Err(Error::invalid("option 'targetBatchDuration' is 0: expected a positive length of time")),
        target => Ok(target),
    }
}

/// `upsertKey`: columns, by their names, with commas between them.
fn upsert_key(own: &Options) -> Result<Option<Vec<String>>> {
    let Some(text) = own.get("upsertKey") else { return Ok(None) };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(Error::invalid(format!("option 'upsertKey' is '{text}': expected columns with commas between them")));
    }
    Ok(Some(names))
}

/// `lateRowsPath`: a Parquet table of the rows that came too late.
async fn late_rows(session: &Session, own: &Options, written: &Options) -> Result<Option<Arc<dyn Sink>>> {
    let Some(path) = own.get(LATE_ROWS_PATH) else { return Ok(None) };
    let request = SinkRequest {
        format: "parquet".to_owned(),
        options: written.only(STORE_OPTIONS).with("path", path),
        schema: late_rows_schema(),
        partition_by: Vec::new(),
        query_name: None,
        output_mode: Some(OutputMode::Append),
        time_zone: session.time_zone(),
        clock: Arc::clone(session.engine().clock()),
    };
    session.engine().registry().for_format(&request.format)?.sink(request).await.map(Some)
}

/// `partlyLateRows`: which rows go there.
fn kept_late_rows(own: &Options) -> Result<KeptLateRows> {
    let also_partly = own.get_bool(PARTLY_LATE_ROWS)?.unwrap_or(false);
    if also_partly && own.get(LATE_ROWS_PATH).is_none() {
        return Err(Error::invalid(format!("{PARTLY_LATE_ROWS} needs {LATE_ROWS_PATH}: the folder of the table that the rows go to")));
    }
    Ok(if also_partly { KeptLateRows::AlsoPartly } else { KeptLateRows::Late })
}

/// `flush`: when the input has ended, everything is final.
fn flushes(own: &Options, trigger: Trigger) -> Result<bool> {
    let flushes = own.get_bool("flush")?.unwrap_or(false);
    if flushes && trigger != Trigger::AvailableNow {
        return Err(Error::invalid("flush applies to trigger 'available-now' only: other input has no end"));
    }
    Ok(flushes)
}

/// The most key groups; Flink's limit, too.
const KEY_GROUPS_MAX: u32 = 1 << 15;

/// `stateKeyGroups`: how many tasks can share the state at most.
fn key_groups(own: &Options) -> Result<Option<NonZeroU32>> {
    let Some(n) = own.get_u64(STATE_KEY_GROUPS)? else { return Ok(None) };
    match u32::try_from(n).ok().filter(|n| *n <= KEY_GROUPS_MAX).and_then(NonZeroU32::new) {
        Some(n) => Ok(Some(n)),
        None => Err(Error::invalid(format!("option '{STATE_KEY_GROUPS}' is {n}, and must be from 1 to {KEY_GROUPS_MAX}"))),
    }
}

/// Under the default trigger file sinks make at most one batch in this time, or millisecond batches would make a flood
/// of small files.
const FILE_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

fn commit_interval(own: &Options, is_file: bool) -> Result<Duration> {
    match own.get_duration("commitInterval")? {
        Some(_) if !is_file => Err(Error::invalid("commitInterval applies to file sinks only")),
        Some(interval) => Ok(interval),
        None if is_file => Ok(FILE_COMMIT_INTERVAL),
        None => Ok(Duration::ZERO),
    }
}

/// `checkpointLocation`, else a folder under `spark.sql.streaming.checkpointLocation`, else (not for files) a temporary one.
fn checkpoint_location(
    session: &Session,
    own: &Options,
    name: Option<&str>,
    sink_options: &Options,
    is_file: bool,
) -> Result<(Location, CheckpointLife)> {
    let location = |path: &str| Location::parse_on(Arc::clone(session.files()), path, sink_options);
    let kept = |path: &str| Ok((location(path)?, CheckpointLife::Kept));
    if let Some(path) = own.get("checkpointLocation") {
        return kept(path);
    }
    let unnamed = || session.engine().ids().new_uuid().to_string();
    if let Some(root) = session.get(settings::CHECKPOINT_LOCATION) {
        let folder = name.map_or_else(unnamed, str::to_owned);
        return kept(&format!("{}/{folder}", root.trim_end_matches('/')));
    }
    if is_file {
        return Err(Error::invalid("option 'checkpointLocation' is missing")
            .hint("name a folder where the query keeps what it has done, one per query"));
    }
    let folder = std::env::temp_dir().join(format!("millstream-{}", unnamed()));
    tracing::warn!(
        folder = %folder.display(),
        "the query has a temporary checkpoint: a restart will not go on from it, and it is removed when the query ends without \
         an error ({} = true: after an error, too)",
        settings::FORCE_DELETE_TEMP_CHECKPOINT
    );
    let even_if_failed = session.get(settings::FORCE_DELETE_TEMP_CHECKPOINT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok((location(&folder.to_string_lossy())?, CheckpointLife::Temporary { even_if_failed }))
}
