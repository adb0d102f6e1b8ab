//! Batch writes and what is there already: whether a place holds something, and its replacement by `overwrite`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use millstream_core::{QueryId, Result};
use millstream_state::fs::parent_of;
use millstream_state::location::store_error;
use millstream_state::{FileSystem, Location};
use object_store::ObjectStoreExt;

use super::error::write_error;
use super::local_stage::remove_tree;
use super::names::BOOKS;

/// Whether a path exists, as Spark's save modes see it; our own books do not count.
pub(super) async fn holds_something(location: &Location) -> Result<bool> {
    match location {
        Location::Object { store, prefix, .. } => {
            let mut objects = store.list(Some(prefix));
            Ok(objects.try_next().await.map_err(store_error)?.is_some())
        }
        _ => {
            let Some(path) = location.as_local() else { return Ok(false) };
            match std::fs::read_dir(path) {
                Ok(entries) => {
                    // An existing empty folder exists too, in Spark; a folder that only we made does not.
                    let mut names = entries.flatten().map(|entry| entry.file_name());
                    let first = names.next();
                    Ok(first.as_ref().is_none_or(|name| name != BOOKS) || names.next().is_some())
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
                // A file.
                Err(_) => Ok(true),
            }
        }
    }
}

/// The files that a local `overwrite` is to replace. Our own books do not count.
#[derive(Debug)]
pub(super) struct OldFiles {
    files: Vec<PathBuf>,
    /// Parents before their children.
    folders: Vec<PathBuf>,
}

impl OldFiles {
    /// Everything that is there now.
    pub(super) fn find(fs: &dyn FileSystem, base: &Path) -> Result<Self> {
        let mut found = Self { files: Vec::new(), folders: Vec::new() };
        let mut waiting = vec![base.to_owned()];
        while let Some(dir) = waiting.pop() {
            for entry in fs.list(&dir).map_err(|error| write_error(&dir.to_string_lossy(), error))? {
                let path = dir.join(&entry.name);
                match entry.is_dir {
                    true if entry.name == BOOKS && dir == base => {}
                    true => {
                        found.folders.push(path.clone());
                        waiting.push(path);
                    }
                    false => found.files.push(path),
                }
            }
        }
        Ok(found)
    }

    /// As a reader's listing names them.
    pub(super) fn names(&self) -> HashSet<String> {
        self.files.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Removes them, the folders that are empty then, and the books of all other queries.
    pub(super) fn remove(&self, fs: &dyn FileSystem, base: &Path, query: QueryId) -> Result<()> {
        for path in &self.files {
            match fs.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(write_error(&path.to_string_lossy(), error)),
                _ => {}
            }
        }
        // The mark that retires them goes next: none of them may come back after it.
        let parents: BTreeSet<&Path> = self.files.iter().map(|path| parent_of(path)).collect();
        for parent in parents {
            match fs.sync_dir(parent) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(write_error(&parent.to_string_lossy(), error)),
                _ => {}
            }
        }
        for folder in self.folders.iter().rev() {
            // Not empty if the new files have the same partition.
            let _ = fs.remove_dir(folder);
        }
        let (books, own) = (base.join(BOOKS), query.to_string());
        for entry in fs.list(&books).unwrap_or_default().iter().filter(|entry| entry.name != own && entry.is_dir) {
            remove_tree(fs, &books.join(&entry.name))?;
        }
        Ok(())
    }
}

/// The keys of the objects that an `overwrite` is to replace, other queries' books among them.
pub(super) async fn old_objects(location: &Location) -> Result<HashSet<String>> {
    let Location::Object { store, prefix, .. } = location else { return Ok(HashSet::new()) };
    store.list(Some(prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await.map_err(store_error)
}

/// Removes these objects.
pub(super) async fn remove_objects(location: &Location, keys: HashSet<String>) -> Result<()> {
    let Location::Object { store, .. } = location else { return Ok(()) };
    for key in keys {
        match store.delete(&object_store::path::Path::parse(&key).unwrap_or_default()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
    Ok(())
}
