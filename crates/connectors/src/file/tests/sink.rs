//! The sink: protocol, names, partitions, save modes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, ConnectorRegistry, QueryId, Result, RunEpoch, Sink, SinkContext, TaskId};
use millstream_testkit::rows::sorted_row_texts;
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use uuid::Uuid;

use super::{read_all, rows};
use crate::file::sink::SmallFiles;
use crate::file::staged::{StagedFile, StagedFiles};
use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request};

pub(super) struct Folder {
    pub(super) registry: ConnectorRegistry,
    pub(super) dir: TempDir,
    pub(super) partition_by: Vec<String>,
    pub(super) options: Vec<(&'static str, &'static str)>,
}

impl Folder {
    pub(super) fn new(partition_by: &[&str], options: &[(&'static str, &'static str)]) -> Self {
        let partition_by = partition_by.iter().map(|name| (*name).to_owned()).collect();
        Self { registry: registry().0, dir: TempDir::new().unwrap(), partition_by, options: options.to_vec() }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// All files below a folder.
pub(super) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// What a reader sees that takes every file with the format's suffix, hidden or not.
pub(super) fn foreign_rows(dir: &Path) -> Vec<RecordBatch> {
    let is_data = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    files_below(dir)
        .into_iter()
        .filter(is_data)
        .flat_map(|path| ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap().build().unwrap())
        .map(|batch| batch.unwrap())
        .collect()
}

#[async_trait]
impl SinkHarness for Folder {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let options = [self.options.as_slice(), &[("path", self.path().to_str().unwrap())]].concat();
        let mut request = sink_request("parquet", &options, id_name_schema());
        request.partition_by = self.partition_by.clone();
        sink(&self.registry, request).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        if self.partition_by.is_empty() {
            let foreign = foreign_rows(self.path());
            let (_, ours) = read_all("parquet", &[("path", self.path().to_str().unwrap())], Some(id_name_schema())).await?;
            assert_eq!(sorted_row_texts(&rows(&ours))?, sorted_row_texts(&foreign)?, "ours and a foreign reader agree between batches");
            return Ok(foreign);
        }
        // The partition columns come last; put them back in place.
        let (schema, ours) = read_all("parquet", &[("path", self.path().to_str().unwrap())], Some(id_name_schema())).await?;
        let order: Vec<usize> = ["id", "name"].iter().map(|name| schema.index_of(name).unwrap()).collect();
        rows(&ours).iter().map(|batch| Ok(batch.project(&order)?)).collect()
    }

    async fn n_leftovers(&self) -> Result<usize> {
        Ok(files_below(self.path()).iter().filter(|path| path.extension().is_some_and(|extension| extension == "staged")).count())
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    check_sink(&Folder::new(&[], &[])).await.unwrap();
}

#[tokio::test]
async fn partitioned_output_keeps_the_contract() {
    check_sink(&Folder::new(&["name"], &[("compression", "zstd")])).await.unwrap();
}

#[tokio::test]
async fn books_do_not_grow() {
    let folder = Folder::new(&[], &[]);
    check_sink(&folder).await.unwrap();
    let books: Vec<String> = files_below(&folder.path().join("_millstream")).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(books.len(), 1, "{books:?}");
    let staging = folder.path().join("_millstream").join(Uuid::from_u128(0x5157).to_string()).join("staging");
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
}

/// Writes and commits one batch with one task.
pub(super) async fn write_batch(
    registry: &ConnectorRegistry,
    sink: &Arc<dyn Sink>,
    query_id: QueryId,
    batch_id: BatchId,
    rows: &[RecordBatch],
) -> Result<()> {
    let attempt = WriteAttempt { query_id, epoch: RunEpoch(1), batch_id, attempt: 0, task_id: TaskId(0) };
    let mut writer = registry.writer(&sink.writer())?.open(attempt).await?;
    for rows in rows {
        writer.write(rows.clone()).await?;
    }
    let outputs = vec![writer.finish().await?];
    let prepared = sink.prepare(batch_id, outputs).await?;
    sink.commit(batch_id, &prepared).await
}

pub(super) fn ctx(id: u128) -> SinkContext {
    SinkContext { query_id: QueryId(Uuid::from_u128(id)), epoch: RunEpoch(1) }
}

#[tokio::test]
async fn partitions_and_row_limits_shape_the_files() {
    let folder = Folder::new(&["name"], &[("maxRecordsPerFile", "2")]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(1);
    sink.start(&ctx, None).await.unwrap();
    let batch = id_name_rows(0, 6);
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(7), &[batch.clone(), batch.clone(), batch]).await.unwrap();
    let names: Vec<String> = files_below(folder.path())
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
        .collect();
    // Four names with 3 rows each, and 6 nulls: two files for each name, three for null.
    assert_eq!(names.len(), 4 * 2 + 3, "{names:#?}");
    assert!(names.iter().all(|name| name.contains("00000000-0000-0000-0000-000000000001-0000000007-")), "{names:#?}");
    assert!(names.iter().any(|name| name.starts_with("name=__HIVE_DEFAULT_PARTITION__/part-00000-")), "{names:#?}");
    assert!(names.iter().any(|name| name.starts_with("name=name 0/part-00000-")), "{names:#?}");
}

/// Files below `dir` that this process has open.
fn open_files(dir: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|path| path.starts_with(dir)).count()
}

#[tokio::test]
async fn many_partitions_make_one_file_each_and_few_are_open_at_once() {
    let folder = Folder::new(&["id"], &[]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(1);
    sink.start(&ctx, None).await.unwrap();
    let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id: BatchId(0), attempt: 0, task_id: TaskId(0) };
    let mut writer = folder.registry.writer(&sink.writer()).unwrap().open(attempt).await.unwrap();
    for _ in 0..3 {
        writer.write(id_name_rows(0, 350)).await.unwrap();
        assert_eq!(open_files(folder.path()), 100);
    }
    let outputs = vec![writer.finish().await.unwrap()];
    let prepared = sink.prepare(BatchId(0), outputs).await.unwrap();
    sink.commit(BatchId(0), &prepared).await.unwrap();
    let files = files_below(folder.path()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    assert_eq!(files.count(), 350);
    let (_, chunks) = read_all("parquet", &[("path", folder.path().to_str().unwrap())], None).await.unwrap();
    // Partition columns come last.
    let expected = [(); 3].map(|()| id_name_rows(0, 350).project(&[1, 0]).unwrap());
    assert!(sorted_row_texts(&rows(&chunks)).unwrap() == sorted_row_texts(&expected).unwrap());
}

#[tokio::test]
async fn save_modes_of_batch_writes() {
    let write = async |folder: &Folder, mode: &'static str, query: u128, first: usize| -> Result<()> {
        let options = [("path", folder.path().to_str().unwrap()), ("mode", mode)];
        let sink = sink(&folder.registry, sink_request("parquet", &options, id_name_schema())).await?;
        let ctx = ctx(query);
        sink.start(&ctx, None).await?;
        write_batch(&folder.registry, &sink, ctx.query_id, BatchId(0), &[id_name_rows(first, 2)]).await
    };
    let folder = Folder::new(&[], &[]);
    let ids = async || -> Vec<String> {
        assert!(!folder.path().join("_millstream").exists(), "a finished batch write leaves no books");
        sorted_row_texts(&folder.visible().await.unwrap()).unwrap().iter().map(|row| row[..4].to_owned()).collect()
    };
    write(&folder, "append", 1, 0).await.unwrap();
    write(&folder, "append", 2, 2).await.unwrap();
    assert_eq!(ids().await, ["id=0", "id=1", "id=2", "id=3"]);
    let error = write(&folder, "error", 3, 4).await.unwrap_err();
    assert_eq!(error.error_class(), Some("PATH_ALREADY_EXISTS"));
    write(&folder, "ignore", 4, 4).await.unwrap();
    assert_eq!(ids().await, ["id=0", "id=1", "id=2", "id=3"]);
    write(&folder, "overwrite", 5, 6).await.unwrap();
    assert_eq!(ids().await, ["id=6", "id=7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_while_a_table_is_replaced_sees_one_version_of_it() {
    let folder = Arc::new(Folder::new(&[], &[]));
    let path = folder.path().to_str().unwrap().to_owned();
    let write = async |version: usize| -> Result<()> {
        let sink = sink(&folder.registry, sink_request("parquet", &[("path", &path), ("mode", "overwrite")], id_name_schema())).await?;
        let ctx = ctx(1 + version as u128);
        sink.start(&ctx, None).await?;
        // In two files.
        write_batch(&folder.registry, &sink, ctx.query_id, BatchId(0), &[id_name_rows(2 * version, 1), id_name_rows(2 * version + 1, 1)])
            .await
    };
    write(0).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let reads = {
        let (is_over, path) = (Arc::clone(&is_over), path.clone());
        tokio::spawn(async move {
            let (mut n_whole, mut n_vanished) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match read_all("parquet", &[("path", &path)], Some(id_name_schema())).await {
                    Ok((_, chunks)) => {
                        let seen = sorted_row_texts(&rows(&chunks)).unwrap();
                        let ids: Vec<usize> = seen.iter().map(|row| row[3..].split(',').next().unwrap().trim().parse().unwrap()).collect();
                        assert!(ids.len() == 2 && ids.iter().min().unwrap().is_multiple_of(2) && ids[0].abs_diff(ids[1]) == 1, "{seen:?}");
                        n_whole += 1;
                    }
                    // Listed, and replaced before it was read.
                    Err(error) if error.error_class() == Some("FAILED_READ_FILE.FILE_NOT_EXIST") => n_vanished += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (n_whole, n_vanished)
        })
    };
    for version in 1..100 {
        write(version).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let (n_whole, n_vanished) = reads.await.unwrap();
    assert!(n_whole > 0, "{n_vanished} reads found the files gone");
}

#[tokio::test]
async fn a_folder_that_somebody_removes_is_made_again() {
    let folder = Folder::new(&["name"], &[]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(1);
    sink.start(&ctx, None).await.unwrap();
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(0), &[id_name_rows(0, 1)]).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("name=name 0")).unwrap();
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(1), &[id_name_rows(0, 1)]).await.unwrap();
    assert_eq!(folder.visible().await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test]
async fn wrong_requests_are_refused_before_a_row_is_written() {
    let (registry, _) = registry();
    let message = async |format: &str, options: &[(&str, &str)], partition_by: &[&str]| {
        let mut request = sink_request(format, options, id_name_schema());
        request.partition_by = partition_by.iter().map(|name| (*name).to_owned()).collect();
        sink(&registry, request).await.unwrap_err().message().to_owned()
    };
    assert_eq!(message("parquet", &[], &[]).await, "option 'path' is missing");
    assert_eq!(message("parquet", &[("path", "x"), ("compresion", "gzip")], &[]).await, "unknown option 'compresion' of the parquet sink");
    assert_eq!(message("parquet", &[("path", "x")], &["nme"]).await, "partition column 'nme' is not a column of the rows");
    assert_eq!(
        message("parquet", &[("path", "x")], &["id", "name"]).await,
        "all columns are partition columns: one must be left for the files"
    );
    let wrong = message("parquet", &[("path", "x"), ("compression", "bzip2")], &[]).await;
    assert_eq!(wrong, "option 'compression' is 'bzip2': expected none, snappy, gzip, zstd, lz4 or brotli for parquet");
    assert_eq!(message("orc", &[("path", "x")], &[]).await, "file format 'orc' is not supported yet");
}

#[test]
fn many_small_files_are_warned_of_once_a_minute() {
    let file = |folder: &str, bytes| StagedFile { target: format!("{folder}/f"), staged: None, upload: None, rows: 1, bytes };
    let files = |n: usize, bytes| StagedFiles { files: (0..n).map(|_| file("k=1", bytes)).collect(), ignored: false };
    let mut small = SmallFiles::default();
    assert_eq!(small.add(0, &files(10, 100)), None);
    assert_eq!(small.add(0, &files(20, 2 << 20)), None, "large files do not count");
    assert_eq!(small.add(0, &files(1, 100)), Some(("k=1".to_owned(), 11)));
    assert_eq!(small.add(0, &files(9, 100)), None);
    assert_eq!(small.add(1, &files(10, 100)), None);
    assert!(small.add(1, &files(1, 100)).is_some());
}
