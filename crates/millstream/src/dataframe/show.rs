//! Rows as Spark's text table, and schemas as its tree.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use millstream_analyzer::{Analyzed, OutputColumn};
use millstream_core::Result;
use millstream_formats::datetime::{IntervalField, IntervalRange};
use millstream_formats::table::{TableColumn, TableLayout, TableOptions, table_text};
use millstream_sql::ir::{DataType, DayTimeField, YearMonthField};

use super::actions::zone_of;

/// How [`DataFrame::show_string`](super::DataFrame::show_string) prints.
///
/// ```
/// use millstream::{Session, ShowOptions, TableLayout};
///
/// # #[tokio::main]
/// # async fn main() -> millstream::Result<()> {
/// let session = Session::new()?;
/// let frame = session.sql("SELECT 1 AS id, '全角' AS name").await?;
/// assert_eq!(frame.show_string(ShowOptions::default()).await?, "\
/// +---+----+
/// | id|name|
/// +---+----+
/// |  1|全角|
/// +---+----+
/// ");
/// let options = ShowOptions { layout: TableLayout::Vertical, ..ShowOptions::default() };
/// assert_eq!(frame.show_string(options).await?, "-RECORD 0----\n id   | 1    \n name | 全角 \n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowOptions {
    /// How many rows.
    pub n_rows: usize,
    /// Cells are cut at so many characters; `None` = not at all.
    pub width_max: Option<usize>,
    /// Side by side, or one record below the other.
    pub layout: TableLayout,
}

impl Default for ShowOptions {
    fn default() -> Self {
        Self { n_rows: 20, width_max: Some(20), layout: TableLayout::Horizontal }
    }
}

/// The table of at most `options.n_rows` of the rows.
pub(crate) fn render_table(analyzed: &Analyzed, rows: &[RecordBatch], options: &ShowOptions, time_zone: &str) -> Result<String> {
    let head = |column: &OutputColumn| TableColumn { name: column.name.clone(), range: range_of(&column.data_type) };
    let columns: Vec<TableColumn> = analyzed.schema.iter().map(head).collect();
    let options = TableOptions { n_rows: options.n_rows, width_max: options.width_max, layout: options.layout };
    table_text(&columns, rows, &options, zone_of(time_zone)?)
}

/// Spark's `treeString` of a schema.
pub(crate) fn render_tree(analyzed: &Analyzed) -> String {
    let mut text = "root\n".to_owned();
    for column in &analyzed.schema {
        write_field(&mut text, " |", &column.name, &column.data_type, column.nullable);
    }
    text
}

/// The fields of an interval that are shown.
fn range_of(data_type: &DataType) -> Option<IntervalRange> {
    let year_month = |field: &YearMonthField| match field {
        YearMonthField::Year => IntervalField::Year,
        YearMonthField::Month => IntervalField::Month,
    };
    let day_time = |field: &DayTimeField| match field {
        DayTimeField::Day => IntervalField::Day,
        DayTimeField::Hour => IntervalField::Hour,
        DayTimeField::Minute => IntervalField::Minute,
        DayTimeField::Second => IntervalField::Second,
    };
    match data_type {
        DataType::YearMonthInterval { start, end } => Some((year_month(start), year_month(end))),
        DataType::DayTimeInterval { start, end } => Some((day_time(start), day_time(end))),
        _ => None,
    }
}

/// One field and what is below it.
fn write_field(text: &mut String, prefix: &str, name: &str, data_type: &DataType, nullable: bool) {
    let _ = writeln!(text, "{prefix}-- {name}: {} (nullable = {nullable})", type_word(data_type));
    write_children(text, &format!("{prefix}    |"), data_type);
}

fn write_children(text: &mut String, prefix: &str, data_type: &DataType) {
    let below = format!("{prefix}    |");
    match data_type {
        DataType::Struct(fields) => {
            for field in fields {
                write_field(text, prefix, &field.name, &field.data_type, field.nullable);
            }
        }
        DataType::Array { element, contains_null } => {
            let _ = writeln!(text, "{prefix}-- element: {} (containsNull = {contains_null})", type_word(element));
            write_children(text, &below, element);
        }
        DataType::Map { key, value, value_contains_null } => {
            let _ = writeln!(text, "{prefix}-- key: {}", type_word(key));
            write_children(text, &below, key);
            let _ = writeln!(text, "{prefix}-- value: {} (valueContainsNull = {value_contains_null})", type_word(value));
            write_children(text, &below, value);
        }
        _ => {}
    }
}

/// Spark's `typeName`, which the tree shows.
fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(_) => "struct".to_owned(),
        DataType::Array { .. } => "array".to_owned(),
        DataType::Map { .. } => "map".to_owned(),
        DataType::Int => "integer".to_owned(),
        DataType::Long => "long".to_owned(),
        DataType::Short => "short".to_owned(),
        DataType::Byte => "byte".to_owned(),
        other => other.simple_string(),
    }
}
