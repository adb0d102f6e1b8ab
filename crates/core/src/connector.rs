//! Connectors by name: how a source or sink is made from options, and its tasks' halves from a spec.
//!
//! A connector is one folder in `crates/connectors` and one line in its list. The registry is the only place where
//! names of formats are looked up; the engine never sees one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Fields, SchemaRef};
use async_trait::async_trait;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::options::{OptionSpec, Options, nearest};
use crate::output_mode::OutputMode;
use crate::sink::{Sink, WriterFactory};
use crate::source::{Source, SplitReader};

/// The key of a field's metadata that marks a source's hidden column (`_metadata`): it is the last in the schema, can be
/// selected by name, and is not part of `*`. Only sources that were asked for it (`metadataColumn`) have one.
pub const HIDDEN_FIELD: &str = "millstream.hidden";

/// What is asked of [`Connector::source`].
#[derive(Debug, Clone)]
pub struct SourceRequest {
    /// The format's name as the user wrote it: `json`, `rate`, ...
    pub format: String,
    /// The user's options (and `path`).
    pub options: Options,
    /// The user's schema; `None` lets the connector infer or dictate it.
    pub schema: Option<SchemaRef>,
    /// Whether this is a stream (some options and inference rules differ).
    pub is_streaming: bool,
    /// The session's time zone, for text without one.
    pub time_zone: String,
    /// Where a source that must log what it receives (`writeAheadLog`) may keep it: a folder of the checkpoint.
    pub checkpoint_dir: Option<String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// What is asked of [`Connector::sink`].
#[derive(Debug, Clone)]
pub struct SinkRequest {
    /// The format's name.
    pub format: String,
    /// The user's options (and `path`).
    pub options: Options,
    /// The columns that will be written.
    pub schema: SchemaRef,
    /// The columns of `partitionBy`.
    pub partition_by: Vec<String>,
    /// The query's name (the memory sink's table).
    pub query_name: Option<String>,
    /// Which rows a stream writes batch after batch; `None`: it is one finished write.
    pub output_mode: Option<OutputMode>,
    /// The session's time zone, for text.
    pub time_zone: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// All that is needed to make a [`SplitReader`] again, in another process too.
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderSpec {
    /// The connector's name in the registry.
    pub connector: String,
    /// The format.
    pub format: String,
    /// The options the reader needs.
    pub options: Options,
    /// The whole schema, before projection.
    pub schema: SchemaRef,
    /// The columns wanted, as indices into `schema`, in order; `None` = all.
    pub projection: Option<Vec<usize>>,
    /// The session's time zone.
    pub time_zone: String,
    /// Rows per Arrow batch.
    pub batch_rows: usize,
}

impl ReaderSpec {
    /// The schema after the projection.
    pub fn projected_schema(&self) -> Result<SchemaRef> {
        match &self.projection {
            None => Ok(Arc::clone(&self.schema)),
            Some(indices) => Ok(Arc::new(self.schema.project(indices)?)),
        }
    }
}

/// All that is needed to make a [`WriterFactory`] again, in another process too.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterSpec {
    /// The connector's name in the registry.
    pub connector: String,
    /// The format.
    pub format: String,
    /// The options the writer needs.
    pub options: Options,
    /// The columns written.
    pub schema: SchemaRef,
    /// The columns of `partitionBy`.
    pub partition_by: Vec<String>,
    /// The session's time zone.
    pub time_zone: String,
}

/// A kind of source and/or sink.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug {
    /// Its name in specs.
    fn name(&self) -> &'static str;

