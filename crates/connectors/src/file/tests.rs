//! Tests of files: helpers here, the tests by theme below.

mod bad_input;
mod formats;
mod names;
mod own;
mod packed;
mod power;
mod quiet;
#[cfg(target_os = "linux")]
mod seen;
mod sink;
mod source;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::source::SplitChunk;
use millstream_core::{Admission, ConnectorRegistry, Result, Source, SourceRange, SourceStart, Split};
use millstream_testkit::source_contract::read_splits;
use parquet::arrow::ArrowWriter;

use crate::harness::{registry, source_request};

/// Sets the modification time, in seconds.
fn touch(path: &Path, mtime_s: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(mtime_s)).unwrap();
}

fn write_text(path: &Path, text: impl AsRef<[u8]>, mtime_s: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    touch(path, mtime_s);
}

fn write_parquet(path: &Path, rows: &RecordBatch, mtime_s: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    touch(path, mtime_s);
}

fn id_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

/// A source over a folder.
async fn open(format: &str, options: &[(&str, &str)], schema: Option<SchemaRef>) -> Result<Box<dyn Source>> {
    crate::harness::source(&registry().0, source_request(format, options, schema)).await
}

/// A batch read of everything.
async fn read_all(format: &str, options: &[(&str, &str)], schema: Option<SchemaRef>) -> Result<(SchemaRef, Vec<SplitChunk>)> {
    let (registry, _) = registry();
    let mut request = source_request(format, options, schema);
    request.is_streaming = false;
    let mut source = crate::harness::source(&registry, request).await?;
    let start = source.start(SourceStart::Fresh).await?;
    let splits = match source.plan(&start, &Admission::ALL).await? {
        Some(range) => source.splits(&range, 2).await?,
        None => Vec::new(),
    };
    Ok((source.schema(), read_with(&registry, source.as_ref(), &splits).await?))
}

fn read_with(registry: &ConnectorRegistry, source: &dyn Source, splits: &[Split]) -> impl Future<Output = Result<Vec<SplitChunk>>> + Send {
    let (registry, spec, splits) = (registry.clone(), source.reader(), splits.to_vec());
    async move { read_splits(&registry, &spec, &splits).await }
}

fn rows(chunks: &[SplitChunk]) -> Vec<RecordBatch> {
    chunks.iter().map(|chunk| chunk.rows.clone()).collect()
}

/// The names of the files of a range.
fn file_names(range: &SourceRange) -> Vec<String> {
    let files = super::source::RangeFiles::of(range).unwrap();
    files.iter().map(|file| file.path.rsplit('/').next().unwrap().to_owned()).collect()
}
