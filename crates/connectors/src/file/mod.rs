//! Files: json, csv, text and parquet, on local disks and object stores, as sources and sinks.
//!
//! ```text
//!  driver  source ── listing (globs, partition folders, committed batches of our own sinks) ── seen set ── ranges ── splits
//!  task    reader ── open, decompress, decode (formats) or parquet ── partition and metadata columns ── rows
//!  task    writer ── split by partition ── encode (formats) or parquet ── staged files or uploads
//!  driver  sink   ── prepare (folders synced) ── commit (rename or complete; then the committed mark)
//! ```
//! The sink's protocol is `docs/design/0002-file-sink.md`. The source reads each file once and never changes a file, unless
//! `cleanSource` says so. The formats themselves live in `millstream-formats`; this module moves bytes and counts them.

mod clean;
mod committed;
mod format;
mod glob_path;
mod listing;
mod metadata;
mod names;
mod options;
mod partition;
mod quiet;
mod reader;
mod schema;
mod seen;
mod sink;
mod source;
mod splits;
mod waiting;
mod writer;

mod decompress;
mod encode;
mod error;
mod known_folders;
mod local_stage;
mod object_stage;
mod overwrite;
mod parquet_cast;
mod parquet_schema;
mod partition_rows;
mod read_lines;
mod read_parquet;
mod staged;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{Connector, OptionSpec, ReaderSpec, Result, Sink, Source, SplitReader, WriterFactory, WriterSpec};
use millstream_state::{FileSystem, OsFileSystem};

pub use format::FileFormat;
pub use options::{FileSinkOptions, FileSourceOptions, STORE_OPTIONS, SaveMode};
pub(crate) use parquet_cast::{adapt, spark_type};

/// The name in specs.
const NAME: &str = "file";

/// See the [module](self).
#[derive(Debug)]
pub struct FileConnector {
    fs: Arc<dyn FileSystem>,
    quiet: Arc<quiet::QuietFolders>,
}

impl FileConnector {
    /// Over a local file layer (tests pass one that fails); object stores are reached by URL.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs, quiet: Arc::default() }
    }
}

impl Default for FileConnector {
    fn default() -> Self {
        Self::new(Arc::new(OsFileSystem))
    }
}

#[async_trait]
impl Connector for FileConnector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn formats(&self) -> &'static [&'static str] {
        // The last three answer with a clear error: a user of Spark looks for them here.
        &["json", "csv", "text", "parquet", "orc", "xml", "avro"]
    }

    fn is_of_files(&self) -> bool {
        true
    }

    fn store_options(&self) -> &'static [OptionSpec] {
        STORE_OPTIONS
    }

    fn source_options(&self, format: &str) -> Vec<OptionSpec> {
        format.parse().map(options::source_specs).unwrap_or_default()
    }

    fn sink_options(&self, format: &str) -> Vec<OptionSpec> {
        format.parse().map(options::sink_specs).unwrap_or_default()
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        Ok(Box::new(source::FileSource::open(Arc::clone(&self.fs), Arc::clone(&self.quiet), request).await?))
    }

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::FileSink::open(Arc::clone(&self.fs), request)?))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Ok(Arc::new(reader::FileReader::new(spec)?))
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(writer::FileWriters::new(Arc::clone(&self.fs), spec)?))
    }
}

#[cfg(test)]
mod tests;
