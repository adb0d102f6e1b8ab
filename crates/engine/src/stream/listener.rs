//! Listeners: told of a query's start, progress, idleness and end, off the batch's path.
//!
//! Events go through a bounded channel to one task per bus, so a slow listener delays nobody; when the channel is full
//! the new event is dropped with a warning.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_core::{Error, QueryId, RunId};
use tokio::sync::{mpsc, oneshot};

use super::progress::StreamingQueryProgress;

/// Progress events that may wait for slow listeners.
const EVENTS_MAX: usize = 10_000;

/// What happened to a query.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum QueryEvent {
    /// It started.
    Started {
        /// The query.
        id: QueryId,
        /// The run.
        run_id: RunId,
        /// Its name.
        name: Option<String>,
        /// When, ISO 8601.
        timestamp: String,
    },
    /// A batch was committed.
    Progress(Box<StreamingQueryProgress>),
    /// There was nothing to do for a while: sent when a trigger finds no data and nothing was told for
    /// `spark.sql.streaming.noDataProgressEventInterval` (10 s).
    Idle {
        /// The query.
        id: QueryId,
        /// The run.
        run_id: RunId,
        /// When the trigger began that found nothing, ISO 8601.
        timestamp: String,
    },
    /// It ended.
    Terminated {
        /// The query.
        id: QueryId,
        /// The run.
        run_id: RunId,
        /// Why, if it failed.
        exception: Option<Error>,
    },
}

/// Spark's `StreamingQueryListener`. Called by one task, in order.
pub trait StreamingQueryListener: Send + Sync {
    /// Told of every event.
    fn on_event(&self, event: &QueryEvent);
}

/// The listeners of a session.
#[derive(Clone, Default)]
pub struct ListenerBus {
    inner: Arc<BusInner>,
}

#[derive(Default)]
struct BusInner {
    listeners: Mutex<Vec<(u64, Arc<dyn StreamingQueryListener>)>>,
    sender: Mutex<Option<mpsc::Sender<Told>>>,
    next_id: std::sync::atomic::AtomicU64,
}

/// What goes through the channel: events, and requests to say when everything before them was told.
enum Told {
    Event(QueryEvent),
    Flush(oneshot::Sender<()>),
}

impl std::fmt::Debug for ListenerBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerBus").finish_non_exhaustive()
    }
}

impl ListenerBus {
    /// Adds a listener; the number removes it again.
    pub fn add(&self, listener: Arc<dyn StreamingQueryListener>) -> u64 {
        let id = self.inner.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((id, listener));
        id
    }

    /// Removes a listener.
    pub fn remove(&self, id: u64) {
        self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != id);
    }

    /// Waits until everything sent so far was told.
    pub(crate) async fn flush(&self) {
        let sender = self.inner.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else { return };
        let (done, wait) = oneshot::channel();
        if sender.send(Told::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    pub(crate) fn send(&self, event: QueryEvent) {
        if self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return;
        }
        let mut sender = self.inner.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.get_or_insert_with(|| {
            let (sender, mut events) = mpsc::channel::<Told>(EVENTS_MAX);
            let inner = Arc::downgrade(&self.inner);
            tokio::spawn(async move {
                while let Some(told) = events.recv().await {
                    let event = match told {
                        Told::Event(event) => event,
                        Told::Flush(done) => {
                            let _ = done.send(());
                            continue;
                        }
                    };
                    let Some(inner) = inner.upgrade() else { return };
                    let listeners = inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    for (_, listener) in listeners {
                        listener.on_event(&event);
                    }
                }
            });
            sender
        });
        if sender.try_send(Told::Event(event)).is_err() {
            tracing::warn!("a listener is too slow: an event was dropped");
        }
    }
}
