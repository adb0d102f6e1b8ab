//! What the driver asks a cluster: which partitions there are, where they begin and end, and to keep published offsets.
//!
//! librdkafka's answers block; every question runs on a thread that may. One client serves the whole run of a source. It
//! never fetches records.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millstream_core::{Clock, Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::client::{ClientNews, FirstAnswer, bad_config};
use super::error::{does_not_exist, failed, of_code};
use super::fingerprints::{Fingerprints, ask_fingerprints};
use super::offsets::Offsets;
use super::options::Subscription;
use super::retries::{ANSWER_WITHIN, Retries};

/// The offsets of the end of a run are published within this time, or nobody hears whether they were.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);
/// How often the thread that closes a client looks whether it is the last to have it.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);
/// Events that are heard at once.
const EVENTS_MAX: usize = 100;
/// Topics that are asked for one by one; more are picked from the list of all.
const SINGLE_TOPICS_MAX: usize = 8;
/// Topics of Kafka itself, which patterns leave out.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// What is asked of every partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// The first offset that is still there.
    Earliest,
    /// The offset behind the last record that readers may see: under `read_committed` behind the last transaction that ended.
    Latest,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Earliest => "first",
            Self::Latest => "last",
        })
    }
}

/// The driver's client.
pub(super) struct Cluster {
    client: Client,
    clock: Arc<dyn Clock>,
    retries: Retries,
    answer_within: Duration,
    first_answer: FirstAnswer,
    /// It has answered another client.
    was_there: bool,
    has_answered: AtomicBool,
}

/// Closing a client waits for answers that may never come, so a thread does it that nobody waits for.
struct Client(Arc<BaseConsumer<ClientNews>>);

