//! Consumers that tasks share and that stay between batches: what was fetched beyond a batch's end is there for the next.
//!
//! ```text
//!  client 1   t-0 [leased]   t-1 [idle, continues at 40]   u-0 [leased]
//!  client 2   t-0 [idle, continues at 7]                              a second reader of t-0, elsewhere in it
//! ```
//! A client of librdkafka holds a partition at one position, with a queue of its own; one connection per broker and client
//! fetches for all of them. A task leases partitions, one at a time has each. A lease that continues where the last one ended
//! finds the records that were fetched meanwhile; any other seeks. What comes for a partition that nobody has leased is told to
//! the driver, which then need not ask the brokers again and again whether there is anything. No offset is ever taken from the consumer group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use millstream_core::{Error, Result};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::client::{ClientNews, ClientSettings, bad_config};
use super::error::{does_not_exist, failed};
use super::fingerprints::{Fingerprint, Fingerprints, Identity};
use super::high_watermarks::uncommitted;
use super::split::{KafkaSplit, Piece};

/// How long a seek may take to be taken up; it waits for no broker.
const SEEK_WITHIN: Duration = Duration::from_secs(30);

/// Of more partitions a fetch waits, 100 ms at most, until there is something worth it.
const FEW_PARTITIONS: usize = 100;
const MANY_PARTITIONS_FETCH_BYTES: usize = 1 << 20;

pub(super) type KafkaConsumer = BaseConsumer<ClientNews>;

/// What a pool's clients are made of.
#[derive(Debug, Clone)]
pub(super) struct ConsumerSettings {
    pub(super) client: ClientSettings,
    pub(super) group_id: String,
    pub(super) fetch_buffer_bytes: u64,
}

impl ConsumerSettings {
    /// The driver's configuration: it asks, and fetches nothing.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = self.client.config();
        let mut set = |name: &str, value: &str| {
            if self.client.get(name).is_none() {
                config.set(name, value);
            }
        };
        set("group.id", &self.group_id);
        set("isolation.level", "read_committed");
        // These are the source's own business: it knows where to read, and when it has lost data.
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        config
    }

    /// A fetching client's: each of `n_partitions` has its part of the memory for fetched records.
    pub(super) fn fetch_config(&self, n_partitions: usize) -> ClientConfig {
        let mut config = self.config();
        let share = self.fetch_buffer_bytes / (n_partitions.max(1) as u64);
        // Half of it may wait in the queue when another fetch of the other half begins.
        let queued_kb = (share / 2 / 1024).clamp(64, 65_536);
        let fetched = (share / 2).clamp(64 << 10, 1 << 20);
        let mut set = |name: &str, alias: &str, value: String| {
            if self.client.get(name).is_none() && self.client.get(alias).is_none() {
                config.set(name, value);
            }
        };
        set("queued.max.messages.kbytes", "", queued_kb.to_string());
        set("fetch.message.max.bytes", "max.partition.fetch.bytes", fetched.to_string());
        // The bytes are the bound, not the number.
        set("queued.min.messages", "", "10000000".to_owned());
        // What is fetched at the end of a partition holds up who wants another place of it.
        set("fetch.wait.max.ms", "", "100".to_owned());
        // A fetch looks at every partition, so of many quiet ones not each record is worth one.
        if n_partitions > FEW_PARTITIONS {
            set("fetch.min.bytes", "", MANY_PARTITIONS_FETCH_BYTES.to_string());
        }
        // A full queue is empty again in milliseconds; by default the next fetch waits for a second.
        set("fetch.queue.backoff.ms", "", "5".to_owned());
        config
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Consumers {
    settings: ConsumerSettings,
    clients: Mutex<Vec<Arc<PoolClient>>>,
    news: Arc<News>,
    /// Fetches nothing, and is made when somebody asks with it, which is rare.
    uncommitted: Mutex<Option<Uncommitted>>,
}

/// A client that sees the records of open transactions.
struct Uncommitted(Arc<KafkaConsumer>);

impl std::fmt::Debug for Uncommitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uncommitted").finish_non_exhaustive()
    }
}

/// Who is told when an empty queue has something: a record, the end of a partition, an error.
#[derive(Debug, Default)]
struct News(Mutex<Vec<Weak<Notify>>>);

impl News {
    fn listener(&self) -> Arc<Notify> {
        let listener = Arc::default();
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(&listener));
        listener
    }

    fn tell(&self) {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.notify_one());
    }
}

