//! How far event time is: what the batches have seen becomes the watermark of the next one.
//!
//! ```text
//!  node:   the greatest event time seen - delay          per withWatermark; kept in the prepared record
//!  query:  min (or max) over the nodes, never falling    seen in batch N, in force from batch N+1 on
//!  batch:  late = in force in the batch before; current = in force now
//! ```
//! A node that has seen nothing stands at the epoch and so holds a query back under `min`, as in Spark. Beyond Spark a
//! source may be left out after its idle timeout, and a restart finds every node where it was.
//! Pure: no I/O, no clock.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use millstream_core::{Error, Result};
use millstream_state::checkpoint::{NodeWatermark, RecordedWatermarks};

use crate::batch::{BatchWatermarks, END_OF_TIME_MS, EventTimeStats};

/// How the watermarks of several nodes make that of the query (`spark.sql.streaming.multipleWatermarkPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatermarkPolicy {
    /// The slowest decides: nothing that any node lets through is late.
    #[default]
    Min,
    /// The fastest decides.
    Max,
}

impl WatermarkPolicy {
    /// The setting's name. Its value at a query's first start holds for the life of its checkpoint.
    pub const SETTING: &'static str = "spark.sql.streaming.multipleWatermarkPolicy";
}

impl FromStr for WatermarkPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            _ => Err(Error::invalid(format!("{} '{text}' is neither min nor max", Self::SETTING))),
        }
    }
}

/// A watermark node of a plan, as the tracker needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedNode {
    /// What the checkpoint calls it.
    pub name: String,
    /// How late its rows may be.
    pub delay_ms: i64,
    /// The names of the streams below it.
    pub sources: Vec<String>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct WatermarkTracker {
    policy: WatermarkPolicy,
    nodes: BTreeMap<String, NodeState>,
    sources: BTreeMap<String, SourceActivity>,
    /// In force in the last batch.
    in_force_ms: i64,
    /// In force in the next batch.
    reached_ms: i64,
}

#[derive(Debug, Clone)]
struct NodeState {
    delay_ms: i64,
    sources: Vec<String>,
    watermark_ms: Option<i64>,
}

/// Whether a source gives rows.
#[derive(Debug, Clone)]
struct SourceActivity {
    idle_timeout: Option<Duration>,
    /// When it gave something last, or the run began.
    gave_at: Duration,
    is_idle: bool,
}

impl WatermarkTracker {
    /// Goes on from what the last decided batch recorded. `idle_timeouts` names every stream of the query; `now` is the
    /// monotonic clock, as everywhere here.
    pub fn new(
        policy: WatermarkPolicy,
        nodes: Vec<TrackedNode>,
        idle_timeouts: BTreeMap<String, Option<Duration>>,
        recorded: Option<&RecordedWatermarks>,
        now: Duration,
    ) -> Self {
        let activity = |idle_timeout| SourceActivity { idle_timeout, gave_at: now, is_idle: false };
        let mut sources: BTreeMap<_, _> = idle_timeouts.into_iter().map(|(name, timeout)| (name, activity(timeout))).collect();
        let mut states = BTreeMap::new();
        for TrackedNode { name, delay_ms, sources: below } in nodes {
            let known = recorded.and_then(|recorded| recorded.nodes.get(&name));
            if known.is_some_and(|known| known.is_idle) {
                // Still silent, until it gives something: the time in which nothing ran is no silence, nor is its end.
                let silent = sources.iter_mut().filter(|(source, _)| below.contains(source));
                silent.for_each(|(_, source)| source.is_idle = source.idle_timeout.is_some());
            }
            states.insert(name, NodeState { delay_ms, sources: below, watermark_ms: known.and_then(|known| known.watermark_ms) });
        }
        let in_force_ms = recorded.map_or(0, |recorded| recorded.current_ms);
        let reached_ms = recorded.map_or(0, |recorded| recorded.next_ms.unwrap_or(recorded.current_ms));
        Self { policy, nodes: states, sources, in_force_ms, reached_ms }
    }

