//! One call of a user's function: what comes in is a group, what comes out is checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::kernels::aggregate::min;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use millstream_analyzer::streaming::{GroupOutcome, GroupRows, GroupState, GroupTimes, StateFunction};
use millstream_core::{Error, Result};

use crate::error::{from_datafusion, panic_text};
use crate::physical::event_time::event_times_us;

/// Calls the function of one operator in one batch.
pub struct Caller {
    pub operator: String,
    pub function: Arc<StateFunction>,
    pub times: GroupTimes,
    /// What the plan calls the output.
    pub schema: SchemaRef,
    /// The output column with the event time, and the watermark behind which a row would be late.
    pub event_time: Option<(usize, i64)>,
}

/// Why a group is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Rows,
    Timeout,
}

impl Caller {
    /// Calls the function for a group; gives its rows and what it made of the state.
    pub fn call(
        &self,
        key: &[ScalarValue],
        rows: &[RecordBatch],
        state: Option<Vec<ScalarValue>>,
        reason: Reason,
    ) -> Result<(Vec<RecordBatch>, GroupOutcome)> {
        let function = &self.function;
        let mut state = GroupState::new(&function.state, state, function.timeout, self.times, reason == Reason::Timeout);
        let given = catch_unwind(AssertUnwindSafe(|| (function.function)(key, rows, &mut state)));
        let given = match given {
            Ok(Ok(given)) => given,
            Ok(Err(error)) => return Err(self.failed(Error::new(error.kind(), error.message().to_owned()), "failed").caused_by(error)),
            Err(panic) => return Err(self.failed(Error::internal(panic_text(panic.as_ref())), "panicked")),
        };
        let given = given.iter().map(|rows| self.checked(rows)).collect::<Result<Vec<_>>>()?;
        let n_rows: usize = given.iter().map(RecordBatch::num_rows).sum();
        if function.rows == GroupRows::One && n_rows != 1 {
            return Err(self.failed(Error::invalid(format!("it gave {n_rows} rows for a group, not one")), "failed"));
        }
        Ok((given, state.into_outcome()))
    }

    fn failed(&self, error: Error, how: &str) -> Error {
        let message = format!("the function '{}' of operator '{}' {how}: {}", self.function.name, self.operator, error.message());
        Error::new(error.kind(), message).code("FLATMAPGROUPSWITHSTATE_USER_FUNCTION_ERROR")
    }

    /// The rows with the plan's names, if they are what was declared.
    fn checked(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let (found, declared) = (rows.schema(), &self.function.output);
        let fits = found.fields().len() == declared.len()
            && found.fields().iter().zip(declared).all(|(found, declared)| {
                // The types say all that counts: names are the declared ones, and any column may hold nulls.
                found.data_type().equals_datatype(declared.data_type())
            });
        if !fits {
            let shown = |fields: &arrow::datatypes::Fields| {
                fields.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
            };
            let what = format!("it gave rows of ({}), and declares ({})", shown(found.fields()), shown(declared));
            return Err(self.failed(Error::invalid(what), "failed"));
        }
        if let Some((column, late_us)) = self.event_time {
            let times = rows.columns().get(column).ok_or_else(|| Error::internal("rows without their event time"))?;
            if let Some(earliest_us) = min(&event_times_us(times)?).filter(|earliest_us| *earliest_us <= late_us) {
                return Err(Error::invalid(format!(
                    "the function '{}' of operator '{}' gave a row whose event time, {} ms, is at or before the watermark, {} ms: the \
                     operators above would drop it as late",
                    self.function.name,
                    self.operator,
                    earliest_us.div_euclid(1000),
                    late_us.div_euclid(1000)
                ))
                .code("EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED")
                .hint("give rows a time after current_watermark_ms()"));
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), rows.columns().to_vec())?)
    }
}

/// One row of the keys.
pub fn key_at(keys: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    keys.iter().map(|key| ScalarValue::try_from_array(key, row).map_err(from_datafusion)).collect()
}
