//! Tests of `socket`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::{Admission, BatchId, ConnectorRegistry, ErrorKind, Position, Result, RowPlaces, Source, SourceStart, SystemClock};
use millstream_testkit::rows::row_texts;
use millstream_testkit::source_contract::{SourceHarness, read_range, read_splits};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::harness::{registry, source, source_request};

/// A server that tests send by; takes one client after another.
struct Server {
    registry: ConnectorRegistry,
    checkpoint: TempDir,
    has_log: bool,
    port: u16,
    clients: Arc<Mutex<Vec<TcpStream>>>,
    connected: Arc<tokio::sync::Notify>,
}

impl Server {
    async fn new(has_log: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let connected = Arc::new(tokio::sync::Notify::new());
        let (of_task, notify) = (Arc::clone(&clients), Arc::clone(&connected));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                of_task.lock().await.push(stream);
                notify.notify_one();
            }
        });
        Self { registry: registry().0, checkpoint: TempDir::new().unwrap(), has_log, port, clients, connected }
    }

    /// To the newest client.
    async fn send(&self, text: &str) {
        loop {
            if let Some(client) = self.clients.lock().await.last_mut() {
                client.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            self.connected.notified().await;
        }
    }

    async fn hang_up(&self) {
        self.clients.lock().await.clear();
    }
}

#[async_trait]
impl SourceHarness for Server {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let port = self.port.to_string();
        let log = self.has_log.to_string();
        let options = [("host", "127.0.0.1"), ("port", port.as_str()), ("includeTimestamp", "true"), ("writeAheadLog", &log)];
        let mut request = source_request("socket", &options, None);
        request.clock = Arc::new(SystemClock::default());
        request.checkpoint_dir = Some(self.checkpoint.path().to_str().unwrap().to_owned());
        source(&self.registry, request).await
    }

    async fn add_data(&self, _step: usize) -> Result<()> {
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }
}

/// Waits for the next range; the test fails by its timeout.
async fn next(source: &mut dyn Source, from: &Position) -> millstream_core::SourceRange {
    let wakeup = source.wakeup().unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(range) = source.plan(from, &Admission::default()).await.unwrap() {
                return range;
            }
            wakeup.notified().await;
        }
    })
    .await
    .unwrap()
}

async fn values(server: &Server, source: &mut dyn Source, range: &millstream_core::SourceRange) -> Vec<String> {
    let mut spec = source.reader();
    spec.projection = Some(vec![0]);
    let rows = read_range(server, source, &spec, range, 3).await.unwrap();
    row_texts(&rows).unwrap().into_iter().map(|row| row.strip_prefix("value=").unwrap().to_owned()).collect()
}

/// Collects until there are `n` rows.
async fn collect(server: &Server, source: &mut dyn Source, from: &Position, n: usize) -> (Vec<String>, Position) {
    let (mut all, mut position) = (Vec::new(), from.clone());
    while all.len() < n {
        let range = next(source, &position).await;
        all.extend(values(server, source, &range).await);
        source.decided(BatchId(0), &range).await.unwrap();
        source.commit(BatchId(0), &range).await.unwrap();
        position = range.end;
    }
    (all, position)
}

#[tokio::test]
async fn lines_become_rows_and_cut_lines_do_not() {
    for has_log in [false, true] {
        let server = Server::new(has_log).await;
        let mut source = server.source().await.unwrap();
        let start = source.start(SourceStart::Fresh).await.unwrap();
        server.send("one\ntwo\r\nthr").await;
        let (rows, position) = collect(&server, source.as_mut(), &start, 2).await;
        assert_eq!(rows, ["one", "two"]);
        server.send("ee\n\nfive\ncut").await;
        let (rows, position) = collect(&server, source.as_mut(), &position, 3).await;
        assert_eq!(rows, ["three", "", "five"]);
        server.hang_up().await;
        // The source connects again by itself.
        server.connected.notified().await;
        server.send("after\n").await;
        let (rows, _) = collect(&server, source.as_mut(), &position, 1).await;
        assert_eq!(rows, ["after"]);
        let metrics = source.metrics().values;
        assert!(metrics.contains(&("outages".to_owned(), "1".to_owned())), "{metrics:?}");
        assert!(metrics.contains(&("cutLines".to_owned(), "1".to_owned())), "{metrics:?}");
        source.stop().await.unwrap();
    }
}

