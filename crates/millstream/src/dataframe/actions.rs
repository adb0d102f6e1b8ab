//! What makes a DataFrame run, or tells what it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_analyzer::Analyzed;
use millstream_analyzer::types::to_arrow;
use millstream_core::{Error, Options, Result};
use millstream_engine::from_datafusion;
use millstream_formats::Encoder;
use millstream_formats::csv::{CsvEncoder, CsvWriteOptions};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonEncoder, JsonWriteOptions};
use millstream_functions::cast::{CastMode, CastOptions, cast_array};

use super::DataFrame;
use super::show::{ShowOptions, render_table, render_tree};
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
        Ok(render_tree(&self.analyze().await?))
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
        let analyzed = limited.analyze().await?;
        render_table(&analyzed, &limited.collect().await?, &options, &self.session.time_zone())
    }

    /// Prints the first 20 rows, cells cut at 20 characters.
    pub async fn show(&self) -> Result<()> {
        self.show_with(ShowOptions::default()).await
    }

    /// Prints the first rows, as many and as wide as `options` say.
    #[expect(clippy::print_stdout, reason = "it is what the method is for")]
    pub async fn show_with(&self, options: ShowOptions) -> Result<()> {
        println!("{}", self.show_string(options).await?);
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
        let options = ShowOptions { n_rows: usize::MAX, width_max: None, ..ShowOptions::default() };
        render_table(&self.analyze().await?, &self.collect().await?, &options, &self.session.time_zone())
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

pub(super) fn zone_of(name: &str) -> Result<Zone> {
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
