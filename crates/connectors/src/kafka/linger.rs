//! How long records wait for others to go with them, and how those that wait are sent when no more will come.
//!
//! With idempotence librdkafka has one request of a partition on its way at a time. While the first record behind it has waited longer
//! than `linger.ms`, the broker's thread asks without a pause whether it may go, which takes a CPU. So the linger is longer than records
//! ever wait: a request goes when it is full (`batch.size`, `batch.num.messages`), and the last ones of a batch are pushed.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use tokio::task::JoinHandle;

use super::producer::Producer;
use super::sink_options::SinkOptions;

/// Nobody waits so long: it is for records of a batch that takes long and has few.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// The library's flush raises a flag for as long as the call lasts, and its safe form asks for no time: a broker's thread that is just
/// waking up must find it raised. So many calls take some 25 µs.
const CALLS_PER_PUSH: u32 = 16;
/// Looks without a change after which a push comes with every look, ...
const LOOKS_AT_FIRST: u32 = 32;
/// ... and then with one of so many.
const LOOKS_PER_PUSH: u32 = 16;
/// Between two looks at what is on its way.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// The linger, unless the user has said one. librdkafka refuses one that is longer than the life of a record.
pub(super) fn linger(options: &SinkOptions) -> Duration {
    let named = ["message.timeout.ms", "delivery.timeout.ms"].iter().find_map(|name| options.client.get(name));
    let life = match named.map(str::parse) {
        // For ever.
        Some(Ok(0)) => return LINGER_MAX,
        Some(Ok(ms)) => Duration::from_millis(ms),
        // librdkafka says what is wrong with it.
        Some(Err(_)) => return Duration::ZERO,
        None => options.transaction_timeout,
    };
    LINGER_MAX.min(life / 2)
}

/// Has what waits for others sent; it may go unheard, and is said again while nothing moves.
pub(super) fn push<C: ProducerContext>(producer: &ThreadedProducer<C>) {
    for _ in 0..CALLS_PER_PUSH {
        if producer.flush(Duration::ZERO).is_ok() {
            return;
        }
    }
}

/// When to push: what moves goes by itself.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    is_end: bool,
    /// Records on their way at the last look.
    last: Option<i32>,
    /// Looks since it changed.
    n_looks: u32,
}

impl Stillness {
    /// Of records that no others will follow: they are still at the first look.
    pub(super) fn at_the_end() -> Self {
        Self { is_end: true, ..Self::default() }
    }

    /// Whether it is time to push; `n_records` are on their way.
    pub(super) fn calls_for_push(&mut self, n_records: i32) -> bool {
        let is_still = self.last.map_or(self.is_end, |last| last == n_records);
        self.last = Some(n_records);
        self.n_looks = if is_still { self.n_looks.saturating_add(1) } else { 0 };
        is_still && (self.n_looks <= LOOKS_AT_FIRST || self.n_looks.is_multiple_of(LOOKS_PER_PUSH))
    }
}

/// Pushes until nothing is on its way, or this is dropped.
#[derive(Debug)]
pub(super) struct Pushing(JoinHandle<()>);

impl Pushing {
    pub(super) fn begin(producer: &Arc<Producer>) -> Self {
        let producer = Arc::downgrade(producer);
        Self(tokio::spawn(async move {
            let mut stillness = Stillness::at_the_end();
            while producer.upgrade().is_some_and(|producer| producer.hurry(&mut stillness)) {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        }))
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
