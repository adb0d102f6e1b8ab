//! JSON to Arrow, straight: a scanner with Jackson's rules and columns of the wanted schema, no tree in between.
//!
//! Semantics are Spark 4.3's: fields match by exact name, what the schema does not name is checked and skipped, an object,
//! array or number where STRING is wanted keeps its text exactly as written, a field of the wrong type is null and the rest
//! of the row is kept, a later duplicate of a key wins, a text that is no JSON is a row of nulls. Bad records go to the
//! column `columnNameOfCorruptRecord` if the schema has it, are dropped, fail the query, or are set aside
//! ([`crate::Rejects::Keep`]). Invalid UTF-8 makes a record bad.
//!
//! [`JsonDecoder`] reads lines and whole files, [`JsonColumnDecoder`] strings of a column (`from_json`); [`JsonEncoder`] writes
//! both lines and texts of a column (`to_json`).

mod column_decoder;
mod convert;
mod decoder;
mod encode;
mod infer;
mod options;
mod scan;

pub use column_decoder::JsonColumnDecoder;
pub use decoder::JsonDecoder;
pub(crate) use encode::push_quoted;
pub use encode::{JSON_WRITE_OPTIONS, JsonEncoder, JsonWriteOptions};
pub use infer::JsonInferrer;
pub use options::{JSON_READ_OPTIONS, JsonReadOptions};

#[cfg(test)]
mod tests;
