//! Helpers of this crate's tests.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{ConnectorRegistry, Options, OutputMode, Result, Sink, Source};
use millstream_testkit::ManualClock;

/// The options of `pairs`.
pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

/// A registry with everything, and its shared store.
pub(crate) fn registry() -> (ConnectorRegistry, crate::InProcess) {
    let mut registry = ConnectorRegistry::default();
    let in_process = crate::register_all(&mut registry);
    (registry, in_process)
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_600_000_000_000))
}

pub(crate) fn source_request(format: &str, pairs: &[(&str, &str)], schema: Option<SchemaRef>) -> SourceRequest {
    SourceRequest {
        format: format.to_owned(),
        options: options(pairs),
        schema,
        is_streaming: true,
        time_zone: "UTC".to_owned(),
        checkpoint_dir: None,
        clock: clock(),
    }
}

pub(crate) fn sink_request(format: &str, pairs: &[(&str, &str)], schema: SchemaRef) -> SinkRequest {
    SinkRequest {
        format: format.to_owned(),
        options: options(pairs),
        schema,
        partition_by: Vec::new(),
        query_name: Some("q".to_owned()),
        output_mode: Some(OutputMode::Append),
        time_zone: "UTC".to_owned(),
        clock: clock(),
    }
}

pub(crate) async fn source(registry: &ConnectorRegistry, request: SourceRequest) -> Result<Box<dyn Source>> {
    registry.for_format(&request.format)?.source(request).await
}

pub(crate) async fn sink(registry: &ConnectorRegistry, request: SinkRequest) -> Result<Arc<dyn Sink>> {
    registry.for_format(&request.format)?.sink(request).await
}

/// id BIGINT, name STRING.
pub(crate) fn id_name_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]))
}

/// Rows `first..first + n` of [`id_name_schema`]; every third name is null.
pub(crate) fn id_name_rows(first: usize, n: usize) -> RecordBatch {
    let ids = Int64Array::from_iter_values((first..first + n).map(|id| id as i64));
    let names: StringArray = (first..first + n).map(|id| (id % 3 != 2).then(|| format!("name {id}"))).collect();
    RecordBatch::try_new(id_name_schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}
