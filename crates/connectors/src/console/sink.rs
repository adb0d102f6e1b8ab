//! Prints the rows that the tasks handed over.

use std::fmt::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::{BatchId, Delivery, Error, Options, Result, TaskOutput};
use millstream_formats::Encoder;
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonEncoder, JsonWriteOptions};
use millstream_formats::table::{TableColumn, TableLayout, TableOptions, table_text};

use super::ConsoleOutput;
use super::options::{ConsoleFormat, ConsoleOptions};
use crate::in_process::RowTaker;
use crate::wire;

#[derive(Debug)]
pub(super) struct ConsolePrinter {
    pub(super) output: ConsoleOutput,
    pub(super) options: ConsoleOptions,
    /// The same as they were given.
    pub(super) given: Options,
    pub(super) is_stream: bool,
    pub(super) time_zone: String,
}

#[async_trait]
impl RowTaker for ConsolePrinter {
    fn format(&self) -> &'static str {
        "console"
    }

    fn description(&self) -> String {
        "ConsoleSink".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writer_options(&self) -> Options {
        self.given.clone()
    }

    async fn take(&self, batch: BatchId, schema: &SchemaRef, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let rows = wire::rows_of(outputs)?;
        let text = match self.options.format {
            ConsoleFormat::Table { num_rows, width_max } => {
                let options = TableOptions { n_rows: num_rows, width_max, layout: TableLayout::Horizontal };
                let table = table_text(&TableColumn::of(schema), &rows, &options, Zone::parse(&self.time_zone)?)?;
                let line = "-".repeat(43);
                // As in Spark, a finished write is shown without the header of a batch.
                let header = if self.is_stream { format!("{line}\nBatch: {batch}\n{line}\n") } else { String::new() };
                format!("{header}{table}\n")
            }
            ConsoleFormat::Json => json_lines(batch, schema, &rows, &self.time_zone)?,
        };
        self.output.print(&text)?;
        Ok(serde_json::Value::Null)
    }
}

/// As Spark's writer writes values, but with every column in every row.
fn json_lines(batch: BatchId, schema: &SchemaRef, rows: &[RecordBatch], time_zone: &str) -> Result<String> {
    let options = JsonWriteOptions::new(&Options::new().with("ignoreNullFields", "false"), Zone::parse(time_zone)?)?;
    let mut encoder = JsonEncoder::new(schema, options)?;
    let mut text = String::new();
    let mut n_rows = 0;
    for rows in rows {
        let mut lines = Vec::new();
        encoder.encode(rows, &mut lines)?;
        let lines = String::from_utf8(lines).map_err(|_| Error::internal("json of rows is not utf-8"))?;
        for line in lines.split_terminator('\n') {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{{\"batchId\":{batch},\"row\":{line}}}");
        }
        n_rows += rows.num_rows();
    }
    let _ = writeln!(text, "{{\"batchId\":{batch},\"end\":true,\"numRows\":{n_rows}}}");
    Ok(text)
}
