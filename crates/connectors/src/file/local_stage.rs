//! The sink's books on a local disk: staging folders, committed marks. All calls block.
//!
//! ```text
//!  <path>/_millstream/<query>/staging/<epoch>-<batch>-<attempt>/<task>-<seq>.staged
//!                            /committed/<epoch>.mark            {"batch":N}
//!                            /closed                            while these books are removed
//!  <path>/[k=v/]part-<task>-<query>-<batch>-<seq>.snappy.parquet
//! ```

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use millstream_core::{BatchId, Error, QueryId, Result, RunEpoch};
use millstream_state::FileSystem;
use millstream_state::fs::parent_of;

use super::committed::{CLOSED, Mark, parse_mark};
use super::error::write_error;
use super::known_folders::KnownFolders;
use super::names::BOOKS;
use super::staged::{StagedFile, StagedFiles};
use crate::wire;

/// The folder of one attempt, below the sink's folder.
pub(super) fn staging_dir(query: QueryId, epoch: RunEpoch, batch: BatchId, attempt: u32) -> String {
    format!("{BOOKS}/{query}/staging/{epoch}-{batch}-{attempt}")
}

/// The batch of a staging folder's name.
fn staged_batch(name: &str) -> Option<BatchId> {
    let mut numbers = name.split('-');
    let (_epoch, batch, _attempt) = (numbers.next()?, numbers.next()?, numbers.next()?);
    batch.parse().ok().map(BatchId)
}

/// The books of one query.
#[derive(Debug, Clone)]
pub(super) struct Books {
    pub(super) base: PathBuf,
    books: PathBuf,
}

impl Books {
    pub(super) fn new(base: &Path, query: QueryId) -> Self {
        Self { base: base.to_owned(), books: base.join(BOOKS).join(query.to_string()) }
    }

    fn committed(&self) -> PathBuf {
        self.books.join("committed")
    }

    fn staging(&self) -> PathBuf {
        self.books.join("staging")
    }

    /// Makes the folders, carries the mark over to this run, and removes what no record decided.
    pub(super) fn start(&self, fs: &dyn FileSystem, epoch: RunEpoch, decided: Option<BatchId>) -> Result<Option<BatchId>> {
        for dir in [self.staging(), self.committed()] {
            fs.create_dir_all(&dir).map_err(|error| write_error(&dir.to_string_lossy(), error))?;
        }
        let committed = self.take_over_mark(fs, epoch)?;
        for entry in list(fs, &self.staging())? {
            // A decided batch that is not committed yet will be: its files stay.
            let is_needed = staged_batch(&entry).is_some_and(|batch| Some(batch) <= decided && Some(batch) > committed);
            if !is_needed {
                remove_tree(fs, &self.staging().join(entry))?;
            }
        }
        Ok(committed)
    }

    /// Reads the marks of all runs, writes this run's own, then removes the older ones.
    fn take_over_mark(&self, fs: &dyn FileSystem, epoch: RunEpoch) -> Result<Option<BatchId>> {
        let dir = self.committed();
        let own = format!("{epoch}.mark");
        let mut highest = None;
        let mut older = Vec::new();
        for name in list(fs, &dir)? {
            let path = dir.join(&name);
            if !name.ends_with(".mark") {
                // What a replacement left when it was cut off.
                fs.remove(&path)?;
                continue;
            }
            let bytes = fs.read(&path).map_err(|error| write_error(&path.to_string_lossy(), error))?;
            highest = highest.max(Some(parse_mark(&bytes, &path.to_string_lossy())?.batch));
            if name != own {
                older.push(path);
            }
        }
        if let Some(batch) = highest.filter(|_| !older.is_empty()) {
            self.mark(fs, epoch, batch, HashSet::new())?;
            for path in older {
                fs.remove(&path).map_err(|error| write_error(&path.to_string_lossy(), error))?;
            }
        }
        Ok(highest)
    }

    /// Durable when it returns. `retired` are the files that the batch replaces.
    pub(super) fn mark(&self, fs: &dyn FileSystem, epoch: RunEpoch, batch: BatchId, retired: HashSet<String>) -> Result<()> {
        let path = self.committed().join(format!("{epoch}.mark"));
        fs.replace_synced(&path, &wire::to_json(&Mark { batch, retired })?).map_err(|error| write_error(&path.to_string_lossy(), error))
    }

    /// Makes the names of staged files durable.
    pub(super) fn sync_staged(&self, fs: &dyn FileSystem, files: &StagedFiles) -> Result<()> {
        for dir in self.staging_dirs(files) {
            fs.sync_dir(&dir).map_err(|error| write_error(&dir.to_string_lossy(), error))?;
        }
        Ok(())
    }

