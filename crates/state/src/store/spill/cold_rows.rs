//! The rows of one table that are on disk.
//!
//! Rows go out as one run at a time; four runs of about a size become one, segment by segment, as far as the rows
//! that went out pay for: so a batch is never held up by a merge of everything, and a row is written a few times in
//! all. Rows that expire are found in their segments' lists of expiries and are only marked dead.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Fields;
use millstream_core::{Error, Result};

use super::memory::{SpillStats, StateMemory};
use super::row_codec::{ReadColumns, RowsRead, ValueCodec};
use super::run::{LiveSegment, Run, RunWriter};
use super::segment::{Segment, SegmentReader, SpilledRow};
use crate::store::key::KeyCodec;
use crate::store::key_group::hash_key;
use crate::store::live_rows::LiveRows;
use crate::store::schema::StoreRows;

/// So many runs of about a size become one.
const MERGED_AT_ONCE: usize = 4;

/// With more runs than this a merge goes on to its end.
const RUNS_MAX: usize = 24;

/// A merge moves so many rows for each one that went out: more than a row is moved in its life on the average.
const MERGED_PER_ROW: i64 = 4;

/// Rows are read back in batches of so many.
const ROWS_PER_BATCH: usize = 8192;

/// What a row is found by: its key, perhaps without the number behind it.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash {
    /// So many bytes at the end of a key are not hashed.
    pub n_unhashed: usize,
}

/// Which rows of a key are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The row of this key.
    Row,
    /// The rows of all keys that are this one and a number.
    List,
}

/// The spilled rows of one table.
#[derive(Debug)]
pub struct ColdRows {
    memory: StateMemory,
    codec: Arc<ValueCodec>,
    hash: KeyHash,
    runs: Vec<Run>,
    merge: Option<Merge>,
    n_live: usize,
    /// So many rows may be merged yet; below zero if more were than that.
    credit: i64,
    bytes_written: u64,
    bytes_read: u64,
}

/// A merge that is under way. Until its end all three have rows, each its own.
#[derive(Debug)]
struct Merge {
    inputs: Vec<Run>,
    output: Run,
}

/// The rows of a segment at one moment.
#[derive(Debug, Clone)]
pub struct FrozenRun {
    segment: Arc<Segment>,
    live: LiveRows,
    codec: Arc<ValueCodec>,
}

impl KeyHash {
    /// The hash of a row's key.
    pub fn of(self, key: &[u8]) -> u64 {
        hash_key(self.hashed(key))
    }

    fn hashed(self, key: &[u8]) -> &[u8] {
        key.get(..key.len().saturating_sub(self.n_unhashed)).unwrap_or(key)
    }
}

impl ColdRows {
    pub fn new(memory: &StateMemory, values: &Fields, hash: KeyHash) -> Result<Self> {
        Ok(Self {
            memory: memory.clone(),
            codec: Arc::new(ValueCodec::new(values)?),
            hash,
            runs: Vec::new(),
            merge: None,
            n_live: 0,
            credit: 0,
            bytes_written: 0,
            bytes_read: 0,
        })
    }

    pub fn n_live(&self) -> usize {
        self.n_live
    }

    pub fn key_hash(&self) -> KeyHash {
        self.hash
    }

    pub fn codec(&self) -> &Arc<ValueCodec> {
        &self.codec
    }

    /// What is in memory of them.
    pub fn memory_bytes(&self) -> usize {
        self.segments().map(LiveSegment::memory_bytes).sum()
    }

    /// As [`ColdRows::memory_bytes`], without what segments are charged for themselves.
    pub fn uncharged_bytes(&self) -> usize {
        self.segments().map(|segment| size_of::<LiveSegment>() + segment.live.bytes()).sum()
    }

    pub fn stats(&self) -> SpillStats {
        SpillStats {
            rows: self.n_live as u64,
            disk_bytes: self.segments().map(|segment| segment.segment.disk_bytes()).sum(),
            bytes_written: self.bytes_written,
            bytes_read: self.bytes_read,
        }
    }

