//! What a stateful operator reports of one batch: its tasks add up to one entry of progress.

use std::collections::BTreeMap;

use crate::physical::stateful::StateUsage;

/// The counts of one stateful operator in one batch; every task adds its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateOperatorReport {
    /// The operator's stable id.
    pub operator: String,
    /// What progress calls its kind, such as `stateStoreSave` or `dedupe`.
    pub name: String,
    /// Rows in the state after the batch.
    pub n_rows_total: u64,
    /// Rows of the state that the batch put in or changed.
    pub n_rows_updated: u64,
    /// Rows of the state that the batch removed.
    pub n_rows_removed: u64,
    /// Input rows that came too late.
    pub n_rows_dropped_by_watermark: u64,
    /// Bytes of memory that the state takes; not told by tasks, but of all their tables together ([`Self::set_usage`]).
    pub memory_bytes: u64,
    /// Milliseconds in which rows were put in and changed, of all tasks together.
    pub updates_ms: u64,
    /// Milliseconds in which rows were removed, of all tasks together.
    pub removals_ms: u64,
    /// Milliseconds in which the changes of the batch were made durable: one write for all operators and tasks.
    pub commit_ms: u64,
    /// Tasks: each reports one.
    pub n_partitions: u64,
    /// State stores that the tasks opened.
    pub n_stores: u64,
    /// Counters of this kind of operator.
    pub custom: BTreeMap<String, i64>,
}

impl StateOperatorReport {
    /// An empty report of an operator.
    pub fn of(operator: impl Into<String>, name: impl Into<String>) -> Self {
        Self { operator: operator.into(), name: name.into(), ..Self::default() }
    }

    /// What the state takes after the batch; of the disk it is said where memory is limited.
    pub fn set_usage(&mut self, usage: StateUsage) {
        let StateUsage { memory_bytes, spilled } = usage;
        self.memory_bytes = memory_bytes;
        if let Some(spilled) = spilled {
            let counters = [
                ("spilledRows", spilled.rows),
                ("spilledBytes", spilled.disk_bytes),
                ("spillBytesWritten", spilled.bytes_written),
                ("spillBytesRead", spilled.bytes_read),
            ];
            let counters = counters.map(|(name, value)| (name.to_owned(), i64::try_from(value).unwrap_or(i64::MAX)));
            self.custom.extend(counters);
        }
    }

    /// Adds what another task of the same operator reports.
    pub fn add(&mut self, other: Self) {
        // Whole, so that a new field cannot be forgotten.
        let Self {
            operator: _,
            name,
            n_rows_total,
            n_rows_updated,
            n_rows_removed,
            n_rows_dropped_by_watermark,
            memory_bytes,
            updates_ms,
            removals_ms,
            commit_ms,
            n_partitions,
            n_stores,
            custom,
        } = other;
        if self.name.is_empty() {
            self.name = name;
        }
        self.n_rows_total += n_rows_total;
        self.n_rows_updated += n_rows_updated;
        self.n_rows_removed += n_rows_removed;
        self.n_rows_dropped_by_watermark += n_rows_dropped_by_watermark;
        self.memory_bytes += memory_bytes;
        self.updates_ms += updates_ms;
        self.removals_ms += removals_ms;
        self.commit_ms += commit_ms;
        self.n_partitions += n_partitions;
        self.n_stores += n_stores;
        for (counter, value) in custom {
            *self.custom.entry(counter).or_default() += value;
        }
    }
}
