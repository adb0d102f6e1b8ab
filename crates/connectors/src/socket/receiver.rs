//! The task that receives: reads lines, stores them (in memory or in the log), wakes the query, and connects again.
//!
//! Lines that arrive while a group is being synced make the next group, so that one sync serves many rows. When more is
//! stored than the bound, nothing is read from the socket and TCP holds the server back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_core::{Clock, Error, Result};
use millstream_state::fs::blocking;
use millstream_state::wal::{Wal, WalPosition};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Received and not yet committed, at most.
const STORED_BYTES_MAX: u64 = 256 << 20;

/// Read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// A line is not longer than this: a server that sends no line end must not fill the memory.
const LINE_BYTES_MAX: usize = 64 << 20;

const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// A row as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) received_us: i64,
    pub(super) bytes: Vec<u8>,
}

impl Row {
    /// About what it takes to keep it.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.bytes.len() as u64 + 32
    }
}

/// Where rows are kept between receipt and commit.
#[derive(Debug)]
pub(super) enum Store {
    Memory,
    Log(Arc<Mutex<Wal>>),
}

/// What the receiver and the source share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) wakeup: Arc<Notify>,
    /// Told when room was made.
    room: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Memory: rows `first..first + rows.len()`.
    pub(super) first: u64,
    pub(super) rows: VecDeque<Row>,
    /// Log: behind the newest durable row.
    pub(super) log_end: WalPosition,
    /// Log: the groups that were appended and are not committed, oldest first: their ends and bytes.
    pub(super) groups: VecDeque<(WalPosition, u64)>,
    pub(super) n_stored_bytes: u64,
    pub(super) n_received: u64,
    pub(super) n_outages: u64,
    pub(super) n_cut_lines: u64,
    /// Receiving has ended with this error.
    pub(super) failed: Option<Error>,
}