#[tokio::test]
async fn rows_in_the_log_survive_a_restart_and_can_be_read_again() {
    let server = Server::new(true).await;
    let mut source = server.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    server.send("a\nb\n").await;
    let mut first = next(source.as_mut(), &start).await;
    while values(&server, source.as_mut(), &first).await.len() < 2 {
        first = next(source.as_mut(), &start).await;
    }
    server.send("c\n").await;
    let second = next(source.as_mut(), &first.end).await;
    assert_eq!(values(&server, source.as_mut(), &second).await, ["c"]);
    // The process dies; only the first batch was decided.
    drop(source);
    server.hang_up().await;
    let mut source = server.source().await.unwrap();
    let position = source.start(SourceStart::Resume { snapshot: None, ranges: vec![(BatchId(0), first.clone())] }).await.unwrap();
    assert_eq!(position, first.end);
    assert_eq!(values(&server, source.as_mut(), &first).await, ["a", "b"]);
    let range = next(source.as_mut(), &position).await;
    assert_eq!(values(&server, source.as_mut(), &range).await, ["c"]);
    source.stop().await.unwrap();
    // Even if nothing was decided.
    let mut source = server.source().await.unwrap();
    let position = source.start(SourceStart::Fresh).await.unwrap();
    let range = next(source.as_mut(), &position).await;
    assert_eq!(values(&server, source.as_mut(), &range).await, ["a", "b", "c"]);
    source.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_log_what_was_not_committed_is_lost_and_nothing_comes_twice() {
    let server = Server::new(false).await;
    let mut source = server.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    server.send("a\n").await;
    let range = next(source.as_mut(), &start).await;
    drop(source);
    server.hang_up().await;
    let mut source = server.source().await.unwrap();
    let position = source.start(SourceStart::Resume { snapshot: None, ranges: vec![(BatchId(0), range.clone())] }).await.unwrap();
    assert!(values(&server, source.as_mut(), &range).await.is_empty());
    server.connected.notified().await;
    server.send("b\n").await;
    let (rows, _) = collect(&server, source.as_mut(), &position, 1).await;
    assert_eq!(rows, ["b"]);
    source.stop().await.unwrap();
}

#[tokio::test]
async fn a_fixed_end_takes_nothing_newer() {
    let server = Server::new(true).await;
    let mut source = server.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    server.send("a\n").await;
    let range = next(source.as_mut(), &start).await;
    source.fix_end().await.unwrap();
    server.send("b\n").await;
    source.wakeup().unwrap().notified().await;
    assert!(source.plan(&range.end, &Admission::default()).await.unwrap().is_none());
    source.stop().await.unwrap();
}

#[tokio::test]
async fn a_byte_limit_cuts_what_was_received_and_takes_at_least_one_piece() {
    for has_log in [false, true] {
        let server = Server::new(has_log).await;
        let mut source = server.source().await.unwrap();
        let start = source.start(SourceStart::Fresh).await.unwrap();
        // Each is received by itself, so it is a group of the log.
        for (n, line) in ["a\n", "b\n", "c\n"].into_iter().enumerate() {
            server.send(line).await;
            while source.metrics().values[0].1 != (n + 1).to_string() {
                source.wakeup().unwrap().notified().await;
            }
        }
        let mut cut = async |bytes_max: u64| {
            let (mut position, mut batches) = (start.clone(), Vec::new());
            while let Some(range) = source.plan(&position, &Admission::bytes(Some(bytes_max))).await.unwrap() {
                batches.push(values(&server, source.as_mut(), &range).await.concat());
                position = range.end;
            }
            batches
        };
        // A row counts its bytes and 32 more.
        assert_eq!(cut(1).await, ["a", "b", "c"], "{has_log}");
        assert_eq!(cut(70).await, ["ab", "c"], "{has_log}");
        assert_eq!(cut(1 << 20).await, ["abc"], "{has_log}");
        let all = source.plan(&start, &Admission::ALL).await.unwrap().unwrap();
        assert_eq!(values(&server, source.as_mut(), &all).await.concat(), "abc");
        // What a limit left is in the next range also when the first was committed, and after a restart.
        let first = source.plan(&start, &Admission::bytes(Some(1))).await.unwrap().unwrap();
        source.decided(BatchId(0), &first).await.unwrap();
        source.commit(BatchId(0), &first).await.unwrap();
        let second = source.plan(&first.end, &Admission::bytes(Some(1))).await.unwrap().unwrap();
        assert_eq!(values(&server, source.as_mut(), &second).await, ["b"]);
        source.stop().await.unwrap();
        if has_log {
            let mut source = server.source().await.unwrap();
            let resume = SourceStart::Resume { snapshot: None, ranges: vec![(BatchId(0), first), (BatchId(1), second)] };
            let position = source.start(resume).await.unwrap();
            let range = source.plan(&position, &Admission::bytes(Some(1))).await.unwrap().unwrap();
            assert_eq!(values(&server, source.as_mut(), &range).await, ["c"]);
            assert!(source.plan(&range.end, &Admission::bytes(Some(1))).await.unwrap().is_none());
            source.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn nobody_listening_is_an_error_at_start() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port().to_string();
    let (registry, _) = registry();
    let request = source_request("socket", &[("host", "127.0.0.1"), ("port", &port)], None);
    let mut source = source(&registry, request).await.unwrap();
    let error = source.start(SourceStart::Fresh).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with(&format!("cannot connect to 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn rows_say_where_they_stood_with_and_without_a_log() {
    for (has_log, expected) in [(false, RowPlaces::Numbered { first: 2, step: 1 }), (true, RowPlaces::InBlock { block: 0, first: 2 })] {
        let server = Server::new(has_log).await;
        let mut source = server.source().await.unwrap();
        let start = source.start(SourceStart::Fresh).await.unwrap();
        server.send("a\nb\n").await;
        let (_, past) = collect(&server, source.as_mut(), &start, 2).await;
        server.send("c\nd\n").await;
        let range = next(source.as_mut(), &past).await;
        let splits = source.splits(&range, 1).await.unwrap();
        let chunks = read_splits(&server.registry, &source.reader(), &splits).await.unwrap();
        assert_eq!(chunks.first().map(|chunk| chunk.places), Some(expected), "log: {has_log}");
    }
}
