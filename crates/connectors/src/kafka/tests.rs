//! Tests of `kafka`, on a real broker where the environment names one. Which test is about which option or promise: [`coverage`].

mod client;
mod coverage;
mod dead_letters;
mod delivery;
mod faults;
mod loss;
mod options;
mod recreated;
mod runs;
mod scenarios;
mod secure;
mod sink;
mod source;
mod spark_checkpoint;
mod starting;
mod testkit;
mod transactions;
mod unlisted;
mod untold;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Admission, BatchId, ConnectorRegistry, Position, Result, Source, SourceRange, SourceStart, SplitChunk, SplitReader};
use millstream_testkit::ManualClock;
use millstream_testkit::kafka::TestKafka;
use millstream_testkit::source_contract::{SourceHarness, read_range, read_splits};

use super::position::KafkaPosition;
use crate::harness::{registry, source_request};

/// The broker of this run of the tests; `None` = the test is skipped, which was told.
fn kafka() -> Option<TestKafka> {
    TestKafka::from_env()
}

/// How the sources of a test are made.
struct Harness {
    registry: ConnectorRegistry,
    servers: String,
    options: Vec<(String, String)>,
    is_streaming: bool,
    clock: Arc<ManualClock>,
    /// A query keeps its reader, and with it the consumers.
    kept: Mutex<Option<Arc<dyn SplitReader>>>,
}

/// One source of a test, as an engine runs it.
struct Reading {
    harness: Harness,
    clock: Arc<ManualClock>,
    run: Option<(Box<dyn Source>, Position)>,
    n_batches: u64,
}

impl Harness {
    fn request(&self) -> SourceRequest {
        let mut pairs: Vec<(&str, &str)> = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.extend([("kafka.bootstrap.servers", self.servers.as_str()), ("kafka.fetch.wait.max.ms", "10")]);
        if !pairs.iter().any(|(name, _)| *name == "fetchOffset.retryIntervalMs") {
            // Nobody moves the clock while a question is asked again.
            pairs.push(("fetchOffset.retryIntervalMs", "0"));
        }
        SourceRequest {
            is_streaming: self.is_streaming,
            checkpoint_dir: self.is_streaming.then(|| format!("/checkpoint/of/{:?}", self.options)),
            clock: self.clock.clone(),
            ..source_request("kafka", &pairs, None)
        }
    }
}

impl Reading {
    fn stream(kafka: &TestKafka, options: &[(&str, &str)]) -> Self {
        Self::of(kafka.bootstrap_servers(), options, true)
    }

    fn batch(kafka: &TestKafka, options: &[(&str, &str)]) -> Self {
        Self::of(kafka.bootstrap_servers(), options, false)
    }

    fn of(servers: &str, options: &[(&str, &str)], is_streaming: bool) -> Self {
        let clock = Arc::new(ManualClock::new(1_600_000_000_000));
        let harness = Harness {
            registry: registry().0,
            servers: servers.to_owned(),
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            is_streaming,
            clock: Arc::clone(&clock),
            kept: Mutex::default(),
        };
        Self { harness, clock, run: None, n_batches: 0 }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        let mut source = self.harness.source().await?;
        let position = source.start(start).await?;
        self.run = Some((source, position.clone()));
        Ok(position)
    }

    /// As after a crash behind `range`.
    async fn restart_after(&mut self, range: &SourceRange) -> Result<Position> {
        self.start(SourceStart::Resume { snapshot: None, ranges: vec![(BatchId(0), range.clone())] }).await
    }

    async fn plan(&mut self) -> Result<Option<SourceRange>> {
        self.plan_with(&Admission::default()).await
    }

