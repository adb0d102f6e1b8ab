//! Opening files for reading: local or from a store, checked against what was planned, decompressed by suffix.
//!
//! Everything is a blocking [`Read`], because decompressors and decoders are; it runs on threads that may block. Never
//! holds more than a buffer of a file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use millstream_core::{Error, ErrorKind, Result};
use millstream_state::Location;
use object_store::{GetOptions, GetRange, ObjectStoreExt};
use tokio::runtime::Handle;

use super::listing::modified_us;
use super::splits::FilePiece;

/// The class of [`changed`]: `ignoreCorruptFiles` does not hide a file that somebody writes to.
const FILE_CHANGED: &str = "FAILED_READ_FILE.FILE_CHANGED";

/// How much is read at once.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// A compression that a suffix names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Bzip2,
    Zstd,
}

impl Codec {
    /// The compression of a file by its name.
    pub(super) fn of(path: &str) -> Result<Option<Self>> {
        let suffix = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, suffix)| suffix);
        match suffix.to_ascii_lowercase().as_str() {
            "gz" => Ok(Some(Self::Gzip)),
            "bz2" => Ok(Some(Self::Bzip2)),
            "zst" | "zstd" => Ok(Some(Self::Zstd)),
            other @ ("lz4" | "snappy" | "deflate" | "xz" | "zip") => {
                Err(Error::unsupported(format!("'{path}': files compressed as .{other} cannot be read"))
                    .hint("supported compressions are .gz, .bz2 and .zst"))
            }
            _ => Ok(None),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        }
    }
}

/// A file open for reading, decompressed.
pub(super) struct OpenFile {
    reader: Box<dyn Read + Send>,
    /// Bytes of the file read so far, before decompression.
    n_raw: Arc<AtomicU64>,
    codec: Option<Codec>,
    path: String,
    /// Looked at again at the end: a file that changed while it was read gave rows that nobody can read again.
    local: Option<(File, i64)>,
    expected_raw: u64,
}

impl OpenFile {
    /// Opens a piece: of a whole file, or `range` of it. `None` if the file is gone.
    pub(super) fn open(base: &Location, piece: &FilePiece, range: Option<(u64, u64)>) -> Result<Option<Self>> {
        let codec = Codec::of(&piece.path)?;
        let n_raw = Arc::new(AtomicU64::new(0));
        let (start, end) = range.unwrap_or((0, piece.size));
        let (raw, local): (Box<dyn Read + Send>, _) = match base {
            Location::Object { .. } => match open_object(base, piece, start, end)? {
                Some(reader) => (Box::new(reader), None),
                None => return Ok(None),
            },
            _ => match open_local(piece)? {
                Some(mut file) => {
                    let again = file.try_clone()?;
                    if start > 0 {
                        file.seek(SeekFrom::Start(start))?;
                    }
                    (Box::new(file.take(end - start)), Some((again, piece.mtime_us)))
                }
                None => return Ok(None),
            },
        };
        let counted = Counted { inner: raw, n: Arc::clone(&n_raw) };
        let reader: Box<dyn Read + Send> = match codec {
            None => Box::new(counted),
            Some(Codec::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, counted))),
            Some(Codec::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, counted))),
            Some(Codec::Zstd) => Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, counted))?),
        };
        Ok(Some(Self { reader, n_raw, codec, path: piece.path.clone(), local, expected_raw: end - start }))
    }

    /// Fills `buffer` as far as a read does; 0 at the end, when the file is checked once more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        // An empty file of any suffix has no content.
        if self.expected_raw == 0 {
            return Ok(0);
        }
        let n = loop {
            match self.reader.read(buffer) {
                Ok(n) => break n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        };
        if n == 0 {
            self.check_unchanged()?;
        }
        Ok(n)
    }

    fn check_unchanged(&self) -> Result<()> {
        let n_raw = self.n_raw.load(Ordering::Relaxed);
        if n_raw < self.expected_raw {
            return Err(changed(&self.path, &format!("it ended after {n_raw} of {} bytes", self.expected_raw)));
        }
        if let Some((file, mtime_us)) = &self.local
            && modified_us(&file.metadata()?) != *mtime_us
        {
            return Err(changed(&self.path, "it was modified while it was read"));
        }
        Ok(())
    }

    fn read_error(&self, error: std::io::Error) -> Error {
        let (path, n_raw) = (&self.path, self.n_raw.load(Ordering::Relaxed));
        let codec = self.codec.map_or("", Codec::name);
        if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return ours.clone().context(format!("reading '{path}'"));
        }
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof if n_raw < self.expected_raw => {
                self.check_unchanged().err().unwrap_or_else(|| Error::data(format!("file '{path}' is truncated at byte {n_raw}")))
            }
            std::io::ErrorKind::UnexpectedEof => {
                Error::data(format!("file '{path}' is truncated: its {codec} data breaks off at byte {n_raw}"))
            }
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Other if self.codec.is_some() => {
                Error::data(format!("file '{path}' is damaged: its {codec} data cannot be read near byte {n_raw}: {error}"))
            }
            _ => Error::new(ErrorKind::Unavailable, format!("file '{path}' cannot be read at byte {n_raw}: {error}")),
        }
        .hint("set ignoreCorruptFiles to leave out what cannot be read")
        .caused_by(error)
    }
}

