//! The log on a local disk: segments, appended to with one write and one fdatasync per record.
//!
//! ```text
//!  log/0000000000000003-00000000.seg      epoch 3, its first segment
//!      | frame: header {v, query_id, epoch, segment, first_seq} | frame: start record | frame: record | ...
//! ```
//! A run appends only to segments it created (`create_new`). A torn tail, which a crash may leave, is cut when read; the
//! next run replaces the newest segment by a synced copy of its whole records (never in place) and begins a new one.
//! Bad bytes with whole records behind them are damage.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_core::{Error, QueryId, Result, RunEpoch};
use serde::{Deserialize, Serialize};

use super::chain::{LogUnit, damaged};
use super::open::HeldLock;
use super::record::{Record, RecordKind, decode};
use crate::frame;
use crate::fs::{AppendFile, FileSystem};

/// The folder of segments (and of record objects) in the checkpoint folder.
pub const LOG_DIR: &str = "log";

/// The first frame of a segment.
#[derive(Debug, Serialize, Deserialize)]
struct SegmentHeader {
    v: u32,
    query_id: QueryId,
    epoch: RunEpoch,
    segment: u32,
    first_seq: u64,
}

/// A segment that is not written to any more.
#[derive(Debug, Clone)]
pub struct ClosedSegment {
    path: PathBuf,
    last_seq: Option<u64>,
    start_seqs: Vec<u64>,
}

/// What the segments hold.
#[derive(Debug, Default)]
pub struct LocalScan {
    /// The records, by segment, in order.
    pub units: Vec<LogUnit>,
    /// The segments, in order.
    pub segments: VecDeque<ClosedSegment>,
    /// The highest epoch that has a segment, whatever it holds.
    pub epoch_max: Option<RunEpoch>,
    /// Torn tails that were cut: file and what is wrong.
    pub torn: Vec<String>,
}

/// Reads all segments. `owned` means that the caller holds the lock and is going to rely on what it reads. Then the
/// newest segment is replaced by a synced copy of its whole records: a run that was killed, or whose sync failed, may
/// have left bytes that are in memory only, and syncing such a file again may report success without writing them.
pub fn scan(fs: &dyn FileSystem, root: &Path, query_id: QueryId, owned: bool) -> Result<LocalScan> {
    let dir = root.join(LOG_DIR);
    let mut names: Vec<(RunEpoch, u32, String)> = Vec::new();
    for entry in list_or_empty(fs, &dir)? {
        if let Some((epoch, segment)) = parse_name(&entry.name) {
            names.push((epoch, segment, entry.name));
        } else if entry.name.ends_with(".seg") {
            return Err(damaged(&root.display().to_string(), &format!("'{LOG_DIR}/{}' is no name of a segment", entry.name)));
        }
    }
    names.sort();
    let newest = names.last().map(|(epoch, segment, _)| (*epoch, *segment));
    let mut scan = LocalScan { epoch_max: names.last().map(|(epoch, _, _)| *epoch), ..LocalScan::default() };
    for (epoch, segment, name) in names {
        let path = dir.join(&name);
        let bytes = match fs.read(&path) {
            Ok(bytes) => bytes,
            // A running query removes segments that it needs no more; who only looks sees them go.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !owned => continue,
            Err(error) => return Err(error.into()),
        };
        let wanted = SegmentHeader { v: 1, query_id, epoch, segment, first_seq: 0 };
        let (records, end, torn) = read_segment(&bytes, &wanted)
            .map_err(|why| damaged(&root.display().to_string(), &format!("file '{LOG_DIR}/{name}': {why}")))?;
        if let (true, true, Some(whole)) = (owned, newest == Some((epoch, segment)), bytes.get(..end)) {
            fs.replace_synced(&path, whole)?;
        }
        scan.torn.extend(torn.map(|why| format!("{LOG_DIR}/{name}: {why}")));
        let start_seqs = records.iter().filter(|record| record.kind == RecordKind::Start).map(|record| record.seq).collect();
        scan.segments.push_back(ClosedSegment { path, last_seq: records.last().map(|record| record.seq), start_seqs });
        scan.units.push(LogUnit { name: format!("{LOG_DIR}/{name}"), records });
    }
    Ok(scan)
}

