//! A write of a stream: the definition of a query.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use millstream_analyzer::Analyzed;
use millstream_analyzer::streaming::{OutputRequest, Shown};
use millstream_connectors::{ForeachBatch, RowWriterFactory, STORE_OPTIONS, foreach_batch_sink, foreach_sink};
use millstream_core::connector::SinkRequest;
use millstream_core::options::parse_duration;
use millstream_core::{BatchId, Error, OptionSpec, Options, OutputMode, Result, Sink};
use millstream_engine::stream::compare_with_checkpoint;
use millstream_engine::{QueryDefinition, StateComparison, StreamingQuery, TableGates, Trigger};
use millstream_state::Location;

use super::stream_options::{
    ALLOW_STATE_DROP, ENGINE_OPTIONS, LATE_ROWS_PATH, batch_bytes_max, checkpoint_location, commit_interval, flushes, kept_late_rows,
    key_groups, late_rows, target_batch_duration, upsert_key,
};
use super::{DataStreamWriter, row_errors};
use crate::columns::check_distinct;
use crate::dataframe::DataFrame;
use crate::resolve::AnalyzedStream;
use crate::session::Session;
use crate::settings;

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
