//! From names to relations: what the analyzer asks for synchronously is looked up here beforehand.
//!
//! Walks the relations that a plan names, views included, and opens the sources behind them: lists files, infers schemas,
//! checks options. Starts nothing, reads no rows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::{Analyzed, Analyzer, Catalog, Relation, UserFunction, referenced_relations};
use millstream_core::{Error, Options, Result};
use millstream_engine::stream::StreamPlan;
use millstream_engine::stream::definition::Settings;
use millstream_sql::ir::{Expr, Literal, LocalId, Plan, Read, ReadSource};

use crate::catalog::{Entry, TableDefinition};
use crate::dataframe::DataFrame;
use crate::reader::{open_source, parse_schema, schema_of};
use crate::session::Session;

/// The relations of one plan, looked up. What it does not know does not exist.
pub(crate) struct ResolvedCatalog {
    session: Session,
    named: BTreeMap<(String, bool), Relation>,
    sources: Vec<(Read, Relation)>,
}

impl fmt::Debug for ResolvedCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedCatalog").field("named", &self.named).finish_non_exhaustive()
    }
}

impl ResolvedCatalog {
    /// Looks up everything that `plan` names.
    pub(crate) async fn resolve(session: &Session, plan: &Plan) -> Result<Self> {
        let mut resolved = Self { session: session.clone(), named: BTreeMap::new(), sources: Vec::new() };
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
        if let ReadSource::Table(name) = &read.source {
            let written = name.parts.join(".");
            let key = (written.to_lowercase(), read.is_streaming);
            if self.named.contains_key(&key) {
                return Ok(None);
            }
            match self.session.catalog().get(&written) {
                Some(Entry::View(view)) => {
                    let relation = Relation::View {
                        plan: Arc::clone(&view.plan),
                        column_names: view.columns.clone(),
                        name: vec![view.name.clone()],
                        time_zone: Some(view.time_zone.clone()),
                    };
                    self.named.insert(key, relation);
                    return Ok(Some(Arc::clone(&view.plan)));
                }
                Some(Entry::Table(table)) => {
                    let relation = open_table(&self.session, &table, read.is_streaming, options_of(read)).await?;
                    self.named.insert(key, relation);
                    return Ok(None);
                }
                None => {}
            }
            if let Some(table) = self.session.in_process().memory.table(&written) {
                self.named.insert(key, memory_table(&written, table)?);
                return Ok(None);
            }
            if name.parts.len() != 2 {
                // The analyzer reports it with its place in the text and the nearest name.
                return Ok(None);
            }
        }
        let read = &self.as_data_source(read);
        if self.sources.iter().any(|(known, _)| known == read) {
            return Ok(None);
        }
        if let Some((format, options, schema)) = source_of(read)? {
            let relation = open_source(&self.session, None, &format, options, schema, read.is_streaming).await?;
            self.sources.push((read.clone(), relation));
        }
        Ok(None)
    }

    /// ``json.`path` `` in the form in which the analyzer asks for it.
    fn as_data_source(&self, read: &Read) -> Read {
        match &read.source {
            ReadSource::Table(name) => match name.parts.as_slice() {
                [format, path] if self.session.engine().registry().is_file_format(format) => {
                    let source = ReadSource::DataSource { format: Some(format.clone()), paths: vec![path.clone()] };
                    Read { source, ..read.clone() }
                }
                _ => read.clone(),
            },
            _ => read.clone(),
        }
    }
}

impl Catalog for ResolvedCatalog {
    fn relation(&self, name: &[String], streaming: bool) -> Result<Option<Relation>> {
        Ok(self.named.get(&(name.join(".").to_lowercase(), streaming)).cloned())
    }

    fn data_source(&self, read: &Read) -> Result<Relation> {
        if let Some((_, relation)) = self.sources.iter().find(|(known, _)| known == read) {
            return Ok(relation.clone());
        }
        match &read.source {
            ReadSource::Table(name) => Err(self.session.no_such_table(&name.parts.join("."))),
            ReadSource::Function { name, .. } => Err(Error::unsupported(format!("table function '{}'", name.parts.join(".")))),
            _ => Err(Error::internal("a source was not looked up before the analysis")),
        }
    }

    fn local(&self, id: LocalId) -> Result<Relation> {
        self.session.catalog().kept(id)
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

fn memory_table(name: &str, (schema, batches): (arrow::datatypes::SchemaRef, Vec<arrow::array::RecordBatch>)) -> Result<Relation> {
    let table = datafusion::datasource::MemTable::try_new(schema, vec![batches]).map_err(millstream_engine::from_datafusion)?;
    Ok(Relation::Table { provider: Arc::new(table), name: vec![name.to_owned()], is_streaming: false })
}

fn options_of(read: &Read) -> Options {
    read.options.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
}

type Source = (String, Options, Option<arrow::datatypes::SchemaRef>);

/// Format, options and schema of a leaf that is no named table: a reader, ``json.`path` ``, `read_files(...)`.
fn source_of(read: &Read) -> Result<Option<Source>> {
    let mut options = options_of(read);
    let schema = read.schema.as_ref().map(schema_of).transpose()?;
    match &read.source {
        ReadSource::DataSource { format, paths } => {
            if let [path] = paths.as_slice() {
                options.set("path", path);
            } else if !paths.is_empty() {
                return Err(Error::unsupported("a reader with several paths").hint("use a glob, or a union"));
            }
            Ok(Some((format.clone().unwrap_or_else(|| "parquet".to_owned()), options, schema)))
        }
        ReadSource::Function { name, args } => {
            let function = name.parts.last().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
            match function.as_str() {
                "read_files" => read_files(args, options).map(Some),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// `read_files('path', format => 'json', schema => '...', option => 'value')`
fn read_files(args: &[Expr], mut options: Options) -> Result<Source> {
    let (mut format, mut schema) = ("parquet".to_owned(), None);
    for (position, arg) in args.iter().enumerate() {
        let (name, value) = match arg {
            Expr::NamedArgument { name, value, .. } => (name.name.clone(), value.as_ref()),
            value if position == 0 => ("path".to_owned(), value),
            _ => return Err(Error::invalid("read_files takes a path, then named arguments such as format => 'json'")),
        };
        let text = literal_text(value).ok_or_else(|| Error::invalid(format!("argument '{name}' of read_files must be a literal")))?;
        match name.to_ascii_lowercase().as_str() {
            "format" => format = text,
            "schema" => schema = Some(parse_schema(&text)?),
            _ => options.set(name, text),
        }
    }
    options.require("path")?;
    Ok((format, options, schema))
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
    plan: LogicalPlan,
}

impl AnalyzedStream {
    pub(crate) fn new(frame: DataFrame, analyzed: Analyzed) -> Self {
        let settings = frame.session.result_settings();
        Self { frame, settings, plan: analyzed.plan }
    }
}

#[async_trait::async_trait]
impl StreamPlan for AnalyzedStream {
    async fn logical_plan(&self, settings: &Settings) -> Result<LogicalPlan> {
        if *settings == self.settings {
            return Ok(self.plan.clone());
        }
        let catalog = ResolvedCatalog::resolve(&self.frame.session, &self.frame.plan).await?;
        Ok(self.frame.analyze_with(&catalog, settings)?.plan)
    }
}
