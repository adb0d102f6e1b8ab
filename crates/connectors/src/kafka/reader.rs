//! The task's half: reads pieces of partitions, each to its end and no further.
//!
//! A piece `[begin, end)` has ended when the next offset is `end` or more. That is told by a record of that offset or a later
//! one, or by the client's own position, which passes over what is never given (marks of transactions, aborted records).
//! Where neither moves any more (a compacted end), the end is asked for and the partition sought again: in this order, as what is
//! written or committed between the two must be read. Records are never counted: a range of 100 offsets may have 3 records, or none.
//!
//! librdkafka blocks, so a split is read on a thread that may; its rows go through a channel that holds few batches. When
//! that is full nothing is taken from the client, whose own buffers are bounded, too.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::source::RowPlaces;
use millstream_core::{Error, ErrorKind, ReaderSpec, Result, Split, SplitChunk, SplitReader, SplitStream};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use tokio::time::Instant;

use super::client::{ClientNews, ClientSettings};
use super::consumers::{ConsumerSettings, Consumers, KafkaConsumer};
use super::error::{does_not_exist, failed, may_pass};
use super::fingerprints::{Fingerprints, Identity, ask_fingerprints};
use super::loss::{Cause, Gap, gap_of, gone, replaced};
use super::reading::{Edges, Reading};
use super::rows::Rows;
use super::split::KafkaSplit;
use crate::read_thread::{Chunks, read_on_thread};
use crate::wire;

/// Batches that wait for their task.
const CHUNKS_MAX: usize = 2;
/// Offsets of the pieces that are taken side by side.
const WINDOW_OFFSETS_MAX: i64 = 16_384;
/// The shortest and the longest wait for a record.
const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Between two questions for positions so many times the time that the answer took.
const POSITION_PAUSES: u32 = 10;
/// Between two questions whether topics are the same.
const CONFIRM_PAUSE: Duration = Duration::from_millis(250);
/// One of them takes no longer: then it is looked whether anybody waits for the answer.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// Names of the reader's options beside `kafka.*`.
pub(super) mod option {
    pub(in crate::kafka) const GROUP_ID: &str = "groupId";
    pub(in crate::kafka) const FETCH_BUFFER_BYTES: &str = "fetchBufferBytes";
    pub(in crate::kafka) const POLL_TIMEOUT_MS: &str = "kafkaConsumer.pollTimeoutMs";
    pub(in crate::kafka) const FAIL_ON_DATA_LOSS: &str = "failOnDataLoss";
}

/// The consumers of this process, shared by the readers of one configuration as long as there is one.
#[derive(Debug, Default)]
pub(super) struct ConsumerPools(Mutex<HashMap<String, Weak<Consumers>>>);

impl ConsumerPools {
    pub(super) fn of(&self, settings: ConsumerSettings) -> Arc<Consumers> {
        // Secrets are part of what tells clients apart; the key stays in this map.
        let key: Vec<String> = settings.client.to_options().iter().map(|(name, value)| format!("{name}={value}")).collect();
        // A group that the user names is among them; one that we name is of no use to who assigns partitions itself.
        let key = format!("{}\n{}", settings.fetch_buffer_bytes, key.join("\n"));
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| pool.strong_count() > 0);
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(Consumers::new(settings));
        pools.insert(key, Arc::downgrade(&pool));
        pool
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct KafkaReader {
    consumers: Arc<Consumers>,
    schema: SchemaRef,
    batch_rows: usize,
    poll_timeout: Duration,
    fails_on_data_loss: bool,
}

impl KafkaReader {
    pub(super) fn new(pools: &ConsumerPools, spec: &ReaderSpec) -> Result<Self> {
        let options = &spec.options;
        let buffer_bytes = options.get_u64(option::FETCH_BUFFER_BYTES)?;
        let settings = ConsumerSettings {
            client: ClientSettings::parse(options, "consumer", &[])?,
            group_id: options.require(option::GROUP_ID)?.to_owned(),
            fetch_buffer_bytes: buffer_bytes.ok_or_else(|| Error::internal("a reader of kafka without the size of its buffer"))?,
        };
        Ok(Self {
            consumers: pools.of(settings),
            schema: spec.projected_schema()?,
            batch_rows: spec.batch_rows,
            poll_timeout: Duration::from_millis(options.get_u64(option::POLL_TIMEOUT_MS)?.unwrap_or(120_000)),
            fails_on_data_loss: options.get_bool(option::FAIL_ON_DATA_LOSS)?.unwrap_or(true),
        })
    }
}

#[async_trait]
impl SplitReader for KafkaReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        let split: KafkaSplit = wire::split_payload(split)?;
        let rows = Rows::new(Arc::clone(&self.schema), self.batch_rows)?;
        let consumers = Arc::clone(&self.consumers);
        let (poll_timeout, fails_on_data_loss) = (self.poll_timeout, self.fails_on_data_loss);
        Ok(read_on_thread(CHUNKS_MAX, move |out| {
            let leases = consumers.lease(&split)?;
            let KafkaSplit { pieces, topics, .. } = split;
            let readings = leases.into_iter().zip(pieces).map(|(lease, piece)| Reading::new(lease, piece)).collect();
            SplitRead { rows, consumers: &consumers, missed: Vec::new(), out, poll_timeout, fails_on_data_loss, topics }.run(readings)
        }))
    }
}