    /// Whether the query has watermarks at all.
    pub fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// How long until a source that gives nothing has been silent for too long; `None` if none can be.
    pub fn until_silent(&self, now: Duration) -> Option<Duration> {
        let waited_for = self.sources.values().filter(|source| !source.is_idle);
        let until = |source: &SourceActivity| Some(source.gave_at.saturating_add(source.idle_timeout?).saturating_sub(now));
        waited_for.filter_map(until).min()
    }

    /// A trigger has asked the sources and `gave` did something: tells who is silent for too long.
    pub fn asked<'a>(&mut self, gave: impl IntoIterator<Item = &'a String>, now: Duration) {
        for source in gave {
            if let Some(source) = self.sources.get_mut(source) {
                (source.gave_at, source.is_idle) = (now, false);
            }
        }
        for source in self.sources.values_mut() {
            source.is_idle |= source.idle_timeout.is_some_and(|timeout| now.saturating_sub(source.gave_at) >= timeout);
        }
        self.advance();
    }

    /// What the next batch is judged by.
    pub fn of_next_batch(&self) -> BatchWatermarks {
        BatchWatermarks { late_ms: self.in_force_ms, current_ms: self.reached_ms }
    }

    /// What the flush at the end of bounded input is judged by: everything is final.
    pub fn of_flush(&self) -> BatchWatermarks {
        BatchWatermarks { late_ms: self.in_force_ms, current_ms: END_OF_TIME_MS }
    }

    /// Whether the last batch was the flush, behind which nothing can be in time.
    pub fn is_flushed(&self) -> bool {
        self.in_force_ms == END_OF_TIME_MS
    }

    /// Whether the next batch has a later watermark than the last.
    pub fn has_moved(&self) -> bool {
        self.reached_ms > self.in_force_ms
    }

    /// A batch that was judged by `batch` has seen these event times.
    pub fn batch_has_run(&mut self, batch: BatchWatermarks, seen: &BTreeMap<String, EventTimeStats>) {
        for (name, stats) in seen {
            if let Some(node) = self.nodes.get_mut(name) {
                node.watermark_ms = node.watermark_ms.max(Some(stats.max_event_ms.saturating_sub(node.delay_ms)));
            }
        }
        self.in_force_ms = batch.current_ms;
        self.reached_ms = self.reached_ms.max(batch.current_ms);
        self.advance();
    }

    /// What the prepared record of the batch that has run says.
    pub fn recorded(&self, batch: BatchWatermarks) -> RecordedWatermarks {
        let node = |(name, node): (&String, &NodeState)| {
            (name.clone(), NodeWatermark { watermark_ms: node.watermark_ms, is_idle: self.is_idle(node) })
        };
        let BatchWatermarks { late_ms, current_ms } = batch;
        let nodes = self.nodes.iter().map(node).collect();
        RecordedWatermarks { late_ms, current_ms, next_ms: Some(self.reached_ms), nodes, ..RecordedWatermarks::default() }
    }

    fn advance(&mut self) {
        let of_node = |node: &NodeState| node.watermark_ms.unwrap_or(0);
        let chosen = match self.policy {
            // When all are silent nobody is left to say how far time is: it stands still.
            WatermarkPolicy::Min => self.nodes.values().filter(|node| !self.is_idle(node)).map(of_node).min(),
            WatermarkPolicy::Max => self.nodes.values().map(of_node).max(),
        };
        self.reached_ms = self.reached_ms.max(chosen.unwrap_or(self.reached_ms));
    }

    fn is_idle(&self, node: &NodeState) -> bool {
        let mut sources = node.sources.iter().map(|source| self.sources.get(source).is_some_and(|source| source.is_idle)).peekable();
        sources.peek().is_some() && sources.all(|is_idle| is_idle)
    }
}

#[cfg(test)]
mod tests;
