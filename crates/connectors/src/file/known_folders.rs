//! Folders that this process has made, so that their names are not synced again for every file.
//!
//! Somebody else may remove one: who then meets [`std::io::ErrorKind::NotFound`] in it forgets it and makes it again.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use millstream_state::FileSystem;

/// Beyond it all are forgotten: a table may have any number of partitions.
const FOLDERS_MAX: usize = 10_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct KnownFolders(Mutex<HashSet<PathBuf>>);

impl KnownFolders {
    /// Creates the folder and its parents, durable when it returns, unless it is known.
    pub(super) fn make(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(dir) {
            return Ok(());
        }
        fs.create_dir_all(dir)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FOLDERS_MAX {
            known.clear();
        }
        known.insert(dir.to_owned());
        Ok(())
    }

    /// Whether the folder was known; it is not any more.
    pub(super) fn forget(&self, dir: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(dir)
    }
}
