//! Snapshots: all state after a batch in one file, written in the background from frozen tables.
//!
//! ```text
//!  state/<batch:020>-<epoch:016>.snap    | frame: H + JSON header | frame: P + part | ... | frame: F + JSON footer |
//! ```
//! The footer says how many parts there are, so a file without it, or with fewer, is no snapshot. On a local disk it gets
//! its name when it is whole and synced; on an object store it appears when its upload is completed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::compute::concat;
use bytes::Bytes;
use millstream_core::{Error, QueryId, Result};
use object_store::{ObjectStoreExt, WriteMultipart};
use serde::{Deserialize, Serialize};

use super::files::{FrameReader, SnapshotName, StateFile};
use super::part;
use crate::frame;
use crate::fs::{blocking, parent_of};
use crate::location::{Location, store_error};
use crate::store::delta::TableDelta;
use crate::store::frozen::FrozenTable;
use crate::store::schema::{StoreRows, StoreSchema, empty};
use crate::store::{StoreId, arrow_error};

/// The version of the format that this build writes, and the newest it reads.
const SNAPSHOT_VERSION: u32 = 1;

/// A part has at least so many rows, if its store does: each carries a schema.
const ROWS_PER_PART: usize = 16 << 10;

/// Uploads of pieces that are under way at a time.
const UPLOADS_AT_ONCE: usize = 4;

const HEADER: u8 = b'H';
const PART: u8 = b'P';
const FOOTER: u8 = b'F';

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    v: u32,
    query_id: QueryId,
    batch: u64,
    epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    n_parts: u64,
}

/// Writes a snapshot and says how long it is; durable when this returns.
pub async fn write(dir: &Location, query_id: QueryId, name: SnapshotName, tables: Vec<(StoreId, FrozenTable)>) -> Result<u64> {
    let file_name = StateFile::Snapshot(name).name();
    let header = Header { v: SNAPSHOT_VERSION, query_id, batch: name.batch.0, epoch: name.epoch.0 };
    match dir.join(&file_name) {
        Location::Local { fs, path } => {
            blocking(move || {
                let tmp = path.with_file_name(format!("{file_name}.tmp"));
                if fs.exists(&tmp)? {
                    fs.remove(&tmp)?;
                }
                let mut file = fs.create_new(&tmp)?;
                for frame in Frames::new(&header, tables)? {
                    file.write_all(&frame?)?;
                }
                file.sync_data()?;
                let len = file.len();
                drop(file);
                fs.rename(&tmp, &path)?;
                fs.sync_dir(parent_of(&path))?;
                Ok(len)
            })
            .await
        }
        Location::Object { store, prefix, .. } => {
            let upload = store.put_multipart(&prefix).await.map_err(store_error)?;
            let (mut upload, mut len) = (WriteMultipart::new(upload), 0);
            for frame in Frames::new(&header, tables)? {
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => {
                        upload.abort().await.map_err(store_error)?;
                        return Err(error);
                    }
                };
                upload.wait_for_capacity(UPLOADS_AT_ONCE).await.map_err(store_error)?;
                len += frame.len() as u64;
                upload.put(Bytes::from(frame));
            }
            upload.finish().await.map_err(store_error)?;
            Ok(len)
        }
    }
}

/// Reads a snapshot part by part. Damage is an error of kind `Data`.
#[derive(Debug)]
pub struct SnapshotReader {
    frames: FrameReader,
    n_parts: u64,
}

impl SnapshotReader {
    /// Opens a file of `len` bytes. `query_id` is whose it must be.
    pub async fn open(dir: &Location, query_id: QueryId, name: SnapshotName, len: u64) -> Result<Self> {
        let mut frames = FrameReader::new(dir.join(&StateFile::Snapshot(name).name()), len);
        let payload = frames.next().await?;
        let header: Header = match payload.as_deref().and_then(<[u8]>::split_first) {
            Some((&HEADER, json)) => serde_json::from_slice(json).map_err(|error| Error::data(format!("its header: {error}")))?,
            _ => return Err(Error::data("it has no header")),
        };
        if header.v > SNAPSHOT_VERSION {
            let v = header.v;
            return Err(Error::data(format!("its format version is {v} and this build reads up to {SNAPSHOT_VERSION}: use a newer build")));
        }
        if (header.query_id, header.batch, header.epoch) != (query_id, name.batch.0, name.epoch.0) {
            return Err(Error::data(format!("it is that of batch {} of query {}", header.batch, header.query_id)));
        }
        Ok(Self { frames, n_parts: 0 })
    }

    /// Reads a file through: whether it is whole, but for what its parts say.
    pub async fn check(dir: &Location, query_id: QueryId, name: SnapshotName, len: u64) -> Result<()> {
        let mut reader = Self::open(dir, query_id, name, len).await?;
        while reader.next_payload().await?.is_some() {}
        Ok(())
    }

    /// The next part, or `None` when all have been read and none is missing.
    pub async fn next(&mut self) -> Result<Option<(StoreId, TableDelta)>> {
        self.next_payload().await?.map(|payload| part::decode(&payload).map_err(Error::data)).transpose()
    }