    /// Takes `n_rows` rows that are in no other run and are pushed in the order of their hashes, then their keys.
    pub fn add(&mut self, n_rows: usize, row_bytes: usize, push_all: impl FnOnce(&mut RunWriter<'_>) -> Result<()>) -> Result<()> {
        let mut writer = RunWriter::new(&self.memory, row_bytes);
        push_all(&mut writer)?;
        let segments = writer.finish()?;
        self.bytes_written += segments.iter().map(|segment| segment.segment.disk_bytes()).sum::<u64>();
        self.n_live += n_rows;
        self.runs.push(Run { segments });
        self.credit = self.credit.saturating_add(i64::try_from(n_rows).unwrap_or(i64::MAX).saturating_mul(MERGED_PER_ROW));
        self.tidy()
    }

    /// Takes out the rows of keys that are wanted; hashes and keys are sorted, without doubles.
    pub fn take_out(&mut self, keys: &[(u64, &[u8])], wanted: Wanted) -> Result<Option<ReadColumns>> {
        if self.n_live == 0 || keys.is_empty() {
            return Ok(None);
        }
        let mut found = RowsRead::default();
        let mut is_found = vec![false; keys.len()];
        let (hash, mut n_read) = (self.hash, 0);
        // The newest first: what went out last is wanted most often.
        let merging = self.merge.iter_mut().flat_map(|merge| merge.inputs.iter_mut().chain([&mut merge.output]));
        for run in self.runs.iter_mut().rev().chain(merging) {
            n_read += take_out_of(run, keys, &mut is_found, hash, wanted, &mut found)?;
        }
        self.bytes_read += n_read;
        self.n_live -= found.n_rows();
        if found.n_rows() == 0 { Ok(None) } else { found.finish(&self.codec).map(Some) }
    }

    /// Marks dead what expires at or before `t` and says how many rows that are; `take` gets them, if it is wanted.
    pub fn expire(&mut self, t: i64, mut take: Option<&mut dyn FnMut(ReadColumns) -> Result<()>>) -> Result<usize> {
        let mut n_expired = 0;
        let codec = Arc::clone(&self.codec);
        let merging = self.merge.iter_mut().flat_map(|merge| merge.inputs.iter_mut().chain([&mut merge.output]));
        for run in self.runs.iter_mut().chain(merging) {
            for segment in &mut run.segments {
                let mut due = Vec::new();
                while segment.next_due.is_some_and(|next| next <= t) {
                    let shared = Arc::clone(&segment.segment);
                    let mut reader = shared.read()?;
                    let dues = reader.dues(segment.n_dues_done, t)?;
                    self.bytes_read += reader.n_read();
                    segment.n_dues_done += dues.rows.len();
                    segment.next_due = dues.next;
                    due.extend(dues.rows.into_iter().filter(|row| segment.live.kill(*row as usize)));
                }
                n_expired += due.len();
                if let Some(take) = &mut take {
                    due.sort_unstable();
                    let shared = Arc::clone(&segment.segment);
                    // Much of the segment: then all of it, in large pieces.
                    let mut reader = if due.len() * 16 > shared.n_rows() { shared.read_through()? } else { shared.read()? };
                    for rows in due.chunks(ROWS_PER_BATCH) {
                        let mut read = RowsRead::default();
                        rows.iter().try_for_each(|row| reader.row(*row as usize).map(|row| read.push(row)))?;
                        take(read.finish(&codec)?)?;
                    }
                    self.bytes_read += reader.n_read();
                }
            }
            run.drop_dead();
        }
        self.n_live -= n_expired;
        self.tidy()?;
        Ok(n_expired)
    }

    /// Whether a row expires at or before `t`. Entries of rows that are dead are passed over for good.
    pub fn has_expired(&mut self, t: i64) -> Result<bool> {
        let merging = self.merge.iter_mut().flat_map(|merge| merge.inputs.iter_mut().chain([&mut merge.output]));
        for segment in self.runs.iter_mut().chain(merging).flat_map(|run| &mut run.segments) {
            while segment.next_due.is_some_and(|next| next <= t) {
                let shared = Arc::clone(&segment.segment);
                let mut reader = shared.read()?;
                let dues = reader.dues(segment.n_dues_done, t)?;
                self.bytes_read += reader.n_read();
                let first_live = dues.rows.iter().position(|row| segment.live.is_live(*row as usize));
                segment.n_dues_done += first_live.unwrap_or(dues.rows.len());
                if first_live.is_some() {
                    return Ok(true);
                }
                segment.next_due = dues.next;
            }
        }
        Ok(false)
    }

    /// No row expires before that, but for those that are due already; `None` if none ever does.
    pub fn none_expires_before(&self) -> Option<i64> {
        self.segments().filter_map(|segment| segment.next_due).min()
    }

    /// The rows as they are now; they can be read while others come and go.
    pub fn freeze(&self) -> impl Iterator<Item = FrozenRun> {
        self.segments().filter(|segment| segment.live.n_live() > 0).map(|segment| FrozenRun {
            segment: Arc::clone(&segment.segment),
            live: segment.live.clone(),
            codec: Arc::clone(&self.codec),
        })
    }

    fn segments(&self) -> impl Iterator<Item = &LiveSegment> {
        let merging = self.merge.iter().flat_map(|merge| merge.inputs.iter().chain([&merge.output]));
        self.runs.iter().chain(merging).flat_map(|run| &run.segments)
    }

    /// Drops what is dead and goes on with merges, as far as there is credit for it.
    fn tidy(&mut self) -> Result<()> {
        self.runs.iter_mut().for_each(Run::drop_dead);
        self.runs.retain(|run| !run.segments.is_empty());
        while let Some(mut merge) = self.merge.take().or_else(|| self.next_merge()) {
            if self.credit <= 0 && self.runs.len() + merge.inputs.len() <= RUNS_MAX {
                self.merge = Some(merge);
                return Ok(());
            }
            let n_moved = self.merge_one_segment(&mut merge)?;
            self.credit = self.credit.saturating_sub(i64::try_from(n_moved).unwrap_or(i64::MAX));
            if merge.inputs.iter().all(|input| input.n_live() == 0) {
                self.runs.extend(Some(merge.output).filter(|run| !run.segments.is_empty()));
            } else {
                self.merge = Some(merge);
            }
        }
        // Nothing is owed or saved up for a merge that begins later.
        self.credit = 0;
        Ok(())
    }

    /// Runs that should become one: four of a size, with all smaller ones, or one that is half dead.
    fn next_merge(&mut self) -> Option<Merge> {
        let tier = |run: &Run| run.n_live().checked_ilog2().unwrap_or(0) / MERGED_AT_ONCE.ilog2();
        let mut tiers: Vec<u32> = self.runs.iter().map(tier).collect();
        tiers.sort_unstable();
        let full = tiers.chunk_by(|a, b| a == b).find(|runs| runs.len() >= MERGED_AT_ONCE).and_then(|runs| runs.first().copied());
        let sparse = || self.runs.iter().filter(|run| run.is_sparse()).map(tier).max();
        let limit = full.or_else(sparse)?;
        let is_alone = full.is_none();
        let (inputs, others) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition(|run| if is_alone { tier(run) <= limit && run.is_sparse() } else { tier(run) <= limit });
        self.runs = others;
        Some(Merge { inputs, output: Run::default() })
    }

    /// Moves the rows with the lowest hashes to a new segment behind those of the output.
    fn merge_one_segment(&mut self, merge: &mut Merge) -> Result<usize> {
        let mut writer = RunWriter::new(&self.memory, mean_row_bytes(&merge.inputs));
        let (mut n_moved, mut cursors) = (0, Vec::with_capacity(merge.inputs.len()));
        let mut heads = BinaryHeap::with_capacity(merge.inputs.len());
        for (at, input) in merge.inputs.iter().enumerate() {
            let mut cursor = Cursor::new(input);
            heads.extend(cursor.head(self.hash)?.map(|(hash, key)| Reverse((hash, key, at))));
            cursors.push(cursor);
        }
        while let Some(Reverse((hash, mut key, at))) = heads.pop() {
            let Some(cursor) = cursors.get_mut(at) else { break };
            writer.push(hash, cursor.row()?)?;
            n_moved += 1;
            cursor.advance();
            if writer.n_done() > 0 {
                break;
            }
            if let Some((hash, next)) = cursor.head_in(self.hash, std::mem::take(&mut key))? {
                heads.push(Reverse((hash, next, at)));
            }
        }
        cursors.iter_mut().for_each(Cursor::close);
        self.bytes_read += cursors.iter().map(|cursor| cursor.n_read).sum::<u64>();
        let reached: Vec<Option<(usize, usize)>> = cursors.into_iter().map(|cursor| cursor.at).collect();
        let segments = writer.finish()?;
        self.bytes_written += segments.iter().map(|segment| segment.segment.disk_bytes()).sum::<u64>();
        merge.output.segments.extend(segments);
        for (input, reached) in merge.inputs.iter_mut().zip(reached) {
            match reached {
                Some((segment, row)) => input.kill_before(segment, row),
                None => input.segments.clear(),
            }
            input.drop_dead();
        }
        Ok(n_moved)
    }
}

/// Goes through the live rows of a run.
#[derive(Debug)]
struct Cursor<'a> {
    run: &'a Run,
    at: Option<(usize, usize)>,
    reader: Option<(usize, SegmentReader<'a>)>,
    n_read: u64,
}

impl<'a> Cursor<'a> {
    fn new(run: &'a Run) -> Self {
        Self { run, at: run.next_live(0, 0), reader: None, n_read: 0 }
    }

