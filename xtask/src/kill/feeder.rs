//! The other end of the socket job: a server that sends numbered lines to whoever connects, and never a line twice.
//!
//! What was sent into a connection that died is lost, as with any plain socket; so a run's verdict is about gaps, and
//! the feeder tells where its connections ended. It sends only so many lines to one connection, or a fast process
//! would take them all before it can be killed.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::rng::Rng;
use crate::run::Outcome;

const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running feeder.
pub struct Feeder {
    pub port: u16,
    shared: Arc<Shared>,
    thread: JoinHandle<Outcome>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Lines that went, whole or not, into a connection.
    sent: AtomicUsize,
    /// Lines that may go.
    allowed: AtomicUsize,
    /// `sent` at the end of each connection.
    ends: Mutex<Vec<usize>>,
}

/// Line number `idx`; it tells by itself whether it is whole.
pub fn line(idx: usize, rng: &mut Rng) -> String {
    let body = "x".repeat(usize::try_from(rng.range(0, 80)).unwrap_or(0));
    format!("{idx:06}:{body}:{idx:06}")
}

impl Feeder {
    /// Listens on a free port of loopback and feeds `lines`, none of them before [`Feeder::allow`].
    pub fn start(lines: Vec<String>, mut rng: Rng) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no free port on loopback: {e}"))?;
        let port = listener.local_addr().map_err(|e| format!("no free port on loopback: {e}"))?.port();
        listener.set_nonblocking(true).map_err(|e| format!("cannot listen without blocking: {e}"))?;
        let shared = Arc::new(Shared::default());
        let ours = shared.clone();
        let thread = std::thread::spawn(move || {
            while !ours.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((connection, _)) => ours.feed(connection, &lines, &mut rng)?,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(LOOK_EVERY),
                    Err(e) => return Err(format!("the feeder cannot accept: {e}")),
                }
            }
            Ok(())
        });
        Ok(Self { port, shared, thread })
    }

    /// Lets the feeder send until `n` lines are out in all.
    pub fn allow(&self, n: usize) {
        self.shared.allowed.store(n, Ordering::Relaxed);
    }

    /// How many lines went out.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Stops; returns how many lines were out at the end of each connection.
    pub fn stop(self) -> Outcome<Vec<usize>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the feeder panicked".to_owned())??;
        self.shared.ends.lock().map(|ends| ends.clone()).map_err(|_| "the feeder panicked".to_owned())
    }
}

impl Shared {
    /// Feeds one connection until it breaks.
    fn feed(&self, mut connection: TcpStream, lines: &[String], rng: &mut Rng) -> Outcome {
        connection.set_nodelay(true).and_then(|()| connection.set_nonblocking(false)).map_err(|e| format!("the feeder's socket: {e}"))?;
        connection.set_read_timeout(Some(LOOK_EVERY)).map_err(|e| format!("the feeder's socket: {e}"))?;
        let mut open = true;
        while open && !self.stop.load(Ordering::Relaxed) {
            let allowed = self.allowed.load(Ordering::Relaxed).min(lines.len());
            let burst = usize::try_from(rng.range(1, 30)).unwrap_or(1);
            let from = self.sent.load(Ordering::Relaxed);
            for line in lines.get(from..allowed.min(from + burst)).unwrap_or_default() {
                self.sent.fetch_add(1, Ordering::Relaxed);
                // At times in two pieces, so that a kill can fall within a line.
                let (head, tail) = line.split_at(if rng.one_in(4) { line.len() / 2 } else { line.len() });
                open = connection
                    .write_all(head.as_bytes())
                    .and_then(|()| connection.write_all(tail.as_bytes()))
                    .and_then(|()| connection.write_all(b"\n"))
                    .is_ok();
                if !open {
                    break;
                }
            }
            // Nobody writes to us: a read that ends tells that the other side is gone.
            open = open && std::io::Read::read(&mut connection, &mut [0; 16]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            std::thread::sleep(Duration::from_micros(rng.range(0, 4000)));
        }
        let sent = self.sent.load(Ordering::Relaxed);
        self.ends.lock().map_err(|_| "the feeder panicked".to_owned())?.push(sent);
        Ok(())
    }
}

/// Judges the lines that came out against those that went in: none twice, none torn, none invented; the missing ones
/// are rows that were still in TCP, so each gap must end where a connection ended.
pub fn verdict(lines: &[String], ends: &[usize], got: &[String]) -> Outcome {
    let mut there = vec![false; lines.len()];
    for line in got {
        let idx = line.get(..6).and_then(|n| n.parse::<usize>().ok());
        let whole = idx.and_then(|idx| lines.get(idx)).is_some_and(|sent| sent == line);
        match idx.and_then(|idx| there.get_mut(idx)) {
            Some(seen) if whole && !*seen => *seen = true,
            Some(_) if whole => return Err(format!("line twice: {line:?}")),
            _ => return Err(format!("torn or invented line: {line:?}")),
        }
    }
    for (idx, pair) in there.windows(2).enumerate() {
        if *pair == [false, true] && !ends.contains(&(idx + 1)) {
            return Err(format!("line {idx} is missing, and no connection ended there (they ended at {ends:?})"));
        }
    }
    match there.last() {
        Some(false) => Err("the last line is missing, and its connection never broke".to_owned()),
        _ => Ok(()),
    }
}
