//! A file layer that remembers what was synced and, on [`PowerLossFs::crash`], keeps no more than that.
//!
//! Files live in a real folder, so every reader works on them; beside it stands what a disk would hold. At a crash the
//! folder is rewritten into one state that the rules below allow, chosen by a seed:
//! * bytes up to the last successful `sync_data` are there; those behind are there, cut, zeroed or garbage, in pieces;
//! * a name created, changed or removed since the last `sync_dir` of its folder may be as before or as after, each for
//!   itself and in no order; one rename is all or nothing, until the folder of the new name is synced: then the new name
//!   is there, and the old one may be, too; a folder that is undone goes with all that is in it;
//! * after a failed sync nothing unsynced of that file ever becomes durable, whatever later syncs say.
//!
//! It also fails, loses power, or ends the process at the n-th changing operation, so that a test can go through all of
//! them. A killed process loses nothing: the next one goes on with [`PowerLossFs::restarted`], and finds what was written,
//! synced or not. Never syncs the real disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_core::Result;
use millstream_state::fs::{AppendFile, DirEntry, FileSystem, LockGuard, OsFileSystem, ReadFile, parent_of};

use crate::rng::Rng;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: a write takes half of its bytes, everything else does nothing.
    NoSpace,
    /// The device reports an error: nothing is done, and a sync spoils the file for good.
    Io,
    /// The power goes: a write may have begun; every later call fails. The test then calls [`PowerLossFs::crash`].
    PowerLoss,
    /// The process is killed: half of a write is there, every later call fails, and the disk loses nothing. The test then
    /// calls [`PowerLossFs::restarted`].
    Kill,
}

impl Fault {
    /// Whether the process does not live to see an error.
    fn is_end(self) -> bool {
        matches!(self, Self::PowerLoss | Self::Kill)
    }
}

/// The file layer. Clones are the same layer, in the same process.
#[derive(Debug, Clone)]
pub struct PowerLossFs {
    state: Arc<Mutex<State>>,
    process: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FileId(u64);

#[derive(Debug, Default)]
struct State {
    is_off: bool,
    /// The process that lives; calls of those before it fail.
    process: u64,
    n_ops: u64,
    fault: Option<(u64, Fault)>,
    files: HashMap<FileId, FileState>,
    /// The names as programs see them (of files that were touched).
    view: BTreeMap<PathBuf, FileId>,
    /// The names as the disk has them; `None` = no such file.
    durable: BTreeMap<PathBuf, Option<FileId>>,
    pending: Vec<PendingOp>,
    locks: BTreeMap<u64, LockGuard>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    durable_len: usize,
    /// A sync failed: the pages behind `durable_len` are lost to later syncs.
    is_spoilt: bool,
}

#[derive(Debug, Clone)]
struct PendingOp {
    change: Change,
    /// The folders that must be synced to make it durable.
    unsynced_dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(PathBuf, FileId),
    CreateDir(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, FileId),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Option<FileId>>) {
        match self {
            // Folders are not in the map: one that is undone goes with all that is in it.
            Self::CreateDir(_) => {}
            Self::Create(path, id) => drop(names.insert(path.clone(), Some(*id))),
            Self::Remove(path) => drop(names.insert(path.clone(), None)),
            Self::Rename(from, to, id) => {
                names.insert(from.clone(), None);
                names.insert(to.clone(), Some(*id));
            }
        }
    }
}

impl Default for PowerLossFs {
    fn default() -> Self {
        Self::new()
    }
}

impl PowerLossFs {
    /// A layer over the real file system; what exists now counts as durable.
    pub fn new() -> Self {
        Self { state: Arc::default(), process: 0 }
    }

    /// A layer that does `fault` at the changing operation number `n_op` (from 0).
    pub fn with_fault(n_op: u64, fault: Fault) -> Self {
        let fs = Self::new();
        fs.fail_at(n_op, fault);
        fs
    }

