//! Looking at a checkpoint without running it: `millstream checkpoint show` and `verify`.
//!
//! Reads only, takes no lock, and so may look at a checkpoint in use: files that a running query removes meanwhile
//! are left out. Records hold no secrets; what looks like one is printed as `***` all the same.

use std::fmt;

use chrono::{DateTime, SecondsFormat};
use millstream_core::options::{looks_secret, redact_url};
use millstream_core::{BatchId, Error, QueryId, Result};
use serde::Serialize;
use serde_json::Value;

use super::chain::{Chain, stitch};
use super::metadata::{METADATA_NAME, Metadata};
use super::record::{Record, RecordKind};
use super::{local, object, open, snapshot};
use crate::fs::blocking;
use crate::location::{Location, join_key};
use crate::store::{self, RecoveredState};

/// The content of a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Whose it is.
    pub metadata: Metadata,
    /// The valid records, oldest first; before them the last start record, if it is older.
    pub records: Vec<Record>,
    /// Torn tails that are cut.
    pub torn: Vec<String>,
}

/// Whether a checkpoint can be trusted.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The place.
    pub checkpoint: String,
    /// Whose it is.
    pub metadata: Option<Metadata>,
    /// Valid records.
    pub n_records: usize,
    /// The first batch that the log still has.
    pub first_batch: Option<BatchId>,
    /// The last decided batch.
    pub last_batch: Option<BatchId>,
    /// The highest batch known to be committed.
    pub committed: Option<BatchId>,
    /// Snapshots of sources: name and batch.
    pub snapshots: Vec<(String, BatchId)>,
    /// Snapshots of the state of operators, by batch.
    pub state_snapshots: Vec<BatchId>,
    /// State changes of batches that a recovery may need.
    pub n_state_deltas: usize,
    /// Torn tails that are cut: usual after a crash, harmless.
    pub torn: Vec<String>,
    /// What is wrong; empty if the checkpoint can be trusted.
    pub problems: Vec<String>,
}

/// Reads the records of a checkpoint.
pub async fn show(location: &Location) -> Result<Shown> {
    let (metadata, chain, torn) = read(location).await.map_err(|error| error.context(format!("reading checkpoint '{location}'")))?;
    Ok(Shown { metadata, records: chain.early_start.into_iter().chain(chain.records).collect(), torn })
}

/// Reads everything and checks that it fits together. An error means that the checkpoint could not be looked at.
pub async fn verify(location: &Location) -> Result<Report> {
    let mut report = Report {
        checkpoint: location.to_string(),
        metadata: None,
        n_records: 0,
        first_batch: None,
        last_batch: None,
        committed: None,
        snapshots: Vec::new(),
        state_snapshots: Vec::new(),
        n_state_deltas: 0,
        torn: Vec::new(),
        problems: Vec::new(),
    };
    let found = match read(location).await {
        Err(error) => Err(error),
        Ok((metadata, chain, torn)) => {
            report.n_records = chain.records.len();
            report.first_batch = chain.order.batches.front().map(|(batch, _)| *batch);
            report.last_batch = chain.order.prepared;
            report.committed = chain.order.committed;
            report.torn = torn;
            report.metadata = Some(metadata.clone());
            verify_snapshots(location, &metadata, &chain, &mut report).await
        }
    };
    match found {
        Ok(()) => {}
        Err(error) if error.kind() == millstream_core::ErrorKind::Data => report.problems.push(error.message().to_owned()),
        Err(error) => return Err(error.context(format!("verifying checkpoint '{location}'"))),
    }
    Ok(report)
}

/// What the log says about the state of operators, to load it from ([`crate::store::load`]) while its query runs or not.
pub async fn read_state(location: &Location) -> Result<(QueryId, RecoveredState)> {
    let (metadata, chain, _) = read(location).await.map_err(|error| error.context(format!("reading checkpoint '{location}'")))?;
    Ok((metadata.query_id, open::recovered_state(&chain)))
}

/// The snapshots of sources, and all files of state.
async fn verify_snapshots(location: &Location, metadata: &Metadata, chain: &Chain, report: &mut Report) -> Result<()> {
    let snapshots = snapshot::read_all(location, false).await?;
    report.snapshots = snapshots.iter().map(|(name, (batch, _))| (name.clone(), *batch)).collect();
    let epoch = chain.order.epoch.unwrap_or(millstream_core::RunEpoch(0));
    let recovered = open::recover(&location.to_string(), metadata, epoch, chain, &[], &snapshots)?;
    let state = store::verify(location, metadata.query_id, &recovered.state).await?;
    report.state_snapshots = state.snapshots;
    report.n_state_deltas = state.n_deltas;
    report.problems.extend(state.problems);
    Ok(())
}

