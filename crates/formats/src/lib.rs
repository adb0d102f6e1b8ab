//! Bytes to Arrow and back: json, csv, text, and the texts of dates, times, intervals and numbers.
//!
//! Everything here is pure: bytes and options in, columns and outcomes out. It does no I/O, decompresses nothing,
//! reads no clock and knows no DataFusion, so that file readers, message readers and the SQL functions
//! (`from_json`, `to_csv`, `date_format`, casts) share one decoder and one encoder per format, all with Spark's semantics.
//!
//! Read in this order: [`datetime`], [`pattern`], [`number`], [`decoder`], [`encoder`], [`infer`],
//! [`json`], [`csv`], [`text`], [`value_text`], [`table`].
#![forbid(unsafe_code)]

pub mod csv;
pub mod datetime;
pub mod decoder;
pub mod encoder;
pub mod infer;
pub mod json;
pub mod number;
pub mod pattern;
pub mod table;
pub mod text;
pub mod value_text;

mod column;
mod input;
mod lines;
mod read_options;
mod record_decoder;
mod rows;

pub use decoder::{BatchSink, Counts, DecodeSettings, Decoder, Rejects};
pub use encoder::Encoder;
pub use infer::Inferrer;