    /// From now on: `fault` at the changing operation number `n_op`, counted from the layer's beginning. Once.
    pub fn fail_at(&self, n_op: u64, fault: Fault) {
        self.lock_state().fault = Some((n_op, fault));
    }

    /// How many changing operations (create, write, sync, rename, remove) there were.
    pub fn n_ops(&self) -> u64 {
        self.lock_state().n_ops
    }

    /// Whether every call fails: the power is gone, or this process is.
    pub fn is_off(&self) -> bool {
        self.lock_on().is_err()
    }

    /// The same disk for the next process; this one, if it lives, is killed. No fault is due any more.
    pub fn restarted(&self) -> Self {
        let mut state = self.lock_state();
        if state.process == self.process {
            state.end_process();
        }
        state.fault = None;
        Self { state: Arc::clone(&self.state), process: state.process }
    }

    /// The power goes. Rewrites the real folder into a state that a disk might hold and says what it did; from now on
    /// every call on this layer fails. Open the folder again with another layer.
    pub fn crash(&self, seed: u64) -> io::Result<Vec<String>> {
        let mut state = self.lock_state();
        state.is_off = true;
        state.locks.clear();
        let mut rng = Rng::new(seed);
        let mut report = Vec::new();
        let (names, lost_dirs) = state.names_after(&mut rng, &mut report);
        for (path, id) in &names {
            if lost_dirs.iter().any(|dir| path.starts_with(dir)) {
                continue;
            }
            let Some(file) = id.and_then(|id| state.files.get(&id)) else {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => continue,
                }
            };
            std::fs::create_dir_all(parent_of(path))?;
            std::fs::write(path, file.bytes_after(path, &mut rng, &mut report))?;
        }
        for dir in lost_dirs {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(report)
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_on(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock_state();
        if state.is_off || state.process != self.process { Err(off()) } else { Ok(state) }
    }

    fn sync_id(state: &mut State, id: FileId) -> io::Result<()> {
        let fault = state.next_op();
        if fault.is_some_and(Fault::is_end) {
            return Err(off());
        }
        let Some(file) = state.files.get_mut(&id) else { return Ok(()) };
        match fault {
            Some(fault) => {
                file.is_spoilt = true;
                Err(failed(fault))
            }
            None => {
                if !file.is_spoilt {
                    file.durable_len = file.bytes.len();
                }
                Ok(())
            }
        }
    }
}

impl State {
    /// Counts an operation and says what is to go wrong with it.
    fn next_op(&mut self) -> Option<Fault> {
        let n_op = self.n_ops;
        self.n_ops += 1;
        let (at, fault) = self.fault?;
        if at != n_op {
            return None;
        }
        self.fault = None;
        match fault {
            Fault::PowerLoss => self.is_off = true,
            Fault::Kill => self.end_process(),
            Fault::NoSpace | Fault::Io => {}
        }
        Some(fault)
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
    }

    fn new_file(&mut self, file: FileState) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.files.insert(id, file);
        id
    }

    /// The file of this name; one that was there before this layer counts as durable.
    fn track(&mut self, path: &Path) -> io::Result<FileId> {
        if let Some(id) = self.view.get(path) {
            return Ok(*id);
        }
        let bytes = std::fs::read(path)?;
        let durable_len = bytes.len();
        let id = self.new_file(FileState { bytes, durable_len, is_spoilt: false });
        self.view.insert(path.to_owned(), id);
        self.durable.insert(path.to_owned(), Some(id));
        Ok(id)
    }

    fn push(&mut self, change: Change) {
        let mut unsynced_dirs = BTreeSet::new();
        let mut touch = |path: &Path| {
            unsynced_dirs.insert(parent_of(path).to_owned());
        };
        match &change {
            Change::Create(path, _) | Change::CreateDir(path) | Change::Remove(path) => touch(path),
            Change::Rename(from, to, _) => {
                touch(from);
                touch(to);
            }
        }
        self.pending.push(PendingOp { change, unsynced_dirs });
    }

