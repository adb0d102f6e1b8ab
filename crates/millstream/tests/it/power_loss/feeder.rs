//! The other end of the socket job: a server of numbered lines that sends none twice. What a connection took with it is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_testkit::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(1);

/// A running server, on one port for as long as it is kept.
pub struct Feeder {
    pub port: u16,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    is_connected: bool,
    n_allowed: usize,
    n_sent: usize,
    /// The first line that went into the newest connection.
    first_of_connection: usize,
}

impl Feeder {
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let task = tokio::spawn(serve(listener, Arc::clone(&shared), Rng::new(seed)));
        Self { port, shared, task }
    }

    /// Lets so many more lines go out.
    pub fn allow(&self, n: usize) {
        self.shared.lock().unwrap().n_allowed += n;
    }

    /// Until nobody is connected: what may go out from now on is for the next run.
    pub async fn hung_up(&self) {
        while self.shared.lock().unwrap().is_connected {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many lines of the newest connection went out, if all did that may.
    pub fn n_sent_if_all(&self) -> Option<usize> {
        let shared = self.shared.lock().unwrap();
        (shared.n_sent == shared.n_allowed).then(|| shared.n_sent - shared.first_of_connection)
    }

    /// The lines that went out, and the first of the newest connection.
    pub fn sent(&self) -> (usize, usize) {
        let shared = self.shared.lock().unwrap();
        (shared.n_sent, shared.first_of_connection)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Line number `idx`: it tells by itself whether it is whole. The front of some is no number, so that the query fails.
pub fn line(idx: usize) -> String {
    let front = if idx % 7 == 3 { format!("x{idx:05}") } else { format!("{idx:06}") };
    format!("{front}:{}:{idx:06}", "x".repeat(idx * 31 % 60))
}

/// The number of a line, if it is whole.
pub fn idx_of(text: &str) -> Option<usize> {
    let idx = text.rsplit(':').next()?.parse().ok()?;
    (line(idx) == text).then_some(idx)
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>, mut rng: Rng) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        {
            let mut shared = shared.lock().unwrap();
            shared.first_of_connection = shared.n_sent;
            shared.is_connected = true;
        }
        feed(connection, &shared, &mut rng).await;
        shared.lock().unwrap().is_connected = false;
    }
}

/// Feeds one connection until it breaks.
async fn feed(mut connection: TcpStream, shared: &Mutex<Shared>, rng: &mut Rng) {
    connection.set_nodelay(true).unwrap();
    loop {
        // Nobody writes to us: a read that ends tells that the other side is gone.
        if tokio::time::timeout(PAUSE, connection.read_u8()).await.is_ok() {
            return;
        }
        let mut bytes = Vec::new();
        {
            let mut shared = shared.lock().unwrap();
            let burst = (shared.n_allowed - shared.n_sent).min(1 + rng.index(12));
            for idx in shared.n_sent..shared.n_sent + burst {
                bytes.extend_from_slice(format!("{}\n", line(idx)).as_bytes());
            }
            shared.n_sent += burst;
        }
        // In two pieces, so that the end can fall within a line.
        let (head, tail) = bytes.split_at(rng.index(bytes.len() + 1));
        for piece in [head, tail] {
            if connection.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
