//! Statements of SQL that are no query: carried out at once, each with an answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_analyzer::types::from_arrow;
use millstream_core::{Error, Options, Result};
use millstream_sql::ir;
use millstream_sql::ir::{
    Command, CreateTable, CreateView, DropKind, Insert, InsertMode, PartitionField, Plan, Properties, Show, Statement, StructField,
};

use crate::answer::SqlAnswer;
use crate::catalog::{Entry, TableDefinition, ViewDefinition, already_there};
use crate::dataframe::DataFrame;
use crate::reader::schema_of;
use crate::session::Session;
use crate::settings;
use crate::text_error;
use crate::writer::SaveMode;

/// Parses and runs one statement.
pub(crate) async fn run(session: &Session, text: &str) -> Result<SqlAnswer> {
    let statement = millstream_sql::parse_statement(text).map_err(|error| text_error(error, text))?;
    run_statement(session, statement, text).await
}

/// Runs statements divided by `;` and gives the answer of the last.
pub(crate) async fn run_script(session: &Session, text: &str) -> Result<Option<SqlAnswer>> {
    let statements = millstream_sql::parse_script(text).map_err(|error| text_error(error, text))?;
    let mut answer = None;
    for statement in statements {
        answer = Some(run_statement(session, statement, text).await?);
    }
    Ok(answer)
}

/// Runs a parsed statement; `text` is the whole text its spans point into.
pub(crate) async fn run_statement(session: &Session, statement: Statement, text: &str) -> Result<SqlAnswer> {
    match statement.command {
        Command::Query(plan) => Ok(SqlAnswer::rows(DataFrame::with_text(session.clone(), plan, text))),
        Command::Set { key, value, .. } => {
            session.set(&key, &value)?;
            rows(session, &["key", "value"], vec![setting(key, value)])
        }
        Command::SetShow { key, .. } => {
            let value = session.get(&key).unwrap_or_else(|| "<undefined>".to_owned());
            rows(session, &["key", "value"], vec![setting(key, value)])
        }
        Command::SetShowAll => {
            let all = session.settings().into_iter().map(|(key, value)| setting(key, value));
            rows(session, &["key", "value"], all.collect())
        }
        Command::Reset { key, .. } => {
            session.reset(key.as_deref())?;
            nothing(session)
        }
        Command::CreateTable(table) => create_table(session, *table, text).await,
        Command::CreateView(view) => {
            create_view(session, *view)?;
            nothing(session)
        }
        Command::CreateViewUsing { name, or_replace, schema, format, options, .. } => {
            let name = name.parts.join(".");
            if !or_replace && session.catalog().get(&name).is_some() {
                return Err(already_there(&name));
            }
            let schema = schema.as_ref().map(schema_of).transpose()?;
            session.catalog().set_table(TableDefinition { name, format, options: to_options(&options), schema, partition_by: Vec::new() });
            nothing(session)
        }
        Command::CreateDataset(dataset) => Err(Error::unsupported(format!(
            "CREATE STREAMING TABLE and CREATE MATERIALIZED VIEW outside a job file ('{}')",
            dataset.name.parts.join(".")
        ))
        .hint("put it into a file and run `millstream run FILE`, or start it with write_stream")),
        Command::CreateFlow { name, .. } => Err(Error::unsupported(format!("CREATE FLOW ('{}')", name.parts.join(".")))),
        Command::Drop { kind, name, if_exists, .. } => {
            drop_entry(session, kind, &name.parts.join("."), if_exists)?;
            nothing(session)
        }
        Command::Insert(insert) => insert_into(session, *insert, text).await,
        Command::Explain { statement, .. } => match statement.command {
            Command::Query(plan) => {
                let plan = DataFrame::with_text(session.clone(), plan, text).explain_string().await?;
                Ok(SqlAnswer::text(texts(session, &["plan"], vec![vec![plan]])?))
            }
            _ => Err(Error::unsupported("EXPLAIN of a statement that is no query")),
        },
        Command::DescribeTable { name, column: None, .. } => {
            describe(&DataFrame::new(session.clone(), Plan::table(&name.parts.join("."), false))).await
        }
        Command::DescribeTable { column: Some(_), .. } => Err(Error::unsupported("DESCRIBE TABLE of one column")),
        Command::DescribeQuery { plan, .. } => describe(&DataFrame::with_text(session.clone(), plan, text)).await,
        Command::Show { what, .. } => show(session, what).await,
        Command::RefreshTable { .. } => nothing(session),
        Command::DescribeFunction { .. } => Err(Error::unsupported("DESCRIBE FUNCTION")),
        Command::Use { .. } | Command::CreateNamespace { .. } => Err(Error::unsupported("databases: a session has one namespace")),
        Command::TruncateTable { .. } => Err(Error::unsupported("TRUNCATE TABLE")),
        _ => Err(Error::unsupported("this statement")),
    }
}

