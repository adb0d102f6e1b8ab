//! Options of the `rate` source.

use millstream_core::{Error, OptionSpec, Options, Result};

/// What the source knows.
pub(crate) const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new("rowsPerSecond", "rows per second, default 1"),
    OptionSpec::new(
        "rampUpTime",
        "how long the rate grows to rowsPerSecond: 5s, 2m, a bare number is seconds; whole seconds count, default 0s",
    ),
    OptionSpec::new("numPartitions", "splits per batch, default the parallelism"),
];

/// The options, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateOptions {
    /// Rows per second after the ramp.
    pub rows_per_second: u64,
    /// The length of the ramp.
    pub ramp_up_s: u64,
    /// Splits per batch.
    pub num_partitions: Option<u64>,
}

impl RateOptions {
    /// Reads and checks.
    pub fn parse(options: &Options) -> Result<Self> {
        options.check("rate source", &OPTIONS)?;
        let rows_per_second = options.get_u64("rowsPerSecond")?.unwrap_or(1);
        if rows_per_second == 0 || i64::try_from(rows_per_second).is_err() {
            return Err(Error::invalid(format!("option 'rowsPerSecond' is {rows_per_second}: expected a positive BIGINT")));
        }
        let ramp_up_s = ramp_up_seconds(options)?;
        let seconds_max = i64::MAX as u64 / rows_per_second;
        if ramp_up_s > seconds_max {
            return Err(Error::invalid(format!(
                "max offset with {rows_per_second} rowsPerSecond is {seconds_max}, but 'rampUpTimeSeconds' is {ramp_up_s}"
            ))
            .code("INCORRECT_RAMP_UP_RATE"));
        }
        let num_partitions = options.get_u64("numPartitions")?;
        if num_partitions == Some(0) {
            return Err(Error::invalid("option 'numPartitions' is 0: expected a positive number"));
        }
        Ok(Self { rows_per_second, ramp_up_s, num_partitions })
    }

    /// How many rows exist `seconds` after the start: linear growth during the ramp, as Spark computes it.
    pub fn rows_at(&self, seconds: u64) -> Result<u64> {
        let speed_delta = self.rows_per_second / self.ramp_up_s.saturating_add(1);
        let ramp = |s: u64| {
            // The sum of the speeds delta, 2 delta, ... : s (s + 1) / 2, halved before multiplying.
            let (a, b) = if s.is_multiple_of(2) { (s / 2, s + 1) } else { (s, s.div_ceil(2)) };
            a.checked_mul(b)?.checked_mul(speed_delta)
        };
        let rows = if seconds <= self.ramp_up_s {
            ramp(seconds)
        } else {
            let flat = (seconds - self.ramp_up_s).checked_mul(self.rows_per_second);
            ramp(self.ramp_up_s).zip(flat).and_then(|(ramp, flat)| ramp.checked_add(flat))
        };
        rows.filter(|rows| i64::try_from(*rows).is_ok()).ok_or_else(|| {
            let seconds_max = i64::MAX as u64 / self.rows_per_second;
            Error::invalid(format!("max offset with {} rowsPerSecond is {seconds_max}, but it's {seconds} now", self.rows_per_second))
                .code("INCORRECT_END_OFFSET")
        })
    }
}

/// Unlike other lengths of time a bare number is seconds, as in Spark.
fn ramp_up_seconds(options: &Options) -> Result<u64> {
    const NAME: &str = "rampUpTime";
    match options.get(NAME) {
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| Error::invalid(format!("option '{NAME}' is '{text}': too large")))
        }
        _ => Ok(options.get_duration(NAME)?.map_or(0, |length| length.as_secs())),
    }
}
