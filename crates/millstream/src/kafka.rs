//! Where a query stands in its topics, and moving a stopped query to another place: for commands.
//!
//! A reset goes through the checkpoint's own log: it takes the lock (a running query refuses it), begins a run of its own
//! and appends where the source stands from then on. It is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_connectors::kafka::{Look, look, moved, offsets_of};
use millstream_core::{BatchId, Clock, Error, Position, Result, RunId};
use millstream_state::Location;
use millstream_state::checkpoint::{self, Checkpoint, Record, RecordKind};
use serde::Serialize;

pub use millstream_core::Options;

use crate::session::Session;

/// Where a query stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartitionOffsets {
    /// The query's source.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset with which the next batch begins.
    pub position: i64,
    /// The offset up to which batches are known to be committed; none before the first.
    pub committed: Option<i64>,
    /// Where the partition ends now, as far as the brokers were asked and answered.
    pub latest: Option<i64>,
    /// How many offsets there are between; none, too, if the position is not one of the partition's.
    pub lag: Option<i64>,
    /// Why the query will not go on there as if nothing had happened.
    pub note: Option<String>,
}

/// What [`offsets`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct QueryOffsets {
    /// By source, topic and partition.
    pub partitions: Vec<PartitionOffsets>,
    /// Why the lag is not known, if the brokers were asked.
    pub unreachable: Option<Error>,
}

/// What [`reset`] moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MovedPartition {
    /// The query's source.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where it stood; none if the query did not know it.
    pub from: Option<i64>,
    /// Where it stands then; none if it does not exist any more and is left out.
    pub to: Option<i64>,
}

/// Whether a [`reset`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    /// It only says what it would do.
    DryRun,
    /// It does it.
    Write,
}

/// Where a query stands in its topics; it may be running. `options`: `bootstrapServers` and `kafka.*`; without servers the brokers
/// are not asked.
pub async fn offsets(session: &Session, dir: &str, options: &Options) -> Result<QueryOffsets> {
    let stands = stands_of(&checkpoint::show(&Location::parse(dir, &Options::new())?).await?.records, dir)?;
    let asks = options.get("bootstrapServers").or_else(|| options.get("kafka.bootstrap.servers")).is_some();
    let (mut partitions, mut unreachable) = (Vec::new(), None);
    for (source, Stands { position, committed, reads }) in &stands {
        let looked = match (asks, &unreachable) {
            (true, None) => look(position, reads, options, clock_of(session)).await.unwrap_or_else(|error| {
                unreachable = Some(error);
                BTreeMap::new()
            }),
            _ => BTreeMap::new(),
        };
        let committed = committed.as_ref().map(offsets_of).transpose()?.unwrap_or_default();
        for (place, position) in offsets_of(position)? {
            let (committed, look) = (committed.get(&place).copied(), looked.get(&place).cloned());
            let Look { latest, lag, note, .. } = look.unwrap_or_default();
            let (topic, partition) = place;
            partitions.push(PartitionOffsets { source: source.clone(), topic, partition, position, committed, latest, lag, note });
        }
    }
    Ok(QueryOffsets { partitions, unreachable })
}

/// Moves a stopped query's source to another place: see [`millstream_connectors::kafka::moved`] for `to`. What lies between is read
/// again, or never; what was written and is remembered stays as it is.
pub async fn reset(
    session: &Session,
    dir: &str,
    source: Option<&str>,
    to: &str,
    options: &Options,
    mode: ResetMode,
) -> Result<Vec<MovedPartition>> {
    let location = Location::parse(dir, &Options::new())?;
    // Before the checkpoint is opened, which would make one that is not there.
    let looked = checkpoint::show(&location).await?.records;
    if mode == ResetMode::DryRun {
        return Ok(plan(session, &looked, dir, source, to, options).await?.partitions);
    }
    let (mut checkpoint, opened) = Checkpoint::open(location.clone(), session.engine().ids().as_ref(), session.engine().clock().as_ref())
        .await
        .map_err(|error| error.hint("a query is reset while it is stopped"))?;
    let done = write(session, &mut checkpoint, opened, (&location, dir), source, to, options).await;
    checkpoint.close().await;
    done
}

