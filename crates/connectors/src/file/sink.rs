//! The driver's half of a file sink: makes whole batches visible, exactly once, to any reader.
//!
//! ```text
//!  prepare  folder of staged names synced            (record durable: decided)
//!  commit   rename or complete ─► folders synced ─► committed mark replaced ─► staging removed
//! ```
//! Every step may be cut off and done again. Batch writes are the same with one batch; their books go with the commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::{BatchId, Clock, Delivery, Error, OutputMode, Result, Sink, SinkContext, TaskOutput, WriterSpec};
use millstream_state::fs::blocking;
use millstream_state::{FileSystem, Location};

use super::format::FileFormat;
use super::known_folders::KnownFolders;
use super::local_stage::{Books, remove_staged};
use super::object_stage::{self, ObjectBooks};
use super::options::{FileSinkOptions, SaveMode};
use super::staged::StagedFiles;
use super::{NAME, overwrite, writer};
use crate::wire;

/// A file below this is small.
const SMALL_FILE_BYTES: u64 = 1 << 20;

/// More small files than this per partition and minute are worth a warning.
const SMALL_FILES_MAX: u32 = 10;

#[derive(Debug)]
pub(super) struct FileSink {
    fs: Arc<dyn FileSystem>,
    format: FileFormat,
    options: FileSinkOptions,
    spec: WriterSpec,
    location: Location,
    clock: Arc<dyn Clock>,
    run: Mutex<Option<RunState>>,
    folders: Arc<KnownFolders>,
    small: Mutex<SmallFiles>,
}

#[derive(Debug, Clone, Copy)]
struct RunState {
    ctx: SinkContext,
    committed: Option<BatchId>,
    is_ignored: bool,
}

impl FileSink {
    pub(super) fn open(fs: Arc<dyn FileSystem>, request: SinkRequest) -> Result<Self> {
        let format: FileFormat = request.format.parse()?;
        if let Some(mode @ (OutputMode::Update | OutputMode::Complete)) = request.output_mode {
            return Err(Error::unsupported(format!("files of format {} cannot take a stream in {mode} mode", format.name()))
                .code("STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE")
                .hint("use append mode, or foreach_batch to write changed rows yourself"));
        }
        let options = FileSinkOptions::parse(format, &request.options)?;
        let location = Location::parse_on(Arc::clone(&fs), &options.path, &request.options)?;
        if options.path.contains(['*', '?', '{']) {
            return Err(Error::invalid(format!("path '{}' of a sink has a glob", options.path)));
        }
        writer::parts(format, &request.schema, &request.partition_by, &request.options, &request.time_zone)?;
        let spec = WriterSpec {
            connector: NAME.to_owned(),
            format: format.name().to_owned(),
            options: request.options,
            schema: request.schema,
            partition_by: request.partition_by,
            time_zone: request.time_zone,
        };
        let (folders, clock) = (Arc::default(), request.clock);
        Ok(Self { fs, format, options, spec, location, clock, run: Mutex::default(), folders, small: Mutex::default() })
    }

    fn run(&self) -> Result<RunState> {
        let run = *self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.ok_or_else(|| Error::internal("a file sink was used before its start"))
    }

    fn set_committed(&self, batch: BatchId) {
        if let Some(run) = &mut *self.run.lock().unwrap_or_else(PoisonError::into_inner) {
            run.committed = run.committed.max(Some(batch));
        }
    }

    /// Columns and types, which a restart compares.
    fn columns(schema: &SchemaRef) -> Vec<String> {
        schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect()
    }

    async fn commit_local(&self, run: RunState, batch: BatchId, files: StagedFiles) -> Result<()> {
        let (fs, books, folders) = (Arc::clone(&self.fs), self.local_books(&run)?, Arc::clone(&self.folders));
        let save_mode = self.options.save_mode;
        blocking(move || {
            let fs = fs.as_ref();
            let old = match save_mode {
                Some(SaveMode::Overwrite) => Some(overwrite::OldFiles::find(fs, &books.base)?),
                _ => None,
            };
            books.publish(fs, &folders, &files)?;
            if let Some(old) = old {
                // For readers of ours the mark puts the new in the place of the old, whatever comes after.
                books.mark(fs, run.ctx.epoch, batch, old.names())?;
                old.remove(fs, &books.base, run.ctx.query_id)?;
            }
            if save_mode.is_some() {
                return books.remove(fs);
            }
            books.mark(fs, run.ctx.epoch, batch, HashSet::new())?;
            books.clear_staging(fs, batch)
        })
        .await
    }

    async fn commit_object(&self, run: RunState, batch: BatchId, files: &StagedFiles) -> Result<()> {
        let old = match self.options.save_mode {
            Some(SaveMode::Overwrite) => overwrite::old_objects(&self.location).await?,
            _ => HashSet::new(),
        };
        object_stage::publish(&self.location, files).await?;
        let books = ObjectBooks::new(&self.location, run.ctx.query_id)?;
        if self.options.save_mode.is_none() || !old.is_empty() {
            books.mark(run.ctx.epoch, batch, old.clone()).await?;
        }
        overwrite::remove_objects(&self.location, old).await?;
        if self.options.save_mode.is_some() { books.remove().await } else { Ok(()) }
    }

    fn local_books(&self, run: &RunState) -> Result<Books> {
        let path = self.location.as_local().ok_or_else(|| Error::internal("not a local folder"))?;
        Ok(Books::new(path, run.ctx.query_id))
    }
}

