//! The log on an object store: one object per record, created only if it is not there yet.
//!
//! ```text
//!  log/00000000000000000017.rec      one frame: record 17
//!
//!  put-if-absent ── created ─────────────────────────────────► durable
//!      │                                                        ▲
//!      ├─ exists already ─► read it: ours (a lost answer) ──────┘
//!      │                             a higher epoch ──► fenced
//!      │                             an older run's, and we are starting ──► take it in, try the next number
//!      └─ no clear answer ─► read it back: as above; nothing there ──► put again
//! ```
//! Put-if-absent is the only conditional write that every store has; nothing here replaces an object.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millstream_core::{Error, Result, RunEpoch};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::chain::{LogUnit, damaged};
use super::local::LOG_DIR;
use super::record::{Record, RecordKind, decode};
use crate::frame;
use crate::location::{join_key, store_error};

/// How often a record is put when the store gives no clear answer; each time the client itself retries as well.
const PUT_TRIES: usize = 4;

/// Objects read at a time.
const READS_AT_ONCE: usize = 16;

/// The writer of one run.
#[derive(Debug)]
pub struct ObjectLog {
    store: Arc<dyn ObjectStore>,
    dir: ObjectPath,
    place: String,
    epoch: RunEpoch,
    /// The numbers of the objects that are there.
    present: VecDeque<u64>,
}

/// How an append ended that did not fail.
#[derive(Debug)]
pub enum Appended {
    /// The record is durable.
    Done,
    /// Only at a start: an older run's record has this number.
    Older(Box<Record>),
}

/// What the objects hold.
#[derive(Debug, Default)]
pub struct ObjectScan {
    /// The records, in order.
    pub units: Vec<LogUnit>,
    /// Their numbers.
    pub present: VecDeque<u64>,
}

/// Reads all records. Objects that vanish meanwhile were not needed any more; the chain shows if they were.
pub async fn scan(store: &Arc<dyn ObjectStore>, root: &ObjectPath, place: &str) -> Result<ObjectScan> {
    let dir = join_key(root, LOG_DIR);
    let listed: Vec<_> = store.list(Some(&dir)).try_collect().await.map_err(store_error)?;
    let mut seqs = Vec::new();
    for meta in listed {
        let name = meta.location.filename().unwrap_or_default();
        if let Some(seq) = parse_name(name) {
            seqs.push(seq);
        } else if name.ends_with(".rec") {
            return Err(damaged(place, &format!("'{LOG_DIR}/{name}' is no name of a record")));
        }
    }
    seqs.sort_unstable();
    let reads = seqs.into_iter().map(|seq| {
        let (store, key) = (Arc::clone(store), join_key(&dir, &file_name(seq)));
        async move { Ok::<_, Error>((seq, get(&store, &key).await?)) }
    });
    let read: Vec<(u64, Option<Bytes>)> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let mut scan = ObjectScan::default();
    for (seq, bytes) in read {
        let Some(bytes) = bytes else { continue };
        let name = format!("{LOG_DIR}/{}", file_name(seq));
        let record = read_record(&bytes, seq).map_err(|why| damaged(place, &format!("object '{name}': {why}")))?;
        scan.present.push_back(seq);
        scan.units.push(LogUnit { name, records: vec![record] });
    }
    Ok(scan)
}

/// An object's bytes, or `None` if there is no such object.
pub async fn get(store: &Arc<dyn ObjectStore>, key: &ObjectPath) -> Result<Option<Bytes>> {
    let got = match store.get(key).await {
        Ok(got) => got.bytes().await,
        Err(error) => Err(error),
    };
    match got {
        Ok(bytes) => Ok(Some(bytes)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store_error(error)),
    }
}

