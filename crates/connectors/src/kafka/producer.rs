//! A producer of one run: records go into librdkafka's bounded queue, and what became of them comes back by callback. The
//! first record that was not delivered is kept with its topic and number.

mod turn;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_core::{BatchId, Clock, Error, ErrorKind, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use self::turn::Sending;
pub(super) use self::turn::Turn;
use super::client::{ClientNews, FirstAnswer, bad_config};
use super::error::{failed, is_fencing, may_pass};
use super::retries::{GivenUp, Patience};
use super::sink_options::SinkOptions;

/// What is on its way is counted again after this long.
const DELIVERY_PAUSE: Duration = Duration::from_millis(1);
/// How long a record waits for others to go with it; the last ones of a batch wait so long, too.
const LINGER_MS: &str = "2";
/// Requests on their way to a broker, which takes them one by one. While these are on their way and another one is ready, librdkafka's
/// thread sleeps, and records gather for the next ones.
const REQUESTS_IN_FLIGHT: &str = "2";
/// Records of which librdkafka chooses the partition stay with one for so long, that requests may grow large.
const STICKY_MS: &str = "10";
/// Calls that wait are cut into pieces: between two it is looked whether there is any use in waiting.
const SLICE: Duration = Duration::from_millis(500);
const SLICE_PAUSE: Duration = Duration::from_millis(5);
/// A question for partitions is asked again after this long.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Records that wait in memory at most, unless `kafka.queue.buffering.max.kbytes` says otherwise.
const QUEUE_KBYTES: &str = "65536";

/// One record.
#[derive(Debug)]
pub(super) struct OutputRecord<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// What librdkafka tells.
#[derive(Debug, Default)]
struct Deliveries {
    news: ClientNews,
    failure: Mutex<Option<Failure>>,
}

/// Why a record was not delivered.
#[derive(Debug)]
struct Failure {
    error: Error,
    tells: Tells,
}

/// How much a failure tells of its cause; of two the one that tells more is kept, of equals the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// The client gave the record up because of another one.
    OfAnother,
    /// The broker refused the request that it was in: of its records the largest is likely to be the cause.
    Size(usize),
    Cause,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.news.log(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.news.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        let Err((error, message)) = result else { return };
        let tells = match error.rdkafka_error_code() {
            Some(Code::PurgeQueue | Code::PurgeInflight) => Tells::OfAnother,
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Tells::Size(message.payload_len()),
            _ => Tells::Cause,
        };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|known| known.tells < tells) {
            let n_bytes = message.payload_len();
            let error = match tells {
                Tells::Size(_) => too_large(error, message.topic(), sequence, n_bytes),
                _ => not_delivered(error, message.topic(), sequence, n_bytes),
            };
            *failure = Some(Failure { error, tells });
        }
    }
}

/// The broker looks at the size of all that a request has for a partition, and refuses it as a whole: who made it too large is not said.
fn too_large(error: &KafkaError, topic: &str, sequence: usize, n_bytes: usize) -> Error {
    let message = format!(
        "record {sequence} of the batch, of {n_bytes} bytes, was not written to topic '{topic}': the request that it was in is larger than the broker takes"
    );
    failed(message)(error.clone()).hint(
        "it or a record beside it is larger than max.message.bytes of the topic, or all of them are together: write smaller records, raise that, or lower option kafka.batch.size",
    )
}

/// Says which record it was.
fn not_delivered(error: &KafkaError, topic: &str, sequence: usize, n_bytes: usize) -> Error {
    let ours = failed(format!("record {sequence} of the batch, of {n_bytes} bytes, was not written to topic '{topic}'"))(error.clone());
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
            ours.hint("raise option kafka.message.max.bytes, and max.message.bytes of the topic on the broker; or write smaller records")
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
            ours.hint("create the topic first, or let the broker create topics (auto.create.topics.enable)")
        }
        Some(Code::MessageTimedOut) => ours.hint(
            "the brokers did not take it within kafka.message.timeout.ms, which is transactionTimeout unless it is set: see that they run and keep up",
        ),
        Some(Code::InvalidRecord) => ours.hint("a compacted topic takes no record without a key: give the rows a column key"),
        Some(Code::UnknownPartition) => ours.hint("the column partition names one that the topic does not have"),
        _ => ours,
    }
}

