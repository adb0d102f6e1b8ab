//! The order of records: checked before a record is written and after it was read.
//!
//! ```text
//!  start(e) ─► [ positions ─► ... ] [ intent N ─► ] [ proposed N ─► ... ] prepared N ─► [ intent N+1 ─► ] prepared N+1 ... ─► fact ─► start(e+1) ─► ...
//!  seq without gaps · epochs rise at starts only · batches without gaps · committed never falls, never passes prepared
//! ```
//! Pure: no I/O, no clock.

use std::collections::{BTreeMap, VecDeque};

use millstream_core::{BatchId, RunEpoch};

use super::record::{IdleSource, Record, RecordKind};

/// What the log says so far.
#[derive(Debug, Clone, Default)]
pub struct LogOrder {
    /// The number of the next record.
    pub next_seq: u64,
    /// The run of the last start record.
    pub epoch: Option<RunEpoch>,
    /// The number of the last start record.
    pub start_seq: u64,
    /// The highest batch with a prepared record.
    pub prepared: Option<BatchId>,
    /// The intent or proposal behind the last prepared record; the last one.
    pub intent: Option<Record>,
    /// The highest batch that all sinks have committed.
    pub committed: Option<BatchId>,
    /// The first record of every batch that is kept, oldest first. Bounded by retention.
    pub batches: VecDeque<(BatchId, u64)>,
    /// Where every source stands after the last prepared batch, by name.
    pub ends: BTreeMap<String, IdleSource>,
    /// Whether records before the first one seen are gone by retention.
    pub is_cut: bool,
}

impl LogOrder {
    /// The order before a log's first kept record.
    pub fn from_seq(first_seq: u64) -> Self {
        Self { next_seq: first_seq, is_cut: first_seq > 0, ..Self::default() }
    }

    /// Says why `record` cannot be the next one.
    pub fn check(&self, record: &Record) -> Result<(), String> {
        if record.seq != self.next_seq {
            return Err(format!("record {} stands where record {} belongs", record.seq, self.next_seq));
        }
        if record.floor_seq > record.seq {
            return Err(format!("record {} says that records below {} are gone", record.seq, record.floor_seq));
        }
        self.check_epoch(record)?;
        self.check_batch(record)?;
        self.check_committed(record)
    }

    /// Takes the next record, which [`LogOrder::check`] has passed.
    pub fn apply(&mut self, record: &Record) {
        self.next_seq = record.seq + 1;
        self.epoch = Some(record.epoch);
        self.start_seq = record.start_seq;
        self.committed = self.committed.max(record.committed);
        if record.kind == RecordKind::Positions {
            self.ends.extend(record.idle.iter().map(|(name, place)| (name.clone(), place.clone())));
        }
        if let Some(batch) = record.batch {
            if self.batches.back().is_none_or(|(last, _)| *last < batch) {
                self.batches.push_back((batch, record.seq));
            }
            match record.kind {
                RecordKind::Intent | RecordKind::Proposed => self.intent = Some(record.clone()),
                _ => {
                    self.intent = None;
                    self.prepared = Some(batch);
                    self.ends.extend(record.idle.iter().map(|(name, end)| (name.clone(), end.clone())));
                    for (name, entry) in &record.sources {
                        self.ends.insert(name.clone(), IdleSource { batch: Some(batch), end: entry.range.end.clone() });
                    }
                }
            }
        }
    }

    /// Where the sources stand that are not in `record`: a prepared record carries it, as older records go.
    pub fn idle_beside(&self, record: &Record) -> BTreeMap<String, IdleSource> {
        let others = self.ends.iter().filter(|(name, _)| !record.sources.contains_key(*name));
        others.map(|(name, end)| (name.clone(), end.clone())).collect()
    }

    fn check_epoch(&self, record: &Record) -> Result<(), String> {
        let (is_start, epoch) = (record.kind == RecordKind::Start, record.epoch);
        match self.epoch {
            Some(last) if is_start && epoch <= last => Err(format!("a start of run epoch {epoch} behind epoch {last}")),
            Some(last) if !is_start && epoch != last => Err(format!("a record of run epoch {epoch} within epoch {last}")),
            None if !is_start && !self.is_cut => Err("the first record is no start".to_owned()),
            _ if is_start && record.start_seq != record.seq => {
                Err(format!("start record {} names {} as its start", record.seq, record.start_seq))
            }
            Some(_) if !is_start && record.start_seq != self.start_seq => {
                Err(format!("record {} names {} as its start, which is {}", record.seq, record.start_seq, self.start_seq))
            }
            _ => Ok(()),
        }
    }

    /// The last batch that read from a source, if the log tells of one.
    pub fn last_batch_of(&self, source: &str) -> Option<BatchId> {
        self.ends.get(source)?.batch
    }

    fn check_batch(&self, record: &Record) -> Result<(), String> {
        let wants_batch = matches!(record.kind, RecordKind::Intent | RecordKind::Proposed | RecordKind::Prepared);
        if record.kind == RecordKind::Positions && record.idle.is_empty() {
            return Err(format!("positions record {} names no source", record.seq));
        }
        let batch = match (wants_batch, record.batch) {
            (true, Some(batch)) => batch,
            (false, None) => return Ok(()),
            (true, None) => return Err(format!("{} record {} names no batch", record.kind, record.seq)),
            (false, Some(_)) => return Err(format!("{} record {} names a batch", record.kind, record.seq)),
        };
        let expected = match (&self.intent, self.prepared) {
            (Some(_), _) if record.kind == RecordKind::Intent => {
                return Err(format!("a second intent, of batch {batch}, before the first is prepared"));
            }
            (Some(intent), _) if !intent.same_input(record) => {
                return Err(format!(
                    "batch {batch} is {} with other ranges, clock, settings or watermarks than its {}",
                    record.kind, intent.kind
                ));
            }
            (Some(intent), _) => intent.batch,
            (None, Some(last)) => Some(last.next()),
            (None, None) if self.is_cut => None,
            (None, None) => Some(BatchId(0)),
        };
        match expected {
            Some(expected) if expected != batch => Err(format!("batch {batch} stands where batch {expected} belongs")),
            _ => Ok(()),
        }
    }

    fn check_committed(&self, record: &Record) -> Result<(), String> {
        if let (Some(last), committed) = (self.committed, record.committed)
            && committed.is_none_or(|committed| committed < last)
        {
            return Err(format!("record {} takes back that batch {last} is committed", record.seq));
        }
        match (record.committed, self.prepared) {
            (Some(committed), Some(prepared)) if committed > prepared => {
                Err(format!("batch {committed} is said to be committed and the last prepared one is {prepared}"))
            }
            (Some(committed), None) if !self.is_cut => Err(format!("batch {committed} is said to be committed and none is prepared")),
            (None, _) if record.kind == RecordKind::Fact => Err(format!("fact record {} says nothing", record.seq)),
            _ => Ok(()),
        }
    }
}
