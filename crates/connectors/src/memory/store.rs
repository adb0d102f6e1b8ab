//! The streams and tables of a session that live in memory. Locks are held for moments, never across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::options::nearest;
use millstream_core::{BatchId, Error, QueryId, Result};
use tokio::sync::Notify;

/// A stream fed by hand: [`MemoryStream::add`] makes rows available, in order, replayable while the process lives.
#[derive(Debug, Clone)]
pub struct MemoryStream(Arc<StreamInner>);

#[derive(Debug)]
struct StreamInner {
    name: String,
    schema: SchemaRef,
    chunks: Mutex<Vec<RecordBatch>>,
    /// One for each source that reads the stream: a permit that one takes wakes no other.
    wakeups: Mutex<Vec<Weak<Notify>>>,
}

impl MemoryStream {
    /// A stream without rows. Get it from [`MemoryStore::stream`] to read it by name.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self(Arc::new(StreamInner { name: name.into(), schema, chunks: Mutex::default(), wakeups: Mutex::default() }))
    }

    /// The name to read it by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    /// Adds rows and wakes the queries that wait for them. A chunk is never split over two micro-batches.
    pub fn add(&self, rows: RecordBatch) -> Result<()> {
        if rows.schema().fields() != self.0.schema.fields() {
            let (got, want) = (rows.schema(), &self.0.schema);
            return Err(Error::invalid(format!("rows of {got} do not fit the memory stream '{}' of {want}", self.name())));
        }
        if rows.num_rows() > 0 {
            lock(&self.0.chunks).push(rows);
            lock(&self.0.wakeups).retain(|wakeup| wakeup.upgrade().inspect(|wakeup| wakeup.notify_one()).is_some());
        }
        Ok(())
    }

    /// How many chunks were added.
    pub fn n_chunks(&self) -> u64 {
        lock(&self.0.chunks).len() as u64
    }

    /// The chunks `first..past` (fewer if they do not exist).
    pub(super) fn chunks(&self, first: u64, past: u64) -> Vec<RecordBatch> {
        let n_chunks = usize::try_from(past.saturating_sub(first)).unwrap_or(usize::MAX);
        lock(&self.0.chunks).iter().skip(usize::try_from(first).unwrap_or(usize::MAX)).take(n_chunks).cloned().collect()
    }

    /// Told of every addition from now on, for as long as it is kept.
    pub(super) fn new_wakeup(&self) -> Arc<Notify> {
        let wakeup = Arc::new(Notify::new());
        lock(&self.0.wakeups).push(Arc::downgrade(&wakeup));
        wakeup
    }
}

/// The streams and tables of a session.
#[derive(Debug, Default)]
pub struct MemoryStore {
    streams: Mutex<BTreeMap<String, MemoryStream>>,
    tables: Mutex<BTreeMap<String, MemoryTable>>,
}

#[derive(Debug)]
struct MemoryTable {
    query_id: Option<QueryId>,
    schema: SchemaRef,
    pending: BTreeMap<BatchId, Vec<RecordBatch>>,
    committed: BTreeMap<BatchId, Vec<RecordBatch>>,
}

impl MemoryStore {
    /// A new stream under `name`, or the one that has it already.
    pub fn stream(&self, name: &str, schema: SchemaRef) -> Result<MemoryStream> {
        let mut streams = lock(&self.streams);
        let stream = streams.entry(name.to_owned()).or_insert_with(|| MemoryStream::new(name, Arc::clone(&schema)));
        if stream.schema().fields() != schema.fields() {
            return Err(Error::invalid(format!("memory stream '{name}' exists with another schema")));
        }
        Ok(stream.clone())
    }

    /// The stream under `name`.
    pub fn find_stream(&self, name: &str) -> Result<MemoryStream> {
        let streams = lock(&self.streams);
        streams.get(name).cloned().ok_or_else(|| {
            let error = Error::invalid(format!("there is no memory stream '{name}' in this session"));
            match nearest(name, streams.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            }
        })
    }

    /// The columns and committed rows of the memory sink's table of that name, in the order of batches.
    pub fn table(&self, name: &str) -> Option<(SchemaRef, Vec<RecordBatch>)> {
        let tables = lock(&self.tables);
        let table = tables.get(name)?;
        Some((Arc::clone(&table.schema), table.committed.values().flatten().cloned().collect()))
    }

    /// The names of all tables.
    pub fn tables(&self) -> Vec<String> {
        lock(&self.tables).keys().cloned().collect()
    }

    /// Makes the table ready for a run of `query_id`; another query's rows of the same name are dropped.
    pub(super) fn open_table(&self, name: &str, schema: SchemaRef, query_id: QueryId) {
        let mut tables = lock(&self.tables);
        let table = tables.entry(name.to_owned()).or_insert_with(|| MemoryTable {
            query_id: None,
            schema: Arc::clone(&schema),
            pending: BTreeMap::new(),
            committed: BTreeMap::new(),
        });
        if table.query_id != Some(query_id) {
            table.committed.clear();
            table.pending.clear();
        }
        table.query_id = Some(query_id);
        table.schema = schema;
    }

    pub(super) fn stage(&self, name: &str, batch: BatchId, rows: Vec<RecordBatch>) {
        if let Some(table) = lock(&self.tables).get_mut(name) {
            table.pending.insert(batch, rows);
        }
    }

    /// Whether the batch is now in the table (it is not when its rows went with the process that staged them).
    pub(super) fn commit(&self, name: &str, batch: BatchId, replaces_table: bool) -> bool {
        let mut tables = lock(&self.tables);
        let Some(table) = tables.get_mut(name) else { return false };
        match table.pending.remove(&batch) {
            Some(rows) => {
                if replaces_table {
                    table.committed.clear();
                }
                table.committed.insert(batch, rows);
                true
            }
            None => table.committed.contains_key(&batch),
        }
    }

    pub(super) fn abandon(&self, name: &str, batch: BatchId) {
        if let Some(table) = lock(&self.tables).get_mut(name) {
            table.pending.remove(&batch);
        }
    }
}

/// A panic elsewhere while holding the lock leaves whole values behind: every change is a single insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
