//! The entry points: text in, representation out.

use crate::error::SqlError;
use crate::ir::{CalendarInterval, DataType, Expr, ObjectName, Plan, Statement};
use crate::parser::{Parser, parse_interval_text};

/// A query: `SELECT ...`, `WITH ...`, `VALUES ...`. One semicolon may end it.
pub fn parse_query(text: &str) -> Result<Plan, SqlError> {
    whole(text, |p| p.query().inspect(|_| p.skip_semicolons()))
}

/// An expression, perhaps with an alias: `a + 1 AS b`.
pub fn parse_expression(text: &str) -> Result<Expr, SqlError> {
    whole(text, Parser::named_expr)
}

/// A list of expressions, perhaps with aliases, as `select_expr` takes them: `a, b + 1 AS c, *`.
pub fn parse_expressions(text: &str) -> Result<Vec<Expr>, SqlError> {
    whole(text, Parser::named_exprs)
}

/// A data type: `int`, `struct<a: string>`, `decimal(10, 2)`.
pub fn parse_data_type(text: &str) -> Result<DataType, SqlError> {
    whole(text, Parser::data_type)
}

/// A schema: a column list `a INT, b STRING`, or one `struct<...>`. The result is a [`DataType::Struct`].
pub fn parse_schema(text: &str) -> Result<DataType, SqlError> {
    match whole(text, Parser::column_types) {
        Ok(fields) => Ok(DataType::Struct(fields)),
        Err(error) => match parse_data_type(text) {
            Ok(schema @ DataType::Struct(_)) => Ok(schema),
            _ => Err(error),
        },
    }
}

/// The name of a table: `db.t`, `` `my table` ``.
pub fn parse_table_name(text: &str) -> Result<ObjectName, SqlError> {
    whole(text, Parser::object_name)
}

/// One statement. Semicolons may end it.
pub fn parse_statement(text: &str) -> Result<Statement, SqlError> {
    whole(text, |p| p.statement().inspect(|_| p.skip_semicolons()))
}

/// The statements of a script, parted by semicolons; spans count from the start of the whole text.
pub fn parse_script(text: &str) -> Result<Vec<Statement>, SqlError> {
    parse_script_with(text, Streams::Live)
}

/// The same, reading streams as it is told.
pub fn parse_script_with(text: &str, streams: Streams) -> Result<Vec<Statement>, SqlError> {
    Parser::new(text)?.reading_streams(streams).script()
}

/// What `STREAM t` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Streams {
    /// What keeps coming.
    #[default]
    Live,
    /// What is there: the word has no meaning, and the same text is a batch.
    Finished,
}

/// An interval as options write it: `10 seconds`, `1 minute 30 seconds`, `interval 2 days`.
pub fn parse_interval(text: &str) -> Result<CalendarInterval, SqlError> {
    parse_interval_text(text)
}

impl DataType {
    /// Reads a type (`array<int>`) or a schema (`a INT, b STRING`).
    pub fn parse(text: &str) -> Result<DataType, SqlError> {
        parse_data_type(text).or_else(|error| match parse_schema(text) {
            Ok(schema) => Ok(schema),
            // Of the two complaints the one that came further is about what was meant.
            Err(other) if other.span.offset > error.span.offset => Err(other),
            Err(_) => Err(error),
        })
    }
}

impl std::str::FromStr for DataType {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<DataType, SqlError> {
        DataType::parse(text)
    }
}

/// Runs `parse` and asks that it takes the whole text.
fn whole<'a, T>(text: &'a str, parse: impl FnOnce(&mut Parser<'a>) -> Result<T, SqlError>) -> Result<T, SqlError> {
    let mut parser = Parser::new(text)?;
    let result = parse(&mut parser)?;
    parser.expect_end()?;
    Ok(result)
}
