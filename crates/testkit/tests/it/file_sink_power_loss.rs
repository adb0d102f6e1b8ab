//! File sinks under power loss: whole and partitioned, read by a reader that knows nothing of us.
//!
//! `MILLSTREAM_TEST_POWER_LOSS_CASES` asks for more cases.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use millstream_connectors::file::FileConnector;
use millstream_core::connector::SinkRequest;
use millstream_core::{Connector, ConnectorRegistry, Options, OutputMode, Result, Sink, SystemClock};
use millstream_testkit::PowerLossFs;
use millstream_testkit::sink_contract::SinkHarness;
use millstream_testkit::sink_power_loss::check_case;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

struct Folder {
    fs: PowerLossFs,
    registry: ConnectorRegistry,
    path: PathBuf,
    is_partitioned: bool,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]))
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[async_trait]
impl SinkHarness for Folder {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        FileConnector::new(Arc::new(self.fs.clone()))
            .sink(SinkRequest {
                format: "parquet".to_owned(),
                options: Options::new().with("path", self.path.display().to_string()),
                schema: schema(),
                partition_by: if self.is_partitioned { vec!["name".to_owned()] } else { Vec::new() },
                query_name: None,
                output_mode: Some(OutputMode::Append),
                time_zone: "UTC".to_owned(),
                clock: Arc::new(SystemClock::default()),
            })
            .await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        let ids = Int64Array::from_iter_values((first..first + n).map(|row| row as i64));
        let names = StringArray::from_iter_values((first..first + n).map(|row| format!("n{}", row % 3)));
        Ok(RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)])?)
    }

    /// Every row of every file with the format's suffix; the partition comes from the folder.
    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for path in files_below(&self.path).iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")) {
            let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).and_then(|builder| builder.build());
            for batch in reader.unwrap_or_else(|error| panic!("{} is torn: {error}", path.display())) {
                let mut columns = batch.unwrap().columns().to_vec();
                if let Some(name) = folder.strip_prefix("name=") {
                    columns.push(Arc::new(StringArray::from(vec![name; columns[0].len()])));
                }
                batches.push(RecordBatch::try_new(schema(), columns)?);
            }
        }
        Ok(batches)
    }
}

#[test]
fn a_file_sink_survives_power_loss() {
    let n_cases = std::env::var("MILLSTREAM_TEST_POWER_LOSS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let halves = std::thread::scope(|scope| {
        let halves = [false, true].map(|is_partitioned| scope.spawn(move || cases(n_cases / 2, is_partitioned)));
        halves.map(|half| half.join().unwrap())
    });
    assert!(halves.iter().all(|n_batches| *n_batches > n_cases), "{halves:?}");
}

fn cases(n_cases: u64, is_partitioned: bool) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    let mut n_batches = 0;
    for seed in 0..n_cases {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let harness = |fs: &PowerLossFs| -> Box<dyn SinkHarness> {
            let mut registry = ConnectorRegistry::default();
            registry.register(Arc::new(FileConnector::new(Arc::new(fs.clone()))));
            Box::new(Folder { fs: fs.clone(), registry, path: dir.path().join("out"), is_partitioned })
        };
        n_batches += runtime.block_on(check_case(dir.path(), seed, &harness)).unwrap();
    }
    n_batches
}
