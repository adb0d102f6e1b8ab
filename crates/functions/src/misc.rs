//! Functions that raise errors on purpose, and the version that the engine is compatible with.

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::data;
use crate::rows::{boolean, text, text_rows};

/// The Spark version whose answers are given.
pub const SPARK_VERSION: &str = "4.3.0";

/// `assert_true`, `raise_error`, `version`.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("assert_true", &[Arg::Boolean, Arg::String], Returns::Null, |call| {
        let conditions = call.booleans(0)?;
        let failed = (0..call.n_rows()).find(|row| boolean(&conditions, *row) != Some(true));
        match failed {
            Some(row) => Err(raised(call, 1, row, "the condition of assert_true is not true")?),
            None => Ok(new_null_array(&DataType::Null, call.n_rows())),
        }
    })
    .min(1)
    .lenient(),
    FunctionDef::new("raise_error", &[Arg::String], Returns::Null, |call| {
        if call.n_rows() == 0 {
            return Ok(new_null_array(&DataType::Null, 0));
        }
        Err(raised(call, 0, 0, "raise_error")?)
    })
    .lenient(),
    FunctionDef::new("version", &[], Returns::String, version),
];

fn raised(call: &Call<'_>, idx: usize, row: usize, default: &str) -> Result<datafusion::common::DataFusionError> {
    let message = if idx < call.len() { text(&call.strings(idx)?, row).map(str::to_string) } else { None };
    Ok(data("USER_RAISED_EXCEPTION", message.unwrap_or_else(|| default.to_string())))
}

fn version(call: &Call<'_>) -> Result<ArrayRef> {
    text_rows(call.n_rows(), |_, out| {
        out.push_str(SPARK_VERSION);
        Ok(true)
    })
}
