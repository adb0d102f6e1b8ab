//! Bytes to Arrow and back: json, csv, text, and the texts of dates, times and intervals.
//!
//! Everything here is pure: bytes and options in, columns and outcomes out. It does no I/O, decompresses nothing,
//! reads no clock and knows no DataFusion, so that file readers, message readers and the SQL functions
//! (`from_json`, `to_csv`, `date_format`, casts) share one decoder and one encoder per format, all with Spark's semantics.
//!
//! Read in this order: [`datetime`], [`pattern`], [`decoder`], [`json`].
#![forbid(unsafe_code)]

pub mod datetime;
pub mod decoder;
pub mod json;
pub mod pattern;

mod column;
mod lines;
mod number;
mod rows;

pub use decoder::{BatchSink, Counts, DecodeSettings, Decoder, Rejects};
