//! Batch writes and what is there already: whether a place holds something, and removing it for `overwrite`.

use std::path::Path;

use futures::TryStreamExt;
use millstream_core::{QueryId, Result};
use millstream_state::location::store_error;
use millstream_state::{FileSystem, Location};
use object_store::ObjectStoreExt;

use super::local_stage::remove_tree;
use super::names::BOOKS;
use super::staged::StagedFiles;
use super::writer::write_error;

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

/// Empties a folder, but for what this write has staged.
pub(super) fn remove_all_but(fs: &dyn FileSystem, base: &Path, query: QueryId) -> Result<()> {
    let entries = fs.list(base).map_err(|error| write_error(&base.to_string_lossy(), error))?;
    for entry in entries.iter().filter(|entry| entry.name != BOOKS) {
        remove_entry(fs, &base.join(&entry.name), entry.is_dir)?;
    }
    let books = base.join(BOOKS);
    let own = query.to_string();
    for entry in fs.list(&books).unwrap_or_default().iter().filter(|entry| entry.name != own) {
        remove_entry(fs, &books.join(&entry.name), entry.is_dir)?;
    }
    Ok(())
}

fn remove_entry(fs: &dyn FileSystem, path: &Path, is_dir: bool) -> Result<()> {
    if is_dir {
        return remove_tree(fs, path);
    }
    fs.remove(path).map_err(|error| write_error(&path.to_string_lossy(), error))
}

/// Removes all objects below a prefix but the ones about to be completed.
pub(super) async fn remove_objects(location: &Location, but: &StagedFiles) -> Result<()> {
    let Location::Object { store, prefix, .. } = location else { return Ok(()) };
    let objects: Vec<_> = store.list(Some(prefix)).try_collect().await.map_err(store_error)?;
    for meta in objects {
        if but.files.iter().all(|file| file.target != meta.location.as_ref()) {
            store.delete(&meta.location).await.map_err(store_error)?;
        }
    }
    Ok(())
}
