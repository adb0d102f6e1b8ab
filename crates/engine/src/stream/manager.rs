//! The queries of a session: Spark's `StreamingQueryManager`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use millstream_core::{Error, QueryId, Result};

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
    queries: Mutex<Vec<StreamingQuery>>,
}

impl StreamingQueryManager {
    /// A manager without queries.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, listeners: ListenerBus::default(), queries: Mutex::default() }
    }

    /// Starts a query. Fails if an active query has the same name.
    pub async fn start(&self, definition: QueryDefinition) -> Result<StreamingQuery> {
        if let Some(name) = &definition.name
            && self.active().iter().any(|query| query.name() == Some(name))
        {
            return Err(Error::invalid(format!("a query named '{name}' is already active")).hint("stop it, or choose another queryName"));
        }
        let query = start_query(Arc::clone(&self.engine), definition, self.listeners.clone()).await?;
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).push(query.clone());
        Ok(query)
    }

    /// The queries that are running.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.all().into_iter().filter(StreamingQuery::is_active).collect()
    }

    /// An active query by its id.
    pub fn get(&self, id: QueryId) -> Option<StreamingQuery> {
        self.active().into_iter().find(|query| query.id() == id)
    }

    /// Waits until any query of the session has ended since the last [`Self::reset_terminated`]. Returns whether one did
    /// within `timeout`; fails if the one that ended failed.
    pub async fn await_any_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        let queries = self.all();
        if let Some(ended) = queries.iter().find(|query| !query.is_active()) {
            return ended.exception().map_or(Ok(true), Err);
        }
        if queries.is_empty() {
            return Ok(true);
        }
        let waits = queries.iter().map(|query| Box::pin(query.await_termination(timeout)));
        select_all(waits).await.0
    }

    /// Forgets the queries that have ended.
    pub fn reset_terminated(&self) {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).retain(StreamingQuery::is_active);
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

    fn all(&self) -> Vec<StreamingQuery> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
