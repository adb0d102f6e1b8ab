//! Processing time, passed in. Event time never comes from here.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

/// The processing-time clock of a process; tests move theirs by hand (`testkit::ManualClock`).
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since 1970-01-01T00:00:00Z. May jump; durations come from [`Clock::monotonic`].
    fn now_proc_us(&self) -> i64;

    /// Time since an arbitrary start that never goes back, for measuring durations.
    fn monotonic(&self) -> Duration;

    /// Sleeps for `duration` of this clock.
    async fn sleep(&self, duration: Duration);

    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_proc_ms(&self) -> i64 {
        self.now_proc_us().div_euclid(1000)
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
    fn now_proc_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