/// The configuration of a producer: what the user says goes before what is good for most.
pub(super) fn config(options: &SinkOptions, transactional_id: Option<&str>) -> ClientConfig {
    let timeout_ms = options.transaction_timeout.as_millis().to_string();
    let mut config = options.client.config();
    let unless_set = |config: &mut ClientConfig, name: &str, value: &str| {
        if options.client.get(name).is_none() {
            config.set(name, value);
        }
    };
    // As Kafka's Java client does, so that the same key goes to the same partition whoever writes it.
    unless_set(&mut config, "partitioner", "murmur2_random");
    unless_set(&mut config, "queue.buffering.max.kbytes", QUEUE_KBYTES);
    if linger_ms(&config).is_none() {
        config.set("linger.ms", LINGER_MS);
    }
    if options.client.get("max.in.flight").is_none() {
        unless_set(&mut config, "max.in.flight.requests.per.connection", REQUESTS_IN_FLIGHT);
    }
    unless_set(&mut config, "sticky.partitioning.linger.ms", STICKY_MS);
    // That a record was written is known from the count of those that are not.
    config.set("delivery.report.only.error", "true");
    config.set("enable.idempotence", "true");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id).set("transaction.timeout.ms", &timeout_ms);
        if options.client.get("message.timeout.ms").or(options.client.get("delivery.timeout.ms")).is_none() {
            config.set("message.timeout.ms", &timeout_ms);
        }
    }
    config
}

/// How long records wait for others to go with them.
pub(super) fn linger_ms(config: &ClientConfig) -> Option<&str> {
    ["linger.ms", "queue.buffering.max.ms"].iter().find_map(|name| config.get(name))
}

/// See the [module](self).
pub(super) struct Producer {
    inner: ThreadedProducer<Deliveries>,
    transactional_id: Option<String>,
    transaction_timeout: Duration,
    clock: Arc<dyn Clock>,
    /// One task at a time gives records: librdkafka locks the client for each, and those who wait for the lock take more than the work.
    sending: tokio::sync::Mutex<Sending>,
    /// When the open transaction began, microseconds of the monotonic clock.
    begun_us: AtomicU64,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("transactional_id", &self.transactional_id).finish_non_exhaustive()
    }
}

impl Producer {
    /// Connects. With a transactional id this ends what an older producer of that id has open, and shuts it out.
    pub(super) async fn connect(options: &SinkOptions, transactional_id: Option<String>, clock: Arc<dyn Clock>) -> Result<Self> {
        let config = config(options, transactional_id.as_deref());
        let inner = config.create_with_context(Deliveries::default()).map_err(bad_config)?;
        let transaction_timeout = options.transaction_timeout;
        let (sending, begun_us) = (tokio::sync::Mutex::new(Sending::new(options, &config)), AtomicU64::new(0));
        let producer = Self { inner, transactional_id, transaction_timeout, clock, sending, begun_us };
        let (servers, first_answer) = (options.client.bootstrap_servers().to_owned(), FirstAnswer::new(&config));
        blocking(move || {
            // Asked for transactions before a broker is connected, librdkafka looks again after half a second.
            first_answer.wait(producer.inner.client(), &producer.inner.context().news, || ())?;
            if producer.transactional_id.is_none() {
                return Ok(producer);
            }
            match producer.patiently(|slice| producer.inner.init_transactions(slice)) {
                Ok(()) => Ok(producer),
                Err(error) => Err(producer.cannot_begin(error, &servers)),
            }
        })
        .await
    }

    /// Makes a call that goes on where it was when its time is over, until it is done, `transactionTimeout` has passed, or what is in its
    /// way will not pass.
    fn patiently(&self, call: impl Fn(Duration) -> KafkaResult<()>) -> KafkaResult<()> {
        let patience = self.patience();
        loop {
            match call(SLICE) {
                Err(error) if may_go_on(&error) && patience.lasts().is_ok() => {
                    std::thread::sleep(SLICE_PAUSE);
                }
                Ok(()) => {
                    self.inner.context().news.forget_troubles();
                    return Ok(());
                }
                ended => return ended,
            }
        }
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(&self.inner.context().news, &self.clock, self.transaction_timeout)
    }

