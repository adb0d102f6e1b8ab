//! The right to give records to the producer, which one task has at a time: where the records go that may go anywhere, and what is done
//! while the queue is full.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _};
use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;

use super::super::runs::{Progress, Runs};
use super::super::sink_options::SinkOptions;
use super::{DELIVERY_PAUSE, OutputRecord, Producer, Waiting, not_delivered};

/// A full queue is looked at again after this long.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// The partitions are asked for again after this long, ...
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// ... and for so long.
const ASKED_FOR: Duration = Duration::from_secs(5);

/// What was sent, of all tasks.
#[derive(Debug)]
pub(super) struct Sending {
    topic: Option<String>,
    /// Where records go that may go anywhere.
    runs: Option<Runs>,
    n_sent: u64,
    /// When the partitions were last asked for.
    asked: Option<Duration>,
    /// The answer, if it was not taken over yet: the partitions that have a leader.
    answer: Option<JoinHandle<KafkaResult<Vec<i32>>>>,
}

impl Sending {
    pub(super) fn new(options: &SinkOptions, config: &ClientConfig) -> Self {
        Self { topic: options.topic.clone(), runs: Runs::new(options, config), n_sent: 0, asked: None, answer: None }
    }
}

/// See the [module](self).
pub(in super::super) struct Turn<'a> {
    producer: &'a Arc<Producer>,
    sending: MutexGuard<'a, Sending>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(producer: &'a Arc<Producer>, mut sending: MutexGuard<'a, Sending>) -> Self {
        let progress = producer.progress(sending.n_sent);
        if let Some(runs) = sending.runs.as_mut().filter(|runs| runs.is_late(progress.now)) {
            runs.begin(progress);
        }
        Self { producer, sending }
    }

    /// Gives a record to the queue; waits while that is full.
    pub(in super::super) async fn send(&mut self, record: OutputRecord<'_>, sequence: usize) -> Result<()> {
        let producer = self.producer;
        let mut base = BaseRecord::<'_, [u8], [u8], usize>::with_opaque_to(record.topic, sequence);
        let n_bytes = record.value.map_or(0, <[u8]>::len);
        let may_go_anywhere = record.partition.is_none() && record.key.is_none();
        let partition = if may_go_anywhere { self.partition(n_bytes).await? } else { record.partition };
        (base.partition, base.key, base.payload, base.headers) = (partition, record.key, record.value, record.headers);
        let (mut waiting, mut has_asked) = (None, false);
        loop {
            base = match producer.inner.send(base) {
                Ok(()) => {
                    self.sending.n_sent += 1;
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    let waiting = waiting.get_or_insert_with(|| Waiting::new(producer));
                    let full = || {
                        let error = Error::exhausted(format!(
                            "the queue of records for the brokers stays full: record {sequence} of the batch, for topic '{}', waited {:?}",
                            record.topic, producer.transaction_timeout
                        ));
                        error.hint("check that the brokers keep up; kafka.queue.buffering.max.kbytes is the size of the queue")
                    };
                    waiting.pause(QUEUE_PAUSE, full).await?;
                    back
                }
                // The topic was made anew, with fewer.
                Err((KafkaError::MessageProduction(Code::UnknownPartition), back)) if may_go_anywhere && back.partition.is_some() => {
                    self.learn(&[]);
                    BaseRecord { partition: None, ..back }
                }
                // It may have been added since the client last looked, which it does every few minutes.
                Err((KafkaError::MessageProduction(Code::UnknownPartition), back)) if !has_asked => {
                    has_asked = true;
                    producer.look_at(record.topic).await?;
                    back
                }
                Err((error, _)) => {
                    // A transaction that is lost takes no records; why it is lost says more.
                    producer.failure()?;
                    return Err(match error.rdkafka_error_code() {
                        Some(Code::State | Code::Fatal | Code::Fenced) => producer.broken(error, "a record is not taken"),
                        _ => not_delivered(&error, record.topic, sequence, n_bytes),
                    });
                }
            };
        }
    }

    /// Where a record goes that may go anywhere; `None`: librdkafka says.
    async fn partition(&mut self, n_bytes: usize) -> Result<Option<i32>> {
        let clock = &self.producer.clock;
        let is_at_end = |runs: &Runs| runs.is_over(n_bytes) || runs.is_look_due() && runs.is_late(clock.monotonic());
        if self.sending.runs.as_ref().is_some_and(is_at_end) {
            self.next_run().await?;
        }
        Ok(self.sending.runs.as_mut().and_then(|runs| runs.take(n_bytes)))
    }

    /// Waits for a partition that may take a run.
    async fn next_run(&mut self) -> Result<()> {
        let producer = self.producer;
        let now = producer.clock.monotonic();
        if self.sending.asked.is_none_or(|asked| now.saturating_sub(asked) >= KNOWN_FOR) {
            self.sending.asked = Some(now);
            self.sending.answer = Some(self.ask());
        }
        if let Some(answer) = self.sending.answer.take_if(|answer| answer.is_finished())
            // If nobody knows, librdkafka chooses, and says what is wrong.
            && let Ok(Ok(partitions)) = answer.await
        {
            self.learn(&partitions);
        }
        let n_sent = self.sending.n_sent;
        let Some(runs) = &mut self.sending.runs else { return Ok(()) };
        runs.end(n_sent);
        let mut waiting = Waiting::new(producer);
        while !runs.begin(producer.progress(n_sent)) {
            waiting.pause(DELIVERY_PAUSE, || producer.too_slow()).await?;
        }
        Ok(())
    }

    /// Asks which partitions there are, in the background.
    fn ask(&self) -> JoinHandle<KafkaResult<Vec<i32>>> {
        let (producer, topic) = (Arc::clone(self.producer), self.sending.topic.clone());
        tokio::task::spawn_blocking(move || {
            let metadata = producer.inner.client().fetch_metadata(topic.as_deref(), ASKED_FOR)?;
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            Ok(partitions.filter(|partition| partition.leader() >= 0).map(|partition| partition.id()).collect())
        })
    }

    fn learn(&mut self, partitions: &[i32]) {
        self.sending.runs.iter_mut().for_each(|runs| runs.learn(partitions));
    }
}

impl Producer {
    fn progress(&self, n_sent: u64) -> Progress {
        let n_open = u64::try_from(self.inner.in_flight_count()).unwrap_or(0);
        Progress { n_sent, n_open, now: self.clock.monotonic() }
    }
}
