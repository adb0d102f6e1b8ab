//! The task's half of a file sink: rows are divided by partition, encoded and staged where no reader looks.
//!
//! Local files are written to the attempt's staging folder under names that end in `.staged`, and synced before the task
//! says so. On object stores the parts of multipart uploads are sent; an upload shows nothing before it is completed.
//! Nothing is created before the first row, but for one file of a batch write that has none. Rows of more partitions than
//! files may be open at once wait until the input has ended ([`super::waiting`]).

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::sink::WriteAttempt;
use millstream_core::{Error, Result, TaskId, TaskOutput, TaskWriter, WriterFactory, WriterSpec};
use millstream_formats::datetime::Zone;
use millstream_state::fs::blocking;
use millstream_state::location::{join_key, store_error};
use millstream_state::{AppendFile, FileSystem, Location};
use object_store::multipart::MultipartStore;
use object_store::path::Path as ObjectPath;

use super::encode::{Encoding, FileEncoder};
use super::error::write_error;
use super::format::FileFormat;
use super::known_folders::KnownFolders;
use super::local_stage::staging_dir;
use super::names::OwnName;
use super::options::FileSinkOptions;
use super::partition_rows::Partitioner;
use super::staged::{StagedFile, StagedFiles, Upload};
use super::waiting::WaitingRows;

/// Open files of a task; rows of further partitions wait. As many may be written and not yet synced.
const OPEN_FILES_MAX: usize = 100;

/// Bytes of rows that wait in memory.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What all encoders of a task may hold in memory; beyond it the largest is flushed.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Bytes collected before a local write.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes of a part of an upload (S3 asks for 5 MiB at least).
const PART_BYTES: usize = 8 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FileWriters {
    fs: Arc<dyn FileSystem>,
    location: Location,
    partitioner: Partitioner,
    encoding: Encoding,
    max_records_per_file: u64,
    /// A batch write without rows leaves one file, so that the table can be read back.
    writes_empty: bool,
    /// The tasks of an attempt share its staging folder.
    folders: Arc<KnownFolders>,
}

impl FileWriters {
    pub(super) fn new(fs: Arc<dyn FileSystem>, spec: &WriterSpec) -> Result<Self> {
        let format: FileFormat = spec.format.parse()?;
        let options = FileSinkOptions::parse(format, &spec.options)?;
        let (partitioner, encoding) = parts(format, &spec.schema, &spec.partition_by, &spec.options, &spec.time_zone)?;
        Ok(Self {
            location: Location::parse_on(Arc::clone(&fs), &options.path, &spec.options)?,
            fs,
            partitioner,
            encoding,
            max_records_per_file: options.max_records_per_file.unwrap_or(u64::MAX),
            writes_empty: options.save_mode.is_some() && spec.partition_by.is_empty(),
            folders: Arc::default(),
        })
    }
}

/// What can be refused before a row is written.
pub(super) fn parts(
    format: FileFormat,
    schema: &SchemaRef,
    partition_by: &[String],
    options: &millstream_core::Options,
    time_zone: &str,
) -> Result<(Partitioner, Encoding)> {
    let zone = Zone::parse(time_zone)?;
    let partitioner = Partitioner::new(schema, partition_by, zone)?;
    let encoding = Encoding::new(format, Arc::clone(partitioner.data_schema()), options, zone)?;
    Ok((partitioner, encoding))
}

#[async_trait]
impl WriterFactory for FileWriters {
    fn opens_without_rows(&self, task_id: TaskId) -> bool {
        self.writes_empty && task_id.0 == 0
    }

    async fn open(&self, attempt: WriteAttempt) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(FileTaskWriter {
            target: match &self.location {
                Location::Local { path, .. } => Target::Local {
                    fs: Arc::clone(&self.fs),
                    base: path.clone(),
                    staging: staging_dir(attempt.query_id, attempt.epoch, attempt.batch_id, attempt.attempt),
                    folders: Arc::clone(&self.folders),
                },
                Location::Object { multipart, prefix, .. } => Target::Object { store: Arc::clone(multipart), prefix: prefix.clone() },
                _ => return Err(Error::unsupported("this kind of location cannot be written")),
            },
            partitioner: self.partitioner.clone(),
            encoding: self.encoding.clone(),
            max_records_per_file: self.max_records_per_file,
            writes_empty: self.opens_without_rows(attempt.task_id),
            attempt,
            open: HashMap::new(),
            waiting: None,
            done: Vec::new(),
            n_unsynced: 0,
            next_seq: 0,
            n_rows: 0,
        }))
    }
}

struct FileTaskWriter {
    target: Target,
    partitioner: Partitioner,
    encoding: Encoding,
    max_records_per_file: u64,
    writes_empty: bool,
    attempt: WriteAttempt,
    /// By partition folder.
    open: HashMap<String, OpenFile>,
    waiting: Option<WaitingRows>,
    done: Vec<Finished>,
    n_unsynced: usize,
    next_seq: u32,
    n_rows: u64,
}

