//! The state of one group while a user's function looks at it: `GroupState`, with Spark's rules.
//!
//! A state is one row of the declared columns, or none. What the function changes is taken over after the call, whole; a
//! timeout holds until the next call for the group, which has to set it again.

use std::time::Duration;

use arrow::datatypes::Fields;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use millstream_core::{Error, Result};

/// When a group is called although it has no new rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum GroupStateTimeout {
    /// Never; nothing is late and nothing is forgotten but by the function.
    #[default]
    None,
    /// When the clock of a batch is beyond the deadline.
    ProcessingTime,
    /// When the watermark is beyond the deadline. Late rows are dropped.
    EventTime,
}

impl GroupStateTimeout {
    /// Spark's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NoTimeout",
            Self::ProcessingTime => "ProcessingTimeTimeout",
            Self::EventTime => "EventTimeTimeout",
        }
    }
}

/// What time it is for the groups of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTimes {
    /// The watermark; `None` over input without one. Over finished data it is -1, as in Spark.
    pub watermark_event_ms: Option<i64>,
    /// The watermark that a timeout must not be before; over finished data there is none.
    pub earliest_event_ms: Option<i64>,
    /// The batch's clock.
    pub now_proc_ms: i64,
}

/// The state of a group. See the module's documentation.
#[derive(Debug)]
pub struct GroupState {
    columns: Fields,
    value: Option<Vec<ScalarValue>>,
    timeout: GroupStateTimeout,
    times: GroupTimes,
    has_timed_out: bool,
    is_updated: bool,
    is_removed: bool,
    deadline_ms: Option<i64>,
}

/// What a call has made of a group's state.
#[derive(Debug, PartialEq)]
pub struct GroupOutcome {
    /// The state, if there is one.
    pub value: Option<Vec<ScalarValue>>,
    /// When the group times out.
    pub deadline_ms: Option<i64>,
    /// Whether the function has given it this state, or taken it away.
    pub is_touched: bool,
}

impl GroupState {
    /// The state of a group before a call.
    pub fn new(
        columns: &Fields,
        value: Option<Vec<ScalarValue>>,
        timeout: GroupStateTimeout,
        times: GroupTimes,
        has_timed_out: bool,
    ) -> Self {
        let columns = Fields::clone(columns);
        Self { columns, value, timeout, times, has_timed_out, is_updated: false, is_removed: false, deadline_ms: None }
    }

    /// Whether the group has a state.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The state, in the order of the declared columns.
    pub fn get(&self) -> Option<&[ScalarValue]> {
        self.value.as_deref()
    }

    /// One column of the state as a number or a boolean: `None` if there is no state, or the value is null.
    pub fn value<T: TryFrom<ScalarValue, Error = DataFusionError>>(&self, column: &str) -> Result<Option<T>> {
        let value = self.known(column)?.map(|value| T::try_from(value.clone()));
        value.transpose().map_err(|error| Error::invalid(format!("state column '{column}': {}", error.strip_backtrace())))
    }

    /// One column of the state as text: `None` if there is no state, or the value is null.
    pub fn text(&self, column: &str) -> Result<Option<&str>> {
        let Some(value) = self.known(column)? else { return Ok(None) };
        let text = value.try_as_str().flatten();
        text.map(Some).ok_or_else(|| Error::invalid(format!("state column '{column}' is {} and no text", value.data_type())))
    }

    /// A column's value, if there is one.
    fn known(&self, column: &str) -> Result<Option<&ScalarValue>> {
        let idx = self.columns.iter().position(|field| field.name() == column);
        let idx = idx.ok_or_else(|| Error::invalid(format!("the state has no column '{column}', only {}", names(&self.columns))))?;
        Ok(self.value.as_ref().and_then(|value| value.get(idx)).filter(|value| !value.is_null()))
    }

    /// Gives the group a state: one value per declared column, of its type or [`ScalarValue::Null`].
    pub fn update(&mut self, values: impl IntoIterator<Item = ScalarValue>) -> Result<()> {
        let values: Vec<ScalarValue> = values.into_iter().collect();
        if values.len() != self.columns.len() {
            return Err(Error::invalid(format!(
                "the state has {} columns ({}) and was updated with {} values",
                self.columns.len(),
                names(&self.columns),
                values.len()
            )));
        }
        let typed = values.into_iter().zip(&self.columns).map(|(value, field)| {
            if matches!(value, ScalarValue::Null) {
                let null = ScalarValue::try_from(field.data_type());
                return null.map_err(|error| Error::internal(format!("state column '{}': {error}", field.name())));
            }
            if value.data_type() != *field.data_type() {
                let (name, wanted, found) = (field.name(), field.data_type(), value.data_type());
                return Err(Error::invalid(format!("state column '{name}' is {wanted} and was updated with a value of type {found}")));
            }
            Ok(value)
        });
        self.value = Some(typed.collect::<Result<_>>()?);
        (self.is_updated, self.is_removed) = (true, false);
        Ok(())
    }

    /// Takes the group's state away. A timeout that was set stays set.
    pub fn remove(&mut self) {
        self.value = None;
        (self.is_updated, self.is_removed) = (false, true);
    }

    /// Whether the group is called because its time is over; it has no new rows then.
    pub fn has_timed_out(&self) -> bool {
        self.has_timed_out
    }

    /// Calls the group again when it has no rows until then, by the clock of the batches.
    pub fn set_timeout_duration(&mut self, duration: Duration) -> Result<()> {
        if self.timeout != GroupStateTimeout::ProcessingTime {
            return Err(Error::invalid("a timeout by duration needs GroupStateTimeout::ProcessingTime").code("_LEGACY_ERROR_TEMP_2203"));
        }
        let duration_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        if duration_ms == 0 {
            return Err(Error::invalid("the duration of a timeout must be a millisecond or more"));
        }
        self.deadline_ms = Some(self.times.now_proc_ms.saturating_add(duration_ms));
        Ok(())
    }

    /// Calls the group again when it has no rows until the watermark is beyond `event_ms`.
    pub fn set_timeout_timestamp(&mut self, event_ms: i64) -> Result<()> {
        if self.timeout != GroupStateTimeout::EventTime {
            return Err(Error::invalid("a timeout by timestamp needs GroupStateTimeout::EventTime").code("_LEGACY_ERROR_TEMP_2205"));
        }
        if event_ms <= 0 {
            return Err(Error::invalid(format!("the timestamp of a timeout must be positive, and is {event_ms}")));
        }
        if let Some(watermark_ms) = self.times.earliest_event_ms.filter(|watermark_ms| event_ms < *watermark_ms) {
            return Err(Error::invalid(format!(
                "the timestamp of a timeout ({event_ms}) cannot be earlier than the current watermark ({watermark_ms})"
            )));
        }
        self.deadline_ms = Some(event_ms);
        Ok(())
    }

    /// The watermark of the batch, milliseconds.
    pub fn current_watermark_ms(&self) -> Result<i64> {
        self.times.watermark_event_ms.ok_or_else(|| {
            Error::invalid("there is no watermark to ask for: the input of the function has none").code("_LEGACY_ERROR_TEMP_2204")
        })
    }

    /// The clock of the batch, milliseconds: the same for all groups, and again when the batch runs again.
    pub fn current_processing_time_ms(&self) -> i64 {
        self.times.now_proc_ms
    }

    /// What is left after the call.
    pub fn into_outcome(self) -> GroupOutcome {
        GroupOutcome { value: self.value, deadline_ms: self.deadline_ms, is_touched: self.is_updated || self.is_removed }
    }
}

fn names(columns: &Fields) -> String {
    columns.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