/// Removes objects, lowest first, so that what stays is without gaps.
pub async fn remove(store: &Arc<dyn ObjectStore>, keys: &[ObjectPath]) -> Result<()> {
    for key in keys {
        match store.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
    Ok(())
}

impl ObjectLog {
    /// The log of a run that is about to begin.
    pub fn new(store: Arc<dyn ObjectStore>, root: &ObjectPath, place: String, epoch: RunEpoch, present: VecDeque<u64>) -> Self {
        Self { store, dir: join_key(root, LOG_DIR), place, epoch, present }
    }

    /// Appends a record; it is durable when this returns `Done`. After an error the log must not be used any more.
    pub async fn append(&mut self, record: &Record) -> Result<Appended> {
        let payload =
            serde_json::to_vec(record).map_err(|error| Error::internal(format!("a record cannot be written as JSON: {error}")))?;
        let mut bytes = Vec::new();
        frame::encode(&payload, 0, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let key = join_key(&self.dir, &file_name(record.seq));
        let mut last_error = None;
        for _ in 0..PUT_TRIES {
            let options = PutOptions::from(PutMode::Create);
            match self.store.put_opts(&key, PutPayload::from_bytes(bytes.clone()), options).await {
                Ok(_) => {
                    self.present.push_back(record.seq);
                    return Ok(Appended::Done);
                }
                Err(error) => last_error = Some(store_error(error)),
            }
            // Whatever the answer was, what is there decides. If that cannot be read either, the next put may tell.
            match get(&self.store, &key).await {
                Ok(Some(found)) => {
                    let appended = self.judge(record, &bytes, &found)?;
                    self.present.push_back(record.seq);
                    return Ok(appended);
                }
                Ok(None) => {}
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| Error::internal("a record was never put")))
    }

    /// An error if the record that comes next is there already, of a newer run.
    pub async fn ensure_newest(&self, next_seq: u64) -> Result<()> {
        let name = file_name(next_seq);
        let Some(found) = get(&self.store, &join_key(&self.dir, &name)).await? else { return Ok(()) };
        let theirs = read_record(&found, next_seq).map_err(|why| damaged(&self.place, &format!("object '{LOG_DIR}/{name}': {why}")))?;
        self.check_not_newer(&theirs)
    }

    fn check_not_newer(&self, theirs: &Record) -> Result<()> {
        if theirs.epoch < self.epoch {
            return Ok(());
        }
        Err(Error::fenced(format!(
            "another run (epoch {}) has taken over the checkpoint; this run (epoch {}) stops",
            theirs.epoch, self.epoch
        )))
    }

    #[cfg(test)]
    pub fn n_present(&self) -> usize {
        self.present.len()
    }

    /// Says whose record has the number of ours.
    fn judge(&self, ours: &Record, our_bytes: &Bytes, found: &Bytes) -> Result<Appended> {
        if found == our_bytes {
            return Ok(Appended::Done);
        }
        let theirs = read_record(found, ours.seq)
            .map_err(|why| damaged(&self.place, &format!("object '{LOG_DIR}/{}': {why}", file_name(ours.seq))))?;
        self.check_not_newer(&theirs)?;
        if ours.kind != RecordKind::Start {
            return Err(damaged(&self.place, &format!("record {} of an older run stands behind the start of a newer one", ours.seq)));
        }
        Ok(Appended::Older(Box::new(theirs)))
    }

    /// Forgets, and hands out for removal, the objects of which a durable record says that they are not needed.
    pub fn take_unneeded(&mut self, floor_seq: u64, start_seq: u64) -> Vec<ObjectPath> {
        let mut unneeded = Vec::new();
        // Ordered, and at most one number below the floor (the start's) stays, so this looks at few.
        let end = self.present.partition_point(|seq| *seq < floor_seq);
        let keeps_start = self.present.iter().take(end).any(|seq| *seq == start_seq);
        for seq in self.present.drain(..end).filter(|seq| *seq != start_seq) {
            unneeded.push(join_key(&self.dir, &file_name(seq)));
        }
        if keeps_start {
            self.present.push_front(start_seq);
        }
        unneeded
    }
}

fn read_record(bytes: &[u8], seq: u64) -> Result<Record, String> {
    let record = frame::only(bytes, 0).map_err(str::to_owned).and_then(decode)?;
    if record.seq == seq { Ok(record) } else { Err(format!("it holds record {} under another name", record.seq)) }
}

fn file_name(seq: u64) -> String {
    format!("{seq:020}.rec")
}

fn parse_name(name: &str) -> Option<u64> {
    let seq = name.strip_suffix(".rec")?.parse().ok()?;
    (file_name(seq) == name).then_some(seq)
}
