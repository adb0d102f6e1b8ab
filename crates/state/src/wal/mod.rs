//! The write-ahead log of a push source: what was received is durable before a batch may read it, and can be read again.
//!
//! ```text
//!  <dir>/0000000000000002.wal      segment 2
//!      | frame: header {v, segment, previous, previous_rows} | frame: group of rows | frame: group | ...
//!
//!  group: n u32 | n x ( received_us i64 | len u32 | bytes )       little endian
//!
//!  receive ─► append(group) = one write + fdatasync ─► rows may be planned ─► read(range) as often as needed ─► trim
//! ```
//! A run writes to segments it created only; a torn tail is cut when read, and the next run replaces the newest segment by
//! a synced copy without it (never in place). The header of the next segment says how many rows the one before has, so a cut made once is the same for ever. Nobody else may write:
//! the checkpoint's lock sees to that. All calls block; see [`crate::fs::blocking`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::fs::{AppendFile, FileSystem};

mod segment;

pub use segment::WalRow;
use segment::{SegmentHeader, file_name, list_segments, read_segment};

/// A place between two rows; all rows before it are lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WalPosition {
    /// The segment.
    pub segment: u64,
    /// The row within it, from 0.
    pub row: u64,
}

/// How the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// A segment is closed when it has reached so many bytes.
    pub segment_bytes: u64,
    /// At most so many bytes of segments; an append beyond it fails. 0 = no limit.
    pub bytes_max: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, bytes_max: 0 }
    }
}

/// The writer: one per log.
#[derive(Debug)]
pub struct Wal {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    options: WalOptions,
    closed: Vec<ClosedSegment>,
    /// Segments that hold nothing anybody needs: begun when a crash came, or trimmed and back after a power loss.
    leftover: Vec<u64>,
    open: Option<OpenSegment>,
    next_segment: u64,
    poison: Option<Error>,
}

#[derive(Debug, Clone, Copy)]
struct ClosedSegment {
    segment: u64,
    rows: u64,
    bytes: u64,
}

#[derive(Debug)]
struct OpenSegment {
    file: Box<dyn AppendFile>,
    segment: u64,
    rows: u64,
}

impl Wal {
    /// Opens or creates the log in a folder and cuts what a crash left torn.
    pub fn open(fs: Arc<dyn FileSystem>, dir: &Path, options: WalOptions) -> Result<Self> {
        fs.create_dir_all(dir)?;
        let segments = list_segments(fs.as_ref(), dir)?;
        let (mut closed, mut leftover) = (Vec::<ClosedSegment>::new(), Vec::new());
        for segment in &segments {
            let path = dir.join(file_name(*segment));
            let content = read_segment(fs.as_ref(), &path, *segment)?;
            let Some(header) = content.header else {
                leftover.push(*segment);
                continue;
            };
            if segments.last() == Some(segment) {
                // A run that was killed, or whose sync failed, may have left rows that are in memory only; from here on
                // they are relied on. Syncing the old file again might report success without writing them.
                fs.replace_synced(&path, &content.whole)?;
            }
            match closed.last() {
                Some(before) if header.previous == Some(before.segment) && header.previous_rows != before.rows => {
                    let what = format!("it has {} rows and the segment behind it says {}", before.rows, header.previous_rows);
                    return Err(segment::damaged(&dir.join(file_name(before.segment)), &what));
                }
                // The one between was trimmed, so these were too: their removal was not durable.
                Some(before) if header.previous != Some(before.segment) => {
                    leftover.extend(closed.drain(..).map(|closed| closed.segment));
                }
                _ => {}
            }
            closed.push(ClosedSegment { segment: *segment, rows: content.rows.len() as u64, bytes: content.whole.len() as u64 });
        }
        let next_segment = segments.last().map_or(0, |last| last + 1);
        Ok(Self { fs, dir: dir.to_owned(), options, closed, leftover, open: None, next_segment, poison: None })
    }