/// A file that is not the one that was planned.
pub(super) fn changed(path: &str, what: &str) -> Error {
    Error::data(format!("file '{path}' changed between planning and reading: {what}"))
        .code(FILE_CHANGED)
        .hint("write files elsewhere and move them into the folder when they are complete")
}

/// A file that is not there any more.
pub(super) fn vanished(path: &str) -> Error {
    Error::data(format!("file '{path}' vanished between planning and reading"))
        .code("FAILED_READ_FILE.FILE_NOT_EXIST")
        .hint("set ignoreMissingFiles to go on without files that vanish")
}

/// Opens and compares with the plan; `None` if the file is gone.
pub(super) fn open_local(piece: &FilePiece) -> Result<Option<File>> {
    let file = match File::open(&piece.path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(format!("opening '{}'", piece.path))),
    };
    let metadata = file.metadata()?;
    if metadata.len() != piece.size {
        return Err(changed(&piece.path, &format!("its size was {} and is {} bytes", piece.size, metadata.len())));
    }
    if modified_us(&metadata) != piece.mtime_us {
        return Err(changed(&piece.path, "its modification time is another"));
    }
    Ok(Some(file))
}

fn open_object(base: &Location, piece: &FilePiece, start: u64, end: u64) -> Result<Option<StoreRead>> {
    let Location::Object { store, .. } = base else { return Ok(None) };
    let handle = Handle::try_current().map_err(|_| Error::internal("an object is read outside of a tokio runtime"))?;
    let key = object_store::path::Path::parse(&piece.path).map_err(|error| Error::internal(error.to_string()))?;
    if piece.size == 0 {
        let exists = handle.block_on(store.head(&key)).is_ok();
        return Ok(exists.then(|| StoreRead { stream: futures::stream::empty().boxed(), handle, current: Bytes::new() }));
    }
    let options = GetOptions { range: Some(GetRange::Bounded(start..end)), ..GetOptions::default() };
    let found = match handle.block_on(store.get_opts(&key, options)) {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(millstream_state::location::store_error(error).context(format!("opening '{}'", piece.path))),
    };
    if found.meta.size != piece.size {
        return Err(changed(&piece.path, &format!("its size was {} and is {} bytes", piece.size, found.meta.size)));
    }
    if found.meta.last_modified.timestamp_micros() != piece.mtime_us {
        return Err(changed(&piece.path, "its modification time is another"));
    }
    Ok(Some(StoreRead { stream: found.into_stream(), handle, current: Bytes::new() }))
}

/// A stream of bytes as a blocking reader.
struct StoreRead {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    handle: Handle,
    current: Bytes,
}

impl Read for StoreRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                Some(bytes) => {
                    self.current = bytes.map_err(|error| std::io::Error::other(millstream_state::location::store_error(error)))?
                }
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(buffer.len());
        if let Some(target) = buffer.get_mut(..n) {
            self.current.copy_to_slice(target);
        }
        Ok(n)
    }
}

struct Counted<R> {
    inner: R,
    n: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.n.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
