//! A file of rows sorted by hash, written once, read by block; and what of it stays in memory.
//!
//! ```text
//!  file:    block │ block │ .. │ due page │ due page │ ..        block: some rows, about 1 KiB
//!           row: key length u32 │ value length u32, highest bit: has an expiry │ [expiry i64] │ key │ values, both in row format
//!           due page: (expiry i64, row u32) by expiry, 512 of them
//!  memory:  filter, 18 bits a row │ place and checksum of each block and page
//! ```
//! The checksums are in memory, so whatever is read back that was not written there and then is noticed. The file goes when the
//! last of those who share the segment lets go of it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use millstream_core::{Error, Result};

use super::folder::SpillFolder;
use super::hash_filter::HashFilter;
use super::memory::{Charge, StateMemory};

/// A segment is full with so many bytes, if it does not have all the rows that it may have.
const BYTES_MAX: u64 = 64 << 20;

/// Blocks are of about so many bytes: one is read for one row.
const BLOCK_BYTES: usize = 1 << 10;

/// And of so many rows at most, as they are gone through one by one.
const BLOCK_ROWS_MAX: usize = 64;

/// Who reads all rows reads so many blocks at a time.
const BLOCKS_AHEAD: usize = 64;

const DUE_BYTES: usize = 12;
const DUES_PER_PAGE: usize = 512;

const HEAD_BYTES: usize = 8;
const HAS_EXPIRY: u32 = 1 << 31;

/// A row as it lies in a segment.
#[derive(Debug, Clone, Copy)]
pub struct SpilledRow<'a> {
    /// In row format.
    pub key: &'a [u8],
    pub expiry: Option<i64>,
    /// In row format; empty in a store without values.
    pub values: &'a [u8],
}

/// A written segment.
#[derive(Debug)]
pub struct Segment {
    file: SpillFile,
    n_rows: usize,
    rows_per_block: usize,
    blocks: Places,
    filter: HashFilter,
    first_hash: u64,
    last_hash: u64,
    pages: Places,
    n_dues: usize,
    first_due: Option<i64>,
    charge: Charge,
}

/// Where the pieces of a file end, and their checksums.
#[derive(Debug, Default)]
struct Places {
    begin: u32,
    ends: Vec<u32>,
    checksums: Vec<u32>,
}

/// Removed when dropped.
#[derive(Debug)]
struct SpillFile {
    path: PathBuf,
    /// Stays as long as its files.
    _folder: Arc<SpillFolder>,
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(file = %self.path.display(), %error, "a file of spilled state was not removed");
        }
    }
}

/// Writes a segment.
#[derive(Debug)]
pub struct SegmentWriter {
    out: BufWriter<File>,
    file: SpillFile,
    rows_max: usize,
    rows_per_block: usize,
    block: Vec<u8>,
    blocks: Places,
    hashes: Vec<u64>,
    dues: Vec<(i64, u32)>,
}

impl SegmentWriter {
    /// Rows are expected to have about `row_bytes` bytes.
    pub fn create(memory: &StateMemory, row_bytes: usize) -> Result<Self> {
        let (folder, path) = memory.next_file()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = SpillFile { path, _folder: folder };
        let out = options.open(&file.path).map_err(|error| file.failed("create", error))?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 16, out),
            file,
            rows_max: memory.rows_per_segment(),
            rows_per_block: (BLOCK_BYTES / (row_bytes + HEAD_BYTES)).clamp(1, BLOCK_ROWS_MAX),
            block: Vec::new(),
            blocks: Places::default(),
            hashes: Vec::new(),
            dues: Vec::new(),
        })
    }

    /// Adds a row behind those with smaller hashes; of equal ones by key.
    pub fn push(&mut self, hash: u64, row: SpilledRow<'_>) -> Result<()> {
        let too_large = || Error::exhausted("a row of state is too large to be spilled").hint("raise state.memoryLimit");
        let key_len = u32::try_from(row.key.len()).map_err(|_| too_large())?;
        let values_len = u32::try_from(row.values.len()).ok().filter(|len| len & HAS_EXPIRY == 0).ok_or_else(too_large)?;
        let at = u32::try_from(self.hashes.len()).map_err(|_| too_large())?;
        self.block.extend(key_len.to_le_bytes());
        self.block.extend((values_len | if row.expiry.is_some() { HAS_EXPIRY } else { 0 }).to_le_bytes());
        if let Some(expiry) = row.expiry {
            self.block.extend(expiry.to_le_bytes());
            self.dues.push((expiry, at));
        }
        self.block.extend(row.key);
        self.block.extend(row.values);
        self.hashes.push(hash);
        if self.hashes.len().is_multiple_of(self.rows_per_block) {
            self.end_block()?;
        }
        Ok(())
    }

    /// Whether the next row should go to another segment.
    pub fn is_full(&self) -> bool {
        self.hashes.len() >= self.rows_max || u64::from(self.blocks.end()) >= BYTES_MAX
    }

    /// The segment; `None` if it has no row.
    pub fn finish(mut self, memory: &StateMemory) -> Result<Option<Segment>> {
        self.end_block()?;
        let (Some(first_hash), Some(last_hash)) = (self.hashes.first().copied(), self.hashes.last().copied()) else { return Ok(None) };
        self.dues.sort_unstable();
        let mut pages = Places { begin: self.blocks.end(), ..Places::default() };
        for page in self.dues.chunks(DUES_PER_PAGE) {
            self.block.clear();
            page.iter().for_each(|(expiry, row)| {
                self.block.extend(expiry.to_le_bytes());
                self.block.extend(row.to_le_bytes());
            });
            self.out.write_all(&self.block).map_err(|error| self.file.failed("write", error))?;
            pages.push(&self.block)?;
        }
        self.out.flush().map_err(|error| self.file.failed("write", error))?;
        let mut segment = Segment {
            file: self.file,
            n_rows: self.hashes.len(),
            rows_per_block: self.rows_per_block,
            blocks: self.blocks,
            filter: HashFilter::new(&self.hashes),
            first_hash,
            last_hash,
            pages,
            n_dues: self.dues.len(),
            first_due: self.dues.first().map(|(expiry, _)| *expiry),
            charge: Charge::default(),
        };
        segment.blocks.shrink();
        segment.charge = memory.charge(segment.memory_bytes());
        Ok(Some(segment))
    }

    fn end_block(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            self.out.write_all(&self.block).map_err(|error| self.file.failed("write", error))?;
            self.blocks.push(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }
}