type Queue = PartitionQueue<ClientNews>;

/// A record that waits until those of earlier pieces are through.
enum Waiting<'q> {
    Fetched(BorrowedMessage<'q>),
    Kept(Box<OwnedMessage>),
}

/// The pieces of a split, read.
struct SplitRead<'c> {
    rows: Rows,
    consumers: &'c Consumers,
    /// Gaps that the driver has not been told of.
    missed: Vec<Gap>,
    out: &'c Chunks,
    poll_timeout: Duration,
    fails_on_data_loss: bool,
    topics: Fingerprints,
}

impl SplitRead<'_> {
    /// Rows come in the order of pieces. All are being fetched from the start on, and small ones are taken from the client
    /// side by side, because what ends them may be learned for many at once.
    fn run(mut self, mut readings: Vec<Reading>) -> Result<()> {
        let mut rest = readings.as_mut_slice();
        while !rest.is_empty() && !self.out.is_closed() {
            let mut n_offsets = 0;
            let n_small = rest.iter().take_while(|reading| {
                n_offsets += reading.len();
                n_offsets <= WINDOW_OFFSETS_MAX
            });
            let (window, behind) = rest.split_at_mut(n_small.count().max(1));
            self.read_window(window)?;
            rest = behind;
        }
        self.send()?;
        if self.out.is_closed() { Ok(()) } else { self.confirm(&readings) }
    }

    /// All that was read is of the topics that were planned if they are still there: fingerprints never come back.
    fn confirm(&self, readings: &[Reading]) -> Result<()> {
        let with_rows = || readings.iter().filter(|reading| reading.has_rows && self.topics.contains_key(&reading.piece.topic));
        let Some(consumer) = with_rows().map(|reading| reading.lease.consumer()).next() else { return Ok(()) };
        let topics: BTreeSet<&str> = with_rows().map(|reading| reading.piece.topic.as_str()).collect();
        let told = self.ask_fingerprints(consumer, &topics.into_iter().collect::<Vec<_>>())?;
        let is_other =
            |topic: &String| self.topics.get(topic).zip(told.get(topic)).is_some_and(|(known, now)| known.identity(now) == Identity::Other);
        match with_rows().find(|reading| is_other(&reading.piece.topic)) {
            Some(reading) if self.fails_on_data_loss => Err(replaced(&reading.piece).error()),
            Some(reading) => {
                Err(Error::unavailable(format!("topic '{}' was deleted and made again while a batch read it", reading.piece.topic))
                    .hint("start the query again: it goes on with the first record of the new topic"))
            }
            None => Ok(()),
        }
    }

    /// The fingerprints of topics, asked for as long as a record would be waited for.
    fn ask_fingerprints(&self, consumer: &KafkaConsumer, topics: &[&str]) -> Result<Fingerprints> {
        let begun = Instant::now();
        loop {
            // Errors of the client as a whole are among the events of its common queue.
            drop(consumer.poll(Duration::ZERO));
            let error = match ask_fingerprints(consumer, topics, CONFIRM_WITHIN.min(self.poll_timeout)) {
                Ok(told) => return Ok(told),
                Err(error) => error,
            };
            if let Some(lasting) = consumer.context().lasting_trouble() {
                return Err(lasting.context("while what was read was confirmed"));
            }
            if error.kind() != ErrorKind::Unavailable || begun.elapsed() >= self.poll_timeout || self.out.is_closed() {
                return Err(error);
            }
            tracing::warn!(%error, "kafka is asked again whether topics are the same");
            std::thread::sleep(CONFIRM_PAUSE);
        }
    }

    fn read_window(&mut self, window: &mut [Reading]) -> Result<()> {
        let queues = window.iter().map(|reading| reading.lease.queue()).collect::<Result<Vec<_>>>()?;
        let mut waiting: Vec<Vec<Waiting<'_>>> = std::iter::repeat_with(Vec::new).take(window.len()).collect();
        // Rows of pieces before this one are through.
        let mut head = 0;
        let mut wait = WAIT_MIN;
        let mut positions = Positions::default();
        loop {
            let mut has_moved = false;
            for (at, ((reading, queue), waiting)) in window.iter_mut().zip(&queues).zip(&mut waiting).enumerate().skip(head) {
                has_moved |= self.drain(reading, queue, (at > head).then_some(waiting))?;
                if self.out.is_closed() {
                    return Ok(());
                }
            }
            while window.get(head).is_some_and(|reading| reading.is_ended) {
                head += 1;
                if let (Some(reading), Some(waiting)) = (window.get(head), waiting.get_mut(head)) {
                    for message in waiting.drain(..) {
                        match message {
                            Waiting::Fetched(message) => self.push(&reading.piece.topic, &message)?,
                            Waiting::Kept(message) => self.push(&reading.piece.topic, message.as_ref())?,
                        }
                    }
                }
            }
            if head >= window.len() {
                return Ok(());
            }
            if has_moved {
                wait = WAIT_MIN;
                continue;
            }
            if !positions.is_due() || !positions.end_by_position(window)? {
                if let (Some(reading), Some(queue)) = (window.get_mut(head), queues.get(head)) {
                    self.wait(reading, queue, wait)?;
                }
                wait = (wait * 2).min(WAIT_MAX);
            }
        }
    }

    /// Takes what is fetched of a piece; whether there was anything, or it ended. `waiting`: where its records wait.
    fn drain<'q>(&mut self, reading: &mut Reading, queue: &'q Queue, mut waiting: Option<&mut Vec<Waiting<'q>>>) -> Result<bool> {
        let mut has_moved = false;
        while !reading.is_ended {
            match self.poll(reading, queue, Duration::ZERO, waiting.as_deref_mut())? {
                true => has_moved = true,
                false => return Ok(has_moved),
            }
            if self.out.is_closed() {
                return Ok(true);
            }
        }
        Ok(has_moved)
    }

    /// Takes the next record, waiting for it for so long; whether there was one, or the piece ended.
    fn poll<'q>(
        &mut self,
        reading: &mut Reading,
        queue: &'q Queue,
        wait: Duration,
        waiting: Option<&mut Vec<Waiting<'q>>>,
    ) -> Result<bool> {
        let end = reading.piece.end;
        if reading.lease.next() >= end {
            reading.end();
            return Ok(true);
        }
        if let Some(message) = reading.lease.take_early(end) {
            reading.read(message.offset());
            match waiting {
                Some(waiting) => waiting.push(Waiting::Kept(Box::new(message))),
                None => self.push(&reading.piece.topic, &message)?,
            }
            return Ok(true);
        }
        if reading.lease.has_early() {
            reading.end();
            return Ok(true);
        }
        let message = match queue.poll(wait) {
            None => return Ok(false),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => {
                reading.saw_end = true;
                return Ok(wait.is_zero());
            }
            Some(Err(error)) => return self.recover(reading, error),
        };
        reading.heard();
        let offset = message.offset();
        if offset >= end {
            reading.lease.keep_early(message.detach());
            reading.end();
            return Ok(true);
        }
        // An earlier one was fetched for another reader, before a seek.
        if offset >= reading.lease.next() {
            reading.read(offset);
            match waiting {
                Some(waiting) => waiting.push(Waiting::Fetched(message)),
                None => self.push(&reading.piece.topic, &message)?,
            }
        }
        Ok(true)
    }

    fn push(&mut self, topic: &str, message: &impl Message) -> Result<()> {
        self.rows.push(topic, message)?;
        if self.rows.is_full() { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        if !self.rows.is_empty() || !self.missed.is_empty() {
            let missed = self.missed.drain(..).map(|gap| wire::to_value(&gap)).collect::<Result<_>>()?;
            let chunk = SplitChunk { missed, ..SplitChunk::of(self.rows.take()?, RowPlaces::Untold) };
            // Whoever does not listen any more has a reason of his own.
            drop(self.out.send(chunk));
        }
        Ok(())
    }

    /// Waits a little for a piece, whose client fetches for the others meanwhile, and looks after it if it is silent for long.
    fn wait(&mut self, reading: &mut Reading, queue: &Queue, wait: Duration) -> Result<()> {
        let has_moved = self.poll(reading, queue, wait, None)?;
        // Errors of the client as a whole are among the events of its common queue.
        drop(reading.lease.consumer().poll(Duration::ZERO));
        if !has_moved {
            reading.silent += wait;
            if self.is_at_end(reading)? {
                reading.end();
            }
        }
        Ok(())
    }

    /// Whether a silent piece has no more records, though its end was not seen.
    fn is_at_end(&mut self, reading: &mut Reading) -> Result<bool> {
        if let Some(lasting) = reading.lease.consumer().context().lasting_trouble() {
            return Err(lasting.context(format!("while reading {}", reading.place())));
        }
        if reading.saw_end && reading.is_sought && !reading.is_doubted() {
            // The end of the piece was there, then the client asked for records from here on, and there is none.
            return Ok(true);
        }
        if reading.is_look_due() && self.look_at(reading)? {
            return Ok(true);
        }
        if reading.silent >= self.poll_timeout {
            let trouble = reading.lease.consumer().context().take_trouble();
            let error = self.too_silent(reading);
            return Err(trouble.map_or(error.clone(), |trouble| error.context(trouble)));
        }
        Ok(false)
    }

    fn too_silent(&self, reading: &Reading) -> Error {
        let (place, next, end) = (reading.place(), reading.lease.next(), reading.piece.end);
        let waited_ms = self.poll_timeout.as_millis();
        if reading.is_held_back {
            return Error::unavailable(format!(
                "offsets {next} to {end} of {place} are to be read and lie in a transaction that did not end within {waited_ms} ms: \
                 the batch was planned when uncommitted records were read"
            ))
            .hint("end the transaction, raise option kafkaConsumer.pollTimeoutMs, or go on with kafka.isolation.level 'read_uncommitted'");
        }
        Error::unavailable(format!("no record of {place} came within {waited_ms} ms: offset {next} of the range up to {end} is waited for"))
            .hint("see that the brokers run, or raise option kafkaConsumer.pollTimeoutMs")
    }

    /// Asks the brokers what is there of a silent piece; whether it has no more records.
    fn look_at(&mut self, reading: &mut Reading) -> Result<bool> {
        let (next, end) = (reading.lease.next(), reading.piece.end);
        match reading.ask_edges(self.consumers, self.poll_timeout)? {
            Edges::Untold => return Ok(false),
            Edges::Told { first, past, written } if first <= next && written >= end => reading.is_held_back = past < end,
            Edges::Told { .. } | Edges::Gone => return self.lost(reading),
        }
        // A partition that was away for a moment the client may have given up.
        if reading.doubted_since.take().is_some() || (reading.saw_end && !reading.is_held_back) {
            reading.lease.seek(next)?;
            reading.is_sought = !reading.is_held_back;
        }
        // The client says anew where the end is: after the seek, or when the transaction has ended.
        reading.saw_end = false;
        Ok(false)
    }

    /// What becomes of a piece whose partition answers with an error; whether it has ended.
    fn recover(&mut self, reading: &mut Reading, error: KafkaError) -> Result<bool> {
        reading.is_sought = false;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
                let is_ended = self.lost(reading)?;
                if is_ended {
                    reading.end();
                }
                Ok(is_ended)
            }
            // A broker that comes back may say so for a moment.
            Some(code) if does_not_exist(code) => {
                reading.doubt();
                Ok(false)
            }
            // The client goes on by itself.
            _ if may_pass(&error) => Ok(false),
            _ => {
                reading.lease.break_off();
                let at = reading.lease.next();
                Err(failed(format!("{} cannot be read at offset {at}", reading.place()))(error))
            }
        }
    }

    /// Whether the topic is the one that was planned.
    fn identity(&self, reading: &Reading) -> Result<Identity> {
        let topic = &reading.piece.topic;
        let Some(known) = self.topics.get(topic) else { return Ok(Identity::Unknown) };
        let told = self.ask_fingerprints(reading.lease.consumer(), &[topic])?;
        Ok(told.get(topic).map_or(Identity::Unknown, |now| known.identity(now)))
    }

    /// Offsets of the piece are gone: an error, or on with what is left of it. `true`: nothing is.
    fn lost(&mut self, reading: &mut Reading) -> Result<bool> {
        let edges = reading.ask_edges(self.consumers, self.poll_timeout).inspect_err(|_| reading.lease.break_off())?;
        let (next, end) = (reading.lease.next(), reading.piece.end);
        let found = match edges {
            Edges::Told { first, written, .. } => {
                let identity = self.identity(reading).inspect_err(|_| reading.lease.break_off())?;
                gap_of((&reading.piece.topic, reading.piece.partition), (next, end), (first, written), identity)
            }
            Edges::Gone => Some(gone(&reading.piece.topic, reading.piece.partition, next)),
            // The client finds it lost again.
            Edges::Untold => None,
        };
        let Some(gap) = found else {
            // All is there again: a follower was behind its leader.
            reading.lease.seek(next)?;
            return Ok(false);
        };
        if self.fails_on_data_loss {
            reading.lease.break_off();
            return Err(gap.error());
        }
        // What is gone behind the piece the next batch will find; within it all was there when the batch was cut.
        let n_missing_max = u64::try_from(end.saturating_sub(next)).unwrap_or(0);
        let n_missing = match gap.cause {
            Cause::Recreated | Cause::EndsEarly | Cause::Truncated | Cause::Deleted => n_missing_max,
            _ => gap.n_missing.min(n_missing_max),
        };
        let is_retention = gap.cause == Cause::Retention;
        self.missed.push(Gap { n_missing, ..gap });
        match edges {
            Edges::Told { first, .. } if is_retention && first < end => {
                reading.lease.seek(first)?;
                Ok(false)
            }
            _ => {
                reading.lease.break_off();
                Ok(true)
            }
        }
    }
}