    fn lasting_trouble(&self) -> Option<Error> {
        self.inner.context().news.lasting_trouble()
    }

    /// An error with what the client has complained of meanwhile: the answer itself is often a timeout.
    fn with_trouble(&self, error: Error) -> Error {
        if let Some(lasting) = self.lasting_trouble() {
            return lasting.context(error.message().to_owned());
        }
        match self.inner.context().news.take_trouble() {
            Some(trouble) => error.context(trouble),
            None => error,
        }
    }

    fn cannot_begin(&self, error: KafkaError, servers: &str) -> Error {
        match error.rdkafka_error_code() {
            Some(Code::InvalidTransactionTimeout) => Error::invalid(format!(
                "option 'transactionTimeout' is {:?}, which is more than the broker's transaction.max.timeout.ms allows",
                self.transaction_timeout
            ))
            .hint("lower the option, or raise transaction.max.timeout.ms on the brokers")
            .caused_by(error),
            Some(Code::UnsupportedFeature | Code::UnsupportedVersion) => {
                Error::unsupported(format!("the brokers at {servers} have no transactions"))
                    .hint("set option delivery to at-least-once")
                    .caused_by(error)
            }
            _ => self.with_trouble(failed(format!("transactions cannot begin at {servers}"))(error)),
        }
    }

    pub(super) fn transactional_id(&self) -> Option<&str> {
        self.transactional_id.as_deref()
    }

    /// Begins a transaction; nothing goes to the broker yet.
    pub(super) fn begin(&self) -> Result<()> {
        self.forget_failure();
        self.inner.begin_transaction().map_err(|error| self.broken(error, "a transaction cannot begin"))?;
        self.begun_us.store(self.now_us(), Ordering::Relaxed);
        Ok(())
    }

    /// Failures of what was given up are not those of what comes next.
    pub(super) fn forget_failure(&self) {
        *self.inner.context().failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until no other task sends.
    pub(super) async fn turn(self: &Arc<Self>) -> Turn<'_> {
        Turn::new(self, self.sending.lock().await)
    }

    /// Has the client see what partitions a topic has now.
    async fn look_at(self: &Arc<Self>, topic: &str) -> Result<()> {
        let (producer, topic) = (Arc::clone(self), topic.to_owned());
        blocking(move || {
            let looked = producer.patiently(|_| producer.inner.client().fetch_metadata(Some(&topic), LOOK_WITHIN).map(drop));
            looked.map_err(failed(format!("the partitions of topic '{topic}' cannot be asked for")))
        })
        .await
    }

