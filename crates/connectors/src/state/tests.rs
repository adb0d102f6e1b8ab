//! Tests of `state` and `state-metadata`: options, and the checkpoint of version 1 that `crates/state` keeps as a fixture.

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use millstream_core::connector::SourceRequest;
use millstream_core::{Admission, Error, Result, Source, SourceStart};
use millstream_testkit::rows::sorted_row_texts;

use super::options::{StateOptions, WantedOperator};
use crate::harness::{options, registry, source_request};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../state/fixtures/v1/stateful");

fn request(format: &str, pairs: &[(&str, &str)]) -> SourceRequest {
    SourceRequest { is_streaming: false, ..source_request(format, pairs, None) }
}

async fn open(format: &str, pairs: &[(&str, &str)]) -> Result<Box<dyn Source>> {
    let request = request(format, pairs);
    registry().0.for_format(format)?.source(request).await
}

/// All rows, of some columns.
async fn read(format: &str, pairs: &[(&str, &str)], projection: Option<Vec<usize>>) -> Result<Vec<RecordBatch>> {
    let mut source = open(format, pairs).await?;
    let start = source.start(SourceStart::Fresh).await?;
    let range = source.plan(&start, &Admission::ALL).await?.unwrap();
    assert_eq!(source.plan(&range.end, &Admission::ALL).await?, None);
    let spec = millstream_core::ReaderSpec { projection, batch_rows: 2, ..source.reader() };
    let reader = registry().0.reader(&spec)?;
    let mut rows = Vec::new();
    for split in source.splits(&range, 4).await? {
        let mut chunks = reader.read(&split).await?;
        while let Some(chunk) = futures::StreamExt::next(&mut chunks).await {
            let chunk = chunk?;
            assert_eq!(chunk.rows.schema(), reader.schema());
            assert!(chunk.rows.num_rows() <= 2 || format != "state");
            rows.push(chunk.rows);
        }
    }
    Ok(rows)
}

async fn refused(format: &str, pairs: &[(&str, &str)]) -> Error {
    open(format, pairs).await.unwrap_err()
}

#[tokio::test]
async fn a_store_is_read_as_key_value_partition_and_expiry() {
    let with = |more: &[(&'static str, &'static str)]| [&[("path", FIXTURE)][..], more].concat();
    let source = open("state", &with(&[("storeName", "rows")])).await.unwrap();
    assert_eq!(source.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(), ["key", "value", "partition_id", "expiry"]);
    let rows = |more: &[(&'static str, &'static str)]| {
        let pairs = with(more);
        async move { sorted_row_texts(&read("state", &pairs, Some(vec![0, 1, 3])).await.unwrap()).unwrap() }
    };
    let after_1 = rows(&[("storeName", "rows")]).await;
    assert_eq!(after_1.len(), 2, "{after_1:?}");
    assert_eq!(rows(&[("operator", "op-1"), ("store", "rows"), ("version", "1")]).await, after_1);
    assert_eq!(rows(&[("storeName", "rows"), ("batchId", "0")]).await.len(), 4);
    assert_eq!(rows(&[("storeName", "lists")]).await.len(), 3);
    let table =
        pretty_format_batches(&read("statestore", &with(&[("store", "rows")]), Some(vec![3, 0, 1])).await.unwrap()).unwrap().to_string();
    assert!(table.contains("| 1970-01-01T00:00:02Z | {f: NaN, s: }") && table.contains("{f: 0.0, s: zero} | {n: 5, t: five}"), "{table}");
    let groups = read("state", &with(&[("store", "rows")]), Some(vec![2])).await.unwrap();
    assert_eq!(groups[0].num_columns(), 1);
}

