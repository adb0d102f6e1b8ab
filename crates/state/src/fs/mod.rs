//! The durable local file layer: the only way in which the project makes local bytes survive a power cut.
//!
//! Exists because durability is a protocol, not a call: data is synced before the name that makes it count, and the
//! folder after the name. Tests put a file layer under the same code that tears and forgets everything not synced.
//! Calls block; callers on an async runtime go through [`blocking`]. Never writes in place: files are created, appended
//! to, synced, renamed and removed.
//!
//! ```text
//!  create_new ─► write ─► sync_data ─► sync_dir(parent)          the file and its bytes survive
//!  create_new(tmp) ─► write ─► sync_data ─► rename ─► sync_dir    the old or the new content survives, nothing between
//! ```

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;

use millstream_core::{Error, Result};

mod os;

pub use os::OsFileSystem;
pub(crate) use os::lock_file;

/// A local file system. All calls block; errors name the path.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Creates a file for appending; fails with [`io::ErrorKind::AlreadyExists`] if there is one.
    /// The file's name is durable only after [`FileSystem::sync_dir`] of its folder.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// The entries of a folder, by name. [`io::ErrorKind::NotFound`] if there is no folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Gives a file another name, replacing what had it. The new name is durable after [`FileSystem::sync_dir`] of its
    /// folder; between two folders the old name may come back until that one is synced as well.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`FileSystem::sync_dir`] of its folder.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a folder; its parent must be there. Durable after [`FileSystem::sync_dir`] of the parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Whether there is a folder of this name.
    fn is_dir(&self, path: &Path) -> io::Result<bool>;

    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Takes the lock of a file (created if missing) until the guard is dropped or the process ends, and writes the
    /// process id into it. Refused, with the owner's id, while another guard lives: also when its process is paused.
    fn lock(&self, path: &Path) -> Result<LockGuard>;

    /// Creates a folder and its missing parents; durable when it returns. The name of what is there already is synced,
    /// too, as a run that was killed may not have done it: call it once per run and folder.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !self.exists(at)? && parent_of(at) != at {
            missing.push(at);
            at = parent_of(at);
        }
        // Each level is synced before the next is created, so of those that are there only the last may not be durable.
        match self.sync_dir(parent_of(at)) {
            // Who may not even read the parent did not create the folder either.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        for level in missing.iter().rev() {
            match self.create_dir(level) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.sync_dir(parent_of(level))?,
            }
        }
        if !self.is_dir(dir)? {
            let message = format!("cannot create folder '{}': a file has this name", dir.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        Ok(())
    }

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_read(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a new file, synced with its name; fails if there is one. A crash may leave a torn file of this name, so
    /// this is for content that carries its own checksum or whose name something else makes count.
    fn write_new_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create_new(path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        self.sync_dir(parent_of(path))
    }

    /// Replaces a file's content at once: after a crash it holds the old or the new bytes. Leaves a `.tmp` file behind
    /// when it fails; the next call replaces it.
    fn replace_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".tmp");
        let tmp = path.with_file_name(name);
        if self.exists(&tmp)? {
            self.remove(&tmp)?;
        }
        let mut file = self.create_new(&tmp)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(parent_of(path))
    }
}

/// A file open for appending. `write` may take less than all; [`io::Write::write_all`] of a small record is one call.
pub trait AppendFile: io::Write + Send + Sync + fmt::Debug {
    /// Makes the bytes written so far durable (fdatasync: the length too, the times not).
    /// After an error nothing may be assumed of the unsynced bytes: they may be read back from memory, and neither a
    /// later success nor one through another handle makes them durable. Only writing them again, to a new file, does.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Bytes in the file.
    fn len(&self) -> u64;

    /// Whether nothing was written.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file open for reading.
pub trait ReadFile: io::Read + io::Seek + Send {}

impl<T: io::Read + io::Seek + Send> ReadFile for T {}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name within the folder. Names that are not UTF-8 are not ours and are left out of listings.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// The length of a file; 0 for folders.
    pub len: u64,
}

/// Holds the lock of a file until dropped.
pub struct LockGuard {
    _held: Box<dyn Any + Send + Sync>,
}

impl LockGuard {
    /// A guard that keeps `held` (an open, locked file) alive.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

/// The folder of a path; `.` for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Runs blocking file calls away from the async threads. Must be called on a tokio runtime. If the returned future is
/// dropped the calls still run to their end.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("a file task ended without an answer").caused_by(error)),
    }
}

#[cfg(test)]
mod tests;