async fn write(
    session: &Session,
    checkpoint: &mut Checkpoint,
    opened: checkpoint::Recovered,
    (location, dir): (&Location, &str),
    source: Option<&str>,
    to: &str,
    options: &Options,
) -> Result<Vec<MovedPartition>> {
    if let Some(begun) = opened.last_intent.as_ref().and_then(|record| record.batch) {
        return Err(Error::invalid(format!(
            "batch {begun} of checkpoint '{dir}' was begun and is not decided: it must end with the offsets that it began with"
        ))
        .hint("start the query once more, so that the batch ends, and stop it; then reset"));
    }
    // What it says now that nobody else can write.
    let records = checkpoint::show(location).await?.records;
    let Plan { source, position, partitions } = plan(session, &records, dir, source, to, options).await?;
    let last_start = opened.last_start.clone().ok_or_else(|| no_run(dir))?;
    let clock_us = session.engine().clock().now_proc_us();
    let job = last_start.job.ok_or_else(|| no_run(dir))?;
    let start = Record::start(RunId(session.engine().ids().new_uuid()), clock_us, job);
    // The next start compares itself with this run as it would have with the last.
    let start = Record { settings: last_start.settings, operators: last_start.operators, ..start };
    checkpoint.start(start, opened).await?;
    checkpoint.append(Record::positions([(source, position)], clock_us)).await?;
    Ok(partitions)
}

/// What a reset does.
struct Plan {
    source: String,
    position: Position,
    partitions: Vec<MovedPartition>,
}

async fn plan(session: &Session, records: &[Record], dir: &str, source: Option<&str>, to: &str, options: &Options) -> Result<Plan> {
    let mut stands = stands_of(records, dir)?;
    let names = stands.keys().cloned().collect::<Vec<_>>().join(", ");
    let name = match (source, stands.len()) {
        (Some(source), _) => source.to_owned(),
        (None, 1) => names.clone(),
        (None, _) => {
            return Err(Error::invalid(format!("the query reads several sources of kafka: {names}")).hint("say which one with --source"));
        }
    };
    let Some(Stands { position: before, reads, .. }) = stands.remove(&name) else {
        return Err(Error::invalid(format!("the query has no source '{name}' of kafka: there is {names}")));
    };
    let position = moved(&before, &reads, to, options, clock_of(session)).await?;
    let (from, to) = (offsets_of(&before)?, offsets_of(&position)?);
    let places: BTreeSet<&(String, i32)> = from.keys().chain(to.keys()).collect();
    let partitions = places.into_iter().map(|place| {
        let (topic, partition) = place.clone();
        MovedPartition { source: name.clone(), topic, partition, from: from.get(place).copied(), to: to.get(place).copied() }
    });
    Ok(Plan { partitions: partitions.collect(), source: name, position })
}

/// Where a source stands.
struct Stands {
    position: Position,
    /// Where the last batch ended that is known to be committed.
    committed: Option<Position>,
    /// What the source reads, as its checkpoint has it.
    reads: serde_json::Value,
}

/// Where the streams over kafka stand, by name.
fn stands_of(records: &[Record], dir: &str) -> Result<BTreeMap<String, Stands>> {
    let committed = records.iter().filter_map(|record| record.committed).max();
    let mut all: BTreeMap<String, Stands> = BTreeMap::new();
    let mut set = |name: &str, position: &Position, batch: Option<BatchId>| {
        let stands = all.entry(name.to_owned()).or_insert_with(|| Stands {
            position: position.clone(),
            committed: None,
            reads: serde_json::Value::Null,
        });
        stands.position = position.clone();
        if batch.is_some() && batch <= committed {
            stands.committed = Some(position.clone());
        }
    };
    for record in records {
        match record.kind {
            RecordKind::Prepared => {
                record.idle.iter().for_each(|(name, place)| set(name, &place.end, place.batch));
                record.sources.iter().for_each(|(name, entry)| set(name, &entry.range.end, record.batch));
            }
            RecordKind::Positions => record.idle.iter().for_each(|(name, place)| set(name, &place.end, None)),
            _ => {}
        }
    }
    let job = records.iter().rev().find(|record| record.kind == RecordKind::Start).and_then(|start| start.job.as_ref());
    let identity = |name: &str| job?.get("sources")?.get(name);
    all.retain(|name, _| identity(name).and_then(|identity| identity.get("format")?.as_str()) == Some("kafka"));
    for (name, stands) in &mut all {
        stands.reads = identity(name).and_then(|identity| identity.get("reads")).cloned().unwrap_or_default();
    }
    if all.is_empty() {
        return Err(Error::invalid(format!("the query of checkpoint '{dir}' stands in no topic: it reads none, or has not begun")));
    }
    Ok(all)
}

fn no_run(dir: &str) -> Error {
    Error::invalid(format!("checkpoint '{dir}' has no run"))
}

fn clock_of(session: &Session) -> Arc<dyn Clock> {
    Arc::clone(session.engine().clock())
}
