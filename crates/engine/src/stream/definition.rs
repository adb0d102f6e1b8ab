//! What a streaming query is, before it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::logical_expr::LogicalPlan;
use millstream_core::{Result, Sink};
use millstream_state::Location;

use super::trigger::Trigger;
use crate::engine::RowErrors;
use crate::physical::KeptLateRows;
use crate::table_gate::TableGates;

/// The settings that change a query's results (time zone, ...), by Spark's names; recorded with every batch.
pub type Settings = BTreeMap<String, String>;

/// Makes the logical plan of a query under given settings. A batch whose intent was recorded is finished with the
/// settings it began with, so the plan may have to be made again under older ones.
#[async_trait]
pub trait StreamPlan: Send + Sync + fmt::Debug {
    /// The plan; its leaves are [`SourceTable`](crate::SourceTable)s and finished tables.
    async fn logical_plan(&self, settings: &Settings) -> Result<LogicalPlan>;
}

/// What a streaming query is, before it runs.
#[derive(Debug)]
pub struct QueryDefinition {
    /// The user's name for it.
    pub name: Option<String>,
    /// What it computes.
    pub plan: Arc<dyn StreamPlan>,
    /// The session's settings that change results.
    pub settings: Settings,
    /// What becomes of rows on which an expression fails.
    pub row_errors: RowErrors,
    /// Where the rows go.
    pub sink: Arc<dyn Sink>,
    /// Where rows go that come too late ([`late_rows_schema`](crate::physical::late_table::late_rows_schema)); without it
    /// they are only counted.
    pub late_rows: Option<Arc<dyn Sink>>,
    /// Which rows go there.
    pub kept_late_rows: KeptLateRows,
    /// The least time between the starts of two batches under the default trigger (file sinks: `commitInterval`).
    pub commit_interval: Duration,
    /// Tables that others replace while the query runs.
    pub gates: TableGates,
    /// When batches begin.
    pub trigger: Trigger,
    /// The checkpoint folder.
    pub checkpoint: Location,
    /// What becomes of that folder when the run ends.
    pub checkpoint_life: CheckpointLife,
    /// The most bytes of input that a batch takes when no limit option says less (not for `once`).
    pub batch_bytes_max: u64,
    /// How long a batch should take: sources that can be told so are given fewer or more records. Without it the sink may say.
    pub target_batch_duration: Option<Duration>,
    /// How long a stop waits for the running batch; zero is without limit, as in Spark.
    pub stop_timeout: Duration,
    /// Batches whose records are kept (Spark's `spark.sql.streaming.minBatchesToRetain`).
    pub batches_retained_min: u64,
    /// Whether a batch without data runs when the watermark has moved and a stateful operator can use it (Spark's
    /// `spark.sql.streaming.noDataMicroBatches.enabled`).
    pub runs_no_data_batches: bool,
    /// When the input of `available-now` has ended, a last batch makes everything final and closes the checkpoint to new input.
    pub flushes: bool,
    /// How many key groups state is divided into, which is the most tasks that can share it: decided at the first start, 256 without a
    /// word. A later start that names another number is refused.
    pub key_groups: Option<NonZeroU32>,
    /// Stateful operators, by name, that may begin afresh if they cannot go on from what the checkpoint remembers.
    pub allow_state_drop: Vec<String>,
    /// An idle query tells listeners so once in this time (Spark's `spark.sql.streaming.noDataProgressEventInterval`).
    pub idle_event_interval: Duration,
}

/// What becomes of a checkpoint folder when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointLife {
    /// It stays: the next start goes on from it.
    #[default]
    Kept,
    /// It was made for this run and is removed at its end, as Spark does with its temporary checkpoints.
    Temporary {
        /// Also when the query failed (`spark.sql.streaming.forceDeleteTempCheckpointLocation`).
        even_if_failed: bool,
    },
}

impl CheckpointLife {
    /// Whether the folder is removed after this end.
    pub(crate) fn ends_with(self, has_failed: bool) -> bool {
        match self {
            Self::Kept => false,
            Self::Temporary { even_if_failed } => even_if_failed || !has_failed,
        }
    }
}

impl QueryDefinition {
    /// Without a limit option a batch takes at most 4 GiB of input.
    pub const BATCH_BYTES_MAX: u64 = 4 << 30;
    /// A stop waits 10 s for the running batch.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
    /// 100 batches are kept, as in Spark.
    pub const BATCHES_RETAINED_MIN: u64 = 100;
    /// Idleness is told every 10 s, as in Spark.
    pub const IDLE_EVENT_INTERVAL: Duration = Duration::from_secs(10);
}
