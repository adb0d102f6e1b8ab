//! Job files: SQL statements that declare datasets, and the graph that they form.
//!
//! `SET`, `CREATE TABLE` and views say what there is; `CREATE STREAMING TABLE` and `CREATE MATERIALIZED VIEW` are the
//! datasets of the graph. Their order in the file does not matter. A streaming table is fed by a query of its own; a
//! materialized view is computed anew at each run, when the datasets it reads have ended. Syntax and meaning follow Spark's
//! declarative pipelines; what is ours (`OPTIONS`, `LOCATION` on datasets) is documented in the README.

mod graph;
mod run;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use millstream_core::{Error, Options, Result};
use millstream_engine::StateComparison;
use millstream_sql::Streams;
use millstream_sql::ir::{Command, CreateDataset, DatasetKind, Statement};

pub use run::{DatasetState, DatasetStatus, JobRun, RunOptions};

use crate::catalog::TableDefinition;
use crate::commands::{self, partition_columns, to_options};
use crate::dataframe::{DataFrame, output_schema};
use crate::session::Session;
use crate::settings;
use crate::text_error;
pub(crate) use graph::{Graph, reads_of};

/// A job file, parsed and ordered.
#[derive(Debug)]
pub struct Job {
    session: Session,
    datasets: Vec<Dataset>,
}

/// A dataset of a job.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    pub(crate) kind: DatasetKind,
    pub(crate) frame: DataFrame,
    pub(crate) format: String,
    /// The options of its writer: the format's own, and the engine's.
    pub(crate) options: Options,
    pub(crate) partition_by: Vec<String>,
    /// Positions of the datasets it reads.
    pub(crate) upstream: Vec<usize>,
}

/// What `millstream check` says of a dataset.
#[derive(Debug, Clone)]
pub struct DatasetPlan {
    /// Its name.
    pub name: String,
    /// `streaming table` or `materialized view`.
    pub kind: &'static str,
    /// The datasets it reads.
    pub upstream: Vec<String>,
    /// Its columns.
    pub schema: SchemaRef,
    /// The optimised logical plan.
    pub plan: String,
}

impl Job {
    /// Reads a job file.
    pub async fn open(session: &Session, path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(session, path, &[]).await
    }

    /// Reads a job file; `settings` stand above those of the file.
    pub async fn open_with(session: &Session, path: impl AsRef<Path>, settings: &[(String, String)]) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::invalid(format!("job file '{}' cannot be read: {error}", path.display())).caused_by(error))?;
        Self::parse_with(session, &text, settings).await.map_err(|error| error.context(path.display().to_string()))
    }

    /// Parses a job's text, defines its tables and views in the session, and resolves its datasets. Reads no rows.
    pub async fn parse(session: &Session, text: &str) -> Result<Self> {
        Self::parse_with(session, text, &[]).await
    }

    async fn parse_with(session: &Session, text: &str, settings: &[(String, String)]) -> Result<Self> {
        let job = JobText::parse(text, Streams::Live)?;
        job.define(session, settings).await?;
        let JobText { declared, .. } = job;
        let graph = Graph::new(session, &declared)?;
        let mut datasets: Vec<Option<Dataset>> = vec![None; declared.len()];
        for position in graph.order() {
            let Some(dataset) = declared.get(*position) else { continue };
            let built = build(session, dataset, graph.upstream(*position), text).await?;
            if let Some(slot) = datasets.get_mut(*position) {
                *slot = Some(built);
            }
        }
        Ok(Self { session: session.clone(), datasets: datasets.into_iter().flatten().collect() })
    }

    /// The names of its datasets, in the file's order.
    pub fn dataset_names(&self) -> Vec<String> {
        self.datasets.iter().map(|dataset| dataset.name.clone()).collect()
    }

    /// Resolves and plans every dataset without touching its data. What [`Self::run`] would refuse is refused.
    pub async fn check(&self, options: &RunOptions) -> Result<Vec<DatasetPlan>> {
        run::course(&self.datasets, options)?;
        let mut plans = Vec::new();
        for dataset in &self.datasets {
            let in_dataset = |error: Error| error.context(format!("dataset '{}'", dataset.name));
            let analyzed = dataset.frame.analyze().await.map_err(in_dataset)?;
            let (row_errors, plan) = match dataset.kind {
                DatasetKind::StreamingTable => {
                    let definition = dataset.stream_writer(options)?.definition_of(analyzed.clone()).await.map_err(in_dataset)?;
                    (definition.row_errors, definition.plan.logical_plan(&definition.settings).await.map_err(in_dataset)?)
                }
                DatasetKind::MaterializedView => {
                    let write = dataset.view_writer().prepare_analyzed(analyzed.clone()).await.map_err(in_dataset)?;
                    (write.row_errors, analyzed.plan.clone())
                }
            };
            let engine = self.session.engine();
            // What cannot run with these options is refused here.
            engine.guarded_plan(&plan, row_errors).await.map_err(in_dataset)?;
            let optimized = engine.plans().optimize(&plan)?;
            plans.push(DatasetPlan {
                name: dataset.name.clone(),
                kind: kind_name(dataset.kind),
                upstream: dataset.upstream.iter().filter_map(|at| self.datasets.get(*at)).map(|upstream| upstream.name.clone()).collect(),
                schema: output_schema(&analyzed)?,
                plan: optimized.display_indent().to_string(),
            });
        }
        Ok(plans)
    }

    /// What would become of the state in a checkpoint if a streaming table of this job went on from it; `dataset` says which one,
    /// if there are several. Starts nothing.
    pub async fn compare_with(&self, checkpoint: &str, dataset: Option<&str>, options: &RunOptions) -> Result<StateComparison> {
        let tables = self.streaming_tables();
        options.check_state_drop(&tables)?;
        let wanted = match (dataset, tables.as_slice()) {
            (Some(name), _) if tables.contains(&name) => name,
            (None, [only]) => *only,
            (Some(name), _) => return Err(Error::invalid(format!("the job has no streaming table '{name}'")).hint(listed(&tables))),
            (None, _) => return Err(Error::invalid("say which streaming table the checkpoint is of").hint(listed(&tables))),
        };
        let in_dataset = |error: Error| error.context(format!("dataset '{wanted}'"));
        let dataset = self.datasets.iter().find(|dataset| dataset.name == wanted);
        let dataset = dataset.ok_or_else(|| Error::internal("a streaming table that is no dataset"))?;
        dataset.stream_writer(options)?.compare_with(checkpoint).await.map_err(in_dataset)
    }

    fn streaming_tables(&self) -> Vec<&str> {
        let tables = self.datasets.iter().filter(|dataset| dataset.kind == DatasetKind::StreamingTable);
        tables.map(|dataset| dataset.name.as_str()).collect()
    }

    /// Starts the job.
    pub async fn run(&self, options: RunOptions) -> Result<JobRun> {
        options.check_state_drop(&self.streaming_tables())?;
        run::start(&self.session, &self.datasets, options).await
    }
}

