//! Every format there and back, compressed and not; inference; formats of the sink against the contract.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::{BatchId, ConnectorRegistry, Result, Sink};
use millstream_testkit::rows::sorted_row_texts;
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use tempfile::TempDir;

use super::sink::{ctx, files_below, write_batch};
use super::{read_all, rows, write_text};
use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request};

async fn write_all(format: &str, options: &[(&str, &str)], dir: &TempDir, batch: &RecordBatch) -> Result<()> {
    let (registry, _) = registry();
    let options = [options, &[("path", dir.path().to_str().unwrap()), ("mode", "append")]].concat();
    let sink = sink(&registry, sink_request(format, &options, batch.schema())).await?;
    let ctx = ctx(1);
    sink.start(&ctx, None).await?;
    write_batch(&registry, &sink, ctx.query_id, BatchId(0), std::slice::from_ref(batch)).await
}

#[tokio::test]
async fn every_format_and_compression_comes_back() {
    let batch = id_name_rows(0, 1000);
    let lines = ["none", "gzip", "bzip2", "zstd"];
    let cases: Vec<(&str, &str)> = lines
        .iter()
        .flat_map(|codec| [("json", *codec), ("csv", *codec)])
        .chain(["none", "snappy", "gzip", "zstd", "lz4", "brotli"].map(|codec| ("parquet", codec)))
        .collect();
    for (format, codec) in cases {
        let dir = TempDir::new().unwrap();
        write_all(format, &[("compression", codec)], &dir, &batch).await.unwrap();
        let (_, chunks) = read_all(format, &[("path", dir.path().to_str().unwrap())], Some(id_name_schema())).await.unwrap();
        assert_eq!(sorted_row_texts(&rows(&chunks)).unwrap(), sorted_row_texts(std::slice::from_ref(&batch)).unwrap(), "{format} {codec}");
    }
    let names = batch.project(&[1]).unwrap();
    for codec in lines {
        let dir = TempDir::new().unwrap();
        write_all("text", &[("compression", codec)], &dir, &names).await.unwrap();
        let (schema, chunks) = read_all("text", &[("path", dir.path().to_str().unwrap())], None).await.unwrap();
        assert_eq!(schema.field(0).name(), "value");
        assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
    }
}

#[tokio::test]
async fn a_damaged_file_of_ours_is_never_other_rows() {
    for codec in ["gzip", "bzip2", "zstd"] {
        let dir = TempDir::new().unwrap();
        write_all("csv", &[("compression", codec)], &dir, &id_name_rows(0, 20_000)).await.unwrap();
        let file = files_below(dir.path()).into_iter().find(|path| path.to_string_lossy().contains(".csv.")).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for at in [whole.len() / 5, whole.len() / 2, whole.len() - 20] {
            let mut damaged = whole.clone();
            damaged[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
            std::fs::write(&file, damaged).unwrap();
            let read = read_all("csv", &[("path", dir.path().to_str().unwrap())], Some(id_name_schema())).await;
            assert!(read.is_err(), "{codec}, damaged at {at} of {}", whole.len());
        }
    }
}

#[tokio::test]
async fn schemas_are_inferred_over_all_files() {
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("k=1/a.json"), "{\"a\":1,\"b\":\"x\"}\n", 1);
    write_text(&dir.path().join("k=2/b.json"), "{\"a\":1.5,\"c\":[true]}\n", 2);
    let (schema, chunks) = read_all("json", &[("path", dir.path().to_str().unwrap())], None).await.unwrap();
    let types: Vec<String> = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types[..2], ["a Float64", "b Utf8"]);
    assert_eq!(types[3], "k Int32");
    assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), 2);

    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a.csv"), "id,name\n1,x\n2,y\n", 1);
    let path = dir.path().to_str().unwrap();
    let (schema, chunks) = read_all("csv", &[("path", path), ("header", "true"), ("inferSchema", "true")], None).await.unwrap();
    let types: Vec<String> = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types, ["id Int32", "name Utf8"]);
    assert_eq!(sorted_row_texts(&rows(&chunks)).unwrap(), ["id=1, name=x", "id=2, name=y"]);

    let dir = TempDir::new().unwrap();
    let error = read_all("json", &[("path", dir.path().to_str().unwrap())], None).await.unwrap_err();
    assert_eq!(error.error_class(), Some("UNABLE_TO_INFER_SCHEMA"));
}

struct Json {
    registry: ConnectorRegistry,
    dir: TempDir,
}

#[async_trait]
impl SinkHarness for Json {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let options = [("path", self.dir.path().to_str().unwrap()), ("compression", "gzip")];
        sink(&self.registry, sink_request("json", &options, id_name_schema())).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        let (_, chunks) = read_all("json", &[("path", self.dir.path().to_str().unwrap())], Some(id_name_schema())).await?;
        Ok(rows(&chunks))
    }

    async fn n_leftovers(&self) -> Result<usize> {
        let is_staged = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "staged");
        Ok(files_below(self.dir.path()).iter().filter(|path| is_staged(path)).count())
    }
}

#[tokio::test]
async fn json_sink_keeps_the_contract() {
    check_sink(&Json { registry: registry().0, dir: TempDir::new().unwrap() }).await.unwrap();
}

#[tokio::test]
async fn partition_values_are_written_as_sparks_casts_write_them() {
    use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, TimestampMicrosecondArray};
    let ts: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_709_287_200_000_000, 1_709_287_200_500_000]).with_timezone("UTC"));
    let day: ArrayRef = Arc::new(Date32Array::from(vec![Some(18263), None]));
    let double: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.0]));
    let flag: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let value: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("v", value, true),
        ("ts", ts, true),
        ("day", day, true),
        ("d", double, true),
        ("b", flag, true),
    ])
    .unwrap();
    let dir = TempDir::new().unwrap();
    let (registry, _) = registry();
    let mut request = sink_request("json", &[("path", dir.path().to_str().unwrap())], batch.schema());
    request.partition_by = ["ts", "day", "d", "b"].map(str::to_owned).to_vec();
    let sink = sink(&registry, request).await.unwrap();
    let ctx = ctx(1);
    sink.start(&ctx, None).await.unwrap();
    write_batch(&registry, &sink, ctx.query_id, BatchId(0), &[batch]).await.unwrap();
    let mut folders: Vec<String> = files_below(dir.path())
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json") && !path.to_string_lossy().contains("_millstream"))
        .map(|path| path.parent().unwrap().strip_prefix(dir.path()).unwrap().display().to_string())
        .collect();
    folders.sort();
    // From the gold of Spark's writers.
    assert_eq!(
        folders,
        [
            "ts=2024-03-01 10%3A00%3A00.5/day=__HIVE_DEFAULT_PARTITION__/d=2.0/b=false",
            "ts=2024-03-01 10%3A00%3A00/day=2020-01-02/d=1.5/b=true",
        ]
    );
}

#[tokio::test]
async fn an_empty_batch_write_can_be_read_back() {
    for format in ["parquet", "json", "csv"] {
        let dir = TempDir::new().unwrap();
        write_all(format, &[], &dir, &id_name_rows(0, 0)).await.unwrap();
        let path = dir.path().to_str().unwrap();
        let schema = (format != "parquet").then(id_name_schema);
        let (schema, chunks) = read_all(format, &[("path", path)], schema).await.unwrap();
        assert_eq!(schema.fields().len(), 2);
        assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    }
}
