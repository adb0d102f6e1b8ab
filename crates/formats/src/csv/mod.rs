//! CSV to Arrow and back with the behaviour of Spark's reader and writer (univocity).
//!
//! The splitter is our own: no kept crate reads Spark's dialect (backslash as escape, separators of several characters,
//! whether an empty value was quoted, what an unescaped quote means). Without `multiLine` lines are cut first, also within
//! quotes, as Spark does. Too few or too many values make a record bad; so does a value that does not fit its type. Unlike
//! Spark this does not depend on which columns a query reads.

mod column_decoder;
mod convert;
mod decoder;
mod encode;
mod infer;
mod options;
mod split;
mod walk;

pub use column_decoder::CsvColumnDecoder;
pub use decoder::CsvDecoder;
pub use encode::{CSV_WRITE_OPTIONS, CsvEncoder, CsvWriteOptions};
pub use infer::CsvInferrer;
pub use options::{CSV_READ_OPTIONS, CsvReadOptions};

#[cfg(test)]
mod tests;