/// A job's text, parsed: its datasets, and what they need.
pub(crate) struct JobText {
    text: String,
    declared: Vec<CreateDataset>,
    others: Vec<Statement>,
}

impl JobText {
    /// Parses it, reading streams as it is told.
    pub(crate) fn parse(text: &str, streams: Streams) -> Result<Self> {
        let statements = millstream_sql::parse_script_with(text, streams).map_err(|error| text_error(error, text))?;
        let (mut declared, mut others) = (Vec::new(), Vec::new());
        for statement in statements {
            match statement.command {
                Command::CreateDataset(dataset) => declared.push(*dataset),
                _ => others.push(statement),
            }
        }
        Ok(Self { text: text.to_owned(), declared, others })
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The datasets, in the file's order.
    pub(crate) fn datasets(&self) -> &[CreateDataset] {
        &self.declared
    }

    /// Carries out the statements that are no datasets; `settings` stand above those of the text.
    pub(crate) async fn define(&self, session: &Session, settings: &[(String, String)]) -> Result<()> {
        define(session, self.others.clone(), settings, &self.text).await
    }
}

fn listed(tables: &[&str]) -> String {
    if tables.is_empty() { "it has none".to_owned() } else { format!("it has '{}'", tables.join("', '")) }
}

fn kind_name(kind: DatasetKind) -> &'static str {
    match kind {
        DatasetKind::StreamingTable => "streaming table",
        DatasetKind::MaterializedView => "materialized view",
    }
}

/// Carries out the statements that are no datasets: settings first, then tables and views.
async fn define(session: &Session, statements: Vec<Statement>, settings: &[(String, String)], text: &str) -> Result<()> {
    let (sets, rest): (Vec<_>, Vec<_>) =
        statements.into_iter().partition(|statement| matches!(statement.command, Command::Set { .. } | Command::Reset { .. }));
    for statement in sets {
        commands::run_statement(session, statement, text).await?;
    }
    for (key, value) in settings {
        session.set(key, value)?;
    }
    for statement in rest {
        match statement.command {
            Command::CreateTable(_) | Command::CreateView(_) | Command::CreateViewUsing { .. } => {
                let (line, column) = (statement.span.line, statement.span.column);
                commands::run_statement(session, statement, text)
                    .await
                    .map_err(|error| error.context(format!("line {line}, column {column}")))?;
            }
            Command::CreateFlow { name, span, .. } => {
                return Err(Error::unsupported(format!("CREATE FLOW ('{}') is not supported yet", name.parts.join(".")))
                    .context(format!("line {}, column {}", span.line, span.column))
                    .hint("write the query behind AS of CREATE STREAMING TABLE"));
            }
            _ => {
                return Err(Error::unsupported("a job file holds SET, CREATE TABLE, views and datasets only")
                    .context(format!("line {}, column {}", statement.span.line, statement.span.column))
                    .hint("run queries with `millstream sql`"));
            }
        }
    }
    Ok(())
}

