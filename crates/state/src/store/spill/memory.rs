//! The memory that all state of a process may take, and who takes how much of it.
//!
//! Counted are buffers as they are allocated, for as long as they are held: a chunk that only a frozen view still holds
//! counts, too. Nobody waits for memory: what a batch changes stays in memory until it is over, and then tables give rows up.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use millstream_core::Result;

use super::folder::{SpillFolder, remove_stale};

/// What a process takes beside state that does not grow with it: pages of its program, a batch and its groups. At most half of the limit.
const RESERVE_BYTES: usize = 128 << 20;

/// Tables give rows up from here on, in eighths of what is left. The rest is for what grows with state and is not in the account: rows that a
/// snapshot holds and a batch changes, an index that grows, rows on their way out, and what the allocator keeps.
const HIGH_EIGHTHS: usize = 6;

/// And go on to here.
const LOW_EIGHTHS: usize = 5;

/// A handle on the memory budget; clones share it. One per process.
#[derive(Debug, Clone)]
pub struct StateMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit_bytes: AtomicUsize,
    used_bytes: AtomicUsize,
    n_tables: AtomicUsize,
    next_file: AtomicU64,
    /// Where the folder of this process is made, when it is needed.
    parent: PathBuf,
    /// Held by its files.
    folder: Mutex<Weak<SpillFolder>>,
}

/// Bytes of the budget that somebody holds, until dropped.
#[derive(Debug, Default)]
pub struct Charge {
    memory: Option<StateMemory>,
    bytes: usize,
}

/// A table among those that share the budget.
#[derive(Debug)]
pub struct Member {
    memory: StateMemory,
    /// Its indexes; its rows are charged where they are.
    rest: Charge,
}

/// What of a table is not in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillStats {
    /// Rows on disk.
    pub rows: u64,
    /// Bytes of the files that hold them.
    pub disk_bytes: u64,
    /// Bytes written since the table was made, merges included.
    pub bytes_written: u64,
    /// Bytes read since the table was made, merges included.
    pub bytes_read: u64,
}

impl AddAssign for SpillStats {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.disk_bytes += other.disk_bytes;
        self.bytes_written += other.bytes_written;
        self.bytes_read += other.bytes_read;
    }
}

impl StateMemory {
    /// All state shares `limit_bytes`; beyond it rows go to files in a folder of this process that is made below
    /// `spill_dir`. What processes left there that are gone is removed.
    pub fn limited(limit_bytes: usize, spill_dir: &Path) -> Self {
        remove_stale(spill_dir);
        Self::new(limit_bytes, spill_dir)
    }

    /// No limit: nothing is ever spilled.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, Path::new(""))
    }

    fn new(limit_bytes: usize, spill_dir: &Path) -> Self {
        Self(Arc::new(Shared {
            limit_bytes: AtomicUsize::new(limit_bytes),
            used_bytes: AtomicUsize::new(0),
            n_tables: AtomicUsize::new(0),
            next_file: AtomicU64::new(0),
            parent: spill_dir.to_owned(),
            folder: Mutex::default(),
        }))
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.0.limit_bytes.load(Relaxed) < usize::MAX
    }

    /// Whether a table shares the budget.
    pub fn is_shared(&self) -> bool {
        self.0.n_tables.load(Relaxed) > 0
    }

    /// What state takes now.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Relaxed)
    }

    pub(in crate::store) fn charge(&self, bytes: usize) -> Charge {
        if !self.is_limited() {
            return Charge::default();
        }
        self.0.used_bytes.fetch_add(bytes, Relaxed);
        Charge { memory: Some(self.clone()), bytes }
    }

    pub(in crate::store) fn join(&self) -> Member {
        self.0.n_tables.fetch_add(1, Relaxed);
        Member { memory: self.clone(), rest: self.charge(0) }
    }

    /// How many rows a segment may have: writing it takes some 40 bytes for each, which no account knows of.
    pub(super) fn rows_per_segment(&self) -> usize {
        (self.0.limit_bytes.load(Relaxed) / 1024).clamp(1 << 14, 1 << 18)
    }

    /// Where the next file goes: in the folder of this process, which stays as long as one of its files holds it.
    pub(super) fn next_file(&self) -> Result<(Arc<SpillFolder>, PathBuf)> {
        let mut held = self.0.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match held.upgrade() {
            Some(folder) => folder,
            None => Arc::new(SpillFolder::create(&self.0.parent)?),
        };
        *held = Arc::downgrade(&folder);
        drop(held);
        let path = folder.path().join(format!("{:016}.run", self.0.next_file.fetch_add(1, Relaxed)));
        Ok((folder, path))
    }
}

impl Charge {
    /// Holds `bytes` from here on.
    pub fn set(&mut self, bytes: usize) {
        if let Some(memory) = &self.memory {
            memory.0.used_bytes.fetch_add(bytes, Relaxed);
            memory.0.used_bytes.fetch_sub(self.bytes, Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Member {
    pub fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// How many bytes of its rows a table must give up that takes `own_bytes` in all, `rest_bytes` of it beside its rows.
    ///
    /// Who takes more than an equal share gives up first, so that small tables are not squeezed by a large one. Above
    /// the limit all must, as those above their share may be idle, or the memory is that of a snapshot that is being written.
    pub fn excess(&mut self, own_bytes: usize, rest_bytes: usize) -> usize {
        let shared = &self.memory.0;
        let limit = shared.limit_bytes.load(Relaxed);
        if limit == usize::MAX {
            return 0;
        }
        self.rest.set(rest_bytes);
        let used = shared.used_bytes.load(Relaxed);
        let eighth = (limit - RESERVE_BYTES.min(limit / 2)) / 8;
        if used <= eighth * HIGH_EIGHTHS {
            return 0;
        }
        let low = eighth * LOW_EIGHTHS;
        let share = low / shared.n_tables.load(Relaxed).max(1);
        let floor = if used <= limit { share } else { share / 4 };
        let most = if used <= limit { usize::MAX } else { (own_bytes / 2).max(own_bytes.saturating_sub(share)) };
        (used - low).min(own_bytes.saturating_sub(floor)).min(most)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.memory.0.n_tables.fetch_sub(1, Relaxed);
    }
}
