//! Writing deltas: one write per batch, whatever the number of operators and tasks.
//!
//! ```text
//!  local:         state/<epoch:016>-<n:08>.seg     | frame: part | frame: part | ... of batch 7 | ... of batch 8 |   append, fdatasync
//!  object store:  state/<epoch:016>-<batch:020>-<attempt:08>.delta    the same frames of one batch                   put-if-absent
//! ```
//! What is written counts when a prepared record refers to it, and not before; so a torn or abandoned delta is only
//! bytes that nobody reads. A run appends only to segments that it created.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, Error, Result, RunEpoch};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::files::StateFile;
use super::part;
use crate::checkpoint::get_object;
use crate::frame;
use crate::fs::{AppendFile, FileSystem};
use crate::location::{join_key, store_error};
use crate::store::StoreId;
use crate::store::delta::TableDelta;

/// How often an object is put when the store gives no clear answer.
const PUT_TRIES: usize = 4;

/// Where the state changes of a batch are. Part of the batch's prepared record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaRef {
    /// The file, in the folder `state`.
    pub file: String,
    /// Its first byte there.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// Their checksum (Castagnoli polynomial).
    pub crc32c: u32,
}

/// Writes the deltas of one run.
#[derive(Debug)]
pub enum DeltaWriter {
    Local(SegmentWriter),
    Object(ObjectWriter),
}

/// To segments.
#[derive(Debug)]
pub struct SegmentWriter {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    epoch: RunEpoch,
    /// A segment is closed when it has reached so many bytes, so that old ones can go.
    bytes_max: u64,
    open: Option<(String, Box<dyn AppendFile>)>,
    n_begun: u32,
}

/// To objects.
#[derive(Debug)]
pub struct ObjectWriter {
    store: Arc<dyn ObjectStore>,
    dir: ObjectPath,
    epoch: RunEpoch,
    attempt: u32,
}

impl SegmentWriter {
    /// Creates nothing yet; the folder is there.
    pub fn new(fs: Arc<dyn FileSystem>, dir: PathBuf, epoch: RunEpoch, bytes_max: u64) -> Self {
        Self { fs, dir, epoch, bytes_max, open: None, n_begun: 0 }
    }

    /// Appends a delta; it is durable when this returns. After an error nothing more may be written.
    pub fn append(&mut self, parts: &[(StoreId, TableDelta)]) -> Result<DeltaRef> {
        if self.open.as_ref().is_some_and(|(_, file)| file.len() >= self.bytes_max) {
            self.open = None;
        }
        let is_new = self.open.is_none();
        if is_new {
            let name = StateFile::Segment { epoch: self.epoch, segment: self.n_begun }.name();
            self.open = Some((name.clone(), self.fs.create_new(&self.dir.join(name))?));
            self.n_begun += 1;
        }
        let Some((name, file)) = &mut self.open else { return Err(Error::internal("a segment was opened and is not there")) };
        let offset = file.len();
        // One part after the other: all at once would take as much memory again, and be in no cache when it is written.
        let (mut bytes, mut length, mut crc32c) = (Vec::new(), 0, 0);
        for (id, delta) in parts {
            bytes.clear();
            frame::encode_with(offset + length, &mut bytes, |payload| part::encode(id, delta, payload))?;
            file.write_all(&bytes)?;
            length += bytes.len() as u64;
            crc32c = crc32c::crc32c_append(crc32c, &bytes);
        }
        file.sync_data()?;
        if is_new {
            self.fs.sync_dir(&self.dir)?;
        }
        Ok(DeltaRef { file: name.clone(), offset, length, crc32c })
    }
}

impl ObjectWriter {
    pub fn new(store: Arc<dyn ObjectStore>, dir: ObjectPath, epoch: RunEpoch) -> Self {
        Self { store, dir, epoch, attempt: 0 }
    }

    /// Puts a delta; it is durable when this returns.
    pub async fn put(&mut self, batch: BatchId, bytes: Bytes) -> Result<DeltaRef> {
        let name = StateFile::Delta { epoch: self.epoch, batch, attempt: self.attempt }.name();
        self.attempt += 1;
        let key = join_key(&self.dir, &name);
        let mut last_error = None;
        for _ in 0..PUT_TRIES {
            let options = PutOptions::from(PutMode::Create);
            let put = self.store.put_opts(&key, PutPayload::from_bytes(bytes.clone()), options).await;
            // Whatever the answer was, what is there decides: perhaps only the answer was lost.
            let found = match put {
                Ok(_) => return Ok(DeltaRef { file: name, offset: 0, length: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) }),
                Err(error) => {
                    last_error = Some(store_error(error));
                    get_object(&self.store, &key).await
                }
            };
            match found {
                Ok(Some(found)) if found == bytes => {
                    return Ok(DeltaRef { file: name, offset: 0, length: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) });
                }
                Ok(Some(_)) => return Err(Error::fenced(format!("another run has written state object '{name}'; this run stops"))),
                Ok(None) => {}
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| Error::internal("a delta was never put")))
    }
}

/// A delta as the content of an object.
pub fn object_of(parts: &[(StoreId, TableDelta)]) -> Result<Bytes> {
    let mut bytes = Vec::new();
    for (id, delta) in parts {
        frame::encode_with(0, &mut bytes, |payload| part::encode(id, delta, payload))?;
    }
    Ok(bytes.into())
}

/// The parts of a delta, of which `bytes` is what its reference names; says what is wrong with them.
pub fn parts(reference: &DeltaRef, bytes: &Bytes) -> Result<Vec<Bytes>, String> {
    if crc32c::crc32c(bytes) != reference.crc32c {
        return Err("the checksum does not match".to_owned());
    }
    let (mut at, mut parts) = (0, Vec::new());
    loop {
        match frame::next_in(bytes, at, reference.offset) {
            frame::Next::End => return Ok(parts),
            frame::Next::Bad(why) => return Err(format!("{why} at byte {}", reference.offset + at as u64)),
            frame::Next::Frame { payload, end } => {
                parts.push(bytes.slice_ref(payload));
                at = end;
            }
        }
    }
}