struct PoolClient {
    consumer: Arc<KafkaConsumer>,
    /// For how many partitions its buffers were sized.
    sized_for: usize,
    /// The topics that it reads, or has read.
    topics: Mutex<Fingerprints>,
    slots: Mutex<HashMap<(String, i32), Slot>>,
}

impl std::fmt::Debug for PoolClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolClient").field("sized_for", &self.sized_for).finish_non_exhaustive()
    }
}

impl PoolClient {
    /// Whether it has read another topic of this name.
    fn reads_other(&self, topic: &str, now: Option<&Fingerprint>) -> bool {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).zip(now).is_some_and(|(known, now)| known.identity(now) == Identity::Other)
    }

    /// It is going to read this topic.
    fn reads(&self, topic: &str, now: Option<&Fingerprint>) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = now.filter(|now| topics.get(topic) != Some(now)) {
            topics.insert(topic.to_owned(), now.clone());
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(String, i32), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Slot {
    Leased,
    Idle(Held),
}

/// A partition that a client fetches.
struct Held {
    queue: Arc<PartitionQueue<ClientNews>>,
    /// A record that was taken off the queue too early.
    early: Option<OwnedMessage>,
    /// The client said that the partition has no more, when nobody had it.
    saw_end: bool,
    /// The offset at which `early` and the queue go on.
    next: i64,
}

impl Held {
    /// `false`: there is an error, which its next reader gets anew when it takes the partition up again.
    fn listen(&mut self) -> bool {
        while self.early.is_none() {
            match self.queue.poll(Duration::ZERO) {
                None => return true,
                Some(Err(KafkaError::PartitionEOF(_))) => self.saw_end = true,
                Some(Err(_)) => return false,
                // One fetched before a seek is none of this reader's.
                Some(Ok(message)) if message.offset() < self.next => {}
                Some(Ok(message)) => self.early = Some(message.detach()),
            }
        }
        true
    }
}

/// A partition of a client, for one task. Dropped, it goes back; a [broken](Lease::break_off) one is given up.
pub(super) struct Lease {
    client: Arc<PoolClient>,
    pub(super) topic: String,
    pub(super) partition: i32,
    /// `None` only while it is dropped.
    held: Option<Held>,
    is_broken: bool,
}

impl Consumers {
    pub(super) fn new(settings: ConsumerSettings) -> Self {
        Self { settings, clients: Mutex::default(), news: Arc::default(), uncommitted: Mutex::default() }
    }

    /// Told when there may be records for partitions that nobody has leased. A queue tells only when it was empty: who was told and
    /// finds nothing to read [listens again](Self::listen).
    pub(super) fn news(&self) -> Arc<Notify> {
        self.news.listener()
    }

    /// Takes what stands before the next record off the queues of partitions that nobody has.
    pub(super) fn listen(&self) {
        let clients: Vec<_> = self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for client in clients {
            let mut broken = TopicPartitionList::new();
            // Until they are given up nobody else may take them up again.
            let mut slots = client.slots();
            slots.retain(|(topic, partition), slot| {
                let Slot::Idle(held) = slot else { return true };
                let is_whole = held.listen();
                if !is_whole {
                    broken.add_partition(topic, *partition);
                }
                is_whole
            });
            if broken.count() > 0
                && let Err(error) = client.consumer.incremental_unassign(&broken)
            {
                tracing::debug!(%error, "partitions cannot be given up");
            }
        }
    }

    /// A client that asks where partitions end with the records of open transactions; `None`: every reader sees these.
    pub(super) fn uncommitted(&self) -> Result<Option<Arc<KafkaConsumer>>> {
        let mut client = self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_none() {
            let Some(config) = uncommitted(&self.settings.config()) else { return Ok(None) };
            *client = Some(Uncommitted(Arc::new(config.create_with_context(ClientNews::default()).map_err(bad_config)?)));
        }
        Ok(client.as_ref().map(|Uncommitted(consumer)| Arc::clone(consumer)))
    }

    /// Leases the partitions of a split, each at its piece's begin. Blocks, but not for long.
    pub(super) fn lease(&self, split: &KafkaSplit) -> Result<Vec<Lease>> {
        let pieces = &split.pieces;
        let mut leases = Vec::with_capacity(pieces.len());
        // By client: what it holds elsewhere, what it does not hold yet.
        let mut to_seek: Vec<(Arc<PoolClient>, TopicPartitionList)> = Vec::new();
        let mut to_assign: Vec<(Arc<PoolClient>, TopicPartitionList)> = Vec::new();
        for piece in pieces {
            let (client, held) = self.reserve(piece, split.topics.get(&piece.topic), split.n_partitions)?;
            let list = match &held {
                Some(held) if held.next == piece.begin => None,
                Some(_) => Some(&mut to_seek),
                None => Some(&mut to_assign),
            };
            if let Some(lists) = list {
                list_of(lists, &client)
                    .add_partition_offset(&piece.topic, piece.partition, Offset::Offset(piece.begin))
                    .map_err(failed("an offset cannot be set"))?;
            }
            let held = match held {
                Some(mut held) => {
                    if held.next != piece.begin {
                        (held.next, held.early, held.saw_end) = (piece.begin, None, false);
                    }
                    held
                }
                None => {
                    // Before it is assigned, so that no record goes to the client's common queue.
                    let queue = client.consumer.split_partition_queue(&piece.topic, piece.partition);
                    let mut queue = queue.ok_or_else(|| Error::invalid(format!("'{}' is no name of a topic", piece.topic)))?;
                    let news = Arc::clone(&self.news);
                    queue.set_nonempty_callback(move || news.tell());
                    Held { queue: Arc::new(queue), early: None, saw_end: false, next: piece.begin }
                }
            };
            leases.push(Lease {
                client,
                topic: piece.topic.clone(),
                partition: piece.partition,
                held: Some(held),
                // Until it is where it should be.
                is_broken: true,
            });
        }
        for (client, list) in to_assign {
            client.consumer.incremental_assign(&list).map_err(failed("partitions cannot be assigned"))?;
        }
        for (client, list) in to_seek {
            seek(&client.consumer, list)?;
        }
        leases.iter_mut().for_each(|lease| lease.is_broken = false);
        Ok(leases)
    }

    /// Finds a client whose reader of the partition is free, best one that is there already, and takes the reader.
    fn reserve(&self, piece: &Piece, topic: Option<&Fingerprint>, n_partitions: usize) -> Result<(Arc<PoolClient>, Option<Held>)> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (piece.topic.clone(), piece.partition);
        // Those that have read another topic of this name hold records of it, and go on asking for it: librdkafka takes the lower leader
        // epochs of the new one for old news.
        while let Some(nth) = clients.iter().position(|client| client.reads_other(&piece.topic, topic)) {
            close(vec![clients.swap_remove(nth)]);
        }
        let mut free = None;
        for client in clients.iter() {
            let mut slots = client.slots();
            match slots.get(&key) {
                Some(Slot::Leased) => continue,
                Some(Slot::Idle(held)) if held.next == piece.begin => {
                    if let Some(Slot::Idle(held)) = slots.insert(key, Slot::Leased) {
                        client.reads(&piece.topic, topic);
                        return Ok((Arc::clone(client), Some(held)));
                    }
                    return Err(Error::internal("a partition was taken twice"));
                }
                // Buffers made for few partitions are too large for many.
                None if n_partitions > client.sized_for.saturating_mul(2) => continue,
                _ => {
                    free.get_or_insert_with(|| Arc::clone(client));
                }
            }
        }
        let client = match free {
            Some(client) => client,
            None => {
                let config = self.settings.fetch_config(n_partitions);
                let consumer = config.create_with_context(ClientNews::default()).map_err(bad_config)?;
                let client = Arc::new(PoolClient {
                    consumer: Arc::new(consumer),
                    sized_for: n_partitions.max(1),
                    topics: Mutex::default(),
                    slots: Mutex::default(),
                });
                clients.push(Arc::clone(&client));
                client
            }
        };
        client.reads(&piece.topic, topic);
        let before = client.slots().insert(key, Slot::Leased);
        match before {
            Some(Slot::Idle(held)) => Ok((client, Some(held))),
            _ => Ok((client, None)),
        }
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        let clients = std::mem::take(&mut *self.clients.lock().unwrap_or_else(PoisonError::into_inner));
        let uncommitted = self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(uncommitted) = uncommitted {
            std::thread::spawn(move || drop(uncommitted));
        }
        close(clients);
    }
}