impl Drop for Client {
    fn drop(&mut self) {
        let last = Arc::clone(&self.0);
        let close = move || {
            while Arc::strong_count(&last) > 1 {
                thread::sleep(CLOSE_PAUSE);
            }
            drop(last);
        };
        if let Err(error) = thread::Builder::new().name("kafka-close".to_owned()).spawn(close) {
            tracing::warn!(%error, "a Kafka client is closed by the thread that has it");
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// Partitions of the topics that were found, by topic.
pub(super) type Partitions = BTreeMap<String, Vec<i32>>;

impl Cluster {
    pub(super) fn connect(config: &ClientConfig, clock: Arc<dyn Clock>, retries: Retries) -> Result<Self> {
        let consumer = config.create_with_context(ClientNews::default()).map_err(bad_config)?;
        let (client, first_answer, has_answered) = (Client(Arc::new(consumer)), FirstAnswer::new(config), AtomicBool::new(false));
        Ok(Self { client, clock, retries, answer_within: ANSWER_WITHIN, first_answer, was_there: false, has_answered })
    }

    /// One more client of a cluster that has answered another: one that is away is waited for as before any other question.
    pub(super) fn connect_again(config: &ClientConfig, clock: Arc<dyn Clock>, retries: Retries) -> Result<Self> {
        Ok(Self { was_there: true, ..Self::connect(config, clock, retries)? })
    }

    /// The same, for who does not wait so long.
    pub(super) fn answering_within(self, answer_within: Duration) -> Self {
        Self { answer_within, first_answer: self.first_answer.at_most(answer_within), ..self }
    }

    /// Asks on a thread that may block; a failure that may pass is tried again.
    async fn ask<T: Send + 'static>(&self, question: impl Fn(&BaseConsumer<ClientNews>) -> Result<T> + Send + Sync + 'static) -> Result<T> {
        if !self.has_answered.load(Ordering::Relaxed) {
            self.wait_for_first_answer().await?;
        }
        let question = Arc::new(question);
        let (mut n_failed, begun) = (0_u32, tokio::time::Instant::now());
        loop {
            let (consumer, asked) = (Arc::clone(&self.client.0), Arc::clone(&question));
            let answer = tokio::task::spawn_blocking(move || {
                hear(&consumer);
                asked(&consumer)
            });
            let answer = answer.await.map_err(|_| Error::internal("a question to Kafka panicked"))?;
            match answer {
                Err(error) => {
                    n_failed = n_failed.saturating_add(1);
                    let pause = self.retries.pause(n_failed, begun.elapsed()).filter(|_| self.may_pass(&error));
                    let Some(pause) = pause else { return Err(self.with_trouble(error)) };
                    tracing::warn!(%error, n_failed, "kafka is asked again");
                    self.clock.sleep(pause).await;
                }
                answer => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    self.client.0.context().forget_troubles();
                    return answer;
                }
            }
        }
    }

    fn may_pass(&self, error: &Error) -> bool {
        hear(&self.client.0);
        error.kind() == ErrorKind::Unavailable && self.client.0.context().lasting_trouble().is_none()
    }

    async fn wait_for_first_answer(&self) -> Result<()> {
        let (consumer, first) = (Arc::clone(&self.client.0), self.first_answer.clone());
        let answered = tokio::task::spawn_blocking(move || first.wait(consumer.client(), consumer.context(), || hear(&consumer)));
        match answered.await.map_err(|_| Error::internal("a question to Kafka panicked"))? {
            // The question waits, too.
            Err(error) if self.was_there && error.kind() == ErrorKind::Unavailable => Ok(()),
            answered => answered,
        }
    }

    /// A timeout says little: what the client has complained of meanwhile says more.
    fn with_trouble(&self, error: Error) -> Error {
        let news = self.client.0.context();
        hear(&self.client.0);
        if let Some(lasting) = news.lasting_trouble() {
            return lasting.context(error.message().to_owned());
        }
        match news.take_trouble() {
            Some(trouble) if error.kind() == ErrorKind::Unavailable => error.context(trouble),
            _ => error,
        }
    }

    /// The partitions that are subscribed to, as far as they exist.
    pub(super) async fn partitions(&self, subscription: &Subscription) -> Result<Partitions> {
        let wanted = subscription.clone();
        self.ask(move |consumer| match &wanted {
            Subscription::Assign(partitions) => {
                let topics: Vec<String> = partitions.topics().map(str::to_owned).collect();
                let mut found = named(consumer, &topics)?;
                for (topic, numbers) in &mut found {
                    numbers.retain(|number| partitions.get(topic, *number).is_some());
                }
                Ok(found)
            }
            Subscription::Topics(topics) => named(consumer, topics),
            Subscription::Pattern(_, pattern) => all(consumer, |topic| pattern.is_match(topic) && !INTERNAL_TOPICS.contains(&topic)),
        })
        .await
    }

    /// The fingerprints of topics, as far as they exist.
    pub(super) async fn fingerprints(&self, topics: Vec<String>) -> Result<Fingerprints> {
        let within = self.answer_within;
        self.ask(move |consumer| ask_fingerprints(consumer, &topics.iter().map(String::as_str).collect::<Vec<_>>(), within)).await
    }

    /// The first or the last offset of each partition that exists.
    pub(super) async fn edges(&self, partitions: impl Iterator<Item = (&str, i32)>, edge: Edge) -> Result<Offsets> {
        let answered = self.all_offsets(edges_of(partitions, edge)?).await?;
        let untold = |topic: &str, partition| Error::unavailable(format!("the {edge} offset of {topic}-{partition} is not told"));
        let edges = answered.iter().map(|(topic, partition, offset)| {
            let offset = offset.ok_or_else(|| untold(topic, *partition))?;
            Ok((topic.as_str(), *partition, offset))
        });
        edges.collect()
    }

    /// The same, as far as the cluster tells at once: partitions that exist may be left out, too, as while their leader moves.
    pub(super) async fn edges_told(&self, partitions: impl Iterator<Item = (&str, i32)>, edge: Edge) -> Result<Offsets> {
        let answered = self.offsets(edges_of(partitions, edge)?).await?;
        Ok(answered.iter().filter_map(|(topic, partition, offset)| Some((topic.as_str(), *partition, (*offset)?))).collect())
    }

    /// The first offset of each partition that exists with this time or later; `None` without such a record.
    pub(super) async fn offsets_at(&self, times: &Offsets) -> Result<Vec<(String, i32, Option<i64>)>> {
        self.all_offsets(list_of(times)?).await
    }

    /// Asks until every partition that exists has an answer: one that the cluster lists is asked for again, as a broker that comes back
    /// may not know yet what it leads.
    async fn all_offsets(&self, asked: TopicPartitionList) -> Result<Vec<(String, i32, Option<i64>)>> {
        let (mut answered, mut open) = (Vec::with_capacity(asked.count()), asked);
        let (mut n_failed, begun) = (0_u32, tokio::time::Instant::now());
        loop {
            let told = self.offsets(open.clone()).await?;
            let is_told: HashSet<(&str, i32)> = told.iter().map(|(topic, partition, _)| (topic.as_str(), *partition)).collect();
            let untold: Offsets = open
                .elements()
                .iter()
                .filter(|element| !is_told.contains(&(element.topic(), element.partition())))
                .map(|element| (element.topic(), element.partition(), 0))
                .collect();
            answered.extend(told);
            if untold.is_empty() {
                return Ok(answered);
            }
            let listed = self.partitions(&Subscription::Assign(untold.clone())).await?;
            let untold: Offsets = untold
                .iter()
                .filter(|(topic, partition, _)| listed.get(*topic).is_some_and(|numbers| numbers.contains(partition)))
                .collect();
            if untold.is_empty() {
                return Ok(answered);
            }
            n_failed = n_failed.saturating_add(1);
            let partitions = untold.partitions_shown();
            let Some(pause) = self.retries.pause(n_failed, begun.elapsed()) else {
                return Err(Error::unavailable(format!("the cluster lists {partitions}, and does not tell their offsets"))
                    .hint("see that the leaders of these partitions run; the options fetchOffset.* say how long they are waited for"));
            };
            tracing::warn!(partitions, n_failed, "kafka is asked again for offsets that it does not tell");
            self.clock.sleep(pause).await;
            let mut rest = TopicPartitionList::new();
            for element in open.elements().iter().filter(|element| untold.get(element.topic(), element.partition()).is_some()) {
                let added = rest.add_partition_offset(element.topic(), element.partition(), element.offset());
                added.map_err(failed("an offset cannot be asked for"))?;
            }
            open = rest;
        }
    }

    /// Asks for all at once: one request per broker. Partitions that the brokers do not know (any more, or yet) are left out.
    async fn offsets(&self, asked: TopicPartitionList) -> Result<Vec<(String, i32, Option<i64>)>> {
        if asked.count() == 0 {
            return Ok(Vec::new());
        }
        let answer_within = self.answer_within;
        self.ask(move |consumer| {
            let answered = match consumer.offsets_for_times(asked.clone(), answer_within) {
                Ok(answered) => answered,
                // None of the partitions is known.
                Err(error) if error.rdkafka_error_code().is_some_and(does_not_exist) => return Ok(Vec::new()),
                Err(error) => return Err(failed("offsets cannot be asked for")(error)),
            };
            let mut offsets = Vec::with_capacity(answered.count());
            for element in answered.elements() {
                let (topic, partition) = (element.topic(), element.partition());
                match element.error() {
                    Ok(()) => {}
                    Err(error) if error.rdkafka_error_code().is_some_and(does_not_exist) => continue,
                    Err(error) => return Err(failed(format!("the offset of {topic}-{partition} cannot be asked for"))(error)),
                }
                let offset = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                offsets.push((topic.to_owned(), partition, offset));
            }
            Ok(offsets)
        })
        .await
    }

    /// Publishes offsets for tools that watch lag, and waits for no answer: the library gives none to who does not wait for it.
    pub(super) fn publish(&self, offsets: &Offsets) -> Result<()> {
        let published = list_of(offsets)?;
        hear(&self.client.0);
        self.client.0.commit(&published, CommitMode::Async).map_err(failed("offsets cannot be published"))
    }

    /// Publishes offsets and waits for the answer, but not long: the run is over. The library waits for as long as there is no broker, so a
    /// thread does that nobody waits for.
    pub(super) async fn publish_last(&self, offsets: Offsets) -> Result<()> {
        let (consumer, published) = (Arc::clone(&self.client.0), list_of(&offsets)?);
        let (answer, answered) = oneshot::channel();
        let ask = move || {
            // Nobody may wait any more.
            _ = answer.send(consumer.commit(&published, CommitMode::Sync));
        };
        thread::Builder::new().name("kafka-publish".to_owned()).spawn(ask).map_err(Error::from)?;
        match tokio::time::timeout(PUBLISHED_WITHIN, answered).await {
            Ok(Ok(answer)) => answer.map_err(failed("offsets cannot be published")),
            Ok(Err(_)) => Err(Error::internal("a question to Kafka panicked")),
            Err(_) => Err(Error::unavailable("the broker does not answer")),
        }
    }
}

/// Errors of the client as a whole come with the events of its main queue, which holds nothing else that anybody wants.
fn hear(consumer: &BaseConsumer<ClientNews>) {
    // An event that is heard, such as a line of the log, is no answer either: how many wait is not told.
    for _ in 0..EVENTS_MAX {
        drop(consumer.poll(Duration::ZERO));
    }
}

/// The question for an edge of each partition.
pub(super) fn edges_of<'a>(partitions: impl Iterator<Item = (&'a str, i32)>, edge: Edge) -> Result<TopicPartitionList> {
    let marker = match edge {
        Edge::Earliest => Offset::Beginning,
        Edge::Latest => Offset::End,
    };
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in partitions {
        asked.add_partition_offset(topic, partition, marker).map_err(failed("an offset cannot be asked for"))?;
    }
    Ok(asked)
}

