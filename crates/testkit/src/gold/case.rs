//! The cases of the gold files, as they are stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An expression (with what is around it already written out as a query) or a query.
#[derive(Clone, Debug)]
pub struct Case {
    /// The id within its file.
    pub id: String,
    /// The whole query.
    pub sql: String,
    /// Settings other than the default.
    pub conf: BTreeMap<String, String>,
    /// Whether the order of rows counts.
    pub is_ordered: bool,
    /// What Spark answers.
    pub expected: Expected,
}

/// A file to read, and how.
#[derive(Clone, Debug)]
pub struct ReaderCase {
    /// The id within its file.
    pub id: String,
    /// `json`, `csv`, `text`.
    pub format: String,
    /// The file, folder or glob, absolute.
    pub path: String,
    /// The schema as DDL; `None` is inferred.
    pub schema: Option<String>,
    /// The reader's options.
    pub options: BTreeMap<String, String>,
    /// Expressions to select instead of `*`.
    pub select: Option<Vec<String>>,
    /// Settings other than the default.
    pub conf: BTreeMap<String, String>,
    /// Whether the order of rows counts.
    pub is_ordered: bool,
    /// What Spark answers.
    pub expected: Expected,
}

/// Spark's answer.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Rows.
    Rows {
        /// Names and types of the columns.
        schema: Vec<(String, String)>,
        /// The rows, in the form of the gold files.
        rows: Vec<Vec<Value>>,
    },
    /// Error conditions, outermost first.
    Error(Vec<String>),
}

/// The folder `/gold`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gold")
}

/// The statements that make the views of `queries.jsonl`.
pub fn tables() -> Result<Vec<String>, String> {
    let text = read("tables.sql")?;
    let text: String = text.lines().filter(|line| !line.starts_with("--")).flat_map(|line| [line, "\n"]).collect();
    Ok(text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect())
}

/// The cases of `expressions.jsonl` or `queries.jsonl`.
pub fn cases(file: &str) -> Result<Vec<Case>, String> {
    lines(file)?.iter().map(|line| case(line).ok_or_else(|| format!("{file}: not a case: {line}"))).collect()
}

/// The cases of `readers/cases.jsonl`.
pub fn reader_cases() -> Result<Vec<ReaderCase>, String> {
    let file = "readers/cases.jsonl";
    lines(file)?.iter().map(|line| reader_case(line).ok_or_else(|| format!("{file}: not a case: {line}"))).collect()
}

fn read(file: &str) -> Result<String, String> {
    let path = root().join("spark-4.3.0").join(file);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The lines of one of the files, as they are.
pub fn lines(file: &str) -> Result<Vec<Value>, String> {
    read(file)?.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{file}: {error}"))).collect()
}

fn case(line: &Value) -> Option<Case> {
    let sql = match line.get("sql") {
        Some(sql) => sql.as_str()?.to_owned(),
        None => {
            let expr = line.get("expr")?.as_str()?;
            match line.get("from") {
                Some(from) => format!("SELECT {expr} FROM {}", from.as_str()?),
                None => format!("SELECT {expr}"),
            }
        }
    };
    let is_expression = line.get("expr").is_some();
    Some(Case {
        id: line.get("id")?.as_str()?.to_owned(),
        sql,
        conf: texts(line.get("conf")),
        is_ordered: is_expression || line.get("ordered")?.as_bool()?,
        expected: expected(line, "schema")?,
    })
}

fn reader_case(line: &Value) -> Option<ReaderCase> {
    let files = root().join("spark-4.3.0/readers/files");
    let absolute = |path: &str| files.join(path).to_string_lossy().into_owned();
    let mut options = texts(line.get("options"));
    if let Some(base) = options.get_mut("basePath") {
        *base = absolute(base);
    }
    Some(ReaderCase {
        id: line.get("id")?.as_str()?.to_owned(),
        format: line.get("format")?.as_str()?.to_owned(),
        path: absolute(line.get("path")?.as_str()?),
        schema: line.get("schema")?.as_str().map(str::to_owned),
        options,
        select: line
            .get("select")
            .and_then(Value::as_array)
            .map(|exprs| exprs.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        conf: texts(line.get("conf")),
        is_ordered: line.get("ordered")?.as_bool()?,
        expected: expected(line, "result_schema")?,
    })
}

fn texts(object: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(object)) = object else { return BTreeMap::new() };
    object.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Spark's answer in a line; `schema_key` names the field with the columns.
pub fn expected(line: &Value, schema_key: &str) -> Option<Expected> {
    if let Some(error) = line.get("error") {
        return Some(Expected::Error(match error {
            Value::String(one) => vec![one.clone()],
            several => several.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        }));
    }
    if let Some(name) = line.get("name") {
        let schema = vec![(name.as_str()?.to_owned(), line.get("type")?.as_str()?.to_owned())];
        let rows = match line.get("values") {
            Some(values) => values.as_array()?.iter().map(|value| vec![value.clone()]).collect(),
            None => vec![vec![line.get("value")?.clone()]],
        };
        return Some(Expected::Rows { schema, rows });
    }
    let pair = |field: &Value| {
        let pair = field.as_array()?;
        Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()))
    };
    let schema = line.get(schema_key)?.as_array()?.iter().map(pair).collect::<Option<_>>()?;
    let rows = line.get("rows")?.as_array()?.iter().map(|row| row.as_array().cloned()).collect::<Option<_>>()?;
    Some(Expected::Rows { schema, rows })
}
