//! Opening a checkpoint: identity, log and snapshots become one answer to "what must the next run do first?".
//!
//! Makes durable before it relies: the newest segment is written again and synced before its last record counts. A folder
//! whose parts do not fit together is an error that names the part. Creates only a new checkpoint's folders and its `metadata.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{BatchId, Result, RunEpoch};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::chain::{Chain, damaged, stitch};
use super::local::{self, LocalLog, LocalScan};
use super::metadata::{METADATA_NAME, Metadata};
use super::object::{self, ObjectLog};
use super::record::RecordKind;
use super::{CheckpointOptions, LogWriter, Recovered, RecoveredSource};
use crate::fs::{FileSystem, LockGuard, blocking};
use crate::location::{Location, join_key, store_error};
use crate::store::{KeptDelta, RecoveredState};

const LOCK_NAME: &str = "LOCK";

/// How long a start waits for what a dropped checkpoint of the same process still does.
const DROPPED_WAIT_MS: u32 = 10_000;

/// All that opening finds.
#[derive(Debug)]
pub struct Opened {
    pub metadata: Metadata,
    pub epoch: RunEpoch,
    pub chain: Chain,
    pub torn: Vec<String>,
    pub writer: LogWriter,
    pub lock: Option<Arc<HeldLock>>,
}

/// Opens or creates; `fresh` is the identity of a new checkpoint.
pub async fn open(location: &Location, fresh: Metadata, options: CheckpointOptions) -> Result<Opened> {
    match location.clone() {
        Location::Local { fs, path } => {
            let place = location.to_string();
            blocking(move || open_local(&fs, &path, &place, &fresh, options)).await
        }
        Location::Object { store, prefix, .. } => open_object(store, &prefix, location.to_string(), fresh).await,
    }
}

fn open_local(fs: &Arc<dyn FileSystem>, root: &Path, place: &str, fresh: &Metadata, options: CheckpointOptions) -> Result<Opened> {
    fs.create_dir_all(&root.join(local::LOG_DIR))?;
    wait_for_dropped(root);
    let lock = Arc::new(HeldLock::new(fs.lock(&root.join(LOCK_NAME))?));
    let metadata_path = root.join(METADATA_NAME);
    let (metadata, is_fresh) = if fs.exists(&metadata_path)? {
        let metadata = decode_metadata(place, &fs.read(&metadata_path)?)?;
        // A killed run may have renamed it without syncing the folder.
        fs.sync_dir(root)?;
        (metadata, false)
    } else {
        (fresh.clone(), true)
    };
    let LocalScan { units, segments, epoch_max, torn } = local::scan(fs.as_ref(), root, metadata.query_id, true)?;
    if is_fresh {
        if !segments.is_empty() {
            return Err(no_metadata(place));
        }
        fs.replace_synced(&metadata_path, &metadata.encode())?;
    }
    let chain = stitch(place, units)?;
    let epoch = RunEpoch(epoch_max.map_or(0, |last| last.0 + 1));
    let writer =
        LogWriter::Local(LocalLog::new(Arc::clone(fs), Arc::clone(&lock), root, metadata.query_id, epoch, options.segment_bytes, segments));
    Ok(Opened { metadata, epoch, chain, torn, writer, lock: Some(lock) })
}

/// The lock of a local checkpoint, shared by all that may still write to it.
#[derive(Debug)]
pub struct HeldLock {
    guard: Option<LockGuard>,
    is_released: Arc<AtomicBool>,
}

impl HeldLock {
    fn new(guard: LockGuard) -> Self {
        Self { guard: Some(guard), is_released: Arc::default() }
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.is_released.store(true, Ordering::Release);
    }
}

/// Checkpoints of this process that were dropped, perhaps while something still ran in the background.
static DROPPED: Mutex<BTreeMap<PathBuf, Arc<AtomicBool>>> = Mutex::new(BTreeMap::new());

/// A dropped checkpoint lets go of its lock when what it began has ended; the next start in this process waits for that.
pub fn remember_dropped(root: &Path, lock: &HeldLock) {
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    dropped.retain(|_, is_released| !is_released.load(Ordering::Acquire));
    dropped.insert(root.to_owned(), Arc::clone(&lock.is_released));
}