    fn head(&mut self, hash: KeyHash) -> Result<Option<(u64, Vec<u8>)>> {
        self.head_in(hash, Vec::new())
    }

    /// The hash and key of the row it is at; the key in `key`.
    fn head_in(&mut self, hash: KeyHash, mut key: Vec<u8>) -> Result<Option<(u64, Vec<u8>)>> {
        if self.at.is_none() {
            return Ok(None);
        }
        key.clear();
        key.extend(self.row()?.key);
        Ok(Some((hash.of(&key), key)))
    }

    fn row(&mut self) -> Result<SpilledRow<'_>> {
        let (segment, row) = self.at.ok_or_else(|| Error::internal("a merge of spilled state went too far"))?;
        if self.reader.as_ref().is_none_or(|(open, _)| *open != segment) {
            let run: &'a Run = self.run;
            let found = run.segments.get(segment).ok_or_else(|| Error::internal("a segment of spilled state is not there"))?;
            self.reader = Some((segment, found.segment.read_through()?));
        }
        match &mut self.reader {
            Some((_, reader)) => reader.row(row),
            None => Err(Error::internal("a segment of spilled state is not open")),
        }
    }

    fn advance(&mut self) {
        let before = self.at;
        self.at = self.at.and_then(|(segment, row)| self.run.next_live(segment, row + 1));
        if self.at.map(|(segment, _)| segment) != before.map(|(segment, _)| segment) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.n_read += self.reader.take().map_or(0, |(_, reader)| reader.n_read());
    }
}

