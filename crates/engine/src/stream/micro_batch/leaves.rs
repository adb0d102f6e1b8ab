//! The sources of a running query: streams, which every batch reads further, and static sides, which stay.

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use millstream_core::{Admission, BatchId, Position, Result, Source, SourceRange, SourceStart};

use super::in_source;
use crate::physical::source_table::as_source_table;
use crate::stream::pace::Pace;
use crate::stream::trigger::Trigger;

/// A streaming source of the query.
pub(in crate::stream) struct StreamLeaf {
    pub(in crate::stream) name: String,
    pub(in crate::stream) description: String,
    pub(in crate::stream) source: Box<dyn Source>,
    /// Where the next batch begins.
    pub(in crate::stream) position: Position,
    /// The first batch that read it, as far as is known; `None` if it was never read.
    pub(in crate::stream) begun_in: Option<BatchId>,
    /// Whether it keeps more than its position (seen files): then its ranges are kept until a snapshot has them.
    pub(in crate::stream) remembers: bool,
    /// Silent for so long, its event time holds the query back no more.
    pub(in crate::stream) idle_timeout: Option<Duration>,
    /// How much it may give to a batch that is to end within a target time.
    pub(in crate::stream) pace: Option<Pace>,
}

impl StreamLeaf {
    /// What the next batch may take of it, beside the options of the source.
    pub(super) fn admission(&self, trigger: Trigger, batch_bytes_max: u64) -> Admission {
        let admission = match trigger {
            Trigger::Once => return Admission::ALL,
            _ => Admission::bytes(Some(batch_bytes_max)),
        };
        self.pace.as_ref().map_or(admission, |pace| admission.records(pace.records_max()))
    }

    /// A batch that read this range of it took so long.
    pub(super) fn batch_ran(&mut self, range: &SourceRange, took: Duration) {
        if let (Some(pace), Some(n_records)) = (&mut self.pace, self.source.n_records(range)) {
            pace.batch_ran(n_records, took);
        }
    }
}

/// A finished side of a join: its range is fixed at start, recorded with each batch, and resolved again by interval.
pub(in crate::stream) struct StaticLeaf {
    pub(in crate::stream) name: String,
    pub(super) source: Box<dyn Source>,
    pub(in crate::stream) range: Option<SourceRange>,
    table: Arc<dyn TableProvider>,
    resolved_at: Duration,
}

impl StaticLeaf {
    /// Opens the table and fixes its range to what is there.
    pub(in crate::stream) async fn resolve(name: String, table: Arc<dyn TableProvider>, now: Duration) -> Result<Self> {
        let mut source = as_source_table(&table)?.open(None).await?;
        let from = source.start(SourceStart::Fresh).await?;
        let range = source.plan(&from, &Admission::ALL).await?;
        Ok(Self { name, source, range, table, resolved_at: now })
    }

    /// Resolves it again if its `refreshInterval` has passed, or if what it read is there no more: a table that is written
    /// anew now and then must not stop the query until the interval is over.
    pub(super) async fn refresh(&mut self, now: Duration) -> Result<()> {
        let Some(interval) = as_source_table(&self.table)?.refresh_interval() else { return Ok(()) };
        let is_old = now.saturating_sub(self.resolved_at) >= interval;
        if is_old || !self.is_there().await? {
            tracing::debug!(source = self.name, is_old, "a finished table is looked at again");
            *self = Self::resolve(self.name.clone(), Arc::clone(&self.table), now).await?;
        }
        Ok(())
    }

    async fn is_there(&mut self) -> Result<bool> {
        match &self.range {
            Some(range) => self.source.is_unchanged(range).await.map_err(in_source(&self.name)),
            None => Ok(true),
        }
    }
}
