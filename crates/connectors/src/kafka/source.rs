//! The driver's half: what each batch reads of which partition.
//!
//! ```text
//!  position   {"t":{"0":40}}                 what is read of every partition known so far
//!  plan       partitions (looked for every metadataInterval) ── ends now ── gaps? ── admission ──► range
//!  range      start, end; detail: where partitions begin that `start` does not know, or that lost records; the gaps
//! ```
//! A partition that is not in the position is new, and begins with its first record. The range holds all that is needed to
//! read it again; the cluster is not asked a second time.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{Admission, BatchId, Clock, Error, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::admission::{Available, share_out, total};
use super::cluster::{Cluster, Edge, Partitions};
use super::consumers::{ConsumerSettings, Consumers};
use super::high_watermarks::HighWatermarks;
use super::loss::{Cause, Gap, gap_of};
use super::named_offsets;
use super::offsets::Offsets;
use super::options::{EARLIEST, KafkaSourceOptions, LATEST, Place, Subscription};
use super::reader::{ConsumerPools, option};
use super::spark_checkpoint::committed_offsets;
use super::split::{RECORD_BYTES_GUESS, SplitLimits, splits};
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
    /// When they were looked for.
    looked_at: Option<Duration>,
    /// Where each partition ended when the source was last asked, as far as that was told.
    latest: Offsets,
    /// Where each partition began when that was last asked, and when all of those with news were asked.
    first: Offsets,
    first_at: Option<Duration>,
    /// Where the batches decided so far end.
    read: Offsets,
    /// What was published last.
    published: Offsets,
    /// Nothing behind this is read.
    fixed_end: Option<Offsets>,
    /// When a batch last took less than there was waited for (`minOffsetsPerTrigger`).
    last_taken_proc_ms: Option<i64>,
    /// Of the batch that was decided last, until the next one is planned.
    gaps: Vec<Gap>,
    /// Records that all gaps of this run have passed over.
    n_missing: u64,
}

