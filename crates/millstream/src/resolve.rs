//! From names to relations: what the analyzer asks for synchronously is looked up here beforehand.
//!
//! Walks the relations that a plan names, views included, and opens the sources behind them: lists files, infers schemas,
//! checks options. Starts nothing, reads no rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::streaming::{OutputRequest, StateFunction, for_output_mode};
use millstream_analyzer::{Analyzed, Analyzer, Catalog, Relation, UserFunction, referenced_relations};
use millstream_core::{Error, Options, Result};
use millstream_engine::from_datafusion;
use millstream_engine::stream::StreamPlan;
use millstream_engine::stream::definition::Settings;
use millstream_sql::ir::{Expr, Literal, LocalId, Plan, Read, ReadSource};

use crate::catalog::{Entry, TableDefinition, ViewDefinition};
use crate::dataframe::DataFrame;
use crate::reader::{open_source, parse_schema, schema_of};
use crate::session::Session;

/// The relations of one plan, looked up. What it does not know does not exist.
pub(crate) struct ResolvedCatalog {
    session: Session,
    /// By what reads them.
    relations: Vec<(Read, Relation)>,
}

impl fmt::Debug for ResolvedCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedCatalog").field("relations", &self.relations).finish_non_exhaustive()
    }
}

/// What a leaf stands for.
enum Leaf {
    View(Arc<ViewDefinition>),
    Table(Arc<TableDefinition>),
    /// The table of a memory sink.
    Rows {
        name: String,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    },
    Source {
        format: String,
        options: Options,
        schema: Option<SchemaRef>,
    },
    /// Nothing: the analyzer reports it with its place in the text and the nearest name.
    Unknown,
}

impl ResolvedCatalog {
    /// Looks up everything that `plan` names.
    pub(crate) async fn resolve(session: &Session, plan: &Plan) -> Result<Self> {
        let mut resolved = Self { session: session.clone(), relations: Vec::new() };
        let mut waiting = vec![Arc::new(plan.clone())];
        while let Some(plan) = waiting.pop() {
            for relation in referenced_relations(&plan) {
                if let Some(view) = resolved.add(&relation.read).await? {
                    waiting.push(view);
                }
            }
        }
        Ok(resolved)
    }

    /// Adds what a leaf reads; gives the plan of a view that is yet to be walked.
    async fn add(&mut self, read: &Read) -> Result<Option<Arc<Plan>>> {
        if self.find(read).is_some() {
            return Ok(None);
        }
        let mut to_walk = None;
        let relation = match leaf(&self.session, read)? {
            Leaf::Unknown => return Ok(None),
            Leaf::View(view) => {
                to_walk = Some(Arc::clone(&view.plan));
                Relation::View {
                    plan: Arc::clone(&view.plan),
                    column_names: view.columns.clone(),
                    name: vec![view.name.clone()],
                    time_zone: Some(view.time_zone.clone()),
                }
            }
            Leaf::Table(table) => open_table(&self.session, &table, read.is_streaming, options_of(read)).await?,
            Leaf::Rows { name, schema, batches } => memory_table(name, schema, batches)?,
            Leaf::Source { format, options, schema } => {
                open_source(&self.session, None, &format, options, schema, read.is_streaming).await?
            }
        };
        self.relations.push((read.clone(), relation));
        Ok(to_walk)
    }

    fn find(&self, read: &Read) -> Option<&Relation> {
        self.relations.iter().find(|(known, _)| known == read).map(|(_, relation)| relation)
    }
}

/// What a leaf stands for: this is the place that decides. A name of the session hides a memory sink's table, and both
/// hide a path as a table.
fn leaf(session: &Session, read: &Read) -> Result<Leaf> {
    let mut options = options_of(read);
    let schema = read.schema.as_ref().map(schema_of).transpose()?;
    match &read.source {
        ReadSource::Table(name) => {
            let written = name.parts.join(".");
            match session.catalog().get(&written) {
                Some(Entry::View(view)) => return Ok(Leaf::View(view)),
                Some(Entry::Table(table)) => return Ok(Leaf::Table(table)),
                None => {}
            }
            if let Some((schema, batches)) = session.in_process().memory.table(&written) {
                return Ok(Leaf::Rows { name: written, schema, batches });
            }
            let [format, path] = name.parts.as_slice() else { return Ok(Leaf::Unknown) };
            let registry = session.engine().registry();
            if registry.for_format(format).is_err() {
                return Ok(Leaf::Unknown);
            }
            if !registry.is_file_format(format) {
                return Err(Error::unsupported(format!("format '{format}' has no files that could be read as a table '{written}'"))
                    .code("UNSUPPORTED_DATASOURCE_FOR_DIRECT_QUERY"));
            }
            options.set("path", path);
            Ok(Leaf::Source { format: format.clone(), options, schema })
        }
        ReadSource::DataSource { format, paths } => {
            if let [path] = paths.as_slice() {
                options.set("path", path);
            } else if !paths.is_empty() {
                return Err(Error::unsupported("a reader with several paths").hint("use a glob, or a union"));
            }
            Ok(Leaf::Source { format: format.clone().unwrap_or_else(|| "parquet".to_owned()), options, schema })
        }
        ReadSource::Function { name, args } => match name.last().to_ascii_lowercase().as_str() {
            "read_files" => read_files(args, options),
            "read_kafka" => read_kafka(args, options),
            "read_state" => read_state("state", args, options),
            "read_state_metadata" => read_state("state-metadata", args, options),
            _ => Ok(Leaf::Unknown),
        },
        _ => Ok(Leaf::Unknown),
    }
}

impl Catalog for ResolvedCatalog {
    fn relation(&self, read: &Read) -> Result<Option<Relation>> {
        Ok(self.find(read).cloned())
    }

