//! Options of the source, with Spark's names and meanings.

use std::time::Duration;

use millstream_core::{Error, OptionSpec, Options, Result};
use regex::Regex;
use serde_json::{Value, json};

use super::CLIENT_OPTIONS;
use super::client::ClientSettings;
use super::offsets::{Entries, Offsets};
use super::retries::Retries;

/// What the source knows beside [`CLIENT_OPTIONS`].
const OWN_OPTIONS: [OptionSpec; 26] = [
    OptionSpec::new("assign", "the partitions to read: {\"topicA\":[0,1],\"topicB\":[2,4]} (one of assign, subscribe, subscribePattern)"),
    OptionSpec::new("subscribe", "the topics to read, with commas between them"),
    OptionSpec::new("subscribePattern", "a regular expression that a topic's whole name must match; internal topics are left out"),
    OptionSpec::new(
        "startingOffsets",
        "where a new query begins: earliest, latest, or offsets of all partitions {\"topicA\":{\"0\":23,\"1\":-1}} with -1 = latest, \
         -2 = earliest; default latest, of a batch earliest. Partitions that are found later are read from their beginning",
    ),
    OptionSpec::new("startingTimestamp", "begin at the first record of this time or later, in ms; goes before the other starting options"),
    OptionSpec::new(
        "startingOffsetsByTimestamp",
        "the same per partition: {\"topicA\":{\"0\":1000,\"1\":1000}}; goes before startingOffsets",
    ),
    OptionSpec::new("startingOffsetsByTimestampStrategy", "if a partition has no record of that time or later: error (default) or latest"),
    OptionSpec::new(
        "startingOffsetsFromSparkCheckpoint",
        "the checkpoint of a Spark query, a folder or URL: a new stream begins where that query has committed in the topics that both \
         read, and reads other partitions from their beginning; goes before the other starting options",
    ),
    OptionSpec::new("endingOffsets", "batch only: where it ends: latest (default), or offsets of all partitions with -1 = latest"),
    OptionSpec::new("endingTimestamp", "batch only: end before the first record of this time or later, in ms; without one at the latest"),
    OptionSpec::new("endingOffsetsByTimestamp", "batch only: the same per partition; goes before endingOffsets"),
    OptionSpec::new("maxOffsetsPerTrigger", "offsets per micro-batch at most, shared out among partitions by how much they have"),
    OptionSpec::new("minOffsetsPerTrigger", "wait until there are so many new offsets, but no longer than maxTriggerDelay"),
    OptionSpec::new("maxTriggerDelay", "how long minOffsetsPerTrigger may hold data back, default 15m"),
    OptionSpec::new("minPartitions", "read with at least so many splits: the largest ranges are divided"),
    OptionSpec::new("maxRecordsPerPartition", "offsets per split at most: larger ranges are divided"),
    OptionSpec::new(
        "failOnDataLoss",
        "whether a query stops when offsets that it has to read are no longer there (default true), or goes on and records in the metrics of the batch's progress what is missing: gaps (topic, \
         partition, offsets wanted and available, n_missing, cause) and recordsMissing",
    ),
    OptionSpec::new("includeHeaders", "add the column headers, default false"),
    OptionSpec::new("groupIdPrefix", "what the group id begins with, default millstream-kafka-source; kafka.group.id goes before"),
    OptionSpec::new(
        "commitOffsetsToBroker",
        "publish committed offsets under the group id after each batch, for tools that watch lag, default true; the query never reads them",
    ),
    OptionSpec::new("metadataInterval", "how often topics and partitions are looked for, default 5s"),
    OptionSpec::new("kafkaConsumer.pollTimeoutMs", "how long a task waits for a record that must be there, default 120000"),
    OptionSpec::new(
        "fetchOffset.numRetries",
        "how often offsets are asked for again after a failure that may pass; default: for 30 s, as a new leader may take that long",
    ),
    OptionSpec::new(
        "fetchOffset.retryIntervalMs",
        "the pause before that, default 10; without fetchOffset.numRetries it doubles each time, up to a second",
    ),
    OptionSpec::new("fetchBufferBytes", "fetched records that wait in memory for their task at most, of all partitions, default 32m"),
    OptionSpec::new("topic", "the sink's topic; a table that is written and read reads it, unless one of the three says what else"),
];