    /// What is planned once the brokers have told each other what has changed: until then there is nothing to plan.
    async fn plan_soon(&mut self) -> Result<SourceRange> {
        for _ in 0..200 {
            if let Some(range) = self.plan().await? {
                return Ok(range);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing was planned within 10 s");
    }

    async fn plan_with(&mut self, admission: &Admission) -> Result<Option<SourceRange>> {
        if self.run.is_none() {
            self.start(SourceStart::Fresh).await?;
        }
        let (source, position) = self.run.as_mut().unwrap();
        source.plan(position, admission).await
    }

    /// The rows of the next batch, which is committed; `None` if there is nothing new.
    async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let admission = if self.harness.is_streaming { Admission::default() } else { Admission::ALL };
        let Some(range) = self.plan_with(&admission).await? else { return Ok(None) };
        let rows = self.read(&range).await?;
        let (source, position) = self.run.as_mut().unwrap();
        source.decided(BatchId(self.n_batches), &range).await?;
        source.commit(BatchId(self.n_batches), &range).await?;
        self.n_batches += 1;
        *position = range.end;
        Ok(Some(rows))
    }

    async fn read(&mut self, range: &SourceRange) -> Result<Vec<RecordBatch>> {
        let (source, _) = self.run.as_mut().unwrap();
        let spec = source.reader();
        read_range(&self.harness, source.as_mut(), &spec, range, 2).await
    }

    async fn read_chunks(&mut self, range: &SourceRange) -> Result<Vec<SplitChunk>> {
        let (source, _) = self.run.as_mut().unwrap();
        let splits = source.splits(range, 2).await?;
        read_splits(self.harness.registry(), &source.reader(), &splits).await
    }

    /// The batch is over; `missed`: what its tasks found missing.
    async fn decide(&mut self, range: &SourceRange, missed: &[serde_json::Value]) {
        let (source, position) = self.run.as_mut().unwrap();
        source.decided(BatchId(self.n_batches), range).await.unwrap();
        source.missed(BatchId(self.n_batches), missed).unwrap();
        self.n_batches += 1;
        *position = range.end.clone();
    }

    /// What the next batch has, as `topic-partition@offset=value`, sorted; empty if there is nothing new.
    async fn next_texts(&mut self) -> Vec<String> {
        texts(&self.next().await.unwrap().unwrap_or_default())
    }

    /// The values of the next batch, in the order of partitions and offsets.
    async fn next_values(&mut self) -> Vec<String> {
        self.next_texts().await.iter().map(|text| text.split_once('=').unwrap().1.to_owned()).collect()
    }

    fn nudge(&self) -> Arc<tokio::sync::Notify> {
        self.run.as_ref().unwrap().0.nudge().unwrap()
    }

    fn metric(&self, name: &str) -> Option<String> {
        let (source, _) = self.run.as_ref()?;
        source.metrics().values.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

#[async_trait]
impl SourceHarness for Harness {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let source = self.registry.for_format("kafka")?.source(self.request()).await?;
        *self.kept.lock().unwrap() = Some(self.registry.reader(&source.reader())?);
        Ok(source)
    }

    fn n_steps(&self) -> usize {
        3
    }

    async fn add_data(&self, step: usize) -> Result<()> {
        let kafka = TestKafka::at(&self.servers)?;
        let topic = self.options.iter().find(|(name, _)| name == "subscribe").unwrap().1.clone();
        for partition in 0..3 {
            kafka.produce_values(&topic, partition, (0..=step + partition as usize).map(|n| format!("{step} {partition} {n}"))).await?;
        }
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }
}

/// The offsets of a position, as progress has them.
fn offsets(position: &Position) -> serde_json::Value {
    KafkaPosition::of(position).unwrap().offsets.to_position().unwrap().0
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<(String, i32, i64, String)> = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        for row in 0..batch.num_rows() {
            rows.push((
                column("topic").as_string::<i32>().value(row).to_owned(),
                column("partition").as_primitive::<Int32Type>().value(row),
                column("offset").as_primitive::<Int64Type>().value(row),
                String::from_utf8(column("value").as_binary::<i32>().value(row).to_vec()).unwrap(),
            ));
        }
    }
    rows.sort();
    rows.into_iter().map(|(topic, partition, offset, value)| format!("{topic}-{partition}@{offset}={value}")).collect()
}
