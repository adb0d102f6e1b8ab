//! When the next micro-batch begins.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use millstream_core::options::parse_duration;
use millstream_core::{Error, Result};

/// Spark's triggers: <https://spark.apache.org/docs/latest/streaming/apis-on-dataframes-and-datasets.html#triggers>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trigger {
    /// The next batch begins as soon as the last one ended and there is data.
    #[default]
    AsSoonAsPossible,
    /// Batches begin at multiples of the interval; a late one begins at once.
    ProcessingTime(Duration),
    /// One batch with all there is, whatever the limits, then the query ends.
    Once,
    /// All there is at the start, in as many batches as the limits make, then the query ends.
    AvailableNow,
}

impl Trigger {
    /// Whether the query ends by itself.
    pub fn is_bounded(self) -> bool {
        matches!(self, Self::Once | Self::AvailableNow)
    }
}

impl FromStr for Trigger {
    type Err = Error;

    /// `available-now`, `once`, `default`, or an interval such as `10 seconds` (also written `processing-time 10 seconds`).
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.replace(['-', '_', ' '], "").as_str() {
            "availablenow" => return Ok(Self::AvailableNow),
            "once" => return Ok(Self::Once),
            "default" | "" => return Ok(Self::AsSoonAsPossible),
            _ => {}
        }
        if lower.starts_with("continuous") || lower.starts_with("real") {
            return Err(Error::unsupported(format!("trigger '{text}'")).hint("the default trigger commits within milliseconds"));
        }
        let interval = ["processing-time", "processingtime", "every"].iter().find_map(|word| lower.strip_prefix(word)).unwrap_or(&lower);
        match parse_duration(interval.trim_matches([' ', '=', ':', '\'', '"'])) {
            Some(Duration::ZERO) => Ok(Self::AsSoonAsPossible),
            Some(interval) => Ok(Self::ProcessingTime(interval)),
            None => Err(Error::invalid(format!("trigger '{text}' is not available-now, once, default or an interval such as 10 seconds"))),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsSoonAsPossible => f.write_str("default"),
            Self::ProcessingTime(interval) => write!(f, "{} ms", interval.as_millis()),
            Self::Once => f.write_str("once"),
            Self::AvailableNow => f.write_str("available-now"),
        }
    }
}

/// How long until the next multiple of `interval` on the clock (Spark's `ProcessingTimeExecutor`).
pub fn until_next_tick(now_proc_ms: i64, interval: Duration) -> Duration {
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let next = now_proc_ms.div_euclid(interval_ms).saturating_add(1).saturating_mul(interval_ms);
    Duration::from_millis(u64::try_from(next.saturating_sub(now_proc_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