/// See [`SourceRange::detail`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Detail {
    /// Where partitions begin, if not where the last batch ended.
    #[serde(default, skip_serializing_if = "Offsets::is_empty")]
    begin: Offsets,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
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

    /// Finds the partitions that there are now.
    async fn look_for_partitions(&mut self) -> Result<()> {
        let now = self.clock.monotonic();
        let interval = self.options.metadata_interval;
        let subscription = self.options.subscription.clone();
        let run = self.run()?;
        let is_due = run.looked_at.is_none_or(|at| now.saturating_sub(at) >= interval);
        if is_due {
            run.partitions = run.cluster.partitions(&subscription).await?;
            run.looked_at = Some(now);
        }
        Ok(())
    }

    /// Where each partition ends that there is; none of a partition that is gone. A live stream does without those that the cluster does
    /// not tell at once: it asks again for the next batch.
    async fn look_at_ends(&mut self) -> Result<Offsets> {
        self.look_for_partitions().await?;
        let mut ends = self.ask_for_edges(Edge::Latest, None).await?;
        let run = self.run()?;
        let n_known: usize = run.partitions.values().map(Vec::len).sum();
        if ends.len() < n_known {
            // Some went away since they were looked for.
            run.looked_at = None;
            self.look_for_partitions().await?;
            ends = self.ask_for_edges(Edge::Latest, None).await?;
        }
        let run = self.run()?;
        run.latest = ends.clone();
        if let Some(fixed) = &mut run.fixed_end {
            // Those of the position that were not listed when the end was fixed have theirs from here on.
            for (topic, partition, _) in run.read.iter() {
                if let (None, Some(end)) = (fixed.get(topic, partition), ends.get(topic, partition)) {
                    fixed.set(topic, partition, end);
                }
            }
            ends =
                ends.iter().filter_map(|(topic, partition, end)| Some((topic, partition, end.min(fixed.get(topic, partition)?)))).collect();
        }
        Ok(ends)
    }

    /// An edge of these partitions, or of all that were found. Where there is no later batch to read what is left out, the answer is awaited.
    async fn ask_for_edges(&mut self, edge: Edge, partitions: Option<Vec<(&str, i32)>>) -> Result<Offsets> {
        let is_streaming = self.is_streaming;
        let run = self.run()?;
        let partitions = partitions.unwrap_or_else(|| each(&run.partitions).collect()).into_iter();
        if is_streaming && run.fixed_end.is_none() {
            run.cluster.edges_told(partitions, edge).await
        } else {
            run.cluster.edges(partitions, edge).await
        }
    }

    /// Where a new query begins, in all partitions that there are.
    async fn first_position(&mut self) -> Result<Offsets> {
        self.look_for_partitions().await?;
        let missing = self.missing_topics()?;
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "there is no {missing} in the Kafka cluster at {}",
                self.options.client.bootstrap_servers()
            )));
        }
        if let Some(dir) = self.options.start_from_spark.clone() {
            return committed_offsets(&dir, &self.run()?.partitions).await;
        }
        let start = self.options.start.clone();
        let at_latest = self.options.starts_at_latest_without_match;
        let resolved = self.resolve(&start, "starting", at_latest).await?;
        let (run, fails) = (self.run.as_mut().ok_or_else(before_start)?, self.options.fails_on_data_loss);
        match start {
            Place::Offsets(_) => named_offsets::starting(resolved, &run.cluster, &mut run.high_watermarks, fails).await,
            _ => Ok(resolved),
        }
    }

    /// Topics and partitions that were named and do not exist.
    fn missing_topics(&self) -> Result<String> {
        let run = self.run.as_ref().ok_or_else(before_start)?;
        let exists = |topic: &str, partition: i32| run.partitions.get(topic).is_some_and(|known| known.contains(&partition));
        let missing: Vec<String> = match &self.options.subscription {
            Subscription::Assign(named) => named
                .iter()
                .filter(|(topic, partition, _)| !exists(topic, *partition))
                .map(|(topic, partition, _)| format!("partition {topic}-{partition}"))
                .collect(),
            Subscription::Topics(named) => {
                named.iter().filter(|topic| !run.partitions.contains_key(*topic)).map(|topic| format!("topic '{topic}'")).collect()
            }
            // A pattern may match what comes later.
            Subscription::Pattern(..) => Vec::new(),
        };
        Ok(missing.join(", "))
    }

    /// The offsets that an option means; `edge` is the beginning of its name.
    async fn resolve(&mut self, place: &Place, edge: &str, at_latest_without_match: bool) -> Result<Offsets> {
        let run = self.run()?;
        let all: Offsets = each(&run.partitions).map(|(topic, partition)| (topic, partition, 0)).collect();
        match place {
            Place::Earliest => run.cluster.edges(each(&run.partitions), Edge::Earliest).await,
            Place::Latest => run.cluster.edges(each(&run.partitions), Edge::Latest).await,
            Place::Offsets(named) => {
                check_named(named, &all, edge, "Offsets")?;
                let marked = |marker: i64| {
                    named.iter().filter(move |(_, _, offset)| *offset == marker).map(|(topic, partition, _)| (topic, partition))
                };
                let earliest = run.cluster.edges(marked(EARLIEST), Edge::Earliest).await?;
                let latest = run.cluster.edges(marked(LATEST), Edge::Latest).await?;
                let resolved = named.iter().map(|(topic, partition, offset)| {
                    let resolved = match offset {
                        EARLIEST => earliest.get(topic, partition),
                        LATEST => latest.get(topic, partition),
                        offset => Some(offset),
                    };
                    let gone = || Error::unavailable(format!("{topic}-{partition} went away while its offsets were asked for"));
                    Ok((topic, partition, resolved.ok_or_else(gone)?))
                });
                resolved.collect()
            }
            Place::Time(ms) => {
                let times = all.iter().map(|(topic, partition, _)| (topic, partition, *ms)).collect();
                self.resolve_times(&times, at_latest_without_match).await
            }
            Place::Times(named) => {
                check_named(named, &all, edge, "OffsetsByTimestamp")?;
                self.resolve_times(named, at_latest_without_match).await
            }
        }
    }

    async fn resolve_times(&mut self, times: &Offsets, at_latest_without_match: bool) -> Result<Offsets> {
        let run = self.run()?;
        let matched = run.cluster.offsets_at(times).await?;
        let unmatched =
            || matched.iter().filter(|(_, _, offset)| offset.is_none()).map(|(topic, partition, _)| (topic.as_str(), *partition));
        if let Some((topic, partition)) = unmatched().next().filter(|_| !at_latest_without_match) {
            let ms = times.get(topic, partition).unwrap_or_default();
            return Err(Error::invalid(format!(
                "no offset matched from request of topic-partition {topic}-{partition} and timestamp {ms}"
            ))
            .hint("option startingOffsetsByTimestampStrategy 'latest' begins at the end of such partitions"));
        }
        let latest = run.cluster.edges(unmatched(), Edge::Latest).await?;
        let resolved = matched
            .iter()
            .filter_map(|(topic, partition, offset)| Some((topic.as_str(), *partition, offset.or_else(|| latest.get(topic, *partition))?)));
        Ok(resolved.collect())
    }

    /// What there is to read behind `start`, up to `ends`, and what is missing of it.
    async fn available(&mut self, start: &Offsets, ends: &Offsets) -> Result<(Vec<Available>, Detail)> {
        let (fails, interval, now) = (self.options.fails_on_data_loss, self.options.metadata_interval, self.clock.monotonic());
        let run = self.run()?;
        // What retention takes between two looks is missed by the reader, which tells of it in the same way.
        let is_old = run.first_at.is_none_or(|at| now.saturating_sub(at) >= interval);
        let must_ask = |topic: &str, partition: i32, end: i64| match start.get(topic, partition) {
            // It is another topic than the one that is remembered.
            Some(known) if run.latest.get(topic, partition).is_some_and(|past| known > past) => true,
            Some(known) => known != end && (is_old || run.first.get(topic, partition).is_none()),
            // It may be of another topic of the same name than the one that is remembered.
            None => true,
        };
        let asked = ends.iter().filter(|(topic, partition, end)| must_ask(topic, *partition, *end));
        let asked: Vec<(&str, i32)> = asked.map(|(topic, partition, _)| (topic, partition)).collect();
        let n_asked = asked.len();
        let answered = self.ask_for_edges(Edge::Earliest, Some(asked)).await?;
        let Self { options, run, .. } = self;
        let run = run.as_mut().ok_or_else(before_start)?;
        // What is not told is not taken from an earlier answer, either.
        if is_old || answered.len() < n_asked {
            (run.first, run.first_at) = (answered, Some(now));
        } else {
            answered.iter().for_each(|(topic, partition, first)| run.first.set(topic, partition, first));
        }
        let first = &run.first;
        let mut detail = Detail::default();
        let mut available = Vec::with_capacity(ends.len());
        for (topic, partition, end) in ends.iter() {
            let known = start.get(topic, partition);
            // The end that is there, not the one that was fixed for this run.
            let past = run.latest.get(topic, partition).unwrap_or(end);
            let first = match (first.get(topic, partition), known) {
                (Some(first), _) => first,
                (None, Some(known)) if known <= past => known,
                // A new one, or another one of the same name, whose beginning is not told: the next batch looks again.
                (None, Some(known)) => {
                    available.push(Available { topic: topic.to_owned(), partition, begin: known, end: known });
                    continue;
                }
                (None, None) => continue,
            };
            let (begin, gap) = match known {
                Some(wanted) => match gap_of(topic, partition, wanted, (first, past), false) {
                    // It goes on with the first record that is left. Of a topic that was made again all are new.
                    Some(gap) => (first.min(end), Some(gap)),
                    None => (wanted, None),
                },
                None if first > 0 && !start.is_empty() => {
                    let (topic, n_missing) = (topic.to_owned(), u64::try_from(first).unwrap_or(0));
                    (first, Some(Gap { topic, partition, wanted: 0, available: Some((first, past)), n_missing, cause: Cause::BeganLate }))
                }
                None => (first, None),
            };
            if known != Some(begin) {
                detail.begin.set(topic, partition, begin);
            }
            detail.gaps.extend(gap);
            available.push(Available { topic: topic.to_owned(), partition, begin, end: end.max(begin) });
        }
        for (topic, partition, wanted) in start.iter().filter(|(topic, partition, _)| ends.get(topic, *partition).is_none()) {
            let cause = if options.subscription.includes(topic, partition) { Cause::Deleted } else { Cause::Unsubscribed };
            detail.gaps.push(Gap { topic: topic.to_owned(), partition, wanted, available: None, n_missing: 0, cause });
        }
        match detail.gaps.first() {
            Some(gap) if fails => Err(gap.error()),
            _ => Ok((available, detail)),
        }
    }

    /// Whether too little is there for a batch, and it is not yet time to take it all the same.
    fn holds_back(&mut self, n_available: u64, admission: &Admission) -> Result<bool> {
        let now_ms = self.clock.now_proc_ms();
        let (min, delay) = (self.options.min_offsets, self.options.max_trigger_delay);
        let run = self.run()?;
        let Some(min) = min.filter(|_| !admission.ignore_limits && run.fixed_end.is_none()) else { return Ok(false) };
        let waited_ms = run.last_taken_proc_ms.map_or(i64::MAX, |taken| now_ms.saturating_sub(taken));
        Ok(n_available < min && waited_ms < i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }

    fn limit(&self, admission: &Admission) -> u64 {
        if admission.ignore_limits {
            return u64::MAX;
        }
        let by_bytes = admission.bytes_max.map_or(u64::MAX, |bytes| (bytes / RECORD_BYTES_GUESS).max(1));
        [self.options.max_offsets, admission.records_max].into_iter().flatten().min().unwrap_or(u64::MAX).min(by_bytes)
    }
}