    fn names_after(&self, rng: &mut Rng, report: &mut Vec<String>) -> (BTreeMap<PathBuf, Option<FileId>>, Vec<PathBuf>) {
        let mut lost_dirs = Vec::new();
        let mut names = self.durable.clone();
        let mode = rng.below(4);
        let n_kept = rng.index(self.pending.len() + 1);
        for (at, op) in self.pending.iter().enumerate() {
            let is_kept = match mode {
                0 => false,
                1 => true,
                2 => at < n_kept,
                _ => rng.one_in(2),
            };
            report.push(format!("{} {:?}", if is_kept { "kept" } else { "undone" }, op.change));
            match &op.change {
                change if is_kept => change.apply(&mut names),
                Change::CreateDir(dir) => lost_dirs.push(dir.clone()),
                _ => {}
            }
        }
        (names, lost_dirs)
    }
}

impl FileState {
    fn bytes_after(&self, path: &Path, rng: &mut Rng, report: &mut Vec<String>) -> Vec<u8> {
        let (synced, unsynced) = self.bytes.split_at(self.durable_len.min(self.bytes.len()));
        let mut bytes = synced.to_vec();
        if unsynced.is_empty() {
            return bytes;
        }
        let mode = rng.below(6);
        let cut = rng.index(unsynced.len() + 1);
        match mode {
            0 => {}
            1 => bytes.extend_from_slice(unsynced),
            2 => bytes.extend(unsynced.iter().take(cut)),
            // The length is there and some of the pages are not.
            3 | 4 => {
                let page = [1, 16, 512].get(rng.index(3)).copied().unwrap_or(1);
                for piece in unsynced.chunks(page) {
                    match rng.below(3) {
                        0 => bytes.extend_from_slice(piece),
                        _ if mode == 3 => bytes.extend(piece.iter().map(|_| 0_u8)),
                        _ => bytes.extend(piece.iter().map(|_| rng.next_u64().to_le_bytes()[0])),
                    }
                }
            }
            _ => {
                bytes.extend(unsynced.iter().take(cut));
                bytes.extend(unsynced.iter().skip(cut).map(|_| 0_u8));
            }
        }
        report.push(format!("tore '{}' behind byte {}: mode {mode}, cut {cut}", path.display(), self.durable_len));
        bytes
    }
}