/// Takes rows out of one run; says how many bytes were read.
fn take_out_of(
    run: &mut Run,
    keys: &[(u64, &[u8])],
    is_found: &mut [bool],
    hash: KeyHash,
    wanted: Wanted,
    found: &mut RowsRead,
) -> Result<u64> {
    // Segment by segment: where each key may be.
    let mut candidates: Vec<(usize, Range<usize>, usize)> = Vec::new();
    for (at, (key_hash, _)) in keys.iter().enumerate() {
        if wanted == Wanted::Row && is_found.get(at).copied().unwrap_or(false) {
            continue;
        }
        for segment in run.segments_with(*key_hash) {
            let Some(LiveSegment { segment: shared, live, .. }) = run.segments.get(segment) else { continue };
            let mut rows = shared.rows_with(*key_hash);
            // Dead rows cost no read.
            if let Some(first) = live.next(rows.start).filter(|first| *first < rows.end) {
                rows.start = first;
                candidates.push((segment, rows, at));
            }
        }
    }
    let (mut n_read, mut rest) = (0, candidates.as_slice());
    while let Some((segment, _, _)) = rest.first() {
        let (segment, n) = (*segment, rest.iter().take_while(|(other, _, _)| other == segment).count());
        let (these, others) = rest.split_at(n);
        rest = others;
        let Some(LiveSegment { segment: shared, live, .. }) = run.segments.get_mut(segment) else { continue };
        let mut reader = shared.read()?;
        for (_, rows, at) in these {
            let (Some((key_hash, key)), Some(is_found)) = (keys.get(*at), is_found.get_mut(*at)) else { continue };
            match wanted {
                Wanted::Row => {
                    let rows = narrowed(&mut reader, rows.clone(), hash, (*key_hash, key))?;
                    for row in rows {
                        if live.is_live(row) && reader.row(row)?.key == *key {
                            found.push(reader.row(row)?);
                            live.kill(row);
                            *is_found = true;
                            break;
                        }
                    }
                }
                Wanted::List => {
                    for row in rows.clone() {
                        if live.is_live(row) && hash.hashed(reader.row(row)?.key) == *key {
                            found.push(reader.row(row)?);
                            live.kill(row);
                        }
                    }
                }
            }
        }
        n_read += reader.n_read();
    }
    run.drop_dead();
    Ok(n_read)
}

