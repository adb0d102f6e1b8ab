//! `state-metadata`: one row for each store of each stateful operator.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use millstream_core::connector::SourceRequest;
use millstream_core::{
    Admission, BatchId, Options, Position, ReaderSpec, Result, RowPlaces, Source, SourceRange, SourceStart, Split, SplitChunk, SplitReader,
    SplitStream,
};
use millstream_state::checkpoint::read_state;
use millstream_state::store::{KeptVersions, StoreKind, shown_field};
use millstream_state::{FileSystem, Location};
use serde::{Deserialize, Serialize};

use super::options::{METADATA_FORMAT, metadata_specs, path_of};
use super::source::no_batch;
use crate::file::spark_type;
use crate::type_name::type_name;
use crate::wire;

/// A store, column by column: Spark's first.
#[derive(Debug, Serialize, Deserialize)]
struct StoreRow {
    operator_id: Option<i64>,
    operator_name: String,
    store_name: String,
    n_key_groups: i32,
    /// None of an operator that began afresh and has no batch yet.
    first_batch: Option<i64>,
    last_batch: Option<i64>,
    properties: Option<String>,
    kind: String,
    rows_per_key: String,
    key_schema: String,
    value_schema: String,
}

/// Spark's columns, then ours.
fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        number("operatorId"),
        text("operatorName"),
        text("stateStoreName"),
        Field::new("numPartitions", DataType::Int32, true),
        number("minBatchId"),
        number("maxBatchId"),
        text("operatorProperties"),
        text("operatorKind"),
        text("rowsPerKey"),
        text("keySchema"),
        text("valueSchema"),
    ]))
}

#[derive(Debug)]
pub(super) struct MetadataSource {
    rows: Vec<StoreRow>,
    options: Options,
    path: String,
    time_zone: String,
}

impl MetadataSource {
    pub(super) async fn open(fs: &Arc<dyn FileSystem>, request: &SourceRequest) -> Result<Self> {
        request.options.check("state-metadata source", &metadata_specs())?;
        let location = Location::parse_on(Arc::clone(fs), path_of(&request.options)?, &request.options)?;
        let (_, state) = read_state(&location).await?;
        let kept = KeptVersions::of(&location, &state).await?.ok_or_else(|| no_batch(&location))?;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut rows = Vec::new();
        for (name, operator) in &state.operators {
            let kept = kept.of_operator(&state, operator);
            rows.extend(operator.stores.iter().map(|store| StoreRow {
                operator_id: operator.ordinal.map(i64::from),
                operator_name: name.clone(),
                store_name: store.name.clone(),
                n_key_groups: i32::try_from(operator.n_key_groups).unwrap_or(i32::MAX),
                first_batch: kept.map(|kept| number(kept.first.0)),
                last_batch: kept.map(|kept| number(kept.last.0)),
                properties: (!operator.detail.is_null()).then(|| operator.detail.to_string()),
                kind: operator.kind.clone(),
                rows_per_key: if store.kind == StoreKind::Multi { "many" } else { "one" }.to_owned(),
                key_schema: columns_in_words(store.schema.keys()),
                value_schema: columns_in_words(store.schema.values()),
            }));
        }
        rows.sort_by(|left, right| (left.operator_id, &left.operator_name).cmp(&(right.operator_id, &right.operator_name)));
        Ok(Self { rows, options: request.options.clone(), path: location.to_string(), time_zone: request.time_zone.clone() })
    }
}

/// As in a struct type: `page: string, n: bigint`.
fn columns_in_words(fields: &Fields) -> String {
    let column =
        |field: &arrow::datatypes::FieldRef| format!("{}: {}", field.name(), type_name(&spark_type(shown_field(field).data_type())));
    fields.iter().map(column).collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Source for MetadataSource {
    fn description(&self) -> String {
        format!("StateMetadata[{}]", self.path)
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": METADATA_FORMAT, "path": self.path })
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "state".to_owned(),
            format: METADATA_FORMAT.to_owned(),
            options: self.options.clone(),
            schema: schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, _start: SourceStart) -> Result<Position> {
        Ok(Position::default())
    }

    async fn plan(&mut self, from: &Position, _admission: &Admission) -> Result<Option<SourceRange>> {
        let end = Position(serde_json::json!("listed"));
        Ok((*from != end).then(|| SourceRange { start: from.clone(), end, detail: serde_json::Value::Null }))
    }

    async fn splits(&mut self, _range: &SourceRange, _n_tasks: usize) -> Result<Vec<Split>> {
        Ok(vec![wire::split(&self.rows, 1)?])
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct MetadataReader {
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl MetadataReader {
    pub(super) fn new(spec: &ReaderSpec) -> Result<Self> {
        Ok(Self { projection: spec.projection.clone(), schema: spec.projected_schema()? })
    }
}

#[async_trait]
impl SplitReader for MetadataReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let rows: Vec<StoreRow> = wire::split_payload(split)?;
        let text = |of: fn(&StoreRow) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
        let number = |of: fn(&StoreRow) -> Option<i64>| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
        let columns = vec![
            number(|row| row.operator_id),
            text(|row| Some(&row.operator_name)),
            text(|row| Some(&row.store_name)),
            Arc::new(rows.iter().map(|row| Some(row.n_key_groups)).collect::<Int32Array>()),
            number(|row| row.first_batch),
            number(|row| row.last_batch),
            text(|row| row.properties.as_deref()),
            text(|row| Some(&row.kind)),
            text(|row| Some(&row.rows_per_key)),
            text(|row| Some(&row.key_schema)),
            text(|row| Some(&row.value_schema)),
        ];
        let mut batch = RecordBatch::try_new(schema(), columns)?;
        if let Some(projection) = &self.projection {
            batch = batch.project(projection)?;
        }
        let chunk = SplitChunk::of(batch, RowPlaces::Untold);
        Ok(futures::stream::iter([Ok(chunk)]).boxed())
    }
}