enum Target {
    Local { fs: Arc<dyn FileSystem>, base: PathBuf, staging: String, folders: Arc<KnownFolders> },
    Object { store: Arc<dyn MultipartStore>, prefix: ObjectPath },
}

struct OpenFile {
    encoder: FileEncoder,
    out: Out,
    target: String,
    n_rows: u64,
    n_bytes: u64,
}

enum Out {
    Local { file: Box<dyn AppendFile>, staged: String },
    Object { store: Arc<dyn MultipartStore>, key: ObjectPath, id: Option<String>, parts: Vec<String> },
}

/// A file whose bytes are written; a local one may wait for its sync.
struct Finished {
    file: StagedFile,
    unsynced: Option<Box<dyn AppendFile>>,
}

#[async_trait]
impl TaskWriter for FileTaskWriter {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.n_rows += rows.num_rows() as u64;
        let (rows, groups) = self.partitioner.divide(&rows)?;
        let mut waiting = Vec::new();
        for group in groups {
            if self.open.len() < OPEN_FILES_MAX || self.open.contains_key(&group.folder) {
                self.write_partition(&group.folder, group.of(&rows)?).await?;
            } else {
                waiting.push(group);
            }
        }
        if !waiting.is_empty() {
            let schema = self.partitioner.data_schema();
            self.waiting.get_or_insert_with(|| WaitingRows::new(schema, WAITING_BYTES_MAX)).push(&rows, waiting)?;
        }
        self.bound_held_bytes().await
    }

    async fn finish(mut self: Box<Self>) -> Result<TaskOutput> {
        if self.writes_empty && self.n_rows == 0 {
            let empty = self.create("").await?;
            self.open.insert(String::new(), empty);
        }
        self.close_all().await?;
        if let Some(waiting) = self.waiting.take() {
            let mut partitions = waiting.into_partitions()?;
            while let Some((folder, rows)) = partitions.next()? {
                if !self.open.contains_key(folder) {
                    self.close_all().await?;
                }
                self.write_partition(folder, rows).await?;
                self.bound_held_bytes().await?;
            }
            self.close_all().await?;
        }
        self.sync().await?;
        let files = self.done.into_iter().map(|finished| finished.file).collect();
        let payload = StagedFiles { files, ignored: false }.to_payload()?;
        Ok(TaskOutput { task_id: self.attempt.task_id, n_rows: self.n_rows, payload })
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let mut files: Vec<StagedFile> = self.done.drain(..).map(|finished| finished.file).collect();
        for (_, open) in self.open.drain() {
            files.push(open.describe());
        }
        match &self.target {
            Target::Local { fs, base, staging, .. } => {
                super::local_stage::remove_staged(fs.as_ref(), base, &files)?;
                // The last task's goes too; the others' are not empty.
                let _ = fs.remove_dir(&base.join(staging));
                Ok(())
            }
            Target::Object { store, .. } => super::object_stage::abort_uploads(store.as_ref(), &files).await,
        }
    }
}

impl FileTaskWriter {
    async fn write_partition(&mut self, folder: &str, rows: RecordBatch) -> Result<()> {
        let mut at = 0;
        while at < rows.num_rows() {
            if self.open.get(folder).is_some_and(|open| open.n_rows >= self.max_records_per_file) {
                self.close(folder).await?;
            }
            if !self.open.contains_key(folder) {
                let opened = self.create(folder).await?;
                self.open.insert(folder.to_owned(), opened);
            }
            let Some(open) = self.open.get_mut(folder) else { return Err(Error::internal("an open file is gone")) };
            let room = usize::try_from(self.max_records_per_file - open.n_rows).unwrap_or(usize::MAX);
            let n = (rows.num_rows() - at).min(room);
            open.encoder.write(&rows.slice(at, n))?;
            open.n_rows += n as u64;
            open.drain().await?;
            at += n;
        }
        Ok(())
    }

