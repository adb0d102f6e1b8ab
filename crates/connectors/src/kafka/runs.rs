//! Which partition records go to that name none and have no key: a run of them, as large as a request, goes to one partition, and the
//! next run to another.
//!
//! With idempotence librdkafka has one request of a partition on its way at a time. While it is, and the first record behind it has
//! waited longer than `linger.ms`, librdkafka's thread asks without a pause whether that may go, which takes a CPU. So a partition gets
//! no more than a request at once, and the next run when the brokers have the last one.

use std::time::Duration;

use rdkafka::ClientConfig;

use super::producer::linger_ms;
use super::sink_options::SinkOptions;

/// Of a run, unless the user has said how large a request is: less than librdkafka's `batch.num.messages` and `batch.size`, so that
/// nothing of it is left over.
const RECORDS_MAX: usize = 8_000;
const BYTES_MAX: usize = 900_000;
/// What a record has beside its value, at most.
const RECORD_BYTES: usize = 32;
/// How often it is looked whether a run has been open for too long.
const RECORDS_PER_LOOK: usize = 32;

/// The runs of a producer.
#[derive(Debug)]
pub(super) struct Runs {
    n_records_max: usize,
    n_bytes_max: usize,
    /// Half of the linger: then the request leaves with all of it.
    open_max: Duration,
    known: Vec<Known>,
    /// Where to look for the next one.
    next: usize,
    run: Run,
}

/// A partition that had a leader when it was last looked at.
#[derive(Debug)]
struct Known {
    partition: i32,
    /// Records that the producer had sent when the last run of the partition ended.
    ended: u64,
}

#[derive(Debug, Default)]
struct Run {
    /// `None`: librdkafka says which.
    partition: Option<i32>,
    n_records_left: usize,
    n_bytes_left: usize,
    begun: Duration,
}

/// How far a producer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Records since it began.
    pub(super) n_sent: u64,
    /// Of these on their way.
    pub(super) n_open: u64,
    /// Of a clock that never goes back.
    pub(super) now: Duration,
}

impl Runs {
    /// Of a producer with this configuration. `None`: the rows say which topic, or the user how partitions are chosen.
    pub(super) fn new(options: &SinkOptions, config: &ClientConfig) -> Option<Self> {
        let is_users = ["partitioner", "sticky.partitioning.linger.ms"].iter().any(|name| options.client.get(name).is_some());
        let number = |name: &str, default: usize| options.client.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        (options.topic.is_some() && !is_users).then(|| Self {
            n_records_max: number("batch.num.messages", RECORDS_MAX).max(1),
            n_bytes_max: number("batch.size", BYTES_MAX),
            open_max: linger(config) / 2,
            known: Vec::new(),
            next: 0,
            run: Run::default(),
        })
    }

    /// The partitions that have a leader; without any librdkafka chooses.
    pub(super) fn learn(&mut self, with_leader: &[i32]) {
        let known = with_leader.iter().map(|&partition| {
            let before = self.known.iter().find(|known| known.partition == partition);
            Known { partition, ended: before.map_or(0, |known| known.ended) }
        });
        self.known = known.collect();
    }

    /// Whether a record with a value of so many bytes has no place in the run.
    pub(super) fn is_over(&self, n_bytes: usize) -> bool {
        self.run.n_records_left == 0 || self.run.n_bytes_left < n_bytes && self.run.n_bytes_left < self.n_bytes_max
    }

    /// Whether it is time to look whether the run [is late](Self::is_late).
    pub(super) fn is_look_due(&self) -> bool {
        self.run.n_records_left.is_multiple_of(RECORDS_PER_LOOK)
    }

    /// Whether the run has been open for so long that its request leaves.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        self.run.n_records_left > 0 && now.saturating_sub(self.run.begun) >= self.open_max
    }

    /// Where a record with a value of so many bytes goes.
    pub(super) fn take(&mut self, n_bytes: usize) -> Option<i32> {
        self.run.n_records_left = self.run.n_records_left.saturating_sub(1);
        self.run.n_bytes_left = self.run.n_bytes_left.saturating_sub(n_bytes.saturating_add(RECORD_BYTES));
        self.run.partition
    }

    /// Ends the run: what its partition has is all that it has to take before its next one.
    pub(super) fn end(&mut self, n_sent: u64) {
        let run = std::mem::take(&mut self.run);
        if let Some(known) = self.known.iter_mut().find(|known| Some(known.partition) == run.partition) {
            known.ended = n_sent;
        }
    }

    /// Ends the run and begins another, if a partition has nothing on its way; whether one has.
    pub(super) fn begin(&mut self, progress: Progress) -> bool {
        let partition = if self.known.is_empty() {
            None
        } else {
            let Some(idle) = self.idle(progress) else { return false };
            Some(idle)
        };
        self.end(progress.n_sent);
        self.run = Run { partition, n_records_left: self.n_records_max, n_bytes_left: self.n_bytes_max, begun: progress.now };
        true
    }

    fn idle(&mut self, progress: Progress) -> Option<i32> {
        // As if the brokers took records in the order in which they were sent: with several brokers a partition may wait for another's.
        let n_delivered = progress.n_sent.saturating_sub(progress.n_open);
        let open = self.run.partition;
        let is_idle = |known: &Known| progress.n_open == 0 || Some(known.partition) != open && known.ended <= n_delivered;
        let n_known = self.known.len();
        let place =
            (self.next..self.next + n_known).map(|place| place % n_known).find(|place| self.known.get(*place).is_some_and(is_idle))?;
        self.next = place + 1;
        self.known.get(place).map(|known| known.partition)
    }
}

fn linger(config: &ClientConfig) -> Duration {
    let ms: f64 = linger_ms(config).and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()
}
