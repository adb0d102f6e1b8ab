//! Posts out of thin air, on a socket: 1,000 a second, each with two of 10,000 tags, few of which are popular.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream::{Error, Result};

const PER_TICK: u32 = 20;
const TICK: Duration = Duration::from_millis(20);
const N_TAGS: f64 = 10_000.0;

/// Listens on a free port of loopback and writes posts to whoever connects.
pub fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A reader that goes away ends its posts, not ours.
            let _ended = write_posts(stream);
        }
    });
    Ok(address)
}

// The time of posts is the world's, not the engine's.
#[allow(clippy::disallowed_methods)]
fn write_posts(mut stream: TcpStream) -> Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| Error::internal(error.to_string()))?.as_millis();
        let mut lines = String::new();
        for _ in 0..PER_TICK {
            let (one, other) = (random.tag(), random.tag());
            lines.push_str(&format!("{{\"at\":{now},\"text\":\"have you seen #tag{one} and #tag{other}?\"}}\n"));
        }
        stream.write_all(lines.as_bytes())?;
        std::thread::sleep(TICK);
    }
}

/// Xorshift: enough for an example.
struct Random(u64);

impl Random {
    /// A tag's number: the smaller, the more frequent.
    fn tag(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[allow(clippy::cast_precision_loss)]
        let uniform = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let tag = N_TAGS.powf(uniform) as u32;
        tag
    }
}