    /// As [`SnapshotReader::next`], as it is stored.
    pub async fn next_payload(&mut self) -> Result<Option<Bytes>> {
        let payload = self.frames.next().await?.ok_or_else(|| Error::data("its end is missing"))?;
        match payload.split_first() {
            Some((&PART, _)) => {
                self.n_parts += 1;
                Ok(Some(payload.slice(1..)))
            }
            Some((&FOOTER, json)) => {
                let footer: Footer = serde_json::from_slice(json).map_err(|error| Error::data(format!("its footer: {error}")))?;
                if footer.n_parts != self.n_parts || self.frames.next().await?.is_some() {
                    return Err(Error::data(format!("its footer names {} parts and it has {}", footer.n_parts, self.n_parts)));
                }
                Ok(None)
            }
            _ => Err(Error::data("it has a frame of another kind")),
        }
    }
}

/// The frames of a snapshot, made one by one.
struct Frames {
    header: Option<Vec<u8>>,
    parts: Box<dyn Iterator<Item = Result<(StoreId, TableDelta)>> + Send>,
    n_parts: u64,
    offset: u64,
    is_ended: bool,
}

impl Frames {
    /// Rows in memory come first: as long as they are held, a table that changes them keeps them twice.
    fn new(header: &Header, tables: Vec<(StoreId, FrozenTable)>) -> Result<Self> {
        let split = tables.into_iter().map(|(id, table)| {
            let (in_memory, on_disk) = table.split();
            ((id.clone(), in_memory), (id, on_disk))
        });
        let (in_memory, on_disk): (Vec<_>, Vec<_>) = split.unzip();
        let parts = in_memory.into_iter().chain(on_disk).flat_map(|(id, table)| {
            let schema = Arc::clone(&table.schema);
            large_batches(table).map(move |rows| Ok((id.clone(), only_rows(Arc::clone(&schema), rows?))))
        });
        Ok(Self { header: Some(tagged(HEADER, header)?), parts: Box::new(parts), n_parts: 0, offset: 0, is_ended: false })
    }

    /// Appends the payload of the next frame; says whether there is one.
    fn next_payload(&mut self, payload: &mut Vec<u8>) -> Result<Next> {
        if let Some(header) = self.header.take() {
            payload.extend_from_slice(&header);
        } else if let Some(part) = self.parts.next() {
            self.n_parts += 1;
            let (id, rows) = part?;
            payload.push(PART);
            part::encode(&id, &rows, payload)?;
        } else if std::mem::replace(&mut self.is_ended, true) {
            return Ok(Next::End);
        } else {
            payload.extend_from_slice(&tagged(FOOTER, &Footer { n_parts: self.n_parts })?);
        }
        Ok(Next::Frame)
    }
}

/// Whether a frame was there.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Frame,
    End,
}

impl Iterator for Frames {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        let (mut frame, mut next) = (Vec::new(), Next::End);
        let encoded = frame::encode_with(self.offset, &mut frame, |payload| {
            next = self.next_payload(payload)?;
            Ok(())
        });
        self.offset += frame.len() as u64;
        match encoded {
            Ok(()) => (next == Next::Frame).then_some(Ok(frame)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// The rows of a table, small batches put together.
fn large_batches(table: FrozenTable) -> impl Iterator<Item = Result<StoreRows>> + Send {
    let mut batches = table.into_rows();
    std::iter::from_fn(move || {
        let (mut gathered, mut n_rows) = (Vec::new(), 0);
        while n_rows < ROWS_PER_PART {
            match batches.next() {
                Some(Ok(rows)) => {
                    n_rows += rows.n_rows;
                    gathered.push(rows);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!gathered.is_empty()).then(|| concat_rows(&gathered))
    })
}

/// Batches of the same columns as one.
pub fn concat_rows(batches: &[StoreRows]) -> Result<StoreRows> {
    if let [one] = batches {
        return Ok(one.clone());
    }
    let column = |pick: &dyn Fn(&StoreRows) -> Option<ArrayRef>| -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = batches.iter().filter_map(pick).collect();
        let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
        concat(&columns).map_err(arrow_error)
    };
    let columns = |pick: fn(&StoreRows) -> &Vec<ArrayRef>| -> Result<Vec<ArrayRef>> {
        let n = batches.first().map_or(0, |rows| pick(rows).len());
        (0..n).map(|at| column(&|rows| pick(rows).get(at).cloned())).collect()
    };
    let expiry = if batches.iter().any(|rows| rows.expiry.is_some()) {
        let expiries = batches.iter().flat_map(|rows| match &rows.expiry {
            Some(expiry) => expiry.iter().collect::<Vec<_>>(),
            None => vec![None; rows.n_rows],
        });
        Some(expiries.collect::<Int64Array>())
    } else {
        None
    };
    let n_rows = batches.iter().map(|rows| rows.n_rows).sum();
    Ok(StoreRows { n_rows, keys: columns(|rows| &rows.keys)?, expiry, values: columns(|rows| &rows.values)? })
}

fn only_rows(schema: Arc<StoreSchema>, upserted: StoreRows) -> TableDelta {
    let removed = empty(schema.keys());
    TableDelta { schema, expired_to: None, n_removed: 0, removed, upserted }
}

fn tagged(tag: u8, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut payload = vec![tag];
    serde_json::to_writer(&mut payload, value).map_err(|error| Error::internal(error.to_string()))?;
    Ok(payload)
}

#[cfg(test)]
mod tests;
