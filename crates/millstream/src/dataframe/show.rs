//! Rows as Spark's text table.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_connectors::console::show_table;
use millstream_core::Result;

/// How [`DataFrame::show_string`](super::DataFrame::show_string) prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowOptions {
    /// How many rows.
    pub n_rows: usize,
    /// Cells are cut at so many characters; `None` = not at all.
    pub width_max: Option<usize>,
}

impl Default for ShowOptions {
    fn default() -> Self {
        Self { n_rows: 20, width_max: Some(20) }
    }
}

/// The table of at most `options.n_rows` of the rows.
pub(crate) fn render_table(schema: &SchemaRef, rows: &[RecordBatch], options: &ShowOptions, time_zone: &str) -> Result<String> {
    show_table(schema, rows, options.n_rows, options.width_max, time_zone)
}
