//! Sessions: settings, the catalog of views and tables, the running queries.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use millstream_analyzer::{Relation, SessionSettings, UserFunction};
use millstream_connectors::{InProcess, MemoryStream};
use millstream_core::options::{nearest, parse_bytes};
use millstream_core::{Clock, ConnectorRegistry, CrashPoints, Error, IdSource, NoCrash, RandomIds, Result, SystemClock};
use millstream_engine::{Engine, EngineConfig, StreamingQueryManager};
use millstream_sql::ir::Plan;
use millstream_state::{FileSystem, OsFileSystem};

use crate::answer::SqlAnswer;
use crate::catalog::SessionCatalog;
use crate::dataframe::DataFrame;
use crate::reader::{DataFrameReader, DataStreamReader};
use crate::settings::{self, Settings};

/// A session. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    queries: StreamingQueryManager,
    catalog: SessionCatalog,
    settings: RwLock<Settings>,
    in_process: InProcess,
    files: Arc<dyn FileSystem>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Makes a [`Session`].
#[derive(Debug)]
pub struct SessionBuilder {
    engine: EngineConfig,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    crash_points: Arc<dyn CrashPoints>,
    files: Arc<dyn FileSystem>,
    settings: Vec<(String, String)>,
}

impl Default for SessionBuilder {
    fn default() -> Self {
        Self {
            engine: EngineConfig::default(),
            clock: Arc::new(SystemClock::default()),
            ids: Arc::new(RandomIds),
            crash_points: Arc::new(NoCrash),
            files: Arc::new(OsFileSystem),
            settings: Vec::new(),
        }
    }
}

impl SessionBuilder {
    /// A setting, such as `spark.sql.session.timeZone`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }

    /// How much of the machine the session may use.
    #[must_use]
    pub fn engine(mut self, config: EngineConfig) -> Self {
        self.engine = config;
        self
    }

    /// Another clock (tests).
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of ids (tests).
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Ends runs at given points, as a crash would (tests).
    #[must_use]
    pub fn crash_points(mut self, crash_points: Arc<dyn CrashPoints>) -> Self {
        self.crash_points = crash_points;
        self
    }

    /// Another layer for local files: sources, sinks and checkpoints (tests pass one that fails, or forgets what was not synced).
    #[must_use]
    pub fn files(mut self, files: Arc<dyn FileSystem>) -> Self {
        self.files = files;
        self
    }

    /// The session.
    pub fn build(self) -> Result<Session> {
        let mut registry = ConnectorRegistry::default();
        let in_process = millstream_connectors::register_all_on(&mut registry, Arc::clone(&self.files));
        let engine = Engine::new(self.engine, Arc::new(registry), self.clock, self.ids)?.with_crash_points(self.crash_points);
        let engine = Arc::new(engine);
        let inner = Inner {
            queries: StreamingQueryManager::new(Arc::clone(&engine)),
            engine,
            catalog: SessionCatalog::default(),
            settings: RwLock::default(),
            in_process,
            files: self.files,
        };
        let session = Session { inner: Arc::new(inner) };
        for (key, value) in self.settings {
            session.set(&key, &value)?;
        }
        Ok(session)
    }
}

