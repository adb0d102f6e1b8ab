//! The driver's half: what each batch reads of which partition.
//!
//! ```text
//!  places.rs    by the options: where a new query begins, where a batch ends
//!      position   what is read of every partition known so far, and of which topics
//!  planning.rs  what the next batch reads
//!  identity.rs  whether topics are still those of the position
//!      range      two positions, where partitions begin that the first does not know, and gaps
//!  doubts.rs    partitions that are not there: gone, or not listed for a moment
//!  this file    the source as the engine calls it: start, splits, offsets that are published, metrics
//! ```

mod doubts;
mod identity;
mod places;
mod planning;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{Admission, BatchId, Clock, Error, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use tokio::sync::Notify;

use self::doubts::Doubts;
pub(super) use self::doubts::LOOK_PAUSE;
use self::places::each;
use self::planning::{detail_of, pieces_of};
use super::admission::total;
use super::cluster::{Cluster, Edge, Partitions};
use super::consumers::{ConsumerSettings, Consumers};
use super::fingerprints::Fingerprints;
use super::high_watermarks::HighWatermarks;
use super::loss::Gap;
use super::offsets::Offsets;
use super::options::KafkaSourceOptions;
use super::position::KafkaPosition;
use super::reader::{ConsumerPools, option};
use super::split::{SplitLimits, splits};
use crate::wire;

/// Rows of a batch of records.
const BATCH_ROWS: usize = 8192;

#[derive(Debug)]
pub(super) struct KafkaSource {
    options: KafkaSourceOptions,
    group_id: String,
    time_zone: String,
    is_streaming: bool,
    clock: Arc<dyn Clock>,
    /// Those that read this source's splits in this process, for as long as it runs: they hear of new records first.
    consumers: Option<(Arc<Consumers>, Arc<Notify>)>,
    run: Option<Run>,
}

/// What a run of the source knows.
#[derive(Debug)]
struct Run {
    cluster: Cluster,
    high_watermarks: HighWatermarks,
    partitions: Partitions,
    /// What was last told of their topics.
    topics: Fingerprints,
    /// When they were looked for.
    looked_at: Option<Duration>,
    doubts: Doubts,
    /// Where each partition ended when the source was last asked, as far as that was told.
    latest: Offsets,
    /// Where each partition began when that was last asked, and when all of those with news were asked.
    first: Offsets,
    first_at: Option<Duration>,
    /// Where the batches decided so far end.
    read: Offsets,
    /// What was published last.
    published: Offsets,
    /// Where the range ends that was planned last: its topics were confirmed.
    confirmed: Option<Position>,
    /// Nothing behind this is read.
    fixed_end: Option<KafkaPosition>,
    /// When a batch last took less than there was waited for (`minOffsetsPerTrigger`).
    last_taken_proc_ms: Option<i64>,
    /// Of the batch that was decided last, until the next one is planned.
    gaps: Vec<Gap>,
    /// Records that all gaps of this run have passed over.
    n_missing: u64,
}

impl KafkaSource {
    pub(super) fn new(request: &SourceRequest, pools: &ConsumerPools) -> Result<Self> {
        let options = KafkaSourceOptions::parse(&request.options, request.is_streaming)?;
        let group_id = match options.client.get("group.id") {
            Some(group_id) => group_id.to_owned(),
            None => format!("{}-{}", options.group_id_prefix, group_suffix(request)),
        };
        let listened_to = || {
            let consumers = pools.of(consumer_settings(&options, &group_id));
            let news = consumers.news();
            (consumers, news)
        };
        Ok(Self {
            consumers: request.is_streaming.then(listened_to),
            options,
            group_id,
            time_zone: request.time_zone.clone(),
            is_streaming: request.is_streaming,
            clock: Arc::clone(&request.clock),
            run: None,
        })
    }

    fn run(&mut self) -> Result<&mut Run> {
        self.run.as_mut().ok_or_else(before_start)
    }
}

fn consumer_settings(options: &KafkaSourceOptions, group_id: &str) -> ConsumerSettings {
    ConsumerSettings { client: options.client.clone(), group_id: group_id.to_owned(), fetch_buffer_bytes: options.fetch_buffer_bytes }
}

fn before_start() -> Error {
    Error::internal("a kafka source was used before its start")
}

/// What tells the groups of queries apart: the checkpoint, so that a query keeps its group over restarts.
fn group_suffix(request: &SourceRequest) -> String {
    let Some(dir) = &request.checkpoint_dir else { return "batch".to_owned() };
    // FNV-1a: stable over versions, and no secret.
    let hash = dir.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[async_trait]
impl Source for KafkaSource {
    fn description(&self) -> String {
        format!("KafkaV2[{}]", self.options.subscription)
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "kafka", "reads": self.options.reads() })
    }

    fn schema(&self) -> SchemaRef {
        super::rows::schema(self.options.includes_headers)
    }