    fn local(&self, id: LocalId) -> Result<Relation> {
        self.session.catalog().kept(id)
    }

    fn state_function(&self, id: LocalId) -> Result<Arc<StateFunction>> {
        self.session.catalog().kept_function(id)
    }

    fn function(&self, name: &str) -> Option<UserFunction> {
        self.session.catalog().function(name)
    }

    fn relation_names(&self) -> Vec<String> {
        self.session.catalog().names()
    }
}

async fn open_table(session: &Session, table: &TableDefinition, is_streaming: bool, more: Options) -> Result<Relation> {
    let mut options = table.options.clone();
    for (name, value) in more.iter() {
        options.set(name, value);
    }
    open_source(session, Some(table.name.clone()), &table.format, options, table.schema.clone(), is_streaming).await
}

fn memory_table(name: String, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Relation> {
    let table = MemTable::try_new(schema, vec![batches]).map_err(from_datafusion)?;
    Ok(Relation::Table { provider: Arc::new(table), name: vec![name], is_streaming: false })
}

fn options_of(read: &Read) -> Options {
    read.options.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
}

/// `read_files('path', format => 'json', schema => '...', option => 'value')`
fn read_files(args: &[Expr], mut options: Options) -> Result<Leaf> {
    let (mut format, mut schema) = ("parquet".to_owned(), None);
    for (name, text) in arguments("read_files", Some("path"), "format => 'json'", args)? {
        match name.to_ascii_lowercase().as_str() {
            "format" => format = text,
            "schema" => schema = Some(parse_schema(&text)?),
            _ => options.set(name, text),
        }
    }
    options.require("path")?;
    Ok(Leaf::Source { format, options, schema })
}

/// `read_kafka(bootstrapServers => 'host:9092', subscribe => 'topic')`
fn read_kafka(args: &[Expr], mut options: Options) -> Result<Leaf> {
    for (name, text) in arguments("read_kafka", None, "bootstrapServers => 'host:9092', subscribe => 'topic'", args)? {
        options.set(name, text);
    }
    Ok(Leaf::Source { format: "kafka".to_owned(), options, schema: None })
}

/// `read_state('checkpoint', operator => 2, version => 41)`, `read_state_metadata('checkpoint')`
fn read_state(format: &str, args: &[Expr], mut options: Options) -> Result<Leaf> {
    for (name, text) in arguments("read_state", Some("path"), "operator => 2", args)? {
        options.set(name, text);
    }
    Ok(Leaf::Source { format: format.to_owned(), options, schema: None })
}

/// The arguments of a table function that reads: options by name; `first` may stand without its name.
fn arguments(function: &str, first: Option<&str>, example: &str, args: &[Expr]) -> Result<Vec<(String, String)>> {
    let argument = |(position, arg): (usize, &Expr)| {
        let (name, value) = match (arg, first) {
            (Expr::NamedArgument { name, value, .. }, _) => (name.name.clone(), value.as_ref()),
            (value, Some(first)) if position == 0 => (first.to_owned(), value),
            (_, Some(first)) => return Err(Error::invalid(format!("{function} takes a {first}, then named arguments such as {example}"))),
            (_, None) => return Err(Error::invalid(format!("{function} takes named arguments such as {example}"))),
        };
        let text = literal_text(value).ok_or_else(|| Error::invalid(format!("argument '{name}' of {function} must be a literal")))?;
        Ok((name, text))
    };
    args.iter().enumerate().map(argument).collect()
}

fn literal_text(expr: &Expr) -> Option<String> {
    let Expr::Literal { value, .. } = expr else { return None };
    match value {
        Literal::String(text) => Some(text.clone()),
        Literal::Boolean(value) => Some(value.to_string()),
        Literal::Int(value) => Some(value.to_string()),
        Literal::Long(value) => Some(value.to_string()),
        _ => None,
    }
}

impl DataFrame {
    /// Resolves names and types.
    pub(crate) async fn analyze(&self) -> Result<Analyzed> {
        let catalog = ResolvedCatalog::resolve(&self.session, &self.plan).await?;
        self.analyze_with(&catalog, &self.session.result_settings())
    }

    fn analyze_with(&self, catalog: &ResolvedCatalog, settings: &Settings) -> Result<Analyzed> {
        let analyzer = Analyzer::new(self.session.analyzer_settings(settings), catalog);
        match &self.text {
            Some(text) => analyzer.with_text(text).analyze(&self.plan),
            None => analyzer.analyze(&self.plan),
        }
    }
}

/// A stream's plan, resolved: what the engine asks for at start, and again if a batch must be finished under older settings.
#[derive(Debug)]
pub(crate) struct AnalyzedStream {
    frame: DataFrame,
    settings: Settings,
    output: OutputRequest,
    plan: LogicalPlan,
}

impl AnalyzedStream {
    pub(crate) fn try_new(frame: DataFrame, analyzed: Analyzed, output: OutputRequest) -> Result<Self> {
        let settings = frame.session.result_settings();
        let plan = for_output_mode(&analyzed.plan, output.clone())?;
        Ok(Self { frame, settings, output, plan })
    }

    /// The columns that the sink is given.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }
}

#[async_trait::async_trait]
impl StreamPlan for AnalyzedStream {
    async fn logical_plan(&self, settings: &Settings) -> Result<LogicalPlan> {
        if *settings == self.settings {
            return Ok(self.plan.clone());
        }
        let catalog = ResolvedCatalog::resolve(&self.frame.session, &self.frame.plan).await?;
        for_output_mode(&self.frame.analyze_with(&catalog, settings)?.plan, self.output.clone())
    }
}

#[cfg(test)]
mod tests;