/// Defines a view of the session.
pub(crate) fn create_view(session: &Session, view: CreateView) -> Result<()> {
    let name = view.name.parts.join(".");
    if session.catalog().get(&name).is_some() && !view.or_replace {
        return if view.if_not_exists { Ok(()) } else { Err(already_there(&name)) };
    }
    let columns = view.columns.into_iter().map(|column| column.name.name).collect();
    session.catalog().set_view(ViewDefinition { name, plan: Arc::new(view.query), columns, time_zone: session.time_zone() });
    Ok(())
}

/// Defines a table; with `AS query` fills it.
pub(crate) async fn create_table(session: &Session, table: CreateTable, text: &str) -> Result<SqlAnswer> {
    let name = table.name.parts.join(".");
    if session.catalog().get(&name).is_some() && !table.or_replace {
        return if table.if_not_exists { nothing(session) } else { Err(already_there(&name)) };
    }
    let mut definition = table_definition(session, &table)?;
    if let Some(query) = table.query {
        let frame = DataFrame::with_text(session.clone(), query, text);
        let mode = if table.or_replace { SaveMode::Overwrite } else { SaveMode::ErrorIfExists };
        definition.schema = Some(frame.schema().await?);
        write_to(&definition, frame, mode).await?;
    }
    session.catalog().set_table(definition);
    nothing(session)
}

/// The definition of `CREATE TABLE` without its rows.
pub(crate) fn table_definition(session: &Session, table: &CreateTable) -> Result<TableDefinition> {
    let name = table.name.parts.join(".");
    let format = table.clauses.format.as_ref().map(|format| format.name.clone());
    let format = format.or_else(|| session.get(settings::DEFAULT_FORMAT)).unwrap_or_else(|| "parquet".to_owned());
    let mut options = to_options(&table.clauses.options);
    if let Some(location) = &table.clauses.location {
        options.set("path", location);
    }
    let is_file = session.engine().registry().is_file_format(&format);
    if is_file && options.get("path").is_none() {
        options.set("path", session.warehouse_path(&name));
        options.set("pathMustExist", "false");
    }
    let fields: Vec<StructField> = table
        .columns
        .iter()
        .map(|column| StructField {
            name: column.name.name.clone(),
            data_type: column.data_type.clone(),
            nullable: column.nullable,
            comment: column.comment.clone(),
        })
        .collect();
    let schema = if fields.is_empty() { None } else { Some(schema_of(&ir::DataType::Struct(fields))?) };
    let partition_by = partition_columns(&table.clauses.partitioned_by)?;
    Ok(TableDefinition { name, format, options, schema, partition_by })
}

/// The columns of `PARTITIONED BY`.
pub(crate) fn partition_columns(fields: &[PartitionField]) -> Result<Vec<String>> {
    fields
        .iter()
        .map(|field| match field {
            PartitionField::Column(name) => Ok(name.parts.join(".")),
            PartitionField::Declared(column) => Ok(column.name.name.clone()),
            _ => Err(Error::unsupported("partition transforms").hint("compute the partition column in the query")),
        })
        .collect()
}

async fn insert_into(session: &Session, insert: Insert, text: &str) -> Result<SqlAnswer> {
    let name = insert.target.parts.join(".");
    let Some(Entry::Table(table)) = session.catalog().get(&name) else { return Err(session.no_such_table(&name)) };
    if !insert.partition.is_empty() || insert.by_name || !insert.columns.is_empty() {
        return Err(Error::unsupported("INSERT with PARTITION, BY NAME or a column list").hint("give all columns in order"));
    }
    let mut frame = DataFrame::with_text(session.clone(), insert.query, text);
    if let Some(schema) = &table.schema {
        frame = frame.to_df(schema.fields().iter().map(|field| field.name().clone()));
        let casts = schema.fields().iter().map(|field| {
            let data_type = from_arrow(field.data_type())?;
            Ok(crate::Column(ir::Expr::col(&ir::quote_if_needed(field.name())).cast(data_type).alias(field.name().as_str())))
        });
        frame = frame.select(casts.collect::<Result<Vec<_>>>()?);
    }
    let mode = if insert.mode == InsertMode::Overwrite { SaveMode::Overwrite } else { SaveMode::Append };
    write_to(&table, frame, mode).await?;
    nothing(session)
}