impl Shared {
    pub(super) fn new(first: u64, log_end: WalPosition) -> Self {
        let state = State {
            first,
            rows: VecDeque::new(),
            log_end,
            groups: VecDeque::new(),
            n_stored_bytes: 0,
            n_received: 0,
            n_outages: 0,
            n_cut_lines: 0,
            failed: None,
        };
        Self { state: Mutex::new(state), wakeup: Arc::new(Notify::new()), room: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory: behind the rows from `from` on that are no more than `bytes_max` together, but at least one.
    pub(super) fn rows_within(&self, from: u64, bytes_max: u64) -> u64 {
        let state = self.lock();
        let mut n_bytes = 0;
        let skip = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
        let fits = state.rows.iter().skip(skip).take_while(|row| {
            n_bytes += row.stored_bytes();
            n_bytes <= bytes_max
        });
        from + (fits.count() as u64).max(1)
    }

    /// Log: behind the groups from `from` on that are no more than `bytes_max` together, but at least one.
    pub(super) fn groups_within(&self, from: WalPosition, bytes_max: u64) -> WalPosition {
        let state = self.lock();
        let mut n_bytes = 0;
        let mut end = None;
        for (group_end, group_bytes) in state.groups.iter().filter(|(group_end, _)| *group_end > from) {
            n_bytes += group_bytes;
            if end.is_some() && n_bytes > bytes_max {
                break;
            }
            end = Some(*group_end);
        }
        end.unwrap_or(state.log_end)
    }

    /// Rows were committed: there is room for more.
    pub(super) fn freed(&self, n_bytes: u64) {
        let mut state = self.lock();
        state.n_stored_bytes = state.n_stored_bytes.saturating_sub(n_bytes);
        drop(state);
        self.room.notify_one();
    }
}

/// Receives until it is aborted or the log fails.
pub(super) struct Receiver {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
}

impl Receiver {
    pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream> {
        TcpStream::connect((host, port)).await.map_err(|error| {
            Error::unavailable(format!("cannot connect to {host}:{port}: {error}"))
                .hint("is a server listening there, for example `nc -lk PORT`?")
                .caused_by(error)
        })
    }

    pub(super) async fn run(self, mut stream: TcpStream) {
        loop {
            match self.receive(&mut stream).await {
                Ok(why) => {
                    self.shared.lock().n_outages += 1;
                    tracing::warn!(
                        host = self.host,
                        port = self.port,
                        why,
                        "the connection ended; rows that the server sends until it is made again are lost there"
                    );
                }
                Err(error) => {
                    self.shared.lock().failed = Some(error);
                    self.shared.wakeup.notify_one();
                    return;
                }
            }
            stream = self.reconnect().await;
        }
    }

    async fn reconnect(&self) -> TcpStream {
        let mut wait = RECONNECT_MIN;
        loop {
            self.clock.sleep(wait).await;
            match Self::connect(&self.host, self.port).await {
                Ok(stream) => {
                    tracing::info!(host = self.host, port = self.port, "connected again");
                    return stream;
                }
                Err(error) => tracing::debug!(%error, "not yet connected again"),
            }
            wait = (wait * 2).min(RECONNECT_MAX);
        }
    }

    /// Receives until the connection ends, and says why it did. An error is the store's.
    async fn receive(&self, stream: &mut TcpStream) -> Result<String> {
        let mut unfinished: Vec<u8> = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        let why = loop {
            while self.shared.lock().n_stored_bytes > STORED_BYTES_MAX {
                self.shared.room.notified().await;
            }
            let n = match stream.read(&mut buffer).await {
                Ok(0) => break "the server closed it".to_owned(),
                Ok(n) => n,
                Err(error) => break error.to_string(),
            };
            let received_us = self.clock.now_proc_us();
            let bytes = buffer.get(..n).unwrap_or_default();
            let Some(last) = memchr::memrchr(b'\n', bytes) else {
                unfinished.extend_from_slice(bytes);
                if unfinished.len() > LINE_BYTES_MAX {
                    return Err(Error::exhausted(format!("{}:{} sent a line of more than {LINE_BYTES_MAX} bytes", self.host, self.port)));
                }
                continue;
            };
            let (whole, rest) = bytes.split_at_checked(last).unwrap_or((bytes, &[]));
            unfinished.extend_from_slice(whole);
            let rows: Vec<Row> = unfinished
                .split(|byte| *byte == b'\n')
                .map(|line| Row { received_us, bytes: line.strip_suffix(b"\r").unwrap_or(line).to_vec() })
                .collect();
            unfinished.clear();
            unfinished.extend_from_slice(rest.get(1..).unwrap_or_default());
            self.keep(rows).await?;
        };
        if !unfinished.is_empty() {
            // Nobody can know whether it was whole.
            self.shared.lock().n_cut_lines += 1;
            tracing::warn!(n_bytes = unfinished.len(), "a line without an end was cut off with the connection; it is not a row");
        }
        Ok(why)
    }

    async fn keep(&self, rows: Vec<Row>) -> Result<()> {
        let n_rows = rows.len() as u64;
        let n_bytes: u64 = rows.iter().map(Row::stored_bytes).sum();
        match &self.store {
            Store::Memory => self.shared.lock().rows.extend(rows),
            Store::Log(log) => {
                let log = Arc::clone(log);
                let end = blocking(move || {
                    let group: Vec<(i64, &[u8])> = rows.iter().map(|row| (row.received_us, row.bytes.as_slice())).collect();
                    log.lock().unwrap_or_else(PoisonError::into_inner).append(&group)
                })
                .await?;
                let mut state = self.shared.lock();
                state.log_end = end;
                state.groups.push_back((end, n_bytes));
            }
        }
        let mut state = self.shared.lock();
        state.n_received += n_rows;
        state.n_stored_bytes += n_bytes;
        drop(state);
        self.shared.wakeup.notify_one();
        Ok(())
    }
}