fn wait_for_dropped(root: &Path) {
    let is_released = DROPPED.lock().unwrap_or_else(PoisonError::into_inner).get(root).cloned();
    for _ in 0..DROPPED_WAIT_MS {
        if is_released.as_ref().is_none_or(|is_released| is_released.load(Ordering::Acquire)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn open_object(store: Arc<dyn ObjectStore>, root: &ObjectPath, place: String, fresh: Metadata) -> Result<Opened> {
    let key = join_key(root, METADATA_NAME);
    let metadata = match object::get(&store, &key).await? {
        Some(bytes) => decode_metadata(&place, &bytes)?,
        None => create_metadata(&store, root, &key, &place, fresh).await?,
    };
    let scan = object::scan(&store, root, &place).await?;
    let chain = stitch(&place, scan.units)?;
    let epoch = RunEpoch(chain.order.epoch.map_or(0, |last| last.0 + 1));
    let writer = LogWriter::Object(ObjectLog::new(store, root, place, epoch, scan.present));
    Ok(Opened { metadata, epoch, chain, torn: Vec::new(), writer, lock: None })
}

async fn create_metadata(
    store: &Arc<dyn ObjectStore>,
    root: &ObjectPath,
    key: &ObjectPath,
    place: &str,
    fresh: Metadata,
) -> Result<Metadata> {
    let has_log = !object::scan(store, root, place).await?.present.is_empty();
    if !has_log {
        let put = store.put_opts(key, PutPayload::from(fresh.encode()), PutOptions::from(PutMode::Create)).await;
        match put {
            Ok(_) => return Ok(fresh),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            // Perhaps only the answer was lost; what is there decides.
            Err(error) if object::get(store, key).await?.is_none() => return Err(store_error(error)),
            Err(_) => {}
        }
    }
    // Another run made it meanwhile, or it is lost.
    match object::get(store, key).await? {
        Some(bytes) => decode_metadata(place, &bytes),
        None => Err(no_metadata(place)),
    }
}

pub fn decode_metadata(place: &str, bytes: &[u8]) -> Result<Metadata> {
    Metadata::decode(bytes).map_err(|why| damaged(place, &format!("file '{METADATA_NAME}': {why}")))
}

fn no_metadata(place: &str) -> millstream_core::Error {
    damaged(place, &format!("there is a log but no '{METADATA_NAME}'"))
}

/// What the log and the snapshots add up to.
pub fn recover(
    place: &str,
    metadata: &Metadata,
    epoch: RunEpoch,
    chain: &Chain,
    torn: &[String],
    snapshots: &BTreeMap<String, (BatchId, Bytes)>,
) -> Result<Recovered> {
    let order = &chain.order;
    let decided = order.intent.as_ref().and_then(|intent| intent.batch).max(order.prepared);
    let mut sources: BTreeMap<String, RecoveredSource> = BTreeMap::new();
    for (name, (batch, bytes)) in snapshots {
        if decided.is_none_or(|decided| *batch > decided) {
            let end = decided.map_or("is empty".to_owned(), |decided| format!("ends with batch {decided}"));
            return Err(damaged(place, &format!("source '{name}' has a snapshot of batch {batch} and the log {end}: records are lost")));
        }
        if let Some((first, _)) = order.batches.front().filter(|(first, _)| *first > batch.next()) {
            return Err(damaged(place, &format!("source '{name}' has a snapshot of batch {batch} and the log begins with batch {first}")));
        }
        sources.insert(name.clone(), RecoveredSource { snapshot: Some((*batch, bytes.clone())), ..RecoveredSource::default() });
    }
    for record in &chain.records {
        for (name, entry) in record.sources.iter().filter(|_| record.kind == RecordKind::Prepared) {
            let source = sources.entry(name.clone()).or_default();
            let behind = source.snapshot.as_ref().map(|(batch, _)| *batch);
            let batch = record.batch.filter(|batch| behind.is_none_or(|behind| *batch > behind));
            source.ranges.extend(batch.map(|batch| (batch, entry.range.clone())));
            source.stands = None;
        }
        for (name, place) in record.idle.iter().filter(|_| record.kind == RecordKind::Positions) {
            sources.entry(name.clone()).or_default().stands = Some(place.clone());
        }
    }
    for (name, end) in &order.ends {
        let source = sources.entry(name.clone()).or_default();
        if source.snapshot.is_none() && source.ranges.is_empty() {
            source.stands = Some(end.clone());
        }
    }
    let prepared = || chain.records.iter().filter(|record| record.kind == RecordKind::Prepared);
    Ok(Recovered {
        query_id: metadata.query_id,
        is_new: chain.last_start().is_none(),
        epoch,
        last_start: chain.last_start().cloned(),
        last_prepared: prepared().next_back().cloned(),
        uncommitted: prepared().filter(|record| record.batch > order.committed).cloned().collect(),
        last_intent: order.intent.clone(),
        committed: order.committed,
        sources,
        state: recovered_state(chain),
        torn: torn.to_vec(),
    })
}

/// What the log says about the state of operators.
pub fn recovered_state(chain: &Chain) -> RecoveredState {
    let operators = chain.last_start().map(|start| start.operators.clone()).unwrap_or_default();
    let mut state = RecoveredState { operators, ..RecoveredState::default() };
    let mut proposed_in = None;
    for record in &chain.records {
        let Some(batch) = record.batch else { continue };
        if record.kind == RecordKind::Proposed {
            proposed_in = Some((batch, record.epoch));
        }
        if record.kind != RecordKind::Prepared {
            continue;
        }
        // A later run may write down what was decided; the state is of the run that proposed it.
        let run = proposed_in.filter(|(proposed, _)| *proposed == batch).map_or(record.epoch, |(_, epoch)| epoch);
        state.first_batch = state.first_batch.or(Some(batch));
        state.first_epoch = state.first_epoch.or(Some(run));
        match state.runs.last_mut() {
            Some((epoch, last)) if *epoch == run => *last = batch,
            _ => state.runs.push((run, batch)),
        }
        state.last_batch = Some(batch);
        if let Some(reference) = record.state_delta.clone() {
            let changed = record.state.iter().filter(|(_, version)| **version == batch.0);
            state.deltas.push(KeptDelta { batch, reference, operators: changed.map(|(id, _)| id.clone()).collect() });
        }
    }
    state
}