    fn reader(&self) -> ReaderSpec {
        let mut options = self.options.client.to_options();
        options.set(option::GROUP_ID, &self.group_id);
        options.set(option::FETCH_BUFFER_BYTES, self.options.fetch_buffer_bytes.to_string());
        options.set(option::POLL_TIMEOUT_MS, self.options.poll_timeout.as_millis().to_string());
        options.set(option::FAIL_ON_DATA_LOSS, self.options.fails_on_data_loss.to_string());
        ReaderSpec {
            connector: "kafka".to_owned(),
            format: "kafka".to_owned(),
            options,
            schema: self.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: BATCH_ROWS,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        let config = consumer_settings(&self.options, &self.group_id).config();
        let cluster = Cluster::connect(&config, Arc::clone(&self.clock), self.options.fetch_retries)?;
        self.run = Some(Run {
            cluster,
            high_watermarks: HighWatermarks::new(config, Arc::clone(&self.clock), self.options.fetch_retries),
            partitions: Partitions::new(),
            topics: Fingerprints::new(),
            looked_at: None,
            doubts: Doubts::default(),
            latest: Offsets::default(),
            first: Offsets::default(),
            first_at: None,
            read: Offsets::default(),
            published: Offsets::default(),
            confirmed: None,
            fixed_end: None,
            last_taken_proc_ms: None,
            gaps: Vec::new(),
            n_missing: 0,
        });
        let position = match start.position() {
            Some(position) => KafkaPosition::of(position)?,
            None => self.first_position().await?,
        };
        self.run()?.read = position.offsets.clone();
        position.to_position()
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        self.plan_batch(from, admission).await
    }

    fn shown(&self, position: &Position) -> serde_json::Value {
        let offsets = KafkaPosition::of(position).and_then(|known| known.offsets.to_position());
        offsets.map_or_else(|_| position.0.clone(), |offsets| offsets.0)
    }

    fn n_records(&self, range: &SourceRange) -> Option<u64> {
        Some(total(&pieces_of(range).ok()?))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let pieces = self.pieces_that_are_left(range).await?;
        let limits =
            SplitLimits { min_partitions: self.options.min_partitions, max_records_per_partition: self.options.max_records_per_partition };
        splits(&pieces, &KafkaPosition::of(&range.end)?, limits, n_tasks)
    }

    async fn decided(&mut self, _batch: BatchId, range: &SourceRange) -> Result<()> {
        let (end, gaps) = (KafkaPosition::of(&range.end)?.offsets, detail_of(range)?.gaps);
        let now_ms = self.clock.now_proc_ms();
        let run = self.run()?;
        run.lost(gaps);
        run.read = end;
        run.last_taken_proc_ms = Some(now_ms);
        Ok(())
    }

    fn missed(&mut self, _batch: BatchId, missed: &[serde_json::Value]) -> Result<()> {
        let gaps = missed.iter().map(|gap| wire::from_value(gap, "kafka gap")).collect::<Result<_>>()?;
        self.run()?.lost(gaps);
        Ok(())
    }

    async fn commit(&mut self, _batch: BatchId, range: &SourceRange) -> Result<()> {
        if !self.is_streaming || !self.options.commits_to_broker {
            return Ok(());
        }
        let end = KafkaPosition::of(&range.end)?.offsets;
        let run = self.run()?;
        let changed: Offsets =
            end.iter().filter(|(topic, partition, offset)| run.published.get(topic, *partition) != Some(*offset)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        // Whoever watches lag sees it later then; what is read and written does not depend on it.
        if let Err(error) = run.cluster.publish(&changed) {
            tracing::warn!(%error, "offsets are not published");
        }
        run.published = end;
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        loop {
            let asked_at = self.clock.monotonic();
            self.look_for_partitions().await?;
            let run = self.run()?;
            // What is left out here is never read by this run.
            let ends = run.cluster.edges(each(&run.partitions), Edge::Latest).await?;
            let read = run.read.clone();
            if self.may_come_back(&read, &ends, asked_at)?.is_empty() {
                let run = self.run()?;
                run.fixed_end = Some(KafkaPosition::new(ends, &run.topics));
                return Ok(());
            }
            self.clock.sleep(LOOK_PAUSE).await;
        }
    }

    fn nudge(&self) -> Option<Arc<Notify>> {
        self.consumers.as_ref().map(|(_, news)| Arc::clone(news))
    }

    fn metrics(&self) -> SourceMetrics {
        let mut metrics = SourceMetrics::default();
        let Some(run) = &self.run else { return metrics };
        metrics.latest = run.latest.to_position().ok();
        let lags: Vec<(&str, i32, i64)> = run
            .latest
            .iter()
            .map(|(topic, partition, latest)| (topic, partition, latest.saturating_sub(run.read.get(topic, partition).unwrap_or(0)).max(0)))
            .collect();
        let count = i64::try_from(lags.len()).unwrap_or(i64::MAX);
        if count > 0 {
            let all = || lags.iter().map(|(_, _, lag)| *lag);
            let average = all().sum::<i64>() as f64 / count as f64;
            metrics.values.push(("avgOffsetsBehindLatest".to_owned(), average.to_string()));
            metrics.values.push(("maxOffsetsBehindLatest".to_owned(), all().max().unwrap_or(0).to_string()));
            metrics.values.push(("minOffsetsBehindLatest".to_owned(), all().min().unwrap_or(0).to_string()));
            let behind: Offsets = lags.into_iter().filter(|(_, _, lag)| *lag > 0).collect();
            metrics.values.push(("offsetsBehindLatest".to_owned(), wire::to_value(&behind).unwrap_or_default().to_string()));
        }
        if self.options.commits_to_broker && self.is_streaming {
            metrics.values.push(("groupId".to_owned(), self.group_id.clone()));
        }
        if run.n_missing > 0 {
            metrics.values.push(("recordsMissingInRun".to_owned(), run.n_missing.to_string()));
        }
        if !run.gaps.is_empty() {
            let n_missing: u64 = run.gaps.iter().map(|gap| gap.n_missing).sum();
            metrics.values.push(("recordsMissing".to_owned(), n_missing.to_string()));
            metrics.values.push(("gaps".to_owned(), wire::to_value(&run.gaps).unwrap_or_default().to_string()));
        }
        metrics
    }

    async fn stop(&mut self) -> Result<()> {
        self.consumers = None;
        let Some(run) = self.run.take() else { return Ok(()) };
        if !run.published.is_empty()
            && let Err(error) = run.cluster.publish_last(run.published).await
        {
            tracing::warn!(%error, "offsets may not be published");
        }
        Ok(())
    }
}