    /// The formats it answers to (`json`, `csv`, ... for files), lower case.
    fn formats(&self) -> &'static [&'static str];

    /// Whether its formats are those of files: they have a `path`, and take a schema from the user.
    fn is_of_files(&self) -> bool {
        false
    }

    /// Whether its sink can be given rows that say how they change the result (`_change_type`).
    fn takes_changes(&self) -> bool {
        false
    }

    /// Whether its sink can replace what it wrote before (save mode overwrite), as a materialized view is.
    fn can_overwrite(&self) -> bool {
        true
    }

    /// The options its source knows for a format.
    fn source_options(&self, format: &str) -> Vec<OptionSpec> {
        let _ = format;
        Vec::new()
    }

    /// The options its sink knows for a format.
    fn sink_options(&self, format: &str) -> Vec<OptionSpec> {
        let _ = format;
        Vec::new()
    }

    /// The options among those that say how the store is reached where its files lie: what is written beside them (dead
    /// letters, late rows, the checkpoint) is reached alike.
    fn store_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// The columns that are a record of its source, as its reader gives them even where the source's schema lacks one: a dead letter of
    /// a row keeps them, whatever the query reads. `None` if a record is no more than what its columns say.
    fn record_columns(&self, format: &str) -> Option<Fields> {
        let _ = format;
        None
    }

    /// A source. Checks options; may read to infer a schema, but starts nothing.
    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        Err(Error::unsupported(format!("format '{}' cannot be read", request.format)))
    }

    /// A sink. Checks options; creates nothing.
    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        Err(Error::unsupported(format!("format '{}' cannot be written", request.format)))
    }

    /// A sink for the dead letters of a source: rows of [`RejectedRecord::schema_with`](crate::RejectedRecord::schema_with). What
    /// `request` does not say of how the sink is reached is taken from the options of the source, if that is of the same connector.
    async fn dead_letter_sink(&self, request: SinkRequest, source: Option<&Options>) -> Result<Arc<dyn Sink>> {
        let _ = source;
        Err(Error::unsupported(format!("dead letters cannot be written to format '{}'", request.format)))
    }

    /// The task's half of a source.
    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Err(Error::unsupported(format!("format '{}' cannot be read", spec.format)))
    }

    /// The task's half of a sink.
    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Err(Error::unsupported(format!("format '{}' cannot be written", spec.format)))
    }
}

/// The connectors of a session, by format and by name.
#[derive(Debug, Clone, Default)]
pub struct ConnectorRegistry {
    by_format: BTreeMap<String, Arc<dyn Connector>>,
    by_name: BTreeMap<String, Arc<dyn Connector>>,
}

impl ConnectorRegistry {
    /// Adds a connector; a later one replaces an earlier one of the same name or format.
    pub fn register(&mut self, connector: Arc<dyn Connector>) {
        for format in connector.formats() {
            self.by_format.insert((*format).to_owned(), Arc::clone(&connector));
        }
        self.by_name.insert(connector.name().to_owned(), connector);
    }

    /// The connector of a format.
    pub fn for_format(&self, format: &str) -> Result<&Arc<dyn Connector>> {
        let lower = format.to_ascii_lowercase();
        self.by_format.get(&lower).ok_or_else(|| {
            let error = Error::invalid(format!("unknown format '{format}'"));
            match nearest(&lower, self.by_format.keys().map(String::as_str)) {
                Some(name) => error.hint(format!("did you mean '{name}'?")),
                None => error,
            }
        })
    }

    /// Whether this is the name of a file format.
    pub fn is_file_format(&self, format: &str) -> bool {
        self.for_format(format).is_ok_and(|connector| connector.is_of_files())
    }

    /// The connector that made a spec.
    pub fn by_name(&self, name: &str) -> Result<&Arc<dyn Connector>> {
        self.by_name.get(name).ok_or_else(|| Error::internal(format!("connector '{name}' is not registered")))
    }

    /// The task's half of a source.
    pub fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        self.by_name(&spec.connector)?.reader(spec)
    }

    /// See [`Connector::record_columns`].
    pub fn record_columns(&self, spec: &ReaderSpec) -> Result<Option<Fields>> {
        Ok(self.by_name(&spec.connector)?.record_columns(&spec.format))
    }

    /// The task's half of a sink.
    pub fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        self.by_name(&spec.connector)?.writer(spec)
    }

    /// The names of all formats.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.by_format.keys().map(String::as_str)
    }
}