/// The clients' positions, which tell of pieces that have no more to give. A client with hundreds of partitions takes milliseconds to say them.
#[derive(Default)]
struct Positions {
    due_at: Option<Instant>,
}

impl Positions {
    fn is_due(&self) -> bool {
        self.due_at.is_none_or(|due_at| Instant::now() >= due_at)
    }

    /// Ends pieces whose rest the client has passed over, having nothing to give of it; whether there were any.
    fn end_by_position(&mut self, window: &mut [Reading]) -> Result<bool> {
        let begun = Instant::now();
        let mut asked: Vec<Arc<KafkaConsumer>> = Vec::new();
        for reading in window.iter().filter(|reading| !reading.is_ended) {
            if !asked.iter().any(|known| Arc::ptr_eq(known, reading.lease.consumer())) {
                asked.push(Arc::clone(reading.lease.consumer()));
            }
        }
        let mut has_moved = false;
        for consumer in asked {
            let positions = consumer.position().map_err(failed("positions cannot be asked for"))?;
            let positions: HashMap<(String, i32), Offset> = positions.to_topic_map();
            let of_client = window.iter_mut().filter(|reading| !reading.is_ended && Arc::ptr_eq(reading.lease.consumer(), &consumer));
            for reading in of_client {
                let position = positions.get(&(reading.piece.topic.clone(), reading.piece.partition));
                if matches!(position, Some(Offset::Offset(position)) if *position >= reading.piece.end) {
                    reading.end();
                    has_moved = true;
                }
            }
        }
        self.due_at = Some(Instant::now() + begun.elapsed() * POSITION_PAUSES);
        Ok(has_moved)
    }
}
