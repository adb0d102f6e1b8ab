//! From the files of a log to its one valid chain of records. Shared by recovery, `show` and `verify`.
//!
//! A unit is a segment (local) or an object. Units come ordered by epoch, then by place within the run. A start record
//! voids everything at and behind its own number that older runs wrote. The last record says what must be there: all
//! records from its `floor_seq` on, and the record `start_seq`.

use std::collections::BTreeMap;

use millstream_core::{Error, Result};

use super::order::LogOrder;
use super::record::{Record, RecordKind};

/// The records of one file of the log.
#[derive(Debug)]
pub struct LogUnit {
    /// Its name, for messages.
    pub name: String,
    /// Its whole records, in order.
    pub records: Vec<Record>,
}

/// The valid log.
#[derive(Debug)]
pub struct Chain {
    /// The last start record, if it stands before the first of `records`.
    pub early_start: Option<Record>,
    /// All records from the floor on.
    pub records: Vec<Record>,
    /// What they add up to.
    pub order: LogOrder,
}

impl Chain {
    /// The start record of the last run.
    pub fn last_start(&self) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.kind == RecordKind::Start).or(self.early_start.as_ref())
    }

    /// The number of the first record that must be kept.
    pub fn floor_seq(&self) -> u64 {
        self.records.last().map_or(0, |record| record.floor_seq)
    }
}

/// Puts the units together; `place` names the checkpoint in messages.
pub fn stitch(place: &str, units: impl IntoIterator<Item = LogUnit>) -> Result<Chain> {
    let mut by_seq: BTreeMap<u64, Record> = BTreeMap::new();
    for unit in units {
        for record in unit.records {
            if record.kind == RecordKind::Start {
                by_seq.split_off(&record.seq);
            }
            let (seq, epoch) = (record.seq, record.epoch);
            if let Some(other) = by_seq.insert(seq, record)
                && other.epoch >= epoch
            {
                return Err(damaged(place, &format!("record {seq} is there twice, the second time in '{}'", unit.name)));
            }
        }
    }
    let Some((_, last)) = by_seq.last_key_value() else {
        return Ok(Chain { early_start: None, records: Vec::new(), order: LogOrder::default() });
    };
    let (floor_seq, start_seq) = (last.floor_seq, last.start_seq);
    let kept = by_seq.split_off(&floor_seq);
    let early_start = if start_seq < floor_seq { by_seq.remove(&start_seq) } else { None };
    if start_seq < floor_seq && early_start.as_ref().is_none_or(|record| record.kind != RecordKind::Start) {
        return Err(damaged(place, &format!("start record {start_seq} is missing")));
    }
    let mut order = LogOrder::from_seq(floor_seq);
    let mut records = Vec::with_capacity(kept.len());
    for (seq, record) in kept {
        if seq != order.next_seq {
            return Err(damaged(place, &format!("records {} to {} are missing", order.next_seq, seq - 1)));
        }
        order.check(&record).map_err(|why| damaged(place, &why))?;
        order.apply(&record);
        records.push(record);
    }
    Ok(Chain { early_start, records, order })
}

/// The one error for a checkpoint that cannot be trusted.
pub fn damaged(place: &str, what: &str) -> Error {
    Error::data(format!("checkpoint '{place}' is damaged: {what}"))
        .hint("nothing was changed; restore the folder from a copy, or start with a new checkpoint")
}