impl Segment {
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn disk_bytes(&self) -> u64 {
        u64::from(self.pages.end().max(self.blocks.end()))
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.filter.bytes() + self.blocks.bytes() + self.pages.bytes()
    }

    pub fn hashes(&self) -> (u64, u64) {
        (self.first_hash, self.last_hash)
    }

    /// The rows that may have this hash.
    pub fn rows_with(&self, hash: u64) -> std::ops::Range<usize> {
        self.filter.rows(hash)
    }

    /// The earliest expiry.
    pub fn first_due(&self) -> Option<i64> {
        self.first_due
    }

    /// Reads some rows, each by its block.
    pub fn read(&self) -> Result<SegmentReader<'_>> {
        self.reader(1)
    }

    /// Reads rows one behind the other.
    pub fn read_through(&self) -> Result<SegmentReader<'_>> {
        self.reader(BLOCKS_AHEAD)
    }

    fn reader(&self, n_blocks: usize) -> Result<SegmentReader<'_>> {
        let file = File::open(&self.file.path).map_err(|error| self.file.failed("open", error))?;
        Ok(SegmentReader { segment: self, file, n_blocks, first_block: 0, held: Vec::new(), bytes: Vec::new(), row: (0, 0, 0), n_read: 0 })
    }
}

/// Reads rows of a segment; holds the blocks it read last.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    segment: &'a Segment,
    file: File,
    /// So many are read at a time.
    n_blocks: usize,
    first_block: usize,
    /// Where the blocks in `bytes` begin.
    held: Vec<usize>,
    bytes: Vec<u8>,
    /// Where in its block the last row was: block, row, and its first byte.
    row: (usize, usize, usize),
    n_read: u64,
}

