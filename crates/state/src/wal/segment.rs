//! One segment of a write-ahead log: its name, its header, its groups of rows.

use std::io;
use std::path::Path;

use bytes::Bytes;
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::fs::FileSystem;

/// A row as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRow {
    /// When it was received: processing time, microseconds.
    pub received_us: i64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The first frame of a segment.
#[derive(Debug, Serialize, Deserialize)]
pub struct SegmentHeader {
    pub v: u32,
    pub segment: u64,
    /// The segment before it, if it was still kept.
    pub previous: Option<u64>,
    /// How many rows that one has: a tail that was torn then stays cut for ever.
    pub previous_rows: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub struct SegmentContent {
    /// Missing if the crash came while the segment was begun.
    pub header: Option<SegmentHeader>,
    pub rows: Vec<WalRow>,
    /// The bytes of the header and the whole groups: all but a torn tail.
    pub whole: Bytes,
}

/// Reads a segment up to its torn tail, if it has one; bad bytes with whole groups behind them are damage.
pub fn read_segment(fs: &dyn FileSystem, path: &Path, segment: u64) -> Result<SegmentContent> {
    let bytes = Bytes::from(fs.read(path)?);
    let mut content = SegmentContent::default();
    let mut at = 0;
    loop {
        match frame::next(&bytes, at) {
            frame::Next::End => {
                content.whole = bytes;
                return Ok(content);
            }
            frame::Next::Bad(why) => {
                return match frame::find(&bytes, at + 1) {
                    Some(good) => Err(damaged(path, &format!("bad rows at byte {at} ({why}) and good ones behind them, at byte {good}"))),
                    None => {
                        content.whole = bytes.slice(..at);
                        Ok(content)
                    }
                };
            }
            frame::Next::Frame { payload, end } => {
                if content.header.is_none() {
                    content.header = Some(check_header(payload, segment).map_err(|why| damaged(path, &why))?);
                } else {
                    let group = bytes.slice_ref(payload);
                    decode_group(group, &mut content.rows).ok_or_else(|| damaged(path, &format!("the rows at byte {at} do not fit")))?;
                }
                at = end;
            }
        }
    }
}

fn check_header(payload: &[u8], segment: u64) -> Result<SegmentHeader, String> {
    let header: SegmentHeader = serde_json::from_slice(payload).map_err(|error| format!("its header: {error}"))?;
    if header.v > 1 {
        return Err(format!("its format version is {} and this build reads up to 1: use a newer build", header.v));
    }
    if header.segment == segment { Ok(header) } else { Err(format!("it is segment {} under another name", header.segment)) }
}

/// Rows as the payload of one frame.
pub fn encode_group(rows: &[(i64, &[u8])]) -> Result<Vec<u8>> {
    let too_long = |what: &str| Error::exhausted(format!("{what} is over the limit of 4294967295"));
    let n = u32::try_from(rows.len()).map_err(|_| too_long("the number of rows of a group"))?;
    let mut group = Vec::with_capacity(4 + rows.iter().map(|(_, bytes)| 12 + bytes.len()).sum::<usize>());
    group.extend_from_slice(&n.to_le_bytes());
    for (received_us, bytes) in rows {
        let len = u32::try_from(bytes.len()).map_err(|_| too_long("the length of a row"))?;
        group.extend_from_slice(&received_us.to_le_bytes());
        group.extend_from_slice(&len.to_le_bytes());
        group.extend_from_slice(bytes);
    }
    Ok(group)
}

fn decode_group(group: Bytes, rows: &mut Vec<WalRow>) -> Option<()> {
    let (n, _) = group.split_first_chunk::<4>()?;
    let n = u32::from_le_bytes(*n);
    let mut rest = group.slice(4..);
    for _ in 0..n {
        let (received_us, tail) = rest.split_first_chunk::<8>()?;
        let (len, tail) = tail.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let bytes = tail.get(..len)?;
        let row = WalRow { received_us: i64::from_le_bytes(*received_us), bytes: rest.slice_ref(bytes) };
        rows.push(row);
        rest = rest.slice(12 + len..);
    }
    rest.is_empty().then_some(())
}

/// The numbers of the segments in a folder, in order.
pub fn list_segments(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<u64>> {
    let entries = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries?,
    };
    let mut segments: Vec<u64> = entries.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

pub fn file_name(segment: u64) -> String {
    format!("{segment:016}.wal")
}

fn parse_name(name: &str) -> Option<u64> {
    let segment = name.strip_suffix(".wal")?.parse().ok()?;
    (file_name(segment) == name).then_some(segment)
}

pub fn damaged(path: &Path, what: &str) -> Error {
    Error::data(format!("write-ahead log '{}' is damaged: {what}", path.display()))
}