impl Run {
    fn lost(&mut self, gaps: Vec<Gap>) {
        for gap in &gaps {
            tracing::error!(?gap, "records were lost before they were read");
        }
        self.n_missing += gaps.iter().map(|gap| gap.n_missing).sum::<u64>();
        self.gaps.extend(gaps);
    }

    /// Partitions that the cluster lists and whose end it does not tell, as while their leader moves, are not gone: they are read later.
    fn keep_silent(&mut self, start: &Offsets, ends: &mut Offsets) {
        for (topic, partition, offset) in start.iter() {
            let is_listed = self.partitions.get(topic).is_some_and(|known| known.contains(&partition));
            if is_listed && ends.get(topic, partition).is_none() {
                ends.set(topic, partition, offset);
            }
        }
    }

    /// A partition whose position is beyond the end that readers see has lost nothing if its records go as far: they are of transactions
    /// that are open, and whoever decided the position has read them. It stands there until the end has passed it.
    async fn wait_for_transactions(&mut self, start: &Offsets, ends: &mut Offsets) -> Result<()> {
        let written = self.high_watermarks.of_those_beyond(start, &self.latest).await?;
        for (topic, partition, wanted) in start.iter() {
            if written.get(topic, partition).is_some_and(|end| wanted <= end) {
                ends.set(topic, partition, wanted);
                self.latest.set(topic, partition, wanted);
            }
        }
        Ok(())
    }
}