    /// A record that was not delivered. While others are on their way, not for one whose failure may have another for a cause: that is to
    /// come.
    pub(super) fn failure(&self) -> Result<()> {
        let context = self.inner.context();
        let is_over = self.inner.in_flight_count() == 0;
        match &*context.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Failure { error, tells }) if is_over || *tells == Tells::Cause => Err(self.explained(error.clone())),
            _ => Ok(()),
        }
    }

    /// Waits until the brokers have every record. (`flush` of the library waits in steps of 100 ms.)
    pub(super) async fn delivered(&self) -> Result<()> {
        let mut waiting = Waiting::new(self);
        while self.inner.in_flight_count() > 0 {
            waiting.pause(DELIVERY_PAUSE, || self.too_slow()).await?;
        }
        self.failure()
    }

    fn too_slow(&self) -> Error {
        let error = Error::exhausted(format!("records are not written within {:?}", self.transaction_timeout));
        self.with_trouble(error.hint("check that the brokers keep up; option transactionTimeout is how long they are waited for"))
    }

    /// Makes the transaction visible, once the brokers have every record. After an error nobody knows whether it is, unless it could be
    /// given up: the next run finds out.
    pub(super) async fn commit(self: &Arc<Self>, batch: BatchId) -> Result<()> {
        let delivered = self.delivered().await;
        let producer = Arc::clone(self);
        blocking(move || {
            if let Err(error) = delivered {
                producer.leave();
                return Err(error);
            }
            producer.patiently(|slice| producer.inner.commit_transaction(slice)).map_err(|error| {
                if matches!(&error, KafkaError::Transaction(error) if error.txn_requires_abort()) {
                    producer.leave();
                }
                producer.broken(error, &format!("the transaction of batch {batch} is not committed"))
            })
        })
        .await
    }

    /// Gives up what will not be committed, so that readers of its topics do not wait for it.
    fn leave(&self) {
        if let Err(error) = self.patiently(|slice| self.inner.abort_transaction(slice)) {
            tracing::warn!(%error, "a transaction was not aborted; the next run, or its timeout, ends it");
        }
    }

    /// Gives the transaction up: nobody will see its records.
    pub(super) async fn abort(self: &Arc<Self>) -> Result<()> {
        let producer = Arc::clone(self);
        blocking(move || {
            let aborted = producer.patiently(|slice| producer.inner.abort_transaction(slice));
            aborted.map_err(|error| producer.broken(error, "a transaction is not aborted"))
        })
        .await
    }

    fn broken(&self, error: KafkaError, what: &str) -> Error {
        let fatal = self.inner.client().fatal_error().map(|(code, why)| format!("{code}: {why}"));
        let is_fenced = error.rdkafka_error_code().is_some_and(is_fencing);
        let ours = failed(what)(error);
        let ours = fatal.map_or(ours.clone(), |fatal| ours.context(fatal));
        if is_fenced || self.is_fenced() {
            return self.explained(Error::fenced(ours.to_string()));
        }
        match self.lasting_trouble() {
            Some(lasting) => lasting.context(ours.message().to_owned()),
            None => self.explained(ours),
        }
    }

    fn is_fenced(&self) -> bool {
        self.inner.client().fatal_error().is_some_and(|(code, _)| is_fencing(code))
    }

    /// Being shut out has two causes: the transaction took too long, or somebody else has taken over.
    fn explained(&self, error: Error) -> Error {
        let Some(id) = self.transactional_id.as_ref().filter(|_| error.kind() == ErrorKind::Fenced || self.is_fenced()) else {
            return error;
        };
        if self.is_overdue() {
            let open = self.open_for();
            return Error::exhausted(format!(
                "a transaction was open for {open:?}, longer than option 'transactionTimeout' ({:?}) allows, and the broker has aborted it: {error}",
                self.transaction_timeout
            ))
            .hint("raise transactionTimeout (the broker's transaction.max.timeout.ms is its limit), or make batches smaller");
        }
        Error::fenced(format!("a newer run has taken over the transactional id '{id}', so this one must stop: {error}"))
            .hint("only one run of a query may write; nothing of this run's open batch is visible")
    }

    fn is_overdue(&self) -> bool {
        self.open_for() >= self.transaction_timeout
    }

    fn open_for(&self) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(self.begun_us.load(Ordering::Relaxed)))
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The queue being waited for.
struct Waiting<'a> {
    producer: &'a Producer,
    patience: Patience<'a>,
}

impl<'a> Waiting<'a> {
    fn new(producer: &'a Producer) -> Self {
        Self { producer, patience: producer.patience() }
    }

    /// Waits a little, unless there is no use in it; `too_long`: what to say when it has been waited long enough.
    async fn pause(&mut self, pause: Duration, too_long: impl FnOnce() -> Error) -> Result<()> {
        self.producer.failure()?;
        self.patience.lasts().map_err(|given_up| match given_up {
            GivenUp::Lasting(lasting) => lasting.context("while records wait to be written"),
            GivenUp::TooLong => too_long(),
        })?;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Whether a call has only not ended yet, or what it met may pass.
fn may_go_on(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        error => may_pass(error),
    }
}

/// Calls of librdkafka wait in the thread that makes them.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(format!("a Kafka call died: {error}")))?
}
