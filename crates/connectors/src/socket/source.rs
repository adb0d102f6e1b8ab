//! The driver's half: what was received, cut into ranges.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{Admission, BatchId, Clock, Error, Options, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use millstream_state::fs::blocking;
use millstream_state::wal::{Wal, WalOptions, WalPosition};
use millstream_state::{FileSystem, Location};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::options::SocketOptions;
use super::receiver::{Receiver, Row, Shared, Store};
use super::split::{SocketSplit, to_batch};
use crate::wire;

/// Rows of the log that one task reads, unless there are more tasks than that makes.
const ROWS_PER_SPLIT: u64 = 10_000;

#[derive(Debug)]
pub(super) struct SocketSource {
    fs: Arc<dyn FileSystem>,
    options: SocketOptions,
    clock: Arc<dyn Clock>,
    time_zone: String,
    checkpoint_dir: Option<String>,
    run: Option<Running>,
    end: Option<Position>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    log: Option<(PathBuf, Arc<Mutex<Wal>>)>,
    receiver: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl SocketSource {
    pub(super) fn new(fs: Arc<dyn FileSystem>, options: SocketOptions, request: SourceRequest) -> Self {
        let SourceRequest { clock, time_zone, checkpoint_dir, .. } = request;
        Self { fs, options, clock, time_zone, checkpoint_dir, run: None, end: None }
    }

    fn running(&self) -> Result<&Running> {
        self.run.as_ref().ok_or_else(|| Error::internal("a socket source was used before its start"))
    }

    async fn open_log(&self) -> Result<(PathBuf, Arc<Mutex<Wal>>)> {
        let dir = self.checkpoint_dir.as_deref().ok_or_else(|| Error::invalid("option 'writeAheadLog' needs a checkpoint"))?;
        let location = Location::parse(dir, &Options::new())?;
        let Some(path) = location.as_local() else {
            return Err(Error::unsupported(format!("option 'writeAheadLog' needs a checkpoint on a local disk, not '{dir}'")));
        };
        let (fs, path) = (Arc::clone(&self.fs), path.join("wal"));
        blocking(move || {
            let log = Wal::open(fs, &path, WalOptions::default())?;
            Ok((path, Arc::new(Mutex::new(log))))
        })
        .await
    }

    /// The position behind everything that was received.
    fn received(&self) -> Result<Position> {
        let run = self.running()?;
        let state = run.shared.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        match &run.log {
            Some(_) => Ok(Position(wire::to_value(&state.log_end)?)),
            None => Ok(Position(serde_json::json!(state.first + state.rows.len() as u64))),
        }
    }

    fn memory_splits(&self, run: &Running, first: u64, past: u64) -> Result<Vec<Split>> {
        let state = run.shared.lock();
        if first < state.first {
            // Decided (or intended) by an earlier run: those rows went with it.
            tracing::warn!(first, past, "rows of a socket without a write-ahead log cannot be read again");
            return Ok(Vec::new());
        }
        let skip = usize::try_from(first - state.first).unwrap_or(usize::MAX);
        let n = usize::try_from(past.saturating_sub(first)).unwrap_or(usize::MAX);
        let rows: Vec<Row> = state.rows.iter().skip(skip).take(n).cloned().collect();
        drop(state);
        let schema = self.schema();
        let batch = to_batch(&schema, &rows)?;
        let payload = wire::to_json(&SocketSplit::Rows { first })?;
        let ipc = wire::rows_to_bytes(&schema, &[batch])?;
        Ok(vec![SocketSplit::with_rows(payload, &ipc)?])
    }
}

#[async_trait]
impl Source for SocketSource {
    fn description(&self) -> String {
        format!("TextSocketV2[host: {}, port: {}]", self.options.host, self.options.port)
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "format": "socket", "host": self.options.host, "port": self.options.port })
    }

    fn schema(&self) -> SchemaRef {
        super::schema(self.options.includes_timestamp)
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "socket".to_owned(),
            format: "socket".to_owned(),
            options: Options::new(),
            schema: self.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        let last = start.position().cloned();
        let log = if self.options.has_log { Some(self.open_log().await?) } else { None };
        let (position, shared) = match &log {
            Some((_, log)) => {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let position = match last {
                    Some(last) => last,
                    None => Position(wire::to_value(&log.start())?),
                };
                let shared = Shared::new(0, log.end());
                // What an earlier run left is one group: it was bounded when it was received.
                shared.lock().groups.push_back((log.end(), log.len_bytes()));
                (position, shared)
            }
            None => {
                tracing::warn!(
                    host = self.options.host,
                    port = self.options.port,
                    "rows of a socket without writeAheadLog are delivered at most once: those not committed when the process ends are lost"
                );
                let first: u64 = last.as_ref().map_or(Ok(0), |last| wire::from_value(&last.0, "socket position"))?;
                (Position(serde_json::json!(first)), Shared::new(first, WalPosition::default()))
            }
        };
        let stream = Receiver::connect(&self.options.host, self.options.port).await?;
        let shared = Arc::new(shared);
        let receiver = Receiver {
            host: self.options.host.clone(),
            port: self.options.port,
            clock: Arc::clone(&self.clock),
            store: log.as_ref().map_or(Store::Memory, |(_, log)| Store::Log(Arc::clone(log))),
            shared: Arc::clone(&shared),
        };
        let receiver = tokio::spawn(receiver.run(stream));
        self.run = Some(Running { shared, log, receiver });
        Ok(position)
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        let end = match &self.end {
            Some(end) => end.clone(),
            None => self.received()?,
        };
        let run = self.running()?;
        let end = match &run.log {
            Some(_) => {
                let from: WalPosition = wire::from_value(&from.0, "socket position")?;
                let to: WalPosition = wire::from_value(&end.0, "socket position")?;
                let is_new = to > from && (to.row > 0 || to.segment > from.segment + 1);
                let within = |bytes_max| run.shared.groups_within(from, bytes_max).min(to);
                is_new.then(|| wire::to_value(&admission.bytes_max.map_or(to, within)))
            }
            None => {
                let from: u64 = wire::from_value(&from.0, "socket position")?;
                let to: u64 = wire::from_value(&end.0, "socket position")?;
                let within = |bytes_max| run.shared.rows_within(from, bytes_max).min(to);
                (to > from).then(|| wire::to_value(&admission.bytes_max.map_or(to, within)))
            }
        };
        let end = end.transpose()?.map(Position);
        Ok(end.map(|end| SourceRange { start: from.clone(), end, detail: serde_json::Value::Null }))
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let run = self.running()?;
        let Some((dir, _)) = &run.log else {
            let first: u64 = wire::from_value(&range.start.0, "socket position")?;
            let past: u64 = wire::from_value(&range.end.0, "socket position")?;
            return self.memory_splits(run, first, past);
        };
        let from: WalPosition = wire::from_value(&range.start.0, "socket position")?;
        let to: WalPosition = wire::from_value(&range.end.0, "socket position")?;
        let dir = dir.to_string_lossy().into_owned();
        let split = |from, to| {
            let split = SocketSplit::Log { dir: dir.clone(), from, to };
            wire::split(&split, to.row.saturating_sub(from.row) * 64)
        };
        if from.segment != to.segment || to.row - from.row <= ROWS_PER_SPLIT {
            return Ok(vec![split(from, to)?]);
        }
        let step = (to.row - from.row).div_ceil(n_tasks.max(1) as u64);
        let mut splits = Vec::new();
        let mut at = from.row;
        while at < to.row {
            let next = (at + step).min(to.row);
            splits.push(split(WalPosition { row: at, ..from }, WalPosition { row: next, ..from })?);
            at = next;
        }
        Ok(splits)
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, _batch: BatchId, range: &SourceRange) -> Result<()> {
        let run = self.running()?;
        match &run.log {
            Some((_, log)) => {
                let to: WalPosition = wire::from_value(&range.end.0, "socket position")?;
                let log = Arc::clone(log);
                let n_bytes = blocking(move || {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.trim(to)?;
                    Ok(log.len_bytes())
                })
                .await?;
                let mut state = run.shared.lock();
                state.groups.retain(|(end, _)| *end > to);
                let stored = state.n_stored_bytes;
                drop(state);
                run.shared.freed(stored.saturating_sub(n_bytes));
            }
            None => {
                let past: u64 = wire::from_value(&range.end.0, "socket position")?;
                let mut state = run.shared.lock();
                let n = usize::try_from(past.saturating_sub(state.first)).unwrap_or(usize::MAX).min(state.rows.len());
                let n_bytes: u64 = state.rows.drain(..n).map(|row| row.bytes.len() as u64 + 32).sum();
                state.first += n as u64;
                drop(state);
                run.shared.freed(n_bytes);
            }
        }
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        self.end = Some(self.received()?);
        Ok(())
    }

    fn wakeup(&self) -> Option<Arc<Notify>> {
        self.run.as_ref().map(|run| Arc::clone(&run.shared.wakeup))
    }

    fn metrics(&self) -> SourceMetrics {
        let mut metrics = SourceMetrics::default();
        metrics.latest = self.received().ok();
        if let Some(run) = &self.run {
            let state = run.shared.lock();
            metrics.values = vec![
                ("rowsReceived".to_owned(), state.n_received.to_string()),
                ("outages".to_owned(), state.n_outages.to_string()),
                ("cutLines".to_owned(), state.n_cut_lines.to_string()),
            ];
        }
        metrics
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some(mut run) = self.run.take() {
            run.receiver.abort();
            // Cancelled: that is what was asked for.
            let _ = (&mut run.receiver).await;
        }
        Ok(())
    }
}
