//! What makes a DataFrame run, or tells what it is.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_analyzer::Analyzed;
use millstream_analyzer::types::{from_arrow, to_arrow};
use millstream_core::{Error, Options, Result};
use millstream_engine::from_datafusion;
use millstream_formats::Encoder;
use millstream_formats::csv::{CsvEncoder, CsvWriteOptions};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonEncoder, JsonWriteOptions};
use millstream_functions::cast::{CastMode, CastOptions, cast_array};
use millstream_sql::ir;

use super::DataFrame;
use super::show::{ShowOptions, render_table};
use crate::functions;

impl DataFrame {
    /// The columns: names, types and whether they may be null.
    pub async fn schema(&self) -> Result<SchemaRef> {
        output_schema(&self.analyze().await?)
    }

    /// Whether it is (or contains) a stream.
    pub async fn is_streaming(&self) -> Result<bool> {
        Ok(self.analyze().await?.is_streaming)
    }

    /// The schema as a tree, as Spark prints it.
    pub async fn schema_tree(&self) -> Result<String> {
        let mut text = "root\n".to_owned();
        for field in self.schema().await?.fields() {
            let data_type = from_arrow(field.data_type())?;
            write_field(&mut text, " |", field.name(), &data_type, field.is_nullable());
        }
        Ok(text)
    }

    /// Prints [`Self::schema_tree`].
    #[expect(clippy::print_stdout, reason = "it is what the method is for")]
    pub async fn print_schema(&self) -> Result<()> {
        println!("{}", self.schema_tree().await?);
        Ok(())
    }

    /// All rows. Finished data only.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        let analyzed = self.analyze().await?;
        if analyzed.is_streaming {
            return Err(Error::invalid("queries with streaming sources must be executed with write_stream")
                .hint("start it with write_stream, or read the source with read"));
        }
        Ok(self.session.engine().collect(&analyzed.plan).await?.batches)
    }

    /// The number of rows.
    pub async fn count(&self) -> Result<u64> {
        let batches = self.agg([functions::count(1)]).collect().await?;
        let first = batches.iter().find(|batch| batch.num_rows() > 0).and_then(|batch| batch.columns().first());
        let count = first.and_then(|column| column.as_primitive_opt::<Int64Type>()).and_then(|column| column.values().first().copied());
        count.and_then(|count| u64::try_from(count).ok()).ok_or_else(|| Error::internal("a count without a row"))
    }

    /// The first rows as Spark's text table.
    pub async fn show_string(&self, options: ShowOptions) -> Result<String> {
        let limited = self.limit(u32::try_from(options.n_rows).unwrap_or(u32::MAX).saturating_add(1));
        let schema = limited.schema().await?;
        render_table(&schema, &limited.collect().await?, &options, &self.session.time_zone())
    }

    /// Prints the first 20 rows, as Spark does.
    #[expect(clippy::print_stdout, reason = "it is what the method is for")]
    pub async fn show(&self) -> Result<()> {
        println!("{}", self.show_string(ShowOptions::default()).await?);
        Ok(())
    }

    /// All rows as Spark's `CAST(... AS STRING)` would print each value; `NULL` for null.
    pub async fn text_rows(&self) -> Result<Vec<Vec<String>>> {
        let options = CastOptions::new(CastMode::Ansi, zone_of(&self.session.time_zone())?);
        let mut rows = Vec::new();
        for batch in self.collect().await? {
            let columns = batch
                .columns()
                .iter()
                .map(|column| cast_array(column, &DataType::Utf8, &options).map_err(from_datafusion))
                .collect::<Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| {
                    let texts = column.as_string::<i32>();
                    if texts.is_null(row) { "NULL".to_owned() } else { texts.value(row).to_owned() }
                };
                rows.push(columns.iter().map(cell).collect());
            }
        }
        Ok(rows)
    }

    /// All rows as a text table, cells uncut.
    pub async fn table_string(&self) -> Result<String> {
        let schema = self.schema().await?;
        let options = ShowOptions { n_rows: usize::MAX - 1, width_max: None };
        render_table(&schema, &self.collect().await?, &options, &self.session.time_zone())
    }

    /// All rows as JSON, one object per line; nulls are left out, as Spark's writer does.
    pub async fn json_lines(&self) -> Result<Vec<u8>> {
        let schema = self.schema().await?;
        let options = JsonWriteOptions::new(&Options::new(), zone_of(&self.session.time_zone())?)?;
        encode_all(JsonEncoder::new(&schema, options)?, &self.collect().await?)
    }

    /// All rows as CSV with a header.
    pub async fn csv_lines(&self) -> Result<Vec<u8>> {
        let schema = self.schema().await?;
        let options = CsvWriteOptions::new(&Options::new().with("header", "true"), zone_of(&self.session.time_zone())?)?;
        encode_all(CsvEncoder::new(&schema, options)?, &self.collect().await?)
    }

    /// The logical plans and the physical plan in words.
    pub async fn explain_string(&self) -> Result<String> {
        let analyzed = self.analyze().await?;
        let plans = self.session.engine().plans();
        let optimized = plans.optimize(&analyzed.plan)?;
        let physical = plans.plan(&analyzed.plan).await?;
        Ok(format!(
            "== Analyzed Logical Plan ==\n{}\n\n== Optimized Logical Plan ==\n{}\n\n== Physical Plan ==\n{}",
            analyzed.plan.display_indent(),
            optimized.display_indent(),
            displayable(physical.as_ref()).indent(false)
        ))
    }

    /// The physical plan over finished data, its sources filled, for other runners.
    pub async fn physical_plan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        self.session.engine().filled_plan(&self.analyze().await?.plan).await
    }

    /// Prints [`Self::explain_string`].
    #[expect(clippy::print_stdout, reason = "it is what the method is for")]
    pub async fn explain(&self) -> Result<()> {
        println!("{}", self.explain_string().await?);
        Ok(())
    }
}