/// Gives clients up. That waits for their threads, and whoever does it may be an async task.
fn close(clients: Vec<Arc<PoolClient>>) {
    if !clients.is_empty() {
        std::thread::spawn(move || {
            for client in clients {
                // Queues hold their client.
                client.slots().clear();
            }
        });
    }
}

/// Takes partitions that a client holds to other offsets.
fn seek(consumer: &KafkaConsumer, list: TopicPartitionList) -> Result<()> {
    let sought = consumer.seek_partitions(list.clone(), SEEK_WITHIN).map_err(failed("partitions cannot be sought"))?;
    for element in sought.elements() {
        match element.error() {
            Ok(()) => {}
            // An offset that is gone has stopped the partition, perhaps while nobody read it, or the brokers did not know it for a moment: it
            // begins anew, with the same queue.
            Err(error) if error.rdkafka_error_code().is_some_and(|code| code == RDKafkaErrorCode::State || does_not_exist(code)) => {
                let mut one = TopicPartitionList::new();
                let wanted = list.find_partition(element.topic(), element.partition()).map_or(Offset::Invalid, |wanted| wanted.offset());
                one.add_partition_offset(element.topic(), element.partition(), wanted).map_err(failed("an offset cannot be set"))?;
                consumer.incremental_unassign(&one).map_err(failed("a partition cannot be given up"))?;
                consumer.incremental_assign(&one).map_err(failed("a partition cannot be assigned"))?;
            }
            Err(error) => return Err(failed(format!("{}-{} cannot be sought", element.topic(), element.partition()))(error)),
        }
    }
    Ok(())
}