/// Of all partitions; with more, fetched records only wait longer, and pages are touched that others were in before.
const FETCH_BUFFER_BYTES: u64 = 32 << 20;

/// Options of Kafka's consumer that would break the source's own bookkeeping, with the rest of the sentence.
const REFUSED: [(&str, &str); 6] = [
    ("auto.offset.reset", ": set option 'startingOffsets' to 'earliest' or 'latest' to say where a new query begins"),
    ("key.deserializer", " as keys are read as bytes: use expressions to decode them"),
    ("value.deserializer", " as values are read as bytes: use expressions to decode them"),
    ("enable.auto.commit", ""),
    ("interceptor.classes", ""),
    ("enable.partition.eof", ""),
];

/// Which topics and partitions are read.
#[derive(Debug, Clone)]
pub(super) enum Subscription {
    /// These partitions and no others; the numbers of the map say nothing.
    Assign(Offsets),
    Topics(Vec<String>),
    /// The pattern as written, and made to match whole names.
    Pattern(String, Regex),
}

impl Subscription {
    /// Whether a partition is read, if it exists.
    pub(super) fn includes(&self, topic: &str, partition: i32) -> bool {
        match self {
            Self::Assign(partitions) => partitions.get(topic, partition).is_some(),
            Self::Topics(topics) => topics.iter().any(|known| known == topic),
            Self::Pattern(_, whole) => whole.is_match(topic),
        }
    }

    /// What it is of, in words.
    pub(super) fn topics(&self) -> String {
        match self {
            Self::Assign(partitions) => partitions.partitions_shown(),
            Self::Topics(topics) => topics.join(", "),
            Self::Pattern(pattern, _) => format!("topics that match '{pattern}'"),
        }
    }
}

/// Where a read begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Earliest,
    Latest,
    /// Offsets, with [`LATEST`] and [`EARLIEST`].
    Offsets(Offsets),
    /// The first record of this time or later, ms.
    Time(i64),
    Times(Offsets),
}

/// In offsets of options: the end as it is now.
pub(super) const LATEST: i64 = -1;
/// In offsets of options: the beginning as it is now.
pub(super) const EARLIEST: i64 = -2;

/// The options, read.
#[derive(Debug, Clone)]
pub(super) struct KafkaSourceOptions {
    pub(super) client: ClientSettings,
    pub(super) subscription: Subscription,
    pub(super) start: Place,
    /// Whether a time after all records means the end, when a query begins by time.
    pub(super) starts_at_latest_without_match: bool,
    pub(super) start_from_spark: Option<String>,
    pub(super) end: Place,
    pub(super) max_offsets: Option<u64>,
    pub(super) min_offsets: Option<u64>,
    pub(super) max_trigger_delay: Duration,
    pub(super) min_partitions: Option<usize>,
    pub(super) max_records_per_partition: Option<u64>,
    pub(super) fails_on_data_loss: bool,
    pub(super) includes_headers: bool,
    pub(super) group_id_prefix: String,
    pub(super) commits_to_broker: bool,
    pub(super) metadata_interval: Duration,
    pub(super) poll_timeout: Duration,
    pub(super) fetch_retries: Retries,
    pub(super) fetch_buffer_bytes: u64,
}

/// All options of the source.
pub(super) fn source_options() -> Vec<OptionSpec> {
    CLIENT_OPTIONS.iter().chain(&OWN_OPTIONS).copied().collect()
}

