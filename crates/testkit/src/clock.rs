//! A clock that tests move by hand. Never asks the machine for the time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::Clock;
use tokio::sync::watch;

/// Stands still until [`ManualClock::advance`]; sleepers wake when it has passed their time.
#[derive(Debug)]
pub struct ManualClock {
    now_us: Mutex<i64>,
    elapsed: watch::Sender<Duration>,
}

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self { now_us: Mutex::new(now_ms * 1000), elapsed: watch::Sender::new(Duration::ZERO) }
    }

    /// Moves both the wall clock and the monotonic one.
    pub fn advance(&self, by: Duration) {
        let by_us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        *self.now_us.lock().unwrap_or_else(PoisonError::into_inner) += by_us;
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }

    /// Sets the wall clock alone: it may jump, also back.
    pub fn set_wall_ms(&self, now_ms: i64) {
        *self.now_us.lock().unwrap_or_else(PoisonError::into_inner) = now_ms * 1000;
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_proc_us(&self) -> i64 {
        *self.now_us.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.monotonic() + duration;
        // The sender lives as long as this clock, so waiting cannot fail while somebody holds it.
        let _ = self.elapsed.subscribe().wait_for(|elapsed| *elapsed >= until).await;
    }
}
