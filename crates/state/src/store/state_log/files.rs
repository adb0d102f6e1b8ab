//! The files of the folder `state`: their names, and reading pieces of them, on local disks and object stores alike.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures::TryStreamExt;
use millstream_core::{BatchId, Error, Result, RunEpoch};
use object_store::ObjectStoreExt;

use crate::frame;
use crate::fs::{ReadFile, blocking};
use crate::location::{Location, store_error};

/// The folder of deltas and snapshots in the checkpoint folder.
pub const STATE_DIR: &str = "state";

/// Snapshots are read in pieces of so many bytes.
const READ_BYTES: u64 = 4 << 20;

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFile {
    /// Deltas of one run on a local disk, appended to.
    Segment { epoch: RunEpoch, segment: u32 },
    /// The delta of one attempt at a batch on an object store.
    Delta { epoch: RunEpoch, batch: BatchId, attempt: u32 },
    /// All state after a batch.
    Snapshot(SnapshotName),
    /// A snapshot that was not finished.
    Unfinished,
}

/// A snapshot: of which batch, and which run wrote it. The newest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    pub batch: BatchId,
    pub epoch: RunEpoch,
}

impl StateFile {
    pub fn name(self) -> String {
        match self {
            Self::Segment { epoch, segment } => format!("{:016}-{segment:08}.seg", epoch.0),
            Self::Delta { epoch, batch, attempt } => format!("{:016}-{:020}-{attempt:08}.delta", epoch.0, batch.0),
            Self::Snapshot(SnapshotName { batch, epoch }) => format!("{:020}-{:016}.snap", batch.0, epoch.0),
            Self::Unfinished => String::new(),
        }
    }

    /// `None` for what is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name.ends_with(".snap.tmp") {
            return Some(Self::Unfinished);
        }
        let (stem, extension) = name.rsplit_once('.')?;
        let mut numbers = stem.split('-').map(|number| number.parse::<u64>().ok());
        let mut number = || numbers.next().flatten();
        let file = match extension {
            "seg" => Self::Segment { epoch: RunEpoch(number()?), segment: number()?.try_into().ok()? },
            "delta" => Self::Delta { epoch: RunEpoch(number()?), batch: BatchId(number()?), attempt: number()?.try_into().ok()? },
            "snap" => Self::Snapshot(SnapshotName { batch: BatchId(number()?), epoch: RunEpoch(number()?) }),
            _ => return None,
        };
        (file.name() == name).then_some(file)
    }
}

/// The files of a folder with their lengths; none if there is no folder.
pub async fn list(dir: &Location) -> Result<Vec<(String, u64)>> {
    match dir.clone() {
        Location::Local { fs, path } => {
            blocking(move || match fs.list(&path) {
                Ok(entries) => Ok(entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| (entry.name, entry.len)).collect()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            })
            .await
        }
        Location::Object { store, prefix, .. } => {
            let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.map_err(store_error)?;
            let named = listed.iter().filter_map(|meta| Some((meta.location.filename()?.to_owned(), meta.size)));
            Ok(named.collect())
        }
    }
}

/// Some bytes of a file; `None` if it is not there or ends before.
pub async fn read(file: &Location, offset: u64, length: u64) -> Result<Option<Bytes>> {
    match file.clone() {
        Location::Local { fs, path } => {
            blocking(move || {
                let mut file = match fs.open_read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    file => file?,
                };
                Ok(read_at(&mut file, offset, length)?)
            })
            .await
        }
        Location::Object { store, prefix, .. } => match store.get_range(&prefix, offset..offset + length).await {
            Ok(bytes) => Ok((bytes.len() as u64 == length).then_some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            // A range behind the end is an error that has no kind of its own.
            Err(error) => match store.head(&prefix).await {
                Ok(meta) if meta.size < offset + length => Ok(None),
                _ => Err(store_error(error)),
            },
        },
    }
}

/// Removes files of a folder; those that are gone already are no error.
pub async fn remove(dir: &Location, names: &[String]) -> Result<()> {
    for name in names {
        match dir.join(name) {
            Location::Local { fs, path } => {
                blocking(move || match fs.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::from(error)),
                    _ => Ok(()),
                })
                .await?;
            }
            Location::Object { store, prefix, .. } => match store.delete(&prefix).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(store_error(error)),
            },
        }
    }
    Ok(())
}

/// Reads the frames of a file one after the other, without holding its content. A local file stays open, so that it can be
/// read to its end when a running query has removed it.
pub struct FrameReader {
    file: Location,
    open: Option<Box<dyn ReadFile>>,
    len: u64,
    /// Bytes of the file from `base` on.
    buffer: Bytes,
    base: u64,
}

impl FrameReader {
    /// Of a file of `len` bytes.
    pub fn new(file: Location, len: u64) -> Self {
        Self { file, open: None, len, buffer: Bytes::new(), base: 0 }
    }

    /// The payload of the next frame, `None` at the end of the file; damage is an error of kind `Data`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.base == self.len {
            return Ok(None);
        }
        self.fill(frame::HEADER_BYTES as u64).await?;
        if let Some(len) = frame::len_of(&self.buffer) {
            self.fill(len).await?;
        }
        match frame::next_in(&self.buffer, 0, self.base) {
            frame::Next::Frame { payload, end } => {
                let payload = self.buffer.slice_ref(payload);
                self.buffer = self.buffer.slice(end..);
                self.base += end as u64;
                Ok(Some(payload))
            }
            frame::Next::End => Err(Error::data(format!("it ends at byte {}", self.base))),
            frame::Next::Bad(why) => Err(Error::data(format!("{why} at byte {}", self.base))),
        }
    }

    /// Sees that the buffer has `wanted` bytes, if the file does.
    async fn fill(&mut self, wanted: u64) -> Result<()> {
        let wanted = wanted.min(self.len - self.base);
        let have = self.buffer.len() as u64;
        if have >= wanted {
            return Ok(());
        }
        let more = (wanted - have).max(READ_BYTES).min(self.len - self.base - have);
        let read = self.read(self.base + have, more).await?;
        let read = read.ok_or_else(|| Error::data("it is shorter than it was"))?;
        self.buffer = if have == 0 { read } else { Bytes::from([&self.buffer[..], &read[..]].concat()) };
        Ok(())
    }

    async fn read(&mut self, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let Location::Local { fs, path } = self.file.clone() else { return read(&self.file, offset, length).await };
        let open = self.open.take();
        let (open, bytes) = blocking(move || {
            let mut file = match open.map_or_else(|| fs.open_read(&path), Ok) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
                file => file?,
            };
            let bytes = read_at(&mut file, offset, length)?;
            Ok((Some(file), bytes))
        })
        .await?;
        self.open = open;
        Ok(bytes)
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("file", &self.file).field("base", &self.base).finish_non_exhaustive()
    }
}

fn read_at(file: &mut Box<dyn ReadFile>, offset: u64, length: u64) -> io::Result<Option<Bytes>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == length).then(|| Bytes::from(bytes)))
}