    async fn create(&mut self, folder: &str) -> Result<OpenFile> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let name = OwnName::new(&self.attempt, seq).format(self.encoding.suffix());
        let (out, target) = match &mut self.target {
            Target::Local { fs, base, staging, folders } => {
                let staged = format!("{staging}/{:05}-{seq:03}.staged", self.attempt.task_id.0);
                let (fs, path, dir, folders) = (Arc::clone(fs), base.join(&staged), base.join(&*staging), Arc::clone(folders));
                let file = blocking(move || {
                    let make = || folders.make(fs.as_ref(), &dir).map_err(|error| write_error(&dir.to_string_lossy(), error));
                    make()?;
                    let created = match fs.create_new(&path) {
                        // Another task of a failed attempt took the folder away with its last file.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folders.forget(&dir) => {
                            make()?;
                            fs.create_new(&path)
                        }
                        other => other,
                    };
                    created.map_err(|error| write_error(&path.to_string_lossy(), error))
                })
                .await?;
                (Out::Local { file, staged }, format!("{folder}{name}"))
            }
            Target::Object { store, prefix } => {
                let key = folder.split('/').filter(|part| !part.is_empty()).fold(prefix.clone(), |key, part| join_key(&key, part));
                let key = join_key(&key, &name);
                let target = key.to_string();
                (Out::Object { store: Arc::clone(store), key, id: None, parts: Vec::new() }, target)
            }
        };
        Ok(OpenFile { encoder: self.encoding.start()?, out, target, n_rows: 0, n_bytes: 0 })
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(open) = self.open.remove(folder) else { return Ok(()) };
        let finished = open.close().await?;
        self.n_unsynced += usize::from(finished.unsynced.is_some());
        self.done.push(finished);
        if self.n_unsynced >= OPEN_FILES_MAX { self.sync().await } else { Ok(()) }
    }

    async fn close_all(&mut self) -> Result<()> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.close(&folder).await?;
        }
        Ok(())
    }

    /// Syncs what is written, and lets its file handles go.
    async fn sync(&mut self) -> Result<()> {
        if self.n_unsynced == 0 {
            return Ok(());
        }
        let mut done = std::mem::take(&mut self.done);
        let (done, synced) = blocking(move || {
            let synced = done.iter_mut().try_for_each(|finished| match finished.unsynced.take() {
                Some(mut file) => file.sync_data().map_err(|error| write_error(&finished.file.target, error)),
                None => Ok(()),
            });
            Ok((done, synced))
        })
        .await?;
        self.done = done;
        self.n_unsynced = 0;
        synced
    }

    async fn bound_held_bytes(&mut self) -> Result<()> {
        while self.open.values().map(|open| open.encoder.held_bytes()).sum::<usize>() > HELD_BYTES_MAX {
            let largest = self.open.values_mut().max_by_key(|open| open.encoder.held_bytes());
            let Some(largest) = largest.filter(|open| open.encoder.held_bytes() > 0) else { break };
            let before = largest.encoder.held_bytes();
            largest.encoder.flush()?;
            largest.drain().await?;
            if largest.encoder.held_bytes() >= before {
                break;
            }
        }
        Ok(())
    }
}

impl OpenFile {
    /// Writes out what has collected.
    async fn drain(&mut self) -> Result<()> {
        let limit = match &self.out {
            Out::Local { .. } => WRITE_BYTES,
            Out::Object { .. } => PART_BYTES,
        };
        let buffer = self.encoder.buffer()?;
        if buffer.len() < limit {
            return Ok(());
        }
        let bytes = std::mem::take(buffer);
        self.n_bytes += bytes.len() as u64;
        self.out.write(bytes, &self.target).await
    }

    async fn close(mut self) -> Result<Finished> {
        let rest = self.encoder.finish()?;
        self.n_bytes += rest.len() as u64;
        self.out.write(rest, &self.target).await?;
        let (rows, bytes, target) = (self.n_rows, self.n_bytes, self.target);
        Ok(match self.out {
            Out::Local { file, staged } => {
                Finished { file: StagedFile { target, staged: Some(staged), upload: None, rows, bytes }, unsynced: Some(file) }
            }
            Out::Object { id, parts, .. } => {
                let upload = id.map(|id| Upload { id, parts });
                Finished { file: StagedFile { target, staged: None, upload, rows, bytes }, unsynced: None }
            }
        })
    }

    /// What there is to remove.
    fn describe(self) -> StagedFile {
        let (staged, upload) = match self.out {
            Out::Local { staged, .. } => (Some(staged), None),
            Out::Object { id, parts, .. } => (None, id.map(|id| Upload { id, parts })),
        };
        StagedFile { target: self.target, staged, upload, rows: self.n_rows, bytes: self.n_bytes }
    }
}

impl Out {
    async fn write(&mut self, bytes: Vec<u8>, target: &str) -> Result<()> {
        match self {
            Self::Local { file, .. } => file.write_all(&bytes).map_err(|error| write_error(target, error)),
            Self::Object { store, key, id, parts } => {
                let upload = match id {
                    Some(id) => id,
                    None => id.insert(store.create_multipart(key).await.map_err(store_error)?),
                };
                let mut rest = Bytes::from(bytes);
                // Stores want at least 5 MiB in all parts but the last: one large write is one part.
                let part = store.put_part(key, upload, parts.len(), std::mem::take(&mut rest).into()).await.map_err(store_error)?;
                parts.push(part.content_id);
                Ok(())
            }
        }
    }
}