impl KafkaSourceOptions {
    pub(super) fn parse(options: &Options, is_streaming: bool) -> Result<Self> {
        options.check("kafka source", &source_options())?;
        let subscription = subscription(options)?;
        let client = ClientSettings::parse(options, "consumer", &REFUSED)?;
        for (option, value) in [("kafka.group.id", client.get("group.id")), ("groupIdPrefix", options.get("groupIdPrefix"))] {
            if value.is_some_and(|value| value.trim().is_empty()) {
                return Err(
                    Error::invalid(format!("option '{option}' is empty")).hint("leave it out: each query then has a group of its own")
                );
            }
        }
        if client.get("group.id").is_some() {
            tracing::warn!(
                "option 'kafka.group.id' is set: several queries of one group overwrite what the others publish; \
                 option 'groupIdPrefix' has no effect beside it"
            );
        }
        let default_start = if is_streaming { Place::Latest } else { Place::Earliest };
        let start = place(options, "starting", default_start)?;
        let end = place(options, "ending", Place::Latest)?;
        if is_streaming {
            check_stream(options)?;
        } else {
            check_batch(&start, &end)?;
            if options.get("startingOffsetsFromSparkCheckpoint").is_some() {
                return Err(Error::invalid("option 'startingOffsetsFromSparkCheckpoint' says where a stream begins, and this is a batch"));
            }
        }
        let (min_offsets, max_offsets) = (positive(options, "minOffsetsPerTrigger")?, positive(options, "maxOffsetsPerTrigger")?);
        if let (Some(min), Some(max)) = (min_offsets, max_offsets)
            && min > max
        {
            return Err(Error::invalid(format!(
                "the value of minOffsetsPerTrigger ({min}) is higher than that of maxOffsetsPerTrigger ({max})"
            )));
        }
        let strategy = options.get("startingOffsetsByTimestampStrategy").unwrap_or("error").to_ascii_lowercase();
        if !["error", "latest"].contains(&strategy.as_str()) {
            return Err(Error::invalid(format!("option 'startingOffsetsByTimestampStrategy' is '{strategy}': expected error or latest")));
        }
        let min_partitions = positive(options, "minPartitions")?;
        Ok(Self {
            client,
            subscription,
            start,
            starts_at_latest_without_match: strategy == "latest",
            start_from_spark: options.get("startingOffsetsFromSparkCheckpoint").map(str::to_owned),
            end,
            max_offsets,
            min_offsets,
            max_trigger_delay: options.get_duration("maxTriggerDelay")?.unwrap_or(Duration::from_mins(15)),
            min_partitions: min_partitions.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            max_records_per_partition: positive(options, "maxRecordsPerPartition")?,
            fails_on_data_loss: options.get_bool("failOnDataLoss")?.unwrap_or(true),
            includes_headers: options.get_bool("includeHeaders")?.unwrap_or(false),
            group_id_prefix: options.get("groupIdPrefix").unwrap_or("millstream-kafka-source").to_owned(),
            commits_to_broker: options.get_bool("commitOffsetsToBroker")?.unwrap_or(true),
            metadata_interval: options.get_duration("metadataInterval")?.unwrap_or(Duration::from_secs(5)),
            poll_timeout: Duration::from_millis(options.get_u64("kafkaConsumer.pollTimeoutMs")?.unwrap_or(120_000)),
            fetch_retries: Retries {
                n_max: options.get_u64("fetchOffset.numRetries")?,
                interval: Duration::from_millis(options.get_u64("fetchOffset.retryIntervalMs")?.unwrap_or(10)),
            },
            fetch_buffer_bytes: options.get_bytes("fetchBufferBytes")?.unwrap_or(FETCH_BUFFER_BYTES),
        })
    }
}

/// An option of the client that positions depend on.
const ISOLATION_LEVEL: &str = "kafka.isolation.level";

impl KafkaSourceOptions {
    /// What the checkpoint keeps of the options, for commands that have nothing else: what is read, and how far.
    pub(super) fn reads(&self) -> Value {
        let (name, value) = match &self.subscription {
            Subscription::Assign(partitions) => {
                let by_topic: Vec<String> =
                    partitions.topics().map(|topic| format!("{}:{:?}", json!(topic), partitions.of_topic(topic))).collect();
                ("assign", format!("{{{}}}", by_topic.join(",")))
            }
            Subscription::Topics(topics) => ("subscribe", topics.join(",")),
            Subscription::Pattern(pattern, _) => ("subscribePattern", pattern.clone()),
        };
        let mut reads = json!({ name: value });
        if let (Some(level), Some(reads)) = (self.client.get("isolation.level"), reads.as_object_mut()) {
            reads.insert(ISOLATION_LEVEL.to_owned(), json!(level));
        }
        reads
    }
}