fn zone_of(name: &str) -> Result<Zone> {
    Zone::parse(name).map_err(|error| Error::invalid(error.to_string()))
}

fn encode_all(mut encoder: impl Encoder, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    encoder.begin(&mut out)?;
    for batch in batches {
        encoder.encode(batch, &mut out)?;
    }
    Ok(out)
}

/// The columns of a resolved query in Arrow's words, with Spark's nullability.
pub(crate) fn output_schema(analyzed: &Analyzed) -> Result<SchemaRef> {
    let fields = analyzed.schema.iter().map(|column| {
        let field = Field::new(&column.name, to_arrow(&column.data_type)?, column.nullable);
        Ok(match &column.metadata {
            Some(metadata) => field.with_metadata([("metadata".to_owned(), metadata.clone())].into()),
            None => field,
        })
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// Spark's `treeString` of one field and what is below it.
fn write_field(text: &mut String, prefix: &str, name: &str, data_type: &ir::DataType, nullable: bool) {
    let _ = writeln!(text, "{prefix}-- {name}: {} (nullable = {nullable})", type_word(data_type));
    write_children(text, &format!("{prefix}    |"), data_type);
}

fn write_children(text: &mut String, prefix: &str, data_type: &ir::DataType) {
    let below = format!("{prefix}    |");
    match data_type {
        ir::DataType::Struct(fields) => {
            for field in fields {
                write_field(text, prefix, &field.name, &field.data_type, field.nullable);
            }
        }
        ir::DataType::Array { element, contains_null } => {
            let _ = writeln!(text, "{prefix}-- element: {} (containsNull = {contains_null})", type_word(element));
            write_children(text, &below, element);
        }
        ir::DataType::Map { key, value, value_contains_null } => {
            let _ = writeln!(text, "{prefix}-- key: {}", type_word(key));
            write_children(text, &below, key);
            let _ = writeln!(text, "{prefix}-- value: {} (valueContainsNull = {value_contains_null})", type_word(value));
            write_children(text, &below, value);
        }
        _ => {}
    }
}

/// Spark's `typeName`, which the tree shows.
fn type_word(data_type: &ir::DataType) -> String {
    match data_type {
        ir::DataType::Struct(_) => "struct".to_owned(),
        ir::DataType::Array { .. } => "array".to_owned(),
        ir::DataType::Map { .. } => "map".to_owned(),
        ir::DataType::Int => "integer".to_owned(),
        ir::DataType::Long => "long".to_owned(),
        ir::DataType::Short => "short".to_owned(),
        ir::DataType::Byte => "byte".to_owned(),
        other => other.simple_string(),
    }
}
