//! Event time in a batch: the watermarks it runs under, and the event times it saw.
//!
//! Event time is in milliseconds here, as watermarks are; columns have microseconds, hence the `_us` forms.

/// The watermark behind the last row of all: everything is final. Bounded input that is flushed ends with it.
pub const END_OF_TIME_MS: i64 = i64::MAX;

/// The watermarks that decide in one batch: event time, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchWatermarks {
    /// The one that was in force in the batch before: a row whose event time is not above it is late.
    pub late_ms: i64,
    /// The one in force in this batch: what ends at or before it is final, and leaves the state.
    pub current_ms: i64,
}

impl BatchWatermarks {
    /// Where every stream begins: the epoch, as in Spark.
    pub const EPOCH: Self = Self { late_ms: 0, current_ms: 0 };

    /// Of a query over finished data: before all time, so that nothing is late and nothing leaves before the end.
    pub const NONE: Self = Self { late_ms: i64::MIN, current_ms: i64::MIN };

    /// Whether the batch is the flush at the end of bounded input.
    pub fn is_flush(self) -> bool {
        self.current_ms == END_OF_TIME_MS
    }

    /// What decides above joins whose rows wait for each other: event times may be `lag_ms` behind the watermark there. As in
    /// Spark never before the epoch; a flush makes everything final.
    #[must_use]
    pub fn lagging(self, lag_ms: i64) -> Self {
        let behind = |ms: i64| if lag_ms == 0 || ms == END_OF_TIME_MS { ms } else { ms.saturating_sub(lag_ms).max(ms.min(0)) };
        Self { late_ms: behind(self.late_ms), current_ms: behind(self.current_ms) }
    }

    /// `late_ms` in microseconds, for comparison with columns.
    pub fn late_us(self) -> i64 {
        self.late_ms.saturating_mul(1000)
    }

    /// `current_ms` in microseconds, for comparison with columns.
    pub fn current_us(self) -> i64 {
        self.current_ms.saturating_mul(1000)
    }
}

/// The event times that one watermark node saw in a batch. Rows without event time are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimeStats {
    /// The latest, milliseconds.
    pub max_event_ms: i64,
    /// The earliest, milliseconds.
    pub min_event_ms: i64,
    /// Their sum, milliseconds.
    pub sum_event_ms: i128,
    /// How many rows have one.
    pub n_rows: u64,
}

impl EventTimeStats {
    /// Of one row.
    pub fn of(event_ms: i64) -> Self {
        Self { max_event_ms: event_ms, min_event_ms: event_ms, sum_event_ms: event_ms.into(), n_rows: 1 }
    }

    /// Adds the rows of another task.
    pub fn add(&mut self, other: Self) {
        self.max_event_ms = self.max_event_ms.max(other.max_event_ms);
        self.min_event_ms = self.min_event_ms.min(other.min_event_ms);
        self.sum_event_ms += other.sum_event_ms;
        self.n_rows += other.n_rows;
    }

    /// Their mean, without what is behind the millisecond.
    pub fn avg_event_ms(&self) -> i64 {
        i64::try_from(self.sum_event_ms / i128::from(self.n_rows.max(1))).unwrap_or(i64::MAX)
    }
}
