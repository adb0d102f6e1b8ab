//! The operating system's files. The only file of the project that calls fsync; it adds the path to every error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use millstream_core::{Error, Result};

use super::{AppendFile, DirEntry, FileSystem, LockGuard, ReadFile};

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFileSystem;

impl FileSystem for OsFileSystem {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(named("create", path))?;
        Ok(Box::new(OsAppendFile { file, path: path.to_owned(), len: 0 }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path).map_err(named("open", path))?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(named("list", dir))? {
            let entry = entry.map_err(named("list", dir))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the listing began.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named("list", dir)(error)),
            };
            let is_dir = metadata.is_dir();
            entries.push(DirEntry { name, is_dir, len: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to).map_err(named("rename", from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path).map_err(named("remove", path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir(dir).map_err(named("remove", dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir(dir).map_err(named("create folder", dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(dir).and_then(|file| file.sync_all()).map_err(named("sync folder", dir)) } else { Ok(()) }
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path).map_err(named("look at", path))?.len())
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(named("look at", path)(error)),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists().map_err(named("look at", path))
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        Ok(LockGuard::new(lock_file(path)?))
    }
}

/// Opens and locks a file and writes this process' id into it; the lock lasts as long as the file is open.
pub fn lock_file(path: &Path) -> Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(named("open lock file", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(refusal(&mut file, path)),
        Err(TryLockError::Error(error)) => return Err(Error::from(named("lock", path)(error))),
    }
    // Not synced: the lock does not outlive the process, so its owner need not either.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(named("write lock file", path))?;
    Ok(file)
}

fn refusal(file: &mut File, path: &Path) -> Error {
    let mut text = String::new();
    let owner = match file.take(64).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) if pid == std::process::id() => format!("this process (pid {pid})"),
        Some(pid) => format!("the process with pid {pid}"),
        None => "another process".to_owned(),
    };
    Error::unavailable(format!("{owner} has locked '{}'", path.display()))
        .hint("stop the other run first (a paused one still holds its lock), or use another folder")
}

#[derive(Debug)]
struct OsAppendFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Write for OsAppendFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes).map_err(named("write to", &self.path))?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AppendFile for OsAppendFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(named("sync", &self.path))
    }

    fn len(&self) -> u64 {
        self.len
    }
}

fn named(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.to_owned();
    // Interrupted calls are tried again by the standard library, which looks at the kind: kept as it is.
    move |error| io::Error::new(error.kind(), format!("cannot {verb} '{}': {error}", path.display()))
}