/// The same, read: the subscription, and the options of the client. Checkpoints of earlier versions have nothing of it.
pub(super) fn of_reads(reads: &Value) -> Result<(Option<Subscription>, Options)> {
    let Some(reads) = reads.as_object() else { return Ok((None, Options::new())) };
    let options: Options = reads.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let client = options.iter().filter(|(name, _)| name.starts_with("kafka.")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok((Some(subscription(&options)?), client.collect()))
}

fn subscription(options: &Options) -> Result<Subscription> {
    const ALL: &str = "subscribe, subscribePattern, assign";
    let given: Vec<(&str, &str)> =
        ["assign", "subscribe", "subscribePattern"].into_iter().filter_map(|name| Some((name, options.get(name)?.trim()))).collect();
    let given = match (given.as_slice(), options.get("topic")) {
        ([], Some(topic)) => vec![("subscribe", topic.trim())],
        _ => given,
    };
    let [(name, value)] = given.as_slice() else {
        let how_many = if given.is_empty() { "one of the following options must be" } else { "only one of the following options can be" };
        return Err(Error::invalid(format!("{how_many} specified for Kafka source: {ALL}")));
    };
    match *name {
        "assign" => {
            let parsed: Option<Entries<String, Vec<i32>>> = serde_json::from_str(value).ok();
            let topics = parsed.map(|parsed| parsed.0).unwrap_or_default();
            let all = || topics.iter().flat_map(|(topic, numbers)| numbers.iter().map(move |number| (topic.as_str(), *number, 0)));
            let offsets: Offsets = all().collect();
            if offsets.len() < all().count() {
                return Err(Error::invalid(format!("option 'assign' is '{value}': a partition is named twice")));
            }
            if offsets.is_empty() || offsets.iter().any(|(_, partition, _)| partition < 0) {
                return Err(Error::invalid(format!("no topicpartitions to assign as specified value for option 'assign' is '{value}'"))
                    .hint("expected partitions by topic, such as {\"topicA\":[0,1],\"topicB\":[2,4]}"));
            }
            Ok(Subscription::Assign(offsets))
        }
        "subscribe" => {
            let mut topics: Vec<String> = value.split(',').map(str::trim).filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
            topics.sort();
            topics.dedup();
            if topics.is_empty() {
                return Err(Error::invalid(format!("no topics to subscribe to as specified value for option 'subscribe' is '{value}'")));
            }
            Ok(Subscription::Topics(topics))
        }
        _ => {
            if value.is_empty() {
                return Err(Error::invalid("pattern to subscribe is empty as specified value for option 'subscribePattern' is ''"));
            }
            let whole = Regex::new(&format!("^(?:{value})$")).map_err(|error| {
                Error::invalid(format!("option 'subscribePattern' is '{value}': not a regular expression that is known here"))
                    .hint("look-around and back-references of Java are not")
                    .caused_by(error)
            })?;
            Ok(Subscription::Pattern((*value).to_owned(), whole))
        }
    }
}

/// What `startingTimestamp`, `startingOffsetsByTimestamp` and `startingOffsets` say together; likewise `ending`.
fn place(options: &Options, edge: &str, default: Place) -> Result<Place> {
    let (time, times, offsets) = (format!("{edge}Timestamp"), format!("{edge}OffsetsByTimestamp"), format!("{edge}Offsets"));
    if let Some(text) = options.get(&time) {
        let ms = text.trim().parse().ok().filter(|ms: &i64| *ms >= 0);
        return ms
            .map(Place::Time)
            .ok_or_else(|| Error::invalid(format!("option '{time}' is '{text}': expected a number of ms since 1970")));
    }
    if let Some(text) = options.get(&times) {
        let parsed = Offsets::of_json(&times, "", text)?;
        if let Some((topic, partition, ms)) = parsed.iter().find(|(_, _, ms)| *ms < 0) {
            return Err(Error::invalid(format!("option '{times}' is {ms} for {topic}-{partition}: expected a number of ms since 1970")));
        }
        return Ok(Place::Times(parsed));
    }
    let Some(text) = options.get(&offsets).map(str::trim) else { return Ok(default) };
    let words = if edge == "starting" { "earliest, latest or " } else { "latest or " };
    match text.to_ascii_lowercase().as_str() {
        "earliest" => Ok(Place::Earliest),
        "latest" => Ok(Place::Latest),
        _ => {
            let parsed = Offsets::of_json(&offsets, words, text)?;
            if let Some((topic, partition, offset)) = parsed.iter().find(|(_, _, offset)| *offset < EARLIEST) {
                return Err(Error::invalid(format!(
                    "option '{offsets}' is {offset} for {topic}-{partition}: expected an offset, -1 or -2"
                )));
            }
            Ok(Place::Offsets(parsed))
        }
    }
}

fn check_stream(options: &Options) -> Result<()> {
    for (option, what) in [("endingOffsets", "offset"), ("endingOffsetsByTimestamp", "timestamp"), ("endingTimestamp", "timestamp")] {
        if options.get(option).is_some() {
            return Err(
                Error::invalid(format!("ending {what} not valid in streaming queries")).hint(format!("leave out option '{option}'"))
            );
        }
    }
    Ok(())
}

fn check_batch(start: &Place, end: &Place) -> Result<()> {
    match start {
        Place::Latest => return Err(Error::invalid("starting offset can't be latest for batch queries on Kafka")),
        Place::Offsets(offsets) => {
            if let Some((topic, partition, _)) = offsets.iter().find(|(_, _, offset)| *offset == LATEST) {
                return Err(Error::invalid(format!("startingOffsets for {topic}-{partition} can't be latest for batch queries on Kafka")));
            }
        }
        _ => {}
    }
    match end {
        Place::Earliest => return Err(Error::invalid("ending offset can't be earliest for batch queries on Kafka")),
        Place::Offsets(offsets) => {
            if let Some((topic, partition, _)) = offsets.iter().find(|(_, _, offset)| *offset == EARLIEST) {
                return Err(Error::invalid(format!("ending offset for {topic}-{partition} can't be earliest for batch queries on Kafka")));
            }
        }
        _ => {}
    }
    let (what, starts, ends) = match (start, end) {
        (Place::Offsets(starts), Place::Offsets(ends)) => ("offset", starts, ends),
        (Place::Times(starts), Place::Times(ends)) => ("timestamp", starts, ends),
        _ => return Ok(()),
    };
    if !starts.has_same_partitions(ends) {
        return Err(Error::invalid(format!(
            "partitions specified for starting {what}s don't match partitions specified for ending {what}s: {} and {}",
            starts.partitions_shown(),
            ends.partitions_shown()
        )));
    }
    for (topic, partition, from) in starts.iter() {
        if let Some(until) = ends.get(topic, partition).filter(|until| from >= 0 && *until >= 0 && from > *until) {
            return Err(Error::invalid(format!(
                "the starting {what} {from} of {topic}-{partition} is greater than its ending {what} {until}"
            )));
        }
    }
    Ok(())
}

fn positive(options: &Options, name: &str) -> Result<Option<u64>> {
    match options.get_u64(name)? {
        Some(0) => Err(Error::invalid(format!("option '{name}' is 0: expected a positive number"))),
        other => Ok(other),
    }
}

/// `assign`, `subscribe` or `subscribePattern` as Spark shows them.
impl std::fmt::Display for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Assign(_) => write!(f, "Assign[{}]", self.topics()),
            Self::Topics(_) => write!(f, "Subscribe[{}]", self.topics()),
            Self::Pattern(pattern, _) => write!(f, "SubscribePattern[{pattern}]"),
        }
    }
}
