//! The folder of one process for what it spills: made when it is needed, removed with its last file, or by a later start.
//!
//! ```text
//!  <spill dir>/millstream-spill-<random>/lock             locked as long as the process lives
//!                                       /0000000000000000.run
//! ```
//! A folder whose lock can be taken belongs to a process that is gone. Who makes a folder locks it and then looks
//! whether it is still there: another start may have taken it for a dead one between the two.

use std::fs::{File, OpenOptions};
use std::path::Path;

use millstream_core::{Error, Result};
use tempfile::TempDir;

use crate::fs::lock_file;

/// How folders of processes are named.
const PREFIX: &str = "millstream-spill-";

const LOCK_FILE: &str = "lock";

/// So often another start may be in the way.
const TRIES_MAX: usize = 100;

/// The folder of this process, private to its user. Removed when dropped.
#[derive(Debug)]
pub struct SpillFolder {
    dir: TempDir,
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder in `parent`.
    pub fn create(parent: &Path) -> Result<Self> {
        let failed = |error| Error::from(error).context(format!("making a folder for spilled state in '{}'", parent.display()));
        std::fs::create_dir_all(parent).map_err(failed)?;
        for _ in 0..TRIES_MAX {
            let dir = private(&mut tempfile::Builder::new()).prefix(PREFIX).rand_bytes(16).tempdir_in(parent).map_err(failed)?;
            let path = dir.path().join(LOCK_FILE);
            if let Ok(lock) = lock_file(&path)
                && is_same_file(&lock, &path)
            {
                return Ok(Self { dir, _lock: lock });
            }
        }
        Err(Error::unavailable(format!("no folder for spilled state could be kept in '{}': something removes it", parent.display())))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the folders in `parent` whose processes are gone. What cannot be looked at belongs to somebody else, or a
/// later start removes it.
pub fn remove_stale(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // The type of the entry itself: what a link points at is not ours to remove.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let dir = entry.path();
        let removed = match OpenOptions::new().read(true).write(true).open(dir.join(LOCK_FILE)) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => std::fs::remove_dir_all(&dir),
                // Its process lives.
                Err(_) => continue,
            },
            // Without a lock it is being made, or was made or removed by halves: only an empty one goes.
            Err(_) => std::fs::remove_dir(&dir),
        };
        match removed {
            Ok(()) => tracing::info!(dir = %dir.display(), "removed what a process that is gone had spilled of its state"),
            Err(error) => tracing::debug!(dir = %dir.display(), %error, "a folder of spilled state stays"),
        }
    }
}

/// For its user only, from the start.
#[cfg(unix)]
fn private<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn private<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    builder
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// A file that is open cannot be removed there.
#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}
