//! Options of the `rate` source.

use millstream_core::{Error, OptionSpec, Options, Result};

/// What the source knows.
pub(crate) const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new("rowsPerSecond", "rows per second, default 1"),
    OptionSpec::new("rampUpTime", "how long the rate grows to rowsPerSecond, in whole seconds, default 0s"),
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
        if rows_per_second == 0 {
            return Err(Error::invalid("option 'rowsPerSecond' is 0: expected a positive number"));
        }
        let ramp_up_s = options.get_duration("rampUpTime")?.map_or(0, |length| length.as_secs());
        let num_partitions = options.get_u64("numPartitions")?;
        if num_partitions == Some(0) {
            return Err(Error::invalid("option 'numPartitions' is 0: expected a positive number"));
        }
        Ok(Self { rows_per_second, ramp_up_s, num_partitions })
    }

    /// How many rows exist `seconds` after the start: linear growth during the ramp, as Spark computes it.
    pub fn rows_at(&self, seconds: u64) -> Result<u64> {
        let speed_delta = self.rows_per_second / (self.ramp_up_s + 1);
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
        rows.filter(|rows| i64::try_from(*rows).is_ok())
            .ok_or_else(|| Error::invalid(format!("'rowsPerSecond' {} overflows after {seconds} s", self.rows_per_second)))
    }
}
