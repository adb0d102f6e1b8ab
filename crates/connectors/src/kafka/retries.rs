//! How long what may pass is waited for: a question is asked again, a call goes on, a record waits for its place.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Clock, Error};

use super::client::ClientNews;

/// Without a number of attempts a question is asked again for so long: a broker that restarts is back by then.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a question is asked again after a failure that may pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retries {
    /// So often at most; without a number for as long as leaders take to change, with pauses that grow.
    pub(super) n_max: Option<u64>,
    /// The first pause.
    pub(super) interval: Duration,
}

impl Retries {
    /// The pause before the next attempt; `None`: no more. `n_failed` is how many were made, in the time `since_first`.
    pub(super) fn pause(self, n_failed: u32, since_first: Duration) -> Option<Duration> {
        match self.n_max {
            Some(n_max) => (u64::from(n_failed) <= n_max).then_some(self.interval),
            None => {
                (since_first < ANSWER_WITHIN).then(|| self.interval.saturating_mul(1 << n_failed.saturating_sub(1).min(16)).min(PAUSE_MAX))
            }
        }
    }
}

/// The time that a client is given for what it does by itself.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    news: &'a ClientNews,
    clock: &'a Arc<dyn Clock>,
    begun: Duration,
    at_most: Duration,
}

/// Why there is no use in waiting longer.
#[derive(Debug)]
pub(super) enum GivenUp {
    /// The client has a trouble that does not pass.
    Lasting(Error),
    TooLong,
}

impl<'a> Patience<'a> {
    pub(super) fn new(news: &'a ClientNews, clock: &'a Arc<dyn Clock>, at_most: Duration) -> Self {
        Self { news, clock, begun: clock.monotonic(), at_most }
    }

    /// Whether to wait longer.
    pub(super) fn lasts(&self) -> Result<(), GivenUp> {
        match self.news.lasting_trouble() {
            Some(lasting) => Err(GivenUp::Lasting(lasting)),
            None if self.clock.monotonic().saturating_sub(self.begun) >= self.at_most => Err(GivenUp::TooLong),
            None => Ok(()),
        }
    }
}