#[async_trait]
impl Sink for FileSink {
    fn description(&self) -> String {
        format!("FileSink[{}]", self.location.url())
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({
            "kind": "file",
            "format": self.format.name(),
            "path": self.location.url(),
            "partitionBy": self.spec.partition_by,
            "columns": Self::columns(&self.spec.schema),
        })
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    fn writer(&self) -> WriterSpec {
        self.spec.clone()
    }

    async fn start(&self, ctx: &SinkContext, decided: Option<BatchId>) -> Result<()> {
        let mut run = RunState { ctx: *ctx, committed: None, is_ignored: false };
        if let Some(mode @ (SaveMode::ErrorIfExists | SaveMode::Ignore)) = self.options.save_mode
            && overwrite::holds_something(&self.location).await?
        {
            if mode == SaveMode::ErrorIfExists {
                return Err(Error::invalid(format!("path '{}' exists already", self.options.path))
                    .code("PATH_ALREADY_EXISTS")
                    .hint("set mode to append, overwrite or ignore"));
            }
            run.is_ignored = true;
        }
        run.committed = match &self.location {
            Location::Local { .. } => {
                let (fs, books, epoch) = (Arc::clone(&self.fs), self.local_books(&run)?, ctx.epoch);
                blocking(move || books.start(fs.as_ref(), epoch, decided)).await?
            }
            _ => ObjectBooks::new(&self.location, ctx.query_id)?.start(ctx.epoch).await?,
        };
        if self.options.save_mode.is_none() && run.committed > decided {
            // Going on would cut a batch anew under the number of one that readers have seen: its rows would be lost.
            let last = decided.map_or_else(|| "none".to_owned(), |batch| batch.to_string());
            return Err(Error::data(format!(
                "'{}' holds committed batches of this query behind the last one its checkpoint decided ({last}): the checkpoint lost records",
                self.location.url()
            ))
            .hint("restore the checkpoint from a copy, or write to another folder with a new checkpoint"));
        }
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
        Ok(())
    }

    async fn prepare(&self, _batch: BatchId, outputs: Vec<TaskOutput>) -> Result<serde_json::Value> {
        let run = self.run()?;
        let mut files = StagedFiles::of(outputs)?;
        files.ignored = run.is_ignored;
        if self.location.is_local() && !files.files.is_empty() {
            let (fs, books) = (Arc::clone(&self.fs), self.local_books(&run)?);
            files = blocking(move || books.sync_staged(fs.as_ref(), &files).map(|()| files)).await?;
        }
        wire::to_value(&files)
    }

    async fn commit(&self, batch: BatchId, prepared: &serde_json::Value) -> Result<()> {
        let run = self.run()?;
        let files: StagedFiles = wire::from_value(prepared, "the prepared files of a batch")?;
        // The mark says so: its files may have been moved or compacted away since.
        if run.committed >= Some(batch) {
            return Ok(());
        }
        if files.ignored {
            return self.abandon_files(&run, batch, files).await;
        }
        // An empty batch changes nothing; the mark says which batch has files last.
        if !files.files.is_empty() || self.options.save_mode.is_some() {
            self.warn_of_small_files(&files);
            match &self.location {
                Location::Local { .. } => self.commit_local(run, batch, files).await?,
                _ => self.commit_object(run, batch, &files).await?,
            }
            self.set_committed(batch);
        }
        Ok(())
    }

    async fn abandon(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<()> {
        let run = self.run()?;
        let files = StagedFiles::of(outputs)?;
        self.abandon_files(&run, batch, files).await
    }
}

impl FileSink {
    async fn abandon_files(&self, run: &RunState, batch: BatchId, files: StagedFiles) -> Result<()> {
        match &self.location {
            Location::Local { .. } => {
                let (fs, books, is_batch_write) = (Arc::clone(&self.fs), self.local_books(run)?, self.options.save_mode.is_some());
                blocking(move || {
                    let fs = fs.as_ref();
                    remove_staged(fs, &books.base, &files.files)?;
                    books.clear_batch(fs, batch)?;
                    if is_batch_write { books.remove(fs) } else { Ok(()) }
                })
                .await
            }
            Location::Object { multipart, .. } => object_stage::abort_uploads(multipart.as_ref(), &files.files).await,
            _ => Ok(()),
        }
    }

    fn warn_of_small_files(&self, files: &StagedFiles) {
        let minute = self.clock.monotonic().as_secs() / 60;
        let mut small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((folder, n_files)) = small.add(minute, files) {
            tracing::warn!(
                sink = self.description(),
                folder,
                n_files,
                "many files below 1 MB within a minute: raise commitInterval, or the trigger's interval"
            );
        }
    }
}

/// Small files of the current minute, by folder.
#[derive(Debug, Default)]
pub(super) struct SmallFiles {
    minute: u64,
    by_folder: HashMap<String, u32>,
    has_warned: bool,
}

impl SmallFiles {
    /// The folder and its count, once a minute, when there are too many.
    pub(super) fn add(&mut self, minute: u64, files: &StagedFiles) -> Option<(String, u32)> {
        if minute != self.minute {
            *self = Self { minute, ..Self::default() };
        }
        for file in files.files.iter().filter(|file| file.bytes < SMALL_FILE_BYTES) {
            let folder = file.target.rsplit_once('/').map_or("", |(folder, _)| folder);
            let n_files = self.by_folder.entry(folder.to_owned()).or_default();
            *n_files += 1;
            if *n_files > SMALL_FILES_MAX && !self.has_warned {
                self.has_warned = true;
                return Some((folder.to_owned(), *n_files));
            }
        }
        None
    }
}