/// As librdkafka takes offsets, and times in their place.
fn list_of(offsets: &Offsets) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in offsets.iter() {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed("an offset cannot be set"))?;
    }
    Ok(list)
}

/// The partitions of these topics; topics that do not exist are left out.
pub(super) fn named(consumer: &BaseConsumer<ClientNews>, topics: &[String]) -> Result<Partitions> {
    if topics.len() > SINGLE_TOPICS_MAX {
        return all(consumer, |topic| topics.binary_search_by(|known| known.as_str().cmp(topic)).is_ok());
    }
    let mut found = Partitions::new();
    for topic in topics {
        found.extend(list(consumer, Some(topic), |name| name == topic)?);
    }
    Ok(found)
}

fn all(consumer: &BaseConsumer<ClientNews>, is_wanted: impl Fn(&str) -> bool) -> Result<Partitions> {
    list(consumer, None, is_wanted)
}

fn list(consumer: &BaseConsumer<ClientNews>, topic: Option<&str>, is_wanted: impl Fn(&str) -> bool) -> Result<Partitions> {
    let metadata = consumer.fetch_metadata(topic, ANSWER_WITHIN).map_err(failed("topics cannot be listed"))?;
    let mut found = Partitions::new();
    for topic in metadata.topics().iter().filter(|topic| is_wanted(topic.name())) {
        if let Some(error) = topic.error() {
            let code = Code::from(error);
            if does_not_exist(code) {
                continue;
            }
            return Err(of_code(code, format!("topic '{}' cannot be read: {code}", topic.name())));
        }
        let mut numbers: Vec<i32> = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
        numbers.sort_unstable();
        found.insert(topic.name().to_owned(), numbers);
    }
    Ok(found)
}