async fn read(location: &Location) -> Result<(Metadata, Chain, Vec<String>)> {
    let place = location.to_string();
    match location.clone() {
        Location::Local { fs, path } => {
            blocking(move || {
                let metadata_path = path.join(METADATA_NAME);
                if !fs.exists(&metadata_path)? {
                    return Err(no_checkpoint(&place));
                }
                let metadata = open::decode_metadata(&place, &fs.read(&metadata_path)?)?;
                let scan = local::scan(fs.as_ref(), &path, metadata.query_id, false)?;
                Ok((metadata, stitch(&place, scan.units)?, scan.torn))
            })
            .await
        }
        Location::Object { store, prefix, .. } => {
            let bytes = object::get(&store, &join_key(&prefix, METADATA_NAME)).await?.ok_or_else(|| no_checkpoint(&place))?;
            let metadata = open::decode_metadata(&place, &bytes)?;
            let scan = object::scan(&store, &prefix, &place).await?;
            Ok((metadata, stitch(&place, scan.units)?, Vec::new()))
        }
    }
}

fn no_checkpoint(place: &str) -> Error {
    Error::invalid(format!("'{place}' is no checkpoint: it has no '{METADATA_NAME}'"))
}

impl Record {
    /// As JSON for people and programs, with `***` for what looks like a secret.
    pub fn to_redacted_json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or(Value::Null);
        redact(&mut json);
        json
    }
}

fn redact(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                if looks_secret(name) && !value.is_object() && !value.is_array() {
                    *value = Value::from("***");
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::String(text) => *text = redact_url(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn event_time(event_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(event_ms).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
    time.unwrap_or_else(|| if event_ms == i64::MAX { "infinity".to_owned() } else { format!("{event_ms} ms") })
}

/// A few lines for people; [`Record::to_redacted_json`] has everything.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::from_timestamp_micros(self.clock_us).map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
        write!(f, "{:>8}  {:<9}  epoch {}", self.seq, self.kind, self.epoch)?;
        if let Some(batch) = self.batch {
            write!(f, "  batch {batch}")?;
        }
        if let Some(committed) = self.committed {
            write!(f, "  committed {committed}")?;
        }
        write!(f, "  {}", time.unwrap_or_else(|| format!("{} us", self.clock_us)))?;
        let redacted = |value: &Value| {
            let mut value = value.clone();
            redact(&mut value);
            value
        };
        for (name, source) in &self.sources {
            write!(f, "\n          source {name}: {} -> {}", redacted(&source.range.start.0), redacted(&source.range.end.0))?;
        }
        for (name, idle) in &self.idle {
            let how = if self.kind == RecordKind::Positions { "" } else { "nothing, " };
            write!(f, "\n          source {name}: {how}at {}", redacted(&idle.end.0))?;
            if let Some(batch) = idle.batch {
                write!(f, " since batch {batch}")?;
            }
        }
        if let Some(marks) = &self.watermarks {
            write!(f, "\n          watermark {}, late at {}", event_time(marks.current_ms), event_time(marks.late_ms))?;
            if let Some(next_ms) = marks.next_ms {
                write!(f, ", then {}", event_time(next_ms))?;
            }
        }
        for (name, node) in self.watermarks.iter().flat_map(|marks| &marks.nodes) {
            let watermark = node.watermark_ms.map_or_else(|| "none".to_owned(), event_time);
            write!(f, "\n          watermark of {name}: {watermark}{}", if node.is_idle { ", idle" } else { "" })?;
        }
        for (name, prepared) in &self.sinks {
            write!(f, "\n          sink {name}: {}", redacted(prepared))?;
        }
        for (name, version) in &self.state {
            write!(f, "\n          state {name}: version {version}")?;
        }
        if let Some(delta) = &self.state_delta {
            write!(f, "\n          state changes: {}, bytes {} to {}", delta.file, delta.offset, delta.offset + delta.length)?;
        }
        for (id, operator) in &self.operators {
            let stores: Vec<&str> = operator.stores.iter().map(|store| store.name.as_str()).collect();
            write!(f, "\n          operator {id}: {}, stores {}", operator.kind, stores.join(", "))?;
        }
        if let (RecordKind::Start, Some(job)) = (self.kind, &self.job) {
            write!(f, "\n          job: {}", redacted(job))?;
        }
        Ok(())
    }
}

impl Report {
    /// Whether the checkpoint can be trusted.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = |batch: Option<BatchId>| batch.map_or("none".to_owned(), |batch| batch.to_string());
        writeln!(f, "checkpoint {}", self.checkpoint)?;
        if let Some(metadata) = &self.metadata {
            writeln!(f, "query {}, format {}, made by {}", metadata.query_id, metadata.format_version, metadata.created_by)?;
        }
        writeln!(
            f,
            "{} records, batches {} to {}, committed {}",
            self.n_records,
            batch(self.first_batch),
            batch(self.last_batch),
            batch(self.committed)
        )?;
        for (source, snapshot) in &self.snapshots {
            writeln!(f, "source {source}: snapshot of batch {snapshot}")?;
        }
        if let (Some(newest), n_deltas) = (self.state_snapshots.last(), self.n_state_deltas) {
            writeln!(f, "state: {} snapshots, the newest of batch {newest}; {n_deltas} deltas", self.state_snapshots.len())?;
        } else if self.n_state_deltas > 0 {
            writeln!(f, "state: {} deltas", self.n_state_deltas)?;
        }
        for torn in &self.torn {
            writeln!(f, "cut (usual after a crash): {torn}")?;
        }
        for problem in &self.problems {
            writeln!(f, "DAMAGED: {problem}")?;
        }
        f.write_str(if self.is_ok() { "ok" } else { "not ok" })
    }
}
