//! What a task knows of its micro-batch, and what it reports beside its rows.
//!
//! Facts travel in the `TaskContext` of one run and never in shared slots, so that batch N+1 may compute while batch N
//! is still being committed, and so that a plan can run elsewhere.

mod event_time;
mod state_report;
mod unread;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, Clock, Error, QueryId, Result, RunEpoch, SinkContext, TaskId, TaskOutput};

use crate::physical::stateful::QueryState;

pub use event_time::{BatchWatermarks, END_OF_TIME_MS, EventTimeStats};
pub use state_report::StateOperatorReport;
use unread::UnreadRows;

/// The facts of one attempt at one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFacts {
    /// The query.
    pub query_id: QueryId,
    /// The run's fencing number.
    pub epoch: RunEpoch,
    /// The micro-batch.
    pub batch_id: BatchId,
    /// Counts the tries of this batch within the run, from 0.
    pub attempt: u32,
    /// The batch's clock, microseconds since the epoch: the value of `current_timestamp()`.
    pub clock_us: i64,
    /// The event times that decide what is late and what is final.
    pub watermarks: BatchWatermarks,
}

impl BatchFacts {
    /// The run as a sink sees it.
    pub fn sink_context(&self) -> SinkContext {
        SinkContext { query_id: self.query_id, epoch: self.epoch }
    }

    /// The attempt as a sink's writer sees it.
    pub fn write_attempt(&self, task_id: TaskId) -> WriteAttempt {
        WriteAttempt { query_id: self.query_id, epoch: self.epoch, batch_id: self.batch_id, attempt: self.attempt, task_id }
    }
}

/// What one source gave in one batch. `n_records = n_rows + n_dropped + n_rejected`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Records read.
    pub n_records: u64,
    /// Rows given to the query.
    pub n_rows: u64,
    /// Records dropped by the parse mode.
    pub n_dropped: u64,
    /// Records set aside in the dead-letter table.
    pub n_rejected: u64,
}

impl SourceCounts {
    /// Adds another split's counts.
    pub fn add(&mut self, other: Self) {
        self.n_records += other.n_records;
        self.n_rows += other.n_rows;
        self.n_dropped += other.n_dropped;
        self.n_rejected += other.n_rejected;
    }
}

/// What the tasks of a batch report beside their rows: counts per source, and side outputs (dead letters) per sink.
#[derive(Debug, Default)]
pub struct BatchReport {
    /// Counts per source name.
    pub sources: BTreeMap<String, SourceCounts>,
    /// What splits were to give and is gone, per source name.
    pub missed: BTreeMap<String, Vec<serde_json::Value>>,
    /// Event times per watermark node that saw any.
    pub event_times: BTreeMap<String, EventTimeStats>,
    /// Counts per stateful operator, by its id.
    pub state_operators: BTreeMap<String, StateOperatorReport>,
    /// Rows that were set aside because an expression failed on them.
    pub n_failed_rows: u64,
    /// Rows that were set aside because their event time is too far ahead of the clock.
    pub n_future_rows: u64,
    /// Outputs of side sinks: (sink name, output).
    pub side_outputs: Vec<(String, TaskOutput)>,
}

/// The facts and the report of one run of one batch, carried by the `TaskContext`.
#[derive(Debug)]
pub struct BatchScope {
    /// The facts.
    pub facts: BatchFacts,
    /// What the query's stateful operators remember; empty for queries over finished data.
    pub state: Arc<QueryState>,
    /// For the time that work takes; what rows see of time is in the facts.
    pub clock: Arc<dyn Clock>,
    report: Mutex<BatchReport>,
    unread: UnreadRows,
}

impl BatchScope {
    /// The scope of one run.
    pub fn new(facts: BatchFacts, state: Arc<QueryState>, clock: Arc<dyn Clock>) -> Self {
        Self { facts, state, clock, report: Mutex::default(), unread: UnreadRows::new() }
    }

    /// The scope that a task's context carries.
    pub fn of(ctx: &TaskContext) -> Result<Arc<Self>> {
        ctx.session_config().get_extension::<Self>().ok_or_else(|| Error::internal("a Millstream operator was run outside a micro-batch"))
    }

    /// Takes rows of a stream that their reader left before their end.
    pub(crate) fn leave_unread(&self, rows: SendableRecordBatchStream) {
        self.unread.add(rows);
    }

    /// Gives the rows that were left so far.
    pub(crate) fn take_unread(&self) -> Vec<SendableRecordBatchStream> {
        self.unread.take()
    }

    /// The run is over: rows that are left from now on are dropped.
    pub(crate) fn close(&self) {
        self.unread.close();
    }

    /// Milliseconds since the clock's monotonic time `from`.
    pub fn millis_since(&self, from: Duration) -> u64 {
        u64::try_from(self.clock.monotonic().saturating_sub(from).as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds to the counts of a source.
    pub fn count(&self, source: &str, counts: SourceCounts) {
        let mut report = self.report();
        match report.sources.get_mut(source) {
            Some(known) => known.add(counts),
            None => {
                report.sources.insert(source.to_owned(), counts);
            }
        }
    }

    /// Adds what a source was to give and is gone.
    pub fn missed(&self, source: &str, missed: Vec<serde_json::Value>) {
        self.report().missed.entry(source.to_owned()).or_default().extend(missed);
    }

    /// Adds rows that were set aside because an expression failed on them.
    pub fn count_failed_rows(&self, n_rows: u64) {
        self.report().n_failed_rows += n_rows;
    }

    /// Adds the event times that a task of a watermark node saw.
    pub fn saw_event_times(&self, node: &str, stats: EventTimeStats) {
        let mut report = self.report();
        match report.event_times.get_mut(node) {
            Some(known) => known.add(stats),
            None => {
                report.event_times.insert(node.to_owned(), stats);
            }
        }
    }

    /// Adds what a task of a stateful operator reports.
    pub fn report_state(&self, task: StateOperatorReport) {
        let mut report = self.report();
        match report.state_operators.get_mut(&task.operator) {
            Some(known) => known.add(task),
            None => {
                report.state_operators.insert(task.operator.clone(), task);
            }
        }
    }

    /// Adds input rows that came too late for a stateful operator.
    pub fn count_late_rows(&self, operator: &str, n_rows: u64) {
        self.report_state(StateOperatorReport { n_rows_dropped_by_watermark: n_rows, ..StateOperatorReport::of(operator, "") });
    }

    /// Adds rows that were set aside because their event time is too far ahead of the clock.
    pub fn count_future_rows(&self, n_rows: u64) {
        self.report().n_future_rows += n_rows;
    }

    /// Adds an output of a side sink.
    pub fn side_output(&self, sink: &str, output: TaskOutput) {
        self.report().side_outputs.push((sink.to_owned(), output));
    }

    /// Takes the report out, after all tasks have ended.
    pub fn take_report(&self) -> BatchReport {
        std::mem::take(&mut *self.report())
    }

    fn report(&self) -> MutexGuard<'_, BatchReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