async fn write_to(table: &TableDefinition, frame: DataFrame, mode: SaveMode) -> Result<u64> {
    let mut writer = frame.write().format(&table.format).mode(mode).partition_by(table.partition_by.clone());
    for (name, value) in table.options.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("pathMustExist")) {
        writer = writer.option(name, value);
    }
    writer.save().await
}

fn drop_entry(session: &Session, kind: DropKind, name: &str, if_exists: bool) -> Result<()> {
    let is_kind = match (kind, session.catalog().get(name)) {
        (DropKind::Namespace, _) => return Err(Error::unsupported("databases: a session has one namespace")),
        (_, None) if if_exists => return Ok(()),
        (_, None) => return Err(session.no_such_table(name)),
        (DropKind::View, Some(Entry::View(_))) => true,
        (DropKind::Table, Some(Entry::Table(_))) => true,
        _ => false,
    };
    if !is_kind {
        return Err(Error::invalid(format!("'{name}' is not what DROP says")).hint("use DROP TABLE for tables and DROP VIEW for views"));
    }
    session.catalog().remove(name);
    Ok(())
}

async fn describe(frame: &DataFrame) -> Result<SqlAnswer> {
    let schema = frame.schema().await?;
    let lines = schema.fields().iter().map(|field| {
        let comment = field.metadata().get("comment").cloned().unwrap_or_default();
        Ok(vec![field.name().clone(), from_arrow(field.data_type())?.simple_string(), comment])
    });
    rows(&frame.session, &["col_name", "data_type", "comment"], lines.collect::<Result<_>>()?)
}

async fn show(session: &Session, what: Show) -> Result<SqlAnswer> {
    match what {
        Show::Tables { pattern, .. } | Show::Views { pattern, .. } if pattern.is_some() => {
            Err(Error::unsupported("a pattern in SHOW").hint("leave LIKE out"))
        }
        Show::Tables { .. } => {
            let names = session.catalog().names();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(vec![""; names.len()])),
                Arc::new(StringArray::from(names.clone())),
                Arc::new(BooleanArray::from_iter(
                    names.iter().map(|name| Some(matches!(session.catalog().get(name), Some(Entry::View(_))))),
                )),
            ];
            let schema = Arc::new(Schema::new(vec![
                Field::new("namespace", DataType::Utf8, false),
                Field::new("tableName", DataType::Utf8, false),
                Field::new("isTemporary", DataType::Boolean, false),
            ]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
            Ok(SqlAnswer::rows(session.create_dataframe(schema, vec![batch])?))
        }
        Show::Views { .. } => {
            let names = session.catalog().names().into_iter().filter(|name| matches!(session.catalog().get(name), Some(Entry::View(_))));
            rows(session, &["viewName"], names.map(|name| vec![name]).collect())
        }
        Show::Columns { table } => {
            let schema = DataFrame::new(session.clone(), Plan::table(&table.parts.join("."), false)).schema().await?;
            rows(session, &["col_name"], schema.fields().iter().map(|field| vec![field.name().clone()]).collect())
        }
        _ => Err(Error::unsupported("this form of SHOW")),
    }
}

/// Options from a property list.
pub(crate) fn to_options(properties: &Properties) -> Options {
    properties.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
}

fn rows(session: &Session, names: &[&str], rows: Vec<Vec<String>>) -> Result<SqlAnswer> {
    Ok(SqlAnswer::rows(texts(session, names, rows)?))
}

/// A DataFrame of columns of text.
fn texts(session: &Session, names: &[&str], rows: Vec<Vec<String>>) -> Result<DataFrame> {
    let schema = Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect::<Vec<_>>()));
    let columns: Vec<ArrayRef> =
        (0..names.len()).map(|idx| Arc::new(rows.iter().map(|row| row.get(idx).cloned()).collect::<StringArray>()) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    session.create_dataframe(schema, vec![batch])
}

/// A setting as it may be shown.
fn setting(key: String, value: String) -> Vec<String> {
    let shown = if millstream_core::options::looks_secret(&key) { "***".to_owned() } else { value };
    vec![key, shown]
}

/// What a statement without an answer gives: no rows, no columns.
fn nothing(session: &Session) -> Result<SqlAnswer> {
    Ok(SqlAnswer::nothing(session.create_dataframe(Arc::new(Schema::empty()), Vec::new())?))
}