    fn staging_dirs(&self, files: &StagedFiles) -> BTreeSet<PathBuf> {
        let staged = files.files.iter().filter_map(|file| file.staged.as_deref());
        staged.map(|staged| parent_of(&self.base.join(staged)).to_owned()).collect()
    }

    /// Gives staged files their final names; again and again with the same end. Durable when it returns.
    pub(super) fn publish(&self, fs: &dyn FileSystem, known: &KnownFolders, files: &StagedFiles) -> Result<()> {
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        for file in &files.files {
            let target = self.base.join(&file.target);
            let dir = parent_of(&target).to_owned();
            if dir != self.base {
                known.make(fs, &dir).map_err(|error| write_error(&dir.to_string_lossy(), error))?;
            }
            self.rename(fs, known, file, &target)?;
            dirs.insert(dir);
        }
        // A rename is durable when both of its folders are.
        dirs.extend(self.staging_dirs(files).into_iter().filter(|dir| fs.exists(dir).unwrap_or(false)));
        for dir in dirs {
            fs.sync_dir(&dir).map_err(|error| write_error(&dir.to_string_lossy(), error))?;
        }
        Ok(())
    }

    fn rename(&self, fs: &dyn FileSystem, known: &KnownFolders, file: &StagedFile, target: &Path) -> Result<()> {
        let Some(staged) = &file.staged else { return Err(Error::internal("a local file was not staged")) };
        let (from, dir) = (self.base.join(staged), parent_of(target));
        match fs.rename(&from, target) {
            Ok(()) => Ok(()),
            // Somebody removed a folder that we knew.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !fs.is_dir(dir).unwrap_or(true) => {
                known.forget(dir);
                known.make(fs, dir).and_then(|()| fs.rename(&from, target)).map_err(|error| write_error(&target.to_string_lossy(), error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Renamed before a crash?
                if fs.exists(target).map_err(|error| write_error(&target.to_string_lossy(), error))? {
                    return Ok(());
                }
                Err(Error::internal(format!("the file of a decided batch is gone: neither '{staged}' nor '{}' is there", file.target))
                    .hint("something else removed files of this sink; the batch's rows are lost in the output"))
            }
            Err(error) => Err(write_error(&target.to_string_lossy(), error)),
        }
    }

    /// Removes the staging folders of batches up to this one: committed, or lost to another attempt.
    pub(super) fn clear_staging(&self, fs: &dyn FileSystem, up_to: BatchId) -> Result<()> {
        for name in list(fs, &self.staging())? {
            if staged_batch(&name).is_some_and(|batch| batch <= up_to) {
                remove_tree(fs, &self.staging().join(name))?;
            }
        }
        Ok(())
    }

    /// Removes what the attempts at this batch have staged.
    pub(super) fn clear_batch(&self, fs: &dyn FileSystem, batch: BatchId) -> Result<()> {
        for name in list(fs, &self.staging())? {
            if staged_batch(&name) == Some(batch) {
                remove_tree(fs, &self.staging().join(name))?;
            }
        }
        Ok(())
    }

    /// Removes the query's books, and the folder of books if it was the last: what it wrote counts as it is.
    pub(super) fn remove(&self, fs: &dyn FileSystem) -> Result<()> {
        let failed = |error| write_error(&self.books.to_string_lossy(), error);
        // Between the last mark and its folder it would look as if the query had committed nothing: this file says better.
        fs.replace_synced(&self.books.join(CLOSED), b"").map_err(failed)?;
        remove_tree(fs, &self.staging())?;
        remove_tree(fs, &self.committed())?;
        fs.sync_dir(&self.books).map_err(failed)?;
        remove_tree(fs, &self.books)?;
        // Not empty if another query writes here too.
        let _ = fs.remove_dir(&self.base.join(BOOKS));
        Ok(())
    }
}

/// Removes staged files.
pub(super) fn remove_staged(fs: &dyn FileSystem, base: &Path, files: &[StagedFile]) -> Result<()> {
    for staged in files.iter().filter_map(|file| file.staged.as_deref()) {
        match fs.remove(&base.join(staged)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write_error(staged, error)),
            _ => {}
        }
    }
    Ok(())
}

fn list(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<String>> {
    match fs.list(dir) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(write_error(&dir.to_string_lossy(), error)),
    }
}

/// Removes a folder with all it holds; it may be gone already.
pub(super) fn remove_tree(fs: &dyn FileSystem, dir: &Path) -> Result<()> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(write_error(&dir.to_string_lossy(), error)),
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(fs, &path)?;
        } else {
            fs.remove(&path).map_err(|error| write_error(&path.to_string_lossy(), error))?;
        }
    }
    fs.remove_dir(dir).map_err(|error| write_error(&dir.to_string_lossy(), error))
}