fn list_or_empty(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<crate::fs::DirEntry>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// The records of a segment, where they end, and what is wrong with its tail, if it is torn.
fn read_segment(bytes: &[u8], wanted: &SegmentHeader) -> Result<(Vec<Record>, usize, Option<String>), String> {
    let mut records = Vec::new();
    let mut at = 0;
    let mut next_seq = None;
    loop {
        match frame::next(bytes, at) {
            frame::Next::End => return Ok((records, at, None)),
            frame::Next::Bad(why) => {
                return match frame::find(bytes, at + 1) {
                    Some(good) => Err(format!("bad record at byte {at} ({why}) and a good one behind it, at byte {good}")),
                    None => Ok((records, at, Some(format!("torn at byte {at} of {}: {why}", bytes.len())))),
                };
            }
            frame::Next::Frame { payload, end } => {
                match next_seq {
                    None => next_seq = Some(check_header(payload, wanted)?),
                    Some(seq) => {
                        let record = decode(payload).map_err(|why| format!("record at byte {at}: {why}"))?;
                        if record.seq != seq || record.epoch != wanted.epoch {
                            return Err(format!("record at byte {at} is number {} of run epoch {}, not {seq}", record.seq, record.epoch));
                        }
                        next_seq = Some(seq + 1);
                        records.push(record);
                    }
                }
                at = end;
            }
        }
    }
}

fn check_header(payload: &[u8], wanted: &SegmentHeader) -> Result<u64, String> {
    let header: SegmentHeader = serde_json::from_slice(payload).map_err(|error| format!("the header of the segment: {error}"))?;
    if header.v > wanted.v {
        return Err(format!("its format version is {} and this build reads up to {}: use a newer build", header.v, wanted.v));
    }
    if (header.epoch, header.segment) != (wanted.epoch, wanted.segment) {
        return Err(format!("it is segment {} of run epoch {} under another name", header.segment, header.epoch));
    }
    if header.query_id != wanted.query_id {
        return Err(format!("it belongs to query {}", header.query_id));
    }
    Ok(header.first_seq)
}

/// Writes the log of one run.
#[derive(Debug)]
pub struct LocalLog {
    fs: Arc<dyn FileSystem>,
    /// Held here too: an append whose caller has gone still ends before the next run begins.
    _lock: Arc<HeldLock>,
    dir: PathBuf,
    query_id: QueryId,
    epoch: RunEpoch,
    segment_bytes_max: u64,
    open: Option<OpenSegment>,
    segments_begun: u32,
    closed: VecDeque<ClosedSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Box<dyn AppendFile>,
    info: ClosedSegment,
}

impl LocalLog {
    /// The log of a run that is about to begin; creates nothing yet.
    pub fn new(
        fs: Arc<dyn FileSystem>,
        lock: Arc<HeldLock>,
        root: &Path,
        query_id: QueryId,
        epoch: RunEpoch,
        segment_bytes_max: u64,
        closed: VecDeque<ClosedSegment>,
    ) -> Self {
        Self { fs, _lock: lock, dir: root.join(LOG_DIR), query_id, epoch, segment_bytes_max, open: None, segments_begun: 0, closed }
    }

    /// Appends a record; it is durable when this returns. After an error the log must not be used any more.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let payload = to_json(record)?;
        if self.open.as_ref().is_some_and(|open| open.file.len() >= self.segment_bytes_max) {
            self.closed.extend(self.open.take().map(|open| open.info));
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let begun = self.begin_segment(record.seq)?;
                self.open.insert(begun)
            }
        };
        let mut bytes = Vec::new();
        frame::encode(&payload, open.file.len(), &mut bytes)?;
        open.file.write_all(&bytes)?;
        open.file.sync_data()?;
        open.info.last_seq = Some(record.seq);
        if record.kind == RecordKind::Start {
            open.info.start_seqs.push(record.seq);
        }
        self.ensure_newest()
    }

    /// An error if a newer run has begun. The lock keeps other runs away; where locks do not work (some network file systems) this still
    /// stops the older run, if not before its next record.
    pub fn ensure_newest(&self) -> Result<()> {
        if self.fs.exists(&self.dir.join(file_name(RunEpoch(self.epoch.0 + 1), 0)))? {
            return Err(Error::fenced(format!("run epoch {} was ended by a newer run on the same checkpoint", self.epoch)));
        }
        Ok(())
    }

    /// Creates the next segment, durable with its header before any record is in it: of two frames in one unsynced write
    /// the second may survive without the first, and that would look like damage.
    fn begin_segment(&mut self, first_seq: u64) -> Result<OpenSegment> {
        let segment = self.segments_begun;
        let header = SegmentHeader { v: 1, query_id: self.query_id, epoch: self.epoch, segment, first_seq };
        let mut bytes = Vec::new();
        frame::encode(&to_json(&header)?, 0, &mut bytes)?;
        let path = self.dir.join(file_name(self.epoch, segment));
        let mut file = self.fs.create_new(&path)?;
        self.segments_begun += 1;
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.fs.sync_dir(&self.dir)?;
        Ok(OpenSegment { file, info: ClosedSegment { path, last_seq: None, start_seqs: Vec::new() } })
    }

    /// Forgets, and hands out for removal, the segments of which a durable record says that they are not needed.
    pub fn take_unneeded(&mut self, floor_seq: u64, start_seq: u64) -> Vec<PathBuf> {
        let mut unneeded = Vec::new();
        self.closed.retain(|segment| {
            let needed = segment.last_seq.is_some_and(|last| last >= floor_seq) || segment.start_seqs.contains(&start_seq);
            if !needed {
                unneeded.push(segment.path.clone());
            }
            needed
        });
        unneeded
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("a record cannot be written as JSON: {error}")))
}

fn file_name(epoch: RunEpoch, segment: u32) -> String {
    format!("{:016}-{segment:08}.seg", epoch.0)
}

fn parse_name(name: &str) -> Option<(RunEpoch, u32)> {
    let (epoch, segment) = name.strip_suffix(".seg")?.split_once('-')?;
    let parsed = (RunEpoch(epoch.parse().ok()?), segment.parse().ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}
