//! Options of a function: its last argument, a map of strings. The analyzer has them checked before the query starts
//! ([`FunctionDef::check_options`](crate::FunctionDef::check_options)); kernels read them per batch.

use arrow::array::{Array, ArrayRef, AsArray};
use datafusion::common::Result;
use millstream_core::Options;

use crate::def::Call;
use crate::error::invalid;

/// The options in argument `idx`; none if the call has no such argument.
pub(crate) fn options_of(call: &Call<'_>, idx: usize) -> Result<Options> {
    // The last argument is the time zone.
    if idx + 1 >= call.len() {
        return Ok(Options::new());
    }
    options_in(&call.array(idx)?)
}

/// The options in the first row of a column of maps.
pub(crate) fn options_in(maps: &ArrayRef) -> Result<Options> {
    let mut options = Options::new();
    let Some(map) = maps.as_map_opt().filter(|map| !map.is_empty() && map.is_valid(0)) else {
        return Ok(options);
    };
    let entries = map.value(0);
    if entries.is_empty() {
        return Ok(options);
    }
    let (Some(keys), Some(values)) = (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>()) else {
        return Err(invalid("INVALID_OPTIONS.NON_STRING_TYPE", "options must be a map of strings to strings"));
    };
    for (key, value) in keys.iter().zip(values) {
        if let (Some(key), Some(value)) = (key, value) {
            options.set(key, value);
        }
    }
    Ok(options)
}
