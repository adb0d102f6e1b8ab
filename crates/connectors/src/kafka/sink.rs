//! The driver's half of writing. Exactly once: one producer per run, a batch is one transaction, and its commit decides the
//! batch ([`Sink::decides`]), because nobody can resume a transaction whose producer is gone.
//!
//! ```text
//!  task     begin with the first record ─► produce ...
//!  prepare  produce the marker
//!  (PROPOSED is durable, while records go to the broker: nobody sees them)
//!  commit   wait until they have all, commit the transaction: readers of committed records see the batch, and its marker
//!  recover  shut out older producers ─► read the markers to the end ─► Committed or RunAgain
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::{
    BatchId, Clock, Delivery, Error, Options, Outcome, RecordedBatch, Result, Sink, SinkContext, TaskOutput, WriterSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dead_letters;
use super::marker::{Marker, MarkerTopic};
use super::producer::{OutputRecord, Producer, blocking};
use super::sink_columns::Columns;
use super::sink_options::SinkOptions;
use super::transaction::{Output, Outputs, Run, TaskRecords};
use crate::wire;

/// Within which time a batch should be written, if the query does not say.
const BATCH_DURATION_TARGET: Duration = Duration::from_secs(5);

/// The task that the markers of a process are of.
const TASK: u32 = 0;

/// What the record of a batch says of this sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Prepared {
    /// Records in the transaction; without any there is no transaction.
    records: u64,
    /// The last batch, up to and with this one, that left a marker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marker: Option<BatchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marker_topic: Option<String>,
    /// The transactional ids that the batch was written with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    producers: Vec<String>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct KafkaSink {
    options: SinkOptions,
    is_streaming: bool,
    output: Arc<Output>,
    writer: WriterSpec,
    /// What tells its transactions and markers from those of the query's main sink.
    suffix: &'static str,
    clock: Arc<dyn Clock>,
}

impl KafkaSink {
    pub(super) fn new(request: SinkRequest, outputs: &Outputs) -> Result<Self> {
        let options = SinkOptions::parse(&request.options)?;
        if !request.partition_by.is_empty() {
            return Err(
                Error::unsupported("partitionBy with the kafka sink").hint("the columns topic and partition say where a record goes")
            );
        }
        Columns::of(&request.schema, options.topic.as_deref())?;
        let output = Arc::new(Output::default());
        let mut for_tasks = Options::new().with(Outputs::OPTION, outputs.add(&output).to_string());
        if let Some(topic) = &options.topic {
            for_tasks.set("topic", topic);
        }
        for_tasks.set("batchHeaders", options.adds_headers.to_string());
        let writer = WriterSpec {
            connector: "kafka".to_owned(),
            format: request.format,
            options: for_tasks,
            schema: request.schema,
            partition_by: Vec::new(),
            time_zone: request.time_zone,
        };
        Ok(Self { options, is_streaming: request.output_mode.is_some(), output, writer, suffix: "", clock: request.clock })
    }

    /// A sink for dead letters, the rows of the request; its options are those of any other.
    pub(super) fn of_dead_letters(mut request: SinkRequest, outputs: &Outputs) -> Result<Self> {
        let letters = std::mem::replace(&mut request.schema, dead_letters::schema());
        let mut sink = Self::new(request, outputs).map_err(|error| error.context("options 'deadLetter.*'"))?;
        sink.writer.schema = letters;
        dead_letters::FORMAT.clone_into(&mut sink.writer.format);
        sink.suffix = "-letters";
        Ok(sink)
    }

    fn markers(&self, ctx: &SinkContext) -> Option<MarkerTopic> {
        let default = || format!("millstream-marker-{}{}", ctx.query_id, self.suffix);
        let name = self.options.marker_topic.clone().unwrap_or_else(default);
        let topic = || MarkerTopic::new(name, ctx.query_id, &self.options.client, self.options.transaction_timeout);
        (self.is_streaming && self.options.is_exactly_once).then(topic)
    }

