//! What a query remembers, as rows: for commands that print it or copy it into a file.
//!
//! A thin layer over `read().format("state")`. Files of text have no structs, so a copy in CSV has a column for each field.

use std::path::Path;

use arrow::datatypes::{DataType, Field};
use millstream_core::{Error, Options, Result};
use millstream_state::Location;
use millstream_state::checkpoint::read_state;

use crate::column::{Column, expr};
use crate::dataframe::DataFrame;
use crate::session::Session;
use crate::writer::SaveMode;

/// Which state.
#[derive(Debug, Clone, Default)]
pub struct StateQuery {
    /// The checkpoint folder.
    pub checkpoint: String,
    /// The operator, by name or number; not needed if there is one.
    pub operator: Option<String>,
    /// The operator's store; not needed if there is one.
    pub store: Option<String>,
    /// The batch after which it is read; the last decided one if not said.
    pub version: Option<u64>,
}

/// The rows of a store: `key`, `value`, `partition_id`, `expiry`.
pub async fn rows(session: &Session, query: &StateQuery) -> Result<DataFrame> {
    let mut reader = session.read().format("state");
    for (name, value) in [("operator", &query.operator), ("storeName", &query.store)] {
        if let Some(value) = value {
            reader = reader.option(name, value);
        }
    }
    if let Some(version) = query.version {
        reader = reader.option("batchId", version);
    }
    reader.load_path(&query.checkpoint).await
}

/// The stores of a query's stateful operators, one row each.
pub async fn stores(session: &Session, checkpoint: &str) -> Result<DataFrame> {
    session.read().format("state-metadata").load_path(checkpoint).await
}

/// Whether [`rows`] must be told which store to read.
pub async fn has_several_stores(checkpoint: &str) -> Result<bool> {
    let (_, state) = read_state(&Location::parse(checkpoint, &Options::new())?).await?;
    Ok(state.operators.values().map(|operator| operator.stores.len()).sum::<usize>() != 1)
}

/// Copies the rows of a store into one new file, whose name ends in `.parquet`, `.json` or `.csv`. It appears when it is
/// whole. The session must have one task, so that there is one file.
pub async fn export(session: &Session, query: &StateQuery, output: &Path) -> Result<u64> {
    let format = match output.extension().and_then(|extension| extension.to_str()) {
        Some(format @ ("parquet" | "json" | "csv")) => format,
        _ => {
            return Err(Error::invalid(format!("'{}' does not say which format to write", output.display()))
                .hint("let its name end in .parquet, .json or .csv"));
        }
    };
    if output.exists() {
        return Err(Error::invalid(format!("'{}' is there already", output.display())).hint("remove it, or choose another name"));
    }
    let frame = rows(session, query).await?;
    let frame = frame.select(columns_for(&frame, format).await?);
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let staged = tempfile::Builder::new().prefix(".state-export-").tempdir_in(folder).map_err(|error| at(error, folder))?;
    let mut writer = frame.write().format(format).mode(SaveMode::Append);
    if format == "csv" {
        writer = writer.option("header", "true");
    }
    let n_rows = writer.save_path(staged.path()).await?;
    let parts = std::fs::read_dir(staged.path()).map_err(|error| at(error, staged.path()))?;
    let mut parts = parts
        .filter_map(|part| Some(part.ok()?.path()))
        .filter(|part| part.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("part-")));
    match (parts.next(), parts.next()) {
        (Some(part), None) => std::fs::rename(&part, output).map_err(|error| at(error, output))?,
        _ => return Err(Error::internal("a state was not written to one file")),
    }
    Ok(n_rows)
}

fn at(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).context(format!("writing '{}'", path.display()))
}

/// The rows with a column for each field of `key` and `value`, for text that has no structs.
pub async fn flattened(frame: &DataFrame) -> Result<DataFrame> {
    Ok(frame.select(columns_for(frame, "csv").await?))
}

/// The columns as a format can hold them.
async fn columns_for(frame: &DataFrame, format: &str) -> Result<Vec<Column>> {
    let schema = frame.schema().await?;
    let mut columns = Vec::new();
    for field in schema.fields() {
        match field.data_type() {
            // Parquet has no struct without fields, and CSV would have no column for it.
            DataType::Struct(fields) if fields.is_empty() && format != "json" => {}
            _ if format == "csv" => flatten(&quoted(field.name()), field.name(), field, &mut columns)?,
            _ => columns.push(expr(&quoted(field.name()))?),
        }
    }
    Ok(columns)
}

/// Structs field by field; lists and maps as JSON; bytes in base64.
fn flatten(path: &str, name: &str, field: &Field, columns: &mut Vec<Column>) -> Result<()> {
    match field.data_type() {
        DataType::Struct(fields) => {
            for field in fields {
                flatten(&format!("{path}.{}", quoted(field.name())), &format!("{name}.{}", field.name()), field, columns)?;
            }
        }
        DataType::List(_) | DataType::Map(..) => columns.push(expr(&format!("to_json({path})"))?.alias(name)),
        DataType::Binary => columns.push(expr(&format!("base64({path})"))?.alias(name)),
        _ => columns.push(expr(path)?.alias(name)),
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