fn list_of<'a>(lists: &'a mut Vec<(Arc<PoolClient>, TopicPartitionList)>, client: &Arc<PoolClient>) -> &'a mut TopicPartitionList {
    let nth = match lists.iter().position(|(known, _)| Arc::ptr_eq(known, client)) {
        Some(nth) => nth,
        None => {
            lists.push((Arc::clone(client), TopicPartitionList::new()));
            lists.len() - 1
        }
    };
    #[expect(clippy::indexing_slicing, reason = "it was found or pushed just now")]
    &mut lists[nth].1
}

impl Lease {
    pub(super) fn consumer(&self) -> &Arc<KafkaConsumer> {
        &self.client.consumer
    }

    /// The records of the partition, as they come.
    pub(super) fn queue(&self) -> Result<Arc<PartitionQueue<ClientNews>>> {
        let held = self.held.as_ref().ok_or_else(|| Error::internal("a lease was used after its end"))?;
        Ok(Arc::clone(&held.queue))
    }

    /// Whether the client had said, before this lease, that the partition has no more.
    pub(super) fn saw_end(&mut self) -> bool {
        self.held.as_mut().is_some_and(|held| std::mem::take(&mut held.saw_end))
    }

    /// The record that was taken off the queue too early, if it is due before `end`.
    pub(super) fn take_early(&mut self, end: i64) -> Option<OwnedMessage> {
        self.held.as_mut()?.early.take_if(|message| message.offset() < end)
    }

    /// Whether a record of `end` or later was taken off the queue.
    pub(super) fn has_early(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.early.is_some())
    }

    /// A record that the next reader is due.
    pub(super) fn keep_early(&mut self, message: OwnedMessage) {
        if let Some(held) = &mut self.held {
            held.early = Some(message);
        }
    }

    /// The offset that comes next.
    pub(super) fn next(&self) -> i64 {
        self.held.as_ref().map_or(i64::MAX, |held| held.next)
    }

    /// Reads on from `offset`; nothing that was fetched before comes any more.
    pub(super) fn seek(&mut self, offset: i64) -> Result<()> {
        self.is_broken = true;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(offset)).map_err(failed("an offset cannot be set"))?;
        seek(&self.client.consumer, list)?;
        if let Some(held) = &mut self.held {
            (held.early, held.saw_end, held.next) = (None, false, offset);
        }
        self.is_broken = false;
        Ok(())
    }

    /// All before `offset` was read: whoever continues there may have this reader.
    pub(super) fn read_up_to(&mut self, offset: i64) {
        if let Some(held) = &mut self.held {
            held.next = offset;
        }
    }

    /// Something went wrong with it: nobody may have it again.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let key = (self.topic.clone(), self.partition);
        let held = self.held.take();
        let mut slots = self.client.slots();
        if let (Some(held), false) = (held, self.is_broken) {
            slots.insert(key, Slot::Idle(held));
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.partition);
        if let Err(error) = self.client.consumer.incremental_unassign(&list) {
            // It is not assigned, or the client is beyond use.
            tracing::debug!(%error, topic = self.topic, partition = self.partition, "a partition cannot be given up");
        }
        slots.remove(&key);
    }
}
