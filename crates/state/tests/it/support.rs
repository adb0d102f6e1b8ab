//! Records and places that the tests share.

use std::path::Path;
use std::sync::Arc;

use millstream_core::{BatchId, IdSource, Position, Result, RunId, SourceRange, SystemClock};
use millstream_state::{Checkpoint, CheckpointOptions, FileSystem, Location, Record, Recovered, SourceEntry};
use serde_json::json;

/// Segments so small that every few records begin a new one.
pub const SMALL: CheckpointOptions = CheckpointOptions { segment_bytes: 2000, state_segment_bytes: 4000 };

/// Ids 1, 2, 3, ...
#[derive(Debug, Default)]
pub struct CountedIds(std::sync::atomic::AtomicU64);

impl IdSource for CountedIds {
    fn new_uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) + 1)
    }
}

pub fn local(fs: &(impl FileSystem + Clone + 'static), path: &Path) -> Location {
    Location::local(Arc::new(fs.clone()), path).unwrap()
}

pub async fn open(location: Location, options: CheckpointOptions) -> Result<(Checkpoint, Recovered)> {
    Checkpoint::open_with(location, &millstream_core::RandomIds, &SystemClock::default(), options).await
}

/// Opens and starts.
pub async fn run(location: Location, options: CheckpointOptions) -> Result<(Checkpoint, Recovered)> {
    let (mut checkpoint, recovered) = open(location, options).await?;
    let recovered = checkpoint.start(start_record(0), recovered).await?;
    Ok((checkpoint, recovered))
}

pub fn start_record(nonce: u64) -> Record {
    Record::start(RunId(uuid::Uuid::from_u128(u128::from(nonce))), 1, json!({ "job": nonce }))
}

pub fn range(batch: u64, nonce: u64) -> SourceRange {
    SourceRange { start: Position(json!(batch)), end: Position(json!(batch + 1)), detail: json!({ "nonce": nonce }) }
}

/// The prepared record of a batch; `nonce` tells attempts apart and makes records of different lengths.
pub fn prepared(batch: u64, nonce: u64) -> Record {
    let mut record = Record::prepared(BatchId(batch), 1_000 + batch as i64);
    let mut entry = SourceEntry::new(range(batch, nonce));
    // Written by the first builds, and in the fixtures; nothing reads it any more.
    entry.extra.insert("watermark_ms".into(), json!(batch));
    record.sources.insert("in".into(), entry);
    record.sinks.insert("out".into(), json!({ "file": "x".repeat((nonce % 300) as usize), "nonce": nonce }));
    record
}

pub fn intent(batch: u64, nonce: u64) -> Record {
    let mut record = Record::intent(BatchId(batch), 1_000 + batch as i64);
    record.sources = prepared(batch, nonce).sources;
    record
}

/// A folder in memory where the machine has such, as thousands of cases make files and none needs the disk.
pub fn scratch_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