/// Of many rows that may have a key those that may still when they were looked at: one key may have a very long list.
fn narrowed(reader: &mut SegmentReader<'_>, mut rows: Range<usize>, hash: KeyHash, wanted: (u64, &[u8])) -> Result<Range<usize>> {
    const FEW: usize = 32;
    while rows.len() > FEW {
        let middle = rows.start + rows.len() / 2;
        let key = reader.row(middle)?.key;
        if (hash.of(key), key) <= wanted {
            rows.start = middle;
        } else {
            rows.end = middle;
        }
    }
    Ok(rows)
}

fn mean_row_bytes(runs: &[Run]) -> usize {
    let segments = || runs.iter().flat_map(|run| &run.segments);
    let bytes: u64 = segments().map(|segment| segment.segment.disk_bytes()).sum();
    let n_rows: usize = segments().map(|segment| segment.live.n_rows()).sum();
    usize::try_from(bytes).unwrap_or(usize::MAX) / n_rows.max(1)
}

impl FrozenRun {
    pub fn n_rows(&self) -> usize {
        self.live.n_live()
    }

    /// All rows, some at a time.
    pub fn into_rows(self, keys: Arc<KeyCodec>) -> impl Iterator<Item = Result<StoreRows>> {
        let mut next = self.live.next(0);
        std::iter::from_fn(move || {
            let batch = self.batch(next?, &keys);
            // After an error there is nothing more.
            next = batch.as_ref().ok().and_then(|(_, behind)| *behind);
            Some(batch.map(|(rows, _)| rows))
        })
    }

    fn batch(&self, first: usize, keys: &KeyCodec) -> Result<(StoreRows, Option<usize>)> {
        let (mut reader, mut read, mut next) = (self.segment.read_through()?, RowsRead::default(), Some(first));
        while let Some(row) = next.filter(|_| read.n_rows() < ROWS_PER_BATCH) {
            read.push(reader.row(row)?);
            next = self.live.next(row + 1);
        }
        Ok((read.finish(&self.codec)?.typed(keys)?, next))
    }
}