    /// Shuts out what older runs, with other ids, may have open.
    async fn fence(&self, ids: impl Iterator<Item = &String>, own: &str) -> Result<()> {
        for id in ids.filter(|id| *id != own) {
            let producer = Producer::connect(&self.options, Some(id.clone()), Arc::clone(&self.clock)).await?;
            blocking(move || {
                drop(producer);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn description(&self) -> String {
        match &self.options.topic {
            Some(topic) => format!("KafkaSink[topic:{topic}]"),
            None => "KafkaSink".to_owned(),
        }
    }

    fn identity(&self) -> Value {
        json!({ "format": "kafka" })
    }

    fn delivery(&self) -> Delivery {
        if self.options.is_exactly_once { Delivery::Transactional } else { Delivery::AtLeastOnce }
    }

    fn needs_intent(&self) -> bool {
        !self.options.is_exactly_once
    }

    fn decides(&self) -> bool {
        self.is_streaming && self.options.is_exactly_once
    }

    fn batch_duration_target(&self) -> Option<Duration> {
        // The transaction is open for as long as the batch writes, and what others write behind it is held back from readers.
        self.decides().then(|| BATCH_DURATION_TARGET.min(self.options.transaction_timeout / 2))
    }

    fn writer(&self) -> WriterSpec {
        self.writer.clone()
    }

    async fn start(&self, ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        self.stop().await?;
        // One id per query: its next run shuts this one out.
        let id = self.options.is_exactly_once.then(|| format!("millstream-{}{}", ctx.query_id, self.suffix));
        let producer = Producer::connect(&self.options, id, Arc::clone(&self.clock)).await?;
        if let Some(markers) = self.markers(ctx) {
            markers.ensure().await?;
        }
        self.output.begin(Run::new(*ctx, producer));
        Ok(())
    }

    async fn recover(&self, decided: Option<RecordedBatch<'_>>, proposed: Option<RecordedBatch<'_>>) -> Result<Outcome> {
        let run = self.output.run()?;
        let Some(markers) = self.markers(&run.ctx) else {
            return Err(Error::internal("a kafka sink without transactions decides nothing"));
        };
        let decided = decided.map(Recorded::read).transpose()?;
        let proposed = proposed.map(Recorded::read).transpose()?;
        let prepared = decided.iter().chain(&proposed).filter_map(|recorded| recorded.prepared.as_ref());
        for topic in prepared.clone().filter_map(|prepared| prepared.marker_topic.as_deref()) {
            if topic != markers.name() {
                return Err(Error::invalid(format!(
                    "option 'markerTopic' is '{}', and the checkpoint's batches left their markers in '{topic}'",
                    markers.name()
                ))
                .hint("start the query with the topic that it had: without its markers nobody knows what is committed"));
            }
        }
        self.fence(prepared.flat_map(|prepared| &prepared.producers), run.producer.transactional_id().unwrap_or_default()).await?;
        let found = markers.read().await?.map(|marker| marker.batch);
        let outcome = judge(found, decided.as_ref(), proposed.as_ref(), markers.name())?;
        run.committed_to(found).await;
        Ok(outcome)
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<Value> {
        let run = self.output.run()?;
        let mut records = 0;
        for output in &outputs {
            records += TaskRecords::from_payload(&output.payload)?.records;
        }
        if !self.options.is_exactly_once {
            run.producer.delivered().await?;
            return Ok(Value::Null);
        }
        let markers = self.markers(&run.ctx);
        let mut transaction = run.transaction.lock().await;
        let marker = transaction.marker;
        if records == 0 {
            run.give_up(&mut transaction, batch).await?;
            let marker_topic = markers.map(|markers| markers.name().to_owned());
            return wire::to_value(&Prepared { records, marker, marker_topic, producers: Vec::new() });
        }
        if transaction.open_batch() != Some(batch) || run.sequence.load(Ordering::Relaxed) != records {
            return Err(Error::internal(format!("batch {batch} has {records} records, which are not those of the open transaction")));
        }
        if let Some(markers) = &markers {
            let marker = Marker { query: run.ctx.query_id, task: TASK, batch, epoch: run.ctx.epoch };
            let (key, value) = (marker.key(), marker.value()?);
            let record = OutputRecord {
                topic: markers.name(),
                partition: Some(super::marker::PARTITION),
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: None,
            };
            run.producer.turn().await.send(record, usize::try_from(records).unwrap_or(usize::MAX)).await?;
        }
        // What is known to be undeliverable fails here; the rest as the transaction is committed.
        run.producer.failure()?;
        let producers = run.producer.transactional_id().map(str::to_owned).into_iter().collect();
        let marker_topic = markers.map(|markers| markers.name().to_owned());
        wire::to_value(&Prepared { records, marker: Some(batch), marker_topic, producers })
    }

    async fn commit(&self, batch: BatchId, prepared: &Value) -> Result<()> {
        if prepared.is_null() {
            return Ok(());
        }
        let prepared: Prepared = wire::from_value(prepared, "prepared value of the kafka sink")?;
        let run = self.output.run()?;
        let mut transaction = run.transaction.lock().await;
        if prepared.records == 0 || transaction.marker.is_some_and(|committed| committed >= batch) {
            return Ok(());
        }
        if transaction.open_batch() != Some(batch) {
            return Err(Error::internal(format!("the transaction of batch {batch} is gone, and the batch was not run again")));
        }
        // Whatever comes of it, this run does not touch the transaction again.
        transaction.close();
        run.producer.commit(batch).await?;
        transaction.marker = Some(batch);
        Ok(())
    }

    async fn abandon(&self, batch: BatchId, _outputs: Vec<TaskOutput>) -> Result<()> {
        let Ok(run) = self.output.run() else { return Ok(()) };
        let mut transaction = run.transaction.lock().await;
        run.give_up(&mut transaction, batch).await
    }

    async fn stop(&self) -> Result<()> {
        let Some(run) = self.output.end() else { return Ok(()) };
        let given_up = {
            let mut transaction = run.transaction.lock().await;
            match transaction.open_batch() {
                Some(batch) => run.give_up(&mut transaction, batch).await,
                None => Ok(()),
            }
        };
        if let Err(error) = given_up {
            tracing::warn!(%error, "a transaction was not aborted; the next run, or its timeout, ends it");
        }
        blocking(move || {
            drop(run);
            Ok(())
        })
        .await
    }
}

/// A batch of the log.
#[derive(Debug)]
struct Recorded {
    batch: BatchId,
    /// `None`: it was written at least once, without a marker.
    prepared: Option<Prepared>,
}

impl Recorded {
    fn read(recorded: RecordedBatch<'_>) -> Result<Self> {
        let value = recorded.prepared.filter(|value| !value.is_null());
        let prepared = value.map(|value| wire::from_value(value, "prepared value of the kafka sink")).transpose()?;
        Ok(Self { batch: recorded.batch, prepared })
    }

    fn marker(&self) -> Option<BatchId> {
        self.prepared.as_ref().and_then(|prepared| prepared.marker)
    }

    fn has_records(&self) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| prepared.records > 0)
    }
}

/// What the last marker, `found`, says of the proposed batch; `decided` is known to be committed.
fn judge(found: Option<BatchId>, decided: Option<&Recorded>, proposed: Option<&Recorded>, topic: &str) -> Result<Outcome> {
    let is_as_decided = match decided {
        None => found.is_none(),
        Some(Recorded { batch, prepared: None }) => found <= Some(*batch),
        Some(decided) => found == decided.marker(),
    };
    let proposed_records = proposed.filter(|proposed| proposed.has_records());
    if is_as_decided {
        return Ok(if proposed_records.is_some() { Outcome::RunAgain } else { Outcome::Committed });
    }
    if proposed_records.is_some_and(|proposed| found == Some(proposed.batch)) {
        return Ok(Outcome::Committed);
    }
    let said = found.map_or("has no marker of this query".to_owned(), |batch| format!("ends with the marker of batch {batch}"));
    if let Some(expected) = decided.and_then(Recorded::marker).filter(|expected| found < Some(*expected)) {
        return Err(Error::data(format!(
            "topic '{topic}' {said}, and the checkpoint says that batch {expected} is committed: nobody knows what is in the topics"
        ))
        .hint("the topic was removed, emptied or replaced by an older state of itself; to go on all the same, start with a new checkpoint at the offsets you want"));
    }
    let known = proposed.or(decided).map_or("no batch".to_owned(), |last| format!("no batch behind {}", last.batch));
    Err(Error::data(format!("topic '{topic}' {said}, and the checkpoint knows of {known}: the checkpoint is older than what was written"))
        .hint("the checkpoint was restored from an older copy; going on would write what is there already once more"))
}