impl SegmentReader<'_> {
    /// Bytes read so far.
    pub fn n_read(&self) -> u64 {
        self.n_read
    }

    /// A row.
    pub fn row(&mut self, row: usize) -> Result<SpilledRow<'_>> {
        let (block, in_block) = (row / self.segment.rows_per_block, row % self.segment.rows_per_block);
        let held = self.held(block)?;
        let damaged = || self.segment.file.damaged(&format!("block {block}"));
        let bytes = self.bytes.get(held..).ok_or_else(damaged)?;
        // Often rows are asked for in their order.
        let (mut at, mut begin) = match self.row {
            (last_block, last_row, begin) if last_block == block && last_row <= in_block => (last_row, begin),
            _ => (0, 0),
        };
        loop {
            let (parsed, len) = parse(bytes.get(begin..).ok_or_else(damaged)?).ok_or_else(damaged)?;
            if at == in_block {
                self.row = (block, at, begin);
                return Ok(parsed);
            }
            at += 1;
            begin += len;
        }
    }

    /// The rows from the `from`th of the earliest expiries on that are due at `t`, some at a time; `None` if none is. Also says what is due
    /// next behind those.
    pub fn dues(&mut self, from: usize, t: i64) -> Result<Dues> {
        let (segment, page) = (self.segment, from / DUES_PER_PAGE);
        let mut dues = Dues { rows: Vec::new(), next: None };
        if from >= segment.n_dues {
            return Ok(dues);
        }
        let bytes = self.load(&segment.pages, page..page + 1, "due page")?;
        for due in bytes.chunks_exact(DUE_BYTES).skip(from % DUES_PER_PAGE) {
            let (expiry, row) = due.split_at(8);
            let expiry = i64::from_le_bytes(expiry.try_into().unwrap_or_default());
            if expiry > t {
                dues.next = Some(expiry);
                return Ok(dues);
            }
            dues.rows.push(u32::from_le_bytes(row.try_into().unwrap_or_default()));
        }
        // The next page knows.
        dues.next = (from + dues.rows.len() < segment.n_dues).then_some(i64::MIN);
        Ok(dues)
    }

    /// Where in the buffer a block begins, which is read if it is not there.
    fn held(&mut self, block: usize) -> Result<usize> {
        if let Some(begin) = block.checked_sub(self.first_block).and_then(|at| self.held.get(at)) {
            return Ok(*begin);
        }
        let segment = self.segment;
        let blocks = block..(block + self.n_blocks).min(segment.blocks.ends.len());
        self.bytes = self.load(&segment.blocks, blocks.clone(), "block")?;
        let (begin, _) = segment.blocks.range(block);
        self.held.extend(blocks.map(|block| segment.blocks.range(block).0 - begin));
        self.first_block = block;
        self.row = (usize::MAX, 0, 0);
        Ok(0)
    }

    fn load(&mut self, places: &Places, pieces: std::ops::Range<usize>, what: &str) -> Result<Vec<u8>> {
        let file = &self.segment.file;
        let (begin, _) = places.range(pieces.start);
        let (_, end) = places.range(pieces.end.saturating_sub(1));
        self.held.clear();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(end.saturating_sub(begin), 0);
        read_at(&self.file, &mut bytes, begin as u64).map_err(|error| file.failed("read", error))?;
        self.n_read += bytes.len() as u64;
        for piece in pieces {
            let (from, to) = places.range(piece);
            let is_whole = bytes.get(from - begin..to - begin).map(crc32c::crc32c) == places.checksums.get(piece).copied();
            if !is_whole || from == to {
                return Err(file.damaged(&format!("{what} {piece}")));
            }
        }
        Ok(bytes)
    }
}

/// Rows that are due.
#[derive(Debug)]
pub struct Dues {
    pub rows: Vec<u32>,
    /// When the next one is due; the earliest moment if only the file knows.
    pub next: Option<i64>,
}

impl Places {
    fn push(&mut self, piece: &[u8]) -> Result<()> {
        let end = u32::try_from(piece.len()).ok().and_then(|len| self.end().checked_add(len));
        let end = end.ok_or_else(|| Error::exhausted("rows of state are too large to be spilled").hint("raise state.memoryLimit"))?;
        self.ends.push(end);
        self.checksums.push(crc32c::crc32c(piece));
        Ok(())
    }

    fn end(&self) -> u32 {
        self.ends.last().copied().unwrap_or(self.begin)
    }

    fn range(&self, piece: usize) -> (usize, usize) {
        let begin = piece.checked_sub(1).map_or(self.begin, |before| self.ends.get(before).copied().unwrap_or(self.begin));
        (begin as usize, self.ends.get(piece).copied().unwrap_or(begin) as usize)
    }

    fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.checksums.shrink_to_fit();
    }

    fn bytes(&self) -> usize {
        (self.ends.capacity() + self.checksums.capacity()) * size_of::<u32>()
    }
}

impl SpillFile {
    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::NotFound && what != "create" {
            return self.damaged("it is gone");
        }
        let is_full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let error = Error::from(error).context(format!("cannot {what} spilled state '{}'", self.path.display()));
        if is_full { error.hint("make room there, set state.spillDir to another folder, or raise state.memoryLimit") } else { error }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::data(format!("spilled state '{}' is not as it was written: {what}", self.path.display()))
            .hint("the checkpoint has nothing of it: start the query again")
    }
}

/// The first row of `bytes`, and its length.
fn parse(bytes: &[u8]) -> Option<(SpilledRow<'_>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [a, b, c, d, e, f, g, h] = *head;
    let (key_len, values_len) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
    let (expiry, rest) = if values_len & HAS_EXPIRY == 0 {
        (None, rest)
    } else {
        let (expiry, rest) = rest.split_first_chunk::<8>()?;
        (Some(i64::from_le_bytes(*expiry)), rest)
    };
    let values_len = (values_len & !HAS_EXPIRY) as usize;
    let (key, rest) = rest.split_at_checked(key_len)?;
    let values = rest.get(..values_len)?;
    let len = HEAD_BYTES + if expiry.is_some() { 8 } else { 0 } + key_len + values_len;
    Some((SpilledRow { key, expiry, values }, len))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
