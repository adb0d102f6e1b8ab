//! Dates and timestamps: fields, truncation, text by pattern, construction, differences, time zones.
//!
//! What depends on the session time zone takes it as its last argument. Text in Spark's patterns is read and printed
//! by `millstream_formats`; nothing here asks what time it is.

mod build;
mod calendar;
mod fields;
mod text;
mod units;

pub use units::WINDOWS_OF;

use crate::def::{Call, FunctionDef};

/// The tables of this module.
pub(crate) const TABLES: &[&[FunctionDef]] = &[build::FUNCTIONS, calendar::FUNCTIONS, fields::FUNCTIONS, text::FUNCTIONS, units::FUNCTIONS];

/// The number of arguments without the time zone.
fn n_user(call: &Call<'_>) -> usize {
    call.len().saturating_sub(1)
}

#[cfg(test)]
mod tests;