    /// Appends rows (time of receipt in microseconds, bytes); they are durable when this returns. Gives the position
    /// behind the last one. After an error the log must be opened again.
    pub fn append(&mut self, rows: &[(i64, &[u8])]) -> Result<WalPosition> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone().context("the write-ahead log failed before"));
        }
        if rows.is_empty() {
            return Ok(self.end());
        }
        let group = segment::encode_group(rows)?;
        if self.options.bytes_max > 0 && self.len_bytes() + group.len() as u64 > self.options.bytes_max {
            return Err(Error::exhausted(format!(
                "the write-ahead log in '{}' has reached its limit of {} bytes",
                self.dir.display(),
                self.options.bytes_max
            )));
        }
        match self.write(&group, rows.len() as u64) {
            Ok(()) => Ok(self.end()),
            Err(error) => {
                let error = error.context(format!("writing to the write-ahead log in '{}'", self.dir.display()));
                self.poison = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The position of the oldest row that is kept.
    pub fn start(&self) -> WalPosition {
        match self.closed.first() {
            Some(first) => WalPosition { segment: first.segment, row: 0 },
            None => self.open.as_ref().map_or_else(|| self.end(), |open| WalPosition { segment: open.segment, row: 0 }),
        }
    }

    /// The position behind the newest durable row.
    pub fn end(&self) -> WalPosition {
        match (&self.open, self.closed.last()) {
            (Some(open), _) => WalPosition { segment: open.segment, row: open.rows },
            (None, Some(last)) => WalPosition { segment: last.segment, row: last.rows },
            (None, None) => WalPosition { segment: self.next_segment, row: 0 },
        }
    }

    /// Rows from one position to another that is not behind [`Wal::end`].
    pub fn n_rows(&self, from: WalPosition, to: WalPosition) -> u64 {
        let open = self.open.iter().map(|open| (open.segment, open.rows));
        let all = self.closed.iter().map(|closed| (closed.segment, closed.rows)).chain(open);
        all.filter(|(segment, _)| (from.segment..=to.segment).contains(segment))
            .map(|(segment, rows)| {
                let first = if segment == from.segment { from.row } else { 0 };
                let end = if segment == to.segment { to.row } else { rows };
                end.saturating_sub(first)
            })
            .sum()
    }

    /// The position `n_rows` rows behind `from`, or the end.
    pub fn advance(&self, from: WalPosition, n_rows: u64) -> WalPosition {
        let open = self.open.iter().map(|open| (open.segment, open.rows));
        let mut left = n_rows;
        for (segment, rows) in self.closed.iter().map(|closed| (closed.segment, closed.rows)).chain(open) {
            if segment < from.segment {
                continue;
            }
            let first = if segment == from.segment { from.row } else { 0 };
            let here = rows.saturating_sub(first);
            if left <= here {
                return WalPosition { segment, row: first + left };
            }
            left -= here;
        }
        self.end().max(from)
    }

    /// Bytes on disk.
    pub fn len_bytes(&self) -> u64 {
        self.closed.iter().map(|closed| closed.bytes).sum::<u64>() + self.open.as_ref().map_or(0, |open| open.file.len())
    }

    /// Removes the segments whose rows are all before `position`: they are committed and never read again.
    pub fn trim(&mut self, position: WalPosition) -> Result<()> {
        let mut gone: Vec<u64> = self.leftover.extract_if(.., |segment| *segment < position.segment).collect();
        gone.extend(self.closed.extract_if(.., |closed| closed.segment < position.segment).map(|closed| closed.segment));
        for segment in gone {
            match self.fs.remove(&self.dir.join(file_name(segment))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, group: &[u8], n_rows: u64) -> Result<()> {
        if let Some(full) = self.open.take_if(|open| open.file.len() >= self.options.segment_bytes) {
            self.closed.push(ClosedSegment { segment: full.segment, rows: full.rows, bytes: full.file.len() });
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let begun = self.begin_segment()?;
                self.open.insert(begun)
            }
        };
        let mut bytes = Vec::new();
        frame::encode(group, open.file.len(), &mut bytes)?;
        open.file.write_all(&bytes)?;
        open.file.sync_data()?;
        open.rows += n_rows;
        Ok(())
    }

    /// Creates the next segment, durable with its header before any row is in it: of two frames in one unsynced write
    /// the second may survive without the first, and that would look like damage.
    fn begin_segment(&mut self) -> Result<OpenSegment> {
        let (segment, previous) = (self.next_segment, self.closed.last());
        let header = SegmentHeader {
            v: 1,
            segment,
            previous: previous.map(|previous| previous.segment),
            previous_rows: previous.map_or(0, |previous| previous.rows),
        };
        let header = serde_json::to_vec(&header).map_err(|error| Error::internal(error.to_string()))?;
        let mut bytes = Vec::new();
        frame::encode(&header, 0, &mut bytes)?;
        let mut file = self.fs.create_new(&self.dir.join(file_name(segment)))?;
        self.next_segment += 1;
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.fs.sync_dir(&self.dir)?;
        Ok(OpenSegment { file, segment, rows: 0 })
    }
}

/// Reads the rows between two positions, segment by segment. The same positions give the same rows, always; the
/// positions are ones that [`Wal::append`] or [`Wal::advance`] gave.
pub fn read_range(fs: Arc<dyn FileSystem>, dir: &Path, from: WalPosition, to: WalPosition) -> Result<WalRows> {
    if to < from {
        return Err(Error::internal(format!("a range of a write-ahead log ends at {to:?}, before its start {from:?}")));
    }
    let segments =
        list_segments(fs.as_ref(), dir)?.into_iter().filter(|segment| (from.segment..=to.segment).contains(segment)).collect::<Vec<_>>();
    let missing = [(from, from != to), (to, to.row > 0 && from != to)]
        .into_iter()
        .find(|(position, is_needed)| *is_needed && !segments.contains(&position.segment));
    if let Some((position, _)) = missing {
        return Err(segment::damaged(&dir.join(file_name(position.segment)), "it is gone and a range needs it"));
    }
    Ok(WalRows { fs, dir: dir.to_owned(), from, to, segments: segments.into_iter(), rows: Vec::new().into_iter(), next: from })
}

/// The rows of a range; see [`read_range`]. Holds one segment in memory.
#[derive(Debug)]
pub struct WalRows {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    from: WalPosition,
    to: WalPosition,
    segments: std::vec::IntoIter<u64>,
    rows: std::vec::IntoIter<WalRow>,
    /// The place before the next row, as far as its segment is loaded.
    next: WalPosition,
}

impl WalRows {
    /// The place behind the row that was given last.
    pub fn position(&self) -> WalPosition {
        self.next
    }

    /// Whether the next row is of the same segment as the last one.
    pub fn stays_in_segment(&self) -> bool {
        self.rows.len() > 0
    }

    fn load(&mut self, segment: u64) -> Result<()> {
        let path = self.dir.join(file_name(segment));
        let rows = read_segment(self.fs.as_ref(), &path, segment)?.rows;
        let first = if segment == self.from.segment { self.from.row } else { 0 };
        let end = if segment == self.to.segment { self.to.row } else { rows.len() as u64 };
        if (rows.len() as u64) < end || end < first {
            return Err(segment::damaged(&path, &format!("it has {} rows and a range needs rows {first} to {end}", rows.len())));
        }
        let (first, n) = (usize::try_from(first).unwrap_or(usize::MAX), usize::try_from(end - first).unwrap_or(usize::MAX));
        self.next = WalPosition { segment, row: first as u64 };
        self.rows = rows.into_iter().skip(first).take(n).collect::<Vec<_>>().into_iter();
        Ok(())
    }
}

impl Iterator for WalRows {
    type Item = Result<WalRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                self.next.row += 1;
                return Some(Ok(row));
            }
            let segment = self.segments.next()?;
            if let Err(error) = self.load(segment) {
                self.segments = Vec::new().into_iter();
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
