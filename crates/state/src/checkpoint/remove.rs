//! Removes a checkpoint that nobody needs any more: a temporary one, when its query has ended.
//!
//! Removes the folder and all below it, so only a folder made for one run may be given. The caller has closed it.

use std::io;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use millstream_core::Result;

use crate::fs::{FileSystem, blocking};
use crate::location::{Location, store_error};

/// Removes the checkpoint folder and everything in it; one that is not there is no error.
pub async fn remove(location: &Location) -> Result<()> {
    let removed = match location.clone() {
        Location::Local { fs, path } => blocking(move || Ok(remove_tree(fs.as_ref(), &path)?)).await,
        Location::Object { store, prefix, .. } => {
            let keys = store.list(Some(&prefix)).map_ok(|found| found.location).boxed();
            store.delete_stream(keys).try_for_each(|_| async { Ok(()) }).await.map_err(store_error)
        }
    };
    removed.map_err(|error| error.context(format!("removing checkpoint '{location}'")))
}

fn remove_tree(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let entries = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(fs, &path)?;
        } else {
            fs.remove(&path)?;
        }
    }
    fs.remove_dir(dir)
}