/// Resolves a dataset whose upstreams are resolved, and makes it a table for those that read it.
async fn build(session: &Session, dataset: &CreateDataset, upstream: Vec<usize>, text: &str) -> Result<Dataset> {
    let name = dataset.name.parts.join(".");
    let place = format!("line {}, column {}", dataset.span.line, dataset.span.column);
    let Some(query) = &dataset.query else {
        return Err(Error::unsupported(format!("dataset '{name}' without AS: CREATE FLOW is not supported yet")).context(place));
    };
    let frame = DataFrame::with_text(session.clone(), query.clone(), text);
    let analyzed = frame.analyze().await.map_err(|error| error.context(format!("dataset '{name}'")))?;
    match dataset.kind {
        DatasetKind::StreamingTable if !analyzed.is_streaming => {
            return Err(Error::invalid(format!("streaming table '{name}' reads no stream")).context(place).hint("write FROM STREAM t"));
        }
        DatasetKind::MaterializedView if analyzed.is_streaming => {
            return Err(Error::invalid(format!("materialized view '{name}' reads a stream"))
                .context(place)
                .hint("read the table without STREAM"));
        }
        _ => {}
    }
    let mut options = to_options(&dataset.clauses.properties);
    for (key, value) in to_options(&dataset.clauses.options).iter() {
        options.set(key, value);
    }
    let format = dataset.clauses.format.as_ref().map(|format| format.name.clone());
    let format = format.or_else(|| session.get(settings::DEFAULT_FORMAT)).unwrap_or_else(|| "parquet".to_owned());
    if dataset.kind == DatasetKind::MaterializedView
        && !session.engine().registry().for_format(&format).map_err(|error| error.context(place.clone()))?.can_overwrite()
    {
        return Err(Error::unsupported(format!("materialized view '{name}' cannot be of format {format}: what is written there is not replaced"))
            .context(place)
            .hint(format!("CREATE STREAMING TABLE {name} USING {format} adds the rows of a stream; those of a batch are added by INSERT INTO a table of that format (millstream sql)")));
    }
    let is_file = session.engine().registry().is_file_format(&format);
    if let Some(location) = &dataset.clauses.location {
        options.set("path", location);
    } else if is_file && options.get("path").is_none() {
        options.set("path", session.warehouse_path(&name));
    }
    if matches!(dataset.kind, DatasetKind::StreamingTable) && options.get("checkpointLocation").is_none() && is_file {
        options.set("checkpointLocation", session.warehouse_path(&format!("_checkpoints/{name}")));
    }
    if matches!(dataset.kind, DatasetKind::StreamingTable) && options.get("queryName").is_none() {
        options.set("queryName", &name);
    }
    let partition_by = partition_columns(&dataset.clauses.partitioned_by)?;
    if is_file {
        session.catalog().set_table(TableDefinition {
            name: name.clone(),
            format: format.clone(),
            options: reader_options(&options).with("pathMustExist", "false"),
            schema: Some(with_partitions_last(&output_schema(&analyzed)?, &partition_by)),
            partition_by: partition_by.clone(),
        });
    }
    Ok(Dataset { name, kind: dataset.kind, frame, format, options, partition_by, upstream })
}

/// Of a dataset's options those that its readers need: where it is, how stores are reached, and how often it is computed.
fn reader_options(options: &Options) -> Options {
    let is_reader = |name: &str| {
        let lower = name.to_ascii_lowercase();
        // A stream that joins a view looks at it again when it has been computed again.
        lower == "path"
            || lower == "refreshinterval"
            || lower.starts_with("aws_")
            || lower.starts_with("fs.s3a.")
            || ["sep", "header", "quote", "escape"].contains(&lower.as_str())
    };
    options.iter().filter(|(name, _)| is_reader(name)).collect()
}

/// A partitioned table is read with its partition columns at the end, as in Spark.
fn with_partitions_last(schema: &SchemaRef, partition_by: &[String]) -> SchemaRef {
    let is_partition = |name: &str| partition_by.iter().any(|column| column.eq_ignore_ascii_case(name));
    let (partitions, data): (Vec<_>, Vec<_>) = schema.fields().iter().cloned().partition(|field| is_partition(field.name()));
    Arc::new(Schema::new(data.into_iter().chain(partitions).collect::<Vec<_>>()))
}
