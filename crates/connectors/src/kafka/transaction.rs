//! What the sink and the writers of one process share: the run's producer and the one transaction that is open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, Error, Result, SinkContext};
use serde::{Deserialize, Serialize};

use super::producer::Producer;
use crate::wire;

/// The sinks of a session, by number: how writers, which are made from a spec, find the producer.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    next: AtomicU64,
    by_number: Mutex<BTreeMap<u64, Weak<Output>>>,
}

impl Outputs {
    /// The option of a writer's spec that says which one is its own.
    pub(super) const OPTION: &'static str = "millstream.output";

    pub(super) fn add(&self, output: &Arc<Output>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut by_number = locked(&self.by_number);
        by_number.retain(|_, output| output.strong_count() > 0);
        by_number.insert(number, Arc::downgrade(output));
        number
    }

    pub(super) fn get(&self, number: u64) -> Result<Arc<Output>> {
        let found = locked(&self.by_number).get(&number).and_then(Weak::upgrade);
        found.ok_or_else(|| Error::internal("the kafka sink of a writer is not in this process"))
    }
}

/// The run that a sink is in.
#[derive(Debug, Default)]
pub(super) struct Output {
    run: Mutex<Option<Arc<Run>>>,
}

impl Output {
    pub(super) fn begin(&self, run: Run) {
        *locked(&self.run) = Some(Arc::new(run));
    }

    pub(super) fn run(&self) -> Result<Arc<Run>> {
        locked(&self.run).clone().ok_or_else(|| Error::internal("the kafka sink has not been started"))
    }

    pub(super) fn end(&self) -> Option<Arc<Run>> {
        locked(&self.run).take()
    }
}

/// One run of a query: its producer, and what it writes.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ctx: SinkContext,
    pub(super) producer: Arc<Producer>,
    pub(super) transaction: tokio::sync::Mutex<Transaction>,
    /// Records of the batch so far, of all tasks.
    pub(super) sequence: AtomicU64,
}

/// What is open, and what was committed last.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    attempt: Option<Attempt>,
    is_open: bool,
    /// The last batch that left a marker.
    pub(super) marker: Option<BatchId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    batch: BatchId,
    number: u32,
}

impl Transaction {
    pub(super) fn open_batch(&self) -> Option<BatchId> {
        self.attempt.filter(|_| self.is_open).map(|attempt| attempt.batch)
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Run {
    pub(super) fn new(ctx: SinkContext, producer: Producer) -> Self {
        Self { ctx, producer: Arc::new(producer), transaction: tokio::sync::Mutex::default(), sequence: AtomicU64::new(0) }
    }

    /// Batches up to this one are committed, as the markers say.
    pub(super) async fn committed_to(&self, marker: Option<BatchId>) {
        self.transaction.lock().await.marker = marker;
    }

    /// A task has records: the first one begins the transaction.
    pub(super) async fn enter(&self, attempt: &WriteAttempt) -> Result<()> {
        if attempt.epoch != self.ctx.epoch {
            return Err(Error::fenced(format!("a task of run epoch {} writes in epoch {}", attempt.epoch, self.ctx.epoch)));
        }
        let wanted = Attempt { batch: attempt.batch_id, number: attempt.attempt };
        let mut transaction = self.transaction.lock().await;
        if transaction.attempt == Some(wanted) {
            return match transaction.is_open {
                true => Ok(()),
                false => Err(Error::cancelled(format!("the transaction of batch {} was given up by another task", wanted.batch))),
            };
        }
        if let Some(open) = transaction.open_batch() {
            if open != wanted.batch && self.producer.transactional_id().is_some() {
                return Err(Error::internal(format!("batch {} writes before batch {open} is committed", wanted.batch)));
            }
            self.give_up(&mut transaction, open).await?;
        }
        self.sequence.store(0, Ordering::Relaxed);
        match self.producer.transactional_id() {
            Some(_) => self.producer.begin()?,
            None => self.producer.forget_failure(),
        }
        (transaction.attempt, transaction.is_open) = (Some(wanted), true);
        Ok(())
    }

    /// Aborts the open transaction if it is the batch's.
    pub(super) async fn give_up(&self, transaction: &mut Transaction, batch: BatchId) -> Result<()> {
        if transaction.open_batch() != Some(batch) {
            return Ok(());
        }
        transaction.close();
        match self.producer.transactional_id() {
            Some(_) => self.producer.abort().await,
            None => Ok(()),
        }
    }
}

/// What a task tells the driver.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct TaskRecords {
    /// Records that it wrote; rows that are the old side of an update write none.
    pub(super) records: u64,
}

impl TaskRecords {
    pub(super) fn to_payload(self) -> Result<Bytes> {
        wire::to_json(&self).map(Bytes::from)
    }

    pub(super) fn from_payload(payload: &Bytes) -> Result<Self> {
        serde_json::from_slice(payload).map_err(|error| Error::internal(format!("a task's answer cannot be read: {error}")))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
