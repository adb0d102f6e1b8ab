//! The queries of a session: Spark's `StreamingQueryManager`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use millstream_core::{Error, QueryId, Result};
use tokio::sync::watch;

use super::definition::QueryDefinition;
use super::listener::{ListenerBus, StreamingQueryListener};
use super::query::StreamingQuery;
use super::start::start_query;
use crate::engine::Engine;

/// Starts queries and knows those of the session.
#[derive(Debug)]
pub struct StreamingQueryManager {
    engine: Arc<Engine>,
    listeners: ListenerBus,
    known: Mutex<Known>,
    /// Told when a query was started.
    started: watch::Sender<()>,
}

/// The queries that run, and of those that have ended the one that is told of.
#[derive(Debug, Default)]
struct Known {
    running: Vec<StreamingQuery>,
    ended: Option<StreamingQuery>,
}

impl Known {
    /// Forgets the queries that have ended but for the first, or the last that failed: a failure is never passed over.
    fn sweep(&mut self) {
        for query in self.running.extract_if(.., |query| !query.is_active()) {
            if self.ended.is_none() || query.exception().is_some() {
                self.ended = Some(query);
            }
        }
    }
}

impl StreamingQueryManager {
    /// A manager without queries.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, listeners: ListenerBus::default(), known: Mutex::default(), started: watch::Sender::new(()) }
    }

    /// Starts a query. Fails if an active query has the same name.
    pub async fn start(&self, definition: QueryDefinition) -> Result<StreamingQuery> {
        if let Some(name) = &definition.name
            && self.active().iter().any(|query| query.name() == Some(name))
        {
            return Err(Error::invalid(format!("a query named '{name}' is already active")).hint("stop it, or choose another queryName"));
        }
        let query = start_query(Arc::clone(&self.engine), definition, self.listeners.clone()).await?;
        self.known().running.push(query.clone());
        self.started.send_replace(());
        Ok(query)
    }

    /// The queries that are running.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.known().running.clone()
    }

    /// An active query by its id.
    pub fn get(&self, id: QueryId) -> Option<StreamingQuery> {
        self.active().into_iter().find(|query| query.id() == id)
    }

    /// Waits until any query of the session has ended since the last [`Self::reset_terminated`], also one that is started
    /// meanwhile. Returns whether one did within `timeout` (`None` = for ever); fails if one failed.
    pub async fn await_any_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = async {
            match timeout {
                Some(timeout) => self.engine.clock().sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        loop {
            let mut started = self.started.subscribe();
            let running = {
                let known = self.known();
                if let Some(ended) = &known.ended {
                    return ended.exception().map_or(Ok(true), Err);
                }
                known.running.clone()
            };
            let any_ended = async {
                if running.is_empty() {
                    return std::future::pending().await;
                }
                // How it ended is looked at above.
                let _ = select_all(running.iter().map(|query| Box::pin(query.await_termination(None)))).await;
            };
            tokio::select! {
                () = any_ended => {}
                _ = started.changed() => {}
                () = &mut deadline => return Ok(false),
            }
        }
    }

    /// Forgets the queries that have ended.
    pub fn reset_terminated(&self) {
        self.known().ended = None;
    }

    /// Adds a listener; the number removes it again.
    pub fn add_listener(&self, listener: Arc<dyn StreamingQueryListener>) -> u64 {
        self.listeners.add(listener)
    }

    /// Removes a listener.
    pub fn remove_listener(&self, id: u64) {
        self.listeners.remove(id);
    }

    /// Waits until the listeners have been told of everything that happened so far.
    pub async fn flush_listeners(&self) {
        self.listeners.flush().await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        known
    }
}
