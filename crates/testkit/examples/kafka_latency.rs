//! From the moment a record was due for one topic to that its copy is read, committed, from another: 10,000 records a second, say.
//!
//! An open loop: ten records, say, are due every millisecond, whatever the copying query does, and they go to the partitions in turn.
//! `kafka_latency BOOTSTRAP FROM TO RATE SECONDS`; with the same topic twice it measures the broker and itself alone. Prints one JSON
//! object: `sent`, `seen`, and `p50_ms`, `p99_ms`, `max_ms` of what was due after the warm-up. Fails if a record does not come.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures the machine and prints")]

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BURST_EVERY: Duration = Duration::from_millis(1);
const BURSTS_PER_SECOND: u64 = 1000;
/// What the first seconds of a run cost is not its latency.
const WARM_UP_S: u64 = 5;
/// The producer begins so long after the consumer.
const LEAD: Duration = Duration::from_secs(1);
/// How long the last records are waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What is due when.
#[derive(Debug, Clone, Copy)]
struct Load {
    start: Instant,
    per_burst: u64,
    seconds: u64,
}

impl Load {
    fn n_bursts(self) -> u64 {
        (WARM_UP_S + self.seconds) * BURSTS_PER_SECOND
    }

    fn n_records(self) -> u64 {
        self.n_bursts() * self.per_burst
    }

    fn due(self, record: u64) -> Instant {
        self.start + BURST_EVERY * u32::try_from(record / self.per_burst).unwrap_or(u32::MAX)
    }

    fn is_warm_up(self, record: u64) -> bool {
        record / self.per_burst < WARM_UP_S * BURSTS_PER_SECOND
    }
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, from, to, rate, seconds] = &args[..] else { return Err("BOOTSTRAP FROM TO RATE SECONDS".into()) };
    let per_burst = (rate.parse::<u64>()? / BURSTS_PER_SECOND).max(1);
    let consumer = consumer(bootstrap, to)?;
    let load = Load { start: Instant::now() + LEAD, per_burst, seconds: seconds.parse()? };
    let producing = thread::spawn({
        let (bootstrap, from) = (bootstrap.clone(), from.clone());
        move || produce(&bootstrap, &from, load)
    });
    let (seen, mut took_ms) = consume(&consumer, load)?;
    producing.join().map_err(|_| "the producer died")??;
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms.get(((took_ms.len() as f64 * share) as usize).min(took_ms.len().saturating_sub(1))).copied();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or(f64::NAN));
    let sent = load.n_records();
    println!("{{\"sent\":{sent},\"seen\":{seen},\"p50_ms\":{p50:.2},\"p99_ms\":{p99:.2},\"max_ms\":{max:.2}}}");
    if seen == sent { Ok(()) } else { Err(format!("{seen} of {sent} records came").into()) }
}

/// Sends each burst when it is due, or as soon after that as it can.
fn produce(bootstrap: &str, topic: &str, load: Load) -> Outcome<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("acks", "1").set("linger.ms", "1").set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
    let n_partitions = i32::try_from(n_partitions(producer.client().fetch_metadata(Some(topic), PATIENCE)?.topics())?)?;
    for first in (0..load.n_records()).step_by(usize::try_from(load.per_burst)?) {
        thread::sleep(load.due(first).saturating_duration_since(Instant::now()));
        for record in first..first + load.per_burst {
            let value = record.to_string();
            let partition = i32::try_from(record % u64::from(n_partitions.unsigned_abs()))?;
            producer.send(BaseRecord::<(), str>::to(topic).payload(&value).partition(partition)).map_err(|(error, _)| error)?;
        }
    }
    Ok(producer.flush(PATIENCE)?)
}

/// A reader of committed records of all partitions.
fn consumer(bootstrap: &str, topic: &str) -> Outcome<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "latency").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create()?;
    let n_partitions = n_partitions(consumer.fetch_metadata(Some(topic), PATIENCE)?.topics())?;
    let mut all = TopicPartitionList::new();
    for partition in 0..n_partitions {
        all.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn n_partitions(topics: &[rdkafka::metadata::MetadataTopic]) -> Outcome<usize> {
    Ok(topics.first().map(|topic| topic.partitions().len()).filter(|n| *n > 0).ok_or("the topic has no partitions")?)
}

/// How many records came, and how long each took that was due after the warm-up, in milliseconds.
fn consume(consumer: &BaseConsumer, load: Load) -> Outcome<(u64, Vec<f64>)> {
    let (mut seen, mut took_ms) = (0, Vec::new());
    let deadline = load.due(load.n_records()) + PATIENCE;
    while seen < load.n_records() && Instant::now() < deadline {
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => {
                seen += 1;
                let record: u64 = std::str::from_utf8(message.payload().unwrap_or_default())?.parse()?;
                if !load.is_warm_up(record) {
                    took_ms.push(Instant::now().saturating_duration_since(load.due(record)).as_secs_f64() * 1000.0);
                }
            }
        }
    }
    Ok((seen, took_ms))
}
