//! A run: segments one behind the other in the order of hashes, and which of their rows live.

use std::ops::Range;
use std::sync::Arc;

use millstream_core::Result;

use super::memory::StateMemory;
use super::segment::{Segment, SegmentWriter, SpilledRow};
use crate::store::live_rows::LiveRows;

/// Rows sorted by hash. Other runs have other rows, of any hash.
#[derive(Debug, Default)]
pub struct Run {
    pub segments: Vec<LiveSegment>,
}

/// A segment and what of it still counts.
#[derive(Debug)]
pub struct LiveSegment {
    pub segment: Arc<Segment>,
    pub live: LiveRows,
    /// So many of its expiries have passed.
    pub n_dues_done: usize,
    /// When the next one does; the earliest moment if only the file knows.
    pub next_due: Option<i64>,
}

/// Writes a run, or goes on with one.
#[derive(Debug)]
pub struct RunWriter<'a> {
    memory: &'a StateMemory,
    row_bytes: usize,
    segment: Option<SegmentWriter>,
    done: Vec<LiveSegment>,
}

impl Run {
    pub fn n_live(&self) -> usize {
        self.segments.iter().map(|segment| segment.live.n_live()).sum()
    }

    pub fn n_rows(&self) -> usize {
        self.segments.iter().map(|segment| segment.live.n_rows()).sum()
    }

    /// Whether dead rows take more room than live ones.
    pub fn is_sparse(&self) -> bool {
        self.n_live() * 2 < self.n_rows()
    }

    /// The segments that may have rows with this hash: rows with equal hashes may go on from one to the next.
    pub fn segments_with(&self, hash: u64) -> Range<usize> {
        let from = self.segments.partition_point(|segment| segment.segment.hashes().1 < hash);
        let behind = self.segments.get(from..).unwrap_or_default();
        from..from + behind.iter().take_while(|segment| segment.segment.hashes().0 <= hash).count()
    }

    /// Lets go of segments without live rows.
    pub fn drop_dead(&mut self) {
        self.segments.retain(|segment| segment.live.n_live() > 0);
    }

    /// The first live row at or behind row `row` of segment `segment`.
    pub fn next_live(&self, segment: usize, row: usize) -> Option<(usize, usize)> {
        let first = self.segments.get(segment)?.live.next(row).map(|row| (segment, row));
        first.or_else(|| (segment + 1..self.segments.len()).find_map(|at| Some((at, self.segments.get(at)?.live.next(0)?))))
    }

    /// Marks dead what is before row `row` of segment `segment`.
    pub fn kill_before(&mut self, segment: usize, row: usize) {
        for (at, segment_at) in self.segments.iter_mut().enumerate().take(segment + 1) {
            let end = if at == segment { row } else { segment_at.live.n_rows() };
            let mut next = segment_at.live.next(0);
            while let Some(row) = next.filter(|row| *row < end) {
                segment_at.live.kill(row);
                next = segment_at.live.next(row + 1);
            }
        }
    }
}

impl LiveSegment {
    pub fn new(segment: Segment) -> Self {
        let (live, next_due) = (LiveRows::new(segment.n_rows()), segment.first_due());
        Self { segment: Arc::new(segment), live, n_dues_done: 0, next_due }
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.segment.memory_bytes() + self.live.bytes()
    }
}

impl<'a> RunWriter<'a> {
    /// Rows are expected to have about `row_bytes` bytes.
    pub fn new(memory: &'a StateMemory, row_bytes: usize) -> Self {
        Self { memory, row_bytes, segment: None, done: Vec::new() }
    }

    /// Adds a row behind those with smaller hashes; of equal ones by key.
    pub fn push(&mut self, hash: u64, row: SpilledRow<'_>) -> Result<()> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => self.segment.insert(SegmentWriter::create(self.memory, self.row_bytes)?),
        };
        segment.push(hash, row)?;
        if segment.is_full() {
            self.end_segment()?;
        }
        Ok(())
    }

    /// How many segments are full.
    pub fn n_done(&self) -> usize {
        self.done.len()
    }

    /// What was written.
    pub fn finish(mut self) -> Result<Vec<LiveSegment>> {
        self.end_segment()?;
        Ok(self.done)
    }

    fn end_segment(&mut self) -> Result<()> {
        if let Some(segment) = self.segment.take() {
            self.done.extend(segment.finish(self.memory)?.map(LiveSegment::new));
        }
        Ok(())
    }
}
