//! How many records a batch may take so that it ends within a target time (`targetBatchDuration`).
//!
//! The controller is the one that Spark's DStreams limit their receivers by (`PIDRateEstimator`, with its constants; the
//! derivative's is 0 there, so its term is left out): a batch of n records that took t shows a rate of n / t, and the next one
//! may take what that rate gives in the target time. What a batch took beyond its target counts like the time that a batch
//! of DStreams had to wait: a part of it is taken off the next one. Pure arithmetic; the loop measures.

use std::time::Duration;

/// How much of the difference between the estimate and what a batch showed is taken over.
const PROPORTIONAL: f64 = 1.0;
/// How much of what a batch took too long is taken off.
const INTEGRAL: f64 = 0.2;
/// Records per second that are always admitted, so that a batch which stood still does not stop the query.
const RATE_MIN: f64 = 100.0;
/// Records per second of the first batch, of which nothing is known.
const FIRST_RATE: f64 = 10_000.0;

/// The controller of one stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    target: Duration,
    /// Records per second; `None` before the first batch.
    rate: Option<f64>,
}

impl Pace {
    pub(super) fn new(target: Duration) -> Self {
        Self { target, rate: None }
    }

    /// How many records the next batch may take.
    pub(super) fn records_max(&self) -> u64 {
        let records = self.rate.unwrap_or(FIRST_RATE) * self.target.as_secs_f64();
        // A float becomes the nearest whole number that there is.
        records.max(1.0) as u64
    }

    /// A batch of so many records took so long, from its trigger to its prepared record.
    pub(super) fn batch_ran(&mut self, n_records: u64, took: Duration) {
        if n_records == 0 || took.is_zero() || self.target.is_zero() {
            return;
        }
        let shown = n_records as f64 / took.as_secs_f64();
        let rate = match self.rate {
            None => shown,
            Some(latest) => {
                let overrun = took.saturating_sub(self.target).as_secs_f64() / self.target.as_secs_f64();
                latest - PROPORTIONAL * (latest - shown) - INTEGRAL * overrun * shown
            }
        };
        self.rate = Some(rate.max(RATE_MIN));
    }
}

#[cfg(test)]
mod tests;