fn consumer_settings(options: &KafkaSourceOptions, group_id: &str) -> ConsumerSettings {
    ConsumerSettings { client: options.client.clone(), group_id: group_id.to_owned(), fetch_buffer_bytes: options.fetch_buffer_bytes }
}

fn before_start() -> Error {
    Error::internal("a kafka source was used before its start")
}

/// What a named starting or ending offset must cover.
fn check_named(named: &Offsets, all: &Offsets, edge: &str, what: &str) -> Result<()> {
    if named.has_same_partitions(all) {
        return Ok(());
    }
    let hint = if what == "Offsets" { "use -1 for latest, -2 for earliest" } else { "name a time for each" };
    Err(Error::invalid(format!(
        "if option '{edge}{what}' names partitions, it must name all of them: named are {}, there are {}",
        named.partitions_shown(),
        all.partitions_shown()
    ))
    .hint(hint))
}

fn each(partitions: &Partitions) -> impl Iterator<Item = (&str, i32)> {
    partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (topic.as_str(), *number)))
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
            looked_at: None,
            latest: Offsets::default(),
            first: Offsets::default(),
            first_at: None,
            read: Offsets::default(),
            published: Offsets::default(),
            fixed_end: None,
            last_taken_proc_ms: None,
            gaps: Vec::new(),
            n_missing: 0,
        });
        let position = match start.position() {
            Some(position) => Offsets::of_position(position)?,
            None => self.first_position().await?,
        };
        self.run()?.read = position.clone();
        position.to_position()
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        let (start, fails) = (Offsets::of_position(from)?, self.options.fails_on_data_loss);
        self.run()?.gaps.clear();
        let mut ends = self.look_at_ends().await?;
        if self.is_streaming {
            let run = self.run()?;
            if run.fixed_end.is_none() {
                run.keep_silent(&start, &mut ends);
            }
            run.wait_for_transactions(&start, &mut ends).await?;
        } else {
            let end = self.options.end.clone();
            ends = self.resolve(&end, "ending", true).await?;
            if let Place::Offsets(_) = end {
                ends = named_offsets::ending(ends, &start, &self.run()?.cluster, fails).await?;
            }
        }
        if ends == start {
            if let Some((consumers, _)) = &self.consumers {
                consumers.listen();
            }
            return Ok(None);
        }
        let (available, detail) = self.available(&start, &ends).await?;
        let n_available = total(&available);
        if detail.gaps.is_empty() && (n_available == 0 || self.holds_back(n_available, admission)?) {
            return Ok(None);
        }
        let taken = share_out(&available, self.limit(admission));
        // A new partition that never had a record is not known until it has some: it would begin at 0 all the same.
        let end: Offsets = taken.iter().filter(|(topic, partition, end)| start.get(topic, *partition).is_some() || *end > 0).collect();
        let begin = detail.begin.iter().filter(|(topic, partition, _)| end.get(topic, *partition).is_some()).collect();
        let detail = Detail { begin, ..detail };
        let detail = if detail == Detail::default() { serde_json::Value::Null } else { wire::to_value(&detail)? };
        Ok(Some(SourceRange { start: from.clone(), end: end.to_position()?, detail }))
    }

    fn n_records(&self, range: &SourceRange) -> Option<u64> {
        Some(total(&pieces_of(range).ok()?))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let ranges = pieces_of(range)?;
        let limits =
            SplitLimits { min_partitions: self.options.min_partitions, max_records_per_partition: self.options.max_records_per_partition };
        splits(&ranges, limits, n_tasks)
    }

    async fn decided(&mut self, _batch: BatchId, range: &SourceRange) -> Result<()> {
        let (end, gaps) = (Offsets::of_position(&range.end)?, detail_of(range)?.gaps);
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
        let end = Offsets::of_position(&range.end)?;
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
        self.look_for_partitions().await?;
        let run = self.run()?;
        // What is left out here is never read by this run.
        run.fixed_end = Some(run.cluster.edges(each(&run.partitions), Edge::Latest).await?);
        Ok(())
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

/// What a range reads of each partition.
fn pieces_of(range: &SourceRange) -> Result<Vec<Available>> {
    let (start, end) = (Offsets::of_position(&range.start)?, Offsets::of_position(&range.end)?);
    let detail = detail_of(range)?;
    let piece = |(topic, partition, end): (&str, i32, i64)| {
        let begin = detail.begin.get(topic, partition).or_else(|| start.get(topic, partition)).unwrap_or(end);
        Available { topic: topic.to_owned(), partition, begin, end }
    };
    Ok(end.iter().map(piece).collect())
}

fn detail_of(range: &SourceRange) -> Result<Detail> {
    if range.detail.is_null() { Ok(Detail::default()) } else { wire::from_value(&range.detail, "kafka range") }
}
