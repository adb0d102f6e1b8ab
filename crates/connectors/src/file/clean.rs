//! `cleanSource`: deletes or archives files that were read and committed. Best effort: a failure is told, and harms nothing,
//! because the seen files are remembered apart.

use std::path::{Path, PathBuf};

use millstream_core::{BatchId, Error, Options, Result};
use millstream_state::location::{join_key, store_error};
use millstream_state::{FileSystem, Location};
use object_store::ObjectStoreExt;

use super::listing::FoundFile;
use super::options::CleanSource;

/// Deletes or archives the files of a committed range.
pub(super) async fn clean(fs: &dyn FileSystem, base: &Location, how: &CleanSource, options: &Options, batch: BatchId, files: &[FoundFile]) {
    for file in files {
        let cleaned = match how {
            CleanSource::Off => Ok(()),
            CleanSource::Delete => delete(fs, base, &file.path).await,
            CleanSource::Archive(folder) => archive(fs, base, folder, options, &file.path).await,
        };
        if let Err(error) = cleaned {
            tracing::warn!(file = file.path, %batch, %error, "a file that was read could not be cleaned up");
        }
    }
}

async fn delete(fs: &dyn FileSystem, base: &Location, path: &str) -> Result<()> {
    match base {
        Location::Object { store, .. } => match store.delete(&key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        },
        _ => match fs.remove(Path::new(path)) {
            // After a crash the batch is told of again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        },
    }
}

/// The archive keeps the file's whole path below its folder, as Spark's does.
async fn archive(fs: &dyn FileSystem, base: &Location, folder: &str, options: &Options, path: &str) -> Result<()> {
    match (base, Location::parse(folder, options)?) {
        (Location::Object { store, .. }, Location::Object { prefix, .. }) => {
            let to = path.split('/').fold(prefix, |prefix, segment| join_key(&prefix, segment));
            match store.rename(&key(path)?, &to).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(store_error(error)),
            }
        }
        (Location::Local { .. }, Location::Local { path: folder, .. }) => {
            let to: PathBuf = folder.join(path.trim_start_matches('/'));
            if let Some(parent) = to.parent() {
                fs.create_dir_all(parent)?;
            }
            match fs.rename(Path::new(path), &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => Ok(other?),
            }
        }
        _ => Err(Error::invalid(format!("option 'sourceArchiveDir' is '{folder}': it must be on the same store as the path"))),
    }
}

fn key(path: &str) -> Result<object_store::path::Path> {
    object_store::path::Path::parse(path).map_err(|error| Error::internal(format!("key '{path}' is not valid: {error}")))
}
