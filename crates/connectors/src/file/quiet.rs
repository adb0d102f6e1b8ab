//! Folders in which nothing happens: one task looks at all of them, and wakes the query whose folder has changed.
//!
//! ```text
//!  source ── a look found nothing ─► QuietFolder ── the query sleeps ─► QuietFolders: one stat each, at the same moments
//!     ▲                                                                      │
//!     └────────────── lists again ◄── the query wakes ◄── changed ◄──────────┘
//! ```
//! A query that looked by itself would wake as often for its one `stat`, and of a hundred such tasks each finds its memory in no
//! cache any more. Nothing is seen later for it: the looks are as frequent as those of an idle query.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use millstream_core::Clock;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::listing::modified_us;

/// How often an idle query looks, too.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A folder that held nothing new when its source last looked.
#[derive(Debug)]
pub(super) struct QuietFolder {
    path: PathBuf,
    /// When it was changed last; a change at this very moment was seen.
    mtime_us: i64,
    is_watched: AtomicBool,
    changed: Arc<Notify>,
}

/// Those of all sources of a session.
#[derive(Debug, Default)]
pub(super) struct QuietFolders(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    folders: Vec<Weak<QuietFolder>>,
    /// Runs while there are folders. It ends with its runtime, too: the next folder begins another.
    task: Option<JoinHandle<()>>,
}

impl QuietFolder {
    pub(super) fn new(path: PathBuf, mtime_us: i64) -> Self {
        Self { path, mtime_us, is_watched: AtomicBool::new(false), changed: Arc::default() }
    }

    /// One `stat`.
    pub(super) fn is_changed(&self) -> bool {
        !std::fs::metadata(&self.path).is_ok_and(|now| now.is_dir() && modified_us(&now) == self.mtime_us)
    }
}

impl QuietFolders {
    /// What tells that the folder has changed, once, as long as somebody keeps the folder.
    pub(super) fn changed(&self, folder: &Arc<QuietFolder>, clock: &Arc<dyn Clock>) -> Arc<Notify> {
        if !folder.is_watched.swap(true, Ordering::Relaxed) {
            let mut watched = locked(&self.0);
            watched.folders.push(Arc::downgrade(folder));
            if watched.task.as_ref().is_none_or(JoinHandle::is_finished) {
                watched.task = Some(tokio::spawn(look(Arc::clone(&self.0), Arc::clone(clock))));
            }
        }
        Arc::clone(&folder.changed)
    }
}

async fn look(watched: Arc<Mutex<Watched>>, clock: Arc<dyn Clock>) {
    loop {
        let every_us = LOOK_EVERY.as_micros();
        let rest_us = every_us - clock.monotonic().as_micros() % every_us;
        clock.sleep(Duration::from_micros(u64::try_from(rest_us).unwrap_or(0))).await;
        let folders: Vec<Arc<QuietFolder>> = locked(&watched).folders.iter().filter_map(Weak::upgrade).collect();
        // A disk that does not answer holds up nobody but this task; queries look by themselves now and then.
        let told = tokio::task::spawn_blocking(move || {
            for folder in folders.into_iter().filter(|folder| folder.is_changed()) {
                folder.is_watched.store(false, Ordering::Relaxed);
                folder.changed.notify_one();
            }
        });
        drop(told.await);
        let mut watched = locked(&watched);
        watched.folders.retain(|folder| folder.upgrade().is_some_and(|folder| folder.is_watched.load(Ordering::Relaxed)));
        if watched.folders.is_empty() {
            watched.task = None;
            return;
        }
    }
}

fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