impl FileSystem for PowerLossFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let path = std::path::absolute(path)?;
        let mut state = self.lock_on()?;
        let fault = state.next_op();
        if let Some(fault @ (Fault::NoSpace | Fault::Io)) = fault {
            return Err(failed(fault));
        }
        let real = File::options().append(true).create_new(true).open(&path)?;
        let id = state.new_file(FileState::default());
        state.view.insert(path.clone(), id);
        state.durable.entry(path.clone()).or_insert(None);
        state.push(Change::Create(path, id));
        if fault.is_some() {
            return Err(off());
        }
        Ok(Box::new(TrackedFile { fs: self.clone(), id, real, len: 0 }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        drop(self.lock_on()?);
        OsFileSystem.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        drop(self.lock_on()?);
        OsFileSystem.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (std::path::absolute(from)?, std::path::absolute(to)?);
        let mut state = self.lock_on()?;
        let fault = state.next_op();
        if let Some(fault @ (Fault::NoSpace | Fault::Io)) = fault {
            return Err(failed(fault));
        }
        let tracked = state.track(&from);
        let id = tracked.map_err(|error| if fault.is_some() { off() } else { error })?;
        if to.exists() {
            state.track(&to)?;
        }
        std::fs::rename(&from, &to)?;
        state.view.remove(&from);
        state.view.insert(to.clone(), id);
        state.durable.entry(to.clone()).or_insert(None);
        state.push(Change::Rename(from, to, id));
        if fault.is_some() { Err(off()) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut state = self.lock_on()?;
        let fault = state.next_op();
        if let Some(fault @ (Fault::NoSpace | Fault::Io)) = fault {
            return Err(failed(fault));
        }
        let tracked = state.track(&path);
        tracked.map_err(|error| if fault.is_some() { off() } else { error })?;
        std::fs::remove_file(&path)?;
        state.view.remove(&path);
        state.push(Change::Remove(path));
        if fault.is_some() { Err(off()) } else { Ok(()) }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match self.lock_on()?.next_op() {
            None => OsFileSystem.remove_dir(dir),
            Some(fault) if fault.is_end() => Err(off()),
            Some(fault) => Err(failed(fault)),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = std::path::absolute(dir)?;
        let mut state = self.lock_on()?;
        let fault = state.next_op();
        if let Some(fault @ (Fault::NoSpace | Fault::Io)) = fault {
            return Err(failed(fault));
        }
        std::fs::create_dir(&dir)?;
        state.push(Change::CreateDir(dir));
        if fault.is_some() { Err(off()) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = std::path::absolute(dir)?;
        let mut state = self.lock_on()?;
        match state.next_op() {
            None => {}
            Some(fault) if fault.is_end() => return Err(off()),
            Some(fault) => return Err(failed(fault)),
        }
        let pending = std::mem::take(&mut state.pending);
        for mut op in pending {
            op.unsynced_dirs.remove(&dir);
            match &op.change {
                change if op.unsynced_dirs.is_empty() => change.apply(&mut state.durable),
                // The new name is there for good; the old one may come back beside it.
                Change::Rename(from, to, id) if parent_of(to) == dir => {
                    state.durable.insert(to.clone(), Some(*id));
                    op.change = Change::Remove(from.clone());
                    state.pending.push(op);
                }
                _ => state.pending.push(op),
            }
        }
        Ok(())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        drop(self.lock_on()?);
        OsFileSystem.len(path)
    }

    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        drop(self.lock_on()?);
        OsFileSystem.is_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        drop(self.lock_on()?);
        OsFileSystem.exists(path)
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        let mut state = self.lock_on()?;
        let guard = OsFileSystem.lock(path)?;
        let number = state.next_id;
        state.next_id += 1;
        state.locks.insert(number, guard);
        Ok(LockGuard::new(Unlock { fs: self.clone(), number }))
    }
}

/// The real lock lies in the layer's state, so that a crash frees it as the end of the process would.
struct Unlock {
    fs: PowerLossFs,
    number: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.fs.lock_state().locks.remove(&self.number);
    }
}

#[derive(Debug)]
struct TrackedFile {
    fs: PowerLossFs,
    id: FileId,
    real: File,
    len: u64,
}

impl Write for TrackedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.fs.lock_on()?;
        let fault = state.next_op();
        let taken = match fault {
            None | Some(Fault::PowerLoss) => bytes,
            Some(Fault::NoSpace | Fault::Kill) => bytes.get(..bytes.len() / 2).unwrap_or(bytes),
            Some(Fault::Io) => &[],
        };
        self.real.write_all(taken)?;
        self.len += taken.len() as u64;
        if let Some(file) = state.files.get_mut(&self.id) {
            file.bytes.extend_from_slice(taken);
        }
        match fault {
            None => Ok(taken.len()),
            Some(fault) if fault.is_end() => Err(off()),
            Some(fault) => Err(failed(fault)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AppendFile for TrackedFile {
    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.fs.lock_on()?;
        PowerLossFs::sync_id(&mut state, self.id)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off, or the process was killed")
}

fn failed(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => io::Error::new(io::ErrorKind::StorageFull, "no space left on device (injected)"),
        Fault::Io | Fault::PowerLoss | Fault::Kill => io::Error::other("input/output error (injected)"),
    }
}

#[cfg(test)]
mod tests;