impl Session {
    /// Makes a session step by step.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// A session with the defaults.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Reads finished data.
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.clone())
    }

    /// Reads live data, with the same formats and options as [`Self::read`].
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader::new(self.clone())
    }

    /// A table or view by name, as finished data.
    pub fn table(&self, name: &str) -> DataFrame {
        DataFrame::new(self.clone(), Plan::table(name, false))
    }

    /// Runs one statement of SQL. A query gives its DataFrame; other statements are carried out now and give what Spark's
    /// would (often no rows).
    pub async fn sql(&self, text: &str) -> Result<DataFrame> {
        Ok(crate::commands::run(self, text).await?.frame)
    }

    /// Runs statements of SQL divided by `;` and gives the answer of the last, if there is any statement.
    pub async fn sql_script(&self, text: &str) -> Result<Option<SqlAnswer>> {
        crate::commands::run_script(self, text).await
    }

    /// Rows made in the program.
    pub fn create_dataframe(&self, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<DataFrame> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let has_twins = names.iter().collect::<BTreeSet<_>>().len() < names.len();
        let (schema, batches) = if has_twins { numbered_columns(&schema, batches)? } else { (schema, batches) };
        let table = MemTable::try_new(schema, vec![batches]).map_err(millstream_engine::from_datafusion)?;
        let relation = Relation::Table { provider: Arc::new(table), name: Vec::new(), is_streaming: false };
        let frame = DataFrame::new(self.clone(), self.catalog().keep(relation));
        Ok(if has_twins { frame.to_df(names) } else { frame })
    }

    /// A stream that the program feeds by hand; tests use it. Read it with [`MemoryStream`]'s name:
    /// `session.read_stream().format("memory").option("stream", name)`.
    pub fn memory_stream(&self, name: &str, schema: SchemaRef) -> Result<MemoryStream> {
        self.inner.in_process.memory.stream(name, schema)
    }

    /// A stream made by [`Self::memory_stream`].
    pub fn find_memory_stream(&self, name: &str) -> Result<MemoryStream> {
        self.inner.in_process.memory.find_stream(name)
    }

    /// `id` from `start` to before `end`.
    pub fn range(&self, start: i64, end: i64, step: i64) -> DataFrame {
        DataFrame::new(self.clone(), Plan::Range { start, end, step, partitions: None })
    }

    /// The streaming queries of the session.
    pub fn streams(&self) -> &StreamingQueryManager {
        &self.inner.queries
    }

    /// Registers a function of the user's under a name, for SQL and DataFrames.
    pub fn register_udf(&self, name: &str, function: ScalarUDF) {
        self.catalog().set_function(name, UserFunction::Scalar(Arc::new(function)));
    }

    /// Registers an aggregate function of the user's under a name.
    pub fn register_udaf(&self, name: &str, function: AggregateUDF) {
        self.catalog().set_function(name, UserFunction::Aggregate(Arc::new(function)));
    }

    /// Changes a setting for what is planned from now on.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        settings::check(key, value)?;
        self.change(|settings| drop(settings.insert(key.to_owned(), value.to_owned())))
    }

    /// The value of a setting, or its default.
    pub fn get(&self, key: &str) -> Option<String> {
        let settings = self.inner.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.get(key).cloned().or_else(|| settings::default_of(key).map(str::to_owned))
    }

    /// Takes a setting back to its default; `None` takes all back.
    pub fn reset(&self, key: Option<&str>) -> Result<()> {
        self.change(|settings| match key {
            Some(key) => drop(settings.remove(key)),
            None => settings.clear(),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut settings = self.inner.settings.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = settings.clone();
        change(&mut changed);
        if settings::STATE_KEYS.iter().any(|key| settings.get(*key) != changed.get(*key)) {
            let limit = changed.get(settings::STATE_MEMORY_LIMIT).and_then(|bytes| parse_bytes(bytes));
            let limit = limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
            let spill_dir = changed.get(settings::STATE_SPILL_DIR).map_or_else(std::env::temp_dir, PathBuf::from);
            self.inner.engine.limit_state(limit, &spill_dir)?;
        }
        *settings = changed;
        Ok(())
    }

    /// All settings that were set.
    pub fn settings(&self) -> Settings {
        self.inner.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings that change results, as recorded with every batch.
    pub(crate) fn result_settings(&self) -> Settings {
        settings::RESULT_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), self.get(key)?))).collect()
    }

    /// The analyzer's view of given settings.
    pub(crate) fn analyzer_settings(&self, settings: &BTreeMap<String, String>) -> SessionSettings {
        let zone = settings.get(settings::TIME_ZONE).cloned().or_else(|| self.get(settings::TIME_ZONE));
        let mut analyzer = SessionSettings::default().with_time_zone(zone.unwrap_or_else(|| "UTC".to_owned()));
        let case_sensitive = settings.get(settings::CASE_SENSITIVE).cloned().or_else(|| self.get(settings::CASE_SENSITIVE));
        analyzer.case_sensitive = case_sensitive.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        analyzer
    }

    /// The session's time zone.
    pub fn time_zone(&self) -> String {
        self.get(settings::TIME_ZONE).unwrap_or_else(|| "UTC".to_owned())
    }

    pub(crate) fn catalog(&self) -> &SessionCatalog {
        &self.inner.catalog
    }

    pub(crate) fn in_process(&self) -> &InProcess {
        &self.inner.in_process
    }

    /// The layer of local files.
    pub(crate) fn files(&self) -> &Arc<dyn FileSystem> {
        &self.inner.files
    }

    /// The engine, for embedding.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// The folder of tables without a location (`spark.sql.warehouse.dir`).
    pub(crate) fn warehouse_path(&self, table: &str) -> String {
        let dir = self.get(settings::WAREHOUSE_DIR).unwrap_or_else(|| "millstream-warehouse".to_owned());
        format!("{}/{}", dir.trim_end_matches('/'), table.to_ascii_lowercase())
    }

    /// The error for a name that is not there, with the nearest one.
    pub(crate) fn no_such_table(&self, name: &str) -> Error {
        let error = Error::invalid(format!("there is no table or view '{name}'")).code("TABLE_OR_VIEW_NOT_FOUND");
        match nearest(name, self.catalog().names().iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error,
        }
    }
}

/// The same columns under names of which no two are equal.
fn numbered_columns(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let fields = schema.fields().iter().enumerate().map(|(idx, field)| field.as_ref().clone().with_name(format!("_{idx}")));
    let numbered = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()));
    let batches = batches
        .into_iter()
        .map(|batch| Ok(RecordBatch::try_new(Arc::clone(&numbered), batch.columns().to_vec())?))
        .collect::<Result<Vec<_>>>()?;
    Ok((numbered, batches))
}
