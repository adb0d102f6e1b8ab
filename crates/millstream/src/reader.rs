//! Readers: the same formats and options for finished and live data.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_analyzer::Relation;
use millstream_connectors::state::STATE_FORMATS;
use millstream_core::connector::SourceRequest;
use millstream_core::options::looks_secret;
use millstream_core::{Error, Options, Result};
use millstream_engine::SourceTable;
use millstream_sql::ir;

use crate::columns::check_distinct;
use crate::dataframe::DataFrame;
use crate::session::Session;
use crate::settings;
use crate::text_error;

/// The option of sources that have a hidden column `_metadata`.
const METADATA_COLUMN: &str = "metadataColumn";

/// Reads data, finished ([`DataFrameReader`]) or live ([`DataStreamReader`]).
#[derive(Debug, Clone)]
pub struct Reader<L> {
    session: Session,
    format: Option<String>,
    name: Option<String>,
    options: Options,
    schema: Option<SchemaRef>,
    deferred: Option<Error>,
    life: PhantomData<L>,
}

/// Reads finished data: Spark's `DataFrameReader`.
pub type DataFrameReader = Reader<Finished>;

/// Reads live data: Spark's `DataStreamReader`.
pub type DataStreamReader = Reader<Live>;

/// Whether data ends.
pub trait Life: Send + Sync {
    /// Whether it keeps coming.
    const IS_STREAMING: bool;
}

/// Data that is there.
#[derive(Debug, Clone, Copy)]
pub struct Finished;

/// Data that keeps coming.
#[derive(Debug, Clone, Copy)]
pub struct Live;

impl Life for Finished {
    const IS_STREAMING: bool = false;
}

impl Life for Live {
    const IS_STREAMING: bool = true;
}

impl<L: Life> Reader<L> {
    pub(crate) fn new(session: Session) -> Self {
        Self { session, format: None, name: None, options: Options::new(), schema: None, deferred: None, life: PhantomData }
    }

    /// The format: json, csv, text, parquet, rate, socket, ...
    #[must_use]
    pub fn format(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// What the checkpoint calls this source; without it the name comes from the format and the path.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// An option of the format.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// Options of the format.
    #[must_use]
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        for (name, value) in options {
            self.options.set(name, value);
        }
        self
    }

    /// The columns, as DDL text such as `a INT, b STRUCT<x: STRING>`. Bad text is reported by the load.
    #[must_use]
    pub fn schema(mut self, ddl: &str) -> Self {
        match parse_schema(ddl) {
            Ok(schema) => self.schema = Some(schema),
            Err(error) => self.deferred = Some(error),
        }
        self
    }

    /// The columns, as an Arrow schema of the types that Spark has.
    #[must_use]
    pub fn arrow_schema(mut self, schema: SchemaRef) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Reads a path (option `path`).
    pub async fn load_path(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.option("path", path).load().await
    }

    /// JSON, one object per line unless `multiLine` is set.
    pub async fn json(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("json").load_path(path).await
    }

    /// CSV.
    pub async fn csv(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("csv").load_path(path).await
    }

    /// Text: one column `value`, one row per line.
    pub async fn text(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("text").load_path(path).await
    }

    /// Parquet.
    pub async fn parquet(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("parquet").load_path(path).await
    }

    /// A table or view by name.
    pub fn table(self, name: &str) -> DataFrame {
        DataFrame::new(self.session, ir::Plan::table(name, L::IS_STREAMING))
    }

    /// Resolves the source: checks the options, finds the schema. Reads no rows.
    pub async fn load(self) -> Result<DataFrame> {
        if let Some(error) = self.deferred {
            return Err(error);
        }
        let format = match self.format {
            Some(format) => format,
            None => self.session.get(settings::DEFAULT_FORMAT).unwrap_or_else(|| "parquet".to_owned()),
        };
        let relation = open_source(&self.session, self.name, &format, self.options, self.schema, L::IS_STREAMING).await?;
        let leaf = self.session.catalog().keep(relation);
        Ok(DataFrame::new(self.session, leaf))
    }
}

/// Resolves a source into a relation that the analyzer can scan.
pub(crate) async fn open_source(
    session: &Session,
    name: Option<String>,
    format: &str,
    mut options: Options,
    schema: Option<SchemaRef>,
    is_streaming: bool,
) -> Result<Relation> {
    let name = name.unwrap_or_else(|| derived_name(format, &options));
    if is_streaming && session.get(settings::SCHEMA_INFERENCE).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        options.set("streamingSchemaInference", "true");
    }
    let engine = session.engine();
    if let Some(schema) = &schema
        && engine.registry().is_file_format(format)
    {
        check_distinct(session, schema)?;
    }
    let known = engine.registry().for_format(format)?.source_options(format);
    let takes = |option: &str| known.iter().any(|spec| spec.name == option);
    for (option, setting) in settings::SOURCE_OPTIONS {
        if let Some(value) = session.get(setting)
            && takes(option)
            && options.get(option).is_none()
        {
            options.set(option, value);
        }
    }
    // The analyzer asks for it only where a query names it.
    if takes(METADATA_COLUMN) {
        options.set(METADATA_COLUMN, "true");
    }
    let request = SourceRequest {
        format: format.to_owned(),
        options,
        schema: schema.map(as_nullable),
        is_streaming,
        time_zone: session.time_zone(),
        checkpoint_dir: None,
        clock: Arc::clone(engine.clock()),
    };
    let table = SourceTable::resolve(name.clone(), request, Arc::clone(engine.registry())).await?;
    Ok(Relation::Table { provider: Arc::new(table), name: vec![name], is_streaming })
}

/// What a source without a name is called: its format and path, so that the name survives edits of the query.
fn derived_name(format: &str, options: &Options) -> String {
    if STATE_FORMATS.iter().any(|state| format.eq_ignore_ascii_case(state)) {
        // One query may read several stores and batches of one checkpoint.
        let which = options.iter().filter(|(name, _)| !looks_secret(name)).map(|(name, value)| format!("{name}={value}"));
        return format!("{}:{}", format.to_ascii_lowercase(), which.collect::<Vec<_>>().join(","));
    }
    // Each format has one of these at most.
    let place =
        ["path", "stream", "port", "subscribe", "subscribePattern", "assign", "topic"].into_iter().find_map(|name| options.get(name));
    match place {
        Some(place) => format!("{}:{place}", format.to_ascii_lowercase()),
        None => format.to_ascii_lowercase(),
    }
}

/// File schemas are forced nullable, as in Spark: nobody knows what a file will hold.
fn as_nullable(schema: SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// An Arrow schema from DDL text such as `a INT, b ARRAY<STRING>`.
pub fn parse_schema(ddl: &str) -> Result<SchemaRef> {
    schema_of(&millstream_sql::parse_schema(ddl).map_err(|error| text_error(error, ddl))?)
}

/// An Arrow schema from a struct type.
pub(crate) fn schema_of(data_type: &ir::DataType) -> Result<SchemaRef> {
    match millstream_analyzer::types::to_arrow(data_type)? {
        DataType::Struct(fields) => Ok(Arc::new(Schema::new(fields))),
        other => Err(Error::invalid(format!("a schema must be a struct, and '{other}' is none"))),
    }
}
