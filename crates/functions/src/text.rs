//! How Spark writes numbers as text: doubles as Java does, decimals plain.
//!
//! The writers are those of the formats, so that a cast and a written file never differ; only the names are ours.

pub(crate) use millstream_formats::number::{push_double as write_double, push_float as write_float, push_plain_decimal as write_decimal};

#[cfg(test)]
mod tests;