#[tokio::test]
async fn the_metadata_lists_the_stores() {
    let rows = read("state-metadata", &[("path", FIXTURE)], Some(vec![1, 2, 3, 4, 5, 8, 9, 10])).await.unwrap();
    let table = pretty_format_batches(&rows).unwrap().to_string();
    assert!(table.contains("| op-1         | lists          | 256           | 0          | 1          | many       | f: double, s: string | n: bigint, t: string |"), "{table}");
    assert!(table.contains("| op-1         | rows           | 256           | 0          | 1          | one        |"), "{table}");
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let fixture = |name: &'static str, value: &'static str| [("path", FIXTURE), ("storeName", "rows"), (name, value)];
    let error = refused("state", &fixture("batchId", "7")).await;
    assert_eq!(error.message(), "the state after batch 7 is not there yet: that after batches 0 to 1 is");
    assert_eq!(error.error_class(), Some("STDS_COMMITTED_BATCH_UNAVAILABLE"));
    let error = refused("state", &fixture("operator", "op-2")).await;
    assert_eq!((error.message(), error.hint_text()), ("the query has no stateful operator 'op-2'", Some("it has 'op-1'")));
    let error = refused("state", &[("path", FIXTURE), ("operatorId", "3"), ("storeName", "rows")]).await;
    assert_eq!(error.message(), "the query has no stateful operator 3");
    let error = refused("state", &[("path", FIXTURE)]).await;
    assert_eq!(error.message(), "operator 'op-1' has several stores: say which one to read");
    let error = refused("state", &[("path", FIXTURE), ("joinSide", "left")]).await;
    assert_eq!((error.message(), error.hint_text()), ("operator 'op-1' has no store 'left'", Some("its stores are 'rows', 'lists'")));
    let error = refused("state", &[]).await;
    assert_eq!((error.message(), error.error_class()), ("'path' must be specified", Some("STDS_REQUIRED_OPTION_UNSPECIFIED")));
    let error = refused("state-metadata", &[("path", "/nowhere/at/all")]).await;
    assert!(error.message().contains("is no checkpoint"), "{error}");
    let error = refused("state-metadata", &[("path", FIXTURE), ("operator", "op-1")]).await;
    assert!(error.message().contains("operator"), "{error}");
    let streamed = registry().0.for_format("state").unwrap().source(source_request("state", &[("path", FIXTURE)], None)).await.unwrap_err();
    assert_eq!(streamed.message(), "format 'state' cannot be read as a stream");
}

#[test]
fn options_are_sparks_and_ours_and_others_are_refused_by_name() {
    let parse = |pairs: &[(&str, &str)]| StateOptions::parse(&options(pairs));
    let parsed = parse(&[("operatorId", "2"), ("joinSide", "RIGHT"), ("batchId", "4")]).unwrap();
    assert_eq!(parsed.operator, Some(WantedOperator::Ordinal(2)));
    assert_eq!((parsed.store.as_deref(), parsed.version.map(|version| version.0)), (Some("right"), Some(4)));
    assert_eq!(parse(&[("operator", "2")]).unwrap().operator, Some(WantedOperator::Ordinal(2)));
    assert_eq!(parse(&[("operator", "agg-2"), ("joinSide", "none")]).unwrap().operator, Some(WantedOperator::Name("agg-2".into())));
    let class = |pairs: &[(&str, &str)]| parse(pairs).unwrap_err().error_class();
    assert_eq!(class(&[("batchId", "-1")]), Some("STDS_INVALID_OPTION_VALUE.IS_NEGATIVE"));
    assert_eq!(class(&[("operatorId", "-1")]), Some("STDS_INVALID_OPTION_VALUE.IS_NEGATIVE"));
    assert_eq!(class(&[("storeName", "")]), Some("STDS_INVALID_OPTION_VALUE.IS_EMPTY"));
    assert_eq!(class(&[("joinSide", "up")]), Some("STDS_INVALID_OPTION_VALUE.WITH_MESSAGE"));
    assert_eq!(class(&[("batchId", "x")]), Some("STDS_INVALID_OPTION_VALUE.WITH_MESSAGE"));
    assert_eq!(class(&[("batchId", "1"), ("version", "1")]), Some("STDS_CONFLICT_OPTIONS"));
    assert_eq!(class(&[("operator", "1"), ("operatorId", "1")]), Some("STDS_CONFLICT_OPTIONS"));
    assert_eq!(class(&[("joinSide", "left"), ("storeName", "left")]), Some("STDS_CONFLICT_OPTIONS"));
    let error = parse(&[("readChangeFeed", "true")]).unwrap_err();
    assert!(error.message().contains("readChangeFeed") && error.kind() == millstream_core::ErrorKind::Unsupported, "{error}");
    let error = parse(&[("operatr", "1")]).unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean 'operator'?"));
}
